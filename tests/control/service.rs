//! The packaged units.

use std::process::Command;

use super::TemporaryDirectory;

const UNIT: &str = include_str!("../../systemd/huddled.service");
const HUB: &str = include_str!("../../systemd/huddled-hub.service");
const USERS: &str = include_str!("../../systemd/huddled.sysusers");

fn value(key: &str) -> &'static str {
    let prefix = format!("{key}=");
    UNIT.lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .unwrap_or_else(|| panic!("the unit does not set {key}"))
}

#[test]
fn the_unit_says_what_the_daemon_relies_on() {
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("Restart"), "always");
    assert_eq!(value("RestartPreventExitStatus"), "78");
    assert_eq!(value("User"), "huddled");
    // The default of the control socket is $RUNTIME_DIRECTORY/control.sock, else /run/huddled/control.sock.
    assert_eq!(value("RuntimeDirectory"), "huddled");
    assert_eq!(value("StateDirectory"), "huddled");
    let watchdog: u32 = value("WatchdogSec").parse().unwrap();
    let stop: u32 = value("TimeoutStopSec").parse().unwrap();
    assert!(watchdog >= 10, "pauses of a busy board are no defects");
    assert!((3..=10).contains(&stop), "leaving takes up to 2 s");
    assert!(
        USERS
            .lines()
            .any(|line| line.split_whitespace().take(2).eq(["u", "huddled"])),
        "the unit's user is created"
    );
}

#[test]
fn systemd_accepts_the_units() {
    accepts("huddled.service", UNIT);
    accepts("huddled-hub.service", HUB);
}

fn accepts(name: &str, unit: &str) {
    let directory = TemporaryDirectory::new("unit");
    let path = directory.path().join(name);
    // Verification wants the program to exist, and it is not installed here.
    let unit = unit.replace("/usr/bin/huddled", env!("CARGO_BIN_EXE_huddled"));
    std::fs::write(&path, unit).unwrap();
    let output = match Command::new("systemd-analyze")
        .arg("verify")
        .arg("--man=no")
        .arg(&path)
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            eprintln!("not verified, there is no systemd-analyze here: {error}");
            return;
        }
    };
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    // Unknown keys are only warned about.
    assert!(!text.contains(&format!("{name}:")), "{text}");
}
