//! One remote member: W3C states observed, our phase decided; first contact, grace, recreation.

use std::collections::VecDeque;
use std::time::Duration;

use super::backoff::Rng;
use super::effect::{PeerOrder, RoomEvent};
use super::event::PeerEvent;
use super::message::{ClientMessage, Participant};
use super::negotiation::{CANDIDATES, Due, Negotiation, State, Verdict};
use super::notice::Level;
use super::outbox::Outbox;
use super::settings::RecoverySettings;
use super::snapshot::{Badge, PeerPhase, PeerSnapshot};
use super::types::{
    ConnectionState, Dialect, Generation, IceCandidate, IceConnectionState, PeerId, Sdp, Timestamp,
};

/// With the smaller id we let the peer begin, and begin ourselves if it has not by then.
const LET_BEGIN: Duration = Duration::from_secs(4);
/// A ready repeated within this is the twin of the first: two dialects, two gateways.
const TWIN: Duration = Duration::from_secs(2);
/// From the descriptions exchanged to `connected`.
const ESTABLISH: Duration = Duration::from_secs(15);
/// How long a connection outlives `meeting:user-left`.
const LEFT_GRACE: Duration = Duration::from_secs(5);
/// How long a member may stay unconfirmed by the server after a join.
const STALE: Duration = Duration::from_secs(5);
/// For how long after a sign of renewal a `disconnected` is believed at once.
const SUSPECT: Duration = Duration::from_secs(10);
/// How long an old connection gets to heal by itself once the server is back.
const HEAL: Duration = Duration::from_secs(1);
/// A member that never said a thing gets offers at full pace for this long,
const ABSENT_FAST: Duration = Duration::from_secs(25);
/// and then this far apart.
const ABSENT_SLOW: Duration = Duration::from_secs(60);

/// What a peer's methods need of the room.
pub(super) struct Context<'a> {
    pub(super) own: &'a PeerId,
    pub(super) recovery: &'a RecoverySettings,
    pub(super) rng: &'a mut Rng,
    pub(super) out: &'a mut Outbox,
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
}

