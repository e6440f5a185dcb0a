//! What a peer says itself: ready, offers, answers, candidates.

use super::super::effect::PeerOrder;
use super::super::negotiation::{CANDIDATES, State, Verdict};
use super::super::notice::Level;
use super::super::snapshot::PeerPhase;
use super::super::types::{ConnectionState, Dialect, IceCandidate, Sdp, Timestamp};
use super::{Context, LINES, ORDER_WAIT, Peer, SUSPECT, TWIN};

impl Peer {
    /// `peer-ready`: it can be called. Whoever sends one begins anew, except a box, whose connections outlive its session.
    pub(in super::super) fn on_ready(
        &mut self,
        dialect: Dialect,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        let twin = self.ready_at.is_some_and(|at| now.since(at) < TWIN);
        self.mark_heard();
        if !twin && self.is_beyond_budget(cx, now).is_some() {
            return;
        }
        if !twin {
            self.ready_at = Some(now);
            self.dialect = Some(dialect);
            self.start_afresh();
        }
        let Some(connection) = &mut self.connection else {
            self.begin(cx, now);
            return;
        };
        if twin {
            return;
        }
        let young = now.since(connection.opened_at) < TWIN;
        if self.is_box && self.phase == PeerPhase::Restarting {
            // It may have missed our restart offer; the wait before its repetition lets the old path heal.
            connection.negotiation.restart_waits(now);
            return;
        }
        match connection.negotiation.state {
            State::AwaitingAnswer { .. } if connection.negotiation.is_restarting() => {
                // A browser has begun anew; a box is well, for its packets came back.
                if !self.is_box {
                    self.renew(cx, now);
                }
            }
            State::AwaitingAnswer { .. } => {
                // It may have thrown our offer away; the same one again costs nothing. And it may throw that away as well:
                // V2 says ready before it asks who is there, and knows nobody until then.
                self.repeat_offer(dialect, cx);
                if let Some(connection) = &mut self.connection {
                    connection.negotiation.restart_waits(now);
                }
            }
            State::CreatingOffer { .. } => {}
            State::Stable | State::ApplyingAnswer { .. } | State::CreatingAnswer { .. } => {
                let lives = matches!(self.phase, PeerPhase::Connected | PeerPhase::Interrupted);
                if young || (self.is_box && lives) {
                    // It called us and then said that it is ready; or it began anew at once, which its silence will tell.
                    self.suspect_until = Some(now + SUSPECT);
                    self.wait_for_healing(cx, now);
                } else {
                    self.renew(cx, now);
                }
            }
        }
    }

    /// It began anew of its own accord, and may send nothing this time.
    fn renew(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.close(cx, now);
        self.sends = false;
        self.begin(cx, now);
    }

    pub(in super::super) fn on_offer(
        &mut self,
        sdp: Sdp,
        dialect: Dialect,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        if !self.is_usable(&sdp, cx, now) {
            return;
        }
        self.mark_heard();
        if self.offers.contains(&sdp) {
            return;
        }
        if let Some(until) = self.is_beyond_budget(cx, now) {
            // The newest waits, because its sender may mean it after all.
            self.held = Some((until, sdp, dialect));
            return;
        }
        self.dialect = Some(dialect);
        self.is_box = sdp.is_from_box();
        let was_well = self.phase == PeerPhase::Connected;
        self.start_afresh();
        let own_is_greater = *cx.own > self.id;
        let overtaken = self.is_overtaken(now);
        let heals_until = self.heals_until(cx, now).filter(|_| self.is_box);
        let Some(connection) = &mut self.connection else {
            self.open_and_accept(sdp, dialect, cx, now);
            return;
        };
        let restarts = connection.negotiation.is_restarted_by(&sdp);
        if overtaken && restarts {
            return;
        }
        if restarts && let Some(until) = heals_until {
            self.held = Some((until, sdp, dialect));
            return;
        }
        if was_well && restarts {
            // It has lost us, and we not it: nothing that we say may be arriving anywhere.
            cx.out.doubt();
        }
        match connection
            .negotiation
            .judge_offer(&sdp, dialect, own_is_greater)
        {
            Verdict::Duplicate | Verdict::Ignore | Verdict::Queue => {}
            Verdict::NewConnection => {
                if was_well {
                    cx.out.doubt();
                }
                self.close(cx, now);
                // A box always sends; a browser may have been loaded anew without a microphone.
                self.sends &= self.is_box;
                self.open_and_accept(sdp, dialect, cx, now);
            }
            Verdict::Accept => self.accept(sdp, dialect, cx, now),
            Verdict::YieldAndAccept => self.yield_and_accept(sdp, dialect, cx, now),
            Verdict::Insist => self.repeat_offer(dialect, cx),
        }
    }

