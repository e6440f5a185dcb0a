//! What is made from the table of keys for others: the JSON schema and the administrator's reference.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::REMOTE_KEYS;
use super::keys::{Form, Key, Kind, ROOT};

/// A configuration in which every table is shown, with as little said as that takes.
const LEAST: &str = "
[signaling]
url = 'https://meet.example.org'
meeting = 'm'
user = 'u'
[panel.buttons]
mic.line = 0
camera.line = 0
share.line = 0
[panel.leds]
mic.line = 0
camera.line = 0
status.line = 0
[remote]
url = 'https://boxes.example.org/a'
key = 'RWExampleExampleExampleExampleExampleExampleExampleExamp'
";

/// What holds where nobody says anything, by dotted key.
struct Defaults {
    shown: toml::Table,
    said: toml::Table,
}

impl Defaults {
    fn new() -> Self {
        let settings = super::parse(LEAST, Path::new("")).expect("it is right");
        let read = |text: &str| text.parse().expect("it is TOML");
        Self {
            shown: read(&settings.show()),
            said: read(LEAST),
        }
    }

    fn of(&self, path: &str) -> Option<&toml::Value> {
        let find = |table| {
            path.split('.')
                .try_fold(None, |at: Option<&toml::Value>, name| {
                    let table = match at {
                        None => table,
                        Some(value) => value.as_table()?,
                    };
                    table.get(name).map(Some)
                })
                .flatten()
        };
        find(&self.shown).filter(|_| find(&self.said).is_none())
    }
}

/// The JSON schema (2020-12) of one configuration file, for editors and for those who make such files. What values must
/// be to each other it does not say: that concerns all files together, and `huddled config check` knows it.
pub fn schema() -> String {
    let mut schema = object(ROOT, "", &Defaults::new());
    if let Value::Object(members) = &mut schema {
        members.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        members.insert("title".to_owned(), json!("Configuration of huddled"));
    }
    format!("{schema:#}\n")
}

