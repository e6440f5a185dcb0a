//! Several rooms, and browsers in the manner of the application's two generations, over a fake server and fake connections,
//! in virtual time. The fakes are strict: an order that a real connection would refuse makes the test fail.

mod browsers;
mod descriptions;
mod faults;
mod looking;
mod server;
mod shells;

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

/// The application's browsers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// `webrtc:*`; offers on ready, whatever the ids.
    V1,
    /// `media:*`; only the greater id offers.
    V2,
    /// Like V2, but says `webrtc:*` and hears both.
    V2Late,
}

pub(super) struct Browser {
    manner: Manner,
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
    pub(super) shared_at_server: Option<bool>,
    timer: Option<Timestamp>,
    /// Its cable is in.
    link: bool,
    /// What waits on both sides of the cut cable, as TCP keeps it.
    stuck: Vec<Delivery>,
    /// Somebody in the room pressed since the microphone was closed last (or it started open).
    may_open: bool,
    /// What the disk says about the microphone.
    pub(super) disk_muted: bool,
    disk_free: Timestamp,
    /// The last write failed.
    disk_failed: bool,
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
    /// ICE credentials in force: own, and the peer's.
    ufrag: u64,
    remote_ufrag: Option<u64>,
    /// Those of our restart offer, which wait for its answer.
    offered_ufrag: Option<u64>,
    /// A restart that says `connected` and brings nothing.
    hollow: bool,
    /// Its next description carries a screen.
    screen: bool,
    /// Its next description has so many m-lines at least.
    sections: usize,
    remote_sections: usize,
    /// When the shell told of packets last.
    told: Timestamp,
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
    /// The shells of a box tell what arrives.
    Flow(usize),
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
    /// Descriptions that carry a screen.
    screens: BTreeSet<u64>,
    last_ufrag: u64,
    last_socket: u64,
    pub(super) server_up: bool,
    /// The server accepts and then says nothing.
    pub(super) server_silent: bool,
    /// Relays copies, as two gateways do.
    pub(super) duplicates: bool,
    /// Sessions forget some of their reports, and disks do not write.
    pub(super) defective: bool,
    /// Pairs without a path.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Packets of media from the first to the second are lost; the checks of the path are not.
    pub(super) deaf: BTreeSet<(usize, usize)>,
    /// ICE restarts succeed in name only.
    pub(super) hollow: bool,
    /// Members that cannot reach the server.
    pub(super) offline: BTreeSet<usize>,
    pub(super) effects: u64,
    pub(super) trace: VecDeque<String>,
    /// Keep the trace; it costs more than everything else.
    pub(super) tracing: bool,
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
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
            screens: BTreeSet::new(),
            last_ufrag: 0,
            last_socket: 0,
            server_up: true,
            server_silent: false,
            duplicates: false,
            defective: false,
            cut: BTreeSet::new(),
            deaf: BTreeSet::new(),
            hollow: false,
            offline: BTreeSet::new(),
            effects: 0,
            trace: VecDeque::new(),
            tracing: true,
        }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        if !self.tracing {
            return;
        }
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
            has_screen: true,
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
            shared_at_server: None,
            timer: None,
            link: true,
            stuck: Vec::new(),
            may_open: true,
            disk_muted: false,
            disk_free: Timestamp::default(),
            disk_failed: false,
        });
        self.members.len() - 1
    }

    pub(super) fn add_box(&mut self, id: &str) -> usize {
        let room = Room::new(Self::member_settings(id), self.dice.roll(1 << 40), self.now);
        let index = self.add(id, Program::Box(Box::new(room)));
        self.later(millis(1_000), Delivery::Flow(index));
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
    pub(super) fn add_browser(&mut self, id: &str, manner: Manner, camera: u64) -> usize {
        let index = self.add(
            id,
            Program::Browser(Browser {
                manner,
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
        if let Delivery::AtServer(index, ..) | Delivery::AtMember(index, ..) = delivery
            && !self.members[index].link
        {
            self.members[index].stuck.push(delivery);
            return;
        }
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
            Delivery::Flow(index) => self.tell_of_packets(index),
            Delivery::BrowserCamera(index) => self.browser_camera(index),
            Delivery::BrowserRetry(index, peer) => self.browser_retry(index, &peer),
        }
    }
}
