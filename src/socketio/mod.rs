//! FLOOR 2: the client of the application's Socket.IO server. It connects, forwards and reports, tries once per
//! order and has no reconnect policy of its own: that is the room's.
//!
//! One standing thread serves one session at a time. Each session has a runtime of its own on that thread, because
//! `rust_socketio` spawns tasks it gives no handle of, and some of them outlive their connection (a half-open socket,
//! a disconnect of the namespace alone). Dropping the runtime is the one certain end of its tasks and descriptors.
//!
//! ```text
//!            open              namespace joined
//!   idle ----------> opening -------------------> open ---+ SignalingOpened, MessageReceived, ActivitySeen
//!    ^                  |                           |
//!    +------------------+---------------------------+ SignalingClosed, or an order to close
//! ```

mod link;
mod probe;
mod rest;
mod session;
mod trust;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use crate::events::EventSender;
use crate::room::{ClientMessage, Event, Identity, Redacted, SessionId, SignalingFailure};

pub use probe::{Answer, probe};

/// How many orders may wait for the thread. It always takes them at once, so filling this is a defect and is logged.
const CAPACITY: usize = 1024;

/// How often the standing thread beats at least, whether a session is open or not.
const BEAT: Duration = Duration::from_secs(1);

/// How long [`Client::shutdown`] waits: longer than the close of a session may take.
const SHUTDOWN: Duration = Duration::from_millis(1900);

/// Where the server is, and as whom to go there.
#[derive(Clone)]
pub struct Access {
    /// Origin of REST and Socket.IO alike, such as `https://meet.example.org`.
    pub url: String,
    /// REST prefix, such as `/api/v1`.
    pub api: String,
    /// The meeting and our own id.
    pub identity: Identity,
    /// What to be called: the application knows its users' names and ignores it, our own hub does not.
    pub name: String,
    /// Join by `classrooms/{classroom}/meetings/{meeting}/join` instead of `public-meetings/{meeting}/join`.
    pub classroom: Option<String>,
    /// Email and password of `POST auth/login`. Preferred to `token`, because it gives a fresh one every time.
    pub login: Option<(String, Redacted<String>)>,
    /// A bearer token.
    pub token: Option<Redacted<String>>,
    /// PEM certificates to trust besides the system's.
    pub ca: Option<Vec<u8>>,
}

/// What the thread is told.
enum Command {
    Open {
        session: SessionId,
        access: Box<Result<Access, String>>,
    },
    Send {
        session: SessionId,
        message: ClientMessage,
    },
    Close {
        session: SessionId,
        leave: bool,
    },
}

/// The signaling client: the handle of its standing thread.
pub struct Client {
    commands: mpsc::Sender<Command>,
    beats: Arc<AtomicU64>,
    ended: oneshot::Receiver<()>,
}

impl Client {
    /// Starts the standing thread. Facts go to `events`: per session at most one `SignalingOpened`, then messages, and
    /// exactly one `SignalingClosed` unless it was closed by order.
    ///
    /// # Errors
    /// The system gives no thread or no event queue.
    pub fn new(events: EventSender) -> std::io::Result<Client> {
        let (commands, orders) = mpsc::channel(CAPACITY);
        let (alive, ended) = oneshot::channel();
        let beats = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&beats);
        let idle = runtime()?;
        std::thread::Builder::new()
            .name("signaling".into())
            .spawn(move || {
                stand(&idle, orders, &events, &counter);
                drop(alive);
            })?;
        Ok(Client {
            commands,
            beats,
            ended,
        })
    }

    /// Logs in and joins over REST, then connects; answered by `SignalingOpened` or `SignalingClosed`. `access` is an
    /// error when its secrets could not be read, which the room hears as a refusal. A session that is still open ends
    /// without a report.
    pub fn open(&mut self, session: SessionId, access: Result<Access, String>) {
        self.order(Command::Open {
            session,
            access: Box::new(access),
        });
    }

    /// Sends a message after those sent before. Dropped silently unless this session is open: its loss is reported
    /// anyway.
    pub fn send(&mut self, session: SessionId, message: ClientMessage) {
        self.order(Command::Send { session, message });
    }

    /// Sends what was queued (up to 500 ms), tells the REST interface that we left if `leave` (up to 700 ms), and
    /// disconnects. No `SignalingClosed` follows.
    pub fn close(&mut self, session: SessionId, leave: bool) {
        self.order(Command::Close { session, leave });
    }

    /// How far the standing thread has counted; it beats once a second at least, except for up to 1.5 s
    /// of a close.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Resolves when the standing thread has ended, which happens only by a defect while this handle lives.
    pub async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }

    /// Closes what is open, ends the thread and waits for it, 1.9 s at most.
    pub async fn shutdown(self) {
        drop(self.commands);
        if tokio::time::timeout(SHUTDOWN, self.ended).await.is_err() {
            log::warn!("the signaling thread did not end within {SHUTDOWN:?}; left behind");
        }
    }

    fn order(&mut self, command: Command) {
        if self.commands.try_send(command).is_err() {
            log::error!("the signaling thread takes no orders; dropped one");
        }
    }
}

/// The life of the standing thread.
fn stand(
    idle: &Runtime,
    mut orders: mpsc::Receiver<Command>,
    events: &EventSender,
    beats: &AtomicU64,
) {
    let mut next = None;
    loop {
        let command = match next.take() {
            Some(command) => Some(command),
            None => idle.block_on(wait(&mut orders, beats)),
        };
        match command {
            None => return,
            Some(Command::Open { session, access }) => {
                next = serve(session, *access, &mut orders, events, beats);
            }
            // For a session that is gone; the room heard of that or closed it itself.
            Some(Command::Send { .. } | Command::Close { .. }) => {}
        }
    }
}

/// The next order, beating meanwhile; `None` when the handle is gone.
async fn wait(orders: &mut mpsc::Receiver<Command>, beats: &AtomicU64) -> Option<Command> {
    loop {
        beats.fetch_add(1, Ordering::Relaxed);
        if let Ok(command) = tokio::time::timeout(BEAT, orders.recv()).await {
            return command;
        }
    }
}

/// One session from its order to its end. Returns the order to open another one, if that was the end of this.
fn serve(
    session: SessionId,
    access: Result<Access, String>,
    orders: &mut mpsc::Receiver<Command>,
    events: &EventSender,
    beats: &AtomicU64,
) -> Option<Command> {
    let refuse = |failure| {
        events.report(Event::SignalingClosed { session, failure });
        None
    };
    let access = match access {
        Ok(access) => access,
        Err(message) => {
            return refuse(SignalingFailure::Refused {
                message,
                needs_operator: true,
            });
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            return refuse(SignalingFailure::Unreachable {
                message: format!("no runtime for the connection: {error}"),
            });
        }
    };
    let next = runtime.block_on(session::run(session, &access, orders, events, beats));
    // Not a plain drop: that would wait for a name look-up which may still hang in the resolver.
    runtime.shutdown_background();
    next
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
