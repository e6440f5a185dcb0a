//! Members among themselves.

use serde_json::json;

use super::raw::Raw;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_connection_replaces_the_older_and_loses_no_signaling() {
    let mut hub = Running::start(|_| {}).await;
    let mut a = Raw::joined(&hub, "a").await;
    let mut old = Raw::joined(&hub, "b").await;
    a.until("meeting:user-joined").await;
    let offer = |number: u32| json!({"targetUserId": "b", "offer": {"type": "offer", "sdp": number.to_string()}});
    a.emit("media:offer", offer(0)).await;
    assert_eq!(old.until("media:offer").await["offer"]["sdp"], "0");

    let mut new = Raw::with(&hub, hub.token("b")).await;
    new.join("b").await;
    new.until("meeting:joined").await;
    for number in 1..20 {
        a.emit("media:offer", offer(number)).await;
    }
    for number in 1..20 {
        assert_eq!(
            new.until("media:offer").await["offer"]["sdp"],
            number.to_string()
        );
    }
    let (code, _) = old.refused().await;
    assert_eq!(code, "replaced");
    let heard: Vec<_> = a
        .heard()
        .await
        .into_iter()
        .map(|(event, _)| event)
        .collect();
    assert_eq!(heard, ["meeting:user-joined"]);
    assert_eq!(hub.rows().await.as_array().unwrap().len(), 2);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_link_makes_a_host_and_only_a_host_orders() {
    let mut hub = Running::start(|_| {}).await;
    let (host, token) = hub.join_by(&hub.host_link).await;
    let mut host_socket = Raw::with(&hub, &token).await;
    host_socket.join(&host).await;
    host_socket.until("meeting:joined").await;
    let (guest, guest_token) = hub.join_by(&hub.guest_link).await;
    let mut guest_socket = Raw::with(&hub, &guest_token).await;
    guest_socket.join(&guest).await;
    guest_socket.until("meeting:joined").await;
    assert_eq!(
        host_socket.until("meeting:user-joined").await["role"],
        "participant"
    );

    guest_socket
        .emit("admin:block-user", json!({"targetUserId": host}))
        .await;
    assert_eq!(guest_socket.heard().await, []);
    assert_eq!(host_socket.heard().await, []);

    host_socket
        .emit(
            "admin:mute-user",
            json!({"targetUserId": guest, "mute": true}),
        )
        .await;
    let muted = guest_socket.until("media:user-muted").await;
    assert_eq!(muted, json!({"userId": guest, "isMuted": true}));
    assert_eq!(hub.rows().await[1]["is_muted"], true);

    host_socket
        .emit(
            "admin:block-user",
            json!({"targetUserId": guest, "reason": "noise"}),
        )
        .await;
    assert_eq!(guest_socket.until("user:blocked").await["reason"], "noise");
    assert_eq!(
        guest_socket.until("meeting:user-left").await["userId"],
        guest.as_str()
    );
    host_socket.until("meeting:user-left").await;
    // It does not go by itself.
    let (code, _) = guest_socket.refused().await;
    assert_eq!(code, "removed");
    let path = format!("public-meetings/{MEETING}/join");
    let (status, answer) = hub.rest("POST", &path, Some(&guest_token.0)).await;
    assert_eq!((status, &answer["code"]), (403, &json!("blocked")));
    let (code, _) = Raw::with(&hub, &guest_token).await.refused().await;
    assert_eq!(code, "blocked");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kicked_member_may_come_again() {
    let mut hub = Running::start(|_| {}).await;
    let (host, token) = hub.join_by(&hub.host_link).await;
    let mut host_socket = Raw::with(&hub, &token).await;
    host_socket.join(&host).await;
    host_socket.until("meeting:joined").await;
    let mut a = Raw::joined(&hub, "a").await;
    host_socket.until("meeting:user-joined").await;
    host_socket
        .emit("admin:kick-user", json!({"targetUserId": "a"}))
        .await;
    a.until("user:kicked").await;
    drop(a);
    Raw::joined(&hub, "a").await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_a_member_less_and_a_return_one_more() {
    let mut hub = Running::start(|_| {}).await;
    let mut a = Raw::joined(&hub, "a").await;
    for _ in 0..3 {
        let b = Raw::joined(&hub, "b").await;
        a.until("meeting:user-joined").await;
        drop(b);
        let left = a.until("meeting:user-left").await;
        assert_eq!(
            (&left["userId"], &left["userName"]),
            (&json!("b"), &json!("b"))
        );
    }
    a.emit("meeting:request-peers", json!(null)).await;
    // An offer to somebody who is gone is answered in both dialects.
    for (event, dialect) in [("media:offer", "roomId"), ("webrtc:offer", "x")] {
        a.emit(
            event,
            json!({"targetUserId": "b", dialect: MEETING, "offer": {"type": "offer", "sdp": ""}}),
        )
        .await;
        let (heard, error) = a.event().await.unwrap();
        assert_eq!(heard, "webrtc:error");
        assert_eq!(
            error,
            json!({"targetUserId": "b", "error": "User not connected"})
        );
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_over_rest_tells_the_others() {
    let mut hub = Running::start(|_| {}).await;
    let mut a = Raw::joined(&hub, "a").await;
    let mut b = Raw::joined(&hub, "b").await;
    let token = Some(&*hub.token("b").0);
    let leave = format!("classrooms/any/meetings/{MEETING}/leave");
    assert_eq!(hub.rest("POST", &leave, token).await.0, 201);
    assert_eq!(a.until("meeting:user-left").await["userId"], "b");
    assert_eq!(b.until("meeting:user-left").await["userId"], "b");
    assert_eq!(hub.rest("POST", &leave, token).await.0, 404);
    // The connection is still good.
    b.join("b").await;
    b.until("meeting:joined").await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_meetings_hear_nothing_of_each_other() {
    let mut hub =
        Running::start(|options| options.settings.access = huddled::config::HubAccess::Open).await;
    let mut a = Raw::joined(&hub, "a").await;
    let mut other = Raw::connect(
        &hub,
        json!({"userId": "o", "meetingId": "other", "name": " Otto\n"}),
    )
    .await;
    other
        .emit("meeting:join", json!({"meetingId": "other", "userId": "o"}))
        .await;
    let participants = other.until("meeting:participants").await;
    assert_eq!(participants["participants"].as_array().unwrap().len(), 1);
    assert_eq!(participants["participants"][0]["userName"], "Otto");
    other.until("meeting:joined").await;
    for event in ["media:offer", "webrtc:offer"] {
        other
            .emit(
                event,
                json!({"targetUserId": "a", "offer": {"type": "offer", "sdp": ""}}),
            )
            .await;
        other.until("webrtc:error").await;
    }
    other.emit("media:ready", json!({"roomId": MEETING})).await;
    other.emit("webrtc:ready", json!({})).await;
    other
        .emit("media:toggle-mic", json!({"isMuted": true}))
        .await;
    other.until("media:user-muted").await;
    assert_eq!(a.heard().await, []);
    hub.stop().await;
}
