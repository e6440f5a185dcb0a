//! The schema: which sections and keys there are and what each one may say.

use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::document::{Origin, Section};
use super::settings::{
    AudioEncoding, ControlSettings, HubAccess, HubLimits, HubSettings, HubTls, IceServer,
    MicrophoneSettings, PanelBackend, PanelLine, PanelSettings, RemoteSettings, Settings,
    SignalingSettings, SpeakerSettings, VideoEncoding, VideoSettings,
};
use super::{ConfigError, values};
use crate::room::{Bitrate, FirstStart, Identity, PeerId, RecoverySettings};

const ROOT: &[&str] = &[
    "box",
    "signaling",
    "ice_servers",
    "ice",
    "camera",
    "screen",
    "microphone",
    "speaker",
    "display",
    "video",
    "audio",
    "panel",
    "recovery",
    "control",
    "hub",
    "remote",
];

/// Reads the whole document.
pub(super) fn settings(origin: Origin<'_>, table: &DeTable<'_>) -> Result<Settings, ConfigError> {
    let root = Section::root(origin, table, ROOT)?;
    let base = origin.file.parent().unwrap_or(Path::new(""));
    let default = Settings::default();

    let own = root.section("box", &["name", "id", "state_dir", "first_start"])?;
    let first_start = |text: &str| {
        values::word(
            text,
            &[("open", FirstStart::Open), ("muted", FirstStart::Muted)],
        )
    };
    let display = root.section("display", &["device"])?;
    let (ice_servers, relay_only) = ice(&root, base)?;
    Ok(Settings {
        name: own.text("name", values::plain)?.unwrap_or(default.name),
        id: own.text("id", values::id)?,
        state_dir: own.text("state_dir", |text| values::path(text, base))?,
        first_start: own
            .text("first_start", first_start)?
            .unwrap_or(default.first_start),
        signaling: signaling(&root, base)?,
        ice_servers,
        relay_only,
        camera: video_device(&root, "camera", base, default.camera)?,
        screen: video_device(&root, "screen", base, default.screen)?,
        microphone: microphone(&root, base, default.microphone)?,
        speaker: speaker(&root, base, default.speaker)?,
        display: display
            .text("device", values::display_device)?
            .unwrap_or(default.display),
        video: video(&root, default.video)?,
        audio: audio(&root, default.audio)?,
        panel: panel(&root, default.panel)?,
        recovery: recovery(&root, default.recovery)?,
        control: control(&root, base)?,
        hub: hub(&root, base, default.hub)?,
        remote: remote(&root)?,
    })
}

