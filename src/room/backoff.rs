//! Delays between attempts: capped exponential, with jitter from the seed.

use std::time::Duration;

use super::types::Timestamp;

/// The first retry comes within a second.
const FIRST: Duration = Duration::from_millis(800);
/// Then at most this far apart, from the beginning of one attempt to that of the next.
const FAST_CAP: Duration = Duration::from_secs(3);
/// An attempt that took longer than that is followed by the next after at most this.
const NEXT: Duration = Duration::from_millis(100);
/// How long the fast attempts go on.
const FAST_FOR: Duration = Duration::from_secs(120);
/// Then, for ever.
const SLOW: Duration = Duration::from_secs(30);

/// A small generator (SplitMix64): jitter must differ between boxes and be the same in a replay, nothing more.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// `duration` times a factor between `low` and `high` per cent; never zero.
    pub(super) fn jitter(&mut self, duration: Duration, low: u64, high: u64) -> Duration {
        let percent = low + self.next() % (high - low + 1);
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis((millis.saturating_mul(percent) / 100).max(1))
    }
}

/// When to try the server again.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    /// When the present series of failures began.
    since: Option<Timestamp>,
    attempts: u32,
}

impl Backoff {
    /// The wait before the next attempt after a failure now.
    pub(super) fn delay(&mut self, rng: &mut Rng, now: Timestamp) -> Duration {
        let since = *self.since.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(1);
        if now.since(since) >= FAST_FOR {
            return rng.jitter(SLOW, 85, 115);
        }
        let base = match self.attempts {
            1 => FIRST,
            2 => Duration::from_millis(1500),
            _ => FAST_CAP,
        };
        rng.jitter(base, 60, 100)
    }

    /// The wait after an attempt failed that had begun at `begun`: what that took is a part of it, for a server that does not answer
    /// takes its time.
    pub(super) fn delay_since(
        &mut self,
        begun: Timestamp,
        rng: &mut Rng,
        now: Timestamp,
    ) -> Duration {
        let delay = self.delay(rng, now);
        if delay > FAST_CAP {
            return delay;
        }
        delay
            .saturating_sub(now.since(begun))
            .max(rng.jitter(NEXT, 20, 100))
    }

    /// The wait after the server said no: it heard us, so hurry helps nobody.
    pub(super) fn refused_delay(
        &mut self,
        needs_operator: bool,
        rng: &mut Rng,
        now: Timestamp,
    ) -> Duration {
        let since = *self.since.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(1);
        if needs_operator || now.since(since) >= FAST_FOR {
            rng.jitter(SLOW, 100, 130)
        } else {
            rng.jitter(Duration::from_secs(5), 80, 120)
        }
    }

    /// Circumstances have changed: the fast attempts begin anew, and what failed is still failing.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        if self.is_failing() {
            self.since = Some(now);
            self.attempts = 1;
        }
    }

    /// The series is over.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether something failed since it last worked.
    pub(super) fn is_failing(&self) -> bool {
        self.attempts > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_within_a_second_then_three_then_thirty_for_ever() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut backoff = Backoff::default();
            let mut now = Timestamp::from_millis(5_000);
            let begin = now;
            let first = backoff.delay(&mut rng, now);
            assert!(first <= Duration::from_secs(1), "{first:?}");
            now = now + first;
            for _ in 0..500 {
                let delay = backoff.delay(&mut rng, now);
                assert!(delay > Duration::ZERO);
                if now.since(begin) < FAST_FOR {
                    assert!(delay <= FAST_CAP, "{delay:?}");
                } else {
                    assert!(delay >= Duration::from_secs(25) && delay <= Duration::from_secs(36));
                }
                now = now + delay;
            }
        }
    }

    #[test]
    fn boxes_with_different_seeds_do_not_retry_in_step() {
        let delays: std::collections::BTreeSet<Duration> = (0..50)
            .map(|seed| Backoff::default().delay(&mut Rng::new(seed), Timestamp::default()))
            .collect();
        assert!(delays.len() > 25, "only {} different delays", delays.len());
    }

    #[test]
    fn a_refusal_is_not_hurried() {
        let mut backoff = Backoff::default();
        let mut rng = Rng::new(1);
        let now = Timestamp::default();
        assert!(backoff.refused_delay(true, &mut rng, now) >= Duration::from_secs(30));
        assert!(backoff.refused_delay(false, &mut rng, now) >= Duration::from_secs(4));
    }
}
