//! Cameras: do pictures come, at which rate, and is there something on them that moves?

use std::time::Duration;

use serde_json::json;

use super::{Check, Verdict};
use crate::clock::monotonic;
use crate::config::{Settings, VideoDevice, VideoEncoding};
use crate::devices::{Camera, DeviceError, open_camera, open_screen};
use crate::media::convert::Converter;
use crate::room::Timestamp;

/// Some cameras move a lens or measure light first.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
/// How long pictures are looked at after the first.
const LOOK_FOR: Duration = Duration::from_secs(2);
/// A picture of whose pixels 99 of 100 are no brighter is black (BT.601: 16 is black).
const BLACK: u8 = 32;

pub(super) fn camera(settings: &Settings) -> Check {
    let Settings { camera, video, .. } = settings;
    check("camera", &camera.device, video, true, || {
        open_camera(camera, &settings.name, video)
    })
}

/// A computer's picture may stand still.
pub(super) fn screen(settings: &Settings) -> Check {
    let screen = &settings.screen;
    let device = &screen.source.device;
    check("screen", device, &screen.encoding(), false, || {
        open_screen(screen, &settings.name)
    })
}

fn check(
    name: &str,
    device: &VideoDevice,
    video: &VideoEncoding,
    moves: bool,
    open: impl FnOnce() -> Result<Box<dyn Camera>, DeviceError>,
) -> Check {
    if *device == VideoDevice::None {
        return Check::new(
            name,
            Verdict::Skipped,
            format!("none is configured; set [{name}] device"),
        );
    }
    let looked = open().and_then(|mut camera| look(&mut *camera, video));
    match looked {
        Ok(seen) => seen.judge(name, moves),
        Err(error) => Check::new(
            name,
            Verdict::Fail,
            format!("{error}; `huddled devices` lists what is there"),
        ),
    }
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    device: String,
    size: (u32, u32),
    frames: u64,
    /// Between the first frame and the last.
    span: Duration,
    /// From the start of the stream to the first frame.
    first_after: Duration,
    /// No frame differed from the one before it.
    frozen: bool,
    /// 99 of 100 pixels of the last picture are no brighter.
    brightest: u8,
    mean: f64,
    covered: bool,
    /// Why a frame could not be read, if that was so.
    refused: Option<String>,
}

fn look(camera: &mut dyn Camera, video: &VideoEncoding) -> Result<Seen, DeviceError> {
    let mut seen = Seen {
        device: camera.name().to_owned(),
        frozen: true,
        covered: camera.is_covered().unwrap_or(false),
        ..Seen::default()
    };
    let (width, height) = (video.width, video.height);
    let mut converter = Converter::new(width, height);
    let luma = (width * height) as usize;
    let mut before: Vec<u8> = Vec::new();
    let started = monotonic();
    camera.start()?;
    let mut first: Option<Timestamp> = None;
    loop {
        let patience = match first {
            None => (started + FIRST_WITHIN).since(monotonic()),
            Some(first) => (first + LOOK_FOR).since(monotonic()),
        };
        if patience.is_zero() {
            break;
        }
        let frame = match camera.dequeue(patience, Vec::new()) {
            Ok(frame) => frame,
            Err(DeviceError::Stalled { .. }) if first.is_some() => break,
            Err(error) => return Err(error),
        };
        let now = monotonic();
        if first.is_none() {
            first = Some(now);
            seen.first_after = now.since(started);
        }
        seen.frames += 1;
        seen.size = (frame.width, frame.height);
        seen.span = first.map_or(Duration::ZERO, |first| now.since(first));
        match converter.convert(&frame) {
            Ok(picture) => {
                let now = &picture[..luma];
                seen.frozen &= before.is_empty() || before == now;
                before.clear();
                before.extend_from_slice(now);
            }
            Err(error) => seen.refused = Some(error.to_string()),
        }
    }
    camera.stop();
    (seen.brightest, seen.mean) = brightness(&before);
    Ok(seen)
}

/// What 99 of 100 pixels do not exceed, and the mean.
fn brightness(luma: &[u8]) -> (u8, f64) {
    let mut counts = [0_usize; 256];
    for value in luma {
        counts[usize::from(*value)] += 1;
    }
    let mut below = 0;
    let brightest = (0..=255_u8).find(|value| {
        below += counts[usize::from(*value)];
        below * 100 >= luma.len() * 99
    });
    let sum: u64 = luma.iter().map(|value| u64::from(*value)).sum();
    (
        brightest.unwrap_or(0),
        sum as f64 / luma.len().max(1) as f64,
    )
}

