//! ALSA capture and playback by PCM name: 48 kHz, S16, mono or the first channel of stereo, periods of
//! 480 frames in a buffer of 1920 to play and of 9600 to capture, or what the device grants instead.

use std::time::Duration;

use ::alsa::pcm::{Access, Format, HwParams, PCM, State};
use ::alsa::{Direction, Output, ValueOr};

use super::pace::{Pace, sleep_until};
use super::{CapturedPeriod, DeviceError, Microphone, PERIOD, PlayedPeriod, SAMPLE_RATE, Speaker};
use crate::clock;
use crate::config::SoundName;

/// Frames asked for in the buffer of a speaker, which is kept full: all of it is delay. `dmix` and sound servers grant
/// several times as many.
const PLAYBACK_BUFFER: usize = 4 * PERIOD;
/// Of a microphone, whose buffer is kept empty: a larger one delays nothing, and a thread that runs late, as on a busy
/// machine, loses nothing.
const CAPTURE_BUFFER: usize = 20 * PERIOD;
/// A device that moves nothing for so long has stalled.
const STALL_TIMEOUT: Duration = Duration::from_millis(500);
/// Within so many periods, after those that fill its buffer, a PCM shows whether it has a clock of its own.
const PROBE_PERIODS: u64 = 100;
/// How far a PCM may run ahead of the time of day, besides its buffer, before it is taken for one without a
/// clock.
const MAX_LEAD: Duration = Duration::from_millis(60);

/// An open PCM and the clock that stands in for one it does not have.
struct Stream {
    name: String,
    pcm: PCM,
    channels: usize,
    /// Frames in the buffer that was granted.
    buffer: u64,
    interleaved: Vec<i16>,
    /// Periods moved since the stream was started.
    periods: u64,
    /// Set by the first period.
    pace: Option<Pace>,
    /// PCMs such as `null` and `file` take and give at once: they are paced here.
    unpaced: bool,
}

impl Stream {
    fn open(name: &SoundName, direction: Direction) -> Result<Self, DeviceError> {
        let name = name.as_str();
        // The library would write its complaints to standard error; they go into the message instead.
        let complaints = Output::local_error_handler().ok();
        let opened = PCM::new(name, direction, false);
        let pcm = opened.map_err(|error| {
            let said = complaints.map(|output| output.borrow().to_string());
            let said = said.and_then(|text| text.lines().next().map(str::to_owned));
            let reason = said.map_or_else(|| error.to_string(), |said| format!("{error}; {said}"));
            // Never the operator's for certain: a name of a card that is not plugged in is as unknown
            // to ALSA as one that is misspelled.
            DeviceError::Gone {
                device: name.to_owned(),
                attempt: "opening it",
                reason: format!("{reason}; `aplay -L` and `arecord -L` list what is there"),
            }
        })?;
        let (channels, buffer) = configure(&pcm, direction).map_err(|error| match error.errno() {
            libc::ENODEV | libc::EBUSY | libc::EIO | libc::EAGAIN => {
                gone(name, "setting it up", error)
            }
            _ => DeviceError::Misconfigured {
                device: name.to_owned(),
                reason: format!(
                    "cannot do 48000 Hz, 16 bit, mono or stereo ({error}); use plughw: instead of hw:, which converts"
                ),
            },
        })?;
        if direction == Direction::Capture {
            pcm.start()
                .map_err(|error| gone(name, "starting it", error))?;
        }
        Ok(Self {
            name: name.to_owned(),
            pcm,
            channels,
            buffer,
            interleaved: vec![0; PERIOD * channels],
            periods: 0,
            pace: None,
            unpaced: false,
        })
    }

    /// Waits until the device has, or has room for, a period.
    fn wait(&self, attempt: &'static str) -> Result<(), ::alsa::Error> {
        match self.pcm.wait(Some(STALL_TIMEOUT.as_millis() as u32)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(::alsa::Error::new(attempt, libc::ETIMEDOUT)),
            Err(error) => Err(error),
        }
    }

    /// After an xrun or a suspend; whether the stream runs again.
    fn recover(
        &mut self,
        error: ::alsa::Error,
        attempt: &'static str,
        direction: Direction,
    ) -> Result<(), DeviceError> {
        if error.errno() == libc::ETIMEDOUT {
            return Err(DeviceError::Stalled {
                device: self.name.clone(),
                after: STALL_TIMEOUT,
            });
        }
        self.pcm
            .try_recover(error, true)
            .and_then(|()| match direction {
                // Resumed from a suspend, it may run already.
                Direction::Capture if self.pcm.state() == State::Prepared => self.pcm.start(),
                Direction::Capture | Direction::Playback => Ok(()),
            })
            .map_err(|error| gone(&self.name, attempt, error))?;
        self.pace = None;
        self.periods = 0;
        Ok(())
    }

