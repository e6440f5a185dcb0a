//! Offers and answers of one connection: roles, glare, early candidates, the two wire dialects.
//!
//! Which offer wins in a collision, and which needs a new connection: `glare`.

mod glare;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

pub(super) use glare::Verdict;

use super::types::{Dialect, IceCandidate, NegotiationId, Sdp, Timestamp};

/// Remote candidates waiting for their description, and local ones waiting for or kept with theirs; the oldest is dropped.
pub(super) const CANDIDATES: usize = 50;
/// Known candidates that are remembered in order to drop copies; then forgotten, because a copy does no harm.
const KNOWN: usize = 400;
/// Our descriptions whose late candidates still go out.
const SENT: usize = 8;
/// An unanswered offer is repeated once: a V2 browser throws offers away until its camera runs.
const REPEAT_AFTER: Duration = Duration::from_secs(1);
/// Then it goes out in the other dialect if the peer's is unknown.
const OTHER_DIALECT_AFTER: Duration = Duration::from_secs(5);
/// Nobody yielded: see `glare`.
const YIELD_AFTER: Duration = Duration::from_secs(3);
/// An offer is given up after this.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// ```text
///             CreateOffer                OfferCreated, sent              answer
///   Stable ───────────────> CreatingOffer ────────────────> AwaitingAnswer ──────> ApplyingAnswer
///     ^  │                       │  yield: Rollback               │ yield: Rollback      │ AnswerApplied
///     │  │ offer: AcceptOffer    v                                v                      │
///     │  └─────────────────> CreatingAnswer <─────────────────────┘                      │
///     └── AnswerCreated, sent ───┘ <─────────────────────────────────────────────────────┘
/// ```
/// One state, so never two offers in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Stable,
    CreatingOffer {
        negotiation: NegotiationId,
    },
    AwaitingAnswer {
        negotiation: NegotiationId,
        offer: Sdp,
        since: Timestamp,
        /// When it went out last, and how often since `since`.
        sent_in: BTreeSet<Dialect>,
        repeats: u8,
    },
    ApplyingAnswer {
        negotiation: NegotiationId,
        answer: Sdp,
    },
    CreatingAnswer {
        negotiation: NegotiationId,
        offer: Sdp,
        dialect: Dialect,
    },
}

/// What is due for an offer that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Repeat,
    OtherDialect,
    Yield,
    GiveUp,
}

/// The negotiation of one connection.
#[derive(Clone, Debug)]
pub(super) struct Negotiation {
    pub(super) state: State,
    /// [`Sdp::connection_mark`] of the peer's connection.
    mark: Option<String>,
    /// Of the applied remote description; `None` before the first.
    remote_ufrag: Option<Option<String>>,
    /// `mark` before the description that is being applied.
    mark_before: Option<String>,
    /// The negotiation that restarts ICE, ours or the peer's; of interest while it is the current one.
    restart: Option<NegotiationId>,
    queued: Option<(Sdp, Dialect)>,
    /// The newest offer ignored in favour of ours.
    ignored: Option<(Sdp, Dialect)>,
    /// Our descriptions that were sent and not taken back.
    sent: BTreeSet<NegotiationId>,
    /// Local candidates whose description has not been sent.
    held: VecDeque<IceCandidate>,
    /// Local candidates sent with the present offer, for its repetitions.
    with_offer: VecDeque<IceCandidate>,
    known: BTreeSet<String>,
}

fn push_bounded(queue: &mut VecDeque<IceCandidate>, candidate: IceCandidate) {
    if queue.len() == CANDIDATES {
        queue.pop_front();
    }
    queue.push_back(candidate);
}

impl Negotiation {
    pub(super) fn new() -> Self {
        Self {
            state: State::Stable,
            mark: None,
            remote_ufrag: None,
            mark_before: None,
            restart: None,
            queued: None,
            ignored: None,
            sent: BTreeSet::new(),
            held: VecDeque::new(),
            with_offer: VecDeque::new(),
            known: BTreeSet::new(),
        }
    }

