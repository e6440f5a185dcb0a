//! Several rooms, and browsers in the manner of the application's two generations, over a fake server and fake connections,
//! in virtual time. The fakes are strict: an order that a real connection would refuse makes the test fail.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use huddled::room::*;

use super::bench::{MEETING, settings};

/// SplitMix64, as everywhere: the same seed, the same world.
#[derive(Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// Who sits at one end.
pub(super) enum Program {
    Box(Box<Room>),
    Browser(Browser),
}

/// A browser of generation V1 (`webrtc:*`, offers on ready) or V2 (`media:*`, only the greater id offers).
pub(super) struct Browser {
    v1: bool,
    camera: bool,
    connections: BTreeMap<PeerId, usize>,
    attempts: BTreeMap<PeerId, u32>,
}

pub(super) struct Member {
    pub(super) id: PeerId,
    pub(super) program: Program,
    /// The connection to the server, if there is one.
    socket: Option<u64>,
    session: SessionId,
    /// The server knows it as joined.
    online: bool,
    generations: BTreeMap<Generation, usize>,
    /// What each generation was opened for, to find orders to closed ones.
    pub(super) exited: bool,
    pub(super) muted_at_server: Option<bool>,
    timer: Option<Timestamp>,
    /// Somebody in the room pressed since the microphone was closed last (or it started open).
    may_open: bool,
    /// What the disk says about the microphone.
    disk_muted: bool,
    disk_free: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Signaling {
    Stable,
    HaveLocalOffer(NegotiationId, u64),
}

/// One end of a peer connection.
struct End {
    member: usize,
    remote: PeerId,
    generation: Generation,
    signaling: Signaling,
    /// Descriptions in force: own, and the peer's (end, description).
    local: Option<u64>,
    remote_end: Option<usize>,
    remote_description: Option<u64>,
    state: ConnectionState,
    changed: Timestamp,
    closed: bool,
}

#[derive(Clone, Debug)]
enum Delivery {
    /// A report of a shell of this member.
    Fact(usize, Event),
    /// A message reaches the server over this socket.
    AtServer(usize, u64, ClientMessage),
    /// A message reaches a member over this socket.
    AtMember(usize, u64, ServerMessage),
    OpenDone(usize, SessionId),
    /// The server handles a join.
    JoinDone(usize, u64),
    /// An end's state may have changed.
    Look(usize),
    BrowserCamera(usize),
    BrowserRetry(usize, PeerId),
}

pub(super) struct World {
    pub(super) now: Timestamp,
    pub(super) dice: Dice,
    pub(super) members: Vec<Member>,
    queue: BTreeMap<(Timestamp, u64), Delivery>,
    sequence: u64,
    ends: Vec<End>,
    last_description: u64,
    last_socket: u64,
    pub(super) server_up: bool,
    /// The server accepts and then says nothing.
    pub(super) server_silent: bool,
    /// Relays copies, as two gateways do.
    pub(super) duplicates: bool,
    /// Pairs without a path.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Members that cannot reach the server.
    pub(super) offline: BTreeSet<usize>,
    pub(super) effects: u64,
    pub(super) trace: VecDeque<String>,
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Text of a description: which end made it, which number it has, which description it answers.
fn write_sdp(end: usize, description: u64, from_box: bool) -> Sdp {
    let tool = if from_box { "a=tool:huddled\r\n" } else { "" };
    Sdp::new(&format!(
        "v=0\r\no=- {end} {description} IN IP4 0.0.0.0\r\ns=-\r\n{tool}a=fingerprint:sha-256 E{end}\r\n\
         a=ice-ufrag:u{description}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\n"
    ))
}

fn read_sdp(sdp: &Sdp) -> Option<(usize, u64)> {
    let origin = sdp
        .as_str()
        .lines()
        .find_map(|line| line.strip_prefix("o=- "))?;
    let mut words = origin.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Timestamp::from_millis(50_000),
            dice: Dice(seed),
            members: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            ends: Vec::new(),
            last_description: 0,
            last_socket: 0,
            server_up: true,
            server_silent: false,
            duplicates: false,
            cut: BTreeSet::new(),
            offline: BTreeSet::new(),
            effects: 0,
            trace: VecDeque::new(),
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if self.trace.len() == 400 {
            self.trace.pop_front();
        }
        let text = format!("{:?} {}", self.now, text());
        if std::env::var_os("SIM_TRACE").is_some() {
            println!("{text}");
        }
        self.trace.push_back(text);
    }

