//! Microphone and camera: wanted versus confirmed, who may open them, what the server is told; and keyframe orders.
//!
//! ```text
//!   closing:  SetX(closed) + PersistState ──> confirmed AND persisted ──> light ──> server
//!   opening:  PersistState(synced) ──> persisted ──> SetX(open) ──> confirmed ──> light ──> server
//! ```
//! Pipelines start closed: until the first confirmation nothing leaves, and nothing is claimed. A close overtakes an opening
//! that is under way: the order to open is given only when nothing is left to be written and open is still wanted.

mod gate;
mod state_file;

use std::time::Duration;

pub(super) use gate::Kind;
use gate::{Gate, Meaning};
use state_file::StateFile;

use super::effect::Effect;
use super::event::{Persisted, PersistedState, Shutter, Source};
use super::keyframes::Keyframes;
use super::message::ClientMessage;
use super::notice::Level;
use super::outbox::Outbox;
use super::settings::{FirstStart, RoomSettings};
use super::share::Share;
use super::types::{Dialect, PeerId, Timestamp};

/// How long the announcement after a join waits for the pipelines to confirm.
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
/// At most one keyframe order in this time, whoever asks.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);

/// How far the announcement after a join is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announcement {
    /// Not in a meeting.
    Away,
    /// Joined; the pipelines have not confirmed yet. At the deadline what is not confirmed open is announced closed.
    Due { by: Timestamp },
    /// Said; changes are reported as they come.
    Done,
}

/// Both gates, their state file and their reports.
#[derive(Clone, Debug)]
pub(super) struct Media {
    pub(super) microphone: Gate,
    pub(super) camera: Gate,
    pub(super) camera_lost: bool,
    pub(super) share: Share,
    /// The lens is covered: what the camera itself says, and what a switch says.
    covered: [bool; 2],
    /// Switches of the panel that stand at closed: of the microphone, of the camera.
    switched: [bool; 2],
    file: StateFile,
    /// The very first start opens, and that is not on the disk yet. If it cannot be written, every start would open.
    first_opening: bool,
    announcement: Announcement,
    keyframes: Keyframes,
}

impl Media {
    pub(super) fn new() -> Self {
        Self {
            microphone: Gate::new(Kind::Microphone),
            camera: Gate::new(Kind::Camera),
            camera_lost: false,
            share: Share::default(),
            covered: [false; 2],
            switched: [false; 2],
            file: StateFile::default(),
            first_opening: false,
            announcement: Announcement::Away,
            keyframes: Keyframes::default(),
        }
    }

    /// Decides the first state (interfaces: who may open the microphone, rule 3).
    pub(super) fn start(
        &mut self,
        persisted: &Persisted,
        settings: &RoomSettings,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        let closed = (true, true);
        let ((muted, camera_off), on_disk) = match persisted {
            Persisted::Absent => match settings.first_start {
                FirstStart::Open => {
                    self.first_opening = true;
                    ((false, false), false)
                }
                FirstStart::Muted => (closed, false),
            },
            Persisted::Unreadable => {
                out.notify(
                    Level::Error,
                    "the state file could not be read; starting muted and with the camera off, press the buttons to open",
                );
                (closed, false)
            }
            Persisted::Known(state) if state.place != settings.place => {
                out.notify(
                    Level::Info,
                    "another server or meeting than last time; starting muted and with the camera off",
                );
                (closed, false)
            }
            Persisted::Known(state) => ((state.muted, state.camera_off), true),
        };
        // What hands in the room hold closed was closed before anything else was known.
        let [mic_switched, camera_switched] = self.switched;
        let held = (mic_switched, camera_switched || self.is_covered());
        let on_disk = on_disk && (muted || !held.0) && (camera_off || !held.1);
        let (muted, camera_off) = (muted || held.0, camera_off || held.1);
        self.microphone.closed = muted;
        self.camera.closed = camera_off || !settings.has_camera;
        if !settings.has_camera {
            // Nothing to order and nobody to confirm.
            self.camera.ordered = Some(true);
            self.camera.confirmed = Some(true);
            self.camera.shown = Some(true);
        }
        for gate in [&mut self.microphone, &mut self.camera] {
            if gate.closed && gate.ordered != Some(true) {
                gate.ordered = Some(true);
                out.push(gate.kind.order(true));
            }
        }
        if !on_disk {
            let opens = !self.microphone.closed || !self.camera.closed;
            self.persist(opens, settings, out, now);
        }
        self.advance(out, now);
    }

