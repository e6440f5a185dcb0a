//! The snapshot and the events as JSON. `room` is std only, so its types are mirrored here, each taken apart
//! exhaustively: a new field there does not compile until it is decided here.

use serde::{Deserialize, Serialize};

use crate::room::{Pattern, PeerSnapshot, RoomEvent, RoomSnapshot, Timestamp, one_line};

/// Version of the snapshot's schema. Added members do not change it.
const VERSION: u32 = 1;

/// The room at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Of this schema: 1.
    pub version: u32,
    /// Counts the changes.
    pub generation: u64,
    /// Some device is simulated.
    pub sim: bool,
    /// Signaling session.
    pub signaling: SignalingLine,
    /// The sentence across the screen.
    pub banner: Option<String>,
    /// Peers whose connection is `connected`, without ourselves.
    pub connected_peers: usize,
    /// Microphone.
    pub microphone: MicrophoneState,
    /// Camera.
    pub camera: CameraState,
    /// Screen share.
    pub screen: ScreenState,
    /// Lights.
    pub leds: Leds,
    /// Members, ordered by user id.
    pub peers: Vec<PeerState>,
}

/// Signaling session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalingLine {
    /// `unconfigured`, `left`, `connecting`, `joining`, `joined`, `reconnecting`, `refused`.
    pub state: String,
    /// How long this state has lasted, milliseconds.
    pub since_ms: u64,
    /// The way to the server is not encrypted and leaves this machine.
    #[serde(default)]
    pub unencrypted: bool,
}

/// Microphone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MicrophoneState {
    /// Wanted.
    pub muted: bool,
    /// What leaves the encoder; `null` until it has said.
    pub confirmed: Option<bool>,
    /// A host muted us and nobody has pressed since.
    pub forced: bool,
}

/// Camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraState {
    /// Wanted.
    pub off: bool,
    /// What the pipeline does; `null` until it has said.
    pub confirmed: Option<bool>,
    /// A host switched it off and nobody has pressed since.
    pub forced: bool,
    /// The device is gone.
    pub lost: bool,
}

/// Screen share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenState {
    /// On.
    pub sharing: bool,
    /// A host stopped it and nobody has pressed since.
    pub forced: bool,
    /// The server's no to the last attempt, in its words; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Lights, each as colour and movement: `red steady`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leds {
    /// Mic light.
    pub mic: String,
    /// Camera light.
    pub camera: String,
    /// Status light.
    pub status: String,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerState {
    /// The application's user id.
    pub user_id: String,
    /// Display name.
    pub name: String,
    /// W3C `RTCPeerConnectionState`.
    pub connection_state: String,
    /// The state before it.
    pub previous_connection_state: String,
    /// W3C `RTCIceConnectionState`.
    pub ice_connection_state: String,
    /// Our decision: `negotiating`, `connected`, `interrupted`, `restarting`, `recreating`, `failed`.
    pub phase: String,
    /// Attempts made since it was last connected.
    pub attempt: u32,
    /// How many fast attempts there are.
    pub max_attempts: u32,
    /// How long the connection state has lasted, milliseconds.
    pub since_ms: u64,
    /// The tile's label; `null` when all is well.
    pub badge: Option<String>,
    /// Announced; a hint.
    pub muted: bool,
    /// Announced; a hint.
    pub video_off: bool,
    /// Announced; a hint.
    pub sharing: bool,
}

impl Snapshot {
    /// The room as it is, with durations up to `now`.
    pub fn new(room: &RoomSnapshot, now: Timestamp) -> Self {
        let RoomSnapshot {
            generation,
            sim,
            signaling,
            signaling_since,
            signaling_unencrypted,
            banner,
            connected_peers,
            microphone_muted,
            microphone_confirmed,
            microphone_forced,
            camera_off,
            camera_confirmed,
            camera_forced,
            camera_lost,
            sharing,
            screen_forced,
            screen_refused,
            led_mic,
            led_camera,
            led_status,
            peers,
        } = room;
        Self {
            version: VERSION,
            generation: *generation,
            sim: *sim,
            signaling: SignalingLine {
                state: signaling.as_str().to_owned(),
                since_ms: milliseconds(*signaling_since, now),
                unencrypted: *signaling_unencrypted,
            },
            banner: banner.as_deref().map(one_line),
            connected_peers: *connected_peers,
            microphone: MicrophoneState {
                muted: *microphone_muted,
                confirmed: *microphone_confirmed,
                forced: *microphone_forced,
            },
            camera: CameraState {
                off: *camera_off,
                confirmed: *camera_confirmed,
                forced: *camera_forced,
                lost: *camera_lost,
            },
            screen: ScreenState {
                sharing: *sharing,
                forced: *screen_forced,
                refused: screen_refused.as_deref().map(one_line),
            },
            leds: Leds {
                mic: light(led_mic),
                camera: light(led_camera),
                status: light(led_status),
            },
            peers: peers.iter().map(|peer| PeerState::new(peer, now)).collect(),
        }
    }
}

