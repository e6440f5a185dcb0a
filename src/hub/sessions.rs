//! The Engine.IO sessions that exist, of which there are at most as many as `[hub.limits] connections` says.
//!
//! The library makes a session for whoever asks, before anybody has shown a token. A session of somebody in a meeting
//! keeps its place. One that has shown nothing loses it to a newcomer: first of all on the network that holds most, there
//! the oldest. By polling a session costs its client no connection, so there a newcomer waits until the one before had
//! [`GRACE`] to show a token. Who shows one with the first request need not wait and is out of strangers' reach. A session that has shown one and enters no meeting is the last to give way.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socketioxide::socket::Sid;

use super::lock;
use crate::journal_budget::network;
use crate::web::{Visit, first_to_go};

/// How long a session that began by polling has for itself.
const GRACE: Duration = Duration::from_secs(3);
/// How long a session with a right token may stay out of the meeting while newcomers find no place.
const DAWDLING: Duration = Duration::from_secs(5);

/// How a session began.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// On this connection.
    WebSocket(Visit),
    /// By polling; the id is known as soon as the library has answered.
    Polling(Option<Sid>),
}

/// How a session that lost its place is ended.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// With its connection.
    pub(super) connection: Option<Visit>,
    /// With a request to the library.
    pub(super) polling: Option<Sid>,
}

#[derive(Debug)]
struct Row {
    network: IpAddr,
    since: Instant,
    way: Way,
    /// The connection to which a session changed that began by polling.
    upgraded: Option<Visit>,
    standing: Standing,
}

/// Whose session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Stranger,
    /// Somebody has shown a right token.
    Known,
    /// Somebody is in a meeting.
    Member,
}

impl Row {
    fn ending(self) -> Ending {
        match self.way {
            Way::WebSocket(visit) => Ending {
                connection: Some(visit),
                polling: None,
            },
            Way::Polling(sid) => Ending {
                connection: self.upgraded,
                polling: sid,
            },
        }
    }
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    limit: usize,
    /// Ids are never used twice: a [`Session`] may outlive its row.
    next: AtomicU64,
    rows: Mutex<BTreeMap<u64, Row>>,
}

/// One session, known until the library forgets the request it began with.
#[derive(Clone, Debug)]
pub(super) struct Session(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    id: u64,
    sessions: Arc<Sessions>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.sessions.rows).remove(&self.id);
    }
}

impl Sessions {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            next: AtomicU64::default(),
            rows: Mutex::default(),
        })
    }

    /// A session is about to be made; with it the one that loses its place, to be ended. `None` if there is no place.
    /// `standing` is what its first request has shown.
    pub(super) fn open(
        self: &Arc<Self>,
        client: IpAddr,
        way: Way,
        standing: Standing,
        now: Instant,
    ) -> Option<(Session, Option<Ending>)> {
        let network = network(client);
        let mut rows = lock(&self.rows);
        let waits = matches!(way, Way::Polling(_)) && standing == Standing::Stranger;
        let mut displaced = None;
        if rows.len() >= self.limit {
            let victim = self.victim(&rows, network, waits, now)?;
            displaced = rows.remove(&victim).map(Row::ending);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        rows.insert(
            id,
            Row {
                network,
                since: now,
                way,
                upgraded: None,
                standing,
            },
        );
        let sessions = Arc::clone(self);
        Some((Session(Arc::new(Handle { id, sessions })), displaced))
    }

    /// Who gives way to a newcomer. One that `waits` leaves the others of its network their time.
    fn victim(
        &self,
        rows: &BTreeMap<u64, Row>,
        newcomer: IpAddr,
        waits: bool,
        now: Instant,
    ) -> Option<u64> {
        let age = |row: &Row| now.saturating_duration_since(row.since);
        let of = |standing| {
            rows.iter()
                // One without an id cannot be ended yet.
                .filter(move |(_, row)| {
                    row.standing == standing && !matches!(row.way, Way::Polling(None))
                })
        };
        let first = |standing| {
            let holders = of(standing).map(|(id, row)| (*id, row.network, row.since));
            let victim = first_to_go(holders, self.limit)?;
            rows.get(&victim).map(|row| (victim, row))
        };
        let Some((victim, row)) = first(Standing::Stranger) else {
            let (victim, row) = first(Standing::Known)?;
            return (age(row) >= DAWDLING).then_some(victim);
        };
        let held = |network| {
            of(Standing::Stranger)
                .filter(|(_, row)| row.network == network)
                .count()
        };
        let may = !waits || age(row) >= GRACE || held(newcomer) + 1 < held(row.network);
        may.then_some(victim)
    }

    /// The session of this id, if it began by polling and lives. Others have no requests after their first.
    pub(super) fn find(self: &Arc<Self>, sid: Sid) -> Option<Found> {
        let rows = lock(&self.rows);
        let (id, row) = rows
            .iter()
            .find(|(_, row)| matches!(row.way, Way::Polling(Some(own)) if own == sid))?;
        Some(Found {
            id: *id,
            sessions: Arc::clone(self),
            joined: row.standing != Standing::Stranger,
        })
    }
}

impl Session {
    /// The library has given the session its id.
    pub(super) fn named(&self, sid: Sid) {
        self.with(|row| row.way = Way::Polling(Some(sid)));
    }

    /// Somebody has shown a right token in this session.
    pub(super) fn joined(&self) {
        self.with(|row| {
            row.standing = Standing::Known;
            row.since = Instant::now();
            let visits = match &row.way {
                Way::WebSocket(visit) => Some(visit),
                Way::Polling(_) => row.upgraded.as_ref(),
            };
            if let Some(visit) = visits {
                visit.belongs_to_member();
            }
        });
    }

