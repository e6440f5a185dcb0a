//! The files of the configuration: reading them, and keeping the copy of those that were accepted.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{Candidate, Layer, Source};
use crate::files;

/// The vendor's file, below the root folder.
const VENDOR: &str = "usr/share/huddled/config.toml";
/// The administrator's.
const OWN: &str = "etc/huddled/config.toml";
/// The folder of additions to it.
const ADDITIONS: &str = "etc/huddled/conf.d";
/// Where those three lie.
pub(super) const FOLDERS: [&str; 3] = ["usr/share/huddled", "etc/huddled", ADDITIONS];
/// Largest file that is read, bytes: a hundred times the length of the example.
const LARGEST: u64 = 1 << 20;

/// Name of the accepted copy in the state directory.
const COPY: &str = "accepted.toml";
/// Where it is written before it is renamed into place.
const TEMPORARY: &str = "accepted.toml.new";
/// Format of the copy; another one is not understood.
const VERSION: u32 = 1;

/// Reads the files of the configuration that exist below `root` (`/`), the weakest first: the vendor's, the
/// administrator's, and `conf.d/*.toml` in the order of their names' bytes. A file that may not be read is not an
/// absent one.
pub fn read_layers(root: &Path) -> Vec<Candidate> {
    let mut found: Vec<_> = [VENDOR, OWN]
        .iter()
        .filter_map(|name| read_layer(&root.join(name)))
        .collect();
    found.extend(read_additions(&root.join(ADDITIONS)));
    found
}

/// The same for one folder, which holds `config.toml` and `conf.d`.
pub fn read_layers_in(folder: &Path) -> Vec<Candidate> {
    let mut found: Vec<_> = read_layer(&folder.join("config.toml"))
        .into_iter()
        .collect();
    found.extend(read_additions(&folder.join("conf.d")));
    found
}

/// Reads one file; `None` where there is none.
pub fn read_layer(file: &Path) -> Option<Candidate> {
    let text = match read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(text) => Ok(text),
    };
    Some(Candidate {
        file: file.to_owned(),
        text,
        source: Source::Own,
    })
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(file)?
        .take(LARGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(std::io::Error::other(format!(
            "it is longer than {LARGEST} bytes"
        )));
    }
    String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8 text"))
}

fn read_additions(folder: &Path) -> Vec<Candidate> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
            let counts = path.extension().is_some_and(|end| end == "toml")
                && !path.file_name().is_some_and(hidden);
            if counts {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    };
    match list() {
        Ok(files) => files.iter().filter_map(|file| read_layer(file)).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => vec![Candidate {
            file: folder.to_owned(),
            text: Err(format!("cannot be read: {error}")),
            source: Source::Own,
        }],
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    /// How many follow: a torn copy could have fewer.
    count: usize,
    #[serde(default)]
    layers: Vec<Copied>,
}

