//! What REST and sockets share: who is let in as whom, the rooms, and the delivery of what the rooms say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::{Value, json};
use socketioxide::extract::SocketRef;
use socketioxide::socket::Sid;
use tokio::sync::mpsc;

use super::backlog::{Backlog, Room};
use super::bucket::Attempts;
use super::line::Lines;
use super::rooms::{Out, Rooms, Visitor};
use super::sessions::Sessions;
use super::token::{Claims, HubKey};
use super::{IceServerLines, lock};
use crate::config::{HubAccess, HubSettings};
use crate::journal_budget::LineBudget;
use crate::web::Refusal;

/// How long a session that was told why it ends may take to read that.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// How long a session may be known here before its namespace is joined, which takes a moment.
const HANDSHAKE: Duration = Duration::from_secs(10);

static WRONG_TOKENS: LineBudget = LineBudget::new(module_path!(), log::Level::Warn, "wrong tokens");
static REFUSED: LineBudget =
    LineBudget::new(module_path!(), log::Level::Warn, "refused connections");
static UNWRITTEN: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Error,
    "events of ours that could not be written",
);

/// A session's socket.
struct Seat {
    socket: SocketRef,
    backlog: Arc<Backlog>,
    since: Instant,
    /// Why it may not stay; to be told as soon as it can be.
    refusal: Option<Refusal>,
}

/// What is under the one lock, so that everybody hears everything in the same order.
struct Hall {
    rooms: Rooms,
    seats: HashMap<Sid, Seat>,
}

/// The shared state of a hub.
pub(super) struct Desk {
    pub(super) key: HubKey,
    pub(super) ice_servers: IceServerLines,
    pub(super) settings: HubSettings,
    pub(super) lines: Arc<Lines>,
    pub(super) sessions: Arc<Sessions>,
    attempts: Mutex<Attempts>,
    hall: Mutex<Hall>,
    /// Sessions whose transport has to end and when they were told, because `socketioxide` ends the namespace alone.
    ended: mpsc::UnboundedSender<(Sid, Instant)>,
}

impl Desk {
    /// The desk and the sessions it ends.
    pub(super) fn new(
        settings: HubSettings,
        key: HubKey,
        ice_servers: IceServerLines,
    ) -> (Self, mpsc::UnboundedReceiver<(Sid, Instant)>) {
        let (ended, endings) = mpsc::unbounded_channel();
        let desk = Self {
            key,
            ice_servers,
            lines: Arc::default(),
            sessions: Sessions::new(settings.limits.connections as usize),
            attempts: Mutex::default(),
            hall: Mutex::new(Hall {
                rooms: Rooms::new(&settings.meetings, settings.limits),
                seats: HashMap::new(),
            }),
            settings,
            ended,
        };
        (desk, endings)
    }

    pub(super) fn is_open(&self) -> bool {
        self.settings.access == HubAccess::Open
    }

