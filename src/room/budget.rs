//! What each member may make the box do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::allowance::{Allowance, Rate};
use super::types::{PeerId, Timestamp};

/// Descriptions that cost a rehearsal, a connection or an offer of ours. A browser that joins sends four, in two dialects;
/// the ladder of another box sends one a second at most.
pub(super) const DESCRIPTIONS: Rate = Rate {
    burst: 16,
    every: Duration::from_secs(1),
};
/// Members whose use is remembered: those of a full roster, and as many that left, so that rejoining does not refill a budget.
const MEMBERS: usize = 128;
/// How often a member's excess is reported.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The descriptions of every member, beyond the time that the member stays.
#[derive(Clone, Debug, Default)]
pub(super) struct Descriptions {
    used: BTreeMap<PeerId, Allowance>,
    told_at: Option<Timestamp>,
}

impl Descriptions {
    /// Takes one of `member`'s, or says when the next may be taken.
    pub(super) fn take(&mut self, member: &PeerId, now: Timestamp) -> Result<(), Timestamp> {
        if self.used.len() >= MEMBERS && !self.used.contains_key(member) {
            self.used.retain(|_, used| !used.is_full(now));
            // Everybody left is using up a budget now: the one who used least loses least.
            let least = self
                .used
                .iter()
                .min_by_key(|(_, used)| used.next(DESCRIPTIONS, now));
            if let Some(id) = least.map(|(id, _)| id.clone())
                && self.used.len() >= MEMBERS
            {
                self.used.remove(&id);
            }
        }
        let used = self.used.entry(member.clone()).or_default();
        used.take(DESCRIPTIONS, now)
    }

    /// Whether an excess is to be reported now: one line a minute, for all members together.
    pub(super) fn may_tell(&mut self, now: Timestamp) -> bool {
        let may = self.told_at.is_none_or(|at| now.since(at) >= TOLD_EVERY);
        if may {
            self.told_at = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_burst_is_followed_by_one_each_interval() {
        let mut descriptions = Descriptions::default();
        let member = PeerId::new("x");
        for _ in 0..DESCRIPTIONS.burst {
            assert_eq!(descriptions.take(&member, at(0)), Ok(()));
        }
        assert_eq!(descriptions.take(&member, at(0)), Err(at(1000)));
        assert_eq!(descriptions.take(&member, at(999)), Err(at(1000)));
        assert_eq!(descriptions.take(&member, at(1000)), Ok(()));
        assert_eq!(descriptions.take(&member, at(1000)), Err(at(2000)));
        // After a pause the whole burst is available, and no more than that.
        let taken = (0..100).filter(|_| descriptions.take(&member, at(60_000)).is_ok());
        assert_eq!(taken.count(), DESCRIPTIONS.burst as usize);
    }

    #[test]
    fn one_members_excess_costs_no_other_member() {
        let mut descriptions = Descriptions::default();
        while descriptions.take(&PeerId::new("x"), at(0)).is_ok() {}
        assert_eq!(descriptions.take(&PeerId::new("y"), at(0)), Ok(()));
    }

    #[test]
    fn thousands_of_names_are_not_remembered_and_free_nobody_who_used_much() {
        let mut descriptions = Descriptions::default();
        while descriptions.take(&PeerId::new("x"), at(0)).is_ok() {}
        for number in 0..5_000 {
            let _ = descriptions.take(&PeerId::new(&format!("y-{number}")), at(1));
        }
        assert!(descriptions.used.len() <= MEMBERS);
        assert!(descriptions.take(&PeerId::new("x"), at(2)).is_err());
    }
}
