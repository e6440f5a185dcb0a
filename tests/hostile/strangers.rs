//! Strangers who hold what a hub gives: connections, handshakes, heads, bodies, sessions.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::counts::{Counts, Pace};
use crate::hub::{Stream, frame, secure};
use crate::random::Random;

/// How long one stranger holds on to what he has.
const HOLD: Duration = Duration::from_secs(40);
/// Between the bytes of a head or body that comes slowly.
const DRIP: Duration = Duration::from_millis(1500);
const CONNECT: Duration = Duration::from_secs(3);
/// A receive buffer that is soon full.
const SMALL: u32 = 2048;

/// What the program was asked to do.
pub(crate) struct Orders {
    pub(crate) hub: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) from: Vec<IpAddr>,
    pub(crate) connections: usize,
    pub(crate) opened: u64,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
}

/// What a stranger does with a connection.
const KINDS: &[&str] = &[
    "silent",
    "half a handshake",
    "half a head",
    "dripping head",
    "body without end",
    "dripping body",
    "polling session",
    "session spelled otherwise",
    "upgrade",
    "upgrade with a wrong token",
    "wrong token",
    "slow reader",
    "garbage",
    "kept alive",
];

/// Holds and opens again until the time is over.
pub(crate) async fn run(orders: &Orders, counts: &Counts) {
    let mut random = Random::new(orders.seed);
    let held = Rc::new(Cell::new(0_usize));
    let mut pace = Pace::new(orders.opened);
    let until = Instant::now() + Duration::from_secs(orders.seconds);
    while Instant::now() < until {
        for _ in 0..pace.portion().await {
            if held.get() >= orders.connections {
                continue;
            }
            let kind = *random.pick(KINDS);
            let from = *random.pick(&orders.from);
            let (hub, tls) = (orders.hub, orders.tls);
            let (held, counts, random) = (Rc::clone(&held), counts.clone(), random.fork());
            held.set(held.get() + 1);
            counts.largest("most held at once", held.get() as u64);
            spawn_local(async move {
                let begun = Instant::now();
                counts.add(&format!("opened: {kind}"));
                let one = Stranger {
                    hub,
                    tls,
                    counts: &counts,
                    random,
                };
                let ended = timeout(HOLD, one.hold(kind, from)).await;
                let seconds = begun.elapsed().as_secs();
                match ended {
                    Ok(Ok(())) => counts.add(&format!("ended by the hub: {kind}")),
                    Ok(Err(_)) => counts.add(&format!("broken: {kind}")),
                    Err(_) => counts.add(&format!("held to the end: {kind}")),
                }
                counts.largest(&format!("longest held, s: {kind}"), seconds);
                held.set(held.get() - 1);
            });
        }
    }
}

struct Stranger<'a> {
    hub: SocketAddr,
    tls: bool,
    counts: &'a Counts,
    random: Random,
}

