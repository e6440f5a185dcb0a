//! What the control socket needs of the program around it.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::room::{Command, DeniedReason, PeerId, RoomEvent, RoomSnapshot, Source, Timestamp};

/// A wish on its way to the room.
#[derive(Debug)]
pub struct ControlRequest {
    /// The wish.
    pub command: Command,
    /// Whose: always [`Source::Control`], with the caller's uid and pid.
    pub source: Source,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<(), DeniedReason>>,
}

/// Why there is no picture of a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// Nothing was decoded yet.
    #[error("no picture of this member has arrived yet; its camera may be off")]
    NoneYet,
    /// Nothing is shared, or nothing was decoded of it yet.
    #[error("no picture of this member's screen has arrived; it may share none")]
    NoScreen,
    /// It could not be encoded.
    #[error("the picture cannot be made: {0}")]
    Failed(String),
}

/// Makes the newest picture of a member as PNG. Called where blocking is allowed.
pub type PictureSource =
    Arc<dyn Fn(&PeerId, Pictured) -> Result<Vec<u8>, PictureError> + Send + Sync>;

/// Which picture of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pictured {
    /// Its camera's.
    Camera,
    /// Its shared screen's.
    Screen,
}

impl Pictured {
    /// The screen's, or not.
    pub(super) fn of(screen: bool) -> Self {
        if screen { Self::Screen } else { Self::Camera }
    }
}

/// Reads the configuration again; the error is one sentence for a person. Called where blocking is allowed.
pub type Reload = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Looks for a remote configuration now and says what came of it, in a sentence; the error too. Called where blocking is
/// allowed.
pub type Look = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Collects counters and levels of the pipelines. Called where blocking is allowed.
pub type Health = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// The program's end: where wishes go, and where what is shown comes from.
#[derive(Clone)]
pub struct Backend {
    /// Wishes, to the driver.
    pub commands: mpsc::Sender<ControlRequest>,
    /// The room, from the driver.
    pub snapshots: watch::Receiver<Arc<RoomSnapshot>>,
    /// What happened. Each watcher subscribes; the channel's capacity is what a slow one may lag behind.
    pub events: broadcast::Sender<RoomEvent>,
    /// For `picture`.
    pub picture: PictureSource,
    /// For `health`.
    pub health: Health,
    /// For `reload`.
    pub reload: Reload,
    /// For `fetch`.
    pub look: Look,
    /// The clock of the snapshot's timestamps.
    pub clock: fn() -> Timestamp,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}
