//! Peers that send no candidates: a V2 browser keeps those of its own offer to itself. On an open path ours reach it and its checks
//! reach us. Through a relay they do not, for a relay lets nobody in who was not named. An offer of ours makes it
//! name what it has: its answer lists everything it found.

use std::time::Duration;

use super::super::types::{ConnectionState, Sdp, Timestamp};
use super::{Context, Peer};

/// How long candidates may take that do not stand in the description.
const CANDIDATES_WAIT: Duration = Duration::from_secs(2);

/// What one connection knows of the peer's candidates.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RemoteCandidates {
    /// One came, in a description or alone.
    named: bool,
    /// When they are asked for; once in the life of a connection.
    ask_at: Option<Timestamp>,
    asked: bool,
}

impl Peer {
    /// A candidate of the peer's was given to the connection.
    pub(super) fn on_candidate_named(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.remote_candidates.named = true;
            connection.remote_candidates.ask_at = None;
        }
    }

    /// The peer's description is in force. `offered`: it was its offer.
    pub(super) fn expect_candidates(&mut self, sdp: &Sdp, offered: bool, now: Timestamp) {
        if sdp.has_candidates() {
            self.on_candidate_named();
        }
        let connected = self.state == ConnectionState::Connected;
        if let Some(connection) = &mut self.connection {
            let candidates = &mut connection.remote_candidates;
            if offered && !connected && !candidates.named && !candidates.asked {
                candidates.ask_at = Some(now + CANDIDATES_WAIT);
            }
        }
    }

    /// When the peer is asked for its candidates.
    pub(super) fn ask_for_candidates_at(&self) -> Option<Timestamp> {
        let connection = self.connection.as_ref()?;
        let is_open =
            connection.negotiation.is_stable() && self.state != ConnectionState::Connected;
        connection.remote_candidates.ask_at.filter(|_| is_open)
    }

    /// They did not come.
    pub(super) fn ask_for_candidates(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        if let Some(connection) = &mut self.connection {
            connection.remote_candidates.ask_at = None;
            connection.remote_candidates.asked = true;
            self.offer(cx, now);
        }
    }
}
