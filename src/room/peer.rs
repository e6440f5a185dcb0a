//! One remote member: W3C states observed, our phase decided; first contact, grace, recreation.

mod candidates;
mod connection;
mod flow;
mod ladder;
mod messages;
mod recovery;
mod reports;
mod share;
mod shown;

use std::collections::VecDeque;
use std::time::Duration;

use candidates::RemoteCandidates;
use flow::Flow;
use share::{Carrying, RemoteScreen};

use super::allowance::{Allowance, Rate};
use super::backoff::Rng;
use super::budget::Descriptions;
use super::message::Participant;
use super::negotiation::Negotiation;
use super::outbox::Outbox;
use super::settings::RecoverySettings;
use super::snapshot::PeerPhase;
use super::text::Shown;
use super::types::{
    ConnectionState, Dialect, Generation, IceCandidate, IceConnectionState, PeerId, Sdp, Timestamp,
};

/// With the smaller id we let the peer begin, and begin ourselves if it has not by then.
const LET_BEGIN: Duration = Duration::from_secs(4);
/// A ready repeated within this is the twin of the first: two dialects, two gateways.
const TWIN: Duration = Duration::from_secs(2);
/// From the descriptions exchanged to `connected`.
const ESTABLISH: Duration = Duration::from_secs(15);
/// A connection that does not report what it was ordered within this is lost.
const ORDER_WAIT: Duration = Duration::from_secs(10);
/// How long a connection outlives `meeting:user-left`.
const LEFT_GRACE: Duration = Duration::from_secs(5);
/// How long a member may stay unconfirmed by the server after a join.
const STALE: Duration = Duration::from_secs(5);
/// For how long after a sign of renewal a `disconnected` is believed at once.
const SUSPECT: Duration = Duration::from_secs(10);
/// Within this a server that can be reached gives a sign of life when it is asked.
const ANSWERED: Duration = Duration::from_secs(1);
/// For how long a change of the link, or the loss of a relay, is a second source for a silence.
const PATH_DOUBT: Duration = Duration::from_secs(10);
/// A path that has come back may lose the keyframe that opened it, and a browser asks for another only after 3 s.
const KEYFRAME_AGAIN: Duration = Duration::from_millis(500);
/// How long after its own silence a box does not take up the restart offer of another that was under way meanwhile.
const HEALED: Duration = Duration::from_secs(5);
/// How often it is looked whether the server has given the sign of life a restart waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How much later the box acts whose offer would yield in a collision.
const YIELD_FIRST: Duration = Duration::from_millis(400);
/// A member that never said a thing gets offers at full pace for this long,
const ABSENT_FAST: Duration = Duration::from_secs(25);
/// and then this long after each was given up, which makes one a minute.
const ABSENT_SLOW: Duration = Duration::from_secs(50);

/// Journal lines about a member's unusable descriptions.
const LINES: Rate = Rate {
    burst: 1,
    every: Duration::from_secs(60),
};

/// Two gateways may relay the offers of two connections interleaved, so copies come after newer ones.
const OFFERS: usize = 4;

/// What a peer's methods need of the room.
pub(super) struct Context<'a> {
    pub(super) own: &'a PeerId,
    pub(super) recovery: &'a RecoverySettings,
    /// The machine's link to the network.
    pub(super) link_up: bool,
    /// Connections are to carry our screen.
    pub(super) sharing: bool,
    /// When the server said something last.
    pub(super) heard_at: Timestamp,
    /// When it was heard again after a pause.
    pub(super) resumed_at: Timestamp,
    /// What the members have used of their budgets.
    pub(super) descriptions: &'a mut Descriptions,
    pub(super) rng: &'a mut Rng,
    pub(super) out: &'a mut Outbox,
}

impl Context<'_> {
    /// Whether anything done about a connection could succeed. Else the box waits: an old path heals by itself, and no
    /// attempt is used up.
    fn may_act(&self) -> bool {
        self.link_up && self.out.is_joined()
    }
}

