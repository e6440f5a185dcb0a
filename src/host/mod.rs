//! FLOOR 2: the operating system: the service manager, signals, the journal, credentials, the files of the
//! configuration, the network link and the state file.

mod credential;
mod journal;
mod layers;
mod link;
mod notify;
mod places;
mod signals;
mod state_document;
mod store;
mod watch;

use std::path::PathBuf;

pub use credential::read_credential;
pub use journal::{install, log_notice, logs_to_journal};
pub use layers::{keep_accepted, read_accepted, read_layer, read_layers, read_layers_in};
pub use link::watch_link;
pub use notify::{feed_watchdog, report_ready, report_status, report_stopping, watchdog_interval};
pub use places::{StatePlaces, configuration_directory, create_state_directory, state_directory};
pub use signals::{Signal, Signals};
pub use store::Store;
pub use watch::watch_layers;

/// What could not be done with which part of the system.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A secret named by the configuration is in neither place.
    #[error(
        "{key} = \"{name}\" was not found; tried {tried}; put the secret there or correct the key"
    )]
    CredentialMissing {
        /// The configuration's key.
        key: String,
        /// Its value.
        name: String,
        /// The paths that were tried.
        tried: String,
    },
    /// A secret is there and cannot be used.
    #[error("{key}: {path} cannot be used: {reason}", path = path.display())]
    CredentialUnusable {
        /// The configuration's key.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said; nothing of the content.
        reason: String,
    },
    /// Nothing says where the state belongs.
    #[error(
        "no place for the state: none of --state-dir, [box] state_dir, $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME is set; give --state-dir"
    )]
    NoStateDirectory,
    /// The state directory cannot be made.
    #[error("the state directory {path} cannot be created: {source}; create it or give another with --state-dir", path = path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread or a signal handler could not be set up.
    #[error("cannot set up {what}: {source}")]
    Setup {
        /// What was attempted.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}
