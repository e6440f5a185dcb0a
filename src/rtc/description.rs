//! A member's description (RFC 8866), read once: the crate, the judgement of its sections and the filter of its candidates all
//! get the same lines.
//!
//! The crate reads lines in its own way: it skips line ends, trims Unicode white space and reads an attribute's name up to the
//! first colon. So the crate gets lines that were written here, in which its reading and ours cannot differ.

use super::candidates::{Candidate, Refusal};
use super::sdp::{Outline, SIZE_LIMIT};

/// The most media sections of a description. An application's browser has three or four.
const SECTIONS_LIMIT: usize = 32;
/// The longest `a=mid` (RFC 9143 section 4 wants three bytes),
const MID_LIMIT: usize = 64;
/// and the longest one in digits: the crate counts on from the greatest number.
const MID_DIGITS_LIMIT: usize = 9;

/// What one description of a member says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RemoteDescription {
    /// The lines for the crate: without candidates, and with sections of data channels that it does not know.
    pub(super) text: String,
    /// The sections of sound and picture.
    pub(super) outline: Outline,
    /// Its candidates, of whatever section: all of them belong to the one transport (RFC 9143).
    pub(super) candidates: Vec<Candidate>,
    /// How many lines of candidates were unusable.
    pub(super) refused: usize,
    /// The sections that are rejected.
    pub(super) rejected: Rejected,
}

/// The sections of data channels. The box has none, so each is answered with port 0 (RFC 3264 section 6), and keeps its place in all
/// later descriptions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rejected(Vec<RejectedSection>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct RejectedSection {
    /// Position among all sections.
    index: usize,
    protocol: String,
    format: String,
    mid: String,
}

impl RemoteDescription {
    /// Reads a description.
    ///
    /// # Errors
    /// Why the description is unusable, to follow a colon.
    pub(super) fn read(sdp: &str) -> Result<Self, String> {
        if sdp.len() > SIZE_LIMIT {
            return Err(format!("it is longer than {SIZE_LIMIT} bytes"));
        }
        let mut reader = Reader::default();
        for line in sdp.split('\n') {
            reader.read(line.strip_suffix('\r').unwrap_or(line))?;
        }
        let outline = Outline::parse(&reader.text)?;
        if reader.rejected.iter().any(|section| section.mid.is_empty()) {
            return Err("a media section has no a=mid".to_owned());
        }
        Ok(Self {
            text: reader.text,
            outline,
            candidates: reader.candidates,
            refused: reader.refused,
            rejected: Rejected(reader.rejected),
        })
    }
}

#[derive(Default)]
struct Reader {
    text: String,
    candidates: Vec<Candidate>,
    refused: usize,
    rejected: Vec<RejectedSection>,
    sections: usize,
    /// The present section is rejected.
    in_rejected: bool,
}

impl Reader {
    fn read(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        if line.chars().any(char::is_control) {
            return Err("a line has a control character".to_owned());
        }
        let (kind, value) = line
            .split_once('=')
            .filter(|(kind, _)| kind.len() == 1)
            .ok_or("a line does not begin with a letter and '='")?;
        let value = value.trim();
        if self.in_rejected && kind != "m" && kind != "a" {
            return Ok(());
        }
        match kind {
            "m" => return self.open_section(value),
            "a" => {
                let (name, value) = value.split_once(':').unwrap_or((value, ""));
                match name.trim().to_ascii_lowercase().as_str() {
                    "candidate" => {
                        self.read_candidate(value);
                        return Ok(());
                    }
                    "end-of-candidates" | "remote-candidates" => return Ok(()),
                    "mid" => self.read_mid(value)?,
                    // The transport's own, which one section may hold for all.
                    "ice-ufrag" | "ice-pwd" | "fingerprint" | "setup" => {}
                    _ if self.in_rejected => return Ok(()),
                    _ => {}
                }
            }
            _ => {}
        }
        self.write(kind, value);
        Ok(())
    }

    fn write(&mut self, kind: &str, value: &str) {
        self.text.push_str(kind);
        self.text.push('=');
        self.text.push_str(value);
        self.text.push_str("\r\n");
    }

    fn open_section(&mut self, value: &str) -> Result<(), String> {
        if self.sections == SECTIONS_LIMIT {
            return Err(format!("it has more than {SECTIONS_LIMIT} media sections"));
        }
        let index = self.sections;
        self.sections += 1;
        let mut words = value.split_ascii_whitespace();
        self.in_rejected = words.next() == Some("application");
        let (protocol, format) = (words.nth(1), words.next());
        if !self.in_rejected {
            // RFC 8829 section 5.1.2. What is no RTP could only be a data channel under another name.
            if !protocol.is_some_and(|protocol| protocol.split('/').any(|part| part == "RTP")) {
                return Err("a media section is neither RTP nor a data channel".to_owned());
            }
            self.write("m", value);
            return Ok(());
        }
        let echoed = |word: Option<&str>, default: &str| {
            word.filter(|word| is_echoed(word))
                .unwrap_or(default)
                .to_owned()
        };
        self.rejected.push(RejectedSection {
            index,
            protocol: echoed(protocol, "UDP/DTLS/SCTP"),
            format: echoed(format, "webrtc-datachannel"),
            mid: String::new(),
        });
        // The crate skips a section of this kind and format (of others it wants numbers), and still learns its mid.
        self.write("m", "application 0 UDP/DTLS/SCTP 0");
        Ok(())
    }

