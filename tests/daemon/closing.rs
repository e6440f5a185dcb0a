//! Who closes and opens microphone and camera, in what order, and what is remembered.

use serde_json::{Value, json};

use super::*;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

/// What was captured, encoded and sent as keyframes.
fn video(health: &Value) -> [u64; 3] {
    ["captured", "encoded", "keyframes"].map(|name| number(&health["video_out"][name]))
}

fn leaked(daemon: &Daemon) -> u64 {
    number(&daemon.health()["audio_out"]["packets_while_muted_with_sound"])
}

#[test]
fn a_press_mutes_and_opens_and_the_light_comes_after_the_disk() {
    let mut daemon = Setup::new("press").start();
    let snapshot = daemon.until_closed(false, false);
    assert_eq!(snapshot["leds"]["mic"], "green steady");
    daemon.until_health("sound to leave", |health| {
        health["audio_out"]["level_dbfs"].as_f64() > Some(-60.0)
    });

    let mut watch = daemon.watch();
    let mut lit = |daemon: &Daemon, colour: &str| {
        let seen = watch.find(|line| {
            line["snapshot"]["leds"]["mic"]
                .as_str()
                .is_some_and(|light| light.starts_with(colour))
        });
        (seen.expect("the light changes"), daemon.state())
    };
    for _ in 0..5 {
        let output = daemon.huddlectl(&["press", "mic"]);
        assert_eq!(output.status.code(), Some(0));
        let (line, state) = lit(&daemon, "red");
        assert_eq!(line["snapshot"]["microphone"]["confirmed"], true);
        assert!(state.contains("muted = true"), "{state}");

        daemon.press("mic");
        let (line, state) = lit(&daemon, "green");
        assert_eq!(line["snapshot"]["microphone"]["confirmed"], false);
        assert!(state.contains("muted = false"), "{state}");
    }

    daemon.press("mic");
    daemon.until_closed(true, false);
    let health = daemon.let_pass(50);
    assert_eq!(health["audio_out"]["level_dbfs"].as_f64(), Some(SILENCE));
    assert_eq!(leaked(&daemon), 0);
}

