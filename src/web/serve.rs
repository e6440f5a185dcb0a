//! Accepting connections and serving them HTTP/1.1, each within limits.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Refusal;

/// How long a client may take to send the head of a request, and how long an idle connection is kept.
const HEAD: Duration = Duration::from_secs(10);
/// How long a handshake below HTTP (TLS) may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections over the limit that are still told so; those beyond are closed without a word.
const TOLD: usize = 16;
/// How long those that are open may take to finish at the end.
const FAREWELL: Duration = Duration::from_millis(300);
/// A pause after a failure to accept: out of descriptors, most likely.
const TROUBLE: Duration = Duration::from_millis(100);

/// Who asks; an extension of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub SocketAddr);

/// An HTTP server.
#[derive(Clone, Debug)]
pub struct Server {
    /// For the log.
    pub name: &'static str,
    /// What is served. Requests carry [`Client`] as an extension.
    pub router: Router,
    /// Connections at once; the next ones get 503.
    pub connections: usize,
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
        let places = Arc::new(Semaphore::new(self.connections));
        let told = Arc::new(Semaphore::new(TOLD));
        let (stopping, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        log::error!("{name}: a connection ended in a defect: {error}");
                    }
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    log::warn!("{name}: cannot accept a connection: {error}");
                    tokio::time::sleep(TROUBLE).await;
                    continue;
                }
            };
            // Small messages that somebody waits for.
            let _ = stream.set_nodelay(true);
            let (place, router) = if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                (place, Some(self.router.clone()))
            } else {
                log::warn!(
                    "{name}: {} connections are open, one was refused",
                    self.connections
                );
                match Arc::clone(&told).try_acquire_owned() {
                    Ok(place) => (place, None),
                    Err(_) => continue,
                }
            };
            let securing = secure(stream);
            let stopped = stopped.clone();
            connections.spawn(async move {
                match timeout(HANDSHAKE, securing).await {
                    Ok(Ok(stream)) => {
                        converse(name, stream, Client(address), router, stopped).await
                    }
                    Ok(Err(error)) => log::debug!("{name}: {address}: handshake: {error}"),
                    Err(_) => log::debug!("{name}: {address}: no handshake within {HANDSHAKE:?}"),
                }
                drop(place);
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

async fn converse<Stream>(
    name: &'static str,
    stream: Stream,
    client: Client,
    router: Option<Router>,
    mut stopped: watch::Receiver<bool>,
) where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let stream = TokioIo::new(stream);
    let ended = match router {
        Some(router) => {
            let router = router.layer(axum::Extension(client));
            let connection = http
                .serve_connection(stream, TowerToHyperService::new(router))
                .with_upgrades();
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = told(&mut stopped) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
        None => http.serve_connection(stream, service_fn(too_many)).await,
    };
    if let Err(error) = ended {
        log::debug!("{name}: {}: {error}", client.0);
    }
}

// The lock that `wait_for` hands out must not live in the caller's future.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn too_many(_: Request<Incoming>) -> Result<Response<Body>, std::convert::Infallible> {
    let mut response = Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "busy",
        "too many connections are open; close one, or try again in a moment",
    )
    .into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    Ok(response)
}
