//! I420 pictures: their planes, and scaling them with the aspect kept.

use fast_image_resize::images::{TypedCroppedImageMut, TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use super::canvas::{Canvas, RenderedText, WHITE};

/// Luma and chroma of limited-range black.
const BLACK: (u8, u8) = (16, 128);

/// Bytes of an I420 picture; odd sides round the chroma planes up.
pub fn i420_len(width: usize, height: usize) -> usize {
    width * height + 2 * (width.div_ceil(2) * height.div_ceil(2))
}

/// A black I420 picture.
pub fn black_i420(width: usize, height: usize) -> Vec<u8> {
    let mut picture = vec![BLACK.1; i420_len(width, height)];
    picture[..width * height].fill(BLACK.0);
    picture
}

/// A dark I420 picture with a line of text in its middle, which stands in for one that is not there. Both sides are
/// even. Characters beyond ASCII become question marks.
pub fn slate(width: usize, height: usize, text: &str) -> Vec<u8> {
    let mut picture = black_i420(width, height);
    let text = RenderedText::fit(text, width * 3 / 4, height / 4);
    let (wide, high) = text.size();
    let x = width.saturating_sub(wide) / 2;
    let y = height.saturating_sub(high) / 2;
    Canvas::new(&mut picture, width, height).text(&text, x, y, WHITE.0);
    picture
}

/// Scales I420 pictures into one target size, centred, with black bars where the aspect differs.
pub struct Scaler {
    resizer: Resizer,
    options: ResizeOptions,
    width: usize,
    height: usize,
    /// The size for which `into` has its bars already.
    barred_for: Option<(usize, usize)>,
}

impl std::fmt::Debug for Scaler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scaler to {}x{}", self.width, self.height)
    }
}

impl Scaler {
    /// The target; both sides even.
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            resizer: Resizer::new(),
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)),
            width,
            height,
            barred_for: None,
        }
    }

    /// Scales `picture`, `width` x `height`, into `into`. The same `into` is expected each time.
    /// `None` where the sizes do not belong to the buffers.
    pub fn scale(
        &mut self,
        picture: &[u8],
        width: usize,
        height: usize,
        into: &mut Vec<u8>,
    ) -> Option<()> {
        if width == 0 || height == 0 || picture.len() != i420_len(width, height) {
            return None;
        }
        if (width, height) == (self.width, self.height) {
            self.barred_for = None;
            into.clear();
            into.extend_from_slice(picture);
            return Some(());
        }
        if self.barred_for != Some((width, height))
            || into.len() != i420_len(self.width, self.height)
        {
            *into = black_i420(self.width, self.height);
            self.barred_for = Some((width, height));
        }
        let (left, top, inner_width, inner_height) = fitted(width, height, self.width, self.height);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        let (y, chroma) = picture.split_at(width * height);
        let (u, v) = chroma.split_at(half_width * half_height);
        let (target_y, target_chroma) = into.split_at_mut(self.width * self.height);
        let (target_half, target_rows) = (self.width / 2, self.height / 2);
        let (target_u, target_v) = target_chroma.split_at_mut(target_half * target_rows);
        let whole = (left, top, inner_width, inner_height);
        let halved = (left / 2, top / 2, inner_width / 2, inner_height / 2);
        self.plane(
            y,
            (width, height),
            target_y,
            (self.width, self.height),
            whole,
        )?;
        for (source, target) in [(u, target_u), (v, target_v)] {
            self.plane(
                source,
                (half_width, half_height),
                target,
                (target_half, target_rows),
                halved,
            )?;
        }
        Some(())
    }

    fn plane(
        &mut self,
        source: &[u8],
        source_size: (usize, usize),
        target: &mut [u8],
        target_size: (usize, usize),
        place: (usize, usize, usize, usize),
    ) -> Option<()> {
        let size = |value: usize| u32::try_from(value).ok();
        // Typed: the untyped images would compile the resizer for every pixel type there is.
        let source =
            TypedImageRef::<U8>::from_buffer(size(source_size.0)?, size(source_size.1)?, source)
                .ok()?;
        let target =
            TypedImage::<U8>::from_buffer(size(target_size.0)?, size(target_size.1)?, target)
                .ok()?;
        let mut inner = TypedCroppedImageMut::new(
            target,
            size(place.0)?,
            size(place.1)?,
            size(place.2)?,
            size(place.3)?,
        )
        .ok()?;
        self.resizer
            .resize_typed(&source, &mut inner, &self.options)
            .ok()
    }
}

