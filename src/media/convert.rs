//! Captured frames to what the encoder eats: I420 of the configured size.

mod jpeg;
#[cfg(test)]
mod recorded;

use yuv::{BufferStoreMut, YuvPackedImage, YuvPlanarImageMut, yuyv422_to_yuv420};

use super::error::EncodeError;
use crate::devices::picture::{Scaler, i420_len};
use crate::devices::{PixelFormat, RawFrame};

/// Converts and scales; keeps its buffers from frame to frame.
#[derive(Debug)]
pub struct Converter {
    width: u32,
    height: u32,
    scaler: Scaler,
    planar: Vec<u8>,
    scaled: Vec<u8>,
}

impl Converter {
    /// The size that the encoder eats; both sides even.
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            scaler: Scaler::new(width as usize, height as usize),
            planar: Vec::new(),
            scaled: Vec::new(),
        }
    }

    /// The frame as I420 of the target size, with its aspect kept; the frame's own bytes where they are
    /// that already.
    ///
    /// # Errors
    /// [`EncodeError::Frame`] where the bytes are not what the description says, or of a layout that is
    /// not supported.
    pub fn convert<'a>(&'a mut self, frame: &'a RawFrame) -> Result<&'a [u8], EncodeError> {
        let (width, height) = (frame.width as usize, frame.height as usize);
        let refused = |reason: String| EncodeError::Frame {
            width: frame.width,
            height: frame.height,
            reason,
        };
        let expected = match frame.format {
            PixelFormat::I420 => i420_len(width, height),
            PixelFormat::Yuyv => width * height * 2,
            PixelFormat::Nv12 => width * height * 3 / 2,
            // As many as it takes.
            PixelFormat::Mjpeg => frame.data.len(),
        };
        let packed = frame.format != PixelFormat::I420;
        if width == 0 || height == 0 || (packed && (width % 2 != 0 || height % 2 != 0)) {
            return Err(refused("not a size that a camera can have".to_owned()));
        }
        if frame.data.len() != expected {
            return Err(refused(format!(
                "{} bytes of {:?} instead of {expected}",
                frame.data.len(),
                frame.format
            )));
        }
        let planar: &[u8] = match frame.format {
            PixelFormat::I420 => &frame.data,
            PixelFormat::Mjpeg => {
                jpeg::decode(&frame.data, width, height, &mut self.planar).map_err(refused)?;
                &self.planar
            }
            PixelFormat::Yuyv => {
                self.planar.resize(i420_len(width, height), 0);
                planar_from_yuyv(&frame.data, frame.width, frame.height, &mut self.planar)
                    .map_err(|error| refused(error.to_string()))?;
                &self.planar
            }
            PixelFormat::Nv12 => {
                self.planar.resize(i420_len(width, height), 0);
                planar_from_nv12(&frame.data, width * height, &mut self.planar);
                &self.planar
            }
        };
        if (frame.width, frame.height) == (self.width, self.height) {
            return Ok(planar);
        }
        self.scaler
            .scale(planar, width, height, &mut self.scaled)
            .ok_or_else(|| refused("it cannot be scaled".to_owned()))?;
        Ok(&self.scaled)
    }
}

fn planar_from_yuyv(
    packed: &[u8],
    width: u32,
    height: u32,
    planar: &mut [u8],
) -> Result<(), yuv::YuvError> {
    let luma = width as usize * height as usize;
    let (y, chroma) = planar.split_at_mut(luma);
    let (u, v) = chroma.split_at_mut(luma / 4);
    let mut target = YuvPlanarImageMut {
        y_plane: BufferStoreMut::Borrowed(y),
        y_stride: width,
        u_plane: BufferStoreMut::Borrowed(u),
        u_stride: width / 2,
        v_plane: BufferStoreMut::Borrowed(v),
        v_stride: width / 2,
        width,
        height,
    };
    let source = YuvPackedImage {
        yuy: packed,
        yuy_stride: width * 2,
        width,
        height,
    };
    yuyv422_to_yuv420(&mut target, &source)
}

fn planar_from_nv12(nv12: &[u8], luma: usize, planar: &mut [u8]) {
    planar[..luma].copy_from_slice(&nv12[..luma]);
    let (u, v) = planar[luma..].split_at_mut(luma / 4);
    for ((pair, u), v) in nv12[luma..].chunks_exact(2).zip(u).zip(v) {
        *u = pair[0];
        *v = pair[1];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Timestamp;

    pub(super) fn frame(format: PixelFormat, width: u32, height: u32, data: Vec<u8>) -> RawFrame {
        RawFrame {
            format,
            width,
            height,
            data,
            captured_at: Timestamp::default(),
            sequence: 0,
        }
    }

    #[test]
    fn an_i420_frame_of_the_right_size_is_not_copied() {
        let mut converter = Converter::new(4, 2);
        let frame = frame(PixelFormat::I420, 4, 2, (0..12).collect());
        let converted = converter.convert(&frame).unwrap();
        assert!(std::ptr::eq(converted.as_ptr(), frame.data.as_ptr()));
    }

    #[test]
    fn nv12_and_yuyv_become_planar() {
        let mut converter = Converter::new(4, 2);
        let nv12 = vec![1, 2, 3, 4, 5, 6, 7, 8, 100, 200, 101, 201];
        let converted = converter
            .convert(&frame(PixelFormat::Nv12, 4, 2, nv12))
            .unwrap()
            .to_vec();
        assert_eq!(converted, [1, 2, 3, 4, 5, 6, 7, 8, 100, 101, 200, 201]);
        let yuyv = vec![
            1, 100, 2, 200, 3, 101, 4, 201, //
            5, 100, 6, 200, 7, 101, 8, 201,
        ];
        let yuyv = frame(PixelFormat::Yuyv, 4, 2, yuyv);
        assert_eq!(converter.convert(&yuyv).unwrap(), converted);
    }

    #[test]
    fn another_size_is_scaled() {
        let mut converter = Converter::new(320, 180);
        let data = vec![128; i420_len(640, 480)];
        let frame = frame(PixelFormat::I420, 640, 480, data);
        let converted = converter.convert(&frame).unwrap();
        assert_eq!(converted.len(), i420_len(320, 180));
    }

    #[test]
    fn frames_that_lie_about_themselves_are_refused() {
        let mut converter = Converter::new(320, 180);
        for frame in [
            frame(PixelFormat::I420, 640, 480, vec![0; 17]),
            frame(PixelFormat::Yuyv, 3, 3, vec![0; 18]),
            frame(PixelFormat::Nv12, 0, 0, vec![]),
            frame(PixelFormat::Nv12, 4, 2, vec![]),
            frame(PixelFormat::Mjpeg, 4, 2, vec![0xFF, 0xD8]),
        ] {
            let error = converter.convert(&frame).unwrap_err();
            assert!(matches!(error, EncodeError::Frame { .. }), "{error}");
        }
    }
}