impl PeerState {
    fn new(peer: &PeerSnapshot, now: Timestamp) -> Self {
        let PeerSnapshot {
            user,
            name,
            connection_state,
            previous_connection_state,
            ice_connection_state,
            phase,
            attempt,
            max_attempts,
            since,
            badge,
            muted,
            video_off,
            sharing,
        } = peer;
        Self {
            user_id: user.as_str().to_owned(),
            name: name.to_string(),
            connection_state: connection_state.as_str().to_owned(),
            previous_connection_state: previous_connection_state.as_str().to_owned(),
            ice_connection_state: ice_connection_state.as_str().to_owned(),
            phase: phase.as_str().to_owned(),
            attempt: *attempt,
            max_attempts: *max_attempts,
            since_ms: milliseconds(*since, now),
            badge: badge.map(|badge| badge.as_str().to_owned()),
            muted: *muted,
            video_off: *video_off,
            sharing: *sharing,
        }
    }
}

fn milliseconds(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)
}

fn light(pattern: &Pattern) -> String {
    pattern.to_string()
}

/// One event as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventLine {
    /// The W3C connection state of a peer changed.
    ConnectionStateChanged {
        /// Whose.
        user_id: String,
        /// Now.
        state: String,
        /// Before.
        previous_state: String,
    },
    /// The W3C ICE state of a peer changed.
    IceConnectionStateChanged {
        /// Whose.
        user_id: String,
        /// Now.
        state: String,
        /// Before.
        previous_state: String,
    },
    /// A peer is connected.
    PeerConnected {
        /// Who.
        user_id: String,
    },
    /// A peer left, or its connection is lost.
    PeerDisconnected {
        /// Who.
        user_id: String,
    },
    /// A connection is being repaired.
    Reconnecting {
        /// Whose.
        user_id: String,
        /// Which attempt, from 1.
        attempt: u32,
        /// How many fast attempts there are.
        max_attempts: u32,
    },
    /// A connection was repaired.
    Reconnected {
        /// Whose.
        user_id: String,
        /// How many attempts it took.
        attempts: u32,
    },
    /// The fast attempts are used up; slow ones go on.
    ReconnectFailed {
        /// Whose.
        user_id: String,
        /// How many attempts were made.
        attempts: u32,
    },
}