    /// Another server or meeting: closed until somebody presses.
    pub(super) fn on_place_changed(
        &mut self,
        settings: &RoomSettings,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        for gate in [&mut self.microphone, &mut self.camera] {
            gate.closed = true;
            gate.forced = false;
            if gate.ordered != Some(true) {
                gate.ordered = Some(true);
                out.push(gate.kind.order(true));
            }
        }
        self.persist(false, settings, out, now);
    }

    /// A camera was configured, or is no longer.
    pub(super) fn on_camera_configured(
        &mut self,
        settings: &RoomSettings,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        self.camera.ordered = Some(true);
        out.push(Kind::Camera.order(true));
        if !settings.has_camera {
            self.camera.closed = true;
            self.camera.confirmed = Some(true);
            self.camera_lost = false;
            self.covered = [false; 2];
        }
        self.advance(out, now);
    }

    fn gate(&mut self, kind: Kind) -> &mut Gate {
        match kind {
            Kind::Microphone => &mut self.microphone,
            Kind::Camera => &mut self.camera,
        }
    }

    /// A press in the room: the only way to open.
    pub(super) fn on_press(
        &mut self,
        kind: Kind,
        settings: &RoomSettings,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        if kind == Kind::Camera && !settings.has_camera {
            out.notify(
                Level::Info,
                "the camera button was pressed, but no camera is configured; set [camera] device",
            );
            return;
        }
        let covered = kind == Kind::Camera && self.is_covered();
        let gate = self.gate(kind);
        if gate.closed && covered {
            out.notify(
                Level::Info,
                "the camera stays off: its lens is covered; open the shutter, then press again",
            );
        } else if gate.closed {
            gate.closed = false;
            gate.forced = false;
            out.notify(
                Level::Info,
                format!("{} by a press in the room", kind.sentence(false)),
            );
            self.persist(true, settings, out, now);
            self.advance(out, now);
        } else {
            self.close(kind, &Source::Panel, settings, out, now);
        }
    }

    /// A shutter closes the camera. A lens that is free again opens nothing: that takes a press.
    pub(super) fn on_lens_covered(
        &mut self,
        by: Shutter,
        covered: bool,
        settings: &RoomSettings,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        if !settings.has_camera {
            return;
        }
        let before = self.is_covered();
        self.covered[by as usize] = covered;
        if self.is_covered() {
            self.close(Kind::Camera, &Source::Shutter, settings, out, now);
        } else if before {
            out.notify(Level::Info, "the lens of the camera is free");
        }
    }

    /// A camera that is gone says nothing about its lens any more.
    pub(super) fn on_camera_lost(&mut self, lost: bool) {
        self.camera_lost = lost;
        if lost {
            self.covered[Shutter::Camera as usize] = false;
        }
    }

    fn is_covered(&self) -> bool {
        self.covered.contains(&true)
    }

    /// A switch closes wherever it stands at closed, and opens only when somebody in the room moves it there.
    pub(super) fn on_switch(
        &mut self,
        kind: Kind,
        closed: bool,
        moved: bool,
        settings: &RoomSettings,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        self.switched[kind as usize] = closed;
        if closed {
            self.close(kind, &Source::Panel, settings, out, now);
        } else if moved && self.gate(kind).closed {
            self.on_press(kind, settings, out, now);
        }
    }

