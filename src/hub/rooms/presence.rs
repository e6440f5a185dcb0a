//! Who is there, as the application says it.

use serde_json::{Value, json};
use socketioxide::socket::Sid;

use super::{Rooms, Visitor, sharing};
use crate::hub::stamp::stamp;
use crate::room::PeerId;

impl Rooms {
    /// The rows of `GET .../participants`.
    pub(in crate::hub) fn rows(&self, meeting: &str) -> Vec<Value> {
        let members = self
            .meetings
            .get(meeting)
            .map_or(&[][..], |meeting| &meeting.members);
        members
            .iter()
            .map(|member| {
                json!({
                    "id": row(&member.user),
                    "user": {
                        "id": member.user.as_str(), "name": member.name, "email": null, "avatar_url": null,
                    },
                    "role": member.role(),
                    "is_online": true,
                    "is_muted": member.muted,
                    "is_video_off": member.video_off,
                    "is_hand_raised": false,
                    "is_kicked": false,
                    "joined_at": member.joined_at,
                    "left_at": null,
                })
            })
            .collect()
    }

    /// What a new member and the others are told, in the application's order.
    pub(super) fn introduce(&mut self, sid: Sid, visitor: &Visitor) {
        let Some(room) = self.meetings.get(&visitor.meeting) else {
            return;
        };
        let role = if visitor.host { "host" } else { "participant" };
        let arrival = json!({
            "userId": visitor.user.as_str(), "userName": visitor.name, "avatarUrl": null, "role": role,
            "timestamp": stamp(),
        });
        let participants: Vec<_> = room
            .members
            .iter()
            .map(|member| {
                json!({
                    "userId": member.user.as_str(), "userName": member.name, "avatarUrl": null,
                    "role": member.role(), "isMuted": member.muted, "isVideoOff": member.video_off,
                    "isHandRaised": false,
                })
            })
            .collect();
        let sharers: Vec<_> = room
            .members
            .iter()
            .filter(|member| member.sharing && member.sid != sid)
            .map(|member| member.user.clone())
            .collect();
        let others = room.others(sid);
        self.emit(others, "meeting:user-joined", arrival);
        let participants = json!({"participants": participants});
        self.emit(vec![sid], "meeting:participants", participants);
        self.joined(sid, visitor);
        // Nothing else says so to somebody who comes late: `meeting:participants` has no field for it, and the
        // application forgets who shares.
        for user in sharers {
            let sharing = sharing(&user, true);
            self.emit(vec![sid], "media:user-screen-share", sharing);
        }
    }

    pub(super) fn joined(&mut self, sid: Sid, visitor: &Visitor) {
        let joined = json!({
            "meetingId": visitor.meeting, "userId": visitor.user.as_str(), "userName": visitor.name,
            "timestamp": stamp(),
        });
        self.emit(vec![sid], "meeting:joined", joined);
    }

    /// One event for each other member, in the form browsers expect of this answer.
    pub(super) fn tell_peers(&mut self, sid: Sid) {
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
}

/// The id of a member's row.
pub(in crate::hub) fn row(user: &PeerId) -> String {
    format!("row-{user}")
}
