//! From the merged documents to settings: defaults, and what the values must be to each other.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::document::Section;
use super::settings::{
    AudioEncoding, ControlSettings, HubLimits, HubSettings, HubTls, IceServer, MicrophoneSettings,
    PanelBackend, PanelLine, PanelSettings, RemoteSettings, ScreenSettings, Settings,
    SignalingSettings, SpeakerSettings, VideoDevice, VideoEncoding, VideoSettings,
};
use super::{ConfigError, InputCode, Protection, ServerUrl, values};
use crate::room::{Bitrate, Identity, PeerId, RecoverySettings};

/// Reads the whole configuration.
pub(super) fn settings(root: &Section<'_>) -> Result<Settings, ConfigError> {
    let default = Settings::default();
    let own = root.section("box");
    let display = root.section("display");
    let ice_servers = ice_servers(root)?;
    let (relay_only, ice_proxy) = ice(root, &ice_servers)?;
    let camera = video_device(root, "camera", default.camera)?;
    let screen = screen(root, &camera, default.screen)?;
    Ok(Settings {
        name: own.text("name", plain)?.unwrap_or(default.name),
        id: own.text("id", id)?,
        state_dir: own.text("state_dir", values::path)?,
        first_start: own
            .text("first_start", word(values::FIRST_START))?
            .unwrap_or(default.first_start),
        apply: own
            .text("apply", word(values::APPLY))?
            .unwrap_or(default.apply),
        signaling: signaling(root)?,
        ice_servers,
        relay_only,
        ice_proxy,
        camera,
        screen,
        microphone: microphone(root, default.microphone)?,
        speaker: speaker(root, default.speaker)?,
        display: display
            .text("device", word(values::DISPLAY))?
            .unwrap_or(default.display),
        video: video(root, default.video),
        audio: audio(root, default.audio),
        panel: panel(root, default.panel)?,
        recovery: recovery(root, default.recovery)?,
        control: control(root)?,
        hub: hub(root, default.hub)?,
        remote: remote(root)?,
    })
}

// Texts that mean the same in whatever file.

fn plain(text: &str, _: &Path) -> Result<String, String> {
    values::plain(text)
}

fn id(text: &str, _: &Path) -> Result<String, String> {
    values::id(text)
}

fn address(text: &str, _: &Path) -> Result<SocketAddr, String> {
    values::address(text)
}

fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&str, &Path) -> Result<T, String> {
    |text, _| values::word(text, words)
}

/// `[signaling] url`, with or without a meeting.
pub(super) fn server(root: &Section<'_>) -> Result<Option<ServerUrl>, ConfigError> {
    let section = root.section("signaling");
    section.text("url", |text, _| ServerUrl::parse(text))
}

/// Names of the password and the token for the server, with or without a meeting.
pub(super) fn server_secrets(root: &Section<'_>) -> Result<Vec<String>, ConfigError> {
    let section = root.section("signaling");
    let files = [
        section.text("password_file", values::credential)?,
        section.text("token_file", values::credential)?,
    ];
    Ok(files.into_iter().flatten().map(|file| file.name).collect())
}

fn is_clear(url: &ServerUrl) -> bool {
    url.protection() == Protection::Clear
}

fn signaling(root: &Section<'_>) -> Result<Option<SignalingSettings>, ConfigError> {
    let section = root.section("signaling");
    let url = server(root)?;
    let insecure_http = section.boolean("insecure_http").unwrap_or(false);
    let api = section.text("api", |text, _| values::prefix(text))?;
    let meeting = section.text("meeting", id)?;
    let classroom = section.text("classroom", id)?;
    let user = section.text("user", id)?;
    let email = section.text("email", |text, _| values::email(text))?;
    let password_file = section.text("password_file", values::credential)?;
    let token_file = section.text("token_file", values::credential)?;
    let ca_file = section.text("ca_file", values::credential)?;

    match (&email, &password_file, &token_file) {
        (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            return Err(section.error(
                "token_file",
                "contradicts email and password_file; log in with either a token or a password",
            ));
        }
        (Some(_), None, None) => {
            return Err(section.error("email", "needs password_file to log in with"));
        }
        (None, Some(_), None) => {
            return Err(section.error("password_file", "needs email to log in with"));
        }
        _ => {}
    }
    if url.as_ref().is_some_and(is_clear) && !insecure_http {
        return Err(section.error(
            "url",
            "sends password and token over the network unencrypted; write https://, or allow it with insecure_http = \
             true in a file of the box itself",
        ));
    }
    // Without a meeting the box is unconfigured, whatever else is there: a server may be known before its meetings.
    let Some(meeting) = meeting else {
        return Ok(None);
    };
    let Some(url) = url else {
        return Err(section.error(
            "url",
            "is missing; a meeting needs the address of its server",
        ));
    };
    let Some(user) = user else {
        return Err(section.error(
            "user",
            "is missing; give the id of the application's user that this box is (an account of its own)",
        ));
    };
    Ok(Some(SignalingSettings {
        url,
        insecure_http,
        api: api.unwrap_or_else(|| "/api/v1".to_owned()),
        identity: Identity {
            meeting,
            user: PeerId::new(&user),
        },
        classroom,
        email,
        password_file,
        token_file,
        ca_file,
    }))
}

