//! One peer's sound on the speaker thread: decodes what the jitter buffer hands out and stretches or
//! shrinks time a little, so that the delay meets its target and two clocks that differ never click.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::jitter::{JitterBuffer, MILLISECOND, Pop};
use super::meter::Meter;
use super::opus_decode::{self, OpusDecoder};
use super::stretch;
use crate::devices::PERIOD;
use crate::room::Timestamp;

/// Largest change of speed: a thirtieth of a semitone, and far more than two clocks ever differ.
const MAX_STRETCH: f64 = 0.002;
/// Change of speed per sample of excess: a drift of 300 ppm leaves 1.2 ms.
const STRETCH_PER_SAMPLE: f64 = 0.000_25 / MILLISECOND as f64;
/// Share of a new measurement in the smoothed excess: about half a second of periods.
const SMOOTHING: f64 = 0.02;
/// Excess, either way, from which periods of the waveform are left out or repeated.
const SPLICE_OVER: f64 = (15 * MILLISECOND) as f64;
/// Excess from which a bad splice is better than none.
const SPLICE_ANYWAY_OVER: f64 = (60 * MILLISECOND) as f64;
/// Periods between two splices: at most a quarter faster or slower.
const SPLICE_EVERY: u32 = 6;
/// Resemblance that makes a splice inaudible, and one that will do ([`stretch::best_lag`]).
const GOOD_SPLICE: f32 = 0.8;
/// See [`GOOD_SPLICE`].
const FAIR_SPLICE: f32 = 0.3;
/// Samples over which two signals are blended, 2.5 ms.
const BLEND: usize = 120;
/// Concealment is faded out between these, so that a long gap ends in silence.
const FADE_FROM: usize = 400 * MILLISECOND as usize;
/// See [`FADE_FROM`].
const FADE_TO: usize = 600 * MILLISECOND as usize;
/// Samples the interpolation looks at after its position.
const LOOKAHEAD: usize = 2;

/// How sound was made that no packet brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repairs {
    /// Concealed, samples; silence between talking peers does not count.
    pub(crate) concealed_samples: u64,
    /// Packets recovered from in-band FEC.
    pub(crate) fec_recovered: u64,
    /// Packets libopus refused.
    pub(crate) decode_errors: u64,
}

/// The decoding end of one peer's sound.
pub(crate) struct Playout {
    decoder: OpusDecoder,
    /// Decoded samples; one that is already played lies in front for the interpolation.
    decoded: Vec<f32>,
    /// Where in `decoded` the next sample lies; at least 1.
    position: f64,
    /// Delay less target, smoothed, samples.
    excess: f64,
    /// Periods since the last splice.
    unspliced: u32,
    /// Concealed in one go, samples.
    concealed_run: usize,
    idle: bool,
    repairs: Repairs,
    meter: Meter,
}

impl Playout {
    /// Nothing decoded yet.
    pub(crate) fn new() -> Self {
        Self {
            decoder: OpusDecoder::new(),
            decoded: vec![0.0],
            position: 1.0,
            excess: 0.0,
            unspliced: 0,
            concealed_run: 0,
            idle: true,
            repairs: Repairs::default(),
            meter: Meter::new(),
        }
    }

    /// Samples decoded and not yet played.
    pub(crate) fn ahead(&self) -> usize {
        self.decoded.len().saturating_sub(self.position as usize)
    }

    /// How sound was made that no packet brought.
    pub(crate) fn repairs(&self) -> Repairs {
        Repairs {
            decode_errors: self.decoder.errors(),
            ..self.repairs
        }
    }

    /// What was played lately.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The next 10 ms, full scale 1.0. Returns `false` for plain silence.
    pub(crate) fn pull(
        &mut self,
        jitter: &Mutex<JitterBuffer>,
        period: &mut [f32; PERIOD],
        now: Timestamp,
    ) -> bool {
        let step = 1.0 + (self.excess * STRETCH_PER_SAMPLE).clamp(-MAX_STRETCH, MAX_STRETCH);
        let needed = PERIOD as f64 * step;
        while self.position + needed + LOOKAHEAD as f64 + 1.0 > self.decoded.len() as f64 {
            self.idle = !self.decode_next(jitter, now);
            if self.idle {
                break;
            }
        }
        if self.idle && self.decoded.len() as f64 <= self.position {
            period.fill(0.0);
            self.excess = 0.0;
            self.meter.push(period);
            return false;
        }
        self.splice(jitter, now);
        if self.idle {
            // The end of what was decoded: pad this period.
            let end = (self.position + needed) as usize + LOOKAHEAD + 1;
            let length = self.decoded.len().max(end);
            self.decoded.resize(length, 0.0);
        }
        for sample in period.iter_mut() {
            *sample = self.interpolate();
            self.position += step;
        }
        let played = self.position as usize - 1;
        self.decoded.drain(..played.min(self.decoded.len() - 1));
        self.position -= played as f64;
        if self.idle {
            self.decoded.clear();
            self.decoded.push(0.0);
            self.position = 1.0;
        }
        self.measure_excess(jitter, now);
        self.meter.push(period);
        true
    }

