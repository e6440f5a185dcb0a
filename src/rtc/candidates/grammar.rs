//! One remote candidate: its text is read once into a typed value (RFC 8839 section 5.1), and everything later acts on that value.
//!
//! The crate's own parser splits at Unicode white space, takes any transport and skips what it does not know. So it never sees the
//! member's text: [`Candidate`] writes the line that the crate gets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The longest candidate text, in bytes. Chromium writes about 160.
const LENGTH_LIMIT: usize = 512;
/// How many name-value pairs may follow the type. Chromium writes six.
const EXTENSIONS_LIMIT: usize = 16;
/// The longest foundation, in characters (RFC 8839 section 5.1).
const FOUNDATION_LIMIT: usize = 32;
/// The greatest priority (RFC 8445 section 5.1.2).
const PRIORITY_LIMIT: u32 = 0x7fff_ffff;

/// A UDP candidate of the first component with an address in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rtc) struct Candidate {
    foundation: String,
    priority: u32,
    address: SocketAddr,
    kind: Kind,
}

/// The candidate types (RFC 8445 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relay,
}

/// Why a text brings no candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rtc) enum Refusal {
    /// The end of the candidates (RFC 8838 section 8.2), which is no candidate.
    End,
    /// The text is not in the grammar.
    Grammar,
    /// A transport other than UDP.
    Transport,
    /// A component other than the first; RTCP shares the first (RFC 5761).
    Component,
    /// A name in place of an address. Names of multicast DNS are not looked up, others never.
    Name,
}

impl Candidate {
    /// Reads the text of a candidate, with or without the prefix `candidate:`.
    pub(in crate::rtc) fn parse(text: &str) -> Result<Self, Refusal> {
        let value = text.strip_prefix("a=").unwrap_or(text);
        let value = value.strip_prefix("candidate:").unwrap_or(value);
        if value.is_empty() {
            return Err(Refusal::End);
        }
        if value.len() > LENGTH_LIMIT || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(Refusal::Grammar);
        }
        let mut words = value.split(' ');
        let mut next = || {
            words
                .next()
                .filter(|word| !word.is_empty())
                .ok_or(Refusal::Grammar)
        };
        let foundation = next()?;
        let (component, transport, priority) = (next()?, next()?, next()?);
        let (address, port, marker, kind) = (next()?, next()?, next()?, next()?);
        check_extensions(&words.collect::<Vec<_>>())?;

        let is_foundation = foundation.len() <= FOUNDATION_LIMIT
            && foundation
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
        let component = number(component, 3)?;
        let priority = number(priority, 10)?;
        let port = u16::try_from(number(port, 5)?).map_err(|_| Refusal::Grammar)?;
        let kind = Kind::parse(kind).ok_or(Refusal::Grammar)?;
        if !is_foundation || marker != "typ" || !(1..=PRIORITY_LIMIT).contains(&priority) {
            return Err(Refusal::Grammar);
        }
        if !transport.eq_ignore_ascii_case("udp") {
            return Err(Refusal::Transport);
        }
        if component != 1 {
            return Err(Refusal::Component);
        }
        let address: IpAddr = address.parse().map_err(|_| Refusal::Name)?;
        Ok(Self {
            foundation: foundation.to_owned(),
            priority,
            address: SocketAddr::new(address, port),
            kind,
        })
    }

    /// Where the candidate's checks go.
    pub(in crate::rtc) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Names and values in turn. The box uses none of them; the related address of a candidate is one such pair here.
fn check_extensions(words: &[&str]) -> Result<(), Refusal> {
    let (pairs, rest) = words.as_chunks::<2>();
    let is_fine = rest.is_empty()
        && pairs.len() <= EXTENSIONS_LIMIT
        && pairs.iter().flatten().all(|word| !word.is_empty());
    is_fine.then_some(()).ok_or(Refusal::Grammar)
}

/// A number of at most `digits` decimal digits, without a sign.
fn number(word: &str, digits: usize) -> Result<u32, Refusal> {
    if word.len() > digits || !word.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Grammar);
    }
    word.parse().map_err(|_| Refusal::Grammar)
}

impl Kind {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "host" => Self::Host,
            "srflx" => Self::ServerReflexive,
            "prflx" => Self::PeerReflexive,
            "relay" => Self::Relay,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relay => "relay",
        }
    }
}

