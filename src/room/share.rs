//! Our screen: who may share it, when the connections carry it, what the server is told and says about it.
//!
//! ```text
//!   begin:  SetScreen(on) ──> confirmed: live ──> every connection carries it ──> server
//!   end:    SetScreen(off), not live at once ──> no connection carries it ──> server
//! ```
//! What opens here shows a computer, not the room, so that `share on` is no press; but what a host has ended begins again only by
//! a press.

use std::collections::VecDeque;
use std::time::Duration;

use super::effect::Effect;
use super::event::{DeniedReason, Source};
use super::keyframes::Keyframes;
use super::message::ClientMessage;
use super::notice::Level;
use super::outbox::Outbox;
use super::settings::RoomSettings;
use super::types::{PeerId, Timestamp};

/// The server is told at the latest then, whatever a single connection does.
const TRACKS_WAIT: Duration = Duration::from_secs(1);
/// An echo that has not come back by then never will; and a server's no to a share comes within it.
const ECHO_WAIT: Duration = Duration::from_secs(10);
/// More un-echoed reports than this are not remembered.
const ECHO_LIMIT: usize = 16;
/// At most one keyframe order in this time, whoever asks: a keyframe of text is large.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// The share.
#[derive(Clone, Debug, Default)]
pub(super) struct Share {
    /// The wish.
    wanted: bool,
    /// It began because its source appeared, so it ends with it.
    by_source: bool,
    /// The pipeline sends: the connections are to carry it.
    pub(super) live: bool,
    /// A host ended it and nobody has pressed since.
    pub(super) forced: bool,
    /// The server's no to the last attempt, until the next.
    pub(super) refused: Option<String>,
    /// Something is plugged in, as far as is known.
    source: bool,
    /// What the server was told in this session; `None` before the announcement.
    announced: Option<bool>,
    /// A change is told when the connections carry it, and then at the latest.
    report_by: Option<Timestamp>,
    unechoed: VecDeque<(bool, Timestamp)>,
    keyframes: Keyframes,
}

impl Share {
    /// A press in the room.
    pub(super) fn on_press(
        &mut self,
        settings: &RoomSettings,
        in_meeting: bool,
        out: &mut Outbox,
        now: Timestamp,
    ) -> Result<(), DeniedReason> {
        self.forced = false;
        if self.wanted {
            self.end(&Source::Panel, out, now);
            return Ok(());
        }
        self.begin(&Source::Panel, settings, in_meeting, out)
    }

    /// Begins, if that is allowed.
    pub(super) fn begin(
        &mut self,
        source: &Source,
        settings: &RoomSettings,
        in_meeting: bool,
        out: &mut Outbox,
    ) -> Result<(), DeniedReason> {
        if !settings.has_screen {
            return Err(DeniedReason::NoScreenSource);
        }
        if self.wanted {
            return Ok(());
        }
        if self.forced {
            return Err(DeniedReason::ShareForced);
        }
        if !in_meeting {
            return Err(DeniedReason::NotInMeeting);
        }
        let text = match source {
            Source::Panel => "the screen is shared, by a press in the room".to_owned(),
            Source::Control(who) => format!("the screen is shared, by {who}"),
            Source::Host => "the screen is shared, by a host of the meeting".to_owned(),
            Source::Shutter => "the screen is shared, by the camera's shutter".to_owned(),
        };
        self.start(false, &text, out);
        Ok(())
    }

    fn start(&mut self, by_source: bool, text: &str, out: &mut Outbox) {
        self.wanted = true;
        self.by_source = by_source;
        self.refused = None;
        out.notify(Level::Info, text);
        out.push(Effect::SetScreen { on: true });
    }

    /// Ends it, whoever says so.
    pub(super) fn end(&mut self, source: &Source, out: &mut Outbox, now: Timestamp) {
        let text = match source {
            Source::Panel => "the screen is no longer shared, by a press in the room".to_owned(),
            Source::Control(who) => format!("the screen is no longer shared, by {who}"),
            Source::Host => "a host of the meeting has ended the screen share".to_owned(),
            Source::Shutter => "the screen is no longer shared, by the camera's shutter".to_owned(),
        };
        self.stop(&text, out, now);
    }

    fn stop(&mut self, text: &str, out: &mut Outbox, now: Timestamp) {
        if !self.wanted {
            return;
        }
        self.wanted = false;
        self.by_source = false;
        self.keyframes.forget();
        out.notify(Level::Info, text);
        out.push(Effect::SetScreen { on: false });
        self.set_live(false, now);
    }

    /// Nobody is there to see it.
    pub(super) fn on_meeting_left(&mut self, out: &mut Outbox, now: Timestamp) {
        self.forced = false;
        self.stop(
            "the screen is no longer shared: we left the meeting",
            out,
            now,
        );
        self.on_left();
    }

    /// There is no source any more, by the settings.
    pub(super) fn on_unconfigured(&mut self, out: &mut Outbox, now: Timestamp) {
        self.source = false;
        self.stop(
            "the screen is no longer shared: no source is configured any more",
            out,
            now,
        );
    }

    fn set_live(&mut self, live: bool, now: Timestamp) {
        if self.live != live {
            self.live = live;
            self.report_by = Some(now + TRACKS_WAIT);
        }
    }

    /// The pipeline says what leaves it.
    pub(super) fn on_confirmed(&mut self, on: bool, now: Timestamp) {
        if on && self.wanted {
            self.set_live(true, now);
        }
    }

    /// Something was plugged in, or out.
    pub(super) fn on_source(
        &mut self,
        present: bool,
        settings: &RoomSettings,
        in_meeting: bool,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        self.source = present;
        if present {
            self.follow_source(settings, in_meeting, out);
        } else if self.by_source {
            self.stop(
                "the screen's source is gone, so it is no longer shared",
                out,
                now,
            );
        }
    }

