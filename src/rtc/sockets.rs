//! The sockets of a connection: the crate lets us bring them, so they mark what they send (`marking`) and repeat what a relay
//! refused for an old nonce (`nonces`). They keep strangers out and the pace of checks (`admission`).

use std::future::Future;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use socket2::SockRef;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

use super::admission::{Gate, Verdict};
use super::candidates::Remotes;
use super::marking::Streams;
use super::nonces::StaleNonces;
use crate::journal_budget::LineBudget;

/// The two bits below a mark are for congestion (RFC 3168).
const ECN_BITS: u32 = 2;

/// Datagrams that are dropped in one go before other tasks get their turn.
const DROPS: usize = 64;
/// No datagram of an early flight is due.
const NONE_DUE: usize = usize::MAX;

static UNMARKED: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "sockets whose packets are sent without DSCP marks",
);
/// How a check begins (RFC 8489 section 5, RFC 8445 section 7.2.2).
const BINDING_REQUEST: [u8; 2] = [0, 1];

/// Tokio's runtime with UDP sockets of ours.
#[derive(Debug)]
pub(super) struct OwnRuntime {
    pub(super) streams: Arc<Streams>,
    pub(super) nonces: Arc<StaleNonces>,
    pub(super) remotes: Arc<Remotes>,
    pub(super) gate: Arc<Gate>,
}

#[derive(Debug)]
struct OwnSocket {
    /// Receives, and waits until the socket takes more.
    inner: Arc<dyn AsyncUdpSocket>,
    /// The same socket, to send by: the crate's own way overrides the socket's mark.
    out: UdpSocket,
    is_v6: bool,
    streams: Arc<Streams>,
    nonces: Arc<StaleNonces>,
    remotes: Arc<Remotes>,
    gate: Arc<Gate>,
    /// Its name at the gate.
    number: u64,
    /// Which datagram of an early flight is handed over next.
    due: AtomicUsize,
    /// What the socket is set to.
    marked: AtomicU32,
    /// The system refuses marks; said once.
    refused: AtomicBool,
}

impl OwnSocket {
    fn new(
        socket: UdpSocket,
        streams: Arc<Streams>,
        nonces: Arc<StaleNonces>,
        remotes: Arc<Remotes>,
        gate: Arc<Gate>,
    ) -> io::Result<Self> {
        Ok(Self {
            out: socket.try_clone()?,
            is_v6: socket.local_addr()?.is_ipv6(),
            inner: TokioRuntime.wrap_udp_socket(socket)?,
            streams,
            nonces,
            remotes,
            number: gate.new_socket(),
            gate,
            due: AtomicUsize::new(NONE_DUE),
            marked: AtomicU32::new(0),
            refused: AtomicBool::new(false),
        })
    }

    /// Whether something of what was received is for the library. Of several datagrams in one (`stride`) those that are not are
    /// cut out. A refusal that was answered with the same request signed anew is hidden; answers of a relay do not come in numbers.
    fn look_at(&self, buffer: &mut [u8], meta: &mut RecvMeta) -> bool {
        let length = meta.len.min(buffer.len());
        let stride = match meta.stride {
            0 => length,
            stride => stride.min(length),
        };
        let mut kept = 0;
        let mut start = 0;
        while start < length {
            let end = length.min(start + stride);
            let datagram = &buffer[start..end];
            let verdict = self.gate.comes_in(self.number, datagram, meta.addr);
            let again = match verdict {
                Verdict::Drop => None,
                _ if stride < length => None,
                _ => self.nonces.comes_in(datagram),
            };
            if let Some((again, server)) = again {
                // What a full socket does not take is lost, and repeated by the library as any request.
                let _ = self.out.send_to(&again, server);
            } else if verdict != Verdict::Drop {
                if verdict == Verdict::PassStun {
                    self.remotes.on_heard(meta.addr);
                    if self.gate.has_early() {
                        self.due.store(0, Ordering::Relaxed);
                    }
                }
                buffer.copy_within(start..end, kept);
                kept += end - start;
            }
            start = end;
        }
        meta.len = kept;
        kept > 0
    }

