//! What the crate calls on its driver task. Nothing here waits: states go into latest-value slots,
//! candidates and tracks into a bounded queue.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use tokio::sync::{Notify, mpsc, watch};
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceConnectionState, RTCPeerConnectionIceEvent,
    RTCPeerConnectionState,
};

use crate::journal_budget::LineBudget;
use crate::room::{ConnectionState, IceConnectionState, NegotiationId};

/// What the driver found, in order.
pub(super) enum Finding {
    /// A local candidate, as its `candidate:` text.
    Candidate {
        /// The negotiation whose local description was current.
        negotiation: NegotiationId,
        /// The text.
        candidate: String,
    },
    /// The first packet of a remote track arrived.
    Track(Arc<dyn TrackRemote>),
}

/// How many findings may wait for the session: far more than a machine has addresses and a peer has
/// tracks. What does not fit is dropped and logged.
const FINDINGS: usize = 256;

static NOT_TAKEN: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Error,
    "candidates and tracks that a session did not take",
);

/// The handler handed to the crate.
pub(super) struct Handler {
    connection: watch::Sender<ConnectionState>,
    ice: watch::Sender<IceConnectionState>,
    findings: mpsc::Sender<Finding>,
    negotiation: CurrentNegotiation,
}

/// The session's ends of what a [`Handler`] fills.
pub(super) struct Observations {
    /// `connectionState`.
    pub(super) connection: watch::Receiver<ConnectionState>,
    /// `iceConnectionState`.
    pub(super) ice: watch::Receiver<IceConnectionState>,
    /// Candidates and tracks.
    pub(super) findings: mpsc::Receiver<Finding>,
    /// Set before a local description is applied.
    pub(super) negotiation: CurrentNegotiation,
}

/// The negotiation whose local description is current.
#[derive(Clone, Debug, Default)]
pub(super) struct CurrentNegotiation(Arc<AtomicU64>);

impl CurrentNegotiation {
    pub(super) fn set(&self, negotiation: NegotiationId) {
        self.0.store(negotiation.0, Ordering::Release);
    }

    pub(super) fn current(&self) -> NegotiationId {
        NegotiationId(self.0.load(Ordering::Acquire))
    }
}

impl Handler {
    pub(super) fn new() -> (Self, Observations) {
        let (connection_in, connection) = watch::channel(ConnectionState::New);
        let (ice_in, ice) = watch::channel(IceConnectionState::New);
        let (findings_in, findings) = mpsc::channel(FINDINGS);
        let negotiation = CurrentNegotiation::default();
        let handler = Self {
            connection: connection_in,
            ice: ice_in,
            findings: findings_in,
            negotiation: negotiation.clone(),
        };
        let observations = Observations {
            connection,
            ice,
            findings,
            negotiation,
        };
        (handler, observations)
    }

    fn found(&self, finding: Finding) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.findings.try_send(finding)
            && NOT_TAKEN.admits("the sessions")
        {
            log::error!("a session does not take its candidates and tracks; one was dropped");
        }
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if let Some(state) = connection_state(state) {
            self.connection.send_replace(state);
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        if let Some(state) = ice_connection_state(state) {
            self.ice.send_replace(state);
        }
    }

    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        match event.candidate.to_json() {
            Ok(init) => self.found(Finding::Candidate {
                negotiation: self.negotiation.current(),
                candidate: init.candidate,
            }),
            Err(error) => log::debug!("a local candidate could not be written: {error}"),
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        self.found(Finding::Track(track));
    }
}

fn connection_state(state: RTCPeerConnectionState) -> Option<ConnectionState> {
    Some(match state {
        RTCPeerConnectionState::New => ConnectionState::New,
        RTCPeerConnectionState::Connecting => ConnectionState::Connecting,
        RTCPeerConnectionState::Connected => ConnectionState::Connected,
        RTCPeerConnectionState::Disconnected => ConnectionState::Disconnected,
        RTCPeerConnectionState::Failed => ConnectionState::Failed,
        RTCPeerConnectionState::Closed => ConnectionState::Closed,
        _ => return None,
    })
}

