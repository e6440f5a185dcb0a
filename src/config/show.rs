//! The effective settings as TOML.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use toml::Value;

use super::Origins;
use super::document::printable;
use super::settings::{
    Apply, CredentialRef, DisplayDevice, HubAccess, HubTls, MicrophoneDevice, PanelBackend,
    PanelLine, Settings, SpeakerDevice, VideoDevice,
};
use crate::room::FirstStart;

impl Settings {
    /// The effective settings as TOML, in the order of the documentation, which [`super::parse`] reads as the same
    /// settings. Secrets are only the names of their files, so nothing in it is one.
    pub fn show(&self) -> String {
        self.write(Page::default())
    }

    /// The same; behind each value stands a comment that says which file and line it came from.
    pub fn show_with(&self, origins: &Origins) -> String {
        self.write(Page {
            origins: Some(origins),
            ..Page::default()
        })
    }

    fn write(&self, mut page: Page<'_>) -> String {
        page.section("[box]");
        page.key("name", self.name.as_str());
        page.option("id", self.id.as_deref());
        page.option("state_dir", self.state_dir.as_deref().map(of_path));
        page.key(
            "first_start",
            match self.first_start {
                FirstStart::Open => "open",
                FirstStart::Muted => "muted",
            },
        );

        page.key(
            "apply",
            match self.apply {
                Apply::Idle => "idle",
                Apply::Now => "now",
            },
        );

        if let Some(signaling) = &self.signaling {
            page.section("[signaling]");
            page.key("url", signaling.url.as_str());
            page.key("insecure_http", signaling.insecure_http);
            page.key("api", signaling.api.as_str());
            page.key("meeting", signaling.identity.meeting.as_str());
            page.option("classroom", signaling.classroom.as_deref());
            page.key("user", signaling.identity.user.as_str());
            page.option("email", signaling.email.as_deref());
            page.option("password_file", of_file(&signaling.password_file));
            page.option("token_file", of_file(&signaling.token_file));
            page.option("ca_file", of_file(&signaling.ca_file));
        }

        for server in &self.ice_servers {
            page.element("ice_servers");
            page.key("urls", server.urls.clone());
            page.option("username", server.username.as_deref());
            page.option("credential_file", of_file(&server.credential_file));
            page.option("secret_file", of_file(&server.secret_file));
            if server.secret_file.is_some() {
                page.key("secret_lifetime_ms", millis(server.secret_lifetime));
            }
            page.option("ca_file", of_file(&server.ca_file));
        }
        page.section("[ice]");
        page.key("relay_only", self.relay_only);
        page.option("proxy", self.ice_proxy.as_deref());

        page.section("[camera]");
        page.key("device", of_video(&self.camera.device));
        page.key("ppm", i64::from(self.camera.ppm));
        page.section("[screen]");
        page.key("device", of_video(&self.screen.source.device));
        page.key("bitrate", i64::from(self.screen.bitrate.0));
        page.key("on_signal", self.screen.on_signal);
        page.key("ppm", i64::from(self.screen.source.ppm));
        page.section("[microphone]");
        page.key("device", of_microphone(&self.microphone.device));
        page.key("ppm", i64::from(self.microphone.ppm));
        page.section("[speaker]");
        page.key("device", of_speaker(&self.speaker.device));
        page.key("ppm", i64::from(self.speaker.ppm));
        page.section("[display]");
        page.key(
            "device",
            match self.display {
                DisplayDevice::None => "none",
                DisplayDevice::SimPng => "sim:png",
            },
        );

        page.section("[video]");
        page.key("width", i64::from(self.video.width));
        page.key("height", i64::from(self.video.height));
        page.key("frame_rate", i64::from(self.video.frame_rate));
        page.key("bitrate", i64::from(self.video.bitrate.0));
        page.section("[audio]");
        page.key("bitrate", i64::from(self.audio.bitrate.0));

        page.section("[panel]");
        page.key(
            "backend",
            match self.panel.backend {
                PanelBackend::None => "none",
                PanelBackend::SimVirtual => "sim:virtual",
                PanelBackend::Rppal => "rppal",
                PanelBackend::Chardev => "chardev",
                PanelBackend::Kernel => "kernel",
            },
        );
        let buttons = ["mic", "camera", "share"].iter().zip(&self.panel.buttons);
        for (name, line) in buttons {
            page.line(&format!("[panel.buttons.{name}]"), line.as_ref());
        }
        for (name, line) in ["mic", "camera", "status"].iter().zip(&self.panel.leds) {
            page.line(&format!("[panel.leds.{name}]"), line.as_ref());
        }

        page.section("[recovery]");
        page.key("suspicion_ms", millis(self.recovery.suspicion));
        page.key("action_ms", millis(self.recovery.action));
        page.key("healing_ms", millis(self.recovery.healing));
        page.key("restart_ms", millis(self.recovery.restart));
        let delays = self.recovery.recreate.iter();
        page.key(
            "recreate_ms",
            delays.map(|delay| millis(*delay)).collect::<Vec<_>>(),
        );
        page.key("attempts", self.recovery.recreate.len() as i64);
        page.key("slow_interval_ms", millis(self.recovery.slow_interval));

        page.section("[control]");
        page.option("socket", self.control.socket.as_deref().map(of_path));
        page.option("http", self.control.http.map(|address| address.to_string()));
        page.key("http_hosts", self.control.http_hosts.clone());

        page.section("[hub]");
        page.option("listen", self.hub.listen.map(|address| address.to_string()));
        page.option("url", self.hub.url.as_deref());
        page.key("meetings", self.hub.meetings.clone());
        page.key("pages", of_path(&self.hub.pages));
        page.key(
            "tls",
            match &self.hub.tls {
                HubTls::Off => "off",
                HubTls::SelfSigned => "self-signed",
                HubTls::File(file) => file.name.as_str(),
            },
        );
        page.key(
            "access",
            match self.hub.access {
                HubAccess::Token => "token",
                HubAccess::Open => "open",
            },
        );
        page.section("[hub.limits]");
        let limits = self.hub.limits;
        page.key("members", i64::from(limits.members));
        page.key("connections", i64::from(limits.connections));
        page.key("payload_bytes", i64::from(limits.payload_bytes));
        page.key("messages_per_second", i64::from(limits.messages_per_second));

        if let Some(remote) = &self.remote {
            page.section("[remote]");
            page.key("url", remote.url.as_str());
            page.key("key", remote.keys.clone());
            page.option("ca_file", of_file(&remote.ca_file));
            page.option("proxy", remote.proxy.as_deref());
            page.key("interval_ms", millis(remote.interval));
            page.key("probation_ms", millis(remote.probation));
        }
        page.text
    }
}

