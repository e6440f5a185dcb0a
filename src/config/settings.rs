//! Validated settings: no invalid value exists once one of these does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

mod devices;
mod secrets;

use super::server_url::{Protection, ServerUrl};
pub use devices::{
    DisplayDevice, MicrophoneDevice, MicrophoneSettings, ScreenSettings, SpeakerDevice,
    SpeakerSettings, VideoDevice, VideoSettings,
};
pub use secrets::CredentialRef;

use crate::room::{Bitrate, FirstStart, Identity, RecoverySettings, RoomSettings};

/// Everything the configuration says.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[box] name`: shown on the test card; also the name an administrator knows the box by.
    pub name: String,
    /// `[box] id`: for fleet management only.
    pub id: Option<String>,
    /// `[box] state_dir`.
    pub state_dir: Option<PathBuf>,
    /// `[box] first_start`.
    pub first_start: FirstStart,
    /// `[box] apply`.
    pub apply: Apply,
    /// `[signaling]`; `None` while unconfigured.
    pub signaling: Option<SignalingSettings>,
    /// `[[ice_servers]]`.
    pub ice_servers: Vec<IceServer>,
    /// `[ice] relay_only`.
    pub relay_only: bool,
    /// `[ice] proxy`: `http://HOST:PORT`, by which TURN over TCP and TLS goes.
    pub ice_proxy: Option<String>,
    /// `[camera] device`.
    pub camera: VideoSettings,
    /// `[screen] device`.
    pub screen: ScreenSettings,
    /// `[microphone]`.
    pub microphone: MicrophoneSettings,
    /// `[speaker]`.
    pub speaker: SpeakerSettings,
    /// `[display] device`.
    pub display: DisplayDevice,
    /// `[video]`.
    pub video: VideoEncoding,
    /// `[audio]`.
    pub audio: AudioEncoding,
    /// `[panel]`.
    pub panel: PanelSettings,
    /// `[recovery]`.
    pub recovery: RecoverySettings,
    /// `[control]`.
    pub control: ControlSettings,
    /// `[hub]`.
    pub hub: HubSettings,
    /// `[remote]`; `None` if the configuration is not managed from elsewhere.
    pub remote: Option<RemoteSettings>,
}

impl Default for Settings {
    /// A box that nobody has configured, without devices.
    fn default() -> Self {
        let no_video = VideoSettings {
            device: VideoDevice::None,
            ppm: 0,
        };
        Self {
            name: "huddled".to_owned(),
            id: None,
            state_dir: None,
            first_start: FirstStart::default(),
            apply: Apply::Idle,
            signaling: None,
            ice_servers: Vec::new(),
            relay_only: false,
            ice_proxy: None,
            camera: no_video.clone(),
            screen: ScreenSettings {
                source: no_video,
                cameras: Vec::new(),
                bitrate: Bitrate(1_000_000),
                on_signal: false,
            },
            microphone: MicrophoneSettings {
                device: MicrophoneDevice::None,
                ppm: 0,
            },
            speaker: SpeakerSettings {
                device: SpeakerDevice::None,
                ppm: 0,
            },
            display: DisplayDevice::None,
            video: VideoEncoding {
                width: 1280,
                height: 720,
                frame_rate: 30,
                bitrate: Bitrate(1_500_000),
            },
            audio: AudioEncoding {
                bitrate: Bitrate(32_000),
            },
            panel: PanelSettings {
                backend: PanelBackend::None,
                buttons: [None, None, None],
                leds: [None, None, None],
            },
            recovery: RecoverySettings::default(),
            control: ControlSettings {
                socket: None,
                http: None,
                http_hosts: Vec::new(),
            },
            hub: HubSettings {
                listen: None,
                url: None,
                meetings: vec!["main".to_owned()],
                pages: PathBuf::from("/usr/share/huddled/guest"),
                tls: HubTls::Off,
                access: HubAccess::Token,
                limits: HubLimits {
                    members: 16,
                    connections: 64,
                    payload_bytes: 524_288,
                    messages_per_second: 200,
                },
            },
            remote: None,
        }
    }
}

