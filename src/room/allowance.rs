//! How often somebody else may cause something: so many at once, then one in a time.

use std::time::Duration;

use super::types::Timestamp;

/// A rate with a burst.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// How many are allowed at once.
    pub burst: u32,
    /// How long one more takes to become available.
    pub every: Duration,
}

/// What one sender has left of a [`Rate`], by the generic cell rate algorithm (ITU-T I.371, annex A): one moment is all its
/// state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    /// When the whole burst is available again.
    full_at: Timestamp,
}

impl Allowance {
    /// When the next one may be taken: `now`, or later.
    pub fn next(self, rate: Rate, now: Timestamp) -> Timestamp {
        let burst = rate.every * rate.burst.saturating_sub(1);
        now + self.full_at.since(now).saturating_sub(burst)
    }

    /// Takes one, whether it is available or not.
    pub fn charge(&mut self, rate: Rate, now: Timestamp) {
        self.full_at = self.full_at.max(now) + rate.every;
    }

    /// Takes one if it is available.
    ///
    /// # Errors
    /// Nothing is available; holds the moment at which the next one is.
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> Result<(), Timestamp> {
        let next = self.next(rate, now);
        if next > now {
            return Err(next);
        }
        self.charge(rate, now);
        Ok(())
    }

    /// Whether the whole burst may be taken.
    pub fn is_full(self, now: Timestamp) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_one_in_each_interval_and_comes_back_after_a_pause() {
        let rate = Rate {
            burst: 3,
            every: Duration::from_secs(2),
        };
        let mut allowance = Allowance::default();
        let mut now = Timestamp::from_millis(50_000);
        let mut taken = 0;
        for _ in 0..100 {
            taken += u32::from(allowance.take(rate, now).is_ok());
            now = now + Duration::from_millis(100);
        }
        assert_eq!(taken, 3 + 4, "three at once, then at 2, 4, 6 and 8 s");
        now = now + rate.every * 3;
        assert!(allowance.is_full(now));
    }
}