    pub(in super::super) fn on_answer(
        &mut self,
        sdp: Sdp,
        dialect: Dialect,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        if !self.is_usable(&sdp, cx, now) {
            return;
        }
        self.mark_heard();
        if self.late_ufrag.is_some() && self.late_ufrag.as_deref() == sdp.ice_ufrag() {
            return;
        }
        let Some(connection) = &mut self.connection else {
            return;
        };
        let is_of_another = connection.negotiation.is_of_another(&sdp);
        let is_late = self.state != ConnectionState::Connected
            && connection.negotiation.is_contradicted_by(&sdp);
        if (is_of_another || is_late) && self.is_beyond_budget(cx, now).is_some() {
            return;
        }
        let Some(connection) = &mut self.connection else {
            return;
        };
        if is_of_another {
            // It has built a new connection and answered with that one: V1, when offers of both sides crossed.
            self.close(cx, now);
            self.begin(cx, now);
            return;
        }
        if is_late {
            self.late_ufrag = sdp.ice_ufrag().map(str::to_owned);
            self.close(cx, now);
            self.begin(cx, now);
            return;
        }
        if let Some(negotiation) = connection.negotiation.on_answer(&sdp) {
            self.dialect = Some(dialect);
            self.is_box = sdp.is_from_box();
            connection.order_until = now + ORDER_WAIT;
            let order = PeerOrder::AcceptAnswer { negotiation, sdp };
            cx.out.order(&self.id, connection.generation, order);
        }
    }

    /// Junk must not touch a connection, nor what is known about the peer's.
    fn is_usable(&mut self, sdp: &Sdp, cx: &mut Context<'_>, now: Timestamp) -> bool {
        let Some(flaw) = sdp.flaw() else {
            return true;
        };
        if self.lines.take(LINES, now).is_err() {
            return false;
        }
        cx.out.notify_about(
            &self.id,
            Level::Warn,
            format!("dropped an offer or answer that nobody could take: {flaw}"),
        );
        false
    }

    /// Takes one of the descriptions that this member may cause; `Some` is when the next one may be taken.
    fn is_beyond_budget(&self, cx: &mut Context<'_>, now: Timestamp) -> Option<Timestamp> {
        let until = cx.descriptions.take(&self.id, now).err()?;
        if cx.descriptions.may_tell(now) {
            cx.out.notify_about(
                &self.id,
                Level::Warn,
                "sends more offers and answers than the box takes up; only the newest offer waits",
            );
        }
        Some(until)
    }

    pub(in super::super) fn on_candidate(&mut self, candidate: IceCandidate, cx: &mut Context<'_>) {
        self.mark_heard();
        if candidate.candidate.is_empty() {
            return;
        }
        if let Some(connection) = &mut self.connection
            && connection.negotiation.fits(&candidate)
        {
            if connection.negotiation.is_new_candidate(&candidate) {
                let order = PeerOrder::AddCandidate(candidate);
                cx.out.order(&self.id, connection.generation, order);
                self.on_candidate_named();
            }
            return;
        }
        if self.early.contains(&candidate) {
            return;
        }
        if self.early.len() == CANDIDATES {
            self.early.pop_front();
        }
        self.early.push_back(candidate);
    }

    /// A remote description was applied: the candidates that waited for it follow.
    pub(super) fn flush_early(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let mut named = false;
        for candidate in std::mem::take(&mut self.early) {
            if !connection.negotiation.fits(&candidate) {
                self.early.push_back(candidate);
            } else if connection.negotiation.is_new_candidate(&candidate) {
                let order = PeerOrder::AddCandidate(candidate);
                cx.out.order(&self.id, connection.generation, order);
                named = true;
            }
        }
        if named {
            self.on_candidate_named();
        }
    }
}
