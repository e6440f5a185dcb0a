//! FLOOR 1: the one way by which shells tell the room facts.

use tokio::sync::mpsc;

use crate::room::Event;

/// How many facts may wait for the driver. Filling it means the driver hangs; that is a defect and is logged.
pub const CAPACITY: usize = 8192;

/// The shells' end of the queue to the driver. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct EventSender(mpsc::Sender<Event>);

impl EventSender {
    /// A sender and the driver's end.
    pub fn channel() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (Self(sender), receiver)
    }

    /// Reports a fact; never blocks.
    pub fn report(&self, event: Event) {
        match self.0.try_send(event) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(event)) => {
                log::error!("the driver does not take its events; dropped {event:?}");
            }
            // The driver is gone: the process is ending.
            Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }
}
