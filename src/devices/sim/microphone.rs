//! A microphone that makes its sound, paced like a real one.

use std::f64::consts::TAU;
use std::time::Duration;

use super::faults::Faults;
use crate::clock;
use crate::devices::pace::{Pace, sleep_until};
use crate::devices::{CapturedPeriod, DeviceError, Microphone, PERIOD, SAMPLE_RATE};
use crate::room::Timestamp;

/// Samples the device holds before it runs over, as ALSA is set up here.
const BUFFER: u64 = 4 * PERIOD as u64;
/// A stalled device gives up on the read after this long, as the ALSA back end does.
const STALL_TIMEOUT: Duration = Duration::from_millis(500);
const STALL_POLL: Duration = Duration::from_millis(10);
/// -12 dBFS.
const AMPLITUDE: f64 = 0.251_188_6 * 32_767.0;

/// What a simulated microphone hears.
pub(super) trait Sound: Send {
    /// The next period; its first sample is captured at `captured_at`, and `skipped` samples were lost
    /// before it.
    fn fill(&mut self, captured_at: Timestamp, skipped: u64, samples: &mut [i16; PERIOD]);
}

/// A sine of -12 dBFS.
pub(super) struct Tone {
    step: f64,
    phase: f64,
}

impl Tone {
    pub(super) fn new(frequency_hz: u32) -> Self {
        Self {
            step: f64::from(frequency_hz) / f64::from(SAMPLE_RATE),
            phase: 0.0,
        }
    }
}

impl Sound for Tone {
    fn fill(&mut self, _: Timestamp, skipped: u64, samples: &mut [i16; PERIOD]) {
        self.phase = (self.phase + self.step * skipped as f64).fract();
        for sample in samples {
            *sample = (AMPLITUDE * (TAU * self.phase).sin()) as i16;
            self.phase = (self.phase + self.step).fract();
        }
    }
}

/// Digital silence.
pub(super) struct Silence;

impl Sound for Silence {
    fn fill(&mut self, _: Timestamp, _: u64, samples: &mut [i16; PERIOD]) {
        samples.fill(0);
    }
}

/// 400 ms of something like speech that starts sharply with each whole second of `CLOCK_MONOTONIC`,
/// then digital silence: a receiver can measure latency and lip-sync by its onset.
pub(super) struct Speech {
    phrase: Vec<i16>,
}

impl Speech {
    pub(super) fn new() -> Self {
        const VOICE_HZ: f64 = 200.0;
        const SYLLABLE: f64 = 0.1;
        /// Vowels by their first three formants, Hz.
        const VOWELS: [[f64; 3]; 4] = [
            [730.0, 1090.0, 2440.0],
            [270.0, 2290.0, 3010.0],
            [570.0, 840.0, 2410.0],
            [530.0, 1840.0, 2480.0],
        ];
        let length = SAMPLE_RATE as usize * 2 / 5;
        let mut phrase: Vec<f64> = (0..length)
            .map(|index| {
                let t = index as f64 / f64::from(SAMPLE_RATE);
                let within = (t % SYLLABLE) / SYLLABLE;
                let vowel = &VOWELS[(t / SYLLABLE) as usize % VOWELS.len()];
                // Loud at once, then fading: each syllable, and so the phrase, has a sharp onset.
                let envelope = 1.0 - 0.7 * within;
                let buzz: f64 = (1..=18)
                    .map(|harmonic| {
                        let n = f64::from(harmonic);
                        let hz = n * VOICE_HZ;
                        let gain: f64 = vowel
                            .iter()
                            .map(|formant| 1.0 / (1.0 + ((hz - formant) / 120.0).powi(2)))
                            .sum::<f64>()
                            + 1.5 / n;
                        // Phases that grow with the square keep the peaks low (Schroeder).
                        gain * (TAU * hz * t + n * n * 0.3).cos()
                    })
                    .sum();
                envelope * buzz
            })
            .collect();
        let power = phrase.iter().map(|v| v * v).sum::<f64>() / length as f64;
        let scale = AMPLITUDE / (2.0 * power).sqrt();
        for value in &mut phrase {
            *value = (*value * scale).clamp(-30_000.0, 30_000.0);
        }
        Self {
            phrase: phrase.iter().map(|v| *v as i16).collect(),
        }
    }
}

