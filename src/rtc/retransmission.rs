//! What is resent when the peer asks for it (RFC 4585 section 6.2.1): only what is still of use.
//!
//! After an outage a browser asks for everything that was lost in it. Given that, Chromium shows nothing until its timer of
//! 3 s runs out, although the keyframe that opened the path again has long arrived: the old packets come behind the new ones,
//! and its clock for the picture follows them.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;

/// For so long a packet may be asked for: several round trips of a slow path, and less than the shortest outage that is seen.
const OF_USE: Duration = Duration::from_secs(1);

/// Leaves out of the peer's requests what was sent too long ago. Nearer to the wire than the responder, so that this
/// sees nothing of what it leaves out.
#[derive(Default)]
pub(super) struct StaleRequests {
    /// Sequence numbers of the last second, by SSRC.
    sent: HashMap<u32, VecDeque<(Instant, u16)>>,
    inward: VecDeque<TaggedPacket>,
    outward: VecDeque<TaggedPacket>,
}

impl StaleRequests {
    fn on_sent(&mut self, ssrc: u32, number: u16, now: Instant) {
        let sent = self.sent.entry(ssrc).or_default();
        while let Some((at, _)) = sent.front()
            && now.saturating_duration_since(*at) > OF_USE
        {
            sent.pop_front();
        }
        sent.push_back((now, number));
    }

    /// The request without what is of no use any more.
    fn freshened(&self, request: &TransportLayerNack, now: Instant) -> TransportLayerNack {
        let sent = self.sent.get(&request.media_ssrc);
        let is_fresh = |number: &u16| {
            let mut newest_first = sent.into_iter().flatten().rev();
            newest_first
                .find(|(_, each)| each == number)
                .is_some_and(|(at, _)| now.saturating_duration_since(*at) <= OF_USE)
        };
        let wanted = request.nacks.iter().flat_map(|pair| pair.packet_list());
        let fresh: Vec<u16> = wanted.filter(is_fresh).collect();
        TransportLayerNack {
            nacks: nack_pairs_from_sequence_numbers(&fresh),
            ..*request
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for StaleRequests {
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
                    *packet = Box::new(self.freshened(request, now));
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
        if let Packet::Rtp(packet) = &message.message.packet {
            self.on_sent(
                packet.header.ssrc,
                packet.header.sequence_number,
                message.now,
            );
        }
        self.outward.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outward.pop_front()
    }
}

impl Interceptor for StaleRequests {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.sent.remove(&info.ssrc);
    }
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_more_than_a_second_ago_is_not_resent() {
        let start = Instant::now();
        let mut requests = StaleRequests::default();
        for step in 0..30 {
            let number = 65_530_u16.wrapping_add(step);
            requests.on_sent(
                7,
                number,
                start + u32::from(step) * Duration::from_millis(100),
            );
        }
        let now = start + Duration::from_millis(2_950);
        let asked: Vec<u16> = (0..30).map(|step| 65_530_u16.wrapping_add(step)).collect();
        let request = |ssrc| TransportLayerNack {
            sender_ssrc: 1,
            media_ssrc: ssrc,
            nacks: nack_pairs_from_sequence_numbers(&asked),
        };
        let left = requests.freshened(&request(7), now);
        let numbers: Vec<u16> = left
            .nacks
            .iter()
            .flat_map(|pair| pair.packet_list())
            .collect();
        assert_eq!(numbers, asked[20..]);
        assert_eq!((left.sender_ssrc, left.media_ssrc), (1, 7));
        assert!(requests.freshened(&request(8), now).nacks.is_empty());
        // What was resent, under its own number, is of use again; nothing older than a second is kept.
        requests.on_sent(7, asked[29], now + OF_USE);
        assert!(requests.sent[&7].len() <= 11);
    }
}