/// ```text
///                       connected                  disconnected
///   Negotiating ─────────────────────> Connected ────────────────> Interrupted
///      │    ^                            ^    ^                      │     │
///      │    │ new offer or ready         │    └──── connected ───────┘     │ too long, failed, died
///      │    └─────────────┐              │ connected                       v
///      │ heard, no answer,└────────── Recreating <─────────────────────────┘
///      │ failed, too slow               │    ^  1, 2, 4 s, new generation, explicit offer
///      └────────────────────────────────┘    │
///                         attempts used up   v
///                                          Failed: slow attempts, until a new offer, a ready, or leaving
/// ```
/// `Restarting` (an ICE restart of ours between Interrupted and Recreating) has its place in [`PeerPhase`] and in
/// [`PeerOrder::CreateOffer`]; the recovery ladder adds it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    id: PeerId,
    name: Option<String>,
    muted: bool,
    video_off: bool,
    pub(super) sharing: bool,

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

    /// The next connection attempt. Waits while the server is away.
    offer_at: Option<Timestamp>,
    interrupted_until: Option<Timestamp>,
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
            connection: None,
            dialect: None,
            is_box: false,
            heard: false,
            confirmed: false,
            ready_at: None,
            early: VecDeque::new(),
            phase: PeerPhase::Negotiating,
            attempt: 0,
            state: ConnectionState::New,
            previous: ConnectionState::New,
            since: now,
            ice: IceConnectionState::New,
            announced: false,
            first_offer_at: None,
            offer_at: None,
            interrupted_until: None,
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
        self.video_off = row.video_off.unwrap_or(self.video_off);
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
    ) {
        self.muted = muted.unwrap_or(self.muted);
        self.video_off = video_off.unwrap_or(self.video_off);
        self.sharing = sharing.unwrap_or(self.sharing);
    }

    /// `meeting:user-left`: a live connection gets a grace, because the server says so of boxes, too, whose media goes on
    /// while they reconnect to it.
    pub(super) fn on_left(&mut self, now: Timestamp) -> Fate {
        self.ready_at = None;
        if self.state == ConnectionState::Connected {
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

    /// A new session begins; the server has not named anybody yet.
    pub(super) fn on_session_begun(&mut self) {
        self.confirmed = false;
    }

    /// We are in the meeting (again). What never connected was lost half-way and starts from nothing; what is connected is left
    /// alone: boxes kept their side, browsers closed theirs, which `disconnected` will tell.
    pub(super) fn on_joined(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.heard = false;
        self.ready_at = None;
        self.first_offer_at = None;
        if !self.confirmed {
            self.stale_until = Some(now + STALE);
        }
        match self.state {
            ConnectionState::Connected => self.suspect_until = Some(now + SUSPECT),
            ConnectionState::Disconnected => {
                self.interrupted_until = self.interrupted_until.max(Some(now + HEAL));
            }
            ConnectionState::New
            | ConnectionState::Connecting
            | ConnectionState::Failed
            | ConnectionState::Closed => self.close(cx, now),
        }
        if self.phase == PeerPhase::Failed {
            self.start_afresh();
            self.offer_at = None;
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

    // ---- the peer's signaling

    /// `peer-ready`: it can be called. Whoever sends one begins anew, except a box, whose connections outlive its session.
    pub(super) fn on_ready(&mut self, dialect: Dialect, cx: &mut Context<'_>, now: Timestamp) {
        let twin = self.ready_at.is_some_and(|at| now.since(at) < TWIN);
        self.mark_heard();
        if !twin {
            self.ready_at = Some(now);
            self.dialect = Some(dialect);
            self.start_afresh();
        }
        let Some(connection) = &mut self.connection else {
            self.begin(cx, now);
            return;
        };
        if twin {
            return;
        }
        let young = now.since(connection.opened_at) < TWIN;
        match connection.negotiation.state {
            State::AwaitingAnswer { .. } => {
                // It may have thrown our offer away; the same one again costs nothing.
                connection.negotiation.restart_waits(now);
                self.repeat_offer(dialect, cx);
            }
            State::CreatingOffer { .. } => {}
            State::Stable | State::ApplyingAnswer { .. } | State::CreatingAnswer { .. } => {
                if young {
                    // It called us and then said that it is ready.
                } else if self.is_box && self.state == ConnectionState::Connected {
                    self.suspect_until = Some(now + SUSPECT);
                } else {
                    self.close(cx, now);
                    self.begin(cx, now);
                }
            }
        }
    }

    fn start_afresh(&mut self) {
        if self.phase == PeerPhase::Failed {
            self.phase = PeerPhase::Recreating;
            self.attempt = 0;
        }
    }

    pub(super) fn on_offer(
        &mut self,
        sdp: Sdp,
        dialect: Dialect,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        self.mark_heard();
        self.dialect = Some(dialect);
        self.is_box = sdp.is_from_box();
        self.start_afresh();
        let own_is_greater = *cx.own > self.id;
        let Some(connection) = &mut self.connection else {
            self.open_and_accept(sdp, dialect, cx, now);
            return;
        };
        match connection
            .negotiation
            .judge_offer(&sdp, dialect, own_is_greater)
        {
            Verdict::Duplicate | Verdict::Ignore | Verdict::Queue => {}
            Verdict::NewConnection => {
                if sdp.is_plausible() {
                    self.close(cx, now);
                    self.open_and_accept(sdp, dialect, cx, now);
                } else {
                    cx.out.notify_about(
                        &self.id,
                        Level::Warn,
                        "dropped an offer that is no description",
                    );
                }
            }
            Verdict::Accept => self.accept(sdp, dialect, cx),
            Verdict::YieldAndAccept => self.yield_and_accept(sdp, dialect, cx),
            Verdict::Insist => self.repeat_offer(dialect, cx),
        }
    }

    pub(super) fn on_answer(&mut self, sdp: Sdp, dialect: Dialect, cx: &mut Context<'_>) {
        self.mark_heard();
        let Some(connection) = &mut self.connection else {
            return;
        };
        if let Some(negotiation) = connection.negotiation.on_answer(&sdp) {
            self.dialect = Some(dialect);
            self.is_box = sdp.is_from_box();
            let order = PeerOrder::AcceptAnswer { negotiation, sdp };
            cx.out.order(&self.id, connection.generation, order);
        }
    }

    pub(super) fn on_candidate(&mut self, candidate: IceCandidate, cx: &mut Context<'_>) {
        self.mark_heard();
        if candidate.candidate.is_empty() {
            return;
        }
        if let Some(connection) = &mut self.connection
            && connection.negotiation.fits(&candidate)
        {
            if connection.negotiation.is_new_candidate(&candidate) {
                let order = PeerOrder::AddCandidate(candidate);
                cx.out.order(&self.id, connection.generation, order);
            }
            return;
        }
        if self.early.contains(&candidate) {
            return;
        }
        if self.early.len() == CANDIDATES {
            self.early.pop_front();
        }
        self.early.push_back(candidate);
    }

    /// A remote description was applied: the candidates that waited for it follow.
    fn flush_early(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        for candidate in std::mem::take(&mut self.early) {
            if !connection.negotiation.fits(&candidate) {
                self.early.push_back(candidate);
            } else if connection.negotiation.is_new_candidate(&candidate) {
                let order = PeerOrder::AddCandidate(candidate);
                cx.out.order(&self.id, connection.generation, order);
            }
        }
    }

    // ---- the connection's reports

    /// A report of the present generation.
    pub(super) fn on_report(
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
                    self.send_offer(sdp, candidates, dialect, cx);
                }
            }
            PeerEvent::AnswerCreated { negotiation, sdp } => {
                if let Some((dialect, candidates)) =
                    connection.negotiation.on_answer_created(negotiation)
                {
                    cx.out.send(ClientMessage::Answer {
                        target: self.id.clone(),
                        sdp,
                        dialect,
                    });
                    self.send_candidates(candidates, dialect, cx);
                    self.on_stable(cx, now);
                }
            }
            PeerEvent::AnswerApplied { negotiation } => {
                if connection.negotiation.on_answer_applied(negotiation) {
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
                    let dialect = self.dialect.unwrap_or(Dialect::Media);
                    self.send_candidates(vec![candidate], dialect, cx);
                }
            }
            PeerEvent::ConnectionState(state) => return self.on_connection_state(state, cx, now),
            PeerEvent::IceConnectionState(state) => self.set_ice(state, cx),
            PeerEvent::SessionDied { message } => {
                return self.fail(&message, false, cx, now);
            }
            // The room counts these; neither says anything about this peer.
            PeerEvent::KeyframeRequested | PeerEvent::Closed => {}
        }
        Fate::Stays
    }

    fn on_stable(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.flush_early(cx);
        let Some(connection) = &mut self.connection else {
            return;
        };
        if self.state != ConnectionState::Connected {
            connection.establish_until = Some(now + ESTABLISH);
        }
        if let Some((sdp, dialect)) = connection.negotiation.take_queued() {
            self.accept(sdp, dialect, cx);
        }
    }

    fn on_negotiation_failed(
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
        cx.out.notify_about(
            &self.id,
            Level::Warn,
            format!("renegotiation failed, the connection goes on: {message}"),
        );
        if let State::ApplyingAnswer { negotiation, .. } = connection.negotiation.state {
            let order = PeerOrder::Rollback { negotiation };
            cx.out.order(&self.id, connection.generation, order);
        }
        connection.negotiation.on_failed();
        self.on_stable(cx, now);
        Fate::Stays
    }

    fn on_connection_state(
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
            ConnectionState::New => {}
            ConnectionState::Connecting => {
                if was == ConnectionState::Connected || was == ConnectionState::Disconnected {
                    self.phase = PeerPhase::Interrupted;
                    self.interrupted_until = None;
                }
                if let Some(connection) = &mut self.connection {
                    connection.establish_until.get_or_insert(now + ESTABLISH);
                }
            }
            ConnectionState::Connected => self.enter_connected(cx),
            ConnectionState::Disconnected => {
                if self.leaving_until.is_some() {
                    return Fate::Gone;
                }
                if self.suspect_until.is_some_and(|until| now < until) && cx.out.is_joined() {
                    return self.fail("disconnected after it or we joined again", true, cx, now);
                }
                if self.phase == PeerPhase::Connected {
                    self.phase = PeerPhase::Interrupted;
                }
                let limit = cx.recovery.suspicion + cx.recovery.restart;
                self.interrupted_until = Some(now + limit.max(Duration::from_millis(1)));
            }
            ConnectionState::Failed => {
                return self.fail("the connection failed", false, cx, now);
            }
            ConnectionState::Closed => {
                return self.fail("the connection was closed under us", false, cx, now);
            }
        }
        Fate::Stays
    }

    fn enter_connected(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection {
            connection.establish_until = None;
        }
        self.interrupted_until = None;
        self.offer_at = None;
        self.phase = PeerPhase::Connected;
        if self.attempt > 0 {
            cx.out.publish(RoomEvent::Reconnected {
                peer: self.id.clone(),
                attempts: self.attempt,
            });
            self.attempt = 0;
        }
        if !self.announced {
            self.announced = true;
            cx.out.notify_about(&self.id, Level::Info, "connected");
            cx.out.publish(RoomEvent::PeerConnected {
                peer: self.id.clone(),
            });
        }
    }

    fn set_state(&mut self, state: ConnectionState, cx: &mut Context<'_>, now: Timestamp) {
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

    fn set_ice(&mut self, state: IceConnectionState, cx: &mut Context<'_>) {
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

    // ---- connections

    /// Closes the connection, if there is one; nothing is planned by that.
    pub(super) fn close(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        if let Some(connection) = self.connection.take() {
            cx.out.close(&self.id, connection.generation);
        } else {
            return;
        }
        self.interrupted_until = None;
        self.suspect_until = None;
        self.set_state(ConnectionState::Closed, cx, now);
        self.set_ice(IceConnectionState::Closed, cx);
        if self.announced {
            self.announced = false;
            cx.out.notify_about(&self.id, Level::Info, "disconnected");
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

    fn open(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Generation {
        debug_assert!(self.connection.is_none(), "one connection at a time");
        self.offer_at = None;
        let generation = cx.out.open(&self.id);
        self.connection = Some(Connection {
            generation,
            negotiation: Negotiation::new(),
            opened_at: now,
            establish_until: None,
        });
        self.set_state(ConnectionState::New, cx, now);
        self.set_ice(IceConnectionState::New, cx);
        generation
    }

    /// A new connection, and an offer over it.
    fn begin(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        let generation = self.open(cx, now);
        // What came before belongs to connections of the past.
        self.early.clear();
        let negotiation = cx.out.next_negotiation();
        if let Some(connection) = &mut self.connection {
            connection.negotiation.enter_creating_offer(negotiation);
        }
        let order = PeerOrder::CreateOffer {
            negotiation,
            ice_restart: false,
        };
        cx.out.order(&self.id, generation, order);
    }

    fn open_and_accept(
        &mut self,
        sdp: Sdp,
        dialect: Dialect,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        self.open(cx, now);
        self.accept(sdp, dialect, cx);
    }

    fn accept(&mut self, sdp: Sdp, dialect: Dialect, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let negotiation = cx.out.next_negotiation();
        connection
            .negotiation
            .enter_creating_answer(negotiation, sdp.clone(), dialect);
        let order = PeerOrder::AcceptOffer { negotiation, sdp };
        cx.out.order(&self.id, connection.generation, order);
    }

    fn yield_and_accept(&mut self, sdp: Sdp, dialect: Dialect, cx: &mut Context<'_>) {
        if let Some(connection) = &self.connection
            && let Some(negotiation) = connection.negotiation.current()
        {
            // A session executes its orders in order, so this also holds while the offer is still being created.
            let order = PeerOrder::Rollback { negotiation };
            cx.out.order(&self.id, connection.generation, order);
        }
        self.accept(sdp, dialect, cx);
    }

    // ---- sending

    /// The dialect of a first offer to somebody whose dialect is unknown: in the slow rhythm for silent members both in
    /// turn.
    fn first_dialect(&self, now: Timestamp) -> Dialect {
        match self.first_offer_at {
            Some(at) if (now.since(at).as_secs() / ABSENT_SLOW.as_secs()) % 2 == 1 => {
                Dialect::Webrtc
            }
            Some(_) | None => Dialect::Media,
        }
    }

    fn send_offer(
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

    fn send_candidates(
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

    fn repeat_offer(&mut self, dialect: Dialect, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Some((sdp, candidates)) = connection.negotiation.repeat_offer(dialect)
        {
            self.send_offer(sdp, candidates, dialect, cx);
        }
    }

    // ---- failure and time

    /// This connection is lost: close it and plan the next. `at_once`: the peer is known to be new, so waiting is idle.
    fn fail(&mut self, why: &str, at_once: bool, cx: &mut Context<'_>, now: Timestamp) -> Fate {
        self.close(cx, now);
        if self.leaving_until.is_some() {
            return Fate::Gone;
        }
        self.attempt = self.attempt.saturating_add(1);
        let max_attempts = max_attempts(cx.recovery);
        let index = usize::try_from(self.attempt - 1).unwrap_or(usize::MAX);
        if let Some(&wait) = cx.recovery.recreate.get(index) {
            self.phase = PeerPhase::Recreating;
            cx.out.notify_about(
                &self.id,
                Level::Warn,
                format!(
                    "reconnecting, attempt {} of {max_attempts}: {why}",
                    self.attempt
                ),
            );
            cx.out.publish(RoomEvent::Reconnecting {
                peer: self.id.clone(),
                attempt: self.attempt,
                max_attempts,
            });
            if at_once {
                self.begin(cx, now);
            } else {
                self.offer_at = Some(now + wait.max(Duration::from_millis(1)));
            }
        } else {
            if self.phase != PeerPhase::Failed {
                self.phase = PeerPhase::Failed;
                cx.out.notify_about(
                    &self.id,
                    Level::Warn,
                    format!("{max_attempts} attempts failed, trying on slowly: {why}"),
                );
                cx.out.publish(RoomEvent::ReconnectFailed {
                    peer: self.id.clone(),
                    attempts: max_attempts,
                });
            }
            self.offer_at = Some(now + cx.rng.jitter(cx.recovery.slow_interval, 90, 120));
        }
        Fate::Stays
    }

    fn is_slow_absent(&self, now: Timestamp) -> bool {
        !self.heard
            && self
                .first_offer_at
                .is_some_and(|at| now.since(at) >= ABSENT_FAST)
    }

    /// A member whose row may be a ghost: it counts for nothing that is shown.
    pub(super) fn is_absent(&self) -> bool {
        !self.heard && self.phase == PeerPhase::Negotiating
    }

    fn offer_due(&self) -> Option<(Timestamp, Due)> {
        let connection = self.connection.as_ref()?;
        let single = self.is_slow_absent(connection.opened_at);
        connection.negotiation.due(self.dialect.is_some(), single)
    }

    /// All deadlines that count now. While the server is away nothing is begun, so only the grace of a leaver runs.
    pub(super) fn deadlines(
        &self,
        joined: bool,
    ) -> impl Iterator<Item = (Timestamp, &'static str)> {
        let establish = self.connection.as_ref().and_then(|c| c.establish_until);
        let with_server = [
            self.offer_at.map(|at| (at, "offer due")),
            self.offer_due().map(|(at, _)| (at, "answer awaited")),
            establish.map(|at| (at, "connection attempt too slow")),
            self.interrupted_until
                .map(|at| (at, "interrupted too long")),
            self.stale_until.map(|at| (at, "member unconfirmed")),
        ];
        with_server
            .into_iter()
            .flatten()
            .filter(move |_| joined)
            .chain(self.leaving_until.map(|at| (at, "leaver's grace over")))
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Context<'_>, now: Timestamp) -> Fate {
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if due(self.leaving_until) {
            return Fate::Gone;
        }
        if !cx.out.is_joined() {
            return Fate::Stays;
        }
        if due(self.stale_until) {
            self.stale_until = None;
            if !self.confirmed && self.on_left(now) == Fate::Gone {
                return Fate::Gone;
            }
        }
        if due(self.interrupted_until) {
            self.interrupted_until = None;
            return self.fail("disconnected for too long", false, cx, now);
        }
        if let Some(connection) = &mut self.connection
            && due(connection.establish_until)
        {
            connection.establish_until = None;
            return self.fail("connecting took too long", false, cx, now);
        }
        if let Some((at, what)) = self.offer_due()
            && at <= now
        {
            return self.on_offer_due(what, cx, now);
        }
        if due(self.offer_at) {
            self.offer_at = None;
            if self.connection.is_none() {
                self.begin(cx, now);
            }
        }
        Fate::Stays
    }

    fn on_offer_due(&mut self, what: Due, cx: &mut Context<'_>, now: Timestamp) -> Fate {
        let dialect = self.dialect.unwrap_or(Dialect::Media);
        match what {
            Due::Repeat => self.repeat_offer(dialect, cx),
            Due::OtherDialect => self.repeat_offer(Dialect::Webrtc, cx),
            Due::Yield => {
                let own_is_greater = *cx.own > self.id;
                if let Some(connection) = &mut self.connection
                    && let Some((sdp, dialect)) = connection.negotiation.take_ignored()
                    && own_is_greater
                {
                    self.yield_and_accept(sdp, dialect, cx);
                }
            }
            Due::GiveUp => {
                if self.heard || self.attempt > 0 {
                    return self.fail("our offer was not answered", false, cx, now);
                }
                // A row without a program behind it. It must not look like a failure; the offers thin out.
                self.close(cx, now);
                self.phase = PeerPhase::Negotiating;
                if self.is_slow_absent(now) {
                    self.offer_at = Some(now + ABSENT_SLOW);
                } else {
                    self.begin(cx, now);
                }
            }
        }
        Fate::Stays
    }

    // ---- what is shown

    pub(super) fn snapshot(&self, recovery: &RecoverySettings) -> PeerSnapshot {
        let badge = match self.phase {
            PeerPhase::Connected => None,
            PeerPhase::Negotiating => Some(Badge::Connecting),
            PeerPhase::Interrupted | PeerPhase::Restarting | PeerPhase::Recreating => {
                Some(Badge::Reconnecting)
            }
            PeerPhase::Failed => Some(Badge::Failed),
        };
        PeerSnapshot {
            user: self.id.clone(),
            name: self
                .name
                .clone()
                .unwrap_or_else(|| self.id.as_str().to_owned()),
            connection_state: self.state,
            previous_connection_state: self.previous,
            ice_connection_state: self.ice,
            phase: self.phase,
            attempt: self.attempt,
            max_attempts: max_attempts(recovery),
            since: self.since,
            badge,
            muted: self.muted,
            video_off: self.video_off,
            sharing: self.sharing,
        }
    }

    pub(super) fn check_invariants(&self) {
        debug_assert!(self.early.len() <= CANDIDATES, "early candidates bounded");
        debug_assert!(
            self.phase != PeerPhase::Connected || self.state == ConnectionState::Connected,
            "phase connected means connected"
        );
        debug_assert!(
            self.announced || self.state != ConnectionState::Connected,
            "connected peers are announced"
        );
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
