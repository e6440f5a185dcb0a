//! Who is in which meeting, and who hears what. A value without clock, lock and socket: it is told what happened and
//! answers with what is to be sent.
//!
//! ```text
//!                 meeting:join                meeting:leave, REST leave
//!   waiting ------------------------> member ---------------------------> waiting
//!      |  30 s                          |  kicked, blocked
//!      v                                v
//!   closed <--------- 2 s ---------- removed         a lost connection ends each of them
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::{Value, json};
use socketioxide::socket::Sid;

use super::bucket::{Bucket, Rate};
use super::payload::{self, Request};
use super::stamp::stamp;
use crate::config::HubLimits;
use crate::journal_budget::{Allowance, LineBudget};
use crate::room::PeerId;
use crate::web::Refusal;

mod orders;
mod presence;
mod relay;

pub(super) use presence::row;

/// How long a connection may stay without a meeting: a browser has asked for the camera by then, a box has had its
/// ten seconds for a join three times.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long somebody who was removed may take to go by himself, so that his page can say why.
const FAREWELL: Duration = Duration::from_secs(2);
/// How many seconds' worth of messages may come at once: a box that meets fifteen others sends all its candidates in
/// one go.
const BURST: f64 = 2.0;

/// Places that a meeting has for hosts and boxes beyond `[hub.limits] members`, so that no guests can keep them out.
const KEPT: usize = 8;
/// Kibibytes that one connection may send: a box that meets fifteen others sends some 500 at once.
const VOLUME: Rate = Rate {
    burst: 4096.0,
    per_second: 512.0,
};
/// Events of one connection that are dropped before it is closed.
const DROPS: Rate = Rate {
    burst: 64.0,
    per_second: 1.0,
};

static CLOSED: LineBudget = LineBudget::with(
    module_path!(),
    log::Level::Warn,
    "connections closed for what they did",
    MEMBERS,
);
/// Who came, left and was removed.
static MOVES: LineBudget = LineBudget::with(
    module_path!(),
    log::Level::Info,
    "members who came or left",
    MEMBERS,
);
/// A meeting that fills and empties is told in full, one who comes and goes without end is not.
const MEMBERS: Allowance = Allowance {
    lines: 64,
    per_source: 6,
};

/// Whom a connection is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visitor {
    pub(super) meeting: String,
    pub(super) user: PeerId,
    pub(super) name: String,
    pub(super) host: bool,
    pub(super) guest: bool,
    /// By a token; without, the user id is only what the visitor says.
    pub(super) proven: bool,
}

/// Which places of a meeting somebody may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// One of `[hub.limits] members`.
    Any,
    /// A box's: one of those too, or one of [`KEPT`] more.
    Kept,
    /// A host's: as many again, so that nobody's boxes keep a host out.
    Host,
}

impl Seat {
    /// Guests are everybody who came by a guest link.
    pub(super) fn of(guest: bool, host: bool) -> Self {
        match (guest, host) {
            (_, true) => Self::Host,
            (true, false) => Self::Any,
            (false, false) => Self::Kept,
        }
    }
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq)]
pub(super) enum Out {
    /// One event to each of these connections.
    Emit {
        to: Vec<Sid>,
        event: &'static str,
        payload: Value,
        /// Whose message caused it.
        by: Option<Sid>,
    },
    /// The connection ends, with an `error` event before.
    Close {
        sid: Sid,
        code: &'static str,
        message: String,
    },
}

/// A member, as long as the connection is there.
#[derive(Debug)]
struct Member {
    sid: Sid,
    user: PeerId,
    name: String,
    host: bool,
    muted: bool,
    video_off: bool,
    sharing: bool,
    joined_at: String,
}

impl Member {
    fn role(&self) -> &'static str {
        if self.host { "host" } else { "participant" }
    }
}

#[derive(Debug, Default)]
struct Meeting {
    /// In the order they came.
    members: Vec<Member>,
    /// As long as the hub runs.
    blocked: BTreeSet<PeerId>,
}

impl Meeting {
    fn of(&self, user: &PeerId) -> Option<&Member> {
        self.members.iter().find(|member| member.user == *user)
    }

    fn all(&self) -> Vec<Sid> {
        self.members.iter().map(|member| member.sid).collect()
    }

