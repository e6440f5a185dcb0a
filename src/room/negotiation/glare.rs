//! What becomes of a remote offer.
//!
//! # Who yields in a collision
//! Two kinds of browsers and other boxes share a room, and their rules differ. What works with all of them:
//! - Against a **browser** we keep our offer and ignore theirs. A V2 browser with the greater id rolls back and answers
//!   ours; one with the smaller id never offers; a V1 browser closes, makes a new connection and answers ours. If we yielded
//!   as well, both offers would be gone.
//! - If a browser's offer comes in a dialect ours was not sent in, it may not have heard ours: V1 hears only `webrtc:*`. So
//!   ours is sent again in the dialect it speaks, and then the line above holds.
//! - Against another **box** (its descriptions carry `a=tool:huddled`) the ids decide: the greater takes its own offer back and
//!   answers, the smaller ignores. Both run this very code, so exactly one yields.
//! - Should both sides ignore all the same (a program nobody knows), the greater id yields after [`super::YIELD_AFTER`]: the offer it
//!   ignored is kept until then.
//!
//! # New connection or renegotiation
//! Peers recover by building new connections, and only their DTLS fingerprint tells: an offer with another fingerprint than the
//! one this connection was negotiated with is answered by a new generation of ours; the same one is applied here.

use super::super::types::{Dialect, Sdp};
use super::{Negotiation, State};

/// What to do with a remote offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Verdict {
    /// We have it already.
    Duplicate,
    /// The peer has a new connection: a new generation answers.
    NewConnection,
    /// Apply it here.
    Accept,
    /// Take our own offer back, then apply it here.
    YieldAndAccept,
    /// Keep our offer.
    Ignore,
    /// Keep our offer and send it again in the dialect theirs came in.
    Insist,
    /// Something else is being applied; this one comes next.
    Queue,
}

impl Negotiation {
    /// Judges a remote offer. `own_is_greater` compares user ids as plain strings.
    pub(in super::super) fn judge_offer(
        &mut self,
        offer: &Sdp,
        dialect: Dialect,
        own_is_greater: bool,
    ) -> Verdict {
        if self.queued.as_ref().is_some_and(|(sdp, _)| sdp == offer) {
            return Verdict::Duplicate;
        }
        let mark = offer.connection_mark();
        if self.mark.is_some() && mark.is_some() && self.mark != mark {
            return Verdict::NewConnection;
        }
        match &self.state {
            State::Stable => Verdict::Accept,
            State::CreatingAnswer { .. } | State::ApplyingAnswer { .. } => {
                self.queued = Some((offer.clone(), dialect));
                Verdict::Queue
            }
            State::CreatingOffer { .. } => {
                self.judge_collision(offer, dialect, own_is_greater, false)
            }
            State::AwaitingAnswer { sent_in, .. } => {
                let unheard = !sent_in.contains(&dialect);
                self.judge_collision(offer, dialect, own_is_greater, unheard)
            }
        }
    }

    fn judge_collision(
        &mut self,
        offer: &Sdp,
        dialect: Dialect,
        own_is_greater: bool,
        unheard: bool,
    ) -> Verdict {
        if offer.is_from_box() && own_is_greater {
            return Verdict::YieldAndAccept;
        }
        if self.ignored.as_ref().is_some_and(|(sdp, _)| sdp == offer) && !unheard {
            return Verdict::Duplicate;
        }
        self.ignored = Some((offer.clone(), dialect));
        if unheard {
            Verdict::Insist
        } else {
            Verdict::Ignore
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::types::NegotiationId;
    use super::super::tests::{description, offered};
    use super::*;

    #[test]
    fn an_offer_of_a_new_connection_is_told_from_a_renegotiation_by_its_fingerprint() {
        let mut negotiation = offered(Dialect::Media);
        negotiation.on_answer(&description("peer", 1));
        negotiation.on_answer_applied(NegotiationId(1));
        let judge = |n: &mut Negotiation, sdp: Sdp| n.judge_offer(&sdp, Dialect::Media, true);
        assert_eq!(
            judge(&mut negotiation, description("peer", 2)),
            Verdict::Accept
        );
        assert_eq!(
            judge(&mut negotiation, description("peer-2", 1)),
            Verdict::NewConnection
        );
    }

    #[test]
    fn a_collision_with_a_browser_in_a_dialect_it_may_not_have_heard_is_insisted_on_once() {
        let mut negotiation = offered(Dialect::Media);
        let theirs = description("v1", 1);
        assert_eq!(
            negotiation.judge_offer(&theirs, Dialect::Webrtc, true),
            Verdict::Insist
        );
        negotiation.repeat_offer(Dialect::Webrtc);
        assert_eq!(
            negotiation.judge_offer(&theirs, Dialect::Webrtc, true),
            Verdict::Duplicate
        );
        assert_eq!(
            negotiation.judge_offer(&description("v1", 2), Dialect::Webrtc, true),
            Verdict::Ignore
        );
    }
}
