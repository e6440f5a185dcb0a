//! What arrives over one connection: the proof that it works, and by its absence the first suspicion.

use std::time::Duration;

use super::super::types::Timestamp;

/// The newest arrivals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flow {
    /// When sound arrived last; `None` before the first packet, and while its silence is not held against the path.
    audio: Option<Timestamp>,
    /// The same of the picture.
    video: Option<Timestamp>,
    /// When anything arrived last.
    newest: Option<Timestamp>,
}

impl Flow {
    pub(super) fn on_packets(&mut self, audio: Option<Timestamp>, video: Option<Timestamp>) {
        // A stream that was excused counts again only with a packet newer than all that was known then.
        let known = self.newest;
        let take = |stream: &mut Option<Timestamp>, at: Option<Timestamp>| {
            if stream.is_some() || at > known {
                *stream = at.max(*stream);
            }
        };
        take(&mut self.audio, audio);
        take(&mut self.video, video);
        self.newest = known.max(audio).max(video);
    }

    /// When anything arrived last.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// When the first stream that flowed will have been silent for `limit`. `with_video`: the picture is not announced off.
    pub(super) fn silent_at(&self, limit: Duration, with_video: bool) -> Option<Timestamp> {
        let video = self.video.filter(|_| with_video);
        let oldest = match (self.audio, video) {
            (Some(audio), Some(video)) => audio.min(video),
            (audio, video) => audio.or(video)?,
        };
        Some(oldest + limit)
    }

    /// The picture was announced off or on: what was seen before says nothing about now.
    pub(super) fn forget_video(&mut self) {
        self.video = None;
    }

    /// Streams silent for `limit` are no longer held against the path, until they flow again.
    pub(super) fn excuse(&mut self, limit: Duration, now: Timestamp) {
        for stream in [&mut self.audio, &mut self.video] {
            if stream.is_some_and(|at| at + limit <= now) {
                *stream = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(1_500);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_stream_that_is_silent_longest_counts_and_a_picture_announced_off_does_not() {
        let mut flow = Flow::default();
        assert_eq!(flow.silent_at(LIMIT, true), None, "nothing flowed yet");
        flow.on_packets(Some(at(1_000)), Some(at(400)));
        assert_eq!(flow.silent_at(LIMIT, true), Some(at(1_900)));
        assert_eq!(flow.silent_at(LIMIT, false), Some(at(2_500)));
        assert_eq!(flow.newest(), Some(at(1_000)));
    }

    #[test]
    fn an_excused_stream_counts_again_when_it_flows_again() {
        let mut flow = Flow::default();
        flow.on_packets(Some(at(5_000)), Some(at(400)));
        flow.excuse(LIMIT, at(5_100));
        assert_eq!(flow.silent_at(LIMIT, true), Some(at(6_500)));
        flow.on_packets(Some(at(6_000)), Some(at(400)));
        assert_eq!(flow.silent_at(LIMIT, true), Some(at(7_500)), "still silent");
        flow.on_packets(Some(at(7_000)), Some(at(6_900)));
        assert_eq!(flow.silent_at(LIMIT, true), Some(at(8_400)));
    }
}
