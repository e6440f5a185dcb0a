//! Who may keep a connection open when there are more connections than places.
//!
//! A connection begins as a stranger's. Strangers have places of their own, and a newcomer always gets one: when all are
//! taken, the stranger who has had his place for longest loses it, first of all on the network that holds most of them.
//! So nobody can hold the door shut, even if all clients come through one proxy and share an address. A request that shows
//! a right token makes its connection known while it is served, and a session in which somebody joined makes it a
//! member's; no stranger can take those places.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::journal_budget::network;

/// How long a stranger keeps his place whoever else comes: enough for a TLS handshake and a request in a local network.
/// A flood of new connections waits in the kernel's queue meanwhile.
const GRACE: Duration = Duration::from_millis(100);
/// A network with more than one in this many of the places gives up its own before others lose any.
const SHARE: usize = 8;
/// From the head of a request to the last byte of its answer, for everybody but members.
const REQUEST: Duration = Duration::from_secs(30);
/// Bytes that a stranger may send for one request, heads and messages of sessions included.
const STRANGER_BYTES: usize = 64 * 1024;

/// Whom a connection serves at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Standing {
    Stranger,
    Known,
    Member,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) strangers: usize,
    pub(super) known: usize,
}

struct Row {
    network: IpAddr,
    standing: Standing,
    /// Since when it stands there.
    since: Instant,
    connection: Arc<Connection>,
}

/// The places of a server.
pub(super) struct Places {
    limits: Limits,
    /// Ids are never used twice: a [`Visit`] may outlive its connection.
    next: AtomicU64,
    rows: Mutex<BTreeMap<u64, Row>>,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            next: AtomicU64::default(),
            rows: Mutex::default(),
        })
    }

    /// When the next connection can have a place, if not at once.
    pub(super) fn opens_at(&self, now: Instant) -> Option<Instant> {
        let rows = self.rows();
        let strangers = || {
            rows.values()
                .filter(|row| row.standing == Standing::Stranger)
        };
        if strangers().count() < self.limits.strangers {
            return None;
        }
        let oldest = strangers().map(|row| row.since).min()?;
        Some(oldest + GRACE).filter(|opens| *opens > now)
    }

    /// A new connection takes a place. Whether another one lost its place for it.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr, now: Instant) -> (Place, bool) {
        let mut rows = self.rows();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::default());
        rows.insert(
            id,
            Row {
                network: network(client),
                standing: Standing::Stranger,
                since: now,
                connection: Arc::clone(&connection),
            },
        );
        let displaced = cut_surplus(&mut rows, Standing::Stranger, self.limits.strangers);
        let visit = Visit {
            places: Arc::clone(self),
            id,
            connection,
        };
        (Place(visit), displaced)
    }

    fn stand(&self, id: u64, standing: Standing, now: Instant) {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(&id) else {
            return;
        };
        row.standing = standing;
        row.since = now;
        let state = &row.connection.standing;
        state.store(standing as u8, Ordering::Release);
        if standing == Standing::Known {
            cut_surplus(&mut rows, standing, self.limits.known);
        }
    }

    /// Ends connections whose request takes too long.
    pub(super) fn sweep(&self, now: Instant) {
        for row in self.rows().values() {
            if row.standing != Standing::Member && row.connection.is_overdue(now) {
                row.connection.cut();
            }
        }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<u64, Row>> {
        lock(&self.rows)
    }
}

/// Cuts the first one to go when more than `limit` have this standing.
fn cut_surplus(rows: &mut BTreeMap<u64, Row>, standing: Standing, limit: usize) -> bool {
    let of = || rows.iter().filter(|(_, row)| row.standing == standing);
    if of().count() <= limit {
        return false;
    }
    let victim = first_to_go(of().map(|(id, row)| (*id, row.network, row.since)), limit);
    let Some(row) = victim.and_then(|id| rows.remove(&id)) else {
        return false;
    };
    row.connection.cut();
    true
}

