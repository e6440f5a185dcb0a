//! Microphone and speaker: a tone from one is looked for in the other, with level and delay.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{Check, Verdict};
use crate::clock::monotonic;
use crate::config::{MicrophoneDevice, Settings, SpeakerDevice};
use crate::devices::{
    DeviceError, Microphone, PERIOD, SAMPLE_RATE, Speaker, open_microphone, open_speaker,
};
use crate::room::Timestamp;

/// Of the tone: ten turns in a period, so that a period tells its strength exactly.
const TONE_HZ: f64 = 1000.0;
/// Of the tone, full scale 1: -12 dBFS.
const LOUDNESS: f64 = 0.25;
/// Periods of silence before the tone, of the tone, and after it; a loop may have some delay.
const PHASES: [usize; 3] = [60, 100, 60];
/// A tone that is weaker was not heard: -60 dBFS.
const WEAKEST: f64 = 0.001;
/// How much stronger than what was there before.
const STANDS_OUT: f64 = 4.0;
/// Periods in a row that have it.
const STEADY: usize = 5;
/// A device that takes longer for all this has no clock.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn check(settings: &Settings) -> Vec<Check> {
    let has_microphone = settings.microphone.device != MicrophoneDevice::None;
    let has_speaker = settings.speaker.device != SpeakerDevice::None;
    let absent = |name: &str| {
        let text = format!("none is configured; set [{name}] device");
        Check::new(name, Verdict::Skipped, text)
    };
    if !has_microphone && !has_speaker {
        return vec![absent("microphone"), absent("speaker")];
    }
    let failed =
        |name: &str, error: &DeviceError| Check::new(name, Verdict::Fail, error.to_string());
    let microphone = open_microphone(&settings.microphone);
    let speaker = open_speaker(&settings.speaker);
    let (mut microphone, mut speaker) = match (microphone, speaker) {
        (Ok(microphone), Ok(speaker)) => (microphone, speaker),
        (microphone, speaker) => {
            let of = |name, error: Option<DeviceError>| match error {
                Some(error) => failed(name, &error),
                None => Check::new(name, Verdict::Skipped, "it opens; more needs the other one"),
            };
            return vec![
                of("microphone", microphone.err()),
                of("speaker", speaker.err()),
            ];
        }
    };
    let loops = match settings.sound_in_one_room() {
        // They do not hear each other, and must not be said to.
        false => Loop::Apart,
        true if has_microphone && has_speaker => Loop::Expected,
        true => Loop::Half,
    };
    let (heard, played) = play_and_listen(&mut *microphone, &mut *speaker);
    let mut checks = Vec::new();
    match (&heard, has_microphone) {
        (_, false) => checks.push(absent("microphone")),
        (Err(error), true) => checks.push(failed("microphone", error)),
        (Ok(heard), true) => checks.push(heard.judge(microphone.name())),
    }
    match (&played, has_speaker) {
        (_, false) => checks.push(absent("speaker")),
        (Err(error), true) => checks.push(failed("speaker", error)),
        (Ok(played), true) => checks.push(played.judge(speaker.name())),
    }
    if let (Ok(heard), Ok(played)) = (&heard, &played) {
        checks.push(match loops {
            Loop::Expected => judge_loop(heard, played),
            Loop::Half => Check::new(
                "sound loop",
                Verdict::Skipped,
                "it takes a microphone and a speaker",
            ),
            Loop::Apart => Check::new(
                "sound loop",
                Verdict::Skipped,
                "simulated devices do not hear each other",
            ),
        });
    }
    checks
}

/// Whether the microphone can hear the speaker.
enum Loop {
    Expected,
    Half,
    Apart,
}

/// What the microphone gave.
struct Listened {
    /// When each period was captured, and how strong the tone is in it, full scale 1.
    periods: Vec<(Timestamp, f64)>,
    /// Largest sample.
    peak: u16,
    /// Of everything before the tone, full scale 1.
    noise: f64,
    xruns: usize,
    took: Duration,
}

