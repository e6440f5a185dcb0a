//! The microphone, lost and found again.

use std::time::Duration;

use super::MicrophoneOpener;
use crate::clock;
use crate::devices::{CapturedPeriod, DeviceError, Microphone, PERIOD, silent_microphone};
use crate::room::Timestamp;

/// Between two attempts to open a microphone that is not there.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// The microphone, or the silence that stands in for it.
pub(super) struct Source {
    opener: MicrophoneOpener,
    device: Option<Box<dyn Microphone>>,
    /// Paces the silence while there is no device.
    stand_in: Option<Box<dyn Microphone>>,
    /// When to try to open the device again; `None` where only an operator can help.
    retry_at: Option<Timestamp>,
}

impl Source {
    pub(super) fn new(opener: MicrophoneOpener) -> Self {
        Self {
            opener,
            device: None,
            stand_in: None,
            retry_at: Some(Timestamp::default()),
        }
    }

    /// Opens the device if that is due; whether there is one.
    pub(super) fn open(&mut self) -> Result<bool, DeviceError> {
        let now = clock::monotonic();
        if self.device.is_none() && self.retry_at.is_some_and(|at| now >= at) {
            match (self.opener)() {
                Ok(device) => self.device = Some(device),
                Err(error) => return Err(self.lose(error)),
            }
        }
        Ok(self.device.is_some())
    }

    /// The next period: of the device, else of silence at the same pace.
    pub(super) fn read(
        &mut self,
        samples: &mut [i16; PERIOD],
    ) -> Result<CapturedPeriod, DeviceError> {
        if let Some(device) = &mut self.device {
            return device
                .read_period(samples)
                .map_err(|error| self.lose(error));
        }
        self.stand_in
            .get_or_insert_with(silent_microphone)
            .read_period(samples)
    }

    fn lose(&mut self, error: DeviceError) -> DeviceError {
        self.device = None;
        // Anew, so that its clock starts with the silence.
        self.stand_in = None;
        self.retry_at = error
            .worth_retrying()
            .then(|| clock::monotonic() + REOPEN_INTERVAL);
        error
    }
}
