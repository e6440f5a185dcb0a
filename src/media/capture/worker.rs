//! What runs on the video thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::super::convert::Converter;
use super::super::error::EncodeError;
use super::super::fanout::Fanout;
use super::super::h264::VideoEncoder;
use super::rate::Rate;
use super::{CameraOpener, Feed, Opener, Orders, Setup, Shared};
use crate::clock;
use crate::config::VideoEncoding;
use crate::devices::picture::{black_i420, slate};
use crate::devices::{Camera, DeviceError, RawFrame};
use crate::events::EventSender;
use crate::room::{Event, Shutter, Timestamp};

/// Longest wait for a frame before orders are looked at.
pub(crate) const DEQUEUE_TIMEOUT: Duration = Duration::from_millis(100);
/// Longest wait for an order while there is nothing to capture.
const IDLE: Duration = Duration::from_millis(200);
/// When the black keyframe of a camera that went off is sent again, counted from the first. After it no packet follows
/// that would show a receiver its loss, and a lost one would freeze the last picture there.
const BLACK_AGAIN: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(500)];
/// Newer frames taken in one pass at most: a source faster than its frames are made would keep the thread from its orders.
const NEWER_AT_MOST: usize = 4;
/// A camera whose stream was started may take so long until its first frame: some move a lens or measure light first.
pub(crate) const STARTED_WITHIN: Duration = Duration::from_secs(10);
/// A camera that has delivered and delivers nothing for so long counts as lost.
pub(crate) const STALLED_AFTER: Duration = Duration::from_millis(1500);
/// The picture that stands in for a lost camera is sent so often, for those who lost it on the way.
const SLATE_AGAIN: Duration = Duration::from_secs(1);
/// What it says.
const SLATE_TEXT: &str = "Camera lost";
/// The same where the screen's source is gone.
const NO_SIGNAL_TEXT: &str = "No signal";
/// How often it is looked whether a screen's source is there while nothing is shared,
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// and how long its first picture may take then.
const WATCHED_WITHIN: Duration = Duration::from_secs(1);
/// How often a camera is asked whether its lens is covered.
const SHUTTER_INTERVAL: Duration = Duration::from_secs(1);
/// Between two attempts to open a camera that is not there.
pub(crate) const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// What lives on the thread.
pub(super) struct Worker {
    feed: Feed,
    shared: Arc<Shared>,
    opener: Option<CameraOpener>,
    /// Open, though perhaps not streaming.
    camera: Option<Box<dyn Camera>>,
    streaming: bool,
    /// When to try to open the camera again; `None` where only another order can help.
    retry_at: Option<Timestamp>,
    /// When the camera is asked for its shutter again, and what was last reported of it.
    shutter_due: Timestamp,
    covered: bool,
    /// As last reported.
    lost: bool,
    /// A source was reported to be there; `None` before the first look.
    present: Option<bool>,
    /// When it is looked for again.
    watch_at: Timestamp,
    /// Serial of the last confirmed order.
    confirmed: u64,
    /// When the black keyframe is due again, the latest first.
    black_again: Vec<Timestamp>,
    /// When the picture that stands in for the camera is due again.
    blank_due: Option<Timestamp>,
    /// When the next frame may be sent.
    rate: Rate,
    /// Damaged frames that the open camera has reported.
    damaged: u64,
    last_frame_at: Timestamp,
    last_sequence: Option<u64>,
    encoder: VideoEncoder,
    converter: Converter,
    black: Vec<u8>,
    slate: Vec<u8>,
    recycled: Vec<u8>,
    fanout: Arc<Fanout>,
    events: EventSender,
}

