//! What is written about the configuration against what is parsed: the reference, the schema, the example.

use std::collections::BTreeMap;

use huddled::config::{reference, schema};
use serde_json::Value;

use super::*;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_documented_settings_are_those_that_are_parsed() {
    assert!(
        reference() == read("docs/settings.md"),
        "docs/settings.md is not what `huddled config reference` prints; write it anew with\n  \
         cargo run -- config reference > docs/settings.md"
    );
}

#[test]
fn every_key_of_the_example_is_documented_and_the_other_way_round() {
    let page = read("docs/settings.md");
    let mut documented = Vec::new();
    let mut table = String::new();
    for line in page.lines() {
        if let Some((_, name)) = line.split_once("# `[").filter(|_| line.starts_with('#')) {
            table = name.trim_matches(['`', '[', ']']).to_owned();
        } else if let Some(rest) = line.strip_prefix("| `") {
            documented.push(format!("{table}.{}", rest.split_once('`').unwrap().0));
        }
    }
    let mut shown: Vec<_> = lines(&read("config/huddled.example.toml"))
        .into_iter()
        .map(|(section, key, _)| format!("{}.{key}", section.trim_matches(['[', ']'])))
        .collect();
    shown.sort();
    shown.dedup();
    for key in &shown {
        assert!(
            documented.contains(key),
            "{key} is in the example and not documented"
        );
    }
    for key in &documented {
        // One button and one light stand for all.
        let other = key.starts_with("panel.buttons.") || key.starts_with("panel.leds.");
        assert!(
            other || shown.contains(key),
            "{key} is documented and not in the example"
        );
    }
}

#[test]
fn the_example_documents_every_key_and_shows_the_defaults() {
    let text = read("config/huddled.example.toml");
    let documented = lines(&text);
    for (section, key, _) in lines(&full().show()) {
        // One button and one light stand for all three.
        let section = match section.as_str() {
            button if button.starts_with("[panel.buttons.") => "[panel.buttons.mic]".to_owned(),
            led if led.starts_with("[panel.leds.") => "[panel.leds.mic]".to_owned(),
            _ => section,
        };
        if (section.as_str(), key.as_str()) == ("[panel.leds.mic]", "bias") {
            continue;
        }
        assert!(
            documented
                .iter()
                .any(|(other, name, _)| (other, name) == (&section, &key)),
            "{section} {key} is not in the example"
        );
    }
    let expected = Settings {
        name: "Room 101".to_owned(),
        ..Settings::default()
    };
    assert_eq!(
        parse(&text, Path::new("/etc/huddled/huddled.example.toml")),
        Ok(expected)
    );
}

#[test]
fn what_the_example_suggests_is_accepted() {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (section, key, value) in lines(&read("config/huddled.example.toml")) {
        // Of two ways to log in the first; of two values for one key the second.
        if !["token_file", "secret_file"].contains(&key.as_str()) {
            sections.entry(section).or_default().insert(key, value);
        }
    }
    let mut text = String::new();
    for (section, keys) in sections {
        text += &format!("{section}\n");
        for (key, value) in keys {
            text += &format!("{key} = {value}\n");
        }
    }
    let settings = parse(&text, Path::new(FILE)).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(settings.signaling.is_some() && settings.remote.is_some());
}

#[test]
fn every_file_that_a_page_shows_is_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &str, end: &str| -> Vec<_> {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.ends_with(end))
            .map(|name| format!("{folder}/{name}"))
            .collect()
    };
    let mut shown = 0;
    for page in files("docs", ".md") {
        for block in read(&page).split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            // What is only suggested has to be right as well.
            let suggested: Vec<_> = block
                .lines()
                .map(|line| match line.trim_start().strip_prefix('#') {
                    Some(rest) if !rest.starts_with(' ') => rest,
                    _ => line,
                })
                .collect();
            let suggested = suggested.join("\n");
            for text in [block, &suggested] {
                if let Err(error) = parse(text, Path::new(FILE)) {
                    panic!("{page}: {error}\n{text}");
                }
            }
            shown += 1;
        }
    }
    assert!(shown >= 7, "{shown} files were found on the pages");
    for file in files("config", ".toml") {
        if let Err(error) = parse(&read(&file), Path::new(&file)) {
            panic!("{error}");
        }
    }
}

/// What of the schema this program uses, but for `pattern`.
fn obeys(schema: &Value, value: &Value) -> bool {
    let number = |name: &str| schema[name].as_i64();
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().any(|schema| obeys(schema, value));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.contains(value);
    }
    let types: Vec<_> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().collect(),
    };
    match value {
        Value::Object(members) => {
            types.contains(&"object")
                && members.iter().all(|(name, value)| {
                    let schema = &schema["properties"][name];
                    schema.is_object() && obeys(schema, value)
                })
        }
        Value::Array(items) => {
            let count = items.len() as i64;
            types.contains(&"array")
                && number("minItems").is_none_or(|least| count >= least)
                && number("maxItems").is_none_or(|most| count <= most)
                && items.iter().all(|item| obeys(&schema["items"], item))
        }
        Value::String(_) => types.contains(&"string"),
        Value::Bool(_) => types.contains(&"boolean"),
        Value::Number(value) => {
            let value = value.as_i64();
            types.contains(&"integer")
                && value.is_some_and(|value| {
                    number("minimum").is_none_or(|least| value >= least)
                        && number("maximum").is_none_or(|most| value <= most)
                        && number("multipleOf").is_none_or(|part| value % part == 0)
                })
        }
        Value::Null => false,
    }
}

#[test]
fn the_schema_takes_what_is_right_and_refuses_what_is_not() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let json = |text: &str| {
        let table: toml::Table = text.parse().unwrap();
        serde_json::to_value(table).unwrap()
    };
    for good in [
        FULL,
        &read("config/huddled.example.toml"),
        &read("config/laptop.toml"),
        &read("config/panel-raspberrypi-rppal.toml"),
        &read("config/panel-lines.toml"),
        &read("config/panel-kernel.toml"),
        &full().show(),
        &Settings::default().show(),
    ] {
        assert!(obeys(&schema, &json(good)), "{good}");
        assert!(parse(good, Path::new(FILE)).is_ok(), "{good}");
    }
    for bad in [
        "[bax]",
        "box = 1",
        "[box]\nnmae = 'x'",
        "[box]\nfirst_start = 'closed'",
        "[video]\nwidth = 641",
        "[video]\nheight = 2160",
        "[video]\nframe_rate = 29.97",
        "[video]\nbitrate = '1'",
        "[recovery]\nrecreate_ms = []",
        "[recovery]\nrecreate_ms = [70000]",
        "[recovery]\nrecreate_ms = 1000",
        "[ice_servers]\nurls = 'stun:a'",
        "[[ice_servers]]\nurl = 'stun:a'",
        "[panel.leds.share]\nline = 1",
        "[panel.leds.mic]\nline = -1",
        "[panel.leds.mic]\nactive_low = 1",
        "[hub.limits]\nmembers = 1",
    ] {
        assert!(parse(bad, Path::new(FILE)).is_err(), "{bad}");
        assert!(!obeys(&schema, &json(bad)), "{bad}");
    }
}
