//! FLOOR 2: hardware behind small traits, shaped by ALSA periods and V4L2 dequeue: blocking, each on a
//! thread of its own, each with its own clock.

mod alsa;
mod canvas;
mod gpio;
mod input;
mod pace;
pub mod picture;
pub mod shield;
mod sim;
mod sound;
mod v4l2;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{
    MicrophoneDevice, MicrophoneSettings, PanelBackend, PanelLine, PanelSettings, ScreenSettings,
    SpeakerDevice, SpeakerSettings, VideoDevice, VideoEncoding, VideoSettings,
};
use crate::room::{Button, Led, Pattern, Timestamp};

pub use gpio::GpioChipInfo;
pub use input::{InputInfo, LensSink, LensWatch};
pub use sim::{Faults, Lights, Strip, read_strip};
pub use sound::SoundInfo;
pub use v4l2::CameraInfo;

/// Sampling rate of everything in this program, Hz. Devices convert.
pub const SAMPLE_RATE: u32 = 48_000;
/// Samples in one period of 10 ms, mono.
pub const PERIOD: usize = 480;

/// What a device did wrong, and to which one.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Unplugged, or never there: close it, try to open it again later.
    #[error("{device}: gone while {attempt}: {reason}")]
    Gone {
        /// As the configuration names it.
        device: String,
        /// What was attempted.
        attempt: &'static str,
        /// What the system said.
        reason: String,
    },
    /// No data within the deadline.
    #[error("{device}: stalled for {after:?}")]
    Stalled {
        /// As the configuration names it.
        device: String,
        /// The deadline.
        after: Duration,
    },
    /// The configuration asks for what cannot be: an operator must act.
    #[error("{device}: {reason}")]
    Misconfigured {
        /// As the configuration names it.
        device: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The device is there and must not be used for this, as long as it is what it is now.
    #[error("{device}: refused: {reason}")]
    Refused {
        /// As the configuration names it.
        device: String,
        /// Why, and what to do.
        reason: String,
    },
}

impl DeviceError {
    /// Opening the device again later may help without anybody changing the configuration.
    pub fn worth_retrying(&self) -> bool {
        !matches!(self, Self::Misconfigured { .. })
    }
}

/// How the bytes of a [`RawFrame`] are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Planar 4:2:0, Y then U then V, no padding.
    I420,
    /// Packed 4:2:2 (V4L2 fourcc `YUYV`).
    Yuyv,
    /// Y plane, then interleaved UV (V4L2 fourcc `NV12`).
    Nv12,
    /// JPEG pictures (V4L2 fourcc `MJPG`).
    Mjpeg,
}

/// One captured picture.
#[derive(Clone, Debug)]
pub struct RawFrame {
    /// Layout of `data`.
    pub format: PixelFormat,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The picture; exactly the bytes used.
    pub data: Vec<u8>,
    /// When it was captured, by the device's own clock (kernel time for V4L2).
    pub captured_at: Timestamp,
    /// The driver's counter; a gap is a loss.
    pub sequence: u64,
}

/// A camera or another video source.
pub trait Camera: Send {
    /// As the configuration names it.
    fn name(&self) -> &str;
    /// Starts the stream; the device's lamp lights.
    fn start(&mut self) -> Result<(), DeviceError>;
    /// Stops the stream; the device's lamp goes dark. Dequeued frames are dropped.
    fn stop(&mut self);
    /// Blocks for the next frame, at most `timeout`. `recycled` is a buffer to reuse.
    fn dequeue(&mut self, timeout: Duration, recycled: Vec<u8>) -> Result<RawFrame, DeviceError>;
    /// Frames that the driver delivered damaged or cut short, since it was opened; they are dropped and show as gaps
    /// in the sequence.
    fn damaged(&self) -> u64 {
        0
    }
    /// Whether its lens is covered, by its own word; `None` where it does not know.
    fn is_covered(&mut self) -> Option<bool> {
        None
    }
}

/// What is known about a period that was read.
#[derive(Clone, Copy, Debug)]
pub struct CapturedPeriod {
    /// When its first sample was captured.
    pub captured_at: Timestamp,
    /// Samples were lost before it (ALSA xrun).
    pub xrun: bool,
}

/// A microphone: 48 kHz, mono, signed 16 bit, periods of [`PERIOD`] samples.
pub trait Microphone: Send {
    /// As the configuration names it.
    fn name(&self) -> &str;
    /// Blocks until a whole period is there.
    fn read_period(&mut self, samples: &mut [i16; PERIOD]) -> Result<CapturedPeriod, DeviceError>;
}

