//! RTP packets of one H.264 stream back in order; `assembler` puts them together to access units.
//!
//! A hole is waited for, because NACK brings most packets back; then it is given up, and what it
//! damaged is thrown away whole: the decoder never sees a unit with a piece missing.

mod assembler;

use std::collections::BTreeMap;
use std::time::Duration;

use super::AccessUnit;
use crate::room::Timestamp;
use assembler::Assembler;

/// How long a hole is waited for: a NACK, a round trip and a retransmission or two.
const PATIENCE: Duration = Duration::from_millis(200);
/// Packets waiting behind a hole at most; more give the hole up.
const CAPACITY: usize = 512;
/// Bytes waiting behind a hole at most.
const CAPACITY_BYTES: usize = 2 << 20;
/// A packet older than this is believed only when its successor confirms a restart (RFC 3550 A.1).
const MAX_MISORDER: i64 = 1000;

/// What became of the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Arrived, without duplicates.
    pub(crate) received: u64,
    /// Given up.
    pub(crate) lost: u64,
    /// Came after they were given up, or twice.
    pub(crate) late: u64,
    /// Access units thrown away because a piece was missing or malformed.
    pub(crate) damaged_units: u64,
}

#[derive(Debug)]
struct Waiting {
    media_time: u32,
    marker: bool,
    payload: Vec<u8>,
}

/// Reorders and depacketises one stream.
#[derive(Debug, Default)]
pub(crate) struct Reorder {
    waiting: BTreeMap<i64, Waiting>,
    waiting_bytes: usize,
    /// Next sequence number to use, extended to 64 bits; `None` before the first packet.
    next: Option<i64>,
    hole_since: Option<Timestamp>,
    suspect: Option<u16>,
    assembler: Assembler,
    counters: Counters,
}

impl Reorder {
    /// Takes one packet. Whole units go to `units`, in order.
    pub(crate) fn push(
        &mut self,
        sequence: u16,
        media_time: u32,
        marker: bool,
        payload: &[u8],
        units: &mut Vec<AccessUnit>,
        now: Timestamp,
    ) {
        let mut next = *self.next.get_or_insert(i64::from(sequence));
        let step = i64::from(sequence.wrapping_sub(next as u16) as i16);
        let mut extended = next + step;
        if step < -MAX_MISORDER {
            if self.suspect != Some(sequence) {
                self.suspect = Some(sequence.wrapping_add(1));
                return;
            }
            // Another stream took this one's place.
            self.waiting.clear();
            self.waiting_bytes = 0;
            self.hole_since = None;
            self.assembler.on_gap();
            next = i64::from(sequence);
            extended = next;
            self.next = Some(next);
        }
        self.suspect = None;
        if extended < next || self.waiting.contains_key(&extended) {
            self.counters.late += 1;
            return;
        }
        self.counters.received += 1;
        if extended == next {
            self.assembler
                .on_packet(media_time, marker, payload, units, now);
            self.next = Some(next + 1);
            self.hole_since = None;
        } else {
            self.waiting_bytes += payload.len();
            self.waiting.insert(
                extended,
                Waiting {
                    media_time,
                    marker,
                    payload: payload.to_vec(),
                },
            );
        }
        self.expire(units, now);
    }

    /// Uses what is in order, and gives holes up whose time is over.
    pub(crate) fn expire(&mut self, units: &mut Vec<AccessUnit>, now: Timestamp) {
        let Some(mut next) = self.next else {
            return;
        };
        while let Some((&first, _)) = self.waiting.first_key_value() {
            if first > next {
                let since = *self.hole_since.get_or_insert(now);
                let full = self.waiting.len() > CAPACITY || self.waiting_bytes > CAPACITY_BYTES;
                if now.since(since) < PATIENCE && !full {
                    break;
                }
                self.counters.lost += (first - next) as u64;
                self.assembler.on_gap();
            }
            self.hole_since = None;
            if let Some(packet) = self.waiting.remove(&first) {
                self.waiting_bytes -= packet.payload.len();
                self.assembler.on_packet(
                    packet.media_time,
                    packet.marker,
                    &packet.payload,
                    units,
                    now,
                );
            }
            next = first + 1;
        }
        self.next = Some(next);
    }

    /// What became of the packets.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            damaged_units: self.assembler.damaged_units,
            ..self.counters
        }
    }
}

#[cfg(test)]
mod tests {
    use super::assembler::{MAX_UNIT, START_CODE};
    use super::*;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Stream {
        reorder: Reorder,
        units: Vec<AccessUnit>,
    }

