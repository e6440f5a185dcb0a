//! Presses from timed edges.
//!
//! A press acts at its press edge, not at the release: muting must not wait for a finger. What a long or a second press
//! means is therefore added to what the first edge did: a press that opened the microphone and was held is taken back at
//! its release, and a second press on the heels of the first closes everything.

use std::collections::BTreeMap;
use std::time::Duration;

use super::types::{Button, Timestamp};

/// Contacts bounce for some milliseconds after each change.
const BOUNCE: Duration = Duration::from_millis(20);
/// A press that is held so long is a long one.
const LONG: Duration = Duration::from_millis(500);
/// A press so soon after the last one belongs to it, from press edge to press edge.
const DOUBLE: Duration = Duration::from_millis(400);

/// What an edge means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gesture {
    /// The press edge of a first press; whether it will be a short or a long one is not known yet.
    Press,
    /// The press edge of a second press, and of each that follows as soon.
    DoublePress,
    /// A long press is over.
    LongPressEnded,
}

/// Turns edges into gestures.
#[derive(Clone, Debug, Default)]
pub(super) struct Gestures {
    buttons: BTreeMap<Button, History>,
}

/// What one button has done, by kernel time.
#[derive(Clone, Debug, Default)]
struct History {
    /// Its last edge, bounces included.
    last_edge: Option<Timestamp>,
    /// Its last press edge.
    last_press: Option<Timestamp>,
    /// The press edge of what is held now.
    held_since: Option<Timestamp>,
}

impl Gestures {
    /// What this edge means, if anything. The first edge of a press or a release has [`BOUNCE`] of quiet before it; its
    /// bounces have not.
    pub(super) fn on_edge(
        &mut self,
        button: Button,
        pressed: bool,
        at: Timestamp,
    ) -> Option<Gesture> {
        let history = self.buttons.entry(button).or_default();
        let last_edge = history.last_edge.replace(at);
        if last_edge.is_some_and(|last| at.since(last) < BOUNCE) {
            return None;
        }
        if !pressed {
            let held_since = history.held_since.take()?;
            return (at.since(held_since) >= LONG).then_some(Gesture::LongPressEnded);
        }
        history.held_since = Some(at);
        match history.last_press.replace(at) {
            Some(last) if at.since(last) < DOUBLE => Some(Gesture::DoublePress),
            Some(_) | None => Some(Gesture::Press),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Gesture::{DoublePress, LongPressEnded, Press};

    /// What edges at these milliseconds mean, down and up.
    fn gestures(edges: &[(u64, bool)]) -> Vec<(u64, Gesture)> {
        let mut gestures = Gestures::default();
        edges
            .iter()
            .filter_map(|(at, down)| {
                let gesture = gestures.on_edge(Button::Mic, *down, Timestamp::from_millis(*at))?;
                Some((*at, gesture))
            })
            .collect()
    }

    #[test]
    fn a_bouncing_press_and_release_are_one_press_at_the_first_edge() {
        let edges = [
            (100, true),
            (101, false),
            (103, true),
            (300, false),
            (302, true),
            (304, false),
        ];
        assert_eq!(gestures(&edges), [(100, Press)]);
    }

    #[test]
    fn three_honest_presses_are_three() {
        let edges = [
            (0, true),
            (80, false),
            (400, true),
            (480, false),
            (800, true),
        ];
        assert_eq!(gestures(&edges), [(0, Press), (400, Press), (800, Press)]);
    }

    #[test]
    fn presses_on_the_heels_of_a_press_belong_to_it() {
        let edges = [
            (0, true),
            (80, false),
            (399, true),
            (450, false),
            (600, true),
            (650, false),
            (1000, true),
        ];
        assert_eq!(
            gestures(&edges),
            [
                (0, Press),
                (399, DoublePress),
                (600, DoublePress),
                (1000, Press)
            ]
        );
    }

    #[test]
    fn a_long_press_acts_at_its_press_edge_and_its_end_is_told() {
        assert_eq!(gestures(&[(0, true), (499, false)]), [(0, Press)]);
        assert_eq!(
            gestures(&[(0, true), (500, false), (501, true), (503, false)]),
            [(0, Press), (500, LongPressEnded)]
        );
    }

    #[test]
    fn a_lost_release_edge_does_not_swallow_the_next_press_or_lengthen_it() {
        assert_eq!(
            gestures(&[(0, true), (5000, true), (5100, false)]),
            [(0, Press), (5000, Press)]
        );
    }

    #[test]
    fn a_release_of_what_was_held_since_before_the_start_is_nothing() {
        assert_eq!(gestures(&[(9000, false)]), []);
    }

    #[test]
    fn buttons_do_not_debounce_each_other() {
        let mut gestures = Gestures::default();
        let mut press = |button, at| gestures.on_edge(button, true, Timestamp::from_millis(at));
        assert_eq!(press(Button::Mic, 1), Some(Press));
        assert_eq!(press(Button::Camera, 2), Some(Press));
    }
}
