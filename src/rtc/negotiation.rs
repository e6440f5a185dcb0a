//! Offers and answers of one session (RFC 8829), in the steps that the room orders.

use rtc::peer_connection::configuration::RTCOfferOptions;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use webrtc::peer_connection::{RTCSdpType, RTCSessionDescription};

use super::description::RemoteDescription;
use super::error::Error;
use super::rehearsal::{rehearse_answer, rehearse_offer};
use super::sdp::{Outline, marked};
use super::session::Session;
use crate::journal_budget::{Allowance, LineBudget};
use crate::room::{NegotiationId, PeerEvent, Sdp};

static NOT_WANTED: LineBudget = LineBudget::with(
    module_path!(),
    log::Level::Warn,
    "descriptions that take no sound or picture of ours",
    // Sound and picture, of a meeting.
    Allowance {
        lines: 32,
        per_source: 2,
    },
);

/// Our offer that waits for its answer.
pub(super) struct PendingOffer {
    outline: Outline,
    /// An ICE restart ends the old path the moment its offer becomes the local description (in the crate, not in RFC 8829),
    /// so that waits for the answer: until then the old path may heal.
    unapplied: Option<RTCSessionDescription>,
    /// What [`Session::description`] and the current negotiation were before.
    before: (Option<Outline>, NegotiationId),
}

impl Session {
    pub(super) async fn create_offer(
        &mut self,
        negotiation: NegotiationId,
        ice_restart: bool,
    ) -> Result<PeerEvent, Error> {
        let before = (
            self.description.clone(),
            self.observations.negotiation.current(),
        );
        // Gathering starts inside of `set_local_description`.
        self.observations.negotiation.set(negotiation);
        // What was taken back unapplied would be applied with any offer.
        let made = self.make_offer(ice_restart || self.staged).await;
        let (text, outline, unapplied) = match made {
            Ok(made) => made,
            Err(error) => {
                self.observations.negotiation.set(before.1);
                return Err(error);
            }
        };
        self.description = Some(outline.clone());
        self.offer = Some(PendingOffer {
            outline,
            unapplied,
            before,
        });
        Ok(PeerEvent::OfferCreated {
            negotiation,
            sdp: self.sent(&text),
        })
    }

    /// A local description as the peer gets it.
    fn sent(&self, text: &str) -> Sdp {
        Sdp::new(&marked(&self.rejected.placed_in(&self.shown(text))))
    }

    async fn make_offer(
        &self,
        ice_restart: bool,
    ) -> Result<(String, Outline, Option<RTCSessionDescription>), Error> {
        self.connection.open_places().await?;
        let connection = &self.connection.inner;
        let offer = connection
            .create_offer(Some(RTCOfferOptions { ice_restart }))
            .await?;
        let text = offer.sdp.clone();
        self.connection.gate.take_local(&text);
        let outline = Outline::parse(&text).map_err(Error::Description)?;
        if ice_restart {
            return Ok((text, outline, Some(offer)));
        }
        connection.set_local_description(offer).await?;
        Ok((text, outline, None))
    }

    pub(super) async fn accept_offer(
        &mut self,
        negotiation: NegotiationId,
        sdp: &Sdp,
    ) -> Result<PeerEvent, Error> {
        if self.offer.is_some() {
            return Err(Error::State("our own offer is pending; roll it back first"));
        }
        let description = RemoteDescription::read(sdp.as_str()).map_err(Error::Description)?;
        let remote = &description.outline;
        if self.staged && remote.username_fragment == self.remote_fragment {
            // The crate would restart ICE with the answer, and the peer, which did not, would be lost.
            self.broken = true;
            return Err(Error::State("an ICE restart taken back stands in the way"));
        }
        self.check_sections(remote)?;
        rehearse_offer(&description.text).await?;
        self.connection.gate.take_remote(&description.text);
        let offer = RTCSessionDescription::offer(description.text.clone())?;
        let answered = self.answer(negotiation, offer, remote).await;
        self.broken = answered.is_err();
        let (text, outline) = answered?;
        self.staged = false;
        self.description = Some(outline);
        self.rejected = description.rejected.clone();
        self.on_remote_description(description, false).await;
        self.read_payload_types().await;
        Ok(PeerEvent::AnswerCreated {
            negotiation,
            sdp: self.sent(&text),
        })
    }

    /// The peer's description is in force. `restarted`: our offer was an ICE restart.
    async fn on_remote_description(&mut self, description: RemoteDescription, restarted: bool) {
        let fragment = description.outline.username_fragment;
        if restarted || self.remote_fragment != fragment {
            self.remote_fragment = fragment;
            self.restart_candidates();
        }
        for _ in 0..description.refused {
            self.connection.remotes.on_refused();
        }
        self.add_candidates(&description.candidates).await;
    }

    /// Media sections are never removed nor exchanged (RFC 8829 section 5.2.2).
    fn check_sections(&self, remote: &Outline) -> Result<(), Error> {
        let Some(description) = self.description.as_ref() else {
            return Ok(());
        };
        if self.remote_fragment.is_some() && !remote.sections.starts_with(&description.sections) {
            return Err(Error::Description(
                "its media sections are not those of this connection".to_owned(),
            ));
        }
        Ok(())
    }