    impl Stream {
        /// `frame` stands for the media time, too.
        fn push(&mut self, sequence: u16, frame: u32, marker: bool, payload: &[u8], at_ms: u64) {
            let now = Timestamp::from_millis(at_ms);
            self.reorder
                .push(sequence, frame, marker, payload, &mut self.units, now);
        }

        fn frames(&self) -> Vec<u32> {
            self.units.iter().map(|unit| unit.media_time).collect()
        }
    }

    const SLICE: &[u8] = &[0x41, 0x9a, 1, 2, 3];

    #[test]
    fn single_units_aggregates_and_fragments_become_annex_b() {
        let mut stream = Stream::default();
        let stap = [0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3];
        stream.push(9, 7, false, &stap, 0);
        stream.push(10, 7, false, &[0x7c, 0x85, 10, 11], 1);
        stream.push(11, 7, false, &[0x7c, 0x05, 12], 2);
        stream.push(12, 7, true, &[0x7c, 0x45, 13], 3);
        stream.push(13, 8, true, SLICE, 4);
        let [key, delta] = &stream.units[..] else {
            panic!("{:?}", stream.units);
        };
        let sets = [0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3];
        let idr = [0, 0, 0, 1, 0x65, 10, 11, 12, 13];
        assert_eq!(key.data, [&sets[..], &idr].concat());
        assert!(key.keyframe && !key.after_loss);
        assert_eq!(key.media_time, 7);
        assert_eq!(key.arrived_at, Timestamp::from_millis(3));
        assert_eq!(delta.data, [&[0, 0, 0, 1], SLICE].concat());
        assert!(!delta.keyframe && !delta.after_loss);
    }

    #[test]
    fn reordered_and_doubled_packets_come_out_in_order_across_the_wrap() {
        let mut stream = Stream::default();
        for step in [0_u16, 2, 1, 1, 4, 3, 2, 5] {
            let sequence = 65_533_u16.wrapping_add(step);
            stream.push(sequence, u32::from(step), true, SLICE, u64::from(step) * 10);
        }
        assert_eq!(stream.frames(), [0, 1, 2, 3, 4, 5]);
        assert!(stream.units.iter().all(|unit| !unit.after_loss));
        let counters = stream.reorder.counters();
        assert_eq!((counters.received, counters.lost, counters.late), (6, 0, 2));
    }

    #[test]
    fn a_retransmission_within_200_ms_fills_its_hole() {
        let mut stream = Stream::default();
        for frame in [0_u16, 2, 3, 4, 5] {
            stream.push(frame, frame.into(), true, SLICE, u64::from(frame) * 33);
        }
        assert_eq!(stream.frames(), [0], "waiting for number 1");
        stream.push(1, 1, true, SLICE, 66 + 199);
        assert_eq!(stream.frames(), [0, 1, 2, 3, 4, 5]);
        assert!(stream.units.iter().all(|unit| !unit.after_loss));
    }

    #[test]
    fn a_hole_that_stays_is_given_up_and_the_next_unit_tells() {
        let mut stream = Stream::default();
        stream.push(0, 0, true, SLICE, 0);
        // Frame 1 is packets 1 and 2, of which 1 is lost.
        stream.push(2, 1, true, SLICE, 33);
        stream.push(3, 2, true, SLICE, 66);
        stream.push(4, 3, true, SLICE, 99);
        let mut units = Vec::new();
        stream
            .reorder
            .expire(&mut units, Timestamp::from_millis(232));
        assert!(units.is_empty());
        stream
            .reorder
            .expire(&mut units, Timestamp::from_millis(233));
        let seen: Vec<_> = units.iter().map(|u| (u.media_time, u.after_loss)).collect();
        assert_eq!(seen, [(2, true), (3, false)]);
        assert_eq!(stream.reorder.counters().lost, 1);
        assert_eq!(stream.reorder.counters().damaged_units, 1);
    }

    #[test]
    fn a_keyframe_right_after_a_hole_is_whole() {
        let mut stream = Stream::default();
        stream.push(0, 0, true, SLICE, 0);
        stream.push(2, 2, false, &[0x78, 0, 1, 0x67, 0, 1, 0x68], 33);
        stream.push(3, 2, true, &[0x65, 1], 400);
        assert_eq!(stream.frames(), [0, 2]);
        assert!(stream.units[1].keyframe && stream.units[1].after_loss);
    }

    #[test]
    fn a_missing_marker_ends_the_unit_at_the_next_media_time() {
        let mut stream = Stream::default();
        stream.push(0, 0, false, SLICE, 0);
        stream.push(1, 1, true, SLICE, 33);
        assert_eq!(stream.frames(), [0, 1]);
    }

