//! Opening, sending, receiving, closing by order.

use std::time::{Duration, Instant};

use huddled::room::{
    ClientMessage, Dialect, Event, PeerId, Redacted, Sdp, ServerMessage, SessionId,
};
use serde_json::json;

use super::gateway::names;
use super::*;

#[tokio::test]
async fn a_box_logs_in_joins_over_rest_and_then_in_the_meeting() {
    let gateway = Gateway::start(&[
        "--token-field",
        "accessToken",
        "--token-nested",
        "--join-delay",
        "120",
    ]);
    let mut member = Member::connected(account(&gateway)).await;
    member.client.send(ONE, ClientMessage::Join);
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(ServerMessage::Joined { .. })) {
        match member.next().await {
            Event::MessageReceived { session, message } => {
                assert_eq!(session, ONE);
                seen.push(message);
            }
            // youtube:sync
            Event::ActivitySeen { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let [
        ServerMessage::Participants(rows),
        ServerMessage::Joined { user },
    ] = &seen[..]
    else {
        panic!("{seen:?}");
    };
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0].user, user),
        (&PeerId::new(BOX), &PeerId::new(BOX))
    );

    let requests = gateway.control("requested", json!({})).await;
    let paths: Vec<_> = requests
        .as_array()
        .unwrap()
        .iter()
        .map(|request| request["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        ["auth/login", &format!("public-meetings/{MEETING}/join")]
    );
    assert_eq!(requests[1]["user"], BOX);
    assert_eq!(requests[1]["body"], json!({}));

    let connections = gateway.control("connected", json!({"user": BOX})).await;
    let [connection] = &connections.as_array().unwrap()[..] else {
        panic!("{connections}");
    };
    assert_eq!(connection["transport"], "websocket");
    assert_eq!(connection["tokenValid"], true);
    for place in ["query", "auth"] {
        assert_eq!(connection[place]["userId"], BOX, "{connection}");
        assert_eq!(connection[place]["meetingId"], MEETING, "{connection}");
    }
    assert_eq!(
        connection["query"]["token"],
        json!(null),
        "a token in a query ends up in logs"
    );
    let received = gateway.control("received", json!({"user": BOX})).await;
    assert_eq!(
        names(&received),
        [(
            "meeting:join".into(),
            json!({"meetingId": MEETING, "userId": BOX})
        )]
    );
    assert_eq!(received[0]["wantsAck"], false);
}

#[tokio::test]
async fn a_classroom_is_joined_by_its_own_route() {
    let gateway = Gateway::start(&[]);
    let access = Access {
        name: "Room 7".into(),
        classroom: Some("room 7".into()),
        token: Some(Redacted(gateway.token(BOX).await)),
        ..plain(&gateway.url())
    };
    let _member = Member::joined(access).await;
    let requests = gateway.control("requested", json!({})).await;
    assert_eq!(
        requests[0]["path"],
        format!("classrooms/room%207/meetings/{MEETING}/join")
    );
}

#[tokio::test]
async fn messages_leave_in_the_order_they_were_sent() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut member = Member::joined(plain(&gateway.url())).await;
    for round in 0..200 {
        member.client.send(
            ONE,
            ClientMessage::Offer {
                target: PeerId::new("nobody"),
                sdp: Sdp::new(&round.to_string()),
                dialect: Dialect::Media,
            },
        );
    }
    let received = gateway
        .until(
            "received",
            json!({"user": BOX, "event": "media:offer"}),
            |list| list.as_array().unwrap().len() == 200,
        )
        .await;
    for (round, (_, payload)) in names(&received).iter().enumerate() {
        assert_eq!(payload["offer"]["sdp"], round.to_string());
    }
}

#[tokio::test]
async fn a_close_sends_what_was_queued_and_leaves() {
    let gateway = Gateway::start(&[]);
    let mut member = Member::joined(account(&gateway)).await;
    // Much to read while closing: what is sent must not be lost by a reset.
    let flood = json!({"user": BOX, "event": "chat:message", "payload": {"text": "x".repeat(500)}, "times": 2000});
    gateway.control("send", flood).await;
    for round in 0..50 {
        let muted = round % 2 == 0;
        member.client.send(ONE, ClientMessage::ToggleMic { muted });
    }
    member.client.send(ONE, ClientMessage::Leave);
    member.client.close(ONE, true);
    member.client.shutdown().await;
    let received = gateway.received(BOX).await;
    assert_eq!(received.len(), 52, "{received:?}");
    assert_eq!(received[51].0, "meeting:leave");
    let requests = gateway.control("requested", json!({})).await;
    let last = requests.as_array().unwrap().last().unwrap();
    assert_eq!(last["path"], format!("public-meetings/{MEETING}/leave"));
    gateway
        .until("connected", json!({"user": BOX}), |list| {
            list[0]["open"] == false
        })
        .await;
    while let Ok(event) = member.events.try_recv() {
        assert!(
            !matches!(event, Event::SignalingClosed { .. }),
            "an ordered close reports nothing"
        );
    }
}

