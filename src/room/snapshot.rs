//! What readers may know of the room at one moment.

use super::text::Shown;
use super::types::{ConnectionState, IceConnectionState, Pattern, PeerId, Timestamp};

/// The signaling session's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalingState {
    /// No meeting is configured.
    Unconfigured,
    /// Nothing is wanted: before the start, after `huddlectl leave`, after being kicked or blocked.
    Left,
    /// A connection is being opened.
    Connecting,
    /// Connected; `meeting:join` was sent and not yet confirmed.
    Joining,
    /// In the meeting.
    Joined,
    /// Lost, or never had; the next attempt is scheduled.
    Reconnecting,
    /// The server said no; shown, and tried again slowly where waiting can help.
    Refused,
}

impl SignalingState {
    /// The spelling in the snapshot.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unconfigured => "unconfigured",
            Self::Left => "left",
            Self::Connecting => "connecting",
            Self::Joining => "joining",
            Self::Joined => "joined",
            Self::Reconnecting => "reconnecting",
            Self::Refused => "refused",
        }
    }
}

/// Our own decision about a peer, apart from the library's observed states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerPhase {
    /// A first connection is being made, or waited for.
    Negotiating,
    /// Media may flow.
    Connected,
    /// It was connected and may heal by itself.
    Interrupted,
    /// An ICE restart is under way.
    Restarting,
    /// Waiting for, or making, a new connection.
    Recreating,
    /// The fast attempts are used up; slow ones go on.
    Failed,
}

impl PeerPhase {
    /// The spelling in the snapshot.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Negotiating => "negotiating",
            Self::Connected => "connected",
            Self::Interrupted => "interrupted",
            Self::Restarting => "restarting",
            Self::Recreating => "recreating",
            Self::Failed => "failed",
        }
    }
}

/// The short label a tile shows; `None` when all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Badge {
    /// First connection not there yet.
    Connecting,
    /// Lost and being repaired.
    Reconnecting,
    /// Fast attempts used up.
    Failed,
}

impl Badge {
    /// The words a person reads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "Connecting",
            Self::Reconnecting => "Reconnecting",
            Self::Failed => "Failed",
        }
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSnapshot {
    /// Who.
    pub user: PeerId,
    /// Display name; the id where the server gave none that is visible.
    pub name: Shown,
    /// W3C state of the newest connection.
    pub connection_state: ConnectionState,
    /// The state before it.
    pub previous_connection_state: ConnectionState,
    /// W3C ICE state of the newest connection.
    pub ice_connection_state: IceConnectionState,
    /// Our decision.
    pub phase: PeerPhase,
    /// Attempts made since it was last connected.
    pub attempt: u32,
    /// How many fast attempts there are.
    pub max_attempts: u32,
    /// Since when the connection state holds.
    pub since: Timestamp,
    /// The tile's label.
    pub badge: Option<Badge>,
    /// Announced microphone state; a hint.
    pub muted: bool,
    /// Announced camera state; a hint.
    pub video_off: bool,
    /// Shares a screen, by what it announced and what arrives.
    pub sharing: bool,
}

/// The room at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSnapshot {
    /// Counts the changes.
    pub generation: u64,
    /// Some device is simulated.
    pub sim: bool,
    /// Signaling session.
    pub signaling: SignalingState,
    /// Since when.
    pub signaling_since: Timestamp,
    /// The way to the server is not encrypted and leaves this machine.
    pub signaling_unencrypted: bool,
    /// The sentence across the screen ("Reconnecting to server", "Reconnecting to 2 peer(s)").
    pub banner: Option<String>,
    /// Peers whose connection is `connected`, without ourselves.
    pub connected_peers: usize,
    /// Wanted: muted.
    pub microphone_muted: bool,
    /// What leaves the encoder; `None` until the pipeline has said.
    pub microphone_confirmed: Option<bool>,
    /// A host muted us and nobody has pressed since.
    pub microphone_forced: bool,
    /// Wanted: off.
    pub camera_off: bool,
    /// What the camera pipeline does; `None` until it has said.
    pub camera_confirmed: Option<bool>,
    /// A host switched it off and nobody has pressed since.
    pub camera_forced: bool,
    /// The device is gone.
    pub camera_lost: bool,
    /// The screen share is on.
    pub sharing: bool,
    /// A host stopped it and nobody has pressed since.
    pub screen_forced: bool,
    /// The server's no to the last attempt to share, in its words.
    pub screen_refused: Option<String>,
    /// Mic light.
    pub led_mic: Pattern,
    /// Camera light.
    pub led_camera: Pattern,
    /// Status light.
    pub led_status: Pattern,
    /// Members, ordered by user id.
    pub peers: Vec<PeerSnapshot>,
}
