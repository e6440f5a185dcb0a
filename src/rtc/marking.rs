//! Differentiated services (RFC 8837 section 5): sound is EF (46), the camera AF41 (34), the screen AF21 (18).
//!
//! Everything of a connection leaves by one socket (BUNDLE, RFC 9143), and a mark belongs to a socket. So the socket is given the
//! mark of each packet right before that is sent (`sockets`). What a packet is stands in its RTP header, which SRTP leaves readable. One task
//! sends, one packet after the other, so no packet gets another's mark; and as few switch the mark as streams take turns.
//! What is no RTP (checks of the path, DTLS) keeps the best effort that a router gives to anything else. The relay's
//! own packets over TCP and TLS are a stream, whose packets are no packets of ours: they are not marked.

use std::sync::atomic::{AtomicU32, Ordering};

/// Expedited forwarding.
pub(super) const AUDIO: u32 = 46;
/// Assured forwarding, class 4, low drop.
pub(super) const CAMERA: u32 = 34;
/// Assured forwarding, class 2, low drop.
pub(super) const SCREEN: u32 = 18;
/// Which of our streams is which; 0 is none.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) audio: AtomicU32,
    pub(super) screen: AtomicU32,
}

impl Streams {
    /// The mark of a datagram.
    pub(super) fn mark(&self, datagram: &[u8]) -> u32 {
        // ChannelData of a relay (RFC 8656 section 12.4) has four bytes before the packet.
        let packet = match datagram.first() {
            Some(0x40..=0x4F) => datagram.get(4..).unwrap_or_default(),
            _ => datagram,
        };
        // RFC 7983 section 7, RFC 5761 section 4; what comes back from the receivers of a stream is RTCP.
        let (Some(128..=191), Some(kind)) = (packet.first(), packet.get(1)) else {
            return 0;
        };
        if (192..=223).contains(kind) {
            return CAMERA;
        }
        let Some(ssrc) = packet.get(8..12).and_then(|ssrc| ssrc.first_chunk()) else {
            return 0;
        };
        let ssrc = u32::from_be_bytes(*ssrc);
        let is = |stream: &AtomicU32| ssrc != 0 && stream.load(Ordering::Relaxed) == ssrc;
        if is(&self.audio) {
            AUDIO
        } else if is(&self.screen) {
            SCREEN
        } else {
            // The camera, and retransmissions.
            CAMERA
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;

    pub(in crate::rtc) fn packet(kind: u8, ssrc: u32) -> Vec<u8> {
        let mut packet = vec![0x80, kind, 0, 1, 0, 0, 0, 9];
        packet.extend(ssrc.to_be_bytes());
        packet.extend([7; 20]);
        packet
    }

    pub(in crate::rtc) fn streams() -> Arc<Streams> {
        let streams = Streams::default();
        streams.audio.store(11, Ordering::Relaxed);
        streams.screen.store(33, Ordering::Relaxed);
        Arc::new(streams)
    }

    #[test]
    fn a_packets_mark_follows_its_stream_also_inside_of_a_relays_channel() {
        let streams = streams();
        for (ssrc, mark) in [(11, AUDIO), (22, CAMERA), (33, SCREEN)] {
            let packet = packet(96, ssrc);
            assert_eq!(streams.mark(&packet), mark);
            let relayed = [&[0x40, 0, 0, 32][..], &packet].concat();
            assert_eq!(streams.mark(&relayed), mark);
        }
        assert_eq!(streams.mark(&packet(201, 11)), CAMERA);
        for other in [
            &[][..],
            &[0x80],
            &[0x80, 96, 0],
            &[0x40],
            &[0, 1, 0, 0],
            &[22, 254],
        ] {
            assert_eq!(streams.mark(other), 0, "{other:?}");
        }
    }
}
