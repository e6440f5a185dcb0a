//! Where a member's candidates make the box send, seen by the sockets that they name.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::time::Duration;

use huddled::room::{IceCandidate, NegotiationId, PeerEvent, PeerOrder, Sdp};
use tokio::time::Instant;

use super::bench::{LIMIT, Side};

const BROWSER_OFFER: &str = include_str!("browser_offer.sdp");

/// An address of this machine that the box sends to: loopback on a machine that has nothing else.
fn own_address() -> IpAddr {
    let addresses = rtc::shared::ifaces::ifaces().unwrap();
    let mut addresses = addresses
        .into_iter()
        .filter_map(|interface| interface.addr)
        .map(|address| address.ip());
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(_) => false,
    };
    addresses.find(usable).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn add(side: &mut Side, text: &str) {
    side.order(PeerOrder::AddCandidate(IceCandidate {
        candidate: text.to_owned(),
        sdp_mid: Some("0".to_owned()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    }));
}

async fn answered(offer: &str) -> Side {
    let mut side = Side::new();
    side.order(PeerOrder::Open);
    side.order(PeerOrder::AcceptOffer {
        negotiation: NegotiationId(1),
        sdp: Sdp::new(offer),
    });
    let event = side
        .until(|event| {
            matches!(
                event,
                PeerEvent::AnswerCreated { .. } | PeerEvent::NegotiationFailed { .. }
            )
        })
        .await;
    assert!(
        matches!(event, PeerEvent::AnswerCreated { .. }),
        "{event:?}"
    );
    side
}

fn socket(address: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Whether a check has come.
fn is_checked(socket: &UdpSocket) -> bool {
    let mut buffer = [0; 2_000];
    socket.recv_from(&mut buffer).is_ok()
}

async fn until_checked(socket: &UdpSocket) {
    let deadline = Instant::now() + LIMIT;
    while !is_checked(socket) {
        assert!(Instant::now() < deadline, "no check in {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn close(mut side: Side) {
    side.order(PeerOrder::Close);
    side.until(|event| *event == PeerEvent::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_candidate_opens_a_tcp_connection_in_a_description_or_alone() {
    let own = own_address();
    let listeners: Vec<_> = [own, Ipv4Addr::LOCALHOST.into()]
        .map(|address| {
            let listener = TcpListener::bind((address, 0)).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        })
        .into();
    let mut texts = Vec::new();
    for listener in &listeners {
        let address = listener.local_addr().unwrap();
        let (ip, port) = (address.ip(), address.port());
        let plain = format!("1 1 tcp 1518280447 {ip} {port} typ host tcptype passive");
        for space in [" ", "\u{3000}", "\u{a0}", "\t", "\u{2003}", "  ", "\u{85}"] {
            texts.push(format!("candidate:{}", plain.replace(' ', space)));
        }
        texts.push(plain.replace("tcp ", "TCP "));
        texts.push(format!(" candidate:{plain}"));
        texts.push(format!("candidate: {plain}"));
        texts.push(format!("candidate:{}", plain.replacen("tcp", "tcp4", 1)));
        texts.push(format!(
            "candidate:{}",
            plain.replacen(&ip.to_string(), &format!("::ffff:{ip}"), 1)
        ));
    }
    let lines: String = texts
        .iter()
        .filter(|text| !text.contains(char::is_control))
        .map(|text| format!("a={text}\r\n"))
        .collect();
    let mut side = answered(&format!("{BROWSER_OFFER}{lines}")).await;
    for text in &texts {
        add(&mut side, text);
    }
    // One of UDP, so that all before it has been worked on.
    let good = socket(own);
    let port = good.local_addr().unwrap().port();
    add(
        &mut side,
        &format!("candidate:1 1 udp 2122260223 {own} {port} typ host"),
    );
    until_checked(&good).await;
    for listener in &listeners {
        let met = listener.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(met, Err(ErrorKind::WouldBlock));
    }
    close(side).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_ports_of_a_host_are_checked_at_a_time_and_the_last_of_many_has_its_turn() {
    let own = own_address();
    let sockets: Vec<_> = (0..40).map(|_| socket(own)).collect();
    let mut side = answered(BROWSER_OFFER).await;
    for socket in &sockets {
        let port = socket.local_addr().unwrap().port();
        for priority in [2_122_260_223, 1] {
            add(
                &mut side,
                &format!("candidate:1 1 udp {priority} {own} {port} typ host"),
            );
        }
    }
    until_checked(&sockets[0]).await;
    let (last, others) = sockets.split_last().unwrap();
    let checked = others.iter().filter(|socket| is_checked(socket)).count();
    assert!(checked <= 8, "{checked} ports at once");
    until_checked(last).await;
    close(side).await;
}
