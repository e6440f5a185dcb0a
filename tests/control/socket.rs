use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use huddled::control::{ControlError, ControlSocket};
use huddled::room::{Button, Command, PeerId, RoomEvent, Source};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{PICTURE, Played, TemporaryDirectory, room};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Client(BufReader<UnixStream>);

impl Client {
    async fn connect(played: &Played) -> Self {
        Self(BufReader::new(
            UnixStream::connect(&played.path).await.unwrap(),
        ))
    }

    async fn send(&mut self, text: &str) {
        let stream = self.0.get_mut();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.write_all(b"\n").await.unwrap();
    }

    /// The next line, or `None` at the end.
    async fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line))
            .await
            .expect("the daemon said nothing")
            // A daemon that closes with something unread resets the connection.
            .unwrap_or(0);
        (read > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    async fn ask(&mut self, text: &str) -> Value {
        self.send(text).await;
        self.line().await.expect("the daemon closed the connection")
    }
}

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn owner_and_group_may_connect_and_the_file_goes_with_the_daemon() {
    let mut played = Played::start("mode", &[]);
    let metadata = std::fs::metadata(&played.path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    let names = std::fs::read_dir(played.directory.path()).unwrap().count();
    assert_eq!(names, 1, "nothing of the preparation is left");
    played.server.abort();
    let _ = (&mut played.server).await;
    assert!(!played.path.exists());
}

#[tokio::test]
async fn status_answers_with_the_snapshot() {
    let played = Played::start("status", &["u-1"]);
    let reply = Client::connect(&played)
        .await
        .ask(r#"{"id":7,"do":"status","args":{}}"#)
        .await;
    assert_eq!(reply["id"], 7);
    assert_eq!(reply["ok"]["version"], 1);
    assert_eq!(
        reply["ok"]["signaling"],
        json!({"state": "joined", "since_ms": 6000, "unencrypted": false})
    );
    assert_eq!(reply["ok"]["peers"][0]["user_id"], "u-1");
    assert_eq!(reply["ok"]["peers"][0]["since_ms"], 1000);
}

#[tokio::test]
async fn every_command_reaches_the_room_with_the_caller_s_identity() {
    let played = Played::start("commands", &[]);
    let mut client = Client::connect(&played).await;
    let table = [
        (r#"{"id":1,"do":"mute"}"#, Command::Mute),
        (
            r#"{"id":1,"do":"camera","args":{"off":true}}"#,
            Command::CameraOff,
        ),
        (
            r#"{"id":1,"do":"share","args":{"on":true}}"#,
            Command::ShareOn,
        ),
        (
            r#"{"id":1,"do":"share","args":{"on":false}}"#,
            Command::ShareOff,
        ),
        (r#"{"id":1,"do":"join"}"#, Command::Join),
        (r#"{"id":1,"do":"leave"}"#, Command::Leave),
        (r#"{"id":1,"do":"identify"}"#, Command::Identify),
    ];
    for (line, _) in &table {
        assert_eq!(client.ask(line).await, json!({"id": 1, "ok": {}}), "{line}");
    }
    let orders = played.room.orders();
    let wanted: Vec<_> = table.iter().map(|(_, command)| *command).collect();
    let given: Vec<_> = orders.iter().map(|(command, _)| *command).collect();
    assert_eq!(given, wanted);
    let identity = format!("pid {}", std::process::id());
    for (_, source) in orders {
        let Source::Control(client) = source else {
            panic!("{source:?}");
        };
        assert!(client.starts_with("uid "), "{client}");
        assert!(client.ends_with(&identity), "{client}");
    }
}

#[tokio::test]
async fn a_denied_command_is_answered_with_the_reason() {
    let played = Played::start("denied", &[]);
    let mut client = Client::connect(&played).await;
    let reply = client
        .ask(r#"{"id":"p","do":"press","args":{"button":"mic"}}"#)
        .await;
    assert_eq!(reply["id"], "p");
    assert_eq!(reply["error"]["code"], "denied");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("press the button in the room"),
        "{message}"
    );
    assert_eq!(played.room.orders()[0].0, Command::Press(Button::Mic));
}

#[tokio::test]
async fn without_a_room_commands_are_unavailable_and_status_still_answers() {
    let mut played = Played::start("stopping", &[]);
    played.room.task.abort();
    let _ = (&mut played.room.task).await;
    let mut client = Client::connect(&played).await;
    let reply = client.ask(r#"{"id":1,"do":"mute"}"#).await;
    assert_eq!(reply["error"]["code"], "unavailable");
    let reply = client.ask(r#"{"id":2,"do":"status"}"#).await;
    assert_eq!(reply["ok"]["generation"], 1);
}

#[tokio::test]
async fn nonsense_is_answered_and_the_connection_stays() {
    let played = Played::start("nonsense", &[]);
    let mut client = Client::connect(&played).await;
    for (line, code) in [
        ("hello", "bad-request"),
        ("[1,2]", "bad-request"),
        (r#"{"id":1,"do":"unmute"}"#, "unknown-command"),
        (
            r#"{"id":1,"do":"camera","args":{"off":false}}"#,
            "bad-arguments",
        ),
    ] {
        let reply = client.ask(line).await;
        assert_eq!(reply["error"]["code"], code, "{line}");
    }
    assert_eq!(client.ask(r#"{"id":9,"do":"mute"}"#).await["id"], 9);
    assert_eq!(
        played.room.orders().len(),
        1,
        "nothing but the mute got through"
    );
}

#[tokio::test]
async fn requests_sent_together_are_answered_in_order() {
    let played = Played::start("together", &[]);
    let mut client = Client::connect(&played).await;
    client
        .send("{\"id\":1,\"do\":\"mute\"}\r\n\n{\"id\":2,\"do\":\"status\"}\n{\"id\":3,\"do\":\"leave\"}")
        .await;
    for id in 1..=3 {
        assert_eq!(client.line().await.unwrap()["id"], id);
    }
}

#[tokio::test]
async fn a_line_without_end_ends_the_connection_with_a_reason() {
    let played = Played::start("endless", &[]);
    let mut client = Client::connect(&played).await;
    let fits = format!(r#"{{"id":"{}","do":"mute"}}"#, "x".repeat(64 * 1024 - 100));
    assert_eq!(client.ask(&fits).await["ok"], json!({}));
    let stream = client.0.get_mut();
    stream.write_all(&vec![b'x'; 64 * 1024 + 1]).await.unwrap();
    let reply = client.line().await.unwrap();
    assert_eq!(reply["error"]["code"], "bad-request");
    assert_eq!(client.line().await, None);
}

#[tokio::test]
async fn there_is_room_for_32_connections_and_again_when_one_goes() {
    let played = Played::start("crowd", &[]);
    let mut crowd = Vec::new();
    for _ in 0..32 {
        let mut client = Client::connect(&played).await;
        assert_eq!(client.ask(r#"{"id":1,"do":"status"}"#).await["id"], 1);
        crowd.push(client);
    }
    let mut late = Client::connect(&played).await;
    assert_eq!(late.line().await.unwrap()["error"]["code"], "busy");
    assert_eq!(late.line().await, None);
    crowd.pop();
    let served = async {
        loop {
            let mut client = Client::connect(&played).await;
            client.send(r#"{"id":1,"do":"status"}"#).await;
            if client.line().await.is_some_and(|line| line["id"] == 1) {
                return;
            }
        }
    };
    timeout(PATIENCE, served)
        .await
        .expect("a free place is given to the next");
}

#[tokio::test]
async fn a_watcher_sees_the_state_then_what_happens_and_may_still_ask() {
    let played = Played::start("watch", &["u-1"]);
    let mut client = Client::connect(&played).await;
    let reply = client.ask(r#"{"id":1,"do":"watch"}"#).await;
    assert_eq!(reply, json!({"id": 1, "ok": {}}));
    assert_eq!(client.line().await.unwrap()["snapshot"]["generation"], 1);

    played
        .room
        .events
        .send(RoomEvent::Reconnecting {
            peer: PeerId::new("u-1"),
            attempt: 1,
            max_attempts: 3,
        })
        .unwrap();
    let mut changed = room(&["u-1"]);
    changed.generation = 2;
    played.room.snapshots.send_replace(Arc::new(changed));
    assert_eq!(
        client.line().await.unwrap(),
        json!({"event": "reconnecting", "user_id": "u-1", "attempt": 1, "max_attempts": 3})
    );
    assert_eq!(client.line().await.unwrap()["snapshot"]["generation"], 2);

    let reply = client.ask(r#"{"id":2,"do":"mute"}"#).await;
    assert_eq!(reply, json!({"id": 2, "ok": {}}));
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_told_and_dropped() {
    let played = Played::start("slow", &[]);
    let mut client = Client::connect(&played).await;
    client.ask(r#"{"id":1,"do":"watch"}"#).await;
    // Until the socket's buffers are full and the daemon's queue overflows behind them.
    let event = RoomEvent::PeerConnected {
        peer: PeerId::new(&"u".repeat(4000)),
    };
    for _ in 0..2_000 {
        played.room.events.send(event.clone()).unwrap();
        tokio::task::yield_now().await;
    }
    let mut last = None;
    let mut lines = 0;
    while let Some(line) = client.line().await {
        last = Some(line);
        lines += 1;
    }
    assert_eq!(last.unwrap()["error"]["code"], "too-slow");
    assert!(lines < 2_000, "{lines} lines: nothing was lost");
    let mut other = Client::connect(&played).await;
    assert_eq!(other.ask(r#"{"id":1,"do":"status"}"#).await["id"], 1);
}

#[tokio::test]
async fn pictures_come_as_base64_of_the_member_that_is_meant() {
    let played = Played::start("picture", &["u-1"]);
    let mut client = Client::connect(&played).await;
    for line in [
        r#"{"id":1,"do":"picture"}"#,
        r#"{"id":1,"do":"picture","args":{"user":"u-1"}}"#,
    ] {
        let reply = client.ask(line).await;
        assert_eq!(reply["ok"]["user_id"], "u-1");
        let png = base64::engine::general_purpose::STANDARD
            .decode(reply["ok"]["png"].as_str().unwrap())
            .unwrap();
        assert_eq!(png, PICTURE);
    }

    played
        .room
        .snapshots
        .send_replace(Arc::new(room(&["u-1", "u-2"])));
    for (line, code, words) in [
        (r#"{"do":"picture"}"#, "bad-arguments", "u-1, u-2"),
        (
            r#"{"do":"picture","args":{"user":"u-9"}}"#,
            "bad-arguments",
            "u-1, u-2",
        ),
        (
            r#"{"do":"picture","args":{"user":"u-2"}}"#,
            "no-picture",
            "no picture",
        ),
    ] {
        let reply = client.ask(line).await;
        assert_eq!(reply["error"]["code"], code, "{line}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }

    played.room.snapshots.send_replace(Arc::new(room(&[])));
    let reply = client.ask(r#"{"id":1,"do":"picture"}"#).await;
    assert_eq!(reply["error"]["code"], "no-picture");
}

#[tokio::test]
async fn a_refused_configuration_is_told_with_its_place() {
    let played = Played::start("reload", &[]);
    let reply = Client::connect(&played)
        .await
        .ask(r#"{"id":1,"do":"reload"}"#)
        .await;
    assert_eq!(reply["error"]["code"], "rejected");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("config.toml:3:"), "{message}");
}

#[tokio::test]
async fn health_passes_the_counters_on() {
    let played = Played::start("health", &[]);
    let reply = Client::connect(&played)
        .await
        .ask(r#"{"id":1,"do":"health"}"#)
        .await;
    assert_eq!(reply["ok"], json!({"video": {"frames_captured": 300}}));
}

#[tokio::test]
async fn a_socket_left_by_a_crash_is_replaced_and_a_living_one_is_not() {
    let directory = TemporaryDirectory::new("stale");
    let path = directory.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a closed listener leaves its file");
    let socket = ControlSocket::open(&path).unwrap();
    let error = ControlSocket::open(&path).unwrap_err();
    assert!(matches!(error, ControlError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("control.sock"), "{error}");
    assert!(path.exists(), "the living one is left alone");
    drop(socket);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_never_removed() {
    let directory = TemporaryDirectory::new("file");
    let path = directory.path().join("control.sock");
    std::fs::write(&path, "precious").unwrap();
    let error = ControlSocket::open(&path).unwrap_err();
    assert!(matches!(error, ControlError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let directory = TemporaryDirectory::new("folder");
    let path = directory.path().join("absent/control.sock");
    let error = ControlSocket::open(&path).unwrap_err().to_string();
    assert!(error.contains("absent/control.sock"), "{error}");
    assert!(error.contains("create its folder"), "{error}");
}

#[tokio::test]
async fn a_name_that_no_client_could_give_is_refused() {
    let directory = TemporaryDirectory::new("long");
    let path = directory.path().join("x".repeat(120));
    assert!(ControlSocket::open(&path).is_err());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_loop_beats_while_nothing_happens() {
    let played = Played::start("beat", &[]);
    wait_until("three beats", || played.beat.load(Ordering::Relaxed) >= 3).await;
}
