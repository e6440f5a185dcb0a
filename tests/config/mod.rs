//! The configuration: what a complete file means, what each mistake is told, and that no text whatever panics.

mod documents;
mod layers;
mod mistakes;
mod remote;

use std::path::{Path, PathBuf};
use std::time::Duration;

use huddled::config::{
    CredentialRef, HubAccess, HubTls, MicrophoneDevice, PanelBackend, PanelLine, Settings,
    SpeakerDevice, VideoDevice, VideoName, parse,
};
use huddled::room::{Bitrate, FirstStart, PeerId};
use proptest::prelude::*;

const FILE: &str = "/etc/huddled/config.toml";

/// Every key there is, none of them at its default.
const FULL: &str = r#"
[box]
name = "Room 101"
id = "room-101"
state_dir = "state"
first_start = "muted"
apply = "now"

[signaling]
url = "https://meet.example.org/"
insecure_http = true
api = "/rest/"
meeting = "m-1"
classroom = "c-1"
user = "u-1"
email = "box@example.org"
password_file = "signaling-password"
ca_file = "certs/ca.pem"

[[ice_servers]]
urls = "stun:stun.example.org"

[[ice_servers]]
urls = ["turn:turn.example.org:3478", "turns:turn.example.org:443?transport=tcp"]
username = "box"
credential_file = "turn-password"

[[ice_servers]]
urls = ["turn:[fd00::1]"]
secret_file = "/run/secrets/turn"
secret_lifetime_ms = 3600000
ca_file = "turn-ca.pem"

[ice]
relay_only = true
proxy = "http://proxy.example.org:3128"

[camera]
device = "sim:file:clips/room.y4m"
ppm = -300

[screen]
device = "/dev/video2"
bitrate = 900_000
on_signal = true
ppm = 1

[microphone]
device = "sim:tone:1000"
ppm = 300

[speaker]
device = "sim:wav:/srv/heard.wav"
ppm = 2

[display]
device = "sim:png"

[video]
width = 640
height = 360
frame_rate = 15
bitrate = 800_000

[audio]
bitrate = 24_000

[panel]
backend = "chardev"

[panel.buttons.mic]
chip = "gpiochip0"
line = 17
active_low = true
bias = "pull-up"

[panel.buttons.camera]
chip = "gpiochip0"
line = "CAMERA_KEY"

[panel.buttons.share]
chip = "gpiochip0"
line = 22

[panel.leds]
mic = { chip = "gpiochip1", line = 1 }
camera = { chip = "gpiochip1", line = 2 }
status = { chip = "gpiochip1", line = 3, active_low = true }

[recovery]
suspicion_ms = 1200
action_ms = 2800
healing_ms = 1500
restart_ms = 2500
recreate_ms = [500, 1000]
attempts = 4
slow_interval_ms = 60000

[control]
socket = "control.sock"
http = "127.0.0.1:8080"
http_hosts = ["Room-101.example.org"]

[hub]
listen = "0.0.0.0:8443"
url = "https://hub.example.org/"
meetings = ["board", "lobby"]
pages = "guest"
tls = "hub.pem"
access = "open"
limits = { members = 8, connections = 20, payload_bytes = 65536, messages_per_second = 50 }

[remote]
url = "https://boxes.example.org/room-101.toml"
key = "RWExampleExampleExampleExampleExampleExampleExampleExamp"
ca_file = "boxes.pem"
proxy = "http://proxy.example.org:3128"
interval_ms = 60000
probation_ms = 30000
"#;

fn full() -> Settings {
    parse(FULL, Path::new(FILE)).expect("the full file is right")
}

