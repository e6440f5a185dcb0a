//! Servers that say no, say nothing, or are not there.

use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// The failure of a first session, with whether it needs the operator if it was a refusal.
async fn refused(access: Access) -> (String, Option<bool>) {
    let mut member = Member::new();
    let start = Instant::now();
    member.client.open(ONE, Ok(access));
    let failure = member.failure(ONE).await;
    println!("after {:?}: {failure:?}", start.elapsed());
    member.assert_silent().await;
    match failure {
        SignalingFailure::Unreachable { message } => (message, None),
        SignalingFailure::Refused {
            message,
            needs_operator,
        } => (message, Some(needs_operator)),
    }
}

#[tokio::test]
async fn a_wrong_password_needs_the_operator_and_stays_secret() {
    let gateway = Gateway::start(&[]);
    let access = Access {
        login: Some(("box@example.org".into(), Redacted("s3cr3t-word".into()))),
        ..plain(&gateway.url())
    };
    let (message, needs_operator) = refused(access).await;
    assert_eq!(needs_operator, Some(true));
    assert!(message.contains("Invalid credentials"), "{message}");
    assert!(!message.contains("s3cr3t"), "{message}");
}

#[tokio::test]
async fn a_token_the_rest_interface_rejects_needs_the_operator_and_stays_secret() {
    let gateway = Gateway::start(&[]);
    let access = Access {
        token: Some(Redacted("s3cr3t-token".into())),
        ..plain(&gateway.url())
    };
    let (message, needs_operator) = refused(access).await;
    assert_eq!(needs_operator, Some(true));
    assert!(!message.contains("s3cr3t"), "{message}");
}

#[tokio::test]
async fn a_token_the_socket_rejects_is_an_error_event_and_then_a_refusal() {
    let gateway = Gateway::start(&["--refuse-tokens"]);
    let mut member = Member::connected(account(&gateway)).await;
    let said = member.next().await;
    assert_eq!(
        message(&said),
        Some(&ServerMessage::ServerError {
            message: "Authentication required".into()
        })
    );
    let failure = member.failure(ONE).await;
    assert_eq!(
        failure,
        SignalingFailure::Refused {
            message: "the server disconnected us: Authentication required".into(),
            needs_operator: true
        }
    );
    member.assert_silent().await;
}

#[tokio::test]
async fn a_refusal_of_the_middleware_is_told_with_its_words() {
    let gateway = Gateway::start(&["--refuse", "no boxes here"]);
    let (message, needs_operator) = refused(plain(&gateway.url())).await;
    assert_eq!(needs_operator, Some(true));
    assert!(message.ends_with("no boxes here"), "{message}");
}

#[tokio::test]
async fn states_of_the_meeting_may_pass_and_a_block_does_not() {
    let gateway = Gateway::start(&[]);
    for (state, words, expected) in [
        (json!({"live": false}), "not live", Some(false)),
        (json!({"live": true, "locked": true}), "locked", Some(false)),
        (json!({"locked": false, "capacity": 0}), "full", Some(false)),
        (
            json!({"capacity": 9, "exists": false}),
            "not found",
            Some(false),
        ),
    ] {
        let mut arguments = state;
        arguments["meeting"] = json!(MEETING);
        gateway.control("setMeeting", arguments).await;
        let (message, needs_operator) = refused(account(&gateway)).await;
        assert_eq!(needs_operator, expected, "{message}");
        assert!(message.contains(words), "{message}");
    }
    gateway
        .control("setMeeting", json!({"meeting": MEETING, "exists": true}))
        .await;
    gateway
        .control("block", json!({"meeting": MEETING, "user": BOX}))
        .await;
    let (message, needs_operator) = refused(account(&gateway)).await;
    assert_eq!(needs_operator, Some(true), "{message}");
}

#[tokio::test]
async fn a_join_without_a_row_is_an_error_event_and_the_session_stays() {
    let gateway = Gateway::start(&[]);
    let mut member = Member::connected(plain(&gateway.url())).await;
    member.client.send(ONE, ClientMessage::Join);
    let said = member.next().await;
    assert!(
        matches!(message(&said), Some(ServerMessage::ServerError { message }) if message.contains("Not authorized")),
        "{said:?}"
    );
    member.assert_silent().await;
    assert_eq!(gateway.received(BOX).await.len(), 1);
}

#[tokio::test]
async fn a_server_without_the_rest_interface_needs_the_operator_only_if_one_is_configured() {
    let gateway = Gateway::start(&["--no-rest", "--open-meeting"]);
    let (message, needs_operator) = refused(account(&gateway)).await;
    assert_eq!(needs_operator, Some(true));
    assert!(message.contains("[signaling] url and api"), "{message}");
    Member::joined(plain(&gateway.url())).await;
}

#[tokio::test]
async fn secrets_that_cannot_be_read_are_a_refusal() {
    let mut member = Member::new();
    member.client.open(ONE, Err("no credential `token`".into()));
    assert_eq!(
        member.failure(ONE).await,
        SignalingFailure::Refused {
            message: "no credential `token`".into(),
            needs_operator: true
        }
    );
}

#[tokio::test]
async fn a_port_without_a_server_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (message, refusal) = refused(plain(&url)).await;
    assert_eq!(refusal, None);
    assert!(message.contains("refused"), "{message}");
    let with_token = Access {
        token: Some(Redacted("t".into())),
        ..plain(&url)
    };
    assert_eq!(refused(with_token).await.1, None);
}

#[tokio::test]
async fn a_host_without_a_route_is_given_up_in_time() {
    // TEST-NET-1 (RFC 5737): unreachable at once, or no answer at all.
    let start = Instant::now();
    let (_, refusal) = refused(plain("http://192.0.2.1:9")).await;
    assert_eq!(refusal, None);
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let start = Instant::now();
    let (_, refusal) = refused(plain(&url)).await;
    assert_eq!(refusal, None);
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_server_without_socketio_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
    });
    let (message, refusal) = refused(plain(&url)).await;
    assert_eq!(refusal, None);
    assert!(message.contains("404"), "{message}");
    server.await.unwrap();
}

#[tokio::test]
async fn no_redirect_takes_a_password_or_a_token_elsewhere() {
    let elsewhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let target = elsewhere.local_addr().unwrap();
    for login in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let access = Access {
            login: login.then(|| ("box@example.org".into(), Redacted("horse".into()))),
            ..plain(&url)
        };
        let (message, _) = refused(access).await;
        assert!(message.contains("307"), "{message}");
        server.await.unwrap();
        assert!(elsewhere.accept().is_err(), "the redirect was followed");
    }
}

#[tokio::test]
async fn a_close_while_opening_ends_the_attempt_without_a_report() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut member = Member::new();
    member.client.open(ONE, Ok(plain(&url)));
    let (mut stream, _) = listener.accept().await.unwrap();
    member.client.close(ONE, false);
    // The attempt's connection goes away with it.
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("the connection stayed")
        .ok();
    member.assert_silent().await;
}
