//! Everything received, from RTP payloads to the speaker and to each peer's newest picture: the handle
//! that `rtc` and `app` use.
//!
//! ```text
//!   rtc task --push_audio--> jitter buffer --+
//!                                            +--> speaker thread: decode, stretch, mix, write
//!   rtc task --push_video--> reorder -> queue --> decoder thread: decode --> newest picture
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::decode::{self, VideoTrack, Worker};
pub use super::inbound_health::{AudioHealth, InboundHealth, PeerHealth, VideoHealth};
use super::jitter::{self, JitterBuffer, MILLISECOND};
use super::meter::SILENCE;
use super::mixer::{self, OpenSpeaker, SpeakerStatus};
use super::pictures::{Picture, PictureSlot};
use super::playout::Playout;
use super::reorder::{self, Reorder};
use super::{AccessUnit, AudioPacket};
use crate::clock;
use crate::devices::PERIOD;
use crate::room::{Generation, PeerId, Timestamp};

/// Decoder threads; one 720p stream takes 6 % of a core.
const DECODER_THREADS: usize = 2;
/// How long [`Inbound::stop`] waits for its threads; a hanging device must not hang the daemon.
const STOP_PATIENCE: Duration = Duration::from_millis(500);

/// What one peer's connection feeds.
struct PeerMedia {
    closed: AtomicBool,
    jitter: Mutex<JitterBuffer>,
    playout: Mutex<Playout>,
    camera: Pictures,
    screen: Pictures,
}

/// One of a peer's two streams of pictures.
struct Pictures {
    reorder: Mutex<Reorder>,
    video: Arc<VideoTrack>,
}

/// Which of a peer's two streams of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Its camera.
    Camera,
    /// Its shared screen.
    Screen,
}

/// A peer as long as it is a member, whatever becomes of its connections.
struct Place {
    generation: Generation,
    media: Arc<PeerMedia>,
    camera: Arc<PictureSlot>,
    screen: Arc<PictureSlot>,
}

struct Shared {
    peers: Mutex<BTreeMap<PeerId, Place>>,
    workers: Vec<Arc<Worker>>,
    next_worker: AtomicUsize,
    speaker: SpeakerStatus,
}

