//! Which of a camera's modes comes nearest to what is asked for.

use std::fmt;

use crate::config::VideoEncoding;
use crate::devices::PixelFormat;

/// A picture format, a size and the time between two frames that a camera offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mode {
    pub(super) format: PixelFormat,
    /// Pixels.
    pub(super) width: u32,
    /// Pixels.
    pub(super) height: u32,
    /// Seconds from frame to frame, as a fraction.
    pub(super) interval: (u32, u32),
}

impl Mode {
    /// Frames per second.
    pub(super) fn rate(&self) -> f64 {
        f64::from(self.interval.1) / f64::from(self.interval.0.max(1))
    }

    /// How far it is from the wish; each part counts octaves. A smaller picture or a lower rate loses what cannot be
    /// had back; a larger or faster one costs time only, a picture of another shape gets bars, JPEG is decoded twice
    /// as slowly as the others are converted.
    fn distance(&self, wanted: &VideoEncoding) -> f64 {
        let ratio = |has: u32, wish: u32| (f64::from(has) / f64::from(wish)).log2();
        let (wide, high) = (
            ratio(self.width, wanted.width),
            ratio(self.height, wanted.height),
        );
        // The side that limits the picture when it is fitted in.
        let size = wide.min(high);
        let size = if size < 0.0 { -3.0 * size } else { 0.3 * size };
        let rate = (self.rate() / f64::from(wanted.frame_rate)).log2();
        // Cameras say 30 and mean 29.97.
        let rate = if rate < -0.01 {
            -2.0 * rate
        } else {
            0.05 * rate
        };
        let shape = (wide - high).abs();
        let format = match self.format {
            PixelFormat::I420 | PixelFormat::Nv12 => 0.0,
            PixelFormat::Yuyv => 0.02,
            PixelFormat::Mjpeg => 0.15,
        };
        size + rate + shape + format
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.format {
            PixelFormat::I420 => "I420",
            PixelFormat::Yuyv => "YUYV",
            PixelFormat::Nv12 => "NV12",
            PixelFormat::Mjpeg => "MJPEG",
        };
        // Two digits behind the point at most: 29.97, but 30.
        let rate = (self.rate() * 100.0).round() / 100.0;
        write!(f, "{format} {}x{} at {rate}/s", self.width, self.height)
    }
}

/// The nearest of `modes`; `None` where there is none.
pub(super) fn nearest(modes: &[Mode], wanted: &VideoEncoding) -> Option<Mode> {
    modes
        .iter()
        .min_by(|one, other| one.distance(wanted).total_cmp(&other.distance(wanted)))
        .copied()
}

/// The value nearest to `wish` of those from `least` to `most` in steps; 0 steps are one step.
pub(super) fn in_steps(wish: u32, least: u32, most: u32, step: u32) -> u32 {
    let step = step.max(1);
    let wish = wish.clamp(least.min(most), most.max(least));
    least
        .saturating_add((wish.saturating_sub(least)).div_ceil(step) * step)
        .min(most.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Bitrate;

    fn mode(format: PixelFormat, width: u32, height: u32, rate: u32) -> Mode {
        Mode {
            format,
            width,
            height,
            interval: (1, rate),
        }
    }

    fn wish(width: u32, height: u32, frame_rate: u32) -> VideoEncoding {
        VideoEncoding {
            width,
            height,
            frame_rate,
            bitrate: Bitrate(1_000_000),
        }
    }

    #[test]
    fn a_usb_camera_gives_jpeg_where_raw_pictures_are_too_slow_or_too_small() {
        use PixelFormat::{Mjpeg, Yuyv};
        // A common one on USB 2: raw pictures are fast only while they are small.
        let modes = [
            mode(Yuyv, 640, 480, 30),
            mode(Yuyv, 640, 360, 30),
            mode(Yuyv, 1280, 720, 10),
            mode(Yuyv, 1920, 1080, 5),
            mode(Mjpeg, 640, 360, 30),
            mode(Mjpeg, 1280, 720, 30),
            mode(Mjpeg, 1920, 1080, 30),
        ];
        for (asked, expected) in [
            (wish(1280, 720, 30), mode(Mjpeg, 1280, 720, 30)),
            (wish(1280, 720, 10), mode(Yuyv, 1280, 720, 10)),
            (wish(640, 360, 30), mode(Yuyv, 640, 360, 30)),
            (wish(320, 180, 10), mode(Yuyv, 640, 360, 30)),
            (wish(1920, 1080, 30), mode(Mjpeg, 1920, 1080, 30)),
            (wish(1600, 900, 15), mode(Mjpeg, 1920, 1080, 30)),
        ] {
            assert_eq!(nearest(&modes, &asked), Some(expected), "{asked:?}");
        }
        assert_eq!(nearest(&[], &wish(320, 180, 10)), None);
    }

    #[test]
    fn the_rate_and_the_shape_decide_between_equal_sizes() {
        use PixelFormat::Yuyv;
        let modes = [
            mode(Yuyv, 320, 180, 5),
            mode(Yuyv, 320, 180, 15),
            mode(Yuyv, 320, 240, 10),
            mode(Yuyv, 320, 180, 30),
        ];
        let chosen = nearest(&modes, &wish(320, 180, 10)).unwrap();
        assert_eq!(chosen, mode(Yuyv, 320, 180, 15));
        assert_eq!(chosen.to_string(), "YUYV 320x180 at 15/s");
        let ntsc = Mode {
            interval: (1001, 30_000),
            ..chosen
        };
        assert_eq!(ntsc.to_string(), "YUYV 320x180 at 29.97/s");
        assert!(ntsc.distance(&wish(320, 180, 30)) < 0.05);
    }

    #[test]
    fn a_wish_is_rounded_up_to_a_step_within_the_limits() {
        assert_eq!(in_steps(180, 16, 1080, 2), 180);
        assert_eq!(in_steps(181, 16, 1080, 2), 182);
        assert_eq!(in_steps(8, 16, 1080, 2), 16);
        assert_eq!(in_steps(5000, 16, 1080, 0), 1080);
        assert_eq!(in_steps(5, 10, 3, 4), 10);
    }
}
