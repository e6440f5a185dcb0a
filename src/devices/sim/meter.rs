//! Measures sound: level, strongest frequency, onset.

use std::f32::consts::TAU;
use std::time::Duration;

use crate::devices::{Heard, PERIOD, SAMPLE_RATE};
use crate::room::Timestamp;

/// Samples that level and frequency look back on: 100 ms.
const WINDOW: usize = SAMPLE_RATE as usize / 10;
/// Points of the transform; zero-padded, so that a bin is 5.9 Hz wide.
const POINTS: usize = 8192;
/// -40 dBFS.
const LOUD: u16 = 327;
/// Samples below that before a louder one is an onset: 200 ms.
const QUIET: u64 = SAMPLE_RATE as u64 / 5;
/// Level of digital silence, dBFS.
const SILENT_DBFS: f32 = -120.0;

/// Listens to a stream of periods.
#[derive(Debug)]
pub(super) struct Meter {
    /// The last 100 ms, a ring.
    window: Vec<i16>,
    next: usize,
    quiet: u64,
    onset_at: Option<Timestamp>,
    last_sound_at: Option<Timestamp>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            window: vec![0; WINDOW],
            next: 0,
            quiet: QUIET,
            onset_at: None,
            last_sound_at: None,
        }
    }

    /// The next period; its first sample is heard at `heard_at`.
    pub(super) fn listen(&mut self, samples: &[i16; PERIOD], heard_at: Timestamp) {
        let at = |index: usize| {
            heard_at + Duration::from_nanos(index as u64 * 1_000_000_000 / u64::from(SAMPLE_RATE))
        };
        for (index, sample) in samples.iter().enumerate() {
            self.window[self.next] = *sample;
            self.next = (self.next + 1) % WINDOW;
            if sample.unsigned_abs() > LOUD {
                if self.quiet >= QUIET {
                    self.onset_at = Some(at(index));
                }
                self.quiet = 0;
            } else {
                self.quiet += 1;
            }
        }
        if let Some(index) = samples.iter().rposition(|sample| *sample != 0) {
            self.last_sound_at = Some(at(index));
        }
    }

    /// What was heard up to the last period.
    pub(super) fn heard(&self) -> Heard {
        let (newer, older) = self.window.split_at(self.next);
        let ordered: Vec<f32> = older
            .iter()
            .chain(newer)
            .map(|sample| f32::from(*sample) / 32_767.0)
            .collect();
        let power = ordered.iter().map(|v| v * v).sum::<f32>() / WINDOW as f32;
        let level_dbfs = if power > 0.0 {
            (10.0 * (2.0 * power).log10()).max(SILENT_DBFS)
        } else {
            SILENT_DBFS
        };
        Heard {
            level_dbfs,
            frequency_hz: if power > 0.0 {
                strongest_frequency(&ordered)
            } else {
                0.0
            },
            onset_at: self.onset_at,
            last_sound_at: self.last_sound_at,
        }
    }
}

/// By a windowed Fourier transform; between the bins by a parabola through the peak.
fn strongest_frequency(samples: &[f32]) -> f32 {
    let mut re = vec![0.0f32; POINTS];
    let mut im = vec![0.0f32; POINTS];
    for (index, (target, sample)) in re.iter_mut().zip(samples).enumerate() {
        let hann = 0.5 - 0.5 * (TAU * index as f32 / samples.len() as f32).cos();
        *target = sample * hann;
    }
    fourier(&mut re, &mut im);
    let power: Vec<f32> = (0..POINTS / 2)
        .map(|bin| re[bin] * re[bin] + im[bin] * im[bin])
        .collect();
    // Not the first bins: an offset is no tone.
    let peak = (3..POINTS / 2 - 1)
        .max_by(|a, b| power[*a].total_cmp(&power[*b]))
        .unwrap_or(0);
    if peak == 0 || power[peak] <= 0.0 {
        return 0.0;
    }
    let log = |bin: usize| power[bin].max(f32::MIN_POSITIVE).ln();
    let (left, middle, right) = (log(peak - 1), log(peak), log(peak + 1));
    let curve = left - 2.0 * middle + right;
    let shift = if curve < 0.0 {
        (0.5 * (left - right) / curve).clamp(-0.5, 0.5)
    } else {
        0.0
    };
    (peak as f32 + shift) * SAMPLE_RATE as f32 / POINTS as f32
}

