//! The few facts negotiation needs from a description. Tolerant: text from outside never panics.

use super::types::{IceCandidate, Sdp};

/// The session-level attribute (RFC 8866 section 6.4) every box adds to its descriptions.
const BOX_LINE: &str = "a=tool:huddled";

impl Sdp {
    /// Whether another box wrote it. Two boxes settle glare by their ids; browsers do not (see `negotiation`).
    pub fn is_from_box(&self) -> bool {
        self.lines().any(|line| line == BOX_LINE)
    }

    /// The DTLS fingerprint (RFC 8122), in lower case: a peer's new connection has a new one, a renegotiation or an ICE
    /// restart keeps it. Without one, the session id of the `o=` line (RFC 8866 section 5.2).
    pub(super) fn connection_mark(&self) -> Option<String> {
        if let Some(print) = self.value("a=fingerprint:") {
            return Some(print.to_ascii_lowercase());
        }
        let session = self.value("o=")?.split_whitespace().nth(1)?;
        Some(format!("o={session}"))
    }

    /// The first `a=ice-ufrag` (RFC 8839 section 5.4): with BUNDLE all m-lines carry the same.
    pub(super) fn ice_ufrag(&self) -> Option<&str> {
        self.value("a=ice-ufrag:")
    }

    /// Has what every description of a connection has; anything else is junk, whatever else it says.
    pub(super) fn is_plausible(&self) -> bool {
        let has = |prefix| self.value(prefix).is_some_and(|value| !value.is_empty());
        has("m=") && has("a=fingerprint:") && has("a=ice-ufrag:")
    }

    /// Whether it has a video m-line (RFC 8866 section 5.14), in whatever direction.
    pub(super) fn has_video(&self) -> bool {
        self.lines().any(|line| line.starts_with("m=video"))
    }

    /// Whether it names a candidate (RFC 8839 section 5.1).
    pub(super) fn has_candidates(&self) -> bool {
        self.lines().any(|line| line.starts_with("a=candidate:"))
    }

    /// How many m-lines it has.
    pub(super) fn sections(&self) -> usize {
        self.lines().filter(|line| line.starts_with("m=")).count()
    }

    /// How many streams of pictures its writer sends or wants to: video m-lines that are neither rejected (port 0) nor
    /// `recvonly` or `inactive` (RFC 8866 section 6.7; without a word they are `sendrecv`).
    pub(super) fn sent_pictures(&self) -> usize {
        let (mut sent, mut open) = (0, false);
        for line in self.lines() {
            if line.starts_with("m=") {
                sent += usize::from(std::mem::take(&mut open));
                let mut words = line.split_ascii_whitespace();
                open = words.next() == Some("m=video") && words.next() != Some("0");
            } else if line == "a=recvonly" || line == "a=inactive" {
                open = false;
            }
        }
        sent + usize::from(open)
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.as_str().split(['\r', '\n']).map(str::trim)
    }

    fn value(&self, prefix: &str) -> Option<&str> {
        self.lines()
            .find_map(|line| line.strip_prefix(prefix))
            .map(str::trim)
    }
}

impl IceCandidate {
    /// The `usernameFragment` member, else the `ufrag` extension of the candidate line.
    pub(super) fn ufrag(&self) -> Option<&str> {
        if let Some(fragment) = &self.username_fragment {
            return Some(fragment);
        }
        let mut words = self.candidate.split_whitespace();
        words.find(|word| *word == "ufrag")?;
        words.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_of_a_box_is_recognised_by_its_tool_line_alone() {
        assert!(Sdp::new("v=0\r\ns=-\r\na=tool:huddled\r\nm=audio 9\r\n").is_from_box());
        assert!(!Sdp::new("v=0\r\ns=huddled\r\na=tool:huddled2\r\n").is_from_box());
    }

    #[test]
    fn pictures_are_counted_that_are_sent() {
        let sdp = Sdp::new(
            "v=0\r\nm=audio 9 X 111\r\na=sendrecv\r\nm=video 9 X 102\r\na=sendrecv\r\nm=video 9 X 102\r\n\
             a=recvonly\r\nm=video 0 X 102\r\nm=video 9 X 102\r\na=inactive\r\nm=video 9 X 102\r\na=sendonly\r\n",
        );
        assert_eq!((sdp.sections(), sdp.sent_pictures()), (6, 2));
    }

    #[test]
    fn the_connection_mark_is_the_fingerprint_in_any_case_and_else_the_session_id() {
        let upper = Sdp::new("o=- 7 2 IN IP4 0.0.0.0\r\na=fingerprint:sha-256 AA:BB\r\n");
        let lower = Sdp::new("o=- 8 3 IN IP4 0.0.0.0\na=fingerprint:SHA-256 aa:bb\n");
        assert_eq!(upper.connection_mark(), lower.connection_mark());
        assert_eq!(
            Sdp::new("o=- 7 2 IN IP4 0.0.0.0").connection_mark(),
            Some("o=7".into())
        );
        assert_eq!(Sdp::new("o=").connection_mark(), None);
        assert_eq!(Sdp::new("").connection_mark(), None);
    }

    #[test]
    fn no_text_from_outside_panics() {
        let words = [
            "a=fingerprint:",
            "a=ice-ufrag:",
            "o=",
            "m=",
            "a=tool:huddled",
            "\r",
            "\n",
            " ",
            "\0",
            "é",
            "🦀",
            "ufrag",
            ":",
        ];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text.push_str(words[(state >> 33) as usize % words.len()]);
            }
            let sdp = Sdp::new(&text);
            let _ = (
                sdp.is_from_box(),
                sdp.connection_mark(),
                sdp.ice_ufrag(),
                sdp.is_plausible(),
                sdp.has_video(),
                sdp.sections(),
                sdp.sent_pictures(),
            );
            let candidate = IceCandidate {
                candidate: text,
                sdp_mid: None,
                sdp_m_line_index: None,
                username_fragment: None,
            };
            let _ = candidate.ufrag();
        }
    }

    #[test]
    fn a_candidates_ufrag_is_found_in_its_member_and_in_its_line() {
        let mut candidate = IceCandidate {
            candidate: "candidate:1 1 udp 1 10.0.0.1 9 typ host ufrag abcd network-id 1".into(),
            sdp_mid: None,
            sdp_m_line_index: None,
            username_fragment: None,
        };
        assert_eq!(candidate.ufrag(), Some("abcd"));
        candidate.username_fragment = Some("efgh".into());
        assert_eq!(candidate.ufrag(), Some("efgh"));
        candidate.username_fragment = None;
        candidate.candidate = "candidate:1 ufrag".into();
        assert_eq!(candidate.ufrag(), None);
    }
}
