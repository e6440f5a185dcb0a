//! How many remote candidates one connection checks at a time, and which ones.
//!
//! The crate has no way to remove a candidate. So a candidate that gives way is kept from the network: the socket drops its checks
//! ([`Remotes::is_retired`]) until the candidate's address itself sends a check.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::grammar::Candidate;
use super::reach::{Reach, family};

/// Remote candidates that are checked at a time.
const CANDIDATES: usize = 50;
/// How often a place may be taken at once, in the long run; [`CANDIDATES`] of them may come together. The count goes on over ICE
/// restarts, so a member who restarts all the time has no more checks than another one.
const PLACE_EVERY: Duration = Duration::from_millis(100);
/// Ports of one address that are checked at a time. A browser behind a symmetric NAT has one per socket and STUN server.
const PORTS: usize = 8;
/// Pairs of a local way out and a remote candidate that are checked at a time (RFC 8445 section 6.1.2.5).
const PAIRS: usize = 100;
/// Candidates that the crate gets for one pair of ICE credentials. With one replacement in [`REPLACE_EVERY`] they last longer than
/// the 18 s after which a connection without a path fails.
const GIVEN: usize = 150;
/// Candidates that wait for a place; the oldest one leaves for a new one.
const WAITING: usize = 50;
/// How often a waiting candidate may take the place of another one.
const REPLACE_EVERY: Duration = Duration::from_millis(200);
/// A candidate is a failed one if it has not answered for this long
const CHANCE: Duration = Duration::from_secs(2);
/// and after this many checks.
const CHECKS: u32 = 3;

/// The remote candidates of one connection; shared with its sockets.
#[derive(Debug, Default)]
pub(in crate::rtc) struct Remotes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    reach: Reach,
    /// What the crate has been given, in this generation of ICE credentials.
    given: BTreeMap<SocketAddr, Given>,
    /// Candidates without a place, oldest first.
    waiting: VecDeque<Candidate>,
    replaced_at: Option<Instant>,
    /// When all places may be taken together again.
    rested_at: Option<Instant>,
    dropped: u64,
}

#[derive(Debug)]
struct Given {
    at: Instant,
    checks: u32,
    /// The address has sent STUN.
    heard: bool,
    /// The candidate has given its place away.
    retired: bool,
}

impl Remotes {
    /// New ICE credentials: the crate has forgotten all remote candidates.
    pub(in crate::rtc) fn restart(&self, reach: Reach) {
        let mut state = self.lock();
        let dropped = state.dropped + state.waiting.len() as u64;
        *state = State {
            reach,
            dropped,
            replaced_at: state.replaced_at,
            rested_at: state.rested_at,
            ..State::default()
        };
    }

    /// Whether the crate is to get this candidate now. If not, it waits for a place or is dropped.
    pub(in crate::rtc) fn admit(&self, candidate: &Candidate, now: Instant) -> bool {
        let mut state = self.lock();
        let address = candidate.address();
        if !state.reach.allows(address) {
            state.dropped += 1;
            return false;
        }
        let is_known = state.given.contains_key(&address)
            || state.waiting.iter().any(|each| each.address() == address);
        if is_known {
            return false;
        }
        if state.has_place(address) && state.takes_at_once(now) {
            state.give(address, now);
            return true;
        }
        if state.given.len() >= GIVEN {
            state.dropped += 1;
            return false;
        }
        if state.waiting.len() >= WAITING {
            state.waiting.pop_front();
            state.dropped += 1;
        }
        state.waiting.push_back(candidate.clone());
        false
    }

    /// When [`Self::replacement`] is to be asked; `None` while nothing waits.
    pub(in crate::rtc) fn next_turn(&self, now: Instant) -> Option<Instant> {
        let state = self.lock();
        let next = state.replaced_at.map_or(now, |at| at + REPLACE_EVERY);
        (!state.waiting.is_empty()).then(|| next.max(now))
    }

    /// The newest waiting candidate for which there is a place or a failed candidate to replace.
    pub(in crate::rtc) fn replacement(&self, now: Instant) -> Option<Candidate> {
        let mut state = self.lock();
        if state.given.len() >= GIVEN {
            state.dropped += state.waiting.len() as u64;
            state.waiting.clear();
        }
        // The next look comes after an interval, whether this one finds something or not.
        state.replaced_at = Some(now);
        for index in (0..state.waiting.len()).rev() {
            let address = state.waiting[index].address();
            if state.has_place(address) || state.retire_for(address, now) {
                state.give(address, now);
                return state.waiting.remove(index);
            }
        }
        None
    }

