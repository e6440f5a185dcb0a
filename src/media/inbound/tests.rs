use super::*;
use crate::devices::{DeviceError, PlayedPeriod, SAMPLE_RATE, Speaker};
use crate::media::meter::Meter;
use bytes::Bytes;
use openh264::encoder::{Encoder, EncoderConfig};
use openh264::formats::YUVBuffer;
use proptest::prelude::*;
use std::sync::atomic::AtomicU32;

/// A speaker in real time that keeps the last 100 ms.
struct Ear {
    heard: Arc<Mutex<Meter>>,
    next: Timestamp,
    fails: Arc<AtomicBool>,
    /// Periods before which it will have run dry.
    dry: Arc<AtomicU32>,
}

impl Speaker for Ear {
    fn name(&self) -> &str {
        "ear"
    }

    fn write_period(&mut self, samples: &[i16; PERIOD]) -> Result<PlayedPeriod, DeviceError> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(gone());
        }
        let period = samples.map(|sample| f32::from(sample) / 32768.0);
        lock(&self.heard).push(&period);
        let now = clock::monotonic();
        self.next = self.next + Duration::from_millis(10);
        std::thread::sleep(self.next.since(now));
        Ok(PlayedPeriod {
            delay: Duration::ZERO,
            xrun: self
                .dry
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok(),
        })
    }
}

fn gone() -> DeviceError {
    DeviceError::Gone {
        device: "ear".to_owned(),
        attempt: "writing",
        reason: "unplugged".to_owned(),
    }
}

struct Room {
    inbound: Inbound,
    heard: Arc<Mutex<Meter>>,
    fails: Arc<AtomicBool>,
    dry: Arc<AtomicU32>,
    opened: Arc<AtomicU32>,
}