#[tokio::test]
async fn a_close_does_not_wait_for_a_frozen_server() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let member = Member::joined(plain(&gateway.url())).await;
    gateway.control("freeze", json!({"user": BOX})).await;
    let start = Instant::now();
    let mut client = member.client;
    client.send(ONE, ClientMessage::Leave);
    client.close(ONE, true);
    client.shutdown().await;
    let took = start.elapsed();
    println!("closed in {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_session_that_is_opened_over_another_takes_its_place() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut member = Member::joined(plain(&gateway.url())).await;
    member.open(TWO, plain(&gateway.url())).await;
    // For the old one: dropped.
    member.client.send(ONE, ClientMessage::RequestPeers);
    member.client.close(ONE, true);
    member.client.send(TWO, ClientMessage::Join);
    let joined = member
        .until(|event| matches!(message(event), Some(ServerMessage::Joined { .. })))
        .await;
    assert!(matches!(
        joined,
        Event::MessageReceived { session: TWO, .. }
    ));
    let sent: Vec<_> = gateway.received(BOX).await;
    assert_eq!(
        sent.iter()
            .map(|(event, _)| event.as_str())
            .collect::<Vec<_>>(),
        ["meeting:join", "meeting:join"]
    );
}

#[tokio::test]
async fn nonsense_is_dropped_and_the_session_goes_on() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut member = Member::joined(plain(&gateway.url())).await;
    let nonsense = [
        ("meeting:user-left", json!([])),
        ("meeting:user-left", json!([{"userId": 5}])),
        ("meeting:user-left", json!([null, {"userId": "second"}])),
        ("media:offer", json!([{"fromUserId": "a", "offer": "x"}])),
        ("media:ice-candidate", json!(["text"])),
        ("meeting:participants", json!([{"participants": 7}])),
        ("unknown:event", json!([[[[[[]]]]]])),
        ("message", json!(["hello"])),
        ("close", json!([{}])),
        ("open", json!([{}])),
        ("error", json!(["text"])),
    ];
    for (event, arguments) in &nonsense {
        gateway
            .control(
                "send",
                json!({"user": BOX, "event": event, "args": arguments}),
            )
            .await;
    }
    // Socket.IO packets that mean nothing: an acknowledgement nobody waits for, another namespace, no list.
    for text in ["431[1]", "42/other,[\"x\",{}]", "42{}"] {
        gateway
            .control("sendText", json!({"user": BOX, "text": text}))
            .await;
    }
    gateway
        .control(
            "send",
            json!({"user": BOX, "event": "meeting:user-left", "payload": {"userId": "last"}}),
        )
        .await;
    loop {
        match member.next().await {
            Event::ActivitySeen { session: ONE } => {}
            Event::MessageReceived {
                message: ServerMessage::UserLeft { user },
                ..
            } => {
                assert_eq!(user, PeerId::new("last"));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_flood_holds_the_server_back_and_loses_nothing() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut member = Member::joined(plain(&gateway.url())).await;
    let flood = json!({"user": BOX, "event": "meeting:user-left", "payload": {"userId": "x"}, "times": 5000});
    gateway.control("send", flood).await;
    let mut count = 0;
    while count < 5000 {
        if matches!(
            message(&member.next().await),
            Some(ServerMessage::UserLeft { .. })
        ) {
            count += 1;
        }
    }
}

#[tokio::test]
async fn the_thread_beats_idle_and_open_and_ends_at_once() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut member = Member::new();
    let beaten = async |member: &Member| {
        let before = member.client.beats();
        let deadline = Instant::now() + PATIENCE;
        while member.client.beats() < before + 2 {
            assert!(Instant::now() < deadline, "the thread does not beat");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    beaten(&member).await;
    member.open(SessionId(9), plain(&gateway.url())).await;
    beaten(&member).await;
    let start = Instant::now();
    member.client.shutdown().await;
    println!("ended in {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5));
}
