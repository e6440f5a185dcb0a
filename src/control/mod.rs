//! FLOOR 2: the ways in from outside. One schema of commands and snapshots, as newline-delimited JSON over a Unix
//! socket and, for a browser, over HTTP ([`Page`]).
//!
//! The socket:
//!
//! ```text
//! -> {"id":1,"do":"mute"}                      <- {"id":1,"ok":{}}
//! -> {"id":2,"do":"press","args":{"button":"mic"}}
//!                                              <- {"id":2,"error":{"code":"denied","message":"..."}}
//! -> {"id":3,"do":"watch"}                     <- {"id":3,"ok":{}}
//!                                              <- {"snapshot":{...}}
//!                                              <- {"event":"reconnecting","user_id":"u-2",...}
//! ```
//!
//! | `do` | `args` | `ok` |
//! |---|---|---|
//! | `status` | | the snapshot |
//! | `watch` | | `{}`, then a snapshot, then events and snapshots until the connection ends |
//! | `mute`, `join`, `leave`, `identify` | | `{}` |
//! | `camera` | `{"off":true}` | `{}` |
//! | `share` | `{"on":BOOL}` | `{}` |
//! | `press` | `{"button":"mic"\|"camera"\|"share"}` | `{}` |
//! | `picture` | `{"user":"ID"}`, or none if there is one other member | `{"user_id":"ID","png":"BASE64"}` |
//! | `reload` | | `{}` |
//! | `fetch` | | `{"outcome":"..."}`: what a look for a remote configuration brought; an addition |
//! | `health` | | counters and levels of the pipelines; an addition, for people and tests, not a stable schema |
//!
//! Nothing here opens the microphone or the camera: there is no such command to send.
//!
//! A line of more than 64 KiB ends the connection, JSON that means nothing is answered and the connection stays.
//! At most 32 connections; a watcher that does not read its lines is told so and dropped.

mod backend;
mod http;
mod mirror;
mod protocol;
mod server;
mod service;
mod socket;
mod text;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use backend::{
    Backend, ControlRequest, Health, Look, PictureError, PictureSource, Pictured, Reload,
};
pub use http::{Page, PageOptions};
pub use mirror::{
    CameraState, EventLine, Leds, MicrophoneState, PeerState, ScreenState, SignalingLine, Snapshot,
};
pub use protocol::{ErrorCode, Reply, ReplyError, Request, Wish};
pub use server::serve;
pub use socket::{ControlSocket, default_socket, runtime_directory};
pub use text::{describe_event, describe_status, summarize, visible};

/// Why the control socket or the page cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another process answers there.
    #[error("{path}: another huddled already answers on this control socket; stop it, or set [control] socket", path = path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else lies there.
    #[error("{path}: there is a file that is not a socket; remove it, or set [control] socket", path = path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The system said no.
    #[error("{path}: cannot {attempt} the control socket: {source}; create its folder, or set [control] socket to a place that fits", path = path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// What was attempted.
        attempt: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another program has the page's address.
    #[error(
        "{address}: another program already listens here; stop it, or set [control] http to another port"
    )]
    AddressInUse {
        /// Of the page.
        address: SocketAddr,
    },
    /// The page's address cannot be had.
    #[error(
        "{address}: cannot listen for the box's page: {source}; set [control] http to an address of this machine, with a port from 1024 on"
    )]
    NoAddress {
        /// Of the page.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

impl ControlError {
    fn failed(path: &Path, attempt: &'static str, source: std::io::Error) -> Self {
        Self::Failed {
            path: path.to_owned(),
            attempt,
            source,
        }
    }
}
