//! Keeps a camera that is faster than asked for to the rate that was asked for.

use std::time::Duration;

use crate::room::Timestamp;

/// Says of each frame whether it is sent.
#[derive(Debug)]
pub(super) struct Rate {
    /// A little less than the time from frame to frame: a camera whose clock is up to 5 % fast loses none.
    interval: Duration,
    due: Timestamp,
}

impl Rate {
    /// Frames per second.
    pub(super) fn new(frame_rate: u32) -> Self {
        Self {
            interval: Duration::from_secs(1).mul_f64(0.95) / frame_rate.max(1),
            due: Timestamp::default(),
        }
    }

    /// Whether the frame of this time is sent. A late one does not push back those after it.
    pub(super) fn take(&mut self, captured_at: Timestamp) -> bool {
        if captured_at < self.due {
            // A clock that was set back by more than a frame starts anew.
            if self.due.since(captured_at) > 2 * self.interval {
                self.due = captured_at + self.interval;
                return true;
            }
            return false;
        }
        self.due = (self.due + self.interval).max(captured_at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(wanted: u32, frames: impl Iterator<Item = u64>) -> usize {
        let mut rate = Rate::new(wanted);
        frames
            .filter(|micros| {
                let at = Duration::from_secs(100) + Duration::from_micros(*micros);
                rate.take(Timestamp::from_duration(at))
            })
            .count()
    }

    fn steady(rate: u64) -> impl Iterator<Item = u64> {
        (0..rate * 10).map(move |frame| frame * 1_000_000 / rate)
    }

    #[test]
    fn a_fast_camera_is_kept_to_the_rate_and_one_of_the_right_rate_loses_nothing() {
        for (wanted, camera, least, most) in [
            (10, 30, 98, 106),
            (10, 15, 98, 106),
            (10, 12, 98, 106),
            (30, 60, 295, 320),
            (30, 30, 300, 300),
            (10, 5, 50, 50),
        ] {
            let sent = sent(wanted, steady(camera));
            assert!(
                (least..=most).contains(&sent),
                "{camera} to {wanted}: {sent}"
            );
        }
        // 3 % fast, and every frame up to 8 ms late.
        let fast = (0..300_u64).map(|frame| frame * 32_360 + frame * 7919 % 8000);
        assert_eq!(sent(30, fast), 300);
    }

    #[test]
    fn a_clock_set_back_does_not_hold_up_the_picture() {
        let mut rate = Rate::new(10);
        assert!(rate.take(Timestamp::from_millis(900_000)));
        assert!(rate.take(Timestamp::from_millis(1_000)));
        assert!(!rate.take(Timestamp::from_millis(1_020)));
        assert!(rate.take(Timestamp::from_millis(1_100)));
    }
}
