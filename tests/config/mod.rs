//! The configuration: what a complete file means, what each mistake is told, and that no text whatever panics.

mod layers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use huddled::config::{
    CredentialRef, HubAccess, HubTls, MicrophoneDevice, PanelBackend, PanelLine, Settings,
    SpeakerDevice, VideoDevice, parse,
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
    assert_eq!(signaling.url, "https://meet.example.org");
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
        VideoDevice::V4l2("/dev/video2".into())
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

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_do() {
    for (text, expected) in [
        // Not TOML.
        ("[box\nname = 1", ", line 1: unclosed table, expected `]`"),
        (
            "[box]\nname = \"a\"\nname = \"b\"",
            ", line 3: duplicate key",
        ),
        // Unknown keys.
        (
            "[singaling]\nurl = 1",
            r#", line 1, singaling: unknown key; did you mean "signaling"?"#,
        ),
        (
            "\n[signaling]\nmetting = \"m\"",
            r#", line 3, signaling.metting: unknown key; did you mean "meeting"?"#,
        ),
        (
            "[signaling]\npassword = \"hunter2\"",
            r#", line 2, signaling.password: unknown key; did you mean "password_file"?"#,
        ),
        (
            "[panel.leds.share]\nline = 1",
            ", line 1, panel.leds.share: unknown key; known here: mic, camera, status",
        ),
        (
            "[[ice_servers]]\nurls = 'stun:a'\n[[ice_servers]]\nurl = 'stun:a'",
            r#", line 4, ice_servers[1].url: unknown key; did you mean "urls"?"#,
        ),
        // Wrong types.
        (
            "[video]\nwidth = \"1280\"",
            ", line 2, video.width: must be a whole number, not a text",
        ),
        (
            "[video]\nframe_rate = 29.97",
            ", line 2, video.frame_rate: must be a whole number, not a number with a fraction",
        ),
        (
            "[box]\nname = true",
            ", line 2, box.name: must be a text in quotes, not true or false",
        ),
        (
            "[ice]\nrelay_only = 1",
            ", line 2, ice.relay_only: must be true or false, not a whole number",
        ),
        (
            "camera = \"sim:testcard\"",
            ", line 1, camera: must be a table, not a text",
        ),
        (
            "[ice_servers]\nurls = 'stun:a'",
            ", line 1, ice_servers: must be a list: write [[ice_servers]], not a table",
        ),
        (
            "[recovery]\naction_ms = 1000",
            ", line 2, recovery.action_ms: must be at least suspicion_ms",
        ),
        (
            "[recovery]\nrecreate_ms = 1000",
            ", line 2, recovery.recreate_ms: must be a list of whole numbers, not a whole number",
        ),
        // Values out of range.
        (
            "[video]\nheight = 2160",
            ", line 2, video.height: 2160 is out of range; give 90 to 1080",
        ),
        (
            "[video]\nbitrate = 99999999999999999999",
            ", line 2, video.bitrate: 99999999999999999999 is out of range; give 50000 to 20000000",
        ),
        (
            "[video]\nwidth = 641",
            ", line 2, video.width: 641 is odd; the encoder needs an even number of pixels",
        ),
        (
            "[recovery]\nrecreate_ms = []",
            ", line 2, recovery.recreate_ms: must list 1 to 10 delays, such as [1000, 2000, 4000]",
        ),
        // Texts of the wrong form.
        (
            "[signaling]\nurl = \"meet.example.org\"",
            ", line 2, signaling.url: is not a server's address; write https://HOST or http://HOST, with :PORT if need \
             be, without a path",
        ),
        (
            "[signaling]\nmeeting = \"../admin\"",
            r#", line 2, signaling.meeting: "../admin" is not an id; give 1 to 128 letters, digits, "-", "_" and ".""#,
        ),
        (
            "[signaling]\ntoken_file = \"\"\"\n-----BEGIN\nsecret\"\"\"",
            ", line 2, signaling.token_file: is not a file; give the name of a systemd credential or a path, not the \
             secret itself",
        ),
        (
            "[[ice_servers]]\nurls = [\"stun://stun.example.org\"]",
            ", line 2, ice_servers[0].urls: is not a STUN or TURN server; write stun:HOST:PORT, turn:HOST:PORT or \
             turns:HOST:PORT?transport=tcp",
        ),
        (
            "[box]\nfirst_start = \"closed\"",
            r#", line 2, box.first_start: "closed" is not known; write one of "open", "muted""#,
        ),
        (
            "[camera]\ndevice = \"sim:testcrad\"",
            r#", line 2, camera.device: "sim:testcrad" is not known; did you mean "sim:testcard"?"#,
        ),
        (
            "[camera]\ndevice = \"my camera\"",
            r#", line 2, camera.device: "my camera" is not a video device; write a node such as /dev/video0"#,
        ),
        (
            "[microphone]\ndevice = \"sim:tone:5\"",
            r#", line 2, microphone.device: "sim:tone:5" is not a tone; write sim:tone:HZ with 20 to 20000"#,
        ),
        (
            "[speaker]\ndevice = \"\"",
            ", line 2, speaker.device: is empty; give a value or remove the line",
        ),
        (
            "[panel]\nbackend = \"gpio\"",
            r#", line 2, panel.backend: "gpio" is not known; write one of "none", "sim:virtual", "rppal", "chardev", "kernel""#,
        ),
        (
            "[control]\nhttp = \"8080\"",
            r#", line 2, control.http: "8080" is not an address to listen on; write ADDRESS:PORT, such as 127.0.0.1:8080"#,
        ),
        (
            "[control]\nhttp_hosts = [\"room:8080\"]",
            r#", line 2, control.http_hosts: "room:8080" is not a host's name; write it without scheme and port, such as room-101.example.org"#,
        ),
        (
            "[hub]\nmeetings = []",
            r#", line 2, hub.meetings: is empty; name at least one meeting, such as ["main"]"#,
        ),
        (
            "[remote]\nurl = \"http://boxes.example.org/a.toml\"",
            ", line 2, remote.url: is not a file's address; write https://HOST/PATH",
        ),
        // Values that need or contradict each other.
        (
            "[signaling]\nurl = \"https://meet.example.org\"\nmeeting = \"m\"",
            ", line 1, signaling.user: is missing; give the id of the application's user that this box is (an account \
             of its own)",
        ),
        (
            "\n[signaling]\nmeeting = \"m\"\nuser = \"u\"",
            ", line 2, signaling.url: is missing; a meeting needs the address of its server",
        ),
        (
            "[signaling]\nemail = \"a@example.org\"",
            ", line 2, signaling.email: needs password_file to log in with",
        ),
        (
            "[signaling]\nemail = \"a@example.org\"\npassword_file = \"p\"\ntoken_file = \"t\"",
            ", line 4, signaling.token_file: contradicts email and password_file; log in with either a token or a \
             password",
        ),
        (
            "[[ice_servers]]\nurls = [\"turn:turn.example.org\"]",
            ", line 2, ice_servers[0].urls: names a TURN server, which needs username and credential_file, or \
             secret_file",
        ),
        (
            "[[ice_servers]]\nurls = [\"turns:turn.example.org?transport=udp\"]",
            ", line 2, ice_servers[0].urls: is TURN over DTLS, which is not supported; write \
             turns:HOST:PORT?transport=tcp or turn:HOST:PORT",
        ),
        (
            "[[ice_servers]]\nurls = [\"turn:a\"]\nsecret_file = \"s\"\nsecret_lifetime_ms = 1000",
            ", line 4, ice_servers[0].secret_lifetime_ms: 1000 is out of range; give 60000 to 604800000",
        ),
        (
            "[ice]\nproxy = \"https://proxy.example.org\"",
            ", line 2, ice.proxy: is not an HTTP proxy; write http://HOST:PORT, without user and password",
        ),
        (
            "[ice]\nrelay_only = true",
            ", line 2, ice.relay_only: needs a TURN server; add one under [[ice_servers]]",
        ),
        (
            "[panel]\nbackend = \"chardev\"\n[panel.buttons.mic]\nline = 17",
            r#", line 3, panel.buttons.mic.chip: is missing; backend "chardev" needs the chip's name or label"#,
        ),
        (
            "[panel]\nbackend = \"rppal\"\n[panel.buttons.mic]\nline = \"GPIO17\"",
            r#", line 4, panel.buttons.mic.line: is not a BCM number; backend "rppal" needs one from 0 to 53"#,
        ),
        (
            "[hub]\nlisten = \"0.0.0.0:8443\"",
            r#", line 2, hub.listen: is reachable from other machines, which needs tls = "self-signed" or a certificate's file"#,
        ),
        (
            "[remote]\nurl = \"https://boxes.example.org/a.toml\"",
            ", line 1, remote.key: is missing; the public key that the remote file is signed with",
        ),
    ] {
        let error = parse(text, Path::new(FILE)).expect_err(text);
        assert_eq!(error.to_string(), format!("{FILE}{expected}"), "{text}");
    }
}

#[test]
fn a_secret_in_the_wrong_place_does_not_reach_the_message() {
    for text in [
        "[signaling]\nurl = \"https://box:hunter2@meet.example.org\"",
        "[signaling]\ntoken_file = \"hunter2\\n\"",
        "[signaling]\npassword = \"hunter2\"",
        "[signaling]\nemail = \"hunter2\"",
        "[[ice_servers]]\nurls = [\"turn:box:hunter2@turn.example.org\"]",
        "[signaling]\npassword_file = hunter2",
    ] {
        let error = parse(text, Path::new(FILE)).expect_err(text);
        assert!(!error.to_string().contains("hunter2"), "{error}");
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

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_example_documents_every_key_and_shows_the_defaults() {
    let text = example("huddled.example.toml");
    let documented = lines(&text);
    for (section, key, _) in lines(&full().show()) {
        // One button and one light stand for all three.
        let section = match section.as_str() {
            button if button.starts_with("[panel.buttons.") => "[panel.buttons.mic]".to_owned(),
            led if led.starts_with("[panel.leds.") => "[panel.leds.mic]".to_owned(),
            _ => section,
        };
        if (section.as_str(), key.as_str()) == ("[panel.leds.mic]", "bias") {
            continue;
        }
        assert!(
            documented
                .iter()
                .any(|(other, name, _)| (other, name) == (&section, &key)),
            "{section} {key} is not in the example"
        );
    }
    let expected = Settings {
        name: "Room 101".to_owned(),
        ..Settings::default()
    };
    assert_eq!(
        parse(&text, Path::new("/etc/huddled/huddled.example.toml")),
        Ok(expected)
    );
}

#[test]
fn what_the_example_suggests_is_accepted() {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (section, key, value) in lines(&example("huddled.example.toml")) {
        // Of two ways to log in the first; of two values for one key the second.
        if !["token_file", "secret_file"].contains(&key.as_str()) {
            sections.entry(section).or_default().insert(key, value);
        }
    }
    let mut text = String::new();
    for (section, keys) in sections {
        text += &format!("{section}\n");
        for (key, value) in keys {
            text += &format!("{key} = {value}\n");
        }
    }
    let settings = parse(&text, Path::new(FILE)).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(settings.signaling.is_some() && settings.remote.is_some());
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
