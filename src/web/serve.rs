//! Accepting connections and serving them HTTP/1.1, each within limits.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::body::Timed;
use super::kept::Kept;
use super::places::{Limits, Place, Places};
use crate::journal_budget::LineBudget;

/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(10);
/// Longest head of a request, and what is read ahead of a body, bytes.
const BUFFER: usize = 32 * 1024;
/// How long a handshake below HTTP (TLS) may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long those that are open may take to finish at the end.
const FAREWELL: Duration = Duration::from_millis(300);
/// A pause after a failure to accept: out of descriptors, most likely.
const TROUBLE: Duration = Duration::from_millis(100);
/// How often deadlines are looked at.
const SWEEP: Duration = Duration::from_secs(1);

static DISPLACED: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "connections of strangers that lost their places to new ones",
);
static NOT_ACCEPTED: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "connections that could not be accepted",
);
static DEFECTS: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Error,
    "connections that ended in a defect",
);

/// Who asks; an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub SocketAddr);

/// An HTTP server.
#[derive(Clone, Debug)]
pub struct Server {
    /// For the log.
    pub name: &'static str,
    /// What is served. Requests carry [`Client`] and [`Visit`](super::Visit) as extensions.
    pub router: Router,
    /// Connections at once that have shown nothing. The oldest one gives its place to the next.
    pub strangers: usize,
    /// Requests at once that have shown a right token.
    pub known: usize,
}

/// No handshake below HTTP.
pub async fn plain(stream: TcpStream) -> io::Result<TcpStream> {
    Ok(stream)
}

impl Server {
    /// Serves until `stop` ends, then closes what is open. `secure` makes a connection out of an accepted stream:
    /// [`plain`], or a TLS handshake.
    pub async fn serve<Secure, Securing, Stream>(
        self,
        listener: TcpListener,
        secure: Secure,
        stop: impl Future<Output = ()>,
    ) where
        Secure: Fn(TcpStream) -> Securing,
        Securing: Future<Output = io::Result<Stream>> + Send + 'static,
        Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let name = self.name;
        let places = Places::new(Limits {
            strangers: self.strangers,
            known: self.known,
        });
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended
                        && DEFECTS.admits(name)
                    {
                        log::error!("{name}: a connection ended in a defect: {error}");
                    }
                    continue;
                }
                _ = sweeps.tick() => {
                    places.sweep(Instant::now());
                    continue;
                }
                accepted = accept(&listener, &places) => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if NOT_ACCEPTED.admits(name) {
                        log::warn!("{name}: cannot accept a connection: {error}");
                    }
                    tokio::time::sleep(TROUBLE).await;
                    continue;
                }
            };
            // Small messages that somebody waits for.
            let _ = stream.set_nodelay(true);
            let (place, displaced) = places.enter(address.ip(), Instant::now());
            if displaced && DISPLACED.admits_address(address.ip()) {
                log::warn!(
                    "{name}: {} connections have shown no right token; the oldest one was closed for one from {}",
                    self.strangers,
                    address.ip()
                );
            }
            let securing = secure(stream);
            let (router, stopped) = (self.router.clone(), stopped.clone());
            connections.spawn(async move {
                let secured = tokio::select! {
                    secured = timeout(HANDSHAKE, securing) => secured,
                    () = place.lost() => return,
                };
                match secured {
                    Ok(Ok(stream)) => {
                        converse(name, stream, place, Client(address), router, stopped).await;
                    }
                    Ok(Err(error)) => log::debug!("{name}: {address}: handshake: {error}"),
                    Err(_) => log::debug!("{name}: {address}: no handshake within {HANDSHAKE:?}"),
                }
            });
        }
        drop(listener);
        // Whoever is gone needs not to be told.
        let _ = stopping.send(true);
        let finish = async { while connections.join_next().await.is_some() {} };
        if timeout(FAREWELL, finish).await.is_err() {
            log::debug!(
                "{name}: closing {} connections that are in use",
                connections.len()
            );
        }
    }
}

/// Takes the next connection from the kernel as soon as there is a place for it.
async fn accept(listener: &TcpListener, places: &Places) -> io::Result<(TcpStream, SocketAddr)> {
    while let Some(opens) = places.opens_at(Instant::now()) {
        sleep_until(opens.into()).await;
    }
    listener.accept().await
}

async fn converse<Stream>(
    name: &'static str,
    stream: Stream,
    place: Place,
    client: Client,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER);
    let visit = place.visit().clone();
    let stream = TokioIo::new(Kept::new(stream, place));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        visit.begins(Instant::now());
        let mut request = request.map(Timed::new);
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(visit.clone());
        router.call(request)
    });
    let connection = http.serve_connection(stream, service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        log::debug!("{name}: {}: {error}", client.0);
    }
}

// The lock that `wait_for` hands out must not live in the caller's future.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
