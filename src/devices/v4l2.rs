//! Cameras of V4L2: single-planar capture into mapped buffers, YUYV, NV12 or JPEG.
//!
//! The crate's habits decide the shape of this file. Its stream gives a buffer back only when it is asked for the next
//! one, and after a time-out it would give the same one back twice: so it is asked only when poll(2) has said that one
//! is ready, and whatever goes wrong all the same ends the stream, which the pipeline opens anew. It panics over what
//! a driver says while it opens or closes: so both happen behind a shield.

mod identity;
mod mode;
mod names;
mod pack;
mod screen;

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::v4l::buffer::{Flags, Metadata, Type};
use ::v4l::capability::Flags as Capabilities;
use ::v4l::control::Value;
use ::v4l::frameinterval::FrameIntervalEnum;
use ::v4l::framesize::FrameSizeEnum;
use ::v4l::io::mmap::Stream;
use ::v4l::io::traits::{CaptureStream, Stream as _};
use ::v4l::video::Capture;
use ::v4l::video::capture::Parameters;
use ::v4l::{Device, Format, FourCC, Fraction};

use super::pace::sleep_until;
use super::shield::shielded;
use super::{Camera, DeviceError, PixelFormat, RawFrame};
use crate::clock;
use crate::config::{VideoEncoding, VideoName};
use crate::room::Timestamp;
use identity::{Identity, SYS};
use mode::{Mode, in_steps, nearest};
pub(super) use screen::{V4l2Screen, camera_as_screen};

/// Buffers asked for; one of them is always held back by the crate.
const BUFFERS: u32 = 5;
/// A capture time further back than this is a driver's mistake.
const OLDEST: Duration = Duration::from_secs(5);
/// What is asked for, and how the driver spells it.
const FORMATS: [(PixelFormat, &[u8; 4]); 3] = [
    (PixelFormat::Nv12, b"NV12"),
    (PixelFormat::Yuyv, b"YUYV"),
    (PixelFormat::Mjpeg, b"MJPG"),
];
/// `V4L2_CID_PRIVACY`: the camera's own shutter is closed.
const PRIVACY: u32 = 0x009a_0910;
/// What is told of a name that leads to something else.
const NO_VIDEO: &str = "it is no video device; `huddled devices` lists the cameras";
/// Some drivers list every size there is.
const MOST_SIZES: usize = 200;

/// A camera that is there, for `huddled devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraInfo {
    /// What the device calls itself.
    pub card: String,
    /// What `[camera] device` may be, the most lasting name first.
    pub names: Vec<String>,
    /// Why it cannot be opened now.
    pub problem: Option<String>,
}

/// The cameras there are, those that cannot be opened included.
pub(super) fn list() -> Vec<CameraInfo> {
    let is_video =
        |node: &&PathBuf| Identity::of(node, Path::new(SYS)).is_ok_and(|node| node.is_video());
    names::nodes()
        .iter()
        .filter(is_video)
        .filter_map(|node| {
            let names = names::of_node(node);
            let looked = shielded("camera-list", || -> Result<Option<String>, Error> {
                let device = Device::with_path(node)?;
                let capabilities = device.query_caps()?;
                // The second node of a USB camera carries no pictures.
                let captures = !formats(&device).is_empty();
                Ok(captures.then_some(capabilities.card))
            });
            match looked {
                Ok(Ok(card)) => card.map(|card| CameraInfo {
                    card,
                    names,
                    problem: None,
                }),
                Ok(Err(error)) => Some(unusable(names, &hint(&error))),
                Err(reason) => Some(unusable(names, &reason)),
            }
        })
        .collect()
}

fn unusable(names: Vec<String>, problem: &str) -> CameraInfo {
    CameraInfo {
        card: String::new(),
        names,
        problem: Some(problem.to_owned()),
    }
}

/// What a camera offers of what can be converted here.
fn formats(device: &Device) -> Vec<(PixelFormat, FourCC)> {
    let offered = device.enum_formats().unwrap_or_default();
    FORMATS
        .iter()
        .map(|(format, code)| (*format, FourCC::new(code)))
        .filter(|(_, code)| offered.iter().any(|offer| offer.fourcc == *code))
        .collect()
}

fn code(format: PixelFormat) -> Option<FourCC> {
    FORMATS
        .iter()
        .find(|(known, _)| *known == format)
        .map(|(_, code)| FourCC::new(code))
}