/// Whether the peer is still to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Fate {
    Stays,
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) generation: Generation,
    pub(super) negotiation: Negotiation,
    opened_at: Timestamp,
    establish_until: Option<Timestamp>,
    /// When the report of the last order for a description must have come; counts while one is awaited.
    order_until: Timestamp,
    /// An own offer was made because the peer's had no room for our camera.
    offered_video: bool,
    /// The peer made the offer that was answered first, so it is the one who chooses the path (RFC 8445 section 6.1.1), and an ICE
    /// restart leaves that as it is; `None` before.
    peer_chooses: Option<bool>,
    /// Our screen.
    carrying: Carrying,
    remote_candidates: RemoteCandidates,
}

/// ```text
///                     connected            silent 1.5 s, disconnected
///   Negotiating ──────────────> Connected ──────────────────────────> Interrupted: shown, keyframe asked for
///      │    ^                   ^ ^  ^  ^                               │     │
///      │    │ new offer, ready  │ │  │  └───────── packets ─────────────┘     │ both sources agree, or 3 s:
///      │    └────────┐          │ │  │                                        v act (joined, link up)
///      │             │          │ │  └─ packets: old path healed, or ── Restarting: offer out, old path kept
///      │ no answer,  │          │ │     newer than the answer             │    until it is answered
///      │ failed,     │          │ │                                       │ unanswered 10 s, no packets 3 s,
///      │ too slow    │          │ │ connected and packets                 v failed, died; or a restart was tried
///      └─────────────┼──────────┼─┴───────────────────────────────── Recreating: after 1, 2, 4 s a new generation,
///                    │          │                                       │        explicit offer
///                    │          │ connected and packets                 v attempts used up
///                    └──────────┴────────────────────────────────── Failed: slow attempts for ever
/// ```
/// While the link is down or the server away no deadline of this drawing fires except the first: the box waits.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    id: PeerId,
    name: Option<Shown>,
    muted: bool,
    video_off: bool,
    /// It shares a screen, as far as is known.
    pub(super) sharing: bool,
    screen: RemoteScreen,
    /// The most m-lines of the descriptions exchanged with the connection it has.
    sections: usize,

    pub(super) connection: Option<Connection>,
    dialect: Option<Dialect>,
    is_box: bool,
    /// It sent signaling since we joined, so it is no ghost row.
    heard: bool,
    /// The server named it since we joined.
    confirmed: bool,
    ready_at: Option<Timestamp>,
    /// Remote candidates without their description; the oldest is dropped at the limit.
    early: VecDeque<IceCandidate>,
    /// Its offers taken up last, by whichever connection of ours.
    offers: VecDeque<Sdp>,
    /// Of the answer that came too late and ended a connection; its copies would end the next.
    late_ufrag: Option<String>,

    pub(super) phase: PeerPhase,
    attempt: u32,
    pub(super) state: ConnectionState,
    previous: ConnectionState,
    since: Timestamp,
    ice: IceConnectionState,
    /// `peer-connected` was published and `peer-disconnected` not yet.
    announced: bool,
    /// When the first offer went to a member that never said a thing.
    first_offer_at: Option<Timestamp>,

    /// Its packets over the present connection.
    flow: Flow,
    /// Packets came since it began anew of its own accord, so a recovery of ours must bring them back.
    sends: bool,
    /// An ICE restart of ours was tried in this story.
    restarted: bool,
    /// When the restart was negotiated whose packets are awaited; older ones prove nothing.
    proof_since: Option<Timestamp>,
    path_doubted_at: Option<Timestamp>,
    relay_lost_at: Option<Timestamp>,
    /// When the present silence was noticed: a restart waits for a later sign of life of the server.
    silent_since: Option<Timestamp>,
    /// When a recovered peer gets another keyframe.
    keyframe_at: Option<Timestamp>,
    /// When the old path healed by itself.
    healed_at: Option<Timestamp>,
    /// Lines of the journal about unusable descriptions.
    lines: Allowance,
    /// An offer that waits until then: a box's restart for the old path to heal, another one for the member's budget.
    held: Option<(Timestamp, Sdp, Dialect)>,

    /// The next connection attempt. Waits while the link or the server is away, as do the next two.
    offer_at: Option<Timestamp>,
    /// When something is done about an interruption.
    act_at: Option<Timestamp>,
    /// When the packets that prove a recovery must have come.
    proof_until: Option<Timestamp>,
    leaving_until: Option<Timestamp>,
    stale_until: Option<Timestamp>,
    suspect_until: Option<Timestamp>,
}

