//! What lets people in: links for browsers, tokens for boxes. Made without a running hub, so that an administrator
//! can print them beside one.

use std::net::SocketAddr;

use super::token::{Claims, HubKey};
use super::{HubError, certificate};
use crate::config::{HubAccess, HubSettings, HubTls};
use crate::room::{PeerId, Redacted};

/// Makes links and tokens.
#[derive(Clone, Debug)]
pub struct Invitations {
    key: HubKey,
    origin: String,
    open: bool,
}

impl Invitations {
    /// Those of a hub with these settings and this key.
    ///
    /// # Errors
    /// There is no address that links could name.
    pub fn new(settings: &HubSettings, key: HubKey) -> Result<Self, HubError> {
        let address = settings.listen.ok_or(HubError::NoAddress)?;
        Ok(Self::at(
            settings,
            key,
            address,
            settings.tls != HubTls::Off,
        ))
    }

    /// `address`: where the hub listens in truth, when the settings leave the port to the system.
    pub(super) fn at(
        settings: &HubSettings,
        key: HubKey,
        address: SocketAddr,
        secure: bool,
    ) -> Self {
        Self {
            key,
            origin: match &settings.url {
                Some(url) => url.trim_end_matches('/').to_owned(),
                None => origin(address, secure),
            },
            open: settings.access == HubAccess::Open,
        }
    }

    /// What links begin with: `[hub] url`, else the address, for which one of this machine's stands if it means all.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A link to a meeting for everybody. Without a token if access is open.
    pub fn guest_link(&self, meeting: &str) -> String {
        let token = (!self.open).then(|| self.link_token(meeting, false));
        self.link(meeting, token)
    }

    /// A link to a meeting for whoever may mute and remove others. Always with a token.
    pub fn host_link(&self, meeting: &str) -> String {
        self.link(meeting, Some(self.link_token(meeting, true)))
    }

    /// A token for one user of one meeting, as a box's `token_file` holds it.
    pub fn member_token(&self, meeting: &str, user: &PeerId) -> Redacted<String> {
        self.key.sign(&Claims::Member {
            meeting: meeting.to_owned(),
            user: user.clone(),
            host: false,
            guest: false,
        })
    }

    fn link_token(&self, meeting: &str, host: bool) -> Redacted<String> {
        self.key.sign(&Claims::Link {
            meeting: meeting.to_owned(),
            host,
        })
    }

    /// Behind the #, browsers send nothing of it to anybody.
    fn link(&self, meeting: &str, token: Option<Redacted<String>>) -> String {
        let mut link = format!("{}/#meeting={}", self.origin, escaped(meeting));
        if let Some(Redacted(token)) = token {
            // Of characters that need no escape.
            link.push_str("&token=");
            link.push_str(&token);
        }
        link
    }
}

fn origin(address: SocketAddr, secure: bool) -> String {
    let scheme = if secure { "https" } else { "http" };
    let port = address.port();
    if !address.ip().is_unspecified() {
        return format!("{scheme}://{address}");
    }
    match certificate::own_addresses(address.ip()).first() {
        Some(own) => format!("{scheme}://{}", SocketAddr::new(*own, port)),
        None => format!("{scheme}://localhost:{port}"),
    }
}

/// Percent-encoded but for the unreserved characters (RFC 3986 section 2.3).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(byte.into());
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn invitations(change: impl FnOnce(&mut HubSettings)) -> Invitations {
        let mut settings = Settings::default().hub;
        settings.listen = Some(([127, 0, 0, 1], 8440).into());
        change(&mut settings);
        Invitations::new(&settings, HubKey::random().expect("there are random bytes"))
            .expect("there is an address")
    }

    #[test]
    fn a_link_carries_meeting_and_token_in_its_fragment_alone() {
        let link = invitations(|_| {}).guest_link("board room");
        let (place, fragment) = link.split_once('#').expect("there is a fragment");
        assert_eq!(place, "http://127.0.0.1:8440/");
        assert!(
            fragment.starts_with("meeting=board%20room&token="),
            "{fragment}"
        );
    }

    #[test]
    fn an_open_hub_s_guests_need_no_token_and_its_hosts_do() {
        let invitations = invitations(|settings| settings.access = HubAccess::Open);
        assert!(!invitations.guest_link("m").contains("token"));
        assert!(invitations.host_link("m").contains("&token="));
    }

    #[test]
    fn links_begin_with_the_configured_address() {
        let invitations = invitations(|settings| {
            settings.tls = HubTls::SelfSigned;
            settings.url = Some("https://hub.example.org".to_owned());
        });
        assert!(
            invitations
                .host_link("m")
                .starts_with("https://hub.example.org/#")
        );
    }
}
