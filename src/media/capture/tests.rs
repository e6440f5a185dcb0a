//! Both pipelines, from a simulated source to a peer's slot.

use super::super::fanout::{Outgoing, Slot};
use super::super::h264::media_time;
use super::*;
use crate::clock;
use crate::devices::picture::black_i420;
use crate::devices::{Faults, PixelFormat, RawFrame, open_camera_with_faults, read_strip};
use crate::room::{Bitrate, Shutter};
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;
use rtc::rtp::codec::h264::H264Packet;
use rtc::rtp::packetizer::Depacketizer;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);
const VIDEO: VideoEncoding = VideoEncoding {
    width: 640,
    height: 360,
    frame_rate: 30,
    bitrate: Bitrate(800_000),
};

struct Rig {
    out: VideoOut,
    faults: Faults,
    slot: Slot,
    events: mpsc::Receiver<Event>,
}

fn rig() -> Rig {
    let faults = Faults::default();
    let fanout = Fanout::new();
    let (sender, events) = EventSender::channel();
    let slot = fanout.subscribe();
    slot.set_open(true);
    let settings = VideoSettings {
        device: VideoDevice::SimTestcard,
        ppm: 0,
    };
    let handle = faults.clone();
    let opener: CameraOpener =
        Box::new(move || open_camera_with_faults(&settings, "Room 1", &VIDEO, &handle));
    let out = VideoOut::spawn_with(Feed::Camera, Some(opener), &VIDEO, fanout, sender).unwrap();
    Rig {
        out,
        faults,
        slot,
        events,
    }
}

impl Rig {
    async fn frame(&mut self) -> EncodedVideo {
        let wait = async {
            loop {
                match self.slot.next().await {
                    Outgoing::Video(frame) => return frame,
                    Outgoing::KeyframeNeeded => self.out.order_keyframe(),
                    Outgoing::Audio(_) | Outgoing::Screen(_) | Outgoing::ScreenKeyframeNeeded => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("a frame")
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event")
            .expect("the thread lives")
    }
}

struct Screen {
    decoder: Decoder,
    luma: Vec<u8>,
}

impl Screen {
    fn new() -> Self {
        Self {
            decoder: Decoder::new().unwrap(),
            luma: Vec::new(),
        }
    }

    /// The luma plane without padding.
    fn show(&mut self, frame: &EncodedVideo) -> &[u8] {
        assert_eq!(self.decode(frame), (640, 360));
        &self.luma
    }

    /// Width and height; the luma plane is kept.
    fn decode(&mut self, frame: &EncodedVideo) -> (usize, usize) {
        let mut depacketizer = H264Packet::default();
        let unit: Vec<u8> = frame
            .payloads
            .iter()
            .flat_map(|payload| depacketizer.depacketize(payload).unwrap())
            .collect();
        let picture = self.decoder.decode(&unit).unwrap().expect("a picture");
        let (width, height) = picture.dimensions();
        let (stride, _, _) = picture.strides();
        self.luma = picture
            .y()
            .chunks(stride)
            .take(height)
            .flat_map(|row| row[..width].to_vec())
            .collect();
        (width, height)
    }
}

#[tokio::test]
async fn the_test_card_arrives_decodable_with_its_counter_and_capture_time() {
    let mut rig = rig();
    rig.out.set_off(false);
    let mut screen = Screen::new();
    let mut last = None;
    for index in 0..20 {
        let frame = rig.frame().await;
        assert!(
            index > 0 || frame.keyframe,
            "the stream starts with a keyframe"
        );
        let strip = read_strip(screen.show(&frame), 640, 640, 360).expect("a readable strip");
        assert_eq!(
            u128::from(strip.captured_ms),
            frame.captured_at.as_duration().as_millis() & 0xFFFF_FFFF
        );
        assert_eq!(frame.media_time, media_time(frame.captured_at));
        assert!(last.is_none_or(|last| strip.counter > last));
        last = Some(strip.counter);
    }
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: false });
    // Counted while no frame is under way.
    rig.out.set_off(true);
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: true });
    let health = rig.out.health();
    println!("{health:?}, {} beats", rig.out.beats());
    assert!(health.captured >= 20);
    assert_eq!(
        health.captured,
        health.encoded + health.dropped + health.failed
    );
    assert_eq!((health.failed, health.lost), (0, false));
    rig.out.stop();
}

