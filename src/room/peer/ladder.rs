//! The ladder: suspicion, waiting for a path that heals by itself, ICE restart, and the proof by packets. The last rung, a new
//! connection, is `recovery`.

use std::time::Duration;

use super::super::effect::PeerOrder;
use super::super::notice::Level;
use super::super::snapshot::PeerPhase;
use super::super::types::{ConnectionState, Timestamp};
use super::{
    ANSWERED, Context, ESTABLISH, Fate, HEALED, KEYFRAME_AGAIN, LOOK_AGAIN, PATH_DOUBT, Peer,
    YIELD_FIRST,
};

impl Peer {
    /// When a stream that flowed has been silent for too long, as far as is known now.
    pub(super) fn silent_at(&self, suspicion: Duration) -> Option<Timestamp> {
        self.flow.silent_at(suspicion, !self.video_off)
    }

    fn is_silent(&self, cx: &Context<'_>, now: Timestamp) -> bool {
        self.silent_at(cx.recovery.suspicion)
            .is_some_and(|at| at <= now)
    }

    /// Whether packets must come over a connection that works. A muted box or browser sends silence; of a program that announced
    /// both off, and is no box, nothing may come.
    fn must_send(&self) -> bool {
        self.sends && (self.is_box || !self.muted || !self.video_off)
    }

    /// When the silence becomes a suspicion: only of a connection that seems to be well.
    pub(super) fn suspicion_at(&self, suspicion: Duration) -> Option<Timestamp> {
        let well = self.phase == PeerPhase::Connected && self.state == ConnectionState::Connected;
        self.silent_at(suspicion).filter(|_| well)
    }

