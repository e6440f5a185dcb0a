//! Which local addresses a session binds, and where its STUN and TURN servers are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use crate::journal_budget::LineBudget;

/// How long a server's name may take to resolve. The crate would resolve it on the task that also
/// keeps ICE consent alive, where a dead name server stalls everything.
const LOOKUP_LIMIT: Duration = Duration::from_secs(1);

static UNRESOLVED: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "connections that go without a server whose name does not resolve",
);

/// The addresses to bind, found anew at every bind, so that an ICE restart after a change of network
/// uses the interfaces there are now.
///
/// The unspecified address stands for "every usable interface of this family" (the crate expands it and
/// skips loopback and link-local). It is named only for a family that has one: without, the crate would
/// offer `0.0.0.0` or `::` itself as a candidate. A machine with nothing but loopback gets loopback, so
/// that a box and a browser on one machine meet without a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct BindAddresses;

impl ToSocketAddrs for BindAddresses {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> std::io::Result<Self::Iter> {
        Ok(bind_addresses(local_addresses()).into_iter())
    }
}

/// The addresses of all interfaces. A list that cannot be read counts as an empty one.
pub(super) fn local_addresses() -> impl Iterator<Item = IpAddr> {
    let interfaces = rtc::shared::ifaces::ifaces().unwrap_or_default();
    interfaces
        .into_iter()
        .filter_map(|interface| interface.addr)
        .map(|address| address.ip())
}

fn bind_addresses(present: impl Iterator<Item = IpAddr>) -> Vec<SocketAddr> {
    let (mut v4, mut v6) = (false, false);
    for address in present.filter(is_usable) {
        v4 |= address.is_ipv4();
        v6 |= address.is_ipv6();
    }
    let mut bind = Vec::new();
    if v4 {
        bind.push(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    }
    if v6 {
        bind.push(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    }
    if bind.is_empty() {
        bind.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    }
    bind
}

/// Whether a peer can be told this address (RFC 8445 section 5.1.1.1).
fn is_usable(address: &IpAddr) -> bool {
    if address.is_loopback() || address.is_unspecified() {
        return false;
    }
    match address {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

/// Whether a session has a socket of IPv4 now.
pub(super) fn has_ipv4() -> bool {
    BindAddresses
        .to_socket_addrs()
        .is_ok_and(|mut addresses| addresses.any(|address| address.is_ipv4()))
}

/// Where a server is that the crate asks itself: one address per family of its host. A name that does not resolve
/// gives none, with a warning.
pub(super) async fn resolve(url: &ServerUrl) -> Vec<SocketAddr> {
    if let Ok(address) = url.host.parse::<IpAddr>() {
        return vec![SocketAddr::new(address, url.port)];
    }
    let lookup = tokio::net::lookup_host((url.host.as_str(), url.port));
    let addresses: Vec<SocketAddr> = match tokio::time::timeout(LOOKUP_LIMIT, lookup).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => {
            if UNRESOLVED.admits(&url.host) {
                log::warn!(
                    "{url} could not be resolved ({error}); this connection goes without it"
                );
            }
            return Vec::new();
        }
        Err(_) => {
            if UNRESOLVED.admits(&url.host) {
                log::warn!(
                    "{url} was not resolved within {LOOKUP_LIMIT:?}; this connection goes without it"
                );
            }
            return Vec::new();
        }
    };
    let first = |v4: bool| addresses.iter().find(|address| address.is_ipv4() == v4);
    [first(true), first(false)]
        .into_iter()
        .flatten()
        .copied()
        .collect()
}

/// A `stun:`, `turn:` or `turns:` URL taken apart (RFC 7064 section 3.1, RFC 7065 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUrl {
    /// It relays.
    pub(super) turn: bool,
    /// Over TCP.
    pub(super) tcp: bool,
    /// With TLS.
    pub(super) secure: bool,
    /// Name or address, without brackets.
    pub(super) host: String,
    /// Port.
    pub(super) port: u16,
}

impl ServerUrl {
    /// `None` for anything else, and for what nobody here speaks: STUN over TLS, TURN over DTLS.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        let (address, transport) = match rest.split_once("?transport=") {
            Some((address, transport)) => (address, Some(transport)),
            None => (rest, None),
        };
        let (turn, tcp, secure) = match (scheme, transport) {
            ("stun", None | Some("udp")) => (false, false, false),
            ("turn", None | Some("udp")) => (true, false, false),
            ("turn", Some("tcp")) => (true, true, false),
            ("turns", None | Some("tcp")) => (true, true, true),
            _ => return None,
        };
        let (host, port) = authority(address)?;
        Some(Self {
            turn,
            tcp,
            secure,
            host: host.to_owned(),
            port: port.unwrap_or(if secure { 5349 } else { 3478 }),
        })
    }

    /// This URL with an address in place of the host's name.
    pub(super) fn at(&self, address: SocketAddr) -> String {
        let url = Self {
            host: address.ip().to_string(),
            ..self.clone()
        };
        url.to_string()
    }
}

