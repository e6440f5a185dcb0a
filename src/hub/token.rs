//! What a link or a member shows to be let in. The hub keeps no accounts: whatever it must know again stands in the
//! token, under a signature only its key makes.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::HubError;
use super::files;
use crate::room::{PeerId, Redacted};

/// The key's file in the state directory.
const FILE: &str = "hub-key";
/// Length of the key, bytes: that of the hash, as RFC 2104 section 3 recommends.
const KEY: usize = 32;
/// The longest token looked at, bytes. Ours have some 200, with the longest ids 1000.
const LONGEST: usize = 2048;

/// What a token opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claims {
    /// A link: whoever has it may join the meeting as somebody new.
    Link { meeting: String, host: bool },
    /// One member of one meeting.
    Member {
        meeting: String,
        user: PeerId,
        host: bool,
        /// Somebody who came by a guest link. A member who is neither guest nor host is a box.
        guest: bool,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Guest,
    Host,
    Member,
}

/// The claims as they are signed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    meeting: String,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    guest: Option<bool>,
}

/// The key that signs a hub's tokens. Whoever has it can make any token; a new one makes every token void.
#[derive(Clone, Debug)]
pub struct HubKey(hmac::Key);

impl HubKey {
    /// The key in the file `hub-key` of this folder, which is made with mode 0600 where there is none.
    ///
    /// # Errors
    /// The file cannot be read or written, or is no key.
    pub fn open(state_dir: &Path) -> Result<Self, HubError> {
        let path = state_dir.join(FILE);
        let key = match files::read_secret(&path)? {
            Some(key) => key,
            None => {
                let key = random()?;
                files::write(&path, &key, files::SECRET)?;
                log::info!("made {}: the key of the hub's tokens", path.display());
                key.to_vec()
            }
        };
        if key.len() != KEY {
            return Err(HubError::Key {
                path,
                length: key.len(),
            });
        }
        Ok(Self::of(&key))
    }

    /// A key that is forgotten with the process.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn random() -> Result<Self, HubError> {
        Ok(Self::of(&random()?))
    }

    fn of(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The token of these claims; the same claims give the same token.
    pub(super) fn sign(&self, claims: &Claims) -> Redacted<String> {
        let signed = match claims {
            Claims::Link { meeting, host } => Signed {
                meeting: meeting.clone(),
                role: if *host { Role::Host } else { Role::Guest },
                user: None,
                host: None,
                guest: None,
            },
            Claims::Member {
                meeting,
                user,
                host,
                guest,
            } => Signed {
                meeting: meeting.clone(),
                role: Role::Member,
                user: Some(user.as_str().to_owned()),
                host: Some(*host),
                guest: guest.then_some(true),
            },
        };
        let claims = serde_json::to_vec(&signed).expect("texts and flags always make JSON");
        let claims = URL_SAFE_NO_PAD.encode(claims);
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, claims.as_bytes()));
        Redacted(format!("{claims}.{signature}"))
    }

    /// What a token of this key claims; `None` for anything else.
    pub(super) fn verify(&self, token: &str) -> Option<Claims> {
        if token.len() > LONGEST {
            return None;
        }
        let (claims, signature) = token.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        // Compares in constant time.
        hmac::verify(&self.0, claims.as_bytes(), &signature).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let Signed {
            meeting,
            role,
            user,
            host,
            guest,
        } = serde_json::from_slice(&claims).ok()?;
        match (role, user, host, guest) {
            (Role::Guest, None, None, None) => Some(Claims::Link {
                meeting,
                host: false,
            }),
            (Role::Host, None, None, None) => Some(Claims::Link {
                meeting,
                host: true,
            }),
            (Role::Member, Some(user), host, guest) => Some(Claims::Member {
                meeting,
                user: PeerId::new(&user),
                host: host.unwrap_or(false),
                guest: guest.unwrap_or(false),
            }),
            _ => None,
        }
    }
}

fn random() -> Result<[u8; KEY], HubError> {
    let mut key = [0; KEY];
    getrandom::fill(&mut key).map_err(HubError::Random)?;
    Ok(key)
}

