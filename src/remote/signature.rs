//! Whether a file is to be trusted: minisign's Ed25519 signature over its BLAKE2b hash, and what the signature says of
//! it in its trusted comment, which is signed too.

use minisign_verify::{Error, PublicKey, Signature};

/// Names the file's version in the trusted comment.
const VERSION: &str = "version:";
/// Names a box that the file is for; without one it is for every box that trusts the key.
const BOX: &str = "box:";

/// The version number of a file that one of the keys has signed, for this box.
///
/// # Errors
/// Why it is not to be trusted, in one sentence that begins with a verb's subject.
pub fn verify(
    text: &[u8],
    signature: &str,
    keys: &[String],
    id: Option<&str>,
) -> Result<u64, String> {
    let signature = Signature::decode(signature)
        .map_err(|_| "the .minisig file beside it is no signature of minisign".to_owned())?;
    let mut reason = "it is signed with another key than those of [remote] key".to_owned();
    let mut trusted = false;
    for key in keys {
        let key = PublicKey::from_base64(key).map_err(|_| {
            format!("[remote] key \"{key}\" is no public key of minisign; give the second line of a .pub file")
        })?;
        match key.verify(text, &signature, false) {
            Ok(()) => trusted = true,
            Err(Error::UnexpectedKeyId) => {}
            Err(Error::UnexpectedAlgorithm) => {
                reason = "it is signed the old way (minisign -l); sign it without -l".to_owned();
            }
            Err(_) => {
                reason = "its signature does not fit: file or signature were changed, or only one of them is \
                          published yet"
                    .to_owned();
            }
        }
    }
    if !trusted {
        return Err(reason);
    }
    of_comment(signature.trusted_comment(), id)
}

fn of_comment(comment: &str, id: Option<&str>) -> Result<u64, String> {
    let said = |name: &'static str| {
        comment
            .split_ascii_whitespace()
            .filter_map(move |word| word.strip_prefix(name))
    };
    let mut boxes = said(BOX).peekable();
    if boxes.peek().is_some() && !boxes.any(|other| Some(other) == id) {
        return Err(match id {
            Some(id) => format!("it is signed for another box than \"{id}\""),
            None => "it is signed for a certain box, and this one has no [box] id".to_owned(),
        });
    }
    let mut versions = said(VERSION);
    match (versions.next().map(str::parse::<u32>), versions.next()) {
        (Some(Ok(number)), None) => Ok(u64::from(number)),
        _ => Err(
            "its signature names no version; sign it with minisign -t \"version:N\", N a whole number that grows \
             with each version"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by minisign 0.11: `minisign -G -W`, and `minisign -S -t "version:7 box:room-101"` of the text `[box]\n`.
    const KEY: &str = "RWT7736ynh1OZvPpJZHZgNQ+LlDTUuQRrjzLQtRrdQiyBE+ioIjYlqXz";
    const OTHER: &str = "RWT+5A+oMGo4IqJBzDFtZb/EvwrXuxHZ1lJ35yyz5NTqcH2KRXJ8b56d";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
         RUT7736ynh1OZuJ2gOXNIKJ37kt7zF0TC6485zXTXTiuTqKHfSlkbvj0JFPkbvvYu9MC2/W66W6dy5u+ZdeH8qeuRka+2Aae6Q0=\n\
         trusted comment: version:7 box:room-101\n\
         bHL/knsVvgosg/8tBLd8kmFKN9GV1uWYm2azDldSS+rGv0l0zcalmBxWfWDz6nyWZWsq8ntljoFVFusS5DHMCQ==";
    const OLD_WAY: &str = "untrusted comment: signature from minisign secret key\n\
         RWT7736ynh1OZo9EEQZVrEcoTXY8WIehTdhn61rUvN/vt4zx3FHm2MaSrqv4VcWaxOYOjGHoIaRqlaZGy9wW1daXqpDahvLNWQw=\n\
         trusted comment: version:7 box:room-101\n\
         gJM0oqis0Aq0O2tZqzHOU7M8sDWp2CPtHFzSK8bUVUCqjUJJXZQw9XrcvmSAiyFXLpmq5LamT9mKahV4L2GzDw==";

    fn check(text: &[u8], signature: &str, keys: &[&str], id: Option<&str>) -> Result<u64, String> {
        let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
        verify(text, signature, &keys, id)
    }

    #[test]
    fn either_of_two_keys_may_have_signed() {
        for keys in [&[KEY][..], &[OTHER, KEY], &[KEY, OTHER]] {
            assert_eq!(check(b"[box]\n", SIGNATURE, keys, Some("room-101")), Ok(7));
        }
    }

    #[test]
    fn what_is_not_to_be_trusted_says_why() {
        let why = |text: &[u8], signature: &str, keys: &[&str], id| {
            check(text, signature, keys, id).unwrap_err()
        };
        let id = Some("room-101");
        let fits_not = why(b"[box] \n", SIGNATURE, &[KEY], id);
        assert!(fits_not.contains("does not fit"), "{fits_not}");
        let other = why(b"[box]\n", SIGNATURE, &[OTHER], id);
        assert!(other.contains("another key"), "{other}");
        let none = why(b"[box]\n", SIGNATURE, &[], id);
        assert!(none.contains("another key"), "{none}");
        let key = why(b"[box]\n", SIGNATURE, &["RWx"], id);
        assert!(key.contains("no public key"), "{key}");
        for torn in ["", "x", &SIGNATURE[..100]] {
            let torn = why(b"[box]\n", torn, &[KEY], id);
            assert!(torn.contains("no signature"), "{torn}");
        }
        let old = why(b"[box]\n", OLD_WAY, &[KEY], id);
        assert!(old.contains("without -l"), "{old}");
        let elsewhere = why(b"[box]\n", SIGNATURE, &[KEY], Some("room-102"));
        assert!(elsewhere.contains("another box"), "{elsewhere}");
        let nameless = why(b"[box]\n", SIGNATURE, &[KEY], None);
        assert!(nameless.contains("no [box] id"), "{nameless}");
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let lines: Vec<_> = SIGNATURE.lines().collect();
        let comment_starts = lines[0].len() + 1;
        for at in comment_starts..SIGNATURE.len() {
            let mut bytes = SIGNATURE.as_bytes().to_vec();
            // Another letter of base64 and of text; line breaks are no part of what is signed.
            if bytes[at] == b'\n' {
                continue;
            }
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(
                check(b"[box]\n", &changed, &[KEY], Some("room-101")).is_err(),
                "{at}"
            );
        }
    }

    #[test]
    fn the_version_is_one_whole_number() {
        assert_eq!(of_comment("version:0", None), Ok(0));
        assert_eq!(
            of_comment("timestamp:1\tversion:4294967295\tx", None),
            Ok(u64::from(u32::MAX))
        );
        for wrong in [
            "",
            "version:",
            "version:-1",
            "version:1.0",
            "version:1 version:2",
            "version:4294967296",
        ] {
            assert!(
                of_comment(wrong, None).unwrap_err().contains("version:N"),
                "{wrong}"
            );
        }
        assert_eq!(of_comment("box:a version:1 box:b", Some("b")), Ok(1));
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in ".{0,300}") {
            let _ = check(b"", &text, &[KEY, &text], None);
        }
    }
}
