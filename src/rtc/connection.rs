//! Builds one peer connection, with the settings found necessary where the defaults of the crate break calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::Slot as ChainSlot;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX,
};
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters,
    RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use rtc::rtp_transceiver::{
    RTCRtpTransceiverDirection, RTCRtpTransceiverId, RTCRtpTransceiverInit,
};
use rtc::sdp::extmap::{
    SDES_MID_URI, SDES_REPAIR_RTP_STREAM_ID_URI, SDES_RTP_STREAM_ID_URI, TRANSPORT_CC_URI,
};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, RTCConfiguration, RTCConfigurationBuilder,
    RTCIceTransportPolicy, Registry, SettingEngineBuilder, register_default_interceptors,
};
use webrtc::rtp_transceiver::{RtpSender, RtpTransceiver};

use super::addresses::BindAddresses;
use super::admission::Gate;
use super::candidates::Remotes;
use super::error::Error;
use super::handler::{Handler, KeyframeWatch, Observations};
use super::marking::Streams;
use super::nonces::StaleNonces;
use super::retransmission::Resending;
use super::servers::Servers;
use super::sockets::OwnRuntime;

/// No packet for so long: `disconnected`.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(3);
/// So long in `disconnected`: `failed`. Together 18 s, past Chromium's 16 s: the old path heals by itself
/// as long as the other side believes in it.
const FAILED_AFTER: Duration = Duration::from_secs(15);
/// STUN keep-alives (RFC 8445 section 11), which are also what finds out that the path is back: of two boxes nobody else asks. A few
/// hundred bytes a second for each peer.
const KEEP_ALIVE: Duration = Duration::from_millis(300);
/// Connectivity checks. By default a pair is given up after seven, for good, and an ICE restart begun while
/// the path is down would never end.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
const CHECKS: u16 = 1000;
/// How long the checks of better ways may take before one is taken that works: an address of the peer that only its packets
/// told us (its candidates have names that end in .local, or are late) until the second round of checks, a relay for a
/// second, where others are possible at all. The crate waits 1 s and 2 s, after an ICE restart as well.
const ACCEPT_UNTOLD: Duration = Duration::from_millis(100);
const ACCEPT_RELAY: Duration = Duration::from_secs(1);
/// An allocation is prolonged at least this often: the crate by default asks once in half of its life, which leaves one more attempt
/// where an answer is lost.
const ALLOCATION_REFRESH: Duration = Duration::from_secs(60);

/// What an operation on the connection may take before the order fails. All of it is local work.
pub(super) const OPERATION_LIMIT: Duration = Duration::from_secs(3);

/// Level 3.1 constrained baseline, in any mix of NAL units, STAP-A and FU-A (RFC 6184 section 8.1): what
/// every browser can send and receive.
const H264_FORMAT: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
const OPUS_FORMAT: &str = "minptime=10;useinbandfec=1";

/// One track we send.
pub(super) struct SendingTrack {
    /// Where packets are written.
    pub(super) track: Arc<TrackLocalStaticRTP>,
    /// Its SSRC.
    pub(super) ssrc: u32,
    /// Its transceiver: the same one receives the peer's track of this kind.
    pub(super) transceiver: RTCRtpTransceiverId,
    handle: Arc<dyn RtpTransceiver>,
    sender: Arc<dyn RtpSender>,
    mime_type: &'static str,
}

impl SendingTrack {
    /// The payload type negotiated for our codec; `None` before the first negotiation is complete or if
    /// the peer does not take the codec.
    pub(super) async fn payload_type(&self) -> Option<u8> {
        let parameters = self.sender.get_parameters().await.ok()?;
        parameters
            .rtp_parameters
            .codecs
            .iter()
            .find(|codec| {
                codec
                    .rtp_codec
                    .mime_type
                    .eq_ignore_ascii_case(self.mime_type)
            })
            .map(|codec| codec.payload_type)
    }
}

