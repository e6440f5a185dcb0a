//! One `Room` with its shells played by hand.

use std::time::Duration;

use huddled::room::*;

/// Our own id in these stories; `a…` is smaller, `z…` greater.
pub(super) const OWN: &str = "m-box";
pub(super) const MEETING: &str = "meeting-1";

pub(super) fn settings() -> RoomSettings {
    RoomSettings {
        identity: Some(Identity {
            meeting: MEETING.into(),
            user: PeerId::new(OWN),
        }),
        place: "https://server.example/meeting-1".into(),
        first_start: FirstStart::Open,
        panel_simulated: true,
        sim: true,
        unencrypted: false,
        has_camera: true,
        has_screen: false,
        share_on_signal: false,
        recovery: RecoverySettings::default(),
        complaint: None,
    }
}

/// The state file of a box that was left open.
pub(super) fn open_state() -> Persisted {
    Persisted::Known(PersistedState {
        muted: false,
        camera_off: false,
        place: settings().place,
    })
}

pub(super) fn id(text: &str) -> PeerId {
    PeerId::new(text)
}

/// A description of connection `connection`, version `version`.
pub(super) fn sdp(connection: &str, version: u32, from_box: bool) -> Sdp {
    let tool = if from_box { "a=tool:huddled\r\n" } else { "" };
    let print: Vec<String> = connection
        .bytes()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let print = print.join(":");
    Sdp::new(&format!(
        "v=0\r\no=- 1 {version} IN IP4 0.0.0.0\r\ns=-\r\n{tool}a=fingerprint:sha-256 {print}\r\n\
         a=ice-ufrag:{connection}\r\na=ice-pwd:secret\r\n{SECTIONS}"
    ))
}

/// A microphone and a camera.
pub(super) const SECTIONS: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:1\r\na=rtpmap:102 H264/90000\r\n";

pub(super) fn candidate(number: u32, ufrag: Option<&str>) -> IceCandidate {
    IceCandidate {
        candidate: format!("candidate:{number} 1 udp 1 10.0.0.1 {number} typ host"),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        username_fragment: ufrag.map(str::to_owned),
    }
}

pub(super) fn row(user: &str) -> Participant {
    Participant {
        user: id(user),
        name: Shown::name(&format!("Name of {user}")),
        muted: None,
        video_off: None,
    }
}

pub(super) struct Bench {
    pub(super) room: Room,
    pub(super) now: Timestamp,
    /// Orders not yet looked at.
    pub(super) effects: Vec<Effect>,
    /// Pipelines and disk answer by themselves.
    pub(super) answers: bool,
    pub(super) session: SessionId,
}

impl Bench {
    pub(super) fn new(settings: RoomSettings) -> Self {
        let now = Timestamp::from_millis(100_000);
        Self {
            room: Room::new(settings, 1, now),
            now,
            effects: Vec::new(),
            answers: true,
            session: SessionId(0),
        }
    }

    /// Started, connected, joined with these others, announced and echoed; everything until then is taken away.
    pub(super) fn joined(others: &[&str]) -> Self {
        let mut bench = Self::new(settings());
        bench.tell(Event::Started {
            persisted: open_state(),
        });
        bench.join(others);
        bench.echo(false);
        bench.hear(ServerMessage::UserVideoOff {
            user: id(OWN),
            video_off: false,
        });
        bench.take();
        bench
    }

    pub(super) fn join(&mut self, others: &[&str]) {
        self.tell(Event::SignalingOpened {
            session: self.session,
        });
        let mut rows = vec![row(OWN)];
        rows.extend(others.iter().map(|other| row(other)));
        self.hear(ServerMessage::Participants(rows));
        self.hear(ServerMessage::Joined { user: id(OWN) });
    }

