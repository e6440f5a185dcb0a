//! The Raspberry Pi's own pins through rppal: levels by the mapped registers, edges by the character device.

use std::time::Duration;

use rppal::gpio::{Bias, Error, Event, Gpio, InputPin, Level, OutputPin, Trigger};

use super::{Board, Input, LightBoard, Output};
use crate::config::PanelLine;
use crate::room::Timestamp;

/// See the module.
#[derive(Debug)]
pub(super) struct RaspberryPi;

/// The pin and its name for people.
fn pin(line: &PanelLine) -> Result<(rppal::gpio::Pin, String), String> {
    let title = format!("Raspberry Pi pin BCM {}", line.line);
    // The configuration has seen to it.
    let number = line
        .line
        .parse()
        .map_err(|_| format!("{title} is not a number"))?;
    let pin = Gpio::new()
        .and_then(|gpio| gpio.get(number))
        .map_err(|error| format!("{title}: {}", hint(&error)))?;
    Ok((pin, title))
}

fn hint(error: &Error) -> String {
    match error {
        Error::UnknownModel => {
            "this is no Raspberry Pi that rppal knows; use backend \"chardev\"".to_owned()
        }
        Error::PermissionDenied(path) => format!(
            "no permission for {path}; the user of huddled must be in the group gpio, or use backend \"chardev\""
        ),
        Error::PinUsed(_) => "two keys of the panel name this pin; change one".to_owned(),
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
        // Who holds the line already is what the kernel says here.
        pin.set_interrupt(Trigger::Both, None)
            .map_err(|error| format!("{title}: {}", hint(&error)))?;
        Ok(Box::new(Button {
            pin,
            title,
            active_low: line.active_low,
        }))
    }
}

impl LightBoard for RaspberryPi {
    fn output(&self, line: &PanelLine, lit: bool) -> Result<Box<dyn Output>, String> {
        let (pin, _) = pin(line)?;
        let pin = if lit != line.active_low {
            pin.into_output_high()
        } else {
            pin.into_output_low()
        };
        Ok(Box::new(Light {
            pin,
            active_low: line.active_low,
        }))
    }
}

struct Button {
    pin: InputPin,
    title: String,
    active_low: bool,
}

impl Input for Button {
    fn is_active(&mut self) -> Result<bool, String> {
        Ok(self.pin.is_high() != self.active_low)
    }

    fn wait(&mut self, longest: Duration) -> Result<Option<(bool, Timestamp)>, String> {
        let event = self.pin.poll_interrupt(false, Some(longest));
        let event = event.map_err(|error| format!("{}: {}", self.title, hint(&error)))?;
        Ok(event.map(|event| edge(&event, self.active_low)))
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

/// On drop the pin is again what it was before.
struct Light {
    pin: OutputPin,
    active_low: bool,
}

impl Output for Light {
    fn set(&mut self, lit: bool) -> Result<(), String> {
        self.pin.write(if lit != self.active_low {
            Level::High
        } else {
            Level::Low
        });
        Ok(())
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
