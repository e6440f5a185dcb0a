//! Texts of the configuration that must have a certain form. Each function returns the value, or what is wrong with
//! the text and what to write instead. Addresses and secrets' files are not repeated in the complaint, because people
//! put passwords into both.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::device_names::{SoundName, VideoName};
use super::document::{nearest, printable};
use super::server_url::{Protection, ServerUrl};
use super::settings::{
    Apply, CredentialRef, DisplayDevice, HubAccess, HubTls, MicrophoneDevice, PanelBackend,
    SpeakerDevice, VideoDevice,
};
use crate::room::{FirstStart, is_plain};

/// Anything but nothing and control characters.
pub(super) fn plain(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("is empty; give a value or remove the line".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("has control characters; write it on one line".to_owned());
    }
    if !is_plain(text) {
        return Err("has invisible characters, such as direction marks; type it again".to_owned());
    }
    if text.chars().nth(255).is_some() {
        return Err("is too long; give at most 255 characters".to_owned());
    }
    Ok(text.to_owned())
}

/// Why a screen's source is refused.
pub(super) const SCREEN_IS_CAMERA: &str = "is the device of [camera]: a share would show the room while the camera is \
                                           off; name another capture device, or none";

/// Stands for the box's id in the remote file's address.
pub(super) const BOX_ID: &str = "{id}";

/// An id that can stand in a URL's path.
pub(super) fn id(text: &str) -> Result<String, String> {
    let fits = text
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
    if fits && !text.is_empty() && text.len() <= 128 && text.chars().any(|letter| letter != '.') {
        return Ok(text.to_owned());
    }
    Err(format!(
        "\"{}\" is not an id; give 1 to 128 letters, digits, \"-\", \"_\" and \".\"",
        printable(text)
    ))
}

pub(super) fn email(text: &str) -> Result<String, String> {
    let text = plain(text)?;
    match text.split_once('@') {
        Some((local, domain))
            if !local.is_empty() && !domain.is_empty() && !text.contains(char::is_whitespace) =>
        {
            Ok(text)
        }
        _ => Err("is not an e-mail address; write NAME@DOMAIN".to_owned()),
    }
}

/// `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`.
pub(super) fn is_authority(text: &str) -> bool {
    let (host_is_good, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address.parse::<Ipv6Addr>().is_ok(), None),
        Some((address, rest)) => match rest.strip_prefix(':') {
            Some(port) => (address.parse::<Ipv6Addr>().is_ok(), Some(port)),
            None => return false,
        },
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            let good = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
            (!host.is_empty() && host.chars().all(good), port)
        }
    };
    let port_is_good = port.is_none_or(|port| {
        port.chars().all(|digit| digit.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    host_is_good && port_is_good
}

/// The address of a file on a web server with TLS.
pub(super) fn https(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or_default();
    let printable = path.chars().all(|letter| letter.is_ascii_graphic());
    if is_authority(authority) && !path.is_empty() && printable {
        return Ok(text.to_owned());
    }
    Err("is not a file's address; write https://HOST/PATH".to_owned())
}

/// `/one/two`, or nothing for the server's root.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let bare = text.strip_suffix('/').unwrap_or(text);
    let good = |letter: char| letter.is_ascii_alphanumeric() || "-._~/".contains(letter);
    let plain_parts = bare
        .split('/')
        .skip(1)
        .all(|part| !part.is_empty() && part.chars().any(|letter| letter != '.'));
    if (bare.is_empty() || bare.starts_with('/')) && plain_parts && bare.chars().all(good) {
        return Ok(bare.to_owned());
    }
    Err("is not a path on the server; write it like \"/api/v1\"".to_owned())
}

/// A STUN or TURN server (RFC 7064 section 3.1, RFC 7065 section 3.1).
pub(super) fn ice_url(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    let (authority, transport) = match rest.split_once("?transport=") {
        Some((authority, transport)) => (authority, Some(transport)),
        None => (rest, None),
    };
    let wrong = match (scheme, transport) {
        _ if !is_authority(authority) => {
            "is not a STUN or TURN server; write stun:HOST:PORT, turn:HOST:PORT or turns:HOST:PORT?transport=tcp"
        }
        ("stun", None) | ("turn", None | Some("udp" | "tcp")) | ("turns", None | Some("tcp")) => {
            return Ok(text.to_owned());
        }
        ("stuns", _) => "is STUN with TLS, which is not supported; write stun:HOST:PORT",
        ("turns", Some("udp")) => {
            "is TURN over DTLS, which is not supported; write turns:HOST:PORT?transport=tcp or turn:HOST:PORT"
        }
        _ => {
            "is not a STUN or TURN server; write stun:HOST:PORT, turn:HOST:PORT or turns:HOST:PORT?transport=tcp"
        }
    };
    Err(wrong.to_owned())
}

/// An HTTP proxy. One with a user and a password is not supported, and neither belongs here.
pub(super) fn proxy(text: &str) -> Result<String, String> {
    match ServerUrl::parse(text) {
        Ok(url) if url.protection() != Protection::Tls => Ok(url.as_str().to_owned()),
        _ => Err(
            "is not an HTTP proxy; write http://HOST:PORT, without user and password".to_owned(),
        ),
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "\"{}\" is not an address to listen on; write ADDRESS:PORT, such as 127.0.0.1:8080",
            printable(text)
        )
    })
}

