//! Pacing on the monotonic clock for devices that have no clock of their own.

use std::time::Duration;

use crate::clock;
use crate::room::Timestamp;

/// A clock that ticks `rate` times a second, wrong by `ppm`: every deadline is computed from the
/// start, so that late wake-ups never add up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    start: Timestamp,
    rate: u32,
    ppm: i32,
}

impl Pace {
    /// Tick 0 happens at `start`. A positive `ppm` (parts per million) makes the clock fast.
    pub(super) fn new(rate: u32, ppm: i32, start: Timestamp) -> Self {
        Self {
            start,
            rate: rate.max(1),
            ppm: ppm.clamp(-500_000, 500_000),
        }
    }

    /// When `tick` happens.
    pub(super) fn at(&self, tick: u64) -> Timestamp {
        self.start + self.span(tick)
    }

    /// How long `ticks` ticks take.
    pub(super) fn span(&self, ticks: u64) -> Duration {
        let nanos = u128::from(ticks) * 1_000_000_000_000_000 / self.ticks_per_million_seconds();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The last tick that has happened by `now`; 0 before the start.
    pub(super) fn tick_at(&self, now: Timestamp) -> u64 {
        let nanos = now.since(self.start).as_nanos();
        u64::try_from(nanos * self.ticks_per_million_seconds() / 1_000_000_000_000_000)
            .unwrap_or(u64::MAX)
    }

    fn ticks_per_million_seconds(&self) -> u128 {
        let million = (1_000_000 + i64::from(self.ppm)).unsigned_abs();
        u128::from(self.rate) * u128::from(million)
    }
}

/// Sleeps until the deadline; returns at once when it has passed.
pub(super) fn sleep_until(deadline: Timestamp) {
    let left = deadline.since(clock::monotonic());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_do_not_drift() {
        let pace = Pace::new(30, 0, Timestamp::from_millis(500));
        assert_eq!(pace.at(0), Timestamp::from_millis(500));
        assert_eq!(pace.at(30), Timestamp::from_millis(1500));
        assert_eq!(pace.at(30 * 86_400), Timestamp::from_millis(86_400_500));
    }

    #[test]
    fn a_fast_clock_ticks_earlier_by_its_error() {
        let pace = Pace::new(48_000, 100, Timestamp::default());
        let nominal = Duration::from_secs(1_000_000);
        let early = nominal - pace.span(48_000 * 1_000_000);
        // 100 ppm of a million seconds, to first order.
        assert!(early > Duration::from_secs(99) && early < Duration::from_secs(101));
    }

    #[test]
    fn the_tick_at_a_deadline_is_the_tick_itself() {
        let pace = Pace::new(25, 0, Timestamp::from_millis(7));
        for tick in [0, 1, 2, 99, 12_345] {
            assert_eq!(pace.tick_at(pace.at(tick)), tick);
        }
        assert_eq!(pace.tick_at(Timestamp::default()), 0);
    }
}