/// Radix-2 Fourier transform in place; the length is a power of two.
fn fourier(re: &mut [f32], im: &mut [f32]) {
    let n = re.len();
    let bits = n.trailing_zeros();
    for index in 0..n {
        let reversed = index.reverse_bits() >> (usize::BITS - bits);
        if reversed > index {
            re.swap(index, reversed);
            im.swap(index, reversed);
        }
    }
    let mut half = 1;
    while half < n {
        for offset in 0..half {
            let (sin, cos) = (-TAU * offset as f32 / (2 * half) as f32).sin_cos();
            let mut a = offset;
            while a < n {
                let b = a + half;
                let (tr, ti) = (re[b] * cos - im[b] * sin, re[b] * sin + im[b] * cos);
                re[b] = re[a] - tr;
                im[b] = im[a] - ti;
                re[a] += tr;
                im[a] += ti;
                a += 2 * half;
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(meter: &mut Meter, from_period: u64, periods: u64, sound: impl Fn(f64) -> f64) {
        for period in from_period..from_period + periods {
            let samples = std::array::from_fn(|index| {
                let n = period as usize * PERIOD + index;
                (sound(n as f64 / f64::from(SAMPLE_RATE)) * 32_767.0) as i16
            });
            meter.listen(&samples, Timestamp::from_millis(period * 10));
        }
    }

    fn sine(hz: f64, amplitude: f64) -> impl Fn(f64) -> f64 {
        move |t| amplitude * (t * std::f64::consts::TAU * hz).sin()
    }

    #[test]
    fn level_and_frequency_of_tones_are_right() {
        for (hz, amplitude, dbfs) in [
            (440.0, 1.0, 0.0),
            (441.3, 0.25, -12.04),
            (120.0, 0.1, -20.0),
            (1000.0, 0.01, -40.0),
            (7_654.3, 0.5, -6.02),
        ] {
            let mut meter = Meter::new();
            play(&mut meter, 0, 20, sine(hz, amplitude));
            let heard = meter.heard();
            assert!(
                (heard.frequency_hz - hz as f32).abs() < 1.0,
                "{heard:?}, {hz}"
            );
            assert!((heard.level_dbfs - dbfs).abs() < 0.3, "{heard:?}, {dbfs}");
        }
    }

    #[test]
    fn the_stronger_of_two_tones_counts() {
        let mut meter = Meter::new();
        play(&mut meter, 0, 20, |t| {
            sine(440.0, 0.1)(t) + sine(880.0, 0.2)(t)
        });
        assert!((meter.heard().frequency_hz - 880.0).abs() < 2.0);
    }

    #[test]
    fn silence_is_minus_120_dbfs_without_a_frequency() {
        let mut meter = Meter::new();
        assert_eq!(
            meter.heard(),
            Heard {
                level_dbfs: SILENT_DBFS,
                ..Heard::default()
            }
        );
        play(&mut meter, 0, 5, sine(440.0, 0.5));
        play(&mut meter, 5, 11, |_| 0.0);
        let heard = meter.heard();
        assert_eq!((heard.level_dbfs, heard.frequency_hz), (SILENT_DBFS, 0.0));
        assert!(heard.last_sound_at.is_some());
    }

    #[test]
    fn an_onset_is_the_first_loud_sample_after_200_ms_of_quiet() {
        let mut meter = Meter::new();
        // Starts 5 ms into period 30, pauses too briefly, then long enough.
        let burst = |t: f64| {
            let sounding = (0.305..0.4).contains(&t) || (0.5..0.6).contains(&t) || t >= 0.85;
            f64::from(u8::from(sounding)) * 0.5
        };
        play(&mut meter, 0, 70, burst);
        let onset = meter.heard().onset_at.expect("an onset");
        assert_eq!(onset, Timestamp::from_millis(305));
        let last = meter.heard().last_sound_at.expect("sound");
        assert!(Timestamp::from_millis(600).since(last) < Duration::from_millis(1));
        play(&mut meter, 70, 30, burst);
        assert_eq!(meter.heard().onset_at, Some(Timestamp::from_millis(850)));
    }
}