/// What the speaker took.
struct Played {
    /// When the tone's first sample was heard in the room.
    tone_at: Timestamp,
    xruns: usize,
    took: Duration,
}

fn play_and_listen(
    microphone: &mut dyn Microphone,
    speaker: &mut dyn Speaker,
) -> (Result<Listened, DeviceError>, Result<Played, DeviceError>) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let listening = scope.spawn(|| listen(microphone, &done));
        let played = play(speaker);
        done.store(true, Ordering::Relaxed);
        let heard = listening
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (heard, played)
    })
}

fn play(speaker: &mut dyn Speaker) -> Result<Played, DeviceError> {
    let begun = monotonic();
    let mut played = Played {
        tone_at: begun,
        xruns: 0,
        took: Duration::ZERO,
    };
    let [before, tone, after] = PHASES;
    for number in 0..before + tone + after {
        let sounds = (before..before + tone).contains(&number);
        let samples = std::array::from_fn(|index| match sounds {
            true => {
                let turns = (number * PERIOD + index) as f64 * TONE_HZ / f64::from(SAMPLE_RATE);
                (LOUDNESS * 32_767.0 * (turns.fract() * std::f64::consts::TAU).sin()) as i16
            }
            false => 0,
        });
        let period = speaker.write_period(&samples)?;
        if number == before {
            played.tone_at = monotonic() + period.delay;
        }
        // Opening may take longer than the first period.
        played.xruns += usize::from(period.xrun && number > 0);
    }
    played.took = monotonic().since(begun);
    Ok(played)
}

/// Listens until the speaker is done, but at least as long as it would take.
fn listen(microphone: &mut dyn Microphone, done: &AtomicBool) -> Result<Listened, DeviceError> {
    let begun = monotonic();
    let mut periods = Vec::new();
    let (mut peak, mut xruns) = (0, 0);
    let mut energy = 0.0;
    let mut quiet = 0_usize;
    let mut samples = [0; PERIOD];
    let least: usize = PHASES.iter().sum();
    while (periods.len() < least || !done.load(Ordering::Relaxed))
        && monotonic().since(begun) < LIMIT
    {
        let period = microphone.read_period(&mut samples)?;
        xruns += usize::from(period.xrun && !periods.is_empty());
        let loudest = samples.iter().map(|sample| sample.unsigned_abs()).max();
        peak = peak.max(loudest.unwrap_or(0));
        if periods.len() < PHASES[0] / 2 {
            energy += samples
                .iter()
                .map(|sample| (f64::from(*sample) / 32_767.0).powi(2))
                .sum::<f64>();
            quiet += PERIOD;
        }
        periods.push((period.captured_at, strength(&samples)));
    }
    Ok(Listened {
        periods,
        peak,
        noise: (2.0 * energy / quiet.max(1) as f64).sqrt(),
        xruns,
        took: monotonic().since(begun),
    })
}

/// Amplitude of the tone in a period, full scale 1.
fn strength(samples: &[i16; PERIOD]) -> f64 {
    let step = std::f64::consts::TAU * TONE_HZ / f64::from(SAMPLE_RATE);
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (index, sample) in samples.iter().enumerate() {
        let sample = f64::from(*sample) / 32_767.0;
        sine += sample * (step * index as f64).sin();
        cosine += sample * (step * index as f64).cos();
    }
    2.0 * sine.hypot(cosine) / PERIOD as f64
}

