//! Single lines of a panel, tried one by one for `huddled selftest`.

use std::time::Duration;

use super::{Board, chardev, kernel, pi};
use crate::clock;
use crate::config::{PanelBackend, PanelLine};

/// How long a light is lit, and how long it is dark.
const FLASH: Duration = Duration::from_millis(300);
/// How often.
const FLASHES: u32 = 3;

fn board(backend: PanelBackend) -> Result<Box<dyn Board>, String> {
    match backend {
        PanelBackend::Chardev => Ok(Box::new(chardev::Chardev)),
        PanelBackend::Rppal => Ok(Box::new(pi::RaspberryPi)),
        PanelBackend::Kernel => Ok(Box::new(kernel::Kernel::new())),
        PanelBackend::None | PanelBackend::SimVirtual => Err("this panel has no lines".to_owned()),
    }
}

pub(in crate::devices) fn blink(backend: PanelBackend, line: &PanelLine) -> Result<(), String> {
    let mut light = board(backend)?.output(line, true)?;
    for flash in 0..FLASHES {
        if flash > 0 {
            light.set(true)?;
        }
        std::thread::sleep(FLASH);
        light.set(false)?;
        std::thread::sleep(FLASH);
    }
    // Where it would stay as it is: nothing leaves this box.
    light.rest(true)
}

pub(in crate::devices) fn read_button(
    backend: PanelBackend,
    line: &PanelLine,
) -> Result<bool, String> {
    board(backend)?.input(line)?.is_active()
}

pub(in crate::devices) fn await_press(
    backend: PanelBackend,
    line: &PanelLine,
    patience: Duration,
) -> Result<bool, String> {
    let mut input = board(backend)?.input(line)?;
    let deadline = clock::monotonic() + patience;
    loop {
        let left = deadline.since(clock::monotonic());
        match input.wait(left)? {
            Some((true, _)) => return Ok(true),
            Some((false, _)) => {}
            None if left.is_zero() => return Ok(false),
            None => {}
        }
    }
}
