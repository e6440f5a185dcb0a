//! What a member's messages may cost: its offers, its wishes for one, and lines of the journal.

use std::time::Duration;

use super::super::allowance::Allowance;
use super::super::types::Timestamp;

/// Offers of one member that are worked on at once. Each may cost a new connection.
const OFFERS: u32 = 10;
/// Then one in this time. A browser that shares and stops makes one at each press.
const OFFER_EVERY: Duration = Duration::from_secs(1);
/// At most one line of the journal in this time about unusable descriptions of one member.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// The allowances of one member. They outlive its connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MessageBudget {
    offers: Allowance,
    lines: Allowance,
}

impl MessageBudget {
    /// Takes an offer or a wish for one. An error says when the next one is worked on.
    pub(super) fn take_offer(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        let next = self.offers.next(OFFERS, OFFER_EVERY, now);
        if next > now {
            return Err(next);
        }
        self.offers.take(OFFER_EVERY, now);
        Ok(())
    }

    /// Whether a line about an unusable description may be written.
    pub(super) fn take_line(&mut self, now: Timestamp) -> bool {
        let may = self.lines.next(1, LINE_EVERY, now) <= now;
        if may {
            self.lines.take(LINE_EVERY, now);
        }
        may
    }
}
