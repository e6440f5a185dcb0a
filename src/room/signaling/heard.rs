//! What the server says, and what that means for the session.

use std::time::Duration;

use super::super::backoff::Rng;
use super::super::effect::Effect;
use super::super::event::SignalingFailure;
use super::super::message::ClientMessage;
use super::super::notice::Level;
use super::super::outbox::Outbox;
use super::super::types::{SessionId, Timestamp};
use super::{ALONE_PROBE, REFRESH, Signaling, State};

/// How long our own `meeting:leave` may take to come back as `meeting:user-left`.
const LEAVE_WAIT: Duration = Duration::from_secs(1);
/// What the server reports is told at most this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// A second ghost of ourselves within this time wants a new connection.
const GHOST_AGAIN: Duration = Duration::from_secs(5);
/// Nothing heard of the server for so long is a pause: as long as the silence of a peer that is suspected.
const PAUSE: Duration = Duration::from_millis(1_500);

impl Signaling {
    /// Something arrived. `false`: it belongs to another connection and means nothing.
    pub(in super::super) fn on_activity(&mut self, session: SessionId, now: Timestamp) -> bool {
        if self.session() != Some(session) {
            return false;
        }
        if now.since(self.heard_at) >= PAUSE {
            self.resumed_at = now;
        }
        self.heard_at = now;
        self.probe_until = None;
        if self.unanswered {
            self.passed_over_at.get_or_insert(now);
        }
        true
    }

    /// `meeting:user-joined` of another: the answer to `meeting:request-peers`, from which a live one cannot be told.
    pub(in super::super) fn on_answered(&mut self) {
        self.answers = true;
        self.unanswered = false;
        self.passed_over_at = None;
    }

    /// `meeting:joined`. `true`: we are in the meeting only now, not already, and may stay.
    pub(in super::super) fn on_joined(
        &mut self,
        rng: &mut Rng,
        out: &mut Outbox,
        now: Timestamp,
    ) -> bool {
        let State::Joining { session, .. } = self.state else {
            return false;
        };
        self.refusal = None;
        self.denied = false;
        self.alone_probe_at = now + ALONE_PROBE;
        self.refresh_at = now + rng.jitter(REFRESH, 90, 110);
        self.enter(
            State::Joined {
                session,
                since: now,
            },
            out,
            now,
        );
        if std::mem::take(&mut self.ghosted) {
            self.on_own_left(rng, out, now);
            return false;
        }
        out.notify(Level::Info, "joined the meeting");
        true
    }

    /// `error` or `meeting:join-error`. A disconnect may follow, and then means nothing: its reason is this message.
    pub(in super::super) fn on_server_error(
        &mut self,
        message: &str,
        rng: &mut Rng,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        if !matches!(self.state, State::Joining { .. }) {
            self.on_report(message, out, now);
            return;
        }
        let needs_operator = message.starts_with("Authentication required");
        if let (true, Some(session)) = (needs_operator || self.denied, self.session()) {
            out.push(Effect::CloseSignaling {
                session,
                leave: false,
            });
            let failure = SignalingFailure::Refused {
                message: message.to_owned(),
                needs_operator,
            };
            self.on_closed(session, &failure, rng, out, now);
        } else {
            // "Not authorized": our participant row vanished, and opening anew joins over REST again.
            self.denied = true;
            let why = format!("the server did not let us join: {message}");
            self.give_up(&why, rng, out, now);
        }
    }

    /// Something went wrong at the server, which may have nothing to do with the join under way: that has its own deadline.
    pub(in super::super) fn on_report(&mut self, message: &str, out: &mut Outbox, now: Timestamp) {
        if self
            .told_at
            .is_none_or(|at| now.since(at) >= REPORT_INTERVAL)
        {
            self.told_at = Some(now);
            out.notify(Level::Warn, format!("the server reported: {message}"));
        }
    }

    /// `meeting:user-left` with our own id. A server notices a dead old connection of ours after up to 85 s and then
    /// takes our row offline and tells everybody, though we are here; a second join on the same connection
    /// is a no-op, so leave first. Our own leave comes back the same way.
    pub(in super::super) fn on_own_left(
        &mut self,
        rng: &mut Rng,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        match self.state {
            State::Joined { session, .. } => {
                if self.ghost_at.is_some_and(|at| now.since(at) < GHOST_AGAIN) {
                    self.give_up("the server keeps taking us offline", rng, out, now);
                    return;
                }
                self.ghost_at = Some(now);
                out.notify(
                    Level::Info,
                    "the server took us offline with an old connection; joining again",
                );
                out.send(ClientMessage::Leave);
                self.left = true;
                self.enter(
                    State::Leaving {
                        session,
                        until: now + LEAVE_WAIT,
                    },
                    out,
                    now,
                );
            }
            State::Leaving { session, .. } => self.send_join(session, 1, out, now),
            // It may come before or after the join took effect; only leaving and joining anew is right in both cases.
            State::Joining { .. } => self.ghosted = !self.left,
            State::Idle | State::Connecting { .. } | State::Waiting { .. } => {}
        }
    }
}
