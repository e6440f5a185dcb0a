//! What a member's RTCP makes the box do, by a peer that is no box and sends what it likes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use huddled::room::{ConnectionState, IceCandidate, NegotiationId, PeerEvent, PeerOrder, Sdp};
use proptest::prelude::*;
use rtc::rtcp;
use rtc::rtcp::goodbye::Goodbye;
use rtc::rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::sync::mpsc;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceCandidateInit, RTCPeerConnectionIceEvent, RTCSessionDescription, Registry,
    register_default_interceptors,
};

use super::bench::{Side, picture, sound};

enum Seen {
    Candidate(String),
    /// SSRC and sequence number of a packet of the box's picture.
    Packet(Arc<dyn TrackRemote>, u32, u16),
}

struct Handler(mpsc::UnboundedSender<Seen>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let candidate = event.candidate.to_json().unwrap().candidate;
        let _ = self.0.send(Seen::Candidate(candidate));
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let seen = self.0.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event
                    && track.kind().await == RtpCodecKind::Video
                {
                    let header = &packet.header;
                    let _ = seen.send(Seen::Packet(
                        Arc::clone(&track),
                        header.ssrc,
                        header.sequence_number,
                    ));
                }
            }
        });
    }
}

/// A peer in a call with a box, and the box's side of it.
struct Call {
    other: Arc<dyn PeerConnection>,
    seen: mpsc::UnboundedReceiver<Seen>,
    side: Side,
    ticks: tokio::time::Interval,
    published: u32,
}

