//! Video out: one thread that captures, converts, encodes and publishes. Encoding runs here because 5 to
//! 30 ms on an async worker would delay everybody's ICE consent.

mod rate;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::error::EncodeError;
use super::fanout::Fanout;
use crate::config::{VideoDevice, VideoEncoding, VideoSettings};
use crate::devices::{Camera, DeviceError, open_camera};
use crate::events::EventSender;
use worker::Worker;
#[cfg(test)]
pub(crate) use worker::{DEQUEUE_TIMEOUT, REOPEN_INTERVAL, STALLED_AFTER, STARTED_WITHIN};

/// Opens the camera, again and again if need be.
pub type CameraOpener = Box<dyn FnMut() -> Result<Box<dyn Camera>, DeviceError> + Send>;

/// What the pipeline has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VideoOutHealth {
    /// Frames taken from the camera. Each of them is encoded, dropped or failed.
    pub captured: u64,
    /// Captured frames that were encoded: once each, however many peers there are.
    pub encoded: u64,
    /// Captured frames dropped because a newer one waited already, or because the camera is faster than asked for.
    pub dropped: u64,
    /// Captured frames that could not be converted or encoded.
    pub failed: u64,
    /// Frames the camera lost itself: gaps in its sequence.
    pub missed: u64,
    /// Frames that the driver delivered damaged or cut short; they are among the missed ones.
    pub damaged: u64,
    /// Keyframes sent, black ones included.
    pub keyframes: u64,
    /// Frames encoded that stand in for the camera: black while it is off, a slate while it is lost.
    pub black: u64,
    /// RTP payload bytes published.
    pub bytes: u64,
    /// The camera is gone or was never there.
    pub lost: bool,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// The handle of the thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct VideoOut {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    video: VideoEncoding,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<Orders>,
    ordered: Condvar,
    counters: Counters,
}

#[derive(Clone, Copy, Debug)]
struct Orders {
    off: bool,
    /// Counts the orders, so that each is confirmed, the repeated one too.
    serial: u64,
    keyframe: bool,
    stop: bool,
}

#[derive(Debug, Default)]
struct Counters {
    beats: AtomicU64,
    captured: AtomicU64,
    encoded: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    missed: AtomicU64,
    damaged: AtomicU64,
    keyframes: AtomicU64,
    black: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicBool,
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VideoOut {
    /// Starts the thread, with the camera off until [`VideoOut::set_off`] orders otherwise. `box_name` is
    /// what a test card shows.
    ///
    /// # Errors
    /// When the encoder or the thread cannot be made. A missing camera is no error: it is reported as
    /// [`CameraLost`](crate::room::Event::CameraLost) and looked for every second.
    pub fn spawn(
        settings: &VideoSettings,
        box_name: &str,
        video: &VideoEncoding,
        fanout: Arc<Fanout>,
        events: EventSender,
    ) -> Result<Self, EncodeError> {
        let opener: Option<CameraOpener> = if settings.device == VideoDevice::None {
            None
        } else {
            let (settings, box_name, video) = (settings.clone(), box_name.to_owned(), *video);
            Some(Box::new(move || open_camera(&settings, &box_name, &video)))
        };
        Self::spawn_with(opener, video, fanout, events)
    }

    /// As [`VideoOut::spawn`] with a camera of one's own; `None` where none is configured, which is not a
    /// loss.
    ///
    /// # Errors
    /// As [`VideoOut::spawn`].
    pub fn spawn_with(
        opener: Option<CameraOpener>,
        video: &VideoEncoding,
        fanout: Arc<Fanout>,
        events: EventSender,
    ) -> Result<Self, EncodeError> {
        let shared = Arc::new(Shared {
            orders: Mutex::new(Orders {
                off: true,
                serial: 0,
                keyframe: false,
                stop: false,
            }),
            ordered: Condvar::new(),
            counters: Counters::default(),
        });
        let worker = Worker::new(Arc::clone(&shared), opener, video, fanout, events)?;
        let thread = std::thread::Builder::new()
            .name("video-out".to_owned())
            .spawn(move || worker.run())
            .map_err(EncodeError::Thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
            video: *video,
        })
    }

    /// Orders the camera off or on; [`CameraConfirmed`](crate::room::Event::CameraConfirmed) follows when
    /// it is done.
    pub fn set_off(&self, off: bool) {
        let mut orders = self.shared.orders();
        orders.off = off;
        orders.serial += 1;
        drop(orders);
        self.shared.ordered.notify_one();
    }

    /// Makes the next frame a keyframe. While the camera is off or lost one more black one or slate is sent,
    /// so that whoever joins now sees it instead of nothing.
    pub fn order_keyframe(&self) {
        self.shared.orders().keyframe = true;
        self.shared.ordered.notify_one();
    }

    /// What has been done so far.
    pub fn health(&self) -> VideoOutHealth {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        VideoOutHealth {
            captured: read(&counters.captured),
            encoded: read(&counters.encoded),
            dropped: read(&counters.dropped),
            failed: read(&counters.failed),
            missed: read(&counters.missed),
            damaged: read(&counters.damaged),
            keyframes: read(&counters.keyframes),
            black: read(&counters.black),
            bytes: read(&counters.bytes),
            lost: counters.lost.load(Ordering::Relaxed),
            width: self.video.width,
            height: self.video.height,
        }
    }

    /// Grows as long as the thread turns.
    pub fn beats(&self) -> u64 {
        self.shared.counters.beats.load(Ordering::Relaxed)
    }

    /// Stops the camera and the thread; returns when both are.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.shared.orders().stop = true;
        self.shared.ordered.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the video thread had panicked");
        }
    }
}

impl Drop for VideoOut {
    fn drop(&mut self) {
        self.halt();
    }
}

#[cfg(test)]
mod tests {
    use super::super::EncodedVideo;
    use super::super::fanout::{Outgoing, Slot};
    use super::super::h264::media_time;
    use super::*;
    use crate::clock;
    use crate::devices::picture::black_i420;
    use crate::devices::{Faults, PixelFormat, RawFrame, open_camera_with_faults, read_strip};
    use crate::room::{Bitrate, Event, Shutter};
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
        let out = VideoOut::spawn_with(Some(opener), &VIDEO, fanout, sender).unwrap();
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
                        Outgoing::Audio(_) => {}
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
            let mut depacketizer = H264Packet::default();
            let unit: Vec<u8> = frame
                .payloads
                .iter()
                .flat_map(|payload| depacketizer.depacketize(payload).unwrap())
                .collect();
            let picture = self.decoder.decode(&unit).unwrap().expect("a picture");
            assert_eq!(picture.dimensions(), (640, 360));
            let (stride, _, _) = picture.strides();
            self.luma = picture
                .y()
                .chunks(stride)
                .take(360)
                .flat_map(|row| row[..640].to_vec())
                .collect();
            &self.luma
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
        let out = VideoOut::spawn_with(Some(opener), &VIDEO, Fanout::new(), sender).unwrap();
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
                let luma = screen.show(&frame);
                let (edge, text) = (&luma[..640 * 100], &luma[640 * 130..640 * 230]);
                if edge.iter().all(|value| *value < 20) && text.iter().any(|value| *value > 200) {
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
        let out = VideoOut::spawn_with(Some(opener), &VIDEO, Fanout::new(), sender).unwrap();
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
            device: VideoDevice::V4l2("/dev/video0".to_owned()),
            ppm: 0,
        };
        let out = VideoOut::spawn(&settings, "Room 1", &VIDEO, fanout, sender).unwrap();
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
        let out = VideoOut::spawn(&settings, "Room 1", &VIDEO, fanout, sender).unwrap();
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
}
