//! FLOOR 3: pipelines and codecs.
//!
//! ```text
//!  out:  Camera -> convert -> h264 encode once --+
//!        Microphone -----> opus encode once -----+--> fanout --> one small slot per peer --> rtc
//!  in:   rtc -> jitter -> opus decode --> mix --> Speaker
//!          \--> h264 decode pool --> newest picture of each peer
//! ```

pub mod capture;
pub mod convert;
pub(crate) mod decode;
mod decode_turns;
mod error;
pub mod fanout;
pub mod h264;
pub mod inbound;
pub(crate) mod inbound_health;
pub(crate) mod jitter;
mod library;
pub(crate) mod meter;
pub mod microphone;
pub mod mixer;
pub mod opus;
pub(crate) mod opus_decode;
pub mod pictures;
pub(crate) mod playout;
pub(crate) mod reorder;
pub(crate) mod sps;
pub(crate) mod stretch;

use std::sync::Arc;

use bytes::Bytes;

use crate::room::Timestamp;

pub use error::EncodeError;

/// One encoded picture of ours, packetised once for every peer.
#[derive(Clone, Debug)]
pub struct EncodedVideo {
    /// RTP payloads in order (RFC 6184, packetization-mode 1); the marker bit belongs to the last.
    pub payloads: Arc<[Bytes]>,
    /// Capture time in 90 kHz ticks; wraps.
    pub media_time: u32,
    /// An IDR with its parameter sets.
    pub keyframe: bool,
    /// Capture time.
    pub captured_at: Timestamp,
}

/// 20 ms of our sound as one Opus packet (RFC 7587).
#[derive(Clone, Debug)]
pub struct EncodedAudio {
    /// The Opus packet.
    pub payload: Bytes,
    /// Capture time in 48 kHz ticks; wraps.
    pub media_time: u32,
    /// Capture time of its first sample.
    pub captured_at: Timestamp,
}

/// One received Opus packet.
#[derive(Clone, Debug)]
pub struct AudioPacket {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp, 48 kHz.
    pub media_time: u32,
    /// The Opus packet.
    pub payload: Bytes,
    /// When it reached us.
    pub arrived_at: Timestamp,
}

/// One received H.264 access unit, put together from its RTP packets.
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// Annex B byte stream.
    pub data: Vec<u8>,
    /// RTP timestamp, 90 kHz.
    pub media_time: u32,
    /// Contains an IDR.
    pub keyframe: bool,
    /// Packets are known to be missing before it: nothing but a keyframe can be decoded safely.
    pub after_loss: bool,
    /// When its last packet reached us.
    pub arrived_at: Timestamp,
}
