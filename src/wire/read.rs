//! From JSON to [`ServerMessage`].

mod fields;

use serde_json::Value;

use crate::room::{Dialect, IceCandidate, ServerMessage};
use fields::{Fields, SENTENCE_COLUMNS, shortened};

/// Longest candidate line, in bytes.
const CANDIDATE_BYTES: usize = 4096;
/// Longest `sdpMid` or `usernameFragment`, in bytes (RFC 8839 section 5.4: an ice-ufrag has at most 256).
const TOKEN_BYTES: usize = 256;

/// What an event from the server is to a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// It means something.
    Message(ServerMessage),
    /// It means nothing to a box (chat, hands, video sync, an event nobody knows), but the server lives.
    Ignored,
    /// A known event without what it needs: to be dropped, with one warning.
    Malformed {
        /// The event, the key and what is wrong with it; never the content.
        reason: String,
    },
}

/// Reads one event. `payload` is its first argument; JSON `null` if there is none. Never panics.
pub fn read(event: &str, payload: &Value) -> Incoming {
    match message(event, payload) {
        Ok(Some(message)) => Incoming::Message(message),
        Ok(None) => Incoming::Ignored,
        Err(reason) => Incoming::Malformed {
            reason: format!("{event}: {reason}"),
        },
    }
}

