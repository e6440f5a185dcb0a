//! What a service manager sees: readiness, status, watchdog, signals, the end.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use serde_json::json;

use super::meeting::{USERS, member};
use super::secrets::with_login;
use super::*;
use crate::socketio::gateway::Gateway;

/// The service manager's end of sd_notify(3).
pub(super) struct Notifications {
    socket: UnixDatagram,
    pub(super) heard: Vec<String>,
}

impl Notifications {
    /// Binds and tells the box where.
    pub(super) fn bind(setup: &mut Setup) -> Self {
        let path = setup.path("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        setup
            .environment
            .push(("NOTIFY_SOCKET", path.display().to_string()));
        Self {
            socket,
            heard: Vec::new(),
        }
    }

    /// The same, unless it was heard already.
    pub(super) fn has_heard(&mut self, wanted: &str) {
        if !self.heard.iter().any(|line| line.starts_with(wanted)) {
            self.until(wanted);
        }
    }

    /// Listens up to the first assignment that begins like this.
    pub(super) fn until(&mut self, wanted: &str) -> String {
        loop {
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("{wanted} was not heard but {:?}: {error}", self.heard)
            });
            let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            self.heard.extend(lines.iter().cloned());
            if let Some(line) = lines.into_iter().find(|line| line.starts_with(wanted)) {
                return line;
            }
        }
    }
}

/// Ends the box by a signal; nothing of it may be left.
fn assert_clean_end(daemon: &mut Daemon, signal: libc::c_int) {
    let (status, took) = daemon.stop(signal);
    println!("signal {signal} to the end of the process: {took:?}");
    assert_eq!(status.code(), Some(0));
    assert!(took < STOP, "{took:?}");
    assert!(!daemon.setup.socket.exists());
    daemon.until_logged("stopped");
}

#[test]
fn an_unconfigured_box_is_ready_feeds_the_watchdog_and_goes_on_sigterm() {
    let mut setup = Setup::new("unconfigured");
    let mut manager = Notifications::bind(&mut setup);
    setup
        .environment
        .push(("WATCHDOG_USEC", "2000000".to_owned()));
    let begun = Instant::now();
    let mut daemon = setup.spawn();
    manager.until("READY=1");
    println!("unconfigured: ready after {:?}", begun.elapsed());
    manager.has_heard("STATUS=No meeting configured");

    let begun = Instant::now();
    let pings = 4;
    for _ in 0..pings {
        manager.until("WATCHDOG=1");
    }
    let took = begun.elapsed();
    println!("{pings} pings for a watchdog of 2 s took {took:?}");
    assert!(took < Duration::from_secs(2) * pings);

    assert_eq!(daemon.status()["signaling"]["state"], "unconfigured");
    assert_clean_end(&mut daemon, libc::SIGTERM);
    manager.until("STOPPING=1");
    let ready = manager.heard.iter().filter(|line| *line == "READY=1");
    assert_eq!(ready.count(), 1);
}

#[test]
fn a_server_that_never_answers_holds_up_neither_readiness_nor_the_end() {
    // The kernel completes the handshake; nobody ever reads.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut setup = Setup::member("waiting", &url, "m-1", "u-1");
    let mut manager = Notifications::bind(&mut setup);
    let begun = Instant::now();
    let mut daemon = setup.spawn();
    manager.until("READY=1");
    let took = begun.elapsed();
    println!("with a server that never answers: ready after {took:?}");
    // The request itself has 10 s.
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert_eq!(daemon.status()["signaling"]["state"], "connecting");
    assert_clean_end(&mut daemon, libc::SIGINT);
    manager.until("STOPPING=1");
}

#[test]
fn a_server_that_hangs_up_is_tried_again_and_complained_of_once() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    let mut setup = Setup::member("alone", &url, "m-1", "u-1");
    let mut manager = Notifications::bind(&mut setup);
    let mut daemon = setup.spawn();
    for _ in 0..4 {
        drop(server.accept().unwrap());
    }
    manager.has_heard("READY=1");
    manager.has_heard("STATUS=Reconnecting to server");
    let snapshot = daemon.until("a lost server", |snapshot| {
        snapshot["signaling"]["state"] == "reconnecting"
    });
    assert_eq!(snapshot["banner"], "Reconnecting to server");
    assert_eq!(snapshot["leds"]["status"], "amber blink");
    assert_eq!(daemon.log().matches("server lost").count(), 1);
    assert_clean_end(&mut daemon, libc::SIGTERM);
}

#[test]
fn a_hangup_reads_the_file_again_and_a_broken_one_changes_nothing() {
    let mut daemon = Setup::new("hangup").start();
    daemon.signal(libc::SIGHUP);
    daemon.until_logged("the configuration was read again; nothing changed");

    let path = daemon.setup.path("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("bitrate", "bitrte")).unwrap();
    daemon.signal(libc::SIGHUP);
    daemon.until_logged("refused, the settings stay as they are");
    let line = text.lines().position(|line| line.starts_with("bitrate"));
    let place = format!("{}, line {}", path.display(), line.unwrap() + 1);
    let log = daemon.log();
    assert!(log.contains(&place), "{place}");
    assert!(log.contains("did you mean \"bitrate\"?"));
    let output = daemon.huddlectl(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&place));

    daemon.let_pass(20);
    assert_clean_end(&mut daemon, libc::SIGTERM);
}

#[tokio::test]
async fn a_server_that_freezes_does_not_hold_up_the_end_of_a_meeting() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut one = member(&gateway, 0).spawn();
    let mut two = member(&gateway, 1).spawn();
    one.until_connected(&[USERS[1]]);
    two.until_connected(&[USERS[0]]);
    gateway.control("freeze", json!({})).await;
    // Whoever presses twice means it no less.
    one.signal(libc::SIGTERM);
    assert_clean_end(&mut one, libc::SIGTERM);
    assert_clean_end(&mut two, libc::SIGINT);
    for daemon in [one, two] {
        assert!(!daemon.log().contains("did not close within"));
        assert!(!daemon.log().contains("stopping took longer"));
    }
}

#[tokio::test]
async fn a_rest_interface_that_hangs_does_not_hold_up_the_end() {
    let gateway = Gateway::start(&[]);
    let mut daemon = with_login(&gateway, "correct horse").spawn();
    daemon.until("the meeting", |snapshot| {
        snapshot["signaling"]["state"] == "joined"
    });
    gateway
        .control("setOptions", json!({"restDelay": 60_000}))
        .await;
    assert_clean_end(&mut daemon, libc::SIGTERM);
    // The other way out was taken.
    gateway
        .until("received", json!({"event": "meeting:leave"}), |list| {
            list.as_array().is_some_and(|list| list.len() == 1)
        })
        .await;
}
