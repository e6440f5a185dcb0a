//! A buffer of the driver to the bytes of a picture without padding.

use crate::devices::PixelFormat;

/// Copies a picture out of the `used` bytes of a driver's buffer, whose rows are `stride` bytes apart (0: no padding).
/// `None` where the picture is cut short.
pub(super) fn pack(
    format: PixelFormat,
    (width, height): (u32, u32),
    stride: u32,
    used: &[u8],
    into: &mut Vec<u8>,
) -> Option<()> {
    into.clear();
    let (width, height) = (width as usize, height as usize);
    let (row, rows) = match format {
        PixelFormat::Yuyv => (width * 2, height),
        // Luma, then half as many rows of chroma pairs as wide as it.
        PixelFormat::Nv12 => (width, height + height / 2),
        // Three planes with strides of their own are not asked for.
        PixelFormat::I420 => return None,
        PixelFormat::Mjpeg => {
            // Some cameras deliver empty or headless pictures while they start.
            if !used.starts_with(&[0xFF, 0xD8]) {
                return None;
            }
            into.extend_from_slice(used);
            return Some(());
        }
    };
    let stride = (stride as usize).max(row);
    if row == 0 || used.len() < stride * (rows.checked_sub(1)?) + row {
        return None;
    }
    if stride == row {
        into.extend_from_slice(&used[..row * rows]);
    } else {
        for line in used.chunks(stride).take(rows) {
            into.extend_from_slice(&line[..row]);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(format: PixelFormat, size: (u32, u32), stride: u32, used: &[u8]) -> Option<Vec<u8>> {
        let mut into = vec![9; 3];
        pack(format, size, stride, used, &mut into).map(|()| into)
    }

    #[test]
    fn padding_is_left_out_and_surplus_is_cut_off() {
        let rows = [1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 0, 0, 99];
        let picture = packed(PixelFormat::Yuyv, (2, 2), 6, &rows);
        assert_eq!(picture.unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
        // The last row may lack its padding.
        assert!(packed(PixelFormat::Yuyv, (2, 2), 6, &rows[..10]).is_some());
        let nv12 = [1, 2, 0, 3, 4, 0, 100, 200, 0];
        let picture = packed(PixelFormat::Nv12, (2, 2), 3, &nv12);
        assert_eq!(picture.unwrap(), [1, 2, 3, 4, 100, 200]);
        let plain = packed(PixelFormat::Yuyv, (2, 1), 0, &[1, 2, 3, 4, 5]);
        assert_eq!(plain.unwrap(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_picture_cut_short_is_no_picture() {
        assert_eq!(packed(PixelFormat::Yuyv, (2, 2), 6, &[0; 9]), None);
        assert_eq!(packed(PixelFormat::Nv12, (2, 2), 2, &[0; 5]), None);
        assert_eq!(packed(PixelFormat::Nv12, (0, 0), 0, &[]), None);
        assert_eq!(packed(PixelFormat::Mjpeg, (2, 2), 0, &[]), None);
        assert_eq!(packed(PixelFormat::Mjpeg, (2, 2), 0, &[0; 64]), None);
        let jpeg = [0xFF, 0xD8, 0xFF, 0xD9];
        assert_eq!(packed(PixelFormat::Mjpeg, (2, 2), 0, &jpeg).unwrap(), jpeg);
    }
}
