//! Which local addresses a session binds, and where its STUN and TURN servers are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use futures_util::future::join_all;
use rtc::peer_connection::transport::RTCIceServer;

use super::IceServerAccess;

/// How long a server's name may take to resolve. The crate would resolve it on the task that also
/// keeps ICE consent alive, where a dead name server stalls everything.
const LOOKUP_LIMIT: Duration = Duration::from_secs(1);

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
        // An interface list that cannot be read is treated like an empty one.
        let interfaces = rtc::shared::ifaces::ifaces().unwrap_or_default();
        let addresses = interfaces
            .into_iter()
            .filter_map(|interface| interface.addr)
            .map(|address| address.ip());
        Ok(bind_addresses(addresses).into_iter())
    }
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

/// The configured servers with their names resolved; one that does not resolve is left out with a warning.
pub(super) async fn resolve_servers(servers: &[IceServerAccess]) -> Vec<RTCIceServer> {
    join_all(servers.iter().map(|server| async move {
        let urls = join_all(server.urls.iter().map(|url| resolve_url(url))).await;
        RTCIceServer {
            urls: urls.into_iter().flatten().collect(),
            username: server.username.clone().unwrap_or_default(),
            credential: server
                .credential
                .as_ref()
                .map(|credential| credential.0.clone())
                .unwrap_or_default(),
        }
    }))
    .await
    .into_iter()
    .filter(|server| !server.urls.is_empty())
    .collect()
}

/// One URL per address family of its host; the URL itself if it names an address already.
async fn resolve_url(url: &str) -> Vec<String> {
    let Some(parts) = UrlParts::parse(url) else {
        log::warn!("{url} is not a stun: or turn: URL over UDP; it is not used");
        return Vec::new();
    };
    if parts.host.parse::<IpAddr>().is_ok() {
        return vec![parts.with_host(parts.host)];
    }
    let lookup = tokio::net::lookup_host((parts.host, parts.port));
    let addresses: Vec<IpAddr> = match tokio::time::timeout(LOOKUP_LIMIT, lookup).await {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
        Ok(Err(error)) => {
            log::warn!("{url} could not be resolved ({error}); this connection goes without it");
            return Vec::new();
        }
        Err(_) => {
            log::warn!(
                "{url} was not resolved within {LOOKUP_LIMIT:?}; this connection goes without it"
            );
            return Vec::new();
        }
    };
    let first = |v4: bool| addresses.iter().find(|address| address.is_ipv4() == v4);
    [first(true), first(false)]
        .into_iter()
        .flatten()
        .map(|address| parts.with_host(&address.to_string()))
        .collect()
}

/// A `stun:` or `turn:` URL over UDP, taken apart (RFC 7064 section 3.1, RFC 7065 section 3.1).
#[derive(Debug, PartialEq, Eq)]
struct UrlParts<'a> {
    scheme: &'a str,
    host: &'a str,
    port: u16,
}

impl<'a> UrlParts<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        if scheme != "stun" && scheme != "turn" {
            return None;
        }
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        if query.is_some_and(|query| query != "transport=udp") {
            return None;
        }
        let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
            let (host, after) = bracketed.split_once(']')?;
            (host, after.strip_prefix(':'))
        } else {
            match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            }
        };
        let port = match port {
            Some(port) => port.parse().ok()?,
            None => 3478,
        };
        (!host.is_empty()).then_some(Self { scheme, host, port })
    }

    fn with_host(&self, host: &str) -> String {
        let (scheme, port) = (self.scheme, self.port);
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let transport = if scheme == "turn" {
            "?transport=udp"
        } else {
            ""
        };
        format!("{scheme}:{host}:{port}{transport}")
    }
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
        let parse = |url| UrlParts::parse(url).map(|parts| (parts.scheme, parts.host, parts.port));
        assert_eq!(
            parse("stun:example.org"),
            Some(("stun", "example.org", 3478))
        );
        assert_eq!(
            parse("turn:example.org:5349?transport=udp"),
            Some(("turn", "example.org", 5349))
        );
        assert_eq!(
            parse("stun:[2001:db8::2]:19302"),
            Some(("stun", "2001:db8::2", 19302))
        );
        for unusable in [
            "turns:example.org",
            "turn:example.org?transport=tcp",
            "stun:",
            "stun:host:port",
            "http://example.org",
            "",
            "turn:[::1",
        ] {
            assert_eq!(parse(unusable), None, "{unusable}");
        }
    }

    #[tokio::test]
    async fn addresses_pass_through_and_names_that_do_not_resolve_are_left_out() {
        assert_eq!(
            resolve_url("turn:192.0.2.1:3478").await,
            ["turn:192.0.2.1:3478?transport=udp"]
        );
        assert_eq!(
            resolve_url("stun:[2001:db8::2]").await,
            ["stun:[2001:db8::2]:3478"]
        );
        assert!(resolve_url("stun:does-not-exist.invalid").await.is_empty());
        assert_eq!(
            resolve_url("stun:localhost:1234")
                .await
                .first()
                .map(String::as_str),
            Some("stun:127.0.0.1:1234")
        );
    }
}