/// A user id nobody else has: a version 4 UUID (RFC 9562 section 5.4) in lower case, as the application's are.
pub(super) fn new_user() -> Result<PeerId, HubError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(HubError::Random)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut id = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        id.push_str(&format!("{byte:02x}"));
    }
    Ok(PeerId::new(&id))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use proptest::prelude::*;

    use super::*;
    use crate::hub::files::tests::Folder;

    fn key() -> HubKey {
        HubKey::of(&[7; KEY])
    }

    fn member(host: bool) -> Claims {
        Claims::Member {
            meeting: "main".into(),
            user: PeerId::new("box"),
            host,
            guest: !host,
        }
    }

    fn link(host: bool) -> Claims {
        Claims::Link {
            meeting: "Küche 7".into(),
            host,
        }
    }

    #[test]
    fn a_token_says_what_was_signed_and_says_it_the_same_way_each_time() {
        for claims in [member(true), member(false), link(true), link(false)] {
            let token = key().sign(&claims);
            assert_eq!(key().verify(&token.0), Some(claims.clone()));
            assert_eq!(key().sign(&claims), token);
        }
    }

    #[test]
    fn a_token_of_another_key_opens_nothing() {
        let token = HubKey::random().unwrap().sign(&member(true));
        assert_eq!(key().verify(&token.0), None);
    }

    #[test]
    fn a_changed_token_opens_nothing() {
        let token = key().sign(&member(false)).0;
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            if changed != token {
                assert_eq!(key().verify(&changed), None, "at {index}");
            }
        }
        let (claims, signature) = token.split_once('.').unwrap();
        let (other, _) = {
            let host = key().sign(&member(true)).0;
            let (claims, signature) = host.split_once('.').unwrap();
            (claims.to_owned(), signature.to_owned())
        };
        for forged in [
            format!("{other}.{signature}"),
            format!("{claims}."),
            claims.to_owned(),
            format!("{claims}.{signature}."),
            format!("{claims}.{signature}="),
        ] {
            assert_eq!(key().verify(&forged), None, "{forged}");
        }
    }

    #[test]
    fn claims_that_contradict_themselves_open_nothing_though_they_are_signed() {
        for json in [
            r#"{"meeting":"main","role":"member"}"#,
            r#"{"meeting":"main","role":"guest","user":"box"}"#,
            r#"{"meeting":"main","role":"guest","host":true}"#,
            r#"{"meeting":"main","role":"guest","more":1}"#,
            r#"{"role":"guest"}"#,
            "[]",
            "",
        ] {
            let claims = URL_SAFE_NO_PAD.encode(json);
            let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key().0, claims.as_bytes()));
            assert_eq!(
                key().verify(&format!("{claims}.{signature}")),
                None,
                "{json}"
            );
        }
    }

    #[test]
    fn the_key_is_kept_for_its_owner_alone_and_stays_the_same() {
        let folder = Folder::new("key");
        let token = HubKey::open(folder.path()).unwrap().sign(&member(true));
        let file = folder.path().join(FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let again = HubKey::open(folder.path()).unwrap();
        assert_eq!(again.verify(&token.0), Some(member(true)));
        // A copy restored carelessly is closed again.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        HubKey::open(folder.path()).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_not_replaced_behind_ones_back() {
        let folder = Folder::new("damaged-key");
        std::fs::write(folder.path().join(FILE), b"short").unwrap();
        let error = HubKey::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains('5'), "{error}");
    }

    #[test]
    fn user_ids_look_like_the_applications_and_differ() {
        let [one, two] = [new_user().unwrap(), new_user().unwrap()];
        assert_ne!(one, two);
        let id = one.as_str();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        assert_eq!(id, id.to_lowercase());
    }

    proptest! {
        #[test]
        fn noise_opens_nothing(noise in "\\PC{0,300}") {
            prop_assert_eq!(key().verify(&noise), None);
        }

        #[test]
        fn any_meeting_and_user_survive(meeting in "\\PC{1,128}", user in "\\PC{1,128}", host: bool) {
            let claims = Claims::Member { meeting, user: PeerId::new(&user), host, guest: !host };
            prop_assert_eq!(key().verify(&key().sign(&claims).0), Some(claims));
        }
    }
}
