//! From a remote track's packets to the peer's inbound media.

use std::sync::Arc;
use std::time::Duration;

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::{RTCRtpReceiverId, RTCRtpTransceiverId};
use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::health::Counters;
use crate::clock::monotonic;
use crate::media::AudioPacket;
use crate::media::inbound::PeerInbound;

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
    pub(super) keyframe_ordered: Notify,
    /// Told once when the connection's task is gone.
    pub(super) ended: mpsc::Sender<()>,
    pub(super) counters: Arc<Counters>,
}

/// What a track is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Voice,
    Camera,
    /// A screen, or a second stream: read and dropped, its m-line is kept.
    Other,
}

impl Receiving {
    fn role(&self, receiver: RTCRtpReceiverId) -> Role {
        let transceiver = RTCRtpTransceiverId::from(receiver);
        if transceiver == self.audio {
            Role::Voice
        } else if transceiver == self.video {
            Role::Camera
        } else {
            Role::Other
        }
    }

    /// Takes a track's packets until the connection's task is gone.
    pub(super) async fn run(self: Arc<Self>, track: Arc<dyn TrackRemote>) {
        let mut role = Role::Other;
        let mut media_ssrc = None;
        let mut check = interval(KEYFRAME_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wanted = tokio::select! {
                event = track.poll() => match event {
                    None | Some(TrackRemoteEvent::OnEnded) => break,
                    Some(TrackRemoteEvent::OnOpen(init)) => {
                        role = self.role(init.receiver_id);
                        media_ssrc = Some(init.ssrc);
                        false
                    }
                    Some(TrackRemoteEvent::OnRtpPacket(packet)) => {
                        media_ssrc = Some(packet.header.ssrc);
                        self.on_packet(role, packet)
                    }
                    Some(_) => false,
                },
                _ = check.tick(), if role == Role::Camera => {
                    self.inbound.poll_keyframe_wanted(monotonic())
                }
                _ = self.keyframe_ordered.notified(), if role == Role::Camera => true,
            };
            if let (true, Some(media_ssrc)) = (wanted, media_ssrc) {
                let indication = PictureLossIndication {
                    sender_ssrc: self.own_ssrc,
                    media_ssrc,
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

    /// Hands a packet on; says whether the decoder wants a keyframe.
    fn on_packet(&self, role: Role, packet: rtc::rtp::Packet) -> bool {
        self.counters.on_packet_received(packet.payload.len());
        let now = monotonic();
        let header = packet.header;
        match role {
            Role::Voice => {
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
                self.inbound.push_video(
                    header.sequence_number,
                    header.timestamp,
                    header.marker,
                    &packet.payload,
                    now,
                );
                self.inbound.poll_keyframe_wanted(now)
            }
            Role::Other => false,
        }
    }
}
