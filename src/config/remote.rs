//! What a remote file may set: a list of what it may, so that a setting nobody thought of is one that it may not.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Origin, printable, tables};
use super::{ConfigError, Layer};

/// The settings that a remote file may say, dotted from the root. Not among them: who controls the box (panel, control,
/// hub), whom it trusts (authorities, keys, the remote section itself), where it keeps things, how it starts for the
/// first time, and what it is called for management.
pub const REMOTE_KEYS: &[&str] = &[
    "box.name",
    "box.apply",
    "signaling.url",
    "signaling.api",
    "signaling.meeting",
    "signaling.classroom",
    "signaling.user",
    "signaling.email",
    "signaling.password_file",
    "signaling.token_file",
    "ice_servers.urls",
    "ice_servers.username",
    "ice_servers.credential_file",
    "ice_servers.secret_file",
    "ice_servers.secret_lifetime_ms",
    "ice.relay_only",
    "ice.proxy",
    "camera.device",
    "screen.device",
    "microphone.device",
    "speaker.device",
    "display.device",
    "video.width",
    "video.height",
    "video.frame_rate",
    "video.bitrate",
    "audio.bitrate",
    "recovery.suspicion_ms",
    "recovery.action_ms",
    "recovery.healing_ms",
    "recovery.restart_ms",
    "recovery.recreate_ms",
    "recovery.attempts",
    "recovery.slow_interval_ms",
];

/// Says what of a remote file it may not say.
///
/// # Errors
/// The file is not TOML, or it says what it may not: each such setting is named with its line.
pub fn check_remote(layer: &Layer) -> Result<(), ConfigError> {
    let origin = Origin {
        file: &layer.file,
        text: &layer.text,
    };
    let document = tables(origin)?;
    let mut refused = Vec::new();
    walk(origin, document.get_ref(), "", &mut refused);
    if refused.is_empty() {
        return Ok(());
    }
    refused.sort();
    let named: Vec<_> = refused
        .into_iter()
        .map(|(line, key, reason)| format!("{key} (line {line}, {reason})"))
        .collect();
    Err(origin.error(
        None,
        String::new(),
        format!(
            "a remote file may not set {}; take that out and sign it again",
            named.join(", ")
        ),
    ))
}

type Refused = (usize, String, &'static str);

fn walk(origin: Origin<'_>, table: &DeTable<'_>, path: &str, refused: &mut Vec<Refused>) {
    for (name, value) in table {
        let key = match path {
            "" => name.get_ref().to_string(),
            path => format!("{path}.{}", name.get_ref()),
        };
        let line = origin.line(&name.span());
        judge(origin, value.get_ref(), &key, line, refused);
    }
}

fn judge(
    origin: Origin<'_>,
    value: &DeValue<'_>,
    key: &str,
    line: usize,
    refused: &mut Vec<Refused>,
) {
    let leads_on = REMOTE_KEYS.iter().any(|allowed| {
        allowed
            .strip_prefix(key)
            .is_some_and(|rest| rest.starts_with('.'))
    });
    let mut refuse = |reason| refused.push((line, printable(key), reason));
    match value {
        // What is in a table is named, whether it may be there or not.
        DeValue::Table(table) if leads_on || !table.is_empty() => walk(origin, table, key, refused),
        DeValue::Array(items) if leads_on || holds_tables(items) => {
            for item in items {
                judge(origin, item.get_ref(), key, line, refused);
            }
        }
        // Of the wrong type; whoever reads the file says so better.
        _ if leads_on => {}
        _ if !REMOTE_KEYS.contains(&key) => refuse("only the box's own files may"),
        DeValue::String(text) if key.ends_with("_file") && !is_name(text) => {
            refuse("a path; a remote file may name a credential only");
        }
        DeValue::String(text) if text.starts_with("sim:") => refuse("a simulated device"),
        _ => {}
    }
}

fn holds_tables(items: &[Spanned<DeValue<'_>>]) -> bool {
    items
        .iter()
        .any(|item| matches!(item.get_ref(), DeValue::Table(_)))
}

/// The name of a credential (systemd.exec(5), `LoadCredential=`), not a path to anywhere.
fn is_name(text: &str) -> bool {
    let good = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let is_folder = text.chars().all(|letter| letter == '.');
    text.len() <= 255 && text.chars().all(good) && !is_folder
}

#[cfg(test)]
mod tests {
    use super::super::keys::{Key, Kind, ROOT};
    use super::*;

    fn complaint(text: &str) -> Option<String> {
        let layer = Layer {
            file: "https://boxes.example.org/a.toml".into(),
            text: text.to_owned(),
            source: super::super::Source::Remote,
        };
        check_remote(&layer).err().map(|error| error.to_string())
    }

    /// Every setting there is, as a file that says it, with its dotted path.
    fn every(keys: &'static [Key], prefix: &str, found: &mut Vec<(String, String)>) {
        for key in keys {
            let path = format!("{prefix}{}", key.name);
            match &key.kind {
                Kind::Table(keys) => every(keys, &format!("{path}."), found),
                Kind::Tables(keys) => {
                    for inner in *keys {
                        let text = format!("[[{path}]]\n{} = {}\n", inner.name, inner.example);
                        found.push((format!("{path}.{}", inner.name), text));
                    }
                }
                _ => found.push((path.clone(), format!("{path} = {}\n", key.example))),
            }
        }
    }

    #[test]
    fn each_setting_is_allowed_or_refused_by_name() {
        let mut all = Vec::new();
        every(ROOT, "", &mut all);
        let mut allowed = Vec::new();
        for (path, text) in &all {
            match complaint(text) {
                None => allowed.push(path.as_str()),
                Some(complaint) => assert!(complaint.contains(path.as_str()), "{complaint}"),
            }
        }
        assert_eq!(allowed, REMOTE_KEYS);
        for never in [
            "panel.",
            "control.",
            "hub.",
            "remote.",
            "box.state_dir",
            "box.id",
            "box.first_start",
        ] {
            assert!(
                REMOTE_KEYS.iter().all(|key| !key.starts_with(never)),
                "{never}"
            );
        }
        assert!(REMOTE_KEYS.iter().all(|key| !key.ends_with("ca_file")));
    }

    #[test]
    fn every_refused_key_is_named_with_its_line_and_reason() {
        let text = "[box]\nname = 'x'\nid = 'y'\n[camera]\ndevice = 'sim:testcard'\n[signaling]\n\
                    password_file = '/etc/shadow'\ntoken_file = '..'\n[[ice_servers]]\nca_file = 'c'\n\
                    [panel.leds]\nmic.line = 3\n";
        assert_eq!(
            complaint(text).unwrap(),
            "https://boxes.example.org/a.toml: a remote file may not set box.id (line 3, only the box's own files may), \
             camera.device (line 5, a simulated device), signaling.password_file (line 7, a path; a remote file may name \
             a credential only), signaling.token_file (line 8, a path; a remote file may name a credential only), \
             ice_servers.ca_file (line 10, only the box's own files may), panel.leds.mic.line (line 12, only the box's own files may); \
             take that out and sign it again"
        );
        assert_eq!(complaint("[signaling]\ntoken_file = 'token'\n"), None);
        assert!(complaint("[box").unwrap().contains("line 1"));
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in ".{0,200}") {
            let _ = complaint(&text);
        }
    }
}
