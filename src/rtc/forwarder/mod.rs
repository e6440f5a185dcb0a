//! TURN over TCP and TLS (RFC 8656 section 3.1), which the library lacks: it is given a relay at a loopback address,
//! and what it sends there goes to the server over a stream.
//!
//! ```text
//!  library's socket --datagrams--> loopback socket --> flow of this source --> one TCP or TLS connection --> server
//! ```
//!
//! An allocation belongs to the addresses and the protocol that it was asked over (RFC 8656 section 3.2), so each source
//! has a connection of its own. The addresses that the server reports in its answers are right as they are.

mod dial;
mod flow;
mod framing;
mod observer;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

pub(super) use dial::{Endpoint, Target, Trust};
pub(super) use observer::{Meaning, Observer};

use super::standing::Standing;
use super::stun::{ALLOCATE, Stun};

/// Longest datagram that is taken, bytes: far more than the library's packets have.
const LONGEST: usize = 4096;
/// Datagrams that wait for the stream: a keyframe and some. What comes on top is lost, as datagrams are.
const WAITING: usize = 128;
/// Sources at a time: every connection of a meeting over several interfaces, and twice during a restart. A source is
/// whoever sends to the loopback address, so any program of this machine.
const SOURCES: usize = 128;

/// Changes whenever a connection that carried an allocation was lost.
pub(super) type Losses = Arc<watch::Sender<()>>;

/// A loopback address that stands for one server. Ends with all of its connections when dropped.
pub(super) struct Forwarder {
    address: SocketAddr,
    task: AbortHandle,
}

impl Forwarder {
    /// Listens at the loopback address of one family, at a port of the system's choice. Must be called within the
    /// runtime.
    pub(super) fn start(
        v4: bool,
        target: Arc<Target>,
        standing: Arc<Standing>,
        losses: Losses,
    ) -> std::io::Result<Self> {
        let loopback = match v4 {
            true => IpAddr::V4(Ipv4Addr::LOCALHOST),
            false => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let socket = std::net::UdpSocket::bind((loopback, 0))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let hub = Hub {
            socket: Arc::new(UdpSocket::from_std(socket)?),
            target,
            standing,
            losses,
            sources: HashMap::new(),
            flows: JoinSet::new(),
            lost: 0,
        };
        let task = tokio::spawn(hub.run()).abort_handle();
        Ok(Self { address, task })
    }

    /// Where the library is to send.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Hub {
    socket: Arc<UdpSocket>,
    target: Arc<Target>,
    standing: Arc<Standing>,
    losses: Losses,
    sources: HashMap<SocketAddr, mpsc::Sender<Bytes>>,
    flows: JoinSet<()>,
    lost: u64,
}

impl Hub {
    async fn run(mut self) {
        let mut buffer = BytesMut::new();
        loop {
            // One more than is taken shows what is longer.
            buffer.clear();
            buffer.reserve(LONGEST + 1);
            tokio::select! {
                received = self.socket.recv_buf_from(&mut buffer) => match received {
                    Ok((length, source)) if length <= LONGEST => {
                        let datagram = buffer.split_to(length).freeze();
                        self.take(source, datagram);
                    }
                    Ok(_) => self.lose(),
                    Err(error) => {
                        log::warn!("the forwarder to a relay cannot receive: {error}");
                        // Nothing to wait for but time: an error that stays must not keep a core busy.
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = self.flows.join_next() => {
                    self.sources.retain(|_, flow| !flow.is_closed());
                }
            }
        }
    }

    fn take(&mut self, source: SocketAddr, datagram: Bytes) {
        let unsent = match self.sources.get(&source) {
            None => datagram,
            Some(flow) => match flow.try_send(datagram) {
                Ok(()) => return,
                Err(TrySendError::Full(_)) => return self.lose(),
                Err(TrySendError::Closed(datagram)) => datagram,
            },
        };
        // What belongs to an allocation that is gone, or comes from somewhere else, opens no connection.
        if Stun::read(&unsent).is_none_or(|stun| stun.kind != ALLOCATE) {
            return;
        }
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            return self.lose();
        }
        let (flow, datagrams) = mpsc::channel(WAITING);
        // An empty queue has room for one.
        let _ = flow.try_send(unsent);
        self.sources.insert(source, flow);
        self.flows.spawn(flow::run(flow::Parts {
            source,
            datagrams,
            socket: Arc::clone(&self.socket),
            target: Arc::clone(&self.target),
            standing: Arc::clone(&self.standing),
            losses: Arc::clone(&self.losses),
        }));
    }

    /// Tells of it at 1, 10, 100, ...: the stream is behind, which the peers' receivers report as well.
    fn lose(&mut self) {
        self.lost += 1;
        if self
            .lost
            .checked_ilog10()
            .is_some_and(|power| 10_u64.pow(power) == self.lost)
        {
            log::debug!(
                "the stream to a relay is behind; {} datagrams are lost",
                self.lost
            );
        }
    }
}
