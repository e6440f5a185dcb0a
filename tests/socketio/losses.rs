//! Every way to lose a connection is seen, once, and a new session heals it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

/// Loses a connection in one way, sees it reported once, and joins again.
async fn lose(options: &[&str], control: &str, arguments: Value) -> SignalingFailure {
    let mut gateway_options = vec!["--open-meeting"];
    gateway_options.extend(options);
    let gateway = Gateway::start(&gateway_options);
    let mut member = Member::joined(plain(&gateway.url())).await;
    let mut arguments = arguments;
    arguments["user"] = json!(BOX);
    let start = Instant::now();
    gateway.control(control, arguments).await;
    let failure = member.failure(ONE).await;
    println!("{control}: seen after {:?}: {failure:?}", start.elapsed());
    // That would be the second guard's word, a second later.
    assert!(!format!("{failure:?}").contains("defect"), "{failure:?}");
    member.client.send(ONE, ClientMessage::RequestPeers);
    member.assert_silent().await;
    member.open(TWO, plain(&gateway.url())).await;
    member.client.send(TWO, ClientMessage::Join);
    member
        .until(|event| matches!(message(event), Some(ServerMessage::Joined { .. })))
        .await;
    failure
}

#[tokio::test]
async fn a_clean_close_is_seen() {
    assert_unreachable(&lose(&[], "cleanClose", json!({})).await);
}

#[tokio::test]
async fn a_closed_tcp_connection_is_seen() {
    assert_unreachable(&lose(&[], "kill", json!({})).await);
}

#[tokio::test]
async fn a_reset_tcp_connection_is_seen() {
    assert_unreachable(&lose(&[], "kill", json!({"reset": true})).await);
}

#[tokio::test]
async fn a_disconnected_namespace_is_seen() {
    assert_unreachable(&lose(&[], "disconnectSocket", json!({})).await);
}

#[tokio::test]
async fn a_kick_with_the_transport_is_seen() {
    assert_unreachable(&lose(&[], "disconnectSocket", json!({"transport": true})).await);
}

#[tokio::test]
async fn a_frozen_server_is_seen_when_its_ping_is_overdue() {
    let pings = ["--ping-interval", "300", "--ping-timeout", "400"];
    assert_unreachable(&lose(&pings, "freeze", json!({})).await);
}

#[tokio::test]
async fn packets_that_are_no_socketio_end_the_session() {
    for text in ["4\u{7f}", "42[\"x\",", "4\u{e9}", "7"] {
        assert_unreachable(&lose(&[], "sendText", json!({ "text": text })).await);
    }
}

#[tokio::test]
async fn a_binary_event_that_is_cut_short_ends_the_session() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut member = Member::joined(plain(&gateway.url())).await;
    let header = "451-[\"x\",{\"_placeholder\":true,\"num\":0}]";
    gateway
        .control("sendText", json!({"user": BOX, "text": header}))
        .await;
    gateway.control("cleanClose", json!({"user": BOX})).await;
    assert_unreachable(&member.failure(ONE).await);
}

#[tokio::test]
async fn a_server_restart_is_seen_and_survived() {
    for crash in [false, true] {
        let gateway = Gateway::start(&[]);
        let mut member = Member::joined(account(&gateway)).await;
        gateway
            .control("restart", json!({"downMs": 400, "crash": crash}))
            .await;
        assert_unreachable(&member.failure(ONE).await);
        let mut session = ONE;
        let deadline = Instant::now() + PATIENCE;
        loop {
            session = SessionId(session.0 + 1);
            member.client.open(session, Ok(account(&gateway)));
            match member
                .until(|event| !matches!(event, Event::ActivitySeen { .. }))
                .await
            {
                Event::SignalingOpened { .. } => break,
                Event::SignalingClosed { failure, .. } => assert_unreachable(&failure),
                other => panic!("{other:?}"),
            }
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        member.client.send(session, ClientMessage::Join);
        member
            .until(|event| matches!(message(event), Some(ServerMessage::Joined { .. })))
            .await;
    }
}
