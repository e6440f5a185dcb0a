//! What members send, from JSON to [`Request`]. Only known keys of the right shape come through, so a member gets
//! nothing from another that the hub did not look at.

use serde_json::{Map, Value};

use crate::room::{Dialect, PeerId, Shown, is_plain, shown};

/// Longest user, meeting or peer id, in characters; the application's are UUIDs of 36.
const ID_CHARS: usize = 128;
/// The reason of a kick is cut here, in columns.
const REASON_CHARS: usize = 300;
/// Longest session description, in bytes. A browser's with three m-lines has about 10 KB.
const SDP_BYTES: usize = 256 * 1024;
/// Longest candidate line, in bytes.
const CANDIDATE_BYTES: usize = 4096;
/// Longest `sdpMid` or `usernameFragment`, in bytes (RFC 8839 section 5.4: an ice-ufrag has at most 256).
const TOKEN_BYTES: usize = 256;

/// What one member tells another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Offer,
    Answer,
    Candidate,
}

impl Kind {
    /// The key of the payload.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Candidate => "candidate",
        }
    }

    /// The event, which is the same to and from the hub.
    pub(super) fn event(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Self::Offer, Dialect::Media) => "media:offer",
            (Self::Offer, Dialect::Webrtc) => "webrtc:offer",
            (Self::Answer, Dialect::Media) => "media:answer",
            (Self::Answer, Dialect::Webrtc) => "webrtc:answer",
            (Self::Candidate, Dialect::Media) => "media:ice-candidate",
            (Self::Candidate, Dialect::Webrtc) => "webrtc:ice-candidate",
        }
    }
}

/// What a host may order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostOrder {
    /// Without a value the state is inverted.
    Mute(Option<bool>),
    /// Without a value the state is inverted.
    VideoOff(Option<bool>),
    StopShare,
    Kick(Option<String>),
    Block(Option<String>),
}

/// What a member asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Join {
        meeting: String,
        user: PeerId,
    },
    Leave,
    Peers,
    Ready {
        dialect: Dialect,
        room: Option<String>,
    },
    Relay {
        dialect: Dialect,
        kind: Kind,
        room: Option<String>,
        target: PeerId,
        content: Value,
    },
    ToggleMic {
        muted: bool,
    },
    ToggleVideo {
        off: bool,
    },
    ScreenShare {
        sharing: bool,
    },
    Order {
        target: PeerId,
        order: HostOrder,
    },
}

/// Reads one event; `payload` is its first argument, `Null` if there is none. `None` for an event that means nothing
/// here.
///
/// # Errors
/// The key and what is wrong with it, never its content.
pub(super) fn read(event: &str, payload: &Value) -> Result<Option<Request>, String> {
    use Dialect::{Media, Webrtc};

    let request = match event {
        "meeting:join" => {
            let fields = Fields::of(payload)?;
            Request::Join {
                meeting: fields.required_id("meetingId")?,
                user: PeerId::new(&fields.required_id("userId")?),
            }
        }
        // Their payloads repeat what the connection is bound to already, if there is one at all.
        "meeting:leave" => Request::Leave,
        "meeting:request-peers" => Request::Peers,
        "webrtc:ready" => Request::Ready {
            dialect: Webrtc,
            room: None,
        },
        "media:ready" => Request::Ready {
            dialect: Media,
            room: match payload {
                Value::Null => None,
                payload => Fields::of(payload)?.id("roomId")?,
            },
        },
        "media:offer" => relay(payload, Media, Kind::Offer)?,
        "webrtc:offer" => relay(payload, Webrtc, Kind::Offer)?,
        "media:answer" => relay(payload, Media, Kind::Answer)?,
        "webrtc:answer" => relay(payload, Webrtc, Kind::Answer)?,
        "media:ice-candidate" => return candidate(payload, Media),
        "webrtc:ice-candidate" => return candidate(payload, Webrtc),
        "media:toggle-mic" => Request::ToggleMic {
            muted: Fields::of(payload)?.required_flag("isMuted")?,
        },
        "media:toggle-video" => Request::ToggleVideo {
            off: Fields::of(payload)?.required_flag("isVideoOff")?,
        },
        "media:screen-share" => Request::ScreenShare {
            sharing: Fields::of(payload)?.required_flag("isSharing")?,
        },
        "admin:mute-user" => order(payload, |fields| Ok(HostOrder::Mute(fields.flag("mute")?)))?,
        "admin:video-off-user" => order(payload, |fields| {
            Ok(HostOrder::VideoOff(fields.flag("videoOff")?))
        })?,
        "admin:stop-share-user" => order(payload, |_| Ok(HostOrder::StopShare))?,
        "admin:kick-user" => order(payload, |fields| Ok(HostOrder::Kick(fields.reason()?)))?,
        "admin:block-user" => order(payload, |fields| Ok(HostOrder::Block(fields.reason()?)))?,
        _ => return Ok(None),
    };
    Ok(Some(request))
}

