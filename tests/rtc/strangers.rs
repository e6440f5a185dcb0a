//! Datagrams of strangers, and of a member that never ends its handshake, at the sockets of a connection.

use std::cell::Cell;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use huddled::room::{
    ConnectionState, IceCandidate, IceConnectionState, NegotiationId, PeerEvent, PeerOrder, Sdp,
};
use ring::hmac;

use super::bench::{Pair, Side, description};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// The addresses that a side has told its peer.
fn told(side: &Side) -> Vec<SocketAddr> {
    let candidates = side.seen.iter().filter_map(|event| match event {
        PeerEvent::LocalCandidate { candidate, .. } => Some(candidate.candidate.clone()),
        _ => None,
    });
    let described = side.seen.iter().filter_map(|event| match event {
        PeerEvent::OfferCreated { sdp, .. } | PeerEvent::AnswerCreated { sdp, .. } => Some(sdp),
        _ => None,
    });
    let lines = described.flat_map(|sdp| sdp.as_str().lines().map(str::to_owned));
    let mut addresses: Vec<SocketAddr> = lines
        .filter(|line| line.starts_with("a=candidate:"))
        .chain(candidates)
        .filter_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            Some(SocketAddr::new(
                words.get(4)?.parse().ok()?,
                words.get(5)?.parse().ok()?,
            ))
        })
        .filter(SocketAddr::is_ipv4)
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

/// A DTLS record.
fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 0];
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

fn message(
    kind: u16,
    transaction: [u8; 12],
    attributes: &[(u16, &[u8])],
    password: &[u8],
) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend([0, 0]);
    message.extend(COOKIE);
    message.extend(transaction);
    let append = |message: &mut Vec<u8>, name: u16, value: &[u8]| {
        message.extend(name.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
    };
    for (name, value) in attributes {
        append(&mut message, *name, value);
    }
    let length = (message.len() + 24 - 20) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
    let tag = hmac::sign(&key, &message);
    append(&mut message, 8, tag.as_ref());
    message
}

