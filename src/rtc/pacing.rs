//! How many connectivity checks may leave for addresses that nobody has vouched for (RFC 8445 section 14).
//!
//! The library checks every pair each 200 ms, and a peer names the addresses. Checks beyond the budget are withheld as if they
//! were lost. Addresses that have answered an authenticated check are not counted.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Checks a second of all connections together: more than one in 20 ms would be no pace.
const DAEMON_RATE: f64 = 50.0;
/// Checks at once of all connections together: five members that join in one moment get 40 each.
const DAEMON_BURST: f64 = 200.0;
/// Checks a second of one connection: one in 50 ms (RFC 8445 section 14.2).
const CONNECTION_RATE: f64 = 20.0;
/// Checks at once of one connection: two rounds of an honest peer with five addresses and a box with four.
const CONNECTION_BURST: f64 = 40.0;
/// The library repeats a check after 200 ms; several candidates with one address share its turn.
const TARGET_PAUSE: Duration = Duration::from_millis(100);
/// A target that the library has not tried for so long is given up and holds nobody back.
const TARGET_LIFE: Duration = Duration::from_millis(500);
/// Targets of one connection that take turns.
const TARGETS: usize = 256;

/// A token bucket.
#[derive(Debug, Default)]
struct Bucket {
    spent: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn has_token(&mut self, now: Instant, rate: f64, burst: f64) -> bool {
        let passed = self
            .at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.spent = (self.spent - passed.as_secs_f64() * rate).max(0.0);
        self.at = Some(now);
        self.spent + 1.0 <= burst
    }

    fn spend(&mut self) {
        self.spent += 1.0;
    }
}

/// What all connections of the daemon share.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Bucket>);

/// Where a check goes: by which socket, through a relay or not, and to which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) socket: u64,
    pub(super) relayed: bool,
    pub(super) to: SocketAddr,
}

#[derive(Debug)]
struct Turn {
    target: Target,
    /// How many checks it got; a newcomer begins with the least.
    checks: u64,
    tried: Instant,
    sent: Option<Instant>,
}

/// The checks of one connection.
#[derive(Debug, Default)]
pub(super) struct Checks {
    bucket: Bucket,
    turns: Vec<Turn>,
}

impl Checks {
    /// Whether a check for `target` may leave now. Those that have had the fewest checks go first, so the last of many
    /// candidates gets as many as the first.
    pub(super) fn allow(&mut self, pace: &Pace, target: Target, now: Instant) -> bool {
        let is_alive = |turn: &&Turn| now.saturating_duration_since(turn.tried) < TARGET_LIFE;
        let fewest = self
            .turns
            .iter()
            .filter(is_alive)
            .map(|turn| turn.checks)
            .min();
        let fewest = fewest.unwrap_or_default();
        let at = self.turn(target, fewest, now);
        let Some(turn) = self.turns.get_mut(at) else {
            return false;
        };
        if now.saturating_duration_since(turn.tried) >= TARGET_LIFE {
            // Back after a rest: it neither catches up nor waits.
            turn.checks = fewest;
        }
        turn.tried = now;
        let too_soon = |sent: Instant| now.saturating_duration_since(sent) < TARGET_PAUSE;
        if turn.checks > fewest || turn.sent.is_some_and(too_soon) {
            return false;
        }
        let mut shared = pace.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !self
            .bucket
            .has_token(now, CONNECTION_RATE, CONNECTION_BURST)
            || !shared.has_token(now, DAEMON_RATE, DAEMON_BURST)
        {
            return false;
        }
        self.bucket.spend();
        shared.spend();
        turn.checks += 1;
        turn.sent = Some(now);
        true
    }

    /// The place of this target in the list.
    fn turn(&mut self, target: Target, fewest: u64, now: Instant) -> usize {
        if let Some(at) = self.turns.iter().position(|turn| turn.target == target) {
            return at;
        }
        let turn = Turn {
            target,
            checks: fewest,
            tried: now,
            sent: None,
        };
        if self.turns.len() < TARGETS {
            self.turns.push(turn);
            return self.turns.len() - 1;
        }
        let oldest = self
            .turns
            .iter()
            .enumerate()
            .min_by_key(|(_, turn)| turn.tried);
        let at = oldest.map_or(0, |(at, _)| at);
        if let Some(place) = self.turns.get_mut(at) {
            *place = turn;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(port: u16) -> Target {
        Target {
            socket: 0,
            relayed: false,
            to: SocketAddr::from(([192, 0, 2, 1], port)),
        }
    }

    /// Rounds of the library, 200 ms apart; returns how many checks each of `count` targets got in each round.
    fn rounds(
        checks: &mut Checks,
        pace: &Pace,
        start: Instant,
        count: u16,
        rounds: u32,
    ) -> Vec<Vec<u16>> {
        (0..rounds)
            .map(|round| {
                let now = start + Duration::from_millis(200) * round;
                (0..count)
                    .filter(|port| checks.allow(pace, target(*port), now))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn a_peer_with_few_addresses_is_checked_at_once_and_in_every_round_that_matters() {
        let (mut checks, pace) = (Checks::default(), Pace::default());
        let sent = rounds(&mut checks, &pace, Instant::now(), 8, 5);
        assert!(sent[..4].iter().all(|round| round.len() == 8), "{sent:?}");
    }

    #[test]
    fn the_last_of_many_candidates_gets_as_many_checks_as_the_first() {
        let (mut checks, pace) = (Checks::default(), Pace::default());
        let sent = rounds(&mut checks, &pace, Instant::now(), 50, 100);
        let of = |port| sent.iter().flatten().filter(|sent| **sent == port).count();
        let counts: Vec<_> = (0..50).map(of).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least >= 7 && most - least <= 2, "{counts:?}");
        let first = sent.iter().position(|round| round.contains(&49)).unwrap();
        assert!(
            first <= 4,
            "first check of the last candidate in round {first}"
        );
        for second in sent.windows(5) {
            let second: usize = second.iter().map(Vec::len).sum();
            assert!(second <= 60, "{second} checks in a second");
        }
    }

    #[test]
    fn all_connections_together_keep_the_pace_of_the_daemon() {
        let (pace, start) = (Pace::default(), Instant::now());
        let mut many: Vec<_> = (0..20).map(|_| Checks::default()).collect();
        let mut sent = 0;
        for round in 0..50 {
            let now = start + Duration::from_millis(200) * round;
            for checks in &mut many {
                sent += (0..50)
                    .filter(|port| checks.allow(&pace, target(*port), now))
                    .count();
            }
        }
        // Ten seconds at 50 a second, and one burst.
        assert!((650..=701).contains(&sent), "{sent}");
    }

    #[test]
    fn five_who_join_at_once_do_not_wait_for_each_other() {
        let (pace, now) = (Pace::default(), Instant::now());
        for _ in 0..5 {
            let sent = rounds(&mut Checks::default(), &pace, now, 20, 2);
            assert!(sent.iter().all(|round| round.len() == 20), "{sent:?}");
        }
    }

    #[test]
    fn targets_that_the_library_gave_up_hold_nobody_back_and_the_list_is_bounded() {
        let (mut checks, pace, start) = (Checks::default(), Pace::default(), Instant::now());
        rounds(&mut checks, &pace, start, 1000, 3);
        assert_eq!(checks.turns.len(), TARGETS);
        let later = start + Duration::from_secs(5);
        let sent = rounds(&mut checks, &pace, later, 2, 10);
        assert!(sent.iter().all(|round| round.len() == 2), "{sent:?}");
    }
}
