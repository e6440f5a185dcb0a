//! Builds one peer connection, with the settings found necessary where the defaults of the crate break calls.

use std::sync::Arc;
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
    RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{
    RTCRtpTransceiverDirection, RTCRtpTransceiverId, RTCRtpTransceiverInit,
};
use tokio::sync::Notify;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, RTCConfiguration, RTCConfigurationBuilder,
    RTCIceTransportPolicy, Registry, SettingEngineBuilder, register_default_interceptors,
};
use webrtc::rtp_transceiver::RtpSender;

use super::addresses::BindAddresses;
use super::error::Error;
use super::handler::{Handler, KeyframeWatch, Observations};
use super::servers::Servers;

/// No packet for so long: `disconnected`.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(3);
/// So long in `disconnected`: `failed`. Together 18 s, past Chromium's 16 s: the old path heals by itself
/// as long as the other side believes in it.
const FAILED_AFTER: Duration = Duration::from_secs(15);
/// STUN keep-alives (RFC 8445 section 11).
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Connectivity checks. By default a pair is given up after seven, for good, and an ICE restart begun while
/// the path is down would never end.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
const CHECKS: u16 = 1000;
/// An allocation is prolonged at least this often. The crate does not repeat a request that the server refused for a
/// stale nonce (438), and by default asks once in half of the allocation's life: one such refusal would end a call.
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

/// A peer connection with its two sending tracks.
pub(super) struct Connection {
    /// The connection. Every way out awaits its `close()`: dropping it leaves its task and socket behind.
    pub(super) inner: Arc<dyn PeerConnection>,
    /// The first m-line.
    pub(super) audio: SendingTrack,
    /// The second m-line.
    pub(super) video: SendingTrack,
}

impl Connection {
    /// Builds the connection: sockets are bound, nothing is gathered or sent yet.
    pub(super) async fn open(
        servers: &Arc<Servers>,
        keyframe_wanted: Arc<Notify>,
    ) -> Result<(Self, Observations), Error> {
        let mut media = MediaEngine::default();
        register_codecs(&mut media)?;
        let registry = register_default_interceptors(Registry::new(), &mut media)?
            .with(ChainSlot::from(12_500), KeyframeWatch::new(keyframe_wanted));

        let engine = SettingEngineBuilder::new()
            .with_ice_timeouts(
                Some(DISCONNECTED_AFTER),
                Some(FAILED_AFTER),
                Some(KEEP_ALIVE),
            )
            .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS))
            .with_discard_local_candidates_during_ice_restart(true)
            // Always passive as the answerer: the default answers `active` even where the running DTLS
            // session has us passive, which Chromium refuses.
            .with_answering_dtls_role(RTCDtlsRole::Server)
            // Its multicast join fails where there is no default route, at boot or with the cable out.
            .with_multicast_dns_mode(MulticastDnsMode::Disabled)
            .with_turn_allocation_refresh_interval_cap(ALLOCATION_REFRESH)
            .build();

        let (handler, observations) = Handler::new();
        let inner: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_configuration(configuration(servers).await)
                .with_media_engine(media)
                .with_setting_engine(engine)
                .with_interceptor_registry(registry)
                .with_handler(Arc::new(handler))
                .with_udp_addrs(vec![BindAddresses])
                .build()
                .await?,
        );

        match add_tracks(inner.as_ref()).await {
            Ok((audio, video)) => Ok((
                Self {
                    inner,
                    audio,
                    video,
                },
                observations,
            )),
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
        let configuration = configuration(servers).await;
        Ok(self.inner.set_configuration(configuration).await?)
    }
}

async fn configuration(servers: &Arc<Servers>) -> RTCConfiguration {
    RTCConfigurationBuilder::new()
        .with_ice_servers(servers.current().await)
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
