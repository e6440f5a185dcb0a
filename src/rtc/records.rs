//! Which DTLS records of a peer reach the library, and how much of them it may be made to keep (RFC 6347).
//!
//! The library keeps records that it cannot read yet, fragments, and whole handshake messages, without a limit or with one of
//! megabytes. Counters for each connection stand before it.

use std::time::{Duration, Instant};

/// Bytes and fragments of handshake messages over the life of a connection. An honest handshake takes about 5 KB and ten
/// fragments, and repeats itself about ten times at most.
const HANDSHAKE_BYTES: usize = 128 * 1024;
const FRAGMENTS: usize = 256;
/// Records that may have to wait for the keys, until the connection is up.
const WAITING_BYTES: usize = 64 * 1024;
const WAITING_RECORDS: usize = 32;
/// Bytes of one handshake message: a chain of certificates fits in.
const MESSAGE_BYTES: usize = 32 * 1024;
/// What a handshake may take from its first datagram on.
pub(super) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(30);

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const RECORD_HEADER: usize = 13;
const FRAGMENT_HEADER: usize = 12;
/// The major version of DTLS 1.0 and 1.2 on the wire.
const VERSION: u8 = 254;

/// What a datagram adds to the counters.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    handshake_bytes: usize,
    fragments: usize,
    waiting_bytes: usize,
    waiting_records: usize,
}

/// The DTLS association of one connection, as its sockets see it.
#[derive(Debug, Default)]
pub(super) struct Records {
    taken: Load,
    /// A record under keys has left, so keys exist.
    has_keys: bool,
    /// The session has seen the connection come up.
    is_up: bool,
    began: Option<Instant>,
}

impl Records {
    /// Whether the library gets this datagram, which came from a known address. Counts it if so.
    pub(super) fn admit(&mut self, datagram: &[u8], now: Instant) -> bool {
        let Some(load) = weigh(datagram) else {
            return false;
        };
        let mut taken = self.taken;
        taken.handshake_bytes += load.handshake_bytes;
        taken.fragments += load.fragments;
        if !self.is_up {
            taken.waiting_bytes += load.waiting_bytes;
            taken.waiting_records += load.waiting_records;
        }
        let is_over = |taken: usize, before: usize, limit: usize| taken > before && taken > limit;
        let before = self.taken;
        if is_over(
            taken.handshake_bytes,
            before.handshake_bytes,
            HANDSHAKE_BYTES,
        ) || is_over(taken.fragments, before.fragments, FRAGMENTS)
            || is_over(taken.waiting_bytes, before.waiting_bytes, WAITING_BYTES)
            || is_over(
                taken.waiting_records,
                before.waiting_records,
                WAITING_RECORDS,
            )
        {
            return false;
        }
        self.taken = taken;
        self.began.get_or_insert(now);
        true
    }

    /// A DTLS datagram of ours leaves.
    pub(super) fn leaves(&mut self, datagram: &[u8]) {
        self.has_keys |=
            records(datagram).any(|record| record.is_some_and(|record| record.epoch > 0));
    }

    /// Whether RTP and RTCP can be decrypted. Our first record under keys leaves before a peer may send media, in both roles.
    pub(super) fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// The connection is up: nothing waits for keys any more.
    pub(super) fn is_up(&mut self) {
        self.is_up = true;
    }

    /// Whether a handshake that began has not ended within [`HANDSHAKE_LIMIT`].
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let too_long = |began| now.saturating_duration_since(began) > HANDSHAKE_LIMIT;
        !self.is_up && self.began.is_some_and(too_long)
    }
}

struct Record<'a> {
    kind: u8,
    epoch: u16,
    body: &'a [u8],
}

