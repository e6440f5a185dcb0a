//! The newest early flight: DTLS datagrams that come before the library takes them.
//!
//! A peer's DTLS client starts with its first answered check. The library drops all but STUN until it has selected a pair, and a
//! dropped flight comes again only after 50, 100, 200, 400 ms. Selection happens on a STUN message, so the flight is handed over
//! again after each one, until the first DTLS datagram of ours has left.

use std::net::SocketAddr;

/// A ClientHello with a post-quantum key share takes two datagrams.
const FLIGHT: usize = 2;
/// A longer datagram is no early flight.
const LONGEST: usize = 2048;

#[derive(Debug)]
struct Kept {
    datagram: Vec<u8>,
    from: SocketAddr,
    /// A datagram by a relay belongs to the socket of its allocation.
    socket: Option<u64>,
}

/// What is kept for all sockets of one connection.
#[derive(Debug, Default)]
pub(super) struct Early {
    kept: Vec<Kept>,
    is_over: bool,
}

impl Early {
    /// Keeps a datagram that came over the wire from `from`, in the place of the oldest one.
    pub(super) fn keep(&mut self, datagram: &[u8], from: SocketAddr, socket: Option<u64>) {
        if self.is_over || datagram.len() > LONGEST {
            return;
        }
        if self.kept.len() == FLIGHT {
            self.kept.remove(0);
        }
        self.kept.push(Kept {
            datagram: datagram.to_vec(),
            from,
            socket,
        });
    }

    /// A DTLS datagram of ours leaves: the library takes what comes from now on.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        self.kept = Vec::new();
    }

    /// Nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Copies the datagram with this number (0 is the oldest) for `socket` into `buffer`; returns its length and sender.
    pub(super) fn hand_over(
        &self,
        number: usize,
        socket: u64,
        buffer: &mut [u8],
    ) -> Option<(usize, SocketAddr)> {
        let fits = |kept: &&Kept| kept.socket.is_none_or(|own| own == socket);
        let kept = self.kept.iter().filter(fits).nth(number)?;
        let place = buffer.get_mut(..kept.datagram.len())?;
        place.copy_from_slice(&kept.datagram);
        Some((kept.datagram.len(), kept.from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_two_are_kept_for_every_socket_until_ours_leaves() {
        let from = SocketAddr::from(([192, 0, 2, 1], 5000));
        let mut early = Early::default();
        for number in 0..4 {
            early.keep(&[22, number], from, None);
        }
        early.keep(&[22; LONGEST + 1], from, None);
        let mut buffer = [0; 100];
        for socket in [1, 2] {
            assert_eq!(early.hand_over(0, socket, &mut buffer), Some((2, from)));
            assert_eq!(buffer[..2], [22, 2]);
            early.hand_over(1, socket, &mut buffer).unwrap();
            assert_eq!(buffer[..2], [22, 3]);
            assert_eq!(early.hand_over(2, socket, &mut buffer), None);
        }
        early.keep(&[64, 0], from, Some(1));
        assert_eq!(early.hand_over(1, 2, &mut buffer), None);
        assert_eq!(early.hand_over(1, 1, &mut buffer), Some((2, from)));
        early.end();
        early.keep(&[22, 9], from, None);
        assert!(early.is_empty());
    }
}
