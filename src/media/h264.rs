//! Our picture as H.264: constrained baseline, encoded once and packetised once for every peer
//! (RFC 6184, packetization-mode 1).

use std::ffi::c_int;
use std::sync::Arc;

use bytes::Bytes;
use openh264::Timestamp as EncoderTimestamp;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, Level, Profile,
    RateControlMode, UsageType,
};
use openh264::formats::YUVSlices;
use openh264_sys2::{ENCODER_OPTION_TRACE_LEVEL, WELS_LOG_QUIET};
use rtc::rtp::codec::h264::H264Payloader;
use rtc::rtp::packetizer::Payloader;

use super::EncodedVideo;
use super::error::EncodeError;
use super::library;
use crate::config::VideoEncoding;
use crate::room::Timestamp;

/// Largest RTP payload: leaves room for RTP, SRTP, TURN and IPv6 headers in 1280 bytes.
const MAX_PAYLOAD: usize = 1200;
/// What every session offers: constrained baseline, level 3.1.
const OFFERED_LEVEL: u8 = 31;

/// What the pictures show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// What a camera sees.
    Camera,
    /// What a computer shows: still, with sharp edges.
    Screen,
}

/// One encoder of one picture size.
pub struct VideoEncoder {
    encoder: Encoder,
    payloader: H264Payloader,
    video: VideoEncoding,
    stream: Vec<u8>,
    keyframe_ordered: bool,
    parameters_checked: bool,
}

/// The first bytes of a sequence parameter set (H.264, 7.3.2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileLevel {
    /// `profile_idc`.
    pub profile: u8,
    /// `constraint_set0_flag` (0x80) to `constraint_set5_flag` (0x04).
    pub constraints: u8,
    /// `level_idc`: ten times the level.
    pub level: u8,
}

impl ProfileLevel {
    /// Decodable by whoever agreed to profile-level-id 42e01f, as far as the profile goes.
    pub fn is_constrained_baseline(&self) -> bool {
        self.profile == 66 && self.constraints & 0x40 != 0
    }

    /// Reads it from an Annex B stream that contains a sequence parameter set.
    pub fn find(stream: &[u8]) -> Option<Self> {
        let start = stream
            .windows(4)
            .position(|bytes| bytes[..3] == [0, 0, 1] && bytes[3] & 0x1F == 7)?;
        let sps = stream.get(start + 4..start + 7)?;
        Some(Self {
            profile: sps[0],
            constraints: sps[1],
            level: sps[2],
        })
    }
}

impl VideoEncoder {
    /// An encoder for pictures of this size.
    ///
    /// # Errors
    /// Whatever OpenH264 refuses.
    pub fn new(video: &VideoEncoding, content: Content) -> Result<Self, EncodeError> {
        let config = EncoderConfig::new()
            .profile(Profile::Baseline)
            .level(level_for(video))
            .usage_type(match content {
                Content::Camera => UsageType::CameraVideoRealTime,
                Content::Screen => UsageType::ScreenContentRealTime,
            })
            .complexity(Complexity::Low)
            .rate_control_mode(RateControlMode::Bitrate)
            .bitrate(BitRate::from_bps(video.bitrate.0))
            .max_frame_rate(FrameRate::from_hz(video.frame_rate as f32))
            // Every frame of a camera leaves: the rate control has the quantizer to save with, and a stream that hides skipped
            // frames would look like a camera that stalls. A screen's quantizer is held back for the sake of text, so what
            // moves in it (a film) costs pictures instead.
            .skip_frames(content == Content::Screen)
            .num_threads(1);
        let mut encoder = library::openh264()
            .and_then(|api| Encoder::with_api_config(api, config))
            .map_err(|source| EncodeError::Video {
                attempt: "setting it up",
                source,
            })?;
        silence_stderr(&mut encoder);
        Ok(Self {
            encoder,
            payloader: H264Payloader::default(),
            video: *video,
            stream: Vec::new(),
            keyframe_ordered: false,
            parameters_checked: false,
        })
    }

