//! The application's messages: golden JSON of every one, round trips, and that nothing from outside panics.

use huddled::room::{
    ClientMessage, Dialect, IceCandidate, Identity, Participant, PeerId, Sdp, ServerMessage,
};
use huddled::wire::{Incoming, read, write};
use proptest::prelude::*;
use serde_json::{Value, json};

const OWN: &str = "0b0e8a3c-6f62-4f43-9a5c-2f6b6f1d0a11";
const ANNA: &str = "9f3d2c1b-7a6e-4b5d-8c4f-1e2d3c4b5a69";
const MEETING: &str = "5d4c3b2a-1f0e-4d9c-8b7a-6f5e4d3c2b1a";
const CANDIDATE: &str = "candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host";

fn own() -> PeerId {
    PeerId::new(OWN)
}

fn anna() -> PeerId {
    PeerId::new(ANNA)
}

fn identity() -> Identity {
    Identity {
        meeting: MEETING.to_owned(),
        user: own(),
    }
}

fn candidate() -> IceCandidate {
    IceCandidate {
        candidate: CANDIDATE.to_owned(),
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: Some("Ab12".to_owned()),
    }
}

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

fn golden(text: &str) -> Value {
    let text = text
        .replace("MEETING", MEETING)
        .replace("OWN", OWN)
        .replace("ANNA", ANNA)
        .replace("CANDIDATE", CANDIDATE);
    serde_json::from_str(&text).expect("golden text is JSON")
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
fn received() -> Vec<(&'static str, &'static str, ServerMessage)> {
    use Dialect::{Media, Webrtc};
    let row = |user: PeerId, name: Option<&str>, muted, video_off| Participant {
        user,
        name: name.map(str::to_owned),
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

/// What the server makes of a message for one member: the addressee becomes the sender.
fn relayed(mut payload: Value, sender: &PeerId) -> Value {
    let fields = payload.as_object_mut().expect("one object");
    fields.remove("targetUserId");
    fields.insert("fromUserId".to_owned(), sender.as_str().into());
    payload
}

fn any_dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![Just(Dialect::Media), Just(Dialect::Webrtc)]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        Just(json!(ANNA)),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop::sample::select(vec![
                    "userId",
                    "fromUserId",
                    "targetUserId",
                    "roomId",
                    "offer",
                    "answer",
                    "candidate",
                    "sdp",
                    "type",
                    "sdpMid",
                    "sdpMLineIndex",
                    "participants",
                    "isMuted",
                    "message",
                    "reason",
                    "other",
                ]),
                inner,
                0..6
            )
            .prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect()),
        ]
    })
}

fn any_event() -> impl Strategy<Value = String> {
    let known: Vec<_> = received()
        .into_iter()
        .map(|(event, _, _)| event.to_owned())
        .collect();
    prop_oneof![9 => prop::sample::select(known), 1 => ".{0,20}"]
}

proptest! {
    #[test]
    fn descriptions_survive_the_way_from_box_to_box(text in ".{1,300}", dialect in any_dialect(), offer: bool) {
        let sdp = Sdp::new(&text);
        let message = match offer {
            true => ClientMessage::Offer { target: anna(), sdp: sdp.clone(), dialect },
            false => ClientMessage::Answer { target: anna(), sdp: sdp.clone(), dialect },
        };
        let (event, payload) = write(&message, &identity());
        let room = (dialect == Dialect::Media).then(|| MEETING.to_owned());
        let expected = match offer {
            true => ServerMessage::Offer { from: own(), sdp, dialect, room },
            false => ServerMessage::Answer { from: own(), sdp, dialect, room },
        };
        prop_assert_eq!(read(event, &relayed(payload, &own())), Incoming::Message(expected));
    }

    #[test]
    fn candidates_survive_the_way_from_box_to_box(
        line in "[ -~]{1,200}",
        sdp_mid in prop::option::of("[ -~]{0,20}"),
        sdp_m_line_index: Option<u16>,
        username_fragment in prop::option::of("[a-zA-Z0-9+/]{4,256}"),
        dialect in any_dialect(),
    ) {
        let candidate = IceCandidate { candidate: line, sdp_mid, sdp_m_line_index, username_fragment };
        let message = ClientMessage::Candidate { target: anna(), candidate: candidate.clone(), dialect };
        let (event, payload) = write(&message, &identity());
        let room = (dialect == Dialect::Media).then(|| MEETING.to_owned());
        let expected = ServerMessage::Candidate { from: own(), candidate, dialect, room };
        prop_assert_eq!(read(event, &relayed(payload, &own())), Incoming::Message(expected));
    }

    #[test]
    fn no_json_panics(event in any_event(), payload in any_json()) {
        let _ = read(&event, &payload);
    }

    #[test]
    fn no_damage_to_a_real_payload_panics_or_is_quoted(
        (event, payload) in prop::sample::select(received()).prop_map(|(event, payload, _)| (event, golden(payload))),
        place in any::<prop::sample::Index>(),
        noise in any_json(),
    ) {
        let mut payload = payload;
        if let Some(fields) = payload.as_object_mut().filter(|fields| !fields.is_empty()) {
            let key = fields.keys().nth(place.index(fields.len())).cloned();
            fields.insert(key.expect("there is a key at every index"), noise);
        }
        if let Incoming::Malformed { reason } = read(event, &payload) {
            prop_assert!(reason.starts_with(event));
            prop_assert!(!reason.contains(ANNA) && !reason.contains("v=0"));
        }
    }

    #[test]
    fn no_bytes_panic(event in any_event(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(payload) = serde_json::from_slice::<Value>(&bytes) {
            let _ = read(&event, &payload);
        }
    }
}
