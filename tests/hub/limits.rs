//! Whoever oversteps a limit learns of it, and nobody else does.

use std::time::Duration;

use huddled::room::Redacted;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::bystanders::Bystanders;
use super::raw::Raw;
use super::*;

const CAME: &str = "meeting:user-joined x";
const WENT: &str = "meeting:user-left x";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_costs_the_flooder_alone() {
    let mut hub = Running::start(|options| options.settings.limits.messages_per_second = 100).await;
    let bystanders = Bystanders::talking(&hub).await;
    let x = Raw::joined(&hub, "x").await;
    let (mut reading, mut writing) = split(x);
    let flood = tokio::spawn(async move {
        while writing
            .try_emit("media:toggle-mic", json!({"isMuted": "noise"}))
            .await
        {}
    });
    assert_eq!(reading.refused().await.0, "rate");
    flood.await.unwrap();
    assert_eq!(bystanders.noticed().await, [CAME, WENT]);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooder_hears_why_it_ends_whatever_he_had_under_way() {
    let mut hub = Running::start(|options| options.settings.limits.messages_per_second = 10).await;
    let mut flooders = Vec::new();
    // Where the hub does not wait, one in three shows it.
    for _ in 0..16 {
        let (_, token) = hub.join_by(&hub.guest_link).await;
        let mut x = Raw::with(&hub, &token).await;
        flooders.push(tokio::spawn(async move {
            // In one go, so that the hub has read more than it takes when it takes no more.
            let flood = raw::frame(b"42[\"x\"]").repeat(10_000);
            let begun = Instant::now();
            x.stream.write_all(&flood).await.unwrap();
            assert_eq!(x.until("error").await["code"], "rate");
            let mut after = Vec::new();
            while let Some(text) = x.text().await {
                after.push((text, begun.elapsed()));
            }
            after
        }));
    }
    for flooder in flooders {
        for (text, at) in flooder.await.unwrap() {
            // Anything else would be the library's, which ended the session before its time.
            assert!(text == "41" || at > SOON, "{text} after {at:?}");
        }
    }
    hub.stop().await;
}

/// The hub waits two seconds; where this machine took longer than this, nothing can be said about it.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooder_by_polling_hears_why_it_ends_too() {
    let mut hub = Running::start(|options| options.settings.limits.messages_per_second = 10).await;
    for _ in 0..10 {
        let (_, token) = hub.join_by(&hub.guest_link).await;
        let begun = Instant::now();
        let heard = flood_by_polling(&hub, &token).await;
        if begun.elapsed() < SOON {
            let refused = heard.contains("\"rate\"") && heard.contains("\u{1e}41");
            assert!(refused, "{heard}");
            break;
        }
    }
    hub.stop().await;
}

/// Floods; what is heard then.
async fn flood_by_polling(hub: &Running, Redacted(token): &Redacted<String>) -> String {
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", hub.address);
    let url = format!("{url}&sid={}", place(&url).await);
    let post = |body: String| async { http().post(&url).body(body).send().await.unwrap() };
    post(format!("40{}", json!({"token": token}))).await;
    loop {
        let heard = poll(&url).await;
        if heard.contains("40{") {
            break;
        }
        // A heartbeat may come first.
        if !heard.starts_with('2') {
            return heard;
        }
    }
    post(["42[\"x\"]"; 5000].join("\u{1e}")).await;
    poll(&url).await
}

