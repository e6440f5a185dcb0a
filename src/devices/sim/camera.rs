//! A camera that draws its pictures, paced like a real one.

use std::time::Duration;

use super::faults::Faults;
use crate::clock;
use crate::config::VideoEncoding;
use crate::devices::pace::{Pace, sleep_until};
use crate::devices::{Camera, DeviceError, PixelFormat, RawFrame};
use crate::room::Timestamp;

/// How many frames wait at most before the device loses the older ones, as with four V4L2 buffers.
const BUFFERS: u64 = 4;
/// How often a stalled device looks whether it was released.
const STALL_POLL: Duration = Duration::from_millis(20);

/// What a simulated camera looks at.
pub(super) trait Picture: Send {
    /// Draws the picture taken at `captured_at` as I420 of the size agreed on at construction. `into`
    /// is a buffer to reuse.
    fn draw(&mut self, sequence: u64, captured_at: Timestamp, into: &mut Vec<u8>);
}

/// See the module.
pub(super) struct SimCamera {
    name: String,
    video: VideoEncoding,
    ppm: i32,
    picture: Box<dyn Picture>,
    faults: Faults,
    /// While the stream runs.
    pace: Option<Pace>,
    /// The frame that comes next, counted in the running stream.
    next: u64,
    /// Frames of earlier streams, so that the counter goes on.
    before: u64,
}

impl SimCamera {
    pub(super) fn new(
        name: String,
        video: VideoEncoding,
        ppm: i32,
        picture: Box<dyn Picture>,
        faults: Faults,
    ) -> Result<Self, DeviceError> {
        let camera = Self {
            name,
            video,
            ppm,
            picture,
            faults,
            pace: None,
            next: 0,
            before: 0,
        };
        camera.check("opening it")?;
        Ok(camera)
    }

    fn check(&self, attempt: &'static str) -> Result<(), DeviceError> {
        if self.faults.is_gone() {
            return Err(DeviceError::Gone {
                device: self.name.clone(),
                attempt,
                reason: "unplugged by a test".to_owned(),
            });
        }
        Ok(())
    }
}

impl Camera for SimCamera {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&mut self) -> Result<(), DeviceError> {
        self.check("starting the stream")?;
        if self.pace.is_none() {
            self.pace = Some(Pace::new(
                self.video.frame_rate,
                self.ppm,
                clock::monotonic(),
            ));
            self.before += self.next;
            self.next = 0;
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.pace = None;
    }

    fn is_covered(&mut self) -> Option<bool> {
        Some(self.faults.is_covered())
    }

