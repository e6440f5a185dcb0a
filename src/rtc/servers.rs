//! The STUN and TURN servers, as the library is to be told of them at this moment: names resolved, credentials fresh,
//! and a loopback forwarder in place of each relay over TCP or TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rtc::peer_connection::transport::RTCIceServer;
use tokio::sync::watch;

use super::RtcSettings;
use super::addresses::{ServerUrl, has_ipv4, resolve};
use super::credentials::{IceCredentials, Login, SecretSource};
use super::forwarder::{Endpoint, Forwarder, Losses, Target, Trust};
use super::health::RelayHealth;
use super::probe::probe;
use super::standing::{Problem, Standing};
use crate::clock;

/// A relay over UDP that worked is not tried out again before this,
const PROBE_PAUSE: Duration = Duration::from_secs(600);
/// and one that did not is at the next connection, once the last trial is over.
const PROBE_PAUSE_WHEN_ILL: Duration = Duration::from_secs(10);

/// All servers of the settings. The forwarders live as long as this, so as long as a connection that uses them.
pub(super) struct Servers {
    /// Only relayed candidates are used.
    pub(super) relay_only: bool,
    entries: Vec<Entry>,
    losses: Losses,
}

struct Entry {
    ways: Vec<Way>,
    credentials: IceCredentials,
    /// What was asked with last, for when the file cannot be read for a moment.
    last: Mutex<Option<Login>>,
    /// Whether the credentials can be read.
    standing: Standing,
}

enum Way {
    Direct(Direct),
    Forwarded(Relay),
}

/// A server over UDP, which the library asks itself.
struct Direct {
    url: ServerUrl,
    standing: Arc<Standing>,
    /// When it was last tried out by us, if it relays.
    tried: Mutex<Option<Instant>>,
}

/// A relay over TCP or TLS.
struct Relay {
    target: Arc<Target>,
    standing: Arc<Standing>,
    /// By the family of their loopback address; made when first needed.
    v4: Mutex<Option<Forwarder>>,
    v6: Mutex<Option<Forwarder>>,
    losses: Losses,
}

impl Servers {
    /// Reads every secret once, so that a missing one is told of at the start.
    pub(super) fn new(settings: &RtcSettings) -> Self {
        let proxy = settings.proxy.as_deref().and_then(|proxy| {
            let found = proxy_endpoint(proxy);
            if found.is_none() {
                log::error!("the proxy {proxy} is not http://HOST:PORT; it is not used");
            }
            found
        });
        let losses = Arc::new(watch::Sender::new(()));
        let servers = settings.ice_servers.iter();
        let entries: Vec<_> = servers
            .filter_map(|server| {
                let ways: Vec<_> = server
                    .urls
                    .iter()
                    .filter_map(|url| way(url, server.ca.as_ref(), proxy.as_ref(), &losses))
                    .collect();
                Some(Entry {
                    standing: Standing::new(server.urls.first()?),
                    ways,
                    credentials: server.credentials.clone(),
                    last: Mutex::new(None),
                })
            })
            .collect();
        for entry in &entries {
            entry.note(entry.credentials.login(clock::since_1970()));
        }
        Self {
            relay_only: settings.relay_only,
            entries,
            losses,
        }
    }

    /// Changes whenever a connection to a relay was lost, whosever allocation it carried.
    pub(super) fn losses(&self) -> watch::Receiver<()> {
        self.losses.subscribe()
    }

    /// How many TURN servers give a connection a way of its own.
    pub(super) fn relays(&self) -> usize {
        self.health().len()
    }

    /// What is known of each relay.
    pub(super) fn health(&self) -> Vec<RelayHealth> {
        let entries = self.entries.iter();
        entries.flat_map(Entry::health).collect()
    }