/// What is known about a period that was written.
#[derive(Clone, Copy, Debug)]
pub struct PlayedPeriod {
    /// How long after now its first sample is heard.
    pub delay: Duration,
    /// The device ran dry before it (ALSA xrun).
    pub xrun: bool,
}

/// What a simulated speaker heard lately.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Heard {
    /// Level of the last 100 ms, dBFS (0 is a full-scale sine's peak); -120 for digital silence.
    pub level_dbfs: f32,
    /// Strongest frequency of the last 100 ms, Hz; 0 for silence.
    pub frequency_hz: f32,
    /// Last time the level rose out of silence (the first sample over -40 dBFS after 200 ms below).
    pub onset_at: Option<Timestamp>,
    /// Last time a sample other than zero was played.
    pub last_sound_at: Option<Timestamp>,
}

/// A speaker: 48 kHz, mono, signed 16 bit, periods of [`PERIOD`] samples.
pub trait Speaker: Send {
    /// As the configuration names it.
    fn name(&self) -> &str;
    /// Blocks until there is room for the period; this paces the caller.
    fn write_period(&mut self, samples: &[i16; PERIOD]) -> Result<PlayedPeriod, DeviceError>;
    /// What was heard; simulated speakers only.
    fn heard(&self) -> Option<Heard> {
        None
    }
}

/// An edge on a button's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ButtonEdge {
    /// Which button.
    pub button: Button,
    /// Down or up.
    pub pressed: bool,
    /// Kernel time.
    pub at: Timestamp,
}

/// What a panel's buttons and switches tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanelInput {
    /// A button went down or up.
    Edge(ButtonEdge),
    /// Where a switch stands.
    Switch {
        /// What it switches.
        button: Button,
        /// It stands at closed.
        closed: bool,
        /// Somebody moved it; otherwise this is how it was found.
        moved: bool,
    },
}

/// Where that goes; never blocks.
pub type PanelSink = Arc<dyn Fn(PanelInput) + Send + Sync>;

/// Buttons and lights. A missing light is a note, not an error.
pub trait Panel: Send {
    /// Shows a pattern; keeps moving by itself.
    fn set_led(&mut self, led: Led, pattern: Pattern);
    /// What the lights show; virtual panels only.
    fn lights(&self) -> Option<Lights> {
        None
    }
}

/// Opens a source of pictures; its stream stands still until [`Camera::start`]. `box_name` is what a
/// test card shows; simulated cameras deliver `[video]`'s size and rate.
///
/// # Errors
/// [`DeviceError::Misconfigured`] where nothing is configured, or what is configured cannot be.
pub fn open_camera(
    settings: &VideoSettings,
    box_name: &str,
    video: &VideoEncoding,
) -> Result<Box<dyn Camera>, DeviceError> {
    open_camera_with_faults(settings, box_name, video, &Faults::default())
}

/// Opens the screen's source, as [`open_camera`] opens a camera. A device that is the camera, under whatever name, is
/// refused, and an open source as soon as it turns out to be the camera.
///
/// # Errors
/// As [`open_camera`]; [`DeviceError::Refused`] where the source is the camera.
pub fn open_screen(
    settings: &ScreenSettings,
    box_name: &str,
) -> Result<Box<dyn Camera>, DeviceError> {
    let encoding = settings.encoding();
    match &settings.source.device {
        VideoDevice::V4l2(name) => Ok(Box::new(v4l2::V4l2Screen::open(
            name,
            &settings.cameras,
            &encoding,
        )?)),
        _ => open_camera(&settings.source, box_name, &encoding),
    }
}

/// Why the configured screen's source cannot be used: its name leads to the camera now.
pub fn camera_as_screen(settings: &ScreenSettings) -> Option<String> {
    v4l2::camera_as_screen(settings)
}

/// As [`open_camera`]; a simulated camera obeys `faults`.
///
/// # Errors
/// As [`open_camera`].
pub fn open_camera_with_faults(
    settings: &VideoSettings,
    box_name: &str,
    video: &VideoEncoding,
    faults: &Faults,
) -> Result<Box<dyn Camera>, DeviceError> {
    let ppm = settings.ppm;
    match &settings.device {
        VideoDevice::None => Err(DeviceError::Misconfigured {
            device: "camera".to_owned(),
            reason: "none is configured; set [camera] device".to_owned(),
        }),
        VideoDevice::V4l2(name) => Ok(Box::new(v4l2::V4l2Camera::open(name, video)?)),
        VideoDevice::SimTestcard => sim::open_testcard(box_name, video, ppm, faults),
        VideoDevice::SimSlides => sim::open_slides(box_name, video, ppm, faults),
        VideoDevice::SimFile(path) => sim::open_footage(path, video, ppm, faults),
    }
}

