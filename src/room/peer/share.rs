//! Screens over one connection: ours on its way out, the peer's on its way in.
//!
//! Nothing on the wire says which picture is a screen, so it is told by these rules: a second stream of pictures beside the camera
//! is one, announced or not; announced without a second stream, the camera's picture is the screen (older pages swap it).
//! The announcement and the media come in any order. It is over when announced, when its m-line goes, when the
//! member leaves, when the stream falls silent.

use std::time::Duration;

use super::super::effect::PeerOrder;
use super::super::snapshot::PeerPhase;
use super::super::types::{ConnectionState, Sdp, Timestamp};
use super::{Context, Peer};

/// A second stream that nobody announced is over after so long without packets.
const SILENCE: Duration = Duration::from_secs(3);
/// So long if it was announced: a still screen may be sent as one picture a second.
const ANNOUNCED_SILENCE: Duration = Duration::from_secs(10);
/// A peer that announced a share and offers no m-line for it waits for an offer of ours.
const PULL_AFTER: Duration = Duration::from_secs(2);
/// How often it is looked whether that offer can be made,
const PULL_AGAIN: Duration = Duration::from_millis(500);
/// and for how long.
const PULL_UNTIL: Duration = Duration::from_secs(20);
/// An offer with our screen that was not answered is made again after so long.
const CARRY_AGAIN: Duration = Duration::from_secs(15);
/// M-lines with a camera and without a screen.
const WITHOUT_SCREEN: usize = 2;
/// And with a place for one.
const WITH_SCREEN: usize = 3;
/// A peer's description with more is no matter of screens.
const MOST_SECTIONS: usize = 8;

/// What one connection carries of our screen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carrying {
    /// The last order.
    ordered: bool,
    /// Our offer that waits for its answer carries it.
    offered: bool,
    /// The description in force carries it.
    negotiated: bool,
    /// Our last description that was sent carries it.
    sent: bool,
    /// When an offer was last made for its sake.
    tried_at: Option<Timestamp>,
}

/// What is known of the peer's screen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RemoteScreen {
    /// What it said last.
    announced: Option<bool>,
    /// Its description has a second stream of pictures.
    line: bool,
    /// When a packet of that arrived last over this connection.
    arrived: Option<Timestamp>,
    /// When an offer is made that has room for it, and until when that is tried.
    pull: Option<(Timestamp, Timestamp)>,
}

impl RemoteScreen {
    /// Until when the second stream counts as shared without another packet.
    fn silent_at(&self) -> Option<Timestamp> {
        let limit = match self.announced {
            Some(true) => ANNOUNCED_SILENCE,
            Some(false) | None => SILENCE,
        };
        self.arrived.map(|at| at + limit)
    }

    fn is_shown(&self, now: Timestamp) -> bool {
        match (self.line, self.announced) {
            (_, Some(false)) => false,
            (false, announced) => announced == Some(true),
            (true, Some(true)) => self.silent_at().is_none_or(|at| now < at),
            (true, None) => self.silent_at().is_some_and(|at| now < at),
        }
    }
}

impl Peer {
    // ---- the peer's screen

    /// The peer said so.
    pub(super) fn on_share_announced(&mut self, sharing: bool, now: Timestamp) {
        if self.screen.announced != Some(sharing) {
            // Begun again, its line may be one that the last share left behind, and the newest packets may be that one's.
            let again = self.screen.announced == Some(false);
            self.screen.announced = Some(sharing);
            let flows = !again
                && self.screen.line
                && self
                    .screen
                    .arrived
                    .is_some_and(|at| now.since(at) < SILENCE);
            let pulls = sharing && !flows;
            self.screen.pull = pulls.then(|| (now + PULL_AFTER, now + PULL_UNTIL));
        }
        self.sharing = self.screen.is_shown(now);
    }

    /// A session begins: what was said before it may be over.
    pub(super) fn forget_announced_share(&mut self) {
        self.screen.announced = None;
        self.screen.pull = None;
    }

    /// A description of the peer's is in force.
    pub(super) fn on_remote_description(&mut self, sdp: &Sdp) {
        self.sections = sdp.sections().min(MOST_SECTIONS);
        let line = sdp.sent_pictures() > 1;
        if line && !self.screen.line && self.screen.announced == Some(false) {
            // Said of an earlier share.
            self.screen.announced = None;
        }
        if line != self.screen.line {
            self.screen.line = line;
            self.screen.arrived = None;
            self.screen.pull = self.screen.pull.filter(|_| !line);
        }
    }

    /// The connection is gone, and its m-lines with it.
    pub(super) fn forget_screen_line(&mut self) {
        self.screen.line = false;
        self.screen.arrived = None;
    }

    /// Packets of the second stream.
    pub(super) fn on_screen_packets(&mut self, at: Timestamp) {
        self.screen.arrived = Some(at).max(self.screen.arrived);
        self.screen.pull = None;
    }

    // ---- our screen

    /// A connection is opened: its first description is to carry what is shared, and to have no fewer m-lines than the peer has
    /// seen, for a browser may apply it to the connection it still has.
    pub(super) fn prepare_screen(&mut self, cx: &mut Context<'_>) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.carrying.ordered = cx.sharing;
        let generation = connection.generation;
        if cx.sharing {
            let order = PeerOrder::SetScreen { on: true };
            cx.out.order(&self.id, generation, order);
        }
    }

