//! One peer connection: a task that executes its orders strictly in order and looks after its media.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::peer_connection::StatsSelector;

use super::admission::Gate;
use super::arrivals::Arrivals;
use super::connection::{Connection, OPERATION_LIMIT};
use super::description::Rejected;
use super::error::Error;
use super::handler::{Finding, KeyframeWatch, KeyframesWanted, Observations};
use super::health::Counters;
use super::negotiation::PendingOffer;
use super::pacing::Pace;
use super::receiving::{Receiving, ScreenChoice};
use super::records::HANDSHAKE_LIMIT;
use super::retransmission::{Commons, Resending};
use super::sdp::{Outline, without_bases};
use super::sending::{PayloadType, ScreenLine, Sender};
use super::servers::Servers;
use crate::events::EventSender;
use crate::journal_budget::LineBudget;
use crate::media::fanout::Slot;
use crate::media::inbound::PeerInbound;
use crate::room::{
    ConnectionState, Event, Generation, IceCandidate, NegotiationId, PeerEvent, PeerId, PeerOrder,
};

/// How many orders may wait for a session. The room has a handful in flight; filling it is a defect.
pub(super) const ORDERS: usize = 512;
/// How often the round-trip time and the counters of the candidates are read.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// Requests for a keyframe that come closer than this are one event; the room merges over all peers.
const KEYFRAME_EVENT_INTERVAL: Duration = Duration::from_millis(50);
/// How often it is told when packets arrived last, if any did.
const ARRIVALS_INTERVAL: Duration = Duration::from_millis(500);
/// What `close()` may take: it waits at most 100 ms for the crate's task.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

static NOT_CLOSED: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "connections that did not close as they should",
);

/// Whose session this is, and how it reports.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    pub(super) peer: PeerId,
    pub(super) generation: Generation,
    pub(super) events: EventSender,
}

impl Reporter {
    pub(super) fn report(&self, event: PeerEvent) {
        self.events.report(Event::Peer {
            peer: self.peer.clone(),
            generation: self.generation,
            event,
        });
    }

    /// Answers an order for a session that is no more.
    pub(super) fn answer_for_the_dead(&self, order: PeerOrder) {
        if order == PeerOrder::Close {
            self.report(PeerEvent::Closed);
        } else {
            self.refuse(order, "the connection is gone");
        }
    }

    /// Answers an order for which there is no connection any more.
    pub(super) fn refuse(&self, order: PeerOrder, message: &str) {
        match order {
            PeerOrder::CreateOffer { negotiation, .. }
            | PeerOrder::AcceptOffer { negotiation, .. }
            | PeerOrder::AcceptAnswer { negotiation, .. }
            | PeerOrder::Rollback { negotiation } => {
                self.report(PeerEvent::NegotiationFailed {
                    negotiation,
                    message: message.to_owned(),
                });
            }
            PeerOrder::Open
            | PeerOrder::SetScreen { .. }
            | PeerOrder::ReserveSections(_)
            | PeerOrder::AddCandidate(_)
            | PeerOrder::RequestKeyframe
            | PeerOrder::Close => {}
        }
    }
}

/// What a session is made of.
pub(super) struct Parts {
    pub(super) servers: Arc<Servers>,
    pub(super) pace: Arc<Pace>,
    pub(super) slot: Slot,
    pub(super) inbound: PeerInbound,
    pub(super) orders: mpsc::Receiver<PeerOrder>,
    pub(super) reporter: Reporter,
    pub(super) counters: Arc<Counters>,
    pub(super) resending: Arc<Commons>,
}