    fn later(&mut self, after: Duration, delivery: Delivery) {
        self.sequence += 1;
        self.queue
            .insert((self.now + after, self.sequence), delivery);
    }

    fn member_settings(id: &str) -> RoomSettings {
        RoomSettings {
            identity: Some(Identity {
                meeting: MEETING.into(),
                user: PeerId::new(id),
            }),
            ..settings()
        }
    }

    fn add(&mut self, id: &str, program: Program) -> usize {
        self.members.push(Member {
            id: PeerId::new(id),
            program,
            socket: None,
            session: SessionId(0),
            online: false,
            generations: BTreeMap::new(),
            exited: false,
            muted_at_server: None,
            timer: None,
            may_open: true,
            disk_muted: false,
            disk_free: Timestamp::default(),
        });
        self.members.len() - 1
    }

    pub(super) fn add_box(&mut self, id: &str) -> usize {
        let room = Room::new(Self::member_settings(id), self.dice.roll(1 << 40), self.now);
        let index = self.add(id, Program::Box(Box::new(room)));
        self.start_box(index);
        index
    }

    /// Starts with what its disk says.
    fn start_box(&mut self, index: usize) {
        let muted = self.members[index].disk_muted;
        self.fact(
            index,
            Event::Started {
                persisted: Persisted::Known(PersistedState {
                    muted,
                    camera_off: false,
                    place: settings().place,
                }),
            },
        );
    }

    /// kill -9 and a fresh start.
    pub(super) fn reboot_box(&mut self, index: usize) {
        self.note(|| format!("{index} reboots"));
        self.drop_socket(index);
        for end in 0..self.ends.len() {
            if self.ends[end].member == index {
                self.ends[end].closed = true;
                self.look_at_peers_of(end);
            }
        }
        self.queue.retain(
            |_, delivery| !matches!(delivery, Delivery::Fact(m, _) | Delivery::OpenDone(m, _) if *m == index),
        );
        let id = self.members[index].id.clone();
        let room = Room::new(
            Self::member_settings(id.as_str()),
            self.dice.roll(1 << 40),
            self.now,
        );
        let member = &mut self.members[index];
        member.program = Program::Box(Box::new(room));
        member.generations.clear();
        member.exited = false;
        member.may_open = true;
        self.start_box(index);
    }

    /// A browser opens the page; its camera runs after `camera` ms.
    pub(super) fn add_browser(&mut self, id: &str, v1: bool, camera: u64) -> usize {
        let index = self.add(
            id,
            Program::Browser(Browser {
                v1,
                camera: false,
                connections: BTreeMap::new(),
                attempts: BTreeMap::new(),
            }),
        );
        self.open_page(index, camera);
        index
    }

    fn open_page(&mut self, index: usize, camera: u64) {
        self.last_socket += 1;
        let socket = self.last_socket;
        self.members[index].socket = Some(socket);
        self.later(millis(40), Delivery::JoinDone(index, socket));
        self.later(millis(60 + camera), Delivery::BrowserCamera(index));
    }

    /// The page is loaded anew: its connections are gone without a word.
    pub(super) fn reload_page(&mut self, index: usize, camera: u64) {
        self.note(|| format!("{index} reloads"));
        self.drop_socket(index);
        for end in 0..self.ends.len() {
            if self.ends[end].member == index && !self.ends[end].closed {
                self.ends[end].closed = true;
                self.look_at_peers_of(end);
            }
        }
        if let Program::Browser(browser) = &mut self.members[index].program {
            browser.camera = false;
            browser.connections.clear();
            browser.attempts.clear();
        }
        self.open_page(index, camera);
    }

    /// A finger on the button.
    pub(super) fn press(&mut self, index: usize, button: Button) {
        self.members[index].may_open |= button == Button::Mic;
        self.fact(
            index,
            Event::CommandReceived {
                request: RequestId(0),
                command: Command::Press(button),
                source: Source::Panel,
            },
        );
    }

    // ---- running

