//! `huddled hub`: the embedded server alone.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::sync::oneshot;

use crate::clock::since_1970;
use crate::config::{HubAccess, HubTls, Settings};
use crate::host::{self, Signal, Signals, StatePlaces};
use crate::hub::{Hub, HubKey, HubOptions, IceServerLine, IceServerLines, Invitations, Tls};
use crate::journal_budget::LineBudget;
use crate::room::PeerId;
use crate::rtc::IceServerAccess;

use super::run::{ice_servers, read_credential, runtime, state_id};

/// What `huddled hub` was told.
#[derive(Clone, Debug)]
pub struct HubRun {
    /// The accepted configuration.
    pub settings: Settings,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// What to do.
    pub task: HubTask,
}

/// What `huddled hub` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubTask {
    /// Serve until SIGINT or SIGTERM.
    Serve,
    /// Print the links of every meeting.
    Links,
    /// Print the token of a box.
    Token {
        /// The box's user id.
        user: String,
        /// Its meeting; `None` is the first.
        meeting: Option<String>,
    },
}

/// Runs the hub, or prints what it would admit.
///
/// # Errors
/// What could not be built, with its cause.
pub fn hub(options: HubRun) -> Result<()> {
    let HubRun {
        settings,
        state_dir,
        task,
    } = options;
    let places = StatePlaces::from_environment(state_dir, settings.state_dir.clone());
    let directory = host::state_directory(&places, &state_id(&settings))?;
    host::create_state_directory(&directory)?;
    let key = HubKey::open(&directory)?;
    match task {
        HubTask::Serve => {
            let runtime = runtime()?;
            let result = runtime.block_on(serve(&settings, key, &directory));
            runtime.shutdown_timeout(super::run::LAST_MOMENT);
            result
        }
        HubTask::Links => {
            print_links(&settings, &Invitations::new(&settings.hub, key)?);
            Ok(())
        }
        HubTask::Token { user, meeting } => print_token(
            &settings,
            &Invitations::new(&settings.hub, key)?,
            &user,
            meeting,
        ),
    }
}

async fn serve(settings: &Settings, key: HubKey, directory: &Path) -> Result<()> {
    let mut signals = Signals::install()?;
    let hub = Hub::bind(hub_options(settings, key, directory)?).await?;
    if settings.hub.access == HubAccess::Open {
        log::warn!(
            "[hub] access = \"open\": whoever reaches {} is let in",
            hub.address()
        );
    }
    if host::logs_to_journal() {
        log::info!("`huddled hub --links` prints the links of the meetings");
    } else {
        print_links(settings, hub.invitations());
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = hub.serve(async {
        // Sent or dropped, either way it is over.
        let _ = stopped.await;
    });
    let mut serving = std::pin::pin!(serving);
    host::report_ready();
    loop {
        tokio::select! {
            () = &mut serving => bail!("the hub ended"),
            signal = signals.next() => match signal {
                Signal::Stop => break,
                Signal::Reload => log::warn!("the hub reads its configuration at the start only; restart it"),
            },
        }
    }
    host::report_stopping();
    drop(stop);
    serving.await;
    log::info!("stopped");
    Ok(())
}

/// What the hub is made of. `directory`: where a certificate of its own is kept.
pub(super) fn hub_options(
    settings: &Settings,
    key: HubKey,
    directory: &Path,
) -> Result<HubOptions> {
    let tls = match &settings.hub.tls {
        HubTls::Off => Tls::Off,
        HubTls::SelfSigned => Tls::SelfSigned {
            directory: directory.to_owned(),
        },
        HubTls::File(file) => Tls::Pem(read_credential("[hub] tls", file)?.0.into_bytes()),
    };
    Ok(HubOptions {
        settings: settings.hub.clone(),
        tls,
        key,
        ice_servers: ice_server_lines(ice_servers(settings)),
    })
}

static UNTOLD: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Error,
    "joins that are not told of a server",
);

/// The servers as members are told of them, with credentials of that moment.
fn ice_server_lines(servers: Vec<IceServerAccess>) -> IceServerLines {
    IceServerLines(Arc::new(move || {
        let now = since_1970();
        let line = |server: &IceServerAccess| match server.credentials.login(now) {
            Ok(login) => {
                let (username, credential) =
                    login.map(|login| (login.username, login.password)).unzip();
                Some(IceServerLine {
                    urls: server.urls.clone(),
                    username,
                    credential,
                })
            }
            Err(error) => {
                if UNTOLD.admits(server.urls.first().map_or("", String::as_str)) {
                    log::error!("{error}; who joins is not told of this server");
                }
                None
            }
        };
        servers.iter().filter_map(line).collect()
    }))
}

#[allow(clippy::print_stdout)] // a command's answer
fn print_links(settings: &Settings, invitations: &Invitations) {
    for meeting in &settings.hub.meetings {
        println!(
            "meeting {meeting}\n  for guests  {}\n  for hosts   {}",
            invitations.guest_link(meeting),
            invitations.host_link(meeting)
        );
    }
}

#[allow(clippy::print_stdout)] // a command's answer
fn print_token(
    settings: &Settings,
    invitations: &Invitations,
    user: &str,
    meeting: Option<String>,
) -> Result<()> {
    let meetings = &settings.hub.meetings;
    let meeting = match &meeting {
        Some(meeting) if meetings.contains(meeting) => meeting,
        Some(meeting) => bail!(
            "there is no meeting {meeting}; [hub] meetings names {}",
            meetings.join(", ")
        ),
        // The configuration refuses an empty list.
        None => meetings.first().context("[hub] meetings is empty")?,
    };
    let token = invitations.member_token(meeting, &PeerId::new(user));
    println!("{}", token.0);
    Ok(())
}

/// Writes a file that this user alone may read.
pub(super) fn write_secret(path: &Path, content: &[u8]) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("cannot write {}", path.display()))
}
