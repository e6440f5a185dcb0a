//! Orders to the shells. Imperative throughout; they return nothing, and those that can fail have
//! an event that reports it.

use super::event::{DeniedReason, PersistedState};
use super::message::ClientMessage;
use super::notice::Notice;
use super::types::{
    ConnectionState, Generation, IceCandidate, IceConnectionState, Led, NegotiationId, Pattern,
    PeerId, RequestId, Sdp, SessionId,
};

/// An order to one peer connection. A session executes its orders strictly in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerOrder {
    /// Build the connection with its sending tracks in m-line order audio, camera(, screen).
    Open,
    /// Create an offer and make it the local description; answered by `OfferCreated`.
    CreateOffer {
        /// To be named in the report.
        negotiation: NegotiationId,
        /// With fresh ICE credentials. The old path must live on until the answer is applied: a peer that cannot hear us
        /// loses nothing.
        ice_restart: bool,
    },
    /// From the next description on the connection carries our screen, as a stream of its own (or no longer).
    SetScreen {
        /// It does.
        on: bool,
    },
    /// The next offer has at least so many m-lines; those missing are video, to receive only.
    ReserveSections(usize),
    /// Apply an offer, create an answer and make it the local description; answered by `AnswerCreated`.
    AcceptOffer {
        /// To be named in the report.
        negotiation: NegotiationId,
        /// The offer.
        sdp: Sdp,
    },
    /// Apply an answer; answered by `AnswerApplied`.
    AcceptAnswer {
        /// The negotiation of our offer.
        negotiation: NegotiationId,
        /// The answer.
        sdp: Sdp,
    },
    /// Take our offer back; answered by `RolledBack`.
    Rollback {
        /// The negotiation of our offer.
        negotiation: NegotiationId,
    },
    /// Add a remote candidate; only after a remote description was applied.
    AddCandidate(IceCandidate),
    /// Ask the peer for a keyframe (RTCP PLI).
    RequestKeyframe,
    /// Close; answered by `Closed`. The last order of a generation.
    Close,
}

/// What happened, for people and programs that watch; the seeds' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomEvent {
    /// `connection-state-changed`.
    ConnectionStateChanged {
        /// Whose.
        peer: PeerId,
        /// Now.
        state: ConnectionState,
        /// Before.
        previous: ConnectionState,
    },
    /// `ice-connection-state-changed`.
    IceConnectionStateChanged {
        /// Whose.
        peer: PeerId,
        /// Now.
        state: IceConnectionState,
        /// Before.
        previous: IceConnectionState,
    },
    /// `peer-connected`.
    PeerConnected {
        /// Who.
        peer: PeerId,
    },
    /// `peer-disconnected`: left, or its connection is lost.
    PeerDisconnected {
        /// Who.
        peer: PeerId,
    },
    /// `reconnecting`.
    Reconnecting {
        /// Who.
        peer: PeerId,
        /// Which attempt, from 1.
        attempt: u32,
        /// How many fast attempts there are.
        max_attempts: u32,
    },
    /// `reconnected`.
    Reconnected {
        /// Who.
        peer: PeerId,
        /// How many attempts it took.
        attempts: u32,
    },
    /// `reconnect-failed`: the fast attempts are used up; slow ones go on.
    ReconnectFailed {
        /// Who.
        peer: PeerId,
        /// How many attempts were made.
        attempts: u32,
    },
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Log in and join over REST if configured, connect, report `SignalingOpened` or `SignalingClosed`.
    OpenSignaling {
        /// The new connection's number.
        session: SessionId,
    },
    /// Send a message; silently dropped if the connection is gone (its loss is reported anyway).
    Send {
        /// On which connection.
        session: SessionId,
        /// What.
        message: ClientMessage,
    },
    /// Drop the connection, after what was sent before has left. No `SignalingClosed` follows.
    CloseSignaling {
        /// Which connection.
        session: SessionId,
        /// Tell the REST interface that we left, too.
        leave: bool,
    },

    /// An order to a peer connection.
    Peer {
        /// Whose.
        peer: PeerId,
        /// Which connection.
        generation: Generation,
        /// What.
        order: PeerOrder,
    },

    /// Open or close the gate of the microphone; answered by `MicrophoneConfirmed`.
    SetMicrophone {
        /// Closed.
        muted: bool,
    },
    /// Start or stop the camera; answered by `CameraConfirmed`.
    SetCamera {
        /// Stopped.
        off: bool,
    },
    /// Start or stop the screen; answered by `ScreenConfirmed`.
    SetScreen {
        /// Started.
        on: bool,
    },
    /// Encode the camera's next frame as a keyframe.
    OrderKeyframe,
    /// Encode the screen's next frame as a keyframe.
    OrderScreenKeyframe,
    /// Write the state file; answered by `StatePersisted`.
    PersistState {
        /// What to write.
        state: PersistedState,
        /// Report only after it is synced to the disk (unmute), or as soon as it is renamed (mute).
        sync: bool,
    },

    /// Show a pattern.
    SetLed {
        /// Which light.
        led: Led,
        /// What it shows.
        pattern: Pattern,
    },
    /// Write to the journal.
    Notify(Notice),
    /// Tell watchers.
    Publish(RoomEvent),
    /// Answer a control client.
    Reply {
        /// Which request.
        request: RequestId,
        /// Done or denied.
        result: Result<(), DeniedReason>,
    },
    /// Tell the service manager that we are ready; once.
    ReportReady,
    /// One sentence for `systemctl status`.
    ReportStatus(String),
    /// Feed the service manager's watchdog.
    FeedWatchdog,
    /// Everything is closed: end the process with success.
    Exit,
}
