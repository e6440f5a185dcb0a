//! The Unix socket itself: where it lies, who may connect, what to do with an old one.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::ControlError;

/// The group whose members may give orders.
const GROUP: &str = "huddled";
/// Owner and group may connect (write permission, unix(7)).
const MODE: u32 = 0o660;

/// The service's runtime directory, from `$RUNTIME_DIRECTORY` (systemd.exec(5)): of several, separated by colons, the first.
pub fn runtime_directory(list: Option<&OsStr>) -> Option<PathBuf> {
    let first = std::env::split_paths(list?).next()?;
    first.is_absolute().then_some(first)
}

/// Where the socket lies unless somebody says otherwise: `control.sock` in the runtime directory, else
/// `/run/huddled/control.sock`.
pub fn default_socket(list: Option<&OsStr>) -> PathBuf {
    runtime_directory(list)
        .unwrap_or_else(|| PathBuf::from("/run/huddled"))
        .join("control.sock")
}

/// The listening socket; its file is removed when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

impl ControlSocket {
    /// Opens the socket at `path`. A socket that nobody answers on, left behind by a crash, is replaced; one
    /// that somebody answers on is an error. Needs a tokio runtime with I/O.
    pub fn open(path: &Path) -> Result<Self, ControlError> {
        // The longest name a client can give to connect(2), checked first: the prepared one is shorter.
        std::os::unix::net::SocketAddr::from_pathname(path)
            .map_err(|source| ControlError::failed(path, "name", source))?;
        refuse_what_is_in_use(path)?;
        // Prepared under another name and renamed into place, so that nobody can connect before the mode is
        // right, and no moment is without a socket.
        let prepared = path.with_file_name(format!(".ctl{}", std::process::id()));
        let _ = std::fs::remove_file(&prepared);
        let listener = UnixListener::bind(&prepared)
            .map_err(|source| ControlError::failed(path, "create", source))?;
        let placed = restrict(&prepared).and_then(|()| std::fs::rename(&prepared, path));
        if let Err(source) = placed {
            let _ = std::fs::remove_file(&prepared);
            return Err(ControlError::failed(path, "set up", source));
        }
        let metadata = std::fs::symlink_metadata(path)
            .map_err(|source| ControlError::failed(path, "read back", source))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next connection. Cancel safe.
    pub(super) async fn accept(&self) -> std::io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn refuse_what_is_in_use(path: &Path) -> Result<(), ControlError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ControlError::failed(path, "look for", source)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ControlError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ControlError::InUse {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(source) => Err(ControlError::failed(path, "try", source)),
    }
}

fn restrict(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    // The packaged service has it already, and its system call filter refuses to change any owner.
    let owner = std::fs::metadata(path)?.gid();
    if let Some(gid) = group_id(&groups, GROUP)
        && gid != owner
        && let Err(error) = std::os::unix::fs::chown(path, None, Some(gid))
    {
        // The owner alone can use it then; that is safe, and a developer's machine may want it so.
        log::warn!("the control socket cannot be given to group {GROUP}: {error}");
    }
    Ok(())
}

// group(5). The group comes from sysusers.d, which writes this file, so no other name service is asked.
fn group_id(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let gid = fields.nth(1)?.parse().ok()?;
        found.then_some(gid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_among_others_and_damaged_lines() {
        let groups =
            "root:x:0:\nbroken\nhuddledx:x:5:\nhuddled:x:990:alice,bob\nlater:x:nonsense:\n";
        assert_eq!(group_id(groups, "huddled"), Some(990));
        assert_eq!(group_id(groups, "later"), None);
        assert_eq!(group_id(groups, "absent"), None);
        assert_eq!(group_id("", "huddled"), None);
    }

    #[test]
    fn the_runtime_directory_decides_where_the_socket_lies() {
        assert_eq!(
            default_socket(Some(OsStr::new("/run/box:/run/other"))),
            Path::new("/run/box/control.sock")
        );
        for none in [None, Some(OsStr::new("")), Some(OsStr::new("relative"))] {
            assert_eq!(default_socket(none), Path::new("/run/huddled/control.sock"));
        }
    }
}