fn ice_connection_state(state: RTCIceConnectionState) -> Option<IceConnectionState> {
    Some(match state {
        RTCIceConnectionState::New => IceConnectionState::New,
        RTCIceConnectionState::Checking => IceConnectionState::Checking,
        RTCIceConnectionState::Connected => IceConnectionState::Connected,
        RTCIceConnectionState::Completed => IceConnectionState::Completed,
        RTCIceConnectionState::Disconnected => IceConnectionState::Disconnected,
        RTCIceConnectionState::Failed => IceConnectionState::Failed,
        RTCIceConnectionState::Closed => IceConnectionState::Closed,
        _ => return None,
    })
}

/// Where requests for keyframes go; those that come before they are looked at are one.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyframesWanted {
    pub(super) camera: Arc<Notify>,
    pub(super) screen: Arc<Notify>,
    /// Of our screen; 0 while there is none.
    pub(super) screen_ssrc: Arc<AtomicU32>,
}

impl KeyframesWanted {
    fn is_screen(&self, ssrc: u32) -> bool {
        let screen = self.screen_ssrc.load(Ordering::Relaxed);
        screen != 0 && ssrc == screen
    }

    /// Whatever does not name our screen means the camera.
    fn on_request(&self, ssrc: u32) {
        if self.is_screen(ssrc) {
            self.screen.notify_one();
        } else {
            self.camera.notify_one();
        }
    }
}

/// Sees the peer's requests for a keyframe (PLI, RFC 4585 section 6.3.1; FIR, RFC 5104 section 4.3.1),
/// which the crate keeps from the application, and lets everything pass.
pub(super) struct KeyframeWatch {
    wanted: KeyframesWanted,
    /// The number of the latest FIR for the camera and for the screen.
    answered: [Option<u8>; 2],
    inward: VecDeque<TaggedPacket>,
    outward: VecDeque<TaggedPacket>,
}

impl KeyframeWatch {
    pub(super) fn new(wanted: KeyframesWanted) -> Self {
        Self {
            wanted,
            answered: [None; 2],
            inward: VecDeque::new(),
            outward: VecDeque::new(),
        }
    }
}

impl KeyframeWatch {
    /// A FIR with the number of the one before it is the same request once more (RFC 5104 section 4.3.1.1).
    fn on_full_request(&mut self, ssrc: u32, number: u8) {
        let answered = &mut self.answered[usize::from(self.wanted.is_screen(ssrc))];
        if answered.replace(number) != Some(number) {
            self.wanted.on_request(ssrc);
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyframeWatch {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &message.message.packet {
            for packet in packets {
                let packet = packet.as_any();
                if let Some(indication) = packet.downcast_ref::<PictureLossIndication>() {
                    self.wanted.on_request(indication.media_ssrc);
                } else if let Some(request) = packet.downcast_ref::<FullIntraRequest>() {
                    // Its own field for the source is unused (RFC 5104 section 4.3.1.2).
                    for entry in &request.fir {
                        self.on_full_request(entry.ssrc, entry.sequence_number);
                    }
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
        self.outward.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outward.pop_front()
    }
}

impl Interceptor for KeyframeWatch {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_repeated_full_intra_request_is_one_request() {
        let wanted = KeyframesWanted::default();
        wanted.screen_ssrc.store(33, Ordering::Relaxed);
        let mut watch = KeyframeWatch::new(wanted.clone());
        let is_asked = async |notify: &Notify| {
            tokio::time::timeout(Duration::from_millis(1), notify.notified())
                .await
                .is_ok()
        };
        for (ssrc, number, camera, screen) in [
            (22, 0, true, false),
            (22, 0, false, false),
            (33, 0, false, true),
            (22, 1, true, false),
            (22, 1, false, false),
            (33, 0, false, false),
            (22, 0, true, false),
        ] {
            watch.on_full_request(ssrc, number);
            assert_eq!(is_asked(&wanted.camera).await, camera, "{ssrc} {number}");
            assert_eq!(is_asked(&wanted.screen).await, screen, "{ssrc} {number}");
        }
    }
}
