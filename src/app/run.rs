//! Builds the whole box from its settings and runs it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::{broadcast, mpsc, watch};

use crate::clock::monotonic;
use crate::config::{self, CredentialRef, PanelBackend, Settings, VideoDevice};
use crate::control::{self, Backend, ControlSocket, PictureError, PictureSource, Reload};
use crate::devices;
use crate::events::EventSender;
use crate::host::{self, HostError, Signal, Signals, StatePlaces, Store};
use crate::media::capture::VideoOut;
use crate::media::fanout::Fanout;
use crate::media::inbound::Inbound;
use crate::media::microphone::AudioOut;
use crate::room::{Event, Redacted, Room};
use crate::rtc::{IceServerAccess, Peers, RtcSettings};
use crate::socketio::{self, Access};

use super::dispatch::Shells;
use super::driver::Driver;
use super::health;

/// Progress of the standing loops is looked at this often where no watchdog is set.
const BEAT_INTERVAL: Duration = Duration::from_secs(2);
/// Shutting the shells down takes at most this long after the driver has ended.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(800);
/// Events a slow watcher may fall behind before it is dropped.
const WATCHER_BACKLOG: usize = 256;

/// What `huddled run` was told.
pub struct RunOptions {
    /// The accepted configuration.
    pub settings: Settings,
    /// The file they came from; `None` where there was none.
    pub config: Option<PathBuf>,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
}

/// Runs the box until SIGTERM, SIGINT or the end of a standing loop.
///
/// # Errors
/// What could not be built or which standing loop ended, with its cause.
pub fn run(options: RunOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(serve(options));
    // What still runs has been told to close; it must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn serve(options: RunOptions) -> Result<()> {
    if cfg!(mute_gate_removed) {
        log::warn!(
            "built with HUDDLED_MUTATION=mute_gate_removed: this program sends sound while muted"
        );
    }
    let settings = Arc::new(options.settings);
    warn_of_what_waits(&settings);
    let (events, event_receiver) = EventSender::channel();
    exit_when_a_standing_thread_panics();

    // The operating system.
    let mut signals = Signals::install()?;
    let places = StatePlaces::from_environment(options.state_dir, settings.state_dir.clone());
    let state_directory = host::state_directory(&places, &state_id(&settings))?;
    host::create_state_directory(&state_directory)?;
    let store = Store::open(&state_directory)?;
    let persisted = store.load();
    let socket_path = settings.control.socket.clone().unwrap_or_else(|| {
        control::default_socket(std::env::var_os("RUNTIME_DIRECTORY").as_deref())
    });
    let socket = ControlSocket::open(&socket_path)?;

    // Media out, media in, peers.
    let fanout = Fanout::new();
    let video = VideoOut::spawn(
        &settings.camera,
        &settings.name,
        &settings.video,
        Arc::clone(&fanout),
        events.clone(),
    )?;
    let audio = AudioOut::spawn(
        &settings.microphone,
        &settings.audio,
        Arc::clone(&fanout),
        events.clone(),
    )?;
    let inbound = Inbound::spawn({
        let settings = Arc::clone(&settings);
        Box::new(move || devices::open_speaker(&settings.speaker))
    });
    let peers = Peers::new(
        rtc_settings(&settings),
        fanout,
        inbound.clone(),
        events.clone(),
    );
    let panel = devices::open_panel(&settings.panel)?;

    // The brain.
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow!("the system has no random numbers: {error}"))?;
    let room = Room::new(settings.room(), u64::from_le_bytes(seed), monotonic());

    // Control.
    let (snapshot_sender, snapshots) = watch::channel(Arc::new(room.snapshot()));
    let (commands, requests) = mpsc::channel(64);
    let (health_sender, health_requests) = mpsc::channel(8);
    let (watchers, _) = broadcast::channel(WATCHER_BACKLOG);
    let control_beats = Arc::new(AtomicU64::new(0));
    let reload = reload(options.config, Arc::clone(&settings));
    let backend = Backend {
        commands,
        snapshots,
        events: watchers.clone(),
        picture: picture_source(inbound.clone()),
        health: Arc::new(move || health::ask(&health_sender)),
        reload: Arc::clone(&reload),
        clock: monotonic,
    };
    let control_loop = tokio::spawn(control::serve(socket, backend, Arc::clone(&control_beats)));

    let shells = Shells {
        settings: Arc::clone(&settings),
        signaling: socketio::Client::new(events.clone())
            .context("cannot start the signaling thread")?,
        peers,
        video,
        audio,
        inbound,
        store,
        panel,
        events: events.clone(),
        watchers,
        control_beats,
        replies: HashMap::new(),
    };
    drop(tokio::spawn(host::watch_link(events.clone())));
    events.report(Event::Started { persisted });
    let driver = Driver::new(
        room,
        shells,
        event_receiver,
        requests,
        health_requests,
        snapshot_sender,
        host::watchdog_interval().map_or(BEAT_INTERVAL, |interval| interval / 4),
    );
    let mut driver = std::pin::pin!(driver.run());
    let mut control_loop = std::pin::pin!(control_loop);
    let mut defect = None;
    loop {
        tokio::select! {
            shells = &mut driver => {
                shut_down(shells).await;
                log::info!("stopped");
                return defect.map_or(Ok(()), Err);
            }
            // A standing loop that ends is a defect. The members are told before the process starts anew.
            result = &mut control_loop, if defect.is_none() => {
                defect = Some(match result {
                    Ok(()) => anyhow!("the control loop ended"),
                    Err(error) => anyhow!("the control loop ended: {error}"),
                });
                events.report(Event::StopRequested);
            }
            signal = signals.next() => match signal {
                Signal::Stop => events.report(Event::StopRequested),
                Signal::Reload => {
                    let reload = Arc::clone(&reload);
                    // The outcome is logged; there is nobody to answer.
                    drop(tokio::task::spawn_blocking(move || reload()));
                }
            },
        }
    }
}

