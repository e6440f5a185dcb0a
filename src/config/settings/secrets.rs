//! Secrets, as the configuration names them.

use std::path::{Component, Path, PathBuf};

/// A `*_file` value: the name of a systemd credential, else a path. The secret itself is read where it is used
/// and never becomes a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialRef {
    /// As the configuration has it.
    pub name: String,
    /// Folder of the configuration file, which a relative path starts from.
    pub base: PathBuf,
    /// A remote file says it: only a credential, never a file that happens to have this name.
    pub credential_only: bool,
}

impl CredentialRef {
    /// The files to try, in this order: `$CREDENTIALS_DIRECTORY/NAME` (systemd.exec(5), `LoadCredential=`) if
    /// there is such a folder and the name could be a credential's, then the path. The first that exists holds.
    pub fn candidates(&self, credentials_directory: Option<&Path>) -> Vec<PathBuf> {
        let name = Path::new(&self.name);
        let mut components = name.components();
        let plain = matches!(
            (components.next(), components.next()),
            (Some(Component::Normal(_)), None)
        );
        credentials_directory
            .filter(|_| plain)
            .map(|directory| directory.join(name))
            .into_iter()
            .chain((!self.credential_only).then(|| self.base.join(name)))
            .collect()
    }
}
