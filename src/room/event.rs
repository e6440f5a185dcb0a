//! Facts that reach the room, and wishes that may be denied.

use super::message::ServerMessage;
use super::settings::RoomSettings;
use super::types::{
    Button, ConnectionState, Generation, IceCandidate, IceConnectionState, NegotiationId, PeerId,
    RequestId, Sdp, SessionId, Timestamp,
};

/// What the state file said at start (interfaces: who may open the microphone, rule 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persisted {
    /// There never was one: the first start ever.
    Absent,
    /// It could not be read or understood: muted and camera off.
    Unreadable,
    /// As it was left.
    Known(PersistedState),
}

/// The content of the state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistedState {
    /// The microphone is muted.
    pub muted: bool,
    /// The camera is off.
    pub camera_off: bool,
    /// [`RoomSettings::place`] at the time: another server or meeting joins muted and camera off.
    pub place: String,
}

/// Why a signaling connection could not be opened or is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignalingFailure {
    /// Nobody answered, or the connection broke: worth trying again.
    Unreachable {
        /// What was attempted and what happened; no secrets.
        message: String,
    },
    /// The server answered and said no (HTTP 4xx of login or join, a refused handshake).
    Refused {
        /// What was attempted and what the server said; no secrets.
        message: String,
        /// An operator must act before a retry can succeed (blocked, wrong password); otherwise the state
        /// may pass by itself (meeting not live yet, full, locked).
        needs_operator: bool,
    },
}

/// Who wished for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A press in the room.
    Panel,
    /// A control client, named for the journal ("uid 1000, pid 4242").
    Control(String),
    /// A host of the meeting.
    Host,
    /// The camera's privacy shutter.
    Shutter,
}

/// Who knows that the camera's lens is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutter {
    /// The camera itself (`V4L2_CID_PRIVACY`).
    Camera,
    /// A switch beside it (`SW_CAMERA_LENS_COVER`).
    Switch,
}

/// A wish that may be denied. There is no `Unmute` and no `CameraOn`: only a press in the room
/// opens, and a press is not a wish but an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Close the microphone.
    Mute,
    /// Close the camera.
    CameraOff,
    /// Start the screen share.
    ShareOn,
    /// Stop the screen share.
    ShareOff,
    /// Press a button of a simulated panel.
    Press(Button),
    /// Join the configured meeting.
    Join,
    /// Leave the meeting and stay away until `Join`.
    Leave,
    /// Show which box this is: all lights fast for some seconds.
    Identify,
}

/// Why a wish was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedReason {
    /// Presses are accepted from the control socket only while the panel is simulated.
    PanelNotSimulated,
    /// No meeting is configured.
    Unconfigured,
    /// No screen source is configured.
    NoScreenSource,
    /// A host ended the share, so that a press must begin it again.
    ShareForced,
    /// There is nobody to share a screen with.
    NotInMeeting,
    /// The daemon is stopping.
    Stopping,
}

impl DeniedReason {
    /// The sentence a person gets, with what to do.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PanelNotSimulated => {
                "presses are accepted here only while the panel is simulated; press the button in the room"
            }
            Self::Unconfigured => "no meeting is configured; set [signaling] meeting and user",
            Self::NoScreenSource => "no screen source is configured; set [screen] device",
            Self::ShareForced => {
                "a host of the meeting has ended the share; press the share button in the room"
            }
            Self::NotInMeeting => "the box is in no meeting; `huddlectl join` joins",
            Self::Stopping => "the daemon is stopping",
        }
    }
}

/// The standing loops whose progress feeds the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Camera capture and encoding.
    Video,
    /// Microphone capture and encoding.
    Microphone,
    /// Decoding, mixing and playback.
    Speaker,
    /// Screen capture and encoding.
    Screen,
    /// The signaling shell.
    Signaling,
    /// The control socket.
    Control,
}

impl Stage {
    /// The name in notices.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Microphone => "microphone",
            Self::Speaker => "speaker",
            Self::Screen => "screen",
            Self::Signaling => "signaling",
            Self::Control => "control",
        }
    }
}