/// Says which settings are accepted and do nothing in this version: a silent one would be a lie.
fn warn_of_what_waits(settings: &Settings) {
    let defaults = Settings::default();
    let waiting = [
        (
            "[screen] device",
            settings.screen.device != defaults.screen.device,
        ),
        ("[display] device", settings.display != defaults.display),
        ("[control] http", settings.control.http.is_some()),
        ("[hub]", settings.hub != defaults.hub),
        ("[remote]", settings.remote.is_some()),
    ];
    for (key, _) in waiting.iter().filter(|(_, set)| *set) {
        log::warn!("{key} is understood but does nothing in this version yet");
    }
}

/// A thread that must stand ends the process when it panics: half a box that looks alive is worse than a restart.
fn exit_when_a_standing_thread_panics() {
    // Not the signaling thread: the Socket.IO crate's tasks run on it and panic over bytes from outside, which the
    // session survives. Its end is seen by the driver.
    const STANDING: [&str; 5] = [
        "video-out",
        "audio-out",
        "speaker",
        "video-decoder",
        "state",
    ];
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        let thread = std::thread::current();
        if let Some(name) = thread.name().filter(|name| STANDING.contains(name)) {
            log::error!(
                "the {name} thread has panicked; ending so that the service manager starts anew"
            );
            std::process::exit(1);
        }
    }));
}

/// Names this box's folder below the user's state directory when no service manager gives one.
fn state_id(settings: &Settings) -> String {
    settings.id.clone().unwrap_or_else(|| settings.name.clone())
}

async fn shut_down(shells: Shells) {
    let Shells {
        signaling,
        mut peers,
        video,
        audio,
        inbound,
        store,
        ..
    } = shells;
    let network = async {
        tokio::join!(signaling.shutdown(), peers.shutdown());
    };
    let devices = tokio::task::spawn_blocking(move || {
        video.stop();
        audio.stop();
        inbound.stop();
    });
    // Finishes what waits to be written, beside the devices: one that hangs must not cost a mute.
    let state = tokio::task::spawn_blocking(move || drop(store));
    let all = async {
        let _ = tokio::join!(network, devices, state);
    };
    if tokio::time::timeout(SHUTDOWN_LIMIT, all).await.is_err() {
        log::warn!("some connections or devices did not close within {SHUTDOWN_LIMIT:?}");
    }
}