    /// The servers of now. One that cannot be used is left out with a sentence in the log.
    pub(super) async fn current(self: &Arc<Self>) -> Vec<RTCIceServer> {
        let reading = Arc::clone(self);
        // Files are read, which may take its time.
        let read = tokio::task::spawn_blocking(move || {
            let now = clock::since_1970();
            let entries = reading.entries.iter();
            entries
                .map(|entry| entry.credentials.login(now))
                .collect::<Vec<_>>()
        });
        let Ok(logins) = read.await else {
            return Vec::new();
        };
        let servers = self.entries.iter().zip(logins).map(|(entry, read)| {
            let login = entry.note(read);
            async move {
                let login = login?;
                let urls = join_all(entry.ways.iter().map(|way| way.urls(&login))).await;
                Some(RTCIceServer {
                    urls: urls.into_iter().flatten().collect(),
                    username: login.username,
                    credential: login.password.0,
                })
            }
        });
        let found = join_all(servers).await;
        found
            .into_iter()
            .flatten()
            .filter(|server| !server.urls.is_empty())
            .collect()
    }
}

impl Entry {
    fn health(&self) -> impl Iterator<Item = RelayHealth> {
        // Without credentials nothing is asked.
        let unreadable = self.standing.problem();
        self.ways.iter().filter_map(move |way| {
            let standing = way.relay_standing()?;
            let problem = unreadable.clone().or_else(|| standing.problem());
            Some(RelayHealth {
                url: standing.url().to_owned(),
                works: match problem {
                    Some(_) => Some(false),
                    None => standing.is_well().then_some(true),
                },
                problem,
            })
        })
    }

    /// Keeps what was read, or tells why nothing was. Returns what to ask with; `None` if there is nothing.
    fn note(&self, read: Result<Option<Login>, String>) -> Option<Login> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(login) => {
                self.standing.forget();
                *last = Some(login.unwrap_or_default());
            }
            Err(sentence) => self.standing.fails(Problem::error(match *last {
                None => format!("{sentence}; going on without this server"),
                Some(_) => format!("{sentence}; going on with the last known"),
            })),
        }
        last.clone()
    }
}

fn way(
    url: &str,
    ca: Option<&SecretSource>,
    proxy: Option<&Endpoint>,
    losses: &Losses,
) -> Option<Way> {
    let Some(parts) = ServerUrl::parse(url) else {
        log::error!("{url} is not a stun:, turn: or turns: URL; it is not used");
        return None;
    };
    if !parts.tcp {
        return Some(Way::Direct(Direct {
            url: parts,
            standing: Arc::new(Standing::new(url)),
            tried: Mutex::new(None),
        }));
    }
    Some(Way::Forwarded(Relay {
        standing: Arc::new(Standing::new(url)),
        target: Arc::new(Target {
            tls: parts.secure.then(|| Trust::new(ca.cloned())),
            server: Endpoint {
                host: parts.host,
                port: parts.port,
            },
            proxy: proxy.cloned(),
        }),
        v4: Mutex::new(None),
        v6: Mutex::new(None),
        losses: Arc::clone(losses),
    }))
}

/// `http://HOST:PORT`, taken apart; 80 without a port (RFC 9110 section 4.2.1).
fn proxy_endpoint(url: &str) -> Option<Endpoint> {
    let authority = url.strip_prefix("http://")?;
    let (host, port) = super::addresses::authority(authority)?;
    Some(Endpoint {
        host: host.to_owned(),
        port: port.unwrap_or(80),
    })
}

impl Way {
    /// Of a relay; `None` for a server that does not relay.
    fn relay_standing(&self) -> Option<&Standing> {
        match self {
            Self::Direct(direct) => direct.url.turn.then_some(&direct.standing),
            Self::Forwarded(relay) => Some(&relay.standing),
        }
    }

    async fn urls(&self, login: &Login) -> Vec<String> {
        match self {
            Self::Direct(direct) => {
                let addresses = resolve(&direct.url).await;
                direct.try_out(addresses.first(), login);
                let url = |address: &SocketAddr| direct.url.at(*address);
                addresses.iter().map(url).collect()
            }
            Self::Forwarded(relay) => relay.url().into_iter().collect(),
        }
    }
}

impl Direct {
    /// Finds out beside the library whether it relays, at most once in a while.
    fn try_out(&self, address: Option<&SocketAddr>, login: &Login) {
        let (true, Some(&address)) = (self.url.turn, address) else {
            return;
        };
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match self.standing.is_well() {
            true => PROBE_PAUSE,
            false => PROBE_PAUSE_WHEN_ILL,
        };
        if tried.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        *tried = Some(Instant::now());
        let (standing, login) = (Arc::clone(&self.standing), login.clone());
        tokio::spawn(async move {
            match probe(address, &login).await {
                Ok(()) => standing.works(),
                Err(problem) => standing.fails(problem),
            }
        });
    }
}