impl SendingTrack {
    /// As [`Self::payload_type`], of a track that may not be part of the description yet.
    pub(super) async fn payload_type_if_negotiated(&self) -> Option<u8> {
        let is_there = self.handle.mid().await.ok()?.is_some();
        if is_there {
            self.payload_type().await
        } else {
            None
        }
    }
}

/// A peer connection with its sending tracks.
pub(super) struct Connection {
    /// The connection. Every way out awaits its `close()`: dropping it leaves its task and socket behind.
    pub(super) inner: Arc<dyn PeerConnection>,
    /// The first m-line.
    pub(super) audio: SendingTrack,
    /// The second m-line.
    pub(super) video: SendingTrack,
    /// Our screen, once it was shared or a place for the peer's was needed. Its transceiver stays for good.
    pub(super) screen: Option<SendingTrack>,
    /// The screen is to be sent.
    pub(super) screen_on: bool,
    /// What its sockets let in and out.
    pub(super) gate: Arc<Gate>,
    streams: Arc<Streams>,
    nonces: Arc<StaleNonces>,
    /// The peer's candidates.
    pub(super) remotes: Arc<Remotes>,
    /// Further places for what the peer may send.
    spares: Vec<Arc<dyn RtpTransceiver>>,
}

impl Connection {
    /// Builds the connection: sockets are bound, nothing is gathered or sent yet.
    pub(super) async fn open(
        servers: &Arc<Servers>,
        gate: Arc<Gate>,
        keyframes: KeyframeWatch,
        resending: Resending,
    ) -> Result<(Self, Observations), Error> {
        let mut media = MediaEngine::default();
        register_codecs(&mut media)?;
        number_extensions(&mut media)?;
        let registry = register_default_interceptors(Registry::new(), &mut media)?
            .with(ChainSlot::from(3_500), resending)
            .with(ChainSlot::from(12_500), keyframes);

        let engine = SettingEngineBuilder::new()
            .with_ice_timeouts(
                Some(DISCONNECTED_AFTER),
                Some(FAILED_AFTER),
                Some(KEEP_ALIVE),
            )
            .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS))
            .with_prflx_acceptance_min_wait(Some(ACCEPT_UNTOLD))
            .with_relay_acceptance_min_wait(Some(match servers.relay_only {
                true => Duration::ZERO,
                false => ACCEPT_RELAY,
            }))
            .with_discard_local_candidates_during_ice_restart(true)
            // Always passive as the answerer: the default answers `active` even where the running DTLS
            // session has us passive, which Chromium refuses.
            .with_answering_dtls_role(RTCDtlsRole::Server)
            // Its multicast join fails where there is no default route, at boot or with the cable out.
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_turn_allocation_refresh_interval_cap(ALLOCATION_REFRESH)
            .build();

        let streams = Arc::new(Streams::default());
        let nonces = Arc::new(StaleNonces::default());
        let remotes = Arc::new(Remotes::default());
        let (handler, observations) = Handler::new();
        let inner: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_configuration(configuration(servers, &nonces).await)
                .with_media_engine(media)
                .with_setting_engine(engine)
                .with_interceptor_registry(registry)
                .with_runtime(Arc::new(OwnRuntime {
                    streams: Arc::clone(&streams),
                    nonces: Arc::clone(&nonces),
                    remotes: Arc::clone(&remotes),
                    gate: Arc::clone(&gate),
                }))
                .with_handler(Arc::new(handler))
                .with_udp_addrs(vec![BindAddresses])
                .build()
                .await?,
        );

        match add_tracks(inner.as_ref()).await {
            Ok((audio, video)) => {
                streams.audio.store(audio.ssrc, Ordering::Relaxed);
                Ok((
                    Self {
                        inner,
                        gate,
                        streams,
                        nonces,
                        remotes,
                        audio,
                        video,
                        screen: None,
                        screen_on: false,
                        spares: Vec::new(),
                    },
                    observations,
                ))
            }
            Err(error) => {
                let _ = inner.close().await;
                Err(error)
            }
        }
    }
}

