//! How much flows over each connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::room::{Generation, PeerId};

/// What one connection has carried since it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHealth {
    /// Whose.
    pub peer: PeerId,
    /// Of which connection.
    pub generation: Generation,
    /// RTP packets written, without retransmissions.
    pub packets_sent: u64,
    /// Payload bytes of them.
    pub bytes_sent: u64,
    /// Pictures written whole.
    pub frames_sent: u64,
    /// RTP packets that arrived, of all tracks.
    pub packets_received: u64,
    /// Payload bytes of them.
    pub bytes_received: u64,
    /// Keyframes we asked the peer for (RTCP PLI).
    pub keyframes_requested: u64,
    /// Packets resent because the peer asked for them (RTCP NACK).
    pub packets_resent: u64,
    /// Packets that were asked for and not resent: too soon, too often, or beyond the budget.
    pub resends_refused: u64,
    /// Remote candidates that were dropped: unusable, not to be reached, or too many.
    pub candidates_dropped: u64,
    /// Datagrams dropped at the sockets, because nobody had vouched for their senders or a budget was used up.
    pub datagrams_dropped: u64,
    /// DTLS datagrams that came too early and were handed over again.
    pub early_flights: u64,
    /// Connectivity checks beyond the pace.
    pub checks_withheld: u64,
    /// Current round-trip time of the selected candidate pair (STUN), at most about 1 s old; `None` before
    /// the first measurement.
    pub round_trip_time: Option<Duration>,
}

/// What is known of one TURN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayHealth {
    /// As in the settings.
    pub url: String,
    /// It gave us an allocation, or refused one, when it was last asked; `None` while it was not asked.
    pub works: Option<bool>,
    /// What is wrong and what to do, as in the log; never a secret.
    pub problem: Option<String>,
}

/// The counting side of [`PeerHealth`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    packets_sent: AtomicU64,
    bytes_sent: AtomicU64,
    frames_sent: AtomicU64,
    packets_received: AtomicU64,
    bytes_received: AtomicU64,
    keyframes_requested: AtomicU64,
    packets_resent: AtomicU64,
    resends_refused: AtomicU64,
    candidates_dropped: AtomicU64,
    datagrams_dropped: AtomicU64,
    early_flights: AtomicU64,
    checks_withheld: AtomicU64,
    /// Microseconds; 0 before the first measurement.
    round_trip_micros: AtomicU64,
}

impl Counters {
    pub(super) fn on_packet_sent(&self, bytes: usize) {
        self.packets_sent.fetch_add(1, Ordering::Relaxed);
        self.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn on_frame_sent(&self) {
        self.frames_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_packet_received(&self, bytes: usize) {
        self.packets_received.fetch_add(1, Ordering::Relaxed);
        self.bytes_received
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn on_keyframe_requested(&self) {
        self.keyframes_requested.fetch_add(1, Ordering::Relaxed);
    }

    /// The peer asked for a packet again.
    pub(super) fn on_resending(&self, granted: bool) {
        let counter = match granted {
            true => &self.packets_resent,
            false => &self.resends_refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Packets resent, and refused to be.
    #[cfg(test)]
    pub(super) fn resending(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.packets_resent), read(&self.resends_refused))
    }

    pub(super) fn set_candidates_dropped(&self, count: u64) {
        self.candidates_dropped.store(count, Ordering::Relaxed);
    }

    /// The round-trip time; `None` before the first measurement.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        let micros = self.round_trip_micros.load(Ordering::Relaxed);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    pub(super) fn on_datagram_dropped(&self) {
        self.datagrams_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_early_flight(&self) {
        self.early_flights.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_check_withheld(&self) {
        self.checks_withheld.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn on_round_trip(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        self.round_trip_micros.store(micros, Ordering::Relaxed);
    }

    pub(super) fn health(&self, peer: PeerId, generation: Generation) -> PeerHealth {
        PeerHealth {
            peer,
            generation,
            packets_sent: self.packets_sent.load(Ordering::Relaxed),
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            frames_sent: self.frames_sent.load(Ordering::Relaxed),
            packets_received: self.packets_received.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
            keyframes_requested: self.keyframes_requested.load(Ordering::Relaxed),
            packets_resent: self.packets_resent.load(Ordering::Relaxed),
            resends_refused: self.resends_refused.load(Ordering::Relaxed),
            candidates_dropped: self.candidates_dropped.load(Ordering::Relaxed),
            datagrams_dropped: self.datagrams_dropped.load(Ordering::Relaxed),
            early_flights: self.early_flights.load(Ordering::Relaxed),
            checks_withheld: self.checks_withheld.load(Ordering::Relaxed),
            round_trip_time: self.round_trip(),
        }
    }
}
