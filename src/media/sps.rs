//! The picture size in an H.264 sequence parameter set (H.264 section 7.3.2.1.1): read before the
//! decoder allocates for it, because the size comes from outside.

/// NAL unit types (H.264 table 7-1). A subset parameter set begins as an ordinary one does (section 7.3.2.1.3);
/// a start code hidden in another NAL unit brings it past whoever looks at packets only.
const NAL_SPS: u8 = 7;
const NAL_SUBSET_SPS: u8 = 15;

/// The sizes in pixels of all sequence parameter sets of an Annex B stream, subset ones too, before cropping;
/// `Err` if one of them cannot be read.
pub(crate) fn picture_sizes(annex_b: &[u8]) -> Result<Vec<(u32, u32)>, Unreadable> {
    nal_units(annex_b)
        .filter(|nal| {
            nal.first()
                .is_some_and(|header| matches!(header & 0x1f, NAL_SPS | NAL_SUBSET_SPS))
        })
        .map(|nal| picture_size(&nal[1..]))
        .collect()
}

/// A parameter set is cut short or holds impossible values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// The NAL units of an Annex B stream, without start codes.
fn nal_units(annex_b: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts = annex_b
        .windows(3)
        .enumerate()
        .filter(|(_, bytes)| *bytes == [0, 0, 1])
        .map(|(index, _)| index)
        .peekable();
    std::iter::from_fn(move || {
        let start = starts.next()? + 3;
        let end = starts.peek().copied().unwrap_or(annex_b.len());
        annex_b.get(start..end.max(start))
    })
}

fn picture_size(sps: &[u8]) -> Result<(u32, u32), Unreadable> {
    // Parameter sets are short; what follows cannot matter for the size.
    let mut bits = Bits::new(&sps[..sps.len().min(512)]);
    let profile = bits.read(8)?;
    bits.read(16)?;
    bits.exp_golomb()?;
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        let chroma_format = bits.exp_golomb()?;
        if chroma_format == 3 {
            bits.read(1)?;
        }
        bits.exp_golomb()?;
        bits.exp_golomb()?;
        bits.read(1)?;
        if bits.read(1)? == 1 {
            let lists = if chroma_format == 3 { 12 } else { 8 };
            for list in 0..lists {
                if bits.read(1)? == 1 {
                    bits.skip_scaling_list(if list < 6 { 16 } else { 64 })?;
                }
            }
        }
    }
    bits.exp_golomb()?;
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?;
        }
        1 => {
            bits.read(1)?;
            bits.exp_golomb()?;
            bits.exp_golomb()?;
            let cycle = bits.exp_golomb()?;
            if cycle > 255 {
                return Err(Unreadable);
            }
            for _ in 0..cycle {
                bits.exp_golomb()?;
            }
        }
        2 => {}
        _ => return Err(Unreadable),
    }
    bits.exp_golomb()?;
    bits.read(1)?;
    let width = bits.exp_golomb()?.checked_add(1).ok_or(Unreadable)?;
    let height = bits.exp_golomb()?.checked_add(1).ok_or(Unreadable)?;
    let fields = 2 - bits.read(1)?;
    let pixels = |units: u32| units.checked_mul(16).ok_or(Unreadable);
    Ok((
        pixels(width)?,
        pixels(height.checked_mul(fields).ok_or(Unreadable)?)?,
    ))
}

