//! Where the parts put their orders, and the numbers that orders carry.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::effect::{Effect, PeerOrder, RoomEvent};
use super::message::ClientMessage;
use super::notice::{Level, Notice};
use super::snapshot::PeerPhase;
use super::types::{Generation, NegotiationId, PeerId, SessionId, Timestamp};

/// A close that is not answered by then never will be, and nobody waits for it any more.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// Orders not yet taken, and what is open at the shells.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    effects: VecDeque<Effect>,
    /// The signaling connection messages go to, once the meeting is joined.
    joined: Option<SessionId>,
    /// A peer has gone silent: whether the server still hears us is to be found out.
    doubt: bool,
    /// Peers that have recovered and need a keyframe of ours.
    keyframes: BTreeSet<PeerId>,
    open: BTreeSet<Generation>,
    /// Since when.
    closing: BTreeMap<Generation, Timestamp>,
    last_generation: u64,
    last_negotiation: u64,
}

impl Outbox {
    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn take(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Over which connection the meeting is joined from now on, if any.
    pub(super) fn set_joined(&mut self, session: Option<SessionId>) {
        self.joined = session;
    }

    /// Something has gone silent.
    pub(super) fn doubt(&mut self) {
        self.doubt = true;
    }

    /// Whether something has gone silent since the last look.
    pub(super) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubt)
    }

    /// A peer needs a keyframe of ours.
    pub(super) fn want_keyframe(&mut self, peer: &PeerId) {
        self.keyframes.insert(peer.clone());
    }

    /// The peers that wanted one since the last look.
    pub(super) fn take_keyframes(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.keyframes)
    }

    pub(super) fn is_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// Sends to the meeting. Before it is joined the server would drop the message, so it is not sent at all;
    /// everything that matters then is said anew after the join.
    pub(super) fn send(&mut self, message: ClientMessage) {
        if let Some(session) = self.joined {
            self.push(Effect::Send { session, message });
        }
    }

    pub(super) fn notify(&mut self, level: Level, text: impl Into<String>) {
        self.push(Effect::Notify(Notice {
            level,
            text: text.into(),
            peer: None,
            story: None,
        }));
    }

    pub(super) fn notify_about(&mut self, peer: &PeerId, level: Level, text: impl Into<String>) {
        self.push(Effect::Notify(Notice {
            level,
            text: text.into(),
            peer: Some(peer.clone()),
            story: None,
        }));
    }

    /// A turn in the story of a member's connection.
    pub(super) fn tell(
        &mut self,
        peer: &PeerId,
        level: Level,
        story: (PeerPhase, u32),
        text: impl Into<String>,
    ) {
        self.push(Effect::Notify(Notice {
            level,
            text: text.into(),
            peer: Some(peer.clone()),
            story: Some(story),
        }));
    }

    pub(super) fn publish(&mut self, event: RoomEvent) {
        self.push(Effect::Publish(event));
    }

    /// Opens a new connection to a peer.
    pub(super) fn open(&mut self, peer: &PeerId) -> Generation {
        self.last_generation += 1;
        let generation = Generation(self.last_generation);
        self.open.insert(generation);
        self.push(Effect::Peer {
            peer: peer.clone(),
            generation,
            order: PeerOrder::Open,
        });
        generation
    }

    pub(super) fn next_negotiation(&mut self) -> NegotiationId {
        self.last_negotiation += 1;
        NegotiationId(self.last_negotiation)
    }

    /// Gives an order to an open connection.
    pub(super) fn order(&mut self, peer: &PeerId, generation: Generation, order: PeerOrder) {
        debug_assert!(
            self.open.contains(&generation),
            "an order names a closed generation: {order:?}"
        );
        self.push(Effect::Peer {
            peer: peer.clone(),
            generation,
            order,
        });
    }

    /// Closes a connection: its last order.
    pub(super) fn close(&mut self, peer: &PeerId, generation: Generation, now: Timestamp) {
        self.order(peer, generation, PeerOrder::Close);
        self.open.remove(&generation);
        self.closing
            .retain(|_, since| now.since(*since) < CLOSE_WAIT);
        self.closing.insert(generation, now);
    }

    /// The shell reported a connection closed.
    pub(super) fn on_closed(&mut self, generation: Generation) {
        self.closing.remove(&generation);
    }

    /// Whether some connection is still being closed.
    pub(super) fn is_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    pub(super) fn open_generations(&self) -> &BTreeSet<Generation> {
        &self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_join_nothing_is_sent() {
        let mut out = Outbox::default();
        out.send(ClientMessage::RequestPeers);
        assert_eq!(out.take(), None);
        out.set_joined(Some(SessionId(3)));
        out.send(ClientMessage::RequestPeers);
        assert!(matches!(
            out.take(),
            Some(Effect::Send {
                session: SessionId(3),
                ..
            })
        ));
    }

    #[test]
    fn generations_are_unique_across_peers_and_closing_until_reported() {
        let mut out = Outbox::default();
        let (a, b) = (PeerId::new("a"), PeerId::new("b"));
        let (first, second) = (out.open(&a), out.open(&b));
        assert!(second > first);
        out.close(&a, first, Timestamp::default());
        assert!(out.is_closing());
        assert!(!out.open_generations().contains(&first));
        out.on_closed(first);
        assert!(!out.is_closing());
    }

    #[test]
    fn closes_that_are_never_answered_are_forgotten() {
        let mut out = Outbox::default();
        let peer = PeerId::new("a");
        for second in 0..1_000 {
            let generation = out.open(&peer);
            out.close(&peer, generation, Timestamp::from_millis(second * 1_000));
        }
        assert_eq!(out.closing.len(), 10);
    }

    #[test]
    #[should_panic(expected = "an order names a closed generation")]
    fn an_order_to_a_closed_generation_is_a_defect() {
        let mut out = Outbox::default();
        let peer = PeerId::new("a");
        let generation = out.open(&peer);
        out.close(&peer, generation, Timestamp::default());
        out.order(&peer, generation, PeerOrder::RequestKeyframe);
    }
}
