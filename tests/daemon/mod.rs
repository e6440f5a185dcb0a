//! The real binary with simulated devices, as a service manager, a terminal and the other members of a meeting see it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these are tests, their parts that carry no #[test] too"
)]

mod closing;
mod layers;
mod leaks;
mod lights;
mod live;
mod meeting;
mod process;
mod recovery;
#[cfg(feature = "hub")]
mod remote;
mod secrets;
mod selftest;
mod service;
mod starting;

use std::time::{Duration, Instant};

use process::{Daemon, Setup};

/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);
/// How long the end may take. On two cores that were eight times overcommitted it took 0.5 s at most.
const STOP: Duration = Duration::from_secs(2);
/// Digital silence, dBFS.
const SILENCE: f64 = -120.0;

/// Looks again and again until there is something to see.
fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(instead) => {
                assert!(Instant::now() < deadline, "waited for: {what}; {instead}");
            }
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}