    fn read_candidate(&mut self, value: &str) {
        match Candidate::parse(value) {
            Ok(candidate) => self.candidates.push(candidate),
            Err(Refusal::End) => {}
            Err(_) => self.refused += 1,
        }
    }

    fn read_mid(&mut self, mid: &str) -> Result<(), String> {
        let is_number = mid
            .trim_start_matches(['+', '-'])
            .bytes()
            .all(|byte| byte.is_ascii_digit());
        if !mid.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
            || mid.len() > MID_LIMIT
            || (is_number && mid.len() > MID_DIGITS_LIMIT)
        {
            return Err("an a=mid is no short word".to_owned());
        }
        if self.in_rejected
            && let Some(section) = self.rejected.last_mut()
        {
            mid.clone_into(&mut section.mid);
        }
        Ok(())
    }
}

/// Whether a word of a rejected section may stand in our answer.
fn is_echoed(word: &str) -> bool {
    word.len() <= 32
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.'))
}

impl Rejected {
    /// How many sections are rejected.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A description of ours with the rejected sections in their places.
    pub(super) fn placed_in(&self, local: &str) -> String {
        let mut sections = split_sections(local);
        let session = sections.remove(0);
        for section in &self.0 {
            let text = format!(
                "m=application 0 {} {}\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\n",
                section.protocol, section.format, section.mid
            );
            sections.insert(section.index.min(sections.len()), text);
        }
        sections.insert(0, session);
        sections.concat()
    }
}

