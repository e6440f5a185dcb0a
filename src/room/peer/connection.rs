//! Opening and closing connections, ordering descriptions, sending them.

use super::super::effect::{PeerOrder, RoomEvent};
use super::super::message::ClientMessage;
use super::super::negotiation::Negotiation;
use super::super::notice::Level;
use super::super::snapshot::PeerPhase;
use super::super::types::{
    ConnectionState, Dialect, IceCandidate, IceConnectionState, Sdp, Timestamp,
};
use super::{Carrying, Connection, Context, Flow, OFFERS, ORDER_WAIT, Peer, RemoteCandidates};

impl Peer {
    /// Closes the connection, if there is one; nothing is planned by that.
    pub(in super::super) fn close(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        if let Some(connection) = self.connection.take() {
            cx.out.close(&self.id, connection.generation, now);
        } else {
            return;
        }
        self.forget_screen_line();
        self.act_at = None;
        self.proof_since = None;
        self.proof_until = None;
        self.suspect_until = None;
        self.flow = Flow::default();
        self.restarted = false;
        self.silent_since = None;
        self.keyframe_at = None;
        self.healed_at = None;
        self.held = None;
        self.set_state(ConnectionState::Closed, cx, now);
        self.set_ice(IceConnectionState::Closed, cx);
        if self.announced {
            self.announced = false;
            cx.out.tell(
                &self.id,
                Level::Info,
                (self.phase, self.attempt),
                "disconnected",
            );
            cx.out.publish(RoomEvent::PeerDisconnected {
                peer: self.id.clone(),
            });
        }
        if matches!(
            self.phase,
            PeerPhase::Connected | PeerPhase::Interrupted | PeerPhase::Restarting
        ) {
            self.phase = PeerPhase::Recreating;
        }
    }

    fn open(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        debug_assert!(self.connection.is_none(), "one connection at a time");
        self.offer_at = None;
        let generation = cx.out.open(&self.id);
        self.connection = Some(Connection {
            generation,
            negotiation: Negotiation::new(),
            opened_at: now,
            establish_until: None,
            order_until: now + ORDER_WAIT,
            offered_video: false,
            peer_chooses: None,
            carrying: Carrying::default(),
            remote_candidates: RemoteCandidates::default(),
        });
        self.prepare_screen(cx);
        self.set_state(ConnectionState::New, cx, now);
        self.set_ice(IceConnectionState::New, cx);
    }

    /// A new connection, and an offer over it.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.open(cx, now);
        // What came before belongs to connections of the past.
        self.early.clear();
        self.reserve_sections(cx);
        self.offer(cx, now);
    }

    /// Orders an offer over the connection that is there.
    pub(super) fn offer(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.offer_with(false, cx, now);
    }

    pub(super) fn offer_with(&mut self, ice_restart: bool, cx: &mut Context<'_>, now: Timestamp) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let negotiation = cx.out.next_negotiation();
        connection
            .negotiation
            .enter_creating_offer(negotiation, ice_restart);
        connection.order_until = now + ORDER_WAIT;
        let order = PeerOrder::CreateOffer {
            negotiation,
            ice_restart,
        };
        cx.out.order(&self.id, connection.generation, order);
    }

    pub(super) fn open_and_accept(
        &mut self,
        sdp: Sdp,
        dialect: Dialect,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        self.open(cx, now);
        self.accept(sdp, dialect, cx, now);
    }

    pub(super) fn accept(
        &mut self,
        sdp: Sdp,
        dialect: Dialect,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if self.offers.len() == OFFERS {
            self.offers.pop_front();
        }
        self.offers.push_back(sdp.clone());
        let negotiation = cx.out.next_negotiation();
        connection
            .negotiation
            .enter_creating_answer(negotiation, sdp.clone(), dialect);
        connection.order_until = now + ORDER_WAIT;
        let order = PeerOrder::AcceptOffer { negotiation, sdp };
        cx.out.order(&self.id, connection.generation, order);
        self.on_negotiation_begun(cx, now);
    }

    pub(super) fn yield_and_accept(
        &mut self,
        sdp: Sdp,
        dialect: Dialect,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        if let Some(connection) = &self.connection
            && let Some(negotiation) = connection.negotiation.current()
        {
            // A session executes its orders in order, so this also holds while the offer is still being created.
            let order = PeerOrder::Rollback { negotiation };
            cx.out.order(&self.id, connection.generation, order);
        }
        self.accept(sdp, dialect, cx, now);
    }

    // ---- sending

    /// The dialect of a first offer to somebody whose dialect is unknown: in the slow rhythm for silent members both in
    /// turn.
    pub(super) fn first_dialect(&self, now: Timestamp) -> Dialect {
        match self.first_offer_at {
            Some(at) if (now.since(at).as_secs() / 60) % 2 == 1 => Dialect::Webrtc,
            Some(_) | None => Dialect::Media,
        }
    }

    pub(super) fn send_offer(
        &self,
        sdp: Sdp,
        candidates: Vec<IceCandidate>,
        dialect: Dialect,
        cx: &mut Context<'_>,
    ) {
        cx.out.send(ClientMessage::Offer {
            target: self.id.clone(),
            sdp,
            dialect,
        });
        self.send_candidates(candidates, dialect, cx);
    }

    pub(super) fn send_candidates(
        &self,
        candidates: Vec<IceCandidate>,
        dialect: Dialect,
        cx: &mut Context<'_>,
    ) {
        for candidate in candidates {
            cx.out.send(ClientMessage::Candidate {
                target: self.id.clone(),
                candidate,
                dialect,
            });
        }
    }

    /// A peer that takes a restart offer up ends the old path, so it is not repeated once that has healed.
    pub(super) fn repeat_unless_healed(&mut self, dialect: Dialect, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && self.phase == PeerPhase::Connected
            && connection.negotiation.is_restarting()
        {
            connection.negotiation.repeat_offer(dialect);
            return;
        }
        self.repeat_offer(dialect, cx);
    }

    pub(super) fn repeat_offer(&mut self, dialect: Dialect, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Some((sdp, candidates)) = connection.negotiation.repeat_offer(dialect)
        {
            self.send_offer(sdp, candidates, dialect, cx);
        }
    }
}
