//! What waits for a receiver, and whose it is. A receiver that reads slowly costs the hub memory, so what waits has a limit.
//! Each sender has a share of it: who writes much loses what he writes, and the receiver and the other senders lose nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};

use socketioxide::socket::Sid;

use super::lock;

/// Bytes that may wait for one receiver: some four hundred session descriptions.
const ALL: usize = 4 * 1024 * 1024;
/// Bytes of one sender among them. The offers and candidates of one member for another are about 30 kB.
const SHARE: usize = 256 * 1024;
/// Events of one sender that may wait for one receiver.
const SHARE_EVENTS: usize = 256;
/// Events of all senders that may wait for one receiver.
const ALL_EVENTS: usize = 28 * SHARE_EVENTS;
/// Events that the library may hold for one receiver: always some more than [`ALL_EVENTS`], for the hub's own.
pub(super) const QUEUE: usize = 32 * SHARE_EVENTS;
/// Bytes that the hub adds beyond [`ALL`] to say who came and left.
const OWN: usize = 256 * 1024;

/// Whether an event may be added to what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It was added.
    Taken,
    /// Its sender's share is used up.
    SenderIsBeyond,
    /// Others have filled all of it, which is no fault of this sender.
    OthersFill,
    /// The receiver cannot even hear who came and left.
    Full,
}

#[derive(Debug)]
struct Event {
    by: Option<Sid>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    events: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    events: VecDeque<Event>,
    shares: HashMap<Sid, Share>,
}

/// What was given to a Socket.IO session and is not sent yet: about that much memory.
#[derive(Debug, Default)]
pub(super) struct Backlog(Mutex<Waiting>);

impl Backlog {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.0)
    }

    /// Adds an event of this sender, or of the hub itself, if there is room for it.
    pub(super) fn add(&self, by: Option<Sid>, bytes: usize) -> Room {
        let mut waiting = self.waiting();
        let all = waiting.bytes + bytes;
        let is_full = all > ALL || waiting.events.len() >= ALL_EVENTS;
        match by {
            None if all > ALL + OWN => return Room::Full,
            None => {}
            Some(sender) => {
                let share = waiting.shares.entry(sender).or_default();
                let beyond = share.bytes + bytes > SHARE || share.events >= SHARE_EVENTS;
                if beyond || is_full {
                    if share.events == 0 {
                        waiting.shares.remove(&sender);
                    }
                    return match beyond {
                        true => Room::SenderIsBeyond,
                        false => Room::OthersFill,
                    };
                }
                share.bytes += bytes;
                share.events += 1;
            }
        }
        waiting.bytes = all;
        waiting.events.push_back(Event { by, bytes });
        Room::Taken
    }

    /// What is sent includes frames and heartbeats that nobody counted before, so this never goes below nothing.
    pub(super) fn sent(&self, bytes: usize) {
        let mut waiting = self.waiting();
        let mut left = bytes.min(waiting.bytes);
        waiting.bytes -= left;
        while let Some(event) = waiting.events.front_mut() {
            let part = left.min(event.bytes);
            event.bytes -= part;
            left -= part;
            let (by, over) = (event.by, event.bytes == 0);
            if over {
                waiting.events.pop_front();
            }
            if let Some(sender) = by
                && let Some(share) = waiting.shares.get_mut(&sender)
            {
                share.bytes -= part;
                share.events -= usize::from(over);
                if share.events == 0 {
                    waiting.shares.remove(&sender);
                }
            }
            if !over {
                break;
            }
        }
    }

    /// The event that was added last was not given to the session after all.
    pub(super) fn take_back(&self) {
        let mut waiting = self.waiting();
        let Some(Event { by, bytes }) = waiting.events.pop_back() else {
            return;
        };
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        if let Some(sender) = by
            && let Some(share) = waiting.shares.get_mut(&sender)
        {
            share.bytes = share.bytes.saturating_sub(bytes);
            share.events = share.events.saturating_sub(1);
            if share.events == 0 {
                waiting.shares.remove(&sender);
            }
        }
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.waiting().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_that_fills_its_share_takes_nothing_from_another() {
        let backlog = Backlog::default();
        let [much, little] = [Sid::new(), Sid::new()];
        let taken = (0..100).filter(|_| backlog.add(Some(much), 60_000) == Room::Taken);
        assert_eq!(taken.count(), SHARE / 60_000);
        assert_eq!(backlog.add(Some(little), 60_000), Room::Taken);
        assert_eq!(backlog.add(None, 100), Room::Taken);
        // Its share comes back as the receiver reads, in the order in which it was written.
        assert_eq!(backlog.add(Some(much), 60_000), Room::SenderIsBeyond);
        backlog.sent(60_000);
        assert_eq!(backlog.add(Some(much), 60_000), Room::Taken);
    }

    #[test]
    fn thousands_of_small_events_of_one_sender_do_not_wait() {
        let backlog = Backlog::default();
        let sender = Sid::new();
        let taken = (0..5_000).filter(|_| backlog.add(Some(sender), 1) == Room::Taken);
        assert_eq!(taken.count(), SHARE_EVENTS);
    }

    #[test]
    fn small_events_of_many_senders_leave_places_for_the_hubs_own() {
        let backlog = Backlog::default();
        for _ in 0..60 {
            let sender = Sid::new();
            while backlog.add(Some(sender), 1) == Room::Taken {}
        }
        let held = backlog.waiting().events.len();
        assert_eq!(held, ALL_EVENTS);
        assert!(QUEUE - held >= 1_000);
        assert_eq!(backlog.add(None, 200), Room::Taken);
        backlog.take_back();
        assert_eq!(backlog.waiting().events.len(), held);
        assert_eq!(backlog.bytes(), held);
    }

    #[test]
    fn senders_by_the_hundred_have_a_common_limit_and_the_hub_is_heard_beyond_it() {
        let backlog = Backlog::default();
        for _ in 0..100 {
            let sender = Sid::new();
            while backlog.add(Some(sender), 60_000) == Room::Taken {}
        }
        assert!(backlog.bytes() <= ALL);
        let innocent = backlog.add(Some(Sid::new()), 60_000);
        assert_eq!(innocent, Room::OthersFill, "nobody blames a newcomer");
        assert_eq!(backlog.add(None, 200), Room::Taken);
        while backlog.add(None, 2_000) == Room::Taken {}
        assert!(backlog.bytes() <= ALL + OWN);
        assert_eq!(backlog.add(None, 2_000), Room::Full);
    }

    #[test]
    fn nothing_is_remembered_of_what_was_sent() {
        let backlog = Backlog::default();
        for number in 0..10 {
            let by = (number % 3 > 0).then(Sid::new);
            assert_eq!(backlog.add(by, 100 + number), Room::Taken);
        }
        backlog.sent(1_000_000);
        let waiting = backlog.waiting();
        assert_eq!(waiting.bytes, 0);
        assert!(waiting.events.is_empty() && waiting.shares.is_empty());
    }
}
