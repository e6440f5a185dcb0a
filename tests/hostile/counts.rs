//! What was sent and what came back, by name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Counters that all tasks of the program share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Rc<RefCell<BTreeMap<String, u64>>>);

impl Counts {
    pub(crate) fn add(&self, name: &str) {
        self.add_many(name, 1);
    }

    pub(crate) fn add_many(&self, name: &str, number: u64) {
        let mut counts = self.0.borrow_mut();
        if let Some(count) = counts.get_mut(name) {
            *count += number;
        } else {
            counts.insert(name.to_owned(), number);
        }
    }

    /// Keeps the largest value.
    pub(crate) fn largest(&self, name: &str, value: u64) {
        let mut counts = self.0.borrow_mut();
        let count = counts.entry(name.to_owned()).or_default();
        *count = value.max(*count);
    }

    /// All counters, ordered by name.
    pub(crate) fn report(&self, seed: u64, seconds: u64) -> Value {
        json!({"seed": seed, "seconds": seconds, "counts": *self.0.borrow()})
    }
}

/// How often a pace ticks, ms.
const TICK: u64 = 10;

/// So many per second, in portions of a tick.
#[derive(Debug)]
pub(crate) struct Pace {
    ticks: Interval,
    per_second: u64,
    due: u64,
}

impl Pace {
    pub(crate) fn new(per_second: u64) -> Self {
        let mut ticks = interval(Duration::from_millis(TICK));
        // A busy machine must not turn the flood into bursts.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            ticks,
            per_second,
            due: 0,
        }
    }

    /// Waits for the next tick; how many are due in it.
    pub(crate) async fn portion(&mut self) -> u64 {
        self.ticks.tick().await;
        self.due += self.per_second * TICK;
        let portion = self.due / 1000;
        self.due %= 1000;
        portion
    }
}
