//! Several files as one configuration, and what to go on with when one of them is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::document::{Origin, Section, Tree, tables};
use super::trust::Own;
use super::{ConfigError, Settings, keys, sections};

/// Whose word a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of the box itself, which only its administrator and its vendor write.
    Own,
    /// The signed remote file: bound by [`super::REMOTE_KEYS`], and never less safe than the box's own files.
    Remote,
}

/// One file of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Names it in errors; relative paths in it start from its folder.
    pub file: PathBuf,
    /// TOML 1.1.
    pub text: String,
    /// Whose word it is.
    pub source: Source,
}

/// Where the values came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, (PathBuf, usize)>);

impl Origins {
    /// The file and the line, from 1, that say this. `key` is dotted from the root, such as `video.width` or
    /// `ice_servers[0].urls`. `None` is the default.
    pub fn of(&self, key: &str) -> Option<(&Path, usize)> {
        let (file, line) = self.0.get(key)?;
        Some((file, *line))
    }

    /// An error about a key, in the file that says it; `fallback` stands for the file where none does.
    pub fn error(&self, key: &str, fallback: &Path, problem: impl Into<String>) -> ConfigError {
        let place = self.of(key);
        ConfigError {
            file: place.map_or(fallback, |(file, _)| file).to_owned(),
            line: place.map(|(_, line)| line),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }
}

/// What layers come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// All settings.
    pub settings: Settings,
    /// Which file said what.
    pub origins: Origins,
}

/// Merges layers, the weakest first, over the defaults: tables merge key by key, values and lists replace. Everything
/// that no layer says is as in [`Settings::default`].
///
/// # Errors
/// An unknown key, a value of the wrong type or out of range in any layer, even one that another layer covers, or
/// values that contradict each other once merged: the first one found, with the file and line that say it.
pub fn merge(layers: &[Layer]) -> Result<Effective, ConfigError> {
    let origins: Vec<_> = layers
        .iter()
        .map(|layer| Origin {
            file: &layer.file,
            text: &layer.text,
        })
        .collect();
    let documents = origins
        .iter()
        .map(|origin| tables(*origin))
        .collect::<Result<Vec<_>, _>>()?;
    let nowhere = Origin {
        file: Path::new(""),
        text: "",
    };
    let mut tree = Tree::default();
    let mut newest = nowhere;
    let mut own: Option<Own> = None;
    for ((layer, origin), document) in layers.iter().zip(&origins).zip(&documents) {
        if layer.source == Source::Remote && own.is_none() {
            own = Some(Own::read(&Section::root(newest, &tree, keys::ROOT))?);
        }
        tree.layer(*origin, document.get_ref(), keys::ROOT)?;
        newest = *origin;
    }
    let root = Section::root(newest, &tree, keys::ROOT);
    let mut settings = sections::settings(&root)?;
    let server = sections::server(&root)?;
    let mut places = Vec::new();
    tree.places("", &mut places);
    let places = places
        .into_iter()
        .map(|(key, file, line)| (key, (file.to_owned(), line)));
    let origins = Origins(places.collect());
    if let Some(own) = own {
        let remote = layers.iter().filter(|layer| layer.source == Source::Remote);
        own.judge(
            &mut settings,
            server.as_ref(),
            &origins,
            &remote.collect::<Vec<_>>(),
        )?;
    }
    Ok(Effective { settings, origins })
}

/// A file of the configuration as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The file.
    pub file: PathBuf,
    /// Its text, or why it cannot be read.
    pub text: Result<String, String>,
    /// Whose word it is.
    pub source: Source,
}

/// What stands in for a refused file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Its copy of the last time that everything was accepted.
    Copy,
    /// Nothing: it was not there the last time, or no copy was ever kept.
    Nothing,
    /// All files as they were the last time that everything was accepted, because they do not fit each other now.
    Everything,
}

/// A file that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong with it.
    pub error: ConfigError,
    /// What stands in for it.
    pub instead: Instead,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instead = match self.instead {
            Instead::Copy => "its last accepted copy is used instead",
            Instead::Nothing => "it is left out, because no copy of it was ever accepted",
            Instead::Everything => "the whole last accepted configuration is used instead",
        };
        write!(f, "{}; {instead}", self.error)
    }
}

/// What to go on with.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// What the layers come to.
    pub effective: Effective,
    /// Those that are used.
    pub layers: Vec<Layer>,
    /// Those that are not; empty if everything was accepted.
    pub refusals: Vec<Refusal>,
}

/// Chooses what to go on with: the files as they are or, in the place of each that is refused, its last accepted copy.
/// `accepted` are the files of the last time that everything was accepted; none if that never was. `check` refuses
/// what is well-formed and cannot be done here.
///
/// # Errors
/// Nothing valid exists: the first thing that is wrong with the files as they are.
pub fn choose(
    candidates: &[Candidate],
    accepted: &[Layer],
    check: impl Fn(&Effective) -> Result<(), ConfigError>,
) -> Result<Chosen, ConfigError> {
    let merged = |layers: &[Layer]| -> Result<Effective, ConfigError> {
        let effective = merge(layers)?;
        check(&effective)?;
        Ok(effective)
    };
    let copy = |file: &Path| accepted.iter().find(|layer| layer.file == file);
    let mut refusals: Vec<Refusal> = Vec::new();
    let mut layers = Vec::new();
    for Candidate { file, text, source } in candidates {
        match text {
            Ok(text) => layers.push(Layer {
                file: file.clone(),
                text: text.clone(),
                source: *source,
            }),
            Err(problem) => {
                let error = ConfigError {
                    file: file.clone(),
                    line: None,
                    key: String::new(),
                    problem: problem.clone(),
                };
                layers.extend(copy(file).cloned());
                refusals.push(Refusal::new(error, copy(file)));
            }
        }
    }
    loop {
        match merged(&layers) {
            // Defaults alone are nobody's configuration, once a file is refused.
            Ok(_) if layers.is_empty() && !refusals.is_empty() => break,
            Ok(effective) => {
                return Ok(Chosen {
                    effective,
                    layers,
                    refusals,
                });
            }
            Err(error) => {
                let at = layers.iter().position(|layer| layer.file == error.file);
                let copy = copy(&error.file);
                let known = refusals.iter().any(|other| other.error.file == error.file);
                let refusal = Refusal::new(error, copy);
                match (at, copy) {
                    (Some(at), Some(copy)) if !known && layers[at] != *copy => {
                        layers[at] = copy.clone();
                        refusals.push(refusal);
                    }
                    (Some(at), None) => {
                        layers.remove(at);
                        refusals.push(refusal);
                    }
                    // The file that is named is not the one that changed: they contradict each other.
                    _ => {
                        refusals.push(refusal);
                        break;
                    }
                }
            }
        }
    }
    match merged(accepted) {
        Ok(effective) if !accepted.is_empty() => {
            for refusal in &mut refusals {
                refusal.instead = Instead::Everything;
            }
            Ok(Chosen {
                effective,
                layers: accepted.to_vec(),
                refusals,
            })
        }
        // What is wrong now is what can be put right now.
        _ => Err(refusals
            .into_iter()
            .next()
            .expect("the loop ends with a refusal")
            .error),
    }
}

impl Refusal {
    fn new(error: ConfigError, copy: Option<&Layer>) -> Self {
        Self {
            error,
            instead: copy.map_or(Instead::Nothing, |_| Instead::Copy),
        }
    }
}
