//! The remote files on the disk: each with its signature under the name of its digest, and one file that says which of
//! them is in use. That one is written last, whole, so a power cut leaves either what was or what is.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::record::{Digest, Record, Version};
use crate::files;

/// The folder in the state directory.
const FOLDER: &str = "remote";
/// What is remembered.
const RECORD: &str = "record.toml";
/// Format of that file; another one is not understood.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    record: Record,
}

/// A file as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its `.minisig`.
    pub signature: String,
}

/// The folder of the remote files.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// In this state directory; nothing is touched yet.
    pub fn new(state_directory: &Path) -> Self {
        Self {
            folder: state_directory.join(FOLDER),
        }
    }

    /// What is remembered; nothing if that never was written.
    ///
    /// # Errors
    /// It is there and cannot be used: a sentence.
    pub fn record(&self) -> Result<Record, String> {
        let path = self.folder.join(RECORD);
        let understood = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Record::default()),
            Err(error) => Err(error.to_string()),
            Ok(text) => toml::from_str(&text)
                .map_err(|error| error.message().to_owned())
                .and_then(|document: Document| match document.format {
                    FORMAT => Ok(document.record),
                    other => Err(format!("its format is {other}, not {FORMAT}")),
                }),
        };
        understood.map_err(|reason| {
            format!(
                "{}: what is remembered of the remote configuration cannot be used: {reason}",
                path.display()
            )
        })
    }

    /// Remembers this, and removes the files that nothing refers to any more.
    ///
    /// # Errors
    /// A sentence; what was remembered before stays.
    pub fn remember(&self, record: &Record) -> Result<(), String> {
        let document = Document {
            format: FORMAT,
            record: record.clone(),
        };
        let text = toml::to_string(&document).map_err(|error| error.to_string())?;
        self.create()?;
        self.write(RECORD, text.as_bytes())?;
        self.tidy(record);
        Ok(())
    }

    /// Keeps a file with its signature. It comes into use by what [`Self::remember`] is given.
    ///
    /// # Errors
    /// A sentence.
    pub fn keep(&self, text: &str, signature: &str) -> Result<Digest, String> {
        let digest = Digest::of(text.as_bytes());
        self.create()?;
        self.write(&name(&digest), text.as_bytes())?;
        self.write(&format!("{}.minisig", name(&digest)), signature.as_bytes())?;
        Ok(digest)
    }

    /// A kept file.
    ///
    /// # Errors
    /// It is not there, or not what it was: a sentence.
    pub fn read(&self, version: &Version) -> Result<RemoteFile, String> {
        let path = self.path(version);
        let read = |path: &Path| {
            fs::read_to_string(path)
                .map_err(|error| format!("{}: cannot be read: {error}", path.display()))
        };
        let text = read(&path)?;
        if Digest::of(text.as_bytes()) != version.digest {
            return Err(format!("{}: the file was changed", path.display()));
        }
        let signature = read(
            &self
                .folder
                .join(format!("{}.minisig", name(&version.digest))),
        )?;
        Ok(RemoteFile {
            path,
            text,
            signature,
        })
    }

    /// Where a kept file lies.
    pub fn path(&self, version: &Version) -> PathBuf {
        self.folder.join(name(&version.digest))
    }

    fn create(&self) -> Result<(), String> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|error| format!("{}: cannot be created: {error}", self.folder.display()))
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), String> {
        let path = self.folder.join(name);
        files::replace(&path, &files::beside(&path), content, files::SECRET)
            .map_err(|error| format!("{}: cannot be written: {error}", path.display()))
    }

    /// Failing costs a few kilobytes.
    fn tidy(&self, record: &Record) {
        let trial = record.trial.as_ref().map(|trial| &trial.version);
        let mut needed = vec![RECORD.to_owned()];
        for version in record.good.iter().chain(trial) {
            needed.push(name(&version.digest));
            needed.push(format!("{}.minisig", name(&version.digest)));
        }
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if !needed.iter().any(|needed| name == needed.as_str()) {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

/// Enough of the digest to tell files apart. The whole of it is compared when the file is read.
fn name(digest: &Digest) -> String {
    let short: String = digest
        .as_str()
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(16)
        .collect();
    format!("{short}.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("huddled-remote-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    fn begin(store: &Store, record: &mut Record, number: u64, text: &str) {
        let digest = store.keep(text, "signature").unwrap();
        record.begin(Version { number, digest });
        store.remember(record).unwrap();
    }

    fn names(folder: &Folder) -> usize {
        fs::read_dir(folder.0.join(FOLDER)).unwrap().count()
    }

    #[test]
    fn what_is_kept_comes_back_and_what_nobody_needs_goes() {
        let folder = Folder::new("kept");
        let store = Store::new(&folder.0);
        let mut record = Record::default();
        assert_eq!(store.record(), Ok(Record::default()));
        for number in 1..4 {
            begin(
                &store,
                &mut record,
                number,
                &format!("[box]\nname = '{number}'\n"),
            );
            record.confirm();
            store.remember(&record).unwrap();
            assert_eq!(names(&folder), 3);
        }
        begin(&store, &mut record, 4, "# four\n");
        assert_eq!(names(&folder), 5);
        assert_eq!(store.record().as_ref(), Ok(&record));
        let file = store.read(record.current().unwrap()).unwrap();
        assert_eq!(
            (file.text.as_str(), file.signature.as_str()),
            ("# four\n", "signature")
        );
        record.go_back("x");
        store.remember(&record).unwrap();
        assert_eq!(names(&folder), 3);
        assert_eq!(store.record().as_ref(), Ok(&record));
        assert_eq!(
            store.read(record.current().unwrap()).unwrap().text,
            "[box]\nname = '3'\n"
        );
    }

    #[test]
    fn a_damaged_disk_is_noticed() {
        let folder = Folder::new("damaged");
        let store = Store::new(&folder.0);
        let mut record = Record::default();
        begin(&store, &mut record, 1, "# one\n");
        let version = record.current().unwrap().clone();
        fs::write(store.path(&version), "# two\n").unwrap();
        assert!(store.read(&version).unwrap_err().contains("was changed"));
        fs::remove_file(store.path(&version)).unwrap();
        assert!(store.read(&version).unwrap_err().contains("cannot be read"));
        let path = folder.0.join(FOLDER).join(RECORD);
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            // Never a panic, never something else.
            match store.record() {
                Ok(read) => assert!(read == record || read.current().is_none(), "{length}"),
                Err(reason) => assert!(reason.contains(RECORD), "{reason}"),
            }
        }
        fs::write(&path, "format = 2\n[record]\n").unwrap();
        assert!(store.record().unwrap_err().contains("its format is 2"));
    }
}