/// The lines before the first section, then each section.
fn split_sections(text: &str) -> Vec<String> {
    let mut sections = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if line.starts_with("m=") {
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push_str(line);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;
    use rtc::sdp::SessionDescription;

    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\n\
        a=fingerprint:sha-256 AA\r\na=candidate:1 1 udp 5 192.0.2.9 50000 typ host\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\na=sctp-port:5000\r\n\
        a=candidate:1 1 udp 5 192.0.2.9 50001 typ host\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:2\r\na=ice-ufrag:abcd\r\n";

    fn candidates(sdp: &str) -> Vec<String> {
        let read = RemoteDescription::read(sdp).unwrap();
        assert!(
            !read.text.to_ascii_lowercase().contains("candidate"),
            "{}",
            read.text
        );
        read.candidates.iter().map(Candidate::to_string).collect()
    }

    #[test]
    fn candidates_of_all_sections_are_taken_out_of_the_text() {
        assert_eq!(
            candidates(OFFER),
            [
                "candidate:1 1 udp 5 192.0.2.9 50000 typ host",
                "candidate:1 1 udp 5 192.0.2.9 50001 typ host"
            ]
        );
    }

    #[test]
    fn no_spelling_leaves_a_candidate_for_the_crate() {
        let plain = "a=candidate:1 1 udp 5 192.0.2.9 50000 typ host\r\n";
        for line in [
            "a=candidate:1 1 tcp 5 127.0.0.1 80 typ host tcptype passive\r\n",
            "a= candidate:1 1 tcp 5 127.0.0.1 80 typ host\r\n",
            "a=\u{3000}candidate:1\u{3000}1\u{3000}tcp\u{3000}5\u{3000}127.0.0.1\u{3000}80\u{3000}typ\u{3000}host\r\n",
            "a=CANDIDATE:1 1 tcp 5 127.0.0.1 80 typ host\n",
            "a=candidate \u{a0}:1 1 tcp 5 127.0.0.1 80 typ host\n",
            "\n\n\na=candidate:1 1 tcp 5 127.0.0.1 80 typ host\n",
            "a=candidate\r\n",
            "a=end-of-candidates\r\na=remote-candidates:1 127.0.0.1 80\r\n",
        ] {
            let sdp = OFFER.replacen(plain, line, 1);
            assert_ne!(sdp, OFFER);
            assert_eq!(candidates(&sdp).len(), 1, "{line:?}");
        }
        for line in [
            "\ra=candidate:1 1 tcp 5 127.0.0.1 80 typ host\r\n",
            "s=-\ra=candidate:1 1 tcp 5 127.0.0.1 80 typ host\r\n",
            " a=candidate:1 1 tcp 5 127.0.0.1 80 typ host\r\n",
            "xa=candidate:1 1 tcp 5 127.0.0.1 80 typ host\r\n",
            "candidate\r\n",
            "s=\0\r\n",
        ] {
            let sdp = OFFER.replacen(plain, line, 1);
            assert!(RemoteDescription::read(&sdp).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_section_of_data_channels_is_rejected_in_its_place() {
        let read = RemoteDescription::read(OFFER).unwrap();
        assert_eq!(read.outline.sections.len(), 2);
        assert!(
            read.text
                .contains("m=application 0 UDP/DTLS/SCTP 0\r\na=mid:1\r\n")
        );
        let local = "v=0\r\ns=-\r\nm=audio 9 X 111\r\na=mid:0\r\nm=video 9 X 102\r\na=mid:2\r\n";
        assert_eq!(
            read.rejected.placed_in(local),
            "v=0\r\ns=-\r\nm=audio 9 X 111\r\na=mid:0\r\n\
             m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n\
             m=video 9 X 102\r\na=mid:2\r\n"
        );
        assert_eq!(Rejected::default().placed_in(local), local);
    }

    #[test]
    fn a_data_channel_under_the_name_of_sound_is_refused() {
        let line = "m=audio 9 UDP/TLS/RTP/SAVPF 111";
        for other in [
            "m=audio 9 UDP/DTLS/SCTP webrtc-datachannel",
            "m=video 9 DTLS/SCTP 5000",
            "m=audio 9",
        ] {
            let sdp = OFFER.replacen(line, other, 1);
            assert!(RemoteDescription::read(&sdp).is_err(), "{other}");
        }
    }

    #[test]
    fn data_channels_alone_are_refused() {
        let start = OFFER.find("m=audio").unwrap();
        let section = &OFFER[OFFER.find("m=application").unwrap()..OFFER.find("m=video").unwrap()];
        let alone = format!(
            "{}{section}a=ice-ufrag:abcd\r\na=ice-pwd:secret\r\na=fingerprint:sha-256 AA\r\n",
            &OFFER[..start]
        );
        assert!(RemoteDescription::read(&alone).is_err());
    }

    #[test]
    fn what_would_grow_or_overflow_in_the_crate_is_refused() {
        for mid in [
            "9223372036854775807",
            "1234567890",
            "a b",
            "\u{e9}",
            &"m".repeat(65),
        ] {
            let sdp = OFFER.replace("a=mid:2", &format!("a=mid:{mid}"));
            assert!(RemoteDescription::read(&sdp).is_err(), "{mid}");
        }
        let many: String = (3..40)
            .map(|mid| format!("m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:{mid}\r\n"))
            .collect();
        assert!(RemoteDescription::read(&format!("{OFFER}{many}")).is_err());
        let odd = OFFER.replace("UDP/DTLS/SCTP webrtc-datachannel", "\u{e9} \"x\"");
        let read = RemoteDescription::read(&odd).unwrap();
        assert!(read.rejected.placed_in("v=0\r\n").is_ascii());
    }

    /// A description in which some lines are of other kinds, orders and spellings.
    fn texts() -> impl Strategy<Value = String> {
        let odd = prop_oneof![
            3 => prop::sample::select(vec![
                "a=candidate:1 1 tcp 5 127.0.0.1 80 typ host tcptype passive",
                "a=\u{a0}candidate:1 1 tcp 5 127.0.0.1 80 typ host",
                "A=candidate:1 1 tcp 5 127.0.0.1 80 typ host",
                "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
                "m=application 9 UDP/DTLS/SCTP webrtc-datachannel x",
                "m=APPLICATION 9 UDP/DTLS/SCTP webrtc-datachannel",
                "m=audio 9 UDP/DTLS/SCTP webrtc-datachannel",
                "m= application 9 UDP/DTLS/SCTP webrtc-datachannel",
                "a=mid:7",
                "a=rtpmap:0 PCMU/8000",
                "",
            ]).prop_map(str::to_owned),
            1 => "[ac-z]=\\PC{0,30}",
        ];
        let end = prop::sample::select(vec!["\r\n", "\n", "\n\r\n", "\r\r\n"]);
        prop::collection::vec((0..20_usize, odd, end), 0..4).prop_map(|changes| {
            let mut lines: Vec<String> = OFFER.lines().map(|line| format!("{line}\r\n")).collect();
            for (at, line, end) in changes {
                lines.insert(at.min(lines.len()), format!("{line}{end}"));
            }
            lines.concat()
        })
    }

    proptest! {
        #[test]
        fn whatever_the_text_the_crate_reads_no_candidate_and_no_data_channel(text in texts()) {
            if let Ok(read) = RemoteDescription::read(&text)
                && let Ok(parsed) = SessionDescription::unmarshal(&mut Cursor::new(read.text.as_bytes()))
            {
                for media in &parsed.media_descriptions {
                    prop_assert!(!media.attributes.iter().any(|attribute| attribute.is_ice_candidate()));
                    prop_assert_ne!(&media.media_name.formats, &["webrtc-datachannel"]);
                }
                let known = parsed.media_descriptions.len() - read.rejected.len();
                prop_assert_eq!(known, read.outline.sections.len());
            }
        }
    }
}
