//! What the connection reports.

use std::collections::BTreeSet;

use super::super::effect::{PeerOrder, RoomEvent};
use super::super::event::PeerEvent;
use super::super::message::ClientMessage;
use super::super::negotiation::State;
use super::super::notice::Level;
use super::super::snapshot::PeerPhase;
use super::super::types::{ConnectionState, Dialect, IceConnectionState, Timestamp};
use super::{Context, ESTABLISH, Fate, LINES, Peer};

impl Peer {
    /// A report of the present generation.
    pub(in super::super) fn on_report(
        &mut self,
        event: PeerEvent,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) -> Fate {
        let Some(connection) = &mut self.connection else {
            return Fate::Stays;
        };
        match event {
            PeerEvent::OfferCreated { negotiation, sdp } => {
                let dialect = self.dialect.unwrap_or(self.first_dialect(now));
                let Some(connection) = &mut self.connection else {
                    return Fate::Stays;
                };
                if let Some(candidates) =
                    connection
                        .negotiation
                        .on_offer_created(negotiation, sdp.clone(), dialect, now)
                {
                    if !self.heard {
                        self.first_offer_at.get_or_insert(now);
                    }
                    self.on_own_offer(&sdp);
                    self.send_offer(sdp, candidates, dialect, cx);
                }
            }
            PeerEvent::AnswerCreated { negotiation, sdp } => {
                let restarts = connection.negotiation.is_restarting();
                if let Some((dialect, candidates)) =
                    connection.negotiation.on_answer_created(negotiation)
                {
                    connection.peer_chooses.get_or_insert(true);
                    self.on_own_answer(&sdp);
                    if let Some(offer) = self.offers.back().cloned() {
                        self.on_remote_description(&offer);
                        self.expect_candidates(&offer, true, now);
                    }
                    cx.out.send(ClientMessage::Answer {
                        target: self.id.clone(),
                        sdp,
                        dialect,
                    });
                    self.send_candidates(candidates, dialect, cx);
                    if restarts {
                        self.on_restart_negotiated(cx, now);
                    }
                    self.on_stable(cx, now);
                    self.offer_video(cx, now);
                }
            }
            PeerEvent::AnswerApplied { negotiation } => {
                let restarts = connection.negotiation.is_restarting();
                if let Some(answer) = connection.negotiation.on_answer_applied(negotiation) {
                    connection.peer_chooses.get_or_insert(false);
                    self.on_own_offer_answered();
                    self.on_remote_description(&answer);
                    self.expect_candidates(&answer, false, now);
                    if restarts {
                        self.on_restart_negotiated(cx, now);
                    }
                    self.on_stable(cx, now);
                }
            }
            // The order behind it was given together with it.
            PeerEvent::RolledBack { .. } => {}
            PeerEvent::NegotiationFailed {
                negotiation,
                message,
            } => {
                if connection.negotiation.current() == Some(negotiation) {
                    return self.on_negotiation_failed(&message, cx, now);
                }
            }
            PeerEvent::LocalCandidate {
                negotiation,
                candidate,
            } => {
                if let Some(candidate) = connection
                    .negotiation
                    .on_local_candidate(negotiation, candidate)
                {
                    let said = self.dialect.unwrap_or(Dialect::Media);
                    let dialects = connection.negotiation.sent_in().cloned();
                    for dialect in dialects.unwrap_or(BTreeSet::from([said])) {
                        self.send_candidates(vec![candidate.clone()], dialect, cx);
                    }
                }
            }
            PeerEvent::ConnectionState(state) => return self.on_connection_state(state, cx, now),
            PeerEvent::IceConnectionState(state) => self.set_ice(state, cx),
            PeerEvent::PacketsArrived { audio, video } => {
                self.on_packets(audio, video, cx, now);
            }
            PeerEvent::SessionDied { message } => {
                return self.fail(&message, false, cx, now);
            }
            // The room counts these; neither says anything about this peer.
            PeerEvent::KeyframeRequested
            | PeerEvent::ScreenKeyframeRequested
            | PeerEvent::Closed => {}
            PeerEvent::RelayLost => {
                self.relay_lost_at = Some(now);
                self.doubt_path(now);
            }
            PeerEvent::ScreenArrived { at } => self.on_screen_packets(at),
        }
        Fate::Stays
    }

    pub(super) fn on_stable(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.flush_early(cx);
        let Some(connection) = &mut self.connection else {
            return;
        };
        // Of a restart the packets have their own limit.
        if self.state != ConnectionState::Connected && self.proof_until.is_none() {
            connection.establish_until = Some(now + ESTABLISH);
        }
        if let Some((sdp, dialect)) = connection.negotiation.take_queued() {
            self.accept(sdp, dialect, cx, now);
        }
    }

