//! Carries out what the room orders: one exhaustive match that never blocks and never decides.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{broadcast, oneshot};

use crate::config::{ScreenSettings, Settings, VideoDevice};
use crate::devices::{LensWatch, Panel};
use crate::events::EventSender;
use crate::host::{self, Store};
use crate::media::EncodeError;
use crate::media::capture::{Feed, VideoOut, opener, screen_opener};
use crate::media::fanout::Fanout;
use crate::media::inbound::Inbound;
use crate::media::microphone::AudioOut;
use crate::room::{DeniedReason, Effect, RequestId, RoomEvent, Stage};
use crate::rtc::Peers;
use crate::socketio;

use super::run::{rtc_settings, signaling_access, speaker, warn_of_what_waits, watch_lens};

/// Everything that takes orders.
pub(super) struct Shells {
    pub(super) settings: Arc<Settings>,
    pub(super) signaling: socketio::Client,
    pub(super) peers: Peers,
    pub(super) video: VideoOut,
    /// Where a screen source is configured, or was.
    pub(super) screen: Option<VideoOut>,
    /// Where a camera is configured that may have a lens.
    pub(super) lens: Option<LensWatch>,
    pub(super) fanout: Arc<Fanout>,
    pub(super) audio: AudioOut,
    pub(super) inbound: Inbound,
    pub(super) store: Store,
    pub(super) panel: Box<dyn Panel>,
    pub(super) events: EventSender,
    pub(super) watchers: broadcast::Sender<RoomEvent>,
    pub(super) control_beats: Arc<std::sync::atomic::AtomicU64>,
    pub(super) replies: HashMap<RequestId, oneshot::Sender<Result<(), DeniedReason>>>,
}

impl Shells {
    /// Carries out one order.
    pub(super) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::OpenSignaling { session } => {
                // Secrets are read at each attempt, so that a renewed credential needs no restart.
                let access = signaling_access(&self.settings);
                self.signaling.open(session, access);
            }
            Effect::Send { session, message } => self.signaling.send(session, message),
            Effect::CloseSignaling { session, leave } => self.signaling.close(session, leave),
            Effect::Peer {
                peer,
                generation,
                order,
            } => {
                self.peers.order(peer, generation, order);
            }
            Effect::SetMicrophone { muted } => self.audio.set_muted(muted),
            Effect::SetCamera { off } => self.video.set_off(off),
            Effect::SetScreen { on } => {
                if let Some(screen) = &self.screen {
                    screen.set_off(!on);
                }
            }
            Effect::OrderKeyframe => self.video.order_keyframe(),
            Effect::OrderScreenKeyframe => {
                if let Some(screen) = &self.screen {
                    screen.order_keyframe();
                }
            }
            Effect::PersistState { state, sync } => self.store.write(state, sync, &self.events),
            Effect::SetLed { led, pattern } => self.panel.set_led(led, pattern),
            Effect::Notify(notice) => host::log_notice(&notice),
            // Nobody watching is fine.
            Effect::Publish(event) => drop(self.watchers.send(event)),
            Effect::Reply { request, result } => {
                if let Some(reply) = self.replies.remove(&request) {
                    // The client may be gone by now.
                    let _ = reply.send(result);
                }
            }
            Effect::ReportReady => host::report_ready(),
            Effect::ReportStatus(status) => host::report_status(&status),
            Effect::FeedWatchdog => host::feed_watchdog(),
            // The driver ends the loop before it comes here.
            Effect::Exit => {}
        }
    }

    /// New settings: whoever has to do with what differs is told, and nobody else.
    pub(super) fn reconfigure(&mut self, settings: Settings) {
        let servers = |settings: &Settings| {
            (
                settings.ice_servers.clone(),
                settings.ice_proxy.clone(),
                settings.relay_only,
            )
        };
        if servers(&self.settings) != servers(&settings) {
            self.peers.set_settings(rtc_settings(&settings));
        }
        let old = std::mem::replace(&mut self.settings, Arc::new(settings));
        self.renew_media(&old);
    }

    /// The pipelines whose settings are not the old ones any more.
    fn renew_media(&mut self, old: &Settings) {
        let new = Arc::clone(&self.settings);
        if old.camera != new.camera || old.video != new.video {
            let reopen = old.camera != new.camera || !old.video.needs_the_same_camera(&new.video);
            let opener = opener(&new.camera, &new.name, &new.video);
            let renewed = self.video.renew(Feed::Camera, opener, reopen, &new.video);
            if let Err(error) = renewed {
                log::error!("the camera goes on as it was: {error}");
            }
        }
        if old.camera != new.camera {
            let other = watch_lens(&new, &self.events).unwrap_or_else(|error| {
                log::error!("the camera's shutter is not watched: {error}");
                None
            });
            let lens = std::mem::replace(&mut self.lens, other);
            // It waits for its thread.
            drop(tokio::task::spawn_blocking(move || drop(lens)));
        }
        if old.screen != new.screen
            && let Err(error) = self.renew_screen(&old.screen, &new)
        {
            log::error!("the screen's source goes on as it was: {error}");
        }
        if old.microphone != new.microphone {
            self.audio.set_source(&new.microphone);
        }
        if old.audio != new.audio {
            self.audio.set_encoding(&new.audio);
        }
        if old.speaker != new.speaker {
            self.inbound.set_speaker(speaker(&new));
        }
        if old.display != new.display {
            warn_of_what_waits(&new);
        }
    }

    /// A pipeline that was made stays, even without a source: its progress is counted.
    fn renew_screen(&mut self, old: &ScreenSettings, new: &Settings) -> Result<(), EncodeError> {
        let encoding = new.screen.encoding();
        let feed = Feed::Screen {
            watched: new.screen.on_signal,
        };
        match &mut self.screen {
            Some(screen) => {
                let reopen = old.source != new.screen.source || old.cameras != new.screen.cameras;
                let opener = screen_opener(&new.screen, &new.name);
                screen.renew(feed, opener, reopen, &encoding)?;
            }
            None if new.screen.source.device == VideoDevice::None => {}
            None => {
                self.screen = Some(VideoOut::spawn_with(
                    feed,
                    screen_opener(&new.screen, &new.name),
                    &encoding,
                    Arc::clone(&self.fanout),
                    self.events.clone(),
                )?);
            }
        }
        Ok(())
    }

    /// Remembers whom to answer.
    pub(super) fn expect_reply(
        &mut self,
        request: RequestId,
        reply: oneshot::Sender<Result<(), DeniedReason>>,
    ) {
        self.replies.insert(request, reply);
    }

    /// Tells the service manager that the end has begun.
    pub(super) fn announce_stop(&self) {
        host::report_stopping();
    }

    /// How far each standing loop has counted.
    pub(super) fn count_beats(&self) -> Vec<(Stage, u64)> {
        let screen = self.screen.as_ref();
        let screen = screen.map(|screen| (Stage::Screen, screen.beats()));
        let mut beats = vec![
            (Stage::Video, self.video.beats()),
            (Stage::Microphone, self.audio.beats()),
            (Stage::Speaker, self.inbound.beats()),
            (Stage::Signaling, self.signaling.beats()),
            (
                Stage::Control,
                self.control_beats
                    .load(std::sync::atomic::Ordering::Relaxed),
            ),
        ];
        beats.extend(screen);
        beats
    }
}
