//! Devices and encoding that change while the box runs: what interrupts nobody at once, the rest when nobody is left or
//! when it is wanted at once, and never by leaving the meeting.

use std::fs;

use serde_json::Value;

use super::meeting::{TONES, USERS, member, peer_in};
use super::*;
use crate::socketio::gateway::Gateway;

/// The generation of the connection to this member and what went over it.
fn connection(daemon: &Daemon, user: &str) -> (u64, u64) {
    let health = daemon.health();
    let connections = health["connections"].as_array().unwrap();
    let connection = connections
        .iter()
        .find(|connection| connection["user_id"] == user)
        .unwrap();
    (
        connection["generation"].as_u64().unwrap(),
        connection["packets_sent"].as_u64().unwrap(),
    )
}

fn width(health: &Value, user: &str) -> u64 {
    peer_in(health, user)["video"]["width"]
        .as_u64()
        .unwrap_or_default()
}

#[tokio::test]
async fn devices_and_encoding_change_while_the_box_runs() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut setup = member(&gateway, 0);
    setup.layered = true;
    let mut one = setup.start();
    let mut two = member(&gateway, 1).spawn();
    one.until_connected(&[USERS[1]]);
    two.until_connected(&[USERS[0]]);
    two.until_here(0);
    let (generation, _) = connection(&one, USERS[1]);
    let before = one.health();

    // Bitrates: at once, and nobody sees more of it than a keyframe.
    one.setup.put(
        "etc/huddled/conf.d/10-rates.toml",
        "[video]\nbitrate = 200000\n[audio]\nbitrate = 20000\n[screen]\nbitrate = 800000\n",
    );
    one.until_logged("the configuration was read again; applied: screen, video, audio");
    two.until_here(0);
    let after = one.health();
    assert_eq!(after["video_out"]["missed"], before["video_out"]["missed"]);
    assert_eq!(after["video_out"]["black"], before["video_out"]["black"]);
    assert_eq!(after["video_out"]["failed"], 0);
    assert_eq!(connection(&one, USERS[1]).0, generation);

    // Another size and another microphone would be missed for a moment: they wait.
    one.setup.put(
        "etc/huddled/conf.d/20-devices.toml",
        "[video]\nwidth = 160\nheight = 90\n[microphone]\ndevice = \"sim:tone:900\"\n\
         [speaker]\ndevice = \"none\"\n",
    );
    one.until_logged("as soon as nobody else is in the meeting: microphone, speaker, video");
    one.let_pass(50);
    two.until_here(0);
    assert_eq!(width(&two.health(), USERS[0]), 320);

    // Unless they are wanted at once; the connection stays, and muted stays muted.
    one.tell("mute", serde_json::json!({}));
    one.until_closed(true, false);
    one.setup
        .put("etc/huddled/conf.d/30-now.toml", "[box]\napply = \"now\"\n");
    one.until_logged("applied: box.apply, microphone, speaker, video");
    two.until_health("the other size", |health| width(health, USERS[0]) == 160);
    two.until_seen(USERS[0]);
    two.until_silent(USERS[0]);
    one.press("mic");
    one.until_closed(false, false);
    two.until_heard(USERS[0], 900);
    assert_eq!(connection(&one, USERS[1]).0, generation);
    assert_eq!(one.health()["speaker"]["heard"], Value::Null);

    // Back to waiting: what waits comes when the other one leaves.
    fs::remove_file(one.setup.path("root/etc/huddled/conf.d/30-now.toml")).unwrap();
    one.until_logged("applied: box.apply\n");
    fs::remove_file(one.setup.path("root/etc/huddled/conf.d/20-devices.toml")).unwrap();
    one.setup.put(
        "etc/huddled/conf.d/40-screen.toml",
        "[screen]\ndevice = \"sim:slides\"\n[camera]\ndevice = \"sim:slides\"\n",
    );
    one.until_logged(
        "as soon as nobody else is in the meeting: camera, screen, microphone, speaker, video",
    );
    two.stop(libc::SIGTERM);
    one.until_logged(
        "nobody else is in the meeting; of the configuration is applied: camera, screen",
    );
    two.spawn_again();
    one.until_connected(&[USERS[1]]);
    two.until_seen(USERS[0]);
    two.until_heard(USERS[0], TONES[0]);
    assert_eq!(width(&two.health(), USERS[0]), 320);
    one.until_heard(USERS[1], TONES[1]);
    // A screen that was configured while the box ran can be shared, and is over when it is taken out.
    one.tell("share", serde_json::json!({"on": true}));
    two.until_health("the screen", |health| {
        peer_in(health, USERS[0])["screen"]["decoded"]
            .as_u64()
            .is_some_and(|decoded| decoded > 0)
    });
    one.setup
        .put("etc/huddled/conf.d/30-now.toml", "[box]\napply = \"now\"\n");
    one.until_logged("applied: box.apply");
    fs::remove_file(one.setup.path("root/etc/huddled/conf.d/40-screen.toml")).unwrap();
    one.until_logged("the screen is no longer shared: no source is configured any more");
    two.until_seen(USERS[0]);
    one.stop(libc::SIGTERM);
    two.stop(libc::SIGTERM);
}

#[test]
fn a_microphone_that_comes_is_told_of_once() {
    let mut setup = Setup::new("microphone");
    setup.layered = true;
    let sound = setup.path("sound.raw");
    let alsa = setup.path("asound.conf");
    fs::write(
        &alsa,
        format!(
            "</usr/share/alsa/alsa.conf>\npcm.ours {{ type file slave.pcm null file /dev/null infile {} format raw }}\n",
            sound.display()
        ),
    )
    .unwrap();
    setup.environment = vec![("ALSA_CONFIG_PATH", alsa.display().to_string())];
    setup.put(
        "etc/huddled/conf.d/10-microphone.toml",
        "[microphone]\ndevice = \"ours\"\n",
    );
    // Without its file the device cannot be opened.
    let mut daemon = setup.start();
    daemon.until_logged("no sound from the microphone");
    fs::write(sound, [0; 960]).unwrap();
    daemon.until_logged("the microphone is back");
    // So that whoever else would say so has.
    daemon.let_pass(20);
    let log = daemon.log();
    for sentence in ["no sound from the microphone", "the microphone is"] {
        assert_eq!(log.matches(sentence).count(), 1, "{log}");
    }
}