#[tokio::test]
async fn off_sends_a_black_keyframe_thrice_and_then_nothing_until_asked() {
    let mut rig = rig();
    rig.out.set_off(false);
    rig.frame().await;
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: false });
    rig.out.set_off(true);
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: true });
    let encoded = rig.out.health().encoded;
    let mut screen = Screen::new();
    let black = loop {
        let frame = rig.frame().await;
        // The decoder needs a keyframe first; the card's frames before it come from a running stream.
        if frame.keyframe && screen.show(&frame).iter().all(|value| *value < 20) {
            break frame;
        }
    };
    assert!(black.keyframe);
    assert_eq!(rig.out.health().encoded, encoded, "the camera stands still");
    // Twice more, because nothing that follows would tell a receiver of its loss.
    for _ in 0..2 {
        assert!(rig.frame().await.keyframe);
    }
    assert_eq!(rig.out.health().black, 3);
    // A late joiner.
    let beats = rig.out.beats();
    rig.out.order_keyframe();
    let again = rig.frame().await;
    assert!(again.keyframe && again.media_time != black.media_time);
    assert!(Screen::new().show(&again).iter().all(|value| *value < 20));
    assert_eq!(rig.out.health().black, 4);
    // It goes on beating, and comes back with a keyframe.
    let before = Instant::now();
    rig.out.set_off(false);
    let back = rig.frame().await;
    println!("on again after {:?}", before.elapsed());
    assert!(back.keyframe);
    assert!(read_strip(Screen::new().show(&back), 640, 640, 360).is_some());
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: false });
    assert!(rig.out.beats() > beats);
}

#[tokio::test]
async fn every_order_is_confirmed_the_repeated_one_too() {
    let mut rig = rig();
    for off in [true, true, false, false, true] {
        rig.out.set_off(off);
        assert_eq!(rig.event().await, Event::CameraConfirmed { off });
    }
}

/// Has a frame waiting whenever it is asked, until `ready` turns false.
struct Hasty {
    ready: Arc<AtomicBool>,
    sequence: u64,
}

impl Camera for Hasty {
    fn name(&self) -> &str {
        "hasty"
    }