    /// A stream has gone silent. This alone shows it and asks for a keyframe, which also makes a sleeping sender speak.
    pub(super) fn on_silence(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Fate {
        if self.leaving_until.is_some() {
            return Fate::Gone;
        }
        cx.out
            .notify_about(&self.id, Level::Debug, "a stream has gone silent");
        if let Some(connection) = &self.connection {
            cx.out
                .order(&self.id, connection.generation, PeerOrder::RequestKeyframe);
        }
        if self.is_suspect(now) && cx.may_act() {
            return self.begin_again("silent after it or we joined again", cx, now);
        }
        let mut wait = cx.recovery.action.saturating_sub(cx.recovery.suspicion);
        if self.is_path_doubted(now) {
            // The change of the link, or the loss of a relay, is the second source. The other stream ended with this one, but
            // its last packet may be a little newer, and to act before it is silent would excuse this one.
            let newest = self.flow.newest().unwrap_or(now);
            wait = wait.min((newest + cx.recovery.suspicion).since(now));
        }
        self.enter_interrupted(now + wait, cx, now);
        Fate::Stays
    }

    pub(super) fn is_suspect(&self, now: Timestamp) -> bool {
        self.suspect_until.is_some_and(|until| now < until)
    }

    fn is_path_doubted(&self, now: Timestamp) -> bool {
        self.path_doubted_at
            .is_some_and(|at| now.since(at) < PATH_DOUBT)
    }

    /// A browser that chooses the path holds on to a dead one for some seconds, an ICE restart or not. Where a relay was lost nothing
    /// can heal that would be worth them: a new connection, by our offer, is ours to choose for.
    fn holds_on_to_lost_relay(&self, now: Timestamp) -> bool {
        let chooses = self.connection.as_ref().and_then(|c| c.peer_chooses);
        let lost = self.relay_lost_at;
        chooses == Some(true) && !self.is_box && lost.is_some_and(|at| now.since(at) < PATH_DOUBT)
    }

    /// Something has happened to the path, perhaps: a silence has a second source for a while.
    pub(super) fn doubt_path(&mut self, now: Timestamp) {
        self.path_doubted_at = Some(now);
    }

    /// Waits for the path to heal by itself until `act_at`, or until then if that is sooner than what was planned. Several peers
    /// are spread a little, and of two boxes the one whose offer would stand in a collision goes first.
    fn enter_interrupted(&mut self, act_at: Timestamp, cx: &mut Context<'_>, now: Timestamp) {
        let mut spread = cx.rng.jitter(Duration::from_millis(100), 0, 100);
        if self.is_box && *cx.own > self.id {
            spread += YIELD_FIRST;
        }
        let act_at = act_at.max(now) + spread;
        if self.phase != PeerPhase::Interrupted {
            self.silent_since = Some(now);
            cx.out.doubt();
        }
        self.phase = PeerPhase::Interrupted;
        self.act_at = Some(self.act_at.map_or(act_at, |planned| planned.min(act_at)));
    }

    /// The stack's word that the path is gone: with a silence of our own finding enough to act, else to wait for that silence.
    pub(super) fn on_disconnected(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Fate {
        if self.leaving_until.is_some() {
            return Fate::Gone;
        }
        if self.is_suspect(now) && cx.may_act() {
            return self.begin_again("disconnected after it or we joined again", cx, now);
        }
        match self.phase {
            PeerPhase::Connected | PeerPhase::Interrupted => {
                let unknown = now + cx.recovery.action;
                let act_at = self.silent_at(cx.recovery.suspicion).unwrap_or(unknown);
                self.enter_interrupted(act_at, cx, now);
            }
            // A restart has its own end, and a new connection has never been connected.
            PeerPhase::Restarting
            | PeerPhase::Negotiating
            | PeerPhase::Recreating
            | PeerPhase::Failed => {}
        }
        Fate::Stays
    }

    pub(super) fn on_packets(
        &mut self,
        audio: Option<Timestamp>,
        video: Option<Timestamp>,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        self.flow.on_packets(audio, video);
        self.sends |= self.flow.newest().is_some();
        self.judge(cx, now);
    }

    /// Something that may be the end of a story: packets, `connected`, an answer.
    pub(super) fn judge(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        if self.state != ConnectionState::Connected {
            return;
        }
        let newest = self.flow.newest();
        let is_well = match self.phase {
            PeerPhase::Connected => return,
            PeerPhase::Negotiating => true,
            PeerPhase::Interrupted => !self.is_silent(cx, now),
            PeerPhase::Restarting => match self.proof_since {
                // Not answered yet, so this is the old path.
                None => newest.is_some() && !self.is_silent(cx, now),
                Some(since) => newest.is_some_and(|at| at > since),
            },
            PeerPhase::Recreating | PeerPhase::Failed => newest.is_some() || !self.must_send(),
        };
        if is_well {
            let by_itself = self.phase == PeerPhase::Interrupted
                || (self.phase == PeerPhase::Restarting && self.proof_since.is_none());
            self.healed_at = by_itself.then_some(now).or(self.healed_at);
            if self.phase == PeerPhase::Restarting && !by_itself {
                // It has answered for the connection it has, whatever the stack still says of the old path.
                self.suspect_until = None;
            }
            if self.phase == PeerPhase::Negotiating {
                self.enter_connected(cx);
            } else {
                self.return_to_connected(cx, now);
            }
        } else if self.phase != PeerPhase::Interrupted && self.proof_until.is_none() {
            // A new connection that says `connected`: now its packets must come. (Of a restart it is set by the answer.)
            let answered = self.phase != PeerPhase::Restarting;
            self.proof_until = answered.then(|| now + cx.recovery.restart);
        }
    }

    /// Connected again after a story. What was lost in it is not resent, so the peer sees nothing before a keyframe; and one may be
    /// lost with the path, or come before the peer's end of it is open.
    fn return_to_connected(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        cx.out.want_keyframe(&self.id);
        self.keyframe_at = Some(now + KEYFRAME_AGAIN);
        self.enter_connected(cx);
    }

    /// The time to act has come. Does nothing if the connection turns out to be well.
    pub(super) fn act(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Fate {
        let suspicion = cx.recovery.suspicion;
        let newest = self.flow.newest();
        let all_silent = newest.is_none_or(|at| at + suspicion <= now);
        if self.state == ConnectionState::Connected && (!all_silent || !self.must_send()) {
            // What still arrives proves the path, and whoever announced both off may send nothing: a camera that is
            // gone, or switched off without a word.
            self.flow.excuse(suspicion, now);
            self.return_to_connected(cx, now);
            return Fate::Stays;
        }
        if let Some(at) = newest.filter(|_| !all_silent) {
            self.act_at = Some(at + suspicion);
            return Fate::Stays;
        }
        self.restart(cx, now)
    }

    /// The ICE restart rung: one at a time, and one in each story. The old path lives on until the peer has answered, so that
    /// a peer that cannot hear us loses nothing by it.
    fn restart(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Fate {
        let Some(connection) = &mut self.connection else {
            return Fate::Stays;
        };
        if connection.negotiation.is_restarting() {
            // Ours is still unanswered, or the peer's is being answered: both have their own end.
            self.phase = PeerPhase::Restarting;
            return Fate::Stays;
        }
        if self.is_suspect(now) {
            return self.begin_again("still silent after it or we joined again", cx, now);
        }
        if self.silent_since.is_some_and(|since| cx.heard_at < since) {
            // The server may be as far away as the peer.
            self.act_at = Some(now + LOOK_AGAIN);
            return Fate::Stays;
        }
        if let Some(until) = self.heals_until(cx, now) {
            self.act_at = Some(until);
            return Fate::Stays;
        }
        if self.holds_on_to_lost_relay(now) {
            return self.fail("its relay was lost", true, cx, now);
        }
        let Some(connection) = &mut self.connection else {
            return Fate::Stays;
        };
        if self.restarted || !connection.negotiation.is_stable() {
            return self.fail("nothing arrives any more", false, cx, now);
        }
        self.offer_restart(cx, now);
        Fate::Stays
    }

    fn offer_restart(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.restarted = true;
        self.enter_restarting();
        cx.out.tell(
            &self.id,
            Level::Info,
            (self.phase, self.attempt),
            "nothing arrives; restarting ICE",
        );
        self.offer_with(true, cx, now);
    }

    /// Nothing arrives since it or we joined again: it has most likely closed its connection, and gets a new one at once. But where
    /// our own link has changed it may not have noticed that we were away. Then it takes a new connection over its old one, and begins
    /// the handshake while it still believes in the old path: what it sends is lost, and it tries again ever more seldom (RFC
    /// 6347 section 4.2.4.1), for seconds. An ICE restart needs no handshake, and who did close its connection says so by its answer.
    fn begin_again(&mut self, why: &str, cx: &mut Context<'_>, now: Timestamp) -> Fate {
        let is_stable = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.negotiation.is_stable());
        let may_not_know = self.is_path_doubted(now) && !self.heard;
        let could_restart = is_stable && !self.restarted && !self.holds_on_to_lost_relay(now);
        if !(may_not_know && could_restart) {
            return self.fail(why, true, cx, now);
        }
        self.offer_restart(cx, now);
        // No time for repetitions: it may have nothing that could answer.
        self.proof_until = Some(now + cx.recovery.restart);
        Fate::Stays
    }

    /// A negotiation took the place of another one, or failed: if it ends the path it is a restart, whoever began it; if it took the
    /// place of one, the path gets a while longer.
    pub(super) fn on_negotiation_begun(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        let restarts = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.negotiation.is_restarting());
        match self.phase {
            PeerPhase::Connected | PeerPhase::Interrupted if restarts => self.enter_restarting(),
            PeerPhase::Restarting if restarts => self.enter_restarting(),
            PeerPhase::Restarting if self.proof_until.is_none() => {
                let wait = cx.recovery.action.saturating_sub(cx.recovery.suspicion);
                self.enter_interrupted(now + wait, cx, now);
            }
            PeerPhase::Negotiating
            | PeerPhase::Connected
            | PeerPhase::Interrupted
            | PeerPhase::Restarting
            | PeerPhase::Recreating
            | PeerPhase::Failed => {}
        }
    }

    pub(super) fn enter_restarting(&mut self) {
        self.phase = PeerPhase::Restarting;
        self.act_at = None;
        self.proof_since = None;
        self.proof_until = None;
    }

    /// The restart is negotiated: the old path is gone, the packets of the new one must come.
    pub(super) fn on_restart_negotiated(&mut self, cx: &Context<'_>, now: Timestamp) {
        self.enter_restarting();
        self.proof_since = Some(now);
        self.proof_until = Some(now + cx.recovery.restart);
    }

    /// The packets did not come in time.
    pub(super) fn on_unproven(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Fate {
        if self.state == ConnectionState::Connected && !self.must_send() {
            self.return_to_connected(cx, now);
            return Fate::Stays;
        }
        let why = match self.phase {
            PeerPhase::Restarting => "nothing arrives after the ICE restart",
            PeerPhase::Negotiating
            | PeerPhase::Connected
            | PeerPhase::Interrupted
            | PeerPhase::Recreating
            | PeerPhase::Failed => "nothing arrives over the new connection",
        };
        self.fail(why, false, cx, now)
    }

    /// Our restart offer was not answered and the old path has healed meanwhile: that was all. The same of any other offer over a connection that works: no reason to give that up.
    pub(super) fn take_offer_back(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Some(negotiation) = connection.negotiation.current()
        {
            connection.negotiation.on_failed();
            let order = PeerOrder::Rollback { negotiation };
            cx.out.order(&self.id, connection.generation, order);
        }
    }

    /// The machine's link went, came, or changed its address or route.
    pub(in super::super) fn on_link_changed(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.doubt_path(now);
        if cx.link_up {
            self.wait_for_healing(cx, now);
            if self.connection.is_none() && self.offer_at.is_some() {
                // Whatever rhythm it had come to without a link.
                self.offer_at = Some(now);
            }
        }
    }

    /// A path that went silent together with the server gets a moment from its first sign of life on, as with a link that is
    /// back: until then it is waited. To take up a box's restart offer that was under way meanwhile would end a path that heals,
    /// and the answer may be long on its way, because TCP tries to send again ever more seldom (RFC 6298 section 5.5).
    pub(super) fn heals_until(&self, cx: &Context<'_>, now: Timestamp) -> Option<Timestamp> {
        let until = cx.resumed_at + cx.recovery.healing;
        // It was asked when the silence was noticed, and answers sooner where it can be reached.
        let noticed = self.silent_since;
        let together = noticed.is_some_and(|since| since + ANSWERED < cx.resumed_at);
        let waits = self.phase == PeerPhase::Interrupted && together && !self.is_path_doubted(now);
        (waits && now < until).then_some(until)
    }

    /// A box's restart offer that was under way while the path healed: to take it up would end a path that works. A box applies
    /// its offer only when it is answered, so nothing is lost by silence.
    pub(super) fn is_overtaken(&self, now: Timestamp) -> bool {
        self.is_box
            && self.phase == PeerPhase::Connected
            && self.healed_at.is_some_and(|at| now.since(at) < HEALED)
    }

    /// The link or the server is back: the old path gets a moment before anything is done.
    pub(super) fn wait_for_healing(&mut self, cx: &Context<'_>, now: Timestamp) {
        if self.act_at.is_some() {
            self.act_at = Some(now + cx.recovery.healing);
        }
        if self.proof_until.is_some() {
            self.proof_until = Some(now + cx.recovery.restart);
        }
        if let Some(connection) = &mut self.connection {
            if connection.establish_until.is_some() {
                connection.establish_until = Some(now + ESTABLISH);
            }
            // An offer may have been lost meanwhile, or its answer.
            connection.negotiation.restart_waits(now);
        }
    }
}
