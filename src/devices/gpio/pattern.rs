//! Patterns on a line that is lit or dark.
//!
//! A line has one colour, so what two steady colours tell apart must be told by light: the lights of microphone and
//! camera are lit while they are closed and dark while they are open, which is also what a lamp wired to be lit by a
//! released line shows when the program is gone.

use std::time::Duration;

use crate::room::{Color, Led, Pattern, Shape};

/// Times lit and dark in turn, lit first, milliseconds; empty: steady. A line cannot dim, so a pulse is a short flash.
fn rhythm(shape: Shape) -> &'static [u64] {
    match shape {
        Shape::Steady => &[],
        Shape::SlowBlink => &[1000, 1000],
        Shape::Blink => &[500, 500],
        Shape::DoubleBlink => &[120, 160, 120, 800],
        Shape::SlowPulse => &[250, 2750],
        Shape::FastPulse => &[250, 750],
        Shape::Fast => &[100, 100],
    }
}

/// Whether a light is lit so long after its pattern was ordered, and after how long that changes; `None`: never.
pub(super) fn play(led: Led, pattern: Pattern, shown_for: Duration) -> (bool, Option<Duration>) {
    let rhythm = rhythm(pattern.shape);
    let whole: u64 = rhythm.iter().sum();
    if whole == 0 {
        let open = pattern.color == Color::Green && led != Led::Status;
        return (!open, None);
    }
    let whole = Duration::from_millis(whole);
    let mut within = Duration::from_nanos((shown_for.as_nanos() % whole.as_nanos()) as u64);
    for (index, part) in rhythm.iter().enumerate() {
        let part = Duration::from_millis(*part);
        if within < part {
            return (index % 2 == 0, Some(part - within));
        }
        within -= part;
    }
    // The remainder is smaller than the sum of the parts.
    (false, Some(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 7] = [
        Shape::Steady,
        Shape::SlowBlink,
        Shape::Blink,
        Shape::DoubleBlink,
        Shape::SlowPulse,
        Shape::FastPulse,
        Shape::Fast,
    ];

    #[test]
    fn closed_is_lit_and_open_is_dark_but_a_meeting_is_lit() {
        let steady = |led, color| play(led, Pattern::new(color, Shape::Steady), Duration::ZERO);
        assert_eq!(steady(Led::Mic, Color::Red), (true, None));
        assert_eq!(steady(Led::Mic, Color::Green), (false, None));
        assert_eq!(steady(Led::Camera, Color::Green), (false, None));
        assert_eq!(steady(Led::Status, Color::Green), (true, None));
        // Identify shows on an open microphone, too.
        let fast = Pattern::new(Color::Green, Shape::Fast);
        assert!(play(Led::Mic, fast, Duration::ZERO).0);
    }

    #[test]
    fn every_pattern_begins_lit_and_no_two_look_alike() {
        let mut seen = Vec::new();
        for shape in SHAPES {
            let pattern = Pattern::new(Color::Red, shape);
            let look: Vec<bool> = (0..600)
                .map(|tick| play(Led::Mic, pattern, Duration::from_millis(tick * 10)).0)
                .collect();
            assert!(look[0], "{shape:?}");
            assert!(!seen.contains(&look), "{shape:?}");
            seen.push(look);
        }
    }

    #[test]
    fn the_next_change_is_where_the_light_changes() {
        for shape in SHAPES {
            let pattern = Pattern::new(Color::Amber, shape);
            let mut at = Duration::from_micros(123_457);
            for _ in 0..20 {
                let (lit, change) = play(Led::Status, pattern, at);
                let Some(change) = change else { break };
                assert!(change > Duration::ZERO && change <= Duration::from_secs(3));
                let before = play(Led::Status, pattern, at + change - Duration::from_nanos(1));
                let after = play(Led::Status, pattern, at + change);
                assert_eq!((before.0, after.0), (lit, !lit), "{shape:?} at {at:?}");
                at += change;
            }
        }
    }
}
