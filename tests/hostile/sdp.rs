//! Descriptions: honest ones to get in with, what the box's say, and mutations.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::random::Random;

/// What one connection of ours says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    /// SHA-256 of the certificate, in hexadecimal with colons.
    pub(crate) fingerprint: String,
    /// `actpass`, `active` or `passive`.
    pub(crate) setup: &'static str,
    /// Candidates, the address first.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) audio: u32,
    pub(crate) video: u32,
}

impl Own {
    /// The line of one candidate, without `a=`.
    pub(crate) fn candidate(number: usize, address: SocketAddr) -> String {
        let priority = 2_122_260_223 - number;
        format!(
            "candidate:{number} 1 udp {priority} {} {} typ host",
            address.ip(),
            address.port()
        )
    }

    fn transport(&self) -> String {
        let mut text = format!(
            "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:{}\r\n",
            self.ufrag, self.password, self.fingerprint, self.setup
        );
        for (number, address) in self.addresses.iter().enumerate() {
            let _ = write!(text, "a={}\r\n", Self::candidate(number + 1, *address));
        }
        text
    }

    /// An offer of sound and picture, both ways.
    pub(crate) fn offer(&self) -> String {
        let section = |kind: &str, mid: usize, payload: u8, ssrc: u32, codec: &str| {
            format!(
                "m={kind} 9 UDP/TLS/RTP/SAVPF {payload}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n{}\
                 a=sendrecv\r\na=rtcp-mux\r\n{codec}a=msid:hostile {kind}\r\n\
                 a=ssrc:{ssrc} cname:hostile\r\n",
                self.transport()
            )
        };
        let opus = "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n";
        let h264 = "a=rtpmap:102 H264/90000\r\n\
            a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
            a=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\na=rtcp-fb:102 ccm fir\r\n\
            a=rtcp-fb:102 goog-remb\r\n";
        format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
             a=msid-semantic: WMS hostile\r\n{}{}",
            section("audio", 0, 111, self.audio, opus),
            section("video", 1, 102, self.video, h264)
        )
    }

    /// An answer to an offer: its own lines, with our transport in the place of its.
    pub(crate) fn answer(&self, offer: &str) -> String {
        const THEIRS: &[&str] = &[
            "a=ice-",
            "a=fingerprint:",
            "a=setup:",
            "a=candidate:",
            "a=ssrc",
            "a=msid",
            "a=tool",
            "a=end-of-candidates",
        ];
        let mut answer = String::new();
        let mut section = 0;
        for line in offer.lines().filter(|line| !line.is_empty()) {
            if THEIRS.iter().any(|start| line.starts_with(start)) {
                continue;
            }
            answer.push_str(line);
            answer.push_str("\r\n");
            if line.starts_with("a=mid:") {
                let ssrc = if section == 0 { self.audio } else { self.video };
                answer.push_str(&self.transport());
                let _ = write!(
                    answer,
                    "a=msid:hostile t{section}\r\na=ssrc:{ssrc} cname:hostile\r\n"
                );
                section += 1;
            }
        }
        answer
    }
}

/// What a description of the box says of its transport.
#[derive(Clone, Debug)]
pub(crate) struct Theirs {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    pub(crate) setup: String,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Theirs {
    pub(crate) fn read(sdp: &str) -> Option<Self> {
        let value = |name: &str| {
            let found = sdp.lines().find_map(|line| line.strip_prefix(name));
            found.map(|value| value.trim().to_owned())
        };
        Some(Self {
            ufrag: value("a=ice-ufrag:")?,
            password: value("a=ice-pwd:")?,
            setup: value("a=setup:")?,
            addresses: sdp.lines().filter_map(host_address).collect(),
        })
    }
}

/// The address of a host candidate over UDP and IPv4.
pub(crate) fn host_address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("candidate:")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let [_, _, protocol, _, ip, port, "typ", "host", ..] = words[..] else {
        return None;
    };
    let address: SocketAddr = format!("{ip}:{port}").parse().ok()?;
    (protocol.eq_ignore_ascii_case("udp") && address.is_ipv4()).then_some(address)
}

/// What is done to a description.
const MUTATIONS: &[fn(&mut Random, &mut String)] = &[
    flip,
    cut,
    double,
    enlarge,
    widen_spaces,
    renumber,
    add_data,
    drop_line,
    swap_lines,
    grow_line,
    many_sections,
    more_codecs,
];

/// A description with one to three mutations.
pub(crate) fn mutate(random: &mut Random, sdp: &str) -> String {
    let mut text = sdp.to_owned();
    for _ in 0..=random.below(3) {
        random.pick(MUTATIONS)(random, &mut text);
    }
    text
}

fn flip(random: &mut Random, text: &mut String) {
    let mut bytes = std::mem::take(text).into_bytes();
    for _ in 0..=random.below(8) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    *text = String::from_utf8_lossy(&bytes).into_owned();
}

