//! Reading the configuration again while the box runs: what differs is sorted by when it can be applied without
//! interrupting anybody.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::{Apply, Change, Settings};
use crate::control::Reload;

use super::configuration::{ConfigSource, Configuration, warn_of_plain_http};

/// A configuration on its way to the driver.
#[derive(Debug)]
pub(super) struct Reloaded {
    /// As it was read.
    pub(super) settings: Settings,
    /// What of it was refused.
    pub(super) complaint: Option<String>,
    /// Where the answer goes.
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// What becomes of the differences; each by its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// In effect.
    pub(super) applied: Vec<&'static str>,
    /// Comes into effect as soon as nobody else is in the meeting.
    pub(super) when_alone: Vec<&'static str>,
    /// Comes into effect at the next start of the program.
    pub(super) at_start: Vec<&'static str>,
}

/// When a change can be applied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    Alone,
    Start,
}

fn when(change: &Change, running: &Settings) -> When {
    match change {
        // Read anew each time they are needed.
        Change::Name(_)
        | Change::Apply(_)
        | Change::Remote(_)
        | Change::IceServers(_)
        | Change::IceProxy(_)
        | Change::RelayOnly(_)
        | Change::Recovery(_) => When::Now,
        Change::Signaling(signaling) => {
            let wanted = Settings {
                signaling: signaling.clone(),
                ..running.clone()
            };
            let (old, new) = (running.room(), wanted.room());
            match (old.place, old.identity) == (new.place, new.identity) {
                true => When::Now,
                // The box leaves one meeting and joins another.
                false => When::Alone,
            }
        }
        // Read by whoever fetches the remote file.
        Change::Id(_) => When::Now,
        // The encoder goes on with it; nothing does anything with a display yet.
        Change::Audio(_) | Change::Display(_) => When::Now,
        Change::Video(video) => match running.video.needs_the_same_camera(video) {
            true => When::Now,
            false => When::Alone,
        },
        // Together with the camera: the screen's source is compared with the camera that runs.
        Change::Screen(screen) => match (&running.screen.source, &running.screen.cameras)
            == (&screen.source, &screen.cameras)
        {
            true => When::Now,
            false => When::Alone,
        },
        // The others would miss a second of it.
        Change::Camera(_) | Change::Microphone(_) | Change::Speaker(_) => When::Alone,
        // Where the box is reached and keeps things, and its lines: of the box's own files alone, so that whoever
        // changes them can start the program anew as well.
        Change::StateDir(_)
        | Change::FirstStart(_)
        | Change::Panel(_)
        | Change::Control(_)
        | Change::Hub(_) => When::Start,
    }
}

/// What is in effect afterwards, and what became of each difference. `alone`: nobody else is in the meeting.
pub(super) fn apply(running: &Settings, wanted: &Settings, alone: bool) -> (Settings, Outcome) {
    let alone = alone || wanted.apply == Apply::Now;
    let mut settings = running.clone();
    let mut outcome = Outcome::default();
    for change in Settings::diff(running, wanted) {
        let key = change.key();
        match when(&change, running) {
            When::Start => outcome.at_start.push(key),
            When::Alone if !alone => outcome.when_alone.push(key),
            When::Now | When::Alone => {
                outcome.applied.push(key);
                change.apply(&mut settings);
            }
        }
    }
    (settings, outcome)
}

/// Whether nothing of these settings waits but what waits for the next start of the program.
pub(super) fn is_in_effect(running: &Settings, wanted: &Settings) -> bool {
    Settings::diff(running, wanted)
        .iter()
        .all(|change| when(change, running) == When::Start)
}

impl Outcome {
    /// What waits, as a sentence; nothing if everything is in effect.
    fn waiting(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.applied.is_empty() {
            parts.push(format!("applied: {}", self.applied.join(", ")));
        }
        if !self.when_alone.is_empty() {
            parts.push(format!(
                "as soon as nobody else is in the meeting: {}",
                self.when_alone.join(", ")
            ));
        }
        if !self.at_start.is_empty() {
            parts.push(format!(
                "at the next start of huddled: {}",
                self.at_start.join(", ")
            ));
        }
        let waits = !self.when_alone.is_empty() || !self.at_start.is_empty();
        waits.then(|| format!("accepted; {}", parts.join("; ")))
    }
}

/// Reads the configuration again, has the driver apply it and says what became of it.
pub(super) fn reload(source: ConfigSource, driver: mpsc::Sender<Reloaded>) -> Reload {
    let one_at_a_time = Mutex::new(());
    Arc::new(move || {
        // What was read last is applied last. Nothing done under this lock leaves it half-changed.
        let _guard = one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let configuration = source.load().map_err(|error| {
            let message = format!("refused, the settings stay as they are: {error}");
            log::warn!("configuration: {message}");
            message
        })?;
        if let Some(complaint) = &configuration.complaint {
            log::error!("{complaint}");
        }
        warn_of_plain_http(&configuration.settings);
        let outcome = hand_over(&configuration, &driver).ok_or("the daemon is stopping")?;
        source.keep(&configuration);
        if outcome == Outcome::default() {
            log::info!("the configuration was read again; nothing changed");
        } else if outcome.waiting().is_none() {
            let applied = outcome.applied.join(", ");
            log::info!("the configuration was read again; applied: {applied}");
        }
        let waiting = outcome.waiting();
        if let Some(waiting) = &waiting {
            log::warn!("configuration: {waiting}");
        }
        match (configuration.complaint, waiting) {
            (None, None) => Ok(()),
            (Some(one), None) | (None, Some(one)) => Err(one),
            (Some(one), Some(other)) => Err(format!("{one}; {other}")),
        }
    })
}

