//! When a keyframe is ordered. One serves all members and costs all of them bandwidth, so the members' requests have budgets: each
//! member's, so that one who asks all the time is no burden, and a common one. A request beyond a budget is late, never lost.

use std::collections::BTreeMap;
use std::time::Duration;

use super::allowance::{Allowance, Rate};
use super::types::{PeerId, Timestamp};

/// Keyframes that one member may cause: its first picture, and what a bad moment breaks, at once.
const MEMBER: Rate = Rate {
    burst: 4,
    every: Duration::from_secs(2),
};
/// Keyframes that all members together may cause.
const COMMON: Rate = Rate {
    burst: 8,
    every: Duration::from_secs(1),
};

/// The keyframe orders of one encoder.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyframes {
    ordered: Option<Timestamp>,
    due: Option<Timestamp>,
    common: Allowance,
    members: BTreeMap<PeerId, Allowance>,
}

impl Keyframes {
    /// This member needs a keyframe; orders are at least `interval` apart. `true`: the order is to be
    /// given now; else it follows at [`Self::due`].
    pub(super) fn on_request(
        &mut self,
        member: &PeerId,
        interval: Duration,
        now: Timestamp,
    ) -> bool {
        let free = self.ordered.map_or(now, |at| now.max(at + interval));
        self.members.retain(|_, allowance| !allowance.is_full(now));
        let own = self.members.get(member).copied().unwrap_or_default();
        let at = free
            .max(own.next(MEMBER, now))
            .max(self.common.next(COMMON, now));
        if self.due.is_some_and(|due| due <= at) {
            // The order that is due serves this member, too.
            return false;
        }
        let own = self.members.entry(member.clone()).or_default();
        own.charge(MEMBER, now);
        if self.due.is_none() {
            self.common.charge(COMMON, now);
        }
        self.due = Some(at);
        self.take_due(now)
    }

    /// When the next order is to be given.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Whether an order is to be given now. Notes that it is.
    pub(super) fn take_due(&mut self, now: Timestamp) -> bool {
        let is_due = self.due.is_some_and(|at| at <= now);
        if is_due {
            self.due = None;
            self.ordered = Some(now);
        }
        is_due
    }

    /// Nobody needs a keyframe any more.
    pub(super) fn forget(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(300);

    /// Lets each of these members ask in every step of 10 ms of `seconds`; when orders were given.
    fn asked_by(members: &[&str], seconds: u64) -> Vec<Timestamp> {
        let members: Vec<_> = members.iter().map(|id| PeerId::new(id)).collect();
        let mut keyframes = Keyframes::default();
        let mut orders = Vec::new();
        for step in 0..seconds * 100 {
            let now = Timestamp::from_millis(1_000_000 + step * 10);
            let mut ordered = keyframes.take_due(now);
            for member in &members {
                ordered |= keyframes.on_request(member, INTERVAL, now);
            }
            orders.extend(ordered.then_some(now));
        }
        orders
    }

    #[test]
    fn a_member_who_asks_all_the_time_causes_one_keyframe_in_two_seconds() {
        let orders = asked_by(&["greedy"], 60);
        assert!(
            (30..=36).contains(&orders.len()),
            "{} in 60 s",
            orders.len()
        );
        let first: Vec<_> = orders
            .iter()
            .map(|at| at.since(orders[0]).as_millis())
            .take(4)
            .collect();
        assert_eq!(first, [0, 300, 600, 900]);
    }

    #[test]
    fn all_members_together_cause_one_keyframe_in_a_second() {
        let members = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let orders = asked_by(&members, 60);
        assert!(
            (50..=70).contains(&orders.len()),
            "{} in 60 s",
            orders.len()
        );
    }

    #[test]
    fn an_honest_member_has_its_keyframe_at_once_beside_one_who_asks_all_the_time() {
        let (greedy, honest) = (PeerId::new("greedy"), PeerId::new("honest"));
        let mut keyframes = Keyframes::default();
        let mut waited = Vec::new();
        let mut asked: Option<Timestamp> = None;
        for step in 0..6_000 {
            let now = Timestamp::from_millis(1_000_000 + step * 10);
            let mut ordered = keyframes.take_due(now);
            ordered |= keyframes.on_request(&greedy, INTERVAL, now);
            if step % 500 == 250 {
                asked = Some(now);
                ordered |= keyframes.on_request(&honest, INTERVAL, now);
            }
            if ordered && let Some(at) = asked.take() {
                waited.push(now.since(at));
            }
        }
        assert_eq!(waited.len(), 12);
        assert!(waited.iter().all(|wait| *wait <= INTERVAL), "{waited:?}");
    }

    #[test]
    fn a_request_beyond_the_budget_is_late_and_not_lost() {
        let member = PeerId::new("a");
        let mut keyframes = Keyframes::default();
        let mut now = Timestamp::from_millis(1_000_000);
        for _ in 0..MEMBER.burst {
            now = now + INTERVAL;
            assert!(keyframes.on_request(&member, INTERVAL, now));
        }
        now = now + INTERVAL;
        assert!(!keyframes.on_request(&member, INTERVAL, now));
        let due = keyframes.due().unwrap();
        assert!(due.since(now) <= MEMBER.every, "{due:?}");
        assert!(keyframes.take_due(due) && !keyframes.take_due(due));
    }
}