impl Sound for Speech {
    fn fill(&mut self, captured_at: Timestamp, _: u64, samples: &mut [i16; PERIOD]) {
        let nanos = u64::from(captured_at.as_duration().subsec_nanos());
        let first = (nanos * u64::from(SAMPLE_RATE) + 500_000_000) / 1_000_000_000;
        for (index, sample) in samples.iter_mut().enumerate() {
            let within = (first as usize + index) % SAMPLE_RATE as usize;
            *sample = self.phrase.get(within).copied().unwrap_or(0);
        }
    }
}

/// A recording, looped.
pub(super) struct Recording {
    samples: Vec<i16>,
    next: usize,
}

impl Recording {
    /// `samples` is not empty.
    pub(super) fn new(samples: Vec<i16>) -> Self {
        debug_assert!(!samples.is_empty());
        Self { samples, next: 0 }
    }
}

impl Sound for Recording {
    fn fill(&mut self, _: Timestamp, skipped: u64, samples: &mut [i16; PERIOD]) {
        let length = self.samples.len();
        self.next = (self.next + (skipped % length as u64) as usize) % length;
        for sample in samples {
            *sample = self.samples[self.next];
            self.next = (self.next + 1) % length;
        }
    }
}

/// See the module.
pub(super) struct SimMicrophone {
    name: String,
    ppm: i32,
    sound: Box<dyn Sound>,
    faults: Faults,
    /// Counts samples; starts with the first read.
    pace: Option<Pace>,
    next: u64,
}

impl SimMicrophone {
    pub(super) fn new(
        name: String,
        ppm: i32,
        sound: Box<dyn Sound>,
        faults: Faults,
    ) -> Result<Self, DeviceError> {
        let microphone = Self::new_unchecked(name, ppm, sound, faults);
        microphone.check("opening it")?;
        Ok(microphone)
    }

    /// Opens even what is unplugged.
    pub(super) fn new_unchecked(
        name: String,
        ppm: i32,
        sound: Box<dyn Sound>,
        faults: Faults,
    ) -> Self {
        Self {
            name,
            ppm,
            sound,
            faults,
            pace: None,
            next: 0,
        }
    }

    fn check(&self, attempt: &'static str) -> Result<(), DeviceError> {
        if self.faults.is_gone() {
            return Err(DeviceError::Gone {
                device: self.name.clone(),
                attempt,
                reason: "unplugged by a test".to_owned(),
            });
        }
        Ok(())
    }
}

impl Microphone for SimMicrophone {
    fn name(&self) -> &str {
        &self.name
    }

