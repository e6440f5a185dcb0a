//! What each message of the server means to the room.

use super::super::media::Kind;
use super::super::message::ServerMessage;
use super::super::notice::Level;
use super::super::types::{PeerId, SessionId, Timestamp};
use super::{HELD, Room};

impl Room {
    pub(super) fn on_message(
        &mut self,
        session: SessionId,
        message: ServerMessage,
        now: Timestamp,
    ) {
        let Some(own) = self.own_id() else {
            return;
        };
        if !self.signaling.on_activity(session, now) {
            return;
        }
        match message {
            ServerMessage::Joined { user: _ } => {
                let was_joined = self.signaling.is_joined();
                if self.signaling.on_joined(&mut self.rng, &mut self.out, now) {
                    self.on_joined(now);
                }
                self.after_signaling(was_joined);
            }
            ServerMessage::Participants(rows) => {
                self.with_peers(|roster, cx| roster.on_participants(&rows, cx, now));
            }
            ServerMessage::UserJoined(row) => {
                self.signaling.on_answered();
                self.with_peers(|roster, cx| roster.on_named(&row, cx, now));
            }
            ServerMessage::UserLeft { user } => {
                if user == own {
                    let was_joined = self.signaling.is_joined();
                    self.signaling
                        .on_own_left(&mut self.rng, &mut self.out, now);
                    self.after_signaling(was_joined);
                } else {
                    self.with_peers(|roster, cx| roster.on_left(&user, cx, now));
                }
            }
            ServerMessage::Exception { message } | ServerMessage::MediaError { message } => {
                if !self.media.share.on_refused(&message, &mut self.out, now) {
                    self.signaling.on_report(&message, &mut self.out, now);
                }
            }
            ServerMessage::ServerError { message } => {
                let was_joined = self.signaling.is_joined();
                self.signaling
                    .on_server_error(&message, &mut self.rng, &mut self.out, now);
                self.after_signaling(was_joined);
            }
            ServerMessage::PeerReady { .. }
            | ServerMessage::Offer { .. }
            | ServerMessage::Answer { .. }
            | ServerMessage::Candidate { .. } => {
                if is_oversized(&message) {
                    return;
                }
                if self.signaling.is_joined() {
                    self.on_peer_signaling(message, &own, now);
                } else if self.signaling.is_entering() && self.held.len() < HELD {
                    self.held.push_back(message);
                }
            }
            ServerMessage::Undeliverable { target, message } => {
                // Members come and go; the waits for answers deal with it.
                self.out.notify_about(
                    &target,
                    Level::Debug,
                    format!("the server could not deliver: {message}"),
                );
            }
            ServerMessage::UserMuted { user, muted } => {
                self.on_state(&user, &own, Some(muted), None, None, now);
            }
            ServerMessage::UserVideoOff { user, video_off } => {
                self.on_state(&user, &own, None, Some(video_off), None, now);
            }
            ServerMessage::UserScreenShare { user, sharing } => {
                self.on_state(&user, &own, None, None, Some(sharing), now);
            }
            ServerMessage::ParticipantStateUpdated {
                user,
                muted,
                video_off,
                sharing,
            } => self.on_state(&user, &own, muted, video_off, sharing, now),
            ServerMessage::Kicked { user, reason } => {
                self.on_removed(
                    &user,
                    &own,
                    "removed from the meeting by a host",
                    reason,
                    now,
                );
            }
            ServerMessage::Blocked { user, reason } => {
                self.on_removed(
                    &user,
                    &own,
                    "blocked from the meeting by a host",
                    reason,
                    now,
                );
            }
        }
    }

    /// `meeting:joined`: announce, then take up what overtook it, then call those nobody called.
    fn on_joined(&mut self, now: Timestamp) {
        self.with_peers(|roster, cx| roster.on_joined(cx, now));
        self.media.on_joined(&mut self.out, now);
        let share = &mut self.media.share;
        share.follow_source(&self.settings, true, &mut self.out);
        if let Some(own) = self.own_id() {
            for message in std::mem::take(&mut self.held) {
                self.on_peer_signaling(message, &own, now);
            }
        }
        self.with_peers(|roster, cx| roster.plan(cx, now));
    }