impl Connection {
    /// Takes over the servers of now, with fresh credentials, for the gathering of an ICE restart that is about to
    /// begin. Not to be called at any other time: the crate would sign the running allocations with them, which
    /// servers refuse (RFC 8656 section 7.2).
    pub(super) async fn renew_servers(&self, servers: &Arc<Servers>) -> Result<(), Error> {
        let configuration = configuration(servers, &self.nonces).await;
        Ok(self.inner.set_configuration(configuration).await?)
    }
}

impl Connection {
    /// From the next description on the screen is sent, as a stream of its own, or no longer.
    ///
    /// The track is made once and stays: only its direction changes, because the crate's `replace_track` is no way to
    /// give a sender another one.
    pub(super) async fn set_screen(&mut self, on: bool) -> Result<(), Error> {
        self.screen_on = on;
        if self.screen.is_none() && on {
            self.add_screen().await?;
        }
        self.direct_screen().await
    }

    async fn add_screen(&mut self) -> Result<(), Error> {
        let screen = add_screen(self.inner.as_ref()).await?;
        self.streams.screen.store(screen.ssrc, Ordering::Relaxed);
        self.screen = Some(screen);
        Ok(())
    }

    async fn direct_screen(&self) -> Result<(), Error> {
        if let Some(screen) = &self.screen {
            let direction = match self.screen_on {
                true => RTCRtpTransceiverDirection::Sendrecv,
                false => RTCRtpTransceiverDirection::Recvonly,
            };
            screen.handle.set_direction(direction).await?;
        }
        Ok(())
    }

    /// The next offer has at least so many m-lines, of which `present` are there.
    pub(super) async fn reserve(&mut self, sections: usize, present: usize) -> Result<(), Error> {
        let own = 2 + usize::from(self.screen.is_some()) + self.spares.len();
        let mut missing = sections.saturating_sub(present.max(own));
        if missing > 0 && self.screen.is_none() {
            self.add_screen().await?;
            self.direct_screen().await?;
            missing -= 1;
        }
        for _ in 0..missing {
            let init = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Recvonly,
                streams: vec![],
                send_encodings: vec![],
            };
            let spare = self
                .inner
                .add_transceiver_from_kind(RtpCodecKind::Video, Some(init))
                .await?;
            self.spares.push(spare);
        }
        Ok(())
    }

    /// Before the peer's offer is applied: a place that was never negotiated must not be taken for its camera's. The crate
    /// prefers such a one to ours for the camera, whatever their order.
    pub(super) async fn shelve_places(&self) -> Result<(), Error> {
        let screen = self.screen.as_ref().filter(|_| !self.screen_on);
        let screen = screen.map(|screen| &screen.handle);
        for place in self.spares.iter().chain(screen) {
            if place.mid().await?.is_none() {
                place
                    .set_direction(RTCRtpTransceiverDirection::Inactive)
                    .await?;
            }
        }
        Ok(())
    }

    /// Before an offer of ours: whatever the peer's descriptions made of the places, they take what it sends. (The crate
    /// notes a direction that the peer does not use in the wish of its own side.)
    pub(super) async fn open_places(&self) -> Result<(), Error> {
        self.direct_screen().await?;
        for place in &self.spares {
            place
                .set_direction(RTCRtpTransceiverDirection::Recvonly)
                .await?;
        }
        Ok(())
    }
}

async fn configuration(servers: &Arc<Servers>, nonces: &StaleNonces) -> RTCConfiguration {
    let current = servers.current().await;
    nonces.sign_with(&current);
    RTCConfigurationBuilder::new()
        .with_ice_servers(current)
        .with_ice_transport_policy(if servers.relay_only {
            RTCIceTransportPolicy::Relay
        } else {
            RTCIceTransportPolicy::All
        })
        .build()
}

/// Audio first, camera second, both of one stream (the application's browsers want a stream, and take a
/// stream without audio for a screen).
async fn add_tracks(inner: &dyn PeerConnection) -> Result<(SendingTrack, SendingTrack), Error> {
    let stream = random_name()?;
    let audio = add_track(inner, &stream, RtpCodecKind::Audio, MIME_TYPE_OPUS, opus()).await?;
    let video = add_track(inner, &stream, RtpCodecKind::Video, MIME_TYPE_H264, h264()).await?;
    Ok((audio, video))
}

