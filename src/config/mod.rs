//! FLOOR 1: the configuration. Text in, types out; pure.

use std::fmt;
use std::path::{Path, PathBuf};

mod checks;
mod device_names;
mod diff;
mod document;
mod input;
mod keys;
mod layers;
mod reference;
mod remote;
mod sections;
mod server_url;
mod settings;
mod show;
mod trust;
mod values;

pub use device_names::{SoundName, VideoName};
pub use diff::Change;
pub use input::InputCode;
pub use layers::{
    Candidate, Chosen, Effective, Instead, Layer, Origins, Refusal, Source, choose, merge,
};
pub use reference::{reference, schema};
pub use remote::{REMOTE_KEYS, check_remote};
pub use server_url::{Protection, ServerUrl};
pub use settings::*;

/// What is wrong with a configuration file. The whole file is refused for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; absent where something that concerns the whole file is missing.
    pub line: Option<usize>,
    /// The key, dotted from the root; empty if the file is not TOML at all.
    pub key: String,
    /// What is wrong with it and what to do.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ", {}", self.key)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// Reads the text of one configuration file (TOML 1.1) as if it were the only one, see [`merge`].
///
/// # Errors
/// As of [`merge`].
pub fn parse(text: &str, file: &Path) -> Result<Settings, ConfigError> {
    let layer = Layer {
        file: file.to_owned(),
        text: text.to_owned(),
        source: Source::Own,
    };
    merge(&[layer]).map(|effective| effective.settings)
}
