//! Speakers that pace like a device with a small buffer, and measure or record what they play.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::faults::Faults;
use super::meter::Meter;
use crate::clock;
use crate::devices::pace::{Pace, sleep_until};
use crate::devices::{DeviceError, Heard, PERIOD, PlayedPeriod, SAMPLE_RATE, Speaker};
use crate::room::Timestamp;

/// Between the first write and the first sound.
const START_DELAY: Duration = Duration::from_millis(20);
/// Sound that waits in the device at most, before the period being written.
const BUFFERED: Duration = Duration::from_millis(30);
/// A stalled device gives up on the write after this long, as the ALSA back end does.
const STALL_TIMEOUT: Duration = Duration::from_millis(500);
const STALL_POLL: Duration = Duration::from_millis(10);

/// See the module.
pub(super) struct SimSpeaker {
    name: String,
    ppm: i32,
    faults: Faults,
    meter: Option<Meter>,
    recorder: Option<Recorder>,
    /// Counts samples; sample 0 is heard at its start.
    pace: Option<Pace>,
    next: u64,
}

impl SimSpeaker {
    pub(super) fn new(name: String, ppm: i32, faults: Faults) -> Result<Self, DeviceError> {
        let speaker = Self {
            name,
            ppm,
            faults,
            meter: None,
            recorder: None,
            pace: None,
            next: 0,
        };
        speaker.check("opening it")?;
        Ok(speaker)
    }

    pub(super) fn measuring(mut self) -> Self {
        self.meter = Some(Meter::new());
        self
    }

    pub(super) fn recording(mut self, path: &Path) -> Result<Self, DeviceError> {
        self.recorder = Some(Recorder::create(&self.name, path)?);
        Ok(self)
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

    /// When the period that is written now is heard; waits until there is room for it.
    fn make_room(&mut self) -> (Timestamp, bool) {
        let now = clock::monotonic();
        let forced = self.faults.take_xrun();
        if let Some(pace) = self.pace
            && !forced
            && pace.at(self.next) >= now
        {
            let heard_at = pace.at(self.next);
            sleep_until(Timestamp::from_duration(
                heard_at.as_duration().saturating_sub(BUFFERED),
            ));
            return (heard_at, false);
        }
        // The first period, or the device has run dry and starts anew.
        let xrun = self.pace.is_some();
        let start = now + START_DELAY;
        self.pace = Some(Pace::new(SAMPLE_RATE, self.ppm, start));
        self.next = 0;
        (start, xrun)
    }
}

impl Speaker for SimSpeaker {
    fn name(&self) -> &str {
        &self.name
    }

    fn write_period(&mut self, samples: &[i16; PERIOD]) -> Result<PlayedPeriod, DeviceError> {
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
        self.check("writing a period")?;
        let (heard_at, xrun) = self.make_room();
        self.next += PERIOD as u64;
        if let Some(meter) = &mut self.meter {
            meter.listen(samples, heard_at);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.write(samples);
        }
        Ok(PlayedPeriod {
            delay: heard_at.since(clock::monotonic()),
            xrun,
        })
    }

    fn heard(&self) -> Option<Heard> {
        self.meter.as_ref().map(Meter::heard)
    }
}

/// Writes a WAV file.
struct Recorder {
    path: PathBuf,
    /// `None` once it is full or broken.
    writer: Option<hound::WavWriter<BufWriter<File>>>,
    samples: u64,
}

impl Recorder {
    /// A WAV file counts its bytes in 32 bits; six hours fit.
    const MAX_SAMPLES: u64 = SAMPLE_RATE as u64 * 6 * 3600;
    /// The header is brought up to date this often, so that a killed process leaves a file that plays.
    const FLUSH_EVERY: u64 = SAMPLE_RATE as u64;

    fn create(device: &str, path: &Path) -> Result<Self, DeviceError> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: SAMPLE_RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let writer =
            hound::WavWriter::create(path, spec).map_err(|error| DeviceError::Misconfigured {
                device: device.to_owned(),
                reason: format!("cannot create the recording {}: {error}", path.display()),
            })?;
        Ok(Self {
            path: path.to_owned(),
            writer: Some(writer),
            samples: 0,
        })
    }

