//! Secrets: systemd credentials (systemd.exec(5), `LoadCredential=`), else files beside the configuration.

use std::io::ErrorKind;
use std::path::Path;

use crate::config::CredentialRef;
use crate::room::Redacted;

use super::HostError;

/// Longest secret, bytes; a bundle of certificates fits.
const LONGEST: u64 = 1024 * 1024;

/// Reads the secret a `*_file` key names, from the first of its candidates that exists. Line breaks at the end
/// are no part of a secret.
///
/// `key` is for the message alone (`[signaling] token_file`). `credentials_directory` is the value of
/// `$CREDENTIALS_DIRECTORY`.
pub fn read_credential(
    key: &str,
    credential: &CredentialRef,
    credentials_directory: Option<&Path>,
) -> Result<Redacted<String>, HostError> {
    let tried = credential.candidates(credentials_directory);
    for path in &tried {
        match read(path) {
            Ok(secret) => return Ok(secret),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                return Err(HostError::CredentialUnusable {
                    key: key.to_owned(),
                    path: path.clone(),
                    reason: error.to_string(),
                });
            }
        }
    }
    let mut places: Vec<String> = tried
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if credentials_directory.is_none() {
        places.insert(
            0,
            "the systemd credentials ($CREDENTIALS_DIRECTORY is not set)".to_owned(),
        );
    }
    Err(HostError::CredentialMissing {
        key: key.to_owned(),
        name: credential.name.clone(),
        tried: places.join(" and "),
    })
}

fn read(path: &Path) -> std::io::Result<Redacted<String>> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Err(std::io::Error::new(
            ErrorKind::InvalidData,
            "it is not a regular file",
        ));
    }
    let size = about.len();
    if size > LONGEST {
        return Err(std::io::Error::new(
            ErrorKind::InvalidData,
            format!("it has {size} bytes, more than {LONGEST}"),
        ));
    }
    let text = String::from_utf8(std::fs::read(path)?)
        .map_err(|_| std::io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() {
        return Err(std::io::Error::new(ErrorKind::InvalidData, "it is empty"));
    }
    Ok(Redacted(secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::store::tests::TemporaryDirectory;

    fn named(name: &str, base: &Path) -> CredentialRef {
        CredentialRef {
            name: name.to_owned(),
            base: base.to_owned(),
            credential_only: false,
        }
    }

    #[test]
    fn the_systemd_credential_wins_over_the_file() {
        let directory = TemporaryDirectory::new("credential-wins");
        let credentials = directory.path().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        std::fs::write(credentials.join("token"), "from systemd\n").unwrap();
        std::fs::write(directory.path().join("token"), "from the file\n").unwrap();
        let read = |credentials: Option<&Path>| {
            read_credential(
                "[signaling] token_file",
                &named("token", directory.path()),
                credentials,
            )
            .unwrap()
            .0
        };
        assert_eq!(read(Some(&credentials)), "from systemd");
        assert_eq!(read(None), "from the file");
    }

    #[test]
    fn a_file_is_found_beside_the_configuration_when_there_is_no_such_credential() {
        let directory = TemporaryDirectory::new("credential-beside");
        let credentials = directory.path().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        std::fs::write(directory.path().join("password"), " p w \r\n").unwrap();
        let secret = read_credential(
            "[signaling] password_file",
            &named("password", directory.path()),
            Some(&credentials),
        )
        .unwrap();
        assert_eq!(secret.0, " p w ", "only line breaks at the end are cut");
        assert_eq!(format!("{secret:?}"), "<redacted>");
    }

    #[test]
    fn a_missing_secret_is_named_with_its_key_and_both_places() {
        let message = read_credential(
            "[signaling] token_file",
            &named("token", Path::new("/nonexistent/etc")),
            Some(Path::new("/nonexistent/credentials")),
        )
        .unwrap_err()
        .to_string();
        for part in [
            "[signaling] token_file",
            "/nonexistent/credentials/token",
            "/nonexistent/etc/token",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn without_systemd_the_message_says_that_there_are_no_credentials() {
        let message = read_credential(
            "[signaling] token_file",
            &named("token", Path::new("/nonexistent")),
            None,
        )
        .unwrap_err()
        .to_string();
        assert!(
            message.contains("$CREDENTIALS_DIRECTORY is not set"),
            "{message}"
        );
    }

    #[test]
    fn a_path_is_never_looked_up_among_the_credentials() {
        let directory = TemporaryDirectory::new("credential-path");
        let credentials = directory.path().join("credentials");
        std::fs::create_dir(&credentials).unwrap();
        std::fs::write(directory.path().join("secret"), "outside").unwrap();
        let message = read_credential(
            "[signaling] token_file",
            &named("../secret", Path::new("/nonexistent")),
            Some(&credentials),
        )
        .unwrap_err()
        .to_string();
        assert!(!message.contains("credentials/"), "{message}");
    }

    #[test]
    fn unusable_content_is_refused_without_showing_it() {
        let directory = TemporaryDirectory::new("credential-unusable");
        for (content, reason) in [(&b"\n"[..], "empty"), (&b"caf\xe9"[..], "UTF-8")] {
            std::fs::write(directory.path().join("token"), content).unwrap();
            let message = read_credential(
                "[signaling] token_file",
                &named("token", directory.path()),
                None,
            )
            .unwrap_err()
            .to_string();
            assert!(message.contains(reason), "{message}");
            assert!(!message.contains("caf"), "{message}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_no_secret() {
        for name in ["/dev/zero", "/dev"] {
            let error =
                read_credential("[signaling] token_file", &named(name, Path::new("/")), None);
            let message = error.unwrap_err().to_string();
            assert!(message.contains("not a regular file"), "{message}");
        }
    }

    #[test]
    fn a_credential_of_a_remote_file_is_never_a_file_beside_it() {
        let directory = TemporaryDirectory::new("credential-remote");
        std::fs::write(directory.path().join("record.toml"), "secret").unwrap();
        let remote = CredentialRef {
            credential_only: true,
            ..named("record.toml", directory.path())
        };
        assert!(read_credential("[signaling] token_file", &remote, None).is_err());
        let credentials = Some(directory.path());
        assert!(read_credential("[signaling] token_file", &remote, credentials).is_ok());
    }
}
