//! Y4M files (YUV4MPEG2, 4:2:0, 8 bit), looped and scaled with the aspect kept.
//!
//! A header line of words (`YUV4MPEG2 W640 H360 F30:1 ... C420jpeg`), then for each frame a line that
//! begins with `FRAME` and the planes Y, U, V without padding. The file's own rate is ignored: `[video]`
//! sets the pace.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::camera::Picture;
use crate::devices::DeviceError;
use crate::devices::picture::{Scaler, black_i420, i420_len};
use crate::room::Timestamp;

/// Longest header or frame line that is read.
const MAX_LINE: u64 = 1024;
/// Largest side, pixels.
const MAX_SIDE: usize = 4096;

/// Why a file was refused, at which byte.
#[derive(Debug, PartialEq, Eq)]
struct Malformed {
    offset: u64,
    what: String,
}

/// Reads frames out of a stream.
#[derive(Debug)]
struct Reader<R> {
    input: R,
    width: usize,
    height: usize,
    /// Where the first frame begins.
    first_frame: u64,
    offset: u64,
}

impl<R: BufRead + Seek> Reader<R> {
    fn open(mut input: R) -> Result<Self, Malformed> {
        let line = read_line(&mut input, 0)?.ok_or_else(|| malformed(0, "the file is empty"))?;
        let mut words = line.split(' ');
        if words.next() != Some("YUV4MPEG2") {
            return Err(malformed(
                0,
                "not a Y4M file: it does not begin with YUV4MPEG2",
            ));
        }
        let (mut width, mut height) = (0, 0);
        for word in words.filter(|word| !word.is_empty()) {
            let (tag, value) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            match tag {
                "W" => width = side(value)?,
                "H" => height = side(value)?,
                // 4:2:0 with 8 bits, wherever the chroma samples are said to lie.
                "C" if !matches!(value, "420" | "420jpeg" | "420mpeg2" | "420paldv") => {
                    return Err(malformed(
                        0,
                        &format!(
                            "its colour space {value:?} is not 4:2:0 with 8 bits; convert it, for example with ffmpeg -pix_fmt yuv420p"
                        ),
                    ));
                }
                _ => {}
            }
        }
        if width == 0 || height == 0 {
            return Err(malformed(0, "its header names no width or no height"));
        }
        let first_frame = line.len() as u64 + 1;
        Ok(Self {
            input,
            width,
            height,
            first_frame,
            offset: first_frame,
        })
    }

    /// The next frame; `false` at the end of the file.
    fn read_frame(&mut self, frame: &mut Vec<u8>) -> Result<bool, Malformed> {
        let Some(line) = read_line(&mut self.input, self.offset)? else {
            return Ok(false);
        };
        if line != "FRAME" && !line.starts_with("FRAME ") {
            return Err(malformed(self.offset, "a line FRAME is missing"));
        }
        let begin = self.offset + line.len() as u64 + 1;
        frame.resize(i420_len(self.width, self.height), 0);
        self.input
            .read_exact(frame)
            .map_err(|error| malformed(begin, &format!("a frame is cut off ({error})")))?;
        self.offset = begin + frame.len() as u64;
        Ok(true)
    }

    fn rewind(&mut self) -> Result<(), Malformed> {
        self.offset = self.first_frame;
        self.input
            .seek(SeekFrom::Start(self.first_frame))
            .map(|_| ())
            .map_err(|error| malformed(self.first_frame, &error.to_string()))
    }
}

fn malformed(offset: u64, what: &str) -> Malformed {
    Malformed {
        offset,
        what: what.to_owned(),
    }
}

fn side(value: &str) -> Result<usize, Malformed> {
    match value.parse() {
        Ok(side) if (1..=MAX_SIDE).contains(&side) => Ok(side),
        _ => Err(malformed(
            0,
            &format!("its header names a side of {value:?}; 1 to {MAX_SIDE} pixels are possible"),
        )),
    }
}

/// A line without its end; `None` at the end of the file.
fn read_line(input: &mut impl BufRead, offset: u64) -> Result<Option<String>, Malformed> {
    let mut line = Vec::new();
    input
        .take(MAX_LINE)
        .read_until(b'\n', &mut line)
        .map_err(|error| malformed(offset, &error.to_string()))?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(malformed(offset, "a line does not end"));
    }
    String::from_utf8(line)
        .map(Some)
        .map_err(|_| malformed(offset, "a line is not text"))
}

/// A camera's view of a file.
pub(super) struct Footage {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
    frame: Vec<u8>,
    scaler: Scaler,
    scaled: Vec<u8>,
    /// Reported once.
    broken: bool,
}

