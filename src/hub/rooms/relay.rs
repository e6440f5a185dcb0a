//! What members tell each other.

use std::time::Instant;

use serde_json::{Value, json};
use socketioxide::socket::Sid;

use super::{Member, Rooms, sharing};
use crate::hub::payload::{Kind, Request};
use crate::room::{Dialect, PeerId};

impl Rooms {
    /// A request of a member other than to come and go.
    pub(super) fn act(&mut self, sid: Sid, request: Request, now: Instant) {
        match request {
            Request::Join { .. } | Request::Leave => {}
            Request::RequestPeers => self.tell_peers(sid),
            Request::Ready { dialect, room } => self.ready(sid, dialect, room.as_deref()),
            Request::Relay {
                dialect,
                kind,
                room,
                target,
                content,
            } => self.relay(sid, dialect, kind, room.as_deref(), &target, content),
            Request::ToggleMic { muted } => {
                if let Some(user) = self.change(sid, |member| member.muted = muted) {
                    let payload = json!({"userId": user.as_str(), "isMuted": muted});
                    self.emit_to_room(sid, "media:user-muted", payload);
                }
            }
            Request::ToggleVideo { off } => {
                if let Some(user) = self.change(sid, |member| member.video_off = off) {
                    let payload = json!({"userId": user.as_str(), "isVideoOff": off});
                    self.emit_to_room(sid, "media:user-video-off", payload);
                }
            }
            Request::ScreenShare { sharing: shares } => {
                if let Some(user) = self.change(sid, |member| member.sharing = shares) {
                    let payload = sharing(&user, shares);
                    self.emit_to_room(sid, "media:user-screen-share", payload);
                }
            }
            Request::Order { target, order } => self.order(sid, &target, order, now),
        }
    }

    /// To everybody in the room of this connection, itself included.
    pub(super) fn emit_to_room(&mut self, sid: Sid, event: &'static str, payload: Value) {
        let to = self.meeting_of(sid).map(|room| room.all());
        self.emit(to.unwrap_or_default(), event, payload);
    }

    fn change(&mut self, sid: Sid, change: impl FnOnce(&mut Member)) -> Option<PeerId> {
        let room = self.meeting_of(sid)?;
        let member = room.members.iter_mut().find(|member| member.sid == sid)?;
        change(member);
        Some(member.user.clone())
    }

    /// One event for each other member, in the form browsers expect of this answer.
    fn tell_peers(&mut self, sid: Sid) {
        let Some(room) = self.meeting_of(sid) else {
            return;
        };
        let peers: Vec<_> = room
            .members
            .iter()
            .filter(|member| member.sid != sid)
            .map(|member| json!({"userId": member.user.as_str(), "userName": member.name}))
            .collect();
        for peer in peers {
            self.emit(vec![sid], "meeting:user-joined", peer);
        }
    }

    fn ready(&mut self, sid: Sid, dialect: Dialect, room: Option<&str>) {
        let Some((meeting, member)) = self.sender(sid, room) else {
            return;
        };
        let (event, payload) = match dialect {
            Dialect::Media => (
                "media:peer-ready",
                json!({"userId": member.user.as_str(), "roomId": meeting}),
            ),
            Dialect::Webrtc => (
                "webrtc:peer-ready",
                json!({"userId": member.user.as_str(), "userName": member.name}),
            ),
        };
        let to = self.meeting_of(sid).map(|meeting| meeting.others(sid));
        self.emit(to.unwrap_or_default(), event, payload);
    }

    fn relay(
        &mut self,
        sid: Sid,
        dialect: Dialect,
        kind: Kind,
        room: Option<&str>,
        target: &PeerId,
        content: Value,
    ) {
        let Some((meeting, sender)) = self.sender(sid, room) else {
            return;
        };
        let from = sender.user.as_str();
        let mut payload = match dialect {
            Dialect::Media => json!({"fromUserId": from, "roomId": meeting}),
            Dialect::Webrtc => json!({"fromUserId": from}),
        };
        payload[kind.key()] = content;
        let receiver = self
            .meetings
            .get(meeting)
            .and_then(|meeting| meeting.of(target))
            .map(|member| member.sid)
            .filter(|receiver| *receiver != sid);
        match (receiver, kind) {
            (Some(receiver), _) => self.emit(vec![receiver], kind.event(dialect), payload),
            // Told in both dialects: the application says nothing in one of them, and senders wait in vain.
            (None, Kind::Offer | Kind::Answer) => {
                let error = json!({"targetUserId": target.as_str(), "error": "User not connected"});
                self.emit(vec![sid], "webrtc:error", error);
            }
            // The description that these belong to was answered with that already, or its receiver has left since.
            (None, Kind::Candidate) => {}
        }
    }

    /// The member that speaks and the meeting; `None` if it speaks of another one.
    fn sender(&self, sid: Sid, room: Option<&str>) -> Option<(&str, &Member)> {
        let (name, meeting) = self
            .meetings
            .get_key_value(&self.sessions.get(&sid)?.visitor.meeting)?;
        let member = meeting.members.iter().find(|member| member.sid == sid)?;
        if room.is_some_and(|room| room != name) {
            let user = member.user.as_str();
            log::debug!(user = user; "a message for another meeting was dropped");
            return None;
        }
        Some((name, member))
    }
}