/// Every mode, as far as the driver tells; where it does not, the wish, which it will bend.
fn modes(device: &Device, wanted: &VideoEncoding) -> Vec<Mode> {
    let mut modes = Vec::new();
    for (format, code) in formats(device) {
        let sizes: Vec<(u32, u32)> = match device.enum_framesizes(code) {
            Ok(sizes) => sizes
                .into_iter()
                .map(|size| match size.size {
                    FrameSizeEnum::Discrete(size) => (size.width, size.height),
                    FrameSizeEnum::Stepwise(s) => (
                        in_steps(wanted.width, s.min_width, s.max_width, s.step_width),
                        in_steps(wanted.height, s.min_height, s.max_height, s.step_height),
                    ),
                })
                .collect(),
            Err(_) => vec![(wanted.width, wanted.height)],
        };
        for (width, height) in sizes.into_iter().take(MOST_SIZES) {
            // Chroma of half the size needs even sides.
            if width == 0 || height == 0 || width % 2 != 0 || height % 2 != 0 {
                continue;
            }
            for interval in intervals(device, code, (width, height), wanted.frame_rate) {
                modes.push(Mode {
                    format,
                    width,
                    height,
                    interval,
                });
            }
        }
    }
    modes
}

/// The times from frame to frame that are offered for a size.
fn intervals(device: &Device, code: FourCC, size: (u32, u32), rate: u32) -> Vec<(u32, u32)> {
    let wish = (1, rate);
    let Ok(offered) = device.enum_frameintervals(code, size.0, size.1) else {
        return vec![wish];
    };
    let seconds = |f: &Fraction| f64::from(f.numerator) / f64::from(f.denominator.max(1));
    offered
        .iter()
        .map(|offer| match &offer.interval {
            FrameIntervalEnum::Discrete(f) => (f.numerator, f.denominator),
            FrameIntervalEnum::Stepwise(s) => {
                let wished = 1.0 / f64::from(rate.max(1));
                if wished < seconds(&s.min) {
                    (s.min.numerator, s.min.denominator)
                } else if wished > seconds(&s.max) {
                    (s.max.numerator, s.max.denominator)
                } else {
                    wish
                }
            }
        })
        .filter(|(numerator, denominator)| *numerator > 0 && *denominator > 0)
        .collect()
}

/// What the camera says of its shutter; `None` where it has none or does not answer.
fn privacy(device: &Device) -> Option<bool> {
    match device.control(PRIVACY).ok()?.value {
        Value::Boolean(covered) => Some(covered),
        Value::Integer(value) => Some(value != 0),
        _ => None,
    }
}

/// What runs between start and stop.
struct Running {
    stream: Stream<'static>,
    mode: Mode,
    /// Bytes from row to row.
    stride: u32,
}

/// See the module.
pub(super) struct V4l2Camera {
    name: String,
    node: PathBuf,
    /// What was opened.
    identity: Identity,
    wanted: VideoEncoding,
    mode: Mode,
    /// `None` only while it is being dropped.
    device: Option<Device>,
    running: Option<Running>,
    /// What was told about the mode, so that it is told once.
    told: Option<String>,
    damaged: u64,
    /// It can say whether its lens is covered.
    has_shutter: bool,
}

impl V4l2Camera {
    /// Finds the camera, looks at its modes and chooses one.
    pub(super) fn open(name: &VideoName, wanted: &VideoEncoding) -> Result<Self, DeviceError> {
        let name = name.as_str();
        let node = names::find(name).ok_or_else(|| DeviceError::Gone {
            device: name.to_owned(),
            attempt: "looking for it",
            reason: "nothing has this name now; `huddled devices` lists the cameras".to_owned(),
        })?;
        let sys = Path::new(SYS);
        let identity = match Identity::of(&node, sys) {
            Ok(identity) if identity.is_video() => identity,
            Ok(_) => return Err(misconfigured(name, NO_VIDEO)),
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                return Err(misconfigured(name, NO_VIDEO));
            }
            Err(error) => return Err(gone(name, "looking at it", &error)),
        };
        let looked = shielded("camera-open", || -> Result<_, Error> {
            let device = Device::with_path(&node)?;
            let opened = format!("/proc/self/fd/{}", device.handle().fd());
            if Identity::of(Path::new(&opened), sys)? != identity {
                return Err(Error::other("it became another device meanwhile"));
            }
            let capabilities = device.query_caps()?.capabilities;
            let modes = modes(&device, wanted);
            let has_shutter = privacy(&device).is_some();
            Ok((device, capabilities, modes, has_shutter))
        });
        let (device, capabilities, modes, has_shutter) = looked
            .map_err(|reason| misconfigured(name, &reason))?
            .map_err(|error| gone(name, "opening it", &error))?;
        let single = capabilities.contains(Capabilities::VIDEO_CAPTURE);
        if !single || !capabilities.contains(Capabilities::STREAMING) {
            return Err(misconfigured(
                name,
                "it does not stream pictures (of one plane); `huddled devices` lists the cameras",
            ));
        }
        let mode = nearest(&modes, wanted).ok_or_else(|| {
            misconfigured(
                name,
                "it offers none of YUYV, NV12 and MJPEG; use another camera",
            )
        })?;
        Ok(Self {
            name: name.to_owned(),
            node,
            identity,
            wanted: *wanted,
            mode,
            device: Some(device),
            running: None,
            told: None,
            damaged: 0,
            has_shutter,
        })
    }

    fn tell(&mut self, mode: &Mode) {
        let wanted = &self.wanted;
        let told = format!(
            "camera {}: {mode}; asked for {}x{} at {}/s",
            self.name, wanted.width, wanted.height, wanted.frame_rate
        );
        if self.told.as_ref() != Some(&told) {
            log::info!("{told}");
            self.told = Some(told);
        }
    }
}

