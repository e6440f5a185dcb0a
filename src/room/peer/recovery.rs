//! Failure and time: attempts, deadlines, members that never say a thing.

use std::time::Duration;

use super::super::effect::RoomEvent;
use super::super::negotiation::Due;
use super::super::notice::Level;
use super::super::snapshot::PeerPhase;
use super::super::types::{Dialect, Timestamp};
use super::{ABSENT_FAST, ABSENT_SLOW, Context, Fate, OfferSlots, Peer, max_attempts};

impl Peer {
    /// This connection is lost: close it and plan the next. `at_once`: the peer is known to be new, so waiting is idle.
    pub(super) fn fail(
        &mut self,
        why: &str,
        at_once: bool,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) -> Fate {
        self.close(cx, now);
        if self.leaving_until.is_some() {
            return Fate::Gone;
        }
        if !cx.may_act() {
            // Not its fault, so no attempt is used up; it is made anew when the link and the server are back.
            if self.phase != PeerPhase::Failed {
                self.phase = PeerPhase::Recreating;
            }
            self.offer_at = Some(now);
            return Fate::Stays;
        }
        self.attempt = self.attempt.saturating_add(1);
        let max_attempts = max_attempts(cx.recovery);
        let index = usize::try_from(self.attempt - 1).unwrap_or(usize::MAX);
        if let Some(&wait) = cx.recovery.recreate.get(index) {
            self.phase = PeerPhase::Recreating;
            cx.out.tell(
                &self.id,
                Level::Warn,
                (self.phase, self.attempt),
                format!(
                    "reconnecting, attempt {} of {max_attempts}: {why}",
                    self.attempt
                ),
            );
            cx.out.publish(RoomEvent::Reconnecting {
                peer: self.id.clone(),
                attempt: self.attempt,
                max_attempts,
            });
            if at_once {
                self.begin(cx, now);
            } else {
                self.offer_at = Some(now + wait.max(Duration::from_millis(1)));
            }
        } else {
            if self.phase != PeerPhase::Failed {
                self.phase = PeerPhase::Failed;
                cx.out.tell(
                    &self.id,
                    Level::Warn,
                    (self.phase, self.attempt),
                    format!("{max_attempts} attempts failed, trying on slowly: {why}"),
                );
                cx.out.publish(RoomEvent::ReconnectFailed {
                    peer: self.id.clone(),
                    attempts: max_attempts,
                });
            }
            self.offer_at = Some(now + cx.rng.jitter(cx.recovery.slow_interval, 90, 120));
        }
        Fate::Stays
    }

    pub(super) fn is_slow_absent(&self, now: Timestamp) -> bool {
        !self.heard
            && self
                .first_offer_at
                .is_some_and(|at| now.since(at) >= ABSENT_FAST)
    }

    /// A member whose row may be a ghost: it counts for nothing that is shown.
    pub(in super::super) fn is_absent(&self) -> bool {
        !self.heard && self.phase == PeerPhase::Negotiating
    }

    pub(super) fn offer_due(&self) -> Option<(Timestamp, Due)> {
        let connection = self.connection.as_ref()?;
        let single = self.is_slow_absent(connection.opened_at);
        connection.negotiation.due(self.dialect.is_some(), single)
    }

    /// When a connection that was ordered a description and says nothing is given up.
    fn order_until(&self) -> Option<Timestamp> {
        let connection = self.connection.as_ref()?;
        let is_ordered = connection.negotiation.is_ordered();
        is_ordered.then_some(connection.order_until)
    }

    /// All deadlines that count now. While the link is down or the server away nothing is begun, so only a silence is seen and the
    /// grace of a leaver runs.
    pub(in super::super) fn deadlines(
        &self,
        may_act: bool,
        suspicion: Duration,
    ) -> impl Iterator<Item = (Timestamp, &'static str)> {
        let establish = self.connection.as_ref().and_then(|c| c.establish_until);
        let waiting = [
            self.offer_at.map(|at| (at, "offer due")),
            self.offer_due().map(|(at, _)| (at, "answer awaited")),
            establish.map(|at| (at, "connection attempt too slow")),
            self.order_until().map(|at| (at, "connection silent")),
            self.act_at.map(|at| (at, "interrupted too long")),
            self.held.as_ref().map(|held| (held.0, "an offer held")),
            self.proof_until.map(|at| (at, "packets awaited")),
            self.stale_until.map(|at| (at, "member unconfirmed")),
            self.ask_for_candidates_at()
                .map(|at| (at, "candidates awaited")),
        ];
        let always = [
            self.suspicion_at(suspicion)
                .map(|at| (at, "a stream silent")),
            self.keyframe_at.map(|at| (at, "another keyframe due")),
            self.leaving_until.map(|at| (at, "leaver's grace over")),
        ];
        waiting
            .into_iter()
            .filter(move |_| may_act)
            .chain(always)
            .flatten()
            .chain(self.screen_deadlines(may_act))
    }

