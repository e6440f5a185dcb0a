//! The switch beside a camera that says whether its lens is covered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{LENS_COVER, Line};
use crate::devices::DeviceError;

/// Between two looks for such a switch where there is none.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Longest wait before the end is looked for.
const LOOK_UP: Duration = Duration::from_millis(200);

/// Hears whether the lens is covered: where it is at the start, and at each change.
pub type LensSink = Arc<dyn Fn(bool) + Send + Sync>;

/// The thread that watches the switch. Dropping it ends the thread.
pub struct LensWatch {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LensWatch {
    /// Starts watching; a switch that is not there may come.
    ///
    /// # Errors
    /// [`DeviceError::Gone`] where the system has no thread for it.
    pub fn spawn(sink: LensSink) -> Result<Self, DeviceError> {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::Builder::new()
            .name("lens-cover".to_owned())
            .spawn(move || watch(&sink, &stop))
            .map_err(|error| DeviceError::Gone {
                device: "lens cover".to_owned(),
                attempt: "starting its thread",
                reason: error.to_string(),
            })?;
        Ok(Self {
            stopping,
            thread: Some(thread),
        })
    }
}

impl Drop for LensWatch {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of the lens cover had panicked");
        }
    }
}

fn watch(sink: &LensSink, stopping: &AtomicBool) {
    let mut covered = false;
    let mut told = None;
    while !stopping.load(Ordering::Relaxed) {
        match Line::open(None, LENS_COVER, "SW_CAMERA_LENS_COVER") {
            Ok(mut line) => {
                log::info!("{}: says whether the camera's lens is covered", line.title);
                told = None;
                let mut tell = |now| {
                    if now != covered {
                        covered = now;
                        sink(now);
                    }
                };
                tell(line.is_active());
                while !stopping.load(Ordering::Relaxed) {
                    match line.wait(LOOK_UP) {
                        Ok(Some((active, _))) => tell(active),
                        Ok(None) => {}
                        Err(problem) => {
                            log::warn!("{problem}");
                            break;
                        }
                    }
                }
            }
            // Most cameras have none. One that may not be read is worth a word.
            Err(problem) => {
                if problem.contains("ermission denied") && told.as_ref() != Some(&problem) {
                    log::warn!("{problem}");
                    told = Some(problem);
                }
            }
        }
        let mut waited = Duration::ZERO;
        while waited < LOOK_AGAIN && !stopping.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK_UP);
            waited += LOOK_UP;
        }
    }
}