    fn write(&mut self, samples: &[i16; PERIOD]) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let mut written = Ok(());
        for sample in samples {
            written = written.and_then(|()| writer.write_sample(*sample));
        }
        self.samples += PERIOD as u64;
        if self.samples.is_multiple_of(Self::FLUSH_EVERY) {
            written = written.and_then(|()| writer.flush());
        }
        let path = self.path.display();
        if let Err(error) = written {
            log::warn!("the recording {path} ends here: {error}");
            self.writer = None;
        } else if self.samples >= Self::MAX_SAMPLES {
            log::warn!("the recording {path} is full and ends here");
            self.writer = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker(faults: &Faults) -> SimSpeaker {
        SimSpeaker::new("sim:meter".to_owned(), 0, faults.clone())
            .expect("a simulated speaker opens")
            .measuring()
    }

    #[test]
    fn it_paces_the_writer_and_says_when_a_period_is_heard() {
        let mut speaker = speaker(&Faults::default());
        let before = clock::monotonic();
        let mut xruns = 0;
        for _ in 0..20 {
            let played = speaker.write_period(&[0; PERIOD]).unwrap();
            xruns += u32::from(played.xrun);
            assert!(played.delay <= Duration::from_millis(31), "{played:?}");
        }
        let took = clock::monotonic().since(before);
        println!("20 periods written in {took:?}, {xruns} xruns");
        // 20 periods less the 30 ms that fit into the device.
        assert!(took >= Duration::from_millis(165), "{took:?}");
    }

    #[test]
    fn it_hears_what_it_plays_at_the_time_it_plays_it() {
        let mut speaker = speaker(&Faults::default());
        speaker.write_period(&[0; PERIOD]).unwrap();
        let played = speaker.write_period(&[10_000; PERIOD]).unwrap();
        let expected = clock::monotonic() + played.delay;
        let onset = speaker.heard().unwrap().onset_at.expect("an onset");
        let off = expected.as_duration().abs_diff(onset.as_duration());
        assert!(off < Duration::from_millis(100), "{off:?}");
    }

    #[test]
    fn running_dry_is_an_xrun() {
        let faults = Faults::default();
        let mut speaker = speaker(&faults);
        assert!(!speaker.write_period(&[0; PERIOD]).unwrap().xrun);
        std::thread::sleep(Duration::from_millis(60));
        assert!(speaker.write_period(&[0; PERIOD]).unwrap().xrun);
        faults.cause_xruns(1);
        assert!(speaker.write_period(&[0; PERIOD]).unwrap().xrun);
    }

    #[test]
    fn a_gone_speaker_says_so() {
        let faults = Faults::default();
        let mut speaker = speaker(&faults);
        faults.set_gone(true);
        let error = speaker.write_period(&[0; PERIOD]).unwrap_err();
        assert!(matches!(error, DeviceError::Gone { .. }));
    }

    #[test]
    fn a_recording_can_be_read_back() {
        let path = std::env::temp_dir().join(format!("huddled-rec-{}.wav", std::process::id()));
        let mut speaker = SimSpeaker::new("sim:wav".to_owned(), 0, Faults::default())
            .unwrap()
            .measuring()
            .recording(&path)
            .unwrap();
        speaker.write_period(&[1234; PERIOD]).unwrap();
        speaker.write_period(&[-1234; PERIOD]).unwrap();
        drop(speaker);
        let mut reader = hound::WavReader::open(&path).unwrap();
        assert_eq!(reader.spec().sample_rate, SAMPLE_RATE);
        let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
        assert_eq!(samples.len(), 2 * PERIOD);
        assert_eq!((samples[0], samples[PERIOD]), (1234, -1234));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_recording_that_cannot_be_created_names_its_path() {
        let error = SimSpeaker::new("sim:wav".to_owned(), 0, Faults::default())
            .unwrap()
            .recording(Path::new("/nonexistent/folder/out.wav"))
            .err()
            .expect("no such folder");
        assert!(error.to_string().contains("/nonexistent/folder/out.wav"));
        assert!(!error.worth_retrying());
    }
}