fn message(event: &str, payload: &Value) -> Result<Option<ServerMessage>, String> {
    use Dialect::{Media, Webrtc};

    let message = match event {
        "meeting:joined" => ServerMessage::Joined {
            user: Fields::of(payload)?.user()?,
        },
        "meeting:participants" => ServerMessage::Participants(Fields::of(payload)?.participants()?),
        "meeting:user-joined" | "room:user-joined" => {
            ServerMessage::UserJoined(Fields::of(payload)?.participant()?)
        }
        "meeting:user-left" | "room:user-left" => ServerMessage::UserLeft {
            user: Fields::of(payload)?.user()?,
        },
        "error" | "meeting:join-error" => ServerMessage::ServerError {
            message: words(payload),
        },
        "media:error" => ServerMessage::MediaError {
            message: words(payload),
        },
        "exception" => ServerMessage::Exception {
            message: words(payload),
        },
        "media:peer-ready" => peer_ready(payload, Media)?,
        "webrtc:peer-ready" => peer_ready(payload, Webrtc)?,
        "media:offer" => offer(payload, Media)?,
        "webrtc:offer" => offer(payload, Webrtc)?,
        "media:answer" => answer(payload, Media)?,
        "webrtc:answer" => answer(payload, Webrtc)?,
        "media:ice-candidate" => return candidate(payload, Media),
        "webrtc:ice-candidate" => return candidate(payload, Webrtc),
        "webrtc:error" => {
            let fields = Fields::of(payload)?;
            ServerMessage::Undeliverable {
                target: fields.required_id("targetUserId")?,
                message: fields
                    .sentence("error")
                    .or_else(|| fields.sentence("message"))
                    .unwrap_or_else(|| NO_WORDS.to_owned()),
            }
        }
        "media:user-muted" => {
            let fields = Fields::of(payload)?;
            ServerMessage::UserMuted {
                user: fields.user()?,
                muted: fields.required_flag("isMuted")?,
            }
        }
        "media:user-video-off" => {
            let fields = Fields::of(payload)?;
            ServerMessage::UserVideoOff {
                user: fields.user()?,
                video_off: fields.required_flag("isVideoOff")?,
            }
        }
        "media:user-screen-share" => {
            let fields = Fields::of(payload)?;
            ServerMessage::UserScreenShare {
                user: fields.user()?,
                sharing: fields.required_flag("isSharing")?,
            }
        }
        "media:participant-state-updated" => {
            let fields = Fields::of(payload)?;
            ServerMessage::ParticipantStateUpdated {
                user: fields.user()?,
                muted: fields.flag("isMuted")?,
                video_off: fields.flag("isVideoOff")?,
                sharing: fields.flag("isScreenSharing")?,
            }
        }
        "user:kicked" => {
            let fields = Fields::of(payload)?;
            ServerMessage::Kicked {
                user: fields.user()?,
                reason: fields.sentence("reason"),
            }
        }
        "user:blocked" => {
            let fields = Fields::of(payload)?;
            ServerMessage::Blocked {
                user: fields.user()?,
                reason: fields.sentence("reason"),
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(message))
}

fn peer_ready(payload: &Value, dialect: Dialect) -> Result<ServerMessage, String> {
    Ok(ServerMessage::PeerReady {
        user: Fields::of(payload)?.user()?,
        dialect,
    })
}

fn offer(payload: &Value, dialect: Dialect) -> Result<ServerMessage, String> {
    let fields = Fields::of(payload)?;
    Ok(ServerMessage::Offer {
        from: fields.sender()?,
        sdp: fields.description("offer")?,
        dialect,
        room: fields.id("roomId")?,
    })
}

fn answer(payload: &Value, dialect: Dialect) -> Result<ServerMessage, String> {
    let fields = Fields::of(payload)?;
    Ok(ServerMessage::Answer {
        from: fields.sender()?,
        sdp: fields.description("answer")?,
        dialect,
        room: fields.id("roomId")?,
    })
}

/// `None` for the end of candidates, which the application does not send and which tells a box nothing.
fn candidate(payload: &Value, dialect: Dialect) -> Result<Option<ServerMessage>, String> {
    let fields = Fields::of(payload)?;
    let from = fields.sender()?;
    let room = fields.id("roomId")?;
    if fields.map.get("candidate") == Some(&Value::Null) {
        return Ok(None);
    }
    let inner = fields.object("candidate")?;
    let line = inner
        .token("candidate", CANDIDATE_BYTES)?
        .ok_or_else(|| inner.problem("candidate", "is missing"))?;
    if line.is_empty() {
        return Ok(None);
    }
    let index = match inner.present("sdpMLineIndex") {
        None => None,
        Some(value) => Some(
            value
                .as_u64()
                .and_then(|index| u16::try_from(index).ok())
                .ok_or_else(|| inner.problem("sdpMLineIndex", "is not a number of an m-line"))?,
        ),
    };
    Ok(Some(ServerMessage::Candidate {
        from,
        candidate: IceCandidate {
            candidate: line,
            sdp_mid: inner.token("sdpMid", TOKEN_BYTES)?,
            sdp_m_line_index: index,
            username_fragment: inner.token("usernameFragment", TOKEN_BYTES)?,
        },
        dialect,
        room,
    }))
}

const NO_WORDS: &str = "no reason given";

/// The server's words in an error: `{message}` (a text, or a list of them as validators give) or a bare text.
fn words(payload: &Value) -> String {
    let value = payload.get("message").unwrap_or(payload);
    let first = match value {
        Value::Array(values) => values.first().unwrap_or(&Value::Null),
        single => single,
    };
    shortened(first, SENTENCE_COLUMNS).map_or_else(|| NO_WORDS.to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fields::{ID_CHARS, SDP_BYTES};
    use super::*;
    use crate::room::NAME_COLUMNS;
    use crate::room::{Participant, PeerId};

    fn reason(event: &str, payload: Value) -> String {
        match read(event, &payload) {
            Incoming::Malformed { reason } => reason,
            other => panic!("{event} was read as {other:?}"),
        }
    }

    #[test]
    fn a_complaint_names_event_and_key_and_never_the_content() {
        for (event, payload, expected) in [
            (
                "meeting:joined",
                json!(null),
                "meeting:joined: the payload is not an object",
            ),
            (
                "meeting:joined",
                json!({}),
                "meeting:joined: userId is missing",
            ),
            (
                "meeting:joined",
                json!({"userId": null}),
                "meeting:joined: userId is missing",
            ),
            (
                "meeting:user-left",
                json!({"userId": ["secret"]}),
                "meeting:user-left: userId is not a text",
            ),
            (
                "media:peer-ready",
                json!({"userId": ""}),
                "media:peer-ready: userId is empty",
            ),
            (
                "media:peer-ready",
                json!({"userId": "a\nb"}),
                "media:peer-ready: userId has control characters",
            ),
            (
                "webrtc:peer-ready",
                json!({"userId": "u".repeat(129)}),
                "webrtc:peer-ready: userId is longer than 128 characters",
            ),
            (
                "media:user-muted",
                json!({"userId": "u", "isMuted": "secret"}),
                "media:user-muted: isMuted is not true or false",
            ),
            (
                "media:user-video-off",
                json!({"userId": "u"}),
                "media:user-video-off: isVideoOff is missing",
            ),
            (
                "media:user-screen-share",
                json!({"userId": "u", "isSharing": 1}),
                "media:user-screen-share: isSharing is not true or false",
            ),
            (
                "meeting:participants",
                json!({"participants": {}}),
                "meeting:participants: participants is not a list",
            ),
            (
                "media:offer",
                json!({"fromUserId": "u", "offer": "v=0 secret"}),
                "media:offer: offer is not an object",
            ),
            (
                "media:offer",
                json!({"fromUserId": "u", "offer": {"type": "offer", "sdp": 1}}),
                "media:offer: offer.sdp is not a text",
            ),
            (
                "webrtc:offer",
                json!({"fromUserId": "u", "offer": {"type": "answer", "sdp": "secret"}}),
                "webrtc:offer: offer.type is not offer",
            ),
            (
                "webrtc:answer",
                json!({"fromUserId": "u", "answer": {"type": "answer"}}),
                "webrtc:answer: answer.sdp is missing",
            ),
            (
                "webrtc:answer",
                json!({"answer": {"sdp": "secret"}}),
                "webrtc:answer: fromUserId is missing",
            ),
            (
                "media:answer",
                json!({"fromUserId": "u", "roomId": 7, "answer": {"sdp": "secret"}}),
                "media:answer: roomId is not a text",
            ),
            (
                "media:ice-candidate",
                json!({"fromUserId": "u", "candidate": {"candidate": "secret\r\na=x"}}),
                "media:ice-candidate: candidate.candidate has control characters",
            ),
            (
                "media:ice-candidate",
                json!({"fromUserId": "u", "candidate": {"sdpMid": "0"}}),
                "media:ice-candidate: candidate.candidate is missing",
            ),
            (
                "webrtc:ice-candidate",
                json!({"fromUserId": "u", "candidate": {"candidate": "c", "sdpMLineIndex": -1}}),
                "webrtc:ice-candidate: candidate.sdpMLineIndex is not a number of an m-line",
            ),
            (
                "webrtc:error",
                json!({"error": "secret"}),
                "webrtc:error: targetUserId is missing",
            ),
        ] {
            assert_eq!(reason(event, payload), expected);
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_what_just_fits_is_not() {
        let offer = |bytes: usize| {
            read(
                "media:offer",
                &json!({"fromUserId": "u", "offer": {"sdp": "v".repeat(bytes)}}),
            )
        };
        assert!(matches!(offer(SDP_BYTES), Incoming::Message(_)));
        assert!(matches!(offer(SDP_BYTES + 1), Incoming::Malformed { .. }));

        let candidate = |bytes: usize| {
            read(
                "webrtc:ice-candidate",
                &json!({"fromUserId": "u", "candidate": {"candidate": "c".repeat(bytes)}}),
            )
        };
        assert!(matches!(candidate(CANDIDATE_BYTES), Incoming::Message(_)));
        assert!(matches!(
            candidate(CANDIDATE_BYTES + 1),
            Incoming::Malformed { .. }
        ));

        // Characters, not bytes: an id of 128 umlauts fits.
        let joined = |chars: usize| read("meeting:joined", &json!({"userId": "ü".repeat(chars)}));
        assert!(matches!(joined(ID_CHARS), Incoming::Message(_)));
        assert!(matches!(joined(ID_CHARS + 1), Incoming::Malformed { .. }));
    }

    #[test]
    fn names_and_words_are_cut_and_cleaned() {
        let Incoming::Message(ServerMessage::UserJoined(row)) = read(
            "meeting:user-joined",
            &json!({"userId": "u", "userName": format!("  A\u{1b}nna{}", "x".repeat(500))}),
        ) else {
            panic!("not read");
        };
        let name = row.name.unwrap();
        assert_eq!(name.chars().count(), NAME_COLUMNS);
        assert!(name.starts_with("Annax"));

        let marked = json!({"userId": "u", "userName": "A\u{202e}nna\u{200b}", "username": "Ann"});
        let Incoming::Message(ServerMessage::UserJoined(row)) =
            read("meeting:user-joined", &marked)
        else {
            panic!("not read");
        };
        assert_eq!(row.name.as_deref(), Some("Anna"));
        let hidden = json!({"userId": "u\u{200b}", "userName": "Anna"});
        assert!(matches!(
            read("meeting:user-joined", &hidden),
            Incoming::Malformed { .. }
        ));

        let Incoming::Message(ServerMessage::Exception { message }) = read(
            "exception",
            &json!({"status": "error", "message": "bad offer\r\nv=0\r\na=ice-pwd:secret",
                "cause": {"data": {"sdp": "v=0 secret"}}}),
        ) else {
            panic!("not read");
        };
        assert_eq!(message, "bad offer");
        let quoted = json!({"message": r#"bad offer {"sdp":"v=0\r\na=ice-pwd:secret"}"#});
        assert_eq!(words(&quoted), r#"bad offer {"sdp":""#);
    }

    #[test]
    fn a_bad_row_does_not_hide_the_other_members() {
        let Incoming::Message(ServerMessage::Participants(rows)) = read(
            "meeting:participants",
            &json!({"participants": [null, {"userId": 5}, {"userName": "nobody"}, {"userId": "u", "isMuted": "x"}]}),
        ) else {
            panic!("not read");
        };
        assert_eq!(
            rows,
            [Participant {
                user: PeerId::new("u"),
                name: None,
                muted: None,
                video_off: None
            }]
        );
    }

    #[test]
    fn the_end_of_candidates_is_ignored() {
        for candidate in [json!(null), json!({"candidate": ""})] {
            assert_eq!(
                read(
                    "media:ice-candidate",
                    &json!({"fromUserId": "u", "candidate": candidate})
                ),
                Incoming::Ignored
            );
        }
    }
}