/// Who loses a place of `places` first: the oldest one on the network that holds most, if that holds more than its share,
/// else the oldest one of all.
pub(crate) fn first_to_go<Key>(
    holders: impl Iterator<Item = (Key, IpAddr, Instant)> + Clone,
    places: usize,
) -> Option<Key> {
    let mut held: HashMap<IpAddr, usize> = HashMap::new();
    for (_, network, _) in holders.clone() {
        *held.entry(network).or_default() += 1;
    }
    let greedy = held
        .into_iter()
        .filter(|(_, held)| *held > (places / SHARE).max(1))
        .max_by_key(|(_, held)| *held)
        .map(|(network, _)| network);
    holders
        .filter(|(_, network, _)| greedy.is_none_or(|greedy| greedy == *network))
        .min_by_key(|(_, _, since)| *since)
        .map(|(key, _, _)| key)
}

/// What can happen to a connection from outside of it.
#[derive(Debug, Default)]
pub(super) struct Connection {
    cut: AtomicBool,
    standing: AtomicU8,
    /// Bytes since the last request began.
    heard: AtomicUsize,
    deadline: Mutex<Option<Instant>>,
    pub(super) reader: AtomicWaker,
    pub(super) writer: AtomicWaker,
    /// For the handshake, which has no reader or writer of ours.
    ended: Notify,
}

impl Connection {
    fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
        self.writer.wake();
        self.ended.notify_one();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Counts what arrived; a stranger who sends too much is cut.
    pub(super) fn heard(&self, bytes: usize) {
        let heard = self.heard.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let stranger = self.standing.load(Ordering::Acquire) == Standing::Stranger as u8;
        if stranger && heard > STRANGER_BYTES {
            self.cut();
        }
    }

    fn is_overdue(&self, now: Instant) -> bool {
        lock(&self.deadline).is_some_and(|deadline| deadline <= now)
    }
}

/// The place of one connection, given back when this goes.
pub(super) struct Place(Visit);

impl Place {
    pub(super) fn visit(&self) -> &Visit {
        &self.0
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// Returns when the connection has lost its place.
    pub(super) async fn lost(&self) {
        self.0.connection.ended.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.rows().remove(&self.0.id);
    }
}

/// The connection that a request came by; an extension of every request.
#[derive(Clone)]
pub struct Visit {
    places: Arc<Places>,
    id: u64,
    connection: Arc<Connection>,
}

impl std::fmt::Debug for Visit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Visit({})", self.id)
    }
}

impl Visit {
    /// The request has shown a right token. Strangers cannot take its connection's place while the result lives.
    #[must_use]
    pub fn known(&self) -> Standby {
        self.raise(Standing::Known)
    }

    /// The request waits for somebody who is in: like [`Visit::known`], without a limit of time.
    #[must_use]
    pub fn waits_for_member(&self) -> Standby {
        self.raise(Standing::Member)
    }

    /// The connection carries somebody who is in, to its end.
    pub fn belongs_to_member(&self) {
        self.places.stand(self.id, Standing::Member, Instant::now());
    }

    /// Ends the connection.
    pub fn cut(&self) {
        self.connection.cut();
    }

    /// A request begins.
    pub(super) fn begins(&self, now: Instant) {
        self.connection.heard.store(0, Ordering::Relaxed);
        *lock(&self.connection.deadline) = Some(now + REQUEST);
    }

    fn raise(&self, standing: Standing) -> Standby {
        self.places.stand(self.id, standing, Instant::now());
        Standby(self.clone())
    }
}

/// Keeps a connection out of strangers' reach.
#[derive(Debug)]
pub struct Standby(Visit);

