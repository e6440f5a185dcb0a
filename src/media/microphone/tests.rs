//! From a simulated microphone to a peer's slot.

use super::super::EncodedAudio;
use super::super::fanout::{Outgoing, Slot};
use super::super::opus::{PACKET, SILENCE};
use super::worker::level_dbfs;
use super::*;
use crate::config::MicrophoneDevice;
use crate::devices::{CapturedPeriod, Faults, PERIOD, SAMPLE_RATE, open_microphone_with_faults};
use crate::room::{Bitrate, Event};
use std::time::Duration;
use tokio::sync::mpsc;

const PERIOD_DURATION: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);

struct Rig {
    out: AudioOut,
    faults: Faults,
    slot: Slot,
    events: mpsc::Receiver<Event>,
    decoder: ::opus::Decoder,
}

fn rig_with(device: MicrophoneDevice) -> Rig {
    let faults = Faults::default();
    let fanout = Fanout::new();
    let (sender, events) = EventSender::channel();
    let slot = fanout.subscribe();
    slot.set_open(true);
    let settings = MicrophoneSettings { device, ppm: 0 };
    let encoding = AudioEncoding {
        bitrate: Bitrate(32_000),
    };
    let handle = faults.clone();
    let opener = Box::new(move || open_microphone_with_faults(&settings, &handle));
    let out = AudioOut::spawn_with(opener, &encoding, fanout, sender).unwrap();
    Rig {
        out,
        faults,
        slot,
        events,
        decoder: ::opus::Decoder::new(SAMPLE_RATE, ::opus::Channels::Mono).unwrap(),
    }
}

fn rig() -> Rig {
    rig_with(MicrophoneDevice::SimTone(1000))
}

