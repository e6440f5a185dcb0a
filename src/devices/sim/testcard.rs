//! The test card: colour bars, moving parts, box name, clock, and a strip that a machine can read.
//!
//! The strip's format is fixed; a browser test reads it. With c = width / 40 (integer division), in
//! cells of c x c pixels from the top-left corner:
//!
//! | cells | content |
//! |---|---|
//! | row 0, cell 0 / 1 | white / black |
//! | row 0, cells 2-33 | frame counter, 32 bits, most significant first; white is 1 |
//! | row 0, cell 34 / 35 | white / black |
//! | row 1 | the same with the low 32 bits of the capture time, milliseconds of `CLOCK_MONOTONIC` |
//! | rows 3-6, columns 0-3 | the flash: white while the capture time is in the first 100 ms of a second |
//!
//! White is luma 235, black luma 16, chroma neutral.

use std::time::{SystemTime, UNIX_EPOCH};

use super::camera::Picture;
use crate::devices::canvas::{BLACK, Canvas, RenderedText, WHITE, Yuv};
use crate::devices::picture::i420_len;
use crate::room::Timestamp;

/// Cells in the width of a picture.
const CELLS: usize = 40;
/// Milliseconds of each second during which the flash is lit.
const FLASH_MILLIS: u32 = 100;

const GREY: Yuv = Yuv(40, 128, 128);
/// 75 % bars in limited-range BT.709: white, yellow, cyan, green, magenta, red, blue.
const BARS: [Yuv; 7] = [
    Yuv(180, 128, 128),
    Yuv(168, 44, 136),
    Yuv(145, 147, 44),
    Yuv(133, 63, 52),
    Yuv(63, 193, 204),
    Yuv(51, 109, 212),
    Yuv(28, 212, 120),
];
const BALL: Yuv = Yuv(200, 60, 160);

/// What the strip of a test card says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strip {
    /// Frame counter.
    pub counter: u32,
    /// Capture time, low 32 bits of the milliseconds of `CLOCK_MONOTONIC`.
    pub captured_ms: u32,
    /// The flash is lit.
    pub flash: bool,
}

/// Reads the strip from a luma plane, also after lossy coding; `None` where there is none.
pub fn read_strip(luma: &[u8], stride: usize, width: usize, height: usize) -> Option<Strip> {
    let cell = width / CELLS;
    if cell < 2 || height < 7 * cell || stride < width || luma.len() < stride * (height - 1) + width
    {
        return None;
    }
    // The middle of a cell alone: coding blurs its edges.
    let lit = |x: usize, y: usize, side: usize| -> bool {
        let (from, to) = (side / 4, side - side / 4);
        let (mut sum, mut count) = (0u64, 0u64);
        for row in y + from..y + to {
            for value in &luma[row * stride + x + from..row * stride + x + to] {
                sum += u64::from(*value);
                count += 1;
            }
        }
        sum * 2 > count * u64::from(WHITE.0 as u16 + BLACK.0 as u16)
    };
    let row = |y: usize| -> Option<u32> {
        let bit = |index: usize| lit(index * cell, y, cell);
        if !bit(0) || bit(1) || !bit(34) || bit(35) {
            return None;
        }
        Some((2..34).fold(0u32, |value, index| value << 1 | u32::from(bit(index))))
    };
    Some(Strip {
        counter: row(0)?,
        captured_ms: row(cell)?,
        flash: lit(0, 3 * cell, 4 * cell),
    })
}

/// Draws test cards of one size.
pub(super) struct TestCard {
    width: usize,
    height: usize,
    cell: usize,
    background: Vec<u8>,
    clock: RenderedText,
    clock_shows: u64,
}

impl TestCard {
    /// A card that shows the box's name; both sides are even.
    pub(super) fn new(name: &str, width: usize, height: usize) -> Self {
        let cell = width / CELLS;
        let mut background = vec![0; i420_len(width, height)];
        let mut canvas = Canvas::new(&mut background, width, height);
        canvas.rectangle(0, 0, width, height, BLACK);
        let bars_top = 8 * cell;
        let bars_height = height.saturating_sub(bars_top) / 2;
        for (index, color) in BARS.iter().enumerate() {
            let left = width * index / BARS.len();
            let right = width * (index + 1) / BARS.len();
            canvas.rectangle(left, bars_top, right - left, bars_height, *color);
        }
        let band_top = bars_top + bars_height;
        canvas.rectangle(0, band_top, width, height.saturating_sub(band_top), GREY);
        let label = RenderedText::fit(name, 20 * cell, 3 * cell);
        canvas.text(&label, 6 * cell, 3 * cell + cell / 2, WHITE.0);
        Self {
            width,
            height,
            cell,
            background,
            clock: RenderedText::fit("", 0, 0),
            clock_shows: u64::MAX,
        }
    }

    fn draw_strip_row(canvas: &mut Canvas<'_>, cell: usize, y: usize, value: u32) {
        let mut put = |index: usize, on: bool| {
            canvas.rectangle(index * cell, y, cell, cell, if on { WHITE } else { BLACK });
        };
        put(0, true);
        put(1, false);
        for bit in 0..32 {
            put(2 + bit, value >> (31 - bit) & 1 == 1);
        }
        put(34, true);
        put(35, false);
    }
}