    /// After a STUN message the library may have selected a pair: it gets what came too early again.
    fn hand_over(&self, buffer: &mut [u8], meta: &mut RecvMeta) -> bool {
        let number = self.due.load(Ordering::Relaxed);
        if number == NONE_DUE {
            return false;
        }
        let given = self.gate.hand_over(number, self.number, buffer);
        let Some((length, from)) = given else {
            self.due.store(NONE_DUE, Ordering::Relaxed);
            return false;
        };
        self.due.store(number + 1, Ordering::Relaxed);
        *meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (from, length, length);
        true
    }

    fn set_mark(&self, mark: u32) {
        if self.marked.swap(mark, Ordering::Relaxed) == mark || self.refused.load(Ordering::Relaxed)
        {
            return;
        }
        let socket = SockRef::from(&self.out);
        let result = if self.is_v6 {
            socket.set_tclass_v6(mark << ECN_BITS)
        } else {
            socket.set_tos_v4(mark << ECN_BITS)
        };
        if let Err(error) = result
            && !self.refused.swap(true, Ordering::Relaxed)
            && UNMARKED.admits("the sockets")
        {
            log::warn!("packets are sent without DSCP marks: {error}");
        }
    }
}

impl AsyncUdpSocket for OwnSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        let (contents, destination) = (transmit.contents, transmit.destination);
        let is_check = contents.starts_with(&BINDING_REQUEST);
        if is_check && self.remotes.is_retired(destination) {
            // The candidate has given its place to another one; to the crate its check is lost.
            return Poll::Ready(Ok(contents.len()));
        }
        if !self.gate.goes_out(self.number, contents, destination) {
            return Poll::Ready(Ok(contents.len()));
        }
        if is_check {
            self.remotes.on_checked(destination);
        }
        self.set_mark(self.streams.mark(contents));
        self.nonces.goes_out(contents, destination);
        match self.out.send_to(contents, destination) {
            // A full socket wakes us by the crate's own way, for which this one packet goes without its mark.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.inner.poll_send(cx, transmit)
            }
            result => Poll::Ready(result),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        for _ in 0..DROPS {
            let (Some(buffer), Some(first)) = (bufs.first_mut(), meta.first_mut()) else {
                return Poll::Ready(Ok(0));
            };
            if self.hand_over(buffer, first) {
                return Poll::Ready(Ok(1));
            }
            let received = self.inner.poll_recv(
                cx,
                std::slice::from_mut(buffer),
                std::slice::from_mut(first),
            );
            ready!(received)?;
            if self.look_at(buffer, first) {
                return Poll::Ready(Ok(1));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

/// The crate opens TCP for candidates alone, and the box takes none of TCP: this is the second wall behind `candidates`. TURN over TCP
/// is the forwarder's, which connects to servers of the settings only.
fn no_tcp() -> io::Error {
    io::Error::new(
        ErrorKind::Unsupported,
        "connections of candidates are UDP only",
    )
}

impl Runtime for OwnRuntime {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn spawn_reactor(
        &self,
        pool: usize,
        future: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn_reactor(pool, future)
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let (streams, nonces) = (Arc::clone(&self.streams), Arc::clone(&self.nonces));
        let (remotes, gate) = (Arc::clone(&self.remotes), Arc::clone(&self.gate));
        let socket = OwnSocket::new(socket, streams, nonces, remotes, gate)?;
        Ok(Arc::new(socket))
    }

    fn wrap_tcp_listener(&self, _: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        Err(no_tcp())
    }

    fn connect_tcp<'a>(
        &'a self,
        _: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        Box::pin(std::future::ready(Err(no_tcp())))
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        TokioRuntime.resolve_host(host)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }
}

/// A socket of a connection by itself, for `benches/marking.rs`.
#[derive(Debug)]
pub struct BareSocket(Arc<dyn AsyncUdpSocket>);

impl BareSocket {
    /// The crate's own, or (`sound`, the SSRC of what counts as sound) one that marks. Must be called within the runtime.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn new(socket: UdpSocket, sound: Option<u32>) -> io::Result<Self> {
        Ok(Self(match sound {
            None => TokioRuntime.wrap_udp_socket(socket)?,
            Some(ssrc) => {
                let streams = Streams::default();
                streams.audio.store(ssrc, Ordering::Relaxed);
                let gate = Arc::new(Gate::new(Arc::default(), Arc::default()));
                let streams = Arc::new(streams);
                Arc::new(OwnSocket::new(
                    socket,
                    streams,
                    Arc::default(),
                    Arc::default(),
                    gate,
                )?)
            }
        }))
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// It was not sent.
    pub async fn send(&self, datagram: &[u8], target: SocketAddr) -> io::Result<()> {
        self.0.send_to(datagram, target).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::admission::tests::gate;
    use super::super::marking::tests::{packet, streams};
    use super::super::marking::{AUDIO, CAMERA, SCREEN};
    use super::super::nonces::tests::{knowing_room, refusal, request};
    use super::super::stun::tests::message;
    use super::super::stun::{ALLOCATE, CHANNEL_BIND, SUCCESS};
    use super::*;

    #[tokio::test]
    async fn each_packet_leaves_by_a_socket_that_has_its_mark() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(receiver) = tokio::net::UdpSocket::bind(address).await else {
                println!("no {address} here");
                continue;
            };
            let socket = UdpSocket::bind(address).unwrap();
            let sending = OwnSocket::new(
                socket,
                streams(),
                Arc::default(),
                Arc::default(),
                Arc::new(gate()),
            )
            .unwrap();
            let target = receiver.local_addr().unwrap();
            for (ssrc, mark) in [(22, CAMERA), (11, AUDIO), (33, SCREEN), (33, SCREEN)] {
                let packet = packet(96, ssrc);
                sending.send_to(&packet, target).await.unwrap();
                let options = SockRef::from(&sending.out);
                let marked = match sending.is_v6 {
                    true => options.tclass_v6().unwrap(),
                    false => options.tos_v4().unwrap(),
                };
                assert_eq!(marked, mark << ECN_BITS);
                let mut buffer = [0; 100];
                let (length, _) = receiver.recv_from(&mut buffer).await.unwrap();
                assert_eq!(buffer[..length], packet);
            }
        }
    }
    #[tokio::test]
    async fn a_request_that_a_relay_refuses_for_its_nonce_is_repeated_and_the_refusal_hidden() {
        let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ours = OwnSocket::new(
            socket,
            streams(),
            Arc::new(knowing_room()),
            Arc::default(),
            Arc::new(gate()),
        )
        .unwrap();
        let target = server.local_addr().unwrap();
        let mut buffer = [0; 300];
        // What makes it a relay of ours.
        let allocation = message(ALLOCATE, &[]);
        ours.send_to(&allocation, target).await.unwrap();
        server.recv_from(&mut buffer).await.unwrap();
        let first = request(CHANNEL_BIND, b"one");
        ours.send_to(&first, target).await.unwrap();
        let (length, from) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(buffer[..length], first);
        let refused = refusal(CHANNEL_BIND, b"two");
        server.send_to(&refused, from).await.unwrap();
        // The second answer is the first that the library sees.
        let seen = tokio::spawn(async move {
            let mut buffer = [0; 300];
            let (length, _) = ours.recv_from(&mut buffer).await.unwrap();
            buffer[..length].to_vec()
        });
        let (length, _) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(buffer[..length], request(CHANNEL_BIND, b"two"));
        let answer = message(CHANNEL_BIND | SUCCESS, &[]);
        server.send_to(&answer, from).await.unwrap();
        assert_eq!(seen.await.unwrap(), answer);
    }
}
