//! What every way in has in common: the socket and the page ask the same of the program and log it alike.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot, watch};
use tokio::time::timeout;

use crate::room::{Command, PeerId, RoomEvent, RoomSnapshot, Source};

use super::backend::{Backend, ControlRequest, Pictured};
use super::mirror::Snapshot;
use super::protocol::{ErrorCode, ReplyError, Wish};

/// How long the room may take to answer a command.
const ANSWER: Duration = Duration::from_secs(5);

impl Backend {
    /// The room now.
    pub(super) fn status(&self) -> Snapshot {
        let room = Arc::clone(&self.snapshots.borrow());
        self.show(&room)
    }

    /// The room as it was told, with durations up to now.
    pub(super) fn show(&self, room: &RoomSnapshot) -> Snapshot {
        Snapshot::new(room, (self.clock)())
    }

    /// Puts a wish of `client` to the room and waits for its answer.
    pub(super) async fn command(&self, command: Command, client: &str) -> Result<(), ReplyError> {
        let (reply, answer) = oneshot::channel();
        let request = ControlRequest {
            command,
            source: Source::Control(client.to_owned()),
            reply,
        };
        let asked = async {
            self.commands.send(request).await.ok()?;
            answer.await.ok()
        };
        match timeout(ANSWER, asked).await {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(denied))) => Err(ReplyError::new(ErrorCode::Denied, denied.as_str())),
            Ok(None) => Err(ReplyError::new(
                ErrorCode::Unavailable,
                "the daemon is stopping",
            )),
            Err(_) => Err(ReplyError::new(
                ErrorCode::Unavailable,
                "the daemon did not answer in time; see its journal",
            )),
        }
    }

    /// The newest picture of `user`, or of the only other member: a PNG, wrapped where blocking is allowed.
    pub(super) async fn newest_picture<T: Send + 'static>(
        &self,
        user: Option<&str>,
        what: Pictured,
        wrap: impl FnOnce(Vec<u8>) -> T + Send + 'static,
    ) -> Result<(PeerId, T), ReplyError> {
        let room = Arc::clone(&self.snapshots.borrow());
        let user = choose(&room, user)?;
        let picture = Arc::clone(&self.picture);
        let wrapped = blocking({
            let user = user.clone();
            move || picture(&user, what).map(wrap)
        })
        .await?
        .map_err(|error| ReplyError::new(ErrorCode::NoPicture, error.to_string()))?;
        Ok((user, wrapped))
    }

    /// The counters and levels of the pipelines.
    pub(super) async fn counters(&self) -> Result<Value, ReplyError> {
        let health = Arc::clone(&self.health);
        blocking(move || health()).await
    }

    /// Reads the configuration again.
    pub(super) async fn reload_configuration(&self) -> Result<(), ReplyError> {
        let reload = Arc::clone(&self.reload);
        blocking(move || reload())
            .await?
            .map_err(|message| ReplyError::new(ErrorCode::Rejected, message))
    }
}

impl Backend {
    /// Looks for a remote configuration now.
    pub(super) async fn fetch_configuration(&self) -> Result<String, ReplyError> {
        let look = Arc::clone(&self.look);
        blocking(move || look())
            .await?
            .map_err(|message| ReplyError::new(ErrorCode::Unavailable, message))
    }
}

/// Writes to the journal who changed what, and what came of it.
pub(super) fn note_change<T>(wish: &Wish, client: &str, result: &Result<T, ReplyError>) {
    let outcome = match result {
        Ok(_) => "done",
        Err(error) => &error.message,
    };
    log::info!(client = client; "{} by {client}: {outcome}", wish.describe());
}

// Whose picture is meant.
fn choose(room: &RoomSnapshot, user: Option<&str>) -> Result<PeerId, ReplyError> {
    let choices = || {
        let ids: Vec<&str> = room.peers.iter().map(|peer| peer.user.as_str()).collect();
        ids.join(", ")
    };
    let refuse = |message: String| Err(ReplyError::new(ErrorCode::BadArguments, message));
    match (user, room.peers.as_slice()) {
        (_, []) => Err(ReplyError::new(
            ErrorCode::NoPicture,
            "nobody else is in the meeting",
        )),
        (None, [only]) => Ok(only.user.clone()),
        (None, _) => refuse(format!(
            "several members are here; name one of {}",
            choices()
        )),
        (Some(user), peers) => match peers.iter().find(|peer| peer.user.as_str() == user) {
            Some(peer) => Ok(peer.user.clone()),
            None => refuse(format!("{user} is not here; there are {}", choices())),
        },
    }
}

// Runs what may take long where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReplyError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        log::error!("a control request ended in a defect: {error}");
        ReplyError::new(
            ErrorCode::Unavailable,
            "the daemon has a defect; see its journal",
        )
    })
}

/// A watcher's view: everything from its beginning on, or the news that it was too slow for that.
pub(super) struct Watching {
    events: broadcast::Receiver<RoomEvent>,
    snapshots: watch::Receiver<Arc<RoomSnapshot>>,
}

/// What a watcher is told next.
pub(super) enum Published {
    /// Something happened.
    Event(RoomEvent),
    /// The room, changed; also the first thing told.
    Snapshot(Arc<RoomSnapshot>),
    /// Events were lost because nobody read them.
    TooSlow,
    /// The program ends.
    Ended,
}

impl Watching {
    pub(super) fn begin(backend: &Backend) -> Self {
        let mut snapshots = backend.snapshots.clone();
        // A watcher starts from the whole picture.
        snapshots.mark_changed();
        Self {
            events: backend.events.subscribe(),
            snapshots,
        }
    }

    /// Waits for what is next. Cancel safe.
    pub(super) async fn next(&mut self) -> Published {
        let Self { events, snapshots } = self;
        tokio::select! {
            // What led to a snapshot is told before it.
            biased;
            event = events.recv() => match event {
                Ok(event) => Published::Event(event),
                Err(RecvError::Lagged(_)) => Published::TooSlow,
                Err(RecvError::Closed) => Published::Ended,
            },
            changed = snapshots.changed() => match changed {
                Ok(()) => Published::Snapshot(Arc::clone(&snapshots.borrow_and_update())),
                Err(_) => Published::Ended,
            },
        }
    }
}