impl Picture for TestCard {
    fn draw(&mut self, sequence: u64, captured_at: Timestamp, into: &mut Vec<u8>) {
        // Copying the still part whole costs a tenth of a millisecond at 720p and needs no memory of
        // what was drawn into a recycled buffer before.
        into.clear();
        into.extend_from_slice(&self.background);

        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let cell = self.cell;
        if self.clock_shows != seconds {
            let day = seconds % 86_400;
            let text = format!("{:02}:{:02}:{:02}Z", day / 3600, day / 60 % 60, day % 60);
            self.clock = RenderedText::fit(&text, 13 * cell, 3 * cell);
            self.clock_shows = seconds;
        }

        let mut canvas = Canvas::new(into, self.width, self.height);
        let millis = captured_at.as_duration().as_millis() as u64;
        Self::draw_strip_row(&mut canvas, cell, 0, sequence as u32);
        Self::draw_strip_row(&mut canvas, cell, cell, millis as u32);
        if millis % 1000 < u64::from(FLASH_MILLIS) {
            canvas.rectangle(0, 3 * cell, 4 * cell, 4 * cell, WHITE);
        }
        canvas.text(&self.clock, 27 * cell, 3 * cell + cell / 2, WHITE.0);

        let band_top = 8 * cell + self.height.saturating_sub(8 * cell) / 2;
        let band = self.height.saturating_sub(band_top);
        let bar = (cell / 2).max(2);
        let sweep = (millis / 4) as usize * self.width / 1000 % self.width.max(1);
        canvas.rectangle(sweep, band_top, bar, band, WHITE);
        let radius = band as i64 / 5;
        let bounce = |period: u64, span: i64| {
            let phase = (millis % period) as i64;
            let half = period as i64 / 2;
            span * (half - (phase - half).abs()) / half.max(1)
        };
        let x = radius + bounce(7000, self.width as i64 - 2 * radius);
        let y = band_top as i64 + radius + bounce(1700, band as i64 - 2 * radius);
        canvas.disc((x, y), radius, BALL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn card(width: usize, height: usize, sequence: u64, at: Timestamp) -> Vec<u8> {
        let mut data = Vec::new();
        TestCard::new("Room 1", width, height).draw(sequence, at, &mut data);
        data
    }

    #[test]
    fn the_strip_reads_back_at_every_usual_size() {
        for (width, height) in [(160, 90), (320, 180), (640, 360), (1280, 720), (1920, 1080)] {
            for (sequence, millis) in [(0, 0), (1, 99), (0xDEAD_BEEF, 100), (77, 0x1_2345_6789)] {
                let data = card(width, height, sequence, Timestamp::from_millis(millis));
                let strip = read_strip(&data, width, width, height).expect("a strip");
                assert_eq!(strip.counter, sequence as u32);
                assert_eq!(strip.captured_ms, millis as u32);
                assert_eq!(strip.flash, millis % 1000 < 100);
            }
        }
    }

    #[test]
    fn the_format_is_what_the_browser_test_reads() {
        let data = card(1280, 720, 0x8000_0001, Timestamp::from_millis(2_050));
        let luma =
            |cell_x: usize, cell_y: usize| data[(cell_y * 32 + 16) * 1280 + cell_x * 32 + 16];
        let row: Vec<u8> = (0..36).map(|x| luma(x, 0)).collect();
        assert_eq!(row[0], 235);
        assert_eq!(row[1], 16);
        assert_eq!(row[2], 235, "most significant bit of the counter");
        assert!(row[3..33].iter().all(|v| *v == 16));
        assert_eq!(row[33], 235, "least significant bit of the counter");
        assert_eq!((row[34], row[35]), (235, 16));
        // 2050 = 0b1000_0000_0010: bits 11 and 1.
        let time: Vec<usize> = (2..34).filter(|x| luma(*x, 1) == 235).collect();
        assert_eq!(time, [2 + 31 - 11, 2 + 31 - 1]);
        assert_eq!(luma(0, 3), 235);
        assert_eq!(luma(3, 6), 235);
        assert_eq!(luma(4, 3), 16);
        let chroma = 1280 * 720;
        assert_eq!(data[chroma], 128);
    }

    #[test]
    fn neither_black_pictures_nor_odd_sizes_have_a_strip() {
        assert_eq!(read_strip(&[16; 1280 * 720], 1280, 1280, 720), None);
        assert_eq!(read_strip(&[235; 1280 * 720], 1280, 1280, 720), None);
        assert_eq!(read_strip(&[235; 100], 1280, 1280, 720), None);
        assert_eq!(read_strip(&[], 0, 0, 0), None);
        // Wide and flat: the strip does not fit, and drawing it must not panic.
        let data = card(1920, 90, 1, Timestamp::from_millis(1));
        assert_eq!(read_strip(&data, 1920, 1920, 90), None);
    }

    #[test]
    fn consecutive_pictures_move() {
        let mut card = TestCard::new("Room 1", 640, 360);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        card.draw(1, Timestamp::from_millis(1000), &mut first);
        card.draw(2, Timestamp::from_millis(1033), &mut second);
        let band = 640 * 260..640 * 360;
        assert_ne!(first[band.clone()], second[band]);
    }

    #[test]
    fn drawing_is_far_cheaper_than_a_frame_lasts() {
        let mut card = TestCard::new("Room 1", 1280, 720);
        let mut data = Vec::new();
        let rounds = 60;
        let before = Instant::now();
        for sequence in 0..rounds {
            card.draw(sequence, Timestamp::from_millis(sequence * 33), &mut data);
        }
        let each = before.elapsed() / rounds as u32;
        println!("{each:?} for each 1280x720 test card");
        assert!(each < Duration::from_millis(10), "{each:?}");
    }
}