    fn read_period(&mut self, samples: &mut [i16; PERIOD]) -> Result<CapturedPeriod, DeviceError> {
        let give_up = clock::monotonic() + STALL_TIMEOUT;
        while self.faults.is_stalled() {
            if clock::monotonic() >= give_up {
                return Err(DeviceError::Stalled {
                    device: self.name.clone(),
                    after: STALL_TIMEOUT,
                });
            }
            std::thread::sleep(STALL_POLL);
        }
        self.check("reading a period")?;
        let pace = *self
            .pace
            .get_or_insert_with(|| Pace::new(SAMPLE_RATE, self.ppm, clock::monotonic()));
        let mut skipped = 0;
        if self.faults.take_xrun() {
            skipped = PERIOD as u64;
        }
        let now = pace.tick_at(clock::monotonic());
        if now > self.next + skipped + BUFFER {
            skipped = now - self.next;
        }
        self.next += skipped;
        let captured_at = pace.at(self.next);
        self.next += PERIOD as u64;
        sleep_until(pace.at(self.next));
        self.sound.fill(captured_at, skipped, samples);
        Ok(CapturedPeriod {
            captured_at,
            xrun: skipped > 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(sound: Box<dyn Sound>, faults: &Faults) -> SimMicrophone {
        SimMicrophone::new("sim:tone".to_owned(), 0, sound, faults.clone())
            .expect("a simulated microphone opens")
    }

    #[test]
    fn periods_follow_each_other_without_drift() {
        let mut microphone = open(Box::new(Tone::new(440)), &Faults::default());
        let mut samples = [0; PERIOD];
        let first = microphone.read_period(&mut samples).unwrap();
        assert!(clock::monotonic().since(first.captured_at) >= Duration::from_millis(10));
        let mut expected = 0;
        for _ in 0..5 {
            let period = microphone.read_period(&mut samples).unwrap();
            expected += 10;
            if period.xrun {
                return; // the machine stood still for 40 ms
            }
            let offset = period.captured_at.since(first.captured_at);
            assert_eq!(offset, Duration::from_millis(expected));
        }
    }

    #[test]
    fn the_tone_has_its_level_and_frequency() {
        let mut tone = Tone::new(1000);
        let mut all = Vec::new();
        for _ in 0..10 {
            let mut samples = [0; PERIOD];
            tone.fill(Timestamp::default(), 0, &mut samples);
            all.extend_from_slice(&samples);
        }
        let peak = all.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!((8100..8300).contains(&peak), "{peak}");
        let crossings = all.windows(2).filter(|w| w[0] < 0 && w[1] >= 0).count();
        assert!((98..=101).contains(&crossings), "{crossings} in 100 ms");
    }

    #[test]
    fn speech_starts_with_the_second_and_ends_in_digital_silence() {
        let mut speech = Speech::new();
        let mut samples = [0; PERIOD];
        // 4 ms before a whole second.
        speech.fill(Timestamp::from_millis(41_996), 0, &mut samples);
        assert!(samples[..192].iter().all(|s| *s == 0));
        let loud = samples[192..]
            .iter()
            .position(|s| s.unsigned_abs() > 327)
            .expect("an onset");
        assert!(loud < 48, "{loud} samples after the second");
        speech.fill(Timestamp::from_millis(42_390), 0, &mut samples);
        assert!(samples.iter().any(|s| *s != 0));
        speech.fill(Timestamp::from_millis(42_400), 0, &mut samples);
        assert!(samples.iter().all(|s| *s == 0));
        let phrase = &speech.phrase;
        let power = phrase.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        let level = 20.0 * ((2.0 * power / phrase.len() as f64).sqrt() / 32_767.0).log10();
        assert!((-13.0..-11.0).contains(&level), "{level} dBFS");
    }

    #[test]
    fn a_recording_loops() {
        let mut recording = Recording::new((0..700).collect());
        let mut samples = [0; PERIOD];
        recording.fill(Timestamp::default(), 0, &mut samples);
        assert_eq!((samples[0], samples[479]), (0, 479));
        recording.fill(Timestamp::default(), 0, &mut samples);
        assert_eq!((samples[0], samples[219], samples[220]), (480, 699, 0));
        recording.fill(Timestamp::default(), 1400, &mut samples);
        assert_eq!(samples[0], 260);
    }

    #[test]
    fn an_xrun_loses_a_period_and_is_reported() {
        let faults = Faults::default();
        let mut microphone = open(Box::new(Silence), &faults);
        let mut samples = [1; PERIOD];
        let first = microphone.read_period(&mut samples).unwrap();
        assert!(!first.xrun);
        assert_eq!(samples, [0; PERIOD]);
        faults.cause_xruns(1);
        let second = microphone.read_period(&mut samples).unwrap();
        assert!(second.xrun);
        let gap = second.captured_at.since(first.captured_at);
        assert!(gap >= Duration::from_millis(20), "{gap:?}");
    }

    #[test]
    fn a_stall_ends_in_a_timeout_and_unplugging_in_gone() {
        let faults = Faults::default();
        let mut microphone = open(Box::new(Silence), &faults);
        let mut samples = [0; PERIOD];
        faults.set_stalled(true);
        let error = microphone.read_period(&mut samples).unwrap_err();
        assert!(matches!(error, DeviceError::Stalled { .. }));
        faults.set_stalled(false);
        faults.set_gone(true);
        let error = microphone.read_period(&mut samples).unwrap_err();
        assert!(matches!(error, DeviceError::Gone { .. }));
    }
}