/// A host's name as a browser's Host header has it, without a port.
pub(super) fn host(text: &str) -> Result<String, String> {
    if is_authority(text) && !text.contains(':') {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!(
        "\"{}\" is not a host's name; write it without scheme and port, such as room-101.example.org",
        printable(text)
    ))
}

/// A minisign public key: base64 of 42 bytes that begin with `Ed`.
pub(super) fn public_key(text: &str) -> Result<String, String> {
    let base64 = |letter: char| letter.is_ascii_alphanumeric() || "+/".contains(letter);
    if text.len() == 56 && text.starts_with("RW") && text.chars().all(base64) {
        return Ok(text.to_owned());
    }
    Err(
        "is not a minisign public key; give the second line of the .pub file, which begins with RW"
            .to_owned(),
    )
}

pub(super) fn path(text: &str, base: &Path) -> Result<PathBuf, String> {
    Ok(base.join(plain(text)?))
}

pub(super) fn credential(text: &str, base: &Path) -> Result<CredentialRef, String> {
    match plain(text) {
        Ok(name) => Ok(CredentialRef {
            name,
            base: base.to_owned(),
            credential_only: false,
        }),
        Err(_) => Err(
            "is not a file; give the name of a systemd credential or a path, not the secret itself"
                .to_owned(),
        ),
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, String> {
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => Err(unknown_word(text, &names(words))),
    }
}

/// The words themselves.
pub(super) fn names<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
    words.iter().map(|(word, _)| *word).collect()
}

