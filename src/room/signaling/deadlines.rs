//! What is due when: answers that do not come, a server that is silent, events that were missed.

use std::time::Duration;

use super::super::backoff::Rng;
use super::super::message::ClientMessage;
use super::super::outbox::Outbox;
use super::super::types::Timestamp;
use super::{ALONE_PROBE, REFRESH, Signaling, State};

/// After this much silence the server is asked something it must answer.
const QUIET: Duration = Duration::from_secs(10);
/// Silences that come closer than this cause one question.
const DOUBT_INTERVAL: Duration = Duration::from_secs(1);
/// How long that answer may take: where 15 % of the packets are lost, TCP must be given time to lose both ways the same segment
/// several times, each time waiting twice as long (RFC 6298 section 5.5). Four in a row, which takes 3 s, came about within minutes.
const PROBE_WAIT: Duration = Duration::from_millis(6_500);
/// How long a server that goes on talking may pass a question over.
const DEAF_WAIT: Duration = Duration::from_secs(3);
/// How many unanswered joins end a connection.
const JOINS: u32 = 2;

impl Signaling {
    /// Whether others are known to be there, so that silence means something.
    pub(in super::super) fn set_has_members(&mut self, has_members: bool) {
        self.has_members = has_members;
    }

    /// Whether the server was asked for everybody since the last look.
    pub(in super::super) fn take_asked(&mut self) -> bool {
        std::mem::take(&mut self.asked)
    }

    fn quiet_at(&self) -> Timestamp {
        let quiet = self.heard_at + QUIET;
        if self.has_members {
            quiet
        } else {
            quiet.max(self.alone_probe_at)
        }
    }

    pub(in super::super) fn deadlines(&self) -> impl Iterator<Item = (Timestamp, &'static str)> {
        let first = match self.state {
            State::Idle => None,
            State::Connecting { until, .. } => Some((until, "connection attempt too slow")),
            State::Joining { until, .. } => Some((until, "join unanswered")),
            State::Leaving { until, .. } => Some((until, "leave unanswered")),
            State::Waiting { until, .. } => Some((until, "reconnect due")),
            State::Joined { .. } => Some(match self.probe_until {
                Some(until) => (until, "server probe unanswered"),
                None => (self.quiet_at(), "server quiet"),
            }),
        };
        let refresh = self
            .is_joined()
            .then_some((self.refresh_at, "roster refresh due"));
        let deaf = self.deaf_at().map(|at| (at, "server is deaf"));
        first.into_iter().chain(refresh).chain(deaf)
    }

    /// When it is settled that what we say does not reach a server that goes on talking. TCP tries more and more seldom then, and
    /// would go on waiting long after the network is well again; a new connection does not.
    fn deaf_at(&self) -> Option<Timestamp> {
        let passed_over = self.passed_over_at.filter(|_| self.answers)?;
        self.is_joined().then_some(passed_over + DEAF_WAIT)
    }

    pub(in super::super) fn handle_timeout(
        &mut self,
        rng: &mut Rng,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        match self.state {
            State::Idle => {}
            State::Connecting { until, .. } => {
                if until <= now {
                    self.give_up("connecting took too long", rng, out, now);
                }
            }
            State::Joining {
                session,
                sent,
                until,
            } => {
                if until <= now {
                    if sent < JOINS {
                        self.send_join(session, sent + 1, out, now);
                    } else {
                        self.give_up("meeting:join was not answered", rng, out, now);
                    }
                }
            }
            State::Leaving { session, until } => {
                if until <= now {
                    self.send_join(session, 1, out, now);
                }
            }
            State::Waiting { until, .. } => {
                if until <= now {
                    self.open(out, now);
                }
            }
            State::Joined { .. } => self.keep_alive(rng, out, now),
        }
    }

    /// The server acknowledges nothing, so a dead connection shows only by silence after a question.
    fn keep_alive(&mut self, rng: &mut Rng, out: &mut Outbox, now: Timestamp) {
        if self.deaf_at().is_some_and(|at| at <= now) {
            self.give_up("the server talks and does not hear us", rng, out, now);
            return;
        }
        if let Some(until) = self.probe_until {
            if until <= now {
                self.give_up("the server does not answer", rng, out, now);
                if self.link_doubted {
                    // It was the link, with the old address or route, and not the server: no reason to wait.
                    self.open(out, now);
                }
                return;
            }
        } else if self.quiet_at() <= now {
            self.ask(PROBE_WAIT, out, now);
        }
        if self.refresh_at <= now {
            out.send(ClientMessage::RequestPeers);
            self.asked = true;
            self.refresh_at = now + rng.jitter(REFRESH, 90, 110);
        }
    }

    /// A peer has gone silent, or lost us. The server is asked for a sign of life. In silence there is no limit for it: before a
    /// restart is offered it should be known that the offer leaves now, and not when the network is back and the old path with
    /// it. But a server that goes on talking has to answer.
    pub(in super::super) fn on_doubt(&mut self, out: &mut Outbox, now: Timestamp) {
        let asked = self
            .doubted_at
            .is_some_and(|at| now.since(at) < DOUBT_INTERVAL);
        if self.is_joined() && self.has_members && !asked {
            self.doubted_at = Some(now);
            self.unanswered = true;
            self.asked = true;
            out.send(ClientMessage::RequestPeers);
        }
    }

    /// Asks the server something it must answer.
    pub(super) fn ask(&mut self, wait: Duration, out: &mut Outbox, now: Timestamp) {
        let question = if self.has_members {
            self.asked = true;
            ClientMessage::RequestPeers
        } else {
            self.alone_probe_at = now + ALONE_PROBE;
            ClientMessage::Join
        };
        out.send(question);
        self.link_doubted = false;
        self.probe_until = Some(now + wait);
    }
}