    pub(in super::super) fn handle_timeout(
        &mut self,
        slots: &mut OfferSlots,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) -> Fate {
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if due(self.leaving_until) {
            return Fate::Gone;
        }
        if due(self.keyframe_at) {
            self.keyframe_at = None;
            cx.out.want_keyframe(&self.id);
        }
        if due(self.suspicion_at(cx.recovery.suspicion)) && self.on_silence(cx, now) == Fate::Gone {
            return Fate::Gone;
        }
        if !cx.may_act() {
            return Fate::Stays;
        }
        if due(self.stale_until) {
            self.stale_until = None;
            if !self.confirmed && self.on_left(now) == Fate::Gone {
                return Fate::Gone;
            }
        }
        if let Some((_, sdp, dialect)) = self.held.take_if(|(until, ..)| *until <= now) {
            self.on_offer(sdp, dialect, cx, now);
        }
        if due(self.act_at) {
            self.act_at = None;
            if self.act(cx, now) == Fate::Gone {
                return Fate::Gone;
            }
        }
        if due(self.proof_until) {
            self.proof_until = None;
            return self.on_unproven(cx, now);
        }
        if let Some(connection) = &mut self.connection
            && due(connection.establish_until)
        {
            connection.establish_until = None;
            return self.fail("connecting took too long", false, cx, now);
        }
        if due(self.order_until()) {
            return self.fail("the connection does not answer", false, cx, now);
        }
        if due(self.ask_for_candidates_at()) {
            self.ask_for_candidates(cx, now);
        }
        // After a pause of the whole machine several may be due.
        while let Some((at, what)) = self.offer_due()
            && at <= now
        {
            if self.on_offer_due(what, cx, now) == Fate::Gone {
                return Fate::Gone;
            }
        }
        if due(self.offer_at) {
            self.offer_at = None;
            if self.connection.is_none() {
                // A first offer got its slot when it was planned.
                let recovers = self.phase != PeerPhase::Negotiating;
                self.offer_at = Some(slots.next).filter(|at| recovers && *at > now);
                if self.offer_at.is_none() {
                    if recovers {
                        slots.take(now);
                    }
                    self.begin(cx, now);
                }
            }
        }
        Fate::Stays
    }

    pub(super) fn on_offer_due(&mut self, what: Due, cx: &mut Context<'_>, now: Timestamp) -> Fate {
        let dialect = self.dialect.unwrap_or(Dialect::Media);
        match what {
            Due::Repeat => self.repeat_unless_healed(dialect, cx),
            Due::OtherDialect => self.repeat_unless_healed(Dialect::Webrtc, cx),
            Due::Yield => {
                let own_is_greater = *cx.own > self.id;
                if let Some(connection) = &mut self.connection
                    && let Some((sdp, dialect)) = connection.negotiation.take_ignored()
                    && own_is_greater
                {
                    self.yield_and_accept(sdp, dialect, cx, now);
                }
            }
            Due::GiveUp => {
                if self.phase == PeerPhase::Connected {
                    self.take_offer_back(cx);
                    return Fate::Stays;
                }
                if self.heard || self.attempt > 0 {
                    return self.fail("our offer was not answered", false, cx, now);
                }
                // A row without a program behind it. It must not look like a failure; the offers thin out.
                self.close(cx, now);
                self.phase = PeerPhase::Negotiating;
                if self.is_slow_absent(now) {
                    self.offer_at = Some(now + ABSENT_SLOW);
                } else {
                    self.begin(cx, now);
                }
            }
        }
        Fate::Stays
    }
}