impl Relay {
    /// The forwarder's address in the family that the library has sockets of: it asks at one of the same family only.
    fn url(&self) -> Option<String> {
        let v4 = has_ipv4();
        let slot = if v4 { &self.v4 } else { &self.v6 };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            let started = Forwarder::start(
                v4,
                Arc::clone(&self.target),
                Arc::clone(&self.standing),
                Arc::clone(&self.losses),
            );
            match started {
                Ok(forwarder) => *slot = Some(forwarder),
                Err(error) => self.standing.fails(Problem::error(format!(
                    "no loopback port for it: {error}; this connection goes without it"
                ))),
            }
        }
        let address = slot.as_ref()?.address();
        Some(format!("turn:{address}?transport=udp"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Redacted;
    use crate::rtc::IceServerAccess;

    fn password(
        read: impl Fn() -> Result<Redacted<String>, String> + Send + Sync + 'static,
    ) -> IceCredentials {
        IceCredentials::Password {
            username: "box".to_owned(),
            password: Arc::new(read),
        }
    }

    #[tokio::test]
    async fn a_relay_over_a_stream_is_given_as_one_at_a_loopback_port_and_keeps_it() {
        let settings = RtcSettings {
            ice_servers: vec![IceServerAccess {
                urls: vec![
                    "turn:192.0.2.1:3478".to_owned(),
                    "turns:turn.example.org".to_owned(),
                    "turn:192.0.2.1?transport=tcp".to_owned(),
                ],
                credentials: password(|| Ok(Redacted("secret".to_owned()))),
                ca: None,
            }],
            ..Default::default()
        };
        let servers = Arc::new(Servers::new(&settings));
        let first = servers.current().await;
        let urls = &first[0].urls;
        assert_eq!(urls[0], "turn:192.0.2.1:3478?transport=udp");
        assert_eq!(urls.len(), 3);
        for url in &urls[1..] {
            assert!(
                url.starts_with("turn:127.0.0.1:") || url.starts_with("turn:[::1]:"),
                "{url}"
            );
        }
        assert_ne!(urls[1], urls[2]);
        assert_eq!(
            (&first[0].username[..], &first[0].credential[..]),
            ("box", "secret")
        );
        assert_eq!(servers.current().await[0].urls, *urls);
    }

    #[tokio::test]
    async fn a_password_that_cannot_be_read_leaves_the_last_one_or_no_server() {
        let file = Arc::new(Mutex::new(Err("gone".to_owned())));
        let read = Arc::clone(&file);
        let settings = RtcSettings {
            ice_servers: vec![IceServerAccess {
                urls: vec!["turn:192.0.2.1".to_owned()],
                credentials: password(move || read.lock().unwrap().clone()),
                ca: None,
            }],
            ..Default::default()
        };
        let servers = Arc::new(Servers::new(&settings));
        assert!(servers.current().await.is_empty());
        *file.lock().unwrap() = Ok(Redacted("one".to_owned()));
        assert_eq!(servers.current().await[0].credential, "one");
        *file.lock().unwrap() = Err("gone".to_owned());
        assert_eq!(servers.current().await[0].credential, "one");
        *file.lock().unwrap() = Ok(Redacted("two".to_owned()));
        assert_eq!(servers.current().await[0].credential, "two");
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        let endpoint = |host: &str, port| {
            Some(Endpoint {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(
            proxy_endpoint("http://proxy.example.org:3128"),
            endpoint("proxy.example.org", 3128)
        );
        assert_eq!(proxy_endpoint("http://proxy"), endpoint("proxy", 80));
        assert_eq!(
            proxy_endpoint("http://[fd00::1]:8080"),
            endpoint("fd00::1", 8080)
        );
        for wrong in ["proxy:3128", "http://", "http://proxy:x"] {
            assert_eq!(proxy_endpoint(wrong), None, "{wrong}");
        }
    }
}