fn room() -> Room {
    let heard = Arc::new(Mutex::new(Meter::new()));
    let fails = Arc::new(AtomicBool::new(false));
    let dry = Arc::new(AtomicU32::new(0));
    let opened = Arc::new(AtomicU32::new(0));
    let open = {
        let (heard, fails, dry) = (heard.clone(), fails.clone(), dry.clone());
        let opened = opened.clone();
        move || -> Result<Box<dyn Speaker>, DeviceError> {
            opened.fetch_add(1, Ordering::Relaxed);
            if fails.load(Ordering::Relaxed) {
                return Err(gone());
            }
            Ok(Box::new(Ear {
                heard: heard.clone(),
                next: clock::monotonic(),
                fails: fails.clone(),
                dry: dry.clone(),
            }))
        }
    };
    Room {
        inbound: Inbound::spawn(Box::new(open)),
        heard,
        fails,
        dry,
        opened,
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = clock::monotonic() + Duration::from_secs(20);
    while !condition() {
        assert!(clock::monotonic() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a tone in real time until dropped.
struct Voice {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Voice {
    fn sing(peer: Arc<PeerInbound>, frequency: f32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut encoder =
                opus::Encoder::new(SAMPLE_RATE, opus::Channels::Mono, opus::Application::Voip)
                    .unwrap();
            let start = clock::monotonic();
            for number in 0.. {
                let samples: Vec<f32> = (number * 960..(number + 1) * 960)
                    .map(|n| {
                        let turns = n as f32 * frequency / SAMPLE_RATE as f32;
                        0.3 * (turns.fract() * std::f32::consts::TAU).sin()
                    })
                    .collect();
                let payload = encoder.encode_vec_float(&samples, 1500).unwrap();
                peer.push_audio(AudioPacket {
                    sequence: (number as u16).wrapping_add(65530),
                    media_time: number as u32 * 960,
                    payload: Bytes::from(payload),
                    arrived_at: clock::monotonic(),
                });
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let next = start + Duration::from_millis(20) * (number as u32 + 1);
                std::thread::sleep(next.since(clock::monotonic()));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn the_speaker_plays_the_tone_that_a_peer_sends_and_falls_silent_when_it_closes() {
    let room = room();
    let id = PeerId::new("anna");
    let peer = Arc::new(room.inbound.add_peer(id.clone(), Generation(1)));
    let voice = Voice::sing(peer.clone(), 440.0);
    wait_until("440 Hz at the speaker", || {
        let meter = lock(&room.heard).clone();
        (meter.frequency_hz() - 440.0).abs() < 5.0 && (meter.level_dbfs() + 10.5).abs() < 3.0
    });
    wait_until("440 Hz in the health", || {
        let health = &room.inbound.health().peers[0];
        (health.audio.frequency_hz - 440.0).abs() < 5.0 && health.audio.packets > 100
    });
    #[allow(clippy::print_stdout)]
    {
        println!("{:?}", room.inbound.health().peers[0].audio);
    }
    assert!(room.inbound.beats() > 0);
    peer.close();
    wait_until("silence", || lock(&room.heard).level_dbfs() == SILENCE);
    assert_eq!(room.inbound.health().peers[0].audio.level_dbfs, SILENCE);
    drop(voice);
}

#[test]
fn two_peers_are_heard_at_once() {
    let room = room();
    let anna = Arc::new(room.inbound.add_peer(PeerId::new("anna"), Generation(1)));
    let bert = Arc::new(room.inbound.add_peer(PeerId::new("bert"), Generation(2)));
    let _anna = Voice::sing(anna, 500.0);
    let _bert = Voice::sing(bert, 900.0);
    wait_until("3 dB more than one voice", || {
        (lock(&room.heard).level_dbfs() + 7.4).abs() < 1.0
    });
    wait_until("both tones in the health", || {
        let peers = room.inbound.health().peers;
        (peers[0].audio.frequency_hz - 500.0).abs() < 5.0
            && (peers[1].audio.frequency_hz - 900.0).abs() < 5.0
    });
}

#[test]
fn a_lost_speaker_is_opened_again_and_the_loop_goes_on_meanwhile() {
    let room = room();
    wait_until("the speaker opens", || room.inbound.health().speaker_open);
    room.fails.store(true, Ordering::Relaxed);
    wait_until("the loss is seen", || !room.inbound.health().speaker_open);
    let beats = room.inbound.beats();
    wait_until("the loop goes on", || room.inbound.beats() > beats + 20);
    wait_until("it is tried again", || {
        room.opened.load(Ordering::Relaxed) >= 2
    });
    room.fails.store(false, Ordering::Relaxed);
    wait_until("it is back", || room.inbound.health().speaker_open);
}

#[test]
fn a_speaker_that_runs_dry_is_counted() {
    let room = room();
    wait_until("the speaker opens", || room.inbound.health().speaker_open);
    assert_eq!(room.inbound.health().speaker_xruns, 0);
    room.dry.store(3, Ordering::Relaxed);
    wait_until("three underruns", || {
        room.inbound.health().speaker_xruns == 3
    });
    let beats = room.inbound.beats();
    wait_until("more periods", || room.inbound.beats() > beats + 5);
    assert_eq!(room.inbound.health().speaker_xruns, 3);
}

#[test]
fn a_misconfigured_speaker_is_not_tried_again() {
    let opened = Arc::new(AtomicU32::new(0));
    let counted = opened.clone();
    let inbound = Inbound::spawn(Box::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Err(DeviceError::Misconfigured {
            device: "none".to_owned(),
            reason: "no speaker".to_owned(),
        })
    }));
    wait_until("more than a second of periods", || inbound.beats() > 120);
    assert_eq!(opened.load(Ordering::Relaxed), 1);
    inbound.stop();
    let beats = inbound.beats();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(inbound.beats(), beats, "stopped");
}

const WIDTH: usize = 320;
const HEIGHT: usize = 192;

/// A bright box that moves over a ramp.
fn frame(number: usize) -> YUVBuffer {
    let mut i420 = vec![128_u8; WIDTH * HEIGHT * 3 / 2];
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let inside = (number * 4..number * 4 + 64).contains(&x) && (64..128).contains(&y);
            i420[y * WIDTH + x] = if inside { 220 } else { 40 + (x / 4) as u8 };
        }
    }
    YUVBuffer::from_vec(i420, WIDTH, HEIGHT)
}

/// RTP payloads of one Annex B unit: single NAL units, or FU-A where one is longer than 300 bytes.
fn payloads(annex_b: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    for nal in openh264::nal_units(annex_b) {
        let start = nal.iter().position(|byte| *byte == 1).unwrap() + 1;
        let nal = &nal[start..];
        if nal.len() <= 300 {
            payloads.push(nal.to_vec());
            continue;
        }
        let pieces: Vec<_> = nal[1..].chunks(300).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let start = u8::from(index == 0) << 7;
            let end = u8::from(index + 1 == pieces.len()) << 6;
            let mut payload = vec![nal[0] & 0xe0 | 28, start | end | nal[0] & 0x1f];
            payload.extend_from_slice(piece);
            payloads.push(payload);
        }
    }
    payloads
}

struct Sender {
    encoder: Encoder,
    sequence: u16,
    frames: usize,
}

impl Sender {
    fn new() -> Self {
        let config = EncoderConfig::new()
            .bitrate(openh264::encoder::BitRate::from_bps(1_000_000))
            .skip_frames(false);
        let api = openh264::OpenH264API::from_source();
        Self {
            encoder: Encoder::with_api_config(api, config).unwrap(),
            sequence: 65_500,
            frames: 0,
        }
    }

    /// Encodes and sends the next frame; `lost` says which of its packets do not arrive.
    fn send(&mut self, peer: &PeerInbound, lost: impl Fn(usize) -> bool) {
        let unit = self.encoder.encode(&frame(self.frames)).unwrap().to_vec();
        let payloads = payloads(&unit);
        let media_time = self.frames as u32 * 3000;
        for (index, payload) in payloads.iter().enumerate() {
            if !lost(index) {
                peer.push_video(
                    View::Camera,
                    self.sequence,
                    media_time,
                    index + 1 == payloads.len(),
                    payload,
                    Timestamp::from_millis(1000 + self.frames as u64 * 33),
                );
            }
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.frames += 1;
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1000 + self.frames as u64 * 33)
    }
}

fn wait_for_frame(inbound: &Inbound, peer: &PeerId, number: usize) -> Picture {
    wait_until("the picture", || {
        inbound
            .picture(peer, View::Camera)
            .is_some_and(|picture| picture.media_time == number as u32 * 3000)
    });
    inbound.picture(peer, View::Camera).unwrap()
}

#[test]
fn the_newest_picture_is_what_the_peer_sent() {
    let room = room();
    let id = PeerId::new("anna");
    let peer = room.inbound.add_peer(id.clone(), Generation(1));
    let mut sender = Sender::new();
    for number in 0..30 {
        sender.send(&peer, |_| false);
        let picture = wait_for_frame(&room.inbound, &id, number);
        assert_eq!(
            (picture.width as usize, picture.height as usize),
            (WIDTH, HEIGHT)
        );
        let source = frame(number);
        let (y, _, _) = picture.planes();
        let difference: u64 = y
            .iter()
            .zip(openh264::formats::YUVSource::y(&source))
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        let mean = difference as f64 / y.len() as f64;
        assert!(mean < 6.0, "frame {number} differs by {mean}");
    }
    assert_eq!(
        room.inbound.peers_with_pictures(),
        std::slice::from_ref(&id)
    );
    let health = &room.inbound.health().peers[0].video;
    assert_eq!(
        (health.decoded, health.decode_errors, health.lost),
        (30, 0, 0)
    );
    assert!(!peer.poll_keyframe_wanted(View::Camera, sender.now()));
    assert!(
        !room
            .inbound
            .picture(&id, View::Camera)
            .unwrap()
            .png()
            .unwrap()
            .is_empty()
    );
    drop(peer);
    assert!(
        room.inbound.picture(&id, View::Camera).is_some(),
        "kept while a member"
    );
    room.inbound.remove_peer(&id);
    assert!(room.inbound.picture(&id, View::Camera).is_none());
    assert!(room.inbound.peers_with_pictures().is_empty());
}

#[test]
fn after_a_loss_the_picture_stays_and_a_keyframe_brings_it_on() {
    let room = room();
    let id = PeerId::new("anna");
    let peer = room.inbound.add_peer(id.clone(), Generation(1));
    let mut sender = Sender::new();
    for _ in 0..5 {
        sender.send(&peer, |_| false);
    }
    wait_for_frame(&room.inbound, &id, 4);
    sender.send(&peer, |index| index == 0);
    let mut asked = 0;
    for _ in 0..30 {
        sender.send(&peer, |_| false);
        asked += u32::from(peer.poll_keyframe_wanted(View::Camera, sender.now()));
    }
    // 990 ms, 200 of them patience for the hole.
    assert_eq!(asked, 2);
    assert_eq!(
        room.inbound.picture(&id, View::Camera).unwrap().media_time,
        4 * 3000
    );
    sender.encoder.force_intra_frame();
    let number = sender.frames;
    sender.send(&peer, |_| false);
    wait_for_frame(&room.inbound, &id, number);
    assert!(!peer.poll_keyframe_wanted(View::Camera, sender.now() + Duration::from_secs(9)));
    let health = &room.inbound.health().peers[0].video;
    assert_eq!((health.lost, health.decode_errors), (1, 0));
}

#[test]
fn the_newest_generation_takes_the_place_of_older_ones() {
    let room = room();
    let id = PeerId::new("anna");
    let first = room.inbound.add_peer(id.clone(), Generation(1));
    let mut sender = Sender::new();
    sender.send(&first, |_| false);
    wait_for_frame(&room.inbound, &id, 0);
    let second = room.inbound.add_peer(id.clone(), Generation(2));
    assert!(
        room.inbound.picture(&id, View::Camera).is_some(),
        "the last picture stays"
    );
    let stale = room.inbound.add_peer(id.clone(), Generation(1));
    assert!(first.is_closed() && stale.is_closed() && !second.is_closed());
    drop((first, stale));
    assert_eq!(room.inbound.health().peers[0].generation, Generation(2));
    let mut sender = Sender::new();
    sender.send(&second, |_| false);
    wait_until("a picture of the second", || {
        room.inbound.health().peers[0].video.decoded == 1
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_payload_from_outside_panics(
        packets in prop::collection::vec(
            (any::<u16>(), 0_u32..4, any::<bool>(), prop::collection::vec(any::<u8>(), 0..80)),
            1..40,
        ),
        kinds in prop::collection::vec(prop::sample::select(vec![1_u8, 5, 7, 8, 24, 28]), 40),
    ) {
        static ROOM: std::sync::LazyLock<Inbound> = std::sync::LazyLock::new(|| room().inbound);
        let peer = ROOM.add_peer(PeerId::new("mallory"), Generation(1));
        for (index, (number, step, marker, payload)) in packets.iter().enumerate() {
            let mut payload = payload.clone();
            if let Some(header) = payload.first_mut() {
                *header = 0x60 | kinds[index];
            }
            let now = clock::monotonic();
            // Half of them in order, so that units get through to the decoder.
            let sequence = if number % 2 == 0 { index as u16 } else { *number };
            peer.push_video(View::Camera, sequence, step * 3000, *marker, &payload, now);
            peer.push_audio(AudioPacket {
                sequence,
                media_time: index as u32 * 960,
                payload: Bytes::from(payload),
                arrived_at: now,
            });
            peer.poll_keyframe_wanted(View::Camera, now);
        }
    }
}
