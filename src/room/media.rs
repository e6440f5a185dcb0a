//! Microphone and camera: wanted versus confirmed, who may open them, what the server is told; and keyframe orders.
//!
//! ```text
//!   closing:  SetX(closed) + PersistState ──> confirmed AND persisted ──> light ──> server
//!   opening:  PersistState(synced) ──> persisted ──> SetX(open) ──> confirmed ──> light ──> server
//! ```
//! Pipelines start closed: until the first confirmation nothing leaves, and nothing is claimed. A close overtakes an opening
//! that is under way: the order to open is given only when nothing is left to be written and open is still wanted.

use std::collections::VecDeque;
use std::time::Duration;

use super::effect::Effect;
use super::event::{Persisted, PersistedState, Source};
use super::message::ClientMessage;
use super::notice::Level;
use super::outbox::Outbox;
use super::settings::{FirstStart, RoomSettings};
use super::types::{Dialect, Timestamp};

/// An echo that has not come back by then never will.
const ECHO_WAIT: Duration = Duration::from_secs(10);
/// More un-echoed reports than this are not remembered.
const ECHO_LIMIT: usize = 16;
/// A disk that takes longer than this is treated like one that failed.
const PERSIST_WAIT: Duration = Duration::from_secs(3);
/// How long the announcement after a join waits for the pipelines to confirm.
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
/// A server that is wrong about us is corrected at most this often, so that two programs that contradict each other do
/// not do so at the speed of the network.
const CORRECTION_INTERVAL: Duration = Duration::from_secs(1);
/// At most one keyframe order in this time, whoever asks.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(300);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Closed means muted.
    Microphone,
    /// Closed means off.
    Camera,
}

impl Kind {
    fn order(self, closed: bool) -> Effect {
        match self {
            Self::Microphone => Effect::SetMicrophone { muted: closed },
            Self::Camera => Effect::SetCamera { off: closed },
        }
    }

    fn report(self, closed: bool) -> ClientMessage {
        match self {
            Self::Microphone => ClientMessage::ToggleMic { muted: closed },
            Self::Camera => ClientMessage::ToggleVideo { video_off: closed },
        }
    }

    fn sentence(self, closed: bool) -> &'static str {
        match (self, closed) {
            (Self::Microphone, true) => "microphone muted",
            (Self::Microphone, false) => "microphone opened",
            (Self::Camera, true) => "camera switched off",
            (Self::Camera, false) => "camera switched on",
        }
    }
}

/// One of the two, by the rules they share.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    kind: Kind,
    /// The wish: closed.
    pub(super) closed: bool,
    /// The last order given.
    ordered: Option<bool>,
    /// What the pipeline said last.
    pub(super) confirmed: Option<bool>,
    /// What the light shows: `confirmed`, but closed only once that is on the disk.
    pub(super) shown: Option<bool>,
    /// A host closed it and nobody has pressed since.
    pub(super) forced: bool,
    /// What the server believes, as far as we know; `None` before the first report of a session.
    announced: Option<bool>,
    /// When the server was last corrected, and whether what is due now is a correction.
    corrected_at: Option<Timestamp>,
    correcting: bool,
    /// Our reports whose echo has not come back, oldest first.
    unechoed: VecDeque<(bool, Timestamp)>,
}

/// What a `media:user-muted` with our own id meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Echo,
    HostClosed,
    HostOpened,
}

impl Gate {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            closed: true,
            ordered: None,
            confirmed: None,
            shown: None,
            forced: false,
            announced: None,
            corrected_at: None,
            correcting: false,
            unechoed: VecDeque::new(),
        }
    }

    /// No event says "forced": a host's order and our own echo look the same. What differs from the local state and from
    /// every own report still un-echoed is an order. An equal state is never answered, else two programs that
    /// answer each other would do so for ever.
    fn meaning(&mut self, closed: bool, now: Timestamp) -> Meaning {
        self.unechoed.retain(|(_, at)| now.since(*at) < ECHO_WAIT);
        if let Some(index) = self.unechoed.iter().position(|(value, _)| *value == closed) {
            self.unechoed.drain(..=index);
            return Meaning::Echo;
        }
        match (closed == self.closed, closed) {
            (true, _) => Meaning::Echo,
            (false, true) => Meaning::HostClosed,
            (false, false) => Meaning::HostOpened,
        }
    }

    /// The server believes something else than we said.
    fn contradict(&mut self, believed: bool) {
        self.announced = Some(believed);
        self.correcting = true;
    }

    /// When a correction that is due may go out.
    fn correction_at(&self) -> Option<Timestamp> {
        let due = self.correcting && self.announced.is_some_and(|said| said != self.closed);
        let earliest = self.corrected_at.map(|at| at + CORRECTION_INTERVAL);
        if due { earliest } else { None }
    }

    fn say(&mut self, closed: bool, out: &mut Outbox, now: Timestamp) {
        self.announced = Some(closed);
        if std::mem::take(&mut self.correcting) {
            self.corrected_at = Some(now);
        }
        if self.unechoed.len() == ECHO_LIMIT {
            self.unechoed.pop_front();
        }
        self.unechoed.push_back((closed, now));
        out.send(self.kind.report(closed));
    }
}

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
    /// `PersistState` orders without a `StatePersisted` yet.
    writing: u32,
    writing_until: Option<Timestamp>,
    announcement: Announcement,
    keyframe_ordered: Option<Timestamp>,
    keyframe_due: Option<Timestamp>,
}

