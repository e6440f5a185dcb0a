//! Boxes in a meeting on the application's kind of server: what each sees and hears of the others.

use huddled::clock::monotonic;
use huddled::devices::{Strip, read_strip};
use serde_json::{Value, json};

use super::*;
use crate::socketio::gateway::Gateway;

const MEETING: &str = "5d1f6c1e-8a70-4c3c-9f0e-1b7a51a00001";
/// Smaller and greater ids take different roles in the negotiation.
pub(super) const USERS: [&str; 3] = [
    "10000000-0000-4000-8000-000000000001",
    "80000000-0000-4000-8000-000000000002",
    "f0000000-0000-4000-8000-000000000003",
];
pub(super) const TONES: [u32; 3] = [440, 550, 700];

/// The n-th box of a meeting, with a voice of its own.
pub(super) fn member(gateway: &Gateway, index: usize) -> Setup {
    let name = format!("Box {}", index + 1);
    let mut setup = Setup::member(&name, &gateway.url(), MEETING, USERS[index]);
    setup.tone_hz = TONES[index];
    setup
}

/// What `health` tells of one peer; `null` while there is none.
pub(super) fn peer_in<'a>(health: &'a Value, user: &str) -> &'a Value {
    let peers = health["peers_in"].as_array();
    peers
        .and_then(|peers| peers.iter().find(|peer| peer["user_id"] == user))
        .unwrap_or(&Value::Null)
}

pub(super) fn decoded(health: &Value, user: &str) -> u64 {
    peer_in(health, user)["video"]["decoded"]
        .as_u64()
        .unwrap_or_default()
}

fn level(health: &Value, user: &str) -> f64 {
    peer_in(health, user)["audio"]["level_dbfs"]
        .as_f64()
        .unwrap_or(f64::NAN)
}

/// The user ids of those it is connected to.
pub(super) fn connected(snapshot: &Value) -> Vec<&str> {
    let peers = snapshot["peers"].as_array().unwrap();
    peers
        .iter()
        .filter(|peer| peer["connection_state"] == "connected")
        .map(|peer| peer["user_id"].as_str().unwrap())
        .collect()
}

impl Daemon {
    pub(super) fn until_alone(&mut self) {
        self.until("everybody to be gone", |snapshot| {
            snapshot["peers"] == json!([])
        });
    }

    /// Waits until these are connected, and nobody else is there.
    pub(super) fn until_connected(&mut self, users: &[&str]) {
        self.until(&format!("{users:?} to be connected"), |snapshot| {
            snapshot["signaling"]["state"] == "joined"
                && connected(snapshot) == users
                && snapshot["peers"].as_array().unwrap().len() == users.len()
        });
    }

    /// Waits until this member's picture moves.
    pub(super) fn until_seen(&mut self, user: &str) {
        let before = self.until_health("an answer", |_| true);
        let before = decoded(&before, user);
        self.until_health(&format!("{user} to be seen"), |health| {
            decoded(health, user) >= before + 3
        });
    }

    /// Waits until the speaker gets this member's tone.
    pub(super) fn until_heard(&mut self, user: &str, tone_hz: u32) {
        self.until_health(&format!("{user} to be heard"), |health| {
            let frequency = peer_in(health, user)["audio"]["frequency_hz"].as_f64();
            level(health, user) > -40.0
                && frequency.is_some_and(|hz| (hz - f64::from(tone_hz)).abs() < 10.0)
        });
    }

    /// Waits until this member's sound is digital silence.
    pub(super) fn until_silent(&mut self, user: &str) {
        self.until_health(&format!("{user} to be silent"), |health| {
            level(health, user) == SILENCE
        });
    }

    /// Waits until the box sees and hears this one of the meeting.
    pub(super) fn until_here(&mut self, index: usize) {
        self.until_seen(USERS[index]);
        self.until_heard(USERS[index], TONES[index]);
    }

    /// The newest picture of a member: size and luma, through `huddlectl` and a PNG decoder.
    fn picture(&self, user: &str) -> (usize, usize, Vec<u8>) {
        let output = self.huddlectl(&["picture", user]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let decoder = png::Decoder::new(std::io::Cursor::new(output.stdout));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.color_type, png::ColorType::Rgb);
        // ITU-R BT.601, limited range.
        let luma = pixels.chunks_exact(3).map(|pixel| {
            let [red, green, blue] = [0, 1, 2].map(|index| f32::from(pixel[index]));
            (16.0 + 0.257 * red + 0.504 * green + 0.098 * blue) as u8
        });
        (info.width as usize, info.height as usize, luma.collect())
    }

    fn strip(&self, user: &str) -> Option<Strip> {
        let (width, height, luma) = self.picture(user);
        assert_eq!((width, height), (320, 180));
        read_strip(&luma, width, width, height)
    }
}

