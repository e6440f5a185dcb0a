//! Two boxes' worth of `Peers` whose signaling is a function call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use huddled::devices::DeviceError;
use huddled::events::EventSender;
use huddled::media::fanout::Fanout;
use huddled::media::inbound::Inbound;
use huddled::media::{EncodedAudio, EncodedVideo};
use huddled::room::{
    ConnectionState, Event, Generation, NegotiationId, PeerEvent, PeerId, PeerOrder, Sdp, Timestamp,
};
use huddled::rtc::{PeerHealth, Peers, RtcSettings};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Far more than anything here takes, also on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// One side: a box that knows the other one under the name "other".
pub(crate) struct Side {
    pub(crate) peers: Peers,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) generation: Generation,
    /// Everything reported, in order.
    pub(crate) seen: Vec<PeerEvent>,
    pub(crate) inbound: Inbound,
    events: mpsc::Receiver<Event>,
}

impl Side {
    pub(crate) fn new() -> Self {
        let (sender, events) = EventSender::channel();
        let fanout = Fanout::new();
        let no_speaker = || {
            Err(DeviceError::Misconfigured {
                device: "none".to_owned(),
                reason: "this bench has no speaker".to_owned(),
            })
        };
        let inbound = Inbound::spawn(Box::new(no_speaker));
        let peers = Peers::new(
            RtcSettings::default(),
            Arc::clone(&fanout),
            inbound.clone(),
            sender,
        );
        Self {
            peers,
            fanout,
            generation: Generation(1),
            seen: Vec::new(),
            inbound,
            events,
        }
    }

    pub(crate) fn order(&mut self, order: PeerOrder) {
        self.peers
            .order(PeerId::new("other"), self.generation, order);
    }

    pub(crate) fn offer(&mut self, negotiation: u64, ice_restart: bool) {
        self.order(PeerOrder::CreateOffer {
            negotiation: NegotiationId(negotiation),
            ice_restart,
        });
    }

    pub(crate) fn health(&self) -> Option<PeerHealth> {
        self.peers.health().into_iter().next()
    }

    pub(crate) fn state(&self) -> ConnectionState {
        let states = self.seen.iter().rev();
        states
            .filter_map(|event| match event {
                PeerEvent::ConnectionState(state) => Some(*state),
                _ => None,
            })
            .next()
            .unwrap_or_default()
    }

    pub(crate) fn count(&self, matching: impl Fn(&PeerEvent) -> bool) -> usize {
        self.seen.iter().filter(|event| matching(event)).count()
    }

    /// The next event, which must come.
    pub(crate) async fn next(&mut self) -> PeerEvent {
        let event = tokio::time::timeout(LIMIT, self.events.recv())
            .await
            .expect("an event is due")
            .expect("the sender lives");
        self.record(event)
    }

    /// Waits for an event like this.
    pub(crate) async fn until(&mut self, matching: impl Fn(&PeerEvent) -> bool) -> PeerEvent {
        loop {
            let event = self.next().await;
            if matching(&event) {
                return event;
            }
        }
    }

    pub(crate) fn pending(&mut self) -> Option<PeerEvent> {
        let event = self.events.try_recv().ok()?;
        Some(self.record(event))
    }

    fn record(&mut self, event: Event) -> PeerEvent {
        let Event::Peer {
            peer,
            generation,
            event,
        } = event
        else {
            panic!("only peer events come from here: {event:?}");
        };
        assert_eq!(peer, PeerId::new("other"));
        assert_eq!(generation, self.generation, "{event:?}");
        self.seen.push(event.clone());
        event
    }
}

/// Passes what one side reports to the other, as the room and the server would.
fn relay(event: &PeerEvent, to: &mut Side) {
    match event {
        PeerEvent::OfferCreated { negotiation, sdp } => to.order(PeerOrder::AcceptOffer {
            negotiation: *negotiation,
            sdp: sdp.clone(),
        }),
        PeerEvent::AnswerCreated { negotiation, sdp } => to.order(PeerOrder::AcceptAnswer {
            negotiation: *negotiation,
            sdp: sdp.clone(),
        }),
        PeerEvent::LocalCandidate { candidate, .. } => {
            to.order(PeerOrder::AddCandidate(candidate.clone()));
        }
        PeerEvent::SessionDied { message } => panic!("{message}"),
        _ => {}
    }
}

/// Two boxes.
pub(crate) struct Pair {
    pub(crate) a: Side,
    pub(crate) b: Side,
}

impl Pair {
    /// Opened, not negotiated.
    pub(crate) fn open() -> Self {
        let mut pair = Self {
            a: Side::new(),
            b: Side::new(),
        };
        pair.a.order(PeerOrder::Open);
        pair.b.order(PeerOrder::Open);
        pair
    }

    /// Connected, with an offer of `a`.
    pub(crate) async fn connected() -> Self {
        let mut pair = Self::open();
        pair.a.offer(1, false);
        pair.run(|pair| {
            pair.a.state() == ConnectionState::Connected
                && pair.b.state() == ConnectionState::Connected
        })
        .await;
        pair
    }

    /// Relays until `done`; panics at the limit.
    pub(crate) async fn run(&mut self, done: impl Fn(&Self) -> bool) {
        self.run_with(done, |_| {}).await;
    }

    /// Relays until `done`, doing something every 20 ms.
    pub(crate) async fn run_with(
        &mut self,
        done: impl Fn(&Self) -> bool,
        mut tick: impl FnMut(&mut Self),
    ) {
        let deadline = Instant::now() + LIMIT;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !done(self) {
            let waiting = async {
                tokio::select! {
                    Some(event) = self.a.events.recv() => {
                        let event = self.a.record(event);
                        relay(&event, &mut self.b);
                    }
                    Some(event) = self.b.events.recv() => {
                        let event = self.b.record(event);
                        relay(&event, &mut self.a);
                    }
                    _ = ticks.tick() => tick(self),
                }
            };
            if timeout_at(deadline, waiting).await.is_err() || Instant::now() > deadline {
                panic!(
                    "not done in time; a saw {:?}; b saw {:?}",
                    self.a.seen, self.b.seen
                );
            }
        }
    }

    pub(crate) async fn close(mut self) {
        for side in [&mut self.a, &mut self.b] {
            side.order(PeerOrder::Close);
            side.until(|event| *event == PeerEvent::Closed).await;
        }
    }
}

/// A picture of two packets; H.264 in form only.
pub(crate) fn picture(media_time: u32, keyframe: bool) -> EncodedVideo {
    let kind = if keyframe { 0x65 } else { 0x61 };
    let first = Bytes::from(vec![kind, 1, 2, 3]);
    let mut second = vec![kind; 1000];
    second.extend(media_time.to_be_bytes());
    EncodedVideo {
        payloads: Arc::from(vec![first, Bytes::from(second)]),
        media_time,
        keyframe,
        captured_at: Timestamp::default(),
    }
}

pub(crate) fn sound(media_time: u32) -> EncodedAudio {
    EncodedAudio {
        payload: Bytes::from(media_time.to_be_bytes().to_vec()),
        media_time,
        captured_at: Timestamp::default(),
    }
}

/// The description in the latest event that has one.
pub(crate) fn description(seen: &[PeerEvent]) -> Sdp {
    let mut found: VecDeque<Sdp> = seen
        .iter()
        .filter_map(|event| match event {
            PeerEvent::OfferCreated { sdp, .. } | PeerEvent::AnswerCreated { sdp, .. } => {
                Some(sdp.clone())
            }
            _ => None,
        })
        .collect();
    found.pop_back().expect("a description was created")
}
