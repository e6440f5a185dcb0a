//! Video out: one thread that captures, converts, encodes and publishes. Encoding runs here because 5 to
//! 30 ms on an async worker would delay everybody's ICE consent.

mod rate;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::EncodedVideo;
use super::error::EncodeError;
use super::fanout::Fanout;
use super::h264::{Content, VideoEncoder};
use crate::config::{ScreenSettings, VideoDevice, VideoEncoding, VideoSettings};
use crate::devices::{Camera, DeviceError, open_camera, open_screen};
use crate::events::EventSender;
use crate::room::Event;
use worker::Worker;
#[cfg(test)]
pub(crate) use worker::{DEQUEUE_TIMEOUT, REOPEN_INTERVAL, STALLED_AFTER, STARTED_WITHIN};

/// Opens the camera, again and again if need be.
pub type CameraOpener = Box<dyn FnMut() -> Result<Box<dyn Camera>, DeviceError> + Send>;

/// What the pipeline has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VideoOutHealth {
    /// Frames taken from the camera. Each of them is encoded, dropped or failed.
    pub captured: u64,
    /// Captured frames that were encoded: once each, however many peers there are.
    pub encoded: u64,
    /// Captured frames dropped because a newer one waited already, or because the camera is faster than asked for.
    pub dropped: u64,
    /// Captured frames that could not be converted or encoded.
    pub failed: u64,
    /// Frames the camera lost itself: gaps in its sequence.
    pub missed: u64,
    /// Frames that the driver delivered damaged or cut short; they are among the missed ones.
    pub damaged: u64,
    /// Keyframes sent, black ones included.
    pub keyframes: u64,
    /// Frames encoded that stand in for the camera: black while it is off, a slate while it is lost.
    pub black: u64,
    /// RTP payload bytes published.
    pub bytes: u64,
    /// The camera is gone or was never there.
    pub lost: bool,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

/// Which of the two streams of pictures a pipeline feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The camera's: switched off it is black, lost it is a slate.
    Camera,
    /// The screen's: switched off nothing leaves. `watched`: a source that appears or goes while nothing is shared is
    /// reported, too.
    Screen {
        /// Look for it.
        watched: bool,
    },
}

impl Feed {
    fn content(self) -> Content {
        match self {
            Self::Camera => Content::Camera,
            Self::Screen { .. } => Content::Screen,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Screen { .. } => "screen's source",
        }
    }

    fn confirmed(self, off: bool) -> Event {
        match self {
            Self::Camera => Event::CameraConfirmed { off },
            Self::Screen { .. } => Event::ScreenConfirmed { on: !off },
        }
    }

    fn lost(self, lost: bool) -> Event {
        match self {
            Self::Camera => Event::CameraLost(lost),
            Self::Screen { .. } => Event::ScreenSource(!lost),
        }
    }

    fn publish(self, fanout: &Fanout, frame: &EncodedVideo) {
        match self {
            Self::Camera => fanout.publish_video(frame),
            Self::Screen { .. } => fanout.publish_screen(frame),
        }
    }

    fn drop_waiting(self, fanout: &Fanout) {
        match self {
            Self::Camera => fanout.drop_video(),
            Self::Screen { .. } => fanout.drop_screen(),
        }
    }
}

/// The handle of the thread. Dropping it stops the thread.
#[derive(Debug)]
pub struct VideoOut {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    video: VideoEncoding,
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<Orders>,
    ordered: Condvar,
    counters: Counters,
    /// What the thread is to go on with; `Orders::renewed` says that there is something.
    setup: Mutex<Option<Setup>>,
}

/// What a pipeline goes on with.
#[derive(Debug)]
struct Setup {
    feed: Feed,
    /// In the place of the one it has.
    opener: Opener,
    /// The camera is closed and opened anew; otherwise it goes on, and the encoder alone is another one.
    reopen: bool,
    video: VideoEncoding,
    encoder: VideoEncoder,
}

/// `None` where no camera is configured.
struct Opener(Option<CameraOpener>);

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "opener" } else { "none" })
    }
}

#[derive(Clone, Copy, Debug)]
struct Orders {
    off: bool,
    /// Counts the orders, so that each is confirmed, the repeated one too.
    serial: u64,
    keyframe: bool,
    renewed: bool,
    stop: bool,
}

