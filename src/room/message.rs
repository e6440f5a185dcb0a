//! The application's messages as values. `wire` reads and writes their JSON; nothing here knows it.

use super::text::Shown;
use super::types::{Dialect, IceCandidate, PeerId, Sdp};

/// One row of the server's list of participants. Rows are a hint, not proof of life: they are
/// online from the REST join on and can be ghosts after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// The member.
    pub user: PeerId,
    /// Display name, if the server sent one.
    pub name: Option<Shown>,
    /// What the server believes about the microphone.
    pub muted: Option<bool>,
    /// What the server believes about the camera.
    pub video_off: Option<bool>,
}

/// A message from the server that means something to a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// `meeting:joined`: the only positive join signal.
    Joined {
        /// Whom the server joined: ourselves.
        user: PeerId,
    },
    /// `meeting:participants`: all online rows, ourselves included.
    Participants(Vec<Participant>),
    /// `meeting:user-joined`: somebody joined, or an answer to `meeting:request-peers`.
    UserJoined(Participant),
    /// `meeting:user-left` (`room:user-left`).
    UserLeft {
        /// Who; our own id when the server noticed an old connection of ours die.
        user: PeerId,
    },
    /// `error` or `meeting:join-error`: an ordinary event with a text.
    ServerError {
        /// The server's words.
        message: String,
    },
    /// `media:error`: a report about media was refused.
    MediaError {
        /// The server's words.
        message: String,
    },
    /// `exception`: a handler of the server threw.
    Exception {
        /// The server's words, without the echoed payload.
        message: String,
    },
    /// `media:peer-ready` or `webrtc:peer-ready`.
    PeerReady {
        /// Who has capture running and wants to be called.
        user: PeerId,
        /// Under which name it came.
        dialect: Dialect,
    },
    /// `media:offer` or `webrtc:offer`.
    Offer {
        /// Sender.
        from: PeerId,
        /// The offer.
        sdp: Sdp,
        /// Under which name it came.
        dialect: Dialect,
        /// `roomId`, which only the media dialect carries.
        room: Option<String>,
    },
    /// `media:answer` or `webrtc:answer`.
    Answer {
        /// Sender.
        from: PeerId,
        /// The answer.
        sdp: Sdp,
        /// Under which name it came.
        dialect: Dialect,
        /// `roomId`, which only the media dialect carries.
        room: Option<String>,
    },
    /// `media:ice-candidate` or `webrtc:ice-candidate`.
    Candidate {
        /// Sender.
        from: PeerId,
        /// The candidate.
        candidate: IceCandidate,
        /// Under which name it came.
        dialect: Dialect,
        /// `roomId`, which only the media dialect carries.
        room: Option<String>,
    },
    /// `webrtc:error`: the target of our message is unknown to the server.
    Undeliverable {
        /// Whom we tried to reach.
        target: PeerId,
        /// The server's words.
        message: String,
    },
    /// `media:user-muted`: an echo of our own report, a host's order, or another member's state.
    UserMuted {
        /// Whose microphone.
        user: PeerId,
        /// The state.
        muted: bool,
    },
    /// `media:user-video-off`.
    UserVideoOff {
        /// Whose camera.
        user: PeerId,
        /// The state.
        video_off: bool,
    },
    /// `media:user-screen-share`.
    UserScreenShare {
        /// Whose screen.
        user: PeerId,
        /// The state.
        sharing: bool,
    },
    /// `media:participant-state-updated`: any of the three, absent if unchanged.
    ParticipantStateUpdated {
        /// Whose state.
        user: PeerId,
        /// Microphone.
        muted: Option<bool>,
        /// Camera.
        video_off: Option<bool>,
        /// Screen share.
        sharing: Option<bool>,
    },
    /// `user:kicked`. The server leaves the socket in the room; whoever is meant must go by itself.
    Kicked {
        /// Who.
        user: PeerId,
        /// The host's reason.
        reason: Option<String>,
    },
    /// `user:blocked`.
    Blocked {
        /// Who.
        user: PeerId,
        /// The host's reason.
        reason: Option<String>,
    },
}

/// A message of ours to the server. The meeting and our own id are the session's, so `wire` adds
/// them from [`Identity`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// `meeting:join`.
    Join,
    /// `meeting:leave`.
    Leave,
    /// `meeting:request-peers`.
    RequestPeers,
    /// `media:ready` or `webrtc:ready`.
    Ready {
        /// Which name.
        dialect: Dialect,
    },
    /// An offer to one member.
    Offer {
        /// Addressee.
        target: PeerId,
        /// The offer.
        sdp: Sdp,
        /// Which name.
        dialect: Dialect,
    },
    /// An answer to one member.
    Answer {
        /// Addressee.
        target: PeerId,
        /// The answer.
        sdp: Sdp,
        /// Which name.
        dialect: Dialect,
    },
    /// A candidate for one member.
    Candidate {
        /// Addressee.
        target: PeerId,
        /// The candidate.
        candidate: IceCandidate,
        /// Which name.
        dialect: Dialect,
    },
    /// `media:toggle-mic`: despite its name the absolute state.
    ToggleMic {
        /// The state.
        muted: bool,
    },
    /// `media:toggle-video`: despite its name the absolute state.
    ToggleVideo {
        /// The state.
        video_off: bool,
    },
    /// `media:screen-share`.
    ScreenShare {
        /// The state.
        sharing: bool,
    },
}

/// Who we are in which meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The meeting's id, which is also the Socket.IO room's name.
    pub meeting: String,
    /// Our own user id.
    pub user: PeerId,
}