fn relay(payload: &Value, dialect: Dialect, kind: Kind) -> Result<Request, String> {
    let fields = Fields::of(payload)?;
    let content = match kind {
        Kind::Offer | Kind::Answer => {
            let description = fields.object(kind.key())?;
            if description.text("type")? != Some(kind.key()) {
                return Err(format!("{}.type is not {}", kind.key(), kind.key()));
            }
            let sdp = description
                .text("sdp")?
                .ok_or_else(|| format!("{}.sdp is missing", kind.key()))?;
            if sdp.len() > SDP_BYTES {
                return Err(format!(
                    "{}.sdp is longer than {SDP_BYTES} bytes",
                    kind.key()
                ));
            }
            serde_json::json!({"type": kind.key(), "sdp": sdp})
        }
        Kind::Candidate => fields.object("candidate")?.candidate()?,
    };
    Ok(Request::Relay {
        dialect,
        kind,
        room: fields.id("roomId")?,
        target: PeerId::new(&fields.required_id("targetUserId")?),
        content,
    })
}

/// `None` for the end of candidates, which the application never sends and receivers would stumble over.
fn candidate(payload: &Value, dialect: Dialect) -> Result<Option<Request>, String> {
    if payload.get("candidate") == Some(&Value::Null) {
        return Ok(None);
    }
    relay(payload, dialect, Kind::Candidate).map(Some)
}