    /// An answer cannot add m-lines: to a peer that offered audio alone our camera is offered once that is settled.
    fn offer_video(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        let lacks_video = self.offers.back().is_some_and(|offer| !offer.has_video());
        if let Some(connection) = &mut self.connection
            && lacks_video
            && !connection.offered_video
            && connection.negotiation.state == State::Stable
        {
            connection.offered_video = true;
            self.offer(cx, now);
        }
    }

    pub(super) fn on_negotiation_failed(
        &mut self,
        message: &str,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) -> Fate {
        let Some(connection) = &mut self.connection else {
            return Fate::Stays;
        };
        if self.state != ConnectionState::Connected {
            return self.fail(message, false, cx, now);
        }
        // A bad description on a connection that works is no reason to give it up.
        if self.lines.take(LINES, now).is_ok() {
            cx.out.notify_about(
                &self.id,
                Level::Warn,
                format!("renegotiation failed, the connection goes on: {message}"),
            );
        }
        if let State::ApplyingAnswer { negotiation, .. } = connection.negotiation.state {
            let order = PeerOrder::Rollback { negotiation };
            cx.out.order(&self.id, connection.generation, order);
        }
        connection.negotiation.on_failed();
        self.on_negotiation_begun(cx, now);
        self.on_stable(cx, now);
        Fate::Stays
    }

    pub(super) fn on_connection_state(
        &mut self,
        state: ConnectionState,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) -> Fate {
        if state == self.state {
            return Fate::Stays;
        }
        let was = self.state;
        self.set_state(state, cx, now);
        match state {
            ConnectionState::New | ConnectionState::Connecting => {
                if self.phase == PeerPhase::Restarting {
                    return Fate::Stays;
                }
                if was == ConnectionState::Connected || was == ConnectionState::Disconnected {
                    self.phase = PeerPhase::Interrupted;
                    self.act_at = None;
                }
                if let Some(connection) = &mut self.connection {
                    connection.establish_until.get_or_insert(now + ESTABLISH);
                }
            }
            ConnectionState::Connected => {
                if let Some(connection) = &mut self.connection {
                    connection.establish_until = None;
                }
                if self.phase == PeerPhase::Interrupted {
                    // Its packets follow.
                    self.act_at.get_or_insert(now);
                    self.wait_for_healing(cx, now);
                }
                self.judge(cx, now);
            }
            ConnectionState::Disconnected => return self.on_disconnected(cx, now),
            ConnectionState::Failed => {
                return self.fail("the connection failed", false, cx, now);
            }
            ConnectionState::Closed => {
                return self.fail("the connection was closed under us", false, cx, now);
            }
        }
        Fate::Stays
    }

    pub(super) fn enter_connected(&mut self, cx: &mut Context<'_>) {
        self.act_at = None;
        self.proof_since = None;
        self.proof_until = None;
        self.restarted = false;
        self.offer_at = None;
        let turns_well = self.phase == PeerPhase::Restarting;
        self.phase = PeerPhase::Connected;
        if self.announced && turns_well {
            cx.out.tell(
                &self.id,
                Level::Info,
                (self.phase, self.attempt),
                "well again",
            );
        }
        let attempts = self.attempt;
        if self.attempt > 0 {
            cx.out.publish(RoomEvent::Reconnected {
                peer: self.id.clone(),
                attempts: self.attempt,
            });
            self.attempt = 0;
        }
        if !self.announced {
            self.announced = true;
            cx.out
                .tell(&self.id, Level::Info, (self.phase, attempts), "connected");
            cx.out.publish(RoomEvent::PeerConnected {
                peer: self.id.clone(),
            });
        }
    }

    pub(super) fn set_state(
        &mut self,
        state: ConnectionState,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        if state == self.state {
            return;
        }
        self.previous = self.state;
        self.state = state;
        self.since = now;
        cx.out.publish(RoomEvent::ConnectionStateChanged {
            peer: self.id.clone(),
            state,
            previous: self.previous,
        });
    }

    pub(super) fn set_ice(&mut self, state: IceConnectionState, cx: &mut Context<'_>) {
        if state == self.ice {
            return;
        }
        cx.out.publish(RoomEvent::IceConnectionStateChanged {
            peer: self.id.clone(),
            state,
            previous: self.ice,
        });
        self.ice = state;
    }
}
