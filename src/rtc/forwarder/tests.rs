//! The forwarder between datagrams and a server that does what a test says.

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::rtc::stun::tests::message;
use crate::rtc::stun::{ERROR, REFRESH, SUCCESS};

const LIMIT: Duration = Duration::from_secs(20);
const USER: (u16, &[u8]) = (0x0006, b"room");
const NO_LIFETIME: (u16, &[u8]) = (0x000d, &[0; 4]);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("it is due")
}

struct Bench {
    server: TcpListener,
    forwarder: Forwarder,
    losses: watch::Receiver<()>,
}

impl Bench {
    async fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            server: Endpoint {
                host: "127.0.0.1".to_owned(),
                port: server.local_addr().unwrap().port(),
            },
            tls: None,
            proxy: None,
        };
        let standing = Arc::new(Standing::new("turn:127.0.0.1?transport=tcp"));
        let (losses_in, losses) = watch::channel(());
        let forwarder =
            Forwarder::start(true, Arc::new(target), standing, Arc::new(losses_in)).unwrap();
        Self {
            server,
            forwarder,
            losses,
        }
    }

    async fn source(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.forwarder.address()).await.unwrap();
        socket
    }

    async fn accept(&self) -> TcpStream {
        soon(self.server.accept()).await.unwrap().0
    }

    /// A source with its connection, its first request read.
    async fn flow(&self) -> (UdpSocket, TcpStream) {
        let source = self.source().await;
        let request = message(ALLOCATE, &[USER]);
        source.send(&request).await.unwrap();
        let mut stream = self.accept().await;
        assert_eq!(read(&mut stream, request.len()).await, request);
        (source, stream)
    }
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

async fn receive(source: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let length = soon(source.recv(&mut buffer)).await.unwrap();
    buffer.truncate(length);
    buffer
}

/// Waits for the end of the stream, whatever comes before it.
async fn end(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
}

fn data(body: &[u8]) -> Vec<u8> {
    let mut message = vec![0x40, 0x00];
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(body);
    message
}

#[tokio::test]
async fn every_source_has_a_connection_and_gets_its_own_answers() {
    let bench = Bench::new().await;
    let (one, mut to_one) = bench.flow().await;
    let (two, mut to_two) = bench.flow().await;
    for (source, stream, word) in [(&one, &mut to_one, b"first"), (&two, &mut to_two, b"other")] {
        source.send(&data(word)).await.unwrap();
        assert_eq!(read(stream, 12).await, [&data(word)[..], &[0; 3]].concat());
        // In pieces, two at once.
        let answer = [&data(word)[..], &[0; 3], &data(b"1234")].concat();
        stream.write_all(&answer[..7]).await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(&answer[7..]).await.unwrap();
    }
    for (source, word) in [(&two, b"other"), (&one, b"first")] {
        assert_eq!(receive(source).await, data(word));
        assert_eq!(receive(source).await, data(b"1234"));
    }
}

#[tokio::test]
async fn only_a_request_for_an_allocation_opens_a_connection() {
    let bench = Bench::new().await;
    let stray = bench.source().await;
    for datagram in [
        data(b"media"),
        message(REFRESH, &[USER]),
        message(0x0001, &[]),
        b"noise".to_vec(),
    ] {
        stray.send(&datagram).await.unwrap();
    }
    // Datagrams of one sender to one socket stay in order, so this one is looked at after those.
    let request = message(ALLOCATE, &[]);
    stray.send(&request).await.unwrap();
    let mut stream = bench.accept().await;
    assert_eq!(read(&mut stream, request.len()).await, request);
}

#[tokio::test]
async fn a_released_or_a_refused_allocation_ends_the_connection() {
    let bench = Bench::new().await;
    let (source, mut stream) = bench.flow().await;
    let mut release = message(REFRESH, &[USER, NO_LIFETIME]);
    release[8] = 2;
    source.send(&release).await.unwrap();
    read(&mut stream, release.len()).await;
    let mut answer = message(REFRESH | SUCCESS, &[NO_LIFETIME]);
    answer[8] = 2;
    stream.write_all(&answer).await.unwrap();
    assert_eq!(receive(&source).await, answer);
    end(&mut stream).await;

    let (source, mut stream) = bench.flow().await;
    let refusal = message(ALLOCATE | ERROR, &[(0x0009, b"\0\0\x04\x01")]);
    stream.write_all(&refusal).await.unwrap();
    assert_eq!(receive(&source).await, refusal);
    end(&mut stream).await;
    assert!(
        !bench.losses.has_changed().unwrap(),
        "nothing that was wanted is lost"
    );
}

