//! From a remote track's packets to the peer's inbound media.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::rtp_transceiver::{RTCRtpReceiverId, RTCRtpTransceiverId};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::arrivals::Arrivals;
use super::health::Counters;
use crate::clock::monotonic;
use crate::media::AudioPacket;
use crate::media::inbound::{PeerInbound, View};
use crate::room::Timestamp;

/// How often it is looked whether the decoder wants a keyframe while no packets come.
const KEYFRAME_CHECK: Duration = Duration::from_millis(100);

/// What all remote tracks of a session share.
pub(super) struct Receiving {
    /// Where the packets go.
    pub(super) inbound: PeerInbound,
    /// The transceiver of our audio m-line; its receiver gets the peer's voice.
    pub(super) audio: RTCRtpTransceiverId,
    /// The transceiver of our camera m-line; its receiver gets the peer's camera.
    pub(super) video: RTCRtpTransceiverId,
    /// The SSRC in our RTCP.
    pub(super) own_ssrc: u32,
    /// The room wants a keyframe of the peer.
    pub(super) keyframe_ordered: AtomicBool,
    /// The SSRC that brought the newest camera packet: a peer that changes its camera track leaves the old
    /// one behind in silence, and a request must not go there.
    pub(super) camera_ssrc: AtomicU32,
    /// Which stream is the screen.
    pub(super) screen: ScreenChoice,
    /// Told once when the connection's task is gone.
    pub(super) ended: mpsc::Sender<()>,
    pub(super) counters: Arc<Counters>,
    pub(super) arrivals: Arrivals,
}

/// What a track is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Voice,
    Camera,
    /// Pictures of any other m-line.
    Screen,
    /// Sound of another m-line: read and dropped.
    Other,
}

/// Which of the streams beside the camera is shown: a peer may leave one behind in silence, as V1 does at the end of each share.
#[derive(Debug, Default)]
pub(super) struct ScreenChoice(Mutex<(u32, Timestamp)>);

/// A stream that is silent for so long gives way to another that flows.
const SCREEN_PAUSE: Duration = Duration::from_secs(1);

impl ScreenChoice {
    /// Whether a packet of this stream is to be shown.
    fn takes(&self, ssrc: u32, now: Timestamp) -> bool {
        let mut choice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (chosen, at) = *choice;
        if chosen != ssrc && now.since(at) < SCREEN_PAUSE {
            return false;
        }
        *choice = (ssrc, now);
        true
    }

    fn is(&self, ssrc: u32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 == ssrc
    }
}

impl Receiving {
    fn role(&self, receiver: RTCRtpReceiverId, kind: RtpCodecKind) -> Role {
        let transceiver = RTCRtpTransceiverId::from(receiver);
        if transceiver == self.audio {
            Role::Voice
        } else if transceiver == self.video {
            Role::Camera
        } else if kind == RtpCodecKind::Video {
            Role::Screen
        } else {
            Role::Other
        }
    }

    /// Takes a track's packets until the connection's task is gone.
    pub(super) async fn run(self: Arc<Self>, track: Arc<dyn TrackRemote>) {
        let mut role = Role::Other;
        let mut ssrc = 0;
        let mut check = interval(KEYFRAME_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wanted = tokio::select! {
                event = track.poll() => match event {
                    None | Some(TrackRemoteEvent::OnEnded) => break,
                    Some(TrackRemoteEvent::OnOpen(init)) => {
                        role = self.role(init.receiver_id, track.kind().await);
                        false
                    }
                    Some(TrackRemoteEvent::OnRtpPacket(packet)) => {
                        ssrc = packet.header.ssrc;
                        self.on_packet(role, packet)
                    }
                    Some(_) => false,
                },
                _ = check.tick(), if role == Role::Camera || role == Role::Screen => {
                    self.is_keyframe_due(role, ssrc)
                }
            };
            if wanted {
                let indication = PictureLossIndication {
                    sender_ssrc: self.own_ssrc,
                    media_ssrc: ssrc,
                };
                if track.write_rtcp(vec![Box::new(indication)]).await.is_err() {
                    break;
                }
                self.counters.on_keyframe_requested();
            }
        }
        // Full means that another track has told already.
        let _ = self.ended.try_send(());
    }

    /// Whether a keyframe is to be asked for while no packets come.
    fn is_keyframe_due(&self, role: Role, ssrc: u32) -> bool {
        let now = monotonic();
        match role {
            Role::Camera => {
                self.camera_ssrc.load(Ordering::Relaxed) == ssrc && self.is_keyframe_wanted(now)
            }
            Role::Screen => {
                self.screen.is(ssrc) && self.inbound.poll_keyframe_wanted(View::Screen, now)
            }
            Role::Voice | Role::Other => false,
        }
    }

    /// The room or the decoder wants a keyframe now.
    fn is_keyframe_wanted(&self, now: Timestamp) -> bool {
        let ordered = self.keyframe_ordered.swap(false, Ordering::Relaxed);
        self.inbound.poll_keyframe_wanted(View::Camera, now) || ordered
    }

    /// Hands a packet on; says whether a keyframe is to be asked for.
    fn on_packet(&self, role: Role, packet: rtc::rtp::Packet) -> bool {
        self.counters.on_packet_received(packet.payload.len());
        let now = monotonic();
        let header = packet.header;
        match role {
            Role::Voice => {
                self.arrivals.on_audio(now);
                let audio = AudioPacket {
                    sequence: header.sequence_number,
                    media_time: header.timestamp,
                    payload: packet.payload,
                    arrived_at: now,
                };
                self.inbound.push_audio(audio);
                false
            }
            Role::Camera => {
                self.arrivals.on_video(now);
                self.camera_ssrc.store(header.ssrc, Ordering::Relaxed);
                self.inbound.push_video(
                    View::Camera,
                    header.sequence_number,
                    header.timestamp,
                    header.marker,
                    &packet.payload,
                    now,
                );
                self.is_keyframe_wanted(now)
            }
            Role::Screen => {
                if !self.screen.takes(header.ssrc, now) {
                    return false;
                }
                self.arrivals.on_screen(now);
                self.inbound.push_video(
                    View::Screen,
                    header.sequence_number,
                    header.timestamp,
                    header.marker,
                    &packet.payload,
                    now,
                );
                self.inbound.poll_keyframe_wanted(View::Screen, now)
            }
            Role::Other => false,
        }
    }
}