/// dBFS, 0 is a sine of full scale; -120 for digital silence.
fn decibels(amplitude: f64) -> f64 {
    (20.0 * amplitude.log10()).max(-120.0)
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Listened {
    fn judge(&self, device: &str) -> Check {
        let noise = decibels(self.noise);
        let (verdict, text) = if self.peak == 0 {
            (
                Verdict::Fail,
                format!(
                    "{device}: only digital silence; it is muted at a switch of its own or in alsamixer"
                ),
            )
        } else {
            let facts = format!("{device}: the room is at {noise:.0} dBFS");
            (Verdict::Pass, format!("{facts}, {} overruns", self.xruns))
        };
        Check::new("microphone", verdict, text).with(json!({
            "room_dbfs": rounded(noise),
            "peak_dbfs": rounded(decibels(f64::from(self.peak) / 32_767.0)),
            "xruns": self.xruns,
            "periods": self.periods.len(),
            "took_ms": self.took.as_millis() as u64,
        }))
    }
}

impl Played {
    fn judge(&self, device: &str) -> Check {
        let span = Duration::from_millis(10) * PHASES.iter().sum::<usize>() as u32;
        let text = format!(
            "{device}: took {:.1} s of sound in {:.1} s, {} underruns; a tone of {TONE_HZ:.0} Hz was played",
            span.as_secs_f64(),
            self.took.as_secs_f64(),
            self.xruns
        );
        Check::new("speaker", Verdict::Pass, text).with(json!({
            "xruns": self.xruns,
            "took_ms": self.took.as_millis() as u64,
        }))
    }
}

/// Looks for the tone in what was captured from its time on.
fn judge_loop(heard: &Listened, played: &Played) -> Check {
    let name = "sound loop";
    let strengths: Vec<f64> = heard.periods.iter().map(|(_, tone)| *tone).collect();
    let before = heard
        .periods
        .iter()
        .filter(|(at, _)| *at + Duration::from_millis(20) < played.tone_at)
        .map(|(_, tone)| *tone)
        .fold(0.0, f64::max);
    let threshold = WEAKEST.max(before * STANDS_OUT);
    let onset = strengths
        .windows(STEADY)
        .position(|window| window.iter().all(|tone| *tone > threshold));
    let Some(onset) = onset else {
        let loudest = strengths.iter().copied().fold(0.0, f64::max);
        let text = format!(
            "the microphone did not hear the speaker's tone ({:.0} dBFS at most); turn both up in alsamixer, look at the \
             speaker's power and cable, and see that both are in the same room",
            decibels(loudest)
        );
        let figures = json!({ "loudest_dbfs": rounded(decibels(loudest)) });
        return Check::new(name, Verdict::Fail, text).with(figures);
    };
    let mut during = strengths[onset..(onset + PHASES[1] / 2).min(strengths.len())].to_vec();
    during.sort_by(f64::total_cmp);
    let level = decibels(during[during.len() / 2]);
    let at = heard.periods[onset].0;
    let delay = at.as_duration().as_secs_f64() - played.tone_at.as_duration().as_secs_f64();
    let text = format!(
        "the microphone heard the speaker's tone at {level:.0} dBFS, {:.0} ms after it was due",
        delay * 1000.0
    );
    Check::new(name, Verdict::Pass, text).with(json!({
        "level_dbfs": rounded(level),
        "delay_ms": (delay * 1000.0).round(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::{CapturedPeriod, PlayedPeriod};
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    type Air = Arc<Mutex<VecDeque<[i16; PERIOD]>>>;

    struct Ear {
        air: Air,
        begun: Timestamp,
        read: u32,
        volume: f64,
    }

    struct Mouth {
        air: Air,
        begun: Timestamp,
        written: u32,
    }

    const TICK: Duration = Duration::from_millis(10);

    impl Microphone for Ear {
        fn name(&self) -> &str {
            "ear"
        }

        fn read_period(
            &mut self,
            samples: &mut [i16; PERIOD],
        ) -> Result<CapturedPeriod, DeviceError> {
            let captured_at = self.begun + TICK * self.read;
            self.read += 1;
            std::thread::sleep((captured_at + TICK).since(monotonic()));
            let sound = self.air.lock().unwrap().pop_front();
            *samples = sound.unwrap_or([0; PERIOD]).map(|sample| {
                // Some noise, as there is everywhere.
                (f64::from(sample) * self.volume) as i16 + 3
            });
            Ok(CapturedPeriod {
                captured_at,
                xrun: false,
            })
        }
    }

    impl Speaker for Mouth {
        fn name(&self) -> &str {
            "mouth"
        }

        fn write_period(&mut self, samples: &[i16; PERIOD]) -> Result<PlayedPeriod, DeviceError> {
            let at = self.begun + TICK * self.written;
            self.written += 1;
            std::thread::sleep(at.since(monotonic()));
            self.air.lock().unwrap().push_back(*samples);
            Ok(PlayedPeriod {
                delay: Duration::ZERO,
                xrun: false,
            })
        }
    }

    /// A tone that is as late as this air is deep.
    fn through_the_air(volume: f64) -> (Listened, Played) {
        let air: Air = Arc::default();
        air.lock().unwrap().extend([[0; PERIOD]; 8]);
        let begun = monotonic();
        let mut ear = Ear {
            air: Arc::clone(&air),
            begun,
            read: 0,
            volume,
        };
        let mut mouth = Mouth {
            air,
            begun,
            written: 0,
        };
        let (heard, played) = play_and_listen(&mut ear, &mut mouth);
        (heard.unwrap(), played.unwrap())
    }

    #[test]
    fn a_tone_is_found_with_its_level_and_its_delay() {
        let (mut heard, mut played) = through_the_air(0.5);
        let mut check = judge_loop(&heard, &played);
        println!("{}", check.line());
        if check.verdict != Verdict::Pass {
            // Both ends sleep in real time: a busy machine may spoil one attempt.
            println!("REPEAT: the tone was not found, once more");
            (heard, played) = through_the_air(0.5);
            check = judge_loop(&heard, &played);
            println!("{}", check.line());
        }
        assert_eq!(check.verdict, Verdict::Pass, "{}", check.text);
        let level = check.figures["level_dbfs"].as_f64().unwrap();
        assert!((-19.0..-17.0).contains(&level), "{level}");
        let delay = check.figures["delay_ms"].as_f64().unwrap();
        // 80 ms of air; the machine may add to it.
        assert!((50.0..400.0).contains(&delay), "{delay}");
        assert_eq!(heard.judge("ear").verdict, Verdict::Pass);
    }

    #[test]
    fn a_tone_that_does_not_arrive_is_missed() {
        let (heard, played) = through_the_air(0.0);
        let check = judge_loop(&heard, &played);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.text.contains("did not hear"), "{}", check.text);
    }

    #[test]
    fn a_microphone_of_digital_silence_fails_and_simulated_ones_do_not_hear_each_other() {
        let silent = Listened {
            periods: Vec::new(),
            peak: 0,
            noise: 0.0,
            xruns: 0,
            took: Duration::ZERO,
        };
        let check = silent.judge("x");
        assert_eq!(check.verdict, Verdict::Fail);
        assert_eq!(check.figures["room_dbfs"], -120.0);
        let mut settings = Settings::default();
        settings.microphone.device = MicrophoneDevice::SimTone(440);
        settings.speaker.device = SpeakerDevice::SimMeter;
        let verdicts: Vec<_> = super::check(&settings)
            .into_iter()
            .map(|check| (check.name, check.verdict))
            .collect();
        assert_eq!(
            verdicts,
            [
                ("microphone".to_owned(), Verdict::Pass),
                ("speaker".to_owned(), Verdict::Pass),
                ("sound loop".to_owned(), Verdict::Skipped),
            ]
        );
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let mut settings = Settings::default();
        settings.microphone.device =
            MicrophoneDevice::Alsa(crate::config::SoundName::parse("hw:CARD=NoSuchCard").unwrap());
        let checks = super::check(&settings);
        assert_eq!(checks[0].verdict, Verdict::Fail);
        assert!(checks[0].text.contains("NoSuchCard"), "{}", checks[0].text);
    }
}
