//! The jitter buffer of one peer's sound: pure, every moment comes in as `now`.
//!
//! All arithmetic is in samples at 48 kHz, on sequence numbers and media times extended to 64 bits.
//!
//! A packet's *transit* is its arrival less its media time; the two clocks share no origin, so only
//! differences count. The smallest transit of the last ten seconds (less after a change of route) is the network's *base*. A sample's
//! *delay* is how long after (base + its media time) it is played: the latency this buffer adds. The
//! *target* is a high percentile of transit over base; the caller stretches or shrinks time a little
//! until delay meets target ([`super::playout`]).
//!
//! ```text
//!   Idle --first packet has waited for the target--> Playing
//!   Playing --600 ms without anything to play-----> Idle
//! ```
//!
//! While nothing is there to play, the play position stands still and concealment is heard: a packet
//! that comes too late is then still played, and the delay has grown by itself. A packet that is missing
//! while a later one waits is lost: recovered from the next one's in-band FEC (RFC 6716 section 2.1.7)
//! or concealed.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::AudioPacket;
use super::opus_decode;
use crate::devices::{PERIOD, SAMPLE_RATE};
use crate::room::Timestamp;

/// Samples in one millisecond.
pub(crate) const MILLISECOND: i64 = SAMPLE_RATE as i64 / 1000;
/// Smallest target delay, samples.
pub(crate) const TARGET_MIN: i64 = 40 * MILLISECOND;
/// Largest target delay, samples.
pub(crate) const TARGET_MAX: i64 = 200 * MILLISECOND;
/// Added to the measured percentile: one period of the speaker and as much again for its unrest.
const TARGET_MARGIN: i64 = 20 * MILLISECOND;
/// Delay over the target by more than this is cut at once, not shrunk away.
const CUT_OVER_TARGET: i64 = 150 * MILLISECOND;
/// Transits older than this do not count.
const WINDOW: i64 = 10_000 * MILLISECOND;
/// A base that was not reached for so long, by more than the largest target, is given up.
const NEW_ROUTE: i64 = 1500 * MILLISECOND;
/// Transits kept at most (short packets).
const WINDOW_PACKETS: usize = 1000;
/// Packets waiting at most; the oldest goes.
const CAPACITY: usize = 256;
/// Silence of the network after which playing stops until the target is reached anew.
const GIVE_UP: i64 = 600 * MILLISECOND;
/// When both transit and media time jump by more than this, unexplained by lost packets, the clock is another one:
/// the stream restarted. (In a standstill of the network only transit jumps, in a pause only media time.)
const RESTART: i64 = 1000 * MILLISECOND;
/// A sequence number further ahead is believed only when its successor confirms it (RFC 3550 A.1).
const MAX_DROPOUT: i64 = 500;
/// As above, behind.
const MAX_MISORDER: i64 = 100;

/// What to play next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pop {
    /// Decode this packet.
    Packet {
        /// The Opus packet.
        payload: Bytes,
        /// What it holds.
        samples: usize,
        /// What was played before it is not what came before it: blend.
        discontinuous: bool,
    },
    /// One packet is lost; the next one may carry a coarser copy of it.
    Recover {
        /// The *next* Opus packet; it stays in the buffer.
        next: Bytes,
        /// What is missing.
        samples: usize,
    },
    /// Nothing to decode: conceal.
    Conceal {
        /// How much; a multiple of 2.5 ms.
        samples: usize,
    },
    /// Silence until more packets come.
    Idle,
}

/// What became of a peer's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Arrived, without duplicates.
    pub(crate) received: u64,
    /// Never came in time to be played.
    pub(crate) lost: u64,
    /// Came after its place was played.
    pub(crate) late: u64,
    /// Came twice.
    pub(crate) duplicates: u64,
    /// Thrown away to cut the delay or for want of room.
    pub(crate) discarded: u64,
    /// Not an Opus packet.
    pub(crate) malformed: u64,
    /// Fresh starts after the first.
    pub(crate) restarts: u64,
}

#[derive(Debug)]
struct Waiting {
    media: i64,
    samples: i64,
    payload: Bytes,
}

/// The packets of one stream between their arrival and their playing.
#[derive(Debug)]
pub(crate) struct JitterBuffer {
    waiting: BTreeMap<i64, Waiting>,
    /// Sequence number, media time and transit of the newest packet; `None` before the first.
    newest: Option<(i64, i64, i64)>,
    /// A far sequence number was seen; this one next confirms it.
    suspect: Option<u16>,
    /// Arrival and transit.
    transits: VecDeque<(i64, i64)>,
    scratch: Vec<i64>,
    base: i64,
    target: i64,
    playing: bool,
    /// Next sequence number to play.
    next_sequence: i64,
    /// Media time of the next sample to play.
    next_media: i64,
    /// Concealed while the play position stood still.
    stalled: i64,
    discontinuous: bool,
    counters: Counters,
}

