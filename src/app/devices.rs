//! `huddled devices`: what is there, with the names to put into the configuration.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::devices::{CameraInfo, GpioChipInfo, SoundInfo, cameras, gpio_chips, sound_devices};

/// Lists cameras, microphones, speakers and GPIO chips, as text or as one JSON document.
pub fn list_devices(as_json: bool) -> String {
    let (cameras, sound, chips) = (cameras(), sound_devices(), gpio_chips());
    if as_json {
        format!("{}\n", document(&cameras, &sound, &chips))
    } else {
        text(&cameras, &sound, &chips)
    }
}

fn document(cameras: &[CameraInfo], sound: &[SoundInfo], chips: &[GpioChipInfo]) -> Value {
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
    })
}

fn text(cameras: &[CameraInfo], sound: &[SoundInfo], chips: &[GpioChipInfo]) -> String {
    let mut out = String::new();
    let mut section = |title: &str, lines: Vec<String>| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{title}");
        if lines.is_empty() {
            let _ = writeln!(out, "  none");
        }
        for line in lines {
            let _ = writeln!(out, "  {line}");
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
    out
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
        let (cameras, sound, chips) = ([camera], [sound], [chip]);
        let text = text(&cameras, &sound, &chips);
        for line in [
            "  \"/dev/v4l/by-id/usb-x\" or \"/dev/video0\"  (HD Webcam)",
            "  \"plughw:CARD=Webcam,DEV=0\"  (USB Audio)",
            "[speaker] device =\n  none",
            "  \"panel\" or \"gpiochip0\"  (8 lines; line = 3 = \"mute-button\")",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let document = document(&cameras, &sound, &chips);
        assert_eq!(document["cameras"][0]["device"], "/dev/v4l/by-id/usb-x");
        assert_eq!(
            document["microphones"][0]["device"],
            "plughw:CARD=Webcam,DEV=0"
        );
        assert_eq!(document["speakers"], json!([]));
        assert_eq!(document["gpio_chips"][0]["named_lines"][0]["offset"], 3);
    }
}
