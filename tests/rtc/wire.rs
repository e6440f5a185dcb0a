//! What is on the wire, seen by a peer that is no box: default codecs, its own order of m-lines, a screen, a data channel.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use huddled::room::{
    ConnectionState, IceCandidate, NegotiationId, PeerEvent, PeerId, PeerOrder, Sdp,
};
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use tokio::sync::mpsc;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceCandidateInit, RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription,
    Registry, register_default_interceptors,
};
use webrtc::rtp_transceiver::RtpSender;

use super::bench::{Side, picture, sound};

enum Seen {
    Candidate(RTCIceCandidateInit),
    Connected,
    Packet(RtpCodecKind, Box<rtp::Packet>),
}

struct Handler(mpsc::UnboundedSender<Seen>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let _ = self
            .0
            .send(Seen::Candidate(event.candidate.to_json().unwrap()));
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            let _ = self.0.send(Seen::Connected);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let seen = self.0.clone();
        tokio::spawn(async move {
            let kind = track.kind().await;
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    let _ = seen.send(Seen::Packet(kind, Box::new(packet)));
                }
            }
        });
    }
}

struct Outgoing {
    track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
    ssrc: u32,
    sequence: u16,
}

impl Outgoing {
    async fn add(
        connection: &dyn PeerConnection,
        stream: &str,
        kind: RtpCodecKind,
        ssrc: u32,
    ) -> Self {
        let (mime_type, clock_rate, format) = match kind {
            RtpCodecKind::Audio => ("audio/opus", 48_000, "minptime=10;useinbandfec=1"),
            _ => (
                "video/H264",
                90_000,
                "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            ),
        };
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            stream.to_owned(),
            format!("track-{ssrc}"),
            format!("track-{ssrc}"),
            kind,
            vec![RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters {
                    ssrc: Some(ssrc),
                    ..Default::default()
                },
                codec: RTCRtpCodec {
                    mime_type: mime_type.to_owned(),
                    clock_rate,
                    channels: if kind == RtpCodecKind::Audio { 2 } else { 0 },
                    sdp_fmtp_line: format.to_owned(),
                    rtcp_feedback: vec![],
                },
                ..Default::default()
            }],
        )));
        let sender = connection
            .add_track(Arc::clone(&track) as Arc<dyn TrackLocal>)
            .await
            .unwrap();
        Self {
            track,
            sender,
            ssrc,
            sequence: 100,
        }
    }

    async fn write(&mut self, payload: Vec<u8>) {
        let parameters = self.sender.get_parameters().await.unwrap();
        let packet = rtp::Packet {
            header: rtp::Header {
                version: 2,
                marker: true,
                payload_type: parameters.rtp_parameters.codecs[0].payload_type,
                sequence_number: self.sequence,
                timestamp: u32::from(self.sequence) * 3000,
                ssrc: self.ssrc,
                ..Default::default()
            },
            payload: Bytes::from(payload),
        };
        self.sequence += 1;
        self.track.write_rtp(packet).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_its_own_order_of_sections_and_a_screen_is_answered_and_served() {
    let (seen_in, mut seen) = mpsc::unbounded_channel();
    let mut media = MediaEngine::default();
    media.register_default_codecs().unwrap();
    let registry = register_default_interceptors(Registry::new(), &mut media).unwrap();
    let settings = webrtc::peer_connection::SettingEngineBuilder::new()
        .with_multicast_dns_mode(rtc::ice::mdns::MulticastDnsMode::Disabled)
        .build();
    let other = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings)
        .with_handler(Arc::new(Handler(seen_in)))
        .with_udp_addrs(vec!["127.0.0.1:0", "0.0.0.0:0"])
        .build()
        .await
        .unwrap();
    // Camera before voice, and a screen.
    let mut camera = Outgoing::add(&other, "main", RtpCodecKind::Video, 11).await;
    let mut voice = Outgoing::add(&other, "main", RtpCodecKind::Audio, 22).await;
    let mut screen = Outgoing::add(&other, "screen", RtpCodecKind::Video, 33).await;

    let _channel = other.create_data_channel("chat", None).await.unwrap();

    let mut side = Side::new();
    side.order(PeerOrder::Open);
    let offer = other.create_offer(None).await.unwrap();
    other.set_local_description(offer.clone()).await.unwrap();
    side.order(PeerOrder::AcceptOffer {
        negotiation: NegotiationId(1),
        sdp: Sdp::new(&offer.sdp),
    });
    let event = side
        .until(|event| {
            matches!(
                event,
                PeerEvent::AnswerCreated { .. } | PeerEvent::NegotiationFailed { .. }
            )
        })
        .await;
    let PeerEvent::AnswerCreated { sdp, .. } = event else {
        panic!("{event:?}");
    };
    let sections: Vec<_> = sdp
        .as_str()
        .lines()
        .filter(|line| {
            line.starts_with("m=") || matches!(*line, "a=sendrecv" | "a=recvonly" | "a=sendonly")
        })
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        sections,
        [
            "m=video",
            "a=sendrecv",
            "m=audio",
            "a=sendrecv",
            "m=video",
            "a=recvonly",
            "m=application"
        ],
        "{}",
        sdp.as_str()
    );
    assert!(!sdp.as_str().contains("VP8"));
    assert!(sdp.as_str().contains("m=application 0 "), "rejected");
    other
        .set_remote_description(RTCSessionDescription::answer(sdp.as_str().to_owned()).unwrap())
        .await
        .unwrap();

    // Until both are connected, candidates are exchanged and nothing of ours is written.
    let (mut here, mut there) = (false, false);
    let mut published = 0_u32;
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    while !(here && there) {
        tokio::select! {
            event = side.next() => match event {
                PeerEvent::LocalCandidate { candidate, .. } => other
                    .add_ice_candidate(RTCIceCandidateInit {
                        candidate: candidate.candidate,
                        ..Default::default()
                    })
                    .await
                    .unwrap(),
                PeerEvent::ConnectionState(ConnectionState::Connected) => here = true,
                _ => {}
            },
            Some(seen) = seen.recv() => match seen {
                Seen::Candidate(init) => side.order(PeerOrder::AddCandidate(IceCandidate {
                    candidate: init.candidate,
                    sdp_mid: None,
                    sdp_m_line_index: Some(0),
                    username_fragment: None,
                })),
                Seen::Connected => there = true,
                Seen::Packet(..) => {}
            },
            _ = ticks.tick() => {
                // Without a keyframe: would be sent if it were not for the closed gate.
                side.fanout.publish_video(&picture(1, false));
                published += 1;
            }
        }
    }
    println!("{published} pictures before the connection");
    assert_eq!(side.health().unwrap().frames_sent, 0);

    // Ours to the other.
    let mut video: Vec<rtp::Packet> = Vec::new();
    let mut audio: Vec<rtp::Packet> = Vec::new();
    let start = u32::MAX - 9_000;
    let mut index = 0_u32;
    while video.len() < 20 || audio.len() < 10 {
        tokio::select! {
            Some(seen) = seen.recv() => {
                match seen {
                    Seen::Packet(RtpCodecKind::Video, packet) => video.push(*packet),
                    Seen::Packet(_, packet) => audio.push(*packet),
                    _ => {}
                }
            }
            _ = ticks.tick() => {
                let media_time = start.wrapping_add(index * 3000);
                side.fanout.publish_video(&picture(media_time, true));
                side.fanout.publish_audio(&sound(start.wrapping_add(index * 960)));
                index += 1;
                assert!(index < 2000, "{} video, {} audio", video.len(), audio.len());
            }
        }
    }
    for packets in [&video, &audio] {
        for pair in packets.windows(2) {
            assert_eq!(
                pair[1].header.sequence_number,
                pair[0].header.sequence_number.wrapping_add(1)
            );
            assert_eq!(pair[1].header.ssrc, pair[0].header.ssrc);
        }
    }
    let offset = |packet: &rtp::Packet| {
        let media_time = packet.payload.last_chunk::<4>().unwrap();
        let media_time = u32::from_be_bytes(*media_time);
        packet.header.timestamp.wrapping_sub(media_time)
    };
    let pictures: Vec<_> = video.iter().filter(|packet| packet.header.marker).collect();
    assert!(pictures.len() >= 9);
    for packet in &pictures {
        assert_eq!(packet.payload.len(), 1004);
        assert_eq!(
            offset(packet),
            offset(pictures[0]),
            "media time plus one offset"
        );
    }
    for packet in video.iter().filter(|packet| !packet.header.marker) {
        assert_eq!(packet.payload[..], [0x65, 1, 2, 3]);
    }
    for packet in &audio {
        assert_eq!(packet.payload.len(), 4);
        assert_eq!(offset(packet), offset(&audio[0]));
    }
    assert_ne!(offset(&audio[0]), 0, "the offset is random");

    // The other's to us: its camera and voice arrive in their places, its screen in none.
    for _ in 0..30 {
        camera.write(vec![0x61, 1, 2, 3]).await;
        voice.write(vec![0xf8, 0xff, 0xfe]).await;
        screen.write(vec![0x61, 9, 9, 9]).await;
    }
    let started = tokio::time::Instant::now();
    loop {
        ticks.tick().await;
        let health = side.inbound.health();
        let peer = health
            .peers
            .iter()
            .find(|health| health.peer == PeerId::new("other"))
            .unwrap();
        let all = side.health().unwrap().packets_received;
        if all >= 90 {
            assert_eq!(peer.video.packets, 30);
            assert_eq!(peer.audio.packets, 30);
            break;
        }
        assert!(
            started.elapsed() < super::bench::LIMIT,
            "{all} packets, {peer:?}"
        );
    }
    other.close().await.unwrap();
    side.order(PeerOrder::Close);
    side.until(|event| *event == PeerEvent::Closed).await;
}