    /// Makes the next frame an IDR with its parameter sets.
    pub fn order_keyframe(&mut self) {
        self.keyframe_ordered = true;
    }

    /// Encodes one I420 picture of the configured size. `None` where the encoder skipped it.
    ///
    /// # Errors
    /// [`EncodeError::Frame`] for a picture of another size; whatever OpenH264 refuses.
    pub fn encode(
        &mut self,
        picture: &[u8],
        captured_at: Timestamp,
    ) -> Result<Option<EncodedVideo>, EncodeError> {
        let (width, height) = (self.video.width as usize, self.video.height as usize);
        let luma = width * height;
        if picture.len() != luma * 3 / 2 {
            return Err(EncodeError::Frame {
                width: self.video.width,
                height: self.video.height,
                reason: format!("{} bytes are not one I420 picture", picture.len()),
            });
        }
        let (y, chroma) = picture.split_at(luma);
        let (u, v) = chroma.split_at(luma / 4);
        let source = YUVSlices::new((y, u, v), (width, height), (width, width / 2, width / 2));
        if self.keyframe_ordered {
            // Before its first frame the encoder is not initialised; that one is an IDR anyway.
            if self.parameters_checked {
                self.encoder.force_intra_frame();
            }
            self.keyframe_ordered = false;
        }
        let millis = captured_at.as_duration().as_millis() as u64;
        let encoded = self
            .encoder
            .encode_at(&source, EncoderTimestamp::from_millis(millis))
            .map_err(|source| EncodeError::Video {
                attempt: "encoding a frame",
                source,
            })?;
        let keyframe = encoded.frame_type() == FrameType::IDR;
        self.stream.clear();
        encoded.write_vec(&mut self.stream);
        if self.stream.is_empty() {
            return Ok(None);
        }
        if !self.parameters_checked {
            self.check_parameters();
            self.parameters_checked = true;
        }
        let stream = Bytes::copy_from_slice(&self.stream);
        let payloads = self
            .payloader
            .payload(MAX_PAYLOAD, &stream)
            .unwrap_or_default();
        Ok(Some(EncodedVideo {
            payloads: Arc::from(payloads),
            media_time: media_time(captured_at),
            keyframe,
            captured_at,
        }))
    }

    fn check_parameters(&self) {
        let Some(found) = ProfileLevel::find(&self.stream) else {
            log::warn!(
                "the first H.264 frame has no sequence parameter set; receivers cannot start"
            );
            return;
        };
        let VideoEncoding { width, height, .. } = self.video;
        let id = format!(
            "{:02x}{:02x}{:02x}",
            found.profile, found.constraints, found.level
        );
        if !found.is_constrained_baseline() {
            log::warn!(
                "H.264 {width}x{height} came out as profile-level-id {id}, not constrained baseline; browsers may refuse it"
            );
        } else if found.level > OFFERED_LEVEL {
            log::warn!(
                "H.264 {width}x{height} needs level {}.{}, more than the 3.1 that is negotiated; weak receivers may refuse it",
                found.level / 10,
                found.level % 10
            );
        } else {
            log::info!("H.264 {width}x{height}, profile-level-id {id}");
        }
    }
}

impl std::fmt::Debug for VideoEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VideoEncoder")
            .field("video", &self.video)
            .finish_non_exhaustive()
    }
}

/// OpenH264 writes what it thinks of its parameters to standard error while it is being initialised; the
/// crate switches that off only afterwards.
fn silence_stderr(encoder: &mut Encoder) {
    let mut level: c_int = WELS_LOG_QUIET;
    // SAFETY: this option takes a pointer to an int, reads it during the call, is allowed before the
    // initialisation (codec_api.h, ENCODER_OPTION_TRACE_LEVEL), and no parameter the crate relies on.
    #[allow(unsafe_code)]
    unsafe {
        encoder.raw_api().set_option(
            ENCODER_OPTION_TRACE_LEVEL,
            std::ptr::from_mut(&mut level).cast(),
        );
    }
}

