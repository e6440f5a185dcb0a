//! Every message as it goes over the wire, exactly.

use huddled::room::{ClientMessage, Dialect, Participant, PeerId, Sdp, ServerMessage};
use huddled::wire::{Incoming, read, write};
use serde_json::json;

use super::*;

/// Every message to the server and the exact JSON it becomes.
fn written() -> Vec<(ClientMessage, &'static str, &'static str)> {
    use Dialect::{Media, Webrtc};
    let offer = |dialect| ClientMessage::Offer {
        target: anna(),
        sdp: Sdp::new("v=0\r\n"),
        dialect,
    };
    let answer = |dialect| ClientMessage::Answer {
        target: anna(),
        sdp: Sdp::new("v=0\r\n"),
        dialect,
    };
    let trickled = |candidate, dialect| ClientMessage::Candidate {
        target: anna(),
        candidate,
        dialect,
    };
    let bare = IceCandidate {
        candidate: CANDIDATE.to_owned(),
        sdp_mid: None,
        sdp_m_line_index: None,
        username_fragment: None,
    };
    vec![
        (
            ClientMessage::Join,
            "meeting:join",
            r#"{"meetingId":"MEETING","userId":"OWN"}"#,
        ),
        (
            ClientMessage::Leave,
            "meeting:leave",
            r#"{"meetingId":"MEETING","userId":"OWN"}"#,
        ),
        (ClientMessage::RequestPeers, "meeting:request-peers", "{}"),
        (
            ClientMessage::Ready { dialect: Media },
            "media:ready",
            r#"{"roomId":"MEETING","userId":"OWN"}"#,
        ),
        (
            ClientMessage::Ready { dialect: Webrtc },
            "webrtc:ready",
            r#"{"userId":"OWN"}"#,
        ),
        (
            offer(Media),
            "media:offer",
            r#"{"offer":{"sdp":"v=0\r\n","type":"offer"},"roomId":"MEETING","targetUserId":"ANNA"}"#,
        ),
        (
            offer(Webrtc),
            "webrtc:offer",
            r#"{"offer":{"sdp":"v=0\r\n","type":"offer"},"targetUserId":"ANNA"}"#,
        ),
        (
            answer(Media),
            "media:answer",
            r#"{"answer":{"sdp":"v=0\r\n","type":"answer"},"roomId":"MEETING","targetUserId":"ANNA"}"#,
        ),
        (
            answer(Webrtc),
            "webrtc:answer",
            r#"{"answer":{"sdp":"v=0\r\n","type":"answer"},"targetUserId":"ANNA"}"#,
        ),
        (
            trickled(candidate(), Media),
            "media:ice-candidate",
            r#"{"candidate":{"candidate":"CANDIDATE","sdpMLineIndex":0,"sdpMid":"0","usernameFragment":"Ab12"},"roomId":"MEETING","targetUserId":"ANNA"}"#,
        ),
        (
            trickled(bare, Webrtc),
            "webrtc:ice-candidate",
            r#"{"candidate":{"candidate":"CANDIDATE","sdpMLineIndex":null,"sdpMid":null},"targetUserId":"ANNA"}"#,
        ),
        (
            ClientMessage::ToggleMic { muted: true },
            "media:toggle-mic",
            r#"{"isMuted":true}"#,
        ),
        (
            ClientMessage::ToggleVideo { video_off: false },
            "media:toggle-video",
            r#"{"isVideoOff":false}"#,
        ),
        (
            ClientMessage::ScreenShare { sharing: true },
            "media:screen-share",
            r#"{"isSharing":true,"roomId":"MEETING","userId":"OWN"}"#,
        ),
    ]
}

#[test]
fn every_message_of_ours_is_written_exactly() {
    for (message, event, payload) in written() {
        assert_eq!(
            write(&message, &identity()),
            (event, golden(payload)),
            "{message:?}"
        );
    }
}

#[test]
fn no_message_of_ours_lacks_its_golden_text() {
    let mut seen = [false; 10];
    for (message, _, _) in written() {
        seen[match message {
            ClientMessage::Join => 0,
            ClientMessage::Leave => 1,
            ClientMessage::RequestPeers => 2,
            ClientMessage::Ready { .. } => 3,
            ClientMessage::Offer { .. } => 4,
            ClientMessage::Answer { .. } => 5,
            ClientMessage::Candidate { .. } => 6,
            ClientMessage::ToggleMic { .. } => 7,
            ClientMessage::ToggleVideo { .. } => 8,
            ClientMessage::ScreenShare { .. } => 9,
        }] = true;
    }
    assert_eq!(seen, [true; 10]);
}

