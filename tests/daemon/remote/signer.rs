//! The administrator: Debian's `minisign`, which is not ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A key pair in a folder.
pub(super) struct Signer {
    folder: PathBuf,
    name: &'static str,
}

fn minisign(folder: &Path, arguments: &[&str]) {
    let output = Command::new("minisign")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("minisign is needed for this test: run `make setup`");
    assert!(output.status.success(), "{output:?}");
}

impl Signer {
    pub(super) fn new(folder: PathBuf, name: &'static str) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let signer = Self { folder, name };
        let (public, secret) = (signer.file("pub"), signer.file("key"));
        minisign(
            &signer.folder,
            &["-G", "-W", "-f", "-p", &public, "-s", &secret],
        );
        signer
    }

    fn file(&self, end: &str) -> String {
        format!("{}.{end}", self.name)
    }

    /// For `[remote] key`.
    pub(super) fn public(&self) -> String {
        let text = fs::read_to_string(self.folder.join(self.file("pub"))).unwrap();
        text.lines().nth(1).unwrap().to_owned()
    }

    /// The `.minisig` of this text.
    pub(super) fn sign(&self, text: &[u8], comment: &str) -> Vec<u8> {
        let (content, signature) = (self.file("toml"), self.file("toml.minisig"));
        fs::write(self.folder.join(&content), text).unwrap();
        let secret = self.file("key");
        minisign(
            &self.folder,
            &[
                "-S", "-s", &secret, "-m", &content, "-x", &signature, "-t", comment,
            ],
        );
        fs::read(self.folder.join(signature)).unwrap()
    }
}
