//! The hub's own files in the state directory.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::files::replace;
pub(super) use crate::files::{PUBLIC, SECRET};

use super::HubError;

fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(std::io::Error) -> HubError + 'a {
    move |source| HubError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

/// The content of a secret file; `None` if there is none. One that others may read is closed to them.
pub(super) fn read_secret(path: &Path) -> Result<Option<Vec<u8>>, HubError> {
    let reading = failed("read", path);
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(reading(error)),
    };
    let mode = fs::metadata(path).map_err(&reading)?.permissions().mode();
    if mode & 0o077 != 0 {
        log::warn!(
            "{} could be read by others (mode {:o}); it is theirs no more, but they may have its content",
            path.display(),
            mode & 0o777
        );
        fs::set_permissions(path, Permissions::from_mode(SECRET))
            .map_err(failed("close to others", path))?;
    }
    Ok(Some(content))
}

/// Writes a file so that it is there as a whole or not at all, whatever happens meanwhile: another `huddled hub` too.
pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), HubError> {
    let new = PathBuf::from(format!("{}.{}.new", path.display(), std::process::id()));
    replace(path, &new, content, mode).map_err(failed("write", path))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A folder that goes with the test.
    pub(in crate::hub) struct Folder(PathBuf);

    impl Folder {
        pub(in crate::hub) fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("huddled-hub-{name}-{}", std::process::id()));
            drop(fs::remove_dir_all(&path));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(in crate::hub) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing_behind_and_names_itself() {
        let folder = Folder::new("write");
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        let error = write(&path, b"x", SECRET).unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
