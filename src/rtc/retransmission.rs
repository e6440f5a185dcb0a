//! What is resent when the peer asks for it (RFC 4585 section 6.2.1): only what is still of use, and within budgets.
//!
//! After an outage a browser asks for everything that was lost in it. Given that, Chromium shows nothing until its timer of
//! 3 s runs out, although the keyframe that opened the path again has long arrived: the old packets come behind the new ones,
//! and its clock for the picture follows them.
//!
//! One request names up to 5,000 packets in 1.2 kB, the same ones as often as its writer likes. So a packet is resent at most once in
//! a round trip and a few times in all, and the bytes of a second are limited for each member and for all of them together.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use rtc::shared::marshal::MarshalSize;

use super::health::Counters;

/// For so long a packet may be asked for: several round trips of a slow path, and less than the shortest outage that is seen.
const OF_USE: Duration = Duration::from_secs(1);
/// How often one packet is resent in all. At 15 % loss one packet in 80,000 is lost in all six of its ways.
const TIMES: u8 = 5;
/// The shortest time between two copies of a packet to one member, whatever the round trip.
const SHORTEST_ROUND_TRIP: Duration = Duration::from_millis(10);
/// The round-trip time until one was measured, in the first second of a connection.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(50);

/// A member is resent at most this part of what was sent to it in the last second,
const MEMBER_PART: usize = 2;
/// and these bytes: some 16 packets, so that a lost keyframe after a calm second comes back.
const MEMBER_FLOOR: usize = 20_000;
/// Of that, this part and floor are the member's own. A loss of 15 % needs 18 %.
const OWN_PART: usize = 5;
const OWN_FLOOR: usize = 10_000;
/// Beyond its own part a member takes from what is common to all: this part of everything that the daemon sent in the last second,
const COMMON_PART: usize = 10;
/// and these bytes.
const COMMON_FLOOR: usize = 100_000;

/// Bytes of the last second, in steps of 10 ms.
#[derive(Debug, Default)]
struct LastSecond {
    steps: VecDeque<(Instant, usize)>,
    sum: usize,
}

impl LastSecond {
    const SECOND: Duration = Duration::from_secs(1);
    const STEP: Duration = Duration::from_millis(10);

    fn add(&mut self, bytes: usize, now: Instant) {
        self.sum += bytes;
        match self.steps.back_mut() {
            Some((at, step)) if now.saturating_duration_since(*at) < Self::STEP => *step += bytes,
            _ => self.steps.push_back((now, bytes)),
        }
        self.sum_at(now);
    }

    fn sum_at(&mut self, now: Instant) -> usize {
        while let Some((at, step)) = self.steps.front()
            && now.saturating_duration_since(*at) > Self::SECOND
        {
            self.sum -= step;
            self.steps.pop_front();
        }
        self.sum
    }
}

/// What all connections of the daemon have sent and resent beyond their own parts.
#[derive(Debug, Default)]
pub(super) struct Commons(Mutex<(LastSecond, LastSecond)>);

impl Commons {
    fn on_sent(&self, bytes: usize, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.add(bytes, now);
    }

    fn take(&self, bytes: usize, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (sent, resent) = &mut *state;
        let fits = resent.sum_at(now) + bytes <= sent.sum_at(now) / COMMON_PART + COMMON_FLOOR;
        if fits {
            resent.add(bytes, now);
        }
        fits
    }
}

/// A packet that was sent in the last second.
#[derive(Debug)]
struct Sent {
    at: Instant,
    bytes: usize,
    resent: u8,
    resent_at: Option<Instant>,
}

/// The packets of one stream, oldest first in `order`.
#[derive(Debug, Default)]
struct Stream {
    packets: HashMap<u16, Sent>,
    order: VecDeque<(Instant, u16)>,
}

impl Stream {
    fn on_sent(&mut self, number: u16, bytes: usize, now: Instant) {
        while let Some((at, old)) = self.order.front()
            && now.saturating_duration_since(*at) > OF_USE
        {
            if self.packets.get(old).is_some_and(|sent| sent.at == *at) {
                self.packets.remove(old);
            }
            self.order.pop_front();
        }
        self.order.push_back((now, number));
        let sent = Sent {
            at: now,
            bytes,
            resent: 0,
            resent_at: None,
        };
        self.packets.insert(number, sent);
    }
}

/// Leaves out of the peer's requests what is not to be resent. Nearer to the wire than the responder, so that this
/// sees nothing of what it leaves out.
pub(super) struct Resending {
    /// By SSRC.
    streams: HashMap<u32, Stream>,
    sent: LastSecond,
    resent: LastSecond,
    counters: Arc<Counters>,
    commons: Arc<Commons>,
    inward: VecDeque<TaggedPacket>,
    outward: VecDeque<TaggedPacket>,
}