/// Reads bits, leaving out emulation prevention bytes (H.264 section 7.4.1).
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    bit: u32,
    zeros: u32,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            bit: 0,
            zeros: 0,
        }
    }

    fn one(&mut self) -> Result<u32, Unreadable> {
        if self.bit == 0 && self.zeros >= 2 && self.bytes.get(self.at) == Some(&3) {
            self.at += 1;
            self.zeros = 0;
            // Needless prevention is forbidden, and openh264 would leave the zeros out, too: another size.
            if self.bytes.get(self.at).is_some_and(|next| *next > 3) {
                return Err(Unreadable);
            }
        }
        let byte = *self.bytes.get(self.at).ok_or(Unreadable)?;
        let bit = byte >> (7 - self.bit) & 1;
        self.bit += 1;
        if self.bit == 8 {
            self.bit = 0;
            self.at += 1;
            self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        }
        Ok(u32::from(bit))
    }

    fn read(&mut self, count: u32) -> Result<u32, Unreadable> {
        (0..count).try_fold(0, |value, _| Ok(value << 1 | self.one()?))
    }

    fn exp_golomb(&mut self) -> Result<u32, Unreadable> {
        let mut zeros = 0;
        while self.one()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return Err(Unreadable);
            }
        }
        let rest = self.read(zeros)?;
        Ok(((1_u64 << zeros) - 1 + u64::from(rest)) as u32)
    }

    fn skip_scaling_list(&mut self, size: u32) -> Result<(), Unreadable> {
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..size {
            if next != 0 {
                let code = i64::from(self.exp_golomb()?);
                let delta = if code % 2 == 1 {
                    (code + 1) / 2
                } else {
                    -code / 2
                };
                next = (last + delta).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openh264::formats::YUVBuffer;
    use proptest::prelude::*;

    #[test]
    fn the_size_of_an_encoded_picture_is_read() {
        for (width, height) in [(320, 192), (640, 368), (1280, 720), (1920, 1088)] {
            let mut encoder = openh264::encoder::Encoder::new().unwrap();
            let unit = encoder
                .encode(&YUVBuffer::new(width, height))
                .unwrap()
                .to_vec();
            assert_eq!(
                picture_sizes(&unit),
                Ok(vec![(width as u32, height as u32)])
            );
        }
    }

    #[test]
    fn a_parameter_set_of_the_high_profile_with_scaling_lists_is_read() {
        // profile 100, level 4.0, id 0, 4:2:0, 8 bit, scaling matrix of flat first list (delta to 0 at once).
        let mut bits = String::from("011001000000000000101000");
        bits += "1"; // seq_parameter_set_id
        bits += "010"; // chroma_format_idc 1
        bits += "110"; // bit depths, no transform bypass
        bits += "1"; // scaling matrix present
        bits += "1000010001"; // first list: delta -8, so the rest is default
        bits += "0000000"; // other lists absent
        bits += "1"; // log2_max_frame_num_minus4
        bits += "011"; // pic_order_cnt_type 2
        bits += "0100"; // one reference frame, no gaps
        bits += "000010100"; // 20 macroblocks wide
        bits += "0001100"; // 12 high
        bits += "11"; // frames only, and a bit of the rest
        let mut bytes = vec![0, 0, 0, 1, 0x67];
        for chunk in bits.as_bytes().chunks(8) {
            let text = std::str::from_utf8(chunk).unwrap();
            bytes.push(u8::from_str_radix(text, 2).unwrap() << (8 - text.len()));
        }
        assert_eq!(picture_sizes(&bytes), Ok(vec![(320, 192)]));
    }

    #[test]
    fn a_stream_without_parameter_sets_has_no_sizes() {
        assert_eq!(picture_sizes(&[0, 0, 1, 0x65, 1, 2, 3]), Ok(vec![]));
        assert_eq!(picture_sizes(&[0, 0, 1, 0x67, 66]), Err(Unreadable));
        assert_eq!(picture_sizes(&[0, 0, 1, 0x67]), Err(Unreadable));
    }

    #[test]
    fn a_subset_parameter_set_is_read_like_an_ordinary_one() {
        let mut encoder = openh264::encoder::Encoder::new().unwrap();
        let unit = encoder.encode(&YUVBuffer::new(320, 192)).unwrap().to_vec();
        let start = unit.windows(4).position(|w| w == [0, 0, 1, 0x67]).unwrap();
        let mut hidden = vec![0, 0, 0, 1, 0x41, 9, 9];
        hidden.extend(&unit[start..]);
        hidden[7 + 3] = 0x6f;
        assert_eq!(picture_sizes(&hidden), Ok(vec![(320, 192)]));
    }

    #[test]
    fn needless_emulation_prevention_is_refused() {
        let set = |third| [0, 0, 1, 0x67, 0, 0, 3, third, 0xff, 0xff, 0xff, 0xff];
        assert!(picture_sizes(&set(3)).is_ok());
        assert_eq!(picture_sizes(&set(4)), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut unit = vec![0, 0, 1, 0x67];
            unit.extend(bytes);
            let _ = picture_sizes(&unit);
        }
    }
}
