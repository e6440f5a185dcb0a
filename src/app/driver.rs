//! The one task that owns the room: one event in, drain every effect, arm one timer, wait again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::clock::monotonic;
use crate::config::Settings;
use crate::control::ControlRequest;
use crate::room::{Effect, Event, RequestId, Room, RoomSettings, RoomSnapshot};

use super::dispatch::Shells;
use super::health::{self, HealthRequest};
use super::reload::{self, Outcome, Reloaded};

/// From the signal to the shutdown of the shells: the room gives its farewells one second. With the shutdown the
/// whole stop stays below 2 s.
pub(super) const STOP_LIMIT: Duration = Duration::from_millis(1100);

/// What reaches the driver from elsewhere in the program.
pub(super) struct Questions {
    /// Facts.
    pub(super) events: mpsc::Receiver<Event>,
    /// Wishes of control clients.
    pub(super) requests: mpsc::Receiver<ControlRequest>,
    /// For counters and levels.
    pub(super) health_requests: mpsc::Receiver<HealthRequest>,
    /// The configuration, read again.
    pub(super) reloads: mpsc::Receiver<Reloaded>,
}

/// Owns the room and everything it gives orders to.
pub(super) struct Driver {
    room: Room,
    shells: Shells,
    /// What the room was told last.
    room_settings: RoomSettings,
    /// A configuration that is not all in effect, because somebody else is in the meeting.
    waiting: Option<Settings>,
    from: Questions,
    snapshots: watch::Sender<Arc<RoomSnapshot>>,
    next_request: u64,
    beats: Interval,
    stop_by: Option<Instant>,
}

impl Driver {
    /// `beat_interval`: how often the standing loops' progress is counted, a quarter of the watchdog's interval.
    pub(super) fn new(
        room: Room,
        shells: Shells,
        room_settings: RoomSettings,
        from: Questions,
        snapshots: watch::Sender<Arc<RoomSnapshot>>,
        beat_interval: Duration,
    ) -> Self {
        let mut beats = tokio::time::interval(beat_interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            room,
            shells,
            room_settings,
            waiting: None,
            from,
            snapshots,
            next_request: 0,
            beats,
            stop_by: None,
        }
    }

    /// Runs until the room orders `Exit`, or until a stop has taken too long; then hands the shells back
    /// so that they can be shut down.
    pub(super) async fn run(mut self) -> Shells {
        loop {
            let timer = self.room.poll_timeout();
            let now = monotonic();
            let wait = timer.map_or(Duration::from_secs(3600), |(at, _)| at.since(now));
            let stop_by = self
                .stop_by
                .unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                // The rare before the frequent: neither a flood of messages nor of questions may starve a deadline,
                // the watchdog, the end or a mute.
                biased;
                _ = tokio::time::sleep_until(stop_by) => {
                    log::warn!("stopping took longer than {STOP_LIMIT:?}; ending without the rest");
                    return self.shells;
                }
                _ = tokio::time::sleep(wait) => self.room.handle_timeout(monotonic()),
                _ = self.beats.tick() => {
                    let counts = self.shells.count_beats();
                    self.handle(Event::BeatsCounted(counts));
                }
                () = self.shells.signaling.ended() => {
                    log::error!("the signaling thread has ended; ending so that the service manager starts anew");
                    std::process::exit(1);
                }
                Some(request) = self.from.requests.recv() => self.accept(request),
                Some(reloaded) = self.from.reloads.recv() => self.reconfigure(reloaded),
                Some(event) = self.from.events.recv() => self.handle(event),
                // Whoever asked may have gone.
                Some(reply) = self.from.health_requests.recv() => drop(reply.send(health::collect(&self.shells))),
            }
            loop {
                while let Some(effect) = self.room.poll_effect() {
                    if effect == Effect::Exit {
                        return self.shells;
                    }
                    self.shells.apply(effect);
                }
                self.publish_snapshot();
                if !self.apply_what_waited() {
                    break;
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        if event == Event::StopRequested && self.stop_by.is_none() {
            self.stop_by = Some(Instant::now() + STOP_LIMIT);
            self.shells.announce_stop();
        }
        self.room.handle_event(event, monotonic());
    }

    fn reconfigure(&mut self, reloaded: Reloaded) {
        let outcome = self.apply_settings(&reloaded.settings, reloaded.complaint);
        self.waiting = (!outcome.when_alone.is_empty()).then_some(reloaded.settings);
        // Whoever asked may have gone.
        let _ = reloaded.reply.send(outcome);
    }

    fn is_alone(&self) -> bool {
        self.snapshots.borrow().peers.is_empty()
    }

    /// Whether there was something that could be applied now.
    fn apply_what_waited(&mut self) -> bool {
        if !self.is_alone() || self.stop_by.is_some() {
            return false;
        }
        let Some(settings) = self.waiting.take() else {
            return false;
        };
        let outcome = self.apply_settings(&settings, self.room_settings.complaint.clone());
        let applied = outcome.applied.join(", ");
        log::info!("nobody else is in the meeting; of the configuration is applied: {applied}");
        true
    }

    /// The room and the shells are told only what is new to them.
    fn apply_settings(&mut self, wanted: &Settings, complaint: Option<String>) -> Outcome {
        let (running, outcome) = reload::apply(&self.shells.settings, wanted, self.is_alone());
        let room_settings = RoomSettings {
            complaint,
            ..running.room()
        };
        if *self.shells.settings != running {
            self.shells.reconfigure(running);
        }
        if self.room_settings != room_settings {
            self.room_settings.clone_from(&room_settings);
            self.handle(Event::SettingsChanged(Box::new(room_settings)));
        }
        outcome
    }

    fn accept(&mut self, request: ControlRequest) {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.shells.expect_reply(id, request.reply);
        self.room.handle_event(
            Event::CommandReceived {
                request: id,
                command: request.command,
                source: request.source,
            },
            monotonic(),
        );
    }

    fn publish_snapshot(&self) {
        let current = Arc::clone(&self.snapshots.borrow());
        if current.generation == self.room.snapshot_generation() {
            return;
        }
        let snapshot = self.room.snapshot();
        // Who has left the meeting is no longer shown: the picture goes with the member, not with a connection.
        for left in &current.peers {
            if !snapshot.peers.iter().any(|peer| peer.user == left.user) {
                self.shells.inbound.remove_peer(&left.user);
            }
        }
        self.snapshots.send_replace(Arc::new(snapshot));
    }
}