/// Where a picture lies within the target: left, top, width, height, all even, nothing zero.
fn fitted(
    width: usize,
    height: usize,
    target_width: usize,
    target_height: usize,
) -> (usize, usize, usize, usize) {
    let even = |value: usize, most: usize| (value & !1).clamp(2, most);
    let (inner_width, inner_height) = if width * target_height >= height * target_width {
        let inner = height * target_width / width;
        (target_width, even(inner, target_height))
    } else {
        let inner = width * target_height / height;
        (even(inner, target_width), target_height)
    };
    (
        ((target_width - inner_width) / 2) & !1,
        ((target_height - inner_height) / 2) & !1,
        inner_width,
        inner_height,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_aspect_is_kept_and_the_rest_is_black() {
        // 4:3 into 16:9: pillars left and right.
        let mut picture = vec![200; i420_len(80, 60)];
        picture[80 * 60..].fill(90);
        let mut scaled = Vec::new();
        let mut scaler = Scaler::new(160, 90);
        scaler
            .scale(&picture, 80, 60, &mut scaled)
            .expect("it fits");
        let row = &scaled[45 * 160..46 * 160];
        assert_eq!((row[0], row[19], row[159]), (16, 16, 16));
        assert_eq!((row[22], row[80], row[137]), (200, 200, 200));
        let u = &scaled[160 * 90..160 * 90 + 80 * 45];
        assert_eq!((u[20 * 80], u[20 * 80 + 40]), (128, 90));
        // Wide into 16:9: bars above and below.
        let wide = vec![200; i420_len(100, 20)];
        scaler.scale(&wide, 100, 20, &mut scaled).expect("it fits");
        assert_eq!((scaled[80], scaled[45 * 160]), (16, 200));
    }

    #[test]
    fn extreme_shapes_and_odd_sizes_scale_too() {
        let mut scaler = Scaler::new(160, 90);
        let mut scaled = Vec::new();
        for (width, height) in [(1, 1), (3, 5), (1, 1000), (1000, 1), (161, 91)] {
            let picture = vec![128; i420_len(width, height)];
            scaler
                .scale(&picture, width, height, &mut scaled)
                .unwrap_or_else(|| panic!("{width}x{height}"));
            assert_eq!(scaled.len(), i420_len(160, 90));
        }
    }

    #[test]
    fn a_picture_of_the_right_size_stays_as_it_is() {
        let picture: Vec<u8> = (0..i420_len(160, 90)).map(|index| index as u8).collect();
        let mut scaled = vec![7; 3];
        let mut scaler = Scaler::new(160, 90);
        scaler
            .scale(&picture, 160, 90, &mut scaled)
            .expect("it fits");
        assert_eq!(scaled, picture);
        // And the bars come back after it.
        let pillar = vec![200; i420_len(10, 90)];
        scaler.scale(&pillar, 10, 90, &mut scaled).expect("it fits");
        assert_eq!((scaled[0], scaled[80]), (16, 200));
    }

    #[test]
    fn a_buffer_that_is_not_the_picture_is_refused() {
        let mut scaler = Scaler::new(160, 90);
        assert_eq!(scaler.scale(&[0; 10], 160, 90, &mut Vec::new()), None);
        assert_eq!(scaler.scale(&[], 0, 0, &mut Vec::new()), None);
    }
}
