//! From the peer's slot of the fanout to RTP packets, while the connection is connected and no longer.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rtc::rtp;
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

use super::connection::{Connection, SendingTrack, random_u32};
use super::error::Error;
use super::handler::KeyframesWanted;
use super::health::Counters;
use crate::media::EncodedVideo;
use crate::media::fanout::{Outgoing, Slot};
use crate::room::ConnectionState;

/// A negotiated payload type, or none yet. Written by the session after each negotiation.
#[derive(Debug)]
pub(super) struct PayloadType(AtomicU16);

impl PayloadType {
    const NONE: u16 = u16::MAX;

    pub(super) fn set(&self, payload_type: Option<u8>) {
        let value = payload_type.map_or(Self::NONE, u16::from);
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn current(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Relaxed)).ok()
    }
}

impl Default for PayloadType {
    fn default() -> Self {
        Self(AtomicU16::new(Self::NONE))
    }
}

/// One outgoing RTP stream (RFC 3550 section 5.1): own sequence numbers from a random start, media time
/// plus a random offset.
///
/// The crate's sample writer counts time in durations instead; after each gap its RTP time lags behind and
/// the peer plays sound and picture apart.
struct RtpStream {
    track: Arc<TrackLocalStaticRTP>,
    payload_type: Arc<PayloadType>,
    ssrc: u32,
    sequence: u16,
    offset: u32,
}

impl RtpStream {
    fn new(sending: &SendingTrack, payload_type: Arc<PayloadType>) -> Result<Self, Error> {
        Ok(Self {
            track: Arc::clone(&sending.track),
            payload_type,
            ssrc: sending.ssrc,
            sequence: random_u32()? as u16,
            offset: random_u32()?,
        })
    }

    /// The next packet; `None` while no payload type is negotiated.
    fn packet(&mut self, media_time: u32, marker: bool, payload: Bytes) -> Option<rtp::Packet> {
        let header = rtp::Header {
            version: 2,
            marker,
            payload_type: self.payload_type.current()?,
            sequence_number: self.sequence,
            timestamp: media_time.wrapping_add(self.offset),
            ssrc: self.ssrc,
            ..Default::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        Some(rtp::Packet { header, payload })
    }
}

/// Our screen's stream, once the connection has one.
#[derive(Default)]
pub(super) struct ScreenLine {
    stream: Mutex<Option<RtpStream>>,
    /// What is negotiated for it, while it is to be sent.
    pub(super) payload_type: Arc<PayloadType>,
}

impl ScreenLine {
    pub(super) fn set(&self, sending: &SendingTrack) -> Result<(), Error> {
        let stream = RtpStream::new(sending, Arc::clone(&self.payload_type))?;
        *self.lock() = Some(stream);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<RtpStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The packets of one picture; none while the screen is not negotiated.
    fn packets(
        &self,
        picture: &EncodedVideo,
    ) -> Option<(Arc<TrackLocalStaticRTP>, Vec<rtp::Packet>)> {
        let mut stream = self.lock();
        let stream = stream.as_mut()?;
        let last = picture.payloads.len().saturating_sub(1);
        let packets = picture.payloads.iter().enumerate();
        let packets = packets.filter_map(|(index, payload)| {
            stream.packet(picture.media_time, index == last, payload.clone())
        });
        let packets: Vec<_> = packets.collect();
        Some((Arc::clone(&stream.track), packets))
    }
}

/// The outgoing half of a session.
pub(super) struct Sender {
    audio: RtpStream,
    video: RtpStream,
    screen: Arc<ScreenLine>,
    slot: Slot,
    state: watch::Receiver<ConnectionState>,
    keyframes: KeyframesWanted,
    ended: mpsc::Sender<()>,
    counters: Arc<Counters>,
}

impl Sender {
    pub(super) fn new(
        connection: &Connection,
        payload_types: &(Arc<PayloadType>, Arc<PayloadType>),
        screen: Arc<ScreenLine>,
        slot: Slot,
        session: (watch::Receiver<ConnectionState>, mpsc::Sender<()>),
        keyframes: KeyframesWanted,
        counters: Arc<Counters>,
    ) -> Result<Self, Error> {
        let (state, ended) = session;
        Ok(Self {
            audio: RtpStream::new(&connection.audio, Arc::clone(&payload_types.0))?,
            video: RtpStream::new(&connection.video, Arc::clone(&payload_types.1))?,
            screen,
            slot,
            state,
            keyframes,
            ended,
            counters,
        })
    }

    /// Runs until the connection's task is gone, and tells.
    ///
    /// What is written while ICE is `disconnected` would pile up in the crate and burst out on return, so
    /// the slot is open only in `connected`; opening it asks for a keyframe.
    pub(super) async fn run(mut self) {
        let Err(Gone) = self.pass_on().await;
        // Full means that a track has told already.
        let _ = self.ended.try_send(());
    }

    async fn pass_on(&mut self) -> Result<Infallible, Gone> {
        let mut open = false;
        loop {
            let connected = *self.state.borrow_and_update() == ConnectionState::Connected;
            if connected != open {
                open = connected;
                self.slot.set_open(open);
            }
            tokio::select! {
                changed = self.state.changed() => changed.map_err(|_| Gone)?,
                outgoing = self.slot.next(), if open => self.send(outgoing).await?,
            }
        }
    }

    async fn send(&mut self, outgoing: Outgoing) -> Result<(), Gone> {
        match outgoing {
            Outgoing::KeyframeNeeded => self.keyframes.camera.notify_one(),
            Outgoing::ScreenKeyframeNeeded => self.keyframes.screen.notify_one(),
            Outgoing::Screen(picture) => {
                let Some((track, packets)) = self.screen.packets(&picture) else {
                    return Ok(());
                };
                for packet in packets {
                    if *self.state.borrow() != ConnectionState::Connected {
                        return Ok(());
                    }
                    write(&track, Some(packet), &self.counters).await?;
                }
            }
            Outgoing::Audio(audio) => {
                let packet = self.audio.packet(audio.media_time, false, audio.payload);
                write(&self.audio.track, packet, &self.counters).await?;
            }
            Outgoing::Video(video) => {
                let last = video.payloads.len().saturating_sub(1);
                for (index, payload) in video.payloads.iter().enumerate() {
                    // The rest of a picture is of no use once the connection is interrupted.
                    if *self.state.borrow() != ConnectionState::Connected {
                        return Ok(());
                    }
                    let packet =
                        self.video
                            .packet(video.media_time, index == last, payload.clone());
                    write(&self.video.track, packet, &self.counters).await?;
                }
                self.counters.on_frame_sent();
            }
        }
        Ok(())
    }
}

/// The connection's task is gone.
struct Gone;

async fn write(
    track: &TrackLocalStaticRTP,
    packet: Option<rtp::Packet>,
    counters: &Counters,
) -> Result<(), Gone> {
    let Some(packet) = packet else {
        return Ok(());
    };
    let bytes = packet.payload.len();
    // The error holds the whole packet: it is not to be shown.
    track.write_rtp(packet).await.map_err(|_| Gone)?;
    counters.on_packet_sent(bytes);
    Ok(())
}