#[derive(Debug, Default)]
struct Counters {
    beats: AtomicU64,
    captured: AtomicU64,
    encoded: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    missed: AtomicU64,
    damaged: AtomicU64,
    keyframes: AtomicU64,
    black: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicBool,
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn setup(&self) -> MutexGuard<'_, Option<Setup>> {
        self.setup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens what is configured; `None` where nothing is. `box_name` is what a test card shows.
pub fn opener(
    settings: &VideoSettings,
    box_name: &str,
    video: &VideoEncoding,
) -> Option<CameraOpener> {
    if settings.device == VideoDevice::None {
        return None;
    }
    let (settings, box_name, video) = (settings.clone(), box_name.to_owned(), *video);
    Some(Box::new(move || open_camera(&settings, &box_name, &video)))
}

/// Opens the screen's source, which is never the camera; `None` where nothing is configured. `box_name` is what a test
/// card shows.
pub fn screen_opener(settings: &ScreenSettings, box_name: &str) -> Option<CameraOpener> {
    if settings.source.device == VideoDevice::None {
        return None;
    }
    let (settings, box_name) = (settings.clone(), box_name.to_owned());
    Some(Box::new(move || open_screen(&settings, &box_name)))
}

impl VideoOut {
    /// Starts the thread, with the camera off until [`VideoOut::set_off`] orders otherwise. `box_name` is
    /// what a test card shows.
    ///
    /// # Errors
    /// When the encoder or the thread cannot be made. A missing camera is no error: it is reported as
    /// [`CameraLost`](crate::room::Event::CameraLost) and looked for every second.
    pub fn spawn(
        feed: Feed,
        settings: &VideoSettings,
        box_name: &str,
        video: &VideoEncoding,
        fanout: Arc<Fanout>,
        events: EventSender,
    ) -> Result<Self, EncodeError> {
        let opener = opener(settings, box_name, video);
        Self::spawn_with(feed, opener, video, fanout, events)
    }

    /// Goes on with another camera or another encoding. Where `reopen` is not set the camera stays open, and what
    /// receivers see of it is one keyframe.
    ///
    /// # Errors
    /// When the encoder cannot be made; then everything goes on as it was.
    pub fn renew(
        &mut self,
        feed: Feed,
        opener: Option<CameraOpener>,
        reopen: bool,
        video: &VideoEncoding,
    ) -> Result<(), EncodeError> {
        let setup = Setup {
            feed,
            opener: Opener(opener),
            reopen,
            video: *video,
            encoder: VideoEncoder::new(video, feed.content())?,
        };
        self.video = *video;
        let mut waiting = self.shared.setup();
        // One that was not taken yet may have asked for it.
        let reopen = reopen || waiting.as_ref().is_some_and(|setup| setup.reopen);
        *waiting = Some(Setup { reopen, ..setup });
        drop(waiting);
        self.shared.orders().renewed = true;
        self.shared.ordered.notify_one();
        Ok(())
    }

    /// As [`VideoOut::spawn`] with a camera of one's own; `None` where none is configured, which is not a
    /// loss.
    ///
    /// # Errors
    /// As [`VideoOut::spawn`].
    pub fn spawn_with(
        feed: Feed,
        opener: Option<CameraOpener>,
        video: &VideoEncoding,
        fanout: Arc<Fanout>,
        events: EventSender,
    ) -> Result<Self, EncodeError> {
        let shared = Arc::new(Shared {
            orders: Mutex::new(Orders {
                off: true,
                serial: 0,
                keyframe: false,
                renewed: false,
                stop: false,
            }),
            ordered: Condvar::new(),
            counters: Counters::default(),
            setup: Mutex::new(None),
        });
        let worker = Worker::new(feed, Arc::clone(&shared), opener, video, fanout, events)?;
        let thread = std::thread::Builder::new()
            .name(match feed {
                Feed::Camera => "video-out".to_owned(),
                Feed::Screen { .. } => "screen-out".to_owned(),
            })
            .spawn(move || worker.run())
            .map_err(EncodeError::Thread)?;
        Ok(Self {
            shared,
            thread: Some(thread),
            video: *video,
        })
    }

    /// Orders the camera off or on; [`CameraConfirmed`](crate::room::Event::CameraConfirmed) follows when
    /// it is done.
    pub fn set_off(&self, off: bool) {
        let mut orders = self.shared.orders();
        orders.off = off;
        orders.serial += 1;
        drop(orders);
        self.shared.ordered.notify_one();
    }

    /// Makes the next frame a keyframe. While the camera is off or lost one more black one or slate is sent,
    /// so that whoever joins now sees it instead of nothing.
    pub fn order_keyframe(&self) {
        self.shared.orders().keyframe = true;
        self.shared.ordered.notify_one();
    }

    /// What has been done so far.
    pub fn health(&self) -> VideoOutHealth {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        VideoOutHealth {
            captured: read(&counters.captured),
            encoded: read(&counters.encoded),
            dropped: read(&counters.dropped),
            failed: read(&counters.failed),
            missed: read(&counters.missed),
            damaged: read(&counters.damaged),
            keyframes: read(&counters.keyframes),
            black: read(&counters.black),
            bytes: read(&counters.bytes),
            lost: counters.lost.load(Ordering::Relaxed),
            width: self.video.width,
            height: self.video.height,
        }
    }

    /// Grows as long as the thread turns.
    pub fn beats(&self) -> u64 {
        self.shared.counters.beats.load(Ordering::Relaxed)
    }

    /// Stops the camera and the thread; returns when both are.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.shared.orders().stop = true;
        self.shared.ordered.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the video thread had panicked");
        }
    }
}

impl Drop for VideoOut {
    fn drop(&mut self) {
        self.halt();
    }
}

#[cfg(test)]
mod tests;