/// The receiving half of the media pipelines. Cheap to clone; the last clone's end stops the threads.
#[derive(Clone)]
pub struct Inbound {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

/// Stops the threads when dropped.
struct Threads {
    shared: Arc<Shared>,
    running: Mutex<Vec<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inbound {
    /// Starts the speaker's thread and the decoder threads. `open_speaker` is called at once on the
    /// speaker's thread, and again each second after the device is lost; `Misconfigured` ends the
    /// attempts. Without a device the peers' sound is consumed at the same pace. Nothing is reported to the room:
    /// it has no event for a speaker, whose loss only the journal and [`InboundHealth`] tell.
    pub fn spawn(open_speaker: OpenSpeaker) -> Inbound {
        let shared = Arc::new(Shared {
            peers: Mutex::default(),
            workers: (0..DECODER_THREADS).map(|_| Arc::default()).collect(),
            next_worker: AtomicUsize::new(0),
            speaker: SpeakerStatus::default(),
        });
        let mut running = Vec::new();
        for worker in &shared.workers {
            let worker = worker.clone();
            running.push(start("video-decoder", move || worker.run()));
        }
        let speaker = shared.clone();
        running.push(start("speaker", move || {
            let mut voice = [0.0; PERIOD];
            let mix = |sum: &mut [f32; PERIOD], now| speaker.mix(sum, &mut voice, now);
            mixer::run(open_speaker, mix, &speaker.speaker);
        }));
        Inbound {
            threads: Arc::new(Threads {
                shared: shared.clone(),
                running: Mutex::new(running),
            }),
            shared,
        }
    }

    /// Begins to receive from a peer's connection. The newest generation takes the place of an older one,
    /// which is no longer heard; what is pushed for an older one is dropped. The picture stays until a newer one
    /// is decoded.
    pub fn add_peer(&self, peer: PeerId, generation: Generation) -> PeerInbound {
        let mut peers = lock(&self.shared.peers);
        let existing = peers.get(&peer);
        let slots = existing.map(|place| (place.camera.clone(), place.screen.clone()));
        let superseded = existing.is_some_and(|place| place.generation > generation);
        let (camera, screen) = slots.unwrap_or_default();
        let number = self.shared.next_worker.fetch_add(1, Ordering::Relaxed);
        let worker = self.shared.workers[number % self.shared.workers.len()].clone();
        let media = Arc::new(PeerMedia {
            closed: AtomicBool::new(superseded),
            jitter: Mutex::new(JitterBuffer::new()),
            playout: Mutex::new(Playout::new()),
            camera: Pictures::new(&peer, &worker, &camera),
            screen: Pictures::new(&peer, &worker, &screen),
        });
        if !superseded {
            let place = Place {
                generation,
                media: media.clone(),
                camera,
                screen,
            };
            if let Some(old) = peers.insert(peer, place) {
                old.media.close();
            }
        }
        PeerInbound { media }
    }

    /// The newest picture of a peer's camera or screen.
    pub fn picture(&self, peer: &PeerId, view: View) -> Option<Picture> {
        let peers = lock(&self.shared.peers);
        let place = peers.get(peer)?;
        match view {
            View::Camera => place.camera.newest(),
            View::Screen => place.screen.newest(),
        }
    }

    /// The peer's share is over: its last picture is no longer shown.
    pub fn end_screen(&self, peer: &PeerId) {
        if let Some(place) = lock(&self.shared.peers).get(peer) {
            place.screen.clear();
        }
    }

    /// The peers that have a picture, ordered by id.
    pub fn peers_with_pictures(&self) -> Vec<PeerId> {
        lock(&self.shared.peers)
            .iter()
            .filter(|(_, place)| place.camera.facts().is_some())
            .map(|(peer, _)| peer.clone())
            .collect()
    }

    /// The peer left: it is no longer heard, its picture and its figures are gone.
    pub fn remove_peer(&self, peer: &PeerId) {
        if let Some(place) = lock(&self.shared.peers).remove(peer) {
            place.media.close();
        }
    }

    /// How everything is doing. Computes each audible peer's frequency: ask about once a second.
    pub fn health(&self) -> InboundHealth {
        let places: Vec<_> = lock(&self.shared.peers)
            .iter()
            .map(|(peer, place)| {
                let facts = (place.camera.facts(), place.screen.facts());
                (peer.clone(), place.generation, place.media.clone(), facts)
            })
            .collect();
        let peers = places
            .into_iter()
            .map(|(peer, generation, media, facts)| PeerHealth {
                peer,
                generation,
                audio: media.audio_health(clock::monotonic()),
                video: media.camera.health(facts.0),
                screen: media.screen.health(facts.1),
            })
            .collect();
        InboundHealth {
            speaker_open: self.shared.speaker.open.load(Ordering::Relaxed),
            speaker_xruns: self.shared.speaker.xruns.load(Ordering::Relaxed),
            heard: *lock(&self.shared.speaker.heard),
            peers,
        }
    }

    /// Goes on with another speaker.
    pub fn set_speaker(&self, open_speaker: OpenSpeaker) {
        *lock(&self.shared.speaker.other) = Some(open_speaker);
    }

    /// Periods mixed: the speaker loop's progress for the watchdog.
    pub fn beats(&self) -> u64 {
        self.shared.speaker.beats.load(Ordering::Relaxed)
    }

    /// Stops the threads and waits for them, half a second at most.
    pub fn stop(&self) {
        self.threads.stop();
    }
}

impl Threads {
    fn stop(&self) {
        self.shared.speaker.stopping.store(true, Ordering::Relaxed);
        for worker in &self.shared.workers {
            worker.stop();
        }
        let deadline = clock::monotonic() + STOP_PATIENCE;
        for thread in lock(&self.running).drain(..) {
            while !thread.is_finished() && clock::monotonic() < deadline {
                std::thread::sleep(Duration::from_millis(2));
            }
            if thread.is_finished() {
                // A panic was reported by its hook; stopping goes on.
                let _ = thread.join();
            } else {
                log::warn!("a media thread does not stop: its device hangs");
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .expect("at start the system has room for three threads")
}

impl Shared {
    fn mix(&self, sum: &mut [f32; PERIOD], voice: &mut [f32; PERIOD], now: Timestamp) {
        let voices: Vec<_> = lock(&self.peers)
            .values()
            .filter(|place| !place.media.closed.load(Ordering::Relaxed))
            .map(|place| place.media.clone())
            .collect();
        sum.fill(0.0);
        for media in voices {
            if lock(&media.playout).pull(&media.jitter, voice, now) {
                for (sum, voice) in sum.iter_mut().zip(voice.iter()) {
                    *sum += voice;
                }
            }
        }
    }
}

impl PeerMedia {
    fn pictures(&self, view: View) -> &Pictures {
        match view {
            View::Camera => &self.camera,
            View::Screen => &self.screen,
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn audio_health(&self, now: Timestamp) -> AudioHealth {
        let (ahead, repairs, meter) = {
            let playout = lock(&self.playout);
            (playout.ahead(), playout.repairs(), playout.meter().clone())
        };
        let jitter = lock(&self.jitter);
        let jitter::Counters {
            received,
            lost,
            late,
            duplicates,
            discarded,
            malformed,
            restarts,
        } = jitter.counters();
        let heard = !self.closed.load(Ordering::Relaxed);
        let delay = jitter.delay(ahead, now).filter(|_| heard);
        AudioHealth {
            packets: received,
            lost,
            late,
            duplicates,
            discarded,
            malformed: malformed + repairs.decode_errors,
            concealed_ms: repairs.concealed_samples / MILLISECOND as u64,
            fec_recovered: repairs.fec_recovered,
            restarts,
            target_ms: (jitter.target() / MILLISECOND) as u32,
            delay_ms: delay.map(|delay| (delay.max(0) / MILLISECOND) as u32),
            level_dbfs: if heard { meter.level_dbfs() } else { SILENCE },
            frequency_hz: if heard { meter.frequency_hz() } else { 0.0 },
        }
    }
}

impl Pictures {
    fn new(peer: &PeerId, worker: &Arc<Worker>, slot: &Arc<PictureSlot>) -> Self {
        Self {
            reorder: Mutex::default(),
            video: VideoTrack::new(peer.clone(), worker.clone(), slot.clone()),
        }
    }

    fn health(&self, facts: Option<((u32, u32), Timestamp)>) -> VideoHealth {
        let reorder::Counters {
            received,
            lost,
            late: _,
            damaged_units,
        } = lock(&self.reorder).counters();
        let decode::Counters {
            decoded,
            errors,
            skipped,
            keyframes_asked,
        } = self.video.counters();
        VideoHealth {
            packets: received,
            lost,
            damaged_units,
            decoded,
            decode_errors: errors,
            skipped_units: skipped,
            keyframes_asked,
            size: facts.map(|(size, _)| size),
            last_picture_at: facts.map(|(_, at)| at),
        }
    }
}

/// Where one peer connection puts what it receives. Dropped or closed, the peer leaves the mix; its
/// picture stays until [`Inbound::remove_peer`].
pub struct PeerInbound {
    media: Arc<PeerMedia>,
}

impl PeerInbound {
    /// Takes a received Opus packet; never blocks.
    pub fn push_audio(&self, packet: AudioPacket) {
        if !self.is_closed() {
            lock(&self.media.jitter).push(&packet);
        }
    }

    /// Takes a received RTP packet of the camera or the screen (H.264, RFC 6184): sequence number, timestamp (90 kHz), marker
    /// bit, payload. Never blocks; when the decoder is half a second behind, units are dropped up to the next keyframe.
    pub fn push_video(
        &self,
        view: View,
        sequence: u16,
        media_time: u32,
        marker: bool,
        payload: &[u8],
        now: Timestamp,
    ) {
        self.with_reorder(view, |reorder, units| {
            reorder.push(sequence, media_time, marker, payload, units, now);
        });
    }

    /// Whether a keyframe must be asked for (PLI) now: true at most once per 500 ms while one is needed. Call it every
    /// 100 ms or so, and after each [`Self::push_video`] if that is convenient.
    pub fn poll_keyframe_wanted(&self, view: View, now: Timestamp) -> bool {
        if self.is_closed() {
            return false;
        }
        self.with_reorder(view, |reorder, units| reorder.expire(units, now));
        self.media.pictures(view).video.poll_keyframe_wanted(now)
    }

    /// The peer leaves the mix; what is pushed from now on is dropped.
    pub fn close(&self) {
        self.media.close();
    }

    fn is_closed(&self) -> bool {
        self.media.closed.load(Ordering::Relaxed)
    }

    fn with_reorder(&self, view: View, work: impl FnOnce(&mut Reorder, &mut Vec<AccessUnit>)) {
        if self.is_closed() {
            return;
        }
        let mut units = Vec::new();
        let pictures = self.media.pictures(view);
        let mut reorder = lock(&pictures.reorder);
        work(&mut reorder, &mut units);
        // Still under the lock: units of two callers must not overtake each other.
        for unit in units {
            pictures.video.submit(unit);
        }
    }
}

impl Drop for PeerInbound {
    fn drop(&mut self) {
        self.media.close();
    }
}

#[cfg(test)]
mod tests;