fn credential(name: &str) -> CredentialRef {
    CredentialRef {
        name: name.to_owned(),
        base: PathBuf::from("/etc/huddled"),
        credential_only: false,
    }
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let settings = full();
    assert_eq!(settings.name, "Room 101");
    assert_eq!(settings.id.as_deref(), Some("room-101"));
    assert_eq!(settings.state_dir, Some("/etc/huddled/state".into()));
    assert_eq!(settings.first_start, FirstStart::Muted);

    let signaling = settings.signaling.as_ref().unwrap();
    assert_eq!(signaling.url.as_str(), "https://meet.example.org");
    assert!(signaling.insecure_http);
    assert_eq!(signaling.api, "/rest");
    assert_eq!(signaling.identity.meeting, "m-1");
    assert_eq!(signaling.identity.user, PeerId::new("u-1"));
    assert_eq!(signaling.classroom.as_deref(), Some("c-1"));
    assert_eq!(signaling.email.as_deref(), Some("box@example.org"));
    assert_eq!(
        signaling.password_file,
        Some(credential("signaling-password"))
    );
    assert_eq!(signaling.ca_file, Some(credential("certs/ca.pem")));

    let urls: Vec<_> = settings
        .ice_servers
        .iter()
        .map(|server| &server.urls[..])
        .collect();
    assert_eq!(
        urls,
        [
            &["stun:stun.example.org".to_owned()][..],
            &[
                "turn:turn.example.org:3478".to_owned(),
                "turns:turn.example.org:443?transport=tcp".to_owned()
            ],
            &["turn:[fd00::1]".to_owned()],
        ]
    );
    assert_eq!(settings.ice_servers[1].username.as_deref(), Some("box"));
    assert_eq!(
        settings.ice_servers[2].secret_lifetime,
        Duration::from_secs(3600)
    );
    assert_eq!(
        settings.ice_servers[1].secret_lifetime,
        Duration::from_secs(86_400)
    );
    assert_eq!(
        settings.ice_servers[2].ca_file,
        Some(credential("turn-ca.pem"))
    );
    assert!(settings.relay_only);
    assert_eq!(
        settings.ice_proxy.as_deref(),
        Some("http://proxy.example.org:3128")
    );

    assert_eq!(
        settings.camera.device,
        VideoDevice::SimFile("/etc/huddled/clips/room.y4m".into())
    );
    assert_eq!(settings.camera.ppm, -300);
    assert_eq!(
        settings.screen.source.device,
        VideoDevice::V4l2(VideoName::parse("/dev/video2").unwrap())
    );
    assert_eq!(settings.microphone.device, MicrophoneDevice::SimTone(1000));
    assert_eq!(
        settings.speaker.device,
        SpeakerDevice::SimWav("/srv/heard.wav".into())
    );
    assert_eq!((settings.video.width, settings.video.height), (640, 360));
    assert_eq!(settings.video.frame_rate, 15);
    assert_eq!(settings.video.bitrate, Bitrate(800_000));
    assert_eq!(settings.audio.bitrate, Bitrate(24_000));

    assert_eq!(settings.panel.backend, PanelBackend::Chardev);
    assert_eq!(
        settings.panel.buttons[0],
        Some(PanelLine {
            chip: Some("gpiochip0".into()),
            line: "17".into(),
            active_low: true,
            bias: Some("pull-up".into()),
        })
    );
    assert_eq!(
        settings.panel.leds[2].as_ref().map(|led| led.active_low),
        Some(true)
    );

    let recovery = &settings.recovery;
    assert_eq!(recovery.suspicion, Duration::from_millis(1200));
    assert_eq!(recovery.action, Duration::from_millis(2800));
    assert_eq!(recovery.healing, Duration::from_millis(1500));
    assert_eq!(recovery.restart, Duration::from_millis(2500));
    let millis: Vec<_> = recovery.recreate.iter().map(Duration::as_millis).collect();
    assert_eq!(millis, [500, 1000, 1000, 1000]);
    assert_eq!(recovery.slow_interval, Duration::from_secs(60));

    assert_eq!(
        settings.control.socket,
        Some("/etc/huddled/control.sock".into())
    );
    assert_eq!(
        settings.control.http,
        Some("127.0.0.1:8080".parse().unwrap())
    );
    assert_eq!(settings.control.http_hosts, ["room-101.example.org"]);
    assert_eq!(settings.hub.url.as_deref(), Some("https://hub.example.org"));
    assert_eq!(settings.hub.meetings, ["board", "lobby"]);
    assert_eq!(settings.hub.pages, Path::new("/etc/huddled/guest"));
    assert_eq!(settings.hub.tls, HubTls::File(credential("hub.pem")));
    assert_eq!(settings.hub.access, HubAccess::Open);
    assert_eq!(settings.hub.limits.members, 8);
    assert_eq!(
        settings.remote.as_ref().unwrap().interval,
        Duration::from_secs(60)
    );

    assert_eq!(
        settings.simulated(),
        [
            "camera.device",
            "microphone.device",
            "speaker.device",
            "display.device"
        ]
    );
    let room = settings.room();
    assert_eq!(room.place, "https://meet.example.org m-1 u-1");
    assert!(room.sim && !room.panel_simulated && room.has_camera && room.has_screen);
}

