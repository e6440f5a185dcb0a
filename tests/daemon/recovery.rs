//! What a box keeps while the server is away, and what nobody hears of a muted box that lost its power.

use serde_json::{Value, json};

use super::meeting::{USERS, connected, decoded, member, peer_in};
use super::*;
use crate::socketio::gateway::{Gateway, names};

/// What a member says after each join, in this order.
const ANNOUNCEMENT: [&str; 7] = [
    "meeting:join",
    "media:toggle-mic",
    "media:toggle-video",
    "media:screen-share",
    "media:ready",
    "webrtc:ready",
    "meeting:request-peers",
];

#[tokio::test]
async fn media_goes_on_while_the_server_is_away_and_the_state_is_said_once_when_it_is_back() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut boxes = [member(&gateway, 0).spawn(), member(&gateway, 1).spawn()];
    boxes[0].until_here(1);
    boxes[1].until_here(0);
    boxes[0].press("mic");
    boxes[0].until_closed(true, false);
    boxes[1].until_silent(USERS[0]);

    // `crash`: the server comes back with everybody's old rows still online.
    for crash in [false, true] {
        let before = boxes.each_ref().map(Daemon::health);
        let begun = Instant::now();
        gateway.control("forget", json!({})).await;
        gateway
            .control("restart", json!({"downMs": 4000, "crash": crash}))
            .await;
        for (index, daemon) in boxes.iter_mut().enumerate() {
            let other = USERS[1 - index];
            daemon.until("the server to be missed", |snapshot| {
                snapshot["signaling"]["state"] == "reconnecting"
            });
            let from = decoded(&daemon.health(), other);
            let health = daemon.until_health("pictures without a server", |health| {
                decoded(health, other) >= from + 10
            });
            let snapshot = daemon.status();
            assert_ne!(snapshot["signaling"]["state"], "joined", "{snapshot}");
            assert_eq!(connected(&snapshot), [other], "{snapshot}");
            println!(
                "{} pictures in {:?} of which the server was away",
                decoded(&health, other) - decoded(&before[index], other),
                begun.elapsed()
            );
        }
        for (index, daemon) in boxes.iter_mut().enumerate() {
            let other = USERS[1 - index];
            daemon.until_connected(&[other]);
            daemon.until_seen(other);
            // The same connection all the time: what it counted began no new count.
            let health = daemon.let_pass(200);
            assert_eq!(
                peer_in(&health, other)["generation"],
                peer_in(&before[index], other)["generation"]
            );
            assert!(decoded(&health, other) > decoded(&before[index], other));
        }
        println!(
            "server restart (crash: {crash}) to all back: {:?}",
            begun.elapsed()
        );
        for (index, user) in USERS[..2].iter().enumerate() {
            let received = gateway.received(user).await;
            let said: Vec<_> = received
                .iter()
                .filter(|(event, _)| ANNOUNCEMENT.contains(&event.as_str()))
                .collect();
            let order: Vec<_> = said.iter().map(|(event, _)| event.as_str()).collect();
            assert_eq!(order, ANNOUNCEMENT, "{received:?}");
            assert_eq!(said[1].1, json!({"isMuted": index == 0}));
            assert_eq!(said[2].1, json!({"isVideoOff": false}));
        }
    }
    assert_eq!(
        boxes[0].health()["audio_out"]["packets_while_muted_with_sound"],
        0
    );
    // Nothing was said that the server had to drop.
    let all = gateway.control("received", json!({})).await;
    let all = all.as_array().unwrap();
    let dropped: Vec<_> = all.iter().filter(|each| each["dropped"] == true).collect();
    assert_eq!(dropped, Vec::<&Value>::new());
    assert!(names(&json!(all)).len() > ANNOUNCEMENT.len());
}

#[tokio::test]
async fn a_muted_box_that_loses_its_power_is_not_heard_when_it_comes_back() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut muted = member(&gateway, 0).spawn();
    let mut listener = member(&gateway, 1).spawn();
    listener.until_here(0);
    muted.press("mic");
    listener.until_silent(USERS[0]);
    // What was still on its way has been played now.
    let silent = listener.let_pass(50);
    let last_sound = |health: &Value| health["speaker"]["heard"]["last_sound_ms"].clone();
    assert!(last_sound(&silent).is_number(), "{silent}");

    muted.kill();
    muted.spawn_again();
    muted.until_connected(&[USERS[1]]);
    listener.until_connected(&[USERS[0]]);
    let generation = &peer_in(&silent, USERS[0])["generation"];
    let back = listener.until_health("sound of the new connection", |health| {
        let peer = peer_in(health, USERS[0]);
        peer["generation"] != *generation && peer["audio"]["packets"].as_u64() > Some(100)
    });
    assert_eq!(last_sound(&back), last_sound(&silent));
    listener.until_seen(USERS[0]);
    let health = muted.health();
    assert_eq!(health["audio_out"]["packets_while_muted_with_sound"], 0);
}

#[tokio::test]
async fn a_binary_event_that_is_cut_short_costs_a_session_and_not_the_process() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut daemon = member(&gateway, 0).spawn();
    // The Socket.IO crate panics over it, on a task of its own.
    daemon.setup.expected_errors = vec!["panicked"];
    daemon.until("joined", |snapshot| {
        snapshot["signaling"]["state"] == "joined"
    });
    let pid = daemon.pid();
    let header = "451-[\"x\",{\"_placeholder\":true,\"num\":0}]";
    gateway
        .control("sendText", json!({"user": USERS[0], "text": header}))
        .await;
    gateway
        .control("cleanClose", json!({"user": USERS[0]}))
        .await;
    daemon.until_logged("panicked");
    // Else the state from before would be taken for the one after.
    daemon.until_logged("server lost");
    daemon.until("joined again", |snapshot| {
        snapshot["signaling"]["state"] == "joined"
    });
    assert_eq!(daemon.pid(), pid);
}