async fn poll(url: &str) -> String {
    let answer = http().get(url).send().await.unwrap();
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_joins_once() {
    let mut hub = Running::start(|_| {}).await;
    let mut x = Raw::joined(&hub, "x").await;
    x.send("41").await;
    let again = format!("40{}", json!({"token": hub.token("x").0}));
    let answer = loop {
        // As long as the hub has not noticed the end, it takes no notice of this.
        x.send(&again).await;
        if let Ok(text) = timeout(Duration::from_millis(20), x.text()).await {
            break text.unwrap();
        }
    };
    assert!(answer.starts_with("44{"), "{answer}");
    assert_eq!(hub.rows().await, json!([]));
    hub.stop().await;
}

/// Two halves of one client.
fn split(raw: Raw) -> (Raw, Raw) {
    let std = raw.stream.into_std().unwrap();
    let halves = [std.try_clone().unwrap(), std];
    let [reading, writing] = halves.map(|half| Raw::of(TcpStream::from_std(half).unwrap()));
    (reading, writing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_too_large_costs_its_sender_the_connection() {
    let mut hub = Running::start(|options| options.settings.limits.payload_bytes = 16_384).await;
    let bystanders = Bystanders::talking(&hub).await;
    let mut x = Raw::joined(&hub, "x").await;
    let large = |bytes| json!({"targetUserId": "nobody", "offer": {"type": "offer", "sdp": "x".repeat(bytes)}});
    x.emit("media:offer", large(15_000)).await;
    x.until("webrtc:error").await;
    x.emit("media:offer", large(17_000)).await;
    while x.text().await.is_some() {}
    assert_eq!(bystanders.noticed().await, [CAME, WENT]);

    let join = format!(
        "http://{}/api/v1/public-meetings/{MEETING}/join",
        hub.address
    );
    let answer = http()
        .post(join)
        .body("x".repeat(17_000))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 413);
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", hub.address);
    let sid = place(&url).await;
    let answer = http()
        .post(format!("{url}&sid={sid}"))
        .body("4".repeat(17_000))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 413);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_meeting_says_so_to_guests_over_rest_and_on_the_socket() {
    let mut hub = Running::start(|options| options.settings.limits.members = 2).await;
    let path = format!("public-meetings/{MEETING}/join");
    let (early_user, early_token) = hub.join_by(&hub.guest_link).await;
    let (late_user, late_token) = hub.join_by(&hub.guest_link).await;
    let mut early = Raw::with(&hub, &early_token).await;
    let bystanders = Bystanders::talking(&hub).await;
    let token = link_token(&hub.guest_link);
    let (status, answer) = hub.rest("POST", &path, token).await;
    assert_eq!((status, &answer["code"]), (409, &json!("full")));
    let late = Raw::with(&hub, &late_token).await.refused().await;
    assert_eq!(late.0, "full", "{late_user}");
    early.join(&early_user).await;
    assert_eq!(early.refused().await.0, "full");
    // Those who are in it are not kept out.
    let again = hub.rest("POST", &path, Some(&hub.token("y").0)).await;
    assert_eq!(again.0, 201);
    assert_eq!(bystanders.noticed().await, [""; 0]);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_who_fill_a_meeting_keep_neither_host_nor_box_out() {
    let mut hub = Running::start(|options| options.settings.limits.members = 3).await;
    let path = format!("public-meetings/{MEETING}/join");
    let mut crowd = Vec::new();
    for _ in 0..3 {
        let (user, token) = hub.join_by(&hub.guest_link).await;
        let mut guest = Raw::with(&hub, &token).await;
        guest.join(&user).await;
        guest.until("meeting:joined").await;
        crowd.push(guest);
    }
    let fourth = hub.rest("POST", &path, link_token(&hub.guest_link)).await;
    assert_eq!(fourth.0, 409);
    let (user, token) = hub.join_by(&hub.host_link).await;
    let mut host = Raw::with(&hub, &token).await;
    host.join(&user).await;
    host.until("meeting:joined").await;
    assert_eq!(
        hub.rest("POST", &path, Some(&hub.token("a").0)).await.0,
        201
    );
    let mut room = Raw::joined(&hub, "a").await;
    room.emit("meeting:request-peers", json!({})).await;
    room.until("meeting:user-joined").await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_sessions_are_refused_and_a_free_place_is_given_again() {
    let mut hub = Running::start(|options| options.settings.limits.connections = 3).await;
    let bystanders = Bystanders::talking(&hub).await;
    let url = format!("http://{}/socket.io/?EIO=4&transport=polling", hub.address);
    for _ in 0..5 {
        let joined = loop {
            let mut stream = TcpStream::connect(hub.address).await.unwrap();
            let host = format!("Host: {}\r\n", hub.address);
            if raw::upgrade(&mut stream, "", &host)
                .await
                .starts_with("HTTP/1.1 101")
            {
                let auth = json!({"token": hub.token("x").0});
                break Raw::of(stream).enter(auth).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let refused = http().get(&url).send().await.unwrap();
        assert_eq!(refused.status(), 503);
        let refused: Value = refused.json().await.unwrap();
        assert_eq!(refused["code"], "busy");
        drop(joined);
    }
    // A session that begins and goes no further gives its place back as well, after its ten seconds.
    for _ in 0..2 {
        place(&url).await;
    }
    assert_eq!(bystanders.noticed().await, [""; 0]);
    hub.stop().await;
}

/// A session by polling, as soon as there is a place for one: its id.
async fn place(url: &str) -> String {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let answer = http().get(url).send().await.unwrap();
        if answer.status() == 200 {
            let text = answer.text().await.unwrap();
            let open: Value = serde_json::from_str(&text[1..]).unwrap();
            return open["sid"].as_str().unwrap().to_owned();
        }
        assert!(std::time::Instant::now() < deadline, "no place came back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_more_than_a_slow_member_takes_pays_and_the_slow_member_stays() {
    let mut hub =
        Running::start(|options| options.settings.limits.messages_per_second = 10_000).await;
    let bystanders = Bystanders::talking(&hub).await;
    let mut writer = Raw::joined(&hub, "a").await;
    let mut slow = Raw::joined(&hub, "x").await;
    let mut other = Raw::joined(&hub, "b").await;
    let large = json!({"targetUserId": "x", "offer": {"type": "offer", "sdp": "x".repeat(60_000)}});
    // `slow` reads nothing meanwhile.
    let mut sent = 0;
    while sent < 500 && writer.try_emit("media:offer", large.clone()).await {
        sent += 1;
    }
    println!("the writer sent {sent} messages of 60 kB");
    let mut errors = Vec::new();
    while let Some((event, payload)) = writer.event().await {
        if event == "error" {
            errors.push(payload["code"].clone());
        }
    }
    // A warning, and the end.
    assert_eq!(errors, ["rate", "rate"]);
    let small = json!({"targetUserId": "x", "offer": {"type": "offer", "sdp": "honest"}});
    other.emit("media:offer", small).await;
    // What waited, and what another one said afterwards, arrive.
    loop {
        let (event, payload) = slow.event().await.expect("the slow member stays");
        if event == "media:offer" && payload["fromUserId"] == "b" {
            break;
        }
    }
    let mut noticed = bystanders.noticed().await;
    noticed.retain(|event| !event.ends_with(" a") && !event.ends_with(" b"));
    assert_eq!(noticed, [CAME]);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_costs_its_sender_alone() {
    let mut hub = Running::start(|_| {}).await;
    let bystanders = Bystanders::talking(&hub).await;
    for garbage in [
        "4",
        "42",
        "42[",
        "42[]",
        "42[1]",
        "42{}",
        "9x",
        "451-[\"x\",{\"_placeholder\":true,\"num\":0}]",
        "43[]",
        "44{}",
        "40/x,",
        "4\u{0}",
        "é",
    ] {
        let mut x = Raw::with(&hub, hub.token("x")).await;
        x.send(garbage).await;
        drop(x);
    }
    for head in [
        "GARBAGE\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        let mut stream = TcpStream::connect(hub.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(stream.read(&mut [0; 64]).await);
    }
    assert_eq!(bystanders.noticed().await, [""; 0]);
    hub.stop().await;
}
