//! FLOOR 1: putting a whole new file in the place of an old one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of what only the owner may read.
pub const SECRET: u32 = 0o600;
/// Mode of what anybody may read.
pub const PUBLIC: u32 = 0o644;

/// A file that took its place before it was on the disk.
#[derive(Debug)]
pub struct Unsynced {
    file: File,
    path: PathBuf,
}

impl Unsynced {
    /// Waits until file and name are on the disk.
    ///
    /// # Errors
    /// What the system said.
    pub fn sync(self) -> std::io::Result<()> {
        self.file.sync_all()?;
        sync_name(&self.path)
    }
}

/// Writes a file so that a power cut at any moment leaves the old one or the new one: the new one is whole and on the
/// disk before it takes the old one's name, and the name is on the disk when this returns. `temporary` lies in the
/// same folder; one that an earlier crash left is overwritten, one of a failure is removed.
///
/// # Errors
/// What the system said; the old file stays.
pub fn replace(path: &Path, temporary: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    write(temporary, content, mode)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(temporary, path))
        .inspect_err(|_| drop(fs::remove_file(temporary)))?;
    sync_name(path)
}

/// The same without waiting for the disk: until it is synced, a power cut may also leave an empty file.
///
/// # Errors
/// What the system said; the old file stays.
pub fn replace_unsynced(
    path: &Path,
    temporary: &Path,
    content: &[u8],
    mode: u32,
) -> std::io::Result<Unsynced> {
    let file = write(temporary, content, mode)
        .and_then(|file| fs::rename(temporary, path).map(|()| file))
        .inspect_err(|_| drop(fs::remove_file(temporary)))?;
    Ok(Unsynced {
        file,
        path: path.to_owned(),
    })
}

/// `NAME.new` beside it.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn write(path: &Path, content: &[u8], mode: u32) -> std::io::Result<File> {
    // What lies there is removed, never opened: it may be a link to another file, or a pipe that makes the program wait.
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // The mode above holds for new files only, and less the umask.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    Ok(file)
}

fn sync_name(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_file_stays_until_the_new_one_is_whole() {
        let folder = std::env::temp_dir().join(format!("huddled-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file");
        let new = beside(&path);
        assert_eq!(new, folder.join("file.new"));
        replace(&path, &new, b"one", SECRET).unwrap();
        // What an earlier crash left, readable by all and longer.
        fs::write(&new, "left behind").unwrap();
        replace(&path, &new, b"two", PUBLIC).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, PUBLIC);
        replace_unsynced(&path, &new, b"three", SECRET)
            .unwrap()
            .sync()
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");

        // A folder in the way: nothing is left behind.
        let taken = folder.join("taken");
        fs::create_dir(&taken).unwrap();
        replace(&taken, &beside(&taken), b"x", SECRET).unwrap_err();
        assert!(!beside(&taken).exists());
        fs::remove_dir_all(&folder).unwrap();
    }
}