/// The records of a datagram (RFC 6347 section 4.1); `None` in the place of what is no record.
fn records(mut datagram: &[u8]) -> impl Iterator<Item = Option<Record<'_>>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut datagram);
        Some(
            rest.split_first_chunk::<RECORD_HEADER>()
                .and_then(|(header, rest)| {
                    let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
                    let (body, rest) = rest.split_at_checked(length)?;
                    datagram = rest;
                    (header[1] == VERSION && !body.is_empty()).then_some(Record {
                        kind: header[0],
                        epoch: u16::from_be_bytes([header[3], header[4]]),
                        body,
                    })
                }),
        )
    })
}

/// What a datagram costs. `None` if a record in it is malformed or changes something without being encrypted: an honest peer
/// sends nothing but its handshake in the clear, and alerts only where it gives up.
fn weigh(datagram: &[u8]) -> Option<Load> {
    let mut load = Load::default();
    for record in records(datagram) {
        let Record { kind, epoch, body } = record?;
        match (epoch, kind) {
            (0, HANDSHAKE) => {
                load.fragments += fragments(body)?;
                load.handshake_bytes += body.len();
            }
            (0, CHANGE_CIPHER_SPEC) if body == [1] => {
                load.waiting_records += 1;
                load.waiting_bytes += RECORD_HEADER + body.len();
            }
            (1, CHANGE_CIPHER_SPEC | ALERT | HANDSHAKE | APPLICATION_DATA) => {
                load.waiting_records += 1;
                load.waiting_bytes += RECORD_HEADER + body.len();
                if kind == HANDSHAKE {
                    load.fragments += 1;
                    load.handshake_bytes += body.len();
                }
            }
            _ => return None,
        }
    }
    Some(load)
}

