//! The remote layer of the configuration: a real box, the real `minisign`, a web server that behaves well or badly.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use super::meeting::{USERS, member};
use super::process::huddled;
use super::*;
use crate::socketio::gateway::Gateway;
use signer::Signer;
use web::{Certificate, Manner, Web};

mod faults;
mod nginx;
mod proxy;
mod signer;
mod web;

/// A box that is managed, its web server and its administrator.
struct Managed {
    web: Web,
    signer: Signer,
    setup: Option<Setup>,
}

impl Managed {
    fn new(mut setup: Setup) -> Self {
        setup.layered = true;
        let web = Web::start();
        let signer = Signer::new(setup.path("admin"), "a");
        setup.put("etc/huddled/ca.pem", &web.ca);
        let managed = Self {
            web,
            signer,
            setup: None,
        };
        managed.trust(&setup, &[&managed.signer], 3_600_000);
        Self {
            setup: Some(setup),
            ..managed
        }
    }

    /// The box's own file that says so; `interval` in milliseconds.
    fn trust(&self, setup: &Setup, signers: &[&Signer], interval: u32) {
        let keys: Vec<_> = signers.iter().map(|signer| signer.public()).collect();
        let text = format!(
            "[box]\nid = \"room-101\"\n[remote]\nurl = \"{}\"\nkey = {keys:?}\nca_file = \"../ca.pem\"\n\
             interval_ms = {interval}\nprobation_ms = 10000\n",
            self.web.url("{id}.toml"),
        );
        setup.put("etc/huddled/conf.d/remote.toml", &text);
    }

    fn publish(&self, version: u64, text: &str) {
        let comment = format!("version:{version}");
        self.place(
            text.as_bytes(),
            &self.signer.sign(text.as_bytes(), &comment),
        );
    }

    fn place(&self, text: &[u8], signature: &[u8]) {
        self.web.put("room-101.toml", text);
        self.web.put("room-101.toml.minisig", signature);
    }

    fn start(&mut self) -> Daemon {
        self.setup.take().expect("it starts once").start()
    }
}

impl Daemon {
    /// Looks now; what came of it.
    fn fetch(&self) -> String {
        let output = self.huddlectl(&["fetch"]);
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    }

    /// Waits until this version is in use, on trial or not.
    fn until_version(&mut self, version: u64, on_trial: bool) -> Value {
        let what = format!("version {version}, on trial: {on_trial}");
        self.until_health(&what, |health| {
            let remote = &health["remote"];
            remote["version"] == version && remote["on_trial"] == on_trial
        })
    }