impl Rig {
    async fn packet(&mut self) -> EncodedAudio {
        let wait = async {
            loop {
                if let Outgoing::Audio(packet) = self.slot.next().await {
                    return packet;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("a packet")
    }

    /// The next packet and its decoded samples.
    async fn hear(&mut self) -> (EncodedAudio, [i16; PACKET]) {
        let packet = self.packet().await;
        let mut samples = [0; PACKET];
        let decoded = self.decoder.decode(&packet.payload, &mut samples, false);
        assert_eq!(decoded.unwrap(), PACKET);
        (packet, samples)
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event")
            .expect("the thread lives")
    }

    /// Waits for packets with this much sound, decoding on the way.
    async fn hear_level(&mut self, wanted: impl Fn(f32) -> bool) {
        for _ in 0..500 {
            let (_, samples) = self.hear().await;
            if wanted(level_dbfs(&samples)) {
                return;
            }
        }
        panic!("never heard in 10 s");
    }
}

#[test]
fn the_gate_closes_for_muted_and_for_what_was_captured_before_it_was_opened() {
    let at = Timestamp::from_millis;
    let mut order = Order {
        muted: true,
        opened_at: at(0),
        serial: 1,
    };
    let mut samples = [7; PERIOD];
    assert!(gate(&order, at(100), &mut samples));
    assert_eq!(samples, [0; PERIOD]);
    order.muted = false;
    order.opened_at = at(105);
    samples = [7; PERIOD];
    assert!(gate(&order, at(100), &mut samples));
    assert_eq!(samples, [0; PERIOD]);
    samples = [7; PERIOD];
    assert!(!gate(&order, at(105), &mut samples));
    assert_eq!(samples, [7; PERIOD]);
}

#[tokio::test]
async fn it_starts_muted_and_sends_exact_silence() {
    let mut rig = rig();
    for _ in 0..5 {
        let (packet, samples) = rig.hear().await;
        assert_eq!(packet.payload, SILENCE);
        assert_eq!(samples, [0; PACKET]);
    }
    let health = rig.out.health();
    assert_eq!(health.level_dbfs, SILENT_DBFS);
    assert!(health.packets >= 5 && health.periods >= 10);
}

#[tokio::test]
async fn the_tone_is_heard_and_media_time_runs_with_the_samples() {
    let mut rig = rig();
    rig.out.set_muted(false);
    assert_eq!(
        rig.event().await,
        Event::MicrophoneConfirmed { muted: false }
    );
    rig.hear_level(|level| (-14.0..-10.0).contains(&level))
        .await;
    let (mut last, _) = rig.hear().await;
    for _ in 0..10 {
        let (packet, samples) = rig.hear().await;
        let ticks = packet.media_time.wrapping_sub(last.media_time);
        let elapsed = packet.captured_at.since(last.captured_at);
        assert!(ticks >= PACKET as u32);
        let off = elapsed.as_micros().abs_diff(u128::from(ticks) * 1000 / 48);
        assert!(
            off <= 21_000,
            "{off} us between capture time and media time"
        );
        let crossings = samples.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
        if !rig.out.health().lost && rig.out.health().xruns == 0 {
            assert_eq!(ticks, PACKET as u32);
            assert!((19..=21).contains(&crossings), "{crossings} in 20 ms");
        }
        last = packet;
    }
    rig.out.stop();
}

#[tokio::test]
async fn from_the_second_packet_after_mute_every_sample_is_zero() {
    let mut rig = rig();
    for round in 0..5 {
        rig.out.set_muted(false);
        assert_eq!(
            rig.event().await,
            Event::MicrophoneConfirmed { muted: false }
        );
        rig.hear_level(|level| level > -20.0).await;
        for _ in 0..round {
            rig.hear().await;
        }
        rig.out.set_muted(true);
        let ordered_at = clock::monotonic();
        assert_eq!(
            rig.event().await,
            Event::MicrophoneConfirmed { muted: true }
        );
        let mut muted_packets = 0;
        while muted_packets < 10 {
            let (packet, samples) = rig.hear().await;
            if packet.captured_at >= ordered_at {
                assert_eq!(packet.payload, SILENCE);
            }
            if packet.payload == SILENCE {
                muted_packets += 1;
                assert!(muted_packets < 2 || samples == [0; PACKET]);
            } else {
                assert_eq!(muted_packets, 0, "no sound among the silence");
            }
        }
    }
    assert_eq!(rig.out.health().packets_while_muted_with_sound, 0);
}

/// Reads periods whose every sample is the number of the period.
struct Counting {
    next: i16,
    opened_at: Timestamp,
}

impl Microphone for Counting {
    fn name(&self) -> &str {
        "counting"
    }

    fn read_period(&mut self, samples: &mut [i16; PERIOD]) -> Result<CapturedPeriod, DeviceError> {
        // A device that lags: it delivers what it captured 200 ms ago.
        let captured_at = self.opened_at + PERIOD_DURATION * self.next as u32;
        let due = captured_at + Duration::from_millis(200);
        std::thread::sleep(due.since(clock::monotonic()));
        samples.fill(8000 + (self.next % 1000) * 10);
        self.next += 1;
        Ok(CapturedPeriod {
            captured_at,
            xrun: false,
        })
    }
}

#[tokio::test]
async fn what_lay_in_the_device_before_an_unmute_is_never_sent() {
    let fanout = Fanout::new();
    let (sender, _events) = EventSender::channel();
    let mut slot = fanout.subscribe();
    slot.set_open(true);
    let opener: MicrophoneOpener = Box::new(|| {
        Ok(Box::new(Counting {
            next: 0,
            opened_at: clock::monotonic(),
        }))
    });
    let encoding = AudioEncoding {
        bitrate: Bitrate(32_000),
    };
    let out = AudioOut::spawn_with(opener, &encoding, fanout, sender).unwrap();
    let mut unmuted_at = None;
    let mut sound = 0;
    for _ in 0..500 {
        let packet = tokio::time::timeout(PATIENCE, slot.next()).await.unwrap();
        let Outgoing::Audio(packet) = packet else {
            continue;
        };
        let Some(unmuted_at) = unmuted_at else {
            unmuted_at = Some(clock::monotonic());
            out.set_muted(false);
            continue;
        };
        // Its second half may be the first that is open.
        if packet.captured_at + PERIOD_DURATION < unmuted_at {
            assert_eq!(packet.payload, SILENCE);
        } else if packet.captured_at > unmuted_at {
            assert_ne!(packet.payload, SILENCE);
            sound += 1;
            if sound == 3 {
                return;
            }
        }
    }
    panic!("no sound in 10 s");
}

#[tokio::test]
async fn every_order_is_confirmed_the_repeated_one_too() {
    let mut rig = rig();
    for muted in [true, true, false, false, true] {
        rig.out.set_muted(muted);
        assert_eq!(rig.event().await, Event::MicrophoneConfirmed { muted });
    }
}

#[tokio::test]
async fn a_lost_microphone_is_silence_and_comes_back_by_itself() {
    let mut rig = rig();
    rig.out.set_muted(false);
    assert_eq!(
        rig.event().await,
        Event::MicrophoneConfirmed { muted: false }
    );
    rig.hear_level(|level| level > -20.0).await;
    rig.faults.set_gone(true);
    rig.hear_level(|level| level < -80.0).await;
    assert!(rig.out.health().lost);
    // Orders are obeyed meanwhile.
    rig.out.set_muted(true);
    assert_eq!(
        rig.event().await,
        Event::MicrophoneConfirmed { muted: true }
    );
    rig.out.set_muted(false);
    assert_eq!(
        rig.event().await,
        Event::MicrophoneConfirmed { muted: false }
    );
    rig.faults.set_gone(false);
    rig.hear_level(|level| level > -20.0).await;
    assert!(!rig.out.health().lost);
}

/// Knows its own delay no better than to some milliseconds.
struct Jittery(Box<dyn Microphone>, u64);

impl Microphone for Jittery {
    fn name(&self) -> &str {
        "jittery"
    }

    fn read_period(&mut self, samples: &mut [i16; PERIOD]) -> Result<CapturedPeriod, DeviceError> {
        let period = self.0.read_period(samples)?;
        self.1 += 1;
        let late = Duration::from_millis(self.1 * 7 % 9);
        Ok(CapturedPeriod {
            captured_at: period.captured_at + late,
            ..period
        })
    }
}

#[tokio::test]
async fn a_jittery_capture_time_does_not_move_media_time() {
    let fanout = Fanout::new();
    let (sender, _events) = EventSender::channel();
    let mut slot = fanout.subscribe();
    slot.set_open(true);
    let opener: MicrophoneOpener =
        Box::new(|| Ok(Box::new(Jittery(crate::devices::silent_microphone(), 0))));
    let encoding = AudioEncoding {
        bitrate: Bitrate(32_000),
    };
    let out = AudioOut::spawn_with(opener, &encoding, fanout, sender).unwrap();
    let mut last: Option<u32> = None;
    for _ in 0..20 {
        let outgoing = tokio::time::timeout(PATIENCE, slot.next()).await.unwrap();
        let Outgoing::Audio(packet) = outgoing else {
            continue;
        };
        let ticks = last.map(|last| packet.media_time.wrapping_sub(last));
        if out.health().xruns == 0 && slot.drops().audio == 0 {
            assert!(
                ticks.is_none_or(|ticks| ticks == PACKET as u32),
                "{ticks:?}"
            );
        }
        last = Some(packet.media_time);
    }
}

#[tokio::test]
async fn media_time_jumps_over_an_xrun_and_never_back() {
    let mut rig = rig();
    rig.out.set_muted(false);
    let mut last = rig.packet().await;
    rig.faults.cause_xruns(1);
    let deadline = clock::monotonic() + PATIENCE;
    loop {
        assert!(clock::monotonic() < deadline);
        let packet = rig.packet().await;
        let ticks = packet.media_time.wrapping_sub(last.media_time);
        assert!((960..48_000).contains(&ticks), "{ticks}");
        last = packet;
        if ticks > 960 {
            break;
        }
    }
    assert!(rig.out.health().xruns >= 1);
}

#[tokio::test]
async fn another_microphone_is_heard_under_the_same_gate() {
    let mut rig = rig();
    for _ in 0..5 {
        rig.hear().await;
    }
    let other = |device| MicrophoneSettings { device, ppm: 0 };
    rig.out.set_source(&other(MicrophoneDevice::SimTone(2000)));
    rig.out.set_encoding(&AudioEncoding {
        bitrate: Bitrate(16_000),
    });
    for _ in 0..20 {
        let (packet, _) = rig.hear().await;
        assert_eq!(packet.payload, SILENCE);
    }
    rig.out.set_muted(false);
    assert_eq!(
        rig.event().await,
        Event::MicrophoneConfirmed { muted: false }
    );
    rig.hear_level(|level| level > -20.0).await;
    let (_, samples) = rig.hear().await;
    let crossings = samples.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
    assert!((38..=42).contains(&crossings), "{crossings} in 20 ms");
    rig.out.set_source(&other(MicrophoneDevice::None));
    rig.hear_level(|level| level < -80.0).await;
    assert!(!rig.out.health().lost);
}

#[tokio::test]
async fn without_a_microphone_silence_is_sent_and_nothing_is_lost() {
    let mut rig = rig_with(MicrophoneDevice::None);
    rig.out.set_muted(false);
    assert_eq!(
        rig.event().await,
        Event::MicrophoneConfirmed { muted: false }
    );
    for _ in 0..5 {
        let (_, samples) = rig.hear().await;
        assert!(level_dbfs(&samples) < -80.0);
    }
    assert!(!rig.out.health().lost);
}