    fn others(&self, than: Sid) -> Vec<Sid> {
        self.all().into_iter().filter(|sid| *sid != than).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not in the meeting; to be closed then.
    Waiting {
        until: Instant,
    },
    Member,
    /// Kicked or blocked; to be closed then.
    Removed {
        until: Instant,
    },
}

#[derive(Debug)]
struct Session {
    visitor: Visitor,
    state: State,
    bucket: Bucket,
    /// Kibibytes that it may still send.
    volume: Bucket,
    /// Events that may still be dropped because their receivers cannot take them.
    patience: Bucket,
}

/// All meetings of a hub.
#[derive(Debug)]
pub(super) struct Rooms {
    members: usize,
    rate: Rate,
    meetings: BTreeMap<String, Meeting>,
    sessions: HashMap<Sid, Session>,
    out: Vec<Out>,
    /// Whose message is being handled.
    actor: Option<Sid>,
}

impl Rooms {
    pub(super) fn new(meetings: &[String], limits: HubLimits) -> Self {
        Self {
            members: limits.members as usize,
            rate: Rate {
                burst: f64::from(limits.messages_per_second) * BURST,
                per_second: f64::from(limits.messages_per_second),
            },
            meetings: meetings
                .iter()
                .map(|meeting| (meeting.clone(), Meeting::default()))
                .collect(),
            sessions: HashMap::new(),
            out: Vec::new(),
            actor: None,
        }
    }

    /// What is to be done by now.
    pub(super) fn take(&mut self) -> Vec<Out> {
        std::mem::take(&mut self.out)
    }

    /// Whether a meeting of that name exists.
    pub(super) fn exists(&self, meeting: &str) -> bool {
        self.meetings.contains_key(meeting)
    }

    /// Whether a connection is bound to anybody.
    pub(super) fn knows(&self, sid: Sid) -> bool {
        self.sessions.contains_key(&sid)
    }

    /// Whether a connection is a member's.
    pub(super) fn is_in(&self, sid: Sid) -> bool {
        self.sessions
            .get(&sid)
            .is_some_and(|session| session.state == State::Member)
    }