    /// Closing is open to every source.
    pub(super) fn close(
        &mut self,
        kind: Kind,
        source: &Source,
        settings: &RoomSettings,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        let gate = self.gate(kind);
        if gate.closed {
            return;
        }
        gate.closed = true;
        if gate.ordered != Some(true) {
            gate.ordered = Some(true);
            out.push(kind.order(true));
        }
        let what = kind.sentence(true);
        let text = match source {
            Source::Panel => format!("{what} by a press in the room"),
            Source::Control(who) => format!("{what} by {who}"),
            Source::Host => format!("{what} by a host of the meeting"),
            Source::Shutter => {
                format!("{what} by its shutter; a press opens it once the lens is free")
            }
        };
        out.notify(Level::Info, text);
        self.persist(false, settings, out, now);
        self.advance(out, now);
    }

    /// A state event with our own id: an echo, or a host's order.
    pub(super) fn on_own_state(
        &mut self,
        kind: Kind,
        closed: bool,
        settings: &RoomSettings,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        let gate = self.gate(kind);
        match gate.meaning(closed, now) {
            Meaning::Echo => {
                // A host's order and a report of ours may have crossed: what the server said last is what it believes.
                let said = gate.announced.is_some_and(|said| said != closed);
                if gate.unechoed.is_empty() && said && closed != gate.closed {
                    gate.contradict(closed);
                }
                self.advance(out, now);
            }
            Meaning::HostClosed => {
                gate.forced = true;
                // The server knows already: a state equal to the one just received is not sent back.
                gate.announced = Some(true);
                self.close(kind, &Source::Host, settings, out, now);
            }
            Meaning::HostOpened => {
                gate.forced = false;
                let what = match kind {
                    Kind::Microphone => {
                        "a host unmuted us; only a press in the room opens the microphone"
                    }
                    Kind::Camera => {
                        "a host switched our camera on; only a press in the room opens it"
                    }
                };
                out.notify(Level::Info, what);
                // The server is wrong now, so the true state goes out once.
                gate.contradict(false);
                self.advance(out, now);
            }
        }
    }

    pub(super) fn on_confirmed(
        &mut self,
        kind: Kind,
        closed: bool,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        self.gate(kind).confirmed = Some(closed);
        self.advance(out, now);
    }

    pub(super) fn on_persisted(
        &mut self,
        state: &PersistedState,
        error: Option<&String>,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        if !self.file.on_report(state) {
            return;
        }
        if let Some(error) = error {
            self.on_unwritten(error, out, now);
        } else {
            self.first_opening = false;
            if self.file.on_written() {
                out.notify(Level::Info, "the state file is written again");
            }
        }
        self.advance(out, now);
    }

    /// Closing goes on: silence matters more. Opening by a press goes on, too: whoever presses is in the room.
    fn on_unwritten(&mut self, error: &str, out: &mut Outbox, now: Timestamp) {
        if self.file.on_failed(now) {
            out.notify(
                Level::Error,
                format!("the state file could not be written, so a restart may not know the present state; this is tried again: {error}"),
            );
        }
        if std::mem::take(&mut self.first_opening) {
            for gate in [&mut self.microphone, &mut self.camera] {
                if !gate.closed && gate.ordered != Some(false) {
                    gate.closed = true;
                    gate.ordered = Some(true);
                    out.push(gate.kind.order(true));
                }
            }
            out.notify(
                Level::Error,
                "a mute would not survive a restart, so microphone and camera stay closed until somebody presses",
            );
        }
    }

    /// The present state would not survive a power cut.
    pub(super) fn is_unsaved(&self) -> bool {
        self.file.is_unsaved()
    }

    fn persist(&mut self, sync: bool, settings: &RoomSettings, out: &mut Outbox, now: Timestamp) {
        let state = PersistedState {
            muted: self.microphone.closed,
            camera_off: self.camera.closed,
            place: settings.place.clone(),
        };
        self.file.order(state, sync, out, now);
    }

    /// Joined: the true state is announced, at once if it is confirmed.
    pub(super) fn on_joined(&mut self, out: &mut Outbox, now: Timestamp) {
        self.announcement = Announcement::Due {
            by: now + ANNOUNCE_WAIT,
        };
        self.advance(out, now);
    }