fn order(
    payload: &Value,
    what: impl FnOnce(&Fields<'_>) -> Result<HostOrder, String>,
) -> Result<Request, String> {
    let fields = Fields::of(payload)?;
    Ok(Request::Order {
        target: PeerId::new(&fields.required_id("targetUserId")?),
        order: what(&fields)?,
    })
}

/// An id as it may be used here; `None` if it may not.
pub(super) fn id(text: &str) -> Option<&str> {
    let fits = !text.is_empty() && text.chars().nth(ID_CHARS).is_none() && is_plain(text);
    fits.then_some(text)
}

/// A name as others are shown it; `None` if nothing is left.
pub(super) fn name(text: &str) -> Option<String> {
    Shown::name(text).map(|name| name.to_string())
}

/// The keys of one JSON object.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn of(payload: &'a Value) -> Result<Self, String> {
        match payload {
            Value::Object(map) => Ok(Self(map)),
            _ => Err("the payload is not an object".to_owned()),
        }
    }

    /// `null` is as good as absent.
    fn present(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn object(&self, key: &str) -> Result<Fields<'a>, String> {
        match self.present(key) {
            Some(Value::Object(map)) => Ok(Fields(map)),
            _ => Err(format!("{key} is not an object")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.present(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{key} is not a text")),
        }
    }

    fn id(&self, key: &str) -> Result<Option<String>, String> {
        match self.text(key)? {
            None => Ok(None),
            Some(text) => match id(text) {
                Some(id) => Ok(Some(id.to_owned())),
                None => Err(format!("{key} is no id")),
            },
        }
    }

    fn required_id(&self, key: &str) -> Result<String, String> {
        self.id(key)?.ok_or_else(|| format!("{key} is missing"))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.present(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(format!("{key} is not true or false")),
        }
    }

    fn required_flag(&self, key: &str) -> Result<bool, String> {
        self.flag(key)?.ok_or_else(|| format!("{key} is missing"))
    }

    fn reason(&self) -> Result<Option<String>, String> {
        Ok(self
            .text("reason")?
            .map(|reason| shown(reason, REASON_CHARS)))
    }

    /// W3C `RTCIceCandidateInit`.
    fn candidate(&self) -> Result<Value, String> {
        let short = |key: &str, limit| match self.text(key)? {
            Some(text) if text.len() > limit => Err(format!("{key} is longer than {limit} bytes")),
            other => Ok(other),
        };
        let line = short("candidate", CANDIDATE_BYTES)?.ok_or("candidate is missing")?;
        let index = match self.present("sdpMLineIndex") {
            None => None,
            Some(value) => Some(
                value
                    .as_u64()
                    .and_then(|index| u16::try_from(index).ok())
                    .ok_or("sdpMLineIndex is not a number of an m-line")?,
            ),
        };
        let mut candidate = serde_json::json!({
            "candidate": line,
            "sdpMid": short("sdpMid", TOKEN_BYTES)?,
            "sdpMLineIndex": index,
        });
        if let Some(fragment) = short("usernameFragment", TOKEN_BYTES)? {
            candidate["usernameFragment"] = fragment.into();
        }
        Ok(candidate)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_box_writes_is_understood() {
        use crate::room::{ClientMessage, IceCandidate, Identity, Sdp};
        let identity = Identity {
            meeting: "main".into(),
            user: PeerId::new("box"),
        };
        let target = PeerId::new("other");
        let mut messages = vec![
            ClientMessage::Join,
            ClientMessage::Leave,
            ClientMessage::RequestPeers,
            ClientMessage::ToggleMic { muted: true },
            ClientMessage::ToggleVideo { video_off: false },
            ClientMessage::ScreenShare { sharing: true },
        ];
        for dialect in [Dialect::Media, Dialect::Webrtc] {
            messages.extend([
                ClientMessage::Ready { dialect },
                ClientMessage::Offer {
                    target: target.clone(),
                    sdp: Sdp::new("v=0"),
                    dialect,
                },
                ClientMessage::Answer {
                    target: target.clone(),
                    sdp: Sdp::new("v=0"),
                    dialect,
                },
                ClientMessage::Candidate {
                    target: target.clone(),
                    candidate: IceCandidate {
                        candidate: "candidate:1".into(),
                        sdp_mid: Some("0".into()),
                        sdp_m_line_index: None,
                        username_fragment: None,
                    },
                    dialect,
                },
            ]);
        }
        for message in messages {
            let (event, payload) = crate::wire::write(&message, &identity);
            let read = read(event, &payload);
            assert!(matches!(read, Ok(Some(_))), "{event}: {read:?}");
        }
    }

    #[test]
    fn only_known_keys_are_passed_on() {
        let payload = json!({
            "targetUserId": "b", "fromUserId": "somebody else", "extra": 1,
            "candidate": {"candidate": "c", "sdpMid": null, "sdpMLineIndex": 0, "more": "x"},
        });
        let Ok(Some(Request::Relay { content, room, .. })) = read("webrtc:ice-candidate", &payload)
        else {
            panic!();
        };
        assert_eq!(
            content,
            json!({"candidate": "c", "sdpMid": null, "sdpMLineIndex": 0})
        );
        assert_eq!(room, None);
    }

    #[test]
    fn a_wrong_shape_is_named_and_not_quoted() {
        for (event, payload) in [
            ("meeting:join", json!({"meetingId": "secret"})),
            ("meeting:join", json!({"meetingId": "secret", "userId": 7})),
            (
                "meeting:join",
                json!({"meetingId": "secret", "userId": "x".repeat(129)}),
            ),
            (
                "meeting:join",
                json!({"meetingId": "secret", "userId": "a\nb"}),
            ),
            (
                "media:offer",
                json!({"targetUserId": "b", "offer": "secret"}),
            ),
            (
                "media:offer",
                json!({"targetUserId": "b", "offer": {"type": "answer", "sdp": "secret"}}),
            ),
            (
                "media:answer",
                json!({"targetUserId": "b", "answer": {"type": "answer", "sdp": 5}}),
            ),
            (
                "media:answer",
                json!({"answer": {"type": "answer", "sdp": "secret"}}),
            ),
            (
                "webrtc:offer",
                json!({"targetUserId": "b", "offer": {"type": "offer", "sdp": "x".repeat(SDP_BYTES + 1)}}),
            ),
            (
                "webrtc:ice-candidate",
                json!({"targetUserId": "b", "candidate": {"candidate": "secret", "sdpMLineIndex": 70000}}),
            ),
            ("media:toggle-mic", json!({"isMuted": "secret"})),
            (
                "admin:kick-user",
                json!({"targetUserId": "b", "reason": ["secret"]}),
            ),
            ("media:screen-share", Value::Null),
        ] {
            let reason = read(event, &payload).expect_err(event);
            assert!(!reason.contains("secret") && reason.len() < 100, "{reason}");
        }
    }

    #[test]
    fn the_end_of_candidates_and_unknown_events_mean_nothing() {
        let end = json!({"targetUserId": "b", "candidate": null});
        assert_eq!(read("media:ice-candidate", &end), Ok(None));
        assert_eq!(read("chat:message", &json!({"message": "hi"})), Ok(None));
    }

    #[test]
    fn names_are_kept_to_one_short_line() {
        assert_eq!(name("  Anna\u{7}\n "), Some("Anna".to_owned()));
        assert_eq!(
            name(&"x".repeat(500)).map(|name| name.chars().count()),
            Some(128)
        );
        assert_eq!(name(" \n"), None);
        assert_eq!(name("\u{1}"), None);
        assert_eq!(
            name("A\u{202e}nna\u{2028}\u{2066}"),
            Some("Anna".to_owned())
        );
        assert_eq!(name("\u{200b}\u{3164}"), None);
        assert_eq!(id("anna\u{200b}"), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,20}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("candidate".to_owned()),
            Just("offer".to_owned()),
            Just("targetUserId".to_owned()),
            Just("roomId".to_owned()),
            Just("type".to_owned()),
            Just("sdp".to_owned()),
            "[a-z]{0,3}",
        ];
        leaf.prop_recursive(3, 24, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(key.clone(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn noise_never_panics(payload in any_json()) {
            for event in [
                "meeting:join", "meeting:leave", "media:ready", "media:offer", "webrtc:answer",
                "media:ice-candidate", "media:toggle-mic", "admin:mute-user", "admin:block-user", "x",
            ] {
                let _ = read(event, &payload);
            }
        }
    }
}
