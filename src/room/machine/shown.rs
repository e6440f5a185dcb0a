//! What follows from the state alone: lights, banner, status, snapshot; and what must always hold.

use super::super::indicator::{Lights, View};
use super::super::snapshot::{PeerPhase, RoomSnapshot, SignalingState};
use super::super::types::{Color, ConnectionState};
use super::{Life, Room};

/// Shown while the state file cannot be written.
const UNSAVED: &str = "Mute and camera state will not survive a power cut: the state file cannot be written. Free space or repair the disk";

impl Room {
    fn reconnecting_peers(&self) -> usize {
        self.roster
            .iter()
            .filter(|peer| match peer.phase {
                PeerPhase::Interrupted
                | PeerPhase::Restarting
                | PeerPhase::Recreating
                | PeerPhase::Failed => true,
                PeerPhase::Negotiating | PeerPhase::Connected => false,
            })
            .count()
    }

    fn connected_peers(&self) -> usize {
        self.roster
            .iter()
            .filter(|peer| peer.state == ConnectionState::Connected)
            .count()
    }

    /// The session is lost, or will turn out to be: without a link nobody is there.
    fn is_server_away(&self) -> bool {
        self.signaling.is_reconnecting() || (!self.link_up && !self.signaling.is_idle())
    }

    fn is_refused(&self) -> bool {
        self.signaling.refusal.is_some()
    }

    pub(super) fn view(&self) -> View {
        let mut present = self
            .roster
            .iter()
            .filter(|peer| !peer.is_absent())
            .peekable();
        let nobody_reachable =
            present.peek().is_some() && present.all(|peer| peer.phase == PeerPhase::Failed);
        View {
            identify: self.identify_until.is_some(),
            starting: !self.met_server && !self.signaling.is_idle(),
            in_meeting: self.signaling.is_joined(),
            muted: self.media.microphone.shown,
            camera_off: self.media.camera.shown,
            camera_lost: self.media.camera_lost,
            failed: self.is_refused() || nobody_reachable,
            reconnecting: self.is_server_away() || self.reconnecting_peers() > 0,
            unsaved: self.media.is_unsaved(),
            connected_peers: self.connected_peers(),
        }
    }

    fn banner(&self) -> Option<String> {
        if let Some(refusal) = &self.signaling.refusal {
            return Some(refusal.clone());
        }
        if self.is_server_away() {
            return Some("Reconnecting to server".to_owned());
        }
        match self.reconnecting_peers() {
            // What people in the room see happening comes first.
            0 if self.media.is_unsaved() => Some(UNSAVED.to_owned()),
            0 => self.settings.complaint.clone(),
            count => Some(format!("Reconnecting to {count} peer(s)")),
        }
    }

    pub(super) fn refresh_snapshot(&mut self, lights: Lights) {
        let media = &self.media;
        let snapshot = RoomSnapshot {
            generation: self.snapshot.generation,
            sim: self.settings.sim,
            signaling: self.signaling.shown(),
            signaling_since: self.signaling.since,
            signaling_unencrypted: self.settings.unencrypted,
            banner: self.banner(),
            connected_peers: self.connected_peers(),
            microphone_muted: media.microphone.closed,
            microphone_confirmed: media.microphone.confirmed,
            microphone_forced: media.microphone.forced,
            camera_off: media.camera.closed,
            camera_confirmed: media.camera.confirmed,
            camera_forced: media.camera.forced,
            camera_lost: media.camera_lost,
            sharing: media.share.live,
            screen_forced: media.share.forced,
            screen_refused: media.share.refused.clone(),
            led_mic: lights.mic,
            led_camera: lights.camera,
            led_status: lights.status,
            peers: self
                .roster
                .iter()
                .map(|peer| peer.snapshot(&self.settings.recovery))
                .collect(),
        };
        if snapshot != self.snapshot {
            let generation = self.snapshot.generation + 1;
            self.snapshot = RoomSnapshot {
                generation,
                ..snapshot
            };
        }
    }

    /// One sentence for `systemctl status`.
    pub(super) fn status_text(&self) -> String {
        if matches!(self.life, Life::Stopping { .. } | Life::Stopped) {
            return "Stopping".to_owned();
        }
        let place = match self.signaling.shown() {
            SignalingState::Unconfigured => "No meeting configured".to_owned(),
            SignalingState::Left => match &self.signaling.refusal {
                Some(reason) => format!("Not in the meeting ({reason})"),
                None => "Not in the meeting".to_owned(),
            },
            SignalingState::Connecting | SignalingState::Joining => {
                if self.signaling.is_reconnecting() {
                    "Reconnecting to server".to_owned()
                } else {
                    "Joining the meeting".to_owned()
                }
            }
            SignalingState::Reconnecting => "Reconnecting to server".to_owned(),
            SignalingState::Refused => match &self.signaling.refusal {
                Some(reason) => format!("Refused by the server ({reason})"),
                None => "Refused by the server".to_owned(),
            },
            SignalingState::Joined => match self.connected_peers() {
                0 => "In meeting, nobody connected".to_owned(),
                1 => "In meeting with 1 peer".to_owned(),
                count => format!("In meeting with {count} peers"),
            },
        };
        let microphone = match self.media.microphone.shown {
            Some(false) => "microphone live",
            Some(true) | None => "microphone muted",
        };
        let unencrypted = match self.settings.unencrypted {
            true => ", server not encrypted",
            false => "",
        };
        let complaint = match self.media.is_unsaved() {
            true => Some(UNSAVED),
            false => self.settings.complaint.as_deref(),
        };
        match complaint {
            Some(complaint) => format!("{place}, {microphone}{unencrypted}; {complaint}"),
            None => format!("{place}, {microphone}{unencrypted}"),
        }
    }

    /// What must hold after every step, whatever came in.
    pub(super) fn check_invariants(&self) {
        let microphone = &self.media.microphone;
        match self.snapshot.led_mic.color {
            Color::Green => debug_assert!(
                microphone.confirmed == Some(false) || self.media.is_writing(),
                "a green light means live"
            ),
            Color::Red | Color::Amber | Color::White => debug_assert!(
                microphone.confirmed != Some(false),
                "a red light means silent"
            ),
        }
        debug_assert!(
            self.own_id()
                .is_none_or(|own| self.roster.ids().all(|id| *id != own)),
            "we are not our own peer"
        );
        debug_assert_eq!(
            self.out.is_joined(),
            self.signaling.is_joined(),
            "messages go out exactly while joined"
        );
        debug_assert!(self.held.is_empty() || self.signaling.is_entering());
        let live = self.roster.iter().filter_map(|peer| {
            peer.connection
                .as_ref()
                .map(|connection| connection.generation)
        });
        debug_assert_eq!(
            &live.collect::<std::collections::BTreeSet<_>>(),
            self.out.open_generations(),
            "what is open belongs to a peer"
        );
        for peer in self.roster.iter() {
            peer.check_invariants();
        }
    }
}