/// Runs a session from its opening to `Closed`.
pub(super) async fn run(parts: Parts) {
    let Parts {
        servers,
        pace,
        slot,
        inbound,
        orders,
        reporter,
        counters,
        resending,
    } = parts;
    let keyframes = KeyframesWanted::default();
    let watch = KeyframeWatch::new(keyframes.clone());
    let gate = Arc::new(Gate::new(pace, Arc::clone(&counters)));
    let resending = Resending::new(&counters, &resending);
    let opened = limited(Connection::open(&servers, gate, watch, resending)).await;
    let (connection, observations) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            return refuse(
                orders,
                &reporter,
                format!("the connection could not be opened: {error}"),
            )
            .await;
        }
    };

    let payload_types = (
        Arc::new(PayloadType::default()),
        Arc::new(PayloadType::default()),
    );
    let (ended_in, ended) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    let screen = Arc::new(ScreenLine::default());
    let sender = Sender::new(
        &connection,
        &payload_types,
        Arc::clone(&screen),
        slot,
        (observations.connection.clone(), ended_in.clone()),
        keyframes.clone(),
        Arc::clone(&counters),
    );
    let receiving = Arc::new(Receiving {
        inbound,
        audio: connection.audio.transceiver,
        video: connection.video.transceiver,
        own_ssrc: connection.video.ssrc,
        keyframe_ordered: AtomicBool::new(false),
        camera_ssrc: AtomicU32::new(0),
        screen: ScreenChoice::default(),
        ended: ended_in,
        counters: Arc::clone(&counters),
        arrivals: Arrivals::default(),
    });
    let mut session = Session {
        connection,
        servers,
        observations,
        payload_types,
        screen,
        keyframes,
        receiving,
        reporter,
        counters,
        offer: None,
        description: None,
        remote_fragment: None,
        rejected: Rejected::default(),
        warned: false,
        staged: false,
        broken: false,
        dead: false,
    };
    match sender {
        Ok(sender) => {
            tasks.spawn(sender.run());
        }
        Err(error) => session.die(format!("sending could not be set up: {error}")),
    }
    session.watch_driver(&mut tasks);
    session.serve(orders, ended, &mut tasks).await;
    session.close(tasks).await;
}

/// Stands in for a connection that could not be opened until the room closes it.
async fn refuse(mut orders: mpsc::Receiver<PeerOrder>, reporter: &Reporter, message: String) {
    reporter.report(PeerEvent::SessionDied {
        message: message.clone(),
    });
    while let Some(order) = orders.recv().await {
        if order == PeerOrder::Close {
            break;
        }
        reporter.refuse(order, &message);
    }
    reporter.report(PeerEvent::Closed);
}

/// An open connection and where it stands.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) servers: Arc<Servers>,
    pub(super) observations: Observations,
    pub(super) payload_types: (Arc<PayloadType>, Arc<PayloadType>),
    pub(super) screen: Arc<ScreenLine>,
    pub(super) keyframes: KeyframesWanted,
    pub(super) receiving: Arc<Receiving>,
    pub(super) reporter: Reporter,
    pub(super) counters: Arc<Counters>,
    /// `have-local-offer` while there is one, else `stable`: an offer is accepted and answered in one step.
    pub(super) offer: Option<PendingOffer>,
    /// The local description in effect.
    pub(super) description: Option<Outline>,
    /// `ice-ufrag` of the remote description in effect.
    pub(super) remote_fragment: Option<String>,
    /// The sections of data channels in the peer's latest offer.
    pub(super) rejected: Rejected,
    /// The log says that the peer takes no track of some kind.
    pub(super) warned: bool,
    /// The crate keeps the credentials of a restart offer that was taken back unapplied, and uses them with the next local
    /// description.
    pub(super) staged: bool,
    /// The crate stumbled over a description half-way: codecs are forgotten, or transports that start only
    /// once have started. Neither this negotiation nor another can succeed.
    pub(super) broken: bool,
    pub(super) dead: bool,
}

