//! Level and strongest frequency of the last 100 ms of a signal: for health and tests, not for listening.

use crate::devices::{PERIOD, SAMPLE_RATE};

/// The measured window, samples.
const WINDOW: usize = 10 * PERIOD;
/// Every so many samples become one before the frequency is looked for: 12 kHz are enough.
const DECIMATION: usize = 4;
/// Samples in the window after that.
const COARSE: usize = WINDOW / DECIMATION;
/// Distance of the frequencies tried, Hz; the window's own resolution.
const STEP: f32 = 10.0;
/// Lowest frequency tried, Hz.
const LOWEST: f32 = 80.0;
/// How many are tried: up to 4 kHz.
const STEPS: usize = 393;
/// Digital silence, dBFS.
pub(crate) const SILENCE: f32 = -120.0;
/// Below this level no frequency is given, dBFS.
const AUDIBLE: f32 = -60.0;

/// Keeps the last 100 ms.
#[derive(Clone)]
pub(crate) struct Meter {
    ring: Box<[f32; WINDOW]>,
    at: usize,
}

impl Meter {
    /// Silence.
    pub(crate) fn new() -> Self {
        Self {
            ring: Box::new([0.0; WINDOW]),
            at: 0,
        }
    }

    /// Adds 10 ms.
    pub(crate) fn push(&mut self, period: &[f32; PERIOD]) {
        self.ring[self.at..self.at + PERIOD].copy_from_slice(period);
        self.at = (self.at + PERIOD) % WINDOW;
    }

    /// dBFS; 0 is a sine of full scale, [`SILENCE`] is digital silence.
    pub(crate) fn level_dbfs(&self) -> f32 {
        let energy: f32 = self.ring.iter().map(|s| s * s).sum();
        let peak_of_sine = (2.0 * energy / WINDOW as f32).sqrt();
        (20.0 * peak_of_sine.log10()).max(SILENCE)
    }

    /// The strongest frequency between 80 Hz and 4 kHz, Hz, within a few Hz for a tone; 0 when there is
    /// hardly any sound. Some hundred thousand multiplications: ask seldom.
    pub(crate) fn frequency_hz(&self) -> f32 {
        if self.level_dbfs() < AUDIBLE {
            return 0.0;
        }
        let mut coarse = [0.0_f32; COARSE];
        for (index, sample) in coarse.iter_mut().enumerate() {
            let start = self.at + index * DECIMATION;
            let sum: f32 = (start..start + DECIMATION)
                .map(|i| self.ring[i % WINDOW])
                .sum();
            let phase = std::f32::consts::TAU * index as f32 / COARSE as f32;
            // Hann window: neighbouring frequencies leak little, and the peak is a smooth hill.
            *sample = sum * (0.5 - 0.5 * phase.cos());
        }
        let power: Vec<f32> = (0..STEPS)
            .map(|step| power_at(&coarse, LOWEST + STEP * step as f32))
            .collect();
        let peak = power
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or(0, |(index, _)| index);
        let around = |index: usize| power.get(index).map_or(0.0, |p| p.max(1e-12).ln());
        let (left, middle, right) = (
            around(peak.saturating_sub(1)),
            around(peak),
            around(peak + 1),
        );
        let bend = left - 2.0 * middle + right;
        let offset = if bend.abs() < 1e-6 {
            0.0
        } else {
            (0.5 * (left - right) / bend).clamp(-0.5, 0.5)
        };
        LOWEST + STEP * (peak as f32 + offset)
    }
}

/// Power at one frequency by the second-order recurrence (Goertzel).
fn power_at(samples: &[f32], frequency: f32) -> f32 {
    let rate = SAMPLE_RATE as f32 / DECIMATION as f32;
    let twice_cosine = 2.0 * (std::f32::consts::TAU * frequency / rate).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        (last, before) = (sample + twice_cosine * last - before, last);
    }
    last * last + before * before - twice_cosine * last * before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(frequency: f32, amplitude: f32) -> Meter {
        let mut meter = Meter::new();
        for period in 0..13 {
            let samples = std::array::from_fn(|index| {
                let time = (period * PERIOD + index) as f32 / SAMPLE_RATE as f32;
                amplitude * (std::f32::consts::TAU * frequency * time).sin()
            });
            meter.push(&samples);
        }
        meter
    }

    #[test]
    fn a_tone_is_found_within_five_hertz() {
        for frequency in [200.0, 333.3, 440.0, 997.0, 1234.5, 2000.0] {
            let heard = tone(frequency, 0.3).frequency_hz();
            assert!(
                (heard - frequency).abs() < 5.0,
                "{frequency} Hz heard as {heard} Hz"
            );
        }
    }

    #[test]
    fn levels_are_relative_to_a_sine_of_full_scale() {
        assert!(tone(440.0, 1.0).level_dbfs().abs() < 0.1);
        assert!((tone(440.0, 0.1).level_dbfs() + 20.0).abs() < 0.1);
    }

    #[test]
    fn digital_silence_is_minus_120_and_has_no_frequency() {
        assert_eq!(Meter::new().level_dbfs(), SILENCE);
        assert_eq!(Meter::new().frequency_hz(), 0.0);
    }
}
