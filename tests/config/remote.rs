//! What a signed remote file cannot do: make the box less safe than its own files say.

use huddled::config::{ConfigError, Effective, Layer, Source, merge};

use super::*;

const REMOTE: &str = "https://boxes.example.org/room-101.toml";
const MEMBER: &str = "meeting = 'm'\nuser = 'u'\n";

fn with_remote(own: &str, remote: &str) -> Result<Effective, ConfigError> {
    merge(&[
        Layer {
            file: FILE.into(),
            text: own.to_owned(),
            source: Source::Own,
        },
        Layer {
            file: REMOTE.into(),
            text: remote.to_owned(),
            source: Source::Remote,
        },
    ])
}

/// The remote file is refused for this key, in its own line, and would be right as the box's own word.
#[track_caller]
fn refused(own: &str, remote: &str, key: &str) -> String {
    let error = with_remote(own, remote).expect_err(remote);
    assert_eq!(
        (
            error.key.as_str(),
            error.file.as_path(),
            error.line.is_some()
        ),
        (key, Path::new(REMOTE), true),
        "{error}"
    );
    error.to_string()
}

#[test]
fn a_remote_file_never_lowers_the_protection_of_the_server() {
    let (tls, loopback, clear) = (
        "https://a.example",
        "http://127.0.0.1:1",
        "http://10.0.0.1:1",
    );
    let own = |url: &str| format!("[signaling]\ninsecure_http = true\nurl = '{url}'\n{MEMBER}");
    let other = |url: &str| {
        let url = url.replace("a.example", "b.example").replace(":1", ":2");
        format!("[signaling]\nurl = '{url}'\n")
    };
    for (own_url, remote_url, is_good) in [
        (tls, tls, true),
        (tls, loopback, false),
        (tls, clear, false),
        (loopback, tls, true),
        (loopback, loopback, true),
        (loopback, clear, false),
        (clear, tls, true),
        (clear, loopback, true),
        (clear, clear, true),
    ] {
        match is_good {
            true => {
                let effective = with_remote(&own(own_url), &other(remote_url));
                let settings = effective.unwrap_or_else(|error| panic!("{error}")).settings;
                assert_eq!(settings.unencrypted_server().is_some(), remote_url == clear);
            }
            false => {
                refused(&own(own_url), &other(remote_url), "signaling.url");
            }
        }
    }
    // Without an address of its own the box says by insecure_http alone what it bears.
    refused("", &format!("{}{MEMBER}", other(clear)), "signaling.url");
    for (own, url) in [
        ("", loopback),
        ("[signaling]\ninsecure_http = true\n", clear),
    ] {
        assert!(with_remote(own, &format!("{}{MEMBER}", other(url))).is_ok());
    }
    // Another file of the box may; and a server is compared before there is a meeting.
    refused(
        &format!("[signaling]\nurl = '{tls}'\n"),
        &other(loopback),
        "signaling.url",
    );
    let clear_by_own = format!("[signaling]\nurl = '{clear}'\n{MEMBER}");
    assert!(parse(&clear_by_own, Path::new(FILE)).is_err());
}

#[test]
fn a_remote_file_keeps_relays_and_their_protection() {
    let relay = |urls: &str| {
        format!("[[ice_servers]]\nurls = {urls}\nusername = 'u'\ncredential_file = 'turn'\n")
    };
    let tls = relay("['turns:a.example:443']");
    refused(
        &tls,
        &relay("['turn:b.example', 'turns:b.example']"),
        "ice_servers[0].urls",
    );
    assert!(with_remote(&tls, &relay("['turns:b.example']")).is_ok());
    assert!(with_remote(&tls, "[[ice_servers]]\nurls = 'stun:b.example'\n").is_ok());
    // Where the box's own files already allow relays without TLS.
    assert!(
        with_remote(
            &relay("['turns:a.example', 'turn:a.example']"),
            &relay("'turn:b.example'")
        )
        .is_ok()
    );
    assert!(with_remote("", &relay("'turn:b.example'")).is_ok());

    let relayed = format!("[ice]\nrelay_only = true\n{tls}");
    refused(&relayed, "[ice]\nrelay_only = false\n", "ice.relay_only");
    assert!(with_remote(&tls, "[ice]\nrelay_only = true\n").is_ok());
}