    /// The negotiation under way.
    pub(super) fn current(&self) -> Option<NegotiationId> {
        match self.state {
            State::Stable => None,
            State::CreatingOffer { negotiation }
            | State::AwaitingAnswer { negotiation, .. }
            | State::ApplyingAnswer { negotiation, .. }
            | State::CreatingAnswer { negotiation, .. } => Some(negotiation),
        }
    }

    pub(super) fn is_stable(&self) -> bool {
        self.state == State::Stable
    }

    /// The negotiation under way restarts ICE.
    pub(super) fn is_restarting(&self) -> bool {
        self.restart.is_some() && self.restart == self.current()
    }

    fn has_other_ufrag(&self, sdp: &Sdp) -> bool {
        let known = self.remote_ufrag.as_ref().and_then(Option::as_deref);
        known.is_some() && sdp.ice_ufrag().is_some() && known != sdp.ice_ufrag()
    }

    /// This offer restarts ICE over the present connection of the peer's.
    pub(super) fn is_restarted_by(&self, offer: &Sdp) -> bool {
        self.mark == offer.connection_mark() && self.has_other_ufrag(offer)
    }

    /// An answer to our offer that comes from another connection of the peer's than the one we have had descriptions of. Applied, it
    /// would lead the packets there, and the handshake of that connection would find nobody.
    pub(super) fn is_of_another(&self, answer: &Sdp) -> bool {
        let mark = answer.connection_mark();
        matches!(self.state, State::AwaitingAnswer { .. })
            && self.mark.is_some()
            && mark.is_some()
            && self.mark != mark
    }

    /// The shell was ordered a description and has not reported.
    pub(super) fn is_ordered(&self) -> bool {
        match self.state {
            State::Stable | State::AwaitingAnswer { .. } => false,
            State::CreatingOffer { .. }
            | State::ApplyingAnswer { .. }
            | State::CreatingAnswer { .. } => true,
        }
    }

    /// `CreateOffer` was ordered.
    pub(super) fn enter_creating_offer(&mut self, negotiation: NegotiationId, ice_restart: bool) {
        debug_assert_eq!(self.state, State::Stable, "one offer in flight");
        self.restart = ice_restart.then_some(negotiation);
        self.held.clear();
        self.state = State::CreatingOffer { negotiation };
    }

    /// `AcceptOffer` was ordered. Our own offer, if there was one, is gone, and its candidates with it.
    pub(super) fn enter_creating_answer(
        &mut self,
        negotiation: NegotiationId,
        offer: Sdp,
        dialect: Dialect,
    ) {
        if let Some(taken_back) = self.current() {
            self.sent.remove(&taken_back);
        }
        self.restart = self.has_other_ufrag(&offer).then_some(negotiation);
        self.held.clear();
        self.with_offer.clear();
        self.ignored = None;
        self.mark_before = std::mem::replace(&mut self.mark, offer.connection_mark());
        self.state = State::CreatingAnswer {
            negotiation,
            offer,
            dialect,
        };
    }

    fn mark_sent(&mut self, negotiation: NegotiationId) {
        self.sent.insert(negotiation);
        if self.sent.len() > SENT {
            self.sent.pop_first();
        }
    }

    /// Our offer exists. `Some`: it is to be sent, with these candidates behind it.
    pub(super) fn on_offer_created(
        &mut self,
        negotiation: NegotiationId,
        offer: Sdp,
        dialect: Dialect,
        now: Timestamp,
    ) -> Option<Vec<IceCandidate>> {
        match self.state {
            State::CreatingOffer {
                negotiation: creating,
            } if creating == negotiation => {}
            State::Stable
            | State::CreatingOffer { .. }
            | State::AwaitingAnswer { .. }
            | State::ApplyingAnswer { .. }
            | State::CreatingAnswer { .. } => return None,
        }
        self.mark_sent(negotiation);
        self.with_offer = std::mem::take(&mut self.held);
        self.state = State::AwaitingAnswer {
            negotiation,
            offer,
            since: now,
            sent_in: BTreeSet::from([dialect]),
            repeats: 0,
        };
        Some(self.with_offer.iter().cloned().collect())
    }