impl Session {
    async fn serve(
        &mut self,
        mut orders: mpsc::Receiver<PeerOrder>,
        mut ended: mpsc::Receiver<()>,
        tasks: &mut JoinSet<()>,
    ) {
        let mut health = interval(HEALTH_INTERVAL);
        health.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut quiet_until = tokio::time::Instant::now();
        let mut screen_quiet_until = quiet_until;
        let keyframes = self.keyframes.clone();
        let receiving = Arc::clone(&self.receiving);
        let arrivals = &receiving.arrivals;
        let mut look = interval(ARRIVALS_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = (arrivals.report(), None);
        let mut losses = self.servers.losses();
        loop {
            let replacement = self.next_replacement();
            tokio::select! {
                order = orders.recv() => match order {
                    None | Some(PeerOrder::Close) => return,
                    Some(order) => self.execute(order).await,
                },
                Some(finding) = self.observations.findings.recv() => match finding {
                    Finding::Candidate { negotiation, candidate } => {
                        self.on_candidate(negotiation, candidate);
                    }
                    Finding::Track(track) => {
                        tasks.spawn(Arc::clone(&self.receiving).run(track));
                    }
                },
                Ok(()) = self.observations.connection.changed() => {
                    let state = *self.observations.connection.borrow_and_update();
                    if state == ConnectionState::Connected {
                        self.connection.gate.is_up();
                    }
                    self.report(PeerEvent::ConnectionState(state));
                }
                Ok(()) = self.observations.ice.changed() => {
                    let state = *self.observations.ice.borrow_and_update();
                    self.report(PeerEvent::IceConnectionState(state));
                }
                Ok(()) = losses.changed() => self.report(PeerEvent::RelayLost),
                () = arrivals.resumed() => self.tell_arrivals(&mut told),
                _ = look.tick() => self.tell_arrivals(&mut told),
                () = asked_after(screen_quiet_until, &keyframes.screen) => {
                    screen_quiet_until = tokio::time::Instant::now() + KEYFRAME_EVENT_INTERVAL;
                    self.report(PeerEvent::ScreenKeyframeRequested);
                }
                () = asked_after(quiet_until, &keyframes.camera) => {
                    quiet_until = tokio::time::Instant::now() + KEYFRAME_EVENT_INTERVAL;
                    self.report(PeerEvent::KeyframeRequested);
                }
                // A task that panicked is seen nowhere else.
                Some(Err(error)) = tasks.join_next() => {
                    self.die(format!("a task of the connection ended: {error}"));
                }
                Some(()) = ended.recv() => {
                    self.die("the connection ended by itself".to_owned());
                }
                () = until(replacement) => self.replace_candidate().await,
                _ = health.tick() => {
                    if self.connection.gate.is_overdue(Instant::now()) {
                        self.die(format!("the DTLS handshake did not end within {HANDSHAKE_LIMIT:?}"));
                    }
                    self.read_health().await;
                }
            }
        }
    }

    /// Tells when packets arrived last, if any did since the last time.
    fn tell_arrivals(&self, told: &mut (PeerEvent, Option<PeerEvent>)) {
        let report = self.receiving.arrivals.report();
        if report != told.0 {
            told.0 = report.clone();
            self.report(report);
        }
        let screen = self.receiving.arrivals.screen_report();
        if screen != told.1 {
            told.1.clone_from(&screen);
            if let Some(report) = screen {
                self.report(report);
            }
        }
    }

    fn report(&self, event: PeerEvent) {
        if !self.dead {
            self.reporter.report(event);
        }
    }

    fn die(&mut self, message: String) {
        self.report(PeerEvent::SessionDied { message });
        self.dead = true;
    }

    /// The crate ends the event stream of a sending track when its task ends, for whatever reason: the one
    /// sign of a silent death (a failed rebind) that is there from the beginning. The stream's RTCP is
    /// drained along the way.
    fn watch_driver(&self, tasks: &mut JoinSet<()>) {
        for sending in [&self.connection.audio, &self.connection.video] {
            let track = Arc::clone(&sending.track);
            let ended = self.receiving.ended.clone();
            tasks.spawn(async move {
                while track.poll().await.is_some() {}
                let _ = ended.try_send(());
            });
        }
    }

    async fn execute(&mut self, order: PeerOrder) {
        if self.dead {
            return self.reporter.refuse(order, "the connection is dead");
        }
        match order {
            PeerOrder::CreateOffer {
                negotiation,
                ice_restart,
            } => {
                let result = limited(self.create_offer(negotiation, ice_restart)).await;
                self.conclude(negotiation, "creating an offer", result);
            }
            PeerOrder::AcceptOffer { negotiation, sdp } => {
                let result = limited(self.accept_offer(negotiation, &sdp)).await;
                self.conclude(negotiation, "accepting an offer", result);
            }
            PeerOrder::SetScreen { on } => {
                if let Err(error) = limited(self.set_screen(on)).await {
                    self.die(format!("the screen could not be added: {error}"));
                }
            }
            PeerOrder::ReserveSections(sections) => {
                let present = self.description.as_ref();
                let present = present.map_or(0, |outline| outline.sections.len());
                // The rejected ones are put in when the offer is sent.
                let sections = sections.saturating_sub(self.rejected.len());
                let result = limited(self.connection.reserve(sections, present)).await;
                if let Err(error) = result.and_then(|()| self.know_screen()) {
                    self.die(format!("m-lines could not be added: {error}"));
                }
            }
            PeerOrder::AcceptAnswer { negotiation, sdp } => {
                let result = limited(self.accept_answer(negotiation, &sdp)).await;
                self.conclude(negotiation, "accepting an answer", result);
            }
            PeerOrder::Rollback { negotiation } => {
                let result = limited(self.roll_back(negotiation)).await;
                self.conclude(negotiation, "taking an offer back", result);
            }
            PeerOrder::AddCandidate(candidate) => {
                self.on_candidate_text(&candidate.candidate).await;
            }
            PeerOrder::RequestKeyframe => {
                self.receiving
                    .keyframe_ordered
                    .store(true, Ordering::Relaxed);
            }
            // Handled by the caller, or a second `Open`.
            PeerOrder::Open | PeerOrder::Close => {}
        }
    }

    async fn set_screen(&mut self, on: bool) -> Result<(), Error> {
        if !on {
            // What is sent from here on would belong to no description.
            self.screen.payload_type.set(None);
        }
        self.connection.set_screen(on).await?;
        self.know_screen()
    }

    /// The screen's track may have been made just now.
    fn know_screen(&self) -> Result<(), Error> {
        let known = &self.keyframes.screen_ssrc;
        if let Some(screen) = &self.connection.screen
            && known.load(Ordering::Relaxed) != screen.ssrc
        {
            self.screen.set(screen)?;
            known.store(screen.ssrc, Ordering::Relaxed);
        }
        Ok(())
    }

    fn conclude(
        &mut self,
        negotiation: NegotiationId,
        attempted: &str,
        result: Result<PeerEvent, Error>,
    ) {
        match result {
            Ok(event) => self.report(event),
            Err(error) => {
                self.report(PeerEvent::NegotiationFailed {
                    negotiation,
                    message: format!("{attempted} failed: {error}"),
                });
                // All of it is local work: a connection that takes seconds is stuck.
                if matches!(error, Error::TimedOut(_)) {
                    self.die(format!("the connection hangs {attempted}"));
                } else if self.broken {
                    self.die("a negotiation failed half-way".to_owned());
                }
            }
        }
    }

    fn on_candidate(&self, negotiation: NegotiationId, candidate: String) {
        let description = self.description.as_ref();
        self.report(PeerEvent::LocalCandidate {
            negotiation,
            candidate: IceCandidate {
                candidate: self.shown(&candidate),
                // Everything is bundled into the first m-line's transport (RFC 9143).
                sdp_mid: description
                    .and_then(|outline| outline.sections.first())
                    .map(|(_, mid)| mid.clone()),
                sdp_m_line_index: Some(0),
                username_fragment: description
                    .and_then(|outline| outline.username_fragment.clone()),
            },
        });
    }

    /// A description or candidate as the peer may see it.
    pub(super) fn shown(&self, text: &str) -> String {
        match self.servers.relay_only {
            true => without_bases(text),
            false => text.to_owned(),
        }
    }

    async fn read_health(&self) {
        let dropped = self.connection.remotes.dropped();
        self.counters.set_candidates_dropped(dropped);
        if *self.observations.connection.borrow() != ConnectionState::Connected {
            return;
        }
        let report = self
            .connection
            .inner
            .get_stats(Instant::now(), StatsSelector::None)
            .await;
        let pair = report
            .candidate_pairs()
            .filter(|pair| pair.nominated && pair.current_round_trip_time > 0.0)
            .last();
        if let Some(seconds) = pair.map(|pair| pair.current_round_trip_time)
            && let Ok(time) = Duration::try_from_secs_f64(seconds)
        {
            self.counters.on_round_trip(time);
        }
    }

    /// Every way out comes through here: dropped without `close()`, the connection's task and socket would
    /// stay for ever.
    async fn close(self, mut tasks: JoinSet<()>) {
        let closing = timeout(CLOSE_LIMIT, self.connection.inner.close());
        match closing.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = Error::from(error);
                if NOT_CLOSED.admits(self.reporter.peer.as_str()) {
                    log::warn!(peer = self.reporter.peer.as_str(); "closing a connection: {error}");
                }
            }
            Err(_) => {
                if NOT_CLOSED.admits(self.reporter.peer.as_str()) {
                    log::error!(peer = self.reporter.peer.as_str(); "a connection did not close within {CLOSE_LIMIT:?}");
                }
            }
        }
        // Nothing in them wants to be finished.
        tasks.shutdown().await;
        self.reporter.report(PeerEvent::Closed);
    }
}

/// Waits for a request that is there at `moment` or comes later; cancel-safe.
async fn asked_after(moment: tokio::time::Instant, request: &Notify) {
    tokio::time::sleep_until(moment).await;
    request.notified().await;
}

/// Waits until `moment`, for ever without one.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

pub(super) async fn limited<T>(
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match timeout(OPERATION_LIMIT, operation).await {
        Ok(result) => result,
        Err(_) => Err(Error::TimedOut(OPERATION_LIMIT)),
    }
}
