//! What the tests ask the world: who sees whom, what each connection carries.

use huddled::room::{ConnectionState, Generation, PeerId, PeerPhase, Room};

use super::{Program, World};

impl World {
    #[track_caller]
    pub(in super::super) fn room(&self, index: usize) -> &Room {
        match &self.members[index].program {
            Program::Box(room) => room,
            Program::Browser(_) => panic!("{index} is a browser"),
        }
    }

    fn sees(&self, index: usize, peer: &PeerId) -> bool {
        match &self.members[index].program {
            Program::Box(room) => room.snapshot().peers.iter().any(|p| {
                p.user == *peer
                    && p.connection_state == ConnectionState::Connected
                    && p.phase == PeerPhase::Connected
            }),
            Program::Browser(browser) => browser
                .connections
                .get(peer)
                .is_some_and(|end| self.ends[*end].state == ConnectionState::Connected),
        }
    }

    /// Who of these does not see whom; pairs of two browsers are none of our business.
    pub(in super::super) fn missing(&self, among: &[usize]) -> Vec<(usize, usize)> {
        let mut missing = Vec::new();
        for &a in among {
            for &b in among {
                let two_browsers = matches!(self.members[a].program, Program::Browser(_))
                    && matches!(self.members[b].program, Program::Browser(_));
                if a != b && !two_browsers && !self.sees(a, &self.members[b].id) {
                    missing.push((a, b));
                }
            }
        }
        missing
    }

    /// Runs until everybody sees everybody; gives the time it took.
    #[track_caller]
    pub(in super::super) fn run_until_whole(&mut self, among: &[usize], limit_ms: u64) -> u64 {
        let mut passed = 0;
        while !self.missing(among).is_empty() {
            if passed >= limit_ms {
                for line in &self.trace {
                    println!("{line}");
                }
                panic!(
                    "after {limit_ms} ms these do not see each other: {:?}",
                    self.missing(among)
                );
            }
            self.run(50);
            passed += 50;
        }
        passed
    }

    /// Connections of a box that do not carry its screen while it shares one, or still do.
    pub(in super::super) fn miscarried(&self, index: usize) -> usize {
        let Program::Box(room) = &self.members[index].program else {
            return 0;
        };
        let sharing = room.snapshot().sharing;
        let ends = self.ends.iter().filter(|end| {
            end.member == index && !end.closed && end.state == ConnectionState::Connected
        });
        ends.filter(|end| {
            end.local
                .is_some_and(|local| self.screens.contains(&local) != sharing)
        })
        .count()
    }

    /// The open connections of a box.
    pub(in super::super) fn generations(&self, index: usize) -> Vec<Generation> {
        let generations = self.members[index].generations.iter();
        generations
            .filter(|(_, end)| !self.ends[**end].closed)
            .map(|(generation, _)| *generation)
            .collect()
    }

    /// How many ends are open for one member.
    pub(in super::super) fn open_ends(&self, index: usize) -> usize {
        self.ends
            .iter()
            .filter(|end| end.member == index && !end.closed)
            .count()
    }
}
