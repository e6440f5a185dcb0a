//! What a simulated device is told to do wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Makes a simulated device misbehave on demand, from another thread; real devices ignore it. Clones
/// share their state.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    drops: u64,
    xruns: u64,
    stalled: bool,
    gone: bool,
    covered: bool,
}

impl Faults {
    /// Lets the camera lose the next `frames` frames: the sequence shows a gap.
    pub fn drop_frames(&self, frames: u64) {
        self.state().drops += frames;
    }

    /// Lets the sound device run dry, or over, `times` times: one period is lost each time.
    pub fn cause_xruns(&self, times: u64) {
        self.state().xruns += times;
    }

    /// Stalls the device: it stays open and delivers nothing until it is released.
    pub fn set_stalled(&self, stalled: bool) {
        self.state().stalled = stalled;
    }

    /// Unplugs the device, or plugs it in again: it has to be opened anew.
    pub fn set_gone(&self, gone: bool) {
        self.state().gone = gone;
    }

    /// Closes the camera's shutter, or opens it.
    pub fn set_covered(&self, covered: bool) {
        self.state().covered = covered;
    }

    pub(super) fn is_covered(&self) -> bool {
        self.state().covered
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.state().stalled
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state().gone
    }

    pub(super) fn take_drops(&self) -> u64 {
        std::mem::take(&mut self.state().drops)
    }

    pub(super) fn take_xrun(&self) -> bool {
        let mut state = self.state();
        let some = state.xruns > 0;
        state.xruns = state.xruns.saturating_sub(1);
        some
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