    /// Counts a period and keeps the stream from running ahead of time. The pace, once the PCM has
    /// turned out to need it.
    fn keep_pace(&mut self) -> Option<(Pace, u64)> {
        let now = clock::monotonic();
        let pace = *self
            .pace
            .get_or_insert_with(|| Pace::new(SAMPLE_RATE, 0, now));
        let period = self.periods;
        self.periods += 1;
        let sample = period * PERIOD as u64;
        let probing = period < self.buffer / PERIOD as u64 + PROBE_PERIODS;
        let lead = pace.at(sample).since(now);
        // The buffer is filled at once; that is no lead.
        if !self.unpaced && probing && lead > span(self.buffer) + MAX_LEAD {
            log::info!("{}: has no clock of its own, paced by ours", self.name);
            self.unpaced = true;
        }
        self.unpaced.then_some((pace, sample))
    }
}

/// How long so many frames take.
fn span(frames: u64) -> Duration {
    Duration::from_nanos(frames.saturating_mul(1_000_000_000) / u64::from(SAMPLE_RATE))
}

/// How long ago a period just read began, with `delay` frames still in a buffer of `buffer`: those are younger.
fn age(delay: i64, buffer: u64) -> Duration {
    span(u64::try_from(delay).unwrap_or(0).min(buffer) + PERIOD as u64)
}

/// The number of channels and the frames in the buffer that were agreed on.
fn configure(pcm: &PCM, direction: Direction) -> Result<(usize, u64), ::alsa::Error> {
    {
        let hardware = HwParams::any(pcm)?;
        hardware.set_rate_resample(true)?;
        hardware.set_access(Access::RWInterleaved)?;
        hardware.set_format(Format::s16())?;
        hardware
            .set_channels(1)
            .or_else(|_| hardware.set_channels(2))?;
        hardware.set_rate(SAMPLE_RATE, ValueOr::Nearest)?;
        hardware.set_period_size_near(PERIOD as i64, ValueOr::Nearest)?;
        hardware.set_buffer_size_near(match direction {
            Direction::Capture => CAPTURE_BUFFER,
            Direction::Playback => PLAYBACK_BUFFER,
        } as i64)?;
        pcm.hw_params(&hardware)?;
    }
    let current = pcm.hw_params_current()?;
    let channels = current.get_channels()? as usize;
    let buffer = u64::try_from(current.get_buffer_size()?).unwrap_or(0);
    let software = pcm.sw_params_current()?;
    software.set_avail_min(PERIOD as i64)?;
    if direction == Direction::Playback {
        // A device that granted less than two periods would never start.
        software.set_start_threshold((2 * PERIOD as i64).min(current.get_buffer_size()?))?;
    }
    pcm.sw_params(&software)?;
    Ok((channels, buffer))
}

fn gone(name: &str, attempt: &'static str, error: ::alsa::Error) -> DeviceError {
    DeviceError::Gone {
        device: name.to_owned(),
        attempt,
        reason: error.to_string(),
    }
}

/// Capture.
pub(super) struct AlsaMicrophone(Stream);

impl AlsaMicrophone {
    pub(super) fn open(name: &SoundName) -> Result<Self, DeviceError> {
        Ok(Self(Stream::open(name, Direction::Capture)?))
    }

    fn read(&mut self) -> Result<(), ::alsa::Error> {
        let stream = &mut self.0;
        let mut done = 0;
        while done < PERIOD {
            stream.wait("snd_pcm_wait")?;
            let rest = &mut stream.interleaved[done * stream.channels..];
            match stream.pcm.io_checked::<i16>()?.readi(rest)? {
                // A file that has come to its end.
                0 => {
                    rest.fill(0);
                    done = PERIOD;
                }
                frames => done += frames,
            }
        }
        Ok(())
    }
}

impl Microphone for AlsaMicrophone {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn read_period(&mut self, samples: &mut [i16; PERIOD]) -> Result<CapturedPeriod, DeviceError> {
        let mut xrun = false;
        let begun = clock::monotonic();
        while let Err(error) = self.read() {
            // A busy machine has several overruns in a row; a device has failed that has nothing but them.
            if xrun && clock::monotonic().since(begun) >= STALL_TIMEOUT {
                return Err(gone(&self.0.name, "reading a period", error));
            }
            self.0
                .recover(error, "recovering from an overrun", Direction::Capture)?;
            xrun = true;
        }
        let stream = &mut self.0;
        let frames = stream.interleaved.chunks_exact(stream.channels);
        for (sample, frame) in samples.iter_mut().zip(frames) {
            *sample = frame[0];
        }
        let captured_at = match stream.keep_pace() {
            Some((pace, sample)) => {
                sleep_until(pace.at(sample + PERIOD as u64));
                pace.at(sample)
            }
            None => {
                let age = age(stream.pcm.delay().unwrap_or(0), stream.buffer);
                let now = clock::monotonic().as_duration();
                crate::room::Timestamp::from_duration(now.saturating_sub(age))
            }
        };
        Ok(CapturedPeriod { captured_at, xrun })
    }
}

