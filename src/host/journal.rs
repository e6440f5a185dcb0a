//! Where the log goes: into the journal with fields (systemd-journal-logger), else to standard error as lines.

use std::fmt::Write as _;
use std::io::Write as _;

use log::kv::{Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use crate::journal_budget::{Allowance, LineBudget};
use crate::room::{Level, Notice, PeerId, Timestamp, one_line};

/// Targets that are limited, with what is let through; the first prefix that fits decides.
///
/// The WebRTC crates write an error for every datagram that cannot leave, 150 lines a second and peer while a
/// link is down, and some of them contain the whole packet: nothing of theirs is kept, because the peer
/// sessions report what matters themselves.
const LIMITS: &[(&str, LevelFilter)] = &[
    ("webrtc", LevelFilter::Off),
    ("rtc", LevelFilter::Off),
    ("rust_socketio", LevelFilter::Error),
    ("rust_engineio", LevelFilter::Error),
    ("engineio", LevelFilter::Error),
    ("tungstenite", LevelFilter::Error),
    ("tokio_tungstenite", LevelFilter::Error),
    ("reqwest", LevelFilter::Error),
    ("hyper", LevelFilter::Error),
    ("native_tls", LevelFilter::Error),
    ("mio", LevelFilter::Error),
];

/// Installs the logger of the process: the journal when standard error is connected to it
/// (`$JOURNAL_STREAM`, systemd.exec(5)), standard error else. Does nothing the second time.
pub fn install(level: LevelFilter) {
    let sink = if connected_to_journal() {
        JournalLog::new().map_or(Sink::StandardError, Sink::Journal)
    } else {
        Sink::StandardError
    };
    let logger = Logger {
        level,
        sink,
        started: crate::clock::monotonic(),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

/// Standard error is the journal's, and standard output most likely too: what is printed there is kept.
pub fn logs_to_journal() -> bool {
    connected_to_journal()
}

/// What is written of the room's notices in a minute, of each level. A meeting of sixteen whose network fails says less.
const NOTICES: Allowance = Allowance {
    lines: 240,
    per_source: 30,
};
static ERRORS: LineBudget = LineBudget::with(
    "huddled::room",
    log::Level::Error,
    "errors about members",
    NOTICES,
);
static WARNINGS: LineBudget = LineBudget::with(
    "huddled::room",
    log::Level::Warn,
    "warnings about members",
    NOTICES,
);
static REPORTS: LineBudget = LineBudget::with(
    "huddled::room",
    log::Level::Info,
    "reports about members",
    NOTICES,
);

/// Writes one of the room's notices, within the budget of the member it is about. The member it is about becomes the field `PEER`, what became of its connection `STATE` and
/// `ATTEMPT`.
pub fn log_notice(notice: &Notice) {
    let level = match notice.level {
        Level::Error => log::Level::Error,
        Level::Warn => log::Level::Warn,
        Level::Info => log::Level::Info,
        Level::Debug => log::Level::Debug,
    };
    let source = notice.peer.as_ref().map_or("the room", PeerId::as_str);
    let admitted = match notice.level {
        Level::Error => ERRORS.admits(source),
        Level::Warn => WARNINGS.admits(source),
        Level::Info => REPORTS.admits(source),
        // Nobody who needs every line of these writes a journal.
        Level::Debug => true,
    };
    if !admitted {
        return;
    }
    match (&notice.peer, notice.story) {
        (Some(peer), Some((phase, attempt))) => {
            log::log!(
                target: "huddled::room", level,
                peer = peer.as_str(), state = phase.as_str(), attempt = attempt;
                "{}", notice.text
            );
        }
        (Some(peer), None) => {
            log::log!(target: "huddled::room", level, peer = peer.as_str(); "{}", notice.text);
        }
        (None, _) => log::log!(target: "huddled::room", level, "{}", notice.text),
    }
}

enum Sink {
    Journal(JournalLog),
    StandardError,
}

struct Logger {
    level: LevelFilter,
    sink: Sink,
    started: Timestamp,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= limit(self.level, metadata.target())
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // A log that cannot be written is no reason to stop a meeting.
        match &self.sink {
            Sink::Journal(journal) => {
                let mut message = String::new();
                push_visible(&mut message, &record.args().to_string());
                let _ = journal
                    .journal_send(&record.to_builder().args(format_args!("{message}")).build());
            }
            Sink::StandardError => {
                let age = crate::clock::monotonic().since(self.started);
                let line = format_line(record, age.as_secs_f64());
                let _ = std::io::stderr().lock().write_all(line.as_bytes());
            }
        }
    }

    fn flush(&self) {}
}

// What is let through of a target.
fn limit(level: LevelFilter, target: &str) -> LevelFilter {
    LIMITS
        .iter()
        .find(|(prefix, _)| {
            target
                .strip_prefix(prefix)
                // `rtc` covers `rtc_ice::agent` and `rtc::peer_connection`, not a word that merely begins so.
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', ':']))
        })
        .map_or(level, |(_, limit)| level.min(*limit))
}

fn format_line(record: &Record, seconds: f64) -> String {
    let mut line = format!("{seconds:10.3} {:<5} {}: ", record.level(), record.target());
    push_visible(&mut line, &record.args().to_string());
    // The visitor cannot fail: it writes into memory.
    let _ = record.key_values().visit(&mut KeyValues(&mut line));
    line.push('\n');
    line
}

// Names from outside must not start a line of their own or speak to a terminal.
fn push_visible(line: &mut String, text: &str) {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    line.push_str(&one_line(&escaped));
}

struct KeyValues<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for KeyValues<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        let mut text = String::new();
        write!(text, "{value}")?;
        self.0.push(' ');
        self.0.push_str(key.as_str());
        self.0.push('=');
        push_visible(self.0, &text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_level_target_message_and_fields() {
        let fields = [("peer", "u-1"), ("connection_state", "failed")];
        let line = format_line(
            &Record::builder()
                .level(log::Level::Warn)
                .target("huddled::room")
                .args(format_args!("the connection is lost"))
                .key_values(&fields)
                .build(),
            1.5,
        );
        assert_eq!(
            line,
            "     1.500 WARN  huddled::room: the connection is lost peer=u-1 connection_state=failed\n"
        );
    }

    #[test]
    fn a_name_from_outside_cannot_forge_a_line_or_colour_a_terminal() {
        let name = "Eve\n0.000 INFO huddled: all is well \u{1b}[31m";
        let line = format_line(
            &Record::builder()
                .level(log::Level::Info)
                .target("huddled::room")
                .args(format_args!("{name} joined"))
                .key_values(&("name", name))
                .build(),
            0.0,
        );
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
        let mut line = String::new();
        push_visible(&mut line, "Eve\u{202e}  deniojr\u{2028}all is well");
        assert_eq!(line, "Eve  deniojr all is well");
    }

    #[test]
    fn the_webrtc_crates_are_silent_and_our_own_words_are_not() {
        for target in [
            "webrtc",
            "webrtc::peer_connection",
            "rtc",
            "rtc_ice::agent",
            "rtc::peer_connection",
        ] {
            assert_eq!(limit(LevelFilter::Trace, target), LevelFilter::Off);
        }
        assert_eq!(
            limit(LevelFilter::Trace, "rust_socketio::asynchronous"),
            LevelFilter::Error
        );
        for target in ["huddled::rtc::session", "huddled::room", "rtcsomething"] {
            assert_eq!(limit(LevelFilter::Debug, target), LevelFilter::Debug);
        }
        assert_eq!(limit(LevelFilter::Off, "hyper"), LevelFilter::Off);
    }
}
