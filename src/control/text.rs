//! Snapshots and events in words, for a person at a terminal.

use std::fmt::Write as _;

use super::mirror::{EventLine, PeerState, Snapshot};
use crate::room::one_line;

/// `huddlectl status`: several lines, each with its line break.
pub fn describe_status(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{name:<12}{value}");
    };
    row(
        "meeting",
        format!(
            "{} for {}; {} connected",
            visible(&snapshot.signaling.state),
            duration(snapshot.signaling.since_ms),
            others(snapshot.connected_peers),
        ),
    );
    if let Some(banner) = &snapshot.banner {
        row("", visible(banner));
    }
    if snapshot.signaling.unencrypted {
        row(
            "server",
            "not encrypted: [signaling] insecure_http".to_owned(),
        );
    }
    row(
        "microphone",
        format!(
            "{} (light: {})",
            microphone(snapshot),
            visible(&snapshot.leds.mic)
        ),
    );
    row(
        "camera",
        format!(
            "{} (light: {})",
            camera(snapshot),
            visible(&snapshot.leds.camera)
        ),
    );
    row("screen", screen(snapshot).to_owned());
    row(
        "status",
        format!("(light: {})", visible(&snapshot.leds.status)),
    );
    if snapshot.sim {
        row("devices", "some are simulated".to_owned());
    }
    for peer in &snapshot.peers {
        row("member", member(peer));
    }
    text
}

/// A snapshot in one line, without what changes by itself (durations); for `huddlectl watch`.
pub fn summarize(snapshot: &Snapshot) -> String {
    format!(
        "{}; {} connected; microphone {}; camera {}; {}",
        visible(
            snapshot
                .banner
                .as_deref()
                .unwrap_or(&snapshot.signaling.state)
        ),
        others(snapshot.connected_peers),
        microphone(snapshot),
        camera(snapshot),
        screen(snapshot),
    )
}

/// An event in one line; for `huddlectl watch`.
pub fn describe_event(event: &EventLine) -> String {
    let text = match event {
        EventLine::ConnectionStateChanged {
            user_id,
            state,
            previous_state,
        } => format!("{user_id}: connection {previous_state} -> {state}"),
        EventLine::IceConnectionStateChanged {
            user_id,
            state,
            previous_state,
        } => format!("{user_id}: ICE {previous_state} -> {state}"),
        EventLine::PeerConnected { user_id } => format!("{user_id}: connected"),
        EventLine::PeerDisconnected { user_id } => format!("{user_id}: disconnected"),
        EventLine::Reconnecting {
            user_id,
            attempt,
            max_attempts,
        } => format!("{user_id}: reconnecting, attempt {attempt} of {max_attempts}"),
        EventLine::Reconnected { user_id, attempts } => {
            format!("{user_id}: reconnected after {attempts} attempt(s)")
        }
        EventLine::ReconnectFailed { user_id, attempts } => {
            format!("{user_id}: not reached in {attempts} attempt(s); trying slowly")
        }
    };
    visible(&text)
}

/// Text from outside as a terminal may show it: control characters become a replacement sign, other invisible ones go.
pub fn visible(text: &str) -> String {
    one_line(&text.replace(char::is_control, "\u{fffd}"))
}

fn others(count: usize) -> String {
    match count {
        1 => "1 other member".to_owned(),
        count => format!("{count} other members"),
    }
}

fn microphone(snapshot: &Snapshot) -> String {
    let state = &snapshot.microphone;
    closable(
        ("muted", "live"),
        state.muted,
        state.confirmed,
        state.forced,
    )
}

fn camera(snapshot: &Snapshot) -> String {
    let state = &snapshot.camera;
    let text = closable(("off", "on"), state.off, state.confirmed, state.forced);
    if state.lost {
        format!("{text}, device lost")
    } else {
        text
    }
}

// What is confirmed comes first: it is what the others hear and see.
fn closable(
    (closed, open): (&str, &str),
    wanted: bool,
    confirmed: Option<bool>,
    forced: bool,
) -> String {
    let word = |is_closed| if is_closed { closed } else { open };
    let mut text = match confirmed {
        Some(state) => word(state).to_owned(),
        None => "not confirmed yet".to_owned(),
    };
    if confirmed != Some(wanted) {
        let _ = write!(text, ", wanted {}", word(wanted));
    }
    if forced {
        text.push_str(", by the host");
    }
    text
}

