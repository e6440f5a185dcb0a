//! What differs between two configurations, so that a reload touches nothing else.

use std::path::PathBuf;

use super::settings::{
    Apply, AudioEncoding, ControlSettings, DisplayDevice, HubSettings, IceServer,
    MicrophoneSettings, PanelSettings, RemoteSettings, ScreenSettings, Settings, SignalingSettings,
    SpeakerSettings, VideoEncoding, VideoSettings,
};
use crate::room::{FirstStart, RecoverySettings};

macro_rules! changes {
    ($($variant:ident($type:ty): $field:ident, $key:literal;)*) => {
        /// One thing that differs, with its new value.
        // A handful of them exist for the moment of a reload.
        #[allow(clippy::large_enum_variant)]
        #[derive(Clone, Debug, PartialEq)]
        pub enum Change {
            $(#[doc = concat!("`", $key, "`.")] $variant($type),)*
        }

        impl Change {
            /// The key or table, dotted from the root.
            pub fn key(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $key,)*
                }
            }

            /// Puts the new value in the place of the old one.
            pub fn apply(self, settings: &mut Settings) {
                match self {
                    $(Self::$variant(value) => settings.$field = value,)*
                }
            }
        }

        impl Settings {
            /// What must be changed to get from `old` to `new`, in the order of the documentation; nothing if they
            /// are the same.
            pub fn diff(old: &Settings, new: &Settings) -> Vec<Change> {
                // Naming every field makes one that is forgotten an error of the compiler.
                let Settings { $($field),* } = new;
                let mut changes = Vec::new();
                $(
                    if old.$field != *$field {
                        changes.push(Change::$variant($field.clone()));
                    }
                )*
                changes
            }
        }
    };
}

changes! {
    Name(String): name, "box.name";
    Id(Option<String>): id, "box.id";
    StateDir(Option<PathBuf>): state_dir, "box.state_dir";
    FirstStart(FirstStart): first_start, "box.first_start";
    Apply(Apply): apply, "box.apply";
    Signaling(Option<SignalingSettings>): signaling, "signaling";
    IceServers(Vec<IceServer>): ice_servers, "ice_servers";
    RelayOnly(bool): relay_only, "ice.relay_only";
    IceProxy(Option<String>): ice_proxy, "ice.proxy";
    Camera(VideoSettings): camera, "camera";
    Screen(ScreenSettings): screen, "screen";
    Microphone(MicrophoneSettings): microphone, "microphone";
    Speaker(SpeakerSettings): speaker, "speaker";
    Display(DisplayDevice): display, "display";
    Video(VideoEncoding): video, "video";
    Audio(AudioEncoding): audio, "audio";
    Panel(PanelSettings): panel, "panel";
    Recovery(RecoverySettings): recovery, "recovery";
    Control(ControlSettings): control, "control";
    Hub(HubSettings): hub, "hub";
    Remote(Option<RemoteSettings>): remote, "remote";
}
