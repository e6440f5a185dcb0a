//! Command line, configuration and exit codes.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;

use super::process::huddled;
use super::*;

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for arguments in [
        &[][..],
        &["walk"],
        &["run", "--loud"],
        &["run", "--log-level", "chatty"],
        &["config"],
        &["config", "check"],
    ] {
        let output = huddled().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert!(
        huddled()
            .arg("--version")
            .output()
            .unwrap()
            .status
            .success()
    );
}

#[test]
fn an_invalid_file_ends_with_78_and_is_named_with_line_and_key() {
    let setup = Setup::new("invalid");
    let path = setup.path("broken.toml");
    fs::write(&path, "[box]\nname = \"x\"\n[signaling]\nmetting = \"m\"\n").unwrap();
    let file = path.display().to_string();
    let place =
        format!("{file}, line 4, signaling.metting: unknown key; did you mean \"meeting\"?");
    for arguments in [
        &["run", "--allow-sim", "--config", &file][..],
        &["config", "check", &file],
        &["config", "show", "--config", &file],
    ] {
        let output = huddled().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{arguments:?}");
        let text = stderr(&output);
        assert!(text.contains(&place), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    let absent = setup.path("absent.toml").display().to_string();
    let output = huddled()
        .args(["run", "--config", &absent])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains(&format!("{absent}: cannot be read")));
}

#[test]
fn a_server_without_encryption_needs_the_boxs_own_word_and_is_named_at_each_start() {
    let mut setup = Setup::member("clear", "http://server.invalid:9", "m-1", "u-1");
    setup.configure();
    let config = setup.config().display().to_string();
    let run = huddled()
        .args(["run", "--allow-sim", "--config", &config])
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(78));
    assert!(stderr(&run).contains(", line 5, signaling.url: sends password and token"));

    setup.signaling.push_str("insecure_http = true\n");
    let mut daemon = setup.start();
    for start in 0..2 {
        if start > 0 {
            daemon.stop(libc::SIGTERM);
            daemon.spawn_again();
        }
        daemon.until_logged("[signaling] url http://server.invalid:9 is plain HTTP");
        daemon.until("the status says so", |snapshot| {
            snapshot["signaling"]["unencrypted"] == true
        });
        let status = daemon.huddlectl(&["status"]).stdout;
        let status = String::from_utf8(status).unwrap();
        assert!(
            status.contains("not encrypted: [signaling] insecure_http"),
            "{status}"
        );
    }
}

#[test]
fn simulated_devices_need_permission() {
    let setup = Setup::new("forbidden");
    setup.configure();
    let output = huddled()
        .args(["run", "--config"])
        .arg(setup.path("config.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let text = stderr(&output);
    assert!(text.contains("--allow-sim"), "{text}");
    for key in ["camera", "microphone", "speaker", "panel"] {
        assert!(text.contains(key), "{key}: {text}");
    }
}

#[test]
fn a_valid_file_is_checked_and_shown_and_what_is_shown_is_valid() {
    let setup = Setup::member("shown", "https://meet.example.org", "m-1", "u-1");
    setup.configure();
    let path = setup.path("config.toml").display().to_string();
    let example = format!("{}/config/huddled.example.toml", env!("CARGO_MANIFEST_DIR"));
    let output = huddled()
        .args(["config", "check", &path, &example])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{path}: valid\n{example}: valid\n")
    );

    let shown = huddled()
        .args(["config", "show", "--config", &path])
        .output()
        .unwrap();
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("meeting = \"m-1\""), "{text}");
    let again = setup.path("shown.toml");
    fs::write(&again, &shown.stdout).unwrap();
    let output = huddled()
        .args(["config", "check"])
        .arg(&again)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_second_box_leaves_the_first_ones_socket_alone() {
    let mut first = Setup::new("first").start();
    let mut second = Setup::new("second");
    second.socket = first.setup.socket.clone();
    second.expected_errors = vec!["another huddled"];
    let (status, log) = second.fail();
    assert_eq!(status.code(), Some(1));
    let socket = first.setup.socket.to_str().unwrap();
    let said = log
        .lines()
        .find(|line| line.contains("ERROR") && line.contains(socket));
    assert!(
        said.is_some_and(|line| line.contains("another huddled")),
        "{log}"
    );
    first.let_pass(5);
}

#[test]
fn folders_that_cannot_be_used_are_named() {
    let mut setup = Setup::new("no-folder");
    setup.socket = setup.path("absent/control.sock");
    setup.expected_errors = vec!["absent/control.sock"];
    let (status, log) = setup.fail();
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("ERROR"), "{log}");

    let mut setup = Setup::new("no-state");
    fs::write(setup.path("state"), "a file").unwrap();
    setup.expected_errors = vec!["state"];
    let state = setup.path("state").display().to_string();
    let (status, log) = setup.fail();
    assert_eq!(status.code(), Some(1));
    let error = log.lines().find(|line| line.contains("ERROR")).unwrap();
    assert!(error.contains(&state), "{error}");
}

#[test]
fn the_page_is_served_where_the_journal_says_and_presses_the_panel() {
    let mut setup = Setup::new("page");
    setup.http = Some(([127, 0, 0, 1], 0).into());
    let mut daemon = setup.start();
    daemon.until_closed(false, false);
    let log = daemon.log();
    let (_, address) = log
        .split_once("the box's page is at http://")
        .expect("the page's address is logged");
    let (address, _) = address.split_once('/').unwrap();
    let body = r#"{"button":"mic"}"#;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST /panel/press HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    daemon.until_closed(true, false);
    daemon.until_logged("press {\"button\":\"mic\"} by http 127.0.0.1:");
    assert!(
        !daemon.log().contains("WARN  huddled::app"),
        "loopback needs no warning"
    );
}

#[test]
fn a_page_that_has_no_place_ends_the_start_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut setup = Setup::new("no-place");
    setup.http = Some(address);
    setup.expected_errors = vec!["already listens here"];
    let (status, log) = setup.fail();
    assert_eq!(status.code(), Some(1));
    let error = log.lines().find(|line| line.contains("ERROR")).unwrap();
    let sentence = format!("{address}: another program already listens here");
    assert!(error.contains(&sentence), "{error}");
}

#[test]
fn a_page_for_the_network_is_warned_of() {
    let mut setup = Setup::new("open-page");
    setup.http = Some(([0, 0, 0, 0], 0).into());
    let daemon = setup.start();
    daemon
        .until_logged("is not a loopback address: whoever reaches it may see the meeting's state");
    daemon.until_logged("http_hosts is empty");
}