impl Settings {
    /// The keys that name simulated devices; `huddled run` needs `--allow-sim` if there are any.
    pub fn simulated(&self) -> Vec<&'static str> {
        [
            ("camera.device", self.camera.device.is_simulated()),
            ("screen.device", self.screen.source.device.is_simulated()),
            ("microphone.device", self.microphone.device.is_simulated()),
            ("speaker.device", self.speaker.device.is_simulated()),
            ("display.device", self.display == DisplayDevice::SimPng),
            (
                "panel.backend",
                self.panel.backend == PanelBackend::SimVirtual,
            ),
        ]
        .into_iter()
        .filter_map(|(key, simulated)| simulated.then_some(key))
        .collect()
    }

    /// Whether the microphone can hear the speaker: simulated ones do not.
    pub fn sound_in_one_room(&self) -> bool {
        !self.microphone.device.is_simulated() && !self.speaker.device.is_simulated()
    }

    /// The application's server, if the way to it is not encrypted and leaves this machine.
    pub fn unencrypted_server(&self) -> Option<&ServerUrl> {
        let url = self.signaling.as_ref().map(|signaling| &signaling.url);
        url.filter(|url| url.protection() == Protection::Clear)
    }

    /// The room's part.
    pub fn room(&self) -> RoomSettings {
        let identity = self
            .signaling
            .as_ref()
            .map(|signaling| signaling.identity.clone());
        RoomSettings {
            place: self
                .signaling
                .as_ref()
                .map(SignalingSettings::place)
                .unwrap_or_default(),
            identity,
            first_start: self.first_start,
            panel_simulated: self.panel.backend == PanelBackend::SimVirtual,
            sim: !self.simulated().is_empty(),
            unencrypted: self.unencrypted_server().is_some(),
            has_camera: self.camera.device != VideoDevice::None,
            has_screen: self.screen.source.device != VideoDevice::None,
            share_on_signal: self.screen.on_signal,
            recovery: self.recovery.clone(),
            complaint: None,
        }
    }
}

/// `[signaling]`: the application's server and our place in it.
#[derive(Clone, Debug, PartialEq)]
pub struct SignalingSettings {
    /// `url`: origin of REST and Socket.IO alike.
    pub url: ServerUrl,
    /// `insecure_http`: `url` may be `http://` to another machine.
    pub insecure_http: bool,
    /// `api`: REST prefix, with a leading and without a trailing slash.
    pub api: String,
    /// `meeting` and `user`.
    pub identity: Identity,
    /// `classroom`: join by `classrooms/{classroom}/meetings/{meeting}/join`.
    pub classroom: Option<String>,
    /// `email`: log in over REST with it and `password_file`.
    pub email: Option<String>,
    /// `password_file`: a credential's name or a path.
    pub password_file: Option<CredentialRef>,
    /// `token_file`: a bearer token instead of a login.
    pub token_file: Option<CredentialRef>,
    /// `ca_file`: PEM certificates to trust besides the system's.
    pub ca_file: Option<CredentialRef>,
}

impl SignalingSettings {
    /// Server, meeting and user in one string, see [`RoomSettings::place`]. None of them contains a space.
    fn place(&self) -> String {
        format!(
            "{} {} {}",
            self.url, self.identity.meeting, self.identity.user
        )
    }
}

/// One `[[ice_servers]]` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct IceServer {
    /// `stun:` and `turn:` URLs (RFC 7064, RFC 7065).
    pub urls: Vec<String>,
    /// `username`.
    pub username: Option<String>,
    /// `credential_file`.
    pub credential_file: Option<CredentialRef>,
    /// `secret_file`: shared secret of the TURN REST scheme.
    pub secret_file: Option<CredentialRef>,
    /// `secret_lifetime_ms`: how long a password made of the shared secret is good for.
    pub secret_lifetime: Duration,
    /// `ca_file`: PEM certificates to trust besides the system's, for `turns:`.
    pub ca_file: Option<CredentialRef>,
}

impl IceServer {
    /// [`Self::secret_lifetime`] where nothing is said: a day, as coturn's documentation proposes.
    pub const SECRET_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

    /// Some URL is a relay's (RFC 7065).
    pub fn has_turn(&self) -> bool {
        self.urls.iter().any(|url| url.starts_with("turn"))
    }
}