impl Document {
    fn is_complete(&self) -> bool {
        let whole = |layer: &Copied| layer.length == layer.text.len();
        self.count == self.layers.len() && self.layers.iter().all(whole)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Copied {
    file: PathBuf,
    /// Of the text, bytes: a torn copy could have less.
    length: usize,
    /// It is the remote file. Before the text, so that a torn copy with the whole text has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    remote: bool,
    text: String,
}

/// The files of the last time that everything was accepted. None if that never was, or if the copy cannot be used,
/// which is logged.
pub fn read_accepted(directory: &Path) -> Vec<Layer> {
    let path = directory.join(COPY);
    let understood = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => Err(error.to_string()),
        Ok(text) => toml::from_str(&text)
            .map_err(|error| error.message().to_owned())
            .and_then(|document: Document| match document.version {
                VERSION if document.is_complete() => Ok(document.layers),
                VERSION => Err("it is not complete".to_owned()),
                other => Err(format!("its version is {other}, not {VERSION}")),
            }),
    };
    match understood {
        Ok(layers) => layers
            .into_iter()
            .map(|copied| Layer {
                file: copied.file,
                text: copied.text,
                source: match copied.remote {
                    true => Source::Remote,
                    false => Source::Own,
                },
            })
            .collect(),
        Err(reason) => {
            log::warn!(
                "{}: the copy of the last accepted configuration cannot be used: {reason}",
                path.display()
            );
            Vec::new()
        }
    }
}

/// Keeps these files as the last that were accepted, unless they are already. A power cut at any moment leaves either
/// the old copy or the new one: the new one is whole and on the disk before it takes the old one's name.
///
/// # Errors
/// What the system said; the old copy stays.
pub fn keep_accepted(directory: &Path, layers: &[Layer]) -> std::io::Result<()> {
    if directory.join(COPY).exists() && read_accepted(directory) == layers {
        return Ok(());
    }
    let document = Document {
        version: VERSION,
        count: layers.len(),
        layers: layers
            .iter()
            .map(|layer| Copied {
                file: layer.file.clone(),
                length: layer.text.len(),
                remote: layer.source == Source::Remote,
                text: layer.text.clone(),
            })
            .collect(),
    };
    let text = toml::to_string(&document).map_err(std::io::Error::other)?;
    files::replace(
        &directory.join(COPY),
        &directory.join(TEMPORARY),
        text.as_bytes(),
        files::SECRET,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::store::tests::TemporaryDirectory;

    fn layer(file: &str, text: &str) -> Layer {
        Layer {
            file: file.into(),
            text: text.to_owned(),
            source: Source::Own,
        }
    }

    fn put(root: &Path, name: &str, content: &[u8]) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn the_files_come_in_the_documented_order_and_others_are_no_part_of_it() {
        let root = TemporaryDirectory::new("layers-order");
        assert_eq!(read_layers(root.path()), []);
        for (name, text) in [
            ("etc/huddled/conf.d/20-b.toml", "b"),
            ("etc/huddled/conf.d/100-a.toml", "a"),
            ("etc/huddled/conf.d/.hidden.toml", "x"),
            ("etc/huddled/conf.d/20-b.toml~", "x"),
            ("etc/huddled/conf.d/README", "x"),
            ("etc/huddled/config.toml", "own"),
            ("usr/share/huddled/config.toml", "vendor"),
        ] {
            put(root.path(), name, text.as_bytes());
        }
        let texts: Vec<_> = read_layers(root.path())
            .into_iter()
            .map(|candidate| candidate.text.unwrap())
            .collect();
        assert_eq!(texts, ["vendor", "own", "a", "b"]);
        let texts: Vec<_> = read_layers_in(&root.path().join("etc/huddled"))
            .into_iter()
            .map(|candidate| candidate.text.unwrap())
            .collect();
        assert_eq!(texts, ["own", "a", "b"]);
    }

    #[test]
    fn what_cannot_be_read_is_told_and_not_taken_for_absent() {
        let root = TemporaryDirectory::new("layers-unreadable");
        put(root.path(), OWN, b"\xff\xfe");
        put(root.path(), VENDOR, &vec![b'#'; LARGEST as usize + 1]);
        // Permissions would not stop root; a file in the folder's place stops everybody.
        put(root.path(), ADDITIONS, b"");
        let problems: Vec<_> = read_layers(root.path())
            .into_iter()
            .map(|candidate| candidate.text.unwrap_err())
            .collect();
        assert_eq!(problems.len(), 3);
        assert_eq!(
            problems[0],
            "cannot be read: it is longer than 1048576 bytes"
        );
        assert_eq!(problems[1], "cannot be read: it is not UTF-8 text");
        assert!(problems[2].starts_with("cannot be read: "), "{problems:?}");
    }

    #[test]
    fn what_was_accepted_comes_back_and_the_same_is_not_written_again() {
        use std::os::unix::fs::MetadataExt;
        let directory = TemporaryDirectory::new("layers-copy");
        assert_eq!(read_accepted(directory.path()), []);
        let inode = || fs::metadata(directory.path().join(COPY)).unwrap().ino();
        let one = [
            layer("/etc/huddled/config.toml", "'''\n\"\"\"\\ é\n"),
            Layer {
                source: Source::Remote,
                ..layer("/var/lib/huddled/remote/0a.toml", "[box]\n")
            },
        ];
        keep_accepted(directory.path(), &one).unwrap();
        assert_eq!(read_accepted(directory.path()), one);
        let first = inode();
        keep_accepted(directory.path(), &one).unwrap();
        assert_eq!(inode(), first);
        keep_accepted(directory.path(), &[]).unwrap();
        assert_ne!(inode(), first);
        assert_eq!(read_accepted(directory.path()), []);
        assert!(!directory.path().join(TEMPORARY).exists());
    }

    /// What a power cut can leave: the new file written in part or not at all, beside the old copy or without one.
    #[test]
    fn a_copy_that_was_half_written_never_counts() {
        let directory = TemporaryDirectory::new("layers-power");
        let old = [layer("/etc/huddled/config.toml", "[box]\nname = 'old'\n")];
        let new = [layer("/etc/huddled/config.toml", "[box]\nname = 'new'\n")];
        keep_accepted(directory.path(), &new).unwrap();
        let whole = fs::read(directory.path().join(COPY)).unwrap();
        keep_accepted(directory.path(), &old).unwrap();
        for length in 0..=whole.len() {
            fs::write(directory.path().join(TEMPORARY), &whole[..length]).unwrap();
            assert_eq!(read_accepted(directory.path()), old);
        }
        keep_accepted(directory.path(), &new).unwrap();
        assert_eq!(read_accepted(directory.path()), new);
        // A disk that lies about syncing: a torn copy is no copy, and the next one is written all the same.
        for length in 0..whole.len() - 1 {
            fs::write(directory.path().join(COPY), &whole[..length]).unwrap();
            let read = read_accepted(directory.path());
            assert!(read.is_empty() || read == new, "{length}: {read:?}");
        }
        keep_accepted(directory.path(), &new).unwrap();
        assert_eq!(read_accepted(directory.path()), new);
    }

    #[test]
    fn a_copy_that_cannot_be_written_leaves_the_old_one() {
        let directory = TemporaryDirectory::new("layers-full");
        let old = [layer("/a", "")];
        keep_accepted(directory.path(), &old).unwrap();
        fs::create_dir(directory.path().join(TEMPORARY)).unwrap();
        keep_accepted(directory.path(), &[layer("/b", "")]).unwrap_err();
        assert_eq!(read_accepted(directory.path()), old);
    }
}