    /// Our offer and its candidates, to be sent once more in `dialect`.
    pub(super) fn repeat_offer(&mut self, in_dialect: Dialect) -> Option<(Sdp, Vec<IceCandidate>)> {
        match &mut self.state {
            State::AwaitingAnswer {
                offer,
                sent_in,
                repeats,
                ..
            } => {
                *repeats = repeats.saturating_add(1);
                sent_in.insert(in_dialect);
                Some((offer.clone(), self.with_offer.iter().cloned().collect()))
            }
            State::Stable
            | State::CreatingOffer { .. }
            | State::ApplyingAnswer { .. }
            | State::CreatingAnswer { .. } => None,
        }
    }

    /// An answer arrived. `Some`: it is to be applied; otherwise nobody waits for it (the second of two, or a late one).
    pub(super) fn on_answer(&mut self, answer: &Sdp) -> Option<NegotiationId> {
        match self.state {
            State::AwaitingAnswer { negotiation, .. } => {
                self.mark_before = std::mem::replace(&mut self.mark, answer.connection_mark());
                self.ignored = None;
                self.with_offer.clear();
                self.state = State::ApplyingAnswer {
                    negotiation,
                    answer: answer.clone(),
                };
                Some(negotiation)
            }
            State::Stable
            | State::CreatingOffer { .. }
            | State::ApplyingAnswer { .. }
            | State::CreatingAnswer { .. } => None,
        }
    }

    /// The answer is applied; it, if it was the one under way.
    pub(super) fn on_answer_applied(&mut self, negotiation: NegotiationId) -> Option<Sdp> {
        let State::ApplyingAnswer {
            negotiation: applying,
            answer,
        } = &self.state
        else {
            return None;
        };
        if *applying != negotiation {
            return None;
        }
        let answer = answer.clone();
        self.set_remote(answer.ice_ufrag().map(str::to_owned));
        self.state = State::Stable;
        Some(answer)
    }

    /// A remote description is applied. With other ICE credentials its candidates are others, even if they look the same.
    fn set_remote(&mut self, ufrag: Option<String>) {
        if self.remote_ufrag.as_ref() != Some(&ufrag) {
            self.known.clear();
            self.remote_ufrag = Some(ufrag);
        }
    }

    /// An answer nobody waits for that belongs to another offer than the one that was answered: the peer took up what we had
    /// given up, and what it has now does not fit what we have.
    pub(super) fn is_contradicted_by(&self, answer: &Sdp) -> bool {
        let theirs = match &self.state {
            State::Stable => self.remote_ufrag.clone().flatten(),
            State::ApplyingAnswer { answer, .. } => answer.ice_ufrag().map(str::to_owned),
            State::CreatingOffer { .. }
            | State::AwaitingAnswer { .. }
            | State::CreatingAnswer { .. } => None,
        };
        theirs.is_some_and(|ufrag| answer.ice_ufrag().is_some_and(|other| other != ufrag))
    }

    /// The dialects our unanswered offer went out in: the peer may have heard it in any of them, so candidates follow in all.
    pub(super) fn sent_in(&self) -> Option<&BTreeSet<Dialect>> {
        match &self.state {
            State::AwaitingAnswer { sent_in, .. } => Some(sent_in),
            State::Stable
            | State::CreatingOffer { .. }
            | State::ApplyingAnswer { .. }
            | State::CreatingAnswer { .. } => None,
        }
    }