    fn start(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn stop(&mut self) {}

    fn dequeue(&mut self, timeout: Duration, _: Vec<u8>) -> Result<RawFrame, DeviceError> {
        if !self.ready.load(Ordering::Relaxed) {
            return Err(DeviceError::Stalled {
                device: self.name().to_owned(),
                after: timeout,
            });
        }
        self.sequence += 1;
        Ok(RawFrame {
            format: PixelFormat::I420,
            width: VIDEO.width,
            height: VIDEO.height,
            data: black_i420(VIDEO.width as usize, VIDEO.height as usize),
            captured_at: clock::monotonic(),
            sequence: self.sequence,
        })
    }
}

#[tokio::test]
async fn a_camera_that_always_has_a_newer_frame_still_obeys() {
    let ready = Arc::new(AtomicBool::new(true));
    let handle = Arc::clone(&ready);
    let opener: CameraOpener = Box::new(move || {
        Ok(Box::new(Hasty {
            ready: Arc::clone(&handle),
            sequence: 0,
        }))
    });
    let (sender, mut events) = EventSender::channel();
    let out =
        VideoOut::spawn_with(Feed::Camera, Some(opener), &VIDEO, Fanout::new(), sender).unwrap();
    let mut confirmed = Vec::new();
    for off in [false, true] {
        out.set_off(off);
        confirmed.push(tokio::time::timeout(PATIENCE, events.recv()).await);
    }
    // Else a thread that does not obey would not let the test end.
    ready.store(false, Ordering::Relaxed);
    let expected = [false, true].map(|off| Ok(Some(Event::CameraConfirmed { off })));
    assert_eq!(confirmed, expected);
    let health = out.health();
    println!("{health:?}");
    assert!(health.encoded > 0);
    assert_eq!(health.captured, health.encoded + health.dropped);
    out.stop();
}

#[tokio::test]
async fn an_ordered_keyframe_comes_within_a_few_frames() {
    let mut rig = rig();
    rig.out.set_off(false);
    for _ in 0..5 {
        rig.frame().await;
    }
    rig.out.order_keyframe();
    let mut frames = 0;
    while !rig.frame().await.keyframe {
        frames += 1;
        assert!(frames < 30);
    }
    println!("a keyframe after {frames} others");
}

#[tokio::test]
async fn a_lost_camera_turns_into_a_slate_and_comes_back_by_itself() {
    let mut rig = rig();
    rig.out.set_off(false);
    rig.frame().await;
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: false });
    rig.faults.set_gone(true);
    assert_eq!(rig.event().await, Event::CameraLost(true));
    let mut screen = Screen::new();
    // Again and again, for those who lost it on the way.
    for _ in 0..2 {
        loop {
            let frame = rig.frame().await;
            if !frame.keyframe {
                continue;
            }
            if is_slate(screen.show(&frame)) {
                break;
            }
        }
    }
    assert!(rig.out.health().lost);
    rig.faults.set_gone(false);
    assert_eq!(rig.event().await, Event::CameraLost(false));
    loop {
        let frame = rig.frame().await;
        let luma = screen.show(&frame);
        if let Some(_strip) = read_strip(luma, 640, 640, 360) {
            assert!(frame.keyframe, "it starts anew");
            break;
        }
    }
    assert!(!rig.out.health().lost);
}

#[tokio::test]
async fn a_shutter_is_seen_while_the_camera_is_on_and_while_it_is_off() {
    let covered = |covered| Event::LensCovered {
        by: Shutter::Camera,
        covered,
    };
    let mut rig = rig();
    rig.out.set_off(false);
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: false });
    let closed = Instant::now();
    rig.faults.set_covered(true);
    assert_eq!(rig.event().await, covered(true));
    println!("seen after {:?}", closed.elapsed());
    rig.out.set_off(true);
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: true });
    rig.faults.set_covered(false);
    assert_eq!(rig.event().await, covered(false));
}

#[tokio::test]
async fn a_covered_camera_says_so_before_its_first_picture() {
    let faults = Faults::default();
    faults.set_covered(true);
    let settings = VideoSettings {
        device: VideoDevice::SimTestcard,
        ppm: 0,
    };
    let opener: CameraOpener =
        Box::new(move || open_camera_with_faults(&settings, "Room 1", &VIDEO, &faults));
    let (sender, mut events) = EventSender::channel();
    let out =
        VideoOut::spawn_with(Feed::Camera, Some(opener), &VIDEO, Fanout::new(), sender).unwrap();
    out.set_off(false);
    let first = tokio::time::timeout(PATIENCE, events.recv()).await;
    let by = Shutter::Camera;
    let covered = true;
    assert_eq!(first, Ok(Some(Event::LensCovered { by, covered })));
    out.stop();
}

#[tokio::test]
async fn a_camera_that_stalls_is_lost_and_one_that_drops_frames_is_counted() {
    let mut rig = rig();
    rig.out.set_off(false);
    rig.frame().await;
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: false });
    let missed = rig.out.health().missed;
    rig.faults.drop_frames(5);
    let deadline = Instant::now() + PATIENCE;
    while rig.out.health().missed < missed + 5 {
        assert!(Instant::now() < deadline);
        rig.frame().await;
    }
    rig.faults.set_stalled(true);
    assert_eq!(rig.event().await, Event::CameraLost(true));
    rig.faults.set_stalled(false);
    assert_eq!(rig.event().await, Event::CameraLost(false));
}