    /// Before the first offer over a new connection.
    pub(super) fn reserve_sections(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &self.connection
            && self.sections > WITHOUT_SCREEN
        {
            let order = PeerOrder::ReserveSections(self.sections);
            cx.out.order(&self.id, connection.generation, order);
        }
    }

    /// An offer of ours exists.
    pub(super) fn on_own_offer(&mut self, sdp: &Sdp) {
        self.sections = self.sections.max(sdp.sections().min(MOST_SECTIONS));
        if let Some(connection) = &mut self.connection {
            connection.carrying.offered = sdp.sent_pictures() > 1;
            connection.carrying.sent = connection.carrying.offered;
        }
    }

    /// It was answered.
    pub(super) fn on_own_offer_answered(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.carrying.negotiated = connection.carrying.offered;
        }
    }

    /// An answer of ours is in force.
    pub(super) fn on_own_answer(&mut self, sdp: &Sdp) {
        if let Some(connection) = &mut self.connection {
            let carries = sdp.sent_pictures() > 1;
            connection.carrying.negotiated = carries;
            connection.carrying.sent = carries;
            if carries != connection.carrying.ordered {
                // Their offer took the place of ours, or had no room for it.
                connection.carrying.tried_at = None;
            }
        }
    }

    /// Whether the peer was told in a description what is to be carried, if there is one that can be.
    pub(in super::super) fn carries(&self, sharing: bool) -> bool {
        let Some(connection) = &self.connection else {
            return true;
        };
        self.state != ConnectionState::Connected || connection.carrying.sent == sharing
    }

    fn may_offer_screen(&self, cx: &Context<'_>) -> bool {
        cx.may_act()
            && self.phase == PeerPhase::Connected
            && self.state == ConnectionState::Connected
            && self
                .connection
                .as_ref()
                .is_some_and(|connection| connection.negotiation.is_stable())
    }

    /// When something is due about screens.
    pub(super) fn screen_deadlines(
        &self,
        may_act: bool,
    ) -> impl Iterator<Item = (Timestamp, &'static str)> {
        let silent = self
            .screen
            .silent_at()
            .filter(|_| self.sharing && self.screen.line);
        let pull = self.screen.pull.map(|(at, _)| at).filter(|_| may_act);
        let carry = self.connection.as_ref().and_then(|connection| {
            let Carrying {
                ordered,
                negotiated,
                tried_at,
                ..
            } = connection.carrying;
            let waits = ordered != negotiated && connection.negotiation.is_stable() && may_act;
            let again = tried_at.map(|at| at + CARRY_AGAIN);
            again.filter(|_| waits && self.phase == PeerPhase::Connected)
        });
        [
            silent.map(|at| (at, "the peer's screen silent")),
            pull.map(|at| (at, "an offer for the peer's screen due")),
            carry.map(|at| (at, "an offer with our screen due")),
        ]
        .into_iter()
        .flatten()
    }

    /// After each step: makes the connection carry what is shared, and sees what has become of the peer's screen.
    pub(in super::super) fn settle_screens(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        self.sharing = self.screen.is_shown(now);
        if let Some((at, until)) = self.screen.pull
            && at <= now
            && cx.may_act()
        {
            if self.may_offer_screen(cx) {
                self.screen.pull = None;
                let another = self.sections + usize::from(self.screen.line);
                self.sections = another.clamp(WITH_SCREEN, MOST_SECTIONS);
                self.reserve_sections(cx);
                self.offer(cx, now);
                return;
            }
            self.screen.pull = (now < until).then(|| (now + PULL_AGAIN, until));
        }
        if !self.may_offer_screen(cx) {
            return;
        }
        let Some(connection) = &mut self.connection else {
            return;
        };
        let carrying = &mut connection.carrying;
        if carrying.ordered != cx.sharing {
            carrying.ordered = cx.sharing;
            carrying.tried_at = None;
            let order = PeerOrder::SetScreen { on: cx.sharing };
            cx.out.order(&self.id, connection.generation, order);
        }
        let carrying = &mut connection.carrying;
        let is_due = carrying.tried_at.is_none_or(|at| at + CARRY_AGAIN <= now);
        if carrying.ordered != carrying.negotiated && is_due {
            carrying.tried_at = Some(now);
            self.offer(cx, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_screen_is_told_by_its_stream_its_announcement_and_its_silence() {
        let screen = |announced, line, arrived: Option<u64>| RemoteScreen {
            announced,
            line,
            arrived: arrived.map(at),
            pull: None,
        };
        for (case, shown) in [
            (screen(None, false, None), false),
            (screen(Some(true), false, None), true),
            (screen(None, true, None), false),
            (screen(None, true, Some(9)), true),
            (screen(None, true, Some(6)), false),
            (screen(Some(true), true, None), true),
            (screen(Some(true), true, Some(1)), true),
            (screen(Some(true), true, Some(0)), false),
            (screen(Some(false), true, Some(10)), false),
        ] {
            assert_eq!(case.is_shown(at(10)), shown, "{case:?}");
        }
    }
}
