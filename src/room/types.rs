//! The small values everything else is made of: identifiers, W3C states, buttons, lights, time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A moment on the machine's monotonic clock (`CLOCK_MONOTONIC`), as time since boot.
///
/// `room` never reads a clock; every moment comes in as `now`. V4L2 and ALSA stamp with the same
/// clock, so a frame's capture time and a button's edge compare directly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The moment `since_boot` after the machine's boot.
    pub const fn from_duration(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// Milliseconds since boot, a convenience for tests.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// Time since boot.
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    pub fn since(self, earlier: Timestamp) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(rhs))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0.as_secs(), self.0.subsec_millis())
    }
}

/// The application's user id of a member: the only identity that survives a reconnect.
/// Compared as a plain string, as the application's browsers do (negotiation roles hang on it).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(Arc<str>);

impl PeerId {
    /// Wraps an application user id.
    pub fn new(id: &str) -> Self {
        Self(Arc::from(id))
    }

    /// The id as the application spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Numbers the peer connections made for one peer, so that late callbacks of a torn-down
/// connection are dropped by number. Unique across all peers of one `Room`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

/// Numbers the descriptions handled within one generation: an offer that was rolled back still
/// reports, and some browsers send two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NegotiationId(pub u64);

/// Numbers the signaling connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub u64);

/// Numbers the requests of control clients that wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RequestId(pub u64);

/// A value that must not reach a log: its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Redacted<T>(pub T);

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// A session description (RFC 8866). It carries ICE passwords and DTLS fingerprints, so `Debug`
/// shows its length only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sdp(Arc<str>);

impl Sdp {
    /// Wraps the text of a description.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<sdp of {} bytes>", self.0.len())
    }
}

/// A trickled ICE candidate, the members of W3C `RTCIceCandidateInit`. It carries addresses and a user name
/// fragment, so `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IceCandidate {
    /// `candidate:` line without the `a=`.
    pub candidate: String,
    /// `sdpMid`.
    pub sdp_mid: Option<String>,
    /// `sdpMLineIndex`.
    pub sdp_m_line_index: Option<u16>,
    /// `usernameFragment`.
    pub username_fragment: Option<String>,
}

impl fmt::Debug for IceCandidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<candidate of {} bytes>", self.candidate.len())
    }
}

/// The application's two names for the same signaling messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// `media:offer`, `media:answer`, `media:ice-candidate`.
    Media,
    /// `webrtc:offer`, `webrtc:answer`, `webrtc:ice-candidate`.
    Webrtc,
}

/// W3C `RTCPeerConnectionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ConnectionState {
    /// No transport has been used yet.
    #[default]
    New,
    /// ICE or DTLS is being established.
    Connecting,
    /// Every transport is connected.
    Connected,
    /// Connectivity is lost, perhaps for a moment.
    Disconnected,
    /// ICE or DTLS has given up.
    Failed,
    /// `close()` was called.
    Closed,
}

impl ConnectionState {
    /// The W3C spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

/// W3C `RTCIceConnectionState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum IceConnectionState {
    /// Waiting for candidates.
    #[default]
    New,
    /// Checking pairs.
    Checking,
    /// A usable pair was found.
    Connected,
    /// Checks are finished and a pair is in use.
    Completed,
    /// Consent checks are failing.
    Disconnected,
    /// Every pair failed.
    Failed,
    /// Shut down.
    Closed,
}

impl IceConnectionState {
    /// The W3C spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Checking => "checking",
            Self::Connected => "connected",
            Self::Completed => "completed",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

/// The panel's buttons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Button {
    /// Mutes and unmutes the microphone.
    Mic,
    /// Switches the camera.
    Camera,
    /// Starts and stops the screen share.
    Share,
}

impl Button {
    /// The name used in the configuration and by `huddlectl press`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mic => "mic",
            Self::Camera => "camera",
            Self::Share => "share",
        }
    }
}

/// The panel's lights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Led {
    /// Microphone: live or muted.
    Mic,
    /// Camera: on, off or lost.
    Camera,
    /// Connection.
    Status,
}

/// A light's colour; boards with one colour show the shape alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Color {
    /// Muted, off, failed.
    Red,
    /// Live, on, in a meeting.
    Green,
    /// Degraded and being repaired.
    Amber,
    /// Starting, waiting, identify.
    White,
}

impl Color {
    /// The name shown in snapshots.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Amber => "amber",
            Self::White => "white",
        }
    }
}

/// How a light moves. Readable without its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// On.
    Steady,
    /// 1 s on, 1 s off.
    SlowBlink,
    /// 0.5 s on, 0.5 s off.
    Blink,
    /// Two short flashes, then a pause.
    DoubleBlink,
    /// Brightens and dims about once in 3 s.
    SlowPulse,
    /// Brightens and dims about once a second.
    FastPulse,
    /// 0.1 s on, 0.1 s off.
    Fast,
}

impl Shape {
    /// The name shown in snapshots.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::SlowBlink => "slow-blink",
            Self::Blink => "blink",
            Self::DoubleBlink => "double-blink",
            Self::SlowPulse => "slow-pulse",
            Self::FastPulse => "fast-pulse",
            Self::Fast => "fast",
        }
    }
}

/// What one light shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The colour.
    pub color: Color,
    /// The movement.
    pub shape: Shape,
}

impl Pattern {
    /// A pattern from its two parts.
    pub const fn new(color: Color, shape: Shape) -> Self {
        Self { color, shape }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.color.as_str(), self.shape.as_str())
    }
}

/// Bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(pub u32);
