//! What people do at the panel and what is ordered: presses, switches, commands, other settings.

use super::super::event::{Command, DeniedReason, Source};
use super::super::gesture::Gesture;
use super::super::media::Kind;
use super::super::notice::Level;
use super::super::settings::RoomSettings;
use super::super::types::{Button, Timestamp};
use super::{IDENTIFY_FOR, Life, Room};

impl Room {
    pub(super) fn on_gesture(&mut self, button: Button, gesture: Gesture, now: Timestamp) {
        match (button, gesture) {
            (Button::Mic, Gesture::Press) => {
                let opens = self.media.microphone.closed;
                self.on_press(button, now);
                self.talking = opens;
            }
            (Button::Camera | Button::Share, Gesture::Press)
            | (Button::Share, Gesture::DoublePress) => self.on_press(button, now),
            // Whoever presses in a hurry wants out of the meeting's ears and eyes.
            (Button::Mic | Button::Camera, Gesture::DoublePress) => {
                self.talking = false;
                for kind in [Kind::Microphone, Kind::Camera] {
                    self.media
                        .close(kind, &Source::Panel, &self.settings, &mut self.out, now);
                }
            }
            (Button::Mic, Gesture::LongPressEnded) => {
                if std::mem::take(&mut self.talking) {
                    self.media.close(
                        Kind::Microphone,
                        &Source::Panel,
                        &self.settings,
                        &mut self.out,
                        now,
                    );
                }
            }
            (Button::Camera | Button::Share, Gesture::LongPressEnded) => {}
        }
    }

    pub(super) fn on_switch(&mut self, button: Button, closed: bool, moved: bool, now: Timestamp) {
        let kind = match button {
            Button::Mic => Kind::Microphone,
            Button::Camera => Kind::Camera,
            // Sharing has no state that a switch could hold.
            Button::Share => return,
        };
        self.media
            .on_switch(kind, closed, moved, &self.settings, &mut self.out, now);
    }

    fn on_press(&mut self, button: Button, now: Timestamp) {
        match button {
            Button::Mic => {
                self.media
                    .on_press(Kind::Microphone, &self.settings, &mut self.out, now);
            }
            Button::Camera => {
                self.media
                    .on_press(Kind::Camera, &self.settings, &mut self.out, now);
            }
            Button::Share => {
                if let Err(reason) = self.press_share(now) {
                    self.out.notify(
                        Level::Info,
                        format!("the share button was pressed, but {}", reason.as_str()),
                    );
                }
            }
        }
    }

    fn press_share(&mut self, now: Timestamp) -> Result<(), DeniedReason> {
        let in_meeting = !self.signaling.is_idle();
        let share = &mut self.media.share;
        share.on_press(&self.settings, in_meeting, &mut self.out, now)
    }

    pub(super) fn on_command(
        &mut self,
        command: Command,
        source: &Source,
        now: Timestamp,
    ) -> Result<(), DeniedReason> {
        match command {
            Command::Mute => {
                self.media
                    .close(Kind::Microphone, source, &self.settings, &mut self.out, now)
            }
            Command::CameraOff => {
                self.media
                    .close(Kind::Camera, source, &self.settings, &mut self.out, now);
            }
            Command::ShareOn => {
                let in_meeting = !self.signaling.is_idle();
                let share = &mut self.media.share;
                return share.begin(source, &self.settings, in_meeting, &mut self.out);
            }
            Command::ShareOff => self.media.share.end(source, &mut self.out, now),
            Command::Press(button) => {
                if !self.settings.panel_simulated {
                    return Err(DeniedReason::PanelNotSimulated);
                }
                if button == Button::Share {
                    return self.press_share(now);
                }
                self.on_press(button, now);
            }
            Command::Join => {
                if self.settings.identity.is_none() {
                    return Err(DeniedReason::Unconfigured);
                }
                if self.life == Life::Running {
                    // Whoever orders this knows of it.
                    self.signaling.refusal = None;
                    self.signaling.open(&mut self.out, now);
                }
            }
            Command::Leave => {
                if self.settings.identity.is_none() {
                    return Err(DeniedReason::Unconfigured);
                }
                self.leave(None, now);
            }
            Command::Identify => self.identify_until = Some(now + IDENTIFY_FOR),
        }
        Ok(())
    }

    pub(super) fn on_settings(&mut self, settings: RoomSettings, now: Timestamp) {
        let old = std::mem::replace(&mut self.settings, settings);
        if self.life != Life::Running {
            if self.signaling.is_idle() {
                self.signaling
                    .set_configured(self.settings.identity.is_some(), now);
            }
            return;
        }
        let elsewhere = old.identity != self.settings.identity || old.place != self.settings.place;
        // Ordered away we stay away; sent away from there we may go elsewhere.
        let sent_away = self.signaling.refusal.is_some();
        let stays_away = self.signaling.is_idle() && old.identity.is_some() && !sent_away;
        if elsewhere {
            // Leaving comes before joining anew, and closing before both.
            if old.place != self.settings.place {
                self.media
                    .on_place_changed(&self.settings, &mut self.out, now);
            }
            self.leave_as(&old, None, now);
            self.signaling
                .set_configured(self.settings.identity.is_some(), now);
        }
        if old.has_camera != self.settings.has_camera {
            self.media
                .on_camera_configured(&self.settings, &mut self.out, now);
        }
        if old.has_screen && !self.settings.has_screen {
            self.media.share.on_unconfigured(&mut self.out, now);
        }
        if elsewhere && !stays_away {
            self.signaling.open(&mut self.out, now);
        }
    }
}
