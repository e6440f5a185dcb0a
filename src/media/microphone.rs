//! Audio out: one thread that reads the microphone, holds the mute gate, encodes and publishes.

mod source;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::EncodedAudio;
use super::error::EncodeError;
use super::fanout::Fanout;
use super::opus::{AudioEncoder, PACKET, SILENCE};
use crate::clock;
use crate::config::{AudioEncoding, MicrophoneSettings};
use crate::devices::{
    CapturedPeriod, DeviceError, Microphone, PERIOD, SAMPLE_RATE, open_microphone,
};
use crate::events::EventSender;
use crate::room::{Event, Timestamp};
use source::Source;

/// 10 ms.
const PERIOD_DURATION: Duration = Duration::from_millis(10);
/// Periods that begin later than this after the end of the one before have a gap before them.
const GAP: Duration = Duration::from_millis(5);
/// Level of digital silence, dBFS.
const SILENT_DBFS: f32 = -120.0;

/// Opens the microphone, again and again if need be.
pub type MicrophoneOpener = Box<dyn FnMut() -> Result<Box<dyn Microphone>, DeviceError> + Send>;

/// What the pipeline has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AudioOutHealth {
    /// Periods of 10 ms read from the device.
    pub periods: u64,
    /// Packets of 20 ms published.
    pub packets: u64,
    /// Packets published while muted that were not the constant silence: always 0.
    pub packets_while_muted_with_sound: u64,
    /// Level of the last packet as it left, dBFS; -120 for digital silence.
    pub level_dbfs: f32,
    /// Times the device ran over.
    pub xruns: u64,
    /// The microphone is gone or was never there; silence leaves.
    pub lost: bool,
}

/// The handle of the thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct AudioOut {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    order: Mutex<Order>,
    stop: AtomicBool,
    beats: AtomicU64,
    periods: AtomicU64,
    packets: AtomicU64,
    leaked: AtomicU64,
    level: AtomicU32,
    xruns: AtomicU64,
    lost: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Order {
    muted: bool,
    /// When the gate was last ordered open: what was captured earlier never leaves.
    opened_at: Timestamp,
    /// Counts the orders, so that each is confirmed, the repeated one too.
    serial: u64,
}