    fn on_peer_signaling(&mut self, message: ServerMessage, own: &PeerId, now: Timestamp) {
        let meeting = self
            .settings
            .identity
            .as_ref()
            .map(|identity| identity.meeting.clone());
        let here = |room: &Option<String>| room.is_none() || *room == meeting;
        // Judged before the match, so that every kind passes the same gate.
        let (from, is_here) = match &message {
            ServerMessage::PeerReady { user, .. } => (user.clone(), true),
            ServerMessage::Offer { from, room, .. }
            | ServerMessage::Answer { from, room, .. }
            | ServerMessage::Candidate { from, room, .. } => (from.clone(), here(room)),
            ServerMessage::Joined { .. }
            | ServerMessage::Participants(_)
            | ServerMessage::UserJoined(_)
            | ServerMessage::UserLeft { .. }
            | ServerMessage::ServerError { .. }
            | ServerMessage::Exception { .. }
            | ServerMessage::MediaError { .. }
            | ServerMessage::Undeliverable { .. }
            | ServerMessage::UserMuted { .. }
            | ServerMessage::UserVideoOff { .. }
            | ServerMessage::UserScreenShare { .. }
            | ServerMessage::ParticipantStateUpdated { .. }
            | ServerMessage::Kicked { .. }
            | ServerMessage::Blocked { .. } => return,
        };
        if from == *own || !is_here {
            return;
        }
        self.with_peers(|roster, cx| {
            let Some(peer) = roster.member(&from) else {
                roster.on_stranger(&from, message, cx, now);
                return;
            };
            if let ServerMessage::PeerReady { dialect, .. } = message {
                peer.on_ready(dialect, cx, now);
            } else if let ServerMessage::Offer { sdp, dialect, .. } = message {
                peer.on_offer(sdp, dialect, cx, now);
            } else if let ServerMessage::Answer { sdp, dialect, .. } = message {
                peer.on_answer(sdp, dialect, cx, now);
            } else if let ServerMessage::Candidate { candidate, .. } = message {
                peer.on_candidate(candidate, cx);
            }
        });
    }

    /// A media state: a hint about another member; about ourselves an echo or a host's order.
    fn on_state(
        &mut self,
        user: &PeerId,
        own: &PeerId,
        muted: Option<bool>,
        video_off: Option<bool>,
        sharing: Option<bool>,
        now: Timestamp,
    ) {
        if user != own {
            if let Some(peer) = self.roster.member(user) {
                peer.on_hints(muted, video_off, sharing, now);
            }
            return;
        }
        if let Some(closed) = muted {
            self.media
                .on_own_state(Kind::Microphone, closed, &self.settings, &mut self.out, now);
        }
        if let Some(closed) = video_off {
            self.media
                .on_own_state(Kind::Camera, closed, &self.settings, &mut self.out, now);
        }
        if let Some(sharing) = sharing {
            self.media.share.on_own_state(sharing, &mut self.out, now);
        }
    }

    /// `user:kicked`, `user:blocked`. The server leaves our socket in the room; we go by ourselves and come back only on an
    /// operator's order.
    fn on_removed(
        &mut self,
        user: &PeerId,
        own: &PeerId,
        what: &str,
        reason: Option<String>,
        now: Timestamp,
    ) {
        if user != own {
            self.with_peers(|roster, cx| roster.remove(user, cx, now));
            return;
        }
        let text = match reason {
            Some(reason) if !reason.is_empty() => format!("{what}: {reason}"),
            Some(_) | None => what.to_owned(),
        };
        self.out.notify(
            Level::Error,
            format!("{text}; `huddlectl join` tries to come back"),
        );
        self.leave(Some(text), now);
    }
}

/// Whether a member's message is longer than any that a browser sends.
fn is_oversized(message: &ServerMessage) -> bool {
    if let ServerMessage::Offer { sdp, .. } | ServerMessage::Answer { sdp, .. } = message {
        sdp.is_oversized()
    } else if let ServerMessage::Candidate { candidate, .. } = message {
        candidate.is_oversized()
    } else {
        false
    }
}