fn in_samples(at: Timestamp) -> i64 {
    let micros = at.as_duration().as_micros();
    (micros * u128::from(SAMPLE_RATE) / 1_000_000) as i64
}

impl JitterBuffer {
    /// An empty buffer; the target starts at its minimum.
    pub(crate) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            newest: None,
            suspect: None,
            transits: VecDeque::new(),
            scratch: Vec::new(),
            base: 0,
            target: TARGET_MIN,
            playing: false,
            next_sequence: i64::MIN,
            next_media: 0,
            stalled: 0,
            discontinuous: false,
            counters: Counters::default(),
        }
    }

    /// Takes a packet that arrived at `packet.arrived_at`.
    pub(crate) fn push(&mut self, packet: &AudioPacket) {
        let Some(samples) = opus_decode::duration(&packet.payload) else {
            self.counters.malformed += 1;
            return;
        };
        let arrived = in_samples(packet.arrived_at);
        let (mut sequence, mut media) = match self.newest {
            None => (i64::from(packet.sequence), i64::from(packet.media_time)),
            Some((sequence, media, _)) => (
                sequence + i64::from(packet.sequence.wrapping_sub(sequence as u16) as i16),
                media + i64::from(packet.media_time.wrapping_sub(media as u32) as i32),
            ),
        };
        if let Some((newest, newest_media, transit)) = self.newest {
            let step = sequence - newest;
            let far = !(-MAX_MISORDER..=MAX_DROPOUT).contains(&step);
            if far && self.suspect != Some(packet.sequence) {
                self.suspect = Some(packet.sequence.wrapping_add(1));
                return;
            }
            let another_clock = (arrived - media - transit).abs() > RESTART
                && (media - newest_media - step * samples as i64).abs() > RESTART;
            if far || another_clock {
                self.restart();
                sequence = i64::from(packet.sequence);
                media = i64::from(packet.media_time);
            }
        }
        self.suspect = None;
        let late = sequence < self.next_sequence;
        if self.waiting.contains_key(&sequence) {
            self.counters.duplicates += 1;
            return;
        }
        self.counters.received += 1;
        self.observe_transit(arrived, arrived - media);
        if self.newest.is_none_or(|(newest, _, _)| sequence > newest) {
            self.newest = Some((sequence, media, arrived - media));
        }
        if late {
            self.counters.late += 1;
            return;
        }
        self.waiting.insert(
            sequence,
            Waiting {
                media,
                samples: samples as i64,
                payload: packet.payload.clone(),
            },
        );
        if self.waiting.len() > CAPACITY {
            self.waiting.pop_first();
            self.counters.discarded += 1;
        }
    }

    /// The stream began anew (another SSRC, another clock): nothing known about the old one holds.
    fn restart(&mut self) {
        let counters = Counters {
            restarts: self.counters.restarts + 1,
            ..self.counters
        };
        *self = Self {
            target: self.target,
            discontinuous: true,
            counters,
            ..Self::new()
        };
    }

    fn observe_transit(&mut self, arrived: i64, transit: i64) {
        self.transits.push_back((arrived, transit));
        while self.transits.len() > WINDOW_PACKETS
            || self
                .transits
                .front()
                .is_some_and(|(at, _)| arrived - at > WINDOW)
        {
            self.transits.pop_front();
        }
        let transits = self.transits.iter().map(|(_, transit)| *transit);
        self.base = transits.min().unwrap_or(transit);
        // Only packets that kept coming all the time tell of a new route; a burst after a standstill does not.
        let since = arrived - NEW_ROUTE;
        let recent = self.transits.iter().rev();
        let recent = recent.take_while(|(at, _)| *at >= since);
        let (oldest, fastest) = recent
            .fold((arrived, i64::MAX), |(oldest, fastest), (at, transit)| {
                (oldest.min(*at), fastest.min(*transit))
            });
        if fastest - self.base > TARGET_MAX && oldest - since < NEW_ROUTE / 10 {
            self.transits.retain(|(at, _)| *at >= since);
            self.base = fastest;
        }
        let base = self.base;
        self.scratch.clear();
        self.scratch
            .extend(self.transits.iter().filter_map(|(_, transit)| {
                // What no target could have covered must not raise it: a standstill is not jitter.
                let over = transit - base;
                (over <= TARGET_MAX).then_some(over)
            }));
        // The 95th percentile; of few packets, all but the three worst. The base itself is always among them.
        let count = self.scratch.len();
        let rank = count - 1 - (count / 20).max((count / 8).min(3));
        let (_, high, _) = self.scratch.select_nth_unstable(rank);
        self.target = (*high + TARGET_MARGIN).clamp(TARGET_MIN, TARGET_MAX);
    }

    /// The delay at which `media` would be played `ahead` samples from `now`.
    fn delay_of(&self, media: i64, ahead: usize, now: Timestamp) -> i64 {
        in_samples(now) + ahead as i64 - media - self.base
    }

    fn is_due(&self, media: i64, ahead: usize, now: Timestamp) -> bool {
        // Half a period of tolerance keeps the rounding to periods around the target.
        self.delay_of(media, ahead, now) >= self.target - PERIOD as i64 / 2
    }

    /// What to play after `ahead` samples that are decoded and not yet played.
    pub(crate) fn pop(&mut self, ahead: usize, now: Timestamp) -> Pop {
        let Some((&sequence, first)) = self.waiting.first_key_value() else {
            return self.stall();
        };
        let (media, samples) = (first.media, first.samples);
        if !self.playing {
            if !self.is_due(media, ahead, now) {
                return Pop::Idle;
            }
            if self.next_sequence != i64::MIN && sequence > self.next_sequence {
                self.counters.lost += (sequence - self.next_sequence) as u64;
            }
            self.playing = true;
            return self.take(sequence);
        }
        if self.waiting.len() > 1
            && self.delay_of(media, ahead, now) > self.target + CUT_OVER_TARGET
        {
            self.counters.lost += (sequence - self.next_sequence) as u64;
            return self.cut(ahead, now);
        }
        let missing = sequence - self.next_sequence;
        // Concealment has already covered what was not there in time, as far as it is missing at all.
        let covered = self.stalled.min(media - self.next_media).max(0);
        self.next_media += covered;
        self.stalled = 0;
        let gap = media - self.next_media;
        if gap <= 0 || (missing == 0 && self.is_due(media, ahead, now)) {
            self.counters.lost += missing as u64;
            return self.take(sequence);
        }
        if missing == 0 {
            // The sender paused (DTX) and the packet after the pause is not due.
            return self.fill(gap.min(PERIOD as i64));
        }
        if missing == 1 && gap == samples {
            let next = first.payload.clone();
            self.next_sequence += 1;
            self.next_media += gap;
            self.counters.lost += 1;
            return Pop::Recover {
                next,
                samples: samples as usize,
            };
        }
        // The last missing packet is left to be recovered whole.
        let before_last = gap - samples;
        if missing > 1 && before_last > 0 {
            self.counters.lost += 1;
            self.next_sequence += 1;
            return self.fill(before_last / (missing - 1));
        }
        self.fill(if before_last > 0 { before_last } else { gap })
    }

    fn fill(&mut self, gap: i64) -> Pop {
        let samples = conceal_length(gap);
        self.next_media += samples as i64;
        Pop::Conceal { samples }
    }

    fn stall(&mut self) -> Pop {
        if !self.playing {
            return Pop::Idle;
        }
        self.stalled += PERIOD as i64;
        if self.stalled > GIVE_UP {
            self.playing = false;
            return Pop::Idle;
        }
        Pop::Conceal { samples: PERIOD }
    }

    fn cut(&mut self, ahead: usize, now: Timestamp) -> Pop {
        loop {
            let Some((&sequence, first)) = self.waiting.first_key_value() else {
                return self.stall();
            };
            if self.waiting.len() == 1 || self.delay_of(first.media, ahead, now) <= self.target {
                self.discontinuous = true;
                return self.take(sequence);
            }
            self.waiting.pop_first();
            self.counters.discarded += 1;
        }
    }

    fn take(&mut self, sequence: i64) -> Pop {
        let Some(packet) = self.waiting.remove(&sequence) else {
            return Pop::Idle;
        };
        self.next_sequence = sequence + 1;
        self.next_media = packet.media + packet.samples;
        self.stalled = 0;
        Pop::Packet {
            payload: packet.payload,
            samples: packet.samples as usize,
            discontinuous: std::mem::take(&mut self.discontinuous),
        }
    }

    /// The latency this buffer adds at present, samples; `None` while no packets play: whether a stall adds to it
    /// turns out only when the next one comes. `ahead` as in [`Self::pop`].
    pub(crate) fn delay(&self, ahead: usize, now: Timestamp) -> Option<i64> {
        (self.playing && self.stalled == 0)
            .then(|| self.delay_of(self.next_media - ahead as i64, 0, now))
    }

    /// The packet to play next is there.
    pub(crate) fn has_next(&self) -> bool {
        self.playing && self.waiting.contains_key(&self.next_sequence)
    }

    /// The latency it ought to add, samples.
    pub(crate) fn target(&self) -> i64 {
        self.target
    }

    /// What became of the packets.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }
}