/// Every message of the server as its sources send it, oddities included, and what it means.
pub(super) fn received() -> Vec<(&'static str, &'static str, ServerMessage)> {
    use Dialect::{Media, Webrtc};
    let row = |user: PeerId, name: Option<&str>, muted, video_off| Participant {
        user,
        name: name.and_then(huddled::room::Shown::name),
        muted,
        video_off,
    };
    vec![
        (
            "meeting:joined",
            r#"{"meetingId":"MEETING","userId":"OWN","userName":"Room 101","timestamp":"2026-11-21T10:00:00.000Z"}"#,
            ServerMessage::Joined { user: own() },
        ),
        (
            "meeting:participants",
            r#"{"participants":[
                {"userId":"OWN","userName":"Room 101","avatarUrl":null,"role":"participant","isMuted":true,"isVideoOff":true,"isHandRaised":false},
                {"userId":"ANNA","userName":"Anna","avatarUrl":"https://example.org/a.png","role":"host","isMuted":false,"isVideoOff":false,"isHandRaised":true}]}"#,
            ServerMessage::Participants(vec![
                row(own(), Some("Room 101"), Some(true), Some(true)),
                row(anna(), Some("Anna"), Some(false), Some(false)),
            ]),
        ),
        (
            "meeting:user-joined",
            r#"{"userId":"ANNA","userName":"Anna","avatarUrl":null,"role":"host","timestamp":"2026-11-21T10:00:00.000Z"}"#,
            ServerMessage::UserJoined(row(anna(), Some("Anna"), None, None)),
        ),
        (
            "meeting:user-joined",
            r#"{"userId":"ANNA"}"#,
            ServerMessage::UserJoined(row(anna(), None, None, None)),
        ),
        (
            "room:user-joined",
            r#"{"userId":"ANNA","username":"Anna","role":"host","joinedAt":"2026-11-21T10:00:00.000Z"}"#,
            ServerMessage::UserJoined(row(anna(), Some("Anna"), None, None)),
        ),
        (
            "meeting:user-left",
            r#"{"userId":"ANNA","timestamp":"2026-11-21T10:00:00.000Z"}"#,
            ServerMessage::UserLeft { user: anna() },
        ),
        (
            "room:user-left",
            r#"{"userId":"ANNA","username":"Anna","leftAt":"2026-11-21T10:00:00.000Z"}"#,
            ServerMessage::UserLeft { user: anna() },
        ),
        (
            "error",
            r#"{"message":"Not authorized to join this meeting"}"#,
            ServerMessage::ServerError {
                message: "Not authorized to join this meeting".to_owned(),
            },
        ),
        (
            "error",
            r#""Authentication required""#,
            ServerMessage::ServerError {
                message: "Authentication required".to_owned(),
            },
        ),
        (
            "meeting:join-error",
            r#"{"message":"Failed to join","meetingId":"MEETING","userId":"OWN"}"#,
            ServerMessage::ServerError {
                message: "Failed to join".to_owned(),
            },
        ),
        (
            "media:error",
            r#"{"message":"Another user is already sharing their screen"}"#,
            ServerMessage::MediaError {
                message: "Another user is already sharing their screen".into(),
            },
        ),
        (
            "exception",
            r#"{"status":"error","message":"Internal server error","cause":{"pattern":"media:offer","data":{"offer":{"sdp":"v=0"}}}}"#,
            ServerMessage::Exception {
                message: "Internal server error".to_owned(),
            },
        ),
        (
            "exception",
            r#"{"status":"error","message":["roomId must be a string","x"]}"#,
            ServerMessage::Exception {
                message: "roomId must be a string".to_owned(),
            },
        ),
        (
            "exception",
            "null",
            ServerMessage::Exception {
                message: "no reason given".to_owned(),
            },
        ),
        (
            "media:peer-ready",
            r#"{"userId":"ANNA","roomId":"MEETING"}"#,
            ServerMessage::PeerReady {
                user: anna(),
                dialect: Media,
            },
        ),
        (
            "webrtc:peer-ready",
            r#"{"userId":"ANNA","userName":"Anna"}"#,
            ServerMessage::PeerReady {
                user: anna(),
                dialect: Webrtc,
            },
        ),
        (
            "media:offer",
            r#"{"fromUserId":"ANNA","roomId":"MEETING","offer":{"type":"offer","sdp":"v=0\r\n"}}"#,
            ServerMessage::Offer {
                from: anna(),
                sdp: Sdp::new("v=0\r\n"),
                dialect: Media,
                room: Some(MEETING.to_owned()),
            },
        ),
        (
            "webrtc:offer",
            r#"{"fromUserId":"ANNA","offer":{"type":"offer","sdp":"v=0\r\n"}}"#,
            ServerMessage::Offer {
                from: anna(),
                sdp: Sdp::new("v=0\r\n"),
                dialect: Webrtc,
                room: None,
            },
        ),
        (
            "media:answer",
            r#"{"fromUserId":"ANNA","targetUserId":"OWN","roomId":"MEETING","answer":{"sdp":"v=0\r\n"}}"#,
            ServerMessage::Answer {
                from: anna(),
                sdp: Sdp::new("v=0\r\n"),
                dialect: Media,
                room: Some(MEETING.to_owned()),
            },
        ),
        (
            "webrtc:answer",
            r#"{"targetUserId":"ANNA","answer":{"type":"answer","sdp":"v=0\r\n"}}"#,
            ServerMessage::Answer {
                from: anna(),
                sdp: Sdp::new("v=0\r\n"),
                dialect: Webrtc,
                room: None,
            },
        ),
        (
            "media:ice-candidate",
            r#"{"fromUserId":"ANNA","roomId":"MEETING","candidate":{"candidate":"CANDIDATE","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"Ab12"}}"#,
            ServerMessage::Candidate {
                from: anna(),
                candidate: candidate(),
                dialect: Media,
                room: Some(MEETING.to_owned()),
            },
        ),
        (
            "webrtc:ice-candidate",
            r#"{"fromUserId":"ANNA","candidate":{"candidate":"CANDIDATE","sdpMid":null,"sdpMLineIndex":1,"usernameFragment":null}}"#,
            ServerMessage::Candidate {
                from: anna(),
                candidate: IceCandidate {
                    candidate: CANDIDATE.to_owned(),
                    sdp_mid: None,
                    sdp_m_line_index: Some(1),
                    username_fragment: None,
                },
                dialect: Webrtc,
                room: None,
            },
        ),
        (
            "webrtc:error",
            r#"{"targetUserId":"ANNA","error":"User not connected"}"#,
            ServerMessage::Undeliverable {
                target: anna(),
                message: "User not connected".to_owned(),
            },
        ),
        (
            "media:user-muted",
            r#"{"userId":"OWN","isMuted":true}"#,
            ServerMessage::UserMuted {
                user: own(),
                muted: true,
            },
        ),
        (
            "media:user-video-off",
            r#"{"userId":"ANNA","isVideoOff":false}"#,
            ServerMessage::UserVideoOff {
                user: anna(),
                video_off: false,
            },
        ),
        (
            "media:user-screen-share",
            r#"{"userId":"ANNA","isSharing":true,"timestamp":"2026-11-21T10:00:00.000Z"}"#,
            ServerMessage::UserScreenShare {
                user: anna(),
                sharing: true,
            },
        ),
        (
            "media:participant-state-updated",
            r#"{"userId":"ANNA","roomId":"MEETING","isMuted":true,"isScreenSharing":false,"isHandRaised":true}"#,
            ServerMessage::ParticipantStateUpdated {
                user: anna(),
                muted: Some(true),
                video_off: None,
                sharing: Some(false),
            },
        ),
        (
            "user:kicked",
            r#"{"userId":"OWN","reason":"This room is needed","timestamp":"2026-11-21T10:00:00.000Z"}"#,
            ServerMessage::Kicked {
                user: own(),
                reason: Some("This room is needed".to_owned()),
            },
        ),
        (
            "user:blocked",
            r#"{"userId":"ANNA","timestamp":"2026-11-21T10:00:00.000Z"}"#,
            ServerMessage::Blocked {
                user: anna(),
                reason: None,
            },
        ),
    ]
}

