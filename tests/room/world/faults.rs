//! What arrives, and what can happen to it: cables, one-way losses, restarts that succeed in name only.

use huddled::room::*;

use super::{Delivery, Program, World, millis};

/// After a pause of this length packets are told at once.
const PAUSE: u64 = 400;

impl World {
    /// Media reaches this end.
    fn receives(&self, end: usize) -> bool {
        let near = &self.ends[end];
        let far = near.remote_end.and_then(|far| self.ends.get(far));
        self.is_linked(end)
            && near.state == ConnectionState::Connected
            && !near.hollow
            && far.is_some_and(|far| {
                !far.hollow
                    && far.state == ConnectionState::Connected
                    && !self.deaf.contains(&(far.member, near.member))
            })
    }

    fn tell(&mut self, end: usize) {
        self.ends[end].told = self.now;
        let event = PeerEvent::PacketsArrived {
            audio: Some(self.now),
            video: Some(self.now),
        };
        self.report(end, 0, event);
    }

    /// Once a second, of everything that flows to a box.
    pub(super) fn tell_of_packets(&mut self, index: usize) {
        let ends: Vec<usize> = self.members[index].generations.values().copied().collect();
        for end in ends {
            if self.receives(end) {
                self.tell(end);
            }
        }
        self.later(millis(1_000), Delivery::Flow(index));
    }

    /// Both ends, because one of them connects first.
    pub(super) fn tell_if_resumed(&mut self, end: usize) {
        for end in [Some(end), self.ends[end].remote_end].into_iter().flatten() {
            let paused = self.now.since(self.ends[end].told) >= millis(PAUSE);
            let is_box = matches!(self.members[self.ends[end].member].program, Program::Box(_));
            if is_box && paused && self.receives(end) {
                self.tell(end);
            }
        }
    }

    fn look_at_all(&mut self) {
        for end in 0..self.ends.len() {
            if !self.ends[end].closed {
                for after in [100, 2_300, 17_400] {
                    self.later(millis(after), Delivery::Look(end));
                }
            }
        }
    }

    pub(in super::super) fn has_link(&self, index: usize) -> bool {
        self.members[index].link
    }

    /// Pulls a member's cable, or puts it back.
    pub(in super::super) fn set_link(&mut self, index: usize, up: bool) {
        if self.members[index].link == up {
            return;
        }
        self.note(|| format!("{index} link up={up}"));
        self.members[index].link = up;
        self.look_at_all();
        if up {
            // TCP brings what it kept, in order.
            for delivery in std::mem::take(&mut self.members[index].stuck) {
                self.deliver(delivery);
            }
        }
        self.later(millis(60), Delivery::Fact(index, Event::LinkChanged { up }));
    }

    /// Loses media from one member to another, or no longer.
    pub(in super::super) fn set_deaf(&mut self, from: usize, to: usize, deaf: bool) {
        if deaf {
            self.deaf.insert((from, to));
        } else {
            self.deaf.remove(&(from, to));
        }
        self.look_at_all();
    }
}
