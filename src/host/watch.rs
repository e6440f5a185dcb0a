//! inotify(7): which of the configuration's files change.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;

use super::HostError;
use super::layers;

/// What may be a change that is complete: written and closed, renamed into place, a link made, removed, permitted.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ATTRIB);

/// A folder to watch, and what counts in it.
struct Watched {
    folder: PathBuf,
    counts: fn(&OsStr, &Path) -> bool,
}

/// Sends whenever a file of the configuration below `root` (`/`) may have changed: the vendor's, the administrator's, and
/// those of `conf.d`, also where they or their folders are not there yet. Several changes may be one message. The thread
/// that this starts ends with the process.
///
/// # Errors
/// The system gives no watch or no thread.
pub fn watch_layers(root: &Path) -> Result<mpsc::Receiver<()>, HostError> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC).map_err(|errno| HostError::Setup {
        what: "the watch of the configuration's files (inotify)",
        source: errno.into(),
    })?;
    let watched = watched(root);
    // Before anything is reported as ready: what changes from here on is seen.
    add(&inotify, &watched);
    let (sender, receiver) = mpsc::channel(1);
    std::thread::Builder::new()
        .name("config-watch".to_owned())
        .spawn(move || watch(&inotify, &watched, &sender))
        .map_err(|source| HostError::Setup {
            what: "the thread that watches the configuration's files",
            source,
        })?;
    Ok(receiver)
}

fn watched(root: &Path) -> Vec<Watched> {
    let toml = |name: &OsStr, _: &Path| {
        let name = name.as_encoded_bytes();
        name.ends_with(b".toml") && !name.starts_with(b".")
    };
    let own_or_folder = |name: &OsStr, path: &Path| {
        name == "config.toml" || name == "conf.d" && path.symlink_metadata().is_ok()
    };
    let folder_itself = |name: &OsStr, _: &Path| name == "huddled";
    let at = |path: &str, counts| Watched {
        folder: root.join(path),
        counts,
    };
    let [vendor, own, additions] = layers::FOLDERS;
    vec![
        at("etc", folder_itself),
        at("usr/share", folder_itself),
        at(vendor, own_or_folder),
        at(own, own_or_folder),
        at(additions, toml),
    ]
}

/// Watches the folders that exist; one that is watched already stays so.
fn add(inotify: &Inotify, watched: &[Watched]) -> Vec<(nix::sys::inotify::WatchDescriptor, usize)> {
    let add = |(index, watched): (usize, &Watched)| match inotify
        .add_watch(&watched.folder, CHANGES | AddWatchFlags::IN_ONLYDIR)
    {
        Ok(descriptor) => Some((descriptor, index)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => None,
        Err(errno) => {
            log::warn!(
                "{}: changes here are not noticed ({errno}); reload by hand",
                watched.folder.display()
            );
            None
        }
    };
    watched.iter().enumerate().filter_map(add).collect()
}

fn watch(inotify: &Inotify, watched: &[Watched], changes: &mpsc::Sender<()>) {
    let mut descriptors = add(inotify, watched);
    loop {
        let events = match inotify.read_events() {
            Ok(events) => events,
            Err(Errno::EINTR) => continue,
            Err(errno) => {
                log::error!(
                    "changes of the configuration's files are no longer noticed ({errno}); reload by hand"
                );
                return;
            }
        };
        let mut changed = false;
        for event in events {
            let place = descriptors
                .iter()
                .find(|(descriptor, _)| *descriptor == event.wd)
                .map(|(_, index)| &watched[*index]);
            changed |= match (&event.name, place) {
                // A file that is being made is complete when it is closed; a link and a folder are at once.
                (Some(name), Some(place)) if (place.counts)(name, &place.folder.join(name)) => {
                    event.mask != AddWatchFlags::IN_CREATE || place.folder.join(name).is_symlink()
                }
                // Too much at once: anything may have changed.
                (None, _) if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) => true,
                _ => false,
            };
        }
        // A folder may be new.
        descriptors = add(inotify, watched);
        if changed {
            match changes.try_send(()) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(())) => {}
                Err(mpsc::error::TrySendError::Closed(())) => return,
            }
        }
    }
}