impl Media {
    pub(super) fn new() -> Self {
        Self {
            microphone: Gate::new(Kind::Microphone),
            camera: Gate::new(Kind::Camera),
            camera_lost: false,
            writing: 0,
            writing_until: None,
            announcement: Announcement::Away,
            keyframe_ordered: None,
            keyframe_due: None,
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
                FirstStart::Open => ((false, false), false),
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
        if settings.has_camera {
            out.push(Kind::Camera.order(true));
        } else {
            self.camera.closed = true;
            self.camera.confirmed = Some(true);
            self.camera_lost = false;
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
        let gate = self.gate(kind);
        if gate.closed {
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
                if gate.unechoed.is_empty() && gate.announced.is_some() && closed != gate.closed {
                    gate.contradict(closed);
                    self.advance(out, now);
                }
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
        error: Option<&String>,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        if let Some(error) = error {
            // Opening goes on: the disk still says closed, which is the safe side. Closing goes on: silence matters more.
            out.notify(
                Level::Error,
                format!("the state file could not be written, so a restart may not know the present state: {error}"),
            );
        }
        self.writing = self.writing.saturating_sub(1);
        if self.writing == 0 {
            self.writing_until = None;
        }
        self.advance(out, now);
    }

    fn persist(&mut self, sync: bool, settings: &RoomSettings, out: &mut Outbox, now: Timestamp) {
        self.writing += 1;
        self.writing_until = Some(now + PERSIST_WAIT);
        out.push(Effect::PersistState {
            state: PersistedState {
                muted: self.microphone.closed,
                camera_off: self.camera.closed,
                place: settings.place.clone(),
            },
            sync,
        });
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
    }

    /// Somebody needs a keyframe: the first order at once, later ones merged at the end of the interval.
    pub(super) fn on_keyframe_requested(&mut self, out: &mut Outbox, now: Timestamp) {
        if self.keyframe_due.is_some() {
            return;
        }
        match self.keyframe_ordered {
            Some(at) if now.since(at) < KEYFRAME_INTERVAL => {
                self.keyframe_due = Some(at + KEYFRAME_INTERVAL);
            }
            Some(_) | None => {
                self.keyframe_ordered = Some(now);
                out.push(Effect::OrderKeyframe);
            }
        }
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = (Timestamp, &'static str)> {
        let announce = match self.announcement {
            Announcement::Due { by } => Some(by),
            Announcement::Away | Announcement::Done => None,
        };
        let joined = self.announcement == Announcement::Done;
        let correction = |gate: &Gate| {
            let settled = joined && self.is_settled(gate);
            gate.correction_at()
                .filter(|_| settled)
                .map(|at| (at, "correction due"))
        };
        [
            correction(&self.microphone),
            correction(&self.camera),
            self.writing_until.map(|at| (at, "state file unanswered")),
            announce.map(|at| (at, "announcement due")),
            self.keyframe_due.map(|at| (at, "keyframe due")),
        ]
        .into_iter()
        .flatten()
    }

    pub(super) fn handle_timeout(&mut self, out: &mut Outbox, now: Timestamp) {
        if self.writing_until.is_some_and(|at| at <= now) {
            self.writing = 0;
            self.writing_until = None;
            out.notify(
                Level::Error,
                "the state file is not being written; going on without it",
            );
        }
        if self.keyframe_due.is_some_and(|at| at <= now) {
            self.keyframe_due = None;
            self.keyframe_ordered = Some(now);
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
        self.writing > 0
    }

    /// Wanted, confirmed and on the disk agree.
    fn is_settled(&self, gate: &Gate) -> bool {
        gate.confirmed == Some(gate.closed) && self.writing == 0
    }

    /// Does whatever the present state allows and still lacks: open, light, server.
    fn advance(&mut self, out: &mut Outbox, now: Timestamp) {
        let written = self.writing == 0;
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
                    out.send(ClientMessage::ScreenShare { sharing: false });
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
                    let waits = gate.correction_at().is_some_and(|at| at > now);
                    if settled && !waits && gate.announced != Some(gate.closed) {
                        gate.say(gate.closed, out, now);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(closed: &[bool]) -> Gate {
        let mut gate = Gate::new(Kind::Microphone);
        for closed in closed {
            gate.say(*closed, &mut Outbox::default(), Timestamp::default());
            gate.closed = *closed;
        }
        gate
    }

    #[test]
    fn an_echo_is_told_from_an_order_by_what_is_still_un_echoed() {
        let now = Timestamp::from_millis(1);
        let mut gate = said(&[true, false]);
        assert_eq!(gate.meaning(true, now), Meaning::Echo);
        assert_eq!(gate.meaning(false, now), Meaning::Echo);
        assert_eq!(gate.meaning(false, now), Meaning::Echo, "equal to ours");
        assert_eq!(gate.meaning(true, now), Meaning::HostClosed);
        let mut gate = said(&[true]);
        assert_eq!(gate.meaning(false, now), Meaning::HostOpened);
    }

    #[test]
    fn an_echo_that_never_came_does_not_hide_a_hosts_mute_for_ever() {
        let mut gate = said(&[true, false]);
        let later = Timestamp::default() + ECHO_WAIT;
        assert_eq!(gate.meaning(true, later), Meaning::HostClosed);
    }

    #[test]
    fn un_echoed_reports_are_bounded() {
        assert_eq!(said(&[true; 100]).unechoed.len(), ECHO_LIMIT);
    }
}