    /// Asks the jitter buffer for more; `false` if there is nothing to play.
    fn decode_next(&mut self, jitter: &Mutex<JitterBuffer>, now: Timestamp) -> bool {
        let pop = lock(jitter).pop(self.ahead(), now);
        let something = pop != Pop::Idle;
        self.on_pop(pop);
        something
    }

    fn on_pop(&mut self, pop: Pop) {
        match pop {
            Pop::Packet {
                payload,
                samples,
                discontinuous,
            } => {
                let tail = discontinuous.then(|| {
                    let mut tail = [0.0; BLEND];
                    tail.copy_from_slice(self.decoder.conceal(BLEND));
                    tail
                });
                let fresh = self.decoder.decode(&payload, samples);
                if let Some(tail) = tail {
                    stretch::blend(&tail, fresh);
                }
                self.concealed_run = 0;
                self.decoded.extend_from_slice(fresh);
            }
            Pop::Recover { next, samples } => {
                if opus_decode::carries_fec(&next) {
                    self.repairs.fec_recovered += 1;
                } else {
                    self.repairs.concealed_samples += samples as u64;
                }
                self.decoded
                    .extend_from_slice(self.decoder.recover(&next, samples));
            }
            Pop::Conceal { samples } => {
                let concealed = self.decoder.conceal(samples);
                for sample in concealed.iter_mut() {
                    self.concealed_run += 1;
                    let left = FADE_TO.saturating_sub(self.concealed_run) as f32;
                    *sample *= (left / (FADE_TO - FADE_FROM) as f32).min(1.0);
                }
                self.repairs.concealed_samples += samples as u64;
                self.decoded.extend_from_slice(concealed);
            }
            Pop::Idle => {}
        }
    }

    /// Leaves a piece out when there is far too much delay, repeats one when there is far too little.
    fn splice(&mut self, jitter: &Mutex<JitterBuffer>, now: Timestamp) {
        self.unspliced += 1;
        let size = self.excess.abs();
        if size < SPLICE_OVER || self.unspliced < SPLICE_EVERY {
            return;
        }
        let start = self.position as usize;
        let mut wanted = start + stretch::SPAN;
        if self.excess > 0.0 {
            // A period must still be there after the piece is gone.
            wanted += PERIOD + PERIOD / 50 + LOOKAHEAD + 1;
        }
        while self.decoded.len() < wanted {
            // Looking ahead must not turn a packet that comes in time into a loss.
            if !lock(jitter).has_next() || !self.decode_next(jitter, now) {
                return;
            }
        }
        let Some((lag, quality)) = stretch::best_lag(&self.decoded[start..]) else {
            return;
        };
        let enough = if size < SPLICE_ANYWAY_OVER {
            GOOD_SPLICE
        } else {
            FAIR_SPLICE
        };
        if quality < enough {
            return;
        }
        self.unspliced = 0;
        if self.excess > 0.0 {
            stretch::shrink(&mut self.decoded, start, lag);
            self.excess -= lag as f64;
        } else {
            stretch::grow(&mut self.decoded, start, lag);
            self.excess += lag as f64;
        }
    }

    /// Cubic Hermite interpolation (Catmull-Rom) at the position.
    fn interpolate(&self) -> f32 {
        let index = self.position as usize;
        let t = (self.position - index as f64) as f32;
        let [a, b, c, d] = [
            self.decoded[index - 1],
            self.decoded[index],
            self.decoded[index + 1],
            self.decoded[index + 2],
        ];
        let slope_b = (c - a) / 2.0;
        let slope_c = (d - b) / 2.0;
        let square = 3.0 * (c - b) - 2.0 * slope_b - slope_c;
        let cube = 2.0 * (b - c) + slope_b + slope_c;
        ((cube * t + square) * t + slope_b) * t + b
    }

    fn measure_excess(&mut self, jitter: &Mutex<JitterBuffer>, now: Timestamp) {
        let jitter = lock(jitter);
        // The next period is played one period from now.
        if let Some(delay) = jitter.delay(self.ahead(), now) {
            let excess = (delay + PERIOD as i64 - jitter.target()) as f64;
            self.excess += SMOOTHING * (excess - self.excess);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
