//! Keys and lights that the device tree or a driver describes: gpio-keys and its like through evdev, LEDs through the
//! kernel's LED class.

use std::io::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::input;
use super::{Board, Input, Output};
use crate::config::{InputCode, PanelLine};
use crate::room::Timestamp;

/// Where the LED class is.
const CLASS: &str = "/sys/class/leds";

/// The LEDs there are, for `huddled devices`.
pub(in crate::devices) fn leds() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(CLASS)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// See the module.
#[derive(Debug)]
pub(super) struct Kernel {
    /// [`CLASS`], or a test's.
    class: PathBuf,
}

impl Kernel {
    pub(super) fn new() -> Self {
        Self {
            class: CLASS.into(),
        }
    }
}

impl Board for Kernel {
    fn input(&self, line: &PanelLine) -> Result<Box<dyn Input>, String> {
        // The configuration has seen to it.
        let code = InputCode::from_name(&line.line)
            .ok_or_else(|| format!("{} is no key or switch of the kernel", line.line))?;
        let opened = input::Line::open(line.chip.as_deref(), code, &line.line)?;
        Ok(Box::new(Button {
            line: opened,
            active_low: line.active_low,
            latches: matches!(code, InputCode::Switch(_)),
        }))
    }

    fn output(&self, line: &PanelLine, lit: bool) -> Result<Box<dyn Output>, String> {
        let folder = self.class.join(&line.line);
        if !folder.is_dir() {
            let names = leds();
            let names = match names.is_empty() {
                true => "none at all".to_owned(),
                false => names.join(", "),
            };
            return Err(format!(
                "no LED of the kernel is called {}; there is {names}",
                line.line
            ));
        }
        let brightest = read(&folder.join("max_brightness"))?;
        // Else the kernel would go on with what it shows by itself.
        write(&folder.join("trigger"), "none")?;
        let mut light = Light {
            brightness: folder.join("brightness"),
            brightest,
            active_low: line.active_low,
        };
        light.set(lit)?;
        Ok(Box::new(light))
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|error| said(path, &error))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| said(path, &error))
}

fn said(path: &Path, error: &Error) -> String {
    let path = path.display();
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => format!(
            "{path}: {error}; the user of huddled must be let write there, which the package's udev rules do"
        ),
        _ => format!("{path}: {error}"),
    }
}

/// A key, or a switch.
struct Button {
    line: input::Line,
    active_low: bool,
    latches: bool,
}

impl Input for Button {
    fn is_active(&mut self) -> Result<bool, String> {
        Ok(self.line.is_active() != self.active_low)
    }

    fn wait(&mut self, longest: Duration) -> Result<Option<(bool, Timestamp)>, String> {
        let change = self.line.wait(longest)?;
        Ok(change.map(|(active, at)| (active != self.active_low, at)))
    }

    fn latches(&self) -> bool {
        self.latches
    }
}

/// An LED keeps shining as it was told last.
struct Light {
    brightness: PathBuf,
    brightest: String,
    active_low: bool,
}

impl Output for Light {
    fn set(&mut self, lit: bool) -> Result<(), String> {
        let text = match lit != self.active_low {
            true => &self.brightest,
            false => "0",
        };
        write(&self.brightness, text)
    }

    fn rest(&mut self, lit: bool) -> Result<(), String> {
        self.set(lit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> PanelLine {
        PanelLine {
            chip: None,
            line: name.to_owned(),
            active_low: false,
            bias: None,
        }
    }

    #[test]
    fn an_led_is_taken_from_its_trigger_and_set_to_its_brightest() {
        let class = std::env::temp_dir().join(format!("huddled-leds-{}", std::process::id()));
        let folder = class.join("huddled:red:micmute");
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in [
            ("max_brightness", "255\n"),
            ("trigger", "[heartbeat] none"),
            ("brightness", "7\n"),
        ] {
            std::fs::write(folder.join(file), text).unwrap();
        }
        let board = Kernel {
            class: class.clone(),
        };
        let shown = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let mut light = board.output(&line("huddled:red:micmute"), true).unwrap();
        assert_eq!((&*shown("trigger"), &*shown("brightness")), ("none", "255"));
        light.set(false).unwrap();
        assert_eq!(shown("brightness"), "0");
        light.rest(true).unwrap();
        drop(light);
        assert_eq!(shown("brightness"), "255");
        std::fs::remove_file(folder.join("brightness")).unwrap();
        std::fs::create_dir(folder.join("brightness")).unwrap();
        let error = board.output(&line("huddled:red:micmute"), true).err();
        assert!(error.expect("refused").contains("brightness: "));
        std::fs::remove_dir_all(class).unwrap();
    }

    #[test]
    fn an_led_that_is_not_there_is_named() {
        let error = Kernel::new()
            .output(&line("nobody:red:micmute"), true)
            .err();
        let error = error.expect("refused");
        assert!(
            error.contains("called nobody:red:micmute; there is "),
            "{error}"
        );
    }
}
