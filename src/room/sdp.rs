//! The few facts negotiation needs from a description. Tolerant: text from outside never panics.

use super::types::{IceCandidate, Sdp};

/// A longer description is dropped, in bytes. A browser's offer has some 10 KB.
const SDP_LIMIT: usize = 256 * 1024;
/// A candidate with longer texts is dropped, in bytes. Chromium writes about 160.
const CANDIDATE_LIMIT: usize = 1024;

/// The session-level attribute (RFC 8866 section 6.4) every box adds to its descriptions.
const BOX_LINE: &str = "a=tool:huddled";

impl Sdp {
    /// Whether it is longer than any description is. Descriptions wait in several places, so an endless one takes memory.
    pub(super) fn is_oversized(&self) -> bool {
        self.as_str().len() > SDP_LIMIT
    }

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

    /// What makes it unusable, as far as its text alone tells; `None` if nothing does. An offer of a new connection costs the one that
    /// works, so junk must be known before anything is closed: whatever no connection of ours could take.
    pub(super) fn flaw(&self) -> Option<&'static str> {
        let has = |prefix| self.value(prefix).is_some_and(|value| !value.is_empty());
        if !has("a=ice-ufrag:") || !has("a=ice-pwd:") {
            return Some("it has no ICE credentials");
        }
        let mut prints = self
            .lines()
            .filter_map(|line| line.strip_prefix("a=fingerprint:"));
        if !has("a=fingerprint:") || !prints.all(is_fingerprint) {
            return Some("its DTLS fingerprint is none");
        }
        let mut speaks = false;
        let mut section: Option<Section<'_>> = None;
        for line in self.lines().chain(["m="]) {
            if let Some(media) = line.strip_prefix("m=") {
                if let Some(done) = section.take() {
                    if !done.named {
                        return Some("a media section has no a=mid");
                    }
                    if !done.is_mapped() {
                        return Some("a payload type of it means nothing");
                    }
                    speaks |= done.speaks;
                }
                section = Section::parse(media);
                if section.is_none() && !media.is_empty() {
                    return Some("a media section is none");
                }
            } else if let Some(section) = &mut section {
                section.read(line);
            }
        }
        (!speaks).then_some("it has neither Opus nor H.264")
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

/// One media section (RFC 8866 section 5.14), as far as it is judged.
struct Section<'a> {
    /// Of audio and video that is not rejected; those of other sections mean something else.
    payload_types: Vec<&'a str>,
    mapped: Vec<&'a str>,
    named: bool,
    /// Offers a codec of ours.
    speaks: bool,
}

impl<'a> Section<'a> {
    /// `media` is what follows `m=`.
    fn parse(media: &'a str) -> Option<Self> {
        let mut words = media.split_ascii_whitespace();
        let (kind, port, _protocol) = (words.next()?, words.next()?, words.next()?);
        let port: u16 = port.parse().ok()?;
        let formats: Vec<&str> = words.collect();
        let judged = matches!(kind, "audio" | "video") && port != 0;
        (!formats.is_empty()).then(|| Self {
            payload_types: if judged { formats } else { Vec::new() },
            mapped: Vec::new(),
            named: false,
            speaks: false,
        })
    }

    fn read(&mut self, line: &'a str) {
        if let Some((payload_type, codec)) = line
            .strip_prefix("a=rtpmap:")
            .and_then(|map| map.split_once(' '))
        {
            self.mapped.push(payload_type);
            let name = codec.split('/').next().unwrap_or_default();
            let ours = name.eq_ignore_ascii_case("opus") || name.eq_ignore_ascii_case("H264");
            self.speaks |= ours && self.payload_types.contains(&payload_type);
        }
        self.named |= line
            .strip_prefix("a=mid:")
            .is_some_and(|mid| !mid.is_empty());
    }

    /// Every payload type is either explained or has a meaning of old (RFC 3551 section 6).
    fn is_mapped(&self) -> bool {
        let is_static = |format: &str| format.parse::<u8>().is_ok_and(|number| number < 35);
        self.payload_types
            .iter()
            .all(|format| self.mapped.contains(format) || is_static(format))
    }
}

/// The name of a hash and bytes in hexadecimal (RFC 8122 section 5).
fn is_fingerprint(value: &str) -> bool {
    let Some((_hash, bytes)) = value.trim().split_once(' ') else {
        return false;
    };
    bytes
        .split(':')
        .all(|byte| byte.len() == 2 && byte.chars().all(|digit| digit.is_ascii_hexdigit()))
}

impl IceCandidate {
    /// Whether its texts are longer than those of any candidate.
    pub(super) fn is_oversized(&self) -> bool {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let others = length(&self.sdp_mid) + length(&self.username_fragment);
        self.candidate.len() + others > CANDIDATE_LIMIT
    }

    /// The `usernameFragment` member, else the `ufrag` extension of the candidate line.
    pub(super) fn ufrag(&self) -> Option<&str> {
        if let Some(fragment) = &self.username_fragment {
            return Some(fragment);
        }
        let mut words = self.candidate.split(' ');
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
    fn junk_is_told_from_a_description() {
        let good = "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\na=fingerprint:sha-256 AA:bb\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=mid:0\r\na=rtpmap:111 OPUS/48000/2\r\n\
            m=video 0 UDP/TLS/RTP/SAVPF 120\r\na=mid:1\r\n\
            m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";
        assert_eq!(Sdp::new(good).flaw(), None);
        for (from, to) in [
            ("a=ice-ufrag:abcd", ""),
            ("a=ice-pwd:secret", "a=ice-pwd:"),
            ("a=fingerprint:sha-256 AA:bb", ""),
            ("AA:bb", "zz"),
            ("AA:bb", ""),
            ("sha-256 AA:bb", "sha-256"),
            ("a=mid:0", "a=mid:"),
            ("a=mid:2", ""),
            ("m=audio 9", "m=audio 99999"),
            ("m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "m=audio 9"),
            (
                "m=audio 9 UDP/TLS/RTP/SAVPF 111 0",
                "m=audio 9 UDP/TLS/RTP/SAVPF 111 96",
            ),
            ("a=rtpmap:111 OPUS/48000/2", ""),
            ("OPUS", "none"),
            ("m=video 0", "m=video 9"),
        ] {
            let broken = good.replace(from, to);
            assert_ne!(broken, good);
            assert!(Sdp::new(&broken).flaw().is_some(), "{from:?} -> {to:?}");
        }
        assert!(Sdp::new("").flaw().is_some());
    }

    #[test]
    fn no_text_from_outside_panics() {
        let words = [
            "a=fingerprint:",
            "a=ice-ufrag:",
            "o=",
            "m=",
            "a=tool:huddled",
            "a=ice-pwd:x\n",
            "m=audio 9 RTP 111\n",
            "a=rtpmap:",
            "a=mid:",
            "111 opus/",
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
                sdp.flaw(),
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
