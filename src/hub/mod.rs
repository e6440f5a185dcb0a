//! FLOOR 2: the embedded Socket.IO server, for rooms without the platform: the meetings of the configuration, a REST
//! interface to join them, and a page for guests, all on one port.
//!
//! ```text
//!   TCP -> TLS -> line (can be cut) -> web::Server (places) -> Guard (Host, Origin)
//!                        |- /socket.io/ -> query -> sessions -> sockets --+
//!                        |- /api/       -> rest --------------------------+--> desk --> rooms
//!                        `- the rest    -> pages
//! ```
//! `rooms` is a value that decides who hears what; `desk` holds it under one lock and delivers what it says before the
//! lock is free again, so every member hears everything in one order. Nothing is kept but the key of the tokens and
//! the certificate: a restarted hub knows the members' tokens and nothing else.

mod backlog;
mod bucket;
mod certificate;
mod desk;
mod files;
mod invitation;
mod line;
mod pages;
mod payload;
mod query;
mod rest;
mod rooms;
mod sessions;
mod sockets;
mod stamp;
mod token;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::Uri;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;

use crate::config::HubSettings;
use crate::room::Redacted;
use crate::web::{Guard, Names, Server};
use certificate::Identity;
use desk::Desk;
pub use invitation::Invitations;
pub use token::HubKey;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Connections at once that have shown no right token. An office of forty opens two or three each to load the page.
const STRANGERS: usize = 128;
/// Requests at once that have shown one; they take a moment.
const KNOWN: usize = 64;
/// How long the end waits for clients to take their last packet.
const FAREWELL: Duration = Duration::from_millis(300);

/// How the hub is encrypted.
#[derive(Clone)]
pub enum Tls {
    /// Not at all; on loopback only.
    Off,
    /// By a certificate the hub makes and keeps.
    SelfSigned {
        /// Where `hub-cert.pem` and `hub-cert.key` are kept.
        directory: PathBuf,
    },
    /// By this PEM text: the certificate chain and its private key.
    Pem(Vec<u8>),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::SelfSigned { directory } => write!(f, "SelfSigned {{ {} }}", directory.display()),
            Self::Pem(_) => f.write_str("Pem(<redacted>)"),
        }
    }
}

/// One server that members use to find a way to each other; W3C `RTCIceServer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServerLine {
    /// `urls`.
    pub urls: Vec<String>,
    /// `username`.
    pub username: Option<String>,
    /// `credential`. Members are told it, nobody else.
    pub credential: Option<Redacted<String>>,
}

/// Makes the list of servers anew for each member, because passwords may be short-lived. It may block for a file.
#[derive(Clone)]
pub struct IceServerLines(pub Arc<dyn Fn() -> Vec<IceServerLine> + Send + Sync>);

impl fmt::Debug for IceServerLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IceServerLines")
    }
}

impl IceServerLines {
    /// As JSON for one member.
    pub(crate) async fn written(&self) -> Value {
        let read = Arc::clone(&self.0);
        let lines = tokio::task::spawn_blocking(move || read()).await;
        lines.unwrap_or_default().iter().map(written).collect()
    }
}

/// What a hub is made of.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// `[hub]`; `listen` is there.
    pub settings: HubSettings,
    /// Encryption, with the secrets of `settings.tls`.
    pub tls: Tls,
    /// Signs the tokens.
    pub key: HubKey,
    /// Told to whoever joins.
    pub ice_servers: IceServerLines,
}

/// Why a hub does not start: what was attempted, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// There is no address to listen on.
    #[error("the hub has no address to listen on; set [hub] listen")]
    NoAddress,
    /// The address cannot be had.
    #[error("the hub cannot listen on {address}: {source}; {}", advice(source))]
    Listen {
        /// Of `[hub] listen`.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// Browsers give no camera to a page that came unencrypted from elsewhere, and tokens would be readable.
    #[error(
        "the hub does not listen on {address} without TLS; set [hub] tls to \"self-signed\" or a file, or listen on 127.0.0.1"
    )]
    Unencrypted {
        /// Of `[hub] listen`.
        address: SocketAddr,
    },
    /// The certificate or its key is of no use.
    #[error(
        "the certificate in {what} cannot be used: {reason}; give a PEM file with the chain and its key"
    )]
    Certificate {
        /// Where it came from.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The file of the key is damaged.
    #[error(
        "{} is no key of a hub: it has {length} bytes instead of 32; restore it, or remove it to make every token void",
        path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// Its length, bytes.
        length: usize,
    },
    /// A file of the state directory.
    #[error("cannot {what} {}: {source}; check the state directory and its owner", path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// No random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

impl HubError {
    /// Whether it may pass without anybody doing something: an address that is not there yet, or still taken.
    pub fn worth_retrying(&self) -> bool {
        match self {
            Self::Listen { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable
            ),
            Self::NoAddress
            | Self::Unencrypted { .. }
            | Self::Certificate { .. }
            | Self::Key { .. }
            | Self::File { .. }
            | Self::Random(_) => false,
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has it (`ss -ltnp` shows which); stop that, or change [hub] listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have it (`ip address` shows its own); change [hub] listen"
        }
        io::ErrorKind::PermissionDenied => "take a port of 1024 or above in [hub] listen",
        _ => "change [hub] listen",
    }
}