#[test]
fn nothing_configured_is_an_unconfigured_box_without_devices() {
    let settings = parse("", Path::new(FILE)).unwrap();
    assert_eq!(settings, Settings::default());
    assert_eq!(settings.simulated(), [] as [&str; 0]);
    let room = settings.room();
    assert_eq!(room.identity, None);
    assert!(!room.sim && !room.has_camera && !room.has_screen);
}

#[test]
fn a_server_without_a_meeting_is_an_unconfigured_box() {
    let text = "[signaling]\nurl = 'https://meet.example.org'\nuser = 'u'";
    assert_eq!(parse(text, Path::new(FILE)).unwrap().signaling, None);
}

#[test]
fn what_is_shown_reads_as_the_same_settings() {
    for settings in [Settings::default(), full()] {
        let shown = settings.show();
        assert_eq!(parse(&shown, Path::new(FILE)), Ok(settings), "{shown}");
    }
}

#[test]
fn a_credential_is_looked_for_in_the_credentials_directory_first() {
    let directory = Path::new("/run/credentials/huddled.service");
    assert_eq!(
        credential("token").candidates(Some(directory)),
        [directory.join("token"), "/etc/huddled/token".into()]
    );
    assert_eq!(
        credential("token").candidates(None),
        [PathBuf::from("/etc/huddled/token")]
    );
    // Names of credentials have no slashes, so these can only be paths.
    for path in ["secrets/token", "../token", "/srv/token"] {
        assert_eq!(
            credential(path).candidates(Some(directory)),
            [Path::new("/etc/huddled").join(path)]
        );
    }
}

/// `(section, key, value)` of each line that sets something, also of those behind a single `#`.
fn lines(text: &str) -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line
            .strip_prefix('#')
            .filter(|rest| !rest.starts_with(' '))
            .unwrap_or(line);
        if line.starts_with('[') {
            section = line.to_owned();
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
        {
            lines.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    lines
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = parse(&text, Path::new(FILE));
    }

    #[test]
    fn no_broken_configuration_panics(
        cut in 0..FULL.len(),
        length in 0..40usize,
        noise in r#"[\[\]=".#'\{\}a-z0-9:_é\n -]{0,20}"#,
    ) {
        let end = (cut + length).min(FULL.len());
        let text = format!("{}{noise}{}", &FULL[..cut], &FULL[end..]);
        if let Err(error) = parse(&text, Path::new(FILE)) {
            prop_assert!(!error.problem.is_empty());
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn no_value_panics(
        key in prop::sample::select(lines(&full().show())),
        value in prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| format!("{number:?}")),
            "[^\"\\\\\\x00-\\x1f\\x7f]{0,300}".prop_map(|text| format!("\"{text}\"")),
            "(stun|turn|https|http|sim|sim:file|sim:tone)://?[a-z@:?/\\[\\].0-9é]{0,20}"
                .prop_map(|text| format!("\"{text}\"")),
            Just("[[[]]]".to_owned()),
        ],
    ) {
        let _ = parse(&format!("{}\n{} = {value}\n", key.0, key.1), Path::new(FILE));
    }
}