/// The line for the crate. The related address is left out, because only diagnostics of the other side use it.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "candidate:{} 1 udp {} {} {} typ {}",
            self.foundation,
            self.priority,
            self.address.ip(),
            self.address.port(),
            self.kind.as_str()
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc::ice::candidate::unmarshal_candidate;

    use super::*;

    const PLAIN: &str = "candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host";

    #[test]
    fn what_browsers_write_is_read() {
        for text in [
            PLAIN,
            "candidate:1052353102 1 udp 2122260223 192.168.1.5 44323 typ host generation 0 ufrag Ab+/ network-id 1 network-cost 10",
            "candidate:842163049 1 udp 1677729535 203.0.113.9 44323 typ srflx raddr 192.168.1.5 rport 44323 generation 0",
            "candidate:0 1 UDP 2122252543 2001:db8::7 51732 typ host",
            "a=candidate:r+/1 1 udp 41885439 198.51.100.3 49199 typ relay raddr 0.0.0.0 rport 0",
            "7 1 udp 1 192.0.2.7 50000 typ prflx raddr :: rport 9",
        ] {
            assert!(Candidate::parse(text).is_ok(), "{text}");
        }
        assert_eq!(Candidate::parse(PLAIN).unwrap().to_string(), PLAIN);
        assert_eq!(Candidate::parse(""), Err(Refusal::End));
        assert_eq!(Candidate::parse("candidate:"), Err(Refusal::End));
    }

    #[test]
    fn another_transport_component_or_name_is_refused() {
        for (from, to, refusal) in [
            ("udp", "tcp", Refusal::Transport),
            ("udp", "TCP", Refusal::Transport),
            ("udp", "udptcp", Refusal::Transport),
            ("udp", "ssltcp", Refusal::Transport),
            ("1 udp", "2 udp", Refusal::Component),
            ("1 udp", "0 udp", Refusal::Component),
            ("192.0.2.7", "0f9d.local", Refusal::Name),
            ("192.0.2.7", "example.org", Refusal::Name),
            ("192.0.2.7", "localhost", Refusal::Name),
            ("192.0.2.7", "fe80::1%1", Refusal::Name),
            ("192.0.2.7", "[2001:db8::1]", Refusal::Name),
            ("192.0.2.7", "0x7f.1", Refusal::Name),
            ("192.0.2.7", "2130706433", Refusal::Name),
            ("192.0.2.7", "127.1", Refusal::Name),
            ("192.0.2.7", "0177.0.0.1", Refusal::Name),
        ] {
            let text = PLAIN.replacen(from, to, 1);
            assert_eq!(Candidate::parse(&text), Err(refusal), "{text}");
        }
    }

    #[test]
    fn only_the_grammar_passes() {
        for space in ["\u{3000}", "\u{a0}", "\t", "\n", "\u{b}", "  ", "\u{2028}"] {
            let text = PLAIN.replace("udp", "tcp").replace(' ', space);
            assert_eq!(Candidate::parse(&text), Err(Refusal::Grammar), "{text:?}");
            let text = PLAIN.replacen(' ', space, 1);
            assert_eq!(Candidate::parse(&text), Err(Refusal::Grammar), "{text:?}");
        }
        for (from, to) in [
            ("50000", "65536"),
            ("50000", "+5000"),
            ("50000", "-1"),
            ("2122260223", "0"),
            ("2122260223", "4294967295"),
            ("2122260223", "99999999999"),
            ("typ host", "typ"),
            ("typ host", "type host"),
            ("typ host", "typ host generation"),
            ("typ host", "typ host "),
            (":1 ", ":with-a-dash "),
            (":1 ", ":123456789012345678901234567890123 "),
            ("candidate:", "Candidate:"),
            ("candidate:", " candidate:"),
        ] {
            let text = PLAIN.replacen(from, to, 1);
            assert_eq!(Candidate::parse(&text), Err(Refusal::Grammar), "{text:?}");
        }
        let many = format!("{PLAIN}{}", " a b".repeat(EXTENSIONS_LIMIT + 1));
        assert_eq!(Candidate::parse(&many), Err(Refusal::Grammar));
        let long = format!("{PLAIN} a {}", "b".repeat(LENGTH_LIMIT));
        assert_eq!(Candidate::parse(&long), Err(Refusal::Grammar));
    }

    /// Words of candidates, separators of many kinds, and noise.
    fn texts() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            4 => prop::sample::select(vec![
                "candidate:1", "1", "2", "udp", "UDP", "tcp", "2122260223", "192.0.2.7", "127.0.0.1", "::1", "::ffff:127.0.0.1",
                "x.local", "50000", "0", "typ", "host", "srflx", "relay", "raddr", "rport", "tcptype", "passive", "ufrag",
            ]).prop_map(str::to_owned),
            1 => "\\PC{0,8}",
        ];
        let space =
            prop::sample::select(vec![" ", " ", " ", " ", "\u{3000}", "\t", "  ", "\u{a0}"]);
        prop::collection::vec((word, space), 0..16).prop_map(|words| {
            words
                .into_iter()
                .flat_map(|(a, b)| [a, b.to_owned()])
                .collect()
        })
    }

    /// A plain candidate with one word in another's place.
    fn near_texts() -> impl Strategy<Value = String> {
        (0..8_usize, "\\PC{0,6}", 0..4_usize).prop_map(|(at, word, space)| {
            let mut words: Vec<&str> = PLAIN.split(' ').collect();
            words[at] = &word;
            words.join([" ", " ", "\u{3000}", "\t"][space])
        })
    }

    proptest! {
        #[test]
        fn a_text_is_dropped_or_the_crate_reads_exactly_our_fields(
            text in prop_oneof![texts(), near_texts()]
        ) {
            if let Ok(candidate) = Candidate::parse(&text) {
                let line = candidate.to_string();
                let read = unmarshal_candidate(line.strip_prefix("candidate:").unwrap()).unwrap();
                prop_assert_eq!(read.addr(), candidate.address);
                prop_assert!(read.network_type().is_udp());
                prop_assert_eq!(read.component(), 1);
                prop_assert_eq!(read.priority(), candidate.priority);
                prop_assert_eq!(read.foundation(), candidate.foundation.clone());
                prop_assert_eq!(read.candidate_type().to_string(), candidate.kind.as_str());
                prop_assert_eq!(Candidate::parse(&line), Ok(candidate));
            }
        }
    }
}
