//! JPEG pictures of cameras to I420.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::devices::picture::i420_len;
use crate::devices::shield::shielded;

/// The longest side that a camera may have, pixels.
const LONGEST_SIDE: usize = 4096;
/// Marks a picture as one of motion JPEG, whose Huffman tables are the standard's where it has none of its own.
const MOTION: [u8; 18] = [
    0xFF, 0xE0, 0x00, 0x10, b'A', b'V', b'I', b'1', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

/// Decodes a JPEG of exactly this size into `planar`, I420 in the limited range that video has.
///
/// # Errors
/// One sentence that says what is wrong with the bytes.
pub(super) fn decode(
    jpeg: &[u8],
    width: usize,
    height: usize,
    planar: &mut Vec<u8>,
) -> Result<(), String> {
    let with_tables;
    let bytes = if has_huffman_tables(jpeg) || jpeg.len() < 2 {
        jpeg
    } else {
        // Many cameras leave them out to save room on the bus.
        with_tables = [&jpeg[..2], &MOTION, &jpeg[2..]].concat();
        &with_tables
    };
    // The decoder has panicked over damaged pictures before, and a camera's cable damages pictures.
    let (pixels, info) = shielded("camera-jpeg", || {
        let options = DecoderOptions::default()
            .set_max_width(LONGEST_SIDE)
            .set_max_height(LONGEST_SIDE)
            .jpeg_set_out_colorspace(ColorSpace::YCbCr);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        let pixels = decoder.decode().map_err(|error| error.to_string())?;
        let size = decoder.dimensions().ok_or("a JPEG without a size")?;
        Ok::<_, String>((pixels, size))
    })??;
    if info != (width, height) {
        return Err(format!("a JPEG of {}x{}", info.0, info.1));
    }
    if pixels.len() != width * height * 3 {
        return Err("a JPEG without colours".to_owned());
    }
    planar.resize(i420_len(width, height), 0);
    halve_chroma(&pixels, width, planar);
    Ok(())
}

/// Whether a table stands before the picture's data.
fn has_huffman_tables(jpeg: &[u8]) -> bool {
    let mut rest = jpeg.get(2..).unwrap_or_default();
    while let [0xFF, marker, high, low, ..] = rest {
        match marker {
            0xC4 => return true,
            // The data begins.
            0xDA => return false,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = rest.get(2 + length..).unwrap_or_default();
    }
    false
}

/// Y'CbCr of full range, three bytes a pixel, to planes of limited range; the chroma of four pixels becomes one.
/// Both sides are even.
fn halve_chroma(pixels: &[u8], width: usize, planar: &mut [u8]) {
    let luma = pixels.len() / 3;
    let (y, chroma) = planar.split_at_mut(luma);
    let (u, v) = chroma.split_at_mut(luma / 4);
    for (target, pixel) in y.iter_mut().zip(pixels.chunks_exact(3)) {
        *target = (16 + (u32::from(pixel[0]) * 219 + 127) / 255) as u8;
    }
    let rows = pixels.chunks_exact(width * 6);
    let targets = u.chunks_mut(width / 2).zip(v.chunks_mut(width / 2));
    for (pair, (u, v)) in rows.zip(targets) {
        let (upper, lower) = pair.split_at(width * 3);
        let quads = upper.chunks_exact(6).zip(lower.chunks_exact(6));
        for ((above, below), (u, v)) in quads.zip(u.iter_mut().zip(v)) {
            let sum = |at: usize| {
                u32::from(above[at])
                    + u32::from(above[at + 3])
                    + u32::from(below[at])
                    + u32::from(below[at + 3])
            };
            *u = limited_chroma(sum(1));
            *v = limited_chroma(sum(2));
        }
    }
}

/// The mean of four values around 128, drawn together by 224/255.
fn limited_chroma(sum: u32) -> u8 {
    ((sum * 224 + 4 * (128 * 255 - 128 * 224) + 510) / 1020) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16x16 with chroma halved sideways, as cameras do: the left half red, the right half white.
    const RED_WHITE: &[u8] = include_bytes!("red-white.jpg");

    fn near(value: u8, expected: u8) -> bool {
        value.abs_diff(expected) <= 3
    }

    fn golden(planar: &[u8]) {
        let (y, chroma) = planar.split_at(256);
        let (u, v) = chroma.split_at(64);
        for row in 0..16 {
            for column in 0..16 {
                // BT.601, limited range.
                let expected = if column < 8 { 81 } else { 235 };
                let value = y[row * 16 + column];
                assert!(near(value, expected), "{column},{row}: {value}");
            }
        }
        for row in 0..8 {
            // At the border the decoder smooths the colours.
            for column in [0, 1, 2, 5, 6, 7] {
                let (eu, ev) = if column < 4 { (91, 240) } else { (128, 128) };
                let at = row * 8 + column;
                assert!(
                    near(u[at], eu) && near(v[at], ev),
                    "{column},{row}: {} {}",
                    u[at],
                    v[at]
                );
            }
        }
    }

    #[test]
    fn a_jpeg_becomes_planes_of_limited_range() {
        let mut planar = Vec::new();
        decode(RED_WHITE, 16, 16, &mut planar).unwrap();
        golden(&planar);
    }

    #[test]
    fn one_without_huffman_tables_has_the_standard_ones() {
        // The encoder of the golden picture writes the standard's tables; take them out.
        let mut bare = RED_WHITE[..2].to_vec();
        let mut rest = &RED_WHITE[2..];
        while rest[1] != 0xDA {
            let length = 2 + usize::from(u16::from_be_bytes([rest[2], rest[3]]));
            if rest[1] != 0xC4 {
                bare.extend_from_slice(&rest[..length]);
            }
            rest = &rest[length..];
        }
        bare.extend_from_slice(rest);
        assert!(has_huffman_tables(RED_WHITE) && !has_huffman_tables(&bare));
        let mut planar = Vec::new();
        decode(&bare, 16, 16, &mut planar).unwrap();
        golden(&planar);
    }

    #[test]
    fn damaged_pictures_are_refused_or_shown_but_never_the_end() {
        let mut planar = Vec::new();
        assert!(decode(&[], 16, 16, &mut planar).is_err());
        assert!(decode(&[0xFF, 0xD8], 16, 16, &mut planar).is_err());
        assert!(
            decode(RED_WHITE, 32, 16, &mut planar)
                .unwrap_err()
                .contains("16x16")
        );
        for length in 0..RED_WHITE.len() {
            let _ = decode(&RED_WHITE[..length], 16, 16, &mut planar);
        }
        for at in 2..RED_WHITE.len() {
            let mut damaged = RED_WHITE.to_vec();
            damaged[at] ^= 0x5A;
            if decode(&damaged, 16, 16, &mut planar).is_ok() {
                assert_eq!(planar.len(), i420_len(16, 16));
            }
        }
    }

    #[test]
    fn the_ends_of_the_range_are_the_limits() {
        let grey = [0, 128, 128]
            .repeat(2)
            .into_iter()
            .chain([255, 128, 128].repeat(2));
        let mut planar = vec![0; 6];
        halve_chroma(&grey.collect::<Vec<u8>>(), 2, &mut planar);
        assert_eq!(planar, [16, 16, 235, 235, 128, 128]);
        assert_eq!((limited_chroma(0), limited_chroma(4 * 255)), (16, 240));
    }
}