/// A hub that listens and does not answer yet.
pub struct Hub {
    listener: TcpListener,
    address: SocketAddr,
    invitations: Invitations,
    identity: Option<Identity>,
    guard: Guard,
    desk: Desk,
    ended: tokio::sync::mpsc::UnboundedReceiver<(socketioxide::socket::Sid, Instant)>,
}

impl Hub {
    /// Listens. Whoever connects from now on is answered as soon as [`Hub::serve`] runs.
    ///
    /// # Errors
    /// The address cannot be had, is not loopback without TLS, or the certificate cannot be used.
    pub async fn bind(options: HubOptions) -> Result<Self, HubError> {
        let HubOptions {
            settings,
            tls,
            key,
            ice_servers,
        } = options;
        let wished = settings.listen.ok_or(HubError::NoAddress)?;
        // Configuration refuses this already; but what it costs to be wrong here is the guests' pictures.
        if matches!(tls, Tls::Off) && !wished.ip().is_loopback() {
            return Err(HubError::Unencrypted { address: wished });
        }
        let failed = |source| HubError::Listen {
            address: wished,
            source,
        };
        let listener = TcpListener::bind(wished).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let url = settings
            .url
            .as_deref()
            .and_then(|url| url.parse::<Uri>().ok());
        let host = url.as_ref().and_then(Uri::host).map(bare);
        let identity = match &tls {
            Tls::Off => None,
            Tls::SelfSigned { directory } => Some(certificate::self_signed(
                directory,
                &certificate::names(address, host),
            )?),
            Tls::Pem(pem) => Some(certificate::given(pem)?),
        };
        let listed = host.map(str::to_owned).into_iter().collect();
        let names = if address.ip().is_loopback() {
            Names::Loopback(listed)
        } else {
            Names::Addresses(listed)
        };
        // Behind a proxy that does TLS for a hub on loopback, browsers speak of the proxy's scheme.
        let secure = match url.as_ref().and_then(Uri::scheme_str) {
            Some(scheme) => scheme == "https",
            None => identity.is_some(),
        };
        let invitations = Invitations::at(&settings, key.clone(), address, identity.is_some());
        let (desk, ended) = Desk::new(settings, key, ice_servers);
        log::info!("the hub listens on {address} as {}", invitations.origin());
        Ok(Self {
            listener,
            address,
            invitations,
            identity,
            guard: Guard::new(names, secure),
            desk,
            ended,
        })
    }

    /// Where it listens, with the port the system chose if port 0 was wished for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificates as PEM, for the `ca_file` of a box; `None` without TLS.
    pub fn certificate(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| &*identity.pem)
    }

    /// What lets people in.
    pub fn invitations(&self) -> &Invitations {
        &self.invitations
    }

    /// Serves until `stop` ends, then closes every connection, which takes half a second at most.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let acceptor = self.identity.map(|identity| identity.acceptor);
        let desk = Arc::new(self.desk);
        let (io, sockets, ending) = sockets::serve(&desk, self.ended);
        let router = Router::new()
            .merge(sockets)
            .merge(rest::router(&desk))
            .merge(pages::router(desk.settings.pages.clone()))
            .layer(axum::middleware::from_fn_with_state(
                self.guard,
                Guard::check,
            ));
        let server = Server {
            name: "hub",
            router,
            strangers: STRANGERS,
            known: KNOWN,
        };
        let lines = Arc::clone(&desk.lines);
        // A handshake is awaited where `Server` bounds its time, not where it accepts.
        let serving = async {
            match acceptor {
                None => {
                    let secure = |stream: TcpStream| {
                        let lines = Arc::clone(&lines);
                        async move { Ok(lines.wire(stream.peer_addr()?, stream)) }
                    };
                    server.serve(self.listener, secure, stop).await;
                }
                Some(acceptor) => {
                    let secure = |stream: TcpStream| handshake(&lines, &acceptor, stream);
                    server.serve(self.listener, secure, stop).await;
                }
            }
        };
        let ticking = async {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                desk.tick(Instant::now());
            }
        };
        tokio::select! {
            () = serving => {}
            () = ending => {}
            () = ticking => {}
        }
        if timeout(FAREWELL, io.close()).await.is_err() {
            log::debug!("closing connections that are in use");
        }
        lines.sever_all();
    }
}

fn handshake(
    lines: &Arc<line::Lines>,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> impl Future<Output = io::Result<line::Wire<tokio_rustls::server::TlsStream<TcpStream>>>> + use<>
{
    let (lines, acceptor) = (Arc::clone(lines), acceptor.clone());
    async move {
        let client = stream.peer_addr()?;
        Ok(lines.wire(client, acceptor.accept(stream).await?))
    }
}

/// W3C `RTCIceServer` as JSON.
fn written(server: &IceServerLine) -> Value {
    let mut line = json!({"urls": server.urls});
    if let Some(username) = &server.username {
        line["username"] = username.as_str().into();
    }
    if let Some(Redacted(credential)) = &server.credential {
        line["credential"] = credential.as_str().into();
    }
    line
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// A panic while a lock was held has been told of already; what the lock protects is still worth having.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
