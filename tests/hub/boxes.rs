//! The box's own client on the hub: what it expects of a server.

use huddled::room::{
    ClientMessage, Dialect, IceCandidate, Identity, Sdp, ServerMessage, SignalingFailure,
};
use huddled::socketio::Access;

use super::raw::Raw;
use super::*;
use crate::socketio::{Member, ONE, message};

fn access(hub: &Running, user: &str) -> Access {
    Access {
        url: hub.origin.clone(),
        api: "/api/v1".into(),
        identity: Identity {
            meeting: MEETING.into(),
            user: PeerId::new(user),
        },
        name: format!("Room {user}"),
        classroom: None,
        login: None,
        token: Some(hub.token(user).clone()),
        ca: hub.certificate.clone().map(String::into_bytes),
    }
}

/// The next message of the server.
async fn heard(member: &mut Member) -> ServerMessage {
    let event = member.until(|event| message(event).is_some()).await;
    message(&event).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_boxes_meet_and_signal_in_both_dialects() {
    let mut hub = Running::start(|_| {}).await;
    let mut a = Member::joined(access(&hub, "a")).await;
    let mut b = Member::joined(access(&hub, "b")).await;
    let ServerMessage::UserJoined(row) = heard(&mut a).await else {
        panic!();
    };
    assert_eq!(row.user, PeerId::new("b"));
    assert_eq!(hub.rows().await[1]["user"]["name"], "Room b");

    let target = PeerId::new("a");
    let from = PeerId::new("b");
    for dialect in [Dialect::Media, Dialect::Webrtc] {
        let room = (dialect == Dialect::Media).then(|| MEETING.to_owned());
        let candidate = IceCandidate {
            candidate: "candidate:1 1 udp 1 192.0.2.1 9 typ host".into(),
            sdp_mid: Some("0".into()),
            sdp_m_line_index: Some(0),
            username_fragment: Some("abcd".into()),
        };
        b.client.send(ONE, ClientMessage::Ready { dialect });
        b.client.send(
            ONE,
            ClientMessage::Offer {
                target: target.clone(),
                sdp: Sdp::new("v=0"),
                dialect,
            },
        );
        b.client.send(
            ONE,
            ClientMessage::Candidate {
                target: target.clone(),
                candidate: candidate.clone(),
                dialect,
            },
        );
        assert_eq!(
            heard(&mut a).await,
            ServerMessage::PeerReady {
                user: from.clone(),
                dialect
            }
        );
        assert_eq!(
            heard(&mut a).await,
            ServerMessage::Offer {
                from: from.clone(),
                sdp: Sdp::new("v=0"),
                dialect,
                room: room.clone()
            }
        );
        assert_eq!(
            heard(&mut a).await,
            ServerMessage::Candidate {
                from: from.clone(),
                candidate,
                dialect,
                room: room.clone()
            }
        );
        a.client.send(
            ONE,
            ClientMessage::Answer {
                target: from.clone(),
                sdp: Sdp::new("v=1"),
                dialect,
            },
        );
        assert_eq!(
            heard(&mut b).await,
            ServerMessage::Answer {
                from: target.clone(),
                sdp: Sdp::new("v=1"),
                dialect,
                room
            }
        );
    }
    b.client.send(ONE, ClientMessage::ToggleMic { muted: true });
    let muted = ServerMessage::UserMuted {
        user: from.clone(),
        muted: true,
    };
    assert_eq!(heard(&mut a).await, muted);
    assert_eq!(heard(&mut b).await, muted);
    b.client.send(ONE, ClientMessage::RequestPeers);
    assert!(matches!(heard(&mut b).await, ServerMessage::UserJoined(row) if row.user == target));

    b.client.close(ONE, true);
    assert_eq!(heard(&mut a).await, ServerMessage::UserLeft { user: from });
    hub.stop().await;
    let failure = a.failure(ONE).await;
    assert!(
        matches!(failure, SignalingFailure::Unreachable { .. }),
        "{failure:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_the_hubs_own_is_trusted_by_a_box_that_is_given_it() {
    let folder = Folder::new("tls");
    let directory = folder.path().to_owned();
    let mut hub = Running::start(|options| options.tls = Tls::SelfSigned { directory }).await;
    assert!(
        hub.origin.starts_with("https://127.0.0.1:"),
        "{}",
        hub.origin
    );
    // OpenSSL, by REST and by WebSocket.
    Member::joined(access(&hub, "a")).await;

    let mut stranger = Member::new();
    stranger.client.open(
        ONE,
        Ok(Access {
            ca: None,
            ..access(&hub, "b")
        }),
    );
    let failure = stranger.failure(ONE).await;
    assert!(
        format!("{failure:?}").contains("certificate"),
        "{failure:?}"
    );

    // Neither half of a handshake nor none keeps anybody out.
    use tokio::io::AsyncWriteExt;
    let mut half = tokio::net::TcpStream::connect(hub.address).await.unwrap();
    half.write_all(&[0x16, 3, 1]).await.unwrap();
    let _none = tokio::net::TcpStream::connect(hub.address).await.unwrap();
    Member::joined(access(&hub, "c")).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_is_told_why_it_may_not_stay() {
    let mut hub = Running::start(|_| {}).await;
    // Another's token: REST takes it, the socket does not.
    let mut member = Member::new();
    member.client.open(
        ONE,
        Ok(Access {
            token: Some(hub.token("b").clone()),
            ..access(&hub, "a")
        }),
    );
    let failure = member.failure(ONE).await;
    let SignalingFailure::Refused {
        message,
        needs_operator: true,
    } = &failure
    else {
        panic!("{failure:?}");
    };
    assert!(
        message.contains("userId is not the one of your token"),
        "{message}"
    );

    for (access, words) in [
        (
            Access {
                token: Some(Redacted("nonsense.token".into())),
                ..access(&hub, "a")
            },
            "ask for a new link",
        ),
        (
            Access {
                login: Some(("box@example.org".into(), Redacted("p".into()))),
                ..access(&hub, "a")
            },
            "only tokens",
        ),
        (
            Access {
                token: None,
                ..access(&hub, "a")
            },
            "join over REST",
        ),
    ] {
        let mut member = Member::new();
        member.client.open(ONE, Ok(access));
        let failure = member.failure(ONE).await;
        assert!(
            matches!(&failure, SignalingFailure::Refused { message, needs_operator: true } if message.contains(words)),
            "{failure:?}"
        );
        assert!(!format!("{failure:?}").contains("nonsense"), "{failure:?}");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_box_that_comes_back_takes_its_own_place() {
    let mut hub = Running::start(|_| {}).await;
    let mut other = Raw::joined(&hub, "b").await;
    let mut old = Member::joined(access(&hub, "a")).await;
    let _new = Member::joined(access(&hub, "a")).await;
    let failure = old.failure(ONE).await;
    assert!(
        matches!(&failure, SignalingFailure::Refused { message, needs_operator: false } if message.contains("newer")),
        "{failure:?}"
    );
    let heard: Vec<_> = other
        .heard()
        .await
        .into_iter()
        .map(|(event, _)| event)
        .collect();
    assert_eq!(heard, ["meeting:user-joined"; 2]);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_an_open_meeting_an_id_belongs_to_whoever_has_it() {
    let mut hub =
        Running::start(|options| options.settings.access = huddled::config::HubAccess::Open).await;
    let nobody = |hub: &Running| Access {
        token: None,
        ..access(hub, "a")
    };
    let mut bystander = Raw::joined(&hub, "b").await;
    let first = Member::joined(nobody(&hub)).await;
    bystander.until("meeting:user-joined").await;
    let mut second = Member::new();
    second.client.open(ONE, Ok(nobody(&hub)));
    let failure = second.failure(ONE).await;
    assert!(
        format!("{failure:?}").contains("is here already"),
        "{failure:?}"
    );
    assert_eq!(bystander.heard().await, []);
    first.client.shutdown().await;
    bystander.until("meeting:user-left").await;
    let third = Member::joined(nobody(&hub)).await;
    drop(third);
    hub.stop().await;
}
