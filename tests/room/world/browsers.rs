//! The application's browsers, with those of their defects that matter to a box.

use huddled::room::*;

use super::{Browser, Delivery, Manner, Program, Signaling, World, millis};

impl World {
    pub(super) fn browser(&mut self, index: usize) -> &mut Browser {
        match &mut self.members[index].program {
            Program::Browser(browser) => browser,
            Program::Box(_) => panic!("{index} is a box"),
        }
    }

    pub(super) fn browser_says(&mut self, index: usize, message: ClientMessage) {
        if let Some(socket) = self.members[index].socket {
            self.note(|| format!("{index} (browser) ~> {message:?}"));
            self.later(millis(5), Delivery::AtServer(index, socket, message));
        }
    }

    pub(super) fn browser_dialect(&mut self, index: usize) -> Dialect {
        match self.browser(index).manner {
            Manner::V1 | Manner::V2Late => Dialect::Webrtc,
            Manner::V2 => Dialect::Media,
        }
    }

    fn is_v1(&mut self, index: usize) -> bool {
        self.browser(index).manner == Manner::V1
    }

    pub(super) fn browser_camera(&mut self, index: usize) {
        self.browser(index).camera = true;
        let dialect = self.browser_dialect(index);
        self.browser_says(index, ClientMessage::Ready { dialect });
        self.browser_says(index, ClientMessage::RequestPeers);
    }

    pub(super) fn browser_open(&mut self, index: usize, peer: &PeerId) -> usize {
        let end = self.new_end(index, peer, Generation(0));
        self.browser(index).connections.insert(peer.clone(), end);
        end
    }

    pub(super) fn browser_offer(&mut self, index: usize, peer: &PeerId) {
        let end = self.browser(index).connections[peer];
        let (description, sdp) = self.describe(end, false);
        self.ends[end].signaling = Signaling::HaveLocalOffer(NegotiationId(0), description);
        let dialect = self.browser_dialect(index);
        let target = peer.clone();
        self.browser_says(
            index,
            ClientMessage::Offer {
                target,
                sdp,
                dialect,
            },
        );
    }

    pub(super) fn browser_meets(&mut self, index: usize, peer: &PeerId) {
        let browser = self.browser(index);
        if !browser.camera {
            return;
        }
        if browser.manner == Manner::V1 {
            // A new connection replaces an older one, which is left open.
            self.browser_open(index, peer);
            self.browser_offer(index, peer);
        } else if !browser.connections.contains_key(peer) {
            self.browser_open(index, peer);
            if self.members[index].id > *peer {
                self.browser_offer(index, peer);
            }
        }
    }

    pub(super) fn browser_close(&mut self, index: usize, peer: &PeerId) {
        if let Some(end) = self.browser(index).connections.remove(peer) {
            self.ends[end].closed = true;
            self.look_at_peers_of(end);
        }
    }

    pub(super) fn browser_hears(&mut self, index: usize, message: ServerMessage) {
        let own = self.browser_dialect(index);
        let late = self.browser(index).manner == Manner::V2Late;
        let v1 = self.is_v1(index);
        match message {
            ServerMessage::UserJoined(row) if !v1 => self.browser_meets(index, &row.user),
            ServerMessage::PeerReady { user, dialect } if dialect == own => {
                self.browser_meets(index, &user);
            }
            ServerMessage::UserLeft { user } => self.browser_close(index, &user),
            ServerMessage::Offer {
                from, sdp, dialect, ..
            } if late || dialect == own => self.browser_takes_offer(index, &from, &sdp),
            ServerMessage::Answer {
                from, sdp, dialect, ..
            } if late || dialect == own => {
                if let Some(&end) = self.browser(index).connections.get(&from)
                    && let Signaling::HaveLocalOffer(_, description) = self.ends[end].signaling
                    && self.apply_remote(end, &sdp)
                {
                    self.ends[end].signaling = Signaling::Stable;
                    self.ends[end].local = Some(description);
                    self.look_later(end);
                }
            }
            _ => {}
        }
    }

    pub(super) fn browser_takes_offer(&mut self, index: usize, from: &PeerId, sdp: &Sdp) {
        let v1 = self.is_v1(index);
        let mut end = match self.browser(index).connections.get(from) {
            Some(end) => *end,
            None if v1 => self.browser_open(index, from),
            // V2 throws away what comes from somebody it has no connection for.
            None => return,
        };
        if self.ends[end].signaling != Signaling::Stable {
            if v1 {
                self.browser_close(index, from);
                end = self.browser_open(index, from);
            } else if self.members[index].id > *from {
                self.ends[end].signaling = Signaling::Stable;
                self.ends[end].offered_ufrag = None;
            } else {
                return;
            }
        }
        if !self.apply_remote(end, sdp) {
            return;
        }
        let (description, answer) = self.describe(end, true);
        self.ends[end].local = Some(description);
        self.look_later(end);
        let dialect = self.browser_dialect(index);
        let message = ClientMessage::Answer {
            target: from.clone(),
            sdp: answer,
            dialect,
        };
        if self.duplicates && !v1 {
            // F2-mid answers twice.
            self.browser_says(index, message.clone());
        }
        self.browser_says(index, message);
    }

    pub(super) fn browser_state(&mut self, index: usize, end: usize, state: ConnectionState) {
        let peer = self.ends[end].remote.clone();
        if self.browser(index).connections.get(&peer) != Some(&end) {
            return;
        }
        if state == ConnectionState::Connected {
            self.browser(index).attempts.remove(&peer);
        } else if state == ConnectionState::Failed {
            let attempts = self
                .browser(index)
                .attempts
                .entry(peer.clone())
                .or_default();
            *attempts += 1;
            if *attempts <= 3 {
                let wait = 500 << *attempts;
                self.later(millis(wait), Delivery::BrowserRetry(index, peer));
            }
        }
    }

    /// A page that restarts ICE by itself, as some versions of it do.
    pub(in super::super) fn browser_restarts(&mut self, index: usize) {
        let connections = self.browser(index).connections.clone();
        for (peer, end) in connections {
            if self.ends[end].signaling == Signaling::Stable
                && self.ends[end].state == ConnectionState::Connected
            {
                self.note(|| format!("{index} (browser) restarts ICE to {peer}"));
                self.last_ufrag += 1;
                self.ends[end].offered_ufrag = Some(self.last_ufrag);
                self.browser_offer(index, &peer);
            }
        }
    }

    pub(super) fn browser_retry(&mut self, index: usize, peer: &PeerId) {
        self.browser_close(index, peer);
        let end = self.browser_open(index, peer);
        let _ = end;
        if self.is_v1(index) || self.members[index].id > *peer {
            self.browser_offer(index, peer);
        }
    }
}
