use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use huddled::room::{PeerId, RoomEvent};
use serde_json::{Value, json};

use super::{PICTURE, Played, TemporaryDirectory};

fn huddlectl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_huddlectl"));
    command.env_remove("RUNTIME_DIRECTORY").stdin(Stdio::null());
    command
}

/// Runs it against the played box, with this thread free to wait: the runtime has others.
fn run(played: &Played, arguments: &[&str]) -> Output {
    huddlectl()
        .arg("--socket")
        .arg(&played.path)
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn what_does_not_exist_is_a_usage_error() {
    for arguments in [
        &["unmute"][..],
        &["camera", "on"],
        &["camera"],
        &["share", "maybe"],
        &["press", "reset"],
        &["--loud", "mute"],
        &[],
    ] {
        let output = huddlectl().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert!(huddlectl().arg("--help").output().unwrap().status.success());
}

#[test]
fn without_a_daemon_one_sentence_says_so() {
    let directory = TemporaryDirectory::new("ctl-absent");
    let output = huddlectl()
        .arg("status")
        .env("RUNTIME_DIRECTORY", directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    let socket = directory.path().join("control.sock");
    assert!(text.contains("huddled is not running"), "{text}");
    assert!(text.contains(&socket.display().to_string()), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn done_is_silent_and_denied_has_its_own_exit_code() {
    let played = Played::start("ctl-exit", &[]);
    for arguments in [
        &["mute"][..],
        &["camera", "off"],
        &["share", "on"],
        &["share", "off"],
        &["join"],
        &["leave"],
        &["identify"],
    ] {
        let output = run(&played, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(stdout(&output) + &stderr(&output), "", "{arguments:?}");
    }
    assert_eq!(played.room.orders().len(), 7);

    let output = run(&played, &["press", "mic"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("press the button in the room"));

    let output = run(&played, &["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("config.toml:3:"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_is_readable_and_json_on_demand() {
    let played = Played::start("ctl-status", &["u-1"]);
    let text = stdout(&run(&played, &["status"]));
    assert!(text.contains("microphone  muted"), "{text}");
    assert!(
        text.contains("Name of u-1 (u-1): connected for 1 s"),
        "{text}"
    );

    let value: Value = serde_json::from_str(&stdout(&run(&played, &["--json", "status"]))).unwrap();
    assert_eq!(value["microphone"]["muted"], true);
    assert_eq!(value["peers"][0]["user_id"], "u-1");

    let value: Value = serde_json::from_str(&stdout(&run(&played, &["health", "--json"]))).unwrap();
    assert_eq!(value["video"]["frames_captured"], 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_json_too_on_demand() {
    let played = Played::start("ctl-error", &[]);
    let output = run(&played, &["--json", "press", "share"]);
    assert_eq!(output.status.code(), Some(3));
    let value: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(value["error"]["code"], "denied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_goes_to_the_output_or_a_file() {
    let played = Played::start("ctl-picture", &["u-1"]);
    let output = run(&played, &["picture"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, PICTURE);

    let file = played.directory.path().join("u-1.png");
    let output = run(&played, &["picture", "u-1", "-o", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(std::fs::read(&file).unwrap(), PICTURE);

    let output = run(&played, &["picture", "u-9"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("u-9 is not here; there are u-1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_tells_what_happens_until_the_daemon_goes() {
    let mut played = Played::start("ctl-watch", &["u-1"]);
    let mut children: Vec<_> = [&["watch"][..], &["--json", "watch"]]
        .iter()
        .map(|arguments| {
            let mut child = huddlectl()
                .arg("--socket")
                .arg(&played.path)
                .args(*arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            (child, lines)
        })
        .collect();
    // Both have subscribed once they have shown the state.
    let words = children[0].1.next().unwrap().unwrap();
    assert!(
        words.starts_with("joined; 1 other member connected"),
        "{words}"
    );
    let first: Value = serde_json::from_str(&children[1].1.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["snapshot"]["generation"], 1);

    played
        .room
        .events
        .send(RoomEvent::ReconnectFailed {
            peer: PeerId::new("u-1"),
            attempts: 3,
        })
        .unwrap();
    assert_eq!(
        children[0].1.next().unwrap().unwrap(),
        "u-1: not reached in 3 attempt(s); trying slowly"
    );
    let event: Value = serde_json::from_str(&children[1].1.next().unwrap().unwrap()).unwrap();
    assert_eq!(
        event,
        json!({"event": "reconnect-failed", "user_id": "u-1", "attempts": 3})
    );

    played.server.abort();
    let _ = (&mut played.server).await;
    for (child, _) in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("closed the connection"));
    }
}
