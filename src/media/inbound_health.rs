//! The figures of the receiving half.

use crate::devices::Heard;
use crate::room::{Generation, PeerId, Timestamp};

/// How the receiving half is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundHealth {
    /// A speaker is open.
    pub speaker_open: bool,
    /// Times the speaker ran dry (ALSA underrun).
    pub speaker_xruns: u64,
    /// What a simulated speaker heard; up to 100 ms old.
    pub heard: Option<Heard>,
    /// Every peer, ordered by id.
    pub peers: Vec<PeerHealth>,
}

/// How one peer is received.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerHealth {
    /// Who.
    pub peer: PeerId,
    /// Its newest connection.
    pub generation: Generation,
    /// Its sound.
    pub audio: AudioHealth,
    /// Its picture.
    pub video: VideoHealth,
    /// Its screen.
    pub screen: VideoHealth,
}

/// How one peer is heard; counted since its newest connection began.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioHealth {
    /// Packets received, without duplicates.
    pub packets: u64,
    /// Packets that never came in time.
    pub lost: u64,
    /// Packets that came after their place was played.
    pub late: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets thrown away to cut the delay.
    pub discarded: u64,
    /// Packets that are not Opus or that libopus refused.
    pub malformed: u64,
    /// Sound made up for what was missing, ms.
    pub concealed_ms: u64,
    /// Lost packets recovered from in-band FEC.
    pub fec_recovered: u64,
    /// Fresh starts of the stream after the first.
    pub restarts: u64,
    /// Latency the jitter buffer aims at, ms.
    pub target_ms: u32,
    /// Latency it adds at present, ms; `None` while nothing plays.
    pub delay_ms: Option<u32>,
    /// Level of the last 100 ms, dBFS (0 is a full-scale sine); -120 for digital silence.
    pub level_dbfs: f32,
    /// Strongest frequency of the last 100 ms, Hz; 0 for silence.
    pub frequency_hz: f32,
}

/// How one peer is seen; counted since its newest connection began.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoHealth {
    /// RTP packets received, without duplicates.
    pub packets: u64,
    /// Packets given up.
    pub lost: u64,
    /// Access units thrown away because a piece was missing or malformed.
    pub damaged_units: u64,
    /// Pictures decoded.
    pub decoded: u64,
    /// Access units the decoder refused.
    pub decode_errors: u64,
    /// Access units left out while waiting for a keyframe or for the decoder.
    pub skipped_units: u64,
    /// Times a keyframe was asked for.
    pub keyframes_asked: u64,
    /// Width and height of the newest picture, pixels.
    pub size: Option<(u32, u32)>,
    /// When it was decoded.
    pub last_picture_at: Option<Timestamp>,
}
