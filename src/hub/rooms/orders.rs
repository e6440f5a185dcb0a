//! What a host may do to others.

use std::time::Instant;

use serde_json::json;
use socketioxide::socket::Sid;

use super::{FAREWELL, Rooms, State, sharing};
use crate::hub::payload::HostOrder;
use crate::hub::stamp::stamp;
use crate::room::PeerId;

impl Rooms {
    pub(super) fn order(&mut self, sid: Sid, target: &PeerId, order: HostOrder, now: Instant) {
        let Some(session) = self.sessions.get(&sid) else {
            return;
        };
        if !session.visitor.host {
            let user = session.visitor.user.as_str();
            log::debug!(user = user; "an order of somebody who is no host was ignored");
            return;
        }
        let host = session.visitor.user.clone();
        let room = self.meeting_of(sid);
        let Some(member) = room.and_then(|room| {
            room.members
                .iter_mut()
                .find(|member| member.user == *target)
        }) else {
            return;
        };
        let user = target.as_str();
        let (event, payload) = match order {
            HostOrder::Mute(mute) => {
                member.muted = mute.unwrap_or(!member.muted);
                (
                    "media:user-muted",
                    json!({"userId": user, "isMuted": member.muted}),
                )
            }
            HostOrder::VideoOff(off) => {
                member.video_off = off.unwrap_or(!member.video_off);
                (
                    "media:user-video-off",
                    json!({"userId": user, "isVideoOff": member.video_off}),
                )
            }
            HostOrder::StopShare => {
                member.sharing = false;
                ("media:user-screen-share", sharing(target, false))
            }
            HostOrder::Kick(reason) => {
                let kicked = json!({"userId": user, "reason": reason, "timestamp": stamp()});
                self.remove(sid, &host, target, "user:kicked", kicked, now);
                return;
            }
            HostOrder::Block(reason) => {
                let blocked = json!({"userId": user, "reason": reason, "timestamp": stamp()});
                if let Some(room) = self.meeting_of(sid) {
                    room.blocked.insert(target.clone());
                }
                self.remove(sid, &host, target, "user:blocked", blocked, now);
                return;
            }
        };
        self.emit_to_room(sid, event, payload);
    }

    /// Takes a member out of the room for good: unlike in the application, whose removed connection goes on hearing
    /// everything until it goes by itself.
    fn remove(
        &mut self,
        sid: Sid,
        host: &PeerId,
        target: &PeerId,
        event: &'static str,
        payload: serde_json::Value,
        now: Instant,
    ) {
        let Some(room) = self.meeting_of(sid) else {
            return;
        };
        let everybody = room.all();
        let Some(place) = room
            .members
            .iter()
            .position(|member| member.user == *target)
        else {
            return;
        };
        let removed = room.members.remove(place);
        if super::MOVES.admits(host.as_str()) {
            log::info!(user = target.as_str(), host = host.as_str(); "member removed: {event}");
        }
        self.emit(everybody.clone(), event, payload);
        // Without a name, as in the application.
        let left = json!({"userId": target.as_str(), "timestamp": stamp()});
        self.emit(everybody, "meeting:user-left", left);
        if let Some(session) = self.sessions.get_mut(&removed.sid) {
            session.state = State::Removed {
                until: now + FAREWELL,
            };
        }
    }
}