#[tokio::test]
async fn a_camera_that_cannot_be_is_lost_and_orders_are_still_confirmed() {
    let fanout = Fanout::new();
    let (sender, mut events) = EventSender::channel();
    let settings = VideoSettings {
        device: VideoDevice::V4l2(crate::config::VideoName::parse("/dev/video0").unwrap()),
        ppm: 0,
    };
    let out = VideoOut::spawn(Feed::Camera, &settings, "Room 1", &VIDEO, fanout, sender).unwrap();
    out.set_off(false);
    assert_eq!(events.recv().await, Some(Event::CameraLost(true)));
    assert_eq!(
        events.recv().await,
        Some(Event::CameraConfirmed { off: false })
    );
    out.stop();
}

#[tokio::test]
async fn without_a_camera_nothing_is_lost_and_a_joiner_gets_black() {
    let fanout = Fanout::new();
    let (sender, mut events) = EventSender::channel();
    let settings = VideoSettings {
        device: VideoDevice::None,
        ppm: 0,
    };
    let mut slot = fanout.subscribe();
    let out = VideoOut::spawn(Feed::Camera, &settings, "Room 1", &VIDEO, fanout, sender).unwrap();
    out.set_off(false);
    assert_eq!(
        events.recv().await,
        Some(Event::CameraConfirmed { off: false })
    );
    slot.set_open(true);
    out.order_keyframe();
    let frame = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Outgoing::Video(frame) = slot.next().await {
                break frame;
            }
        }
    });
    assert!(frame.await.expect("a black frame").keyframe);
    assert!(!out.health().lost);
}

/// Dark, with a text in its middle.
fn is_slate(luma: &[u8]) -> bool {
    let (edge, text) = (&luma[..640 * 100], &luma[640 * 130..640 * 230]);
    edge.iter().all(|value| *value < 20) && text.iter().any(|value| *value > 200)
}

/// A screen's pipeline; `faults` are its source's.
fn screen(watched: bool, faults: &Faults) -> Rig {
    let fanout = Fanout::new();
    let (sender, events) = EventSender::channel();
    let slot = fanout.subscribe();
    slot.set_open(true);
    let settings = VideoSettings {
        device: VideoDevice::SimSlides,
        ppm: 0,
    };
    let handle = faults.clone();
    let opener: CameraOpener =
        Box::new(move || open_camera_with_faults(&settings, "Room 1", &VIDEO, &handle));
    let feed = Feed::Screen { watched };
    let out = VideoOut::spawn_with(feed, Some(opener), &VIDEO, fanout, sender).unwrap();
    Rig {
        out,
        faults: faults.clone(),
        slot,
        events,
    }
}