/// The number of fragments in a record of the handshake (RFC 6347 section 4.2.2); `None` if one lies about its length.
fn fragments(mut body: &[u8]) -> Option<usize> {
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let mut count = 0;
    while !body.is_empty() {
        let (header, rest) = body.split_first_chunk::<FRAGMENT_HEADER>()?;
        let (length, offset) = (number(&header[1..4]), number(&header[6..9]));
        let (_, rest) = rest.split_at_checked(number(&header[9..12]))?;
        let end = offset + number(&header[9..12]);
        // An empty fragment of a message that is not empty would be kept and could never complete it.
        if length > MESSAGE_BYTES || end > length || (end == offset && length > 0) {
            return None;
        }
        count += 1;
        body = rest;
    }
    Some(count)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One record.
    pub(in crate::rtc) fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 254, 253];
        record.extend(epoch.to_be_bytes());
        record.extend([0; 6]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    fn fragment(length: u32, offset: u32, part: &[u8]) -> Vec<u8> {
        let mut fragment = vec![1];
        fragment.extend(&length.to_be_bytes()[1..]);
        fragment.extend([0, 0]);
        fragment.extend(&offset.to_be_bytes()[1..]);
        fragment.extend(&(part.len() as u32).to_be_bytes()[1..]);
        fragment.extend(part);
        fragment
    }

    /// A ClientHello in form.
    pub(in crate::rtc) fn hello() -> Vec<u8> {
        record(HANDSHAKE, 0, &fragment(200, 0, &[7; 200]))
    }

    fn admitted(records: &mut Records, datagram: &[u8], times: usize) -> usize {
        let now = Instant::now();
        (0..times).filter(|_| records.admit(datagram, now)).count()
    }

    #[test]
    fn a_handshake_that_repeats_itself_passes() {
        let mut records = Records::default();
        let mut last = record(HANDSHAKE, 0, &fragment(900, 0, &[7; 900]));
        last.extend(record(CHANGE_CIPHER_SPEC, 0, &[1]));
        last.extend(record(HANDSHAKE, 1, &[9; 48]));
        for _ in 0..12 {
            assert!(records.admit(&hello(), Instant::now()));
            assert!(records.admit(&last, Instant::now()));
        }
    }

    #[test]
    fn nothing_in_the_clear_but_the_handshake_passes() {
        let mut records = Records::default();
        for datagram in [
            record(ALERT, 0, &[2, 40]),
            record(ALERT, 0, &[1, 0]),
            record(APPLICATION_DATA, 0, &[0; 20]),
            record(CHANGE_CIPHER_SPEC, 0, &[1, 1]),
            record(CHANGE_CIPHER_SPEC, 0, &[2]),
            record(HANDSHAKE, 2, &[0; 20]),
            record(24, 1, &[0; 20]),
            record(HANDSHAKE, 0, &[]),
            [hello(), record(ALERT, 0, &[2, 40])].concat(),
            [hello(), vec![22, 254]].concat(),
            hello()[..30].to_vec(),
        ] {
            for up in [false, true] {
                records.is_up = up;
                assert!(!records.admit(&datagram, Instant::now()), "{datagram:?}");
            }
        }
        assert_eq!(records.taken.handshake_bytes, 0);
        // A close_notify is encrypted.
        assert!(records.admit(&record(ALERT, 1, &[0; 26]), Instant::now()));
    }

    #[test]
    fn records_that_cannot_be_read_yet_have_a_limit_until_the_connection_is_up() {
        let mut records = Records::default();
        let small = record(APPLICATION_DATA, 1, &[0; 10]);
        assert_eq!(admitted(&mut records, &small, 100), WAITING_RECORDS);
        assert!(
            records.admit(&hello(), Instant::now()),
            "the handshake goes on"
        );
        records.is_up();
        assert_eq!(admitted(&mut records, &small, 100), 100);
        let mut records = Records::default();
        let large = record(APPLICATION_DATA, 1, &[0; 8000]);
        assert_eq!(admitted(&mut records, &large, 100), WAITING_BYTES / 8013);
    }

    #[test]
    fn a_handshake_without_end_has_a_limit_of_bytes_and_of_fragments_before_and_after_it_ends() {
        for up in [false, true] {
            let mut records = Records {
                is_up: up,
                ..Records::default()
            };
            let large = record(HANDSHAKE, 0, &fragment(1000, 0, &[0; 1000]));
            let count = admitted(&mut records, &large, 1000);
            assert!(count * 1012 <= HANDSHAKE_BYTES, "{count}");
            let mut records = Records {
                is_up: up,
                ..Records::default()
            };
            let many = record(
                HANDSHAKE,
                0,
                &[fragment(30_000, 5, &[0]), fragment(30_000, 6, &[0])].concat(),
            );
            assert_eq!(admitted(&mut records, &many, 1000), FRAGMENTS / 2);
        }
    }

    #[test]
    fn fragments_that_lie_are_dropped() {
        let mut records = Records::default();
        for lie in [
            fragment(5, 0, &[0; 6]),
            fragment(5, 3, &[0; 3]),
            fragment(100, 0, &[]),
            fragment(0, 9, &[]),
            fragment(16_000_000, 0, &[0; 10]),
        ] {
            assert!(
                !records.admit(&record(HANDSHAKE, 0, &lie), Instant::now()),
                "{lie:?}"
            );
        }
        // A ServerHelloDone is empty.
        assert!(records.admit(&record(HANDSHAKE, 0, &fragment(0, 0, &[])), Instant::now()));
    }

    #[test]
    fn keys_exist_once_a_record_under_them_has_left() {
        let mut records = Records::default();
        records.leaves(&hello());
        assert!(!records.has_keys());
        records.leaves(
            &[
                record(CHANGE_CIPHER_SPEC, 0, &[1]),
                record(HANDSHAKE, 1, &[0; 40]),
            ]
            .concat(),
        );
        assert!(records.has_keys());
    }

    #[test]
    fn a_handshake_has_thirty_seconds_from_its_first_datagram() {
        let (mut records, start) = (Records::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!records.is_overdue(at(100)));
        records.admit(&hello(), at(100));
        records.admit(&hello(), at(120));
        assert!(!records.is_overdue(at(129)));
        assert!(records.is_overdue(at(131)));
        records.is_up();
        assert!(!records.is_overdue(at(131)));
    }
}
