//! The box's page as a client sees it that writes its requests by hand: what a browser never sends is what matters.

mod site;
mod strangers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use huddled::control::{ControlError, Page, PageOptions, Snapshot};
use huddled::room::{Button, Command, PeerId, RoomEvent, Source, Timestamp};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{PICTURE, PlayedRoom, room};
use site::{Site, options};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What every answer carries.
const PROTECTION: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-store"),
    ("cross-origin-resource-policy", "same-origin"),
];

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never: {what}"));
}

fn long_event() -> RoomEvent {
    RoomEvent::PeerConnected {
        peer: PeerId::new(&"u".repeat(4000)),
    }
}

#[tokio::test]
async fn the_page_and_its_parts_are_served() {
    let site = Site::start(&[]).await;
    for (path, kind, words) in [
        ("/", "text/html; charset=utf-8", "<!doctype html>"),
        ("/page.js", "text/javascript; charset=utf-8", "EventSource"),
        ("/style.css", "text/css; charset=utf-8", ".lamp"),
        ("/favicon.svg", "image/svg+xml", "<svg"),
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind));
        assert!(answer.text().contains(words), "{path}");
        let head = site.ask("HEAD", path).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
}

#[tokio::test]
async fn what_tests_and_people_look_for_is_in_the_page() {
    let site = Site::start(&[]).await;
    let page = site.get("/").await;
    for id in [
        "banner",
        "lost",
        "count",
        "signaling",
        "press-mic",
        "press-camera",
        "press-share",
        "led-mic",
        "led-camera",
        "led-status",
        "events",
        "meeting-link",
    ] {
        let attribute = format!("id=\"{id}\"");
        assert_eq!(page.text().matches(&attribute).count(), 1, "{id}");
    }
}

