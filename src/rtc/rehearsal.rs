//! A description is tried on a connection without sockets before the real one gets it: the crate applies one line after the
//! other, and what it stumbles over half-way costs the connection. Here that costs nothing, a panic included.

use std::time::Instant;

use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtp_transceiver::RTCRtpTransceiverInit;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use webrtc::peer_connection::{RTCSessionDescription, Registry, register_default_interceptors};

use super::connection::{h264, opus, register_codecs};
use super::error::Error;
use super::sdp::Outline;

/// Tries to take `sdp` as an offer and to answer it with our two tracks.
pub(super) async fn rehearse_offer(sdp: &str) -> Result<(), Error> {
    try_it(sdp, true).await
}

/// Tries to take `sdp`, an answer, as far as it says the same as an offer would.
pub(super) async fn rehearse_answer(sdp: &str) -> Result<(), Error> {
    try_it(sdp, false).await
}

async fn try_it(sdp: &str, answers: bool) -> Result<(), Error> {
    let sdp = sdp.to_owned();
    // Off the task that keeps consent alive; and a panic ends as an error.
    match tokio::task::spawn_blocking(move || take(sdp, answers)).await {
        Ok(result) => result,
        Err(_) => Err(Error::Description("the stack panics over it".to_owned())),
    }
}

fn take(sdp: String, answers: bool) -> Result<(), Error> {
    let now = Instant::now();
    let remote = Outline::parse(&sdp).map_err(Error::Description)?;
    let mut stage = stage(now)?;
    stage.set_remote_description(now, RTCSessionDescription::offer(sdp)?)?;
    if !answers {
        return Ok(());
    }
    let answer = stage.create_answer(None)?;
    let outline = Outline::parse(&answer.sdp).map_err(Error::Description)?;
    if !remote.is_answered_by(&outline) {
        return Err(Error::Description(
            "its media sections cannot all be answered".to_owned(),
        ));
    }
    Ok(stage.set_local_description(now, answer)?)
}

/// A connection with our codecs and tracks, and no sockets.
fn stage(now: Instant) -> Result<RTCPeerConnection, Error> {
    let mut media = MediaEngine::default();
    register_codecs(&mut media)?;
    let registry = register_default_interceptors(Registry::new(), &mut media)?;
    let mut stage = RTCPeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .build(now)?;
    for (kind, ssrc, codec) in [
        (RtpCodecKind::Audio, 1, opus()),
        (RtpCodecKind::Video, 2, h264()),
    ] {
        stage
            .add_transceiver_from_track(track(kind, ssrc, codec), None::<RTCRtpTransceiverInit>)?;
    }
    Ok(stage)
}

fn track(kind: RtpCodecKind, ssrc: u32, codec: RTCRtpCodec) -> MediaStreamTrack {
    MediaStreamTrack::new(
        "rehearsal".to_owned(),
        kind.to_string(),
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
    )
}