impl Footage {
    pub(super) fn open(
        device: &str,
        path: &Path,
        width: usize,
        height: usize,
    ) -> Result<Self, DeviceError> {
        let misconfigured = |reason: String| DeviceError::Misconfigured {
            device: device.to_owned(),
            reason,
        };
        let file = File::open(path)
            .map_err(|error| misconfigured(format!("cannot open {}: {error}", path.display())))?;
        let refuse = |error: Malformed| {
            misconfigured(format!(
                "{}, byte {}: {}",
                path.display(),
                error.offset,
                error.what
            ))
        };
        let mut reader = Reader::open(BufReader::new(file)).map_err(refuse)?;
        let mut frame = Vec::new();
        if !reader.read_frame(&mut frame).map_err(refuse)? {
            return Err(refuse(malformed(reader.offset, "it has no frame")));
        }
        reader.rewind().map_err(refuse)?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            frame,
            scaler: Scaler::new(width, height),
            scaled: black_i420(width, height),
            broken: false,
        })
    }

    /// Reads the next frame, the first one after the last. A file that has become unreadable meanwhile
    /// leaves the last good frame standing.
    fn advance(&mut self) {
        let mut frame = std::mem::take(&mut self.frame);
        let read = match self.reader.read_frame(&mut frame) {
            Ok(false) => self
                .reader
                .rewind()
                .and_then(|()| self.reader.read_frame(&mut frame)),
            other => other,
        };
        if let Err(error) = read {
            if !self.broken {
                log::warn!(
                    "{}, byte {}: {}; looping what is good",
                    self.path.display(),
                    error.offset,
                    error.what
                );
                self.broken = true;
            }
            if let Err(error) = self.reader.rewind() {
                log::debug!("cannot rewind: {}", error.what);
            }
        }
        self.frame = frame;
    }
}

impl Picture for Footage {
    fn draw(&mut self, _: u64, _: Timestamp, into: &mut Vec<u8>) {
        self.advance();
        let (width, height) = (self.reader.width, self.reader.height);
        // The frame has the reader's size by construction; if not, the last picture stays.
        let _ = self
            .scaler
            .scale(&self.frame, width, height, &mut self.scaled);
        into.clear();
        into.extend_from_slice(&self.scaled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// A file of grey frames with these luma values.
    fn file(header: &str, width: usize, height: usize, lumas: &[u8]) -> Vec<u8> {
        let mut bytes = format!("{header}\n").into_bytes();
        for luma in lumas {
            bytes.extend_from_slice(b"FRAME\n");
            let mut frame = vec![128; i420_len(width, height)];
            frame[..width * height].fill(*luma);
            bytes.extend_from_slice(&frame);
        }
        bytes
    }

    fn temporary(name: &str, bytes: &[u8]) -> PathBuf {
        let path = std::env::temp_dir().join(format!("huddled-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn a_file_loops_and_is_scaled_with_black_bars() {
        let bytes = file(
            "YUV4MPEG2 W80 H60 F25:1 Ip A1:1 C420jpeg",
            80,
            60,
            &[50, 100, 150],
        );
        let path = temporary("loop.y4m", &bytes);
        let mut footage = Footage::open("sim:file", &path, 160, 90).unwrap();
        let mut data = Vec::new();
        let mut middles = Vec::new();
        for _ in 0..7 {
            footage.draw(0, Timestamp::default(), &mut data);
            assert_eq!(data.len(), i420_len(160, 90));
            assert_eq!(data[45 * 160], 16, "a bar at the left");
            middles.push(data[45 * 160 + 80]);
        }
        assert_eq!(middles, [50, 100, 150, 50, 100, 150, 50]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_breaks_off_loops_what_is_good() {
        let mut bytes = file("YUV4MPEG2 W160 H90", 160, 90, &[50, 100]);
        bytes.truncate(bytes.len() - 5);
        let path = temporary("cut.y4m", &bytes);
        let mut footage = Footage::open("sim:file", &path, 160, 90).unwrap();
        let mut data = Vec::new();
        for _ in 0..5 {
            footage.draw(0, Timestamp::default(), &mut data);
            assert_eq!(data.len(), i420_len(160, 90));
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn malformed_files_are_refused_with_the_place_and_the_reason() {
        let cases: [(&[u8], &str); 8] = [
            (b"", "byte 0: the file is empty"),
            (b"RIFFxxxx\n", "byte 0: not a Y4M file"),
            (b"YUV4MPEG2 W2 H2", "byte 0: a line does not end"),
            (b"YUV4MPEG2 W2\n", "no height"),
            (b"YUV4MPEG2 W99999 H2\n", "\"99999\""),
            (b"YUV4MPEG2 W2 H2 C444\n", "4:2:0"),
            (b"YUV4MPEG2 W2 H2\n", "byte 16: it has no frame"),
            (
                b"YUV4MPEG2 W2 H2\nFRAME\nabc",
                "byte 22: a frame is cut off",
            ),
        ];
        for (bytes, expected) in cases {
            let path = temporary("bad.y4m", bytes);
            let error = Footage::open("sim:file", &path, 160, 90)
                .err()
                .expect("refused");
            let text = error.to_string();
            assert!(text.contains(expected), "{text}");
            assert!(text.contains("bad.y4m"), "{text}");
            assert!(!error.worth_retrying());
            std::fs::remove_file(path).unwrap();
        }
        let error = Footage::open("sim:file", Path::new("/nonexistent.y4m"), 160, 90);
        assert!(
            error
                .err()
                .expect("refused")
                .to_string()
                .contains("/nonexistent.y4m")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), header in any::<bool>()) {
            let mut all = if header { b"YUV4MPEG2 W4 H4\nFRAME\n".to_vec() } else { Vec::new() };
            all.extend_from_slice(&bytes);
            if let Ok(mut reader) = Reader::open(Cursor::new(all)) {
                let mut frame = Vec::new();
                while let Ok(true) = reader.read_frame(&mut frame) {}
            }
        }
    }
}
