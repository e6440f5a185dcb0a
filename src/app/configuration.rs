//! Where the configuration comes from: reads the files, refuses what this version cannot do, falls back to the last
//! accepted copy.

use std::path::{Path, PathBuf};

use crate::config::{
    self, Candidate, ConfigError, Effective, Layer, Origins, RemoteSettings, Settings, Source,
};
use crate::devices;
use crate::host::{self, StatePlaces};
use crate::remote::{Record, Store, Version, verify};

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

/// Which of the remote files is part of the configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Remote {
    /// The one in use, on trial or not.
    Current,
    /// The last good one.
    Good,
}

/// The remote file, as far as there is one.
#[derive(Default)]
struct Managed {
    layer: Option<Layer>,
    on_trial: bool,
    /// What became of a newer file.
    complaint: Option<String>,
    /// Why the file that should be in use is not.
    unusable: Option<String>,
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
        self.load_with(Remote::Current, |effective| self.permit(effective))
    }

    /// As [`ConfigSource::load`], with what `huddled run` refuses as well: for what only looks at the settings.
    ///
    /// # Errors
    /// As [`ConfigSource::load`].
    pub fn load_anything(&self) -> Result<Configuration, String> {
        self.load_with(Remote::Current, |_| Ok(()))
    }

    /// The program starts: a remote file on trial with which it started too often without getting into its meeting has to
    /// go.
    pub fn begin(&self) {
        let Some(store) = self.remote_store() else {
            return;
        };
        // One that cannot be read is told when the configuration is.
        let Ok(mut record) = store.record() else {
            return;
        };
        if record.trial.is_none() {
            return;
        }
        record.count_start();
        if let Err(problem) = store.remember(&record) {
            log::error!("remote configuration: {problem}");
        }
    }

    /// The settings as they would be with the last good remote file.
    ///
    /// # Errors
    /// As of [`Self::load`].
    pub(super) fn last_good(&self) -> Result<Settings, String> {
        self.load_with(Remote::Good, |effective| self.permit(effective))
            .map(|configuration| configuration.settings)
    }

    /// The settings as they would be with this remote file; `name` stands for it in errors.
    ///
    /// # Errors
    /// What is wrong with the file, in one sentence.
    pub(super) fn load_offered(&self, name: &str, text: &str) -> Result<Settings, String> {
        let offered = Layer {
            file: name.into(),
            text: text.to_owned(),
            source: Source::Remote,
        };
        config::check_remote(&offered).map_err(|error| error.to_string())?;
        let accepted = self.accepted();
        let check = |effective: &Effective| self.permit(effective);
        let mut layers = config::choose(&self.candidates(), &accepted, check)
            .map_err(|error| error.to_string())?
            .layers;
        layers.push(offered);
        let effective = config::merge(&layers).map_err(|error| error.to_string())?;
        check(&effective).map_err(|error| error.to_string())?;
        Ok(effective.settings)
    }

    /// What there is of the remote configuration, in lines for an administrator.
    ///
    /// # Errors
    /// It cannot be told: a sentence.
    pub fn describe_remote(&self) -> Result<String, String> {
        let accepted = self.accepted();
        let settings = config::choose(&self.candidates(), &accepted, |_| Ok(()))
            .map_err(|error| error.to_string())?
            .effective
            .settings;
        let Some(remote) = settings.remote else {
            return Ok("no [remote] url is configured\n".to_owned());
        };
        let store = self
            .remote_store()
            .ok_or("the remote configuration is not kept anywhere; give --state-dir")?;
        let Record {
            complaint,
            good,
            trial,
            failed,
        } = store.record()?;
        let mut text = format!("address    {}\n", remote.url);
        let mut row = |name: &str, value: String| {
            text.push_str(&format!("{name:<11}{value}\n"));
        };
        let file = |version: &Version| {
            let path = store.path(version);
            format!("version {} ({})", version.number, path.display())
        };
        row("last good", good.as_ref().map_or("none".to_owned(), file));
        if let Some(trial) = &trial {
            row("on trial", file(&trial.version));
        }
        for failed in &failed {
            row("taken back", failed.reason.clone());
        }
        if let Some(complaint) = complaint {
            row("complaint", complaint);
        }
        Ok(text)
    }

    /// Where the remote files are kept. `None`: `--config` named the one file that counts, or nothing says where the
    /// state belongs.
    pub(super) fn remote_store(&self) -> Option<Store> {
        match &self.config {
            Some(_) => None,
            None => self.directory().map(|directory| Store::new(&directory)),
        }
    }

    fn accepted(&self) -> Vec<Layer> {
        match (&self.config, self.directory()) {
            (None, Some(directory)) => host::read_accepted(&directory),
            _ => Vec::new(),
        }
    }

    fn load_with(
        &self,
        remote: Remote,
        permit: impl Fn(&Effective) -> Result<(), ConfigError>,
    ) -> Result<Configuration, String> {
        let accepted = self.accepted();
        let mut candidates = self.candidates();
        if candidates.is_empty() {
            log::info!("there is no configuration file; going on with the defaults");
        }
        let managed = self.managed(&candidates, &accepted, remote);
        candidates.extend(managed.layer.map(of_layer));
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
        // What is on trial is nothing to go back to.
        let keep = self.config.is_none() && complaint.is_none() && !managed.on_trial;
        let complaints: Vec<_> = complaint
            .into_iter()
            .chain(managed.unusable)
            .chain(managed.complaint)
            .collect();
        Ok(Configuration {
            settings: chosen.effective.settings,
            origins: chosen.effective.origins,
            complaint: (!complaints.is_empty()).then(|| complaints.join("; ")),
            layers: keep.then_some(chosen.layers),
        })
    }

    /// Reads the configuration as it is now, without any older copy.
    ///
    /// # Errors
    /// What is wrong with it, in one sentence that names the file and what to do.
    pub fn load_strictly(&self) -> Result<Configuration, String> {
        let mut candidates = self.candidates();
        let managed = self.managed(&candidates, &[], Remote::Current);
        if let Some(reason) = managed.unusable {
            return Err(reason);
        }
        candidates.extend(managed.layer.map(of_layer));
        let effective = merge_strictly(&candidates).map_err(|error| error.to_string())?;
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

    /// The remote file, if this box is managed and has one that is still to be trusted.
    fn managed(&self, local: &[Candidate], accepted: &[Layer], wanted: Remote) -> Managed {
        let check = |effective: &Effective| self.permit(effective);
        let settings = match config::choose(local, accepted, check) {
            Ok(chosen) => chosen.effective.settings,
            // It is told by whoever reads the whole.
            Err(_) => return Managed::default(),
        };
        let (Some(remote), Some(store)) = (&settings.remote, self.remote_store()) else {
            return Managed::default();
        };
        let record = match store.record() {
            Ok(record) => record,
            Err(reason) => {
                return Managed {
                    unusable: Some(reason),
                    ..Managed::default()
                };
            }
        };
        let Record {
            complaint,
            good,
            trial,
            ..
        } = record;
        let trial = trial
            .map(|trial| trial.version)
            .filter(|_| wanted == Remote::Current);
        let mut refused: Option<String> = None;
        for (version, on_trial) in trial
            .map(|version| (version, true))
            .into_iter()
            .chain(good.map(|version| (version, false)))
        {
            match usable(&store, &version, remote, settings.id.as_deref()) {
                Ok(layer) => {
                    let number = version.number;
                    return Managed {
                        layer: Some(layer),
                        on_trial,
                        complaint,
                        unusable: refused.map(|reason| {
                            format!(
                                "remote configuration refused: {reason}; version {number} is used instead"
                            )
                        }),
                    };
                }
                Err(reason) => refused = refused.or(Some(reason)),
            }
        }
        Managed {
            // What is said of a newer file names what stands in for it, and that is not there.
            complaint: complaint.filter(|_| refused.is_none()),
            unusable: refused
                .map(|reason| format!("remote configuration refused: {reason}; it is left out")),
            ..Managed::default()
        }
    }

    /// Why the remote file on trial, if there is one, is not part of the configuration.
    pub(super) fn trial_refused(&self) -> Option<String> {
        let managed = self.managed(&self.candidates(), &self.accepted(), Remote::Current);
        managed.unusable.filter(|_| !managed.on_trial)
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

/// Says in the journal that the way to the server is not encrypted, where that is so. Each start does.
pub fn warn_of_plain_http(settings: &Settings) {
    if let Some(url) = settings.unencrypted_server() {
        log::warn!(
            "[signaling] url {url} is plain HTTP to another machine, which insecure_http allows: password, token and who \
             is in the meeting are not encrypted on the way"
        );
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
        // Here, unlike in the text, links show where they lead.
        if let Some(problem) = devices::camera_as_screen(&effective.settings.screen) {
            return Err(effective.origins.error("screen.device", path, problem));
        }
        Ok(effective.settings)
    };
    check().map_err(|error: ConfigError| error.to_string())
}

/// A file that somebody named: it must be there.
fn named(file: &Path) -> Candidate {
    host::read_layer(file).unwrap_or_else(|| Candidate {
        file: file.to_owned(),
        text: Err("cannot be read: there is no such file".to_owned()),
        source: Source::Own,
    })
}

fn of_layer(layer: Layer) -> Candidate {
    Candidate {
        file: layer.file,
        text: Ok(layer.text),
        source: layer.source,
    }
}

/// A kept remote file, if it is still what it was, still to be trusted and still permitted.
fn usable(
    store: &Store,
    version: &Version,
    remote: &RemoteSettings,
    id: Option<&str>,
) -> Result<Layer, String> {
    let file = store.read(version)?;
    verify(file.text.as_bytes(), &file.signature, &remote.keys, id)
        .map_err(|reason| format!("{}: {reason}", file.path.display()))?;
    let layer = Layer {
        file: file.path,
        text: file.text,
        source: Source::Remote,
    };
    config::check_remote(&layer).map_err(|error| error.to_string())?;
    Ok(layer)
}

fn merge_strictly(candidates: &[Candidate]) -> Result<Effective, ConfigError> {
    let layers = candidates
        .iter()
        .map(|candidate| match &candidate.text {
            Ok(text) => Ok(Layer {
                file: candidate.file.clone(),
                text: text.clone(),
                source: candidate.source,
            }),
            Err(problem) => Err(Origins::default().error("", &candidate.file, problem)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    config::merge(&layers)
}
