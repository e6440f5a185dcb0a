//! The hub with the box's own client, with the official one, and with clients that misbehave.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "these are tests, their parts that carry no #[test] too"
)]

mod boxes;
mod bystanders;
mod doors;
mod limits;
mod members;
mod official;
mod pages;
mod raw;
mod strangers;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use huddled::config::{HubSettings, Settings};
use huddled::hub::{Hub, HubKey, HubOptions, IceServerLine, IceServerLines, Tls};
use huddled::room::{PeerId, Redacted};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const MEETING: &str = "main";
/// Whom the tests have member tokens for.
const USERS: [&str; 6] = ["a", "b", "c", "x", "y", "z"];

/// A hub that serves.
pub(crate) struct Running {
    address: SocketAddr,
    origin: String,
    certificate: Option<String>,
    guest_link: String,
    host_link: String,
    tokens: HashMap<&'static str, Redacted<String>>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Running {
    async fn start(change: impl FnOnce(&mut HubOptions)) -> Self {
        let mut options = options();
        change(&mut options);
        let hub = Hub::bind(options).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let tokens = USERS
            .iter()
            .map(|user| {
                (
                    *user,
                    hub.invitations().member_token(MEETING, &PeerId::new(user)),
                )
            })
            .collect();
        Self {
            address: hub.address(),
            origin: hub.invitations().origin().to_owned(),
            certificate: hub.certificate().map(str::to_owned),
            guest_link: hub.invitations().guest_link(MEETING),
            host_link: hub.invitations().host_link(MEETING),
            tokens,
            stop: Some(stop),
            serving: tokio::spawn(hub.serve(async { drop(stopped.await) })),
        }
    }

    fn token(&self, user: &str) -> &Redacted<String> {
        &self.tokens[user]
    }

    /// Ends it; at once, whatever its connections do.
    async fn stop(&mut self) {
        drop(self.stop.take());
        let begun = Instant::now();
        (&mut self.serving).await.unwrap();
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    }

    /// One request of the REST interface: status and answer.
    async fn rest(&self, method: &str, path: &str, token: Option<&str>) -> (u16, Value) {
        let mut request = http().request(
            method.parse().unwrap(),
            format!("http://{}/api/v1/{path}", self.address),
        );
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    /// Joins over REST with a link; the user id and the member's token.
    async fn join_by(&self, link: &str) -> (String, Redacted<String>) {
        let path = format!("public-meetings/{MEETING}/join");
        let (status, answer) = self.rest("POST", &path, link_token(link)).await;
        assert_eq!(status, 201, "{answer}");
        let of = |key: &str| answer[key].as_str().unwrap().to_owned();
        (of("userId"), Redacted(of("token")))
    }

    async fn rows(&self) -> Value {
        let path = format!("public-meetings/{MEETING}/participants");
        let (status, rows) = self.rest("GET", &path, Some(&self.token("x").0)).await;
        assert_eq!(status, 200);
        rows
    }
}

fn options() -> HubOptions {
    HubOptions {
        settings: HubSettings {
            listen: Some("127.0.0.1:0".parse().unwrap()),
            meetings: vec![MEETING.into(), "other".into()],
            ..Settings::default().hub
        },
        tls: Tls::Off,
        key: HubKey::random().unwrap(),
        ice_servers: IceServerLines(Arc::new(|| {
            vec![IceServerLine {
                urls: vec!["turn:192.0.2.1:3478".into()],
                username: Some("u".into()),
                credential: Some(Redacted("turn-secret".into())),
            }]
        })),
    }
}

fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .pool_max_idle_per_host(0)
        .no_proxy()
        // They take a while to load.
        .tls_built_in_root_certs(false)
        .build()
        .unwrap()
}

fn link_token(link: &str) -> Option<&str> {
    link.split_once("&token=").map(|(_, token)| token)
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("huddled-it-hub-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Waits for a condition.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
