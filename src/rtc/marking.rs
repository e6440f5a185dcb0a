//! Differentiated services (RFC 8837 section 5): sound is EF (46), the camera AF41 (34), the screen AF21 (18).
//!
//! Everything of a connection leaves by one socket (BUNDLE, RFC 9143), and a mark belongs to a socket. So the socket is given the
//! mark of each packet right before that is sent. What a packet is stands in its RTP header, which SRTP leaves readable. One task
//! sends, one packet after the other, so no packet gets another's mark; and as few switch the mark as streams take turns.
//! What is no RTP (checks of the path, DTLS) keeps the best effort that a router gives to anything else. The relay's
//! own packets over TCP and TLS are a stream, whose packets are no packets of ours: they are not marked.

use std::future::Future;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

/// Expedited forwarding.
const AUDIO: u32 = 46;
/// Assured forwarding, class 4, low drop.
const CAMERA: u32 = 34;
/// Assured forwarding, class 2, low drop.
const SCREEN: u32 = 18;
/// The two bits below a mark are for congestion (RFC 3168).
const ECN_BITS: u32 = 2;

/// Which of our streams is which; 0 is none.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) audio: AtomicU32,
    pub(super) screen: AtomicU32,
}

impl Streams {
    /// The mark of a datagram.
    fn mark(&self, datagram: &[u8]) -> u32 {
        // ChannelData of a relay (RFC 8656 section 12.4) has four bytes before the packet.
        let packet = match datagram.first() {
            Some(0x40..=0x4F) => datagram.get(4..).unwrap_or_default(),
            _ => datagram,
        };
        // RFC 7983 section 7, RFC 5761 section 4; what comes back from the receivers of a stream is RTCP.
        let (Some(128..=191), Some(kind)) = (packet.first(), packet.get(1)) else {
            return 0;
        };
        if (192..=223).contains(kind) {
            return CAMERA;
        }
        let Some(ssrc) = packet.get(8..12).and_then(|ssrc| ssrc.first_chunk()) else {
            return 0;
        };
        let ssrc = u32::from_be_bytes(*ssrc);
        let is = |stream: &AtomicU32| ssrc != 0 && stream.load(Ordering::Relaxed) == ssrc;
        if is(&self.audio) {
            AUDIO
        } else if is(&self.screen) {
            SCREEN
        } else {
            // The camera, and retransmissions.
            CAMERA
        }
    }
}

/// Tokio's runtime, whose UDP sockets mark what they send.
#[derive(Debug)]
pub(super) struct MarkingRuntime(pub(super) Arc<Streams>);

/// A socket that marks.
#[derive(Debug)]
struct MarkingSocket {
    /// Receives, and waits until the socket takes more.
    inner: Arc<dyn AsyncUdpSocket>,
    /// The same socket, to send by: the crate's own way overrides the socket's mark.
    out: UdpSocket,
    is_v6: bool,
    streams: Arc<Streams>,
    /// What the socket is set to.
    marked: AtomicU32,
    /// The system refuses marks; said once.
    refused: AtomicBool,
}

impl MarkingSocket {
    fn new(socket: UdpSocket, streams: Arc<Streams>) -> io::Result<Self> {
        Ok(Self {
            out: socket.try_clone()?,
            is_v6: socket.local_addr()?.is_ipv6(),
            inner: TokioRuntime.wrap_udp_socket(socket)?,
            streams,
            marked: AtomicU32::new(0),
            refused: AtomicBool::new(false),
        })
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
        {
            log::warn!("packets are sent without DSCP marks: {error}");
        }
    }
}

impl AsyncUdpSocket for MarkingSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        self.set_mark(self.streams.mark(transmit.contents));
        match self.out.send_to(transmit.contents, transmit.destination) {
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
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }
}

impl Runtime for MarkingRuntime {
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
        Ok(Arc::new(MarkingSocket::new(socket, Arc::clone(&self.0))?))
    }

    fn wrap_tcp_listener(
        &self,
        listener: std::net::TcpListener,
    ) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        address: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        TokioRuntime.connect_tcp(address)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, kind, 0, 1, 0, 0, 0, 9];
        packet.extend(ssrc.to_be_bytes());
        packet.extend([7; 20]);
        packet
    }

    fn streams() -> Arc<Streams> {
        let streams = Streams::default();
        streams.audio.store(11, Ordering::Relaxed);
        streams.screen.store(33, Ordering::Relaxed);
        Arc::new(streams)
    }

    #[test]
    fn a_packets_mark_follows_its_stream_also_inside_of_a_relays_channel() {
        let streams = streams();
        for (ssrc, mark) in [(11, AUDIO), (22, CAMERA), (33, SCREEN)] {
            let packet = packet(96, ssrc);
            assert_eq!(streams.mark(&packet), mark);
            let relayed = [&[0x40, 0, 0, 32][..], &packet].concat();
            assert_eq!(streams.mark(&relayed), mark);
        }
        assert_eq!(streams.mark(&packet(201, 11)), CAMERA);
        for other in [
            &[][..],
            &[0x80],
            &[0x80, 96, 0],
            &[0x40],
            &[0, 1, 0, 0],
            &[22, 254],
        ] {
            assert_eq!(streams.mark(other), 0, "{other:?}");
        }
    }

    #[tokio::test]
    async fn each_packet_leaves_by_a_socket_that_has_its_mark() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(receiver) = tokio::net::UdpSocket::bind(address).await else {
                println!("no {address} here");
                continue;
            };
            let socket = UdpSocket::bind(address).unwrap();
            let sending = MarkingSocket::new(socket, streams()).unwrap();
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
}