/// Sets the mode and starts the stream. The driver may have bent the mode.
fn start(device: &Device, mode: Mode) -> Result<Running, Error> {
    let code = code(mode.format).ok_or(ErrorKind::Unsupported)?;
    let format = device.set_format(&Format::new(mode.width, mode.height, code))?;
    let granted = FORMATS
        .iter()
        .find(|(_, code)| FourCC::new(code) == format.fourcc)
        .ok_or_else(|| Error::other(format!("it insists on {}", format.fourcc)))?
        .0;
    let (numerator, denominator) = mode.interval;
    let interval = Parameters::new(Fraction::new(numerator, denominator));
    // Not every driver lets itself be told a rate.
    let interval = device
        .set_params(&interval)
        .map_or(mode.interval, |granted| {
            (granted.interval.numerator, granted.interval.denominator)
        });
    let mut stream = Stream::<'static>::with_buffers(device, Type::VideoCapture, BUFFERS)?;
    // The first buffer is the one that the crate gives to the driver when it is asked for a frame; another count than
    // was asked for ends at the first index that does not exist.
    for index in 1..BUFFERS as usize {
        if let Err(error) = CaptureStream::queue(&mut stream, index) {
            if index > 1 && error.kind() == ErrorKind::InvalidInput {
                break;
            }
            return Err(error);
        }
    }
    stream.start()?;
    Ok(Running {
        stream,
        mode: Mode {
            format: granted,
            width: format.width,
            height: format.height,
            interval: if interval.0 == 0 || interval.1 == 0 {
                mode.interval
            } else {
                interval
            },
        },
        stride: format.stride,
    })
}

/// Stops and drops a stream. One that cannot be stopped is leaked: dropping it would panic twice, which is the end of
/// the process.
fn end(mut running: Running) -> Result<(), Error> {
    let stopped = running.stream.stop();
    match &stopped {
        Err(error) if error.raw_os_error() != Some(libc::ENODEV) => std::mem::forget(running),
        _ => drop(running),
    }
    stopped
}

/// When a buffer was filled, by the kernel's clock where the driver says that it used that one.
fn captured_at(meta: &Metadata, now: Timestamp) -> Timestamp {
    if meta.flags & Flags::TIMESTAMP_MASK != Flags::TIMESTAMP_MONOTONIC {
        return now;
    }
    let seconds = u64::try_from(meta.timestamp.sec).unwrap_or(0);
    let micros = u64::try_from(meta.timestamp.usec).unwrap_or(0);
    let stamp = Duration::from_secs(seconds) + Duration::from_micros(micros);
    let stamp = Timestamp::from_duration(stamp);
    if stamp > now || now.since(stamp) > OLDEST {
        return now;
    }
    stamp
}

