//! The Raspberry Pi's own pins through rppal: levels by the mapped registers, edges by the character device.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rppal::gpio::{Bias, Error, Event, Gpio, InputPin, IoPin, Level, Mode, Pin, Trigger};

use super::{Board, Input, LightBoard, Output, RELEASED, chardev};
use crate::config::PanelLine;
use crate::room::Timestamp;

/// See the module.
#[derive(Debug)]
pub(super) struct RaspberryPi;

/// What the kernel calls the chips that rppal knows.
const LABELS: [&str; 3] = ["pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"];

/// The pin and its name for people.
fn pin(line: &PanelLine) -> Result<(Pin, String), String> {
    let title = format!("Raspberry Pi pin BCM {}", line.line);
    // The configuration has seen to it.
    let number = line
        .line
        .parse::<u8>()
        .map_err(|_| format!("{title} is not a number"))?;
    let pin = Gpio::new()
        .and_then(|gpio| gpio.get(number))
        .map_err(|error| format!("{title}: {}", hint(&error)))?;
    // The registers would not mind.
    chardev::refuse_held_line(&LABELS, number.into())
        .map_err(|problem| format!("{title}: {problem}"))?;
    Ok((pin, title))
}

/// An input with the level that it will be driven to. At its end it stays what it was made, where rppal would put back what
/// it found, which after a program that was killed is an output.
fn io(pin: Pin, level: Level) -> IoPin {
    let mut pin = pin.into_io(Mode::Input);
    pin.set_reset_on_drop(false);
    pin.write(level);
    pin
}

/// What lights a lamp, or does not, by its wiring.
fn level(line: &PanelLine, lit: bool) -> Level {
    (lit != line.active_low).into()
}

fn hint(error: &Error) -> String {
    match error {
        Error::UnknownModel => {
            "this is no Raspberry Pi that rppal knows; use backend \"chardev\"".to_owned()
        }
        Error::PermissionDenied(path) if path == "/dev/mem" => {
            "the kernel has no /dev/gpiomem and gives /dev/mem to nobody; use backend \"chardev\""
                .to_owned()
        }
        Error::PermissionDenied(path) => format!(
            "no permission for {path}; the user of huddled must be in the group gpio, or use backend \"chardev\""
        ),
        Error::PinUsed(_) => "two keys of the panel name this pin; change one".to_owned(),
        Error::PinNotAvailable(_) => {
            "this Raspberry Pi has no such pin; those of the header are 0 to 27".to_owned()
        }
        other => format!("{other}; use backend \"chardev\" where the kernel has no /dev/gpiomem"),
    }
}

fn bias(line: &PanelLine) -> Option<Bias> {
    match line.bias.as_deref() {
        Some("pull-up") => Some(Bias::PullUp),
        Some("pull-down") => Some(Bias::PullDown),
        Some("disabled") => Some(Bias::Off),
        _ => None,
    }
}

impl Board for RaspberryPi {
    fn input(&self, line: &PanelLine) -> Result<Box<dyn Input>, String> {
        let (pin, title) = pin(line)?;
        let mut pin = pin.into_input();
        if let Some(bias) = bias(line) {
            pin.set_bias(bias);
        }
        let failed = |error: Error| format!("{title}: {}", hint(&error));
        // Refused here if the kernel refuses it; the other way it would say so later.
        pin.set_interrupt(Trigger::Both, None).map_err(failed)?;
        // Not waited for by poll_interrupt: one call of that holds off those of all other pins, and keeps of their edges
        // the last, so that a short press beside it would be a release alone.
        let (sender, edges) = channel();
        pin.set_async_interrupt(Trigger::Both, None, move |event| {
            // The button may be on its way out.
            let _ = sender.send(event);
        })
        .map_err(failed)?;
        Ok(Box::new(Button {
            pin,
            edges,
            title,
            active_low: line.active_low,
        }))
    }
}

impl LightBoard for RaspberryPi {
    fn output(&self, line: &PanelLine, lit: bool) -> Result<Box<dyn Output>, String> {
        let level = level(line, lit);
        let mut pin = io(pin(line)?.0, level);
        pin.set_mode(Mode::Output);
        Ok(Box::new(Light {
            pin,
            line: line.clone(),
        }))
    }

    fn make_safe(&self, line: &PanelLine, lit: bool) -> Result<&'static str, String> {
        io(pin(line)?.0, level(line, lit));
        Ok(RELEASED)
    }
}

struct Button {
    pin: InputPin,
    /// From rppal's own thread for this pin.
    edges: Receiver<Event>,
    title: String,
    active_low: bool,
}

impl Input for Button {
    fn is_active(&mut self) -> Result<bool, String> {
        Ok(self.pin.is_high() != self.active_low)
    }

    fn wait(&mut self, longest: Duration) -> Result<Option<(bool, Timestamp)>, String> {
        match self.edges.recv_timeout(longest) {
            Ok(event) => Ok(Some(edge(&event, self.active_low))),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let ended = self.pin.clear_async_interrupt();
                let why = ended.map_or_else(|error| hint(&error), |()| "it ended".to_owned());
                Err(format!("{}: no more edges: {why}", self.title))
            }
        }
    }
}

/// Whether the line became active, and when by `CLOCK_MONOTONIC`.
fn edge(event: &Event, active_low: bool) -> (bool, Timestamp) {
    let rose = event.trigger == Trigger::RisingEdge;
    (
        rose != active_low,
        Timestamp::from_duration(event.timestamp),
    )
}

/// On drop the pin is an input, and falls to what the board's wiring makes of it.
struct Light {
    pin: IoPin,
    line: PanelLine,
}

impl Output for Light {
    fn set(&mut self, lit: bool) -> Result<(), String> {
        self.pin.write(level(&self.line, lit));
        Ok(())
    }
}

impl Drop for Light {
    fn drop(&mut self) {
        self.pin.set_mode(Mode::Input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elsewhere_than_on_a_pi_the_error_names_the_pin_and_the_way_out() {
        let line = PanelLine {
            chip: None,
            line: "17".to_owned(),
            active_low: false,
            bias: None,
        };
        if Gpio::new().is_ok() {
            return;
        }
        let error = RaspberryPi.input(&line).err().expect("refused");
        assert!(
            error.contains("BCM 17") && error.contains("chardev"),
            "{error}"
        );
    }

    #[test]
    fn an_edge_is_active_by_the_wiring() {
        let event = |trigger| Event {
            timestamp: Duration::from_millis(5),
            seqno: 1,
            trigger,
        };
        let at = Timestamp::from_millis(5);
        assert_eq!(edge(&event(Trigger::RisingEdge), false), (true, at));
        assert_eq!(edge(&event(Trigger::FallingEdge), false), (false, at));
        assert_eq!(edge(&event(Trigger::RisingEdge), true), (false, at));
        assert_eq!(edge(&event(Trigger::FallingEdge), true), (true, at));
    }
}