/// Playback.
pub(super) struct AlsaSpeaker(Stream);

impl AlsaSpeaker {
    pub(super) fn open(name: &SoundName) -> Result<Self, DeviceError> {
        Ok(Self(Stream::open(name, Direction::Playback)?))
    }

    fn write(&mut self) -> Result<(), ::alsa::Error> {
        let stream = &self.0;
        let mut done = 0;
        while done < PERIOD {
            stream.wait("snd_pcm_wait")?;
            let rest = &stream.interleaved[done * stream.channels..];
            match stream.pcm.io_checked::<i16>()?.writei(rest)? {
                // Ready, yet it takes nothing: trying on would spin.
                0 => return Err(::alsa::Error::new("snd_pcm_writei", libc::EIO)),
                frames => done += frames,
            }
        }
        Ok(())
    }
}

impl Speaker for AlsaSpeaker {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn write_period(&mut self, samples: &[i16; PERIOD]) -> Result<PlayedPeriod, DeviceError> {
        let channels = self.0.channels;
        let frames = self.0.interleaved.chunks_exact_mut(channels);
        for (frame, sample) in frames.zip(samples) {
            frame.fill(*sample);
        }
        let mut xrun = false;
        let begun = clock::monotonic();
        while let Err(error) = self.write() {
            if xrun && clock::monotonic().since(begun) >= STALL_TIMEOUT {
                return Err(gone(&self.0.name, "writing a period", error));
            }
            self.0
                .recover(error, "recovering from an underrun", Direction::Playback)?;
            xrun = true;
        }
        let stream = &mut self.0;
        let delay = match stream.keep_pace() {
            Some((pace, sample)) => {
                sleep_until(pace.at(sample));
                Duration::ZERO
            }
            None => {
                let queued = stream.pcm.delay().unwrap_or(0).max(0) as u64;
                span(queued.saturating_sub(PERIOD as u64))
            }
        };
        Ok(PlayedPeriod { delay, xrun })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::Command;

    fn name(text: &str) -> SoundName {
        SoundName::parse(text).unwrap()
    }

    fn temporary(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("huddled-alsa-{}-{name}", std::process::id()))
    }

    #[test]
    fn the_null_device_captures_zeros_at_our_pace() {
        let mut microphone = AlsaMicrophone::open(&name("null")).unwrap();
        let before = clock::monotonic();
        let mut last = None;
        for _ in 0..50 {
            let mut samples = [1; PERIOD];
            let period = microphone.read_period(&mut samples).unwrap();
            assert!(!period.xrun);
            assert_eq!(samples, [0; PERIOD]);
            assert!(last.is_none_or(|last| period.captured_at > last));
            last = Some(period.captured_at);
        }
        let took = clock::monotonic().since(before);
        println!("50 periods of null in {took:?}");
        assert!(took >= Duration::from_millis(400), "{took:?}");
    }

    #[test]
    fn the_null_device_plays_at_our_pace() {
        let mut speaker = AlsaSpeaker::open(&name("null")).unwrap();
        let before = clock::monotonic();
        for _ in 0..50 {
            let played = speaker.write_period(&[1; PERIOD]).unwrap();
            assert!(played.delay < Duration::from_millis(100));
            assert!(!played.xrun);
        }
        let took = clock::monotonic().since(before);
        assert!(took >= Duration::from_millis(400), "{took:?}");
        assert!(speaker.heard().is_none());
    }

    const FIXTURE: &str = "HUDDLED_ALSA_FIXTURE";