/// Capture time in ticks of the 90 kHz RTP clock of video; wraps (RFC 6184, 5.1).
pub fn media_time(captured_at: Timestamp) -> u32 {
    (captured_at.as_duration().as_nanos() * 9 / 100_000) as u32
}

/// The lowest level that allows this size, rate and bitrate (H.264, table A-1).
fn level_for(video: &VideoEncoding) -> Level {
    /// Level; macroblocks per second; macroblocks per frame; kbit/s.
    const LEVELS: [(Level, u32, u32, u32); 9] = [
        (Level::Level_1_2, 6_000, 396, 384),
        (Level::Level_1_3, 11_880, 396, 768),
        (Level::Level_2_1, 19_800, 792, 4_000),
        (Level::Level_2_2, 20_250, 1_620, 4_000),
        (Level::Level_3_0, 40_500, 1_620, 10_000),
        (Level::Level_3_1, 108_000, 3_600, 14_000),
        (Level::Level_3_2, 216_000, 5_120, 20_000),
        (Level::Level_4_0, 245_760, 8_192, 20_000),
        (Level::Level_4_2, 522_240, 8_704, 50_000),
    ];
    let frame = video.width.div_ceil(16) * video.height.div_ceil(16);
    let second = frame * video.frame_rate;
    LEVELS
        .into_iter()
        .find(|(_, max_second, max_frame, max_kbit)| {
            second <= *max_second && frame <= *max_frame && video.bitrate.0 <= *max_kbit * 1000
        })
        .map_or(Level::Level_5_1, |(level, ..)| level)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Bitrate;
    use openh264::decoder::Decoder;
    use openh264::formats::YUVSource;
    use rtc::rtp::codec::h264::H264Packet;
    use rtc::rtp::packetizer::Depacketizer;
    use std::time::Duration;

    fn video(width: u32, height: u32) -> VideoEncoding {
        VideoEncoding {
            width,
            height,
            frame_rate: 30,
            bitrate: Bitrate(1_000_000),
        }
    }

    /// A moving gradient with noise, so that frames are larger than one payload.
    fn picture(video: &VideoEncoding, index: usize) -> Vec<u8> {
        let (w, h) = (video.width as usize, video.height as usize);
        let mut data = Vec::with_capacity(w * h * 3 / 2);
        for y in 0..h {
            for x in 0..w {
                let noise = (x * 31 + y * 17 + (x * y) % 7 * index) % 32;
                data.push((40 + (x + y + 4 * index) % 128 + noise) as u8);
            }
        }
        data.resize(w * h * 3 / 2, 128);
        data
    }

    fn annex_b(frame: &EncodedVideo) -> Vec<u8> {
        let mut depacketizer = H264Packet::default();
        frame
            .payloads
            .iter()
            .flat_map(|payload| depacketizer.depacketize(payload).unwrap())
            .collect()
    }

    fn at(index: usize) -> Timestamp {
        Timestamp::from_duration(Duration::from_nanos(1_000_000_000 / 30 * index as u64))
    }

    #[test]
    fn what_is_packetised_decodes_again() {
        let video = video(640, 360);
        let mut encoder = VideoEncoder::new(&video, Content::Camera).unwrap();
        let mut decoder = Decoder::new().unwrap();
        for index in 0..10 {
            let frame = encoder
                .encode(&picture(&video, index), at(index))
                .unwrap()
                .expect("no frame is skipped");
            assert_eq!(frame.keyframe, index == 0);
            assert_eq!(frame.media_time, media_time(at(index)));
            assert!(frame.payloads.iter().all(|p| p.len() <= MAX_PAYLOAD));
            if index == 0 {
                assert!(frame.payloads.len() > 2, "parameter sets and fragments");
            }
            let decoded = decoder
                .decode(&annex_b(&frame))
                .unwrap()
                .expect("a picture");
            assert_eq!(decoded.dimensions(), (640, 360));
        }
    }

    #[test]
    fn an_ordered_keyframe_is_the_next_frame_and_starts_a_late_decoder() {
        let video = video(320, 180);
        let mut encoder = VideoEncoder::new(&video, Content::Camera).unwrap();
        encoder.order_keyframe();
        for index in 0..5 {
            let frame = encoder.encode(&picture(&video, index), at(index)).unwrap();
            assert_eq!(frame.unwrap().keyframe, index == 0);
        }
        encoder.order_keyframe();
        let frame = encoder.encode(&picture(&video, 5), at(5)).unwrap().unwrap();
        assert!(frame.keyframe);
        let mut late = Decoder::new().unwrap();
        assert!(late.decode(&annex_b(&frame)).unwrap().is_some());
        let next = encoder.encode(&picture(&video, 6), at(6)).unwrap().unwrap();
        assert!(!next.keyframe);
    }

    #[test]
    fn the_stream_is_what_profile_level_id_42e01f_promises() {
        for (width, height, content) in [
            (160, 90, Content::Camera),
            (640, 360, Content::Camera),
            (1280, 720, Content::Camera),
            (1280, 720, Content::Screen),
        ] {
            let video = video(width, height);
            let mut encoder = VideoEncoder::new(&video, content).unwrap();
            encoder.encode(&picture(&video, 0), at(0)).unwrap();
            let found = ProfileLevel::find(&encoder.stream).expect("parameter sets");
            println!("{width}x{height}: {found:x?}");
            assert!(found.is_constrained_baseline(), "{found:?}");
            assert!(found.level <= OFFERED_LEVEL, "{found:?}");
        }
    }

    #[test]
    fn the_level_follows_size_rate_and_bitrate() {
        let level = |width, height, frame_rate, bitrate| {
            let video = VideoEncoding {
                width,
                height,
                frame_rate,
                bitrate: Bitrate(bitrate),
            };
            format!("{:?}", level_for(&video))
        };
        assert_eq!(level(320, 180, 30, 300_000), "Level_1_3");
        assert_eq!(level(640, 360, 30, 1_000_000), "Level_3_0");
        assert_eq!(level(1280, 720, 30, 2_000_000), "Level_3_1");
        assert_eq!(level(1280, 720, 60, 2_000_000), "Level_3_2");
        assert_eq!(level(1920, 1080, 30, 4_000_000), "Level_4_0");
        assert_eq!(level(1920, 1080, 60, 8_000_000), "Level_4_2");
        assert_eq!(level(640, 360, 30, 12_000_000), "Level_3_1");
        assert_eq!(level(640, 360, 30, 90_000_000), "Level_5_1");
    }

    #[test]
    fn the_bitrate_is_kept_roughly() {
        let video = video(640, 360);
        for content in [Content::Camera, Content::Screen] {
            let mut encoder = VideoEncoder::new(&video, content).unwrap();
            let bytes: usize = (0..60)
                .filter_map(|index| encoder.encode(&picture(&video, index), at(index)).unwrap())
                .flat_map(|frame| frame.payloads.iter().map(Bytes::len).collect::<Vec<_>>())
                .sum();
            let bits_per_second = bytes * 8 / 2;
            println!("{content:?}: {bits_per_second} bit/s of 1000000 asked");
            assert!(bits_per_second < 2_000_000, "{content:?}");
        }
    }

    #[test]
    fn a_picture_of_another_size_is_refused() {
        let mut encoder = VideoEncoder::new(&video(320, 180), Content::Camera).unwrap();
        let error = encoder.encode(&[0; 100], at(0)).unwrap_err();
        assert!(error.to_string().contains("320x180"), "{error}");
    }

    #[test]
    fn media_time_runs_at_90_khz_and_wraps() {
        assert_eq!(media_time(Timestamp::from_millis(1000)), 90_000);
        assert_eq!(media_time(Timestamp::from_millis(100_000_000)), 410_065_408);
    }

    #[test]
    fn streams_without_parameter_sets_have_no_level() {
        assert_eq!(ProfileLevel::find(&[]), None);
        assert_eq!(ProfileLevel::find(&[0, 0, 1, 0x67, 66]), None);
        assert_eq!(ProfileLevel::find(&[0, 0, 0, 1, 0x65, 1, 2, 3]), None);
    }
}
