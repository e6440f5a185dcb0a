//! What was ordered to be written of the state, and what of that is on the disk.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::effect::Effect;
use super::super::event::PersistedState;
use super::super::outbox::Outbox;
use super::super::types::Timestamp;

/// A disk that takes longer than this is treated like one that failed.
const PERSIST_WAIT: Duration = Duration::from_secs(3);
/// What could not be written is written again after this long, until that succeeds: a restart must not open a microphone
/// that somebody muted.
const REWRITE_AFTER: Duration = Duration::from_secs(10);

/// The state file.
#[derive(Clone, Debug, Default)]
pub(super) struct StateFile {
    /// Ordered and not reported yet, oldest first; reports come in this order.
    writing: VecDeque<PersistedState>,
    writing_until: Option<Timestamp>,
    /// The last write failed.
    rewrite_at: Option<Timestamp>,
}

impl StateFile {
    pub(super) fn order(
        &mut self,
        state: PersistedState,
        sync: bool,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        self.writing.push_back(state.clone());
        self.writing_until = Some(now + PERSIST_WAIT);
        out.push(Effect::PersistState { state, sync });
    }

    /// A report. `false`: nobody waits for it any more.
    pub(super) fn on_report(&mut self, state: &PersistedState) -> bool {
        if self.writing.front() != Some(state) {
            return false;
        }
        self.writing.pop_front();
        if self.writing.is_empty() {
            self.writing_until = None;
        }
        true
    }

    /// `true`: the disk was fine until now.
    pub(super) fn on_failed(&mut self, now: Timestamp) -> bool {
        self.rewrite_at.replace(now + REWRITE_AFTER).is_none()
    }

    /// `true`: the disk was not fine until now.
    pub(super) fn on_written(&mut self) -> bool {
        self.rewrite_at.take().is_some()
    }

    /// The disk takes too long: what it still reports means nothing.
    pub(super) fn take_overdue(&mut self, now: Timestamp) -> bool {
        let overdue = self.writing_until.is_some_and(|at| at <= now);
        if overdue {
            self.writing.clear();
            self.writing_until = None;
        }
        overdue
    }

    pub(super) fn is_rewrite_due(&self, now: Timestamp) -> bool {
        self.rewrite_at.is_some_and(|at| at <= now)
    }

    /// The next attempt has begun.
    pub(super) fn delay_rewrite(&mut self, now: Timestamp) {
        self.rewrite_at = Some(now + REWRITE_AFTER);
    }

    /// The disk has not taken the present state: it would not survive a power cut.
    pub(super) fn is_unsaved(&self) -> bool {
        self.rewrite_at.is_some()
    }

    pub(super) fn is_writing(&self) -> bool {
        !self.writing.is_empty()
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = (Timestamp, &'static str)> {
        let unanswered = self.writing_until.map(|at| (at, "state file unanswered"));
        let rewrite = self.rewrite_at.map(|at| (at, "state file to be written"));
        unanswered.into_iter().chain(rewrite)
    }
}
