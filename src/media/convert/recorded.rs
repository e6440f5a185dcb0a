//! Frames as drivers delivered them (`recorded/README.md`), against the colours that they show.

use super::Converter;
use super::tests::frame;
use crate::devices::PixelFormat;
use crate::devices::picture::i420_len;

const WIDTH: usize = 320;
const HEIGHT: usize = 180;
/// Farther than this from where two colours meet a picture must have them, pixels: JPEG compresses blocks of 16.
const SEAM: usize = 16;

/// Y'CbCr of BT.601 in limited range.
type Colour = [u8; 3];
const WHITE: Colour = [180, 128, 128];
const YELLOW: Colour = [162, 44, 142];
const CYAN: Colour = [131, 156, 44];
const GREEN: Colour = [112, 72, 58];
const MAGENTA: Colour = [84, 184, 198];
const RED: Colour = [65, 100, 212];
const BLUE: Colour = [35, 212, 114];
const BLACK: Colour = [16, 128, 128];
const FULL_WHITE: Colour = [235, 128, 128];

/// A colour, its columns and its rows.
type Patch = (Colour, [usize; 2], [usize; 2]);

/// vivid's: eight bars.
fn vivid() -> Vec<Patch> {
    [WHITE, YELLOW, CYAN, GREEN, MAGENTA, RED, BLUE, BLACK]
        .iter()
        .enumerate()
        .flat_map(|(bar, colour)| {
            let columns = [bar * 40, bar * 40 + 40];
            // Above and below the square.
            [[0, 26], [154, HEIGHT]].map(|rows| (*colour, columns, rows))
        })
        .chain([([144, 54, 34], [96, 224], [28, 152])])
        .collect()
}

/// ffmpeg's smptebars.
fn smpte() -> Vec<Patch> {
    let bars = [WHITE, YELLOW, CYAN, GREEN, MAGENTA, RED, BLUE];
    let mut patches: Vec<Patch> = bars
        .iter()
        .enumerate()
        .map(|(bar, colour)| (*colour, [bar * 46, bar * 46 + 46], [0, 120]))
        .collect();
    patches.push((FULL_WHITE, [60, 115], [135, HEIGHT]));
    patches
}

/// The picture is everywhere within `tolerance` of the patches, but for `seam` pixels at their edges.
fn shows(planar: &[u8], patches: &[Patch], seam: usize, tolerance: u8) {
    assert_eq!(planar.len(), i420_len(WIDTH, HEIGHT));
    let (luma, chroma) = planar.split_at(WIDTH * HEIGHT);
    let (u, v) = chroma.split_at(chroma.len() / 2);
    for (colour, columns, rows) in patches {
        let inner = |[from, to]: [usize; 2], end| {
            let from = if from == 0 { 0 } else { from + seam };
            from..if to >= end { end } else { to - seam }
        };
        for row in inner(*rows, HEIGHT) {
            for column in inner(*columns, WIDTH) {
                let half = row / 2 * (WIDTH / 2) + column / 2;
                let seen = [luma[row * WIDTH + column], u[half], v[half]];
                let near = seen
                    .iter()
                    .zip(colour)
                    .all(|(a, b)| a.abs_diff(*b) <= tolerance);
                assert!(near, "{column},{row}: {seen:?} in place of {colour:?}");
            }
        }
    }
}

fn convert(format: PixelFormat, bytes: &[u8]) -> Vec<u8> {
    let frame = frame(format, WIDTH as u32, HEIGHT as u32, bytes.to_vec());
    let mut converter = Converter::new(WIDTH as u32, HEIGHT as u32);
    converter.convert(&frame).unwrap().to_vec()
}

#[test]
fn yuyv_of_a_driver_has_the_colours_of_its_bars() {
    let recorded = include_bytes!("recorded/bars.yuyv");
    let planar = convert(PixelFormat::Yuyv, recorded);
    shows(&planar, &vivid(), 2, 2);
    // Luma is taken over, pixel by pixel.
    let luma = recorded.iter().step_by(2);
    assert!(planar.iter().zip(luma).all(|(a, b)| a == b));
}

#[test]
fn nv12_of_a_driver_has_the_colours_of_its_bars() {
    let recorded = include_bytes!("recorded/bars.nv12");
    let planar = convert(PixelFormat::Nv12, recorded);
    shows(&planar, &vivid(), 2, 2);
    assert_eq!(planar[..WIDTH * HEIGHT], recorded[..WIDTH * HEIGHT]);
}

#[test]
fn motion_jpeg_of_either_chroma_has_the_colours_of_its_bars() {
    let both: [&[u8]; 2] = [
        include_bytes!("recorded/bars-422.jpg"),
        include_bytes!("recorded/bars-420.jpg"),
    ];
    for recorded in both {
        let planar = convert(PixelFormat::Mjpeg, recorded);
        shows(&planar, &smpte(), SEAM, 3);
    }
}