fn screen(snapshot: &Snapshot) -> String {
    let text = if snapshot.screen.sharing {
        "screen shared"
    } else {
        "screen not shared"
    };
    if let Some(words) = &snapshot.screen.refused {
        format!("{text}; the server said: {words}")
    } else if snapshot.screen.forced {
        format!("{text}, by the host")
    } else {
        text.to_owned()
    }
}

fn member(peer: &PeerState) -> String {
    let mut text = if peer.name == peer.user_id {
        peer.user_id.clone()
    } else {
        format!("{} ({})", peer.name, peer.user_id)
    };
    let _ = write!(
        text,
        ": {} for {}",
        peer.connection_state,
        duration(peer.since_ms)
    );
    if peer.phase != peer.connection_state {
        let _ = write!(text, ", {}", peer.phase);
    }
    if peer.attempt > 0 {
        let _ = write!(text, ", attempt {} of {}", peer.attempt, peer.max_attempts);
    }
    for (holds, word) in [
        (peer.muted, "muted"),
        (peer.video_off, "camera off"),
        (peer.sharing, "shares the screen"),
    ] {
        if holds {
            let _ = write!(text, ", {word}");
        }
    }
    visible(&text)
}

fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot() -> Snapshot {
        serde_json::from_value(json!({
            "version": 1, "generation": 42, "sim": true,
            "signaling": {"state": "joined", "since_ms": 125_000},
            "banner": null, "connected_peers": 1,
            "microphone": {"muted": true, "confirmed": true, "forced": true},
            "camera": {"off": false, "confirmed": true, "forced": false, "lost": true},
            "screen": {"sharing": false, "forced": false},
            "leds": {"mic": "red steady", "camera": "amber blink", "status": "green steady"},
            "peers": [
                {"user_id": "u-1", "name": "Ada \u{1b}[31m", "connection_state": "connected",
                 "previous_connection_state": "connecting", "ice_connection_state": "connected",
                 "phase": "connected", "attempt": 0, "max_attempts": 3, "since_ms": 3_700_000,
                 "badge": null, "muted": true, "video_off": false, "sharing": true},
                {"user_id": "u-2", "name": "u-2", "connection_state": "failed",
                 "previous_connection_state": "disconnected", "ice_connection_state": "failed",
                 "phase": "recreating", "attempt": 2, "max_attempts": 3, "since_ms": 900,
                 "badge": "Reconnecting", "muted": false, "video_off": false, "sharing": false}
            ]
        }))
        .unwrap()
    }

    #[test]
    fn the_status_reads_like_this() {
        let expected = "\
meeting     joined for 2 min 5 s; 1 other member connected
microphone  muted, by the host (light: red steady)
camera      off, wanted on, device lost (light: amber blink)
screen      screen not shared
status      (light: green steady)
devices     some are simulated
member      Ada \u{fffd}[31m (u-1): connected for 1 h 1 min, muted, shares the screen
member      u-2: failed for 0 s, recreating, attempt 2 of 3
";
        assert_eq!(describe_status(&snapshot()), expected);
    }

    #[test]
    fn a_banner_is_shown_in_both_forms() {
        let mut snapshot = snapshot();
        snapshot.banner = Some("Reconnecting to server".to_owned());
        snapshot.microphone.confirmed = None;
        assert!(describe_status(&snapshot).contains("Reconnecting to server\n"));
        assert_eq!(
            summarize(&snapshot),
            "Reconnecting to server; 1 other member connected; \
             microphone not confirmed yet, wanted muted, by the host; \
             camera off, wanted on, device lost; screen not shared"
        );
    }

    #[test]
    fn an_event_is_one_line_whatever_the_user_id_holds() {
        let event = EventLine::Reconnecting {
            user_id: "u\n2".to_owned(),
            attempt: 1,
            max_attempts: 3,
        };
        assert_eq!(
            describe_event(&event),
            "u\u{fffd}2: reconnecting, attempt 1 of 3"
        );
    }
}
