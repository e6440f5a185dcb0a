//! The names under which cameras are found.

use std::path::{Path, PathBuf};

/// Where udev keeps names that survive another order of plugging in: of the device itself, and of the port it is in.
const STABLE: [&str; 2] = ["/dev/v4l/by-id", "/dev/v4l/by-path"];

/// The node of a configured name: a path as it is, otherwise a name below by-id, by-path or /dev. `None` where
/// nothing is there now.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.is_absolute() {
        return path.exists().then(|| path.to_owned());
    }
    STABLE
        .iter()
        .chain(&["/dev"])
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists())
}

/// The nodes there are, in the order of their numbers.
pub(super) fn nodes() -> Vec<PathBuf> {
    let mut numbers: Vec<u32> = entries(Path::new("/dev"))
        .filter_map(|path| {
            path.file_name()?
                .to_str()?
                .strip_prefix("video")?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
        .iter()
        .map(|number| PathBuf::from(format!("/dev/video{number}")))
        .collect()
}

/// The names to put into a configuration for this node, the most lasting first, the node's own last.
pub(super) fn of_node(node: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for folder in STABLE {
        let mut here: Vec<String> = entries(Path::new(folder))
            .filter(|link| link.canonicalize().is_ok_and(|target| target == node))
            .map(|link| link.display().to_string())
            .collect();
        here.sort();
        names.append(&mut here);
    }
    names.push(node.display().to_string());
    names
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_as_it_is_and_a_missing_name_is_not_found() {
        assert_eq!(find("/dev/null"), Some(PathBuf::from("/dev/null")));
        assert_eq!(find("null"), Some(PathBuf::from("/dev/null")));
        assert_eq!(find("usb-Nobody_Has_This-video-index0"), None);
        assert_eq!(find("/dev/v4l/by-id/usb-Nobody"), None);
        assert_eq!(of_node(Path::new("/dev/null")), ["/dev/null"]);
    }
}