fn cut(random: &mut Random, text: &mut String) {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    text.truncate(at);
}

fn with_lines(text: &mut String, change: impl FnOnce(&mut Vec<String>)) {
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    change(&mut lines);
    *text = lines.join("\r\n");
}

fn double(random: &mut Random, text: &mut String) {
    with_lines(text, |lines| {
        let line = random.pick(lines).clone();
        for _ in 0..=random.below(50) {
            let at = random.below(lines.len());
            lines.insert(at, line.clone());
        }
    });
}

fn enlarge(random: &mut Random, text: &mut String) {
    const NUMBERS: &[&str] = &[
        "-1",
        "0",
        "65536",
        "4294967296",
        "99999999999999999999",
        "1e9",
    ];
    let digits: Vec<usize> = text
        .char_indices()
        .filter(|(_, letter)| letter.is_ascii_digit())
        .map(|(at, _)| at)
        .collect();
    if !digits.is_empty() {
        let at = *random.pick(&digits);
        text.replace_range(at..=at, random.pick::<&str>(NUMBERS));
    }
}

fn widen_spaces(random: &mut Random, text: &mut String) {
    const SPACES: &[&str] = &["\u{3000}", "\u{a0}", "\t", "\u{2028}", "  ", "\u{b}"];
    *text = text.replace(' ', random.pick::<&str>(SPACES));
}

fn renumber(random: &mut Random, text: &mut String) {
    let payload = random.below(300).to_string();
    *text = text.replace(*random.pick::<&str>(&["111", "102", "96"]), &payload);
}

fn add_data(_: &mut Random, text: &mut String) {
    text.push_str(
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:9\r\n\
         a=sctp-port:5000\r\na=max-message-size:1000000000\r\n",
    );
}

fn drop_line(random: &mut Random, text: &mut String) {
    with_lines(text, |lines| {
        let at = random.below(lines.len());
        lines.remove(at);
    });
}

fn swap_lines(random: &mut Random, text: &mut String) {
    with_lines(text, |lines| {
        let (one, other) = (random.below(lines.len()), random.below(lines.len()));
        lines.swap(one, other);
    });
}

fn grow_line(random: &mut Random, text: &mut String) {
    with_lines(text, |lines| {
        let at = random.below(lines.len());
        let more = "x".repeat(1 << random.below(14));
        lines[at].push_str(&more);
    });
}

fn many_sections(random: &mut Random, text: &mut String) {
    if let Some(at) = text.find("m=video") {
        let section = text[at..].to_owned();
        for _ in 0..random.below(30) {
            text.push_str(&section);
        }
    }
}

fn more_codecs(random: &mut Random, text: &mut String) {
    let mut lines = String::new();
    for _ in 0..random.below(200) {
        let payload = random.below(130);
        let _ = write!(
            lines,
            "a=rtpmap:{payload} {}/{}\r\n",
            random.word(6),
            random.u32()
        );
    }
    text.push_str(&lines);
}

/// The line of a candidate that asks for what a box must not do. One in three is in order but for its kind and spaces, so that
/// nothing else keeps a box from acting on it.
pub(crate) fn bad_candidate(random: &mut Random, trap: SocketAddr) -> String {
    const HOSTS: &[&str] = &[
        "127.0.0.1",
        "127.8.8.8",
        "224.0.0.251",
        "239.1.1.1",
        "255.255.255.255",
        "0.0.0.0",
        "::1",
        "ff02::fb",
        "fe80::1%eth0",
        "169.254.9.9",
        "::ffff:127.0.0.1",
        "a.local",
        "localhost",
        "10.99.0.1",
    ];
    let trap_ip = trap.ip().to_string();
    let space = *random.pick(&[" ", "\u{3000}", "\u{a0}", "\t", "  "]);
    if random.chance(33) {
        let foundation = random.below(9999);
        let port = trap.port();
        return format!(
            "candidate:{foundation} 1 tcp 1518280447 {trap_ip} {port} typ host tcptype passive"
        )
        .replace(' ', space);
    }
    let (host, port) = if random.chance(40) {
        (trap_ip.as_str(), usize::from(trap.port()))
    } else {
        (*random.pick(HOSTS), random.below(70_000))
    };
    let protocol = *random.pick(&["udp", "tcp", "TCP", "ssltcp", "Tcp", "udp6"]);
    let kind = *random.pick(&["host", "srflx", "prflx", "relay", "none"]);
    let tail = *random.pick(&[
        " tcptype passive",
        " tcptype active",
        " tcptype so",
        " raddr 127.0.0.1 rport 9",
        "",
    ]);
    let priority = if random.chance(20) {
        random.next()
    } else {
        u64::from(random.u32())
    };
    format!(
        "candidate:{} {} {protocol} {priority} {host} {port} typ {kind}{tail}",
        random.below(9999),
        random.pick(&["1", "1", "1", "2", "256", "-1"]),
    )
    .replace(' ', space)
}