/// Opens the microphone. Where none is configured, one that hears digital silence stands in.
///
/// # Errors
/// [`DeviceError::Gone`] where it is not there, [`DeviceError::Misconfigured`] where it cannot be used.
pub fn open_microphone(settings: &MicrophoneSettings) -> Result<Box<dyn Microphone>, DeviceError> {
    open_microphone_with_faults(settings, &Faults::default())
}

/// As [`open_microphone`]; a simulated microphone obeys `faults`.
///
/// # Errors
/// As [`open_microphone`].
pub fn open_microphone_with_faults(
    settings: &MicrophoneSettings,
    faults: &Faults,
) -> Result<Box<dyn Microphone>, DeviceError> {
    let ppm = settings.ppm;
    match &settings.device {
        MicrophoneDevice::None | MicrophoneDevice::SimSilence => sim::open_silence(ppm, faults),
        MicrophoneDevice::SimTone(hz) => sim::open_tone(*hz, ppm, faults),
        MicrophoneDevice::SimSpeech => sim::open_speech(ppm, faults),
        MicrophoneDevice::SimFile(path) => sim::open_recording(path, ppm, faults),
        MicrophoneDevice::Alsa(name) => Ok(Box::new(alsa::AlsaMicrophone::open(name)?)),
    }
}

/// A microphone that hears digital silence at the right pace, to stand in for one that is not there.
pub fn silent_microphone() -> Box<dyn Microphone> {
    sim::silence()
}

/// Opens the speaker. Where none is configured, one that drops what it plays stands in.
///
/// # Errors
/// [`DeviceError::Gone`] where it is not there, [`DeviceError::Misconfigured`] where it cannot be used.
pub fn open_speaker(settings: &SpeakerSettings) -> Result<Box<dyn Speaker>, DeviceError> {
    open_speaker_with_faults(settings, &Faults::default())
}

/// As [`open_speaker`]; a simulated speaker obeys `faults`.
///
/// # Errors
/// As [`open_speaker`].
pub fn open_speaker_with_faults(
    settings: &SpeakerSettings,
    faults: &Faults,
) -> Result<Box<dyn Speaker>, DeviceError> {
    let ppm = settings.ppm;
    match &settings.device {
        SpeakerDevice::None => sim::open_sink(),
        SpeakerDevice::Alsa(name) => Ok(Box::new(alsa::AlsaSpeaker::open(name)?)),
        SpeakerDevice::SimMeter => sim::open_meter(ppm, faults),
        SpeakerDevice::SimWav(path) => sim::open_recorder(path, ppm, faults),
    }
}

/// Opens the panel; `sink` hears its buttons. Where none is configured, one without lights stands in. A line that
/// cannot be had now is logged and tried again.
///
/// # Errors
/// [`DeviceError::Gone`] where the system has no thread for it.
pub fn open_panel(
    settings: &PanelSettings,
    sink: &PanelSink,
) -> Result<Box<dyn Panel>, DeviceError> {
    match settings.backend {
        PanelBackend::None => Ok(Box::new(NoPanel)),
        PanelBackend::SimVirtual => Ok(sim::open_panel()),
        PanelBackend::Chardev => gpio::open_chardev(settings, sink),
        PanelBackend::Rppal => gpio::open_pi(settings, sink),
        PanelBackend::Kernel => gpio::open_kernel(settings, sink),
    }
}

/// Flashes a light of a panel that nobody else holds, three times, and lets it go. Blocks for that.
///
/// # Errors
/// A sentence that names the line.
pub fn blink(backend: PanelBackend, line: &PanelLine) -> Result<(), String> {
    gpio::blink(backend, line)
}

/// Whether a button of a panel that nobody else holds is pressed now.
///
/// # Errors
/// A sentence that names the line.
pub fn read_button(backend: PanelBackend, line: &PanelLine) -> Result<bool, String> {
    gpio::read_button(backend, line)
}