    fn drain(&mut self) {
        let mut answers = Vec::new();
        while let Some(effect) = self.room.poll_effect() {
            if let Effect::OpenSignaling { session } = effect {
                self.session = session;
            }
            if self.answers {
                if let Effect::SetMicrophone { muted } = effect {
                    answers.push(Event::MicrophoneConfirmed { muted });
                } else if let Effect::SetCamera { off } = effect {
                    answers.push(Event::CameraConfirmed { off });
                } else if let Effect::PersistState { state, .. } = &effect {
                    answers.push(Event::StatePersisted {
                        state: state.clone(),
                        error: None,
                    });
                }
            }
            self.effects.push(effect);
        }
        for answer in answers {
            self.tell(answer);
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.room.handle_event(event, self.now);
        self.drain();
    }

    pub(super) fn hear(&mut self, message: ServerMessage) {
        self.tell(Event::MessageReceived {
            session: self.session,
            message,
        });
    }

    /// Says of our microphone what the server may: an echo, or a host's order.
    pub(super) fn echo(&mut self, muted: bool) {
        self.hear(ServerMessage::UserMuted {
            user: id(OWN),
            muted,
        });
    }

    pub(super) fn press(&mut self, button: Button) {
        // Far enough from the last one not to be a double press.
        for (pressed, after) in [(true, 500), (false, 100)] {
            self.now = self.now + Duration::from_millis(after);
            self.tell(Event::ButtonEdge {
                button,
                pressed,
                at: self.now,
            });
        }
    }

    /// Lets time pass and every deadline fire in its turn.
    pub(super) fn pass(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while let Some((at, _)) = self.room.poll_timeout().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.room.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// The server talks, so that time may pass without a probe.
    pub(super) fn pass_with_server(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.pass(1000);
            self.tell(Event::ActivitySeen {
                session: self.session,
            });
        }
    }

    /// The orders since the last look.
    pub(super) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The messages sent since the last look.
    pub(super) fn sent(&mut self) -> Vec<ClientMessage> {
        self.take()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Send { message, .. } => Some(message),
                _ => None,
            })
            .collect()
    }

    /// The orders to peers since the last look.
    pub(super) fn orders(&mut self) -> Vec<(String, Generation, PeerOrder)> {
        self.take()
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Peer {
                    peer,
                    generation,
                    order,
                } => Some((peer.as_str().to_owned(), generation, order)),
                _ => None,
            })
            .collect()
    }

    pub(super) fn report(&mut self, peer: &str, generation: Generation, event: PeerEvent) {
        self.tell(Event::Peer {
            peer: id(peer),
            generation,
            event,
        });
    }

    pub(super) fn hear_offer(&mut self, from: &str, sdp: &Sdp, dialect: Dialect) {
        self.hear(ServerMessage::Offer {
            from: id(from),
            sdp: sdp.clone(),
            dialect,
            room: (dialect == Dialect::Media).then(|| MEETING.to_owned()),
        });
    }

    pub(super) fn hear_answer(&mut self, from: &str, sdp: &Sdp, dialect: Dialect) {
        self.hear(ServerMessage::Answer {
            from: id(from),
            sdp: sdp.clone(),
            dialect,
            room: None,
        });
    }

    pub(super) fn hear_ready(&mut self, user: &str, dialect: Dialect) {
        self.hear(ServerMessage::PeerReady {
            user: id(user),
            dialect,
        });
    }

    /// Takes the orders; expects `Open` and `CreateOffer` for this peer.
    #[track_caller]
    pub(super) fn expect_offer_order(&mut self, peer: &str) -> (Generation, NegotiationId) {
        let orders = self.orders();
        let found = orders
            .iter()
            .find_map(|(who, generation, order)| match order {
                PeerOrder::CreateOffer { negotiation, .. } if who == peer => {
                    Some((*generation, *negotiation))
                }
                _ => None,
            });
        found.unwrap_or_else(|| panic!("no offer ordered for {peer}: {orders:?}"))
    }

    /// Takes the orders; expects `AcceptOffer` for this peer.
    #[track_caller]
    pub(super) fn expect_accept_order(&mut self, peer: &str) -> (Generation, NegotiationId) {
        let orders = self.orders();
        let found = orders
            .iter()
            .find_map(|(who, generation, order)| match order {
                PeerOrder::AcceptOffer { negotiation, .. } if who == peer => {
                    Some((*generation, *negotiation))
                }
                _ => None,
            });
        found.unwrap_or_else(|| panic!("no offer accepted from {peer}: {orders:?}"))
    }

    /// A connection to a browser, made from its ready.
    #[track_caller]
    pub(super) fn connect(&mut self, peer: &str) -> Generation {
        self.take();
        self.hear_ready(peer, Dialect::Media);
        let (generation, negotiation) = self.expect_offer_order(peer);
        self.report(
            peer,
            generation,
            PeerEvent::OfferCreated {
                negotiation,
                sdp: sdp("own", 1, true),
            },
        );
        self.hear_answer(peer, &sdp(&format!("{peer}-1"), 1, false), Dialect::Media);
        self.report(peer, generation, PeerEvent::AnswerApplied { negotiation });
        self.connected(peer, generation);
        self.take();
        generation
    }

    /// Answers the first offer of another box and is connected with it.
    pub(super) fn answer_box(&mut self, peer: &str) -> Generation {
        self.hear_offer(peer, &sdp(&format!("{peer}-1"), 1, true), Dialect::Media);
        let (generation, negotiation) = self.expect_accept_order(peer);
        let answered = PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        };
        self.report(peer, generation, answered);
        self.connected(peer, generation);
        generation
    }

    pub(super) fn connected(&mut self, peer: &str, generation: Generation) {
        for state in [ConnectionState::Connecting, ConnectionState::Connected] {
            self.report(peer, generation, PeerEvent::ConnectionState(state));
        }
    }

    /// Something arrives from the server that means nothing else.
    pub(super) fn server_talks(&mut self) {
        self.tell(Event::ActivitySeen {
            session: self.session,
        });
    }

    /// Packets of both streams arrive now.
    pub(super) fn packets(&mut self, peer: &str, generation: Generation) {
        self.arrive(peer, generation, true, true);
    }

    /// Packets of these streams arrive now.
    pub(super) fn arrive(&mut self, peer: &str, generation: Generation, audio: bool, video: bool) {
        let event = PeerEvent::PacketsArrived {
            audio: audio.then_some(self.now),
            video: video.then_some(self.now),
        };
        self.report(peer, generation, event);
    }

    /// Lets time pass while the server talks and packets of these streams arrive, as the shell tells it.
    pub(super) fn flow(
        &mut self,
        peer: &str,
        generation: Generation,
        (audio, video): (bool, bool),
        millis: u64,
    ) {
        for _ in 0..millis / 500 {
            self.pass(500);
            self.arrive(peer, generation, audio, video);
            self.tell(Event::ActivitySeen {
                session: self.session,
            });
        }
    }

    #[track_caller]
    pub(super) fn peer(&self, user: &str) -> PeerSnapshot {
        let snapshot = self.room.snapshot();
        let found = snapshot.peers.iter().find(|peer| peer.user == id(user));
        found
            .unwrap_or_else(|| panic!("{user} is not in the roster"))
            .clone()
    }

    pub(super) fn has_peer(&self, user: &str) -> bool {
        self.room
            .snapshot()
            .peers
            .iter()
            .any(|peer| peer.user == id(user))
    }
}

/// The events published among these orders.
pub(super) fn published(effects: &[Effect]) -> Vec<RoomEvent> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Publish(event) => Some(event.clone()),
            _ => None,
        })
        .collect()
}