#[tokio::test]
async fn every_answer_is_protected_and_none_is_for_other_origins() {
    let site = Site::start(&["u-1"]).await;
    let mut answers = vec![
        site.press("text/plain", "", "{}").await,
        site.press("application/json", "", "{").await,
        site.press("application/json", "", r#"{"button":"mic"}"#)
            .await,
        site.press("application/json", "Origin: http://evil.example\r\n", "{}")
            .await,
        site.ask("OPTIONS", "/panel/press").await,
        site.ask("DELETE", "/").await,
    ];
    for path in [
        "/",
        "/page.js",
        "/api/page",
        "/api/status",
        "/api/health",
        "/api/picture?user=u-1",
        "/nothing",
    ] {
        answers.push(site.get(path).await);
    }
    for answer in &answers {
        for (name, value) in PROTECTION {
            assert_eq!(answer.header(name), Some(value), "{}", answer.status);
        }
        let shared = answer
            .headers
            .iter()
            .find(|(name, _)| name.starts_with("access-control-"));
        assert_eq!(shared, None);
    }
    let mut follower = site.follow().await;
    let mut head = Vec::new();
    while let Some(line) = follower.line().await.filter(|line| !line.is_empty()) {
        head.push(line);
    }
    for (name, value) in PROTECTION {
        assert!(head.contains(&format!("{name}: {value}")), "{head:?}");
    }
    assert!(head.contains(&"content-type: text/event-stream".to_owned()));
}

#[tokio::test]
async fn status_is_the_snapshot_of_the_socket() {
    let site = Site::start(&["u-1", "u-2"]).await;
    let answer = site.get("/api/status").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let snapshot = Snapshot::new(&room(&["u-1", "u-2"]), Timestamp::from_millis(10_000));
    assert_eq!(answer.text(), serde_json::to_string(&snapshot).unwrap());
}

#[tokio::test]
async fn what_the_page_asks_once_says_what_it_may_draw() {
    let site = Site::start(&[]).await;
    assert_eq!(
        site.get("/api/page").await.json(),
        json!({
            "name": "Room 101",
            "version": env!("CARGO_PKG_VERSION"),
            "panel": true,
            "pictures": false,
            "meeting_link": null,
        })
    );
    let demo = PageOptions {
        panel: false,
        pictures: true,
        meeting_link: Some("http://127.0.0.1:8443/guest".to_owned()),
        ..options()
    };
    let about = Site::with(&[], demo).await.get("/api/page").await.json();
    assert_eq!(about["panel"], false);
    assert_eq!(about["pictures"], true);
    assert_eq!(about["meeting_link"], "http://127.0.0.1:8443/guest");
}

#[tokio::test]
async fn health_passes_the_counters_on() {
    let site = Site::start(&[]).await;
    assert_eq!(
        site.get("/api/health").await.json(),
        json!({"video": {"frames_captured": 300}})
    );
}

#[tokio::test]
async fn other_addresses_and_methods_get_nothing() {
    let site = Site::start(&[]).await;
    for path in [
        "/index.html",
        "/api",
        "/api/",
        "/api/status/",
        "/../etc/passwd",
        "//",
        "/metrics",
    ] {
        site.get(path).await.refuses(404, "not-found");
    }
    for (method, path, allowed) in [
        ("POST", "/", "GET,HEAD"),
        ("PUT", "/api/status", "GET,HEAD"),
        ("POST", "/api/events", "GET,HEAD"),
        ("GET", "/panel/press", "POST"),
        ("OPTIONS", "/panel/press", "POST"),
    ] {
        let answer = site.ask(method, path).await;
        answer.refuses(405, "wrong-method");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
    }
}

#[tokio::test]
async fn a_press_reaches_the_room_with_the_address_of_whoever_pressed() {
    let site = Site::start(&[]).await;
    let origin = format!("Origin: http://{}\r\n", site.address);
    for (button, kind, more) in [
        ("mic", "application/json", origin.as_str()),
        ("camera", "application/json; charset=utf-8", origin.as_str()),
        ("share", "application/json", ""),
    ] {
        let body = json!({ "button": button }).to_string();
        let answer = site.press(kind, more, &body).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{button}");
    }
    let orders = site.room.orders();
    let pressed: Vec<_> = orders.iter().map(|(command, _)| *command).collect();
    assert_eq!(
        pressed,
        [Button::Mic, Button::Camera, Button::Share].map(Command::Press)
    );
    for (_, source) in orders {
        let Source::Control(client) = source else {
            panic!("{source:?}");
        };
        assert!(client.starts_with("http 127.0.0.1:"), "{client}");
    }
}

#[tokio::test]
async fn a_press_is_denied_in_the_room_s_words_where_the_panel_is_not_simulated() {
    let real = PageOptions {
        panel: false,
        ..options()
    };
    let site = Site::with(&[], real).await;
    let answer = site
        .press("application/json", "", r#"{"button":"mic"}"#)
        .await;
    answer.refuses(403, "denied");
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("press the button in the room"),
        "{message}"
    );
}

#[tokio::test]
async fn nothing_but_a_press_is_taken_for_one() {
    let site = Site::start(&[]).await;
    let good = r#"{"button":"mic"}"#;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
        "",
    ] {
        site.press(kind, "", good).await.refuses(415, "bad-request");
    }
    for (body, code) in [
        ("", "bad-request"),
        ("mic", "bad-request"),
        ("\u{0}", "bad-request"),
        ("[]", "bad-arguments"),
        ("{}", "bad-arguments"),
        (r#"{"button":1}"#, "bad-arguments"),
        (r#"{"button":"power"}"#, "bad-arguments"),
        (r#"{"button":"mic","muted":false}"#, "bad-arguments"),
    ] {
        let answer = site.press("application/json", "", body).await;
        answer.refuses(400, code);
    }
    let long = format!(r#"{{"button":"mic{}"}}"#, " ".repeat(1024));
    let answer = site.press("application/json", "", &long).await;
    answer.refuses(413, "bad-request");
    assert_eq!(site.room.orders(), []);
}

#[tokio::test]
async fn a_press_that_does_not_arrive_is_not_waited_for_for_long() {
    let site = Site::start(&[]).await;
    let head = format!(
        "POST /panel/press HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 16\r\n",
        site.address
    );
    site.send(&head, "{").await.refuses(408, "bad-request");
    assert_eq!(site.room.orders(), []);
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_press() {
    let site = Site::start(&[]).await;
    for origin in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Origin: http://127.0.0.1:1\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n",
    ] {
        let answer = site
            .press("application/json", origin, r#"{"button":"mic"}"#)
            .await;
        answer.refuses(403, "foreign");
    }
    // What the browser asks before it sends JSON for such a page.
    let preflight = format!(
        "OPTIONS /panel/press HTTP/1.1\r\nHost: {}\r\nOrigin: http://evil.example\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n",
        site.address
    );
    site.send(&preflight, "").await.refuses(403, "foreign");
    assert_eq!(site.room.orders(), []);
}

#[tokio::test]
async fn a_foreign_name_for_this_address_gets_nothing() {
    let site = Site::start(&["u-1"]).await;
    let port = site.address.port();
    for path in ["/", "/api/status", "/api/events", "/nothing"] {
        for host in [
            format!("Host: evil.example:{port}\r\n"),
            format!("Host: localhost.evil.example:{port}\r\n"),
            format!("Host: 192.0.2.1:{port}\r\n"),
            format!("Host: localhost:{port}\r\nHost: localhost:{port}\r\n"),
            String::new(),
        ] {
            let answer = site
                .send(&format!("GET {path} HTTP/1.1\r\n{host}"), "")
                .await;
            answer.refuses(403, "foreign");
        }
    }
    for name in ["localhost", "127.0.0.1", "[::1]", "ROOM-101.example.org"] {
        let answer = site
            .send(
                &format!("GET /api/status HTTP/1.1\r\nHost: {name}:{port}\r\n"),
                "",
            )
            .await;
        assert_eq!(answer.status, 200, "{name}");
    }
}

#[tokio::test]
async fn a_follower_sees_the_room_then_what_happens_and_every_change() {
    let site = Site::start(&["u-1"]).await;
    let mut follower = site.follow().await;
    let retry = follower.line_that(|line| line.starts_with("retry:")).await;
    assert_eq!(retry.as_deref(), Some("retry: 1000"));
    let (name, snapshot) = follower.event().await.unwrap();
    assert_eq!(name, "snapshot");
    assert_eq!(snapshot, site.get("/api/status").await.json());

    let peer = PeerId::new("u-1");
    site.room
        .events
        .send(RoomEvent::Reconnecting {
            peer,
            attempt: 1,
            max_attempts: 3,
        })
        .unwrap();
    let mut changed = room(&["u-1"]);
    changed.generation = 2;
    site.room.snapshots.send_replace(Arc::new(changed));
    let (name, event) = follower.event().await.unwrap();
    assert_eq!(name, "reconnecting");
    assert_eq!(
        event,
        json!({"event": "reconnecting", "user_id": "u-1", "attempt": 1, "max_attempts": 3})
    );
    let (name, snapshot) = follower.event().await.unwrap();
    assert_eq!(
        (name.as_str(), &snapshot["generation"]),
        ("snapshot", &json!(2))
    );

    // Nothing happens any more: a comment says that the connection lives.
    let alive = follower.line_that(|line| line.starts_with(": ")).await;
    assert!(alive.is_some());
}

#[tokio::test]
async fn names_with_markup_arrive_as_text() {
    let name = "</script><img src=x onerror=alert(1)>\r\n\r\nevent: snapshot\u{2028}\u{0}";
    let site = Site::start(&["u-1"]).await;
    let mut changed = room(&["u-1"]);
    changed.peers[0].name = huddled::room::Shown::name(name).unwrap();
    site.room.snapshots.send_replace(Arc::new(changed));
    let status = site.get("/api/status").await;
    assert_eq!(status.header("content-type"), Some("application/json"));
    let cleaned = "</script><img src=x onerror=alert(1)> event: snapshot";
    assert_eq!(status.json()["peers"][0]["name"], cleaned);
    let (kind, snapshot) = site.follow().await.event().await.unwrap();
    assert_eq!(kind, "snapshot");
    assert_eq!(snapshot["peers"][0]["name"], cleaned);
    assert!(!site.get("/").await.text().contains("onerror"));
}

#[tokio::test]
async fn sixteen_follow_and_the_next_is_told_until_one_leaves() {
    let site = Site::start(&[]).await;
    let mut crowd = Vec::new();
    for _ in 0..16 {
        let mut follower = site.follow().await;
        follower.event().await.unwrap();
        crowd.push(follower);
    }
    let refused = site.get("/api/events").await;
    refused.refuses(503, "busy");
    // The rest goes on.
    assert_eq!(site.get("/api/status").await.status, 200);
    crowd.pop();
    wait_until("the place of the one that left", || {
        site.room.events.receiver_count() == 15
    })
    .await;
    site.follow().await.event().await.unwrap();
}

#[tokio::test]
async fn a_follower_that_falls_behind_is_dropped() {
    let site = Site::start(&[]).await;
    let mut follower = site.follow().await;
    follower.event().await.unwrap();
    // More at once than the channel holds.
    for _ in 0..200 {
        site.room.events.send(long_event()).unwrap();
    }
    let mut lines = 0;
    let to_the_end = async {
        while follower.line().await.is_some_and(|line| line != "0") {
            lines += 1;
        }
    };
    timeout(PATIENCE, to_the_end).await.expect("the end");
    assert!(lines < 200, "{lines} lines: nothing was lost");
    assert_eq!(site.room.events.receiver_count(), 0);
}

#[tokio::test]
async fn a_follower_that_does_not_read_is_dropped() {
    let site = Site::start(&[]).await;
    let follower = site.follow().await;
    wait_until("the follower", || site.room.events.receiver_count() == 1).await;
    // Until all buffers on the way are full; never faster than they are filled.
    let mut stalled = Instant::now();
    while stalled.elapsed() < Duration::from_millis(500) {
        if site.room.events.len() < 8 {
            site.room.events.send(long_event()).unwrap();
            stalled = Instant::now();
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(site.room.events.receiver_count(), 1, "it may pause");
    wait_until("the end of the one that does not read", || {
        site.room.events.receiver_count() == 0
    })
    .await;
    drop(follower);
    assert_eq!(site.get("/api/status").await.status, 200);
}

#[tokio::test]
async fn pictures_are_served_only_where_it_was_allowed() {
    let site = Site::start(&["u-1"]).await;
    let answer = site.get("/api/picture?user=u-1").await;
    answer.refuses(404, "not-found");

    let demo = PageOptions {
        pictures: true,
        ..options()
    };
    let site = Site::with(&["u-1", "u-2"], demo).await;
    let answer = site.get("/api/picture?user=u-1&at=1").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("image/png"));
    assert_eq!(answer.body, PICTURE);
    for (query, status, code) in [
        ("", 400, "bad-arguments"),
        ("?user", 404, "bad-arguments"),
        ("?user=u-9", 404, "bad-arguments"),
        ("?user=u-2", 404, "no-picture"),
        ("?user=%00%ff", 404, "bad-arguments"),
        ("?at=1", 400, "bad-arguments"),
    ] {
        let answer = site.get(&format!("/api/picture{query}")).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (status, Some(code)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn without_a_room_presses_are_unavailable_and_the_page_still_answers() {
    let mut site = Site::start(&[]).await;
    site.room.task.abort();
    let _ = (&mut site.room.task).await;
    let answer = site
        .press("application/json", "", r#"{"button":"mic"}"#)
        .await;
    answer.refuses(503, "unavailable");
    assert_eq!(site.get("/api/status").await.status, 200);
}

#[tokio::test]
async fn the_end_closes_what_is_open() {
    let mut site = Site::start(&[]).await;
    let mut follower = site.follow().await;
    follower.event().await.unwrap();
    drop(site.stop.take());
    timeout(PATIENCE, &mut site.server)
        .await
        .expect("it ends")
        .unwrap();
    while follower.line().await.is_some() {}
    assert!(TcpStream::connect(site.address).await.is_err());
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let (_room, backend) = PlayedRoom::start(&[], true);
    let error = Page::bind(address, options(), backend.clone())
        .await
        .unwrap_err();
    assert!(matches!(error, ControlError::AddressInUse { .. }));
    let sentence = error.to_string();
    assert!(sentence.contains(&address.to_string()), "{sentence}");
    assert!(sentence.contains("[control] http"), "{sentence}");

    // Of a network for documentation, so of no machine.
    let error = Page::bind("192.0.2.1:8080".parse().unwrap(), options(), backend)
        .await
        .unwrap_err();
    assert!(matches!(error, ControlError::NoAddress { .. }), "{error}");
}