impl From<&RoomEvent> for EventLine {
    fn from(event: &RoomEvent) -> Self {
        match event {
            RoomEvent::ConnectionStateChanged {
                peer,
                state,
                previous,
            } => Self::ConnectionStateChanged {
                user_id: peer.to_string(),
                state: state.as_str().to_owned(),
                previous_state: previous.as_str().to_owned(),
            },
            RoomEvent::IceConnectionStateChanged {
                peer,
                state,
                previous,
            } => Self::IceConnectionStateChanged {
                user_id: peer.to_string(),
                state: state.as_str().to_owned(),
                previous_state: previous.as_str().to_owned(),
            },
            RoomEvent::PeerConnected { peer } => Self::PeerConnected {
                user_id: peer.to_string(),
            },
            RoomEvent::PeerDisconnected { peer } => Self::PeerDisconnected {
                user_id: peer.to_string(),
            },
            RoomEvent::Reconnecting {
                peer,
                attempt,
                max_attempts,
            } => Self::Reconnecting {
                user_id: peer.to_string(),
                attempt: *attempt,
                max_attempts: *max_attempts,
            },
            RoomEvent::Reconnected { peer, attempts } => Self::Reconnected {
                user_id: peer.to_string(),
                attempts: *attempts,
            },
            RoomEvent::ReconnectFailed { peer, attempts } => Self::ReconnectFailed {
                user_id: peer.to_string(),
                attempts: *attempts,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{
        Badge, Color, ConnectionState, IceConnectionState, PeerId, PeerPhase, Shape, Shown,
        SignalingState,
    };

    fn room() -> RoomSnapshot {
        RoomSnapshot {
            generation: 42,
            sim: true,
            signaling: SignalingState::Joined,
            signaling_since: Timestamp::from_millis(1_000),
            signaling_unencrypted: false,
            banner: Some("Reconnecting to 1 peer(s)".to_owned()),
            connected_peers: 1,
            microphone_muted: true,
            microphone_confirmed: Some(true),
            microphone_forced: true,
            camera_off: false,
            camera_confirmed: None,
            camera_forced: false,
            camera_lost: true,
            sharing: false,
            screen_forced: true,
            screen_refused: None,
            led_mic: Pattern::new(Color::Red, Shape::Steady),
            led_camera: Pattern::new(Color::Amber, Shape::Blink),
            led_status: Pattern::new(Color::Amber, Shape::DoubleBlink),
            peers: vec![
                PeerSnapshot {
                    user: PeerId::new("u-1"),
                    name: Shown::name("Ada").unwrap(),
                    connection_state: ConnectionState::Connected,
                    previous_connection_state: ConnectionState::Connecting,
                    ice_connection_state: IceConnectionState::Completed,
                    phase: PeerPhase::Connected,
                    attempt: 0,
                    max_attempts: 3,
                    since: Timestamp::from_millis(3_000),
                    badge: None,
                    muted: false,
                    video_off: false,
                    sharing: true,
                },
                PeerSnapshot {
                    user: PeerId::new("u-2"),
                    name: Shown::name("u-2").unwrap(),
                    connection_state: ConnectionState::Failed,
                    previous_connection_state: ConnectionState::Disconnected,
                    ice_connection_state: IceConnectionState::Failed,
                    phase: PeerPhase::Recreating,
                    attempt: 2,
                    max_attempts: 3,
                    since: Timestamp::from_millis(9_000),
                    badge: Some(Badge::Reconnecting),
                    muted: true,
                    video_off: true,
                    sharing: false,
                },
            ],
        }
    }

    #[test]
    fn the_snapshot_is_written_exactly_as_documented() {
        let snapshot = Snapshot::new(&room(), Timestamp::from_millis(6_500));
        let expected = concat!(
            r#"{"version":1,"generation":42,"sim":true,"#,
            r#""signaling":{"state":"joined","since_ms":5500,"unencrypted":false},"#,
            r#""banner":"Reconnecting to 1 peer(s)","connected_peers":1,"#,
            r#""microphone":{"muted":true,"confirmed":true,"forced":true},"#,
            r#""camera":{"off":false,"confirmed":null,"forced":false,"lost":true},"#,
            r#""screen":{"sharing":false,"forced":true},"#,
            r#""leds":{"mic":"red steady","camera":"amber blink","status":"amber double-blink"},"#,
            r#""peers":[{"user_id":"u-1","name":"Ada","connection_state":"connected","#,
            r#""previous_connection_state":"connecting","ice_connection_state":"completed","#,
            r#""phase":"connected","attempt":0,"max_attempts":3,"since_ms":3500,"badge":null,"#,
            r#""muted":false,"video_off":false,"sharing":true},"#,
            r#"{"user_id":"u-2","name":"u-2","connection_state":"failed","#,
            r#""previous_connection_state":"disconnected","ice_connection_state":"failed","#,
            r#""phase":"recreating","attempt":2,"max_attempts":3,"since_ms":0,"#,
            r#""badge":"Reconnecting","muted":true,"video_off":true,"sharing":false}]}"#,
        );
        let written = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(written, expected);
        assert_eq!(
            serde_json::from_str::<Snapshot>(&written).unwrap(),
            snapshot
        );
    }

    #[test]
    fn a_newer_daemon_s_additions_do_not_disturb_an_older_client() {
        let snapshot = Snapshot::new(&room(), Timestamp::from_millis(6_500));
        let mut value = serde_json::to_value(&snapshot).unwrap();
        value["added"] = serde_json::json!({"later": true});
        assert_eq!(serde_json::from_value::<Snapshot>(value).unwrap(), snapshot);
    }

    #[test]
    fn events_carry_the_documented_names() {
        let peer = || PeerId::new("u-2");
        for (event, expected) in [
            (
                RoomEvent::ConnectionStateChanged {
                    peer: peer(),
                    state: ConnectionState::Connected,
                    previous: ConnectionState::Connecting,
                },
                r#"{"event":"connection-state-changed","user_id":"u-2","state":"connected","previous_state":"connecting"}"#,
            ),
            (
                RoomEvent::IceConnectionStateChanged {
                    peer: peer(),
                    state: IceConnectionState::Disconnected,
                    previous: IceConnectionState::Completed,
                },
                r#"{"event":"ice-connection-state-changed","user_id":"u-2","state":"disconnected","previous_state":"completed"}"#,
            ),
            (
                RoomEvent::PeerConnected { peer: peer() },
                r#"{"event":"peer-connected","user_id":"u-2"}"#,
            ),
            (
                RoomEvent::PeerDisconnected { peer: peer() },
                r#"{"event":"peer-disconnected","user_id":"u-2"}"#,
            ),
            (
                RoomEvent::Reconnecting {
                    peer: peer(),
                    attempt: 1,
                    max_attempts: 3,
                },
                r#"{"event":"reconnecting","user_id":"u-2","attempt":1,"max_attempts":3}"#,
            ),
            (
                RoomEvent::Reconnected {
                    peer: peer(),
                    attempts: 2,
                },
                r#"{"event":"reconnected","user_id":"u-2","attempts":2}"#,
            ),
            (
                RoomEvent::ReconnectFailed {
                    peer: peer(),
                    attempts: 3,
                },
                r#"{"event":"reconnect-failed","user_id":"u-2","attempts":3}"#,
            ),
        ] {
            let line = EventLine::from(&event);
            assert_eq!(serde_json::to_string(&line).unwrap(), expected);
            assert_eq!(serde_json::from_str::<EventLine>(expected).unwrap(), line);
        }
    }
}
