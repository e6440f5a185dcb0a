//! What runs on the microphone thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::super::EncodedAudio;
use super::super::error::EncodeError;
use super::super::fanout::Fanout;
use super::super::opus::{AudioEncoder, PACKET, SILENCE};
use super::source::Source;
use super::{MicrophoneOpener, Order, SILENT_DBFS, Setup, Shared, gate};
use crate::config::AudioEncoding;
use crate::devices::{CapturedPeriod, PERIOD, SAMPLE_RATE};
use crate::events::EventSender;
use crate::room::{Event, Timestamp};

/// 10 ms.
const PERIOD_DURATION: Duration = Duration::from_millis(10);
/// A device that reports an xrun has lost what was captured in a gap longer than this.
const XRUN_GAP: Duration = Duration::from_millis(5);
/// One that does not has lost something only in a longer gap (it was opened anew): many devices know
/// their own delay no better than to a period, and such jitter must not move media time.
const SILENT_GAP: Duration = Duration::from_millis(50);

/// What lives on the thread.
pub(super) struct Worker {
    shared: Arc<Shared>,
    source: Source,
    /// As the journal was told.
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
    pub(super) fn new(
        shared: Arc<Shared>,
        opener: MicrophoneOpener,
        encoding: &AudioEncoding,
        fanout: Arc<Fanout>,
        events: EventSender,
    ) -> Result<Self, EncodeError> {
        Ok(Self {
            shared,
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
        })
    }

    pub(super) fn run(mut self) {
        let mut samples = [0; PERIOD];
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.shared.beats.fetch_add(1, Ordering::Relaxed);
            let setup = std::mem::take(&mut *self.shared.setup());
            self.renew(setup);
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

    /// Goes on with another microphone or another encoding.
    fn renew(&mut self, setup: Setup) {
        let Setup { opener, encoding } = setup;
        if let Some(opener) = opener {
            // The old device is closed before the new one is opened, which may be the same.
            self.source = Source::new(opener);
        }
        if let Some(encoding) = encoding
            && let Err(error) = self.encoder.set_bitrate(&encoding)
        {
            log::error!("[audio] bitrate stays as it was: {error}");
        }
    }

    fn on_period(&mut self, period: CapturedPeriod, samples: &[i16; PERIOD]) {
        self.shared.periods.fetch_add(1, Ordering::Relaxed);
        if period.xrun {
            self.shared.xruns.fetch_add(1, Ordering::Relaxed);
        }
        self.keep_time(&period);
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
    fn keep_time(&mut self, period: &CapturedPeriod) {
        let captured_at = period.captured_at;
        let longest = if period.xrun { XRUN_GAP } else { SILENT_GAP };
        let gap = self
            .expected_at
            .map_or(Duration::ZERO, |expected| captured_at.since(expected));
        self.expected_at = Some(captured_at + PERIOD_DURATION);
        match self.media_time {
            None => self.media_time = Some(ticks(captured_at.as_duration())),
            Some(media_time) if gap > longest => {
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
            if closed {
                self.fanout.drop_audio();
            }
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
        self.lost = lost;
        self.shared.lost.store(lost, Ordering::Relaxed);
    }
}

/// Ticks of the 48 kHz RTP clock of Opus; wraps (RFC 7587, 4.1).
fn ticks(time: Duration) -> u32 {
    (time.as_nanos() * u128::from(SAMPLE_RATE) / 1_000_000_000) as u32
}

/// RMS relative to a full-scale sine.
pub(super) fn level_dbfs(samples: &[i16]) -> f32 {
    let power: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    let relative = 2.0 * power / (samples.len().max(1) as f64 * 32_767.0 * 32_767.0);
    if relative == 0.0 {
        return SILENT_DBFS;
    }
    (10.0 * relative.log10() as f32).max(SILENT_DBFS)
}
