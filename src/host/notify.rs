//! sd_notify(3): readiness, status and the watchdog. Without a service manager all of it does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::room::shown;

/// Longest status that is sent, in characters; `systemctl status` shows one line.
const STATUS_CHARACTERS: usize = 240;

/// `READY=1`: devices are probed and signaling was attempted.
pub fn report_ready() {
    send(&[NotifyState::Ready]);
}

/// `STATUS=`: one sentence for `systemctl status`.
pub fn report_status(text: &str) {
    send(&[NotifyState::Status(&one_line(text))]);
}

/// `STOPPING=1`: the way out has begun.
pub fn report_stopping() {
    send(&[NotifyState::Stopping]);
}

/// `WATCHDOG=1`: proof of life.
pub fn feed_watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// The unit's `WatchdogSec`, if this process is the one that is watched; feed at half of it or more often.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero())
}

fn send(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("cannot reach the service manager: {error}");
    }
}

// A line break would start another assignment of the protocol: names from outside reach the status.
fn one_line(text: &str) -> String {
    shown(text, STATUS_CHARACTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_smuggle_another_assignment() {
        assert_eq!(
            one_line("in a meeting with Eve\nWATCHDOG=trigger"),
            "in a meeting with Eve WATCHDOG=trigger"
        );
    }

    #[test]
    fn a_status_has_a_bounded_length() {
        assert_eq!(
            one_line(&"ä".repeat(10_000)).chars().count(),
            STATUS_CHARACTERS
        );
    }
}