#[test]
fn every_message_of_the_server_is_understood() {
    for (event, payload, message) in received() {
        assert_eq!(
            read(event, &golden(payload)),
            Incoming::Message(message),
            "{event}"
        );
    }
}

#[test]
fn no_message_of_the_server_lacks_its_golden_text() {
    let mut seen = [false; 17];
    for (_, _, message) in received() {
        seen[match message {
            ServerMessage::Joined { .. } => 0,
            ServerMessage::Participants(_) => 1,
            ServerMessage::UserJoined(_) => 2,
            ServerMessage::UserLeft { .. } => 3,
            ServerMessage::ServerError { .. } => 4,
            ServerMessage::Exception { .. } => 5,
            ServerMessage::PeerReady { .. } => 6,
            ServerMessage::Offer { .. } => 7,
            ServerMessage::Answer { .. } => 8,
            ServerMessage::Candidate { .. } => 9,
            ServerMessage::Undeliverable { .. } => 10,
            ServerMessage::UserMuted { .. } => 11,
            ServerMessage::UserVideoOff { .. } => 12,
            ServerMessage::UserScreenShare { .. } => 13,
            ServerMessage::ParticipantStateUpdated { .. } => 14,
            ServerMessage::Kicked { .. } | ServerMessage::Blocked { .. } => 15,
            ServerMessage::MediaError { .. } => 16,
        }] = true;
    }
    assert_eq!(seen, [true; 17]);
}

#[test]
fn what_means_nothing_to_a_box_is_ignored() {
    for (event, payload) in [
        ("chat:message", json!({"id": 1, "message": "hello"})),
        ("chat:error", json!({"message": "too long"})),
        ("hand:raised", json!({"userId": ANNA})),
        ("hand:lowered", json!({"userId": ANNA})),
        ("youtube:play", json!({"videoId": "x"})),
        ("youtube:sync", json!({})),
        ("media:state-updated", json!({"success": true})),
        ("media:state-update-error", json!({"message": "no entry"})),
        ("moderation:kick", json!({"userId": OWN})),
        ("moderation:error", json!({"message": "no"})),
        ("room:locked", json!({"locked": true})),
        ("meeting:metrics", json!(null)),
        ("an event of tomorrow", json!([1, 2, 3])),
        ("", json!("")),
    ] {
        assert_eq!(read(event, &payload), Incoming::Ignored, "{event}");
    }
}
