//! Which standing loops still beat, and so whether the watchdog may be fed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::Stage;
use super::types::Timestamp;

/// A loop that has beaten must beat again within this.
pub const STALL: Duration = Duration::from_secs(10);
/// A loop that never beat is still starting (cameras take about 10 s).
pub const START_UP: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
struct Beat {
    count: u64,
    progressed_at: Timestamp,
    limit: Duration,
    withheld: bool,
}

/// The verdict after a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Every loop progressed.
    pub(super) feed: bool,
    /// Loops that newly stand still, to be named once.
    pub(super) stalled: Vec<Stage>,
    /// Loops that beat again.
    pub(super) resumed: Vec<Stage>,
}

/// Progress of every loop that was ever counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Liveness {
    beats: BTreeMap<Stage, Beat>,
}

impl Liveness {
    /// Takes a count of all loops and judges.
    pub(super) fn on_counts(&mut self, counts: &[(Stage, u64)], now: Timestamp) -> Verdict {
        let mut verdict = Verdict {
            feed: true,
            stalled: Vec::new(),
            resumed: Vec::new(),
        };
        for &(stage, count) in counts {
            let beat = self.beats.entry(stage).or_insert(Beat {
                count: 0,
                progressed_at: now,
                limit: START_UP,
                withheld: false,
            });
            if count != beat.count {
                beat.count = count;
                beat.progressed_at = now;
                beat.limit = STALL;
            }
        }
        for (&stage, beat) in &mut self.beats {
            let late = now.since(beat.progressed_at) > beat.limit;
            verdict.feed &= !late;
            if late && !beat.withheld {
                verdict.stalled.push(stage);
            } else if !late && beat.withheld {
                verdict.resumed.push(stage);
            }
            beat.withheld = late;
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_stalled_loop_withholds_the_watchdog_is_named_once_and_may_come_back() {
        let mut liveness = Liveness::default();
        for second in 0..20 {
            let verdict = liveness.on_counts(
                &[(Stage::Video, second.min(5)), (Stage::Speaker, second)],
                at(second),
            );
            assert_eq!(verdict.feed, second <= 15, "at {second} s");
            assert_eq!(
                verdict.stalled == [Stage::Video],
                second == 16,
                "at {second} s"
            );
        }
        let verdict = liveness.on_counts(&[(Stage::Video, 6), (Stage::Speaker, 20)], at(20));
        assert!(verdict.feed);
        assert_eq!(verdict.resumed, [Stage::Video]);
    }

    #[test]
    fn a_loop_that_never_beat_gets_the_start_up_allowance() {
        let mut liveness = Liveness::default();
        assert!(liveness.on_counts(&[(Stage::Video, 0)], at(0)).feed);
        assert!(liveness.on_counts(&[(Stage::Video, 0)], at(30)).feed);
        assert!(!liveness.on_counts(&[(Stage::Video, 0)], at(31)).feed);
    }

    #[test]
    fn a_loop_that_is_no_longer_counted_is_late_too() {
        let mut liveness = Liveness::default();
        liveness.on_counts(&[(Stage::Control, 1)], at(0));
        assert!(!liveness.on_counts(&[], at(11)).feed);
    }
}
