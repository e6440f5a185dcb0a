//! When to look for a remote file, and whether one on trial stays or goes: a value without clock, network and files.

use std::collections::VecDeque;
use std::time::Duration;

use crate::room::{SignalingState, Timestamp};

/// The first look comes at most this long after the start: boxes that got power together do not look together.
const FIRST: Duration = Duration::from_secs(3);
/// Wait after a look that failed; it doubles up to the interval. Short, because the network often comes after the box.
const RETRY: Duration = Duration::from_secs(5);
/// Least wait between two questions whether the last good server answers.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two looks.
    pub interval: Duration,
    /// How long new settings may take to reach the signaling server.
    pub probation: Duration,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The server answered, whatever it had.
    Answered,
    /// It could not be asked.
    Failed,
}

/// What a file on trial changes, against the last good settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trial {
    /// There was a server before, to compare with.
    pub has_last_good: bool,
    /// Server, meeting and account are the same.
    pub same_signaling: bool,
    /// The box has to join anew to try what is different, because it would not do so by itself: the same place,
    /// another account or way in.
    pub rejoin: bool,
}

/// Where the box stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// All of the settings on trial are in effect.
    pub in_effect: bool,
    /// Leaving the meeting would interrupt nobody (or is wanted all the same).
    pub may_leave: bool,
    /// The signaling session.
    pub signaling: SignalingState,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Fetch; answered by [`Policy::looked`].
    Look,
    /// Leave the meeting and join it again.
    Rejoin,
    /// Find out whether the last good server answers; answered by [`Policy::asked`].
    AskLastGood,
    /// The program has stayed up with the file on trial: it does not end because of it.
    StayedUp,
    /// The file on trial is good.
    Confirm,
    /// The file on trial has to go.
    GoBack,
}

#[derive(Debug)]
struct Running {
    trial: Trial,
    /// A session that began before the trial proves nothing.
    stale_session: bool,
    /// When all of it came into effect.
    since: Option<Timestamp>,
    /// When the box should be in its meeting, or is to be judged again.
    judge: Option<Timestamp>,
    /// There is no meeting to get into.
    unconfigured: bool,
}

/// When to look, and whether to stay.
#[derive(Debug)]
pub struct Policy {
    timing: Timing,
    random: u64,
    /// `None` while a look is under way.
    look: Option<Timestamp>,
    failures: u32,
    trial: Option<Running>,
    orders: VecDeque<Order>,
}

impl Policy {
    /// A policy that looks soon. `seed` spreads boxes.
    pub fn new(timing: Timing, seed: u64, now: Timestamp) -> Self {
        let mut policy = Self {
            timing,
            random: seed | 1,
            look: None,
            failures: 0,
            trial: None,
            orders: VecDeque::new(),
        };
        let first = FIRST.min(timing.interval).mul_f64(policy.fraction());
        policy.look = Some(now + first);
        policy
    }

    /// A file is on trial from now on, in the place of one that may have been. `None`: none is.
    pub fn set_trial(&mut self, trial: Option<Trial>) {
        self.orders
            .retain(|order| !matches!(order, Order::Confirm | Order::GoBack | Order::Rejoin));
        self.trial = trial.map(|trial| Running {
            stale_session: trial.rejoin,
            trial,
            since: None,
            judge: None,
            unconfigured: false,
        });
    }

    /// Looks as soon as possible.
    pub fn look_now(&mut self, now: Timestamp) {
        if self.look.is_some() {
            self.look = Some(now);
        }
    }

    /// A look has ended.
    pub fn looked(&mut self, looked: Looked, now: Timestamp) {
        let wait = match looked {
            Looked::Answered => {
                self.failures = 0;
                self.timing.interval
            }
            Looked::Failed => {
                let doubled = RETRY.saturating_mul(1 << self.failures.min(20));
                self.failures = self.failures.saturating_add(1);
                doubled.min(self.timing.interval)
            }
        };
        let spread = 0.9 + 0.2 * self.fraction();
        self.look = Some(now + wait.mul_f64(spread));
    }

    /// The box stands so now.
    pub fn observe(&mut self, situation: Situation, now: Timestamp) {
        let probation = self.timing.probation;
        let Some(running) = &mut self.trial else {
            return;
        };
        if !situation.in_effect {
            (running.since, running.judge) = (None, None);
            return;
        }
        if running.trial.rejoin {
            if !situation.may_leave {
                return;
            }
            running.trial.rejoin = false;
            self.orders.push_back(Order::Rejoin);
        }
        match situation.signaling {
            SignalingState::Joined if !running.stale_session => {
                self.trial = None;
                self.orders.push_back(Order::Confirm);
                return;
            }
            SignalingState::Joined => {}
            // Somebody ordered the box out of the meeting: nothing is tried meanwhile.
            SignalingState::Left => {
                running.stale_session = false;
                (running.since, running.judge) = (None, None);
                return;
            }
            SignalingState::Unconfigured
            | SignalingState::Connecting
            | SignalingState::Joining
            | SignalingState::Reconnecting
            | SignalingState::Refused => running.stale_session = false,
        }
        running.unconfigured = situation.signaling == SignalingState::Unconfigured;
        if running.since.is_none() {
            running.since = Some(now);
            running.judge = Some(now + probation);
        }
    }

    /// Whether the last good server has answered.
    pub fn asked(&mut self, answers: bool, now: Timestamp) {
        let again = ASK_AGAIN.max(self.timing.probation / 4);
        let Some(running) = &mut self.trial else {
            return;
        };
        // Settings that have gone out of effect meanwhile cannot be blamed.
        if running.since.is_none() {
            return;
        }
        if !answers {
            // The network is down, whatever the settings.
            running.judge = Some(now + again);
            return;
        }
        let order = match running.trial.same_signaling {
            // The very server that was to be reached.
            true => Order::Confirm,
            false => Order::GoBack,
        };
        self.trial = None;
        self.orders.push_back(order);
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let judge = self.trial.as_ref().and_then(|running| running.judge);
        self.look.into_iter().chain(judge).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.look.is_some_and(|at| at <= now) {
            self.look = None;
            self.orders.push_back(Order::Look);
        }
        let Some(running) = &mut self.trial else {
            return;
        };
        if running.judge.is_none_or(|at| at > now) {
            return;
        }
        running.judge = None;
        if running.trial.has_last_good {
            self.orders.extend([Order::StayedUp, Order::AskLastGood]);
        } else if running.unconfigured {
            self.trial = None;
            self.orders.push_back(Order::Confirm);
        } else {
            // Without a server before there is none to go back to: it stays on trial until it has joined.
            self.orders.push_back(Order::StayedUp);
        }
    }

    /// The next thing to be done.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// From 0 to 1 (Marsaglia's xorshift64; spreading needs no better one).
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests;