pub(super) fn unknown_word(text: &str, known: &[&'static str]) -> String {
    let wrong = printable(text);
    match nearest(text, known) {
        Some(near) => format!("\"{wrong}\" is not known; did you mean \"{near}\"?"),
        None => format!(
            "\"{wrong}\" is not known; write one of \"{}\"",
            known.join("\", \"")
        ),
    }
}

pub(super) fn video_device(text: &str, base: &Path) -> Result<VideoDevice, String> {
    match text {
        "none" => Ok(VideoDevice::None),
        "sim:testcard" => Ok(VideoDevice::SimTestcard),
        "sim:slides" => Ok(VideoDevice::SimSlides),
        _ => match (text.strip_prefix("sim:file:"), text.starts_with("sim:")) {
            (Some(file), _) => Ok(VideoDevice::SimFile(path(file, base)?)),
            (None, true) => Err(unknown_word(
                text,
                &["sim:testcard", "sim:slides", "sim:file:PATH"],
            )),
            (None, false) => VideoName::parse(text).map(VideoDevice::V4l2),
        },
    }
}

/// Hz of `sim:tone` without a figure.
const TONE_HZ: u32 = 440;

pub(super) fn microphone_device(text: &str, base: &Path) -> Result<MicrophoneDevice, String> {
    match text {
        "none" => return Ok(MicrophoneDevice::None),
        "sim:tone" => return Ok(MicrophoneDevice::SimTone(TONE_HZ)),
        "sim:speech" => return Ok(MicrophoneDevice::SimSpeech),
        "sim:silence" => return Ok(MicrophoneDevice::SimSilence),
        _ => {}
    }
    if let Some(hz) = text.strip_prefix("sim:tone:") {
        return match hz.parse() {
            Ok(hz @ 20..=20_000) => Ok(MicrophoneDevice::SimTone(hz)),
            _ => Err(format!(
                "\"{}\" is not a tone; write sim:tone:HZ with 20 to 20000",
                printable(text)
            )),
        };
    }
    if let Some(file) = text.strip_prefix("sim:file:") {
        return Ok(MicrophoneDevice::SimFile(path(file, base)?));
    }
    match text.starts_with("sim:") {
        true => Err(unknown_word(
            text,
            &["sim:tone", "sim:speech", "sim:silence", "sim:file:PATH"],
        )),
        false => SoundName::parse(text).map(MicrophoneDevice::Alsa),
    }
}

pub(super) fn speaker_device(text: &str, base: &Path) -> Result<SpeakerDevice, String> {
    match text {
        "none" => return Ok(SpeakerDevice::None),
        "sim:meter" => return Ok(SpeakerDevice::SimMeter),
        _ => {}
    }
    if let Some(file) = text.strip_prefix("sim:wav:") {
        return Ok(SpeakerDevice::SimWav(path(file, base)?));
    }
    match text.starts_with("sim:") {
        true => Err(unknown_word(text, &["sim:meter", "sim:wav:PATH"])),
        false => SoundName::parse(text).map(SpeakerDevice::Alsa),
    }
}

pub(super) fn tls(text: &str, base: &Path) -> Result<HubTls, String> {
    match text {
        "off" => Ok(HubTls::Off),
        "self-signed" => Ok(HubTls::SelfSigned),
        _ => credential(text, base).map(HubTls::File),
    }
}

pub(super) const FIRST_START: &[(&str, FirstStart)] =
    &[("open", FirstStart::Open), ("muted", FirstStart::Muted)];

pub(super) const APPLY: &[(&str, Apply)] = &[("idle", Apply::Idle), ("now", Apply::Now)];

pub(super) const DISPLAY: &[(&str, DisplayDevice)] = &[
    ("none", DisplayDevice::None),
    ("sim:png", DisplayDevice::SimPng),
];

pub(super) const PANEL: &[(&str, PanelBackend)] = &[
    ("none", PanelBackend::None),
    ("sim:virtual", PanelBackend::SimVirtual),
    ("rppal", PanelBackend::Rppal),
    ("chardev", PanelBackend::Chardev),
    ("kernel", PanelBackend::Kernel),
];

pub(super) const BIAS: &[(&str, &str)] = &[
    ("pull-up", "pull-up"),
    ("pull-down", "pull-down"),
    ("disabled", "disabled"),
    ("as-is", "as-is"),
];

pub(super) const HUB_ACCESS: &[(&str, HubAccess)] =
    &[("token", HubAccess::Token), ("open", HubAccess::Open)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_have_no_slashes_and_only_turn_has_a_transport() {
        for good in [
            "stun:stun.example.org",
            "stun:stun.example.org:19302",
            "turn:[::1]:5349?transport=tcp",
            "turns:turn.example.org",
            "turn:10.0.0.1:3478?transport=udp",
            "turns:turn.example.org:443?transport=tcp",
        ] {
            assert_eq!(ice_url(good), Ok(good.to_owned()));
        }
        for bad in [
            "stun.example.org",
            "stun://stun.example.org",
            "stun:",
            "stun:a?transport=udp",
            "turn:a?transport=sctp",
            "turn:a?transport=udp?transport=udp",
            "turn:a?b",
            "turns:a?transport=udp",
            "stuns:a",
            "http:a",
        ] {
            assert!(ice_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_proxy_is_plain_http_and_has_no_password() {
        assert_eq!(
            proxy("http://proxy.example.org:3128/"),
            Ok("http://proxy.example.org:3128".to_owned())
        );
        for bad in [
            "proxy.example.org:3128",
            "https://proxy.example.org",
            "http://box:hunter2@proxy.example.org",
            "socks5://proxy",
        ] {
            let complaint = proxy(bad).unwrap_err();
            assert!(!complaint.contains("hunter2"), "{complaint}");
        }
    }

    #[test]
    fn a_prefix_may_be_the_root_and_never_climbs() {
        assert_eq!(prefix("/api/v1/"), Ok("/api/v1".to_owned()));
        assert_eq!(prefix("/"), Ok(String::new()));
        for bad in ["api/v1", "/api/../v1", "//evil.example", "/a b", "/a?b"] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn simulated_devices_are_the_listed_ones() {
        let base = Path::new("/etc/huddled");
        assert_eq!(
            video_device("sim:file:clip.y4m", base),
            Ok(VideoDevice::SimFile("/etc/huddled/clip.y4m".into()))
        );
        assert_eq!(
            video_device("sim:file:/srv/clip.y4m", base),
            Ok(VideoDevice::SimFile("/srv/clip.y4m".into()))
        );
        assert_eq!(
            video_device("/dev/video0", base),
            VideoName::parse("/dev/video0").map(VideoDevice::V4l2)
        );
        assert_eq!(
            microphone_device("sim:tone", base),
            Ok(MicrophoneDevice::SimTone(440))
        );
        assert_eq!(
            microphone_device("sim:tone:1000", base),
            Ok(MicrophoneDevice::SimTone(1000))
        );
        assert!(microphone_device("sim:tone:-1", base).is_err());
        assert_eq!(
            microphone_device("hw:CARD=Device", base),
            SoundName::parse("hw:CARD=Device").map(MicrophoneDevice::Alsa)
        );
        assert_eq!(
            speaker_device("sim:wav:out.wav", base),
            Ok(SpeakerDevice::SimWav("/etc/huddled/out.wav".into()))
        );
        assert!(speaker_device("sim:wav:", base).is_err());
    }
}
