//! When packets arrived last: latest-value slots that the session reads twice a second, and at once after a pause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::room::{PeerEvent, Timestamp};

/// Packets that come after so long without any are told at once: they may end somebody's worry.
const PAUSE: Duration = Duration::from_millis(400);

/// The newest arrival of one stream, as microseconds of the monotonic clock; 0 before the first.
#[derive(Debug, Default)]
struct Newest(AtomicU64);

impl Newest {
    /// Says whether a pause is over.
    fn set(&self, now: Timestamp) -> bool {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let now = micros(now.as_duration());
        let before = self.0.swap(now, Ordering::Relaxed);
        now.saturating_sub(before) >= micros(PAUSE)
    }

    fn read(&self) -> Option<Timestamp> {
        let micros = self.0.load(Ordering::Relaxed);
        (micros > 0).then(|| Timestamp::from_duration(Duration::from_micros(micros)))
    }
}

/// What arrived over one connection.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    audio: Newest,
    video: Newest,
    screen: Newest,
    resumed: Notify,
}

impl Arrivals {
    pub(super) fn on_audio(&self, now: Timestamp) {
        if self.audio.set(now) {
            self.resumed.notify_one();
        }
    }

    pub(super) fn on_video(&self, now: Timestamp) {
        if self.video.set(now) {
            self.resumed.notify_one();
        }
    }

    pub(super) fn on_screen(&self, now: Timestamp) {
        if self.screen.set(now) {
            self.resumed.notify_one();
        }
    }

    /// The report for the room on the peer's screen.
    pub(super) fn screen_report(&self) -> Option<PeerEvent> {
        let at = self.screen.read()?;
        Some(PeerEvent::ScreenArrived { at })
    }

    /// A stream flows again, or for the first time.
    pub(super) async fn resumed(&self) {
        self.resumed.notified().await;
    }

    /// The report for the room.
    pub(super) fn report(&self) -> PeerEvent {
        PeerEvent::PacketsArrived {
            audio: self.audio.read(),
            video: self.video.read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[tokio::test]
    async fn the_first_packet_and_the_first_after_a_pause_are_told_at_once() {
        let arrivals = Arrivals::default();
        let is_told = async || {
            let told = tokio::time::timeout(Duration::from_millis(1), arrivals.resumed());
            told.await.is_ok()
        };
        assert!(!is_told().await);
        arrivals.on_audio(at(5_000));
        assert!(is_told().await);
        arrivals.on_audio(at(5_020));
        assert!(!is_told().await);
        arrivals.on_audio(at(5_420));
        assert!(is_told().await);
        let expected = PeerEvent::PacketsArrived {
            audio: Some(at(5_420)),
            video: None,
        };
        assert_eq!(arrivals.report(), expected);
    }
}