fn ice_servers(root: &Section<'_>) -> Result<Vec<IceServer>, ConfigError> {
    root.sections("ice_servers")
        .into_iter()
        .map(|section| {
            let server = IceServer {
                urls: section.texts("urls", values::ice_url)?.unwrap_or_default(),
                username: section.text("username", plain)?,
                credential_file: section.text("credential_file", values::credential)?,
                secret_file: section.text("secret_file", values::credential)?,
                secret_lifetime: millis(&section, "secret_lifetime_ms", IceServer::SECRET_LIFETIME),
                ca_file: section.text("ca_file", values::credential)?,
            };
            if server.urls.is_empty() {
                return Err(section.error(
                    "urls",
                    "is missing; write a list such as [\"stun:HOST:PORT\"]",
                ));
            }
            if server.credential_file.is_some() && server.secret_file.is_some() {
                return Err(section.error(
                    "secret_file",
                    "contradicts credential_file; give a fixed password or a shared secret",
                ));
            }
            if server.credential_file.is_some() && server.username.is_none() {
                return Err(section.error("username", "is missing; credential_file needs it"));
            }
            if server.has_turn() && server.credential_file.is_none() && server.secret_file.is_none()
            {
                return Err(section.error(
                    "urls",
                    "names a TURN server, which needs username and credential_file, or secret_file",
                ));
            }
            Ok(server)
        })
        .collect()
}

/// `relay_only` and `proxy`.
fn ice(root: &Section<'_>, servers: &[IceServer]) -> Result<(bool, Option<String>), ConfigError> {
    let section = root.section("ice");
    let relay_only = section.boolean("relay_only").unwrap_or(false);
    if relay_only && !servers.iter().any(IceServer::has_turn) {
        return Err(section.error(
            "relay_only",
            "needs a TURN server; add one under [[ice_servers]]",
        ));
    }
    Ok((
        relay_only,
        section.text("proxy", |text, _| values::proxy(text))?,
    ))
}

/// Of a simulated device's clock, parts per million.
fn ppm(section: &Section<'_>) -> i32 {
    section.integer("ppm").unwrap_or(0) as i32
}

fn video_device(
    root: &Section<'_>,
    key: &'static str,
    default: VideoSettings,
) -> Result<VideoSettings, ConfigError> {
    let section = root.section(key);
    Ok(VideoSettings {
        device: section
            .text("device", values::video_device)?
            .unwrap_or(default.device),
        ppm: ppm(&section),
    })
}

fn screen(
    root: &Section<'_>,
    camera: &VideoSettings,
    default: ScreenSettings,
) -> Result<ScreenSettings, ConfigError> {
    let section = root.section("screen");
    let source = video_device(root, "screen", default.source)?;
    let mut cameras = Vec::new();
    if let (VideoDevice::V4l2(screen), VideoDevice::V4l2(camera)) = (&source.device, &camera.device)
    {
        if screen.is_spelled_like(camera) {
            return Err(section.error("device", values::SCREEN_IS_CAMERA));
        }
        cameras.push(camera.clone());
    }
    Ok(ScreenSettings {
        source,
        cameras,
        bitrate: Bitrate(number(&section, "bitrate", default.bitrate.0)),
        on_signal: section.boolean("on_signal").unwrap_or(default.on_signal),
    })
}

fn microphone(
    root: &Section<'_>,
    default: MicrophoneSettings,
) -> Result<MicrophoneSettings, ConfigError> {
    let section = root.section("microphone");
    Ok(MicrophoneSettings {
        device: section
            .text("device", values::microphone_device)?
            .unwrap_or(default.device),
        ppm: ppm(&section),
    })
}

