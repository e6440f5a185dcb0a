//! The signaling session: connecting, joining, joined, lost; and when to try again.

mod deadlines;
mod heard;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::backoff::{Backoff, Rng};
use super::effect::Effect;
use super::event::SignalingFailure;
use super::message::ClientMessage;
use super::notice::Level;
use super::outbox::Outbox;
use super::snapshot::SignalingState;
use super::types::{SessionId, Timestamp};

/// `OpenSignaling` covers login, REST join and the handshake; longer than all their own limits together.
const CONNECT_WAIT: Duration = Duration::from_secs(30);
/// How long `meeting:joined` may take before `meeting:join` is said again.
const JOIN_WAIT: Duration = Duration::from_secs(10);
/// Nobody else in the room: only a repeated join is answered, and that is asked this seldom.
const ALONE_PROBE: Duration = Duration::from_secs(30);
/// Missed events are repaired this often.
const REFRESH: Duration = Duration::from_secs(45);
/// A session that held this long ends the series of failures.
const STABLE: Duration = Duration::from_secs(10);
/// How long the server may take to answer after the machine's link changed: a connection that survived that answers at once.
const LINK_PROBE_WAIT: Duration = Duration::from_millis(800);
/// ```text
///            OpenSignaling              opened                 meeting:joined
///   Idle ──────────────────> Connecting ───────────> Joining ─────────────────> Joined
///    ^                        │     ^                 │  ^                       │  │ own user-left
///    │ leave, kick, block,    │     │ retry is due    │  │ left, or 1 s          │  v
///    │ no identity            v     │                 │  └──────────────────── Leaving
///    └── from every state    Waiting <── lost, silent, refused, 2 joins unanswered ──┘
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is wanted, or no meeting is configured.
    Idle,
    Connecting {
        session: SessionId,
        begun: Timestamp,
        until: Timestamp,
    },
    Joining {
        session: SessionId,
        sent: u32,
        until: Timestamp,
    },
    /// A ghost of ourselves was removed and took our row along: leave properly, then join again.
    Leaving {
        session: SessionId,
        until: Timestamp,
    },
    Joined {
        session: SessionId,
        since: Timestamp,
    },
    Waiting {
        until: Timestamp,
        refused: bool,
    },
}

/// The session.
#[derive(Clone, Debug)]
pub(super) struct Signaling {
    state: State,
    /// What readers see, and since when.
    shown: SignalingState,
    pub(super) since: Timestamp,
    configured: bool,
    last_session: u64,
    backoff: Backoff,
    pub(super) heard_at: Timestamp,
    /// When it was heard again after a pause, or from the beginning.
    pub(super) resumed_at: Timestamp,
    /// When members were asked for because of a silence.
    doubted_at: Option<Timestamp>,
    /// Such a question is not answered yet.
    unanswered: bool,
    /// When the first message after it came, that was not its answer.
    passed_over_at: Option<Timestamp>,
    /// On this connection such a question has been answered: not every server does.
    answers: bool,
    probe_until: Option<Timestamp>,
    /// That probe is because of the machine's link.
    link_doubted: bool,
    alone_probe_at: Timestamp,
    refresh_at: Timestamp,
    ghost_at: Option<Timestamp>,
    /// This join follows a leave of ours, whose echo may still come.
    left: bool,
    /// We were taken offline while joining: once joined, that is to be cured.
    ghosted: bool,
    /// The server's no ended a join since the last one that succeeded.
    denied: bool,
    /// When a report of the server's was told last.
    told_at: Option<Timestamp>,
    /// Others are known to be in the room, so the server has something to answer.
    has_members: bool,
    /// The server was asked for everybody since this was looked at.
    asked: bool,
    /// The server's no, or the reason we were sent away; for the banner.
    pub(super) refusal: Option<String>,
}

