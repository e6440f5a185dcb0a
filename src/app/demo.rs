//! `huddled demo`: the hub and one box of simulated devices in one process, for anybody to try.

use std::fs::DirBuilder;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use tokio::sync::oneshot;

use crate::config::{self, CredentialRef, HubTls, ServerUrl, Settings};
use crate::hub::{Hub, HubKey};

use super::configuration::ConfigSource;
use super::hub::{hub_options, write_secret};
use super::run::{DemoPage, LAST_MOMENT, RunOptions, runtime, serve};

/// The box's configuration but for what is known only at the start.
const CONFIG: &str = include_str!("../../config/demo.toml");
/// What [`CONFIG`] is called in messages; there is no such file.
const FILE: &str = "demo.toml";
/// The file of the box's token, as [`CONFIG`] names it.
const TOKEN: &str = "box-token";
/// The file of the hub's certificate, where it has one.
const CERTIFICATE: &str = "hub.pem";

/// What `huddled demo` was told.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Where the hub listens; `None` is loopback, on the usual port if it is free.
    pub listen: Option<SocketAddr>,
    /// Where the box's own page listens; `None` is loopback, on the usual port if it is free.
    pub http: Option<SocketAddr>,
    /// The folder of the guest page.
    pub pages: PathBuf,
    /// The box's name; `None` is the demo's.
    pub name: Option<String>,
}

/// Runs hub and box until SIGINT or SIGTERM.
///
/// # Errors
/// What could not be built or which standing loop ended, with its cause.
pub fn demo(options: DemoOptions) -> Result<()> {
    let directory = Directory::create()?;
    let runtime = runtime()?;
    let result = runtime.block_on(run(options, &directory.0));
    runtime.shutdown_timeout(LAST_MOMENT);
    result
}

async fn run(options: DemoOptions, directory: &Path) -> Result<()> {
    let mut settings = settings(&options, directory)?;
    // A key of its own for each run: yesterday's link opens nothing.
    let key = HubKey::random()?;
    let hub = Hub::bind(hub_options(&settings, key, directory)?).await?;
    join_hub(&mut settings, &hub, directory)?;

    let invitations = hub.invitations();
    let meeting = meeting(&settings)?;
    let guest_link = invitations.guest_link(meeting);
    say(&settings, &guest_link, &invitations.host_link(meeting));

    let (stop, stopped) = oneshot::channel::<()>();
    let hub = tokio::spawn(hub.serve(async {
        // Sent or dropped, either way it is over.
        let _ = stopped.await;
    }));
    let result = serve(RunOptions {
        configuration: settings.into(),
        source: ConfigSource {
            config: Some(directory.join(FILE)),
            root: PathBuf::from("/"),
            state_dir: Some(directory.to_owned()),
            allow_sim: true,
        },
        demo: Some(DemoPage {
            meeting_link: Some(guest_link),
        }),
    })
    .await;
    drop(stop);
    hub.await.context("the hub ended in a defect")?;
    result
}

/// The box's and the hub's settings.
fn settings(options: &DemoOptions, directory: &Path) -> Result<Settings> {
    let mut settings = config::parse(CONFIG, &directory.join(FILE))
        .map_err(|error| anyhow!("the demo's own configuration is broken: {error}"))?;
    if let Some(name) = &options.name {
        settings.name.clone_from(name);
    }
    let listen = options.listen.or_else(|| settings.hub.listen.map(free));
    settings.hub.listen = listen;
    settings.control.http = match options.http {
        // What is printed must be the port it gets.
        Some(address) if address.port() == 0 => Some(free(address)),
        None => settings.control.http.map(free),
        given => given,
    };
    settings.hub.pages.clone_from(&options.pages);
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        // Browsers give camera and microphone to pages from elsewhere over TLS only.
        settings.hub.tls = HubTls::SelfSigned;
    }
    Ok(settings)
}

/// The address, or another port of it where somebody listens already: a second demo, most likely.
fn free(address: SocketAddr) -> SocketAddr {
    let try_at = |address: SocketAddr| {
        TcpListener::bind(address)
            .and_then(|listener| listener.local_addr())
            .ok()
    };
    try_at(address)
        .or_else(|| try_at(SocketAddr::new(address.ip(), 0)))
        .unwrap_or(address)
}

/// Tells the box where the hub is and hands it its token.
fn join_hub(settings: &mut Settings, hub: &Hub, directory: &Path) -> Result<()> {
    let file = |name: &str| CredentialRef {
        name: name.to_owned(),
        base: directory.to_owned(),
        credential_only: false,
    };
    let signaling = settings
        .signaling
        .as_mut()
        .ok_or_else(|| anyhow!("the demo's own configuration has no meeting"))?;
    let identity = &signaling.identity;
    let token = hub
        .invitations()
        .member_token(&identity.meeting, &identity.user);
    write_secret(&directory.join(TOKEN), token.0.as_bytes())?;
    // The box is on this machine, whatever else the hub listens on.
    let mut address = hub.address();
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let url = match hub.certificate() {
        None => format!("http://{address}"),
        Some(certificate) => {
            write_secret(&directory.join(CERTIFICATE), certificate.as_bytes())?;
            signaling.ca_file = Some(file(CERTIFICATE));
            format!("https://{address}")
        }
    };
    signaling.url = ServerUrl::parse(&url).map_err(|problem| anyhow!("{url} {problem}"))?;
    Ok(())
}

fn meeting(settings: &Settings) -> Result<&str> {
    settings
        .hub
        .meetings
        .first()
        .map(String::as_str)
        .ok_or_else(|| anyhow!("the demo's own configuration has no meeting"))
}

/// What a person wants to know, on standard output.
#[allow(clippy::print_stdout)] // the command's answer
fn say(settings: &Settings, guest_link: &str, host_link: &str) {
    let page = settings
        .control
        .http
        .map_or_else(String::new, |address| format!("http://{address}/"));
    let socket = settings
        .control
        .socket
        .as_deref()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    println!(
        "\n{name} is in a meeting. Open it in a browser, allow camera and microphone, press Join:\n\n  \
         the meeting     {guest_link}\n  \
         as its host     {host_link}\n  \
         the box's page  {page}\n  \
         from a shell    huddlectl --socket {socket} status\n\n\
         Camera, microphone, speaker and panel of the box are simulated. Ctrl+C ends all of it.\n",
        name = settings.name,
    );
}

/// A folder of this run's own for state, token and socket; gone at the end.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Result<Self> {
        let mut random = [0; 6];
        getrandom::fill(&mut random)
            .map_err(|error| anyhow!("the system has no random numbers: {error}"))?;
        let name = random
            .iter()
            .fold("huddled-demo-".to_owned(), |name, byte| {
                format!("{name}{byte:02x}")
            });
        let path = std::env::temp_dir().join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| {
                format!(
                    "cannot create {}; set TMPDIR to a folder that can be written",
                    path.display()
                )
            })?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            log::warn!("{}: cannot be removed: {error}", self.0.display());
        }
    }
}
