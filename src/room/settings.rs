//! What the room needs to know of the configuration.

use std::time::Duration;

use super::message::Identity;

/// How the very first start behaves (interfaces: who may open the microphone, rule 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FirstStart {
    /// Microphone and camera open, as the application's browsers start.
    #[default]
    Open,
    /// Both closed until somebody presses.
    Muted,
}

/// Delays and limits of recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoverySettings {
    /// How long a stream that flowed may be silent before its peer is shown as reconnecting.
    pub suspicion: Duration,
    /// How long everything may be silent before something is done, where nothing but the silence speaks for it.
    pub action: Duration,
    /// How long an old path gets to heal by itself once the link or the server is back, or heard again.
    pub healing: Duration,
    /// How long packets may take to come after an answered ICE restart, or over a new connection that says
    /// `connected`, before the connection is made anew.
    pub restart: Duration,
    /// Waits before the new connections of the fast attempts.
    pub recreate: Vec<Duration>,
    /// Wait between attempts after the fast ones are used up.
    pub slow_interval: Duration,
}

impl Default for RecoverySettings {
    fn default() -> Self {
        Self {
            suspicion: Duration::from_millis(1500),
            action: Duration::from_millis(3000),
            healing: Duration::from_secs(1),
            restart: Duration::from_millis(3000),
            recreate: vec![
                Duration::from_secs(1),
                Duration::from_secs(2),
                Duration::from_secs(4),
            ],
            slow_interval: Duration::from_secs(30),
        }
    }
}

/// The room's part of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSettings {
    /// Meeting and own user id; `None` while unconfigured.
    pub identity: Option<Identity>,
    /// Server address and meeting in one string: when it changes, the box joins muted.
    pub place: String,
    /// Behaviour of the first start ever.
    pub first_start: FirstStart,
    /// Presses from the control socket are accepted.
    pub panel_simulated: bool,
    /// Some device is simulated; shown in the snapshot.
    pub sim: bool,
    /// The way to the server is not encrypted and leaves this machine; shown in the snapshot and the status.
    pub unencrypted: bool,
    /// A camera is configured.
    pub has_camera: bool,
    /// A screen source is configured.
    pub has_screen: bool,
    /// A screen source that appears is shared, and no longer when it goes.
    pub share_on_signal: bool,
    /// Delays and limits of recovery.
    pub recovery: RecoverySettings,
    /// What an operator must know of the configuration, in one sentence: a file of it was refused and these settings
    /// are older ones.
    pub complaint: Option<String>,
}
