//! What each light shows, by priority.

use super::effect::Effect;
use super::outbox::Outbox;
use super::types::{Color, Led, Pattern, Shape};

/// What the lights depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) identify: bool,
    /// Before the server was reached or refused for the first time.
    pub(super) starting: bool,
    pub(super) in_meeting: bool,
    /// What the light may say about the microphone: `None` until the pipeline has said.
    pub(super) muted: Option<bool>,
    pub(super) camera_off: Option<bool>,
    pub(super) camera_lost: bool,
    /// Refused by the server, or nobody reachable with the fast attempts used up.
    pub(super) failed: bool,
    /// The server or a present peer.
    pub(super) reconnecting: bool,
    /// The state of microphone and camera would not survive a power cut.
    pub(super) unsaved: bool,
    pub(super) connected_peers: usize,
}

/// The three patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lights {
    pub(super) mic: Pattern,
    pub(super) camera: Pattern,
    pub(super) status: Pattern,
}

impl Lights {
    /// The table of the interfaces page, highest priority first. Identify keeps the colours of microphone and camera: the
    /// truth about what leaves the room is never hidden.
    pub(super) fn from_view(view: &View) -> Self {
        let shape = |shape| {
            if view.identify { Shape::Fast } else { shape }
        };
        // Until the pipeline has said something nothing leaves, which is what red means.
        let mic = match view.muted {
            Some(false) => Pattern::new(Color::Green, shape(Shape::Steady)),
            Some(true) | None if view.in_meeting => Pattern::new(Color::Red, shape(Shape::Steady)),
            Some(true) | None => Pattern::new(Color::Red, shape(Shape::SlowBlink)),
        };
        let camera = match (view.camera_off, view.camera_lost) {
            (Some(true) | None, _) => Pattern::new(Color::Red, shape(Shape::Steady)),
            (Some(false), true) => Pattern::new(Color::Amber, shape(Shape::Blink)),
            (Some(false), false) => Pattern::new(Color::Green, shape(Shape::Steady)),
        };
        let status = if view.identify {
            Pattern::new(Color::White, Shape::Fast)
        } else if view.failed {
            Pattern::new(Color::Red, Shape::DoubleBlink)
        } else if view.reconnecting {
            Pattern::new(Color::Amber, Shape::Blink)
        } else if view.starting {
            Pattern::new(Color::White, Shape::FastPulse)
        } else if view.unsaved {
            // Attention: somebody has to look after the box, and the meeting goes on.
            Pattern::new(Color::Amber, Shape::SlowBlink)
        } else if view.connected_peers > 0 {
            Pattern::new(Color::Green, Shape::Steady)
        } else {
            Pattern::new(Color::White, Shape::SlowPulse)
        };
        Self {
            mic,
            camera,
            status,
        }
    }
}

/// The lights as they were ordered last.
#[derive(Clone, Debug, Default)]
pub(super) struct Indicator {
    shown: Option<Lights>,
}

impl Indicator {
    /// Orders what differs.
    pub(super) fn show(&mut self, lights: Lights, out: &mut Outbox) {
        let before = self.shown.replace(lights);
        for (led, pattern, old) in [
            (Led::Mic, lights.mic, before.map(|b| b.mic)),
            (Led::Camera, lights.camera, before.map(|b| b.camera)),
            (Led::Status, lights.status, before.map(|b| b.status)),
        ] {
            if old != Some(pattern) {
                out.push(Effect::SetLed { led, pattern });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: View = View {
        identify: false,
        starting: false,
        in_meeting: true,
        muted: Some(false),
        camera_off: Some(false),
        camera_lost: false,
        failed: false,
        reconnecting: false,
        unsaved: false,
        connected_peers: 0,
    };

    fn status(view: &View) -> (Color, Shape) {
        let pattern = Lights::from_view(view).status;
        (pattern.color, pattern.shape)
    }

    #[test]
    fn the_status_light_obeys_the_priorities_of_the_table() {
        let mut view = View {
            identify: true,
            failed: true,
            reconnecting: true,
            starting: true,
            unsaved: true,
            connected_peers: 2,
            ..IDLE
        };
        assert_eq!(status(&view), (Color::White, Shape::Fast));
        view.identify = false;
        assert_eq!(status(&view), (Color::Red, Shape::DoubleBlink));
        view.failed = false;
        assert_eq!(status(&view), (Color::Amber, Shape::Blink));
        view.reconnecting = false;
        assert_eq!(status(&view), (Color::White, Shape::FastPulse));
        view.starting = false;
        assert_eq!(status(&view), (Color::Amber, Shape::SlowBlink));
        view.unsaved = false;
        assert_eq!(status(&view), (Color::Green, Shape::Steady));
        view.connected_peers = 0;
        assert_eq!(status(&view), (Color::White, Shape::SlowPulse));
    }

    #[test]
    fn a_muted_microphone_outside_a_meeting_blinks_and_an_open_one_is_green_everywhere() {
        let mut view = View {
            muted: Some(true),
            ..IDLE
        };
        assert_eq!(Lights::from_view(&view).mic.shape, Shape::Steady);
        view.in_meeting = false;
        assert_eq!(Lights::from_view(&view).mic.shape, Shape::SlowBlink);
        view.muted = Some(false);
        assert_eq!(Lights::from_view(&view).mic.color, Color::Green);
    }

    #[test]
    fn identify_never_hides_the_colour_of_the_microphone() {
        for muted in [true, false] {
            let plain = View {
                muted: Some(muted),
                ..IDLE
            };
            let identify = View {
                identify: true,
                ..plain
            };
            let (plain, identify) = (Lights::from_view(&plain), Lights::from_view(&identify));
            assert_eq!(plain.mic.color, identify.mic.color);
            assert_eq!(identify.mic.shape, Shape::Fast);
        }
    }

    #[test]
    fn off_comes_before_lost_on_the_camera_light() {
        let view = View {
            camera_off: Some(true),
            camera_lost: true,
            ..IDLE
        };
        assert_eq!(Lights::from_view(&view).camera.color, Color::Red);
        let view = View {
            camera_off: Some(false),
            ..view
        };
        assert_eq!(Lights::from_view(&view).camera.color, Color::Amber);
    }

    #[test]
    fn a_light_is_ordered_only_when_it_changes() {
        let mut indicator = Indicator::default();
        let mut out = Outbox::default();
        let count = |out: &mut Outbox| std::iter::from_fn(|| out.take()).count();
        indicator.show(Lights::from_view(&IDLE), &mut out);
        assert_eq!(count(&mut out), 3);
        indicator.show(Lights::from_view(&IDLE), &mut out);
        assert_eq!(count(&mut out), 0);
        let muted = View {
            muted: Some(true),
            ..IDLE
        };
        indicator.show(Lights::from_view(&muted), &mut out);
        assert_eq!(count(&mut out), 1);
    }
}
