//! The control socket and the page with real sockets and a played room, `huddlectl` as a process, the service's unit.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod http;
mod huddlectl;
mod service;
mod socket;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use huddled::control::{Backend, ControlRequest, ControlSocket, PictureError, serve};
use huddled::room::{
    Badge, Color, Command, ConnectionState, DeniedReason, IceConnectionState, Pattern, PeerId,
    PeerPhase, PeerSnapshot, RoomEvent, RoomSnapshot, Shape, SignalingState, Source, Timestamp,
};
use serde_json::json;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

/// What the played pipeline gives as a picture of `u-1`; the daemon passes it on without looking.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n and the rest \x00\xff";

/// A directory of one test, removed at its end.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("huddled-it-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A room that a test plays.
struct PlayedRoom {
    orders: Arc<Mutex<Vec<(Command, Source)>>>,
    snapshots: watch::Sender<Arc<RoomSnapshot>>,
    events: broadcast::Sender<RoomEvent>,
    task: JoinHandle<()>,
}

impl PlayedRoom {
    /// With the members `users`; it grants everything, presses only if `panel_simulated`.
    fn start(users: &[&str], panel_simulated: bool) -> (Self, Backend) {
        let (commands, mut requests) = mpsc::channel::<ControlRequest>(8);
        let (snapshots, shown) = watch::channel(Arc::new(room(users)));
        let (events, _) = broadcast::channel(16);
        let orders = Arc::new(Mutex::new(Vec::new()));
        let backend = Backend {
            commands,
            snapshots: shown,
            events: events.clone(),
            picture: Arc::new(|user, _| match user.as_str() {
                "u-1" => Ok(PICTURE.to_vec()),
                _ => Err(PictureError::NoneYet),
            }),
            health: Arc::new(|| json!({"video": {"frames_captured": 300}})),
            reload: Arc::new(|| {
                Err("config.toml:3: unknown key bitrte; did you mean bitrate?".to_owned())
            }),
            look: Arc::new(|| Ok("nothing new".to_owned())),
            clock: || Timestamp::from_millis(10_000),
        };
        let task = tokio::spawn({
            let orders = Arc::clone(&orders);
            async move {
                while let Some(request) = requests.recv().await {
                    orders
                        .lock()
                        .unwrap()
                        .push((request.command, request.source));
                    let _ = request.reply.send(match request.command {
                        Command::Press(_) if !panel_simulated => {
                            Err(DeniedReason::PanelNotSimulated)
                        }
                        _ => Ok(()),
                    });
                }
            }
        });
        let room = Self {
            orders,
            snapshots,
            events,
            task,
        };
        (room, backend)
    }

    fn orders(&self) -> Vec<(Command, Source)> {
        self.orders.lock().unwrap().clone()
    }
}

impl Drop for PlayedRoom {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A served control socket.
struct Played {
    path: PathBuf,
    room: PlayedRoom,
    beat: Arc<AtomicU64>,
    server: JoinHandle<()>,
    // Last, so that it goes when nobody uses it any more.
    directory: TemporaryDirectory,
}

impl Played {
    /// Serves with the members `users`; the panel is not simulated.
    fn start(name: &str, users: &[&str]) -> Self {
        let directory = TemporaryDirectory::new(name);
        let path = directory.path().join("control.sock");
        let socket = ControlSocket::open(&path).unwrap();
        let (room, backend) = PlayedRoom::start(users, false);
        let beat = Arc::new(AtomicU64::new(0));
        let server = tokio::spawn(serve(socket, backend, Arc::clone(&beat)));
        Self {
            path,
            room,
            beat,
            server,
            directory,
        }
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn room(users: &[&str]) -> RoomSnapshot {
    RoomSnapshot {
        generation: 1,
        sim: true,
        signaling: SignalingState::Joined,
        signaling_since: Timestamp::from_millis(4_000),
        signaling_unencrypted: false,
        banner: None,
        connected_peers: users.len(),
        microphone_muted: true,
        microphone_confirmed: Some(true),
        microphone_forced: false,
        camera_off: false,
        camera_confirmed: Some(false),
        camera_forced: false,
        camera_lost: false,
        sharing: false,
        screen_forced: false,
        screen_refused: None,
        led_mic: Pattern::new(Color::Red, Shape::Steady),
        led_camera: Pattern::new(Color::Green, Shape::Steady),
        led_status: Pattern::new(Color::Green, Shape::Steady),
        peers: users
            .iter()
            .map(|user| PeerSnapshot {
                user: PeerId::new(user),
                name: huddled::room::Shown::name(&format!("Name of {user}")).unwrap(),
                connection_state: ConnectionState::Connected,
                previous_connection_state: ConnectionState::Connecting,
                ice_connection_state: IceConnectionState::Connected,
                phase: PeerPhase::Connected,
                attempt: 0,
                max_attempts: 3,
                since: Timestamp::from_millis(9_000),
                badge: None::<Badge>,
                muted: false,
                video_off: false,
                sharing: false,
            })
            .collect(),
    }
}
