//! Lines of any board through the kernel's GPIO character device.

use std::path::PathBuf;
use std::time::Duration;

use gpiocdev::Request;
use gpiocdev::chip::{Chip, chips};
use gpiocdev::line::{Bias, EdgeDetection, EdgeKind, Info, Value};
use gpiocdev::request::Config;

use super::{Board, Input, LightBoard, Output, RELEASED};
use crate::config::PanelLine;
use crate::room::Timestamp;

/// What the kernel is told about who holds a line.
const CONSUMER: &str = "huddled";
/// Names of lines that an error lists at most.
const LISTED: usize = 12;

/// A chip that is there, for `huddled devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpioChipInfo {
    /// `gpiochip0`.
    pub name: String,
    /// What the driver calls it; as good as the name in a configuration, and more lasting.
    pub label: String,
    /// Lines there are.
    pub lines: u32,
    /// Offset and name of those that have one.
    pub named: Vec<(u32, String)>,
    /// Why it cannot be used now.
    pub problem: Option<String>,
}

/// The chips there are, those that cannot be opened included.
pub(in crate::devices) fn list() -> Vec<GpioChipInfo> {
    chips().unwrap_or_default().into_iter().map(look).collect()
}

fn look(path: PathBuf) -> GpioChipInfo {
    let mut info = GpioChipInfo {
        name: file_name(&path),
        label: String::new(),
        lines: 0,
        named: Vec::new(),
        problem: None,
    };
    match Chip::from_path(&path).and_then(|chip| Ok((chip.info()?, chip))) {
        Ok((about, chip)) => {
            info.label = about.label;
            info.lines = about.num_lines;
            info.named = named(&chip, about.num_lines);
        }
        Err(error) => info.problem = Some(hint(&error)),
    }
    info
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn named(chip: &Chip, lines: u32) -> Vec<(u32, String)> {
    (0..lines)
        .filter_map(|offset| chip.line_info(offset).ok())
        .filter(|info| !info.name.is_empty())
        .map(|info| (info.offset, info.name))
        .collect()
}

/// What went wrong, with what to do where that is known.
fn hint(error: &gpiocdev::Error) -> String {
    let text = error.to_string();
    if text.contains("ermission denied") {
        format!("{text}; the user of huddled must be in the group that owns /dev/gpiochip*")
    } else {
        text
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Chardev;

/// A line that was found.
struct Found {
    chip: Chip,
    /// Names chip and line for people.
    title: String,
    info: Info,
}

fn find(line: &PanelLine) -> Result<Found, String> {
    let wanted = line.chip.as_deref().unwrap_or_default();
    let there: Vec<GpioChipInfo> = list();
    let is_it = |chip: &&GpioChipInfo| {
        chip.name == wanted || chip.label == wanted || format!("/dev/{}", chip.name) == wanted
    };
    let Some(chip) = there.iter().find(is_it) else {
        let names: Vec<String> = there
            .iter()
            .map(|chip| match &chip.problem {
                None => format!("{} ({})", chip.name, chip.label),
                Some(problem) => format!("{} ({problem})", chip.name),
            })
            .collect();
        let names = if names.is_empty() {
            "none at all".to_owned()
        } else {
            names.join(", ")
        };
        return Err(format!("no GPIO chip is called {wanted}; there is {names}"));
    };
    let title = format!("{} ({})", chip.name, chip.label);
    if let Some(problem) = &chip.problem {
        return Err(format!("GPIO chip {}: {problem}", chip.name));
    }
    let offset = match line.line.parse::<u32>() {
        Ok(offset) if offset < chip.lines => offset,
        Ok(offset) => {
            return Err(format!(
                "GPIO chip {title} has no line {offset}; its lines are 0 to {}",
                chip.lines.saturating_sub(1)
            ));
        }
        Err(_) => {
            let named = chip.named.iter().find(|(_, name)| *name == line.line);
            named.map(|(offset, _)| *offset).ok_or_else(|| {
                let mut names: Vec<&str> =
                    chip.named.iter().map(|(_, name)| name.as_str()).collect();
                let more = if names.len() > LISTED { ", ..." } else { "" };
                names.truncate(LISTED);
                format!(
                    "GPIO chip {title} has no line called {}; those with names are: {}{more}",
                    line.line,
                    names.join(", ")
                )
            })?
        }
    };
    let name = &chip.name;
    let chip = Chip::from_name(name).map_err(|error| format!("{title}: {}", hint(&error)))?;
    let info = chip
        .line_info(offset)
        .map_err(|error| format!("GPIO chip {title}, line {offset}: {error}"))?;
    let title = if info.name.is_empty() {
        format!("GPIO chip {title}, line {offset}")
    } else {
        format!("GPIO chip {title}, line {offset} ({})", info.name)
    };
    refuse_held(&title, &info)?;
    Ok(Found { chip, title, info })
}

/// The error of a line that something else has.
fn refuse_held(title: &str, info: &Info) -> Result<(), String> {
    if !info.used {
        return Ok(());
    }
    let holder = if info.consumer.is_empty() {
        "the kernel"
    } else {
        &info.consumer
    };
    Err(format!(
        "{title} is held by {holder}; free it there or name another line"
    ))
}

/// For those who reach a line past the kernel, which would not refuse them: whether something else has it, in the first
/// chip with one of these labels. What cannot be looked at is not held.
pub(super) fn refuse_held_line(labels: &[&str], offset: u32) -> Result<(), String> {
    let chips = list();
    let Some(chip) = chips.iter().find(|c| labels.contains(&c.label.as_str())) else {
        return Ok(());
    };
    let Ok(info) = Chip::from_name(&chip.name).and_then(|chip| chip.line_info(offset)) else {
        return Ok(());
    };
    let title = format!("GPIO chip {} ({}), line {offset}", chip.name, chip.label);
    refuse_held(&title, &info)
}

/// Asks the kernel for a line, configured by `configure`.
fn request(line: &PanelLine, configure: impl Fn(&mut Config)) -> Result<Held, String> {
    let found = find(line)?;
    let mut config = Config::default();
    config
        .on_chip(found.chip.path())
        .with_line(found.info.offset);
    configure(&mut config);
    if line.active_low {
        config.as_active_low();
    }
    match line.bias.as_deref() {
        Some("pull-up") => config.with_bias(Bias::PullUp),
        Some("pull-down") => config.with_bias(Bias::PullDown),
        Some("disabled") => config.with_bias(Bias::Disabled),
        // As the board has it.
        _ => config.with_bias(None),
    };
    let request = Request::from_config(config)
        .with_consumer(CONSUMER)
        .request()
        .map_err(|error| format!("{}: {}", found.title, hint(&error)))?;
    Ok(Held {
        request,
        title: found.title,
        offset: found.info.offset,
    })
}

/// A line that is ours.
struct Held {
    request: Request,
    title: String,
    offset: u32,
}

impl Held {
    fn failed(&self, error: &gpiocdev::Error) -> String {
        format!("{}: {}", self.title, hint(error))
    }
}

impl Board for Chardev {
    fn input(&self, line: &PanelLine) -> Result<Box<dyn Input>, String> {
        let held = request(line, |config| {
            config
                .as_input()
                .with_edge_detection(EdgeDetection::BothEdges);
        })?;
        Ok(Box::new(held))
    }
}

impl LightBoard for Chardev {
    fn output(&self, line: &PanelLine, lit: bool) -> Result<Box<dyn Output>, String> {
        let held = request(line, |config| {
            config.as_output(value(lit));
        })?;
        Ok(Box::new(Light(held)))
    }

    fn make_safe(&self, line: &PanelLine, _lit: bool) -> Result<&'static str, String> {
        // The driver may have left it as the daemon drove it: Raspberry Pi's own kernels do.
        request(line, |config| {
            config.as_input();
        })?;
        Ok(RELEASED)
    }
}

impl Input for Held {
    fn is_active(&mut self) -> Result<bool, String> {
        let value = self.request.value(self.offset);
        value
            .map(|value| value == Value::Active)
            .map_err(|error| self.failed(&error))
    }

    fn wait(&mut self, longest: Duration) -> Result<Option<(bool, Timestamp)>, String> {
        let ready = self.request.wait_edge_event(longest);
        if !ready.map_err(|error| self.failed(&error))? {
            return Ok(None);
        }
        let event = self
            .request
            .read_edge_event()
            .map_err(|error| self.failed(&error))?;
        // An edge of an active-low line rises when it becomes active; the kernel stamps with CLOCK_MONOTONIC.
        let at = Timestamp::from_duration(Duration::from_nanos(event.timestamp_ns));
        Ok(Some((event.kind == EdgeKind::Rising, at)))
    }
}

/// An output; on drop its line falls to what the board's wiring makes of it.
struct Light(Held);

impl Output for Light {
    fn set(&mut self, lit: bool) -> Result<(), String> {
        let held = &self.0;
        held.request
            .set_value(held.offset, value(lit))
            .map_err(|error| held.failed(&error))
    }
}

impl Drop for Light {
    fn drop(&mut self) {
        // Some drivers leave a released line as it was driven last.
        let mut config = Config::default();
        config.with_line(self.0.offset).as_input();
        if let Err(error) = self.0.request.reconfigure(&config) {
            log::debug!("{}", self.0.failed(&error));
        }
    }
}

fn value(lit: bool) -> Value {
    if lit { Value::Active } else { Value::Inactive }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_that_is_not_there_is_named_with_those_that_are() {
        let line = PanelLine {
            chip: Some("no-such-chip".to_owned()),
            line: "17".to_owned(),
            active_low: false,
            bias: None,
        };
        let error = Chardev.input(&line).err().expect("refused");
        assert!(error.contains("no-such-chip; there is "), "{error}");
        assert!(Chardev.output(&line, true).is_err());
    }
}
