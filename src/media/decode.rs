//! H.264 decoding: a few threads, one decoder per peer. A peer stays on its thread, so its units stay
//! in order.
//!
//! Error concealment is off in openh264: after a loss or an error nothing but a keyframe is decoded, the
//! last picture stays, and a keyframe is wanted. Decoder threads inside openh264 stay off (they crash).

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openh264::decoder::{DecodedYUV, Decoder};
use openh264::formats::YUVSource;

use super::AccessUnit;
use super::pictures::{Picture, PictureSlot};
use super::sps;
use crate::clock;
use crate::room::Timestamp;

/// Units of one peer waiting for its decoder at most: half a second. More are dropped up to the next keyframe.
const PENDING: usize = 15;
/// Largest picture decoded, pixels: 1920x1088 in macroblocks, either way up.
const MAX_SIDE: u32 = 1920;
/// See [`MAX_SIDE`].
const MAX_AREA: u32 = 1920 * 1088;
/// A keyframe is asked for at most this often (stack 3.1).
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// Why a unit gave no picture.
#[derive(Debug, thiserror::Error)]
enum DecodeError {
    #[error("the decoder refused it: {0}")]
    Refused(#[from] openh264::Error),
    #[error("its sequence parameter set cannot be read")]
    ParameterSet,
    #[error("its picture of {0}x{1} is larger than 1920x1088")]
    TooLarge(u32, u32),
    #[error("its planes do not fit its size")]
    Planes,
}

/// What became of a peer's access units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Pictures decoded.
    pub(crate) decoded: u64,
    /// Units the decoder refused.
    pub(crate) errors: u64,
    /// Units left out: they need a keyframe that is not there, or the decoder is too slow.
    pub(crate) skipped: u64,
    /// Times a keyframe was asked for.
    pub(crate) keyframes_asked: u64,
}

#[derive(Debug, Default)]
struct TrackState {
    pending: usize,
    /// A unit came at all.
    seen: bool,
    /// A keyframe went into the queue and nothing was left out since.
    in_step: bool,
    /// The decoder failed after its last keyframe.
    broken: bool,
    asked_at: Option<Timestamp>,
    counters: Counters,
}

/// One peer's video between its reorder buffer and its picture.
pub(crate) struct VideoTrack {
    state: Mutex<TrackState>,
    decoder: Mutex<PictureDecoder>,
    pictures: Arc<PictureSlot>,
    worker: Arc<Worker>,
}

impl VideoTrack {
    pub(crate) fn new(worker: Arc<Worker>, pictures: Arc<PictureSlot>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            decoder: Mutex::default(),
            pictures,
            worker,
        })
    }

    fn state(&self) -> MutexGuard<'_, TrackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a unit for decoding; never blocks.
    pub(crate) fn submit(self: &Arc<Self>, unit: AccessUnit) {
        {
            let mut state = self.state();
            state.seen = true;
            let decodable = unit.keyframe || (state.in_step && !unit.after_loss);
            state.in_step = decodable && state.pending < PENDING;
            if !state.in_step {
                state.counters.skipped += 1;
                return;
            }
            state.pending += 1;
        }
        self.worker.push(self.clone(), unit);
    }

    /// A keyframe is needed and was not asked for within [`KEYFRAME_INTERVAL`].
    pub(crate) fn poll_keyframe_wanted(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        let wanted = state.broken || (state.seen && !state.in_step);
        let recently = state
            .asked_at
            .is_some_and(|at| now.since(at) < KEYFRAME_INTERVAL);
        if !wanted || recently {
            return false;
        }
        state.asked_at = Some(now);
        state.counters.keyframes_asked += 1;
        true
    }

    /// What became of the units.
    pub(crate) fn counters(&self) -> Counters {
        self.state().counters
    }

    fn decode(&self, unit: &AccessUnit) {
        let skip = {
            let mut state = self.state();
            state.pending -= 1;
            let skip = state.broken && !unit.keyframe;
            state.counters.skipped += u64::from(skip);
            skip
        };
        if skip {
            return;
        }
        let mut decoder = self.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        match decoder.decode(unit) {
            Ok(picture) => {
                let mut state = self.state();
                if unit.keyframe {
                    state.broken = false;
                }
                if let Some(picture) = picture {
                    state.counters.decoded += 1;
                    drop(state);
                    decoder.recycled = self.pictures.replace(picture);
                }
            }
            Err(error) => {
                log::debug!("a peer's video frame was left out: {error}");
                let mut state = self.state();
                state.counters.errors += 1;
                state.broken = true;
            }
        }
    }
}

