//! The microphone or the camera: wish, order, confirmation; what the server was told about it and said back.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::effect::Effect;
use super::super::message::ClientMessage;
use super::super::outbox::Outbox;
use super::super::types::Timestamp;

/// An echo that has not come back by then never will.
const ECHO_WAIT: Duration = Duration::from_secs(10);
/// More un-echoed reports than this are not remembered.
const ECHO_LIMIT: usize = 16;
/// A server that is wrong about us is corrected at most this often, so that two programs that contradict each other do
/// not do so at the speed of the network.
const CORRECTION_INTERVAL: Duration = Duration::from_secs(1);
/// The next report waits this long for the echo of the last.
const ECHO_PATIENCE: Duration = Duration::from_secs(1);

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// Closed means muted.
    Microphone,
    /// Closed means off.
    Camera,
}

impl Kind {
    pub(super) fn order(self, closed: bool) -> Effect {
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

    pub(super) fn sentence(self, closed: bool) -> &'static str {
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
pub(in super::super) struct Gate {
    pub(super) kind: Kind,
    /// The wish: closed.
    pub(in super::super) closed: bool,
    /// The last order given.
    pub(super) ordered: Option<bool>,
    /// What the pipeline said last.
    pub(in super::super) confirmed: Option<bool>,
    /// What the light shows: `confirmed`, but closed only once that is on the disk.
    pub(in super::super) shown: Option<bool>,
    /// A host closed it and nobody has pressed since.
    pub(in super::super) forced: bool,
    /// What the server believes, as far as we know; `None` before the first report of a session.
    pub(super) announced: Option<bool>,
    /// When the server was last corrected, and whether what is due now is a correction.
    corrected_at: Option<Timestamp>,
    correcting: bool,
    /// Our reports whose echo has not come back, oldest first.
    pub(super) unechoed: VecDeque<(bool, Timestamp)>,
}

/// What a `media:user-muted` with our own id meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Echo,
    HostClosed,
    HostOpened,
}

impl Gate {
    pub(super) fn new(kind: Kind) -> Self {
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
    pub(super) fn meaning(&mut self, closed: bool, now: Timestamp) -> Meaning {
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
    pub(super) fn contradict(&mut self, believed: bool) {
        self.announced = Some(believed);
        self.correcting = true;
    }

    /// When the server may be told, if there is something to tell: it handles our reports at the same time, so the next one
    /// waits for the echo of the last; and it is corrected only so often.
    pub(super) fn report_at(&self) -> Option<Timestamp> {
        self.announced.filter(|said| *said != self.closed)?;
        let echoed = self.unechoed.back().map(|(_, at)| *at + ECHO_PATIENCE);
        let corrected = self.corrected_at.filter(|_| self.correcting);
        let corrected = corrected.map(|at| at + CORRECTION_INTERVAL);
        Some(echoed.max(corrected).unwrap_or_default())
    }

    pub(super) fn say(&mut self, closed: bool, out: &mut Outbox, now: Timestamp) {
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