    /// Whether this user could join now.
    pub(super) fn admits(
        &self,
        meeting: &str,
        user: Option<&PeerId>,
        seat: Seat,
    ) -> Result<(), Refusal> {
        let Some(meeting) = self.meetings.get(meeting) else {
            return Err(unknown_meeting());
        };
        if user.is_some_and(|user| meeting.blocked.contains(user)) {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "blocked",
                "You are blocked from this meeting by its host",
            ));
        }
        let present = user.is_some_and(|user| meeting.of(user).is_some());
        let places = match seat {
            Seat::Any => self.members,
            Seat::Kept => self.members + KEPT,
            Seat::Host => self.members + 2 * KEPT,
        };
        if !present && meeting.members.len() >= places {
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                "full",
                format!("Meeting is full: it takes {} members", self.members),
            ));
        }
        Ok(())
    }

    /// A connection came, not yet into the meeting.
    pub(super) fn enter(
        &mut self,
        sid: Sid,
        visitor: Visitor,
        now: Instant,
    ) -> Result<(), Refusal> {
        let seat = Seat::of(visitor.guest, visitor.host);
        self.admits(&visitor.meeting, Some(&visitor.user), seat)?;
        let same: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| {
                session.visitor.meeting == visitor.meeting && session.visitor.user == visitor.user
            })
            .map(|(sid, session)| (*sid, session.state))
            .collect();
        if !visitor.proven && !same.is_empty() {
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                "duplicate",
                "somebody with this user id is here already; take another id, or join over REST to be given one",
            ));
        }
        for (old, state) in same {
            // One that is in the meeting stays until this one is, so that nothing sent to the user meanwhile is lost.
            if state != State::Member {
                self.close(old, REPLACED, REPLACED_WORDS);
            }
        }
        let session = Session {
            visitor,
            state: State::Waiting {
                until: now + PATIENCE,
            },
            bucket: Bucket::new(self.rate, now),
            volume: Bucket::new(VOLUME, now),
            patience: Bucket::new(DROPS, now),
        };
        self.sessions.insert(sid, session);
        Ok(())
    }

    /// An event from a connection; `payload` is its first argument, `Null` if there is none, and `bytes` about its size.
    pub(super) fn handle(
        &mut self,
        sid: Sid,
        event: &str,
        payload: &Value,
        bytes: usize,
        now: Instant,
    ) {
        self.actor = Some(sid);
        self.handle_as_actor(sid, event, payload, bytes, now);
        self.actor = None;
    }

    fn handle_as_actor(
        &mut self,
        sid: Sid,
        event: &str,
        payload: &Value,
        bytes: usize,
        now: Instant,
    ) {
        let Some(session) = self.sessions.get_mut(&sid) else {
            return;
        };
        if !session.bucket.take(self.rate, now) {
            let message = format!(
                "too many messages: {} a second are taken",
                self.rate.per_second
            );
            self.close(sid, "rate", &message);
            return;
        }
        if !session
            .volume
            .take_many(VOLUME, bytes.div_ceil(1024) as f64, now)
        {
            self.drop_of(sid, now);
            return;
        }
        let request = match payload::read(event, payload) {
            Ok(Some(request)) => request,
            Ok(None) => {
                log::trace!("an event that means nothing here was ignored");
                return;
            }
            Err(reason) => {
                let user = session.visitor.user.as_str();
                log::debug!(user = user, event = event; "malformed message dropped: {reason}");
                return;
            }
        };
        match (session.state, request) {
            (State::Removed { .. }, _) => {}
            (_, Request::Join { meeting, user }) => self.join(sid, &meeting, &user),
            // Before the join nobody is there for it, as in the application.
            (State::Waiting { .. }, _) => {}
            (State::Member, Request::Leave) => self.leave(sid, now),
            (State::Member, request) => self.act(sid, request, now),
        }
    }

    /// A connection was lost.
    pub(super) fn gone(&mut self, sid: Sid) {
        self.depart(sid);
        self.sessions.remove(&sid);
    }

    /// A connection that cannot even be told who came and left.
    pub(super) fn stuck(&mut self, sid: Sid) {
        self.close(sid, "slow", "you do not take what you are sent fast enough");
    }

    /// Something of this connection was dropped: it sends more than is taken. It hears so, and is closed if it goes on.
    pub(super) fn drop_of(&mut self, sid: Sid, now: Instant) {
        let Some(session) = self.sessions.get_mut(&sid) else {
            return;
        };
        let is_first = session.patience.is_full(DROPS, now);
        if !session.patience.take(DROPS, now) {
            self.close(sid, "rate", "you send more than others can take");
        } else if is_first {
            let warning = json!({
                "message": "what you send is dropped: it is more than others can take",
                "code": "rate",
            });
            self.emit(vec![sid], "error", warning);
        }
    }

    /// Time passes.
    pub(super) fn tick(&mut self, now: Instant) {
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter_map(|(sid, session)| match session.state {
                State::Waiting { until } if until <= now => Some((*sid, false)),
                State::Removed { until } if until <= now => Some((*sid, true)),
                _ => None,
            })
            .collect();
        for (sid, removed) in due {
            if removed {
                self.close(sid, "removed", "you were removed from the meeting");
            } else {
                self.close(
                    sid,
                    "idle",
                    "you did not join a meeting: send meeting:join after connecting",
                );
            }
        }
    }

    /// A member leaves over REST; whether there was one.
    pub(super) fn leave_user(&mut self, meeting: &str, user: &PeerId, now: Instant) -> bool {
        let member = self
            .meetings
            .get(meeting)
            .and_then(|meeting| meeting.of(user));
        let Some(sid) = member.map(|member| member.sid) else {
            return false;
        };
        self.actor = Some(sid);
        self.leave(sid, now);
        self.actor = None;
        true
    }

    fn meeting_of(&mut self, sid: Sid) -> Option<&mut Meeting> {
        let session = self.sessions.get(&sid)?;
        self.meetings.get_mut(&session.visitor.meeting)
    }

    fn emit(&mut self, to: Vec<Sid>, event: &'static str, payload: Value) {
        if !to.is_empty() {
            let by = self.actor;
            self.out.push(Out::Emit {
                to,
                event,
                payload,
                by,
            });
        }
    }

    /// Ends a connection: its last event, and if it was a member the others' farewell.
    fn close(&mut self, sid: Sid, code: &'static str, message: &str) {
        let Some(session) = self.sessions.get(&sid) else {
            return;
        };
        let (user, meeting) = (session.visitor.user.as_str(), &*session.visitor.meeting);
        if CLOSED.admits(user) {
            log::warn!(user = user, meeting = meeting; "connection closed: {message}");
        }
        self.depart(sid);
        self.sessions.remove(&sid);
        self.out.push(Out::Close {
            sid,
            code,
            message: message.to_owned(),
        });
    }

    fn join(&mut self, sid: Sid, meeting: &str, user: &PeerId) {
        let Some(session) = self.sessions.get(&sid) else {
            return;
        };
        let visitor = session.visitor.clone();
        if visitor.meeting != meeting || visitor.user != *user {
            // The application's words for a join without a row.
            let refusal =
                json!({"message": "Not authorized to join this meeting", "code": "unauthorized"});
            self.emit(vec![sid], "error", refusal);
            return;
        }
        if session.state == State::Member {
            self.joined(sid, &visitor);
            return;
        }
        if let Err(refusal) =
            self.admits(meeting, Some(user), Seat::of(visitor.guest, visitor.host))
        {
            self.close(sid, refusal.code, &refusal.message);
            return;
        }
        let Some(room) = self.meetings.get_mut(meeting) else {
            return;
        };
        let place = room.members.iter_mut().find(|member| member.user == *user);
        let replaced = match place {
            // The same person on a new connection: for the others nobody leaves, and what is sent goes on arriving.
            Some(member) => {
                let old = std::mem::replace(&mut member.sid, sid);
                member.name.clone_from(&visitor.name);
                member.host = visitor.host;
                Some(old)
            }
            None => {
                room.members.push(Member {
                    sid,
                    user: user.clone(),
                    name: visitor.name.clone(),
                    host: visitor.host,
                    muted: false,
                    video_off: false,
                    sharing: false,
                    joined_at: stamp(),
                });
                None
            }
        };
        if let Some(session) = self.sessions.get_mut(&sid) {
            session.state = State::Member;
        }
        match replaced {
            Some(old) => self.close(old, REPLACED, REPLACED_WORDS),
            None => {
                if MOVES.admits(user.as_str()) {
                    log::info!(user = user.as_str(), meeting = meeting; "member joined");
                }
            }
        }
        self.introduce(sid, &visitor);
    }

    /// By request: the connection stays. The leaver hears of it, as in the application.
    fn leave(&mut self, sid: Sid, now: Instant) {
        let room = self.meeting_of(sid);
        let to = room.map(|room| room.all()).unwrap_or_default();
        self.part(sid, to);
        if let Some(session) = self.sessions.get_mut(&sid) {
            session.state = State::Waiting {
                until: now + PATIENCE,
            };
        }
    }

    /// With the connection.
    fn depart(&mut self, sid: Sid) {
        let room = self.meeting_of(sid);
        let to = room.map(|room| room.others(sid)).unwrap_or_default();
        self.part(sid, to);
    }

    /// Takes a member out and says so, if this connection is one: one that was replaced is not any more.
    fn part(&mut self, sid: Sid, to: Vec<Sid>) {
        let Some(room) = self.meeting_of(sid) else {
            return;
        };
        let Some(place) = room.members.iter().position(|member| member.sid == sid) else {
            return;
        };
        let member = room.members.remove(place);
        let left = json!({
            "userId": member.user.as_str(), "userName": member.name, "timestamp": stamp(),
        });
        if MOVES.admits(member.user.as_str()) {
            log::info!(user = member.user.as_str(); "member left");
        }
        self.emit(to, "meeting:user-left", left);
    }
}

const REPLACED: &str = "replaced";
const REPLACED_WORDS: &str = "a newer connection with your token took your place";

/// The refusal of a meeting nobody configured.
pub(super) fn unknown_meeting() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "unknown-meeting",
        "Meeting not found: there is none of that id in [hub] meetings",
    )
}

fn sharing(user: &PeerId, sharing: bool) -> Value {
    json!({"userId": user.as_str(), "isSharing": sharing, "timestamp": stamp()})
}

#[cfg(test)]
mod tests;
