//! Where the state belongs.

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::HostError;

/// What may say where the state belongs.
#[derive(Clone, Debug, Default)]
pub struct StatePlaces {
    /// `--state-dir`.
    pub argument: Option<PathBuf>,
    /// `[box] state_dir`.
    pub configured: Option<PathBuf>,
    /// `$STATE_DIRECTORY` (systemd.exec(5)); of several, separated by colons, the first.
    pub state_directory: Option<OsString>,
    /// `$XDG_STATE_HOME`; ignored unless absolute, as the XDG Base Directory Specification demands.
    pub xdg_state_home: Option<OsString>,
    /// `$HOME`.
    pub home: Option<OsString>,
}

impl StatePlaces {
    /// Adds what the process's environment says.
    pub fn from_environment(argument: Option<PathBuf>, configured: Option<PathBuf>) -> Self {
        Self {
            argument,
            configured,
            state_directory: std::env::var_os("STATE_DIRECTORY"),
            xdg_state_home: std::env::var_os("XDG_STATE_HOME"),
            home: std::env::var_os("HOME"),
        }
    }
}

/// Where the state belongs. `id` tells several boxes of one user apart (`[box] id`, else the box's name).
pub fn state_directory(places: &StatePlaces, id: &str) -> Result<PathBuf, HostError> {
    if let Some(path) = places.argument.as_ref().or(places.configured.as_ref()) {
        return Ok(path.clone());
    }
    if let Some(path) = services_own(places) {
        return Ok(path);
    }
    let base = users_own(places).ok_or(HostError::NoStateDirectory)?;
    Ok(base.join(folder_name(id)))
}

/// Where the copy of the accepted configuration belongs: as [`state_directory`], but never by what the configuration
/// says, because it is read before any configuration is. `None` where nothing says it; then no copy is kept.
pub fn configuration_directory(places: &StatePlaces) -> Option<PathBuf> {
    let argument = places.argument.clone();
    argument
        .or_else(|| services_own(places))
        .or_else(|| users_own(places))
}

// What the service manager gives.
fn services_own(places: &StatePlaces) -> Option<PathBuf> {
    let list = places.state_directory.as_deref()?;
    std::env::split_paths(list)
        .next()
        .filter(|path| path.is_absolute())
}

// For all boxes of one user.
fn users_own(places: &StatePlaces) -> Option<PathBuf> {
    absolute(places.xdg_state_home.as_deref())
        .map(Path::to_owned)
        .or_else(|| absolute(places.home.as_deref()).map(|home| home.join(".local/state")))
        .map(|base| base.join("huddled"))
}

fn absolute(value: Option<&OsStr>) -> Option<&Path> {
    value.map(Path::new).filter(|path| path.is_absolute())
}

// A box's name may contain anything; a folder's may not.
fn folder_name(id: &str) -> String {
    let name: String = id
        .chars()
        .map(|c| match c {
            c if c.is_alphanumeric() => c,
            '-' | '_' => c,
            _ => '-',
        })
        .take(64)
        .collect();
    if name.is_empty() {
        "box".to_owned()
    } else {
        name
    }
}

/// Creates the state directory, mode 0700, if it is missing.
pub fn create_state_directory(path: &Path) -> Result<(), HostError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| HostError::StateDirectory {
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::host::store::tests::TemporaryDirectory;

    #[test]
    fn the_state_directory_is_chosen_in_the_documented_order() {
        let mut places = StatePlaces {
            argument: Some("/argument".into()),
            configured: Some("/configured".into()),
            state_directory: Some("/var/lib/huddled:/var/lib/other".into()),
            xdg_state_home: Some("/xdg".into()),
            home: Some("/home/me".into()),
        };
        let resolve = |places: &StatePlaces| state_directory(places, "room 7/../x").unwrap();
        let copy = |places: &StatePlaces| configuration_directory(places).unwrap();
        assert_eq!(resolve(&places), Path::new("/argument"));
        assert_eq!(copy(&places), Path::new("/argument"));
        places.argument = None;
        assert_eq!(resolve(&places), Path::new("/configured"));
        assert_eq!(copy(&places), Path::new("/var/lib/huddled"));
        places.configured = None;
        assert_eq!(resolve(&places), Path::new("/var/lib/huddled"));
        places.state_directory = None;
        assert_eq!(resolve(&places), Path::new("/xdg/huddled/room-7----x"));
        assert_eq!(copy(&places), Path::new("/xdg/huddled"));
        places.xdg_state_home = Some("relative".into());
        assert_eq!(
            resolve(&places),
            Path::new("/home/me/.local/state/huddled/room-7----x")
        );
        places.home = Some("".into());
        assert!(matches!(
            state_directory(&places, "x"),
            Err(HostError::NoStateDirectory)
        ));
        assert_eq!(configuration_directory(&places), None);
    }

    #[test]
    fn a_missing_state_directory_is_created_for_its_owner_alone() {
        let directory = TemporaryDirectory::new("store-create");
        let path = directory.path().join("a/b");
        create_state_directory(&path).unwrap();
        create_state_directory(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700);
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        let message = create_state_directory(&file.join("x"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("--state-dir"), "{message}");
    }
}
