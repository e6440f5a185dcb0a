//! Buttons and lights, one by one.

use std::time::Duration;

use super::{Check, Verdict};
use crate::config::{PanelBackend, PanelLine, Settings};
use crate::devices::{await_press, blink, read_button};

/// How long a person has for a press.
const PATIENCE: Duration = Duration::from_secs(20);

fn lines<'a>(
    what: &'a str,
    names: [&'a str; 3],
    lines: &'a [Option<PanelLine>; 3],
) -> impl Iterator<Item = (String, &'a PanelLine)> {
    names
        .into_iter()
        .zip(lines)
        .filter_map(move |(name, line)| Some((format!("{what} {name}"), line.as_ref()?)))
}

/// The panel is no hardware, or there is none.
fn without(settings: &Settings, what: &str) -> Option<Check> {
    let text = match settings.panel.backend {
        PanelBackend::None => "no panel is configured; set [panel] backend",
        _ if settings.simulated().contains(&"panel.backend") => {
            "the panel is simulated; there is nothing to see or to press"
        }
        _ => return None,
    };
    Some(Check::new(what, Verdict::Skipped, text))
}

pub(super) fn lights(settings: &Settings, ask: &dyn Fn(&str)) -> Vec<Check> {
    if let Some(check) = without(settings, "lights") {
        return vec![check];
    }
    let panel = &settings.panel;
    lines("light", ["mic", "camera", "status"], &panel.leds)
        .map(|(name, line)| {
            ask(&format!("look at the panel: {name} flashes three times"));
            match blink(panel.backend, line) {
                Ok(()) => Check::new(
                    name,
                    Verdict::Look,
                    format!("{} flashed three times; if nothing was seen, change its line, active_low or wiring", line.line),
                ),
                Err(problem) => Check::new(name, Verdict::Fail, problem),
            }
        })
        .collect()
}

pub(super) fn buttons(settings: &Settings, wait: bool, ask: &dyn Fn(&str)) -> Vec<Check> {
    if let Some(check) = without(settings, "buttons") {
        return vec![check];
    }
    let panel = &settings.panel;
    lines("button", ["mic", "camera", "share"], &panel.buttons)
        .map(|(name, line)| {
            if wait {
                ask(&format!(
                    "press the {name}, within {} s",
                    PATIENCE.as_secs()
                ));
                return pressed(name, line, await_press(panel.backend, line, PATIENCE));
            }
            match read_button(panel.backend, line) {
                Ok(false) => Check::new(
                    name,
                    Verdict::Pass,
                    format!(
                        "{} can be read and is not pressed; --buttons waits for a press",
                        line.line
                    ),
                ),
                Ok(true) => Check::new(
                    name,
                    Verdict::Fail,
                    format!(
                        "{} is pressed; if nobody presses it, change active_low or bias",
                        line.line
                    ),
                ),
                Err(problem) => Check::new(name, Verdict::Fail, problem),
            }
        })
        .collect()
}

fn pressed(name: String, line: &PanelLine, result: Result<bool, String>) -> Check {
    match result {
        Ok(true) => Check::new(name, Verdict::Pass, format!("{} was pressed", line.line)),
        Ok(false) => Check::new(
            name,
            Verdict::Fail,
            format!(
                "{} was not seen pressed; if somebody pressed it, change its line, active_low, bias or wiring",
                line.line
            ),
        ),
        Err(problem) => Check::new(name, Verdict::Fail, problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configured_line_is_tried_and_a_wrong_one_is_named() {
        let mut settings = Settings::default();
        let quiet = |_: &str| {};
        assert_eq!(lights(&settings, &quiet)[0].verdict, Verdict::Skipped);
        settings.panel.backend = PanelBackend::Chardev;
        let line = |line: &str| {
            Some(PanelLine {
                chip: Some("no-such-chip".to_owned()),
                line: line.to_owned(),
                active_low: false,
                bias: None,
            })
        };
        settings.panel.leds = [line("4"), None, line("5")];
        settings.panel.buttons = [line("6"), None, None];
        let all: Vec<Check> = lights(&settings, &quiet)
            .into_iter()
            .chain(buttons(&settings, false, &quiet))
            .chain(buttons(&settings, true, &quiet))
            .collect();
        let names: Vec<&str> = all.iter().map(|check| &*check.name).collect();
        assert_eq!(
            names,
            ["light mic", "light status", "button mic", "button mic"]
        );
        for check in all {
            assert_eq!(check.verdict, Verdict::Fail);
            assert!(check.text.contains("no-such-chip"), "{}", check.text);
        }
        settings.panel.backend = PanelBackend::SimVirtual;
        assert_eq!(lights(&settings, &quiet)[0].verdict, Verdict::Skipped);
    }

    #[test]
    fn a_press_that_is_not_seen_says_what_to_look_at() {
        let line = PanelLine {
            chip: None,
            line: "17".to_owned(),
            active_low: true,
            bias: None,
        };
        let check = |result| pressed("button mic".to_owned(), &line, result);
        assert_eq!(check(Ok(true)).verdict, Verdict::Pass);
        assert!(check(Ok(false)).text.contains("active_low"));
        assert_eq!(check(Err("gone".to_owned())).text, "gone");
    }
}
