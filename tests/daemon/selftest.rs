//! `huddled selftest` as an installer runs it.

use std::fs;
use std::process::Output;

use serde_json::Value;

use super::meeting::member;
use super::process::huddled;
use super::*;
use crate::socketio::gateway::Gateway;

fn selftest(setup: &Setup, more: &[&str]) -> Output {
    huddled()
        .args(["selftest", "--allow-sim", "--config"])
        .arg(setup.config())
        .args(more)
        .output()
        .unwrap()
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn verdict<'a>(report: &'a Value, check: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|one| one["check"] == check);
    found.map_or("not tried", |one| one["verdict"].as_str().unwrap())
}

#[test]
fn simulated_devices_and_a_server_pass_and_nothing_is_called_passed_that_was_not_tried() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let setup = member(&gateway, 0);
    setup.configure();
    let output = selftest(&setup, &["--json"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(report["passed"], true);
    for (check, expected) in [
        ("camera", "pass"),
        ("screen", "skipped"),
        ("microphone", "pass"),
        ("speaker", "pass"),
        ("sound loop", "skipped"),
        ("lights", "skipped"),
        ("buttons", "skipped"),
        ("server", "pass"),
        ("clock", "pass"),
    ] {
        assert_eq!(verdict(&report, check), expected, "{check}: {report:#}");
    }
}

#[test]
fn what_is_broken_fails_by_name_with_exit_code_1() {
    let mut setup = Setup::new("broken");
    // Nobody listens there.
    setup.signaling = "url = \"http://127.0.0.1:9\"\nmeeting = \"m\"\nuser = \"u\"\n".to_owned();
    setup.configure();
    let text = fs::read_to_string(setup.config()).unwrap();
    fs::write(
        setup.config(),
        text.replace("\"sim:testcard\"", "\"/dev/video-nobody\""),
    )
    .unwrap();
    let output = selftest(&setup, &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let line = |check: &str| {
        let found = text.lines().find(|line| line.contains(check));
        found.unwrap_or_else(|| panic!("{check} is not in\n{text}"))
    };
    assert!(line(" camera ").starts_with("FAIL "), "{text}");
    assert!(line(" camera ").contains("/dev/video-nobody"), "{text}");
    assert!(line(" server ").starts_with("FAIL "), "{text}");
    assert!(line(" microphone ").starts_with("pass "), "{text}");
}

#[test]
fn it_leaves_the_devices_to_a_daemon_that_runs() {
    let daemon = Setup::new("busy").start();
    let output = selftest(&daemon.setup, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    assert_eq!(report["checks"].as_array().unwrap().len(), 1);
    let text = report["checks"][0]["text"].as_str().unwrap();
    assert!(text.contains("systemctl stop huddled"), "{text}");
}