/// The events of this name that a user sent.
async fn sent(gateway: &Gateway, user: &str, event: &str) -> Vec<Value> {
    let list = gateway
        .control("received", json!({"user": user, "event": event}))
        .await;
    let list = list.as_array().unwrap();
    list.iter().map(|each| each["payload"].clone()).collect()
}

#[tokio::test]
async fn two_boxes_see_and_hear_each_other_mute_leave_and_come_back() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut one = member(&gateway, 0).spawn();
    let mut two = member(&gateway, 1).spawn();
    one.until_connected(&[USERS[1]]);
    two.until_connected(&[USERS[0]]);
    one.until_here(1);
    two.until_here(0);

    // The other's camera, not something that looks like it.
    for (daemon, user) in [(&mut one, USERS[1]), (&mut two, USERS[0])] {
        let first = daemon.strip(user).expect("a test card");
        let now = monotonic().as_duration().as_millis() as u32;
        println!("capture to PNG: {} ms", now.wrapping_sub(first.captured_ms));
        daemon.until_seen(user);
        let later = daemon.strip(user).expect("a test card");
        assert!(later.counter > first.counter, "{first:?} {later:?}");
        assert!(now.wrapping_sub(first.captured_ms) < 10_000, "{first:?}");
    }

    // Mute.
    one.press("mic");
    two.until_silent(USERS[0]);
    two.until("the mute to be shown", |snapshot| {
        snapshot["peers"][0]["muted"] == true
    });
    one.until_heard(USERS[1], TONES[1]);
    let leaked = &one.health()["audio_out"]["packets_while_muted_with_sound"];
    assert_eq!(*leaked, 0);
    one.press("mic");
    two.until_heard(USERS[0], TONES[0]);
    two.until("the voice to be shown", |snapshot| {
        snapshot["peers"][0]["muted"] == false
    });
    assert_eq!(
        sent(&gateway, USERS[0], "media:toggle-mic").await,
        [false, true, false].map(|muted| json!({"isMuted": muted}))
    );

    // Camera: black, not frozen.
    one.press("camera");
    one.until_closed(false, true);
    until("a black picture", || {
        let (_, _, luma) = two.picture(USERS[0]);
        let brightest = luma.into_iter().max().unwrap();
        (brightest < 32)
            .then_some(())
            .ok_or_else(|| format!("the brightest pixel has {brightest}"))
    });
    one.until_health("the black keyframe and its two repetitions", |health| {
        health["video_out"]["black"] == 3
    });
    // The last of them may still be on its way.
    let before = decoded(&two.let_pass(50), USERS[0]);
    assert_eq!(decoded(&two.let_pass(50), USERS[0]), before);
    one.press("camera");
    two.until_seen(USERS[0]);
    assert!(two.strip(USERS[0]).is_some());

    // Leave and join.
    one.tell("leave", json!({}));
    two.until_alone();
    one.until_alone();
    assert_eq!(one.status()["signaling"]["state"], "left");
    assert_eq!(sent(&gateway, USERS[0], "meeting:leave").await.len(), 1);
    one.tell("join", json!({}));
    one.until_connected(&[USERS[1]]);
    one.until_here(1);
    two.until_here(0);

    // The end, from within a meeting.
    let (status, took) = one.stop(libc::SIGTERM);
    println!("SIGTERM in a meeting to the end of the process: {took:?}");
    assert_eq!(status.code(), Some(0));
    assert!(took < STOP, "{took:?}");
    two.until_alone();
    assert_eq!(sent(&gateway, USERS[0], "meeting:leave").await.len(), 2);
    assert!(!one.log().contains("did not close within"), "{}", one.log());
}

#[tokio::test]
async fn three_boxes_are_all_with_all_and_one_that_lost_its_power_is_taken_back() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut boxes = vec![member(&gateway, 0).spawn(), member(&gateway, 1).spawn()];
    boxes[0].until_connected(&[USERS[1]]);
    // A late joiner.
    boxes.push(member(&gateway, 2).spawn());
    all_with_all(&mut boxes);

    boxes[1].kill();
    for index in [0, 2] {
        let others: Vec<_> = USERS
            .into_iter()
            .filter(|user| *user != USERS[1] && *user != USERS[index])
            .collect();
        boxes[index].until("the dead to be missed", |snapshot| {
            connected(snapshot) == others
        });
    }
    boxes[1].spawn_again();
    all_with_all(&mut boxes);
}

fn all_with_all(boxes: &mut [Daemon]) {
    for (index, daemon) in boxes.iter_mut().enumerate() {
        let others: Vec<_> = (0..3).filter(|other| *other != index).collect();
        daemon.until_connected(&[USERS[others[0]], USERS[others[1]]]);
        for other in others {
            daemon.until_here(other);
        }
    }
}