impl Call {
    /// A box that has answered the peer's offer.
    async fn answered() -> Self {
        let (seen_in, seen) = mpsc::unbounded_channel();
        let mut media = MediaEngine::default();
        media.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut media).unwrap();
        let settings = webrtc::peer_connection::SettingEngineBuilder::new()
            .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
            .build();
        let other: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_media_engine(media)
                .with_interceptor_registry(registry)
                .with_setting_engine(settings)
                .with_handler(Arc::new(Handler(seen_in)))
                .with_udp_addrs(vec!["127.0.0.1:0", "0.0.0.0:0"])
                .build()
                .await
                .unwrap(),
        );
        for kind in [RtpCodecKind::Audio, RtpCodecKind::Video] {
            other.add_transceiver_from_kind(kind, None).await.unwrap();
        }
        let mut side = Side::new();
        side.order(PeerOrder::Open);
        let offer = other.create_offer(None).await.unwrap();
        other.set_local_description(offer.clone()).await.unwrap();
        side.order(PeerOrder::AcceptOffer {
            negotiation: NegotiationId(1),
            sdp: Sdp::new(&offer.sdp),
        });
        let is_answer = |event: &PeerEvent| matches!(event, PeerEvent::AnswerCreated { .. });
        let PeerEvent::AnswerCreated { sdp, .. } = side.until(is_answer).await else {
            unreachable!("just matched");
        };
        let answer = RTCSessionDescription::answer(sdp.as_str().to_owned()).unwrap();
        other.set_remote_description(answer).await.unwrap();
        Self {
            other,
            seen,
            side,
            ticks: tokio::time::interval(Duration::from_millis(10)),
            published: 0,
        }
    }

    /// Goes on, with a picture in 10 ms, until so many packets have come; the last one.
    async fn packets(&mut self, count: usize) -> (Arc<dyn TrackRemote>, u32, u16) {
        let mut come = 0;
        let deadline = tokio::time::Instant::now() + super::bench::LIMIT;
        loop {
            assert!(tokio::time::Instant::now() < deadline, "{come} of {count}");
            tokio::select! {
                event = self.side.next() => if let PeerEvent::LocalCandidate { candidate, .. } = event {
                    let init = RTCIceCandidateInit { candidate: candidate.candidate, ..Default::default() };
                    self.other.add_ice_candidate(init).await.unwrap();
                },
                Some(seen) = self.seen.recv() => match seen {
                    Seen::Candidate(candidate) => self.side.order(PeerOrder::AddCandidate(IceCandidate {
                        candidate,
                        sdp_mid: None,
                        sdp_m_line_index: Some(0),
                        username_fragment: None,
                    })),
                    Seen::Packet(track, ssrc, number) => {
                        come += 1;
                        if come == count {
                            return (track, ssrc, number);
                        }
                    }
                },
                _ = self.ticks.tick() => {
                    self.side.fanout.publish_video(&picture(self.published * 900, self.published.is_multiple_of(50)));
                    self.side.fanout.publish_audio(&sound(self.published * 480));
                    self.published += 1;
                }
            }
        }
    }

    async fn close(mut self) {
        self.other.close().await.unwrap();
        self.side.order(PeerOrder::Close);
        self.side.until(|event| *event == PeerEvent::Closed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_brings_each_packet_once_and_a_lost_one_again_after_a_round_trip() {
    let mut call = Call::answered().await;
    let (track, ssrc, number) = call.packets(100).await;
    // Entries that go back and forth over the same packets.
    let nacks = (0..240).map(|step| NackPair {
        packet_id: number.wrapping_sub(18 + step % 2),
        lost_packets: 0xffff,
    });
    let flood = TransportLayerNack {
        sender_ssrc: 1,
        media_ssrc: ssrc,
        nacks: nacks.collect(),
    };
    track.write_rtcp(vec![Box::new(flood)]).await.unwrap();
    call.packets(20).await;
    let health = call.side.health().unwrap();
    println!(
        "{} resent, {} refused",
        health.packets_resent, health.resends_refused
    );
    // The peer's own stack may ask for a packet that is late on a busy machine.
    assert!((15..40).contains(&health.packets_resent), "{health:?}");
    assert!(health.resends_refused > 3_000, "{health:?}");

    // Asked for every 20 ms, well beyond a round trip on one machine: a few copies in all.
    let (track, _, number) = call.packets(1).await;
    let before = call.side.health().unwrap().packets_resent;
    for _ in 0..30 {
        let again = TransportLayerNack {
            sender_ssrc: 1,
            media_ssrc: ssrc,
            nacks: vec![NackPair {
                packet_id: number,
                lost_packets: 0,
            }],
        };
        track.write_rtcp(vec![Box::new(again)]).await.unwrap();
        call.packets(4).await;
    }
    let copies = call.side.health().unwrap().packets_resent - before;
    println!("{copies} copies of one packet");
    assert!((2..=8).contains(&copies), "{copies} copies");
    call.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_of_every_kind_changes_nothing_for_the_call() {
    let mut call = Call::answered().await;
    let (track, ssrc, _) = call.packets(50).await;
    let rounds = 50;
    for round in 0..rounds {
        let entry = FirEntry {
            ssrc,
            sequence_number: 7,
        };
        let report = ReceptionReport {
            ssrc,
            fraction_lost: 255,
            total_lost: 0x00ff_ffff,
            last_sequence_number: u32::MAX,
            jitter: u32::MAX,
            last_sender_report: u32::MAX,
            delay: u32::MAX,
        };
        let packets: Vec<Box<dyn rtcp::Packet>> = vec![
            Box::new(ReceiverReport {
                ssrc: 1,
                reports: vec![report; 31],
                profile_extensions: Bytes::new(),
            }),
            Box::new(ReceiverEstimatedMaximumBitrate {
                sender_ssrc: 1,
                bitrate: if round % 2 == 0 { 0.0 } else { 1e18 },
                ssrcs: vec![ssrc, 0],
            }),
            Box::new(FullIntraRequest {
                sender_ssrc: 1,
                media_ssrc: 0,
                fir: vec![entry; 50],
            }),
            Box::new(PictureLossIndication {
                sender_ssrc: 1,
                media_ssrc: round,
            }),
            Box::new(Goodbye {
                sources: vec![ssrc; 5],
                reason: Bytes::new(),
            }),
        ];
        track.write_rtcp(packets).await.unwrap();
        call.packets(2).await;
    }
    call.packets(100).await;
    assert_eq!(call.side.state(), ConnectionState::Connected);
    let asked = call
        .side
        .count(|event| *event == PeerEvent::KeyframeRequested);
    println!("{asked} requests for a keyframe reached the room");
    assert!(asked < 2 * rounds as usize, "{asked}");
    assert_eq!(
        call.side
            .count(|event| matches!(event, PeerEvent::SessionDied { .. })),
        0
    );
    call.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_of_rtcp_panic(
        kind in 192..224_u8,
        first in 0x80..0xc0_u8,
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        fits in any::<bool>(),
    ) {
        let words = u16::try_from(bytes.len() / 4).unwrap();
        bytes.truncate(usize::from(words) * 4);
        let length = if fits { words } else { words.wrapping_add(1) };
        let packet = [&[first, kind][..], &length.to_be_bytes(), &bytes].concat();
        let _ = rtcp::packet::unmarshal(&mut &packet[..]);
        let _ = rtcp::packet::unmarshal(&mut &bytes[..]);
    }
}
