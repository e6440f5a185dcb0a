//! The shells of a box, and the ends of peer connections. Strict: an order that a real connection would refuse fails the test.

use std::time::Duration;

use huddled::room::*;

use super::descriptions::{read_sdp, read_ufrag, write_sdp};
use super::{Delivery, End, Program, Signaling, World, millis};

/// From `disconnected` to `failed`, as the rtc shell sets it.
const GIVES_UP: Duration = Duration::from_secs(15);

impl World {
    // ---- the shells of a box

    pub(super) fn obey(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::OpenSignaling { session } => {
                assert!(
                    self.members[index].socket.is_none(),
                    "one connection at a time"
                );
                self.members[index].session = session;
                self.later(millis(50), Delivery::OpenDone(index, session));
            }
            Effect::Send { session, message } => {
                assert_eq!(session, self.members[index].session);
                self.note(|| format!("{index} ~> {message:?}"));
                if let Some(socket) = self.members[index].socket {
                    self.later(millis(5), Delivery::AtServer(index, socket, message));
                }
            }
            Effect::CloseSignaling { session, .. } => {
                assert_eq!(session, self.members[index].session);
                self.queue
                    .retain(|_, d| !matches!(d, Delivery::OpenDone(m, _) if *m == index));
                self.drop_socket(index);
            }
            Effect::Peer {
                peer,
                generation,
                order,
            } => {
                self.note(|| format!("{index} -> {peer} {generation:?} {order:?}"));
                self.obey_peer(index, &peer, generation, order);
            }
            Effect::SetMicrophone { muted } => {
                let member = &mut self.members[index];
                if muted {
                    member.may_open = false;
                } else {
                    assert!(member.may_open, "only a press in the room opens");
                    assert!(
                        !member.disk_muted || member.disk_failed,
                        "open is on the disk before it opens"
                    );
                }
                self.later(
                    millis(20),
                    Delivery::Fact(index, Event::MicrophoneConfirmed { muted }),
                );
            }
            Effect::SetCamera { off } => {
                self.later(
                    millis(30),
                    Delivery::Fact(index, Event::CameraConfirmed { off }),
                );
            }
            Effect::PersistState { state, sync } => {
                let member = &mut self.members[index];
                assert!(
                    state.muted || sync || !member.disk_muted || member.disk_failed,
                    "open is synced"
                );
                member.disk_failed = self.defective;
                if !self.defective {
                    member.disk_muted = state.muted;
                }
                let error = self.defective.then(|| "disk full".to_owned());
                let after = 5 + self.dice.roll(200);
                // The disk answers in order.
                self.members[index].disk_free =
                    self.members[index].disk_free.max(self.now + millis(after));
                let after = self.members[index].disk_free.since(self.now);
                self.later(
                    after,
                    Delivery::Fact(index, Event::StatePersisted { state, error }),
                );
            }
            Effect::SetScreen { on } => {
                self.later(
                    millis(40),
                    Delivery::Fact(index, Event::ScreenConfirmed { on }),
                );
            }
            Effect::Exit => self.members[index].exited = true,
            Effect::Notify(_)
            | Effect::OrderKeyframe
            | Effect::OrderScreenKeyframe
            | Effect::SetLed { .. }
            | Effect::Publish(_)
            | Effect::Reply { .. }
            | Effect::ReportReady
            | Effect::ReportStatus(_)
            | Effect::FeedWatchdog => {}
        }
    }

    pub(super) fn report(&mut self, end: usize, after: u64, event: PeerEvent) {
        let is_description = matches!(
            event,
            PeerEvent::OfferCreated { .. }
                | PeerEvent::AnswerCreated { .. }
                | PeerEvent::AnswerApplied { .. }
        );
        if self.defective && is_description && self.dice.roll(6) == 0 {
            return;
        }
        let End {
            member,
            ref remote,
            generation,
            ..
        } = self.ends[end];
        let event = Event::Peer {
            peer: remote.clone(),
            generation,
            event,
        };
        self.later(millis(after), Delivery::Fact(member, event));
    }

    pub(super) fn new_end(
        &mut self,
        member: usize,
        remote: &PeerId,
        generation: Generation,
    ) -> usize {
        self.last_ufrag += 1;
        self.ends.push(End {
            member,
            remote: remote.clone(),
            generation,
            signaling: Signaling::Stable,
            local: None,
            remote_end: None,
            remote_description: None,
            ufrag: self.last_ufrag,
            remote_ufrag: None,
            offered_ufrag: None,
            hollow: false,
            screen: false,
            sections: 2,
            remote_sections: 2,
            told: Timestamp::default(),
            state: ConnectionState::New,
            changed: self.now,
            closed: false,
        });
        self.ends.len() - 1
    }

    /// `answers`: it has the m-lines of the offer.
    pub(super) fn describe(&mut self, end: usize, answers: bool) -> (u64, Sdp) {
        self.last_description += 1;
        let End {
            member,
            ufrag,
            offered_ufrag,
            screen,
            sections,
            remote_sections,
            ..
        } = self.ends[end];
        let sections = if answers {
            remote_sections
        } else {
            // The m-lines there were stay.
            sections.max(remote_sections).max(2 + usize::from(screen))
        };
        self.ends[end].sections = sections;
        let screen = (sections > 2).then_some(screen);
        if screen == Some(true) {
            self.screens.insert(self.last_description);
        }
        let from_box = matches!(self.members[member].program, Program::Box(_));
        let ufrag = offered_ufrag.unwrap_or(ufrag);
        (
            self.last_description,
            write_sdp(end, self.last_description, ufrag, from_box, screen),
        )
    }

    /// The path ends; with the new credentials on both sides there will be another.
    pub(super) fn end_path(&mut self, end: usize, ufrag: u64) {
        self.ends[end].ufrag = ufrag;
        self.ends[end].hollow = self.hollow;
        if matches!(
            self.ends[end].state,
            ConnectionState::Connected | ConnectionState::Disconnected
        ) && matches!(self.members[self.ends[end].member].program, Program::Box(_))
        {
            self.ends[end].state = ConnectionState::Connecting;
            self.ends[end].changed = self.now;
            self.report(
                end,
                0,
                PeerEvent::ConnectionState(ConnectionState::Connecting),
            );
        }
    }

    pub(super) fn apply_remote(&mut self, end: usize, sdp: &Sdp) -> bool {
        let Some((remote_end, description)) = read_sdp(sdp) else {
            return false;
        };
        let ufrag = read_ufrag(sdp);
        let answers = matches!(self.ends[end].signaling, Signaling::HaveLocalOffer(..));
        let restarts = self.ends[end].remote_end == Some(remote_end)
            && self.ends[end].remote_ufrag.is_some()
            && self.ends[end].remote_ufrag != ufrag;
        if restarts && !answers {
            self.last_ufrag += 1;
            self.end_path(end, self.last_ufrag);
        }
        if answers && let Some(ufrag) = self.ends[end].offered_ufrag.take() {
            self.end_path(end, ufrag);
        }
        // Another connection of the peer's brings a path of its own.
        self.ends[end].hollow &= self.ends[end].remote_end == Some(remote_end);
        self.ends[end].remote_end = Some(remote_end);
        self.ends[end].remote_description = Some(description);
        self.ends[end].remote_ufrag = ufrag;
        let lines = sdp.as_str().lines();
        let sections = lines.filter(|line| line.starts_with("m=")).count();
        self.ends[end].remote_sections = sections;
        true
    }

    pub(super) fn obey_peer(
        &mut self,
        index: usize,
        peer: &PeerId,
        generation: Generation,
        order: PeerOrder,
    ) {
        if order == PeerOrder::Open {
            let end = self.new_end(index, peer, generation);
            let before = self.members[index].generations.insert(generation, end);
            assert!(before.is_none(), "a generation is opened once");
            return;
        }
        let end = *self.members[index]
            .generations
            .get(&generation)
            .expect("orders name opened generations");
        assert!(!self.ends[end].closed, "orders name open generations");
        match order {
            PeerOrder::Open => {}
            PeerOrder::CreateOffer {
                negotiation,
                ice_restart,
            } => {
                assert_eq!(self.ends[end].signaling, Signaling::Stable);
                if ice_restart {
                    self.last_ufrag += 1;
                    self.ends[end].offered_ufrag = Some(self.last_ufrag);
                }
                let (description, sdp) = self.describe(end, false);
                self.ends[end].signaling = Signaling::HaveLocalOffer(negotiation, description);
                self.report(end, 8, PeerEvent::OfferCreated { negotiation, sdp });
                self.gather(end, negotiation);
            }
            PeerOrder::AcceptOffer { negotiation, sdp } => {
                assert_eq!(
                    self.ends[end].signaling,
                    Signaling::Stable,
                    "an offer is applied in stable only"
                );
                if !self.apply_remote(end, &sdp) {
                    let message = "applying an offer: not understood".to_owned();
                    let event = PeerEvent::NegotiationFailed {
                        negotiation,
                        message,
                    };
                    self.report(end, 3, event);
                    return;
                }
                let (description, sdp) = self.describe(end, true);
                self.ends[end].local = Some(description);
                self.report(end, 12, PeerEvent::AnswerCreated { negotiation, sdp });
                self.gather(end, negotiation);
                self.look_later(end);
            }
            PeerOrder::AcceptAnswer { negotiation, sdp } => {
                let Signaling::HaveLocalOffer(offered, description) = self.ends[end].signaling
                else {
                    panic!("an answer is applied to an offer only");
                };
                assert_eq!(offered, negotiation);
                if !self.apply_remote(end, &sdp) {
                    let message = "applying an answer: not understood".to_owned();
                    let event = PeerEvent::NegotiationFailed {
                        negotiation,
                        message,
                    };
                    self.report(end, 3, event);
                    return;
                }
                self.ends[end].signaling = Signaling::Stable;
                self.ends[end].local = Some(description);
                self.report(end, 5, PeerEvent::AnswerApplied { negotiation });
                self.look_later(end);
            }
            PeerOrder::Rollback { negotiation } => {
                assert!(
                    matches!(self.ends[end].signaling, Signaling::HaveLocalOffer(n, _) if n == negotiation)
                );
                self.ends[end].signaling = Signaling::Stable;
                self.ends[end].offered_ufrag = None;
                self.report(end, 2, PeerEvent::RolledBack { negotiation });
            }
            PeerOrder::AddCandidate(_) => assert!(
                self.ends[end].remote_description.is_some(),
                "a candidate needs a remote description"
            ),
            PeerOrder::RequestKeyframe => {}
            PeerOrder::SetScreen { on } => self.ends[end].screen = on,
            PeerOrder::ReserveSections(sections) => {
                self.ends[end].sections = self.ends[end].sections.max(sections);
            }
            PeerOrder::Close => {
                self.ends[end].closed = true;
                self.report(end, 10, PeerEvent::Closed);
                self.look_at_peers_of(end);
            }
        }
    }

    pub(super) fn gather(&mut self, end: usize, negotiation: NegotiationId) {
        for (after, number) in [(2, 1), (30, 2)] {
            let candidate = IceCandidate {
                candidate: format!("candidate:{end} 1 udp {number} 10.0.0.{end} 9 typ host"),
                sdp_mid: Some("0".into()),
                sdp_m_line_index: Some(0),
                username_fragment: None,
            };
            let event = PeerEvent::LocalCandidate {
                negotiation,
                candidate,
            };
            self.report(end, after, event);
        }
    }

    // ---- connections

    pub(super) fn look_later(&mut self, end: usize) {
        self.later(millis(80), Delivery::Look(end));
        if let Some(remote) = self.ends[end].remote_end {
            self.later(millis(80), Delivery::Look(remote));
        }
    }

    pub(super) fn look_at_peers_of(&mut self, end: usize) {
        for other in 0..self.ends.len() {
            if self.ends[other].remote_end == Some(end) {
                self.later(millis(2_300), Delivery::Look(other));
                self.later(millis(17_400), Delivery::Look(other));
            }
        }
    }

    /// Cuts or heals the path between two members.
    pub(in super::super) fn set_path(&mut self, a: usize, b: usize, up: bool) {
        let pair = (a.min(b), a.max(b));
        if up {
            self.cut.remove(&pair);
        } else {
            self.cut.insert(pair);
        }
        for end in 0..self.ends.len() {
            if !self.ends[end].closed {
                for after in [100, 2_300, 17_400] {
                    self.later(millis(after), Delivery::Look(end));
                }
            }
        }
    }

    pub(super) fn is_linked(&self, end: usize) -> bool {
        let near = &self.ends[end];
        let Some(far) = near.remote_end.and_then(|far| self.ends.get(far)) else {
            return false;
        };
        let pair = (near.member.min(far.member), near.member.max(far.member));
        // A repeated answer or a renegotiation keeps fingerprint and ICE credentials, so those count and not descriptions.
        !near.closed
            && !far.closed
            && far.remote_end == Some(end)
            && near.remote_ufrag == Some(far.ufrag)
            && far.remote_ufrag == Some(near.ufrag)
            && self.members[near.member].link
            && self.members[far.member].link
            && near.local.is_some()
            && far.local.is_some()
            && !self.cut.contains(&pair)
    }

    pub(super) fn look(&mut self, end: usize) {
        if end >= self.ends.len() || self.ends[end].closed {
            return;
        }
        let linked = self.is_linked(end);
        let lost_for = self.now.since(self.ends[end].changed);
        let state = self.ends[end].state;
        let next = match (state, linked) {
            (ConnectionState::Failed, _) | (ConnectionState::Closed, _) => state,
            (_, true) => ConnectionState::Connected,
            (ConnectionState::Connected, false) => ConnectionState::Disconnected,
            (ConnectionState::Disconnected, false) if lost_for >= GIVES_UP => {
                ConnectionState::Failed
            }
            (ConnectionState::New, false) if self.ends[end].remote_end.is_some() => {
                ConnectionState::Connecting
            }
            (_, false) => state,
        };
        if next == ConnectionState::Disconnected && state != next {
            self.later(GIVES_UP, Delivery::Look(end));
        }
        if next != state {
            self.ends[end].state = next;
            self.ends[end].changed = self.now;
            let member = self.ends[end].member;
            match self.members[member].program {
                Program::Box(_) => self.report(end, 0, PeerEvent::ConnectionState(next)),
                Program::Browser(_) => self.browser_state(member, end, next),
            }
        }
        self.tell_if_resumed(end);
    }
}