    /// Not in the meeting any more: the next session starts from nothing.
    pub(super) fn on_left(&mut self) {
        self.announcement = Announcement::Away;
        for gate in [&mut self.microphone, &mut self.camera] {
            gate.announced = None;
            gate.unechoed.clear();
        }
        self.share.on_left();
    }

    /// A member needs a keyframe.
    pub(super) fn on_keyframe_requested(
        &mut self,
        member: &PeerId,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        if self.keyframes.on_request(member, KEYFRAME_INTERVAL, now) {
            out.push(Effect::OrderKeyframe);
        }
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = (Timestamp, &'static str)> {
        let announce = match self.announcement {
            Announcement::Due { by } => Some(by),
            Announcement::Away | Announcement::Done => None,
        };
        let joined = self.announcement == Announcement::Done;
        let report = |gate: &Gate| {
            let settled = joined && self.is_settled(gate);
            gate.report_at()
                .filter(|_| settled)
                .map(|at| (at, "report due"))
        };
        [
            report(&self.microphone),
            report(&self.camera),
            announce.map(|at| (at, "announcement due")),
            self.keyframes.due().map(|at| (at, "keyframe due")),
        ]
        .into_iter()
        .flatten()
        .chain(self.file.deadlines())
        .chain(self.share.deadlines())
    }

    pub(super) fn handle_timeout(
        &mut self,
        settings: &RoomSettings,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        if self.file.take_overdue(now) {
            self.on_unwritten("the disk does not answer", out, now);
        }
        if self.file.is_rewrite_due(now) {
            self.file.delay_rewrite(now);
            self.persist(true, settings, out, now);
        }
        self.share.handle_timeout(out, now);
        if self.keyframes.take_due(now) {
            out.push(Effect::OrderKeyframe);
        }
        self.advance(out, now);
    }

    /// Both pipelines have said what they do.
    pub(super) fn is_confirmed(&self) -> bool {
        self.microphone.confirmed.is_some() && self.camera.confirmed.is_some()
    }

    /// The state file is not up to date yet.
    pub(super) fn is_writing(&self) -> bool {
        self.file.is_writing()
    }

    /// Wanted, confirmed and on the disk agree.
    fn is_settled(&self, gate: &Gate) -> bool {
        gate.confirmed == Some(gate.closed) && !self.file.is_writing()
    }

    /// Does whatever the present state allows and still lacks: open, light, server.
    fn advance(&mut self, out: &mut Outbox, now: Timestamp) {
        let written = !self.file.is_writing();
        for gate in [&mut self.microphone, &mut self.camera] {
            if !gate.closed && gate.ordered != Some(false) && written {
                gate.ordered = Some(false);
                out.push(gate.kind.order(false));
            }
            let waits_for_disk = gate.closed && gate.confirmed == Some(true) && !written;
            if gate.shown.is_none() || !waits_for_disk {
                gate.shown = gate.confirmed;
            }
        }
        let microphone_settled = self.is_settled(&self.microphone);
        let camera_settled = self.is_settled(&self.camera);
        match self.announcement {
            Announcement::Away => {}
            Announcement::Due { by } => {
                if now >= by || (microphone_settled && camera_settled) {
                    self.announcement = Announcement::Done;
                    for gate in [&mut self.microphone, &mut self.camera] {
                        let open = !gate.closed && gate.confirmed == Some(false);
                        gate.say(!open, out, now);
                    }
                    self.share.announce(out, now);
                    out.send(ClientMessage::Ready {
                        dialect: Dialect::Media,
                    });
                    out.send(ClientMessage::Ready {
                        dialect: Dialect::Webrtc,
                    });
                    out.send(ClientMessage::RequestPeers);
                }
            }
            Announcement::Done => {
                for (gate, settled) in [
                    (&mut self.microphone, microphone_settled),
                    (&mut self.camera, camera_settled),
                ] {
                    if settled && gate.report_at().is_some_and(|at| at <= now) {
                        gate.say(gate.closed, out, now);
                    }
                }
            }
        }
    }
}
