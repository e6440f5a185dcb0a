//! The fake server: no acknowledgements, a join that takes its time, echoes, copies, ghosts.

use huddled::room::*;

use super::super::bench::MEETING;
use super::{Delivery, Program, World, millis};

impl World {
    pub(super) fn open_done(&mut self, index: usize, session: SessionId) {
        if self.members[index].session != session || self.members[index].socket.is_some() {
            return;
        }
        if self.server_up && !self.offline.contains(&index) && self.members[index].link {
            self.last_socket += 1;
            self.members[index].socket = Some(self.last_socket);
            self.fact(index, Event::SignalingOpened { session });
        } else {
            let failure = SignalingFailure::Unreachable {
                message: "connecting: refused".into(),
            };
            self.fact(index, Event::SignalingClosed { session, failure });
        }
    }

    pub(super) fn send_to(&mut self, index: usize, message: ServerMessage) {
        if let Some(socket) = self.members[index].socket
            && !self.server_silent
        {
            self.later(millis(5), Delivery::AtMember(index, socket, message));
        }
    }

    pub(super) fn broadcast(&mut self, from: usize, with_sender: bool, message: &ServerMessage) {
        for index in 0..self.members.len() {
            if self.members[index].online && (with_sender || index != from) {
                self.send_to(index, message.clone());
            }
        }
    }

    pub(super) fn row_of(&self, index: usize) -> Participant {
        Participant {
            user: self.members[index].id.clone(),
            name: None,
            muted: self.members[index].muted_at_server,
            video_off: None,
        }
    }

    pub(super) fn join_done(&mut self, index: usize) {
        let user = self.members[index].id.clone();
        if !self.members[index].online {
            self.members[index].online = true;
            let row = self.row_of(index);
            self.broadcast(index, false, &ServerMessage::UserJoined(row));
            let rows = (0..self.members.len())
                .filter(|other| self.members[*other].online)
                .map(|other| self.row_of(other))
                .collect();
            self.send_to(index, ServerMessage::Participants(rows));
        }
        self.send_to(index, ServerMessage::Joined { user });
    }

    pub(super) fn go_offline(&mut self, index: usize) {
        if self.members[index].online {
            let user = self.members[index].id.clone();
            self.broadcast(index, true, &ServerMessage::UserLeft { user });
            self.members[index].online = false;
        }
    }

    /// The connection to the server is gone on both sides.
    pub(super) fn drop_socket(&mut self, index: usize) {
        self.members[index].socket = None;
        self.go_offline(index);
    }

    /// A member loses its connection to the server, which both notice.
    pub(in super::super) fn lose_server(&mut self, index: usize) {
        self.note(|| format!("{index} loses the server"));
        if self.members[index].socket.is_none() {
            return;
        }
        self.drop_socket(index);
        match self.members[index].program {
            Program::Box(_) => {
                let session = self.members[index].session;
                let failure = SignalingFailure::Unreachable {
                    message: "connection reset".into(),
                };
                self.fact(index, Event::SignalingClosed { session, failure });
            }
            // The browser's client connects again by itself; its connections live on.
            Program::Browser(_) => self.open_page(index, 200),
        }
    }

    /// The server notices an old connection of a member that has long been back.
    pub(in super::super) fn own_ghost(&mut self, index: usize) {
        self.note(|| format!("{index} is taken offline by its ghost"));
        self.go_offline(index);
        let user = self.members[index].id.clone();
        self.send_to(index, ServerMessage::UserLeft { user });
    }

    pub(in super::super) fn restart_server(&mut self) {
        self.note(|| "the server restarts".into());
        for index in 0..self.members.len() {
            self.members[index].online = false;
        }
        for index in 0..self.members.len() {
            self.lose_server(index);
        }
    }

    pub(in super::super) fn host_order(&mut self, index: usize, muted: bool) {
        let user = self.members[index].id.clone();
        self.members[index].muted_at_server = Some(muted);
        self.broadcast(index, true, &ServerMessage::UserMuted { user, muted });
    }

    /// Any message to one member, as a server or another member might send it.
    pub(in super::super) fn inject(&mut self, index: usize, message: ServerMessage) {
        self.send_to(index, message);
    }

    pub(super) fn unicast(&mut self, target: &PeerId, message: ServerMessage) {
        let found = self
            .members
            .iter()
            .position(|member| member.id == *target && member.online);
        if let Some(index) = found {
            if self.duplicates && self.dice.roll(3) == 0 {
                self.send_to(index, message.clone());
            }
            self.send_to(index, message);
        }
    }

    pub(super) fn server_handles(&mut self, index: usize, socket: u64, message: ClientMessage) {
        let user = self.members[index].id.clone();
        if message == ClientMessage::Join {
            self.later(millis(35), Delivery::JoinDone(index, socket));
            return;
        }
        if !self.members[index].online {
            return;
        }
        let room = |dialect| (dialect == Dialect::Media).then(|| MEETING.to_owned());
        match message {
            ClientMessage::Join => {}
            ClientMessage::Leave => {
                self.go_offline(index);
                self.send_to(index, ServerMessage::UserLeft { user });
            }
            ClientMessage::RequestPeers => {
                for other in 0..self.members.len() {
                    if other != index && self.members[other].online {
                        let row = self.row_of(other);
                        self.send_to(index, ServerMessage::UserJoined(row));
                    }
                }
            }
            ClientMessage::Ready { dialect } => {
                let message = ServerMessage::PeerReady { user, dialect };
                self.broadcast(index, false, &message);
                if self.duplicates {
                    self.broadcast(index, false, &message);
                }
            }
            ClientMessage::Offer {
                target,
                sdp,
                dialect,
            } => self.unicast(
                &target,
                ServerMessage::Offer {
                    from: user,
                    sdp,
                    dialect,
                    room: room(dialect),
                },
            ),
            ClientMessage::Answer {
                target,
                sdp,
                dialect,
            } => self.unicast(
                &target,
                ServerMessage::Answer {
                    from: user,
                    sdp,
                    dialect,
                    room: room(dialect),
                },
            ),
            ClientMessage::Candidate {
                target,
                candidate,
                dialect,
            } => self.unicast(
                &target,
                ServerMessage::Candidate {
                    from: user,
                    candidate,
                    dialect,
                    room: room(dialect),
                },
            ),
            ClientMessage::ToggleMic { muted } => {
                self.members[index].muted_at_server = Some(muted);
                self.broadcast(index, true, &ServerMessage::UserMuted { user, muted });
            }
            ClientMessage::ToggleVideo { video_off } => {
                self.broadcast(
                    index,
                    true,
                    &ServerMessage::UserVideoOff { user, video_off },
                );
            }
            ClientMessage::ScreenShare { sharing } => {
                self.members[index].shared_at_server = Some(sharing);
                self.broadcast(
                    index,
                    true,
                    &ServerMessage::UserScreenShare { user, sharing },
                );
            }
        }
    }
}