    #[test]
    fn malformed_packets_cost_their_unit_only() {
        let malformed: [&[u8]; 7] = [
            &[0x78, 0],
            &[0x78, 0, 9, 1],
            &[0x7c],
            &[0x7c, 0x05, 1],
            &[0x7c, 0x9c, 1],
            &[0xe5, 1],
            &[0x79, 0, 0],
        ];
        for payload in malformed {
            let mut stream = Stream::default();
            stream.push(0, 0, true, payload, 0);
            stream.push(1, 1, true, SLICE, 33);
            assert_eq!(stream.frames(), [1], "{payload:x?}");
            assert!(stream.units[0].after_loss);
            assert_eq!(stream.reorder.counters().damaged_units, 1);
        }
    }

    #[test]
    fn padding_and_reserved_types_are_passed_over() {
        let mut stream = Stream::default();
        stream.push(0, 0, false, SLICE, 0);
        stream.push(1, 0, false, &[], 0);
        stream.push(2, 0, true, &[31, 1, 2], 0);
        assert_eq!(stream.frames(), [0]);
        assert_eq!(stream.units[0].data.len(), 4 + SLICE.len());
    }

    #[test]
    fn nothing_but_the_base_layer_gets_into_a_unit() {
        for kind in [14, 15, 20, 21] {
            let nal = 0x60 | kind;
            let stap = [&[0x78, 0, 3, nal, 7, 7, 0, 5], SLICE, &[0, 1, nal]].concat();
            // The type that later fragments claim does not matter.
            let fragments = [[0x7c, 0x80 | kind, 7], [0x7c, 0x05, 7], [0x7c, 0x41, 7]];
            let mut stream = Stream::default();
            stream.push(0, 0, false, &[nal, 7, 7], 0);
            stream.push(1, 0, false, &stap, 0);
            for (index, fragment) in fragments.iter().enumerate() {
                stream.push(2 + index as u16, 0, false, fragment, 0);
            }
            stream.push(5, 0, true, SLICE, 0);
            let [unit] = &stream.units[..] else {
                panic!("{kind}: {:?}", stream.units);
            };
            let slice = [&START_CODE[..], SLICE].concat();
            assert_eq!(unit.data, [&slice[..], &slice].concat(), "{kind}");
            assert!(!unit.keyframe && !unit.after_loss, "{kind}");
            // A unit of nothing else is none.
            stream.push(6, 1, true, &[nal, 7, 7], 0);
            assert_eq!(stream.units.len(), 1);
        }
    }

    #[test]
    fn a_fragment_without_end_spoils_its_unit() {
        let mut stream = Stream::default();
        stream.push(0, 0, true, &[0x7c, 0x85, 1], 0);
        stream.push(1, 1, true, SLICE, 0);
        assert_eq!(stream.frames(), [1]);
    }

    #[test]
    fn a_stream_that_starts_anew_is_taken_up() {
        let mut stream = Stream::default();
        stream.push(40_000, 0, true, SLICE, 0);
        for number in 0..3_u16 {
            stream.push(20_000 + number, 100 + u32::from(number), true, SLICE, 33);
        }
        // The first of them only raises suspicion; what follows needs a keyframe anyhow.
        assert_eq!(stream.units.last().unwrap().media_time, 102);
        assert!(stream.units[1].after_loss);
    }

    #[test]
    fn units_larger_than_4_mib_are_thrown_away() {
        let mut stream = Stream::default();
        let mut payload = vec![0x41; 60_000];
        for sequence in 0..100 {
            payload[1] = 0x9a;
            stream.push(sequence, 0, sequence == 99, &payload, 0);
        }
        assert!(stream.units.is_empty());
        assert!(stream.reorder.assembler.unit.capacity() <= 2 * MAX_UNIT);
    }

    proptest! {
        #[test]
        fn any_packets_are_bounded_and_never_panic(
            packets in prop::collection::vec(
                (any::<u16>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..40), 0_u64..100),
                0..200,
            ),
        ) {
            let mut stream = Stream::default();
            let mut now = 0;
            for (index, (number, marker, payload, later)) in packets.iter().enumerate() {
                now += later;
                let sequence = if number % 8 == 0 { *number } else { index as u16 };
                stream.push(sequence, u32::from(number % 4), *marker, payload, now);
                prop_assert!(stream.reorder.waiting.len() <= CAPACITY + 1);
                prop_assert!(stream.reorder.assembler.unit.len() <= MAX_UNIT);
            }
        }

        #[test]
        fn whatever_the_order_within_the_window_all_units_come_out(
            order in Just((1..100_u16).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut stream = Stream::default();
            stream.push(0, 0, true, SLICE, 0);
            for number in order {
                stream.push(number, number.into(), true, SLICE, 100);
            }
            prop_assert_eq!(stream.frames(), (0..100).collect::<Vec<u32>>());
        }
    }
}
