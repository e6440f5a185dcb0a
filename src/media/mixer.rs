//! The speaker's loop: mixes a period, writes it at the device's pace, opens the device again after
//! it was lost, and goes on consuming at its own pace meanwhile, so that nothing piles up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock;
use crate::devices::{DeviceError, Heard, PERIOD, PlayedPeriod, SAMPLE_RATE, Speaker};
use crate::room::Timestamp;

/// How often a lost speaker is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Length of a period.
const PACE: Duration = Duration::from_micros(PERIOD as u64 * 1_000_000 / SAMPLE_RATE as u64);
/// Further behind than this the own pace starts anew instead of catching up.
const MAX_BEHIND: Duration = Duration::from_millis(200);
/// Highest level that leaves the mixer, full scale 1.0.
const CEILING: f32 = 0.98;
/// How much the limiter opens again per period: 20 dB in about a second.
const RELEASE: f32 = 1.023;
/// Periods between two looks at a simulated speaker's meter.
const HEARD_EVERY: u64 = 10;

/// Opens the configured speaker.
pub type OpenSpeaker = Box<dyn FnMut() -> Result<Box<dyn Speaker>, DeviceError> + Send>;

/// Keeps a sum of voices within full scale: turns down at once, up slowly.
#[derive(Debug)]
pub(crate) struct Limiter {
    gain: f32,
}

impl Limiter {
    pub(crate) fn new() -> Self {
        Self { gain: 1.0 }
    }

    /// Converts a summed period to samples. Below the ceiling nothing is changed.
    pub(crate) fn limit(&mut self, sum: &[f32; PERIOD], samples: &mut [i16; PERIOD]) {
        /// The gain moves within these samples, so that it does not click.
        const RAMP: usize = 48;
        let peak = sum.iter().fold(0.0_f32, |peak, s| peak.max(s.abs()));
        let wanted = if peak > CEILING { CEILING / peak } else { 1.0 };
        let old = self.gain;
        self.gain = wanted.min(old * RELEASE).min(1.0);
        for (index, (sample, sum)) in samples.iter_mut().zip(sum).enumerate() {
            let share = ((index + 1) as f32 / RAMP as f32).min(1.0);
            let gain = old + (self.gain - old) * share;
            let value = (sum * gain).clamp(-1.0, 1.0);
            *sample = (value * f32::from(i16::MAX)).round() as i16;
        }
    }
}

/// What the loop tells others, and is told.
#[derive(Default)]
pub(crate) struct SpeakerStatus {
    /// Periods mixed.
    pub(crate) beats: AtomicU64,
    /// A device is open.
    pub(crate) open: AtomicBool,
    /// Times a device ran dry.
    pub(crate) xruns: AtomicU64,
    /// Ends the loop.
    pub(crate) stopping: AtomicBool,
    /// What a simulated speaker heard.
    pub(crate) heard: Mutex<Option<Heard>>,
    /// The speaker to go on with.
    pub(crate) other: Mutex<Option<OpenSpeaker>>,
}

/// Runs until `status.stopping`. `mix` fills the sum of all voices, full scale 1.0, for the period about to
/// be played.
pub(crate) fn run(
    mut open: OpenSpeaker,
    mut mix: impl FnMut(&mut [f32; PERIOD], Timestamp),
    status: &SpeakerStatus,
) {
    let mut device = Device::Closed {
        retry_at: Some(clock::monotonic()),
    };
    let mut reported = false;
    let mut limiter = Limiter::new();
    let mut sum = [0.0; PERIOD];
    let mut samples = [0; PERIOD];
    let mut pace = Pace::new(clock::monotonic());
    while !status.stopping.load(Ordering::Relaxed) {
        let other = status
            .other
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(other) = other {
            // The old device is closed before the new one is opened, which may be the same.
            let retry_at = Some(clock::monotonic());
            device = Device::Closed { retry_at };
            (open, reported) = (other, false);
            pace = Pace::new(clock::monotonic());
        }
        device.retry(&mut open, &mut reported, clock::monotonic());
        status
            .open
            .store(matches!(device, Device::Open(_)), Ordering::Relaxed);
        mix(&mut sum, clock::monotonic());
        limiter.limit(&sum, &mut samples);
        let written = match &mut device {
            Device::Open(speaker) => {
                play(speaker.as_mut(), &samples, &mut reported).map(|played| {
                    status
                        .xruns
                        .fetch_add(u64::from(played.xrun), Ordering::Relaxed);
                })
            }
            Device::Closed { .. } => {
                pace.wait();
                Ok(())
            }
        };
        let beats = status.beats.fetch_add(1, Ordering::Relaxed);
        match written {
            Err(error) => {
                device = closed_after(&error, &mut reported, clock::monotonic());
                pace = Pace::new(clock::monotonic());
            }
            Ok(()) if beats.is_multiple_of(HEARD_EVERY) => {
                let heard = match &device {
                    Device::Open(speaker) => speaker.heard(),
                    Device::Closed { .. } => None,
                };
                *status.heard.lock().unwrap_or_else(PoisonError::into_inner) = heard;
            }
            Ok(()) => {}
        }
    }
}