    pub(super) fn fact(&mut self, index: usize, event: Event) {
        if self.members[index].exited {
            return;
        }
        let Program::Box(room) = &mut self.members[index].program else {
            return;
        };
        let before = room.snapshot().generation;
        room.handle_event(event, self.now);
        assert!(room.snapshot().generation >= before);
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        loop {
            let Program::Box(room) = &mut self.members[index].program else {
                return;
            };
            let Some(effect) = room.poll_effect() else {
                self.members[index].timer = room.poll_timeout().map(|(at, _)| at);
                return;
            };
            self.effects += 1;
            self.obey(index, effect);
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, for_ms: u64) {
        let until = self.now + millis(for_ms);
        loop {
            let timer = self
                .members
                .iter()
                .enumerate()
                .filter_map(|(index, member)| member.timer.map(|at| (at, index)))
                .min();
            let queued = self.queue.keys().next().map(|(at, _)| *at);
            match (timer, queued) {
                (Some((at, index)), queued) if at <= until && queued.is_none_or(|q| at <= q) => {
                    self.now = self.now.max(at);
                    if let Program::Box(room) = &mut self.members[index].program {
                        room.handle_timeout(self.now);
                    }
                    self.drain(index);
                }
                (_, Some(at)) if at <= until => {
                    self.now = self.now.max(at);
                    if let Some((_, delivery)) = self.queue.pop_first() {
                        self.deliver(delivery);
                    }
                }
                _ => break,
            }
        }
        self.now = until;
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Fact(index, event) => {
                let stale = match &event {
                    // A closed connection reports nothing but `Closed`.
                    Event::Peer {
                        generation, event, ..
                    } if *event != PeerEvent::Closed => self.members[index]
                        .generations
                        .get(generation)
                        .is_none_or(|end| self.ends[*end].closed),
                    _ => false,
                };
                if !stale {
                    self.note(|| format!("{index} <- {event:?}"));
                    self.fact(index, event);
                }
            }
            Delivery::OpenDone(index, session) => self.open_done(index, session),
            Delivery::AtServer(index, socket, message) => {
                if self.members[index].socket == Some(socket) && !self.server_silent {
                    self.server_handles(index, socket, message);
                }
            }
            Delivery::AtMember(index, socket, message) => {
                if self.members[index].socket == Some(socket) {
                    self.note(|| format!("{index} <~ {message:?}"));
                    match self.members[index].program {
                        Program::Box(_) => {
                            let session = self.members[index].session;
                            self.fact(index, Event::MessageReceived { session, message });
                        }
                        Program::Browser(_) => self.browser_hears(index, message),
                    }
                }
            }
            Delivery::JoinDone(index, socket) => {
                if self.members[index].socket == Some(socket) && !self.server_silent {
                    self.join_done(index);
                }
            }
            Delivery::Look(end) => self.look(end),
            Delivery::BrowserCamera(index) => self.browser_camera(index),
            Delivery::BrowserRetry(index, peer) => self.browser_retry(index, &peer),
        }
    }

    // ---- the shells of a box

