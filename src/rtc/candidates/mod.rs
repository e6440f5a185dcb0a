//! What a member's candidates make the box do: each is read once, judged as a value, counted against the member's budget, and
//! given to the crate in the box's own words.

mod budget;
mod grammar;
mod reach;

use std::time::Instant;

use webrtc::peer_connection::RTCIceCandidateInit;

pub(super) use budget::Remotes;
pub(super) use grammar::{Candidate, Refusal};
use reach::Reach;

use super::session::{Session, limited};
use crate::room::ConnectionState;

impl Session {
    /// New ICE credentials of the peer are in force: its earlier candidates are forgotten.
    pub(super) fn restart_candidates(&self) {
        self.connection
            .remotes
            .restart(Reach::now(self.servers.relays()));
    }

    /// A candidate that came by itself (RFC 8838).
    pub(super) async fn on_candidate_text(&self, text: &str) {
        // The room holds candidates back until their description is in force.
        if self.remote_fragment.is_none() {
            return;
        }
        match Candidate::parse(text) {
            Ok(candidate) => self.add_candidates(&[candidate]).await,
            Err(Refusal::End) => {}
            Err(refusal) => {
                self.connection.remotes.on_refused();
                log::debug!(peer = self.reporter.peer.as_str(); "a remote candidate was dropped: {refusal:?}");
            }
        }
    }

    /// Gives the crate those candidates that have a place; the others wait for one.
    pub(super) async fn add_candidates(&self, candidates: &[Candidate]) {
        for candidate in candidates {
            if self.connection.remotes.admit(candidate, Instant::now()) {
                self.give(candidate).await;
            }
        }
    }

    /// When a waiting candidate may take a failed one's place. A connected peer needs no other candidate.
    pub(super) fn next_replacement(&self) -> Option<Instant> {
        let is_connected = *self.observations.connection.borrow() == ConnectionState::Connected;
        let turn = self.connection.remotes.next_turn(Instant::now());
        turn.filter(|_| !is_connected)
    }

    /// See [`Self::next_replacement`].
    pub(super) async fn replace_candidate(&self) {
        if let Some(candidate) = self.connection.remotes.replacement(Instant::now()) {
            self.give(&candidate).await;
        }
    }

    async fn give(&self, candidate: &Candidate) {
        let init = RTCIceCandidateInit {
            candidate: candidate.to_string(),
            ..RTCIceCandidateInit::default()
        };
        let adding = async { Ok(self.connection.inner.add_ice_candidate(init).await?) };
        if let Err(error) = limited(adding).await {
            log::debug!(peer = self.reporter.peer.as_str(); "a remote candidate was not taken: {error}");
        }
    }
}
