//! What must never be in a log, however much is logged.

use std::fs;

use super::meeting::{USERS, member};
use super::*;
use crate::socketio::gateway::Gateway;

/// The user that the gateway's account belongs to.
const ACCOUNT: &str = "00000000-0000-4000-8000-000000000001";
const MEETING: &str = "5d1f6c1e-8a70-4c3c-9f0e-1b7a51a00001";

/// A box that logs in with the account the gateway knows, and this password.
pub(super) fn with_login(gateway: &Gateway, password: &str) -> Setup {
    let mut setup = Setup::member("Secretive", &gateway.url(), MEETING, ACCOUNT);
    setup.log_level = "trace";
    setup
        .signaling
        .push_str("email = \"box@example.org\"\npassword_file = \"password\"\n");
    fs::write(setup.path("password"), password).unwrap();
    setup
}

fn assert_silent_about(log: &str, secrets: &[&str]) {
    for secret in secrets {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}

#[tokio::test]
async fn neither_password_nor_token_nor_ice_credentials_are_logged() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut setup = with_login(&gateway, "correct horse\n");
    // A TURN server that is not there, with a password that is.
    setup.signaling.push_str(
        "[[ice_servers]]\nurls = [\"turn:127.0.0.1:9\"]\nusername = \"room\"\ncredential_file = \"turn\"\n",
    );
    fs::write(setup.path("turn"), "battery staple").unwrap();
    let mut secretive = setup.spawn();
    let mut setup = member(&gateway, 1);
    setup.log_level = "trace";
    let mut other = setup.spawn();
    secretive.until_connected(&[USERS[1]]);
    other.until_connected(&[ACCOUNT]);
    secretive.until_seen(USERS[1]);
    other.until_seen(ACCOUNT);
    assert_eq!(secretive.stop(libc::SIGTERM).0.code(), Some(0));
    for log in [secretive.log(), other.log()] {
        assert!(log.contains("joined the meeting"), "{log}");
        // `eyJ` begins every JSON web token.
        assert_silent_about(
            &log,
            &["correct horse", "eyJ", "battery staple", "ice-pwd", "v=0"],
        );
    }
}

#[tokio::test]
async fn a_refused_login_is_told_without_the_password() {
    let gateway = Gateway::start(&[]);
    let mut setup = with_login(&gateway, "wrong horse");
    setup.expected_errors = vec!["refused by the server"];
    let mut daemon = setup.spawn();
    let snapshot = daemon.until("the refusal", |snapshot| {
        snapshot["signaling"]["state"] == "refused"
    });
    assert_eq!(snapshot["leds"]["status"], "red double-blink");
    let banner = snapshot["banner"].as_str().unwrap();
    assert!(banner.contains("Invalid credentials"), "{banner}");
    assert_silent_about(&daemon.log(), &["wrong horse"]);
    assert!(daemon.log().contains("ERROR"));

    // The right one in the same file helps without a restart.
    fs::write(daemon.setup.path("password"), "correct horse").unwrap();
    daemon.tell("join", serde_json::json!({}));
    daemon.until("the meeting", |snapshot| {
        snapshot["signaling"]["state"] == "joined"
    });
    assert_silent_about(&daemon.log(), &["correct horse", "eyJ"]);
}