#[test]
fn mute_is_open_to_the_control_socket_and_opening_is_not() {
    let mut setup = Setup::new("no-panel");
    setup.panel = "none";
    let mut daemon = setup.start();
    daemon.until_closed(false, false);
    for (arguments, code) in [
        (&["mute"][..], 0),
        (&["camera", "off"], 0),
        (&["press", "mic"], 3),
        (&["press", "camera"], 3),
        (&["press", "share"], 3),
        (&["unmute"], 2),
        (&["camera", "on"], 2),
    ] {
        let output = daemon.huddlectl(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_eq!(output.stderr.is_empty(), code == 0, "{arguments:?}");
    }
    daemon.until_closed(true, true);
    let denied = daemon.ask("press", json!({"button": "mic"})).unwrap_err();
    assert_eq!(denied["code"], "denied");
    assert_eq!(
        daemon.ask("unmute", json!({})).unwrap_err()["code"],
        "unknown-command"
    );
    daemon.let_pass(20);
    daemon.until_closed(true, true);
    // Who did it is logged, by user and process id.
    let log = daemon.log();
    assert!(
        log.lines()
            .any(|line| line.contains("microphone muted by") && line.contains("uid")),
        "{log}"
    );
}

#[test]
fn the_camera_stops_after_black_keyframes_and_comes_back() {
    let mut daemon = Setup::new("camera").start();
    daemon.until_closed(false, false);
    daemon.until_health("pictures", |health| video(health)[1] > 5);

    daemon.press("camera");
    let snapshot = daemon.until_closed(false, true);
    assert_eq!(snapshot["leds"]["camera"], "red steady");
    let off = video(&daemon.health());
    daemon.until_health("the black keyframe and its two repetitions", |health| {
        number(&health["video_out"]["black"]) == 3
    });
    let later = daemon.let_pass(100);
    assert_eq!(video(&later)[..2], off[..2], "no captured frame is encoded");
    assert_eq!(number(&later["video_out"]["black"]), 3, "{later}");

    daemon.press("camera");
    let snapshot = daemon.until_closed(false, false);
    assert_eq!(snapshot["leds"]["camera"], "green steady");
    let on = daemon.until_health("pictures again", |health| video(health)[1] > off[1]);
    assert_eq!(number(&on["video_out"]["black"]), 3, "{on}");
    assert!(video(&on)[2] > video(&later)[2], "{on}");
}

#[test]
fn what_was_closed_stays_closed_over_a_power_cut() {
    let mut daemon = Setup::new("power-cut").start();
    daemon.until_closed(false, false);
    daemon.press("mic");
    daemon.press("camera");
    daemon.until_closed(true, true);
    for _ in 0..3 {
        daemon.kill();
        daemon.spawn_again();
        // From the first answer on.
        let first = daemon.until("an answer", |_| true);
        assert_ne!(first["microphone"]["confirmed"], false, "{first}");
        assert_eq!(
            first["leds"]["mic"].as_str().map(|light| &light[..3]),
            Some("red"),
            "{first}"
        );
        daemon.until_closed(true, true);
        let health = daemon.let_pass(30);
        assert_eq!(video(&health)[..2], [0, 0], "{health}");
        assert_eq!(leaked(&daemon), 0);
    }

    // And what was opened by a press stays open.
    daemon.press("mic");
    daemon.until_closed(false, true);
    daemon.kill();
    daemon.spawn_again();
    daemon.until_closed(false, true);
}

#[test]
fn a_mute_right_before_the_end_is_remembered() {
    let mut daemon = Setup::new("last-second").start();
    for _ in 0..3 {
        daemon.until_closed(false, false);
        daemon.tell("mute", json!({}));
        assert_eq!(daemon.stop(libc::SIGTERM).0.code(), Some(0));
        assert!(
            daemon.state().contains("muted = true"),
            "{}",
            daemon.state()
        );
        daemon.spawn_again();
        daemon.until_closed(true, false);
        daemon.press("mic");
    }
}

#[test]
fn an_unreadable_state_file_closes_both() {
    let mut daemon = Setup::new("unreadable").start();
    daemon.until_closed(false, false);
    daemon.kill();
    daemon.setup.expected_errors = vec!["state file"];
    let path = daemon.setup.path("state/state.toml");
    for content in [&b""[..], b"muted = \xff", b"version = 1\nmuted = false\n"] {
        std::fs::write(&path, content).unwrap();
        daemon.spawn_again();
        daemon.until_closed(true, true);
        until("the state file to be whole again", || {
            let state = daemon.state();
            let whole = state.contains("muted = true") && state.contains("camera_off = true");
            whole.then_some(()).ok_or(state)
        });
        daemon.kill();
    }
    assert!(daemon.log().contains(path.to_str().unwrap()));
}

#[test]
fn another_meeting_closes_both_and_the_first_start_obeys_its_setting() {
    let nobody = "http://127.0.0.1:9";
    let mut daemon = Setup::member("moved", nobody, "m-1", "u-1").start();
    daemon.until_closed(false, false);
    for signaling in [
        format!("url = \"{nobody}\"\nmeeting = \"m-2\"\nuser = \"u-1\"\n"),
        "url = \"http://127.0.0.2:9\"\nmeeting = \"m-2\"\nuser = \"u-1\"\n".to_owned(),
    ] {
        assert_eq!(daemon.stop(libc::SIGTERM).0.code(), Some(0));
        daemon.setup.signaling = signaling;
        daemon.spawn_again();
        daemon.until_closed(true, true);
        // Once opened there, a restart there leaves it open.
        daemon.press("mic");
        daemon.press("camera");
        daemon.until_closed(false, false);
        assert_eq!(daemon.stop(libc::SIGTERM).0.code(), Some(0));
        daemon.spawn_again();
        daemon.until_closed(false, false);
    }

    let mut setup = Setup::new("first-start");
    setup.first_start = "muted";
    setup.start().until_closed(true, true);
}