async fn next_screen(rig: &mut Rig) -> EncodedVideo {
    let wait = async {
        loop {
            match rig.slot.next().await {
                Outgoing::Screen(frame) => return frame,
                Outgoing::Video(_) => panic!("a screen is no camera"),
                // The slot was full: decoding is slow on a busy machine.
                Outgoing::ScreenKeyframeNeeded => rig.out.order_keyframe(),
                Outgoing::KeyframeNeeded | Outgoing::Audio(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("a frame")
}

#[tokio::test]
async fn a_screen_begins_with_a_keyframe_and_ends_without_another_picture() {
    let mut rig = screen(false, &Faults::default());
    for _ in 0..2 {
        rig.out.set_off(false);
        let first = next_screen(&mut rig).await;
        assert!(first.keyframe);
        assert!(Screen::new().show(&first).iter().any(|luma| *luma > 200));
        assert_eq!(rig.event().await, Event::ScreenConfirmed { on: true });
        rig.out.set_off(true);
        assert_eq!(rig.event().await, Event::ScreenConfirmed { on: false });
        let encoded = rig.out.health().encoded;
        let quiet = next_screen(&mut rig);
        let quiet = tokio::time::timeout(Duration::from_millis(700), quiet).await;
        // What waited in the slot was thrown away with the order.
        assert!(quiet.is_err(), "a picture after the end");
        assert_eq!(rig.out.health().encoded, encoded);
        assert_eq!(rig.out.health().black, 0);
    }
}

#[tokio::test]
async fn an_unplugged_source_is_a_slate_and_an_ended_share_has_lost_nothing() {
    let mut rig = screen(false, &Faults::default());
    rig.out.set_off(false);
    assert_eq!(rig.event().await, Event::ScreenConfirmed { on: true });
    rig.faults.set_gone(true);
    assert_eq!(rig.event().await, Event::ScreenSource(false));
    let mut picture = Screen::new();
    loop {
        let frame = next_screen(&mut rig).await;
        if is_slate(picture.show(&frame)) {
            break;
        }
    }
    assert!(rig.out.health().lost);
    rig.out.set_off(true);
    assert_eq!(rig.event().await, Event::ScreenConfirmed { on: false });
    assert!(!rig.out.health().lost);
    // Begun without it, and there again.
    rig.out.set_off(false);
    assert_eq!(rig.event().await, Event::ScreenSource(false));
    assert_eq!(rig.event().await, Event::ScreenConfirmed { on: true });
    assert!(is_slate(picture.show(&next_screen(&mut rig).await)));
    rig.faults.set_gone(false);
    assert_eq!(rig.event().await, Event::ScreenSource(true));
    while is_slate(picture.show(&next_screen(&mut rig).await)) {}
    assert!(!rig.out.health().lost);
}

#[tokio::test]
async fn a_watched_source_is_reported_when_it_appears_and_when_it_goes() {
    let faults = Faults::default();
    faults.set_gone(true);
    let mut rig = screen(true, &faults);
    assert_eq!(rig.event().await, Event::ScreenSource(false));
    rig.faults.set_gone(false);
    assert_eq!(rig.event().await, Event::ScreenSource(true));
    rig.out.set_off(false);
    assert_eq!(rig.event().await, Event::ScreenConfirmed { on: true });
    rig.faults.set_gone(true);
    assert_eq!(rig.event().await, Event::ScreenSource(false));
}

#[tokio::test]
async fn another_bitrate_leaves_the_camera_alone_and_another_size_opens_it_anew() {
    let mut rig = rig();
    rig.out.set_off(false);
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: false });
    let mut screen = Screen::new();
    let first = rig.frame().await;
    screen.show(&first);
    let never: CameraOpener = Box::new(|| {
        Err(crate::devices::DeviceError::Misconfigured {
            device: "camera".to_owned(),
            reason: "it was not to be opened".to_owned(),
        })
    });
    let cheaper = VideoEncoding {
        bitrate: Bitrate(300_000),
        ..VIDEO
    };
    rig.out
        .renew(Feed::Camera, Some(never), false, &cheaper)
        .unwrap();
    // Media time goes on over the new encoder's first keyframe.
    let mut last = first.media_time;
    loop {
        let frame = rig.frame().await;
        assert!(frame.media_time.wrapping_sub(last) < 90_000);
        last = frame.media_time;
        screen.show(&frame);
        if frame.keyframe {
            break;
        }
    }
    assert!(!rig.out.health().lost);

    let small = VideoEncoding {
        width: 320,
        height: 180,
        ..VIDEO
    };
    let settings = VideoSettings {
        device: VideoDevice::SimSlides,
        ppm: 0,
    };
    let opener = opener(&settings, "Room 1", &small);
    rig.out.renew(Feed::Camera, opener, true, &small).unwrap();
    while screen.decode(&rig.frame().await) != (320, 180) {}
    // Without a camera nothing is lost, and orders are still obeyed.
    rig.out.renew(Feed::Camera, None, true, &small).unwrap();
    rig.out.set_off(true);
    assert_eq!(rig.event().await, Event::CameraConfirmed { off: true });
    assert!(!rig.out.health().lost);
}