    /// What a token of this client claims. A right one is let in at once, whatever others have shown from its address.
    pub(super) fn verify(&self, token: &str, client: SocketAddr) -> Result<Claims, Refusal> {
        if let Some(claims) = self.key.verify(token) {
            return Ok(claims);
        }
        if WRONG_TOKENS.admits_address(client.ip()) {
            log::warn!("{} showed a wrong token", client.ip());
        }
        if lock(&self.attempts).failed(client.ip(), Instant::now()) {
            Err(unauthorized(
                "the token is none of this hub's; ask for a new link",
            ))
        } else {
            Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "busy",
                "the token is none of this hub's, and too many such came from your address; ask for a new link",
            ))
        }
    }

    /// Asks the rooms something.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&Rooms) -> T) -> T {
        question(&lock(&self.hall).rooms)
    }

    /// Tells the rooms something and delivers what they say.
    pub(super) fn tell<T>(&self, fact: impl FnOnce(&mut Rooms) -> T) -> T {
        let mut hall = lock(&self.hall);
        let answer = fact(&mut hall.rooms);
        self.deliver(&mut hall);
        answer
    }

    /// A session of the namespace begins; it can hear nothing before [`Desk::welcome`].
    pub(super) fn seat(
        &self,
        socket: SocketRef,
        backlog: Arc<Backlog>,
        visitor: Result<Visitor, Refusal>,
    ) {
        let (sid, now) = (socket.id, Instant::now());
        let mut hall = lock(&self.hall);
        let entered = visitor.and_then(|visitor| hall.rooms.enter(sid, visitor, now));
        let seat = Seat {
            socket,
            backlog,
            since: now,
            refusal: entered.err(),
        };
        hall.seats.insert(sid, seat);
        self.deliver(&mut hall);
    }

    /// The session can hear now.
    pub(super) fn welcome(&self, sid: Sid) {
        let mut hall = lock(&self.hall);
        let Some(refusal) = hall
            .seats
            .get_mut(&sid)
            .and_then(|seat| seat.refusal.take())
        else {
            return;
        };
        if REFUSED.admits(refusal.code) {
            log::warn!("a connection was refused: {}", refusal.message);
        }
        self.dismiss(&mut hall, sid, refusal.code, &refusal.message);
    }

    /// The session ended by itself.
    pub(super) fn gone(&self, sid: Sid) {
        let mut hall = lock(&self.hall);
        hall.seats.remove(&sid);
        hall.rooms.gone(sid);
        self.deliver(&mut hall);
    }

    /// The backlog of a session.
    pub(super) fn backlog(&self, sid: &str) -> Option<Arc<Backlog>> {
        let sid: Sid = sid.parse().ok()?;
        let hall = lock(&self.hall);
        hall.seats.get(&sid).map(|seat| Arc::clone(&seat.backlog))
    }

    /// Time passes.
    pub(super) fn tick(&self, now: Instant) {
        self.lines.tick(now);
        let mut hall = lock(&self.hall);
        hall.rooms.tick(now);
        self.deliver(&mut hall);
        // A session that was lost in the middle of its handshake ends without a word.
        let rooms = &hall.rooms;
        let lost: Vec<_> = hall
            .seats
            .iter()
            .filter(|(sid, seat)| !rooms.knows(**sid) && now - seat.since > HANDSHAKE)
            .map(|(sid, _)| *sid)
            .collect();
        for sid in lost {
            hall.seats.remove(&sid);
        }
    }

    fn deliver(&self, hall: &mut Hall) {
        loop {
            let orders = hall.rooms.take();
            if orders.is_empty() {
                return;
            }
            for order in orders {
                match order {
                    Out::Emit {
                        to,
                        event,
                        payload,
                        by,
                    } => {
                        for sid in to {
                            let seat = hall.seats.get(&sid);
                            match (seat.map(|seat| seat.emit(event, &payload, by)), by) {
                                (Some(Room::SenderIsBeyond), Some(by)) => {
                                    hall.rooms.drop_of(by, Instant::now());
                                }
                                (Some(Room::Full), _) => hall.rooms.stuck(sid),
                                (
                                    Some(Room::Taken | Room::SenderIsBeyond | Room::OthersFill)
                                    | None,
                                    _,
                                ) => {}
                            }
                        }
                    }
                    Out::Close { sid, code, message } => self.dismiss(hall, sid, code, &message),
                }
            }
        }
    }

    /// The last event of a session, and its end.
    fn dismiss(&self, hall: &mut Hall, sid: Sid, code: &'static str, message: &str) {
        let Some(seat) = hall.seats.remove(&sid) else {
            return;
        };
        seat.emit("error", &json!({"message": message, "code": code}), None);
        let changed = seat.socket.transport_type() == socketioxide::TransportType::Websocket;
        // Fails for one that is gone or full, which makes no difference to what follows.
        let _ = seat.socket.disconnect();
        // One that is just changing from polling to a WebSocket has to finish that, or it never gets the event.
        if changed {
            self.lines.drain(&sid.to_string());
        }
        let _ = self.ended.send((sid, Instant::now()));
    }
}

impl Seat {
    /// Gives the session an event that the message of `by` caused. One that is closing takes everything.
    fn emit(&self, event: &str, payload: &Value, by: Option<Sid>) -> Room {
        use socketioxide::{SendError, SocketError};

        let room = self.backlog.add(by, size(payload));
        if room != Room::Taken {
            return room;
        }
        match self.socket.emit(event, payload) {
            Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                self.backlog.take_back();
                match by {
                    Some(_) => Room::OthersFill,
                    None => Room::Full,
                }
            }
            Ok(()) | Err(SendError::Socket(SocketError::Closed)) => Room::Taken,
            Err(SendError::Serialize(error)) => {
                if UNWRITTEN.admits(event) {
                    log::error!("an event of ours could not be written: {error}");
                }
                Room::Taken
            }
        }
    }
}

/// About how long this is as JSON, bytes. The keys and numbers in here are few and short.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| key.len() + 4 + size(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 5,
    }
}

/// A refusal that begins with the words by which a box knows that its operator must act.
pub(super) fn unauthorized(why: &str) -> Refusal {
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        "unauthorized",
        format!("Authentication required: {why}"),
    )
}