    fn obey(&mut self, index: usize, effect: Effect) {
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
                    assert!(!member.disk_muted, "open is on the disk before it opens");
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
                assert!(state.muted || sync || !member.disk_muted, "open is synced");
                member.disk_muted = state.muted;
                let after = 5 + self.dice.roll(200);
                // The disk answers in order.
                self.members[index].disk_free =
                    self.members[index].disk_free.max(self.now + millis(after));
                let after = self.members[index].disk_free.since(self.now);
                self.later(
                    after,
                    Delivery::Fact(index, Event::StatePersisted { state, error: None }),
                );
            }
            Effect::Exit => self.members[index].exited = true,
            Effect::Notify(_)
            | Effect::OrderKeyframe
            | Effect::SetLed { .. }
            | Effect::Publish(_)
            | Effect::Reply { .. }
            | Effect::ReportReady
            | Effect::ReportStatus(_)
            | Effect::FeedWatchdog => {}
        }
    }

    fn report(&mut self, end: usize, after: u64, event: PeerEvent) {
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

    fn new_end(&mut self, member: usize, remote: &PeerId, generation: Generation) -> usize {
        self.ends.push(End {
            member,
            remote: remote.clone(),
            generation,
            signaling: Signaling::Stable,
            local: None,
            remote_end: None,
            remote_description: None,
            state: ConnectionState::New,
            changed: self.now,
            closed: false,
        });
        self.ends.len() - 1
    }

    fn describe(&mut self, end: usize) -> (u64, Sdp) {
        self.last_description += 1;
        let from_box = matches!(self.members[self.ends[end].member].program, Program::Box(_));
        (
            self.last_description,
            write_sdp(end, self.last_description, from_box),
        )
    }

    fn apply_remote(&mut self, end: usize, sdp: &Sdp) -> bool {
        let Some((remote_end, description)) = read_sdp(sdp) else {
            return false;
        };
        self.ends[end].remote_end = Some(remote_end);
        self.ends[end].remote_description = Some(description);
        true
    }

    fn obey_peer(&mut self, index: usize, peer: &PeerId, generation: Generation, order: PeerOrder) {
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
            PeerOrder::CreateOffer { negotiation, .. } => {
                assert_eq!(self.ends[end].signaling, Signaling::Stable);
                let (description, sdp) = self.describe(end);
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
                let (description, sdp) = self.describe(end);
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
                self.report(end, 2, PeerEvent::RolledBack { negotiation });
            }
            PeerOrder::AddCandidate(_) => assert!(
                self.ends[end].remote_description.is_some(),
                "a candidate needs a remote description"
            ),
            PeerOrder::RequestKeyframe => {}
            PeerOrder::Close => {
                self.ends[end].closed = true;
                self.report(end, 10, PeerEvent::Closed);
                self.look_at_peers_of(end);
            }
        }
    }

    fn gather(&mut self, end: usize, negotiation: NegotiationId) {
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

    fn look_later(&mut self, end: usize) {
        self.later(millis(80), Delivery::Look(end));
        if let Some(remote) = self.ends[end].remote_end {
            self.later(millis(80), Delivery::Look(remote));
        }
    }

    fn look_at_peers_of(&mut self, end: usize) {
        for other in 0..self.ends.len() {
            if self.ends[other].remote_end == Some(end) {
                self.later(millis(2_300), Delivery::Look(other));
                self.later(millis(10_400), Delivery::Look(other));
            }
        }
    }

    /// Cuts or heals the path between two members.
    pub(super) fn set_path(&mut self, a: usize, b: usize, up: bool) {
        let pair = (a.min(b), a.max(b));
        if up {
            self.cut.remove(&pair);
        } else {
            self.cut.insert(pair);
        }
        for end in 0..self.ends.len() {
            if !self.ends[end].closed {
                for after in [100, 2_300, 10_400] {
                    self.later(millis(after), Delivery::Look(end));
                }
            }
        }
    }

    fn is_linked(&self, end: usize) -> bool {
        let near = &self.ends[end];
        let Some(far) = near.remote_end.and_then(|far| self.ends.get(far)) else {
            return false;
        };
        let pair = (near.member.min(far.member), near.member.max(far.member));
        // A repeated answer or a renegotiation keeps fingerprint and ICE credentials, so ends count and not descriptions.
        !near.closed
            && !far.closed
            && far.remote_end == Some(end)
            && near.local.is_some()
            && far.local.is_some()
            && !self.cut.contains(&pair)
    }

    fn look(&mut self, end: usize) {
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
            (ConnectionState::Disconnected, false) if lost_for >= millis(8_000) => {
                ConnectionState::Failed
            }
            (ConnectionState::New, false) if self.ends[end].remote_end.is_some() => {
                ConnectionState::Connecting
            }
            (_, false) => state,
        };
        if next == ConnectionState::Disconnected && state != next {
            self.later(millis(8_000), Delivery::Look(end));
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
    }

    // ---- the server

    fn open_done(&mut self, index: usize, session: SessionId) {
        if self.members[index].session != session || self.members[index].socket.is_some() {
            return;
        }
        if self.server_up && !self.offline.contains(&index) {
            self.last_socket += 1;
            self.members[index].socket = Some(self.last_socket);
            self.fact(index, Event::SignalingOpened { session });
        } else {
            let failure = SignalingFailure::Unreachable {
                message: "connecting: refused".into(),
            };
            self.fact(index, Event::SignalingClosed { session, failure });
        }
    }

    fn send_to(&mut self, index: usize, message: ServerMessage) {
        if let Some(socket) = self.members[index].socket
            && !self.server_silent
        {
            self.later(millis(5), Delivery::AtMember(index, socket, message));
        }
    }

    fn broadcast(&mut self, from: usize, with_sender: bool, message: &ServerMessage) {
        for index in 0..self.members.len() {
            if self.members[index].online && (with_sender || index != from) {
                self.send_to(index, message.clone());
            }
        }
    }

    fn row_of(&self, index: usize) -> Participant {
        Participant {
            user: self.members[index].id.clone(),
            name: None,
            muted: self.members[index].muted_at_server,
            video_off: None,
        }
    }

    fn join_done(&mut self, index: usize) {
        let user = self.members[index].id.clone();
        if !self.members[index].online {
            self.members[index].online = true;
            let row = self.row_of(index);
            self.broadcast(index, false, &ServerMessage::UserJoined(row));
            let rows = (0..self.members.len())
                .filter(|other| self.members[*other].online)
                .map(|other| self.row_of(other))
                .collect();
            self.send_to(index, ServerMessage::Participants(rows));
        }
        self.send_to(index, ServerMessage::Joined { user });
    }

    fn go_offline(&mut self, index: usize) {
        if self.members[index].online {
            let user = self.members[index].id.clone();
            self.broadcast(index, true, &ServerMessage::UserLeft { user });
            self.members[index].online = false;
        }
    }

    /// The connection to the server is gone on both sides.
    fn drop_socket(&mut self, index: usize) {
        self.members[index].socket = None;
        self.go_offline(index);
    }

    /// A member loses its connection to the server, which both notice.
    pub(super) fn lose_server(&mut self, index: usize) {
        self.note(|| format!("{index} loses the server"));
        if self.members[index].socket.is_none() {
            return;
        }
        self.drop_socket(index);
        match self.members[index].program {
            Program::Box(_) => {
                let session = self.members[index].session;
                let failure = SignalingFailure::Unreachable {
                    message: "connection reset".into(),
                };
                self.fact(index, Event::SignalingClosed { session, failure });
            }
            // The browser's client connects again by itself; its connections live on.
            Program::Browser(_) => self.open_page(index, 200),
        }
    }

    /// The server notices an old connection of a member that has long been back.
    pub(super) fn own_ghost(&mut self, index: usize) {
        self.note(|| format!("{index} is taken offline by its ghost"));
        self.go_offline(index);
        let user = self.members[index].id.clone();
        self.send_to(index, ServerMessage::UserLeft { user });
    }

    pub(super) fn restart_server(&mut self) {
        self.note(|| "the server restarts".into());
        for index in 0..self.members.len() {
            self.members[index].online = false;
        }
        for index in 0..self.members.len() {
            self.lose_server(index);
        }
    }

    pub(super) fn host_order(&mut self, index: usize, muted: bool) {
        let user = self.members[index].id.clone();
        self.members[index].muted_at_server = Some(muted);
        self.broadcast(index, true, &ServerMessage::UserMuted { user, muted });
    }

    /// Any message to one member, as a server or another member might send it.
    pub(super) fn inject(&mut self, index: usize, message: ServerMessage) {
        self.send_to(index, message);
    }

    fn unicast(&mut self, target: &PeerId, message: ServerMessage) {
        let found = self
            .members
            .iter()
            .position(|member| member.id == *target && member.online);
        if let Some(index) = found {
            if self.duplicates && self.dice.roll(3) == 0 {
                self.send_to(index, message.clone());
            }
            self.send_to(index, message);
        }
    }

    fn server_handles(&mut self, index: usize, socket: u64, message: ClientMessage) {
        let user = self.members[index].id.clone();
        if message == ClientMessage::Join {
            self.later(millis(35), Delivery::JoinDone(index, socket));
            return;
        }
        if !self.members[index].online {
            return;
        }
        let room = |dialect| (dialect == Dialect::Media).then(|| MEETING.to_owned());
        match message {
            ClientMessage::Join => {}
            ClientMessage::Leave => {
                self.go_offline(index);
                self.send_to(index, ServerMessage::UserLeft { user });
            }
            ClientMessage::RequestPeers => {
                for other in 0..self.members.len() {
                    if other != index && self.members[other].online {
                        let row = self.row_of(other);
                        self.send_to(index, ServerMessage::UserJoined(row));
                    }
                }
            }
            ClientMessage::Ready { dialect } => {
                let message = ServerMessage::PeerReady { user, dialect };
                self.broadcast(index, false, &message);
                if self.duplicates {
                    self.broadcast(index, false, &message);
                }
            }
            ClientMessage::Offer {
                target,
                sdp,
                dialect,
            } => self.unicast(
                &target,
                ServerMessage::Offer {
                    from: user,
                    sdp,
                    dialect,
                    room: room(dialect),
                },
            ),
            ClientMessage::Answer {
                target,
                sdp,
                dialect,
            } => self.unicast(
                &target,
                ServerMessage::Answer {
                    from: user,
                    sdp,
                    dialect,
                    room: room(dialect),
                },
            ),
            ClientMessage::Candidate {
                target,
                candidate,
                dialect,
            } => self.unicast(
                &target,
                ServerMessage::Candidate {
                    from: user,
                    candidate,
                    dialect,
                    room: room(dialect),
                },
            ),
            ClientMessage::ToggleMic { muted } => {
                self.members[index].muted_at_server = Some(muted);
                self.broadcast(index, true, &ServerMessage::UserMuted { user, muted });
            }
            ClientMessage::ToggleVideo { video_off } => {
                self.broadcast(
                    index,
                    true,
                    &ServerMessage::UserVideoOff { user, video_off },
                );
            }
            ClientMessage::ScreenShare { sharing } => {
                self.broadcast(
                    index,
                    true,
                    &ServerMessage::UserScreenShare { user, sharing },
                );
            }
        }
    }

    // ---- browsers, with the defects that matter here

    fn browser(&mut self, index: usize) -> &mut Browser {
        match &mut self.members[index].program {
            Program::Browser(browser) => browser,
            Program::Box(_) => panic!("{index} is a box"),
        }
    }

    fn browser_says(&mut self, index: usize, message: ClientMessage) {
        if let Some(socket) = self.members[index].socket {
            self.note(|| format!("{index} (browser) ~> {message:?}"));
            self.later(millis(5), Delivery::AtServer(index, socket, message));
        }
    }

    fn browser_dialect(&mut self, index: usize) -> Dialect {
        if self.browser(index).v1 {
            Dialect::Webrtc
        } else {
            Dialect::Media
        }
    }

    fn browser_camera(&mut self, index: usize) {
        self.browser(index).camera = true;
        let dialect = self.browser_dialect(index);
        self.browser_says(index, ClientMessage::Ready { dialect });
        self.browser_says(index, ClientMessage::RequestPeers);
    }

    fn browser_open(&mut self, index: usize, peer: &PeerId) -> usize {
        let end = self.new_end(index, peer, Generation(0));
        self.browser(index).connections.insert(peer.clone(), end);
        end
    }

    fn browser_offer(&mut self, index: usize, peer: &PeerId) {
        let end = self.browser(index).connections[peer];
        let (description, sdp) = self.describe(end);
        self.ends[end].signaling = Signaling::HaveLocalOffer(NegotiationId(0), description);
        let dialect = self.browser_dialect(index);
        let target = peer.clone();
        self.browser_says(
            index,
            ClientMessage::Offer {
                target,
                sdp,
                dialect,
            },
        );
    }

    fn browser_meets(&mut self, index: usize, peer: &PeerId) {
        let browser = self.browser(index);
        if !browser.camera {
            return;
        }
        if browser.v1 {
            // A new connection replaces an older one, which is left open.
            self.browser_open(index, peer);
            self.browser_offer(index, peer);
        } else if !browser.connections.contains_key(peer) {
            self.browser_open(index, peer);
            if self.members[index].id > *peer {
                self.browser_offer(index, peer);
            }
        }
    }

    fn browser_close(&mut self, index: usize, peer: &PeerId) {
        if let Some(end) = self.browser(index).connections.remove(peer) {
            self.ends[end].closed = true;
            self.look_at_peers_of(end);
        }
    }

    fn browser_hears(&mut self, index: usize, message: ServerMessage) {
        let own = self.browser_dialect(index);
        let v1 = self.browser(index).v1;
        match message {
            ServerMessage::UserJoined(row) if !v1 => self.browser_meets(index, &row.user),
            ServerMessage::PeerReady { user, dialect } if dialect == own => {
                self.browser_meets(index, &user);
            }
            ServerMessage::UserLeft { user } => self.browser_close(index, &user),
            ServerMessage::Offer {
                from, sdp, dialect, ..
            } if dialect == own => self.browser_takes_offer(index, &from, &sdp),
            ServerMessage::Answer {
                from, sdp, dialect, ..
            } if dialect == own => {
                if let Some(&end) = self.browser(index).connections.get(&from)
                    && let Signaling::HaveLocalOffer(_, description) = self.ends[end].signaling
                    && self.apply_remote(end, &sdp)
                {
                    self.ends[end].signaling = Signaling::Stable;
                    self.ends[end].local = Some(description);
                    self.look_later(end);
                }
            }
            _ => {}
        }
    }

    fn browser_takes_offer(&mut self, index: usize, from: &PeerId, sdp: &Sdp) {
        let v1 = self.browser(index).v1;
        let mut end = match self.browser(index).connections.get(from) {
            Some(end) => *end,
            None if v1 => self.browser_open(index, from),
            // V2 throws away what comes from somebody it has no connection for.
            None => return,
        };
        if self.ends[end].signaling != Signaling::Stable {
            if v1 {
                self.browser_close(index, from);
                end = self.browser_open(index, from);
            } else if self.members[index].id > *from {
                self.ends[end].signaling = Signaling::Stable;
            } else {
                return;
            }
        }
        if !self.apply_remote(end, sdp) {
            return;
        }
        let (description, answer) = self.describe(end);
        self.ends[end].local = Some(description);
        self.look_later(end);
        let dialect = self.browser_dialect(index);
        let message = ClientMessage::Answer {
            target: from.clone(),
            sdp: answer,
            dialect,
        };
        if self.duplicates && !v1 {
            // F2-mid answers twice.
            self.browser_says(index, message.clone());
        }
        self.browser_says(index, message);
    }

    fn browser_state(&mut self, index: usize, end: usize, state: ConnectionState) {
        let peer = self.ends[end].remote.clone();
        if self.browser(index).connections.get(&peer) != Some(&end) {
            return;
        }
        if state == ConnectionState::Connected {
            self.browser(index).attempts.remove(&peer);
        } else if state == ConnectionState::Failed {
            let attempts = self
                .browser(index)
                .attempts
                .entry(peer.clone())
                .or_default();
            *attempts += 1;
            if *attempts <= 3 {
                let wait = 500 << *attempts;
                self.later(millis(wait), Delivery::BrowserRetry(index, peer));
            }
        }
    }

    fn browser_retry(&mut self, index: usize, peer: &PeerId) {
        self.browser_close(index, peer);
        let end = self.browser_open(index, peer);
        let _ = end;
        if self.browser(index).v1 || self.members[index].id > *peer {
            self.browser_offer(index, peer);
        }
    }

    // ---- looking

    #[track_caller]
    pub(super) fn room(&self, index: usize) -> &Room {
        match &self.members[index].program {
            Program::Box(room) => room,
            Program::Browser(_) => panic!("{index} is a browser"),
        }
    }

    fn sees(&self, index: usize, peer: &PeerId) -> bool {
        match &self.members[index].program {
            Program::Box(room) => room.snapshot().peers.iter().any(|p| {
                p.user == *peer
                    && p.connection_state == ConnectionState::Connected
                    && p.phase == PeerPhase::Connected
            }),
            Program::Browser(browser) => browser
                .connections
                .get(peer)
                .is_some_and(|end| self.ends[*end].state == ConnectionState::Connected),
        }
    }

    /// Who of these does not see whom; pairs of two browsers are none of our business.
    pub(super) fn missing(&self, among: &[usize]) -> Vec<(usize, usize)> {
        let mut missing = Vec::new();
        for &a in among {
            for &b in among {
                let two_browsers = matches!(self.members[a].program, Program::Browser(_))
                    && matches!(self.members[b].program, Program::Browser(_));
                if a != b && !two_browsers && !self.sees(a, &self.members[b].id) {
                    missing.push((a, b));
                }
            }
        }
        missing
    }

    /// Runs until everybody sees everybody; gives the time it took.
    #[track_caller]
    pub(super) fn run_until_whole(&mut self, among: &[usize], limit_ms: u64) -> u64 {
        let mut passed = 0;
        while !self.missing(among).is_empty() {
            if passed >= limit_ms {
                for line in &self.trace {
                    println!("{line}");
                }
                panic!(
                    "after {limit_ms} ms these do not see each other: {:?}",
                    self.missing(among)
                );
            }
            self.run(50);
            passed += 50;
        }
        passed
    }

    /// How many ends are open for one member.
    pub(super) fn open_ends(&self, index: usize) -> usize {
        self.ends
            .iter()
            .filter(|end| end.member == index && !end.closed)
            .count()
    }
}