    /// ALSA reads its configuration once per process, so this runs a test in another one, which has the PCM `fixture`.
    fn with_fixture(test: &str, definition: &str) {
        let config = temporary(&format!("{test}.conf"));
        let text = format!("</usr/share/alsa/alsa.conf>\npcm.fixture {{ {definition} }}\n");
        std::fs::write(&config, text).unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg(format!("devices::alsa::tests::{test}"))
            .env("ALSA_CONFIG_PATH", &config)
            .env(FIXTURE, "fixture")
            .output()
            .unwrap();
        std::fs::remove_file(config).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}\n{errors}");
        assert!(text.contains("the fixture was used"), "{text}\n{errors}");
    }

    /// In the other process.
    fn fixture() -> Option<SoundName> {
        let fixture = std::env::var(FIXTURE).ok()?;
        println!("the fixture was used");
        Some(name(&fixture))
    }

    #[test]
    fn what_is_played_arrives_at_the_file_plug_in() {
        let path = temporary("played.raw");
        with_fixture(
            "plays_to_the_fixture_where_there_is_one",
            &format!(
                "type file slave.pcm null file {} format raw",
                path.display()
            ),
        );
        let bytes = std::fs::read(&path).unwrap();
        let samples: Vec<i16> = bytes
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        assert!(samples.len() >= 5 * PERIOD, "{} samples", samples.len());
        for (index, sample) in samples.iter().enumerate() {
            assert_eq!(*sample, (index / PERIOD) as i16);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn plays_to_the_fixture_where_there_is_one() {
        let Some(name) = fixture() else {
            return;
        };
        let mut speaker = AlsaSpeaker::open(&name).unwrap();
        for value in 0..10 {
            speaker.write_period(&[value; PERIOD]).unwrap();
        }
    }

    #[test]
    fn the_file_plug_in_is_captured() {
        let input = temporary("input.raw");
        let bytes: Vec<u8> = (0..100 * PERIOD)
            .flat_map(|index| ((index / PERIOD) as i16 + 1).to_le_bytes())
            .collect();
        std::fs::write(&input, bytes).unwrap();
        let input_path = input.display();
        with_fixture(
            "captures_the_fixture_where_there_is_one",
            &format!("type file slave.pcm null file /dev/null infile {input_path} format raw"),
        );
        std::fs::remove_file(input).unwrap();
    }

    #[test]
    fn captures_the_fixture_where_there_is_one() {
        let Some(name) = fixture() else {
            return;
        };
        let mut microphone = AlsaMicrophone::open(&name).unwrap();
        for value in 1..20 {
            let mut samples = [0; PERIOD];
            microphone.read_period(&mut samples).unwrap();
            assert_eq!(samples, [value; PERIOD]);
        }
    }

    #[test]
    fn filling_a_large_buffer_at_once_is_no_lack_of_a_clock() {
        let mut stream = Stream::open(&name("null"), Direction::Playback).unwrap();
        let (granted, _) = stream.pcm.get_params().unwrap();
        assert_eq!(stream.buffer, granted);
        // As a sound server may grant: 2 s.
        stream.buffer = 200 * PERIOD as u64;
        for _ in 0..=200 {
            assert!(stream.keep_pace().is_none());
        }
        let unpaced = (0..PROBE_PERIODS - 1).any(|_| stream.keep_pace().is_some());
        assert!(unpaced, "more than a buffer at once");
    }

    #[test]
    fn capture_goes_on_after_an_overrun_and_after_a_suspend() {
        for errno in [libc::EPIPE, libc::ESTRPIPE] {
            let mut microphone = AlsaMicrophone::open(&name("null")).unwrap();
            let error = ::alsa::Error::new("snd_pcm_readi", errno);
            let recovered = microphone
                .0
                .recover(error, "recovering", Direction::Capture);
            recovered.unwrap();
            assert_eq!(microphone.0.pcm.state(), State::Running);
            microphone.read_period(&mut [0; PERIOD]).unwrap();
        }
    }

    #[test]
    fn sound_is_as_old_as_what_waits_behind_it() {
        let milliseconds = Duration::from_millis;
        assert_eq!(age(0, 16_384), milliseconds(10));
        assert_eq!(age(9_600, 16_384), milliseconds(210));
        // No device holds more than its buffer, or less than nothing.
        assert_eq!(age(i64::MAX, 1_920), milliseconds(50));
        assert_eq!(age(-480, 1_920), milliseconds(10));
    }

    #[test]
    fn what_cannot_be_opened_may_be_plugged_in_later() {
        for text in [
            "no-such-pcm",
            "hw:CARD=NoSuchCard",
            "plughw:31,0",
            "sysdefault:CARD=NoSuchCard",
        ] {
            for error in [
                AlsaMicrophone::open(&name(text)).err().expect("refused"),
                AlsaSpeaker::open(&name(text)).err().expect("refused"),
            ] {
                assert!(error.worth_retrying(), "{error}");
                let said = error.to_string();
                assert!(said.starts_with(&format!("{text}: ")), "{said}");
                assert!(said.contains("`aplay -L`"), "{said}");
            }
        }
    }
}