impl Camera for V4l2Camera {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&mut self) -> Result<(), DeviceError> {
        if self.running.is_some() {
            return Ok(());
        }
        let (device, mode) = (&self.device, self.mode);
        let started = shielded("camera-start", move || match device {
            Some(device) => start(device, mode),
            None => Err(ErrorKind::NotConnected.into()),
        });
        let running = started
            .map_err(|reason| misconfigured(&self.name, &reason))?
            .map_err(|error| gone(&self.name, "starting the stream", &error))?;
        self.tell(&running.mode);
        self.running = Some(running);
        Ok(())
    }

    fn stop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        match shielded("camera-stop", move || end(running)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::debug!("camera {}: stopping it: {error}", self.name),
            Err(reason) => log::warn!("camera {}: {reason}", self.name),
        }
    }

    fn dequeue(&mut self, timeout: Duration, recycled: Vec<u8>) -> Result<RawFrame, DeviceError> {
        let deadline = clock::monotonic() + timeout;
        let stalled = |name: &str| DeviceError::Stalled {
            device: name.to_owned(),
            after: timeout,
        };
        let mut data = recycled;
        let Some(running) = &mut self.running else {
            sleep_until(deadline);
            return Err(stalled(&self.name));
        };
        loop {
            let left = deadline.since(clock::monotonic());
            let millis = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
            match running.stream.handle().poll(libc::POLLIN, millis) {
                Ok(0) => return Err(stalled(&self.name)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(gone(&self.name, "waiting for a frame", &error)),
            }
            let taken = running.stream.next();
            let (bytes, meta) =
                taken.map_err(|error| gone(&self.name, "taking a frame", &error))?;
            let now = clock::monotonic();
            let mode = &running.mode;
            let used = &bytes[..bytes.len().min(meta.bytesused as usize)];
            let size = (mode.width, mode.height);
            if meta.flags.contains(Flags::ERROR)
                || pack::pack(mode.format, size, running.stride, used, &mut data).is_none()
            {
                self.damaged += 1;
                if now >= deadline {
                    return Err(stalled(&self.name));
                }
                continue;
            }
            return Ok(RawFrame {
                format: mode.format,
                width: mode.width,
                height: mode.height,
                data,
                captured_at: captured_at(meta, now),
                sequence: u64::from(meta.sequence),
            });
        }
    }

    fn damaged(&self) -> u64 {
        self.damaged
    }

    fn is_covered(&mut self) -> Option<bool> {
        if !self.has_shutter {
            return None;
        }
        let device = self.device.as_ref()?;
        shielded("camera-shutter", || privacy(device)).ok()?
    }
}

impl Drop for V4l2Camera {
    fn drop(&mut self) {
        self.stop();
        let device = self.device.take();
        if let Err(reason) = shielded("camera-close", move || drop(device)) {
            log::warn!("camera {} ({}): {reason}", self.name, self.node.display());
        }
    }
}

fn gone(name: &str, attempt: &'static str, error: &Error) -> DeviceError {
    DeviceError::Gone {
        device: name.to_owned(),
        attempt,
        reason: hint(error),
    }
}

/// What the system said, with what to do where that is known.
fn hint(error: &Error) -> String {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            format!(
                "{error}; the user of huddled must be in the group that owns it, which is video"
            )
        }
        Some(libc::EBUSY) => format!("{error}; another program uses it"),
        Some(libc::ENODEV | libc::ENXIO | libc::ENOENT) => format!("{error}; unplugged"),
        _ => error.to_string(),
    }
}

fn misconfigured(name: &str, reason: &str) -> DeviceError {
    DeviceError::Misconfigured {
        device: name.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Bitrate;

    const WANTED: VideoEncoding = VideoEncoding {
        width: 320,
        height: 180,
        frame_rate: 10,
        bitrate: Bitrate(300_000),
    };

    #[test]
    fn a_camera_that_is_not_there_may_come_and_what_is_no_camera_says_so() {
        let open = |name| V4l2Camera::open(&VideoName::parse(name).unwrap(), &WANTED);
        let error = open("usb-Nobody-video-index0").err().expect("refused");
        assert!(error.worth_retrying());
        assert!(error.to_string().contains("huddled devices"), "{error}");
        let error = open("/dev/null").err().expect("refused");
        assert_eq!(error.to_string(), format!("/dev/null: {NO_VIDEO}"));
        let _: Vec<CameraInfo> = list();
    }

    #[test]
    fn kernel_time_is_used_where_it_can_be_true() {
        let now = Timestamp::from_millis(100_000);
        let meta = |flags, sec| Metadata {
            flags,
            timestamp: ::v4l::Timestamp::new(sec, 500_000),
            ..Metadata::default()
        };
        let monotonic = Flags::TIMESTAMP_MONOTONIC | Flags::DONE;
        for (flags, sec, expected) in [
            (monotonic, 99, 99_500),
            (monotonic, 100, 100_000),
            (monotonic, 12, 100_000),
            (monotonic, -4, 100_000),
            (Flags::TIMESTAMP_COPY, 99, 100_000),
            (Flags::TIMESTAMP_UNKNOWN, 99, 100_000),
        ] {
            let expected = Timestamp::from_millis(expected);
            assert_eq!(captured_at(&meta(flags, sec), now), expected, "{sec}");
        }
    }
}