/// The text as it grows.
#[derive(Default)]
struct Page<'a> {
    text: String,
    origins: Option<&'a Origins>,
    /// Dotted, of the table that is being written.
    table: String,
    /// Of the arrays of tables there is one.
    elements: usize,
}

impl Page<'_> {
    fn section(&mut self, header: &str) {
        self.header(header, header.trim_matches(['[', ']']).to_owned());
    }

    fn element(&mut self, name: &str) {
        self.header(&format!("[[{name}]]"), format!("{name}[{}]", self.elements));
        self.elements += 1;
    }

    fn header(&mut self, header: &str, table: String) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(header);
        self.text.push('\n');
        self.table = table;
    }

    fn key(&mut self, key: &str, value: impl Into<Value>) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{key} = {}", value.into());
        if let Some(origins) = self.origins {
            let dotted = format!("{}.{key}", self.table);
            // As long as nobody says how many, there is one attempt for each wait, and the other way round.
            let other = match dotted.as_str() {
                "recovery.attempts" => "recovery.recreate_ms",
                "recovery.recreate_ms" => "recovery.attempts",
                _ => "",
            };
            let _ = match origins.of(&dotted).or_else(|| origins.of(other)) {
                Some((file, line)) => {
                    write!(
                        self.text,
                        "  # {}, line {line}",
                        printable(&file.display().to_string())
                    )
                }
                None => write!(self.text, "  # default"),
            };
        }
        self.text.push('\n');
    }

    fn option(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.key(key, value);
        }
    }

    fn line(&mut self, header: &str, line: Option<&PanelLine>) {
        if let Some(line) = line {
            self.section(header);
            self.option("chip", line.chip.as_deref());
            self.key("line", line.line.as_str());
            self.key("active_low", line.active_low);
            self.option("bias", line.bias.as_deref());
        }
    }
}

fn of_path(path: &Path) -> String {
    path.display().to_string()
}

fn of_file(file: &Option<CredentialRef>) -> Option<&str> {
    file.as_ref().map(|file| file.name.as_str())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn of_video(device: &VideoDevice) -> String {
    match device {
        VideoDevice::None => "none".to_owned(),
        VideoDevice::V4l2(name) => name.to_string(),
        VideoDevice::SimTestcard => "sim:testcard".to_owned(),
        VideoDevice::SimSlides => "sim:slides".to_owned(),
        VideoDevice::SimFile(path) => format!("sim:file:{}", path.display()),
    }
}

fn of_microphone(device: &MicrophoneDevice) -> String {
    match device {
        MicrophoneDevice::None => "none".to_owned(),
        MicrophoneDevice::Alsa(name) => name.to_string(),
        MicrophoneDevice::SimTone(hz) => format!("sim:tone:{hz}"),
        MicrophoneDevice::SimSpeech => "sim:speech".to_owned(),
        MicrophoneDevice::SimSilence => "sim:silence".to_owned(),
        MicrophoneDevice::SimFile(path) => format!("sim:file:{}", path.display()),
    }
}

fn of_speaker(device: &SpeakerDevice) -> String {
    match device {
        SpeakerDevice::None => "none".to_owned(),
        SpeakerDevice::Alsa(name) => name.to_string(),
        SpeakerDevice::SimMeter => "sim:meter".to_owned(),
        SpeakerDevice::SimWav(path) => format!("sim:wav:{}", path.display()),
    }
}
