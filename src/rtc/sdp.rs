//! The little we read and write in session descriptions ourselves (RFC 8866, RFC 8829).

use std::collections::BTreeSet;

/// The session-level line that tells other boxes that this description comes from one of them.
const TOOL: &str = "a=tool:huddled";

/// Descriptions beyond this size are refused; a browser's offer has some 10 KB.
pub(super) const SIZE_LIMIT: usize = 256 * 1024;

/// The description to send: the local one plus the mark of a box, right after the `t=` line, unless it is
/// there already.
pub(super) fn marked(local: &str) -> String {
    let session_part = local.find("\nm=").unwrap_or(local.len());
    if local[..session_part].lines().any(|line| line == TOOL) {
        return local.to_owned();
    }
    let mut text = String::with_capacity(local.len() + TOOL.len() + 2);
    let mut waiting = true;
    for line in local.split_inclusive('\n') {
        text.push_str(line);
        if waiting && line.starts_with("t=") {
            text.push_str(TOOL);
            text.push_str("\r\n");
            waiting = false;
        }
    }
    text
}

/// A description or candidate whose relayed candidates do not tell the address they were got from, which is ours
/// (RFC 8839 section 5.1).
pub(super) fn without_bases(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut before = "";
        for (number, word) in line.split(' ').enumerate() {
            if number > 0 {
                shown.push(' ');
            }
            let value = word.trim_end_matches(['\r', '\n']);
            shown.push_str(match before {
                "raddr" if value.contains(':') => "::",
                "raddr" => "0.0.0.0",
                "rport" => "9",
                _ => value,
            });
            shown.push_str(&word[value.len()..]);
            before = value;
        }
    }
    shown
}

/// The media sections of a description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outline {
    /// Media kind and `a=mid` of each section of sound and picture, in order. Sections of data channels are rejected and never
    /// reach the crate (`description`).
    pub(super) sections: Vec<(String, String)>,
    /// The first `a=ice-ufrag`.
    pub(super) username_fragment: Option<String>,
}

impl Outline {
    /// Reads what must hold before the crate is given a description: it applies one line after the other
    /// and leaves a half-applied negotiation behind when it stumbles.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > SIZE_LIMIT {
            return Err(format!("it is longer than {SIZE_LIMIT} bytes"));
        }
        if !text.starts_with("v=0") {
            return Err("it does not begin with v=0".to_owned());
        }
        let mut outline = Self::default();
        let (mut pwd, mut fingerprint) = (false, false);
        let mut mids = BTreeSet::new();
        let mut open: Option<String> = None;
        for line in text.lines() {
            if let Some(media) = line.strip_prefix("m=") {
                if open.is_some() {
                    return Err("a media section has no a=mid".to_owned());
                }
                let kind = media.split(' ').next().unwrap_or_default();
                if !matches!(kind, "audio" | "video" | "application") {
                    return Err("a media section is neither audio, video nor application".into());
                }
                open = Some(kind.to_owned());
            } else if let Some(mid) = line.strip_prefix("a=mid:") {
                let Some(kind) = open.take() else {
                    return Err("an a=mid is outside of a media section or repeated".to_owned());
                };
                if mid.is_empty() || !mids.insert(mid) {
                    return Err("an a=mid is empty or used twice".to_owned());
                }
                if kind != "application" {
                    outline.sections.push((kind, mid.to_owned()));
                }
            } else if let Some(ufrag) = line.strip_prefix("a=ice-ufrag:") {
                if outline.username_fragment.is_none() {
                    outline.username_fragment = Some(ufrag.to_owned());
                }
            } else if line.starts_with("a=ice-pwd:") {
                pwd = true;
            } else if line.starts_with("a=fingerprint:") {
                fingerprint = true;
            }
        }
        if open.is_some() {
            return Err("a media section has no a=mid".to_owned());
        }
        if outline.sections.is_empty() {
            return Err("it has no media section".to_owned());
        }
        if outline.username_fragment.is_none() || !pwd {
            return Err("it has no ICE credentials".to_owned());
        }
        if !fingerprint {
            return Err("it has no DTLS fingerprint".to_owned());
        }
        Ok(outline)
    }

    /// Whether `answer` has the media sections of this offer (RFC 3264 section 6).
    pub(super) fn is_answered_by(&self, answer: &Self) -> bool {
        self.sections == answer.sections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relayed_candidate_can_be_shown_without_our_address() {
        let candidate = "candidate:1 1 udp 5 192.0.2.9 50000 typ relay";
        assert_eq!(
            without_bases(&format!("{candidate} raddr 10.0.0.7 rport 4711")),
            format!("{candidate} raddr 0.0.0.0 rport 9")
        );
        let description = |base: &str, port: u16| {
            format!(
                "v=0\r\ns=- raddr\r\na={candidate} raddr {base} rport {port} ufrag x\r\na=mid:0\r\n"
            )
        };
        assert_eq!(
            without_bases(&description("fd00::7", 4711)),
            description("::", 9)
        );
    }

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\n\
        a=fingerprint:sha-256 AA\r\nm=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:1\r\na=ice-ufrag:efgh\r\n";

    #[test]
    fn the_mark_of_a_box_follows_the_timing_line_once() {
        let text = marked(OFFER);
        assert!(text.contains("t=0 0\r\na=tool:huddled\r\na=group"));
        assert_eq!(text.matches("a=tool:huddled").count(), 1);
        assert_eq!(marked(&text), text);
        assert_eq!(text.replace("a=tool:huddled\r\n", ""), OFFER);
    }

    #[test]
    fn sections_are_read_in_order() {
        let outline = Outline::parse(OFFER).unwrap();
        assert_eq!(
            outline.sections,
            [
                ("audio".to_owned(), "0".to_owned()),
                ("video".to_owned(), "1".to_owned())
            ]
        );
        assert_eq!(outline.username_fragment.as_deref(), Some("abcd"));
        assert!(outline.is_answered_by(&outline.clone()));
        let swapped = Outline {
            sections: outline.sections.iter().rev().cloned().collect(),
            ..outline.clone()
        };
        assert!(!outline.is_answered_by(&swapped));
    }

    #[test]
    fn what_the_crate_would_stumble_over_is_refused() {
        for (from, to) in [
            ("v=0", "w=0"),
            ("a=mid:1", "a=mid:0"),
            ("a=mid:1\r\n", ""),
            ("a=mid:0\r\n", ""),
            ("m=video", "m=text"),
            ("a=ice-pwd:secret\r\n", ""),
            ("a=fingerprint:sha-256 AA\r\n", ""),
            ("a=mid:1", "a=mid:"),
        ] {
            let broken = OFFER.replace(from, to);
            assert!(Outline::parse(&broken).is_err(), "{from:?} -> {to:?}");
        }
        assert!(Outline::parse("").is_err());
        assert!(Outline::parse(&"v=0".repeat(SIZE_LIMIT)).is_err());
    }
}