    async fn answer(
        &self,
        negotiation: NegotiationId,
        offer: RTCSessionDescription,
        remote: &Outline,
    ) -> Result<(String, Outline), Error> {
        self.connection.shelve_places().await?;
        let connection = &self.connection.inner;
        connection.set_remote_description(offer).await?;
        // From here on a candidate belongs to this negotiation: it is in the answer or follows it.
        self.observations.negotiation.set(negotiation);
        let answer = connection.create_answer(None).await?;
        let text = answer.sdp.clone();
        self.connection.gate.take_local(&text);
        let outline = Outline::parse(&text).map_err(Error::Description)?;
        if !remote.is_answered_by(&outline) {
            return Err(Error::Description(
                "its media sections cannot all be answered".to_owned(),
            ));
        }
        self.renew_servers_at_a_restart(&outline).await?;
        connection.set_local_description(answer).await?;
        Ok((text, outline))
    }

    /// Before `local` is set, which begins the gathering: another username fragment of ours is an ICE restart (RFC 8839
    /// section 4.4.1.1), and its allocations are made with what the servers want by now.
    async fn renew_servers_at_a_restart(&self, local: &Outline) -> Result<(), Error> {
        let restarts = |before: &Outline| before.username_fragment != local.username_fragment;
        if self.description.as_ref().is_some_and(restarts) {
            self.connection.renew_servers(&self.servers).await?;
        }
        Ok(())
    }

    pub(super) async fn accept_answer(
        &mut self,
        negotiation: NegotiationId,
        sdp: &Sdp,
    ) -> Result<PeerEvent, Error> {
        let Some(pending) = &mut self.offer else {
            return Err(Error::State("no offer of ours is pending"));
        };
        let description = RemoteDescription::read(sdp.as_str()).map_err(Error::Description)?;
        if !pending.outline.is_answered_by(&description.outline) {
            return Err(Error::Description(
                "its media sections are not those of our offer".to_owned(),
            ));
        }
        rehearse_answer(&description.text).await?;
        self.connection.gate.take_remote(&description.text);
        let answer = RTCSessionDescription::answer(description.text.clone())?;
        let connection = &self.connection.inner;
        let restarted = pending.unapplied.is_some();
        if let Some(offer) = pending.unapplied.take() {
            // The restart begins only now, and its allocations are made with what the servers want by now.
            self.connection.renew_servers(&self.servers).await?;
            let applied = connection.set_local_description(offer).await;
            self.broken = applied.is_err();
            applied?;
        }
        let applied = connection.set_remote_description(answer).await;
        self.broken = applied.is_err();
        applied?;
        self.offer = None;
        self.staged = false;
        self.on_remote_description(description, restarted).await;
        self.read_payload_types().await;
        Ok(PeerEvent::AnswerApplied { negotiation })
    }

    pub(super) async fn roll_back(
        &mut self,
        negotiation: NegotiationId,
    ) -> Result<PeerEvent, Error> {
        let Some(pending) = self.offer.take() else {
            return Err(Error::State("no offer of ours is pending"));
        };
        if pending.unapplied.is_some() {
            self.staged = true;
        } else {
            let connection = &self.connection.inner;
            connection.set_local_description(rollback()).await?;
        }
        let (description, current) = pending.before;
        self.description = description;
        self.observations.negotiation.set(current);
        Ok(PeerEvent::RolledBack { negotiation })
    }

    /// The numbers in the description are the peer's choice as often as ours; a packet with another one is
    /// dropped without an error.
    async fn read_payload_types(&mut self) {
        let (audio, video) = &self.payload_types;
        for (kind, sending, payload_type) in [
            (RtpCodecKind::Audio, &self.connection.audio, audio),
            (RtpCodecKind::Video, &self.connection.video, video),
        ] {
            let negotiated = sending.payload_type().await;
            // Once in the life of a connection: a member may offer as often as it likes.
            if negotiated.is_none()
                && !std::mem::replace(&mut self.warned, true)
                && NOT_WANTED.admits(self.reporter.peer.as_str())
            {
                log::warn!(peer = self.reporter.peer.as_str(); "the peer takes no {kind} of ours");
            }
            payload_type.set(negotiated);
        }
        let line = &self.screen.payload_type;
        let before = line.current();
        let screen = self.connection.screen.as_ref();
        let negotiated = match screen.filter(|_| self.connection.screen_on) {
            Some(screen) => screen.payload_type_if_negotiated().await,
            None => None,
        };
        line.set(negotiated);
        if before.is_none() && negotiated.is_some() {
            // It begins with a keyframe.
            self.keyframes.screen.notify_one();
        }
    }
}

fn rollback() -> RTCSessionDescription {
    let mut rollback = RTCSessionDescription::default();
    rollback.sdp_type = RTCSdpType::Rollback;
    rollback
}
