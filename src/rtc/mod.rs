//! FLOOR 4: the peer connections, by member and generation.
//!
//! One task per connection executes its orders strictly in order and reports what became of them. The
//! types of the crates `webrtc` and `rtc` stay inside this folder.
//!
//! ```text
//!  PeerOrder --> Peers --> session task --> webrtc's task and sockets
//!                             |  ^  states, candidates, tracks (handler)
//!                             |  +----------------------------------
//!  fanout slot --> sending task --> RTP      RTP --> one task per remote track --> inbound
//! ```

mod addresses;
mod admission;
mod arrivals;
mod candidates;
mod connection;
mod credentials;
mod description;
mod early;
mod error;
mod forwarder;
mod handler;
mod health;
mod marking;
mod negotiation;
mod nonces;
mod pacing;
mod probe;
mod receiving;
mod records;
mod rehearsal;
mod retransmission;
mod sdp;
mod sending;
mod servers;
mod session;
mod sockets;
mod standing;
mod stun;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

pub use credentials::{IceCredentials, Login, SecretSource};
pub use health::{PeerHealth, RelayHealth};
pub use sockets::BareSocket;

use crate::events::EventSender;
use crate::journal_budget::LineBudget;
use crate::media::fanout::Fanout;
use crate::media::inbound::Inbound;
use crate::room::{Generation, PeerEvent, PeerId, PeerOrder};
use health::Counters;
use pacing::Pace;
use retransmission::Commons;
use servers::Servers;
use session::{ORDERS, Parts, Reporter};

/// What [`Peers::shutdown`] may take altogether.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(1500);

static NOT_TAKEN: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Error,
    "orders that a session did not take",
);

/// One STUN or TURN server.
#[derive(Clone)]
pub struct IceServerAccess {
    /// `stun:`, `turn:` and `turns:` URLs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// How a TURN server knows us.
    pub credentials: IceCredentials,
    /// PEM certificates to trust besides the system's, for `turns:`.
    pub ca: Option<SecretSource>,
}

/// What the peer connections need to know of the settings. A change holds for connections opened after it.
#[derive(Clone, Default)]
pub struct RtcSettings {
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServerAccess>,
    /// `http://HOST:PORT`: TURN over TCP and TLS goes by this proxy.
    pub proxy: Option<String>,
    /// Only relayed candidates are used.
    pub relay_only: bool,
}

/// All peer connections.
pub struct Peers {
    servers: Arc<Servers>,
    /// Of the connectivity checks of all connections.
    pace: Arc<Pace>,
    fanout: Arc<Fanout>,
    inbound: Inbound,
    events: EventSender,
    resending: Arc<Commons>,
    sessions: BTreeMap<(PeerId, Generation), Session>,
}

/// The near end of a session.
struct Session {
    orders: Option<mpsc::Sender<PeerOrder>>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
    closing: bool,
    /// Its task has panicked: kept until the room closes it.
    panicked: Arc<AtomicBool>,
}

impl Peers {
    /// No connections yet. `fanout` feeds them, `inbound` takes what they receive, `events` hears from them.
    pub fn new(
        settings: RtcSettings,
        fanout: Arc<Fanout>,
        inbound: Inbound,
        events: EventSender,
    ) -> Self {
        Self {
            servers: Arc::new(Servers::new(&settings)),
            pace: Arc::default(),
            fanout,
            inbound,
            events,
            resending: Arc::default(),
            sessions: BTreeMap::new(),
        }
    }

    /// New settings, for the connections opened from now on.
    pub fn set_settings(&mut self, settings: RtcSettings) {
        self.servers = Arc::new(Servers::new(&settings));
    }