    /// Our answer exists. `Some`: it is to be sent in this dialect, with these candidates behind it.
    pub(super) fn on_answer_created(
        &mut self,
        negotiation: NegotiationId,
    ) -> Option<(Dialect, Vec<IceCandidate>)> {
        let State::CreatingAnswer {
            negotiation: creating,
            offer,
            dialect,
        } = &self.state
        else {
            return None;
        };
        if *creating != negotiation {
            return None;
        }
        let dialect = *dialect;
        let ufrag = offer.ice_ufrag().map(str::to_owned);
        self.set_remote(ufrag);
        self.mark_sent(negotiation);
        self.state = State::Stable;
        Some((dialect, std::mem::take(&mut self.held).into()))
    }

    /// The negotiation under way failed at the shell; back to stable.
    pub(super) fn on_failed(&mut self) {
        if let Some(current) = self.current() {
            self.sent.remove(&current);
        }
        if matches!(
            self.state,
            State::ApplyingAnswer { .. } | State::CreatingAnswer { .. }
        ) {
            // Else the peer's next offer would seem to come from a new connection, or a new one's from the old.
            self.mark = self.mark_before.take();
        }
        self.held.clear();
        self.with_offer.clear();
        self.state = State::Stable;
    }

    /// The offer that came while something else was being applied.
    pub(super) fn take_queued(&mut self) -> Option<(Sdp, Dialect)> {
        if self.state == State::Stable {
            self.queued.take()
        } else {
            None
        }
    }

    /// The offer that was ignored in favour of ours.
    pub(super) fn take_ignored(&mut self) -> Option<(Sdp, Dialect)> {
        self.ignored.take()
    }

    /// A local candidate. `Some`: send it now; otherwise it is held for its description, or superseded.
    pub(super) fn on_local_candidate(
        &mut self,
        negotiation: NegotiationId,
        candidate: IceCandidate,
    ) -> Option<IceCandidate> {
        if self.sent.contains(&negotiation) {
            if matches!(self.state, State::AwaitingAnswer { .. }) {
                push_bounded(&mut self.with_offer, candidate.clone());
            }
            return Some(candidate);
        }
        if self.current() == Some(negotiation) {
            push_bounded(&mut self.held, candidate);
        }
        None
    }

    /// Whether a remote candidate may be applied now: a remote description is there, and it is this candidate's.
    pub(super) fn fits(&self, candidate: &IceCandidate) -> bool {
        match (&self.remote_ufrag, candidate.ufrag()) {
            (None, _) => false,
            (Some(Some(ours)), Some(theirs)) => ours == theirs,
            (Some(_), None) | (Some(None), Some(_)) => true,
        }
    }

    /// Remembers a remote candidate. `false`: it is a copy.
    pub(super) fn is_new_candidate(&mut self, candidate: &IceCandidate) -> bool {
        if self.known.len() == KNOWN {
            self.known.clear();
        }
        self.known.insert(candidate.candidate.clone())
    }

    /// When something is due for an unanswered offer. `single`: it is not repeated.
    pub(super) fn due(&self, dialect_known: bool, single: bool) -> Option<(Timestamp, Due)> {
        let State::AwaitingAnswer { since, repeats, .. } = self.state else {
            return None;
        };
        let give_up = (since + ANSWER_WAIT, Due::GiveUp);
        let repeat = match (single, repeats, dialect_known) {
            (true, _, _) => None,
            (false, 0, _) => Some((since + REPEAT_AFTER, Due::Repeat)),
            (false, 1, false) => Some((since + OTHER_DIALECT_AFTER, Due::OtherDialect)),
            (false, _, _) => None,
        };
        let yields = self
            .ignored
            .is_some()
            .then_some((since + YIELD_AFTER, Due::Yield));
        [repeat, yields, Some(give_up)]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    /// The peer can hear us from now on: the waits of the present offer begin anew.
    pub(super) fn restart_waits(&mut self, now: Timestamp) {
        if let State::AwaitingAnswer { since, repeats, .. } = &mut self.state {
            *since = now;
            *repeats = 0;
        }
    }
}
