//! The newest picture of a peer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix};

use crate::room::Timestamp;

/// Why a picture could not be written as PNG.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// Its planes do not fit its size.
    #[error("the picture could not be converted to RGB: {0}")]
    Conversion(#[from] yuv::YuvError),
    /// The encoder failed.
    #[error("the picture could not be written as PNG: {0}")]
    Encoding(#[from] png::EncodingError),
}

/// One decoded picture. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Pixels; even.
    pub width: u32,
    /// Pixels; even.
    pub height: u32,
    /// Planar 4:2:0, Y then U then V, no padding; BT.601, limited range.
    pub i420: Arc<Vec<u8>>,
    /// RTP timestamp, 90 kHz.
    pub media_time: u32,
    /// When it came out of the decoder.
    pub decoded_at: Timestamp,
}

impl Picture {
    /// The Y, U and V planes.
    pub fn planes(&self) -> (&[u8], &[u8], &[u8]) {
        let luma = (self.width * self.height) as usize;
        let (y, chroma) = self.i420.split_at(luma.min(self.i420.len()));
        let (u, v) = chroma.split_at(chroma.len() / 2);
        (y, u, v)
    }

    /// 8-bit RGB, no padding.
    pub fn rgb(&self) -> Result<Vec<u8>, PictureError> {
        let (y_plane, u_plane, v_plane) = self.planes();
        let planar = YuvPlanarImage {
            y_plane,
            y_stride: self.width,
            u_plane,
            u_stride: self.width / 2,
            v_plane,
            v_stride: self.width / 2,
            width: self.width,
            height: self.height,
        };
        let mut rgb = vec![0; (self.width * self.height * 3) as usize];
        yuv::yuv420_to_rgb(
            &planar,
            &mut rgb,
            self.width * 3,
            YuvRange::Limited,
            YuvStandardMatrix::Bt601,
        )?;
        Ok(rgb)
    }

    /// The picture as a PNG file. Takes tens of milliseconds: not for a thread that others wait for.
    pub fn png(&self) -> Result<Vec<u8>, PictureError> {
        let rgb = self.rgb()?;
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        encoder.write_header()?.write_image_data(&rgb)?;
        Ok(file)
    }
}

/// Where the decoder leaves a peer's newest picture; outlives the peer's connections.
#[derive(Debug, Default)]
pub(crate) struct PictureSlot {
    newest: Mutex<Option<Picture>>,
}

impl PictureSlot {
    fn lock(&self) -> MutexGuard<'_, Option<Picture>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest picture.
    pub(crate) fn newest(&self) -> Option<Picture> {
        self.lock().clone()
    }

    /// Its size in pixels and when it was decoded.
    pub(crate) fn facts(&self) -> Option<((u32, u32), Timestamp)> {
        self.lock()
            .as_ref()
            .map(|picture| ((picture.width, picture.height), picture.decoded_at))
    }

    /// There is none any more.
    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }

    /// Puts a newer one in its place; returns the old one's memory if nobody else holds it.
    pub(crate) fn replace(&self, picture: Picture) -> Vec<u8> {
        self.lock()
            .replace(picture)
            .and_then(|old| Arc::try_unwrap(old.i420).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(width: u32, height: u32) -> Picture {
        Picture {
            width,
            height,
            i420: Arc::new(vec![128; (width * height * 3 / 2) as usize]),
            media_time: 0,
            decoded_at: Timestamp::default(),
        }
    }

    #[test]
    fn a_png_holds_the_picture() {
        let file = gray(64, 48).png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (64, 48));
        // Luma 128 in limited range is (128 - 16) * 255 / 219.
        assert!(
            pixels.iter().all(|value| value.abs_diff(130) <= 2),
            "{:?}",
            &pixels[..3]
        );
    }

    #[test]
    fn planes_that_do_not_fit_are_an_error_and_no_panic() {
        let mut picture = gray(64, 48);
        picture.i420 = Arc::new(vec![0; 100]);
        assert!(picture.png().is_err());
    }

    #[test]
    fn memory_comes_back_once_nobody_looks_at_the_old_picture() {
        let slot = PictureSlot::default();
        assert!(slot.replace(gray(64, 48)).is_empty());
        let held = slot.newest().unwrap();
        assert!(slot.replace(gray(64, 48)).is_empty(), "somebody holds it");
        assert_eq!(slot.replace(gray(64, 48)).len(), 64 * 48 * 3 / 2);
        assert_eq!(held.width, 64);
    }
}