fn speaker(root: &Section<'_>, default: SpeakerSettings) -> Result<SpeakerSettings, ConfigError> {
    let section = root.section("speaker");
    Ok(SpeakerSettings {
        device: section
            .text("device", values::speaker_device)?
            .unwrap_or(default.device),
        ppm: ppm(&section),
    })
}

/// A number that its kind keeps between 0 and what fits.
fn number(section: &Section<'_>, key: &'static str, default: u32) -> u32 {
    section.integer(key).map_or(default, |number| number as u32)
}

fn video(root: &Section<'_>, default: VideoEncoding) -> VideoEncoding {
    let section = root.section("video");
    VideoEncoding {
        width: number(&section, "width", default.width),
        height: number(&section, "height", default.height),
        frame_rate: number(&section, "frame_rate", default.frame_rate),
        bitrate: Bitrate(number(&section, "bitrate", default.bitrate.0)),
    }
}

fn audio(root: &Section<'_>, default: AudioEncoding) -> AudioEncoding {
    let section = root.section("audio");
    AudioEncoding {
        bitrate: Bitrate(number(&section, "bitrate", default.bitrate.0)),
    }
}

fn panel(root: &Section<'_>, default: PanelSettings) -> Result<PanelSettings, ConfigError> {
    let section = root.section("panel");
    let backend = section
        .text("backend", word(values::PANEL))?
        .unwrap_or(default.backend);
    let buttons = section.section("buttons");
    let leds = section.section("leds");
    Ok(PanelSettings {
        backend,
        buttons: [
            panel_button(&buttons, "mic", backend)?,
            panel_button(&buttons, "camera", backend)?,
            panel_button(&buttons, "share", backend)?,
        ],
        leds: [
            panel_led(&leds, "mic", backend)?,
            panel_led(&leds, "camera", backend)?,
            panel_led(&leds, "status", backend)?,
        ],
    })
}

fn panel_button(
    parent: &Section<'_>,
    key: &'static str,
    backend: PanelBackend,
) -> Result<Option<PanelLine>, ConfigError> {
    let line = panel_line(parent, key, backend)?;
    if let Some(PanelLine { line, .. }) = &line
        && backend == PanelBackend::Kernel
        && InputCode::from_name(line).is_none()
    {
        let problem = format!(
            "is no key of the kernel; backend \"kernel\" takes a number from 0 to 767 or one of {}",
            InputCode::names()
        );
        return Err(parent.section(key).error("line", problem));
    }
    Ok(line)
}

fn panel_led(
    parent: &Section<'_>,
    key: &'static str,
    backend: PanelBackend,
) -> Result<Option<PanelLine>, ConfigError> {
    let line = panel_line(parent, key, backend)?;
    if let Some(PanelLine { line, .. }) = &line
        && backend == PanelBackend::Kernel
        && (line.is_empty() || line.starts_with('.') || line.contains('/'))
    {
        let section = parent.section(key);
        return Err(section.error("line", "is not the name of an entry of /sys/class/leds"));
    }
    Ok(line)
}

fn panel_line(
    parent: &Section<'_>,
    key: &'static str,
    backend: PanelBackend,
) -> Result<Option<PanelLine>, ConfigError> {
    let section = parent.section(key);
    if !parent.has(key) {
        return Ok(None);
    }
    let chip = section.text("chip", plain)?;
    let Some(line) = section.text_or_number("line") else {
        return Err(section.error("line", "is missing; give the name or number of the line"));
    };
    match backend {
        PanelBackend::Chardev if chip.is_none() => {
            return Err(section.error(
                "chip",
                "is missing; backend \"chardev\" needs the chip's name or label",
            ));
        }
        // The SoC's own lines, as rppal numbers them.
        PanelBackend::Rppal if !line.parse::<u8>().is_ok_and(|line| line <= 53) => {
            return Err(section.error(
                "line",
                "is not a BCM number; backend \"rppal\" needs one from 0 to 53",
            ));
        }
        _ => {}
    }
    Ok(Some(PanelLine {
        chip,
        line,
        active_low: section.boolean("active_low").unwrap_or(false),
        bias: section.text("bias", word(values::BIAS))?.map(str::to_owned),
    }))
}

fn millis(section: &Section<'_>, key: &'static str, default: Duration) -> Duration {
    section
        .integer(key)
        .map_or(default, |millis| Duration::from_millis(millis as u64))
}

