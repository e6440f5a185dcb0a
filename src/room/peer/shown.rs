//! What readers see of a peer, and what must always hold.

use super::super::negotiation::CANDIDATES;
use super::super::settings::RecoverySettings;
use super::super::snapshot::{Badge, PeerPhase, PeerSnapshot};
use super::super::text::Shown;
use super::super::types::ConnectionState;
use super::{Peer, max_attempts};

impl Peer {
    pub(in super::super) fn snapshot(&self, recovery: &RecoverySettings) -> PeerSnapshot {
        let badge = match self.phase {
            PeerPhase::Connected => None,
            PeerPhase::Negotiating => Some(Badge::Connecting),
            PeerPhase::Interrupted | PeerPhase::Restarting | PeerPhase::Recreating => {
                Some(Badge::Reconnecting)
            }
            PeerPhase::Failed => Some(Badge::Failed),
        };
        PeerSnapshot {
            user: self.id.clone(),
            name: self
                .name
                .clone()
                .or_else(|| Shown::name(self.id.as_str()))
                .unwrap_or_else(Shown::unknown),
            connection_state: self.state,
            previous_connection_state: self.previous,
            ice_connection_state: self.ice,
            phase: self.phase,
            attempt: self.attempt,
            max_attempts: max_attempts(recovery),
            since: self.since,
            badge,
            muted: self.muted,
            video_off: self.video_off,
            sharing: self.sharing,
        }
    }

    pub(in super::super) fn check_invariants(&self) {
        debug_assert!(self.early.len() <= CANDIDATES, "early candidates bounded");
        debug_assert!(
            self.phase != PeerPhase::Connected || self.state == ConnectionState::Connected,
            "phase connected means connected"
        );
        debug_assert!(
            self.announced || self.phase != PeerPhase::Connected,
            "connected peers are announced"
        );
        let connection = self.connection.as_ref();
        debug_assert!(
            self.phase != PeerPhase::Interrupted
                || self.act_at.is_some()
                || connection.is_some_and(|c| c.establish_until.is_some()),
            "an interruption ends"
        );
        debug_assert!(
            self.phase != PeerPhase::Restarting
                || self.proof_until.is_some()
                || connection.is_some_and(|c| c.negotiation.is_restarting()),
            "a restart ends"
        );
    }
}