impl Drop for Standby {
    fn drop(&mut self) {
        let Visit {
            places,
            id,
            connection,
        } = &self.0;
        // The answer is still to be written, as long as that of a stranger may take.
        *lock(&connection.deadline) = Some(Instant::now() + REQUEST);
        connection.heard.store(0, Ordering::Relaxed);
        places.stand(*id, Standing::Stranger, Instant::now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        strangers: 32,
        known: 2,
    };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn later(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_newcomer_takes_the_place_of_the_oldest_stranger() {
        let (places, start) = (Places::new(LIMITS), Instant::now());
        let held: Vec<_> = (0..32)
            .map(|number| places.enter(address(1), later(start, number)).0)
            .collect();
        assert!(!held[0].connection().is_cut());
        let (newcomer, displaced) = places.enter(address(1), later(start, 100));
        assert!(displaced && held[0].connection().is_cut());
        assert!(!newcomer.connection().is_cut() && !held[1].connection().is_cut());
    }

    #[test]
    fn the_network_with_most_places_gives_up_its_own() {
        let (places, start) = (Places::new(LIMITS), Instant::now());
        let early = places.enter(address(1), start).0;
        let greedy: Vec<_> = (1..200)
            .map(|number| places.enter(address(2), later(start, number)).0)
            .collect();
        let other = places.enter(address(3), later(start, 300)).0;
        assert!(!early.connection().is_cut() && !other.connection().is_cut());
        let left = greedy
            .iter()
            .filter(|place| !place.connection().is_cut())
            .count();
        assert_eq!(left, 30);
    }

    #[test]
    fn neighbours_in_one_network_share_its_places() {
        let (places, start) = (Places::new(LIMITS), Instant::now());
        let early = places.enter(address(1), start).0;
        let _greedy: Vec<_> = (1..200)
            .map(|number: u64| {
                let client = format!("2001:db8::{number:x}").parse().unwrap();
                places.enter(client, later(start, number)).0
            })
            .collect();
        assert!(!early.connection().is_cut());
    }

    #[test]
    fn strangers_cannot_take_the_place_of_somebody_known_or_of_a_member() {
        let (places, start) = (Places::new(LIMITS), Instant::now());
        let known = places.enter(address(1), start).0;
        let standby = known.visit().known();
        let member = places.enter(address(1), start).0;
        member.visit().belongs_to_member();
        let flood = |from: u64| {
            (from..from + 100)
                .map(|number| places.enter(address(1), later(start, number)).0)
                .collect::<Vec<_>>()
        };
        drop(flood(1));
        assert!(!known.connection().is_cut() && !member.connection().is_cut());
        // After its request a connection is a stranger's again, and the newest.
        drop(standby);
        let _held = flood(100_000);
        assert!(known.connection().is_cut() && !member.connection().is_cut());
    }

    #[test]
    fn those_with_a_right_token_have_a_limit_too() {
        let (places, start) = (Places::new(LIMITS), Instant::now());
        let held: Vec<_> = (0..3)
            .map(|number| {
                let place = places.enter(address(number), start).0;
                let standby = place.visit().known();
                (place, standby)
            })
            .collect();
        let cut: Vec<_> = held
            .iter()
            .map(|(place, _)| place.connection().is_cut())
            .collect();
        assert_eq!(cut, [true, false, false]);
    }

    #[test]
    fn a_flood_of_newcomers_leaves_everybody_a_moment() {
        let (places, start) = (Places::new(LIMITS), Instant::now());
        assert_eq!(places.opens_at(start), None);
        let _held: Vec<_> = (0..32).map(|_| places.enter(address(1), start).0).collect();
        assert_eq!(places.opens_at(start), Some(start + GRACE));
        assert_eq!(places.opens_at(start + GRACE), None);
    }

    #[test]
    fn a_request_of_a_stranger_ends_in_time_and_one_of_a_member_need_not() {
        let (places, start) = (Places::new(LIMITS), Instant::now());
        let [stranger, member] = [1, 2].map(|last| places.enter(address(last), start).0);
        for place in [&stranger, &member] {
            place.visit().begins(start);
        }
        let _waiting = member.visit().waits_for_member();
        places.sweep(start + REQUEST - Duration::from_secs(1));
        assert!(!stranger.connection().is_cut());
        places.sweep(start + REQUEST);
        assert!(stranger.connection().is_cut() && !member.connection().is_cut());
    }

    #[test]
    fn a_stranger_who_sends_too_much_is_cut_and_a_member_is_not() {
        let (places, start) = (Places::new(LIMITS), Instant::now());
        let [stranger, member] = [1, 2].map(|last| places.enter(address(last), start).0);
        member.visit().belongs_to_member();
        for place in [&stranger, &member] {
            place.connection().heard(STRANGER_BYTES);
            assert!(!place.connection().is_cut());
            place.connection().heard(1);
        }
        assert!(stranger.connection().is_cut() && !member.connection().is_cut());
    }
}