/// All that a stranger without credentials may try.
fn attacks() -> Vec<Vec<u8>> {
    vec![
        record(23, 1, &[0; 1100]),
        record(22, 1, &[0; 60]),
        record(21, 0, &[2, 40]),
        record(21, 0, &[1, 0]),
        record(22, 0, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        [&[0x80, 111][..], &[0; 40]].concat(),
        [&[0x81, 206][..], &[0; 10]].concat(),
        vec![0x40, 0, 0, 4, 22, 254, 253, 0],
        vec![0xff; 40],
        // A role conflict, a nomination, an answer and a refusal of nobody who knows a password.
        message(1, [7; 12], &[(6, b"x:y"), (0x802a, &[255; 8])], b"guess"),
        message(1, [7; 12], &[(6, b"x:y"), (0x8029, &[0; 8])], b"guess"),
        message(0x101, [7; 12], &[], b"guess"),
        message(0x111, [7; 12], &[(9, b"\0\0\x04\x57")], b"guess"),
        message(0x11, [7; 12], &[], b"guess"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_boxes_connect_and_restart_ice_under_the_fire_of_a_stranger() {
    let mut pair = Pair::open();
    let stranger = UdpSocket::bind("0.0.0.0:0").unwrap();
    let fired = Cell::new(0_u64);
    let fire = |pair: &mut Pair| {
        for address in told(&pair.a).into_iter().chain(told(&pair.b)) {
            for attack in attacks() {
                // An address of before a restart may be gone.
                fired.set(fired.get() + u64::from(stranger.send_to(&attack, address).is_ok()));
            }
        }
    };
    let connected = |side: &Side| {
        side.count(|event| *event == PeerEvent::ConnectionState(ConnectionState::Connected))
    };
    pair.a.offer(1, false);
    pair.run_with(
        |pair| connected(&pair.a) > 0 && connected(&pair.b) > 0,
        fire,
    )
    .await;
    for (negotiation, by_a) in [(2, true), (3, false)] {
        let before = (connected(&pair.a), connected(&pair.b));
        match by_a {
            true => pair.a.offer(negotiation, true),
            false => pair.b.offer(negotiation, true),
        }
        pair.run_with(
            |pair| connected(&pair.a) > before.0 && connected(&pair.b) > before.1,
            fire,
        )
        .await;
    }
    let dropped = |side: &Side| side.health().unwrap().datagrams_dropped;
    pair.run_with(|pair| dropped(&pair.a) > 50 && dropped(&pair.b) > 50, fire)
        .await;
    assert_eq!(pair.a.state(), ConnectionState::Connected);
    assert_eq!(pair.b.state(), ConnectionState::Connected);
    println!(
        "of {} datagrams a dropped {}, b {}",
        fired.get(),
        dropped(&pair.a),
        dropped(&pair.b)
    );
    pair.close().await;
}

/// A member that does ICE alone.
struct Member {
    socket: UdpSocket,
    /// `theirs:ours`, for our checks.
    user: String,
    password: String,
    /// Of the box.
    remote: SocketAddr,
}

const OWN_PASSWORD: &str = "0123456789abcdef01234567";

impl Member {
    /// Answers the offer of `side`, and names its address.
    async fn answer(side: &mut Side) -> Self {
        side.order(PeerOrder::Open);
        side.offer(1, false);
        side.until(|event| matches!(event, PeerEvent::OfferCreated { .. }))
            .await;
        let offer = description(&side.seen).as_str().to_owned();
        let value = |name: &str| {
            let mut lines = offer.lines();
            lines
                .find_map(|line| line.strip_prefix(name))
                .unwrap()
                .to_owned()
        };
        let (fragment, password) = (value("a=ice-ufrag:"), value("a=ice-pwd:"));
        let answer: String = offer
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("a=candidate:"))
            .collect::<String>()
            .replace(&format!("ufrag:{fragment}"), "ufrag:abcd")
            .replace(&password, OWN_PASSWORD)
            .replace("a=setup:actpass", "a=setup:active");
        side.order(PeerOrder::AcceptAnswer {
            negotiation: NegotiationId(1),
            sdp: Sdp::new(&answer),
        });
        side.until(|event| matches!(event, PeerEvent::AnswerApplied { .. }))
            .await;
        while told(side).is_empty() {
            side.next().await;
        }
        let remote = told(side)[0];
        let socket = UdpSocket::bind((remote.ip(), 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        Self {
            socket,
            user: format!("{fragment}:abcd"),
            password,
            remote,
        }
    }

    fn name(&self, side: &mut Side, address: SocketAddr, number: u32) {
        let (ip, port) = (address.ip(), address.port());
        side.order(PeerOrder::AddCandidate(IceCandidate {
            candidate: format!("candidate:{number} 1 udp 2122260223 {ip} {port} typ host"),
            sdp_mid: Some("0".to_owned()),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        }));
    }

    /// Sends a check and answers what came until nothing does. Returns whether a check of the box was among it.
    fn step(&self) -> bool {
        let check = message(
            1,
            [3; 12],
            &[
                (6, self.user.as_bytes()),
                (0x24, &[0x6e, 0, 1, 255]),
                (0x8029, &[0; 8]),
            ],
            self.password.as_bytes(),
        );
        self.socket.send_to(&check, self.remote).unwrap();
        let (mut buffer, mut was_asked) = ([0; 2000], false);
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            if length > 20 && buffer[..2] == [0, 1] {
                let SocketAddr::V4(v4) = from else { continue };
                let mut mapped = vec![0, 1];
                mapped.extend((v4.port() ^ 0x2112).to_be_bytes());
                mapped.extend(v4.ip().octets().iter().zip(COOKIE).map(|(a, b)| a ^ b));
                let transaction = buffer[8..20].try_into().unwrap();
                let answer = message(
                    0x101,
                    transaction,
                    &[(0x20, &mapped)],
                    OWN_PASSWORD.as_bytes(),
                );
                self.socket.send_to(&answer, from).unwrap();
                was_asked = true;
                break;
            }
        }
        was_asked
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_never_ends_its_handshake_has_32_records_kept() {
    let mut side = Side::new();
    let member = Member::answer(&mut side).await;
    let address = member.socket.local_addr().unwrap();
    member.name(&mut side, address, 1);
    let is_up = |side: &Side| {
        side.count(|event| *event == PeerEvent::IceConnectionState(IceConnectionState::Connected))
            > 0
    };
    for _ in 0..300 {
        if is_up(&side) {
            break;
        }
        tokio::task::block_in_place(|| member.step());
        while side.pending().is_some() {}
    }
    assert!(is_up(&side), "{:?}", side.seen);
    let before = side.health().unwrap().datagrams_dropped;
    let sent = 2000;
    for _ in 0..sent {
        member
            .socket
            .send_to(&record(23, 1, &[0; 1100]), member.remote)
            .unwrap();
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    // What arrived was dropped but for the first 32; a part of the rest may have been lost on the way.
    let mut dropped = 0;
    for _ in 0..100 {
        tokio::task::block_in_place(|| member.step());
        dropped = side.health().unwrap().datagrams_dropped - before;
        if dropped > sent / 2 {
            break;
        }
    }
    assert!(
        dropped > sent / 2 && dropped <= sent - 32,
        "{dropped} of {sent}"
    );
    member
        .socket
        .send_to(&record(21, 0, &[2, 40]), member.remote)
        .unwrap();
    tokio::task::block_in_place(|| member.step());
    assert!(is_up(&side));
    assert_eq!(
        side.count(|event| matches!(event, PeerEvent::SessionDied { .. })),
        0
    );
    side.order(PeerOrder::Close);
    side.until(|event| *event == PeerEvent::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_good_candidate_behind_forty_bad_ones_is_checked_and_the_rest_is_paced() {
    let mut side = Side::new();
    let member = Member::answer(&mut side).await;
    for number in 1..=40 {
        // TEST-NET-1 (RFC 5737): nobody answers.
        member.name(
            &mut side,
            SocketAddr::from(([192, 0, 2, 1], 20_000 + number)),
            number.into(),
        );
    }
    let address = member.socket.local_addr().unwrap();
    member.name(&mut side, address, 41);
    // The member itself asks nothing: the check of the box must come to it.
    let mut buffer = [0; 2000];
    let asked = tokio::task::block_in_place(|| {
        (0..100)
            .any(|_| matches!(member.socket.recv_from(&mut buffer), Ok((length, _)) if length > 20))
    });
    assert!(asked);
    tokio::time::timeout(super::bench::LIMIT, async {
        while side.health().unwrap().checks_withheld < 50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("checks beyond the pace are withheld");
    side.order(PeerOrder::Close);
    side.until(|event| *event == PeerEvent::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_up_is_timed_and_early_flights_are_counted() {
    let (mut times, mut flights) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        let mut pair = Pair::open();
        pair.a.offer(1, false);
        let is_checked = |side: &Side| {
            side.count(|event| {
                *event == PeerEvent::IceConnectionState(IceConnectionState::Connected)
            }) > 0
        };
        pair.run(|pair| is_checked(&pair.a) || is_checked(&pair.b))
            .await;
        let checked = std::time::Instant::now();
        pair.run(|pair| {
            pair.a.state() == ConnectionState::Connected
                && pair.b.state() == ConnectionState::Connected
        })
        .await;
        times.push(checked.elapsed().as_millis());
        let count = |side: &Side| side.health().unwrap().early_flights;
        flights.push(count(&pair.a) + count(&pair.b));
        pair.close().await;
    }
    println!(
        "first side ICE connected to both DTLS connected, ms: {times:?}; handed over: {flights:?}"
    );
}
