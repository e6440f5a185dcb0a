//! `Room`: routes events to the parts, gathers their effects, checks invariants.

mod messages;
mod operation;
mod shown;

use std::collections::VecDeque;
use std::time::Duration;

use super::backoff::Rng;
use super::budget::Descriptions;
use super::effect::Effect;
use super::event::{DeniedReason, Event, PeerEvent, Stage};
use super::gesture::Gestures;
use super::indicator::{Indicator, Lights, View};
use super::liveness::Liveness;
use super::media::{Kind, Media};
use super::message::ServerMessage;
use super::notice::Level;
use super::outbox::Outbox;
use super::peer::Context;
use super::roster::Roster;
use super::settings::RoomSettings;
use super::signaling::Signaling;
use super::snapshot::RoomSnapshot;
use super::types::{Generation, PeerId, Timestamp};

/// Readiness is reported once the pipelines have confirmed, and then at the latest; never waiting for the network.
pub const READY_BY: Duration = Duration::from_secs(3);
/// How long `huddlectl identify` shows.
const IDENTIFY_FOR: Duration = Duration::from_secs(10);
/// Closing may take this long at the end.
const STOP_WAIT: Duration = Duration::from_secs(1);
/// Members' signaling that arrives before `meeting:joined` waits for it; more than this is dropped.
const HELD: usize = 256;

/// ```text
///   New ── Started ──> Running ── StopRequested ──> Stopping ── all closed, or 1 s ──> Stopped
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    New,
    Running,
    Stopping { until: Timestamp },
    Stopped,
}

/// The brain of the box: see the module's contract and law.
#[derive(Clone, Debug)]
pub struct Room {
    settings: RoomSettings,
    life: Life,
    descriptions: Descriptions,
    rng: Rng,
    out: Outbox,
    signaling: Signaling,
    roster: Roster,
    media: Media,
    gestures: Gestures,
    /// The press that opened the microphone last has not ended: held, it is a push to talk.
    talking: bool,
    indicator: Indicator,
    liveness: Liveness,
    /// The machine's link to the network; up until something else is reported.
    link_up: bool,
    /// Members' signaling that overtook `meeting:joined`.
    held: VecDeque<ServerMessage>,
    /// The server was reached, or refused us, or was found away.
    met_server: bool,
    ready_by: Option<Timestamp>,
    identify_until: Option<Timestamp>,
    status: String,
    snapshot: RoomSnapshot,
}

impl Room {
    /// A room that has not started: nothing is ordered before [`Event::Started`]. `seed` is for jitter alone.
    pub fn new(settings: RoomSettings, seed: u64, now: Timestamp) -> Room {
        let signaling = Signaling::new(settings.identity.is_some(), now);
        let lights = Lights::from_view(&View {
            identify: false,
            starting: true,
            in_meeting: false,
            muted: None,
            camera_off: None,
            camera_lost: false,
            failed: false,
            reconnecting: false,
            unsaved: false,
            connected_peers: 0,
        });
        let snapshot = RoomSnapshot {
            generation: 0,
            sim: settings.sim,
            signaling: signaling.shown(),
            signaling_since: now,
            signaling_unencrypted: settings.unencrypted,
            banner: settings.complaint.clone(),
            connected_peers: 0,
            microphone_muted: true,
            microphone_confirmed: None,
            microphone_forced: false,
            camera_off: true,
            camera_confirmed: None,
            camera_forced: false,
            camera_lost: false,
            sharing: false,
            screen_forced: false,
            screen_refused: None,
            led_mic: lights.mic,
            led_camera: lights.camera,
            led_status: lights.status,
            peers: Vec::new(),
        };
        Room {
            settings,
            life: Life::New,
            descriptions: Descriptions::default(),
            rng: Rng::new(seed),
            out: Outbox::default(),
            signaling,
            roster: Roster::default(),
            media: Media::new(),
            gestures: Gestures::default(),
            talking: false,
            indicator: Indicator::default(),
            liveness: Liveness::default(),
            link_up: true,
            held: VecDeque::new(),
            met_server: false,
            ready_by: None,
            identify_until: None,
            status: String::new(),
            snapshot,
        }
    }