/// Waits for a press of such a button; whether it came within `patience`.
///
/// # Errors
/// A sentence that names the line.
pub fn await_press(
    backend: PanelBackend,
    line: &PanelLine,
    patience: Duration,
) -> Result<bool, String> {
    gpio::await_press(backend, line, patience)
}

/// Opens the lights of a panel without its buttons; `root` (`/`) is the folder that `/sys` is looked for in. Where there
/// are none, one without stands in.
///
/// # Errors
/// [`DeviceError::Gone`] where the system has no thread for it.
pub fn open_lights(settings: &PanelSettings, root: &Path) -> Result<Box<dyn Panel>, DeviceError> {
    match settings.backend {
        PanelBackend::None | PanelBackend::SimVirtual => Ok(Box::new(NoPanel)),
        PanelBackend::Chardev => gpio::open_chardev_lights(settings),
        PanelBackend::Rppal => gpio::open_pi_lights(settings),
        PanelBackend::Kernel => gpio::open_kernel_lights(settings, root),
    }
}

/// Puts the lights to their safe state, whatever a daemon that was killed left there. Those of the kernel's LED class:
/// microphone and camera lit, which is closed, status dark. A GPIO line is made an input and falls to what its wiring makes
/// of it; not every driver does that when its holder is gone, and of pins driven through the chip's registers no driver
/// knows. What became of each light, as a sentence; `root` as in [`open_lights`].
pub fn set_lights_safe(settings: &PanelSettings, root: &Path) -> Vec<Result<String, String>> {
    match gpio::set_safe(settings, root) {
        told if told.is_empty() => vec![Ok("the panel has no lights to make safe".to_owned())],
        told => told,
    }
}

/// The cameras there are.
pub fn cameras() -> Vec<CameraInfo> {
    v4l2::list()
}

/// The GPIO chips there are.
pub fn gpio_chips() -> Vec<GpioChipInfo> {
    gpio::list()
}

/// The input devices that may be a panel's buttons, or know of a lens cover.
pub fn input_devices() -> Vec<InputInfo> {
    input::list()
}

/// The names of the kernel's LEDs.
pub fn leds() -> Vec<String> {
    gpio::list_leds()
}

/// The sound devices there are.
pub fn sound_devices() -> Vec<SoundInfo> {
    sound::list()
}

/// Shows nothing.
struct NoPanel;

impl Panel for NoPanel {
    fn set_led(&mut self, _: Led, _: Pattern) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Bitrate;

    const VIDEO: VideoEncoding = VideoEncoding {
        width: 320,
        height: 180,
        frame_rate: 30,
        bitrate: Bitrate(300_000),
    };

    fn refusal<T>(result: Result<T, DeviceError>) -> String {
        let error = result.err().expect("refused");
        assert!(!error.worth_retrying());
        error.to_string()
    }

    #[test]
    fn what_is_not_configured_is_refused_with_the_key_to_set() {
        let none = VideoSettings {
            device: VideoDevice::None,
            ppm: 0,
        };
        assert!(refusal(open_camera(&none, "Room 1", &VIDEO)).contains("[camera] device"));
    }

    #[test]
    fn every_simulated_device_opens_and_runs() {
        for device in [VideoDevice::SimTestcard, VideoDevice::SimSlides] {
            let settings = VideoSettings { device, ppm: 50 };
            let mut camera = open_camera(&settings, "Room 1", &VIDEO).unwrap();
            camera.start().unwrap();
            let frame = camera.dequeue(Duration::from_secs(5), Vec::new()).unwrap();
            assert_eq!((frame.width, frame.height), (320, 180));
            assert_eq!(frame.data.len(), picture::i420_len(320, 180));
        }
        for device in [
            MicrophoneDevice::None,
            MicrophoneDevice::SimTone(440),
            MicrophoneDevice::SimSpeech,
            MicrophoneDevice::SimSilence,
        ] {
            let settings = MicrophoneSettings { device, ppm: -50 };
            let mut microphone = open_microphone(&settings).unwrap();
            microphone.read_period(&mut [0; PERIOD]).unwrap();
        }
        for (device, measures) in [
            (SpeakerDevice::None, false),
            (SpeakerDevice::SimMeter, true),
        ] {
            let settings = SpeakerSettings { device, ppm: 0 };
            let mut speaker = open_speaker(&settings).unwrap();
            speaker.write_period(&[0; PERIOD]).unwrap();
            assert_eq!(speaker.heard().is_some(), measures);
        }
    }
}
