//! FLOOR 1: the configuration. Text in, types out; pure.

use std::fmt;
use std::path::{Path, PathBuf};

mod document;
mod sections;
mod settings;
mod show;
mod values;

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

/// Reads the text of a configuration file (TOML 1.1). `file` names it in errors, and relative paths in it start from
/// the folder it lies in. Everything that is not said is as in [`Settings::default`].
///
/// # Errors
/// An unknown key, a value of the wrong type or out of range, or values that contradict each other: the first one
/// found refuses the whole file.
pub fn parse(text: &str, file: &Path) -> Result<Settings, ConfigError> {
    let origin = document::Origin { file, text };
    let document = document::tables(origin)?;
    sections::settings(origin, document.get_ref())
}
