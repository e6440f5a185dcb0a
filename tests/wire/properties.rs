//! What one box writes another reads as it was meant, and nothing from outside panics or is quoted.

use huddled::room::{ClientMessage, Dialect, IceCandidate, PeerId, Sdp, ServerMessage};
use huddled::wire::{Incoming, read, write};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::golden::received;
use super::*;

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
