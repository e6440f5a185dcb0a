//! Addresses of servers, and what keeps what is sent there from others.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::values::is_authority;

/// How what is sent to a server is kept from others, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// `http://` to another machine: everybody on the way reads and changes it.
    Clear,
    /// `http://` to this machine.
    Loopback,
    /// `https://`.
    Tls,
}

/// Origin of a web server (RFC 6454), without a trailing slash, with its protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    text: String,
    protection: Protection,
}

impl ServerUrl {
    /// Reads `https://HOST` or `http://HOST`, with `:PORT` where needed.
    ///
    /// # Errors
    /// The text is no such address; a sentence without the text, because people put passwords into addresses.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_suffix('/').unwrap_or(text);
        let (scheme, authority) = bare.split_once("://").unwrap_or_default();
        let protection = match scheme {
            "https" => Protection::Tls,
            "http" if is_loopback(authority) => Protection::Loopback,
            "http" => Protection::Clear,
            _ => return Err(WRONG.to_owned()),
        };
        if !is_authority(authority) {
            return Err(WRONG.to_owned());
        }
        Ok(Self {
            text: bare.to_owned(),
            protection,
        })
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether both are one server: scheme, host and port (RFC 6454 section 5), however they are written.
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.origin() == other.origin()
    }

    /// In lower case and with the port, which is 443 or 80 where none is written.
    fn origin(&self) -> String {
        let text = self.text.to_ascii_lowercase();
        // The colons of an IPv6 address stand in brackets, the scheme's before a slash.
        let has_port = text
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        match self.protection {
            _ if has_port => text,
            Protection::Tls => text + ":443",
            Protection::Clear | Protection::Loopback => text + ":80",
        }
    }

    /// What keeps what is sent there from others.
    pub fn protection(&self) -> Protection {
        self.protection
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const WRONG: &str = "is not a server's address; write https://HOST or http://HOST, with :PORT if need be, without a path";

/// 127.0.0.0/8 in four decimal numbers, `[::1]` or `localhost`, with or without a port. Other spellings, some of which
/// a resolver would take for loopback, count as another machine.
fn is_loopback(authority: &str) -> bool {
    if let Some((address, _)) = authority
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return address.parse() == Ok(Ipv6Addr::LOCALHOST);
    }
    let host = authority
        .split_once(':')
        .map_or(authority, |(host, _)| host);
    let address = host.parse::<Ipv4Addr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_origin_and_nothing_more() {
        for good in [
            "https://meet.example.org",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "https://[fd00::1]",
        ] {
            assert_eq!(ServerUrl::parse(good).unwrap().as_str(), good);
            assert_eq!(
                ServerUrl::parse(&format!("{good}/")).unwrap().as_str(),
                good
            );
        }
        for bad in [
            "",
            "meet.example.org",
            "ws://meet.example.org",
            "HTTPS://meet.example.org",
            "https://",
            "https:///",
            "https://user:secret@meet.example.org",
            "https://meet.example.org/api",
            "https://meet.example.org?x",
            "https://meet.example.org#x",
            "https://meet.example.org\\x",
            "https://meet example.org",
            "https://meet.example.org:0",
            "https://meet.example.org:+80",
            "https://meet.example.org:99999",
            "https://[::1",
            "https://[::1]x",
            "http://localhost@evil.example",
            "http://localhost:80@evil.example",
            "http://[::1]@evil.example",
            "http://127.0.0.1\u{3002}evil.example",
        ] {
            assert!(ServerUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_is_the_same_however_it_is_written() {
        let url = |text: &str| ServerUrl::parse(text).unwrap();
        for (one, other, expected) in [
            ("https://a.example", "https://A.example:443/", true),
            ("http://127.0.0.1", "http://127.0.0.1:80", true),
            ("https://[fd00::1]", "https://[FD00::1]:443", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:8443", false),
            ("https://[fd00::1]", "https://[fd00::2]", false),
            ("https://a.example", "https://b.example", false),
        ] {
            assert_eq!(
                url(one).is_same_server(&url(other)),
                expected,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn only_this_machine_is_loopback_in_every_library_too() {
        for (text, expected) in [
            ("http://127.0.0.1", Protection::Loopback),
            ("http://127.9.8.7:80", Protection::Loopback),
            ("http://[::1]", Protection::Loopback),
            ("http://[0:0:0:0:0:0:0:1]:80", Protection::Loopback),
            ("http://localhost:3000", Protection::Loopback),
            ("http://LocalHost", Protection::Loopback),
            ("https://10.0.0.1", Protection::Tls),
            ("http://0.0.0.0", Protection::Clear),
            ("http://[::]", Protection::Clear),
            ("http://[::ffff:127.0.0.1]", Protection::Clear),
            ("http://localhost.evil.example", Protection::Clear),
            ("http://localhost.", Protection::Clear),
            ("http://127.0.0.1.evil.example", Protection::Clear),
            ("http://127.1", Protection::Clear),
            ("http://2130706433", Protection::Clear),
            ("http://0x7f.0.0.1", Protection::Clear),
            ("http://128.0.0.1", Protection::Clear),
            ("http://10.0.0.1:80", Protection::Clear),
        ] {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!(url.protection(), expected, "{text}");
            // The libraries that connect parse the text once more: they must come to the same machine.
            let seen = reqwest::Url::parse(url.as_str()).unwrap();
            let host = seen.host_str().unwrap().trim_matches(['[', ']']);
            let address = host.parse::<std::net::IpAddr>();
            if expected == Protection::Loopback {
                let is_loopback = address.is_ok_and(|address| address.is_loopback());
                assert!(is_loopback || host == "localhost", "{text}: {host}");
            }
        }
        assert!(Protection::Clear < Protection::Loopback && Protection::Loopback < Protection::Tls);
    }
}