fn recovery(
    root: &Section<'_>,
    default: RecoverySettings,
) -> Result<RecoverySettings, ConfigError> {
    let section = root.section("recovery");
    let mut recovery = default;
    recovery.suspicion = millis(&section, "suspicion_ms", recovery.suspicion);
    let action = recovery.action.max(recovery.suspicion);
    recovery.action = millis(&section, "action_ms", action);
    if recovery.action < recovery.suspicion {
        return Err(section.error("action_ms", "must be at least suspicion_ms"));
    }
    recovery.healing = millis(&section, "healing_ms", recovery.healing);
    recovery.restart = millis(&section, "restart_ms", recovery.restart);
    recovery.slow_interval = millis(&section, "slow_interval_ms", recovery.slow_interval);
    if let Some(delays) = section.integers("recreate_ms") {
        recovery.recreate = delays
            .into_iter()
            .map(|delay| Duration::from_millis(delay as u64))
            .collect();
    }
    if let (Some(attempts), Some(last)) = (section.integer("attempts"), recovery.recreate.last()) {
        let last = *last;
        recovery.recreate.resize(attempts as usize, last);
    }
    Ok(recovery)
}

fn control(root: &Section<'_>) -> Result<ControlSettings, ConfigError> {
    let section = root.section("control");
    Ok(ControlSettings {
        socket: section.text("socket", values::path)?,
        http: section.text("http", address)?,
        http_hosts: section
            .texts("http_hosts", values::host)?
            .unwrap_or_default(),
    })
}

fn hub(root: &Section<'_>, default: HubSettings) -> Result<HubSettings, ConfigError> {
    let section = root.section("hub");
    let limits = section.section("limits");
    let hub = HubSettings {
        listen: section.text("listen", address)?,
        url: hub_url(&section)?,
        meetings: section
            .texts("meetings", values::id)?
            .unwrap_or(default.meetings),
        pages: section
            .text("pages", values::path)?
            .unwrap_or(default.pages),
        tls: section.text("tls", values::tls)?.unwrap_or(default.tls),
        access: section
            .text("access", word(values::HUB_ACCESS))?
            .unwrap_or(default.access),
        limits: HubLimits {
            members: number(&limits, "members", default.limits.members),
            connections: number(&limits, "connections", default.limits.connections),
            payload_bytes: number(&limits, "payload_bytes", default.limits.payload_bytes),
            messages_per_second: number(
                &limits,
                "messages_per_second",
                default.limits.messages_per_second,
            ),
        },
    };
    if hub.meetings.is_empty() {
        return Err(section.error(
            "meetings",
            "is empty; name at least one meeting, such as [\"main\"]",
        ));
    }
    match hub.listen {
        Some(address) if !address.ip().is_loopback() && hub.tls == HubTls::Off => {
            Err(section.error(
                "listen",
                "is reachable from other machines, which needs tls = \"self-signed\" or a certificate's file",
            ))
        }
        _ => Ok(hub),
    }
}

/// What links begin with; they carry the token of their meeting.
fn hub_url(section: &Section<'_>) -> Result<Option<String>, ConfigError> {
    let url = section.text("url", |text, _| ServerUrl::parse(text))?;
    if url.as_ref().is_some_and(is_clear) {
        return Err(section.error(
            "url",
            "sends the token of every link over the network unencrypted; write https://",
        ));
    }
    Ok(url.map(|url| url.as_str().to_owned()))
}

fn remote(root: &Section<'_>) -> Result<Option<RemoteSettings>, ConfigError> {
    let section = root.section("remote");
    let Some(url) = section.text("url", |text, _| values::https(text))? else {
        return Ok(None);
    };
    let keys = section
        .texts("key", values::public_key)?
        .unwrap_or_default();
    if keys.is_empty() {
        return Err(section.error(
            "key",
            "is missing; the public key that the remote file is signed with",
        ));
    }
    let id = root.section("box").text("id", id)?;
    let url = match (url.contains(values::BOX_ID), id) {
        (false, _) => url,
        (true, Some(id)) => url.replace(values::BOX_ID, &id),
        (true, None) => return Err(section.error("url", "contains {id}, which needs [box] id")),
    };
    Ok(Some(RemoteSettings {
        url,
        keys,
        ca_file: section.text("ca_file", values::credential)?,
        proxy: section.text("proxy", |text, _| values::proxy(text))?,
        interval: millis(&section, "interval_ms", Duration::from_secs(300)),
        probation: millis(&section, "probation_ms", Duration::from_secs(120)),
    }))
}