/// Reads the configuration again whenever its files have changed and are left alone for a moment.
pub(super) async fn follow(mut changes: mpsc::Receiver<()>, reload: Reload) {
    /// Editors and package managers touch several files, and one of them several times.
    const QUIET: Duration = Duration::from_millis(300);
    /// Whoever writes all the time is not waited for.
    const PATIENCE: u32 = 20;
    while changes.recv().await.is_some() {
        for _ in 0..PATIENCE {
            if !matches!(
                tokio::time::timeout(QUIET, changes.recv()).await,
                Ok(Some(()))
            ) {
                break;
            }
        }
        let reload = Arc::clone(&reload);
        // The outcome is logged; there is nobody to answer.
        drop(tokio::task::spawn_blocking(move || drop(reload())).await);
    }
}

/// Blocks until the driver has applied it; `None` while it is ending.
fn hand_over(configuration: &Configuration, driver: &mpsc::Sender<Reloaded>) -> Option<Outcome> {
    let (reply, answer) = oneshot::channel();
    let reloaded = Reloaded {
        settings: configuration.settings.clone(),
        complaint: configuration.complaint.clone(),
        reply,
    };
    driver.blocking_send(reloaded).ok()?;
    answer.blocking_recv().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::config::{REMOTE_KEYS, parse};

    fn settings(text: &str) -> Settings {
        parse(text, Path::new("/etc/huddled/config.toml")).unwrap()
    }

    const MEMBER: &str = "[signaling]\nurl = 'https://a'\nmeeting = 'm'\nuser = 'u'\n";

    #[test]
    fn nothing_changed_touches_nothing() {
        let one = settings(MEMBER);
        assert_eq!(apply(&one, &one, false), (one.clone(), Outcome::default()));
    }

    #[test]
    fn what_interrupts_nobody_is_applied_and_the_rest_is_named() {
        let old = settings(MEMBER);
        let new = settings(&format!(
            "{MEMBER}[recovery]\nsuspicion_ms = 500\n[video]\nbitrate = 800_000\n[box]\nname = 'n'\n\
             [microphone]\ndevice = 'other'\n[control]\nhttp = '127.0.0.1:80'"
        ));
        let (running, outcome) = apply(&old, &new, false);
        assert_eq!(outcome.applied, ["box.name", "video", "recovery"]);
        assert_eq!(outcome.when_alone, ["microphone"]);
        assert_eq!(outcome.at_start, ["control"]);
        assert_eq!(running.recovery.suspicion, Duration::from_millis(500));
        assert_eq!(running.microphone, old.microphone);
        assert_eq!(
            outcome.waiting().unwrap(),
            "accepted; applied: box.name, video, recovery; as soon as nobody else is in the meeting: microphone; at the \
             next start of huddled: control"
        );
        assert!(!is_in_effect(&running, &new));
        let (running, _) = apply(&running, &new, true);
        assert!(is_in_effect(&running, &new));
    }

    #[test]
    fn what_a_remote_file_may_set_needs_no_start() {
        let wanted = settings(
            "[box]\nname = 'n'\napply = 'now'\n\
             [signaling]\nurl = 'https://a'\nmeeting = 'm'\nuser = 'u'\n\
             [[ice_servers]]\nurls = ['turn:a']\nusername = 'u'\ncredential_file = 'c'\n[ice]\nrelay_only = true\nproxy = 'http://a:1'\n\
             [camera]\ndevice = '/dev/video9'\n[screen]\ndevice = '/dev/video8'\n\
             [microphone]\ndevice = 'a'\n[speaker]\ndevice = 'b'\n[display]\ndevice = 'sim:png'\n\
             [video]\nwidth = 320\nheight = 180\n[audio]\nbitrate = 20000\n[recovery]\nsuspicion_ms = 500\n",
        );
        let running = Settings::default();
        let changes = Settings::diff(&running, &wanted);
        for key in REMOTE_KEYS {
            let change = changes
                .iter()
                .find(|change| key.starts_with(change.key()))
                .unwrap_or_else(|| panic!("{key} is not tried here"));
            assert!(when(change, &running) != When::Start, "{key}");
        }
    }

    #[test]
    fn another_meeting_waits_until_nobody_is_left_and_another_token_does_not() {
        let old = settings(MEMBER);
        let token = settings(&format!("{MEMBER}token_file = 't'\n"));
        assert_eq!(apply(&old, &token, false).0, token);
        let elsewhere = settings(&MEMBER.replace("'m'", "'n'"));
        let (running, outcome) = apply(&old, &elsewhere, false);
        assert_eq!(
            (running, outcome.when_alone),
            (old.clone(), vec!["signaling"])
        );
        let (running, outcome) = apply(&old, &elsewhere, true);
        assert_eq!((running, outcome.applied), (elsewhere, vec!["signaling"]));
    }
}
