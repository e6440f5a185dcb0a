//! What a TURN server over TCP is asked: a box against a server that notes the users and grants nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use huddled::room::{ConnectionState, PeerOrder, Redacted};
use huddled::rtc::{IceCredentials, IceServerAccess, RtcSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::bench::{LIMIT, Pair, Side};

const ALLOCATE: u16 = 0x0003;
const USERNAME: u16 = 0x0006;

/// Answers every request for an allocation with 401 and reports the user of those that name one.
async fn serve(mut stream: TcpStream, users: mpsc::UnboundedSender<String>) {
    loop {
        let mut header = [0; 20];
        if stream.read_exact(&mut header).await.is_err() {
            return;
        }
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]]))];
        stream.read_exact(&mut body).await.unwrap();
        if u16::from_be_bytes([header[0], header[1]]) != ALLOCATE {
            continue;
        }
        if let Some(user) = attribute(&body, USERNAME) {
            users.send(user).unwrap();
        }
        // Error code 401, realm and nonce.
        let answer = b"\0\x09\0\x04\0\0\x04\x01\0\x14\0\x04here\0\x15\0\x04once";
        let mut response = vec![0x01, 0x13, 0, answer.len() as u8];
        response.extend(&header[4..]);
        response.extend(answer);
        stream.write_all(&response).await.unwrap();
    }
}

fn attribute(mut body: &[u8], wanted: u16) -> Option<String> {
    while body.len() >= 4 {
        let length = usize::from(u16::from_be_bytes([body[2], body[3]]));
        if u16::from_be_bytes([body[0], body[1]]) == wanted {
            return Some(String::from_utf8(body[4..4 + length].to_vec()).unwrap());
        }
        body = body.get(4 + length.next_multiple_of(4)..)?;
    }
    None
}

fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// The next user whose password ends later than that of the ones before.
async fn newer(users: &mut mpsc::UnboundedReceiver<String>, than: u64) -> u64 {
    loop {
        let user = tokio::time::timeout(LIMIT, users.recv())
            .await
            .expect("the server is asked")
            .unwrap();
        let (expiry, name) = user.split_once(':').unwrap();
        assert_eq!(name, "room-101");
        let expiry = expiry.parse().unwrap();
        if expiry > than {
            return expiry;
        }
    }
}

/// Until passwords that are made now differ from those made before.
async fn next_second() {
    let now = seconds();
    while seconds() == now {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ice_restart_asks_for_its_allocations_with_a_new_password_and_nothing_else_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (users_in, mut users) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, users_in.clone()));
        }
    });

    let mut pair = Pair {
        a: Side::new(),
        b: Side::new(),
    };
    pair.a.peers.set_settings(RtcSettings {
        ice_servers: vec![IceServerAccess {
            urls: vec![format!("turn:127.0.0.1:{port}?transport=tcp")],
            credentials: IceCredentials::Shared {
                name: "room-101".to_owned(),
                secret: Arc::new(|| Ok(Redacted("north".to_owned()))),
                lifetime: Duration::from_secs(60),
            },
            ca: None,
        }],
        ..Default::default()
    });
    let before = seconds();
    pair.a.order(PeerOrder::Open);
    pair.b.order(PeerOrder::Open);
    pair.a.offer(1, false);
    let connected = |side: &Side| {
        side.count(|event| {
            *event == huddled::room::PeerEvent::ConnectionState(ConnectionState::Connected)
        })
    };
    pair.run(|pair| connected(&pair.a) > 0 && connected(&pair.b) > 0)
        .await;
    let mut expiry = newer(&mut users, 0).await;
    assert!((before + 60..=seconds() + 60).contains(&expiry));

    for (negotiation, by_a, restart) in [(2, true, true), (3, false, true)] {
        next_second().await;
        let seen = (connected(&pair.a), connected(&pair.b));
        if by_a {
            pair.a.offer(negotiation, restart);
        } else {
            pair.b.offer(negotiation, restart);
        }
        pair.run(|pair| connected(&pair.a) > seen.0 && connected(&pair.b) > seen.1)
            .await;
        expiry = newer(&mut users, expiry).await;
    }

    // A renegotiation without a restart keeps the sockets, and what was asked for on them.
    next_second().await;
    let answers = |side: &Side| {
        side.count(|event| matches!(event, huddled::room::PeerEvent::AnswerApplied { .. }))
    };
    let applied = answers(&pair.a);
    pair.a.offer(4, false);
    pair.run(|pair| answers(&pair.a) > applied).await;
    next_second().await;
    let applied = answers(&pair.a);
    pair.a.offer(5, true);
    // It begins with the answer.
    pair.run(|pair| answers(&pair.a) > applied).await;
    let last = newer(&mut users, expiry).await;
    assert!(last >= expiry + 2, "asked at the renegotiation");
    pair.close().await;
}