/// What one peer connection reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// `CreateOffer` succeeded: the offer is the local description.
    OfferCreated {
        /// Which order this answers.
        negotiation: NegotiationId,
        /// The offer to send.
        sdp: Sdp,
    },
    /// `AcceptOffer` succeeded: the answer is the local description.
    AnswerCreated {
        /// Which order this answers.
        negotiation: NegotiationId,
        /// The answer to send.
        sdp: Sdp,
    },
    /// `AcceptAnswer` succeeded; signaling state is stable.
    AnswerApplied {
        /// Which order this answers.
        negotiation: NegotiationId,
    },
    /// `Rollback` succeeded; signaling state is stable.
    RolledBack {
        /// Which order this answers.
        negotiation: NegotiationId,
    },
    /// An order of a negotiation failed (bad SDP from outside, wrong state).
    NegotiationFailed {
        /// Which order this answers.
        negotiation: NegotiationId,
        /// What was attempted and what happened; never the description itself.
        message: String,
    },
    /// A local candidate was gathered.
    LocalCandidate {
        /// The negotiation whose local description was current.
        negotiation: NegotiationId,
        /// The candidate.
        candidate: IceCandidate,
    },
    /// `connectionState` changed.
    ConnectionState(ConnectionState),
    /// `iceConnectionState` changed.
    IceConnectionState(IceConnectionState),
    /// When the newest RTP packet of each stream arrived over this connection; `None`: none has yet. Said twice a second
    /// while packets arrive, at once when they arrive again after a pause, and never in a silence.
    PacketsArrived {
        /// The peer's voice.
        audio: Option<Timestamp>,
        /// The peer's camera.
        video: Option<Timestamp>,
    },
    /// When the newest packet of the peer's second stream of pictures arrived; told as [`Self::PacketsArrived`] is.
    ScreenArrived {
        /// The packet's arrival.
        at: Timestamp,
    },
    /// The peer asked for a keyframe (PLI or FIR), its slot overflowed, or it just connected.
    KeyframeRequested,
    /// The same of our screen.
    ScreenKeyframeRequested,
    /// A connection to a relay was lost, perhaps the one that this path goes by.
    RelayLost,
    /// The connection ended while nobody was closing it.
    SessionDied {
        /// What was seen.
        message: String,
    },
    /// `Close` is done; nothing more comes from this generation.
    Closed,
}

/// A fact. Past tense throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Devices are probed and the shells stand.
    Started {
        /// The state file.
        persisted: Persisted,
    },
    /// SIGTERM or SIGINT.
    StopRequested,
    /// New settings were accepted.
    SettingsChanged(Box<RoomSettings>),

    /// The namespace is joined; messages may be sent.
    SignalingOpened {
        /// Which connection.
        session: SessionId,
    },
    /// The connection could not be opened or is gone. Reported once per session.
    SignalingClosed {
        /// Which connection.
        session: SessionId,
        /// Why.
        failure: SignalingFailure,
    },
    /// A message arrived.
    MessageReceived {
        /// On which connection.
        session: SessionId,
        /// What it said.
        message: ServerMessage,
    },
    /// Something arrived that means nothing to a box (unknown event, chat): proof of life only.
    ActivitySeen {
        /// On which connection.
        session: SessionId,
    },

    /// A peer connection reported.
    Peer {
        /// Whose.
        peer: PeerId,
        /// Of which connection.
        generation: Generation,
        /// What.
        event: PeerEvent,
    },

    /// The machine's link to the network changed: an interface, an address or a route came or went.
    LinkChanged {
        /// Something but this machine itself can be reached. Also where there is nothing but the loopback interface.
        up: bool,
    },

    /// The microphone pipeline applied an order: this is what leaves the encoder from now on.
    MicrophoneConfirmed {
        /// Silence leaves.
        muted: bool,
    },
    /// The camera pipeline applied an order.
    CameraConfirmed {
        /// No picture leaves.
        off: bool,
    },
    /// The camera is gone (`true`) or back (`false`).
    CameraLost(bool),
    /// The screen pipeline applied an order.
    ScreenConfirmed {
        /// Pictures leave.
        on: bool,
    },
    /// The screen's source was found (`true`) or is gone (`false`).
    ScreenSource(bool),
    /// The lens of the camera is covered or free; told where it is covered at the start, and at each change.
    LensCovered {
        /// Who says so.
        by: Shutter,
        /// Covered.
        covered: bool,
    },
    /// The state file was renamed into place and, if ordered, synced; or that failed.
    StatePersisted {
        /// What was written.
        state: PersistedState,
        /// Why not.
        error: Option<String>,
    },

    /// A line of the panel changed.
    ButtonEdge {
        /// Which button.
        button: Button,
        /// Down (`true`) or up.
        pressed: bool,
        /// Kernel time of the edge.
        at: Timestamp,
    },
    /// Where a switch of the panel stands; told at the start and at each change.
    SwitchSet {
        /// What it switches.
        button: Button,
        /// It stands at closed.
        closed: bool,
        /// Somebody moved it; at the start nobody did.
        moved: bool,
    },
    /// A control client wishes something and waits for [`super::Effect::Reply`].
    CommandReceived {
        /// To be named in the reply.
        request: RequestId,
        /// The wish.
        command: Command,
        /// Whose.
        source: Source,
    },
    /// How far each standing loop has counted; sent at a quarter of the watchdog's interval.
    BeatsCounted(Vec<(Stage, u64)>),
}
