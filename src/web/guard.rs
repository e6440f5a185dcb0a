//! Whom a browser thinks it is talking to, and for whose page.
//!
//! A page of another origin can make a browser send requests here, and with a host name of its own that resolves to
//! this machine (DNS rebinding) even read the answers. The Host header tells the second, Origin the first.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Refusal;

/// The names under which a server may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Those of loopback (RFC 6761 section 6.3, 127.0.0.0/8, ::1) and the listed ones.
    Loopback(Vec<String>),
    /// Any address written as a number, which no foreign name server can hand out, those of loopback and the listed
    /// ones.
    Addresses(Vec<String>),
}

impl Names {
    fn allow(&self, host: &str) -> bool {
        let (listed, any_address) = match self {
            Self::Loopback(listed) => (listed, false),
            Self::Addresses(listed) => (listed, true),
        };
        if host.eq_ignore_ascii_case("localhost")
            || listed.iter().any(|name| name.eq_ignore_ascii_case(host))
        {
            return true;
        }
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        bare.parse::<IpAddr>()
            .is_ok_and(|address| any_address || address.is_loopback())
    }
}

/// Refuses what a browser asks under a foreign name or for a foreign page; a middleware of `axum`.
#[derive(Clone, Debug)]
pub struct Guard {
    names: Arc<Names>,
    scheme: &'static str,
}

impl Guard {
    /// `secure`: the server speaks TLS.
    pub fn new(names: Names, secure: bool) -> Self {
        Self {
            names: Arc::new(names),
            scheme: if secure { "https" } else { "http" },
        }
    }

    /// The middleware: `axum::middleware::from_fn_with_state(guard, Guard::check)`.
    pub async fn check(
        State(guard): State<Guard>,
        request: Request,
        next: Next,
    ) -> Result<Response, Refusal> {
        guard.look(request.headers())?;
        same_authority(request.uri(), request.headers())?;
        Ok(next.run(request).await)
    }

    fn look(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let refuse = |message: &str| Refusal::new(StatusCode::FORBIDDEN, "foreign", message);
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(Ok(host)), None) = (hosts.next().map(|host| host.to_str()), hosts.next()) else {
            return Err(refuse("a request needs one Host header"));
        };
        if !self.names.allow(name_of(host)) {
            return Err(refuse(
                "this server does not answer to that name; use its address, or add the name to the configuration",
            ));
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let foreign = match (origins.next(), origins.next()) {
            (None, None) => false,
            (Some(origin), None) => origin
                .to_str()
                .ok()
                .and_then(|origin| origin.split_once("://"))
                .is_none_or(|(scheme, authority)| {
                    scheme != self.scheme || !authority.eq_ignore_ascii_case(host)
                }),
            _ => true,
        };
        // Requests without Origin (a picture, a plain GET of another site) say so here in every current browser.
        let cross_site = headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site" || site == "same-site");
        let navigation = headers
            .get("sec-fetch-mode")
            .is_some_and(|mode| mode == "navigate");
        if foreign || (cross_site && !navigation) {
            return Err(refuse("pages of other origins get nothing here"));
        }
        Ok(())
    }
}

/// A request may name its server in the first line as well (RFC 9112 section 3.2.2). It must be the one of the Host
/// header, which is the one that was looked at.
fn same_authority(uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let named = uri.authority().map(axum::http::uri::Authority::as_str);
    let host = headers.get(header::HOST).map(|host| host.as_bytes());
    if named
        .is_none_or(|named| host.is_some_and(|host| host.eq_ignore_ascii_case(named.as_bytes())))
    {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "foreign",
        "the address in the first line of the request is not the one of its Host header",
    ))
}

/// The host without its port.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        // Not a colon inside an IPv6 address.
        Some((name, port)) if !port.contains(']') => name,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn ask(guard: &Guard, headers: &[(&'static str, &'static str)]) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        guard.look(&headers).is_ok()
    }

    fn loopback() -> Guard {
        Guard::new(Names::Loopback(vec!["room.example.org".to_owned()]), false)
    }

    #[test]
    fn names_of_loopback_and_configured_ones_are_answered() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]:8080",
            "[::1]",
            "room.example.org:8080",
        ] {
            let headers = HeaderMap::from_iter([(
                header::HOST,
                HeaderValue::from_str(host).expect("a host is ASCII"),
            )]);
            assert!(loopback().look(&headers).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_rebinding_name_is_refused() {
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1:8080",
            "",
        ] {
            assert!(!ask(&loopback(), &[("host", host)]), "{host}");
        }
        assert!(!ask(&loopback(), &[]));
    }

    #[test]
    fn a_server_for_others_answers_to_numbers_and_not_to_foreign_names() {
        let guard = Guard::new(Names::Addresses(Vec::new()), true);
        assert!(ask(&guard, &[("host", "192.0.2.1:8443")]));
        assert!(ask(&guard, &[("host", "[2001:db8::1]:8443")]));
        assert!(!ask(&guard, &[("host", "hub.example.org:8443")]));
    }

    #[test]
    fn a_foreign_page_is_refused_and_our_own_is_not() {
        let guard = loopback();
        let host = ("host", "localhost:8080");
        assert!(ask(&guard, &[host, ("origin", "http://localhost:8080")]));
        for origin in [
            "http://localhost:8081",
            "https://localhost:8080",
            "http://127.0.0.1:8080",
            "https://evil.example",
            "null",
            "",
        ] {
            assert!(!ask(&guard, &[host, ("origin", origin)]), "{origin}");
        }
        assert!(!ask(&guard, &[host, ("sec-fetch-site", "cross-site")]));
        assert!(ask(&guard, &[host, ("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn the_first_line_names_the_host_of_the_header_or_none() {
        let headers =
            HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost:8080"))]);
        let same = |uri: &'static str| same_authority(&Uri::from_static(uri), &headers).is_ok();
        for uri in ["/x", "http://localhost:8080/x", "http://LocalHost:8080/x"] {
            assert!(same(uri), "{uri}");
        }
        for uri in [
            "http://evil.example/x",
            "http://localhost/x",
            "http://u@localhost:8080/x",
        ] {
            assert!(!same(uri), "{uri}");
        }
    }

    #[test]
    fn a_link_on_another_page_may_lead_here() {
        assert!(ask(
            &loopback(),
            &[
                ("host", "localhost:8080"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
            ]
        ));
    }
}
