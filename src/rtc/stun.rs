//! What we must understand of the library's STUN messages that pass (RFC 8489 section 5, RFC 8656 section 18).

/// Bytes before the attributes.
pub(super) const HEADER: usize = 20;
/// In every message since RFC 5389.
pub(super) const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Type of a request for an allocation.
pub(super) const ALLOCATE: u16 = 0x0003;
/// Type of a request to prolong or to release an allocation.
pub(super) const REFRESH: u16 = 0x0004;
/// Type of a request to let a peer's packets in.
pub(super) const CREATE_PERMISSION: u16 = 0x0008;
/// Type of a request for a short name of a peer.
pub(super) const CHANNEL_BIND: u16 = 0x0009;
/// What a success response adds to the type of its request.
pub(super) const SUCCESS: u16 = 0x0100;
/// What an error response adds to the type of its request.
pub(super) const ERROR: u16 = 0x0110;

/// The code of a refusal for a nonce that is too old (RFC 8489 section 9.2.4).
pub(super) const STALE_NONCE: u16 = 438;

const CLASS: u16 = 0x0110;
const USERNAME: u16 = 0x0006;
const ERROR_CODE: u16 = 0x0009;
const LIFETIME: u16 = 0x000d;
const NONCE: u16 = 0x0015;

/// Names a transaction.
pub(super) type Transaction = [u8; 12];

/// One STUN message; nothing of it but its length has been checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stun<'a> {
    /// Method and class.
    pub(super) kind: u16,
    /// Which request it is, or answers.
    pub(super) transaction: Transaction,
    attributes: &'a [u8],
}

impl<'a> Stun<'a> {
    /// `None` for anything but a STUN message.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let (header, attributes) = message.split_first_chunk::<HEADER>()?;
        if header[0] >> 6 != 0 || header[4..8] != COOKIE {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        Some(Self {
            kind: u16::from_be_bytes([header[0], header[1]]),
            transaction: header[8..].try_into().ok()?,
            attributes: attributes.get(..length)?,
        })
    }

    /// It asks for an answer.
    pub(super) fn is_request(&self) -> bool {
        self.kind & CLASS == 0
    }

    fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.attributes;
        while let Some((header, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let value = tail.get(..length)?;
            if u16::from_be_bytes([header[0], header[1]]) == wanted {
                return Some(value);
            }
            rest = tail.get(length.next_multiple_of(4)..)?;
        }
        None
    }

    /// Somebody signs for it; the first request of all has no user yet.
    pub(super) fn has_user(&self) -> bool {
        self.attribute(USERNAME).is_some()
    }

    /// Why a request was refused, 300 to 699.
    pub(super) fn error_code(&self) -> Option<u16> {
        let value = self.attribute(ERROR_CODE)?;
        Some(u16::from(value.get(2)? & 0b111) * 100 + u16::from(*value.get(3)?))
    }

    /// What the next request is to be signed with.
    pub(super) fn nonce(&self) -> Option<&'a [u8]> {
        self.attribute(NONCE)
    }

    /// Gives an allocation back: a lifetime of nothing.
    pub(super) fn is_release(&self) -> bool {
        self.attribute(LIFETIME) == Some(&[0; 4])
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message with the transaction 1, 1, ...
    pub(in crate::rtc) fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, value) in attributes {
            body.extend(name.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = kind.to_be_bytes().to_vec();
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(COOKIE);
        message.extend([1; 12]);
        message.extend(body);
        message
    }

    #[test]
    fn attributes_are_found_behind_others_of_any_length() {
        let text = message(
            ALLOCATE,
            &[
                (0x8022, b"software"),
                (USERNAME, b"room1"),
                (LIFETIME, &[0; 4]),
            ],
        );
        let stun = Stun::read(&text).unwrap();
        assert_eq!((stun.kind, stun.transaction), (ALLOCATE, [1; 12]));
        assert!(stun.is_request() && stun.has_user() && stun.is_release());
        let text = message(
            ALLOCATE | ERROR,
            &[(ERROR_CODE, b"\0\0\x04\x01Unauthorized")],
        );
        let stun = Stun::read(&text).unwrap();
        assert_eq!(stun.error_code(), Some(401));
        assert!(!stun.is_request() && !stun.has_user() && !stun.is_release());
    }

    #[test]
    fn lengths_that_lie_give_nothing() {
        let mut text = message(ALLOCATE, &[(USERNAME, b"room1")]);
        text[23] = 200;
        assert!(!Stun::read(&text).unwrap().has_user());
        text[3] = 200;
        assert!(Stun::read(&text).is_none());
        assert!(Stun::read(&text[..19]).is_none());
        assert!(Stun::read(&message(0x4001, &[])).is_none(), "ChannelData");
        let short = message(ALLOCATE | ERROR, &[(ERROR_CODE, b"\0\0\x04")]);
        assert_eq!(Stun::read(&short).unwrap().error_code(), None);
    }
}