    /// By setting, a source that is there is shared.
    pub(super) fn follow_source(
        &mut self,
        settings: &RoomSettings,
        in_meeting: bool,
        out: &mut Outbox,
    ) {
        let follows = settings.has_screen && settings.share_on_signal;
        if follows && self.source && in_meeting && !self.wanted && !self.forced {
            self.start(true, "the screen is shared: its source appeared", out);
        }
    }

    // ---- the server

    /// A state with our own id: an echo of ours, or a host's order to stop.
    pub(super) fn on_own_state(&mut self, sharing: bool, out: &mut Outbox, now: Timestamp) {
        self.unechoed.retain(|(_, at)| now.since(*at) < ECHO_WAIT);
        if let Some(index) = self
            .unechoed
            .iter()
            .position(|(value, _)| *value == sharing)
        {
            self.unechoed.drain(..=index);
        } else if !sharing && self.wanted {
            self.forced = true;
            self.end(&Source::Host, out, now);
        }
    }

    /// The server reports an error. `true`: it was its no to our share, which is over.
    pub(super) fn on_refused(&mut self, message: &str, out: &mut Outbox, now: Timestamp) -> bool {
        let is_asked = |(sharing, at): &(bool, Timestamp)| *sharing && now.since(*at) < ECHO_WAIT;
        let text = message.to_ascii_lowercase();
        let speaks_of_it = text.contains("shar") || text.contains("screen");
        if !self.wanted || !speaks_of_it || !self.unechoed.iter().any(is_asked) {
            return false;
        }
        self.unechoed.clear();
        // It knows that we do not.
        self.announced = Some(false);
        self.stop(
            &format!("the server refuses our screen share: {message}"),
            out,
            now,
        );
        self.refused = Some(message.to_owned());
        true
    }

    /// The announcement after a join: the true state.
    pub(super) fn announce(&mut self, out: &mut Outbox, now: Timestamp) {
        self.report_by = None;
        self.say(out, now);
    }

    fn say(&mut self, out: &mut Outbox, now: Timestamp) {
        self.announced = Some(self.live);
        if self.unechoed.len() == ECHO_LIMIT {
            self.unechoed.pop_front();
        }
        self.unechoed.push_back((self.live, now));
        out.send(ClientMessage::ScreenShare { sharing: self.live });
    }

    /// Tells the server of a change, once. `carried`: every connection carries what is to be carried.
    pub(super) fn report(&mut self, carried: bool, out: &mut Outbox, now: Timestamp) {
        let Some(announced) = self.announced else {
            return;
        };
        if announced == self.live {
            self.report_by = None;
        } else if carried || self.report_by.is_none_or(|at| at <= now) {
            self.report_by = None;
            self.say(out, now);
        }
    }

    /// Not in the meeting any more: the next session starts from nothing.
    pub(super) fn on_left(&mut self) {
        self.announced = None;
        self.report_by = None;
        self.unechoed.clear();
    }

    // ---- keyframes

    /// A member needs a keyframe of the screen.
    pub(super) fn on_keyframe_requested(
        &mut self,
        member: &PeerId,
        out: &mut Outbox,
        now: Timestamp,
    ) {
        if self.wanted && self.keyframes.on_request(member, KEYFRAME_INTERVAL, now) {
            out.push(Effect::OrderScreenKeyframe);
        }
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = (Timestamp, &'static str)> {
        let told = self.announced.and(self.report_by);
        [
            told.map(|at| (at, "share to be reported")),
            self.keyframes.due().map(|at| (at, "screen keyframe due")),
        ]
        .into_iter()
        .flatten()
    }

    pub(super) fn handle_timeout(&mut self, out: &mut Outbox, now: Timestamp) {
        if self.keyframes.take_due(now) {
            out.push(Effect::OrderScreenKeyframe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// A share that was announced.
    fn shared() -> (Share, Outbox) {
        let (mut share, mut out) = (Share::default(), Outbox::default());
        share.announce(&mut out, at(0));
        share.on_own_state(false, &mut out, at(5));
        share.start(false, "", &mut out);
        share.on_confirmed(true, at(10));
        share.report(true, &mut out, at(20));
        (share, out)
    }

    #[test]
    fn an_echo_is_told_from_a_hosts_order_and_only_a_no_to_what_was_asked_is_a_refusal() {
        let (mut share, mut out) = shared();
        assert!(!share.on_refused("Internal server error", &mut out, at(30)));
        share.on_own_state(true, &mut out, at(40));
        assert!(share.live && !share.forced);
        let words = "Another user is already sharing their screen";
        assert!(!share.on_refused(words, &mut out, at(50)), "it was echoed");
        share.on_own_state(false, &mut out, at(60));
        assert!(!share.live && share.forced && share.refused.is_none());
        let (mut share, mut out) = shared();
        assert!(share.on_refused(words, &mut out, at(50)));
        assert!(!share.live && !share.forced);
        assert_eq!(share.refused.as_deref(), Some(words));
    }

    #[test]
    fn keyframes_are_merged_over_half_a_second() {
        let (mut share, mut out) = shared();
        while out.take().is_some() {}
        for millis in [100, 150, 300] {
            share.on_keyframe_requested(&PeerId::new("z"), &mut out, at(millis));
        }
        assert_eq!(out.take(), Some(Effect::OrderScreenKeyframe));
        assert_eq!(out.take(), None);
        assert_eq!(share.deadlines().next().map(|(due, _)| due), Some(at(600)));
        share.handle_timeout(&mut out, at(600));
        assert_eq!(out.take(), Some(Effect::OrderScreenKeyframe));
    }
}