fn object(keys: &[Key], prefix: &str, defaults: &Defaults) -> Value {
    let properties: Map<_, _> = keys
        .iter()
        .map(|key| {
            let path = format!("{prefix}{}", key.name);
            let mut property = property(key, &path, defaults);
            if let Value::Object(members) = &mut property {
                members.insert("description".to_owned(), json!(key.about));
                let default = defaults.of(&path).filter(|value| !value.is_table());
                if let Some(default) = default.and_then(|value| serde_json::to_value(value).ok()) {
                    members.insert("default".to_owned(), default);
                }
            }
            (key.name.to_owned(), property)
        })
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn property(key: &Key, path: &str, defaults: &Defaults) -> Value {
    match &key.kind {
        Kind::Table(keys) => object(keys, &format!("{path}."), defaults),
        Kind::Tables(keys) => json!({
            "type": "array",
            "items": object(keys, &format!("{path}."), defaults),
        }),
        Kind::Text(form) => text(form),
        Kind::Texts(form) => json!({
            "anyOf": [text(form), { "type": "array", "items": text(form) }],
        }),
        Kind::Word(words) => json!({ "enum": words() }),
        Kind::TextOrNumber => json!({
            "type": ["string", "integer"],
            "minimum": 0,
            "maximum": u32::MAX,
            "minLength": 1,
        }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Integer { from, to, even } => {
            let mut integer = json!({ "type": "integer", "minimum": from, "maximum": to });
            if let (true, Value::Object(members)) = (even, &mut integer) {
                members.insert("multipleOf".to_owned(), json!(2));
            }
            integer
        }
        Kind::Integers { from, to, most } => json!({
            "type": "array",
            "minItems": 1,
            "maxItems": most,
            "items": { "type": "integer", "minimum": from, "maximum": to },
        }),
    }
}

fn text(form: &Form) -> Value {
    json!({ "type": "string", "pattern": form.pattern })
}

/// Every setting with type, default, range and meaning, as Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\n\
         Made from the table of settings that the parser uses, by `huddled config reference`; a test compares them. Do \
         not edit.\n\n\
         Files, the weakest first: built-in defaults, `/usr/share/huddled/config.toml` (the vendor's), \
         `/etc/huddled/config.toml`, `/etc/huddled/conf.d/*.toml` in the order of their names, the remote file \
         (docs/remote.md). Tables merge key by key; \
         lists and values of a later file replace those of an earlier one. `huddled run --config FILE` reads that file \
         alone. `huddled config show --origin` prints what holds and which file and line says it, `huddled config check \
         FILE` what is wrong with a file, `huddled config schema` the JSON schema of a file.\n\n\
         An unknown key or a wrong value refuses the whole file. At the start a refused file is replaced by its last \
         accepted copy, which is kept in the state directory, and the journal, `systemctl status` and `huddlectl \
         status` say so. Exit code 78 means that nothing valid exists, or that `--config` named the refused file.\n\n\
         A change of one of the files, SIGHUP (`systemctl reload huddled`), `huddlectl reload` and a new remote file have \
         everything read again, and only what differs is touched. A file that `--config` named is read again on SIGHUP and `huddlectl \
         reload` only. \
         At once: `box.name` (on the test card at the next start), `recovery`, `ice_servers`, `ice.proxy` and `ice.relay_only` (for \
         connections made from then on), `signaling` if server, meeting and user stay the same, `remote`, `box.id`, `box.apply`, the bitrates of \
         `video`, `audio` and `screen`, and `screen.on_signal`. As soon as nobody else is in the meeting, or at once with `box.apply = \"now\"`: another \
         server, meeting or user; another `camera`, `screen`, `microphone` or `speaker`, and size and rate of `video`, whose picture or sound is away for a moment \
         without the box leaving its meeting. Everything else, which no remote file may set (`panel`, `control`, `hub`, `box.state_dir`, `box.first_start`): at the \
         next start.\n",
    );
    // Writing to a String cannot fail.
    let _ = writeln!(
        page,
        "\nA remote file may set `{}`.",
        REMOTE_KEYS.join("`, `")
    );
    table(&mut page, ROOT, "", &Defaults::new());
    page
}

fn table(page: &mut String, keys: &[Key], prefix: &str, defaults: &Defaults) {
    let (tables, values): (Vec<_>, Vec<_>) = keys
        .iter()
        .partition(|key| matches!(key.kind, Kind::Table(_) | Kind::Tables(_)));
    if !values.is_empty() {
        page.push_str("\n| Key | Says | Default | Meaning |\n|---|---|---|---|\n");
    }
    for key in values {
        let default = match defaults.of(&format!("{prefix}{}", key.name)) {
            Some(value) => format!("`{value}`"),
            None => "-".to_owned(),
        };
        let example = match &key.kind {
            Kind::Text(_) | Kind::Texts(_) => format!(" For example `{}`.", key.example),
            // The range says enough.
            _ => String::new(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {default} | {}{example} |",
            key.name,
            says(&key.kind),
            key.about,
        );
    }
    for key in tables {
        let path = format!("{prefix}{}", key.name);
        let (head, keys) = match &key.kind {
            Kind::Table(keys) => (format!("[{path}]"), keys),
            Kind::Tables(keys) => (format!("[[{path}]]"), keys),
            _ => continue,
        };
        let level = "#".repeat(2 + prefix.matches('.').count());
        let _ = writeln!(page, "\n{level} `{head}`\n\n{}", key.about);
        table(page, keys, &format!("{path}."), defaults);
    }
}

fn says(kind: &Kind) -> String {
    match kind {
        Kind::Table(_) | Kind::Tables(_) => String::new(),
        Kind::Text(form) => form.says.to_owned(),
        Kind::Texts(form) => format!("list; each: {}", form.says),
        Kind::Word(words) => format!("`\"{}\"`", words().join("\"`, `\"")),
        Kind::TextOrNumber => "text or whole number".to_owned(),
        Kind::Boolean => "`true` or `false`".to_owned(),
        Kind::Integer { from, to, even } => format!(
            "{} number, {from} to {to}",
            if *even { "even whole" } else { "whole" }
        ),
        Kind::Integers { from, to, most } => {
            format!("list of 1 to {most} whole numbers, {from} to {to} each")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key that is no table, with its dotted path.
    fn values(keys: &'static [Key], prefix: &str, found: &mut Vec<(String, &'static Key)>) {
        for key in keys {
            let path = format!("{prefix}{}", key.name);
            match &key.kind {
                Kind::Table(keys) => values(keys, &format!("{path}."), found),
                Kind::Tables(keys) => values(keys, &format!("{path}[]."), found),
                _ => found.push((path, key)),
            }
        }
    }

    fn all() -> Vec<(String, &'static Key)> {
        let mut found = Vec::new();
        values(ROOT, "", &mut found);
        found
    }

    fn document(path: &str, value: &str) -> String {
        let (table, name) = path.rsplit_once('.').expect("no value stands at the root");
        match table.strip_suffix("[]") {
            Some(table) => format!("[[{table}]]\n{name} = {value}\n"),
            None => format!("[{table}]\n{name} = {value}\n"),
        }
    }

    /// What is wrong with this value by itself, as against what it needs beside it.
    fn complaint(path: &str, value: &str) -> Option<String> {
        let text = document(path, value);
        let document = toml::de::DeTable::parse(&text).expect("it is TOML");
        let origin = super::super::document::Origin {
            file: Path::new("x"),
            text: &text,
        };
        super::super::document::Tree::default()
            .layer(origin, document.get_ref(), ROOT)
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn every_example_and_every_default_is_accepted() {
        let defaults = Defaults::new();
        for (path, key) in all() {
            assert_eq!(complaint(&path, key.example), None);
            if let Some(default) = defaults.of(&path) {
                assert_eq!(complaint(&path, &default.to_string()), None);
            }
        }
    }

    #[test]
    fn every_limit_is_where_it_is_documented() {
        for (path, key) in all() {
            let (from, to, list) = match &key.kind {
                Kind::Integer { from, to, .. } => (*from, *to, false),
                Kind::Integers { from, to, .. } => (*from, *to, true),
                _ => continue,
            };
            let write = |number: i64| match list {
                true => format!("[{number}]"),
                false => number.to_string(),
            };
            for (number, good) in [(from - 1, false), (from, true), (to, true), (to + 1, false)] {
                assert_eq!(
                    complaint(&path, &write(number)).is_none(),
                    good,
                    "{path} = {number}"
                );
            }
        }
    }

    #[test]
    fn what_is_shown_has_no_key_that_the_table_lacks_and_the_other_way_round() {
        let known: Vec<_> = all().into_iter().map(|(path, _)| path).collect();
        let mut shown = Vec::new();
        let defaults = Defaults::new();
        flatten(&defaults.shown, "", &mut shown);
        for path in &shown {
            assert!(known.contains(path), "{path}");
        }
        for (path, _) in all() {
            if defaults.of(&path).is_some() {
                assert!(shown.contains(&path), "{path}");
            }
        }
    }

    fn flatten(table: &toml::Table, prefix: &str, found: &mut Vec<String>) {
        for (name, value) in table {
            let path = format!("{prefix}{name}");
            match value {
                toml::Value::Table(table) => flatten(table, &format!("{path}."), found),
                _ => found.push(path),
            }
        }
    }

    #[test]
    fn the_schema_describes_every_key_and_no_other() {
        fn walk(schema: &Value, prefix: &str, found: &mut Vec<String>) {
            for (name, property) in schema["properties"]
                .as_object()
                .expect("an object has some")
            {
                let path = format!("{prefix}{name}");
                assert!(property["description"].is_string(), "{path}");
                if property["properties"].is_object() {
                    assert_eq!(property["additionalProperties"], false, "{path}");
                    walk(property, &format!("{path}."), found);
                } else if property["items"]["properties"].is_object() {
                    assert_eq!(property["items"]["additionalProperties"], false, "{path}");
                    walk(&property["items"], &format!("{path}[]."), found);
                } else {
                    found.push(path);
                }
            }
        }
        let schema: Value = serde_json::from_str(&schema()).expect("it is JSON");
        let mut described = Vec::new();
        walk(&schema, "", &mut described);
        described.sort();
        let mut known: Vec<_> = all().into_iter().map(|(path, _)| path).collect();
        known.sort();
        assert_eq!(described, known);
        assert_eq!(
            schema["properties"]["video"]["properties"]["width"]["default"],
            1280
        );
        assert_eq!(
            schema["properties"]["box"]["properties"]["first_start"]["enum"],
            json!(["open", "muted"])
        );
    }

    #[test]
    fn the_reference_names_every_key_once() {
        let page = reference();
        let rows = page.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, all().len());
    }
}