    /// Somebody entered a meeting in this session, or left it.
    pub(super) fn in_meeting(&self, is: bool) {
        let standing = if is {
            Standing::Member
        } else {
            Standing::Known
        };
        self.with(|row| {
            if row.standing != standing {
                row.standing = standing;
                row.since = Instant::now();
            }
        });
    }

    fn with(&self, change: impl FnOnce(&mut Row)) {
        if let Some(row) = lock(&self.0.sessions.rows).get_mut(&self.0.id) {
            change(row);
        }
    }
}

/// A session that a request belongs to.
pub(super) struct Found {
    id: u64,
    sessions: Arc<Sessions>,
    /// Whether somebody has shown a right token in it.
    pub(super) joined: bool,
}

impl Found {
    /// The session changes to the connection of this request.
    pub(super) fn upgrades(&self, visit: &Visit) {
        let mut rows = lock(&self.sessions.rows);
        if let Some(row) = rows.get_mut(&self.id) {
            row.upgraded = Some(visit.clone());
            if row.standing != Standing::Stranger {
                visit.belongs_to_member();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Opens by polling and names what was opened, as the library would.
    fn open(sessions: &Arc<Sessions>, client: u8, now: Instant) -> Option<(Session, Option<Sid>)> {
        let (session, displaced) =
            sessions.open(address(client), Way::Polling(None), Standing::Stranger, now)?;
        session.named(Sid::new());
        Some((session, displaced.and_then(|ending| ending.polling)))
    }

    #[test]
    fn there_are_never_more_sessions_than_the_limit() {
        let (sessions, start) = (Sessions::new(4), Instant::now());
        let mut held = Vec::new();
        for number in 0..100_u8 {
            held.extend(open(
                &sessions,
                number,
                start + Duration::from_secs(number.into()),
            ));
            assert!(lock(&sessions.rows).len() <= 4);
        }
        drop(held);
        assert!(lock(&sessions.rows).is_empty());
    }

    #[test]
    fn by_polling_a_newcomer_waits_its_turn_and_then_takes_the_oldest_place() {
        let (sessions, start) = (Sessions::new(2), Instant::now());
        let first = open(&sessions, 1, start).unwrap().0;
        let _second = open(&sessions, 1, start).unwrap();
        let oldest = lock(&sessions.rows)[&first.0.id].way.clone();
        assert!(open(&sessions, 1, start + GRACE / 2).is_none());
        let (_, displaced) = open(&sessions, 1, start + GRACE).unwrap();
        assert!(matches!(oldest, Way::Polling(sid) if sid == displaced));
    }

    #[test]
    fn by_polling_a_newcomer_with_a_token_need_not_wait() {
        let (sessions, start) = (Sessions::new(2), Instant::now());
        let _held: Vec<_> = (0..2).map(|_| open(&sessions, 1, start).unwrap()).collect();
        let known = || {
            let opened = sessions.open(address(1), Way::Polling(None), Standing::Known, start);
            let (session, displaced) = opened?;
            session.named(Sid::new());
            Some((session, displaced))
        };
        let _two = [known().unwrap(), known().unwrap()];
        assert!(known().is_none() && open(&sessions, 1, start + GRACE).is_none());
    }

    #[test]
    fn another_network_need_not_wait_for_the_one_that_holds_most() {
        let (sessions, now) = (Sessions::new(8), Instant::now());
        let _held: Vec<_> = (0..8).map(|_| open(&sessions, 1, now).unwrap()).collect();
        let _other = open(&sessions, 2, now).unwrap();
        assert!(open(&sessions, 1, now).is_none());
    }

    #[test]
    fn a_session_in_a_meeting_keeps_its_place() {
        let (sessions, start) = (Sessions::new(2), Instant::now());
        let late = start + Duration::from_secs(60);
        let (member, _) = open(&sessions, 1, start).unwrap();
        member.joined();
        member.in_meeting(true);
        let _other = open(&sessions, 1, start).unwrap();
        let (next, displaced) = open(&sessions, 1, late).unwrap();
        assert!(displaced.is_some());
        next.joined();
        next.in_meeting(true);
        assert!(open(&sessions, 1, late + Duration::from_secs(60)).is_none());
    }

    #[test]
    fn a_session_that_enters_no_meeting_gives_way_after_strangers() {
        let (sessions, start) = (Sessions::new(2), Instant::now());
        let known = open(&sessions, 1, start).unwrap().0;
        known.joined();
        let stranger = open(&sessions, 1, start).unwrap().0;
        let of = |session: &Session| lock(&sessions.rows).contains_key(&session.0.id);
        let next = open(&sessions, 1, start + GRACE).unwrap().0;
        assert!(of(&known) && !of(&stranger));
        next.joined();
        // Both have a right token, and a moment to enter.
        assert!(open(&sessions, 1, Instant::now()).is_none());
        let _newcomer = open(&sessions, 1, Instant::now() + DAWDLING).unwrap();
        assert!(!of(&known) && of(&next));
    }

    #[test]
    fn a_session_is_found_while_it_lives() {
        let (sessions, now) = (Sessions::new(2), Instant::now());
        let (session, _) = sessions
            .open(address(1), Way::Polling(None), Standing::Stranger, now)
            .unwrap();
        let sid = Sid::new();
        assert!(sessions.find(sid).is_none());
        session.named(sid);
        assert!(sessions.find(sid).is_some_and(|found| !found.joined));
        session.joined();
        assert!(sessions.find(sid).is_some_and(|found| found.joined));
        drop(session);
        assert!(sessions.find(sid).is_none());
    }
}