impl Seen {
    fn judge(&self, name: &str, moves: bool) -> Check {
        let rate = match self.span.as_secs_f64() {
            span if span > 0.0 => self.frames.saturating_sub(1) as f64 / span,
            _ => 0.0,
        };
        let device = &self.device;
        let (width, height) = self.size;
        let facts = format!("{device}: {width}x{height}, {rate:.1} pictures/s");
        let (verdict, text) = if self.covered {
            (
                Verdict::Fail,
                format!("{device}: its lens is covered; open the shutter"),
            )
        } else if let Some(problem) = &self.refused {
            (
                Verdict::Fail,
                format!(
                    "{device}: its pictures cannot be read: {problem}; unplug and replug it, or try another mode by [video]"
                ),
            )
        } else if self.frames < 2 {
            (
                Verdict::Fail,
                format!(
                    "{device}: only one picture came; unplug and replug it, and try another cable or port"
                ),
            )
        } else if self.brightest <= BLACK {
            (
                Verdict::Fail,
                format!("{facts}, but black; take off the lens cap and put on the light"),
            )
        } else if self.frozen && moves {
            (
                Verdict::Fail,
                format!("{facts}, but all the same; unplug and replug it"),
            )
        } else {
            let still = if self.frozen { ", standing still" } else { "" };
            (
                Verdict::Pass,
                format!("{facts}, brightness {:.0} of 255{still}", self.mean),
            )
        };
        Check::new(name, verdict, text).with(json!({
            "width": width,
            "height": height,
            "frames": self.frames,
            "rate": (rate * 10.0).round() / 10.0,
            "first_after_ms": self.first_after.as_millis() as u64,
            "mean_luma": self.mean.round(),
            "frozen": self.frozen,
            "covered": self.covered,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::VideoName;
    use crate::devices::{PixelFormat, RawFrame};

    fn settings() -> Settings {
        let mut settings = Settings::default();
        (settings.video.width, settings.video.height) = (320, 180);
        settings
    }

    /// Draws each frame by its number.
    struct Drawn {
        draw: fn(u64) -> u8,
        next: u64,
        last: u64,
    }

    impl Camera for Drawn {
        fn name(&self) -> &str {
            "drawn"
        }

        fn start(&mut self) -> Result<(), DeviceError> {
            Ok(())
        }

        fn stop(&mut self) {}

        fn dequeue(&mut self, timeout: Duration, _: Vec<u8>) -> Result<RawFrame, DeviceError> {
            if self.next == self.last {
                return Err(DeviceError::Stalled {
                    device: self.name().to_owned(),
                    after: timeout,
                });
            }
            self.next += 1;
            Ok(RawFrame {
                format: PixelFormat::I420,
                width: 320,
                height: 180,
                data: vec![(self.draw)(self.next); 320 * 180 * 3 / 2],
                captured_at: monotonic(),
                sequence: self.next,
            })
        }
    }

    fn judged(draw: fn(u64) -> u8, frames: u64) -> Check {
        let mut camera = Drawn {
            draw,
            next: 0,
            last: frames,
        };
        look(&mut camera, &settings().video)
            .unwrap()
            .judge("camera", true)
    }

    #[test]
    fn black_frozen_and_single_pictures_fail_with_what_to_do() {
        for (draw, frames, expected) in [
            ((|_| 16) as fn(u64) -> u8, 20, "black; take off"),
            (|n| 16 + (n % 2) as u8, 20, "black; take off"),
            (|_| 120, 20, "all the same; unplug"),
            (|n| 100 + n as u8, 1, "only one picture"),
        ] {
            let check = judged(draw, frames);
            assert_eq!(check.verdict, Verdict::Fail);
            assert!(check.text.contains(expected), "{}", check.text);
        }
        let check = judged(|n| 100 + n as u8, 20);
        assert_eq!(check.verdict, Verdict::Pass, "{}", check.text);
        assert_eq!(check.figures["frames"], 20);
    }

    #[test]
    fn a_screen_may_stand_still() {
        let seen = Seen {
            frames: 20,
            span: Duration::from_secs(1),
            frozen: true,
            brightest: 200,
            ..Seen::default()
        };
        assert_eq!(seen.judge("screen", false).verdict, Verdict::Pass);
        assert_eq!(seen.judge("camera", true).verdict, Verdict::Fail);
    }

    #[test]
    fn a_camera_that_says_nothing_fails_and_one_that_is_not_configured_is_skipped() {
        let mut silent = Drawn {
            draw: |_| 0,
            next: 0,
            last: 0,
        };
        assert!(look(&mut silent, &settings().video).is_err());
        assert_eq!(camera(&settings()).verdict, Verdict::Skipped);
        let mut absent = settings();
        absent.camera.device = VideoDevice::V4l2(VideoName::parse("/dev/video-nobody").unwrap());
        let check = camera(&absent);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.text.contains("/dev/video-nobody"), "{}", check.text);
    }
}