#[test]
fn a_remote_file_names_credentials_and_never_the_files_beside_it() {
    let own = format!("[signaling]\nurl = 'https://a.example'\n{MEMBER}");
    let remote = "[signaling]\ntoken_file = 'record.toml'\n";
    let settings = with_remote(&own, remote).unwrap().settings;
    let token = settings.signaling.unwrap().token_file.unwrap();
    let directory = Path::new("/run/credentials/huddled.service");
    assert_eq!(
        token.candidates(Some(directory)),
        [directory.join("record.toml")]
    );
    assert_eq!(token.candidates(None), [] as [PathBuf; 0]);
}

#[test]
fn a_remote_file_takes_no_secret_for_something_else() {
    let own = format!(
        "[signaling]\nurl = 'https://a.example'\n{MEMBER}token_file = 'token'\n\
         [[ice_servers]]\nurls = 'turn:a.example'\nsecret_file = 'turn-secret'\nca_file = 'ca'\n\
         [hub]\ntls = 'hub-key'\n"
    );
    for name in ["turn-secret", "ca", "hub-key"] {
        let remote = format!("[signaling]\ntoken_file = '{name}'\n");
        let said = refused(&own, &remote, "signaling.token_file");
        assert!(said.contains("for something else"), "{said}");
    }
    let relay = "[[ice_servers]]\nurls = 'turn:b.example'\nusername = 'u'\ncredential_file";
    refused(
        &own,
        &format!("{relay} = 'token'\n"),
        "ice_servers[0].credential_file",
    );
    assert!(with_remote(&own, &format!("{relay} = 'turn-secret'\n")).is_ok());
    assert!(with_remote(&own, "[signaling]\ntoken_file = 'other-token'\n").is_ok());
}

#[test]
fn a_secret_of_the_boxs_own_files_goes_to_their_server_alone() {
    let own = format!("[signaling]\nurl = 'https://a.example'\n{MEMBER}token_file = 'token'\n");
    let elsewhere = "[signaling]\nurl = 'https://b.example'\n";
    let said = refused(&own, elsewhere, "signaling.url");
    assert!(said.contains("would send the secret"), "{said}");
    refused(
        &own,
        &format!("{elsewhere}token_file = 'token'\n"),
        "signaling.url",
    );
    // A credential that was brought to the box for the other server.
    assert!(with_remote(&own, &format!("{elsewhere}token_file = 'other'\n")).is_ok());
    // The same server, another meeting.
    let same = "[signaling]\nurl = 'https://A.example:443'\nmeeting = 'n'\n";
    assert!(with_remote(&own, same).is_ok());
    let no_meeting = own.replace(MEMBER, "");
    refused(
        &no_meeting,
        &format!("{elsewhere}{MEMBER}"),
        "signaling.url",
    );
    // Where the box's own files leave the server to the remote file, or have no secret.
    let open = format!("[signaling]\n{MEMBER}token_file = 'token'\n");
    assert!(with_remote(&open.replace(MEMBER, ""), &format!("{elsewhere}{MEMBER}")).is_ok());
    let none = format!("[signaling]\nurl = 'https://a.example'\n{MEMBER}");
    assert!(with_remote(&none, elsewhere).is_ok());
}

#[test]
fn a_remote_file_cannot_make_the_rooms_camera_a_screen() {
    let own = "[camera]\ndevice = '/dev/v4l/by-id/usb-Camera-index0'\n[screen]\non_signal = true\n";
    for camera in ["none", "/dev/video7"] {
        let remote =
            format!("[camera]\ndevice = '{camera}'\n[screen]\ndevice = 'usb-Camera-index0'\n");
        refused(own, &remote, "screen.device");
    }
    // By another name it is found out when it is opened: the names of all cameras go along.
    let remote = "[camera]\ndevice = '/dev/video7'\n[screen]\ndevice = '/dev/video0'\n";
    let screen = with_remote(own, remote).unwrap().settings.screen;
    let cameras: Vec<_> = screen.cameras.iter().map(VideoName::as_str).collect();
    assert_eq!(cameras, ["/dev/video7", "/dev/v4l/by-id/usb-Camera-index0"]);
}

#[test]
fn a_remote_file_names_video_nodes_below_dev_only() {
    for key in ["camera", "screen"] {
        let remote = format!("[{key}]\ndevice = '/var/lib/huddled/state.toml'\n");
        refused("", &remote, &format!("{key}.device"));
        let remote = format!("[{key}]\ndevice = '/dev/video3'\n");
        assert!(with_remote("", &remote).is_ok());
    }
}