impl Signaling {
    pub(super) fn new(configured: bool, now: Timestamp) -> Self {
        let mut signaling = Self {
            state: State::Idle,
            shown: SignalingState::Left,
            since: now,
            configured,
            last_session: 0,
            backoff: Backoff::default(),
            heard_at: now,
            resumed_at: now,
            doubted_at: None,
            unanswered: false,
            passed_over_at: None,
            answers: false,
            probe_until: None,
            link_doubted: false,
            alone_probe_at: now,
            refresh_at: now,
            ghost_at: None,
            left: false,
            ghosted: false,
            denied: false,
            told_at: None,
            has_members: false,
            asked: false,
            refusal: None,
        };
        signaling.show(now);
        signaling
    }

    pub(super) fn shown(&self) -> SignalingState {
        self.shown
    }

    /// The server is away and was or should be there.
    pub(super) fn is_reconnecting(&self) -> bool {
        match self.state {
            State::Idle | State::Joined { .. } | State::Leaving { .. } => false,
            State::Connecting { .. } | State::Joining { .. } => self.backoff.is_failing(),
            State::Waiting { refused, .. } => !refused,
        }
    }

    pub(super) fn is_joined(&self) -> bool {
        matches!(self.state, State::Joined { .. })
    }

    /// Joining, or about to: what members say now is for the meeting we are coming to.
    pub(super) fn is_entering(&self) -> bool {
        matches!(self.state, State::Joining { .. } | State::Leaving { .. })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// The open or opening connection.
    fn session(&self) -> Option<SessionId> {
        match self.state {
            State::Idle | State::Waiting { .. } => None,
            State::Connecting { session, .. }
            | State::Joining { session, .. }
            | State::Leaving { session, .. }
            | State::Joined { session, .. } => Some(session),
        }
    }

    fn show(&mut self, now: Timestamp) {
        let shown = match self.state {
            State::Idle if !self.configured => SignalingState::Unconfigured,
            State::Idle => SignalingState::Left,
            State::Connecting { .. } => SignalingState::Connecting,
            State::Joining { .. } | State::Leaving { .. } => SignalingState::Joining,
            State::Joined { .. } => SignalingState::Joined,
            State::Waiting { refused: true, .. } => SignalingState::Refused,
            State::Waiting { refused: false, .. } => SignalingState::Reconnecting,
        };
        if shown != self.shown {
            self.shown = shown;
            self.since = now;
        }
    }

    fn enter(&mut self, state: State, out: &mut Outbox, now: Timestamp) {
        let joined = match state {
            State::Joined { session, .. } => Some(session),
            State::Idle
            | State::Connecting { .. }
            | State::Joining { .. }
            | State::Leaving { .. }
            | State::Waiting { .. } => None,
        };
        out.set_joined(joined);
        self.state = state;
        self.probe_until = None;
        self.unanswered = false;
        self.passed_over_at = None;
        self.show(now);
    }

    /// A meeting is configured, or none. Only while idle.
    pub(super) fn set_configured(&mut self, configured: bool, now: Timestamp) {
        self.configured = configured;
        self.show(now);
    }

    /// Joins the configured meeting, at once.
    pub(super) fn open(&mut self, out: &mut Outbox, now: Timestamp) {
        if !self.configured || self.session().is_some() {
            return;
        }
        self.last_session += 1;
        let session = SessionId(self.last_session);
        out.push(Effect::OpenSignaling { session });
        self.enter(
            State::Connecting {
                session,
                begun: now,
                until: now + CONNECT_WAIT,
            },
            out,
            now,
        );
    }

    /// Leaves and stays away until `open`.
    pub(super) fn leave(&mut self, reason: Option<String>, out: &mut Outbox, now: Timestamp) {
        if let Some(session) = self.session() {
            let joining = matches!(self.state, State::Joining { .. });
            if self.is_joined() || joining {
                out.push(Effect::Send {
                    session,
                    message: ClientMessage::Leave,
                });
            }
            out.push(Effect::CloseSignaling {
                session,
                leave: true,
            });
        }
        self.backoff.clear();
        self.denied = false;
        self.refusal = reason;
        self.enter(State::Idle, out, now);
    }

    fn send_join(&mut self, session: SessionId, sent: u32, out: &mut Outbox, now: Timestamp) {
        out.push(Effect::Send {
            session,
            message: ClientMessage::Join,
        });
        self.enter(
            State::Joining {
                session,
                sent,
                until: now + JOIN_WAIT,
            },
            out,
            now,
        );
    }

    pub(super) fn on_opened(&mut self, session: SessionId, out: &mut Outbox, now: Timestamp) {
        match self.state {
            State::Connecting {
                session: opening, ..
            } if opening == session => {
                self.heard_at = now;
                self.resumed_at = now;
                self.left = false;
                self.ghosted = false;
                self.answers = false;
                self.send_join(session, 1, out, now);
            }
            State::Idle
            | State::Connecting { .. }
            | State::Joining { .. }
            | State::Leaving { .. }
            | State::Joined { .. }
            | State::Waiting { .. } => {}
        }
    }

    /// The shell reports the connection gone.
    pub(super) fn on_closed(
        &mut self,
        session: SessionId,
        failure: &SignalingFailure,
        rng: &mut Rng,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        if self.session() != Some(session) {
            return;
        }
        self.note_stable(now);
        match failure {
            SignalingFailure::Unreachable { message } => {
                if !self.backoff.is_failing() {
                    out.notify(Level::Warn, format!("server lost, trying again: {message}"));
                }
                self.refusal = None;
                let until = now + self.delay(rng, now);
                self.enter(
                    State::Waiting {
                        until,
                        refused: false,
                    },
                    out,
                    now,
                );
            }
            SignalingFailure::Refused {
                message,
                needs_operator,
            } => {
                if self.refusal.as_ref() != Some(message) {
                    let level = if *needs_operator {
                        Level::Error
                    } else {
                        Level::Warn
                    };
                    out.notify(level, format!("refused by the server: {message}"));
                }
                self.refusal = Some(message.clone());
                let until = now + self.backoff.refused_delay(*needs_operator, rng, now);
                self.enter(
                    State::Waiting {
                        until,
                        refused: true,
                    },
                    out,
                    now,
                );
            }
        }
    }

    /// The wait before the next attempt, after what there was has failed.
    fn delay(&mut self, rng: &mut Rng, now: Timestamp) -> Duration {
        match self.state {
            State::Connecting { begun, .. } => self.backoff.delay_since(begun, rng, now),
            State::Idle
            | State::Joining { .. }
            | State::Leaving { .. }
            | State::Joined { .. }
            | State::Waiting { .. } => self.backoff.delay(rng, now),
        }
    }

    /// Gives the connection up ourselves and tries again.
    fn give_up(&mut self, why: &str, rng: &mut Rng, out: &mut Outbox, now: Timestamp) {
        if let Some(session) = self.session() {
            out.push(Effect::CloseSignaling {
                session,
                leave: false,
            });
        }
        self.note_stable(now);
        out.notify(
            Level::Warn,
            format!("server connection given up, trying again: {why}"),
        );
        let until = now + self.delay(rng, now);
        self.enter(
            State::Waiting {
                until,
                refused: false,
            },
            out,
            now,
        );
    }

    /// The machine's link came (back), or its address or route changed: what was begun over the old one is begun anew, what seems to
    /// stand is asked. A refusal was no matter of the link.
    pub(super) fn on_link_changed(&mut self, out: &mut Outbox, now: Timestamp) {
        match self.state {
            State::Idle | State::Waiting { refused: true, .. } => {}
            State::Waiting { refused: false, .. } => {
                self.backoff.hurry(now);
                self.open(out, now);
            }
            State::Connecting { session, .. }
            | State::Joining { session, .. }
            | State::Leaving { session, .. } => {
                out.push(Effect::CloseSignaling {
                    session,
                    leave: false,
                });
                self.backoff.hurry(now);
                self.enter(
                    State::Waiting {
                        until: now,
                        refused: false,
                    },
                    out,
                    now,
                );
                self.open(out, now);
            }
            State::Joined { .. } => {
                self.ask(LINK_PROBE_WAIT, out, now);
                self.link_doubted = true;
            }
        }
    }

    /// A session that held a while ends the series of failures; one that is dropped right after each join does not.
    fn note_stable(&mut self, now: Timestamp) {
        if let State::Joined { since, .. } = self.state
            && now.since(since) >= STABLE
        {
            self.backoff.clear();
        }
    }
}
