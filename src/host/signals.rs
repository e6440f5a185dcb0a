//! signal(7): SIGTERM and SIGINT stop, SIGHUP reloads.

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use super::HostError;

/// What the outside wants of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM (systemd) or SIGINT (a terminal).
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The installed handlers. From [`Signals::install`] on, none of the three signals ends the process.
#[derive(Debug)]
pub struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

impl Signals {
    /// Installs the handlers; needs a tokio runtime with I/O.
    pub fn install() -> Result<Self, HostError> {
        let open = |kind| {
            signal(kind).map_err(|source| HostError::Setup {
                what: "signal handlers",
                source,
            })
        };
        Ok(Self {
            terminate: open(SignalKind::terminate())?,
            interrupt: open(SignalKind::interrupt())?,
            hangup: open(SignalKind::hangup())?,
        })
    }

    /// The next signal. Several of one kind that arrive close together count once. Cancel safe.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raise(signal: libc::c_int) {
        // SAFETY: raising a signal whose handler is installed has no preconditions.
        #[allow(unsafe_code)]
        let result = unsafe { libc::kill(libc::getpid(), signal) };
        assert_eq!(result, 0);
    }

    // One test for all three: signals belong to the whole test process.
    #[tokio::test]
    async fn hangup_reloads_and_both_other_signals_stop() {
        let mut signals = Signals::install().unwrap();
        raise(libc::SIGHUP);
        assert_eq!(signals.next().await, Signal::Reload);
        raise(libc::SIGTERM);
        assert_eq!(signals.next().await, Signal::Stop);
        raise(libc::SIGINT);
        assert_eq!(signals.next().await, Signal::Stop);
    }
}
