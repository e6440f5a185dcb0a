//! The members of the meeting, ourselves never among them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::event::PeerEvent;
use super::message::{ClientMessage, Participant, ServerMessage};
use super::negotiation::CANDIDATES;
use super::notice::Level;
use super::peer::{Context, Fate, OfferSlots, Peer};
use super::types::{Dialect, Generation, IceCandidate, PeerId, Sdp, Timestamp};

/// A mesh of more is out of reach of any box; a server that names more is wrong.
const MEMBERS: usize = 64;
/// Signaling of strangers is answered with one warning and one question in this time.
const STRANGER_INTERVAL: Duration = Duration::from_secs(10);

/// An offer of somebody unknown waits this long for the server to name its sender: browsers do not repeat theirs.
const STRANGER_WAIT: Duration = Duration::from_secs(5);
/// The offers of so many wait at most; the oldest is dropped.
const STRANGERS: usize = 4;

/// Somebody who called and was not named yet.
#[derive(Clone, Debug)]
struct Stranger {
    id: PeerId,
    at: Timestamp,
    offer: Sdp,
    dialect: Dialect,
    /// The first of them; more than the limit are dropped.
    candidates: Vec<IceCandidate>,
}

/// Everybody else in the meeting.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    peers: BTreeMap<PeerId, Peer>,
    slots: OfferSlots,
    stranger_at: Option<Timestamp>,
    strangers: VecDeque<Stranger>,
    /// The server was asked for everybody and has not begun to answer.
    asked: bool,
}

impl Roster {
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &PeerId> {
        self.peers.keys()
    }

    pub(super) fn member(&mut self, id: &PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(id)
    }

    /// A session begins: nobody is confirmed.
    pub(super) fn on_session_begun(&mut self) {
        self.strangers.clear();
        for peer in self.peers.values_mut() {
            peer.on_session_begun();
        }
    }

    /// `meeting:participants`: everybody who is online. Whoever is missing has left while we were away.
    pub(super) fn on_participants(
        &mut self,
        rows: &[Participant],
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        let missing: Vec<PeerId> = self
            .peers
            .keys()
            .filter(|id| !rows.iter().any(|row| row.user == **id))
            .cloned()
            .collect();
        for id in missing {
            self.on_left(&id, cx, now);
        }
        for row in rows {
            self.on_named(row, cx, now);
        }
    }

    /// `meeting:user-joined` or a row of the list: live or replayed, nothing tells.
    pub(super) fn on_named(&mut self, row: &Participant, cx: &mut Context<'_>, now: Timestamp) {
        if row.user == *cx.own {
            return;
        }
        if std::mem::take(&mut self.asked) {
            for peer in self.peers.values_mut() {
                peer.on_roll_call(now);
            }
        }
        if self.peers.len() >= MEMBERS && !self.peers.contains_key(&row.user) {
            if self.may_warn(now) {
                cx.out.notify(
                    Level::Warn,
                    format!("the server names more than {MEMBERS} members; the others are ignored"),
                );
            }
            return;
        }
        let peer = self
            .peers
            .entry(row.user.clone())
            .or_insert_with(|| Peer::new(row.user.clone(), now));
        peer.on_named(row, now);
        if cx.out.is_joined() {
            let called = self.strangers.iter().position(|s| s.id == row.user);
            if let Some(stranger) = called.and_then(|index| self.strangers.remove(index))
                && now.since(stranger.at) < STRANGER_WAIT
            {
                peer.on_offer(stranger.offer, stranger.dialect, cx, now);
                for candidate in stranger.candidates {
                    peer.on_candidate(candidate, cx);
                }
            }
            peer.plan(cx, &mut self.slots, now);
        }
    }

    /// The server was asked for everybody. The answers have no end, so whoever is not named soon after the first one is
    /// not online; a missed `meeting:user-left` is repaired that way.
    pub(super) fn on_asked(&mut self) {
        self.asked = true;
    }

    /// We are in the meeting (again).
    pub(super) fn on_joined(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        for peer in self.peers.values_mut() {
            peer.on_joined(cx, now);
        }
    }

    /// First offers to everybody who has none and got none meanwhile.
    pub(super) fn plan(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        for peer in self.peers.values_mut() {
            peer.plan(cx, &mut self.slots, now);
        }
    }