    /// Whether this address was a candidate of the member's text and has given its place to another one: no check leaves for it.
    pub(in crate::rtc) fn is_retired(&self, target: SocketAddr) -> bool {
        self.lock()
            .given
            .get(&target)
            .is_some_and(|given| given.retired)
    }

    /// A check leaves for this address.
    pub(in crate::rtc) fn on_checked(&self, target: SocketAddr) {
        if let Some(given) = self.lock().given.get_mut(&target) {
            given.checks = given.checks.saturating_add(1);
        }
    }

    /// An authentic STUN message came from this address: a candidate with it is alive.
    pub(in crate::rtc) fn on_heard(&self, source: SocketAddr) {
        if let Some(given) = self.lock().given.get_mut(&source) {
            given.heard = true;
            given.retired = false;
        }
    }

    /// Candidates that were dropped since the connection was opened.
    pub(in crate::rtc) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Counts a text that is no candidate.
    pub(in crate::rtc) fn on_refused(&self) {
        self.lock().dropped += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn active(&self) -> impl Iterator<Item = (&SocketAddr, &Given)> {
        self.given.iter().filter(|(_, given)| !given.retired)
    }

    fn takes_at_once(&mut self, now: Instant) -> bool {
        let rested_at = self.rested_at.map_or(now, |at| at.max(now)) + PLACE_EVERY;
        let is_due = rested_at.saturating_duration_since(now) <= PLACE_EVERY * CANDIDATES as u32;
        if is_due {
            self.rested_at = Some(rested_at);
        }
        is_due
    }

    fn has_place(&self, address: SocketAddr) -> bool {
        let (mut ports, mut families) = (1, [0, 0]);
        families[family(address.ip())] += 1;
        for (each, _) in self.active() {
            ports += usize::from(each.ip() == address.ip());
            families[family(each.ip())] += 1;
        }
        ports <= PORTS && self.fits(families) && self.given.len() < GIVEN
    }

    fn fits(&self, families: [usize; 2]) -> bool {
        let ways = self.reach.ways.map(|ways| ways.max(1));
        families[0] + families[1] <= CANDIDATES
            && families[0] * ways[0] + families[1] * ways[1] <= PAIRS
    }

    fn give(&mut self, address: SocketAddr, now: Instant) {
        let given = Given {
            at: now,
            checks: 0,
            heard: false,
            retired: false,
        };
        self.given.insert(address, given);
    }

    /// Retires a failed candidate so that `address` has a place: one of the same address if that has too many ports, else one of the
    /// address with the most ports, the oldest first.
    fn retire_for(&mut self, address: SocketAddr, now: Instant) -> bool {
        if self.given.len() >= GIVEN {
            return false;
        }
        let mut ports: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for (each, _) in self.active() {
            *ports.entry(each.ip()).or_default() += 1;
        }
        let is_full = ports
            .get(&address.ip())
            .is_some_and(|ports| *ports >= PORTS);
        let failed = self
            .active()
            .filter(|(each, given)| {
                let is_failed = !given.heard
                    && given.checks >= CHECKS
                    && now.saturating_duration_since(given.at) >= CHANCE;
                // A place of the other family counts for other pairs.
                is_failed
                    && match is_full {
                        true => each.ip() == address.ip(),
                        false => family(each.ip()) == family(address.ip()),
                    }
            })
            .max_by_key(|(each, given)| {
                (
                    ports.get(&each.ip()),
                    now.saturating_duration_since(given.at),
                )
            })
            .map(|(each, _)| *each);
        if let Some(given) = failed.and_then(|each| self.given.get_mut(&each)) {
            given.retired = true;
        }
        failed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(host: u8, port: u16) -> Candidate {
        let text = format!("candidate:1 1 udp 1 10.0.0.{host} {port} typ host");
        Candidate::parse(&text).unwrap()
    }

    fn at(host: u8, port: u16) -> SocketAddr {
        candidate(host, port).address()
    }

    fn remotes(ways: usize) -> Remotes {
        let remotes = Remotes::default();
        let mut reach = Reach::default();
        reach.ways = [ways, ways];
        remotes.restart(reach);
        remotes
    }

    /// A second of checks to everything that may be checked, in virtual time; what was replaced meanwhile.
    fn pass_second(remotes: &Remotes, now: &mut Instant) -> Vec<SocketAddr> {
        let mut replacements = Vec::new();
        for _ in 0..5 {
            *now += Duration::from_millis(200);
            let given: Vec<_> = remotes.lock().given.keys().copied().collect();
            for target in given {
                if !remotes.is_retired(target) {
                    remotes.on_checked(target);
                }
            }
            if remotes.next_turn(*now).is_some_and(|turn| turn <= *now) {
                replacements.extend(remotes.replacement(*now).map(|each| each.address()));
            }
        }
        replacements
    }

    fn checked(remotes: &Remotes) -> usize {
        remotes.lock().active().count()
    }

    #[test]
    fn a_flood_has_fifty_candidates_at_a_time_and_eight_ports_of_one_address() {
        let mut now = Instant::now();
        let flooded = remotes(1);
        for host in 0..200 {
            for port in 2_000..2_010 {
                flooded.admit(&candidate(host, port), now);
            }
        }
        assert_eq!(checked(&flooded), CANDIDATES);
        for _ in 0..60 {
            pass_second(&flooded, &mut now);
            assert!(checked(&flooded) <= CANDIDATES);
            assert!(flooded.lock().given.len() <= GIVEN);
        }
        let one_host = remotes(1);
        for port in 2_000..3_500 {
            one_host.admit(&candidate(1, port), now);
        }
        assert_eq!(checked(&one_host), PORTS);
        assert_eq!(one_host.dropped(), 1_500 - (PORTS + WAITING) as u64);
        pass_second(&one_host, &mut now);
        assert_eq!(checked(&one_host), PORTS);
    }

    #[test]
    fn repeated_candidates_take_one_place() {
        let remotes = remotes(1);
        let now = Instant::now();
        assert!(remotes.admit(&candidate(1, 5_000), now));
        assert!(!remotes.admit(&candidate(1, 5_000), now));
        assert_eq!((checked(&remotes), remotes.dropped()), (1, 0));
        remotes.restart(Reach::default());
        assert!(remotes.admit(&candidate(1, 5_000), now), "new credentials");
    }

    #[test]
    fn restarts_bring_no_further_candidates_at_once() {
        let mut now = Instant::now();
        let remotes = remotes(1);
        let mut admitted = 0;
        for _ in 0..100 {
            remotes.restart(Reach::default());
            let hosts = 0..CANDIDATES as u8;
            let fresh = hosts.filter(|host| remotes.admit(&candidate(*host, 5_000), now));
            admitted += fresh.count();
            now += Duration::from_millis(10);
        }
        assert!(
            (CANDIDATES..CANDIDATES + 12).contains(&admitted),
            "{admitted} in a second"
        );
        remotes.restart(Reach::default());
        now += Duration::from_secs(5);
        let hosts = 0..CANDIDATES as u8;
        let fresh = hosts.filter(|host| remotes.admit(&candidate(*host, 5_000), now));
        assert_eq!(fresh.count(), CANDIDATES, "after a pause all of them");
    }

    #[test]
    fn a_machine_with_many_ways_out_checks_a_hundred_pairs() {
        let remotes = remotes(5);
        for host in 0..60 {
            remotes.admit(&candidate(host, 5_000), Instant::now());
        }
        assert_eq!(checked(&remotes), PAIRS / 5);
    }

    #[test]
    fn the_last_of_many_candidates_gets_its_chance() {
        for host in [1, 9] {
            let mut now = Instant::now();
            let remotes = remotes(1);
            for index in 0..1_500 {
                let (host, port) = match host {
                    1 => (1, 2_000 + index),
                    _ => ((index % 200) as u8 + 20, 2_000 + index),
                };
                remotes.admit(&candidate(host, port), now);
            }
            remotes.admit(&candidate(host, 60_000), now);
            let mut given = Vec::new();
            for _ in 0..4 {
                given.extend(pass_second(&remotes, &mut now));
            }
            assert!(given.contains(&at(host, 60_000)), "host {host}: {given:?}");
        }
    }

    #[test]
    fn a_retired_candidate_is_silent_until_its_address_speaks_and_a_living_one_keeps_its_place() {
        let mut now = Instant::now();
        let remotes = remotes(1);
        for port in 2_000..2_020 {
            remotes.admit(&candidate(1, port), now);
        }
        remotes.on_heard(at(1, 2_000));
        for _ in 0..10 {
            pass_second(&remotes, &mut now);
        }
        assert!(!remotes.is_retired(at(1, 2_000)));
        let is_retired = |port: &u16| remotes.is_retired(at(1, *port));
        let silent = (2_000..2_020).find(is_retired).unwrap();
        remotes.on_heard(at(1, silent));
        assert!(!remotes.is_retired(at(1, silent)));
        assert!(
            !remotes.is_retired(at(77, 9_000)),
            "not of the member's text"
        );
    }

    #[test]
    fn an_address_that_may_not_be_checked_takes_no_place() {
        let remotes = Remotes::default();
        let loopback = "candidate:1 1 udp 1 127.0.0.1 5000 typ host";
        assert!(!remotes.admit(&Candidate::parse(loopback).unwrap(), Instant::now()));
        assert_eq!((checked(&remotes), remotes.dropped()), (0, 1));
    }
}
