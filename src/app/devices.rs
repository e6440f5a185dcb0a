//! `huddled devices`: what is there, with the names to put into the configuration.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::devices::{
    CameraInfo, GpioChipInfo, InputInfo, SoundInfo, cameras, gpio_chips, input_devices, leds,
    sound_devices,
};
use crate::room::one_line;

/// What there is.
struct Found {
    cameras: Vec<CameraInfo>,
    sound: Vec<SoundInfo>,
    chips: Vec<GpioChipInfo>,
    inputs: Vec<InputInfo>,
    leds: Vec<String>,
}

/// Lists cameras, microphones, speakers, GPIO chips, keys and LEDs, as text or as one JSON document.
pub fn list_devices(as_json: bool) -> String {
    let found = Found {
        cameras: cameras(),
        sound: sound_devices(),
        chips: gpio_chips(),
        inputs: input_devices(),
        leds: leds(),
    };
    if as_json {
        format!("{}\n", document(&found))
    } else {
        text(&found)
    }
}

fn document(found: &Found) -> Value {
    let Found {
        cameras,
        sound,
        chips,
        inputs,
        leds,
    } = found;
    let sound_of = |wanted: fn(&SoundInfo) -> bool| -> Vec<Value> {
        sound
            .iter()
            .filter(|one| wanted(one))
            .map(|one| json!({ "device": one.name, "title": one.title }))
            .collect()
    };
    json!({
        "cameras": cameras.iter().map(|one| json!({
            "device": one.names.first(),
            "names": one.names,
            "title": one.card,
            "problem": one.problem,
        })).collect::<Vec<_>>(),
        "microphones": sound_of(|one| one.captures),
        "speakers": sound_of(|one| one.plays),
        "gpio_chips": chips.iter().map(|chip| json!({
            "chip": chip.name,
            "label": chip.label,
            "lines": chip.lines,
            "named_lines": chip.named.iter()
                .map(|(offset, name)| json!({ "offset": offset, "name": name }))
                .collect::<Vec<_>>(),
            "problem": chip.problem,
        })).collect::<Vec<_>>(),
        "input_devices": inputs.iter().map(|input| json!({
            "chip": input.name,
            "lines": input.lines,
            "lens_cover": input.has_lens_cover,
        })).collect::<Vec<_>>(),
        "leds": leds,
    })
}

fn text(found: &Found) -> String {
    let Found {
        cameras,
        sound,
        chips,
        inputs,
        leds,
    } = found;
    let mut out = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{title}");
        if lines.is_empty() {
            let _ = writeln!(out, "  none");
        }
        for line in lines {
            let _ = writeln!(out, "  {}", one_line(&line));
        }
    };
    let quoted = |names: &[String]| -> String {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        names.join(" or ")
    };
    section(
        "[camera] device =",
        cameras
            .iter()
            .map(|one| match &one.problem {
                None => format!("{}  ({})", quoted(&one.names), one.card),
                Some(problem) => format!("{}  cannot be used: {problem}", quoted(&one.names)),
            })
            .collect(),
    );
    for (title, wanted) in [
        (
            "[microphone] device =",
            (|one| one.captures) as fn(&SoundInfo) -> bool,
        ),
        ("[speaker] device =", |one| one.plays),
    ] {
        let found = sound.iter().filter(|one| wanted(one));
        section(
            title,
            found
                .map(|one| format!("\"{}\"  ({})", one.name, one.title))
                .collect(),
        );
    }
    section(
        "[panel.buttons.*] and [panel.leds.*] chip =",
        chips
            .iter()
            .map(|chip| {
                if let Some(problem) = &chip.problem {
                    return format!("\"{}\"  cannot be used: {problem}", chip.name);
                }
                let names: Vec<String> = chip
                    .named
                    .iter()
                    .map(|(offset, name)| format!("{offset} = \"{name}\""))
                    .collect();
                let named = if names.is_empty() {
                    String::new()
                } else {
                    format!("; line = {}", names.join(", "))
                };
                format!(
                    "\"{}\" or \"{}\"  ({} lines{named})",
                    chip.label, chip.name, chip.lines
                )
            })
            .collect(),
    );
    section(
        "with backend = \"kernel\": [panel.buttons.*] chip =",
        inputs
            .iter()
            .map(|input| {
                let lens = match input.has_lens_cover {
                    true => "; knows when the camera's lens is covered",
                    false => "",
                };
                format!(
                    "\"{}\"  (line = {}{lens})",
                    input.name,
                    quoted_list(&input.lines)
                )
            })
            .collect(),
    );
    section(
        "with backend = \"kernel\": [panel.leds.*] line =",
        leds.iter().map(|led| format!("\"{led}\"")).collect(),
    );
    out
}

fn quoted_list(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match names.is_empty() {
        true => "none with a name".to_owned(),
        false => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_name_the_same_devices() {
        let camera = CameraInfo {
            card: "HD Webcam".to_owned(),
            names: vec!["/dev/v4l/by-id/usb-x".to_owned(), "/dev/video0".to_owned()],
            problem: None,
        };
        let sound = SoundInfo {
            name: "plughw:CARD=Webcam,DEV=0".to_owned(),
            title: "USB Audio".to_owned(),
            captures: true,
            plays: false,
        };
        let chip = GpioChipInfo {
            name: "gpiochip0".to_owned(),
            label: "panel".to_owned(),
            lines: 8,
            named: vec![(3, "mute-button".to_owned())],
            problem: None,
        };
        let found = Found {
            cameras: vec![camera],
            sound: vec![sound],
            chips: vec![chip],
            inputs: vec![InputInfo {
                name: "gpio-keys".to_owned(),
                lines: vec!["KEY_MICMUTE"],
                has_lens_cover: true,
            }],
            leds: vec!["huddled:red:micmute".to_owned()],
        };
        let text = text(&found);
        for line in [
            "  \"/dev/v4l/by-id/usb-x\" or \"/dev/video0\"  (HD Webcam)",
            "  \"plughw:CARD=Webcam,DEV=0\"  (USB Audio)",
            "[speaker] device =\n  none",
            "  \"panel\" or \"gpiochip0\"  (8 lines; line = 3 = \"mute-button\")",
            "  \"gpio-keys\"  (line = \"KEY_MICMUTE\"; knows when the camera's lens is covered)",
            "  \"huddled:red:micmute\"",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let document = document(&found);
        assert_eq!(document["cameras"][0]["device"], "/dev/v4l/by-id/usb-x");
        assert_eq!(
            document["microphones"][0]["device"],
            "plughw:CARD=Webcam,DEV=0"
        );
        assert_eq!(document["speakers"], json!([]));
        assert_eq!(document["gpio_chips"][0]["named_lines"][0]["offset"], 3);
        assert_eq!(document["input_devices"][0]["lines"][0], "KEY_MICMUTE");
        assert_eq!(document["leds"][0], "huddled:red:micmute");
    }
}
