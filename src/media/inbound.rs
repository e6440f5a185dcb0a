//! What a peer sends us (double until the real one lands).

use std::sync::{Arc, Mutex};

use super::AudioPacket;
use crate::room::{Generation, PeerId, Timestamp};

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// A voice packet.
    Audio(u16, u32, Vec<u8>),
    /// A video packet.
    Video(u16, u32, bool, Vec<u8>),
}

/// Takes what peers send.
#[derive(Clone, Debug, Default)]
pub struct Inbound {
    /// What arrived.
    pub arrived: Arc<Mutex<Vec<(PeerId, Generation, Arrived)>>>,
    /// A keyframe is wanted.
    pub wanted: Arc<std::sync::atomic::AtomicBool>,
}

/// One peer's.
#[derive(Debug)]
pub struct PeerInbound(Inbound, PeerId, Generation);

impl Inbound {
    /// Adds a peer.
    pub fn add_peer(&self, peer: PeerId, generation: Generation) -> PeerInbound {
        PeerInbound(self.clone(), peer, generation)
    }
}

impl PeerInbound {
    fn push(&self, arrived: Arrived) {
        if let Ok(mut all) = self.0.arrived.lock() {
            all.push((self.1.clone(), self.2, arrived));
        }
    }

    /// A voice packet.
    pub fn push_audio(&mut self, packet: AudioPacket) {
        self.push(Arrived::Audio(
            packet.sequence,
            packet.media_time,
            packet.payload.to_vec(),
        ));
    }

    /// A video packet.
    pub fn push_video(
        &mut self,
        sequence: u16,
        media_time: u32,
        marker: bool,
        payload: &[u8],
        _now: Timestamp,
    ) {
        self.push(Arrived::Video(
            sequence,
            media_time,
            marker,
            payload.to_vec(),
        ));
    }

    /// Whether a keyframe is wanted.
    pub fn poll_keyframe_wanted(&mut self, _now: Timestamp) -> bool {
        self.0
            .wanted
            .swap(false, std::sync::atomic::Ordering::Relaxed)
    }
}
