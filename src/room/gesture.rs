//! Presses from timed edges.
//!
//! A press acts at its press edge, not at the release: muting must not wait for a finger. That is possible because no
//! button has a long press yet; the first one that gets one will have to act at the release or at the long-press deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use super::types::{Button, Timestamp};

/// Contacts bounce for some milliseconds after each change.
const BOUNCE: Duration = Duration::from_millis(20);

/// Turns edges into presses.
#[derive(Clone, Debug, Default)]
pub(super) struct Gestures {
    /// Kernel time of each line's last edge, bounces included.
    last_edge: BTreeMap<Button, Timestamp>,
}

impl Gestures {
    /// Whether this edge is a press: down, on a line that was quiet for [`BOUNCE`]. The first edge of a press has
    /// quiet before it; the bounces of press and release have not.
    pub(super) fn on_edge(&mut self, button: Button, pressed: bool, at: Timestamp) -> bool {
        let quiet = match self.last_edge.insert(button, at) {
            Some(last) => at.since(last) >= BOUNCE,
            None => true,
        };
        pressed && quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presses(edges: &[(u64, bool)]) -> usize {
        let mut gestures = Gestures::default();
        edges
            .iter()
            .filter(|(at, down)| gestures.on_edge(Button::Mic, *down, Timestamp::from_millis(*at)))
            .count()
    }

    #[test]
    fn a_bouncing_press_and_release_are_one_press_at_the_first_edge() {
        let mut gestures = Gestures::default();
        assert!(gestures.on_edge(Button::Mic, true, Timestamp::from_millis(100)));
        let rest = [
            (101, false),
            (103, true),
            (300, false),
            (302, true),
            (304, false),
        ];
        for (at, down) in rest {
            assert!(!gestures.on_edge(Button::Mic, down, Timestamp::from_millis(at)));
        }
    }

    #[test]
    fn three_honest_presses_are_three() {
        assert_eq!(
            presses(&[
                (0, true),
                (80, false),
                (160, true),
                (240, false),
                (320, true)
            ]),
            3
        );
    }

    #[test]
    fn a_lost_release_edge_does_not_swallow_the_next_press() {
        assert_eq!(presses(&[(0, true), (500, true)]), 2);
    }

    #[test]
    fn buttons_do_not_debounce_each_other() {
        let mut gestures = Gestures::default();
        assert!(gestures.on_edge(Button::Mic, true, Timestamp::from_millis(1)));
        assert!(gestures.on_edge(Button::Camera, true, Timestamp::from_millis(2)));
    }
}
