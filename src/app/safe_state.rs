//! `huddled safe-state`: the panel of a box whose daemon does not run. It needs no daemon, server or network.

use std::os::unix::net::UnixStream;

use anyhow::{Result, bail};

use crate::config::{PanelSettings, Settings};
use crate::control;
use crate::devices::{self, Panel};
use crate::host::{Signal, Signals};
use crate::room::{Color, Led, Pattern, Shape};

use super::configuration::ConfigSource;
use super::run::runtime;

/// Puts the lights to their safe state. With `hold` the status light shows "failed" until SIGTERM, whatever kind of lines
/// the lights are on.
///
/// # Errors
/// A daemon runs, whose lights these are; or some light could not be set, which is no error at the end of `hold`: the service
/// manager would take it for its cue to start the box that somebody has just stopped.
pub fn safe_state(settings: &Settings, source: &ConfigSource, hold: bool) -> Result<()> {
    let socket = settings.control.socket.clone().unwrap_or_else(|| {
        control::default_socket(std::env::var_os("RUNTIME_DIRECTORY").as_deref())
    });
    // One that was killed leaves the file, and nobody answers there.
    if UnixStream::connect(&socket).is_ok() {
        bail!(
            "a daemon answers at {}, and the lights show what it does; stop it first",
            socket.display()
        );
    }
    if hold {
        let panel = devices::open_lights(&settings.panel, &source.root)?;
        show_failed_until_stopped(Some(panel))?;
    }
    let refused = set(&settings.panel, source);
    if refused > 0 && !hold {
        bail!("{refused} of the panel's lights could not be made safe");
    }
    Ok(())
}

/// What `hold` does where no configuration says which lights there are: it only waits for SIGTERM, so that the service
/// manager does not start it again and again.
///
/// # Errors
/// Signals cannot be had.
pub fn wait_without_lights() -> Result<()> {
    show_failed_until_stopped(None)
}

fn set(panel: &PanelSettings, source: &ConfigSource) -> usize {
    let mut refused = 0;
    for told in devices::set_lights_safe(panel, &source.root) {
        match told {
            Ok(sentence) => log::info!("{sentence}"),
            Err(problem) => {
                log::error!("{problem}");
                refused += 1;
            }
        }
    }
    refused
}

fn show_failed_until_stopped(mut panel: Option<Box<dyn Panel>>) -> Result<()> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut signals = Signals::install()?;
        if let Some(panel) = &mut panel {
            // What `room` shows of a box that nothing leaves, and that has failed.
            for (led, shape) in [
                (Led::Mic, Shape::Steady),
                (Led::Camera, Shape::Steady),
                (Led::Status, Shape::DoubleBlink),
            ] {
                panel.set_led(led, Pattern::new(Color::Red, shape));
            }
            log::info!("showing on the panel that the box has failed, until SIGTERM");
        }
        while signals.next().await != Signal::Stop {}
        Ok(())
    })
}
