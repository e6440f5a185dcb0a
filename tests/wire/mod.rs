//! The application's messages: golden JSON of every one, round trips, and that nothing from outside panics.

mod golden;
mod properties;

use huddled::room::{IceCandidate, Identity, PeerId};
use serde_json::Value;

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

fn golden(text: &str) -> Value {
    let text = text
        .replace("MEETING", MEETING)
        .replace("OWN", OWN)
        .replace("ANNA", ANNA)
        .replace("CANDIDATE", CANDIDATE);
    serde_json::from_str(&text).expect("golden text is JSON")
}
