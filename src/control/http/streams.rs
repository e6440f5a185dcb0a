//! The browsers that follow the page's events.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::journal_budget::network;
use crate::web::{Standby, Visit};

struct Row {
    id: u64,
    network: IpAddr,
    visit: Visit,
}

/// Who follows. A network that holds many places gives one up to a network that holds fewer, so nobody can keep all
/// others from seeing the box.
pub(super) struct Streams {
    limit: usize,
    /// Ids are never used twice: a [`Place`] may outlive its row.
    next: AtomicU64,
    /// The oldest first.
    rows: Mutex<Vec<Row>>,
}

/// A place, given back when this goes.
pub(super) struct Place {
    id: u64,
    streams: Arc<Streams>,
    /// A stream lasts as long as its page is open, so its connection has no limit of time.
    _standby: Standby,
}

impl Streams {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            next: AtomicU64::default(),
            rows: Mutex::default(),
        })
    }

    /// A place for one more, if there is one.
    pub(super) fn enter(self: &Arc<Self>, client: IpAddr, visit: &Visit) -> Option<Place> {
        let network = network(client);
        let mut rows = self.rows();
        if rows.len() >= self.limit {
            let networks: Vec<_> = rows.iter().map(|row| row.network).collect();
            let displaced = rows.remove(gives_way(&networks, network)?);
            displaced.visit.cut();
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        rows.push(Row {
            id,
            network,
            visit: visit.clone(),
        });
        drop(rows);
        Some(Place {
            id,
            streams: Arc::clone(self),
            _standby: visit.waits_for_member(),
        })
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.streams.rows().retain(|row| row.id != self.id);
    }
}

/// Which of these gives its place to a newcomer: the oldest of the network that holds most, if the newcomer's network
/// holds less even with one more.
fn gives_way(networks: &[IpAddr], newcomer: IpAddr) -> Option<usize> {
    let held = |network: IpAddr| networks.iter().filter(|held| **held == network).count();
    let most = networks.iter().map(|network| held(*network)).max()?;
    if held(newcomer) + 1 >= most {
        return None;
    }
    networks.iter().position(|network| held(*network) == most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_holds_most_gives_way_to_one_that_holds_fewer() {
        let [a, b, c] = [1, 2, 3].map(|last| IpAddr::from([192, 0, 2, last]));
        assert_eq!(gives_way(&[b, a, a, a], c), Some(1));
        assert_eq!(gives_way(&[b, a, a, a], b), Some(1));
        // Nobody loses a place to somebody who would hold as many.
        assert_eq!(gives_way(&[b, a, a], b), None);
        assert_eq!(gives_way(&[a, a, a], a), None);
        assert_eq!(gives_way(&[a, b], c), None);
        assert_eq!(gives_way(&[], c), None);
    }
}