enum Device {
    Open(Box<dyn Speaker>),
    /// `None`: an operator must act first.
    Closed {
        retry_at: Option<Timestamp>,
    },
}

impl Device {
    fn retry(&mut self, open: &mut OpenSpeaker, reported: &mut bool, now: Timestamp) {
        let Device::Closed {
            retry_at: Some(retry_at),
        } = self
        else {
            return;
        };
        if now < *retry_at {
            return;
        }
        match open() {
            Ok(speaker) => *self = Device::Open(speaker),
            Err(error) => *self = closed_after(&error, reported, now),
        }
    }
}

/// Only a speaker that plays is back: one that opens and then fails would be reported each second.
fn play(
    speaker: &mut dyn Speaker,
    samples: &[i16; PERIOD],
    reported: &mut bool,
) -> Result<PlayedPeriod, DeviceError> {
    let played = speaker.write_period(samples)?;
    if std::mem::take(reported) {
        log::info!(device = speaker.name(); "the speaker is back");
    }
    Ok(played)
}

fn closed_after(error: &DeviceError, reported: &mut bool, now: Timestamp) -> Device {
    let retry_at = error.worth_retrying().then_some(now + RETRY);
    if retry_at.is_none() {
        log::error!("nothing can be heard in the room: {error}");
    } else if !*reported {
        log::warn!(
            "nothing can be heard in the room; the speaker is tried again every second: {error}"
        );
    }
    *reported = true;
    Device::Closed { retry_at }
}

/// Paces the loop while there is no device to do it.
struct Pace {
    next: Timestamp,
}

impl Pace {
    fn new(now: Timestamp) -> Self {
        Self { next: now }
    }

    fn wait(&mut self) {
        let now = clock::monotonic();
        if now.since(self.next) > MAX_BEHIND {
            self.next = now;
        }
        self.next = self.next + PACE;
        std::thread::sleep(self.next.since(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens always; plays only when it works.
    struct Flaky {
        works: bool,
    }

    impl Speaker for Flaky {
        fn name(&self) -> &str {
            "flaky"
        }

        fn write_period(&mut self, _: &[i16; PERIOD]) -> Result<PlayedPeriod, DeviceError> {
            if self.works {
                return Ok(PlayedPeriod {
                    delay: Duration::ZERO,
                    xrun: false,
                });
            }
            Err(DeviceError::Gone {
                device: "flaky".to_owned(),
                attempt: "writing a period",
                reason: "no such device".to_owned(),
            })
        }
    }

    #[test]
    fn a_speaker_that_opens_but_does_not_play_is_not_back() {
        let mut reported = false;
        let mut now = Timestamp::default();
        let mut device = Device::Closed {
            retry_at: Some(now),
        };
        for (works, expected) in [(false, true), (false, true), (true, false)] {
            let before = reported;
            let mut open: OpenSpeaker = Box::new(move || Ok(Box::new(Flaky { works })));
            device.retry(&mut open, &mut reported, now);
            let Device::Open(speaker) = &mut device else {
                panic!("not opened");
            };
            assert_eq!(reported, before, "opening alone tells nothing");
            if let Err(error) = play(speaker.as_mut(), &[0; PERIOD], &mut reported) {
                device = closed_after(&error, &mut reported, now);
            }
            assert_eq!(reported, expected);
            now = now + RETRY;
        }
    }

    fn limited(limiter: &mut Limiter, amplitude: f32) -> [i16; PERIOD] {
        let sum = std::array::from_fn(|n| amplitude * (n as f32 * 0.1).sin());
        let mut samples = [0; PERIOD];
        limiter.limit(&sum, &mut samples);
        samples
    }

    #[test]
    fn below_full_scale_nothing_is_changed() {
        let mut limiter = Limiter::new();
        let samples = limited(&mut limiter, 0.9);
        for (n, sample) in samples.iter().enumerate() {
            let exact = 0.9 * (n as f32 * 0.1).sin() * 32767.0;
            assert!((f32::from(*sample) - exact).abs() <= 1.0);
        }
        assert_eq!(limited(&mut limiter, 0.0), [0; PERIOD]);
    }

    #[test]
    fn many_loud_voices_are_turned_down_and_come_back() {
        let mut limiter = Limiter::new();
        limited(&mut limiter, 3.0);
        let loud = limited(&mut limiter, 3.0);
        let peak = loud.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!(
            (31_000..=32_200).contains(&peak),
            "turned down, not cut: {peak}"
        );
        for _ in 0..200 {
            limited(&mut limiter, 0.3);
        }
        let quiet = limited(&mut limiter, 0.3);
        let peak = quiet.iter().map(|s| s.unsigned_abs()).max().unwrap();
        assert!(peak.abs_diff(9830) < 20, "{peak}");
    }
}
