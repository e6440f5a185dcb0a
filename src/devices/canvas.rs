//! Drawing into I420 pictures: rectangles, discs and text.

use std::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, ascii};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::Drawable;
use embedded_graphics::text::{Baseline, Text};

use crate::devices::picture::i420_len;

/// Limited-range Y'CbCr (BT.709 for the colours, as HD cameras deliver).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Yuv(pub(super) u8, pub(super) u8, pub(super) u8);

pub(super) const WHITE: Yuv = Yuv(235, 128, 128);
pub(super) const BLACK: Yuv = Yuv(16, 128, 128);

/// An I420 picture being drawn. Everything outside is clipped.
pub(super) struct Canvas<'a> {
    data: &'a mut [u8],
    width: usize,
    height: usize,
}

impl<'a> Canvas<'a> {
    /// `data` holds exactly one picture of this size; both sides are even.
    pub(super) fn new(data: &'a mut [u8], width: usize, height: usize) -> Self {
        debug_assert_eq!(data.len(), i420_len(width, height));
        Self {
            data,
            width,
            height,
        }
    }

    /// Fills a rectangle. Chroma covers every pair of pixels that it touches.
    pub(super) fn rectangle(&mut self, x: usize, y: usize, w: usize, h: usize, color: Yuv) {
        let (x1, y1) = ((x + w).min(self.width), (y + h).min(self.height));
        if x >= x1 || y >= y1 {
            return;
        }
        for row in y..y1 {
            let start = row * self.width;
            self.data[start + x..start + x1].fill(color.0);
        }
        self.chroma_rectangle(x / 2, y / 2, x1.div_ceil(2), y1.div_ceil(2), color);
    }

    fn chroma_rectangle(&mut self, x0: usize, y0: usize, x1: usize, y1: usize, color: Yuv) {
        let half = self.width / 2;
        let u = self.width * self.height;
        let v = u + half * (self.height / 2);
        for row in y0..y1 {
            let start = row * half;
            self.data[u + start + x0..u + start + x1].fill(color.1);
            self.data[v + start + x0..v + start + x1].fill(color.2);
        }
    }

    /// Fills a disc; the centre may lie outside.
    pub(super) fn disc(&mut self, center: (i64, i64), radius: i64, color: Yuv) {
        for dy in -radius..=radius {
            let y = center.1 + dy;
            if y < 0 || y >= self.height as i64 {
                continue;
            }
            let reach = ((radius * radius - dy * dy) as f64).sqrt() as i64;
            let x0 = (center.0 - reach).clamp(0, self.width as i64) as usize;
            let x1 = (center.0 + reach + 1).clamp(0, self.width as i64) as usize;
            self.rectangle(x0, y as usize, x1.saturating_sub(x0), 1, color);
        }
    }

    /// Draws a text that was rendered before; only luma changes.
    pub(super) fn text(&mut self, text: &RenderedText, x: usize, y: usize, luma: u8) {
        let scale = text.scale;
        for (row, bits) in text.bits.chunks_exact(text.width.max(1)).enumerate() {
            let top = y + row * scale;
            for (column, _) in bits.iter().enumerate().filter(|(_, on)| **on) {
                let left = x + column * scale;
                let right = (left + scale).min(self.width);
                if left >= right {
                    continue;
                }
                for line in top..(top + scale).min(self.height) {
                    let start = line * self.width;
                    self.data[start + left..start + right].fill(luma);
                }
            }
        }
    }
}

/// A text as a bitmap, drawn `scale` times as large.
pub(super) struct RenderedText {
    bits: Vec<bool>,
    width: usize,
    scale: usize,
}

const FONT: MonoFont<'static> = ascii::FONT_10X20;

impl RenderedText {
    /// Renders one line, as large as fits into `max_width` x `max_height` pixels. Characters beyond
    /// ASCII become question marks, the font has no others.
    pub(super) fn fit(text: &str, max_width: usize, max_height: usize) -> Self {
        let text: String = text
            .chars()
            .map(|c| {
                if c.is_ascii_graphic() || c == ' ' {
                    c
                } else {
                    '?'
                }
            })
            .collect();
        let (glyph_width, glyph_height) = (
            FONT.character_size.width as usize,
            FONT.character_size.height as usize,
        );
        let width = text.len() * glyph_width;
        let scale = (max_width / width.max(1)).min(max_height / glyph_height);
        let mut mask = Mask {
            bits: vec![false; width * glyph_height],
            width,
        };
        let style = MonoTextStyle::new(&FONT, BinaryColor::On);
        let Ok(_) = Text::with_baseline(&text, Point::zero(), style, Baseline::Top).draw(&mut mask);
        Self {
            bits: mask.bits,
            width,
            scale: scale.max(1),
        }
    }

    /// Width and height as drawn, pixels.
    pub(super) fn size(&self) -> (usize, usize) {
        let height = FONT.character_size.height as usize;
        (self.width * self.scale, height * self.scale)
    }
}

struct Mask {
    bits: Vec<bool>,
    width: usize,
}

impl OriginDimensions for Mask {
    fn size(&self) -> Size {
        let height = self.bits.len().checked_div(self.width).unwrap_or(0);
        Size::new(self.width as u32, height as u32)
    }
}

impl DrawTarget for Mask {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(point.x), usize::try_from(point.y)) else {
                continue;
            };
            if x < self.width
                && let Some(bit) = self.bits.get_mut(y * self.width + x)
            {
                *bit = color.is_on();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_outside_is_clipped() {
        let mut data = vec![0; i420_len(16, 8)];
        let mut canvas = Canvas::new(&mut data, 16, 8);
        canvas.rectangle(10, 6, 100, 100, WHITE);
        canvas.rectangle(100, 100, 5, 5, WHITE);
        canvas.disc((0, 0), 50, BLACK);
        canvas.text(&RenderedText::fit("wide text", 400, 400), 3, 3, 235);
    }

    #[test]
    fn a_text_fills_the_room_it_is_given() {
        let text = RenderedText::fit("12:34:56", 400, 100);
        assert_eq!(text.size().0, 400);
        let mut data = vec![16; i420_len(400, 100)];
        Canvas::new(&mut data, 400, 100).text(&text, 0, 0, 235);
        let lit = data.iter().filter(|v| **v == 235).count();
        assert!(lit > 2000, "{lit} lit pixels");
    }

    #[test]
    fn an_empty_or_foreign_text_does_no_harm() {
        assert_eq!(RenderedText::fit("", 100, 100).size().0, 0);
        let text = RenderedText::fit("Zürich", 60, 20);
        assert_eq!(text.size().0, 60);
    }
}
