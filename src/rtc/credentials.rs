//! With which user and password a TURN server is asked for an allocation.
//!
//! They are made anew for every connection and every ICE restart, so that a changed file or a newer short-lived
//! password holds from there on. A running allocation keeps those it was made with: RFC 8656 section 7.2 has a server
//! refuse another user on it (441), and coturn does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rtc::crypto::{HmacAlgorithm, default_provider};

use crate::room::Redacted;

/// Reads a secret, now. It blocks, because it is a file's content; the error is a sentence with key and file.
pub type SecretSource = Arc<dyn Fn() -> Result<Redacted<String>, String> + Send + Sync>;

/// How a server knows us.
#[derive(Clone, Default)]
pub enum IceCredentials {
    /// Not at all: STUN only.
    #[default]
    None,
    /// A user and its password.
    Password {
        /// User name.
        username: String,
        /// Its password.
        password: SecretSource,
    },
    /// A secret shared with the server, of which short-lived passwords are made (coturn's `use-auth-secret`).
    Shared {
        /// What stands behind the time in the user name.
        name: String,
        /// The secret.
        secret: SecretSource,
        /// How long a password is good for.
        lifetime: Duration,
    },
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password { .. } => "Password",
            Self::Shared { .. } => "Shared",
        })
    }
}

/// User and password for one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub username: String,
    /// Its password.
    pub password: Redacted<String>,
}

impl IceCredentials {
    /// What to ask with at `now` (since 1970); `None` where nothing is to be asked. Blocks: a file is read.
    ///
    /// # Errors
    /// A sentence with key and file.
    pub fn login(&self, now: Duration) -> Result<Option<Login>, String> {
        match self {
            Self::None => Ok(None),
            Self::Password { username, password } => Ok(Some(Login {
                username: username.clone(),
                password: password()?,
            })),
            Self::Shared {
                name,
                secret,
                lifetime,
            } => short_lived(name, &secret()?, now + *lifetime).map(Some),
        }
    }
}

/// The TURN REST scheme (draft-uberti-behave-turn-rest-00 section 2.2): the user is `EXPIRY:NAME`, the password the
/// base64 of HMAC-SHA1 over it.
fn short_lived(name: &str, secret: &Redacted<String>, expiry: Duration) -> Result<Login, String> {
    let username = format!("{}:{name}", expiry.as_secs());
    let tag = sign(secret.0.as_bytes(), username.as_bytes())
        .map_err(|error| format!("no password could be made of the shared secret: {error}"))?;
    Ok(Login {
        username,
        password: Redacted(STANDARD.encode(tag)),
    })
}

fn sign(key: &[u8], text: &[u8]) -> Result<Vec<u8>, rtc::crypto::CryptoError> {
    let mut mac = default_provider()?
        .crypto()
        .new_hmac(HmacAlgorithm::Sha1, key)?;
    let mut tag = vec![0; mac.output_len()];
    mac.sign(&[text], &mut tag)?;
    Ok(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_one_that_coturn_computes() {
        let secret: SecretSource = Arc::new(|| Ok(Redacted("north".to_owned())));
        let credentials = IceCredentials::Shared {
            name: "room-101".to_owned(),
            secret,
            lifetime: Duration::from_secs(60),
        };
        let login = credentials
            .login(Duration::from_millis(1_433_895_858_900))
            .unwrap()
            .unwrap();
        assert_eq!(login.username, "1433895918:room-101");
        // printf 1433895918:room-101 | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(login.password.0, "PQfYDuTjeR+RKBRp9hp6+P8UbTE=");
        assert!(!format!("{credentials:?} {login:?}").contains("north"));
    }

    #[test]
    fn a_password_is_read_again_every_time() {
        let file = Arc::new(std::sync::Mutex::new("one"));
        let read = Arc::clone(&file);
        let credentials = IceCredentials::Password {
            username: "box".to_owned(),
            password: Arc::new(move || Ok(Redacted((*read.lock().unwrap()).to_owned()))),
        };
        let password = || {
            credentials
                .login(Duration::ZERO)
                .unwrap()
                .unwrap()
                .password
                .0
        };
        assert_eq!(password(), "one");
        *file.lock().unwrap() = "two";
        assert_eq!(password(), "two");
    }
}
