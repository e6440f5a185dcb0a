//! How often somebody else may cause something: so many at once, then one in a time.

use std::time::Duration;

use super::types::Timestamp;

/// An allowance that fills by one in `every`, up to `burst`: when the next one is there (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    /// When the allowance is full.
    full_at: Timestamp,
}

impl Allowance {
    /// When the next one may be taken: `now`, or later.
    pub(super) fn next(self, burst: u32, every: Duration, now: Timestamp) -> Timestamp {
        let wait = self.full_at.since(now).saturating_sub(every * (burst - 1));
        now + wait
    }

    /// Takes one, whether it is there or not.
    pub(super) fn take(&mut self, every: Duration, now: Timestamp) {
        self.full_at = self.full_at.max(now) + every;
    }

    /// Whether all of the burst may be taken.
    pub(super) fn is_full(self, now: Timestamp) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_one_in_each_interval_and_comes_back_after_a_pause() {
        let every = Duration::from_secs(2);
        let mut allowance = Allowance::default();
        let mut now = Timestamp::from_millis(50_000);
        let mut taken = 0;
        for _ in 0..100 {
            if allowance.next(3, every, now) <= now {
                allowance.take(every, now);
                taken += 1;
            }
            now = now + Duration::from_millis(100);
        }
        assert_eq!(taken, 3 + 4, "three at once, then at 2, 4, 6 and 8 s");
        now = now + every * 3;
        assert!(allowance.is_full(now));
    }
}