impl Worker {
    pub(super) fn new(
        feed: Feed,
        shared: Arc<Shared>,
        opener: Option<CameraOpener>,
        video: &VideoEncoding,
        fanout: Arc<Fanout>,
        events: EventSender,
    ) -> Result<Self, EncodeError> {
        Ok(Self {
            feed,
            shared,
            opener,
            camera: None,
            streaming: false,
            retry_at: Some(Timestamp::default()),
            shutter_due: Timestamp::default(),
            covered: false,
            lost: false,
            present: None,
            watch_at: Timestamp::default(),
            confirmed: 0,
            black_again: Vec::new(),
            blank_due: Some(Timestamp::default()),
            rate: Rate::new(video.frame_rate),
            damaged: 0,
            last_frame_at: Timestamp::default(),
            last_sequence: None,
            encoder: VideoEncoder::new(video, feed.content())?,
            converter: Converter::new(video.width, video.height),
            black: black_i420(video.width as usize, video.height as usize),
            slate: draw_slate(feed, video),
            recycled: Vec::new(),
            fanout,
            events,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            count(&self.shared.counters.beats, 1);
            let orders = {
                let mut orders = self.shared.orders();
                let taken = *orders;
                (orders.keyframe, orders.renewed) = (false, false);
                taken
            };
            if orders.stop {
                self.stop_stream();
                return;
            }
            if orders.renewed {
                let setup = self.shared.setup().take();
                setup.into_iter().for_each(|setup| self.renew(setup));
            }
            self.look_at_shutter();
            if orders.off {
                self.rest(orders);
            } else {
                self.work(orders);
            }
        }
    }

    /// Goes on with another camera or another encoding.
    fn renew(&mut self, setup: Setup) {
        let Setup {
            feed,
            opener: Opener(opener),
            reopen,
            video,
            encoder,
        } = setup;
        self.feed = feed;
        self.opener = opener;
        self.encoder = encoder;
        self.rate = Rate::new(video.frame_rate);
        self.converter = Converter::new(video.width, video.height);
        self.black = black_i420(video.width as usize, video.height as usize);
        self.slate = draw_slate(feed, &video);
        // What stands in for the camera is shown anew by the new encoder, and a source is looked for anew.
        self.blank_due = Some(Timestamp::default());
        self.present = None;
        self.watch_at = Timestamp::default();
        if !reopen {
            return;
        }
        self.stop_stream();
        self.camera = None;
        self.retry_at = Some(clock::monotonic());
        if std::mem::take(&mut self.covered) {
            // It was the other one's lens.
            self.events.report(Event::LensCovered {
                by: Shutter::Camera,
                covered: false,
            });
        }
        if self.opener.is_none() {
            self.set_lost(false);
        }
    }

    /// Asks an open camera for its shutter, off or on: what is covered must not be switched on.
    fn look_at_shutter(&mut self) {
        if self.feed != Feed::Camera {
            return;
        }
        let now = clock::monotonic();
        let Some(camera) = self.camera.as_mut().filter(|_| now >= self.shutter_due) else {
            return;
        };
        self.shutter_due = now + SHUTTER_INTERVAL;
        let covered = camera.is_covered().unwrap_or(false);
        if covered != self.covered {
            self.covered = covered;
            self.events.report(Event::LensCovered {
                by: Shutter::Camera,
                covered,
            });
        }
    }

    /// The camera is off.
    fn rest(&mut self, orders: Orders) {
        self.stop_stream();
        if let Feed::Screen { watched } = self.feed {
            return self.rest_unseen(orders, watched);
        }
        let now = clock::monotonic();
        if orders.serial != self.confirmed {
            self.send_black();
            self.black_again = BLACK_AGAIN.iter().rev().map(|after| now + *after).collect();
            self.confirm(orders);
        } else if self.black_again.pop_if(|at| *at <= now).is_some() || orders.keyframe {
            self.send_black();
        }
        let wait = self
            .black_again
            .last()
            .map_or(IDLE, |at| at.since(now).min(IDLE));
        self.wait_for_orders(orders.serial, wait);
    }

    /// Nothing is shared: nothing leaves, and the source is free for others, except for a look.
    fn rest_unseen(&mut self, orders: Orders, watched: bool) {
        self.camera = None;
        if self.confirmed != orders.serial {
            self.feed.drop_waiting(&self.fanout);
            // Nobody misses it; whether it is there is not reported by this.
            self.lost = false;
            self.shared.counters.lost.store(false, Ordering::Relaxed);
            self.retry_at = Some(clock::monotonic());
            self.confirm(orders);
        }
        let now = clock::monotonic();
        if watched && now >= self.watch_at {
            self.look_for_source();
            self.watch_at = clock::monotonic() + WATCH_INTERVAL;
        }
        self.wait_for_orders(orders.serial, IDLE);
    }

    /// A source is there when it delivers a picture: many devices can be opened without a cable.
    fn look_for_source(&mut self) {
        let Some(opener) = &mut self.opener else {
            return;
        };
        let delivers = opener().is_ok_and(|mut source| {
            let picture = source
                .start()
                .and_then(|()| source.dequeue(WATCHED_WITHIN, Vec::new()));
            source.stop();
            picture.is_ok()
        });
        self.set_present(delivers);
    }

    fn set_present(&mut self, present: bool) {
        if self.present != Some(present) {
            self.present = Some(present);
            self.events.report(Event::ScreenSource(present));
        }
    }

    /// The camera is on, or would be.
    fn work(&mut self, orders: Orders) {
        let now = clock::monotonic();
        if orders.serial != self.confirmed && self.retry_at.is_none() {
            self.retry_at = Some(now);
        }
        if self.camera.is_none() && self.retry_at.is_some_and(|at| now >= at) {
            self.open();
        }
        if let Some(camera) = &mut self.camera
            && !self.streaming
        {
            match camera.start() {
                Ok(()) => {
                    self.streaming = true;
                    self.last_frame_at = now;
                    self.last_sequence = None;
                    self.encoder.order_keyframe();
                }
                Err(error) => self.lose(&error),
            }
        }
        // Another order shows the picture anew: black of a camera that was off went before it.
        let anew = orders.keyframe || orders.serial != self.confirmed;
        if self.camera.is_none() {
            self.stand_in(anew);
            self.confirm(orders);
            self.wait_for_orders(orders.serial, IDLE);
            return;
        }
        if self.lost {
            // It was opened again and has not delivered yet.
            self.stand_in(anew);
        }
        if orders.keyframe {
            self.encoder.order_keyframe();
        }
        if self.capture() {
            self.confirm(orders);
        }
    }

    /// Sends the picture that stands in for the camera, where it is due or asked for.
    fn stand_in(&mut self, asked: bool) {
        let now = clock::monotonic();
        if !asked && self.blank_due.is_none_or(|at| now < at) {
            return;
        }
        self.send_still(self.lost);
        // Without a camera, black is sent on demand; a loss is told to those who missed it as well.
        self.blank_due = self.lost.then(|| now + SLATE_AGAIN);
    }

    fn open(&mut self) {
        let Some(opener) = &mut self.opener else {
            self.retry_at = None;
            return;
        };
        match opener() {
            Ok(camera) => {
                self.camera = Some(camera);
                self.damaged = 0;
                // Before it shows anything.
                self.shutter_due = Timestamp::default();
                self.look_at_shutter();
            }
            Err(error) => self.lose(&error),
        }
    }

    /// Takes the newest frame and sends it; whether one was sent.
    fn capture(&mut self) -> bool {
        let Some(camera) = &mut self.camera else {
            return false;
        };
        let recycled = std::mem::take(&mut self.recycled);
        let taken = camera.dequeue(DEQUEUE_TIMEOUT, recycled);
        let damaged = camera.damaged();
        count(
            &self.shared.counters.damaged,
            damaged.saturating_sub(self.damaged),
        );
        self.damaged = damaged;
        let mut frame = match taken {
            Ok(frame) => frame,
            Err(DeviceError::Stalled { device, .. }) => {
                let waited = clock::monotonic().since(self.last_frame_at);
                let patience = match self.last_sequence {
                    None => STARTED_WITHIN,
                    Some(_) => STALLED_AFTER,
                };
                if waited >= patience {
                    self.lose(&DeviceError::Stalled {
                        device,
                        after: waited,
                    });
                }
                return false;
            }
            Err(error) => {
                self.lose(&error);
                return false;
            }
        };
        let counters = &self.shared.counters;
        let mut missed = gap(self.last_sequence, frame.sequence);
        count(&counters.captured, 1);
        // A frame that is overtaken while it waits would only add its age to everybody's latency.
        for _ in 0..NEWER_AT_MOST {
            let Ok(newer) = camera.dequeue(Duration::ZERO, Vec::new()) else {
                break;
            };
            missed += gap(Some(frame.sequence), newer.sequence);
            count(&counters.captured, 1);
            count(&counters.dropped, 1);
            frame = newer;
        }
        count(&counters.missed, missed);
        self.last_sequence = Some(frame.sequence);
        self.last_frame_at = clock::monotonic();
        if self.lost {
            log::info!("the {} is back", self.feed.name());
            // The slate has taken the one that was ordered at the start.
            self.encoder.order_keyframe();
            self.set_lost(false);
        }
        if matches!(self.feed, Feed::Screen { .. }) {
            self.present = Some(true);
        }
        self.blank_due = Some(Timestamp::default());
        if !self.rate.take(frame.captured_at) {
            // Faster than anybody asked for.
            count(&self.shared.counters.dropped, 1);
            self.recycled = frame.data;
            return false;
        }
        let sent = self.encode(&frame);
        self.recycled = frame.data;
        sent
    }

    fn encode(&mut self, frame: &RawFrame) -> bool {
        let encoded = self
            .converter
            .convert(frame)
            .and_then(|picture| self.encoder.encode(picture, frame.captured_at));
        let counters = &self.shared.counters;
        match encoded {
            Ok(Some(video)) => {
                count(&counters.encoded, 1);
                count(&counters.keyframes, u64::from(video.keyframe));
                let bytes: usize = video.payloads.iter().map(|payload| payload.len()).sum();
                count(&counters.bytes, bytes as u64);
                self.feed.publish(&self.fanout, &video);
                true
            }
            Ok(None) => {
                count(&counters.failed, 1);
                false
            }
            Err(error) => {
                // One sentence for a whole row of bad frames.
                if counters.failed.fetch_add(1, Ordering::Relaxed) == 0 {
                    log::warn!("a captured frame was dropped: {error}");
                }
                false
            }
        }
    }

    fn send_black(&mut self) {
        self.send_still(false);
    }

    /// Sends a keyframe of the slate of a lost camera, or of black.
    fn send_still(&mut self, slate: bool) {
        self.encoder.order_keyframe();
        let picture = if slate { &self.slate } else { &self.black };
        match self.encoder.encode(picture, clock::monotonic()) {
            Ok(Some(video)) => {
                let counters = &self.shared.counters;
                count(&counters.black, 1);
                count(&counters.keyframes, u64::from(video.keyframe));
                let bytes: usize = video.payloads.iter().map(|payload| payload.len()).sum();
                count(&counters.bytes, bytes as u64);
                self.feed.drop_waiting(&self.fanout);
                self.feed.publish(&self.fanout, &video);
            }
            Ok(None) => log::warn!(
                "the encoder skipped the frame that stands in for the camera; receivers may see a frozen picture"
            ),
            Err(error) => log::warn!(
                "no frame stands in for the camera, receivers may see a frozen picture: {error}"
            ),
        }
    }

    fn stop_stream(&mut self) {
        if self.streaming
            && let Some(camera) = &mut self.camera
        {
            camera.stop();
        }
        self.streaming = false;
    }

    fn lose(&mut self, error: &DeviceError) {
        if !self.lost {
            log::warn!("no picture from the {}: {error}", self.feed.name());
        }
        self.stop_stream();
        self.camera = None;
        // The room forgets it with the camera.
        self.covered = false;
        self.retry_at = error
            .worth_retrying()
            .then(|| clock::monotonic() + REOPEN_INTERVAL);
        self.set_lost(true);
    }

    fn set_lost(&mut self, lost: bool) {
        if self.lost != lost {
            self.lost = lost;
            self.shared.counters.lost.store(lost, Ordering::Relaxed);
            self.events.report(self.feed.lost(lost));
            self.present = Some(!lost);
        }
    }

    fn confirm(&mut self, orders: Orders) {
        if self.confirmed != orders.serial {
            self.confirmed = orders.serial;
            self.events.report(self.feed.confirmed(orders.off));
        }
    }

    /// Waits for another order, a keyframe order or the end.
    fn wait_for_orders(&self, serial: u64, longest: Duration) {
        let guard = self.shared.orders();
        let waited = self.shared.ordered.wait_timeout_while(guard, longest, |o| {
            o.serial == serial && !o.keyframe && !o.renewed && !o.stop
        });
        drop(waited);
    }
}

fn draw_slate(feed: Feed, video: &VideoEncoding) -> Vec<u8> {
    let text = match feed {
        Feed::Camera => SLATE_TEXT,
        Feed::Screen { .. } => NO_SIGNAL_TEXT,
    };
    slate(video.width as usize, video.height as usize, text)
}

/// Frames lost between two sequence numbers.
fn gap(last: Option<u64>, next: u64) -> u64 {
    last.map_or(0, |last| next.saturating_sub(last).saturating_sub(1))
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
