//! Audio out: one thread that reads the microphone, holds the mute gate, encodes and publishes.

mod source;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::error::EncodeError;
use super::fanout::Fanout;
use crate::clock;
use crate::config::{AudioEncoding, MicrophoneSettings};
use crate::devices::{DeviceError, Microphone, open_microphone};
use crate::events::EventSender;
use crate::room::Timestamp;
use worker::Worker;

/// Level of digital silence, dBFS.
const SILENT_DBFS: f32 = -120.0;

/// Opens the microphone, again and again if need be.
pub type MicrophoneOpener = Box<dyn FnMut() -> Result<Box<dyn Microphone>, DeviceError> + Send>;

/// What the pipeline has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AudioOutHealth {
    /// Periods of 10 ms read from the device.
    pub periods: u64,
    /// Packets of 20 ms published.
    pub packets: u64,
    /// Packets published while muted that were not the constant silence: always 0.
    pub packets_while_muted_with_sound: u64,
    /// Level of the last packet as it left, dBFS; -120 for digital silence.
    pub level_dbfs: f32,
    /// Times the device ran over.
    pub xruns: u64,
    /// The microphone is gone or was never there; silence leaves.
    pub lost: bool,
}

/// The handle of the thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct AudioOut {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    order: Mutex<Order>,
    stop: AtomicBool,
    beats: AtomicU64,
    periods: AtomicU64,
    packets: AtomicU64,
    leaked: AtomicU64,
    level: AtomicU32,
    xruns: AtomicU64,
    lost: AtomicBool,
    /// What the thread is to go on with.
    setup: Mutex<Setup>,
}

/// What is not set stays.
#[derive(Default)]
struct Setup {
    opener: Option<MicrophoneOpener>,
    encoding: Option<AudioEncoding>,
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup")
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug)]
struct Order {
    muted: bool,
    /// When the gate was last ordered open: what was captured earlier never leaves.
    opened_at: Timestamp,
    /// Counts the orders, so that each is confirmed, the repeated one too.
    serial: u64,
}

impl Shared {
    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn setup(&self) -> MutexGuard<'_, Setup> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AudioOut {
    /// Starts the thread, muted until [`AudioOut::set_muted`] orders otherwise.
    ///
    /// # Errors
    /// When the encoder or the thread cannot be made. A missing microphone is no error: the journal and
    /// [`AudioOutHealth::lost`] say so, and it is looked for every second, while silence leaves.
    pub fn spawn(
        settings: &MicrophoneSettings,
        encoding: &AudioEncoding,
        fanout: Arc<Fanout>,
        events: EventSender,
    ) -> Result<Self, EncodeError> {
        Self::spawn_with(opener(settings), encoding, fanout, events)
    }

    /// As [`AudioOut::spawn`] with a microphone of one's own.
    ///
    /// # Errors
    /// As [`AudioOut::spawn`].
    pub fn spawn_with(
        opener: MicrophoneOpener,
        encoding: &AudioEncoding,
        fanout: Arc<Fanout>,
        events: EventSender,
    ) -> Result<Self, EncodeError> {
        let shared = Arc::new(Shared {
            order: Mutex::new(Order {
                muted: true,
                opened_at: Timestamp::default(),
                serial: 0,
            }),
            stop: AtomicBool::new(false),
            beats: AtomicU64::new(0),
            periods: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            leaked: AtomicU64::new(0),
            level: AtomicU32::new(SILENT_DBFS.to_bits()),
            xruns: AtomicU64::new(0),
            lost: AtomicBool::new(false),
            setup: Mutex::default(),
        });
        let worker = Worker::new(Arc::clone(&shared), opener, encoding, fanout, events)?;
        let thread = std::thread::Builder::new()
            .name("audio-out".to_owned())
            .spawn(move || worker.run())
            .map_err(EncodeError::Thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Closes or opens the gate; [`MicrophoneConfirmed`](crate::room::Event::MicrophoneConfirmed) follows
    /// when that is what leaves.
    pub fn set_muted(&self, muted: bool) {
        let mut order = self.shared.order();
        if order.muted && !muted {
            order.opened_at = clock::monotonic();
        }
        order.muted = muted;
        order.serial += 1;
    }

    /// Goes on with another microphone, under the mute gate as it is.
    pub fn set_source(&self, settings: &MicrophoneSettings) {
        self.shared.setup().opener = Some(opener(settings));
    }

    /// Goes on with another encoding; nothing of it is heard but the quality.
    pub fn set_encoding(&self, encoding: &AudioEncoding) {
        self.shared.setup().encoding = Some(*encoding);
    }

    /// What has been done so far.
    pub fn health(&self) -> AudioOutHealth {
        let shared = &self.shared;
        AudioOutHealth {
            periods: shared.periods.load(Ordering::Relaxed),
            packets: shared.packets.load(Ordering::Relaxed),
            packets_while_muted_with_sound: shared.leaked.load(Ordering::Relaxed),
            level_dbfs: f32::from_bits(shared.level.load(Ordering::Relaxed)),
            xruns: shared.xruns.load(Ordering::Relaxed),
            lost: shared.lost.load(Ordering::Relaxed),
        }
    }

    /// Grows as long as the thread turns.
    pub fn beats(&self) -> u64 {
        self.shared.beats.load(Ordering::Relaxed)
    }

    /// Stops the thread; returns when it has ended.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the microphone thread had panicked");
        }
    }
}

impl Drop for AudioOut {
    fn drop(&mut self) {
        self.halt();
    }
}

fn opener(settings: &MicrophoneSettings) -> MicrophoneOpener {
    let settings = settings.clone();
    Box::new(move || open_microphone(&settings))
}

/// The mute gate, the one place that decides whether captured sound may leave: silences the period and
/// says so while the microphone is muted, and afterwards for what was captured before it was opened. It
/// is asked at the last moment, when a packet is about to be encoded.
///
/// `mute_gate_removed` builds the program without it, for the test that proves the mute test can fail
/// (build.rs).
fn gate(order: &Order, captured_at: Timestamp, samples: &mut [i16]) -> bool {
    let closed = cfg!(not(mute_gate_removed)) && (order.muted || captured_at < order.opened_at);
    if closed {
        samples.fill(0);
    }
    closed
}
