//! From [`ClientMessage`] to JSON.

use serde_json::{Map, Value, json};

use crate::room::{ClientMessage, Dialect, IceCandidate, Identity, PeerId};

/// Writes one message: the event's name and its only argument. There is always one, because `rust_socketio` turns an
/// event without arguments into another one.
pub fn write(message: &ClientMessage, identity: &Identity) -> (&'static str, Value) {
    let meeting = identity.meeting.as_str();
    let own = identity.user.as_str();
    match message {
        ClientMessage::Join => ("meeting:join", json!({"meetingId": meeting, "userId": own})),
        ClientMessage::Leave => (
            "meeting:leave",
            json!({"meetingId": meeting, "userId": own}),
        ),
        ClientMessage::RequestPeers => ("meeting:request-peers", json!({})),
        ClientMessage::Ready { dialect } => match dialect {
            Dialect::Media => ("media:ready", json!({"roomId": meeting, "userId": own})),
            Dialect::Webrtc => ("webrtc:ready", json!({"userId": own})),
        },
        ClientMessage::Offer {
            target,
            sdp,
            dialect,
        } => (
            match dialect {
                Dialect::Media => "media:offer",
                Dialect::Webrtc => "webrtc:offer",
            },
            addressed(
                *dialect,
                meeting,
                target,
                "offer",
                json!({"type": "offer", "sdp": sdp.as_str()}),
            ),
        ),
        ClientMessage::Answer {
            target,
            sdp,
            dialect,
        } => (
            match dialect {
                Dialect::Media => "media:answer",
                Dialect::Webrtc => "webrtc:answer",
            },
            addressed(
                *dialect,
                meeting,
                target,
                "answer",
                json!({"type": "answer", "sdp": sdp.as_str()}),
            ),
        ),
        ClientMessage::Candidate {
            target,
            candidate,
            dialect,
        } => (
            match dialect {
                Dialect::Media => "media:ice-candidate",
                Dialect::Webrtc => "webrtc:ice-candidate",
            },
            addressed(*dialect, meeting, target, "candidate", init(candidate)),
        ),
        ClientMessage::ToggleMic { muted } => ("media:toggle-mic", json!({"isMuted": muted})),
        ClientMessage::ToggleVideo { video_off } => {
            ("media:toggle-video", json!({"isVideoOff": video_off}))
        }
        ClientMessage::ScreenShare { sharing } => (
            "media:screen-share",
            json!({"isSharing": sharing, "roomId": meeting, "userId": own}),
        ),
    }
}

/// What goes to one member; only the media dialect names the room.
fn addressed(
    dialect: Dialect,
    meeting: &str,
    target: &PeerId,
    key: &'static str,
    value: Value,
) -> Value {
    let mut payload = Map::new();
    match dialect {
        Dialect::Media => {
            payload.insert("roomId".to_owned(), meeting.into());
        }
        Dialect::Webrtc => {}
    }
    payload.insert("targetUserId".to_owned(), target.as_str().into());
    payload.insert(key.to_owned(), value);
    Value::Object(payload)
}

/// W3C `RTCIceCandidateInit` as browsers serialise it: absent `sdpMid` and `sdpMLineIndex` are `null`.
fn init(candidate: &IceCandidate) -> Value {
    let mut value = json!({
        "candidate": candidate.candidate,
        "sdpMid": candidate.sdp_mid,
        "sdpMLineIndex": candidate.sdp_m_line_index,
    });
    if let Some(fragment) = &candidate.username_fragment {
        value["usernameFragment"] = fragment.as_str().into();
    }
    value
}