#[tokio::test]
async fn a_source_whose_connection_broke_gets_another_when_it_asks_again() {
    let mut bench = Bench::new().await;
    let (source, mut stream) = bench.flow().await;
    let allocated = message(ALLOCATE | SUCCESS, &[]);
    stream.write_all(&allocated).await.unwrap();
    assert_eq!(receive(&source).await, allocated);
    drop(stream);
    soon(bench.losses.changed()).await.unwrap();
    let request = message(ALLOCATE, &[USER]);
    let again = async {
        loop {
            // Until the broken one is noticed, requests go to it.
            source.send(&request).await.unwrap();
            if let Ok(accepted) = timeout(Duration::from_millis(50), bench.server.accept()).await {
                return accepted.unwrap().0;
            }
        }
    };
    let mut stream = soon(again).await;
    assert_eq!(read(&mut stream, request.len()).await, request);
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_left() {
    let bench = Bench::new().await;
    // A TLS alert to who speaks without TLS.
    let (_source, mut stream) = bench.flow().await;
    stream
        .write_all(b"\x15\x03\x03\x00\x02\x02\x46")
        .await
        .unwrap();
    end(&mut stream).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_dropped_forwarder() {
    let bench = Bench::new().await;
    let (_source, mut stream) = bench.flow().await;
    drop(bench.forwarder);
    end(&mut stream).await;
}

#[tokio::test]
async fn what_a_slow_stream_does_not_take_is_lost_and_not_kept() {
    const SENT: usize = 20_000;
    let bench = Bench::new().await;
    let (source, mut stream) = bench.flow().await;
    let media = data(&[7; 1200]);
    for _ in 0..SENT {
        source.send(&media).await.unwrap();
        // Lets the forwarder take it: what the loopback socket has no room for proves nothing.
        tokio::task::yield_now().await;
    }
    // Another source is served all the same.
    let (other, mut to_other) = bench.flow().await;
    other.send(&data(b"here")).await.unwrap();
    assert_eq!(read(&mut to_other, 8).await, data(b"here"));
    let arrived = async {
        let mut whole = 0;
        loop {
            source.send(&data(b"last")).await.unwrap();
            let mut header = [0; 4];
            stream.read_exact(&mut header).await.unwrap();
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            match &body[..] {
                b"last" => return whole,
                body => assert!(body.iter().all(|byte| *byte == 7), "a torn message"),
            }
            whole += 1;
        }
    };
    let arrived = soon(arrived).await;
    println!("{arrived} of {SENT} arrived through a stream that stood still");
    assert!(arrived < SENT / 2);
}

#[tokio::test]
async fn the_number_of_sources_is_limited() {
    let bench = Bench::new().await;
    let mut flows = Vec::new();
    for _ in 0..SOURCES {
        flows.push(bench.flow().await);
    }
    let addresses: BTreeSet<_> = flows
        .iter()
        .map(|(source, _)| source.local_addr().unwrap())
        .collect();
    assert_eq!(addresses.len(), SOURCES);
    let one_more = bench.source().await;
    let mut request = message(ALLOCATE, &[]);
    request[8] = 1;
    one_more.send(&request).await.unwrap();
    // A place becomes free; the request that came too early is not remembered.
    let (_, mut stream) = flows.pop().unwrap();
    stream.shutdown().await.unwrap();
    end(&mut stream).await;
    request[8] = 2;
    let accepted = async {
        loop {
            one_more.send(&request).await.unwrap();
            if let Ok(accepted) = timeout(Duration::from_millis(50), bench.server.accept()).await {
                return accepted.unwrap().0;
            }
        }
    };
    let mut stream = soon(accepted).await;
    assert_eq!(read(&mut stream, request.len()).await, request);
}