/// Reads the secrets and says where to go as whom. The error is one sentence for the operator.
pub(super) fn signaling_access(settings: &Settings) -> Result<Access, String> {
    let signaling = settings
        .signaling
        .as_ref()
        .ok_or("no meeting is configured; set [signaling] url, meeting and user")?;
    let login = match (&signaling.email, &signaling.password_file) {
        (Some(email), Some(file)) => Some((
            email.clone(),
            read_credential("[signaling] password_file", file)
                .map_err(|error| error.to_string())?,
        )),
        _ => None,
    };
    let token = signaling
        .token_file
        .as_ref()
        .map(|file| read_credential("[signaling] token_file", file))
        .transpose()
        .map_err(|error| error.to_string())?;
    let ca = signaling
        .ca_file
        .as_ref()
        .map(|file| read_credential("[signaling] ca_file", file))
        .transpose()
        .map_err(|error| error.to_string())?;
    Ok(Access {
        url: signaling.url.clone(),
        api: signaling.api.clone(),
        identity: signaling.identity.clone(),
        name: settings.name.clone(),
        classroom: signaling.classroom.clone(),
        login,
        token,
        ca: ca.map(|pem| pem.0.into_bytes()),
    })
}

fn read_credential(key: &str, credential: &CredentialRef) -> Result<Redacted<String>, HostError> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    host::read_credential(key, credential, directory.as_deref())
}

fn rtc_settings(settings: &Settings) -> RtcSettings {
    let mut ice_servers = Vec::new();
    for server in &settings.ice_servers {
        let credential = server
            .credential_file
            .as_ref()
            .map(|file| read_credential("[[ice_servers]] credential_file", file))
            .transpose();
        match credential {
            Ok(credential) => ice_servers.push(IceServerAccess {
                urls: server.urls.clone(),
                username: server.username.clone(),
                credential,
            }),
            // A box that meets people on direct paths is better than one that does not start.
            Err(error) => log::error!("{error}; going on without this server"),
        }
    }
    RtcSettings {
        ice_servers,
        relay_only: settings.relay_only,
    }
}

fn picture_source(inbound: Inbound) -> PictureSource {
    Arc::new(move |peer| {
        inbound
            .picture(peer)
            .ok_or(PictureError::NoneYet)?
            .png()
            .map_err(|error| PictureError::Failed(error.to_string()))
    })
}

/// Reads the configuration again and says what became of it. Nothing is applied to a running box yet, so a
/// change is reported as waiting for the next start.
fn reload(config: Option<PathBuf>, running: Arc<Settings>) -> Reload {
    Arc::new(move || {
        let result = match &config {
            None => Err("huddled was started without a configuration file".to_owned()),
            Some(path) => match read_settings(path) {
                Err(error) => Err(format!("refused, the settings stay as they are: {error}")),
                Ok(settings) if settings == *running => Ok(()),
                Ok(_) => Err(format!(
                    "{}: accepted; the changes take effect at the next start of huddled",
                    path.display()
                )),
            },
        };
        match &result {
            Ok(()) => log::info!("the configuration was read again; nothing changed"),
            Err(message) => log::warn!("configuration: {message}"),
        }
        result
    })
}

/// Reads and checks a configuration file.
///
/// # Errors
/// One sentence that names the file and what to do.
pub fn read_settings(path: &Path) -> Result<Settings, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: cannot be read: {error}", path.display()))?;
    let settings = config::parse(&text, path).map_err(|error| error.to_string())?;
    match unsupported(&settings) {
        None => Ok(settings),
        Some(problem) => Err(format!("{}: {problem}", path.display())),
    }
}

/// What the schema knows and this version cannot do: refused where a box would start as if it could.
fn unsupported(settings: &Settings) -> Option<String> {
    if let VideoDevice::V4l2(name) = &settings.camera.device {
        return Some(format!(
            "camera.device: V4L2 cameras ({name}) are not supported in this version yet; use a simulated one or leave the key out"
        ));
    }
    if matches!(
        settings.panel.backend,
        PanelBackend::Rppal | PanelBackend::Chardev | PanelBackend::Kernel
    ) {
        return Some(
            "panel.backend: only \"sim:virtual\" and \"none\" are supported in this version yet"
                .to_owned(),
        );
    }
    if settings
        .ice_servers
        .iter()
        .any(|server| server.secret_file.is_some())
    {
        return Some(
            "ice_servers.secret_file: credentials made from a shared secret are not supported in this version yet; use username and credential_file".to_owned(),
        );
    }
    None
}