impl Shared {
    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AudioOut {
    /// Starts the thread, muted until [`AudioOut::set_muted`] orders otherwise.
    ///
    /// # Errors
    /// When the encoder or the thread cannot be made. A missing microphone is no error: it is reported as
    /// [`Event::MicrophoneLost`] and looked for every second, while silence leaves.
    pub fn spawn(
        settings: &MicrophoneSettings,
        encoding: &AudioEncoding,
        fanout: Arc<Fanout>,
        events: EventSender,
    ) -> Result<Self, EncodeError> {
        let settings = settings.clone();
        let opener = Box::new(move || open_microphone(&settings));
        Self::spawn_with(opener, encoding, fanout, events)
    }

    /// As [`AudioOut::spawn`] with a microphone of one's own.
    ///
    /// # Errors
    /// As [`AudioOut::spawn`].
    pub fn spawn_with(
        opener: MicrophoneOpener,
        encoding: &AudioEncoding,
        fanout: Arc<Fanout>,
        events: EventSender,
    ) -> Result<Self, EncodeError> {
        let shared = Arc::new(Shared {
            order: Mutex::new(Order {
                muted: true,
                opened_at: Timestamp::default(),
                serial: 0,
            }),
            stop: AtomicBool::new(false),
            beats: AtomicU64::new(0),
            periods: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            leaked: AtomicU64::new(0),
            level: AtomicU32::new(SILENT_DBFS.to_bits()),
            xruns: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            source: Source::new(opener),
            lost: false,
            confirmed: 0,
            encoder: AudioEncoder::new(encoding)?,
            silent: true,
            packet: [0; PACKET],
            first_at: None,
            media_time: None,
            expected_at: None,
            fanout,
            events,
        };
        let thread = std::thread::Builder::new()
            .name("audio-out".to_owned())
            .spawn(move || worker.run())
            .map_err(EncodeError::Thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Closes or opens the gate; [`Event::MicrophoneConfirmed`] follows when that is what leaves.
    pub fn set_muted(&self, muted: bool) {
        let mut order = self.shared.order();
        if order.muted && !muted {
            order.opened_at = clock::monotonic();
        }
        order.muted = muted;
        order.serial += 1;
    }

    /// What has been done so far.
    pub fn health(&self) -> AudioOutHealth {
        let shared = &self.shared;
        AudioOutHealth {
            periods: shared.periods.load(Ordering::Relaxed),
            packets: shared.packets.load(Ordering::Relaxed),
            packets_while_muted_with_sound: shared.leaked.load(Ordering::Relaxed),
            level_dbfs: f32::from_bits(shared.level.load(Ordering::Relaxed)),
            xruns: shared.xruns.load(Ordering::Relaxed),
            lost: shared.lost.load(Ordering::Relaxed),
        }
    }

    /// Grows as long as the thread turns.
    pub fn beats(&self) -> u64 {
        self.shared.beats.load(Ordering::Relaxed)
    }

    /// Stops the thread; returns when it has ended.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the microphone thread had panicked");
        }
    }
}

impl Drop for AudioOut {
    fn drop(&mut self) {
        self.halt();
    }
}

/// The mute gate, the one place that decides whether captured sound may leave: silences the period and
/// says so while the microphone is muted, and afterwards for what was captured before it was opened. It
/// is asked at the last moment, when a packet is about to be encoded.
///
/// `mute_gate_removed` builds the program without it, for the test that proves the mute test can fail
/// (build.rs).
fn gate(order: &Order, captured_at: Timestamp, samples: &mut [i16]) -> bool {
    let closed = cfg!(not(mute_gate_removed)) && (order.muted || captured_at < order.opened_at);
    if closed {
        samples.fill(0);
    }
    closed
}

/// What lives on the thread.
struct Worker {
    shared: Arc<Shared>,
    source: Source,
    /// As last reported.
    lost: bool,
    /// Serial of the last confirmed order.
    confirmed: u64,
    encoder: AudioEncoder,
    /// Silence leaves: the encoder is fresh.
    silent: bool,
    packet: [i16; PACKET],
    /// When the first half of the packet was captured, if it is there.
    first_at: Option<Timestamp>,
    /// Of the next packet, 48 kHz; set by the first period.
    media_time: Option<u32>,
    /// When the next period should begin.
    expected_at: Option<Timestamp>,
    fanout: Arc<Fanout>,
    events: EventSender,
}

impl Worker {
    fn run(mut self) {
        let mut samples = [0; PERIOD];
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.shared.beats.fetch_add(1, Ordering::Relaxed);
            let period = match self.source.open() {
                Ok(from_device) => {
                    let period = self.source.read(&mut samples);
                    if from_device && period.is_ok() && self.lost {
                        log::info!("the microphone is back");
                        self.set_lost(false);
                    }
                    period
                }
                Err(error) => Err(error),
            };
            match period {
                Ok(period) => self.on_period(period, &samples),
                Err(error) => {
                    if !self.lost {
                        log::warn!("no sound from the microphone, silence is sent: {error}");
                    }
                    self.set_lost(true);
                }
            }
        }
    }

    fn on_period(&mut self, period: CapturedPeriod, samples: &[i16; PERIOD]) {
        self.shared.periods.fetch_add(1, Ordering::Relaxed);
        if period.xrun {
            self.shared.xruns.fetch_add(1, Ordering::Relaxed);
        }
        self.keep_time(period.captured_at);
        let Some(first_at) = self.first_at.take() else {
            self.packet[..PERIOD].copy_from_slice(samples);
            self.first_at = Some(period.captured_at);
            return;
        };
        self.packet[PERIOD..].copy_from_slice(samples);

        // Both halves under the order that holds now, when the packet is about to leave.
        let order = *self.shared.order();
        let (first, second) = self.packet.split_at_mut(PERIOD);
        let first_closed = gate(&order, first_at, first);
        let second_closed = gate(&order, period.captured_at, second);
        if let Some(payload) = self.payload(first_closed && second_closed) {
            self.publish(payload, first_at, &order);
        }
        if self.confirmed != order.serial && (order.muted || !second_closed) {
            self.confirmed = order.serial;
            self.events
                .report(Event::MicrophoneConfirmed { muted: order.muted });
        }
    }

    /// Keeps media time on the sample clock, and lets it jump over what was not captured.
    fn keep_time(&mut self, captured_at: Timestamp) {
        let gap = self
            .expected_at
            .map_or(Duration::ZERO, |expected| captured_at.since(expected));
        self.expected_at = Some(captured_at + PERIOD_DURATION);
        match self.media_time {
            None => self.media_time = Some(ticks(captured_at.as_duration())),
            Some(media_time) if gap > GAP => {
                // Half a packet from before the gap goes with it: its other half does not exist.
                let half = self.first_at.take().map_or(0, |_| PERIOD as u32);
                self.media_time = Some(media_time.wrapping_add(half).wrapping_add(ticks(gap)));
            }
            Some(_) => {}
        }
    }

    /// The packet as it leaves; `None` where the encoder failed.
    fn payload(&mut self, closed: bool) -> Option<Bytes> {
        if closed != self.silent {
            // Both ways: neither prediction nor FEC may carry what was said before a mute.
            if let Err(error) = self.encoder.reset() {
                log::error!("{error}");
                return None;
            }
            self.silent = closed;
        }
        if closed {
            self.shared
                .level
                .store(SILENT_DBFS.to_bits(), Ordering::Relaxed);
            return Some(Bytes::from_static(SILENCE));
        }
        let level = level_dbfs(&self.packet);
        self.shared.level.store(level.to_bits(), Ordering::Relaxed);
        match self.encoder.encode(&self.packet) {
            Ok(payload) => Some(payload),
            Err(error) => {
                log::error!("{error}");
                None
            }
        }
    }

    fn publish(&mut self, payload: Bytes, captured_at: Timestamp, order: &Order) {
        if order.muted && payload != SILENCE {
            self.shared.leaked.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.packets.fetch_add(1, Ordering::Relaxed);
        let media_time = self.media_time.unwrap_or_default();
        self.media_time = Some(media_time.wrapping_add(PACKET as u32));
        self.fanout.publish_audio(&EncodedAudio {
            payload,
            media_time,
            captured_at,
        });
    }

    fn set_lost(&mut self, lost: bool) {
        if self.lost != lost {
            self.lost = lost;
            self.shared.lost.store(lost, Ordering::Relaxed);
            self.events.report(Event::MicrophoneLost(lost));
        }
    }
}

/// Ticks of the 48 kHz RTP clock of Opus; wraps (RFC 7587, 4.1).
fn ticks(time: Duration) -> u32 {
    (time.as_nanos() * u128::from(SAMPLE_RATE) / 1_000_000_000) as u32
}

/// RMS relative to a full-scale sine.
fn level_dbfs(samples: &[i16]) -> f32 {
    let power: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    let relative = 2.0 * power / (samples.len().max(1) as f64 * 32_767.0 * 32_767.0);
    if relative == 0.0 {
        return SILENT_DBFS;
    }
    (10.0 * relative.log10() as f32).max(SILENT_DBFS)
}

#[cfg(test)]
mod tests;