impl Peer {
    pub(super) fn new(id: PeerId, now: Timestamp) -> Self {
        Self {
            id,
            name: None,
            muted: false,
            video_off: false,
            sharing: false,
            screen: RemoteScreen::default(),
            sections: 0,
            connection: None,
            dialect: None,
            is_box: false,
            heard: false,
            confirmed: false,
            ready_at: None,
            early: VecDeque::new(),
            offers: VecDeque::new(),
            late_ufrag: None,
            phase: PeerPhase::Negotiating,
            attempt: 0,
            state: ConnectionState::New,
            previous: ConnectionState::New,
            since: now,
            ice: IceConnectionState::New,
            announced: false,
            first_offer_at: None,
            flow: Flow::default(),
            sends: false,
            restarted: false,
            proof_since: None,
            path_doubted_at: None,
            relay_lost_at: None,
            silent_since: None,
            keyframe_at: None,
            healed_at: None,
            lines: Allowance::default(),
            held: None,
            offer_at: None,
            act_at: None,
            proof_until: None,
            leaving_until: None,
            stale_until: None,
            suspect_until: None,
        }
    }

    // ---- what the server says about it

    /// The server named it as a member.
    pub(super) fn on_named(&mut self, row: &Participant, now: Timestamp) {
        if row.name.is_some() {
            self.name.clone_from(&row.name);
        }
        self.muted = row.muted.unwrap_or(self.muted);
        self.set_video_off(row.video_off);
        if self.leaving_until.is_some() {
            // It left and is back: its old connection may be dead on its side.
            self.suspect_until = Some(now + SUSPECT);
        }
        self.mark_present();
    }

    fn mark_present(&mut self) {
        self.confirmed = true;
        self.stale_until = None;
        self.leaving_until = None;
    }

    fn mark_heard(&mut self) {
        self.mark_present();
        self.heard = true;
        self.first_offer_at = None;
    }

    pub(super) fn on_hints(
        &mut self,
        muted: Option<bool>,
        video_off: Option<bool>,
        sharing: Option<bool>,
        now: Timestamp,
    ) {
        self.muted = muted.unwrap_or(self.muted);
        self.set_video_off(video_off);
        if let Some(sharing) = sharing {
            self.on_share_announced(sharing, now);
        }
    }

    fn set_video_off(&mut self, video_off: Option<bool>) {
        if let Some(video_off) = video_off.filter(|off| *off != self.video_off) {
            self.video_off = video_off;
            self.flow.forget_video();
        }
    }

    /// `meeting:user-left`: a live connection gets a grace, because the server says so of boxes, too, whose media goes on
    /// while they reconnect to it.
    pub(super) fn on_left(&mut self, now: Timestamp) -> Fate {
        self.ready_at = None;
        if self.phase == PeerPhase::Connected {
            self.leaving_until.get_or_insert(now + LEFT_GRACE);
            Fate::Stays
        } else {
            Fate::Gone
        }
    }

    /// The server is naming everybody. Of a connected peer its packets say more.
    pub(super) fn on_roll_call(&mut self, now: Timestamp) {
        if self.state != ConnectionState::Connected {
            self.confirmed = false;
            self.stale_until.get_or_insert(now + STALE);
        }
    }

    // ---- our own signaling