    /// Takes a fact, in every state.
    pub fn handle_event(&mut self, event: Event, now: Timestamp) {
        match self.life {
            Life::New | Life::Running => self.on_event(event, now),
            Life::Stopping { .. } | Life::Stopped => self.on_event_at_the_end(event),
        }
        self.settle(now);
    }

    /// The deadline of [`Room::poll_timeout`] has passed. Afterwards the next one is strictly later.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if let Life::Stopping { until } = self.life {
            if until <= now {
                self.exit();
            }
        } else {
            let was_joined = self.signaling.is_joined();
            self.signaling
                .handle_timeout(&mut self.rng, &mut self.out, now);
            self.after_signaling(was_joined);
            self.media
                .handle_timeout(&self.settings, &mut self.out, now);
            if self.ready_by.is_some_and(|at| at <= now) {
                self.ready_by = None;
                self.out.push(Effect::ReportReady);
            }
            if self.identify_until.is_some_and(|at| at <= now) {
                self.identify_until = None;
            }
        }
        self.settle(now);
        debug_assert!(
            self.poll_timeout().is_none_or(|(at, _)| at > now),
            "the next deadline is strictly later than {now:?}: {:?}",
            self.poll_timeout()
        );
    }

    /// The next order; the shells see them in this sequence.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.out.take()
    }

    /// When [`Room::handle_timeout`] is due, and for what.
    pub fn poll_timeout(&self) -> Option<(Timestamp, &'static str)> {
        let own: Vec<(Timestamp, &'static str)> = match self.life {
            Life::New | Life::Stopped => return None,
            Life::Stopping { until } => return Some((until, "stopping took too long")),
            Life::Running => [
                self.ready_by.map(|at| (at, "pipelines unconfirmed")),
                self.identify_until.map(|at| (at, "identify over")),
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        own.into_iter()
            .chain(self.signaling.deadlines())
            .chain(self.media.deadlines())
            .chain(self.roster.deadlines(
                self.out.is_joined() && self.link_up,
                self.settings.recovery.suspicion,
            ))
            .min_by_key(|(at, _)| *at)
    }

    /// The generation of [`Room::snapshot`], without the rest of it.
    pub fn snapshot_generation(&self) -> u64 {
        self.snapshot.generation
    }

    /// What readers may know; its `generation` counts the changes.
    pub fn snapshot(&self) -> RoomSnapshot {
        self.snapshot.clone()
    }

    // ---- events

    fn on_event(&mut self, event: Event, now: Timestamp) {
        match event {
            Event::Started { persisted } => {
                if self.life == Life::New {
                    self.life = Life::Running;
                    self.ready_by = Some(now + READY_BY);
                    self.media
                        .start(&persisted, &self.settings, &mut self.out, now);
                    self.signaling.open(&mut self.out, now);
                }
            }
            Event::StopRequested => self.stop(now),
            Event::SettingsChanged(settings) => self.on_settings(*settings, now),
            Event::SignalingOpened { session } => {
                self.met_server = true;
                self.signaling.on_opened(session, &mut self.out, now);
                self.roster.on_session_begun();
            }
            Event::SignalingClosed { session, failure } => {
                self.met_server = true;
                let was_joined = self.signaling.is_joined();
                self.signaling
                    .on_closed(session, &failure, &mut self.rng, &mut self.out, now);
                self.after_signaling(was_joined);
            }
            Event::MessageReceived { session, message } => self.on_message(session, message, now),
            Event::ActivitySeen { session } => {
                self.signaling.on_activity(session, now);
            }
            Event::Peer {
                peer,
                generation,
                event,
            } => self.on_peer(&peer, generation, event, now),
            Event::LinkChanged { up } => self.on_link_changed(up, now),
            Event::MicrophoneConfirmed { muted } => {
                self.media
                    .on_confirmed(Kind::Microphone, muted, &mut self.out, now);
            }
            Event::CameraConfirmed { off } => {
                if self.settings.has_camera {
                    self.media
                        .on_confirmed(Kind::Camera, off, &mut self.out, now);
                }
            }
            // Its thread has told the journal already, with the reason.
            Event::CameraLost(lost) => {
                self.media.on_camera_lost(lost && self.settings.has_camera);
            }
            Event::ScreenConfirmed { on } => self.media.share.on_confirmed(on, now),
            Event::ScreenSource(present) => {
                let in_meeting = !self.signaling.is_idle();
                self.media
                    .share
                    .on_source(present, &self.settings, in_meeting, &mut self.out, now);
            }
            Event::LensCovered { by, covered } => {
                self.media
                    .on_lens_covered(by, covered, &self.settings, &mut self.out, now);
            }
            Event::StatePersisted { state, error } => {
                self.media
                    .on_persisted(&state, error.as_ref(), &mut self.out, now);
            }
            Event::ButtonEdge {
                button,
                pressed,
                at,
            } => {
                let gesture = self.gestures.on_edge(button, pressed, at);
                if let Some(gesture) = gesture.filter(|_| self.life == Life::Running) {
                    self.on_gesture(button, gesture, now);
                }
            }
            Event::SwitchSet {
                button,
                closed,
                moved,
            } => self.on_switch(button, closed, moved, now),
            Event::CommandReceived {
                request,
                command,
                source,
            } => {
                let result = self.on_command(command, &source, now);
                self.out.push(Effect::Reply { request, result });
            }
            Event::BeatsCounted(counts) => self.on_beats(&counts, now),
        }
    }

    /// Only the end itself matters now.
    fn on_event_at_the_end(&mut self, event: Event) {
        if let Event::Peer {
            generation,
            event: PeerEvent::Closed,
            ..
        } = &event
        {
            self.out.on_closed(*generation);
            if !self.out.is_closing() {
                self.exit();
            }
        } else if let Event::CommandReceived { request, .. } = event {
            self.out.push(Effect::Reply {
                request,
                result: Err(DeniedReason::Stopping),
            });
        } else if let Event::BeatsCounted(_) = event {
            // Stopping is progress; its own deadline ends it.
            self.out.push(Effect::FeedWatchdog);
        }
    }

    fn on_link_changed(&mut self, up: bool, now: Timestamp) {
        if up != self.link_up {
            let text = if up {
                "the network link is up again"
            } else {
                "the network link is down; waiting for it"
            };
            self.out
                .notify(if up { Level::Info } else { Level::Warn }, text);
        }
        self.link_up = up;
        if up && self.life == Life::Running {
            let was_joined = self.signaling.is_joined();
            self.signaling.on_link_changed(&mut self.out, now);
            self.after_signaling(was_joined);
        }
        self.with_peers(|roster, cx| roster.on_link_changed(cx, now));
    }

    fn on_beats(&mut self, counts: &[(Stage, u64)], now: Timestamp) {
        let verdict = self.liveness.on_counts(counts, now);
        for stage in verdict.stalled {
            self.out.notify(
                Level::Error,
                format!(
                    "{} has stalled; the watchdog is not fed until it goes on",
                    stage.as_str()
                ),
            );
        }
        for stage in verdict.resumed {
            self.out
                .notify(Level::Info, format!("{} goes on", stage.as_str()));
        }
        if verdict.feed {
            self.out.push(Effect::FeedWatchdog);
        }
    }

    fn on_peer(&mut self, id: &PeerId, generation: Generation, event: PeerEvent, now: Timestamp) {
        if event == PeerEvent::Closed {
            self.out.on_closed(generation);
        }
        if event == PeerEvent::KeyframeRequested && self.roster.is_live(id, generation) {
            self.media.on_keyframe_requested(id, &mut self.out, now);
        }
        if event == PeerEvent::ScreenKeyframeRequested && self.roster.is_live(id, generation) {
            self.media
                .share
                .on_keyframe_requested(id, &mut self.out, now);
        }
        self.with_peers(|roster, cx| {
            roster.on_report(id, generation, event, cx, now);
        });
    }

    // ---- leaving and stopping

    fn leave(&mut self, reason: Option<String>, now: Timestamp) {
        let settings = self.settings.clone();
        self.leave_as(&settings, reason, now);
    }

    /// `settings` are those under which we joined.
    fn leave_as(&mut self, settings: &RoomSettings, reason: Option<String>, now: Timestamp) {
        if let Some(identity) = &settings.identity {
            let mut cx = Context {
                own: &identity.user,
                recovery: &settings.recovery,
                link_up: self.link_up,
                sharing: self.media.share.live,
                heard_at: self.signaling.heard_at,
                resumed_at: self.signaling.resumed_at,
                descriptions: &mut self.descriptions,
                rng: &mut self.rng,
                out: &mut self.out,
            };
            self.roster.remove_all(&mut cx, now);
        }
        self.signaling.leave(reason, &mut self.out, now);
        self.media.share.on_meeting_left(&mut self.out, now);
        self.media.on_left();
        self.held.clear();
    }

    fn stop(&mut self, now: Timestamp) {
        self.leave(None, now);
        if self.out.is_closing() {
            self.life = Life::Stopping {
                until: now + STOP_WAIT,
            };
        } else {
            self.exit();
        }
    }

    fn exit(&mut self) {
        if self.life != Life::Stopped {
            self.life = Life::Stopped;
            self.out.push(Effect::Exit);
        }
    }

    // ---- gathering

    fn own_id(&self) -> Option<PeerId> {
        self.settings
            .identity
            .as_ref()
            .map(|identity| identity.user.clone())
    }

    fn with_peers(&mut self, work: impl FnOnce(&mut Roster, &mut Context<'_>)) {
        if let Some(identity) = &self.settings.identity {
            let mut cx = Context {
                own: &identity.user,
                recovery: &self.settings.recovery,
                link_up: self.link_up,
                sharing: self.media.share.live,
                heard_at: self.signaling.heard_at,
                resumed_at: self.signaling.resumed_at,
                descriptions: &mut self.descriptions,
                rng: &mut self.rng,
                out: &mut self.out,
            };
            work(&mut self.roster, &mut cx);
        }
    }

    /// Signaling may just have been lost.
    fn after_signaling(&mut self, was_joined: bool) {
        if was_joined && !self.signaling.is_joined() {
            self.media.on_left();
            self.roster.on_session_begun();
        }
        if !self.signaling.is_entering() {
            self.held.clear();
        }
    }

    /// After each step: whatever follows from the new state alone.
    fn settle(&mut self, now: Timestamp) {
        if matches!(self.life, Life::New) {
            return;
        }
        if self.life == Life::Running {
            self.with_peers(|roster, cx| roster.handle_timeout(cx, now));
            let carried = self.roster.carries(self.media.share.live);
            self.media.share.report(carried, &mut self.out, now);
            self.signaling.set_has_members(!self.roster.is_empty());
            for peer in self.out.take_keyframes() {
                self.media.on_keyframe_requested(&peer, &mut self.out, now);
            }
            if self.out.take_doubt() {
                self.signaling.on_doubt(&mut self.out, now);
            }
            if self.signaling.take_asked() {
                self.roster.on_asked();
            }
            if self.ready_by.is_some() && self.media.is_confirmed() {
                self.ready_by = None;
                self.out.push(Effect::ReportReady);
            }
        }
        let lights = Lights::from_view(&self.view());
        self.indicator.show(lights, &mut self.out);
        self.refresh_snapshot(lights);
        let status = self.status_text();
        if status != self.status {
            self.status.clone_from(&status);
            self.out.push(Effect::ReportStatus(status));
        }
        self.check_invariants();
    }
}