/// Concealment comes in steps of 2.5 ms, at most 20 ms at once.
fn conceal_length(samples: i64) -> usize {
    const STEP: i64 = 120;
    (samples.clamp(STEP, 960) / STEP * STEP) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    /// 20 ms of CELT: a table of contents and something.
    const CELT_20_MS: &[u8] = &[0b1111_1000, 1, 2, 3];

    fn packet(sequence: u16, media_time: u32, arrived_ms: u64) -> AudioPacket {
        AudioPacket {
            sequence,
            media_time,
            payload: Bytes::from_static(CELT_20_MS),
            arrived_at: Timestamp::from_millis(arrived_ms),
        }
    }

    #[test]
    fn one_stray_sequence_number_is_not_believed() {
        let mut buffer = JitterBuffer::new();
        buffer.push(&packet(1, 960, 1000));
        buffer.push(&packet(30_000, 1920, 1020));
        buffer.push(&packet(2, 1920, 1020));
        assert_eq!(buffer.counters().received, 2);
        assert_eq!(buffer.counters().restarts, 0);
    }

    #[test]
    fn what_is_no_opus_packet_counts_as_malformed() {
        let mut buffer = JitterBuffer::new();
        for payload in [&[][..], &[0b1111_1011, 63]] {
            buffer.push(&AudioPacket {
                payload: Bytes::from_static(payload),
                ..packet(1, 0, 0)
            });
        }
        assert_eq!(buffer.counters().malformed, 2);
        assert_eq!(buffer.pop(0, Timestamp::from_millis(500)), Pop::Idle);
    }

    #[test]
    fn a_lost_packet_is_recovered_from_the_next_and_two_only_in_part() {
        let mut buffer = JitterBuffer::new();
        for number in [0_u16, 2, 5] {
            buffer.push(&packet(number, u32::from(number) * 960, 1000));
        }
        let now = Timestamp::from_millis(1100);
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(match buffer.pop(0, now) {
                Pop::Packet { .. } => "packet",
                Pop::Recover { samples: 960, .. } => "recover",
                Pop::Conceal { samples: 960 } => "conceal",
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(
            seen,
            [
                "packet", "recover", "packet", "conceal", "recover", "packet"
            ]
        );
        assert_eq!(buffer.counters().lost, 3);
    }

    proptest! {
        #[test]
        fn nothing_a_peer_sends_breaks_the_buffer(
            packets in prop::collection::vec(
                (any::<u16>(), any::<u32>(), 0_u64..400, prop::collection::vec(any::<u8>(), 0..9), 0_u8..4),
                0..300,
            ),
        ) {
            let mut buffer = JitterBuffer::new();
            let mut now = 1000;
            for (index, (sequence, media_time, later, payload, kind)) in packets.into_iter().enumerate() {
                now += later / 10;
                // Mostly plausible, now and then anything.
                let (sequence, media_time) = match kind {
                    0 => (sequence, media_time),
                    1 => (index as u16, media_time),
                    _ => (index as u16, index as u32 * 960),
                };
                buffer.push(&AudioPacket {
                    payload: if kind == 3 { Bytes::from(payload) } else { Bytes::from_static(CELT_20_MS) },
                    ..packet(sequence, media_time, now.saturating_sub(later % 7))
                });
                prop_assert!(buffer.waiting.len() <= CAPACITY);
                prop_assert!((TARGET_MIN..=TARGET_MAX).contains(&buffer.target()));
                for _ in 0..later % 3 {
                    match buffer.pop(0, Timestamp::from_duration(Duration::from_millis(now))) {
                        Pop::Packet { samples, .. } | Pop::Recover { samples, .. } | Pop::Conceal { samples } => {
                            prop_assert!((120..=opus_decode::LONGEST).contains(&samples));
                        }
                        Pop::Idle => {}
                    }
                }
            }
        }
    }
}