    /// `meeting:user-left`.
    pub(super) fn on_left(&mut self, id: &PeerId, cx: &mut Context<'_>, now: Timestamp) {
        if let Some(peer) = self.peers.get_mut(id)
            && peer.on_left(now) == Fate::Gone
        {
            self.remove(id, cx, now);
        }
    }

    /// Gone: its connection, its timers, everything.
    pub(super) fn remove(&mut self, id: &PeerId, cx: &mut Context<'_>, now: Timestamp) {
        if let Some(mut peer) = self.peers.remove(id) {
            peer.close(cx, now);
        }
    }

    pub(super) fn remove_all(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        for peer in self.peers.values_mut() {
            peer.close(cx, now);
        }
        self.peers.clear();
    }

    /// Signaling of somebody who is no member of this meeting means nothing: the server relays by user, not by meeting. Should
    /// we have missed a join, the answers to one question repair it, and the newest offer waits for them. The
    /// question is rate-limited: one per stranger's message would be a known endless loop.
    pub(super) fn on_stranger(
        &mut self,
        id: &PeerId,
        message: ServerMessage,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        self.strangers
            .retain(|stranger| now.since(stranger.at) < STRANGER_WAIT);
        if let ServerMessage::Candidate { candidate, .. } = message {
            let called = self.strangers.iter_mut().find(|s| s.id == *id);
            if let Some(stranger) = called.filter(|s| s.candidates.len() < CANDIDATES) {
                stranger.candidates.push(candidate);
            }
            return;
        }
        if let ServerMessage::Offer { sdp, dialect, .. } = message {
            self.hold_offer(id, sdp, dialect, now);
        }
        if !self.may_warn(now) {
            return;
        }
        cx.out.notify_about(
            id,
            Level::Warn,
            "signaling of somebody who is not known to be in this meeting",
        );
        cx.out.send(ClientMessage::RequestPeers);
    }

    fn hold_offer(&mut self, id: &PeerId, offer: Sdp, dialect: Dialect, now: Timestamp) {
        let is_copy = |s: &Stranger| s.id == *id && s.offer == offer;
        if self.strangers.iter().any(is_copy) {
            return;
        }
        self.strangers.retain(|stranger| stranger.id != *id);
        if self.strangers.len() == STRANGERS {
            self.strangers.pop_front();
        }
        self.strangers.push_back(Stranger {
            id: id.clone(),
            at: now,
            offer,
            dialect,
            candidates: Vec::new(),
        });
    }

    fn may_warn(&mut self, now: Timestamp) -> bool {
        let may = self
            .stranger_at
            .is_none_or(|at| now.since(at) >= STRANGER_INTERVAL);
        if may {
            self.stranger_at = Some(now);
        }
        may
    }

    /// A connection reported. Reports of closed generations mean nothing.
    pub(super) fn on_report(
        &mut self,
        id: &PeerId,
        generation: Generation,
        event: PeerEvent,
        cx: &mut Context<'_>,
        now: Timestamp,
    ) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if peer.connection.as_ref().map(|c| c.generation) != Some(generation) {
            return;
        }
        if peer.on_report(event, cx, now) == Fate::Gone {
            self.remove(id, cx, now);
        }
    }

    pub(super) fn is_live(&self, id: &PeerId, generation: Generation) -> bool {
        self.peers
            .get(id)
            .and_then(|peer| peer.connection.as_ref())
            .is_some_and(|connection| connection.generation == generation)
    }

    /// The machine's link changed.
    pub(super) fn on_link_changed(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        for peer in self.peers.values_mut() {
            peer.on_link_changed(cx, now);
        }
    }

    /// `may_act`: the link is up and the meeting joined.
    pub(super) fn deadlines(
        &self,
        may_act: bool,
        suspicion: Duration,
    ) -> impl Iterator<Item = (Timestamp, &'static str)> {
        let peers = self.peers.values();
        peers.flat_map(move |peer| peer.deadlines(may_act, suspicion))
    }

    pub(super) fn handle_timeout(&mut self, cx: &mut Context<'_>, now: Timestamp) {
        let mut gone = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.handle_timeout(&mut self.slots, cx, now) == Fate::Gone {
                gone.push(id.clone());
            } else {
                peer.settle_screens(cx, now);
            }
        }
        for id in gone {
            self.remove(&id, cx, now);
        }
    }

    /// Whether every connection that works was told to carry our screen, or no longer to.
    pub(super) fn carries(&self, sharing: bool) -> bool {
        self.peers.values().all(|peer| peer.carries(sharing))
    }
}