/// `[video]`: what the camera is encoded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoEncoding {
    /// Pixels; even, 160 to 1920.
    pub width: u32,
    /// Pixels; even, 90 to 1080.
    pub height: u32,
    /// Frames per second, 1 to 60.
    pub frame_rate: u32,
    /// Of the H.264 stream.
    pub bitrate: Bitrate,
}

impl VideoEncoding {
    /// Whether a camera that was opened for this one will do for that one too: the encoder alone differs.
    pub fn needs_the_same_camera(&self, other: &Self) -> bool {
        *self
            == Self {
                bitrate: self.bitrate,
                ..*other
            }
    }
}

/// `[audio]`: how the microphone is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioEncoding {
    /// Of the Opus stream, 6000 to 128000.
    pub bitrate: Bitrate,
}

/// `[panel] backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PanelBackend {
    /// No panel.
    None,
    /// `sim:virtual`.
    SimVirtual,
    /// `rppal`.
    Rppal,
    /// `chardev`.
    Chardev,
    /// `kernel`.
    Kernel,
}

/// One line of the panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanelLine {
    /// `chip`: GPIO chip name or label.
    pub chip: Option<String>,
    /// `line`: name or offset on the chip, or the kernel's name for backend `kernel`.
    pub line: String,
    /// `active_low`.
    pub active_low: bool,
    /// `bias`: `pull-up`, `pull-down`, `disabled` or as the board has it.
    pub bias: Option<String>,
}

/// `[panel]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanelSettings {
    /// `backend`.
    pub backend: PanelBackend,
    /// `[panel.buttons.*]`: mic, camera, share.
    pub buttons: [Option<PanelLine>; 3],
    /// `[panel.leds.*]`: mic, camera, status.
    pub leds: [Option<PanelLine>; 3],
}

/// `[control]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// `socket`: path of the Unix socket; by default under the runtime directory.
    pub socket: Option<PathBuf>,
    /// `http`: address of the box's own page.
    pub http: Option<SocketAddr>,
    /// `http_hosts`: names besides those of loopback under which browsers may ask for the page.
    pub http_hosts: Vec<String>,
}

/// `[hub] tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubTls {
    /// `off`: for loopback only.
    Off,
    /// `self-signed`: browsers ask before they go on.
    SelfSigned,
    /// A PEM file with the certificate chain and the key.
    File(CredentialRef),
}

/// `[hub] access`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HubAccess {
    /// Whoever has the meeting's token.
    Token,
    /// Whoever reaches the address.
    Open,
}

/// `[hub.limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubLimits {
    /// Members of one meeting.
    pub members: u32,
    /// Connections at a time.
    pub connections: u32,
    /// Of one message, in bytes.
    pub payload_bytes: u32,
    /// Of one connection.
    pub messages_per_second: u32,
}

/// `[hub]`: the embedded server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSettings {
    /// `listen`.
    pub listen: Option<SocketAddr>,
    /// `url`: the origin that links begin with, where it is not that of `listen`.
    pub url: Option<String>,
    /// `meetings`: the ids of the meetings that exist; at least one.
    pub meetings: Vec<String>,
    /// `pages`: the folder of the guest page.
    pub pages: PathBuf,
    /// `tls`.
    pub tls: HubTls,
    /// `access`.
    pub access: HubAccess,
    /// `limits`.
    pub limits: HubLimits,
}

/// `[box] apply`: when a change that interrupts a meeting comes into effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// As soon as nobody else is in the meeting.
    Idle,
    /// At once.
    Now,
}

/// `[remote]`: a signed layer of the configuration, fetched from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteSettings {
    /// `url`: https, with `[box] id` in the place of `{id}`.
    pub url: String,
    /// `key`: minisign public keys, at least one.
    pub keys: Vec<String>,
    /// `ca_file`: PEM certificates to trust besides the system's.
    pub ca_file: Option<CredentialRef>,
    /// `proxy`: `http://HOST:PORT`.
    pub proxy: Option<String>,
    /// `interval_ms`: between two looks.
    pub interval: Duration,
    /// `probation_ms`: how long new settings may take to reach the signaling server.
    pub probation: Duration,
}
