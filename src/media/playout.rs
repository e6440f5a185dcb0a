//! One peer's sound on the speaker thread: decodes what the jitter buffer hands out and stretches or
//! shrinks time a little, so that the delay meets its target and two clocks that differ never click.

use std::sync::{Mutex, PoisonError};

use super::jitter::{JitterBuffer, MILLISECOND, Pop};
use super::meter::Meter;
use super::opus_decode::{self, OpusDecoder};
use crate::devices::PERIOD;
use crate::room::Timestamp;

/// Largest change of speed; 1 % is a sixth of a semitone.
const MAX_STRETCH: f64 = 0.01;
/// Change of speed per sample of excess: 1 % at 40 ms, and a drift of 300 ppm leaves 1.2 ms.
const STRETCH_PER_SAMPLE: f64 = 0.000_25 / MILLISECOND as f64;
/// Share of a new measurement in the smoothed excess: about a second of periods.
const SMOOTHING: f64 = 0.02;
/// Excess from which quiet periods are left out.
const SKIP_QUIET_OVER: f64 = (20 * MILLISECOND) as f64;
/// What counts as quiet: -50 dBFS.
const QUIET: f32 = 0.003;
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
            let pop = jitter
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop(self.ahead(), now);
            self.idle = pop == Pop::Idle;
            if self.idle {
                break;
            }
            self.on_pop(pop);
        }
        if self.idle && self.decoded.len() as f64 <= self.position {
            period.fill(0.0);
            self.meter.push(period);
            return false;
        }
        self.skip_quiet();
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
                    blend(&tail, fresh);
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

    /// Leaves out a quiet period when there is too much delay: a pause gets shorter and nobody notices.
    fn skip_quiet(&mut self) {
        let start = self.position as usize;
        let end = start + PERIOD + BLEND;
        let rest = end + PERIOD + PERIOD / 50 + LOOKAHEAD + 1;
        if self.excess < SKIP_QUIET_OVER || self.decoded.len() < rest {
            return;
        }
        if self.decoded[start..end].iter().any(|s| s.abs() > QUIET) {
            return;
        }
        let (before, after) = self.decoded.split_at_mut(start + PERIOD);
        blend(&before[start..start + BLEND], after);
        self.decoded.drain(start..start + PERIOD);
        self.excess -= PERIOD as f64;
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
        let jitter = jitter.lock().unwrap_or_else(PoisonError::into_inner);
        // The next period is played one period from now.
        match jitter.delay(self.ahead(), now) {
            Some(delay) => {
                let excess = (delay + PERIOD as i64 - jitter.target()) as f64;
                self.excess += SMOOTHING * (excess - self.excess);
            }
            None => self.excess = 0.0,
        }
    }
}

/// Goes over from `from` to `into` within the length of `from`, in place.
fn blend(from: &[f32], into: &mut [f32]) {
    let length = from.len() as f32;
    for (index, (old, new)) in from.iter().zip(into).enumerate() {
        let share = index as f32 / length;
        *new = old * (1.0 - share) + *new * share;
    }
}