    /// Hands an order to its session; never blocks. Must be called within the runtime. An order for a
    /// generation that is not open, or is being closed, is ignored; one for a session whose task has panicked is
    /// answered with a failure, and `Close` with `Closed`, so that nobody waits for a report that cannot come.
    pub fn order(&mut self, peer: PeerId, generation: Generation, order: PeerOrder) {
        self.sessions.retain(|_, session| {
            !session.task.is_finished() || session.panicked.load(Ordering::Relaxed)
        });
        let key = (peer, generation);
        if order == PeerOrder::Open && !self.sessions.contains_key(&key) {
            let session = self.open(&key.0, generation);
            self.sessions.insert(key, session);
            return;
        }
        let Some(session) = self
            .sessions
            .get_mut(&key)
            .filter(|session| !session.closing)
        else {
            log::debug!(peer = key.0.as_str(); "an order for generation {} came too late", generation.0);
            return;
        };
        let reporter = Reporter {
            peer: key.0.clone(),
            generation,
            events: self.events.clone(),
        };
        if session.panicked.load(Ordering::Relaxed) {
            if order == PeerOrder::Close {
                self.sessions.remove(&key);
            }
            return reporter.answer_for_the_dead(order);
        }
        let Some(orders) = &session.orders else {
            return reporter.refuse(order, "the connection takes no orders");
        };
        session.closing = order == PeerOrder::Close;
        if let Err(mpsc::error::TrySendError::Full(order)) = orders.try_send(order) {
            if NOT_TAKEN.admits(key.0.as_str()) {
                log::error!(peer = key.0.as_str(); "a session does not take its orders; closing it instead of {order:?}");
            }
            // Without a sender it closes after what it has; the room is told that its order failed.
            session.orders = None;
            reporter.report(PeerEvent::SessionDied {
                message: "the connection takes no orders".to_owned(),
            });
        }
    }

    fn open(&self, peer: &PeerId, generation: Generation) -> Session {
        let (orders, orders_out) = mpsc::channel(ORDERS);
        let counters = Arc::new(Counters::default());
        let reporter = Reporter {
            peer: peer.clone(),
            generation,
            events: self.events.clone(),
        };
        let session = session::run(Parts {
            servers: Arc::clone(&self.servers),
            pace: Arc::clone(&self.pace),
            slot: self.fanout.subscribe(),
            inbound: self.inbound.add_peer(peer.clone(), generation),
            orders: orders_out,
            reporter: reporter.clone(),
            counters: Arc::clone(&counters),
            resending: Arc::clone(&self.resending),
        });
        let panicked = Arc::new(AtomicBool::new(false));
        let panicked_in = Arc::clone(&panicked);
        let task = tokio::spawn(async move {
            // The runtime swallows a panic (ours, or the crate's over a description); the room must hear of it.
            if tokio::spawn(session).await.is_err() {
                panicked_in.store(true, Ordering::Relaxed);
                reporter.report(PeerEvent::SessionDied {
                    message: "the connection's task has panicked".to_owned(),
                });
            }
        });
        Session {
            orders: Some(orders),
            counters,
            task,
            closing: false,
            panicked,
        }
    }

    /// What each connection that is not being closed has carried.
    pub fn health(&self) -> Vec<PeerHealth> {
        self.sessions
            .iter()
            .filter(|(_, session)| !session.closing && !session.task.is_finished())
            .map(|((peer, generation), session)| session.counters.health(peer.clone(), *generation))
            .collect()
    }

    /// What is known of each TURN server of the settings.
    pub fn relays(&self) -> Vec<RelayHealth> {
        self.servers.health()
    }

    /// Closes every connection and waits for it, within 1.5 s altogether.
    pub async fn shutdown(&mut self) {
        let deadline = Instant::now() + SHUTDOWN_LIMIT;
        let sessions = std::mem::take(&mut self.sessions);
        let tasks: Vec<_> = sessions
            .into_iter()
            // A session without a way to get orders closes.
            .map(|(key, session)| (key, session.task))
            .collect();
        for ((peer, _), task) in tasks {
            if timeout_at(deadline, task).await.is_err() {
                log::warn!(peer = peer.as_str(); "a connection is not closed yet at the end");
            }
        }
    }
}
