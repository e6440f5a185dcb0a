//! Where the configuration comes from: reads the files, refuses what this version cannot do, falls back to the last
//! accepted copy.

use std::path::{Path, PathBuf};

use crate::config::{self, Candidate, ConfigError, Effective, Layer, Origins, Settings};
use crate::host::{self, StatePlaces};

/// What the command line says of the configuration.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// `--config`: this file alone.
    pub config: Option<PathBuf>,
    /// The folder that the files lie below, `/`.
    pub root: PathBuf,
    /// `--state-dir`.
    pub state_dir: Option<PathBuf>,
    /// Simulated devices are permitted.
    pub allow_sim: bool,
}

/// A configuration that was accepted, perhaps with parts of an older one.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// All settings.
    pub settings: Settings,
    /// Which file said what.
    pub origins: Origins,
    /// What was refused and what stands in for it, in one sentence.
    pub complaint: Option<String>,
    /// The files, to keep a copy of; `None` where none is to be kept.
    layers: Option<Vec<Layer>>,
}

impl From<Settings> for Configuration {
    /// Settings that come from no file, and of which no copy is kept.
    fn from(settings: Settings) -> Self {
        Self {
            settings,
            origins: Origins::default(),
            complaint: None,
            layers: None,
        }
    }
}

impl ConfigSource {
    /// Reads the configuration. A file that is refused is replaced by its last accepted copy, unless `--config` named
    /// it.
    ///
    /// # Errors
    /// Nothing valid exists: one sentence that names the file and what to do.
    pub fn load(&self) -> Result<Configuration, String> {
        self.load_if(|effective| self.permit(effective))
    }

    /// As [`ConfigSource::load`], with what `huddled run` refuses as well: for what only looks at the settings.
    ///
    /// # Errors
    /// As [`ConfigSource::load`].
    pub fn load_anything(&self) -> Result<Configuration, String> {
        self.load_if(|_| Ok(()))
    }

    fn load_if(
        &self,
        permit: impl Fn(&Effective) -> Result<(), ConfigError>,
    ) -> Result<Configuration, String> {
        let accepted = match (&self.config, self.directory()) {
            (None, Some(directory)) => host::read_accepted(&directory),
            _ => Vec::new(),
        };
        let candidates = self.candidates();
        if candidates.is_empty() {
            log::info!("there is no configuration file; going on with the defaults");
        }
        let chosen =
            config::choose(&candidates, &accepted, permit).map_err(|error| error.to_string())?;
        let refusals: Vec<_> = chosen.refusals.iter().map(ToString::to_string).collect();
        let complaint = match refusals.as_slice() {
            [] => None,
            [first, rest @ ..] => {
                let rest = match rest.len() {
                    0 => String::new(),
                    count => format!(" (and {count} more)"),
                };
                Some(format!("configuration refused: {first}{rest}"))
            }
        };
        let keep = self.config.is_none() && complaint.is_none();
        Ok(Configuration {
            settings: chosen.effective.settings,
            origins: chosen.effective.origins,
            complaint,
            layers: keep.then_some(chosen.layers),
        })
    }

    /// Reads the configuration as it is now, without any older copy.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence that names the file and what to do.
    pub fn load_strictly(&self) -> Result<Configuration, String> {
        let effective = merge_strictly(&self.candidates()).map_err(|error| error.to_string())?;
        self.permit(&effective).map_err(|error| error.to_string())?;
        Ok(Configuration {
            origins: effective.origins,
            ..effective.settings.into()
        })
    }

    /// Keeps the files of an accepted configuration as what a later start may go back to. Failing is logged: the box
    /// runs, only without that way back.
    pub fn keep(&self, configuration: &Configuration) {
        let (Some(layers), Some(directory)) = (&configuration.layers, self.directory()) else {
            return;
        };
        let kept = host::create_state_directory(&directory)
            .map_err(|error| error.to_string())
            .and_then(|()| {
                host::keep_accepted(&directory, layers).map_err(|error| error.to_string())
            });
        if let Err(reason) = kept {
            log::error!(
                "{}: no copy of the accepted configuration is kept there: {reason}",
                directory.display()
            );
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        match &self.config {
            Some(file) => vec![named(file)],
            None => host::read_layers(&self.root),
        }
    }

    fn directory(&self) -> Option<PathBuf> {
        host::configuration_directory(&StatePlaces::from_environment(self.state_dir.clone(), None))
    }

    fn permit(&self, effective: &Effective) -> Result<(), ConfigError> {
        match effective.settings.simulated().as_slice() {
            [first, rest @ ..] if !self.allow_sim => {
                let others = match rest {
                    [] => String::new(),
                    _ => format!(" (so do {})", rest.join(", ")),
                };
                Err(effective.origins.error(
                    first,
                    Path::new("configuration"),
                    format!("simulated devices need --allow-sim{others}; set a real device or add the flag"),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Reads and checks a configuration file; of a folder `config.toml` and `conf.d/*.toml` together.
///
/// # Errors
/// One sentence that names the file and what to do.
pub fn read_settings(path: &Path) -> Result<Settings, String> {
    let candidates = match path.is_dir() {
        true => host::read_layers_in(path),
        false => vec![named(path)],
    };
    if candidates.is_empty() {
        return Err(format!(
            "{}: there is neither config.toml nor conf.d/*.toml in this folder",
            path.display()
        ));
    }
    let check = || {
        let effective = merge_strictly(&candidates)?;
        Ok(effective.settings)
    };
    check().map_err(|error: ConfigError| error.to_string())
}

/// A file that somebody named: it must be there.
fn named(file: &Path) -> Candidate {
    host::read_layer(file).unwrap_or_else(|| Candidate {
        file: file.to_owned(),
        text: Err("cannot be read: there is no such file".to_owned()),
    })
}

fn merge_strictly(candidates: &[Candidate]) -> Result<Effective, ConfigError> {
    let layers = candidates
        .iter()
        .map(|candidate| match &candidate.text {
            Ok(text) => Ok(Layer {
                file: candidate.file.clone(),
                text: text.clone(),
            }),
            Err(problem) => Err(Origins::default().error("", &candidate.file, problem)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    config::merge(&layers)
}