impl Resending {
    /// Of one connection, whose `counters` know its round-trip time.
    pub(super) fn new(counters: &Arc<Counters>, commons: &Arc<Commons>) -> Self {
        Self {
            streams: HashMap::new(),
            sent: LastSecond::default(),
            resent: LastSecond::default(),
            counters: Arc::clone(counters),
            commons: Arc::clone(commons),
            inward: VecDeque::new(),
            outward: VecDeque::new(),
        }
    }

    fn on_sent(&mut self, ssrc: u32, number: u16, bytes: usize, now: Instant) {
        let stream = self.streams.entry(ssrc).or_default();
        stream.on_sent(number, bytes, now);
        self.sent.add(bytes, now);
        self.commons.on_sent(bytes, now);
    }

    /// The request with what is to be resent, each packet once.
    fn granted(&mut self, request: &TransportLayerNack, now: Instant) -> TransportLayerNack {
        let wanted = request.nacks.iter().flat_map(|pair| pair.packet_list());
        let granted: Vec<u16> = wanted
            .filter(|number| self.grant(request.media_ssrc, *number, now))
            .collect();
        TransportLayerNack {
            nacks: nack_pairs_from_sequence_numbers(&granted),
            ..*request
        }
    }

    fn grant(&mut self, ssrc: u32, number: u16, now: Instant) -> bool {
        let Some(sent) = self
            .streams
            .get_mut(&ssrc)
            .and_then(|stream| stream.packets.get_mut(&number))
            .filter(|sent| now.saturating_duration_since(sent.at) <= OF_USE)
        else {
            return false;
        };
        let round_trip = self.counters.round_trip().unwrap_or(UNKNOWN_ROUND_TRIP);
        let pause = round_trip.max(SHORTEST_ROUND_TRIP);
        let is_due = sent
            .resent_at
            .is_none_or(|at| now.saturating_duration_since(at) >= pause);
        let total = self.sent.sum_at(now);
        let resent = self.resent.sum_at(now) + sent.bytes;
        let is_granted = is_due
            && sent.resent < TIMES
            && resent <= total / MEMBER_PART + MEMBER_FLOOR
            && (resent <= total / OWN_PART + OWN_FLOOR || self.commons.take(sent.bytes, now));
        if is_granted {
            sent.resent += 1;
            sent.resent_at = Some(now);
            self.resent.add(sent.bytes, now);
        }
        self.counters.on_resending(is_granted);
        is_granted
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Resending {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut message: TaggedPacket) -> Result<(), Error> {
        let now = message.now;
        if let Packet::Rtcp(packets) = &mut message.message.packet {
            for packet in packets {
                if let Some(request) = packet.as_any().downcast_ref::<TransportLayerNack>() {
                    *packet = Box::new(self.granted(request, now));
                }
            }
        }
        self.inward.push_back(message);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.inward.pop_front()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Error> {
        // What is resent brings no budget, and its first time counts.
        let is_first = !message.message.has(&Attribute::Retransmission);
        if let Packet::Rtp(packet) = &message.message.packet
            && is_first
        {
            let header = &packet.header;
            let bytes = packet.marshal_size();
            self.on_sent(header.ssrc, header.sequence_number, bytes, message.now);
        }
        self.outward.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outward.pop_front()
    }
}

impl Interceptor for Resending {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
    }
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use rtc::rtcp::transport_feedbacks::transport_layer_nack::NackPair;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn member(commons: &Arc<Commons>) -> Resending {
        let counters = Arc::new(Counters::default());
        counters.on_round_trip(40 * MILLISECOND);
        Resending::new(&counters, commons)
    }

    fn request(ssrc: u32, numbers: &[u16]) -> TransportLayerNack {
        TransportLayerNack {
            sender_ssrc: 1,
            media_ssrc: ssrc,
            nacks: nack_pairs_from_sequence_numbers(numbers),
        }
    }

    fn numbers(request: &TransportLayerNack) -> Vec<u16> {
        let pairs = request.nacks.iter();
        pairs.flat_map(|pair| pair.packet_list()).collect()
    }

    /// Sends packets of 1,000 bytes, one in 4 ms, the last one at the moment that is returned.
    fn send(member: &mut Resending, count: u16, start: Instant) -> Instant {
        let at = |number: u16| start + 4 * MILLISECOND * u32::from(number);
        for number in 0..count {
            member.on_sent(7, number, 1_000, at(number));
        }
        at(count - 1)
    }

    #[test]
    fn what_was_sent_more_than_a_second_ago_is_not_resent() {
        let start = Instant::now();
        let mut member = member(&Arc::default());
        let asked: Vec<u16> = (0..30).map(|step| 65_530_u16.wrapping_add(step)).collect();
        for (step, number) in asked.iter().enumerate() {
            member.on_sent(7, *number, 100, start + 100 * MILLISECOND * step as u32);
        }
        let now = start + 2_950 * MILLISECOND;
        let left = member.granted(&request(7, &asked), now);
        assert_eq!(numbers(&left), asked[20..]);
        assert_eq!((left.sender_ssrc, left.media_ssrc), (1, 7));
        assert!(member.granted(&request(8, &asked), now).nacks.is_empty());
        // Nothing older than a second is kept.
        member.on_sent(7, asked[29], 100, now + OF_USE);
        assert!(member.streams[&7].packets.len() <= 11);
        assert!(member.streams[&7].order.len() <= 11);
    }

    #[test]
    fn a_request_that_names_a_packet_again_and_again_brings_it_once() {
        let mut member = member(&Arc::default());
        let now = send(&mut member, 250, Instant::now());
        let nacks = (0..290).map(|step| NackPair {
            packet_id: 230 + step % 2,
            lost_packets: 0xffff,
        });
        let flood = TransportLayerNack {
            nacks: nacks.collect(),
            ..request(7, &[])
        };
        let mut left = numbers(&member.granted(&flood, now));
        left.sort_unstable();
        assert_eq!(left, (230..248).collect::<Vec<u16>>());
        assert!(
            member
                .granted(&flood, now + 39 * MILLISECOND)
                .nacks
                .is_empty()
        );
        assert_eq!(member.counters.resending().0, 18);
        assert!(member.counters.resending().1 > 9_000, "counted");
    }

    #[test]
    fn a_packet_that_is_lost_again_comes_after_a_round_trip_and_five_times_in_all() {
        let mut member = member(&Arc::default());
        let sent = send(&mut member, 250, Instant::now());
        let mut copies = 0;
        for step in 0..20 {
            let now = sent + 20 * MILLISECOND * step;
            let granted = numbers(&member.granted(&request(7, &[249]), now));
            assert_eq!(
                granted.len(),
                usize::from(step % 2 == 0 && step < 10),
                "{step}"
            );
            copies += granted.len();
        }
        assert_eq!(copies, usize::from(TIMES));
    }

    #[test]
    fn a_member_is_resent_half_of_its_last_second_and_all_members_together_less() {
        let commons = Arc::default();
        let all: Vec<u16> = (0..250).collect();
        let start = Instant::now();
        let mut members: Vec<_> = (0..8).map(|_| member(&commons)).collect();
        let mut now = start;
        for member in &mut members {
            now = send(member, 250, start);
        }
        let granted: Vec<usize> = members
            .iter_mut()
            .map(|member| numbers(&member.granted(&request(7, &all), now)).len())
            .collect();
        // 250 kB were sent to each; 20 % and 10 kB are its own, the common 10 % and 100 kB go to who asks first.
        assert_eq!(granted[0], 145, "half and 20 kB");
        assert!(
            granted[1..].iter().all(|packets| *packets >= 60),
            "{granted:?}"
        );
        assert!(
            granted.iter().sum::<usize>() <= 8 * 60 + 200 + 100,
            "{granted:?}"
        );
    }

    #[test]
    fn a_loss_of_fifteen_per_cent_is_repaired_while_others_ask_for_everything() {
        let commons = Arc::default();
        let (mut greedy, mut honest) = (member(&commons), member(&commons));
        let start = Instant::now();
        let is_lost = |number: u16, copy: u16| {
            (u32::from(number) * 7_919 + u32::from(copy) * 104_729) % 100 < 15
        };
        let (mut asking, mut repaired, mut lost) = (Vec::<(Instant, u16, u16)>::new(), 0, 0);
        for number in 0..5_000_u16 {
            let now = start + 4 * MILLISECOND * u32::from(number);
            greedy.on_sent(7, number, 1_000, now);
            honest.on_sent(7, number, 1_000, now);
            let everything: Vec<u16> = (number.saturating_sub(250)..number).collect();
            greedy.granted(&request(7, &everything), now);
            if is_lost(number, 0) {
                lost += 1;
                asking.push((now + 40 * MILLISECOND, number, 1));
            }
            let (due, later): (Vec<_>, Vec<_>) = asking.iter().partition(|(at, ..)| *at <= now);
            asking = later;
            for (at, number, copy) in due {
                let came = !honest.granted(&request(7, &[number]), now).nacks.is_empty();
                if came && !is_lost(number, copy) {
                    repaired += 1;
                } else if copy < 10 {
                    asking.push((at + 44 * MILLISECOND, number, copy + 1));
                }
            }
        }
        println!("{repaired} of {lost} repaired");
        assert!(lost > 600 && repaired + 20 >= lost, "{repaired} of {lost}");
    }
}
