//! What each mistake in a file is told, word for word.

use super::*;

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
            "[signaling]\nurl = \"http://10.0.0.1:3000\"",
            ", line 2, signaling.url: sends password and token over the network unencrypted; write https://, or allow it \
             with insecure_http = true in a file of the box itself",
        ),
        (
            "[hub]\nurl = \"http://hub.example.org\"",
            ", line 2, hub.url: sends the token of every link over the network unencrypted; write https://",
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
            "[screen]\ndevice = \"/dev/v4l/../video0\"",
            r#", line 2, screen.device: "/dev/v4l/../video0" is not a video device; write a node such as /dev/video0, without ".", ".." and "//""#,
        ),
        (
            "[camera]\ndevice = \"/dev/v4l/by-id/usb-x\"\n[screen]\ndevice = \"usb-x\"",
            ", line 4, screen.device: is the device of [camera]: a share would show the room while the camera is off; name \
             another capture device, or none",
        ),
        (
            "[speaker]\ndevice = \"tee:null,'|touch x',raw\"",
            r#", line 2, speaker.device: "tee:null,'|touch x',raw" is not the plain name of a sound device; write hw:CARD=ID,DEV=N, the same with plughw:, sysdefault:, default:, dmix: or dsnoop:, or the bare name of a PCM that /etc/asound.conf defines"#,
        ),
        (
            "[microphone]\ndevice = \"plug:hw:0\"",
            r#", line 2, microphone.device: "plug:hw:0" is not the plain name of a sound device; write hw:CARD=ID,DEV=N, the same with plughw:, sysdefault:, default:, dmix: or dsnoop:, or the bare name of a PCM that /etc/asound.conf defines"#,
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