/// A stream of its own and without sound, which is what browsers take for a screen.
async fn add_screen(inner: &dyn PeerConnection) -> Result<SendingTrack, Error> {
    let stream = random_name()?;
    add_track(inner, &stream, RtpCodecKind::Video, MIME_TYPE_H264, h264()).await
}

async fn add_track(
    inner: &dyn PeerConnection,
    stream: &str,
    kind: RtpCodecKind,
    mime_type: &'static str,
    codec: RTCRtpCodec,
) -> Result<SendingTrack, Error> {
    let ssrc = random_u32()?;
    let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
        stream.to_owned(),
        // Random, as two boxes with equal track ids would get each other's RTCP.
        random_name()?,
        kind.to_string(),
        kind,
        vec![RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                ..Default::default()
            },
            codec,
            ..Default::default()
        }],
    )));
    let transceiver = inner
        .add_transceiver_from_track(
            Arc::clone(&track) as Arc<dyn TrackLocal>,
            Some(RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Sendrecv,
                streams: vec![stream.to_owned()],
                send_encodings: vec![],
            }),
        )
        .await?;
    let sender = transceiver.sender().await?.ok_or(Error::State(
        "a transceiver made from a track has no sender",
    ))?;
    Ok(SendingTrack {
        track,
        ssrc,
        transceiver: transceiver.id(),
        handle: transceiver,
        sender,
        mime_type,
    })
}

/// Opus and H.264 with its retransmissions, and nothing else: whatever is registered first would be sent
/// to us, and we decode no other.
pub(super) fn register_codecs(media: &mut MediaEngine) -> Result<(), Error> {
    let codec = |payload_type, rtp_codec| RTCRtpCodecParameters {
        rtp_codec,
        payload_type,
    };
    media.register_codec(codec(111, opus()), RtpCodecKind::Audio)?;
    media.register_codec(codec(102, h264()), RtpCodecKind::Video)?;
    media.register_codec(codec(103, retransmission_of(102)), RtpCodecKind::Video)?;
    Ok(())
}

/// Gives the header extensions of an offer of ours the numbers that Chromium gives them. A browser that keeps its connection and
/// had made the first offer over it refuses our offer of a new one that exchanges the numbers ("RTP extension ID reassignment
/// not supported"). The crate numbers in the order of registration, so the gaps are filled with names that are of no kind and
/// never offered; what is offered of the rest is up to its own registration.
fn number_extensions(media: &mut MediaEngine) -> Result<(), Error> {
    for number in 1..=11 {
        let uri = match number {
            3 => TRANSPORT_CC_URI.to_owned(),
            4 => SDES_MID_URI.to_owned(),
            10 => SDES_RTP_STREAM_ID_URI.to_owned(),
            11 => SDES_REPAIR_RTP_STREAM_ID_URI.to_owned(),
            _ => format!("urn:huddled:gap:{number}"),
        };
        let extension = RTCRtpHeaderExtensionCapability { uri };
        media.register_header_extension(extension, RtpCodecKind::Unspecified, None)?;
    }
    Ok(())
}

pub(super) fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: OPUS_FORMAT.to_owned(),
        rtcp_feedback: vec![],
    }
}

/// NACK and PLI feedback is added by the default interceptors.
pub(super) fn h264() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_H264.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: H264_FORMAT.to_owned(),
        rtcp_feedback: vec![RTCPFeedback {
            typ: "ccm".to_owned(),
            parameter: "fir".to_owned(),
        }],
    }
}

fn retransmission_of(payload_type: u8) -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_RTX.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: format!("apt={payload_type}"),
        rtcp_feedback: vec![],
    }
}

/// A random 32-bit number: SSRCs and first timestamps must not be guessable (RFC 3550 section 5.1).
pub(super) fn random_u32() -> Result<u32, Error> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(u32::from_be_bytes(bytes))
}

fn random_name() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
