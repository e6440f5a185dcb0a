//! `huddled safe-state`: the lights of a box whose daemon does not run.

use std::fs;
use std::process::{Child, Output, Stdio};

use super::process::{Setup, huddled};
use super::until;

const PANEL: &str = "[panel]\nbackend = \"kernel\"\n\
    [panel.leds.mic]\nline = \"huddled:red:micmute\"\n\
    [panel.leds.status]\nline = \"huddled:red:status\"\n";

/// Two lights as the kernel shows them, on and off the wrong way round, and the box's own root folder.
fn tree(name: &str) -> Setup {
    let setup = Setup::new(name);
    for (light, brightness) in [("huddled:red:micmute", "0"), ("huddled:red:status", "1")] {
        let folder = setup.path("root/sys/class/leds").join(light);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("brightness"), brightness).unwrap();
        fs::write(folder.join("max_brightness"), "1\n").unwrap();
    }
    setup
}

fn brightness(setup: &Setup, light: &str) -> String {
    let folder = setup.path("root/sys/class/leds").join(light);
    fs::read_to_string(folder.join("brightness")).unwrap()
}

fn configure(setup: &Setup, text: &str) {
    let file = setup.path("root/etc/huddled/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let socket = setup.socket.display();
    fs::write(file, format!("{text}[control]\nsocket = \"{socket}\"\n")).unwrap();
}

fn safe_state(setup: &Setup, arguments: &[&str]) -> std::process::Command {
    let mut command = huddled();
    command
        .arg("safe-state")
        .arg("--root")
        .arg(setup.path("root"))
        .arg("--state-dir")
        .arg(setup.path("state"))
        .args(arguments);
    command
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_microphone_light_is_lit_without_a_daemon() {
    let setup = tree("safe");
    configure(&setup, PANEL);
    let output = safe_state(&setup, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", log(&output));
    assert_eq!(brightness(&setup, "huddled:red:micmute"), "1");
    assert_eq!(brightness(&setup, "huddled:red:status"), "0");

    fs::remove_dir_all(setup.path("root/sys/class/leds/huddled:red:micmute")).unwrap();
    let output = safe_state(&setup, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = log(&output);
    assert!(
        said.contains("no light is called huddled:red:micmute"),
        "{said}"
    );
}

#[test]
fn lines_of_a_chip_are_released_or_named() {
    let setup = tree("safe-lines");
    configure(
        &setup,
        "[panel]\nbackend = \"chardev\"\n[panel.leds.mic]\nchip = \"no-such-chip\"\nline = 27\n",
    );
    let output = safe_state(&setup, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = log(&output);
    assert!(
        said.contains("panel light Mic: no GPIO chip is called no-such-chip"),
        "{said}"
    );
    // Nothing of the kernel's is touched.
    assert_eq!(brightness(&setup, "huddled:red:micmute"), "0");
}

#[test]
fn without_a_valid_configuration_nothing_says_which_lights_there_are() {
    let setup = tree("safe-invalid");
    configure(&setup, "[panel]\nbackend = \"paper\"\n");
    let output = safe_state(&setup, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{}", log(&output));
    assert!(log(&output).contains("panel.backend"), "{}", log(&output));
}

#[test]
fn the_lights_of_a_running_daemon_are_left_alone() {
    let daemon = Setup::new("safe-running").start();
    let mut setup = tree("safe-refused");
    setup.socket = daemon.setup.socket.clone();
    configure(&setup, PANEL);
    let output = safe_state(&setup, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(log(&output).contains("stop it first"), "{}", log(&output));
    assert_eq!(brightness(&setup, "huddled:red:micmute"), "0");
}

fn stop(mut child: Child) {
    // SAFETY: a signal to a child that has not been waited for.
    #[allow(unsafe_code)]
    let result = unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) };
    assert_eq!(result, 0);
    let ended = child.wait().unwrap();
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_failed_box_blinks_until_it_is_stopped_and_leaves_its_lights_safe() {
    let setup = tree("safe-held");
    configure(&setup, PANEL);
    let child = safe_state(&setup, &["--hold"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for wanted in ["0", "1", "0", "1"] {
        until(&format!("status {wanted}"), || {
            let seen = brightness(&setup, "huddled:red:status");
            (seen == wanted).then_some(()).ok_or(seen)
        });
        // Closed all the while.
        until("the microphone's light", || {
            let seen = brightness(&setup, "huddled:red:micmute");
            (seen == "1").then_some(()).ok_or(seen)
        });
    }
    stop(child);
    assert_eq!(brightness(&setup, "huddled:red:micmute"), "1");
    assert_eq!(brightness(&setup, "huddled:red:status"), "0");
}

#[test]
fn a_box_without_a_valid_configuration_waits_instead_of_being_started_again_and_again() {
    let setup = tree("safe-waits");
    configure(&setup, "[panel]\nbackend = \"paper\"\n");
    let log = setup.path("log");
    let child = safe_state(&setup, &["--hold"])
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    until("its complaint", || {
        let text = fs::read_to_string(&log).unwrap();
        text.contains("nothing says which lights")
            .then_some(())
            .ok_or(text)
    });
    // The handlers are installed right after the complaint; a signal before them would end it with another code.
    until("the handlers", || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap();
        (caught & (1 << (libc::SIGTERM - 1)) != 0)
            .then_some(())
            .ok_or(status)
    });
    stop(child);
}
