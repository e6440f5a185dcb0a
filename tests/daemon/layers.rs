//! Files of the configuration where an installed box has them: layers, what stands in for a refused one, reading them
//! again.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::meeting::{USERS, member};
use super::process::huddled;
use super::service::Notifications;
use super::*;
use crate::socketio::gateway::Gateway;

fn layered(name: &str) -> Setup {
    let mut setup = Setup::new(name);
    setup.layered = true;
    setup
}

impl Setup {
    /// Writes a file below the root folder.
    pub(super) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path("root").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

impl Daemon {
    /// Waits until the copy of the accepted configuration contains this.
    pub(super) fn until_kept(&self, text: &str) {
        let copy = self.setup.path("state/accepted.toml");
        until(&format!("{text} in {}", copy.display()), || {
            let kept = fs::read_to_string(&copy).unwrap_or_default();
            kept.contains(text).then_some(()).ok_or(kept)
        });
    }

    /// Reads the configuration again; what `huddlectl` said, with its exit code.
    fn reload(&self) -> (Option<i32>, String) {
        let output = self.huddlectl(&["reload"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    }

    /// Replaces a part of the administrator's file.
    fn edit(&self, from: &str, to: &str) {
        let path = self.setup.config();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replace(from, to)).unwrap();
    }
}

#[test]
fn the_effective_settings_name_their_files() {
    let setup = layered("origins");
    setup.configure();
    let vendor = setup.put(
        "usr/share/huddled/config.toml",
        "[box]\nname = \"vendor\"\n[audio]\nbitrate = 24000\n",
    );
    let added = setup.put(
        "etc/huddled/conf.d/20-audio.toml",
        "[audio]\nbitrate = 48000\n",
    );
    setup.put(
        "etc/huddled/conf.d/10-audio.toml",
        "[audio]\nbitrate = 12000\n",
    );
    let output = huddled()
        .args(["config", "show", "--origin", "--root"])
        .arg(setup.path("root"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout).unwrap();
    let own = setup.config();
    for line in [
        format!("name = \"origins\"  # {}, line 2", own.display()),
        format!("bitrate = 48000  # {}, line 2", added.display()),
        "relay_only = false  # default".to_owned(),
    ] {
        assert!(shown.lines().any(|other| other == line), "{line}: {shown}");
    }
    // A folder is checked as one configuration.
    let check = |folder: &str| {
        let output = huddled()
            .args(["config", "check"])
            .arg(setup.path("root").join(folder))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };
    assert_eq!(check("etc/huddled"), (Some(0), String::new()));
    fs::write(&added, "[audio]\nbitrte = 1\n").unwrap();
    let (code, text) = check("etc/huddled");
    assert_eq!(code, Some(78));
    let place = format!("{}, line 2, audio.bitrte", added.display());
    assert!(text.contains(&place), "{text}");
    drop(vendor);
    let (code, text) = check("usr");
    assert_eq!(code, Some(78));
    assert!(text.contains("neither config.toml nor"), "{text}");
}

#[test]
fn a_refused_file_is_replaced_by_its_last_accepted_copy_and_the_box_says_so() {
    let mut setup = layered("fallback");
    setup.expected_errors = vec!["configuration refused"];
    let mut manager = Notifications::bind(&mut setup);
    let mut daemon = setup.start();
    assert_eq!(daemon.status()["banner"], Value::Null);
    daemon.until_kept("fallback");

    // Whatever becomes of the file, even a kill in the middle of a run.
    for (broken, reason) in [
        (
            "[box]\nnmae = \"x\"\n",
            "box.nmae: unknown key; did you mean",
        ),
        ("\u{0}\u{1}", "line 1"),
        ("[video]\nwidth = 641\n", "641 is odd"),
    ] {
        daemon.kill();
        let path = daemon.setup.config();
        fs::write(&path, broken).unwrap();
        daemon.spawn_as_it_is();
        // It answers on the socket that only the copy names.
        let snapshot = daemon.until("an answer", |_| true);
        let banner = snapshot["banner"].as_str().unwrap();
        assert!(banner.starts_with("configuration refused: "), "{banner}");
        assert!(banner.contains(&path.display().to_string()), "{banner}");
        assert!(banner.contains(reason), "{banner}");
        assert!(
            banner.ends_with("its last accepted copy is used instead"),
            "{banner}"
        );
        daemon.until_logged(banner);
        while !manager.until("STATUS=").contains(reason) {}
        let output = daemon.huddlectl(&["status"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains("configuration refused: "), "{told}");
    }

    // Put right, it is taken without a new start, and nothing is complained of any more.
    daemon.setup.configure();
    assert_eq!(daemon.reload(), (Some(0), String::new()));
    daemon.until("no complaint", |snapshot| snapshot["banner"] == Value::Null);

    // And broken again while it runs.
    daemon.edit("bitrate", "bitrte");
    let (code, said) = daemon.reload();
    assert_eq!(code, Some(1));
    assert!(said.contains("did you mean \"bitrate\"?"), "{said}");
    assert!(
        said.contains("its last accepted copy is used instead"),
        "{said}"
    );
    daemon.until("a complaint", |snapshot| snapshot["banner"] != Value::Null);
    daemon.stop(libc::SIGTERM);
}

#[test]
fn a_box_that_never_had_a_right_file_ends_with_78() {
    let setup = layered("never");
    let path = setup.put("etc/huddled/config.toml", "[bax]\n");
    let run = || {
        huddled()
            .args(["run", "--root"])
            .arg(setup.path("root"))
            .arg("--state-dir")
            .arg(setup.path("state"))
            .output()
            .unwrap()
    };
    let output = run();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    let expected = format!("{}, line 1, bax: unknown key", path.display());
    assert!(text.contains(&expected), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");

    // Simulated devices are refused like any other mistake.
    fs::write(&path, "[camera]\ndevice = \"sim:testcard\"\n").unwrap();
    let output = run();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "{}, line 2, camera.device: simulated devices",
        path.display()
    );
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn a_kill_at_any_moment_of_a_start_leaves_a_copy_to_go_back_to() {
    let mut setup = layered("killed");
    setup.expected_errors = vec!["configuration refused"];
    let mut daemon = setup.start();
    daemon.until_kept("killed");
    let mut kept = 0;
    for millis in 0..25u64 {
        daemon.kill();
        let name = format!("\"killed {millis}\"");
        let text = fs::read_to_string(daemon.setup.config()).unwrap();
        let old = text.lines().nth(1).unwrap().to_owned();
        daemon.edit(&old, &format!("name = {name}"));
        daemon.spawn_as_it_is();
        // The moment of the kill moves through the start, which takes about so long.
        std::thread::sleep(Duration::from_millis(millis * 2));
        daemon.kill();
        let copy = fs::read_to_string(daemon.setup.path("state/accepted.toml")).unwrap();
        kept += usize::from(copy.contains(&format!("killed {millis}")));

        let right = fs::read_to_string(daemon.setup.config()).unwrap();
        fs::write(daemon.setup.config(), "[bax]\n").unwrap();
        daemon.spawn_as_it_is();
        daemon.until("the copy to be used", |snapshot| {
            let banner = snapshot["banner"].as_str().unwrap_or_default();
            banner.ends_with("its last accepted copy is used instead")
        });
        fs::write(daemon.setup.config(), right).unwrap();
    }
    println!("of 25 starts that were killed after 0 to 48 ms, {kept} had kept their copy");
    daemon.kill();
}

#[test]
fn the_copy_is_no_way_round_a_file_named_by_hand() {
    let mut daemon = layered("by-hand").start();
    daemon.until_kept("by-hand");
    daemon.stop(libc::SIGTERM);
    let path = daemon.setup.config();
    fs::write(&path, "[bax]\n").unwrap();
    let output = huddled()
        .args(["run", "--allow-sim", "--config"])
        .arg(&path)
        .arg("--state-dir")
        .arg(daemon.setup.path("state"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn a_copy_that_cannot_be_used_costs_nothing_while_the_files_are_right() {
    let mut daemon = layered("torn").start();
    daemon.until_kept("torn");
    daemon.kill();
    let copy = daemon.setup.path("state/accepted.toml");
    let whole = fs::read(&copy).unwrap();
    fs::write(&copy, &whole[..whole.len() / 2]).unwrap();
    daemon.spawn_as_it_is();
    daemon.until("an answer", |_| true);
    daemon.until_logged("the copy of the last accepted configuration cannot be used");
    until("the copy to be whole again", || {
        let now = fs::read(&copy).unwrap();
        (now == whole)
            .then_some(())
            .ok_or(format!("{} bytes", now.len()))
    });
    daemon.stop(libc::SIGTERM);
}

#[test]
fn reading_again_applies_what_interrupts_nobody_and_names_the_rest() {
    let mut daemon = layered("reload").start();
    daemon.until_kept("reload");
    // The start is over.
    let before = daemon.until_closed(false, false);
    assert_eq!(daemon.reload(), (Some(0), String::new()));
    daemon.until_logged("the configuration was read again; nothing changed");
    // Nothing was touched: not even the snapshot is another one.
    assert_eq!(daemon.status()["generation"], before["generation"]);

    daemon.setup.put(
        "etc/huddled/conf.d/delays.toml",
        "[recovery]\nsuspicion_ms = 500\n",
    );
    assert_eq!(daemon.reload(), (Some(0), String::new()));
    daemon.until_logged("the configuration was read again; applied: recovery");
    assert_eq!(daemon.reload(), (Some(0), String::new()));
    daemon.until_kept("delays.toml");

    daemon.setup.put(
        "etc/huddled/conf.d/hub.toml",
        "[hub]\nmeetings = [\"one\"]\n",
    );
    daemon.edit("name = \"reload\"", "name = \"another\"");
    let (code, said) = daemon.reload();
    assert_eq!(code, Some(1));
    assert!(said.contains("at the next start of huddled: hub"), "{said}");
    // By this order or because the file changed, whichever was first.
    daemon.until_logged("accepted; at the next start of huddled: hub");
    daemon.until_kept("another");
    // What waits is said every time, what is in effect once.
    let (_, said) = daemon.reload();
    assert!(
        said.contains("accepted; at the next start of huddled: hub"),
        "{said}"
    );
    daemon.stop(libc::SIGTERM);
}

#[test]
fn a_file_that_changes_is_read_without_being_told_to() {
    let mut daemon = layered("followed").start();
    daemon.until_kept("followed");
    // Written in place, with a stop in the middle of it.
    daemon.edit("name = \"followed\"", "name = \"written\"");
    daemon.until_logged("the configuration was read again; applied: box.name");
    // Renamed into place, as editors do.
    let path = daemon.setup.config();
    let text = fs::read_to_string(&path).unwrap();
    let beside = path.with_extension("swp");
    fs::write(&beside, format!("{text}[recovery]\nsuspicion_ms = 500\n")).unwrap();
    daemon.let_pass(100);
    assert!(!daemon.log().contains("applied: recovery"));
    fs::rename(&beside, &path).unwrap();
    daemon.until_logged("the configuration was read again; applied: recovery");
    // A folder that was not there, with a file in it.
    daemon.setup.put(
        "etc/huddled/conf.d/10-name.toml",
        "[box]\nname = \"added\"\n",
    );
    daemon.until_kept("10-name.toml");
    fs::remove_file(daemon.setup.path("root/etc/huddled/conf.d/10-name.toml")).unwrap();
    until("the file to be gone", || {
        let kept = fs::read_to_string(daemon.setup.path("state/accepted.toml")).unwrap();
        (!kept.contains("10-name.toml")).then_some(()).ok_or(kept)
    });
    // What is no part of it is no reason.
    let told = |daemon: &Daemon| daemon.log().matches("was read again").count();
    let before = told(&daemon);
    fs::write(path.with_file_name("notes.txt"), "x").unwrap();
    daemon.let_pass(100);
    assert_eq!(told(&daemon), before);
    daemon.stop(libc::SIGTERM);
}

#[tokio::test]
async fn another_meeting_is_joined_when_nobody_is_left_in_this_one() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut one = member(&gateway, 0);
    one.layered = true;
    let mut one = one.spawn();
    let mut two = member(&gateway, 1).spawn();
    one.until_connected(&[USERS[1]]);
    two.until_connected(&[USERS[0]]);

    one.edit("meeting = \"", "meeting = \"other-");
    let (code, said) = one.reload();
    assert_eq!(code, Some(1));
    assert!(
        said.contains("as soon as nobody else is in the meeting: signaling"),
        "{said}"
    );
    // Still together, and heard.
    one.let_pass(50);
    one.until_connected(&[USERS[1]]);

    two.stop(libc::SIGTERM);
    one.until_logged("nobody else is in the meeting; of the configuration is applied: signaling");
    // Another place is entered closed.
    one.until_closed(true, true);
    one.stop(libc::SIGTERM);
}

#[test]
fn manual_pages_and_completions_are_written_for_both_programs() {
    let setup = Setup::new("manual");
    let folder = setup.path("generated");
    for program in [
        env!("CARGO_BIN_EXE_huddled"),
        env!("CARGO_BIN_EXE_huddlectl"),
    ] {
        let output = std::process::Command::new(program)
            .arg("generate")
            .arg(&folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert!(read("man/huddled-run.1").contains("allow"));
    assert!(read("man/huddled-config-show.1").contains("origin"));
    assert!(read("man/huddlectl-press.1").contains("panel"));
    assert!(!folder.join("man/huddled-generate.1").exists());
    for name in ["huddled.bash", "_huddled", "huddled.fish"] {
        assert!(read(&format!("completions/{name}")).contains("config"));
    }
    for name in ["huddlectl.bash", "_huddlectl", "huddlectl.fish"] {
        assert!(read(&format!("completions/{name}")).contains("identify"));
    }
}
