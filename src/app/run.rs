//! Builds the whole box from its settings and runs it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinError;

use crate::clock::monotonic;
use crate::config::{CredentialRef, IceServer, Settings, VideoDevice};
use crate::control::{
    self, Backend, ControlSocket, Page, PageOptions, PictureError, PictureSource, Pictured,
};
use crate::devices::{self, DeviceError, LensWatch};
use crate::events::EventSender;
use crate::host::{self, HostError, Signal, Signals, StatePlaces, Store};
use crate::media::capture::{Feed, VideoOut, screen_opener};
use crate::media::fanout::Fanout;
use crate::media::inbound::{Inbound, View};
use crate::media::microphone::AudioOut;
use crate::media::mixer::OpenSpeaker;
use crate::room::{Event, Redacted, Room, Shutter};
use crate::rtc::{IceCredentials, IceServerAccess, Peers, RtcSettings, SecretSource};
use crate::socketio::{self, Access};

use super::configuration::{ConfigSource, Configuration};
use super::dispatch::Shells;
use super::driver::{Driver, Questions};
use super::health;
use super::reload::{follow, reload};
use super::remote::{self, Surroundings};

/// Progress of the standing loops is looked at this often where no watchdog is set.
const BEAT_INTERVAL: Duration = Duration::from_secs(2);
/// Shutting the shells down takes at most this long after the driver has ended.
pub(super) const SHUTDOWN_LIMIT: Duration = Duration::from_millis(800);
/// What still runs at the very end has been told to close; it must not hold that up.
pub(super) const LAST_MOMENT: Duration = Duration::from_millis(100);
/// Events a slow watcher may fall behind before it is dropped.
const WATCHER_BACKLOG: usize = 256;

/// What `huddled run` was told.
pub struct RunOptions {
    /// The accepted configuration.
    pub configuration: Configuration,
    /// Where it came from.
    pub source: ConfigSource,
    /// What the page shows besides in a demonstration.
    pub demo: Option<DemoPage>,
}

/// A demonstration's page: it shows the members' pictures too, for everybody in the meeting is whoever tries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoPage {
    /// Where a person with a browser gets into the meeting.
    pub meeting_link: Option<String>,
}

/// Runs the box until SIGTERM, SIGINT or the end of a standing loop.
///
/// # Errors
/// What could not be built or which standing loop ended, with its cause.
pub fn run(options: RunOptions) -> Result<()> {
    let runtime = runtime()?;
    let result = runtime.block_on(serve(options));
    runtime.shutdown_timeout(LAST_MOMENT);
    result
}

/// What everything asynchronous runs on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}

