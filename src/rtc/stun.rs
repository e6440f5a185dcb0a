//! What we must understand of the library's STUN messages that pass (RFC 8489 section 5, RFC 8656 section 18).

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

/// Bytes before the attributes.
pub(super) const HEADER: usize = 20;
/// In every message since RFC 5389.
pub(super) const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Type of a request of a connectivity check (RFC 8445) or to a STUN server.
pub(super) const BINDING: u16 = 0x0001;
/// Type of an indication that keeps a path alive.
pub(super) const BINDING_INDICATION: u16 = 0x0011;
/// Type of an indication that carries a datagram to a peer behind a relay.
pub(super) const SEND_INDICATION: u16 = 0x0016;
/// Type of an indication that carries a datagram from a peer behind a relay.
pub(super) const DATA_INDICATION: u16 = 0x0017;
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
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const DATA: u16 = 0x0013;
const LIFETIME: u16 = 0x000d;
const NONCE: u16 = 0x0015;

/// Bytes of an HMAC-SHA1.
const TAG: usize = 20;

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

    /// Who signs, as `receiver's fragment:sender's fragment` in a connectivity check (RFC 8445 section 7.2.2).
    pub(super) fn username(&self) -> Option<&'a [u8]> {
        self.attribute(USERNAME)
    }

    /// The number of a channel (RFC 8656 section 18.1).
    pub(super) fn channel(&self) -> Option<u16> {
        let value = self.attribute(CHANNEL_NUMBER)?.first_chunk::<2>()?;
        Some(u16::from_be_bytes(*value))
    }

    /// The peer behind a relay (RFC 8656 section 18.3).
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        let (head, address) = self.attribute(XOR_PEER_ADDRESS)?.split_first_chunk::<4>()?;
        let port = u16::from_be_bytes([head[2] ^ COOKIE[0], head[3] ^ COOKIE[1]]);
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&COOKIE);
        mask[4..].copy_from_slice(&self.transaction);
        let ip = match head[1] {
            1 => IpAddr::from(unmasked::<4>(address, &mask)?),
            2 => IpAddr::from(unmasked::<16>(address, &mask)?),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// The datagram that an indication carries.
    pub(super) fn data(&self) -> Option<&'a [u8]> {
        self.attribute(DATA)
    }

    /// Whether `message`, of which this was read, is signed with the short-term `password` (RFC 8489 section 14.5).
    pub(super) fn is_signed_with(&self, message: &[u8], password: &[u8]) -> bool {
        let Some(tag) = self.attribute(MESSAGE_INTEGRITY) else {
            return false;
        };
        // The tag lies inside of the message, which is signed up to its attribute.
        let Some(end) = (tag.as_ptr() as usize)
            .checked_sub(message.as_ptr() as usize + 4)
            .filter(|_| tag.len() == TAG)
        else {
            return false;
        };
        let (Some(signed), Ok(length)) =
            (message.get(4..end), u16::try_from(end + 4 + TAG - HEADER))
        else {
            return false;
        };
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
        let mut context = hmac::Context::with_key(&key);
        context.update(&self.kind.to_be_bytes());
        // The length counts as if the message ended with the tag.
        context.update(&length.to_be_bytes());
        context.update(signed);
        let computed = context.sign();
        let pairs = computed.as_ref().iter().zip(tag);
        pairs.fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
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

fn unmasked<const N: usize>(address: &[u8], mask: &[u8; 16]) -> Option<[u8; N]> {
    let mut bytes = *address.first_chunk::<N>()?;
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `message` with a signature of `password` behind it.
    pub(in crate::rtc) fn signed(mut message: Vec<u8>, password: &[u8]) -> Vec<u8> {
        let length = message.len() + 4 + TAG - HEADER;
        message[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
        let tag = hmac::sign(&key, &message);
        message.extend(MESSAGE_INTEGRITY.to_be_bytes());
        message.extend((TAG as u16).to_be_bytes());
        message.extend(tag.as_ref());
        message
    }

    #[test]
    fn the_request_of_rfc_5769_is_signed_with_its_password_alone() {
        // RFC 5769 section 2.1, a FINGERPRINT behind the signature included.
        const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420\
            636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a683676592020200008\
            00149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
        let message: Vec<u8> = (0..REQUEST.len() / 2)
            .map(|at| u8::from_str_radix(&REQUEST[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let stun = Stun::read(&message).unwrap();
        assert_eq!(
            (stun.kind, stun.username()),
            (BINDING, Some(&b"evtj:h6vY"[..]))
        );
        assert!(stun.is_signed_with(&message, b"VOkJxbRl1RmTxUk/WvJxBt"));
        assert!(!stun.is_signed_with(&message, b"VOkJxbRl1RmTxUk/WvJxBu"));
        let mut other = message.clone();
        other[40] ^= 1;
        let stun = Stun::read(&other).unwrap();
        assert!(!stun.is_signed_with(&other, b"VOkJxbRl1RmTxUk/WvJxBt"));
    }

    #[test]
    fn a_peer_behind_a_relay_is_read_in_both_families() {
        // 192.0.2.1:32853, as in RFC 5769 section 2.2.
        let v4 = [0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        let text = message(
            DATA_INDICATION,
            &[(XOR_PEER_ADDRESS, &v4), (DATA, b"hello")],
        );
        let stun = Stun::read(&text).unwrap();
        assert_eq!(stun.peer(), Some("192.0.2.1:32853".parse().unwrap()));
        assert_eq!(stun.data(), Some(&b"hello"[..]));
        let mut v6 = vec![0, 2, 0xa1, 0x47];
        v6.extend(COOKIE);
        v6.extend([1; 11]);
        v6.push(1 ^ 7);
        let text = message(DATA_INDICATION, &[(XOR_PEER_ADDRESS, &v6)]);
        let peer = Stun::read(&text).unwrap().peer();
        assert_eq!(peer, Some("[::7]:32853".parse().unwrap()));
        let text = message(DATA_INDICATION, &[(XOR_PEER_ADDRESS, &v6[..19])]);
        assert_eq!(Stun::read(&text).unwrap().peer(), None);
    }

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