    fn shown(&self, more: &[&str]) -> String {
        let output = huddled()
            .args(["config", "show", "--root"])
            .arg(self.setup.path("root"))
            .arg("--state-dir")
            .arg(self.setup.path("state"))
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn banner(&self) -> String {
        self.status()["banner"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

#[tokio::test]
async fn a_signed_file_is_fetched_tried_and_kept() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut managed = Managed::new(member(&gateway, 0));
    managed.publish(
        1,
        "[box]\nname = 'Far away'\n[recovery]\nsuspicion_ms = 900\n",
    );
    managed.trust(managed.setup.as_ref().unwrap(), &[&managed.signer], 10_000);
    let mut daemon = managed.start();
    daemon.until_version(1, false);
    daemon.until_logged("the remote configuration's version 1 has stood its trial");
    let shown = daemon.shown(&["--origin"]);
    let line = shown
        .lines()
        .find(|line| line.starts_with("name ="))
        .unwrap();
    assert!(line.starts_with("name = \"Far away\"  # "), "{line}");
    assert!(line.contains("/state/remote/"), "{line}");
    // Within the interval it looks again by itself, and is told in one request that nothing is new.
    until("a look that says nothing is new", || {
        let requests = managed.web.requests();
        let again = ("/room-101.toml.minisig".to_owned(), 304);
        requests
            .contains(&again)
            .then_some(())
            .ok_or(format!("{requests:?}"))
    });
    assert_eq!(daemon.banner(), "");

    // A power cut, and a web server that is gone: what is good is still there.
    managed.web.behave(Manner::Broken);
    daemon.kill();
    daemon.spawn_as_it_is();
    daemon.until_version(1, false);
    daemon.until("the meeting", |snapshot| {
        snapshot["signaling"]["state"] == "joined"
    });
    assert!(daemon.shown(&[]).contains("suspicion_ms = 900"));
    daemon.until_health("the server's answer", |health| {
        let problem = health["remote"]["problem"].as_str().unwrap_or_default();
        problem.contains("the server answers 503")
    });

    // Another key takes over: both are trusted for a while, then the new one alone.
    managed.web.behave(Manner::WithoutEtags);
    let other = Signer::new(daemon.setup.path("admin"), "b");
    managed.trust(&daemon.setup, &[&managed.signer, &other], 3_600_000);
    daemon.until_logged("applied: remote");
    let text = b"[box]\nname = 'Far away'\n";
    managed.place(text, &other.sign(text, "version:2 box:room-101"));
    let said = daemon.fetch();
    assert_eq!(said, "version 2 is on trial\n");
    daemon.until_version(2, false);
    managed.trust(&daemon.setup, &[&other], 3_600_000);
    until("the new key alone to be trusted", || {
        let times = daemon.log().matches("applied: remote").count();
        (times == 2).then_some(()).ok_or(times.to_string())
    });
    daemon.until_version(2, false);
    assert_eq!(daemon.fetch(), "version 2 is in use already\n");
    // The old one counts no more.
    managed.publish(3, "[box]\nname = 'Old key'\n");
    daemon.setup.expected_errors = vec!["remote configuration refused"];
    assert!(daemon.fetch().contains("signed with another key"));
    daemon.until("a complaint", |snapshot| {
        let banner = snapshot["banner"].as_str().unwrap_or_default();
        banner.contains("signed with another key") && banner.ends_with("version 2 stays in use")
    });
    // Taking the section away takes the file out of use.
    fs::remove_file(daemon.setup.path("root/etc/huddled/conf.d/remote.toml")).unwrap();
    until("the box's own name", || {
        let shown = daemon.shown(&[]);
        (!shown.contains("Far away")).then_some(()).ok_or(shown)
    });
    daemon.until_health("no remote file", |health| health["remote"] == Value::Null);
    assert!(daemon.fetch().contains("no [remote] url"));
    daemon.stop(libc::SIGTERM);
}

#[tokio::test]
async fn settings_that_lead_nowhere_are_taken_back() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut managed = Managed::new(member(&gateway, 0));
    let good = "[recovery]\nsuspicion_ms = 900\n";
    managed.publish(1, good);
    let setup = managed.setup.as_mut().unwrap();
    setup.expected_errors = vec!["was taken back", "refused by the server"];
    let credentials = setup.path("credentials");
    fs::create_dir_all(&credentials).unwrap();
    fs::write(credentials.join("password"), "wrong horse").unwrap();
    let credentials = credentials.display().to_string();
    setup
        .environment
        .push(("CREDENTIALS_DIRECTORY", credentials));
    let mut daemon = managed.start();
    daemon.until_version(1, false);

    // Nobody listens there.
    let lost = "[signaling]\nurl = 'http://127.0.0.1:9'\n";
    managed.publish(2, lost);
    assert_eq!(daemon.fetch(), "version 2 is on trial\n");
    daemon.until("the wrong server", |snapshot| {
        snapshot["signaling"]["state"] == "reconnecting"
    });
    // A restart in the middle of it changes nothing.
    daemon.kill();
    daemon.spawn_as_it_is();
    daemon.until_version(1, false);
    let snapshot = daemon.until("the meeting", |snapshot| {
        snapshot["signaling"]["state"] == "joined"
    });
    let banner = snapshot["banner"].as_str().unwrap();
    for part in [
        "the remote configuration's version 2 was taken back: http://127.0.0.1:9 was not reached within 10 s",
        &format!("while {} answers; version 1 is used again", gateway.url()),
    ] {
        assert!(banner.contains(part), "{banner}");
    }
    // Another place is entered closed, and so is the way back.
    daemon.until_closed(true, true);
    let said = daemon.fetch();
    assert!(
        said.starts_with("not tried again until its bytes change: "),
        "{said}"
    );
    // Not even under another number.
    managed.publish(3, lost);
    assert!(daemon.fetch().starts_with("not tried again"));
    // Other bytes are.
    managed.publish(3, "[recovery]\nsuspicion_ms = 800\n");
    assert_eq!(daemon.fetch(), "version 3 is on trial\n");
    daemon.until_version(3, false);
    daemon.until("no complaint", |snapshot| snapshot["banner"] == Value::Null);

    // An account that the server does not know, at the same place: it is tried by joining anew.
    managed.publish(
        4,
        "[signaling]\nemail = 'nobody@example.org'\npassword_file = 'password'\n",
    );
    assert_eq!(daemon.fetch(), "version 4 is on trial\n");
    daemon.until_version(3, false);
    let snapshot = daemon.until("the meeting", |snapshot| {
        snapshot["signaling"]["state"] == "joined"
    });
    let banner = snapshot["banner"].as_str().unwrap();
    assert!(
        banner.contains("version 4 was taken back: the box did not get into its meeting"),
        "{banner}"
    );
    assert!(!daemon.log().contains("wrong horse") && !daemon.shown(&[]).contains("wrong horse"));
    daemon.stop(libc::SIGTERM);
}

#[tokio::test]
async fn a_meeting_is_not_interrupted_by_a_remote_file_unless_it_says_so() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut managed = Managed::new(member(&gateway, 0));
    let mut one = managed.start();
    let mut two = member(&gateway, 1).spawn();
    one.until_connected(&[USERS[1]]);
    two.until_connected(&[USERS[0]]);
    managed.publish(1, "[signaling]\nmeeting = 'other'\n");
    assert_eq!(one.fetch(), "version 1 is on trial\n");
    one.until_logged("as soon as nobody else is in the meeting: signaling");
    one.let_pass(50);
    one.until_connected(&[USERS[1]]);
    managed.publish(
        2,
        "[box]\napply = 'now'\n[signaling]\nmeeting = 'another'\n",
    );
    assert_eq!(one.fetch(), "version 2 is on trial\n");
    two.until("to be alone", |snapshot| {
        snapshot["peers"].as_array().unwrap().is_empty()
    });
    one.until_closed(true, true);
    one.until_version(2, false);
    one.stop(libc::SIGTERM);
    two.stop(libc::SIGTERM);
}