pub(super) async fn serve(options: RunOptions) -> Result<()> {
    if cfg!(mute_gate_removed) {
        log::warn!(
            "built with HUDDLED_MUTATION=mute_gate_removed: this program sends sound while muted"
        );
    }
    let RunOptions {
        configuration,
        source,
        demo,
    } = options;
    let settings = Arc::new(configuration.settings.clone());
    warn_of_what_waits(&settings);
    let (events, event_receiver) = EventSender::channel();
    exit_when_a_standing_thread_panics();

    // The operating system.
    let mut signals = Signals::install()?;
    let places =
        StatePlaces::from_environment(source.state_dir.clone(), settings.state_dir.clone());
    let state_directory = host::state_directory(&places, &state_id(&settings))?;
    host::create_state_directory(&state_directory)?;
    let runtime = control::runtime_directory(std::env::var_os("RUNTIME_DIRECTORY").as_deref());
    let store = Store::open(&state_directory, runtime.as_deref())?;
    let persisted = store.load();
    let socket_path = settings.control.socket.clone().unwrap_or_else(|| {
        control::default_socket(std::env::var_os("RUNTIME_DIRECTORY").as_deref())
    });
    let socket = ControlSocket::open(&socket_path)?;

    // Media out, media in, peers.
    let fanout = Fanout::new();
    let video = VideoOut::spawn(
        Feed::Camera,
        &settings.camera,
        &settings.name,
        &settings.video,
        Arc::clone(&fanout),
        events.clone(),
    )?;
    let screen = match settings.screen.source.device {
        VideoDevice::None => None,
        _ => Some(VideoOut::spawn_with(
            Feed::Screen {
                watched: settings.screen.on_signal,
            },
            screen_opener(&settings.screen, &settings.name),
            &settings.screen.encoding(),
            Arc::clone(&fanout),
            events.clone(),
        )?),
    };
    let audio = AudioOut::spawn(
        &settings.microphone,
        &settings.audio,
        Arc::clone(&fanout),
        events.clone(),
    )?;
    let inbound = Inbound::spawn(speaker(&settings));
    let peers = Peers::new(
        rtc_settings(&settings),
        Arc::clone(&fanout),
        inbound.clone(),
        events.clone(),
    );
    let panel = devices::open_panel(&settings.panel, &{
        let events = events.clone();
        let sink: devices::PanelSink = Arc::new(move |input| {
            events.report(match input {
                devices::PanelInput::Edge(edge) => Event::ButtonEdge {
                    button: edge.button,
                    pressed: edge.pressed,
                    at: edge.at,
                },
                devices::PanelInput::Switch {
                    button,
                    closed,
                    moved,
                } => Event::SwitchSet {
                    button,
                    closed,
                    moved,
                },
            });
        });
        sink
    })?;

    // The brain.
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow!("the system has no random numbers: {error}"))?;
    let mut room_settings = settings.room();
    room_settings.complaint.clone_from(&configuration.complaint);
    let room = Room::new(room_settings.clone(), u64::from_le_bytes(seed), monotonic());

    // Control.
    let (snapshot_sender, snapshots) = watch::channel(Arc::new(room.snapshot()));
    let (commands, requests) = mpsc::channel(64);
    let (health_sender, health_requests) = mpsc::channel(8);
    let (watchers, _) = broadcast::channel(WATCHER_BACKLOG);
    let control_beats = Arc::new(AtomicU64::new(0));
    let (reload_sender, reloads) = mpsc::channel(8);
    let (look_sender, look_requests) = mpsc::channel(8);
    let (remote_status_sender, remote_status) = watch::channel(serde_json::Value::Null);
    let (running_sender, running) = watch::channel(Arc::clone(&settings));
    let reload = reload(source.clone(), reload_sender);
    let (shown, remote_commands) = (snapshots.clone(), commands.clone());
    let backend = Backend {
        commands,
        snapshots,
        events: watchers.clone(),
        picture: picture_source(inbound.clone()),
        health: Arc::new(move || {
            let mut health = health::ask(&health_sender);
            if let Some(members) = health.as_object_mut() {
                members.insert("remote".to_owned(), remote_status.borrow().clone());
            }
            health
        }),
        look: Arc::new(move || remote::ask(&look_sender)),
        reload: Arc::clone(&reload),
        clock: monotonic,
    };
    let page = match settings.control.http {
        Some(address) => Some(open_page(address, &settings, demo, &backend).await?),
        None => None,
    };
    let control_loop = tokio::spawn(control::serve(socket, backend, Arc::clone(&control_beats)));
    // Like the control loop it ends with the runtime.
    let page = page.map(|page| tokio::spawn(page.serve(std::future::pending())));

    let shells = Shells {
        settings: Arc::clone(&settings),
        signaling: socketio::Client::new(events.clone())
            .context("cannot start the signaling thread")?,
        peers,
        video,
        screen,
        lens: watch_lens(&settings, &events)?,
        fanout,
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
    if source.config.is_none() {
        drop(tokio::spawn(follow(
            host::watch_layers(&source.root)?,
            Arc::clone(&reload),
        )));
    }
    let remote = remote::look_after(Surroundings {
        source: source.clone(),
        running,
        snapshots: shown,
        commands: remote_commands,
        reload: Arc::clone(&reload),
        requests: look_requests,
        status: remote_status_sender,
    });
    // Like the control loop it ends with the runtime.
    drop(tokio::spawn(remote));
    // Everything could be built from it. The disk may take its time.
    drop(tokio::task::spawn_blocking(move || {
        source.keep(&configuration);
    }));
    events.report(Event::Started { persisted });
    let driver = Driver::new(
        room,
        shells,
        room_settings,
        Questions {
            events: event_receiver,
            requests,
            health_requests,
            reloads,
        },
        snapshot_sender,
        running_sender,
        host::watchdog_interval().map_or(BEAT_INTERVAL, |interval| interval / 4),
    );
    let mut driver = std::pin::pin!(driver.run());
    let mut control_loop = std::pin::pin!(control_loop);
    let mut page = std::pin::pin!(async {
        match page {
            Some(page) => page.await,
            None => std::future::pending().await,
        }
    });
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
                defect = Some(ended("the control loop", result));
                events.report(Event::StopRequested);
            }
            result = &mut page, if defect.is_none() => {
                defect = Some(ended("the page's loop", result));
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

/// Opens the speaker.
pub(super) fn speaker(settings: &Settings) -> OpenSpeaker {
    let settings = settings.speaker.clone();
    Box::new(move || devices::open_speaker(&settings))
}

/// Watches the switch beside a camera's lens; a simulated camera has no lens.
pub(super) fn watch_lens(
    settings: &Settings,
    events: &EventSender,
) -> Result<Option<LensWatch>, DeviceError> {
    if !matches!(settings.camera.device, VideoDevice::V4l2(_)) {
        return Ok(None);
    }
    let events = events.clone();
    let sink = Arc::new(move |covered| {
        events.report(Event::LensCovered {
            by: Shutter::Switch,
            covered,
        });
    });
    LensWatch::spawn(sink).map(Some)
}

fn ended(what: &str, result: Result<(), JoinError>) -> anyhow::Error {
    match result {
        Ok(()) => anyhow!("{what} ended"),
        Err(error) => anyhow!("{what} ended: {error}"),
    }
}

/// Opens the box's page and says who can reach it.
async fn open_page(
    address: SocketAddr,
    settings: &Settings,
    demo: Option<DemoPage>,
    backend: &Backend,
) -> Result<Page> {
    let options = PageOptions {
        hosts: settings.control.http_hosts.clone(),
        name: settings.name.clone(),
        panel: settings.room().panel_simulated && address.ip().is_loopback(),
        pictures: demo.is_some(),
        meeting_link: demo.and_then(|demo| demo.meeting_link),
    };
    let page = Page::bind(address, options, backend.clone()).await?;
    log::info!("the box's page is at http://{}/", page.address());
    if !address.ip().is_loopback() {
        log::warn!(
            "[control] http = \"{address}\" is not a loopback address: whoever reaches it may see the meeting's state"
        );
        if settings.control.http_hosts.is_empty() {
            log::warn!(
                "[control] http_hosts is empty, so browsers of other machines get nothing; name this box there"
            );
        }
    }
    Ok(page)
}

/// Says which settings are accepted and do nothing in this version: a silent one would be a lie.
pub(super) fn warn_of_what_waits(settings: &Settings) {
    let defaults = Settings::default();
    let waiting = [("[display] device", settings.display != defaults.display)];
    for (key, _) in waiting.iter().filter(|(_, set)| *set) {
        log::warn!("{key} is understood but does nothing in this version yet");
    }
}

/// A thread that must stand ends the process when it panics: half a box that looks alive is worse than a restart.
fn exit_when_a_standing_thread_panics() {
    // Not the signaling thread: the Socket.IO crate's tasks run on it and panic over bytes from outside, which the
    // session survives. Its end is seen by the driver.
    const STANDING: [&str; 6] = [
        "video-out",
        "screen-out",
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
pub(super) fn state_id(settings: &Settings) -> String {
    settings.id.clone().unwrap_or_else(|| settings.name.clone())
}

async fn shut_down(shells: Shells) {
    let Shells {
        signaling,
        mut peers,
        video,
        screen,
        lens,
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
        if let Some(screen) = screen {
            screen.stop();
        }
        drop(lens);
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
        url: signaling.url.to_string(),
        api: signaling.api.clone(),
        identity: signaling.identity.clone(),
        name: settings.name.clone(),
        classroom: signaling.classroom.clone(),
        login,
        token,
        ca: ca.map(|pem| pem.0.into_bytes()),
    })
}

pub(super) fn read_credential(
    key: &str,
    credential: &CredentialRef,
) -> Result<Redacted<String>, HostError> {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    host::read_credential(key, credential, directory.as_deref())
}

/// A secret that is read when it is needed, so that a changed file holds from there on.
fn secret_source(key: &'static str, file: &CredentialRef) -> SecretSource {
    let file = file.clone();
    Arc::new(move || read_credential(key, &file).map_err(|error| error.to_string()))
}

pub(super) fn rtc_settings(settings: &Settings) -> RtcSettings {
    RtcSettings {
        ice_servers: ice_servers(settings),
        proxy: settings.ice_proxy.clone(),
        relay_only: settings.relay_only,
    }
}

/// The configured servers, with where their secrets are read.
pub(super) fn ice_servers(settings: &Settings) -> Vec<IceServerAccess> {
    settings.ice_servers.iter().map(ice_server).collect()
}

fn ice_server(server: &IceServer) -> IceServerAccess {
    let username = server.username.clone();
    let credentials = match (&server.credential_file, &server.secret_file) {
        (Some(file), _) => IceCredentials::Password {
            username: username.unwrap_or_default(),
            password: secret_source("[[ice_servers]] credential_file", file),
        },
        (None, Some(file)) => IceCredentials::Shared {
            name: username.unwrap_or_else(|| "huddled".to_owned()),
            secret: secret_source("[[ice_servers]] secret_file", file),
            lifetime: server.secret_lifetime,
        },
        (None, None) => IceCredentials::None,
    };
    let ca = server.ca_file.as_ref();
    IceServerAccess {
        urls: server.urls.clone(),
        credentials,
        ca: ca.map(|file| secret_source("[[ice_servers]] ca_file", file)),
    }
}

fn picture_source(inbound: Inbound) -> PictureSource {
    Arc::new(move |peer, pictured| {
        let (view, none) = match pictured {
            Pictured::Camera => (View::Camera, PictureError::NoneYet),
            Pictured::Screen => (View::Screen, PictureError::NoScreen),
        };
        inbound
            .picture(peer, view)
            .ok_or(none)?
            .png()
            .map_err(|error| PictureError::Failed(error.to_string()))
    })
}
