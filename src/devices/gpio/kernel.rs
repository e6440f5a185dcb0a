//! Keys that the device tree or a driver describes: gpio-keys and its like through evdev. Lights beside them are those
//! of the kernel's LED class.

use std::path::Path;
use std::time::Duration;

use super::super::input;
use super::leds::LedClass;
use super::{Board, Input, LightBoard, Output};
use crate::config::{InputCode, PanelLine};
use crate::room::Timestamp;

/// See the module.
#[derive(Debug)]
pub(super) struct Kernel {
    leds: LedClass,
}

impl Kernel {
    /// Of this machine.
    pub(super) fn new() -> Self {
        Self {
            leds: LedClass::below(Path::new("/")),
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
}

impl LightBoard for Kernel {
    fn output(&self, line: &PanelLine, lit: bool) -> Result<Box<dyn Output>, String> {
        self.leds.output(line, lit)
    }

    fn make_safe(&self, line: &PanelLine, lit: bool) -> Result<&'static str, String> {
        self.leds.make_safe(line, lit)
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