impl Stranger<'_> {
    async fn tcp(&self, from: IpAddr, small: bool) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if small {
            socket.set_recv_buffer_size(SMALL)?;
        }
        socket.bind(SocketAddr::new(from, 0))?;
        Ok(timeout(CONNECT, socket.connect(self.hub)).await??)
    }

    async fn stream(&self, from: IpAddr, small: bool) -> Result<Box<dyn Stream>> {
        let tcp = self.tcp(from, small).await?;
        if self.tls {
            return Ok(Box::new(secure(tcp).await?));
        }
        Ok(Box::new(tcp))
    }

    async fn hold(mut self, kind: &str, from: IpAddr) -> Result<()> {
        match kind {
            "silent" => return drain(&mut self.tcp(from, false).await?).await,
            "half a handshake" => {
                let mut tcp = self.tcp(from, false).await?;
                // The beginning of a TLS ClientHello that says it is longer.
                tcp.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await?;
                tcp.write_all(&self.random.bytes(60)).await?;
                return drain(&mut tcp).await;
            }
            _ => {}
        }
        let mut stream = self.stream(from, kind == "slow reader").await?;
        match kind {
            "half a head" => stream.write_all(b"GET / HTTP/1.1\r\nHost: hu").await?,
            "dripping head" => {
                let head = b"GET / HTTP/1.1\r\nHost: hub\r\nX-Long: ";
                stream.write_all(head).await?;
                return self.drip(stream, b'x').await;
            }
            "body without end" => {
                let request = self.post("Bearer nonsense", 100_000);
                stream.write_all(request.as_bytes()).await?;
            }
            "dripping body" => {
                let request = self.post("Bearer nonsense", 100_000);
                stream.write_all(request.as_bytes()).await?;
                return self.drip(stream, b' ').await;
            }
            "polling session" => return self.poll(stream, "").await,
            "session spelled otherwise" => {
                let spelling =
                    *self
                        .random
                        .pick(&["&s%69d=x", "&sid=x", "&%73id=", "&SID=x", "&sid=&sid=x"]);
                return self.poll(stream, spelling).await;
            }
            "upgrade" | "upgrade with a wrong token" => {
                let request = format!(
                    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c3RyYW5nZXIgYXQgdGhlIQ==\r\n\r\n",
                    self.hub
                );
                stream.write_all(request.as_bytes()).await?;
                if kind != "upgrade" {
                    stream
                        .write_all(&frame(b"40{\"token\":\"nonsense\"}"))
                        .await?;
                }
            }
            "wrong token" => {
                let token = format!("Bearer {}", self.random.word(60));
                let request = self.post(&token, 0);
                for _ in 0..5 {
                    stream.write_all(request.as_bytes()).await?;
                    self.counts.add("wrong tokens sent");
                    sleep(Duration::from_millis(200)).await;
                }
            }
            "slow reader" => {
                let request = format!(
                    "GET /socket.io.min.js HTTP/1.1\r\nHost: {}\r\n\r\n",
                    self.hub
                );
                for _ in 0..20 {
                    stream.write_all(request.as_bytes()).await?;
                }
                sleep(HOLD).await;
            }
            "garbage" => {
                let length = 1 + self.random.below(600);
                stream.write_all(&self.random.bytes(length)).await?;
            }
            _ => {
                let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", self.hub);
                for _ in 0..30 {
                    stream.write_all(request.as_bytes()).await?;
                    let mut answer = [0; 4096];
                    if stream.read(&mut answer).await? == 0 {
                        return Ok(());
                    }
                    sleep(Duration::from_millis(900)).await;
                }
            }
        }
        drain(&mut stream).await
    }

    fn post(&self, authorization: &str, length: usize) -> String {
        format!(
            "POST /api/v1/public-meetings/main/join HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
            self.hub
        )
    }

    /// One byte now and then.
    async fn drip(&self, mut stream: Box<dyn Stream>, byte: u8) -> Result<()> {
        let mut buffer = [0; 1024];
        loop {
            stream.write_all(&[byte]).await?;
            if let Ok(read) = timeout(DRIP, stream.read(&mut buffer)).await
                && read? == 0
            {
                return Ok(());
            }
        }
    }

    /// Opens sessions by polling on one connection and never joins.
    async fn poll(&self, mut stream: Box<dyn Stream>, more: &str) -> Result<()> {
        let request = format!(
            "GET /socket.io/?EIO=4&transport=polling{more} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.hub
        );
        let mut buffer = [0; 4096];
        for _ in 0..40 {
            stream.write_all(request.as_bytes()).await?;
            let length = stream.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            let opened = buffer[..length].starts_with(b"HTTP/1.1 200");
            self.counts.add(if opened {
                "sessions opened"
            } else {
                "sessions refused"
            });
            sleep(Duration::from_millis(150)).await;
        }
        drain(&mut stream).await
    }
}

/// Reads until the hub closes.
async fn drain(stream: &mut (impl AsyncReadExt + Unpin)) -> Result<()> {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