fn signaling(root: &Section<'_>, base: &Path) -> Result<Option<SignalingSettings>, ConfigError> {
    let section = root.section(
        "signaling",
        &[
            "url",
            "api",
            "meeting",
            "classroom",
            "user",
            "email",
            "password_file",
            "token_file",
            "ca_file",
        ],
    )?;
    let credential = |text: &str| values::credential(text, base);
    let url = section.text("url", values::origin)?;
    let api = section.text("api", values::prefix)?;
    let meeting = section.text("meeting", values::id)?;
    let classroom = section.text("classroom", values::id)?;
    let user = section.text("user", values::id)?;
    let email = section.text("email", values::email)?;
    let password_file = section.text("password_file", credential)?;
    let token_file = section.text("token_file", credential)?;
    let ca_file = section.text("ca_file", credential)?;

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

fn ice(root: &Section<'_>, base: &Path) -> Result<(Vec<IceServer>, bool), ConfigError> {
    let known = &["urls", "username", "credential_file", "secret_file"];
    let servers = root
        .sections("ice_servers", known)?
        .into_iter()
        .map(|section| {
            let credential = |text: &str| values::credential(text, base);
            let server = IceServer {
                urls: section.texts("urls", values::ice_url)?.unwrap_or_default(),
                username: section.text("username", values::plain)?,
                credential_file: section.text("credential_file", credential)?,
                secret_file: section.text("secret_file", credential)?,
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
        .collect::<Result<Vec<_>, _>>()?;

    let section = root.section("ice", &["relay_only"])?;
    let relay_only = section.boolean("relay_only")?.unwrap_or(false);
    if relay_only && !servers.iter().any(IceServer::has_turn) {
        return Err(section.error(
            "relay_only",
            "needs a TURN server; add one under [[ice_servers]]",
        ));
    }
    Ok((servers, relay_only))
}

/// Of a simulated device's clock, parts per million.
fn ppm(section: &Section<'_>) -> Result<i32, ConfigError> {
    Ok(section.integer("ppm", -10_000..=10_000)?.unwrap_or(0) as i32)
}

fn video_device(
    root: &Section<'_>,
    key: &'static str,
    base: &Path,
    default: VideoSettings,
) -> Result<VideoSettings, ConfigError> {
    let section = root.section(key, &["device", "ppm"])?;
    Ok(VideoSettings {
        device: section
            .text("device", |text| values::video_device(text, base))?
            .unwrap_or(default.device),
        ppm: ppm(&section)?,
    })
}

fn microphone(
    root: &Section<'_>,
    base: &Path,
    default: MicrophoneSettings,
) -> Result<MicrophoneSettings, ConfigError> {
    let section = root.section("microphone", &["device", "ppm"])?;
    Ok(MicrophoneSettings {
        device: section
            .text("device", |text| values::microphone_device(text, base))?
            .unwrap_or(default.device),
        ppm: ppm(&section)?,
    })
}

fn speaker(
    root: &Section<'_>,
    base: &Path,
    default: SpeakerSettings,
) -> Result<SpeakerSettings, ConfigError> {
    let section = root.section("speaker", &["device", "ppm"])?;
    Ok(SpeakerSettings {
        device: section
            .text("device", |text| values::speaker_device(text, base))?
            .unwrap_or(default.device),
        ppm: ppm(&section)?,
    })
}

/// H.264 4:2:0 has one colour sample for two pixels each way.
fn even(
    section: &Section<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<i64>,
    default: u32,
) -> Result<u32, ConfigError> {
    match section.integer(key, range)? {
        None => Ok(default),
        Some(size) if size % 2 == 0 => Ok(size as u32),
        Some(size) => Err(section.error(
            key,
            format!("{size} is odd; the encoder needs an even number of pixels"),
        )),
    }
}

fn video(root: &Section<'_>, default: VideoEncoding) -> Result<VideoEncoding, ConfigError> {
    let section = root.section("video", &["width", "height", "frame_rate", "bitrate"])?;
    Ok(VideoEncoding {
        width: even(&section, "width", 160..=1920, default.width)?,
        height: even(&section, "height", 90..=1080, default.height)?,
        frame_rate: section
            .integer("frame_rate", 1..=60)?
            .map_or(default.frame_rate, |rate| rate as u32),
        bitrate: section
            .integer("bitrate", 50_000..=20_000_000)?
            .map_or(default.bitrate, |rate| Bitrate(rate as u32)),
    })
}

fn audio(root: &Section<'_>, default: AudioEncoding) -> Result<AudioEncoding, ConfigError> {
    let section = root.section("audio", &["bitrate"])?;
    Ok(AudioEncoding {
        bitrate: section
            .integer("bitrate", 6_000..=128_000)?
            .map_or(default.bitrate, |rate| Bitrate(rate as u32)),
    })
}

fn panel(root: &Section<'_>, default: PanelSettings) -> Result<PanelSettings, ConfigError> {
    let section = root.section("panel", &["backend", "buttons", "leds"])?;
    let backend = section
        .text("backend", values::panel_backend)?
        .unwrap_or(default.backend);
    let buttons = section.section("buttons", &["mic", "camera", "share"])?;
    let leds = section.section("leds", &["mic", "camera", "status"])?;
    Ok(PanelSettings {
        backend,
        buttons: [
            panel_line(&buttons, "mic", backend)?,
            panel_line(&buttons, "camera", backend)?,
            panel_line(&buttons, "share", backend)?,
        ],
        leds: [
            panel_line(&leds, "mic", backend)?,
            panel_line(&leds, "camera", backend)?,
            panel_line(&leds, "status", backend)?,
        ],
    })
}

fn panel_line(
    parent: &Section<'_>,
    key: &'static str,
    backend: PanelBackend,
) -> Result<Option<PanelLine>, ConfigError> {
    let section = parent.section(key, &["chip", "line", "active_low", "bias"])?;
    if !parent.has(key) {
        return Ok(None);
    }
    let chip = section.text("chip", values::plain)?;
    let bias = |text: &str| {
        values::word(
            text,
            &[
                ("pull-up", "pull-up"),
                ("pull-down", "pull-down"),
                ("disabled", "disabled"),
                ("as-is", "as-is"),
            ],
        )
    };
    let Some(line) = section.text_or_number("line")? else {
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
        active_low: section.boolean("active_low")?.unwrap_or(false),
        bias: section.text("bias", bias)?.map(str::to_owned),
    }))
}

fn millis(
    section: &Section<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<i64>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    Ok(section
        .integer(key, range)?
        .map_or(default, |millis| Duration::from_millis(millis as u64)))
}

fn recovery(
    root: &Section<'_>,
    default: RecoverySettings,
) -> Result<RecoverySettings, ConfigError> {
    let section = root.section(
        "recovery",
        &[
            "suspicion_ms",
            "action_ms",
            "restart_ms",
            "recreate_ms",
            "attempts",
            "slow_interval_ms",
        ],
    )?;
    let mut recovery = default;
    recovery.suspicion = millis(&section, "suspicion_ms", 100..=60_000, recovery.suspicion)?;
    let action = recovery.action.max(recovery.suspicion);
    recovery.action = millis(&section, "action_ms", 100..=60_000, action)?;
    if recovery.action < recovery.suspicion {
        return Err(section.error("action_ms", "must be at least suspicion_ms"));
    }
    recovery.restart = millis(&section, "restart_ms", 100..=60_000, recovery.restart)?;
    recovery.slow_interval = millis(
        &section,
        "slow_interval_ms",
        1_000..=3_600_000,
        recovery.slow_interval,
    )?;
    if let Some(delays) = section.integers("recreate_ms", 0..=60_000)? {
        recovery.recreate = delays
            .into_iter()
            .map(|delay| Duration::from_millis(delay as u64))
            .collect();
    }
    let attempts = section
        .integer("attempts", 1..=10)?
        .map(|count| count as usize);
    let last = match recovery.recreate.last() {
        Some(last) if recovery.recreate.len() <= 10 => *last,
        _ => {
            return Err(section.error(
                "recreate_ms",
                "must list 1 to 10 delays, such as [1000, 2000, 4000]",
            ));
        }
    };
    if let Some(attempts) = attempts {
        recovery.recreate.resize(attempts, last);
    }
    Ok(recovery)
}

fn control(root: &Section<'_>, base: &Path) -> Result<ControlSettings, ConfigError> {
    let section = root.section("control", &["socket", "http", "http_hosts"])?;
    Ok(ControlSettings {
        socket: section.text("socket", |text| values::path(text, base))?,
        http: section.text("http", values::address)?,
        http_hosts: section
            .texts("http_hosts", values::host)?
            .unwrap_or_default(),
    })
}

fn hub(root: &Section<'_>, base: &Path, default: HubSettings) -> Result<HubSettings, ConfigError> {
    let section = root.section(
        "hub",
        &[
            "listen", "url", "meetings", "pages", "tls", "access", "limits",
        ],
    )?;
    let tls = |text: &str| match text {
        "off" => Ok(HubTls::Off),
        "self-signed" => Ok(HubTls::SelfSigned),
        _ => values::credential(text, base).map(HubTls::File),
    };
    let access = |text: &str| {
        values::word(
            text,
            &[("token", HubAccess::Token), ("open", HubAccess::Open)],
        )
    };
    let limits = section.section(
        "limits",
        &[
            "members",
            "connections",
            "payload_bytes",
            "messages_per_second",
        ],
    )?;
    let limit = |key, range, default: u32| {
        limits
            .integer(key, range)
            .map(|value| value.map_or(default, |value| value as u32))
    };
    let hub = HubSettings {
        listen: section.text("listen", values::address)?,
        url: section.text("url", values::origin)?,
        meetings: section
            .texts("meetings", values::id)?
            .unwrap_or(default.meetings),
        pages: section
            .text("pages", |text| values::path(text, base))?
            .unwrap_or(default.pages),
        tls: section.text("tls", tls)?.unwrap_or(default.tls),
        access: section.text("access", access)?.unwrap_or(default.access),
        limits: HubLimits {
            members: limit("members", 2..=64, default.limits.members)?,
            connections: limit("connections", 2..=1_024, default.limits.connections)?,
            payload_bytes: limit(
                "payload_bytes",
                16_384..=1_048_576,
                default.limits.payload_bytes,
            )?,
            messages_per_second: limit(
                "messages_per_second",
                10..=10_000,
                default.limits.messages_per_second,
            )?,
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

fn remote(root: &Section<'_>) -> Result<Option<RemoteSettings>, ConfigError> {
    let section = root.section("remote", &["url", "key", "interval_ms", "probation_ms"])?;
    let url = section.text("url", values::https)?;
    let key = section.text("key", values::public_key)?;
    let interval = millis(
        &section,
        "interval_ms",
        10_000..=86_400_000,
        Duration::from_secs(300),
    )?;
    let probation = millis(
        &section,
        "probation_ms",
        10_000..=3_600_000,
        Duration::from_secs(120),
    )?;
    match (url, key) {
        (None, _) => Ok(None),
        (Some(_), None) => Err(section.error(
            "key",
            "is missing; the public key that the remote file is signed with",
        )),
        (Some(url), Some(key)) => Ok(Some(RemoteSettings {
            url,
            key,
            interval,
            probation,
        })),
    }
}