    fn dequeue(&mut self, timeout: Duration, recycled: Vec<u8>) -> Result<RawFrame, DeviceError> {
        let deadline = clock::monotonic() + timeout;
        let stalled = || DeviceError::Stalled {
            device: self.name.clone(),
            after: timeout,
        };
        let Some(pace) = self.pace else {
            sleep_until(deadline);
            return Err(stalled());
        };
        while self.faults.is_stalled() {
            if clock::monotonic() >= deadline {
                return Err(stalled());
            }
            sleep_until(deadline.min(clock::monotonic() + STALL_POLL));
        }
        self.check("taking a frame")?;
        self.next += self.faults.take_drops();
        let newest = pace.tick_at(clock::monotonic());
        if newest >= self.next + BUFFERS {
            self.next = newest;
        }
        let captured_at = pace.at(self.next);
        if captured_at > deadline {
            sleep_until(deadline);
            return Err(stalled());
        }
        sleep_until(captured_at);
        let sequence = self.before + self.next;
        self.next += 1;
        let mut data = recycled;
        self.picture.draw(sequence, captured_at, &mut data);
        Ok(RawFrame {
            format: PixelFormat::I420,
            width: self.video.width,
            height: self.video.height,
            data,
            captured_at,
            sequence,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testcard::{TestCard, read_strip};
    use super::*;
    use crate::room::Bitrate;

    const LONG: Duration = Duration::from_secs(5);

    fn camera(frame_rate: u32, faults: &Faults) -> SimCamera {
        let video = VideoEncoding {
            width: 320,
            height: 180,
            frame_rate,
            bitrate: Bitrate(300_000),
        };
        let card = Box::new(TestCard::new("Room 1", 320, 180));
        SimCamera::new("sim:testcard".to_owned(), video, 0, card, faults.clone())
            .expect("a simulated camera opens")
    }

    #[test]
    fn frames_come_at_the_configured_rate_and_say_so_themselves() {
        let mut camera = camera(50, &Faults::default());
        camera.start().unwrap();
        let first = camera.dequeue(LONG, Vec::new()).unwrap();
        let mut last = first.clone();
        for _ in 0..10 {
            let frame = camera.dequeue(LONG, Vec::new()).unwrap();
            let gap = frame.captured_at.since(last.captured_at);
            let frames = frame.sequence - last.sequence;
            // Exactly the grid, however late the machine was.
            assert_eq!(gap.as_micros().div_ceil(1000), u128::from(frames) * 20);
            let strip = read_strip(&frame.data, 320, 320, 180).expect("a strip");
            assert_eq!(u64::from(strip.counter), frame.sequence);
            assert_eq!(
                u128::from(strip.captured_ms),
                frame.captured_at.as_duration().as_millis() & 0xFFFF_FFFF
            );
            last = frame;
        }
    }

    #[test]
    fn an_empty_queue_answers_at_once() {
        let mut camera = camera(1, &Faults::default());
        camera.start().unwrap();
        camera.dequeue(LONG, Vec::new()).unwrap();
        let error = camera.dequeue(Duration::ZERO, Vec::new()).unwrap_err();
        assert!(matches!(error, DeviceError::Stalled { .. }));
        assert!(error.worth_retrying());
    }

    #[test]
    fn drops_show_as_a_gap_in_the_sequence() {
        let faults = Faults::default();
        let mut camera = camera(100, &faults);
        camera.start().unwrap();
        let first = camera.dequeue(LONG, Vec::new()).unwrap();
        faults.drop_frames(7);
        let second = camera.dequeue(LONG, Vec::new()).unwrap();
        assert!(second.sequence >= first.sequence + 8);
    }

    #[test]
    fn a_stall_ends_in_a_timeout_and_then_the_stream_goes_on() {
        let faults = Faults::default();
        let mut camera = camera(100, &faults);
        camera.start().unwrap();
        faults.set_stalled(true);
        let error = camera
            .dequeue(Duration::from_millis(30), Vec::new())
            .unwrap_err();
        assert!(matches!(error, DeviceError::Stalled { .. }));
        faults.set_stalled(false);
        camera.dequeue(LONG, Vec::new()).unwrap();
    }

    #[test]
    fn an_unplugged_camera_is_gone_until_it_is_plugged_in_and_opened_again() {
        let faults = Faults::default();
        let mut one = camera(100, &faults);
        one.start().unwrap();
        faults.set_gone(true);
        let error = one.dequeue(LONG, Vec::new()).unwrap_err();
        assert!(matches!(error, DeviceError::Gone { .. }), "{error}");
        assert!(error.worth_retrying());
        assert!(one.start().is_err());
        faults.set_gone(false);
        let mut again = camera(100, &faults);
        again.start().unwrap();
        again.dequeue(LONG, Vec::new()).unwrap();
    }

    #[test]
    fn the_counter_goes_on_over_a_stop() {
        let mut camera = camera(100, &Faults::default());
        camera.start().unwrap();
        let before = camera.dequeue(LONG, Vec::new()).unwrap();
        camera.stop();
        assert!(camera.dequeue(Duration::ZERO, Vec::new()).is_err());
        camera.start().unwrap();
        let after = camera.dequeue(LONG, Vec::new()).unwrap();
        assert!(after.sequence > before.sequence);
    }
}
