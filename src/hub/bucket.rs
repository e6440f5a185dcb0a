//! How often something may happen.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::journal_budget::network;

/// So much at once, and so much again each second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    left: f64,
    seen: Instant,
}

/// How large a bucket is and how fast it fills.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Events at once.
    pub(super) burst: f64,
    /// Events each second.
    pub(super) per_second: f64,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            left: rate.burst,
            seen: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.left = (self.left + passed * rate.per_second).min(rate.burst);
        self.seen = now;
    }

    /// Takes one; whether there was one.
    pub(super) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.take_many(rate, 1.0, now)
    }

    /// Takes this many at once; whether there were so many.
    pub(super) fn take_many(&mut self, rate: Rate, count: f64, now: Instant) -> bool {
        self.fill(rate, now);
        let enough = self.left >= count;
        if enough {
            self.left -= count;
        }
        enough
    }

    /// Whether nothing was taken lately.
    pub(super) fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        self.left >= rate.burst
    }
}

/// A person who mistypes has done so ten times; a program that tries gets one more every six seconds.
const ATTEMPTS: Rate = Rate {
    burst: 10.0,
    per_second: 1.0 / 6.0,
};
/// Addresses remembered. Beyond it the oldest is forgotten: whoever commands more addresses than that is not held back
/// by counting, and a token has 256 bits anyway.
const ADDRESSES: usize = 1024;

/// Wrong tokens, by the network they came from. They slow down the answers to wrong tokens alone.
#[derive(Debug, Default)]
pub(super) struct Attempts(HashMap<IpAddr, Bucket>);

impl Attempts {
    /// A token from there was wrong; whether the answer may say so.
    pub(super) fn failed(&mut self, from: IpAddr, now: Instant) -> bool {
        let from = network(from);
        if self.0.len() >= ADDRESSES && !self.0.contains_key(&from) {
            // Full again: nothing is remembered of those.
            let full = Duration::from_secs_f64(ATTEMPTS.burst / ATTEMPTS.per_second);
            self.0
                .retain(|_, bucket| now.saturating_duration_since(bucket.seen) < full);
            let oldest = self.0.iter().min_by_key(|(_, bucket)| bucket.seen);
            if let Some((&oldest, _)) = oldest.filter(|_| self.0.len() >= ADDRESSES) {
                self.0.remove(&oldest);
            }
        }
        self.0
            .entry(from)
            .or_insert_with(|| Bucket::new(ATTEMPTS, now))
            .take(ATTEMPTS, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        burst: 4.0,
        per_second: 2.0,
    };

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(RATE, start);
        let taken = |bucket: &mut Bucket, now| (0..10).filter(|_| bucket.take(RATE, now)).count();
        assert_eq!(taken(&mut bucket, start), 4);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(1)), 2);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(60)), 4);
        // A clock that went back gives nothing.
        assert_eq!(taken(&mut bucket, start), 0);
    }

    #[test]
    fn wrong_tokens_of_one_address_are_told_so_at_a_rate() {
        let now = Instant::now();
        let mut attempts = Attempts::default();
        let [bad, good]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|a| a.parse().unwrap());
        for _ in 0..10 {
            assert!(attempts.failed(bad, now));
        }
        assert!(!attempts.failed(bad, now));
        assert!(attempts.failed(good, now));
        assert!(attempts.failed(bad, now + Duration::from_secs(7)));
    }

    #[test]
    fn neighbours_in_one_network_count_as_one_and_the_memory_is_bounded() {
        let now = Instant::now();
        let mut attempts = Attempts::default();
        for last in 0..10 {
            attempts.failed(format!("2001:db8::{last}").parse().unwrap(), now);
        }
        assert!(!attempts.failed("2001:db8::ffff".parse().unwrap(), now));
        assert!(attempts.failed("2001:db8:0:1::1".parse().unwrap(), now));
        for number in 0..3000_u32 {
            attempts.failed(std::net::Ipv4Addr::from(number).into(), now);
        }
        assert!(attempts.0.len() <= ADDRESSES);
    }
}
