//! FLOOR 1: the one way by which shells tell the room facts.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::journal_budget::LineBudget;
use crate::room::Event;

/// How many facts may wait for the driver. Filling it means the driver hangs; that is a defect and is logged.
pub const CAPACITY: usize = 8192;

/// Places that facts from outside leave free, so that a flood from the network cannot push out a press, a
/// confirmation or a signal.
const RESERVED: usize = CAPACITY / 2;

/// How often a sender that is held back looks for room.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

static NOT_TAKEN: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Error,
    "events that the driver did not take",
);

/// The shells' end of the queue to the driver. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct EventSender(mpsc::Sender<Event>);

impl EventSender {
    /// A sender and the driver's end.
    pub fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(sender), receiver)
    }

    /// Waits while the queue is half full. To be called before each fact whose number the network decides, which
    /// slows down whoever sends. Cancel safe.
    pub async fn wait_for_room(&self) {
        // Looks again and again: waiting for many places in tokio's queue would hold those already free.
        while self.0.capacity() <= RESERVED && !self.0.is_closed() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Reports a fact; never blocks.
    pub fn report(&self, event: Event) {
        match self.0.try_send(event) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(event)) => {
                if NOT_TAKEN.admits("the queue") {
                    log::error!("the driver does not take its events; dropped {event:?}");
                }
            }
            // The driver is gone: the process is ending.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::SessionId;

    #[tokio::test]
    async fn a_flood_from_the_network_leaves_places_for_what_happens_in_the_room() {
        let (events, mut driver) = EventSender::channel();
        let flood = events.clone();
        let flooding = tokio::spawn(async move {
            for number in 0..CAPACITY as u64 {
                flood.wait_for_room().await;
                flood.report(Event::ActivitySeen {
                    session: SessionId(number),
                });
            }
        });
        while driver.len() < CAPACITY - RESERVED {
            tokio::task::yield_now().await;
        }
        assert_eq!(driver.len(), CAPACITY - RESERVED);
        events.report(Event::StopRequested);
        assert_eq!(driver.len(), CAPACITY - RESERVED + 1);
        let mut stopped = false;
        for _ in 0..=CAPACITY {
            stopped |= driver.recv().await == Some(Event::StopRequested);
        }
        assert!(stopped);
        flooding.await.unwrap();
    }
}
