//! Whose unit a decoder thread takes next: the streams take turns, so that one with a full queue delays another by one unit.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::decode::VideoTrack;

#[derive(Default)]
struct Queue {
    /// Streams with units, each once.
    tracks: VecDeque<Arc<VideoTrack>>,
    stopping: bool,
}

/// One decoder thread's work.
#[derive(Default)]
pub(crate) struct Worker {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Worker {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a stream behind the others. The caller holds that no stream is queued twice.
    pub(super) fn push(&self, track: Arc<VideoTrack>) {
        let mut queue = self.lock();
        if !queue.stopping {
            queue.tracks.push_back(track);
            self.wake.notify_one();
        }
    }

    /// Decodes until [`Self::stop`].
    pub(crate) fn run(&self) {
        loop {
            let mut queue = self.lock();
            let track = loop {
                if queue.stopping {
                    return;
                }
                match queue.tracks.pop_front() {
                    Some(track) => break track,
                    None => {
                        queue = self
                            .wake
                            .wait(queue)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            drop(queue);
            self.decode_one(track);
        }
    }

    fn decode_one(&self, track: Arc<VideoTrack>) {
        if track.take_turn() {
            self.push(track);
        }
    }

    /// Ends [`Self::run`] after the unit it is at; what waits is dropped.
    pub(crate) fn stop(&self) {
        let mut queue = self.lock();
        queue.stopping = true;
        queue.tracks.clear();
        self.wake.notify_all();
    }

    /// Decodes the next unit on the caller's thread, if one waits.
    #[cfg(test)]
    pub(super) fn take_one(&self) -> bool {
        let next = self.lock().tracks.pop_front();
        let any = next.is_some();
        next.into_iter().for_each(|track| self.decode_one(track));
        any
    }
}