impl std::fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = match (self.turn, self.secure) {
            (false, _) => "stun",
            (true, false) => "turn",
            (true, true) => "turns",
        };
        let (host, port) = (&self.host, self.port);
        match host.contains(':') {
            true => write!(f, "{scheme}:[{host}]:{port}")?,
            false => write!(f, "{scheme}:{host}:{port}")?,
        }
        match (self.turn, self.tcp) {
            (false, _) => Ok(()),
            (true, false) => f.write_str("?transport=udp"),
            (true, true) => f.write_str("?transport=tcp"),
        }
    }
}

/// `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`; the host without its brackets.
pub(super) fn authority(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (host, after) = bracketed.split_once(']')?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return None,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = port.map(str::parse).transpose().ok()?;
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(present: &[&str]) -> Vec<String> {
        bind_addresses(present.iter().map(|text| text.parse().unwrap()))
            .iter()
            .map(|address| address.to_string())
            .collect()
    }

    #[test]
    fn a_family_without_a_usable_address_is_not_bound() {
        assert_eq!(
            bound(&["127.0.0.1", "::1", "192.168.1.4", "fe80::1"]),
            ["0.0.0.0:0"]
        );
        assert_eq!(bound(&["10.0.0.1", "fd00::7"]), ["0.0.0.0:0", "[::]:0"]);
        assert_eq!(bound(&["2001:db8::1", "169.254.3.4"]), ["[::]:0"]);
    }

    #[test]
    fn a_machine_with_loopback_only_binds_loopback() {
        assert_eq!(bound(&["127.0.0.1", "::1"]), ["127.0.0.1:0"]);
        assert_eq!(bound(&[]), ["127.0.0.1:0"]);
    }

    #[test]
    fn server_urls_are_taken_apart_as_their_rfcs_say() {
        let parse = |url| ServerUrl::parse(url).map(|url| url.to_string());
        for (url, whole) in [
            ("stun:example.org", "stun:example.org:3478"),
            ("turn:example.org", "turn:example.org:3478?transport=udp"),
            (
                "turn:example.org:5349?transport=udp",
                "turn:example.org:5349?transport=udp",
            ),
            (
                "turn:example.org?transport=tcp",
                "turn:example.org:3478?transport=tcp",
            ),
            ("turns:example.org", "turns:example.org:5349?transport=tcp"),
            (
                "turns:[::1]:443?transport=tcp",
                "turns:[::1]:443?transport=tcp",
            ),
            ("stun:[2001:db8::2]:19302", "stun:[2001:db8::2]:19302"),
        ] {
            assert_eq!(parse(url).as_deref(), Some(whole));
        }
        for unusable in [
            "turns:example.org?transport=udp",
            "turn:example.org?transport=sctp",
            "stuns:example.org",
            "stun:",
            "stun:host:port",
            "http://example.org",
            "",
            "turn:[::1",
            "turn:[::1]x",
        ] {
            assert_eq!(parse(unusable), None, "{unusable}");
        }
    }

    #[tokio::test]
    async fn addresses_pass_through_and_names_that_do_not_resolve_are_left_out() {
        let resolved = |text| async move {
            let url = ServerUrl::parse(text).unwrap();
            let addresses = resolve(&url).await;
            addresses
                .into_iter()
                .map(|address| url.at(address))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            resolved("turn:192.0.2.1:3478").await,
            ["turn:192.0.2.1:3478?transport=udp"]
        );
        assert_eq!(
            resolved("stun:[2001:db8::2]").await,
            ["stun:[2001:db8::2]:3478"]
        );
        assert!(resolved("stun:does-not-exist.invalid").await.is_empty());
        assert_eq!(
            resolved("stun:localhost:1234")
                .await
                .first()
                .map(String::as_str),
            Some("stun:127.0.0.1:1234")
        );
    }
}