/// openh264 behind size limits.
#[derive(Default)]
struct PictureDecoder {
    decoder: Option<Decoder>,
    recycled: Vec<u8>,
}

impl PictureDecoder {
    fn decode(&mut self, unit: &AccessUnit) -> Result<Option<Picture>, DecodeError> {
        let decoded = self.decode_unit(unit);
        if decoded.is_err() {
            // After an error the decoder's state is its own secret; a keyframe starts a new one.
            self.decoder = None;
        }
        decoded
    }

    fn decode_unit(&mut self, unit: &AccessUnit) -> Result<Option<Picture>, DecodeError> {
        for (width, height) in
            sps::picture_sizes(&unit.data).map_err(|_| DecodeError::ParameterSet)?
        {
            if width.max(height) > MAX_SIDE || width * height > MAX_AREA {
                return Err(DecodeError::TooLarge(width, height));
            }
        }
        if self.decoder.is_none() {
            self.decoder = Some(Decoder::new()?);
        }
        let Some(decoder) = self.decoder.as_mut() else {
            return Ok(None);
        };
        let Some(yuv) = decoder.decode(&unit.data)? else {
            return Ok(None);
        };
        let mut i420 = std::mem::take(&mut self.recycled);
        copy_planes(&yuv, &mut i420).ok_or(DecodeError::Planes)?;
        let (width, height) = yuv.dimensions();
        Ok(Some(Picture {
            width: width as u32,
            height: height as u32,
            i420: Arc::new(i420),
            media_time: unit.media_time,
            decoded_at: clock::monotonic(),
        }))
    }
}

/// Copies the planes without their padding; `None` if they are not what their size says.
fn copy_planes(yuv: &DecodedYUV<'_>, i420: &mut Vec<u8>) -> Option<()> {
    let (width, height) = yuv.dimensions();
    let (y_stride, u_stride, v_stride) = yuv.strides();
    if width == 0 || height == 0 || width % 2 != 0 || height % 2 != 0 {
        return None;
    }
    i420.clear();
    i420.reserve(width * height * 3 / 2);
    for (plane, stride, width, height) in [
        (yuv.y(), y_stride, width, height),
        (yuv.u(), u_stride, width / 2, height / 2),
        (yuv.v(), v_stride, width / 2, height / 2),
    ] {
        for row in 0..height {
            i420.extend_from_slice(plane.get(row * stride..row * stride + width)?);
        }
    }
    Some(())
}

#[derive(Default)]
struct Queue {
    units: VecDeque<(Arc<VideoTrack>, AccessUnit)>,
    stopping: bool,
}

/// One decoder thread's work.
#[derive(Default)]
pub(crate) struct Worker {
    /// Bounded by [`PENDING`] per track.
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Worker {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, track: Arc<VideoTrack>, unit: AccessUnit) {
        let mut queue = self.lock();
        if !queue.stopping {
            queue.units.push_back((track, unit));
            self.wake.notify_one();
        }
    }

    /// Decodes until [`Self::stop`].
    pub(crate) fn run(&self) {
        loop {
            let mut queue = self.lock();
            let (track, unit) = loop {
                if queue.stopping {
                    return;
                }
                match queue.units.pop_front() {
                    Some(job) => break job,
                    None => {
                        queue = self
                            .wake
                            .wait(queue)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            drop(queue);
            track.decode(&unit);
        }
    }

    /// Ends [`Self::run`] after the unit it is at; what waits is dropped.
    pub(crate) fn stop(&self) {
        let mut queue = self.lock();
        queue.stopping = true;
        queue.units.clear();
        self.wake.notify_all();
    }
}