    /// A session ended, or a new one begins; the server has not named anybody yet. A server that goes away takes its members
    /// offline one by one, so the first of them are told that the others left: nobody could take that back now.
    pub(super) fn on_session_begun(&mut self) {
        self.confirmed = false;
        self.leaving_until = None;
    }

    /// We are in the meeting (again). What never connected was lost half-way and starts from nothing; what is connected is left
    /// alone: boxes kept their side, browsers closed theirs, which `disconnected` will tell.
    pub(super) fn on_joined(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.heard = false;
        self.ready_at = None;
        self.first_offer_at = None;
        self.forget_announced_share();
        // What is repeated from now on was not heard, and is no copy.
        self.offers.clear();
        if !self.confirmed {
            self.stale_until = Some(now + STALE);
        }
        self.wait_for_healing(cx, now);
        match self.state {
            ConnectionState::Connected | ConnectionState::Disconnected => {
                if !self.is_box {
                    self.suspect_until = Some(now + SUSPECT);
                }
            }
            ConnectionState::New | ConnectionState::Connecting
                if self.phase == PeerPhase::Restarting => {}
            ConnectionState::New
            | ConnectionState::Connecting
            | ConnectionState::Failed
            | ConnectionState::Closed => self.close(cx, now),
        }
        if self.phase == PeerPhase::Failed {
            self.start_afresh();
        }
        if self.connection.is_none() {
            // Whatever rhythm the last session had come to.
            self.offer_at = None;
        }
    }

    /// Who had been given up is tried from the first attempt on.
    fn start_afresh(&mut self) {
        if self.phase == PeerPhase::Failed {
            self.phase = PeerPhase::Recreating;
            self.attempt = 0;
        }
    }

    /// Plans the first offer if nothing is planned and nothing exists. `slot` is the room's next free moment for offers.
    pub(super) fn plan(&mut self, cx: &Context<'_>, slot: &mut OfferSlots, now: Timestamp) {
        if self.connection.is_some() || self.offer_at.is_some() {
            return;
        }
        self.offer_at = Some(if cx.own > &self.id {
            slot.take(now)
        } else {
            now + LET_BEGIN
        });
    }
}

fn max_attempts(recovery: &RecoverySettings) -> u32 {
    u32::try_from(recovery.recreate.len()).unwrap_or(u32::MAX)
}

/// Spreads offers to many members a little.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OfferSlots {
    next: Timestamp,
}

impl OfferSlots {
    const APART: Duration = Duration::from_millis(40);

    /// The next free moment, now or later.
    fn take(&mut self, now: Timestamp) -> Timestamp {
        let slot = self.next.max(now);
        self.next = slot + Self::APART;
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_offer_goes_out_at_once_and_many_are_spread() {
        let mut slots = OfferSlots::default();
        let at = Timestamp::from_millis;
        assert_eq!(slots.take(at(1_000)), at(1_000));
        assert_eq!(slots.take(at(1_000)), at(1_040));
        assert_eq!(slots.take(at(1_010)), at(1_080));
        assert_eq!(slots.take(at(9_000)), at(9_000));
    }

    #[test]
    fn a_member_that_never_said_a_thing_is_absent_until_it_does() {
        let mut peer = Peer::new(PeerId::new("x"), Timestamp::default());
        assert!(peer.is_absent());
        peer.mark_heard();
        assert!(!peer.is_absent());
    }

    #[test]
    fn the_name_is_the_id_until_the_server_gives_one() {
        let now = Timestamp::default();
        let mut peer = Peer::new(PeerId::new("x"), now);
        let recovery = RecoverySettings::default();
        assert_eq!(&*peer.snapshot(&recovery).name, "x");
        let mut row = Participant {
            user: PeerId::new("x"),
            name: Shown::name("Room 5"),
            muted: None,
            video_off: None,
        };
        peer.on_named(&row, now);
        row.name = None;
        peer.on_named(&row, now);
        assert_eq!(&*peer.snapshot(&recovery).name, "Room 5");
    }
}