#[cfg(test)]
mod tests {
    use super::super::backoff::Rng;
    use super::super::budget::Descriptions;
    use super::super::outbox::Outbox;
    use super::super::settings::RecoverySettings;
    use super::super::types::SessionId;
    use super::*;

    fn row(user: &str) -> Participant {
        Participant {
            user: PeerId::new(user),
            name: None,
            muted: None,
            video_off: None,
        }
    }

    /// A roster after `Participants` with these, at `now` = 0.
    fn with_roster(rows: &[&str], work: impl FnOnce(&mut Roster, &mut Context<'_>)) {
        let own = PeerId::new("me");
        let recovery = RecoverySettings::default();
        let mut descriptions = Descriptions::default();
        let (mut rng, mut out) = (Rng::new(1), Outbox::default());
        out.set_joined(Some(SessionId(1)));
        let mut cx = Context {
            own: &own,
            recovery: &recovery,
            link_up: true,
            sharing: false,
            heard_at: Timestamp::default(),
            resumed_at: Timestamp::default(),
            descriptions: &mut descriptions,
            rng: &mut rng,
            out: &mut out,
        };
        let mut roster = Roster::default();
        let rows: Vec<Participant> = rows.iter().map(|user| row(user)).collect();
        roster.on_participants(&rows, &mut cx, Timestamp::default());
        work(&mut roster, &mut cx);
    }

    #[test]
    fn we_are_never_in_our_own_roster() {
        with_roster(&["me", "you"], |roster, _| {
            assert_eq!(roster.ids().collect::<Vec<_>>(), [&PeerId::new("you")]);
        });
    }

    #[test]
    fn whom_an_answered_roll_call_does_not_name_is_gone() {
        with_roster(&["x", "y"], |roster, cx| {
            let at = Timestamp::from_millis;
            roster.on_asked();
            roster.handle_timeout(cx, at(8_000));
            assert_eq!(roster.ids().count(), 2, "unanswered it means nothing");
            roster.on_named(&row("x"), cx, at(8_100));
            roster.handle_timeout(cx, at(13_100));
            assert_eq!(roster.ids().collect::<Vec<_>>(), [&PeerId::new("x")]);
        });
    }

    #[test]
    fn a_server_that_names_thousands_does_not_fill_the_box() {
        with_roster(&[], |roster, cx| {
            for number in 0..5_000 {
                let user = format!("x-{number}");
                roster.on_named(&row(&user), cx, Timestamp::default());
            }
            assert_eq!(roster.ids().count(), MEMBERS);
            let said = std::iter::from_fn(|| cx.out.take()).count();
            assert_eq!(said, 1, "one warning");
        });
    }

    #[test]
    fn a_list_of_thousands_does_not_fill_the_box_either() {
        let rows: Vec<String> = (0..5_000).map(|number| format!("x-{number}")).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        with_roster(&rows, |roster, _| assert_eq!(roster.ids().count(), MEMBERS));
    }

    #[test]
    fn strangers_cannot_fill_the_box() {
        with_roster(&[], |roster, cx| {
            for number in 0..500 {
                let from = PeerId::new(&format!("x-{}", number % 100));
                let message = ServerMessage::Offer {
                    from: from.clone(),
                    sdp: Sdp::new(&format!("{number}")),
                    dialect: Dialect::Media,
                    room: None,
                };
                roster.on_stranger(&from, message, cx, Timestamp::default());
            }
            assert_eq!(roster.strangers.len(), STRANGERS);
        });
    }

    #[test]
    fn strangers_cause_one_question_in_ten_seconds() {
        with_roster(&[], |roster, cx| {
            let stranger = PeerId::new("stranger");
            let ready = ServerMessage::PeerReady {
                user: stranger.clone(),
                dialect: Dialect::Media,
            };
            for millis in 0..10_000 {
                roster.on_stranger(&stranger, ready.clone(), cx, Timestamp::from_millis(millis));
            }
            assert_eq!(std::iter::from_fn(|| cx.out.take()).count(), 2);
            roster.on_stranger(&stranger, ready.clone(), cx, Timestamp::from_millis(10_000));
            assert_eq!(std::iter::from_fn(|| cx.out.take()).count(), 2);
        });
    }
}
