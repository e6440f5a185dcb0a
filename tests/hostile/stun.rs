//! STUN messages (RFC 8489) with the attributes of ICE (RFC 8445), right and wrong.

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

pub(crate) const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
pub(crate) const REQUEST: u16 = 0x0001;
pub(crate) const INDICATION: u16 = 0x0011;
pub(crate) const SUCCESS: u16 = 0x0101;
pub(crate) const FAILURE: u16 = 0x0111;

pub(crate) const USERNAME: u16 = 0x0006;
pub(crate) const ERROR_CODE: u16 = 0x0009;
pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
pub(crate) const PRIORITY: u16 = 0x0024;
pub(crate) const USE_CANDIDATE: u16 = 0x0025;
pub(crate) const ICE_CONTROLLED: u16 = 0x8029;
pub(crate) const ICE_CONTROLLING: u16 = 0x802a;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const FINGERPRINT: u16 = 0x8028;

pub(crate) type Attribute = (u16, Vec<u8>);

fn head(kind: u16, length: usize, id: &[u8; 12]) -> Vec<u8> {
    let mut head = kind.to_be_bytes().to_vec();
    head.extend((length as u16).to_be_bytes());
    head.extend(MAGIC);
    head.extend(id);
    head
}

fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(kind.to_be_bytes());
    body.extend((value.len() as u16).to_be_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A message with MESSAGE-INTEGRITY under `key`, if one is given, and FINGERPRINT.
pub(crate) fn message(
    kind: u16,
    id: &[u8; 12],
    attributes: &[Attribute],
    key: Option<&[u8]>,
) -> Vec<u8> {
    let mut body = Vec::new();
    for (attribute, value) in attributes {
        put(&mut body, *attribute, value);
    }
    if let Some(key) = key {
        let mut signed = head(kind, body.len() + 24, id);
        signed.extend(&body);
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        put(
            &mut body,
            MESSAGE_INTEGRITY,
            hmac::sign(&key, &signed).as_ref(),
        );
    }
    let mut whole = head(kind, body.len() + 8, id);
    whole.extend(&body);
    let sum = crc32(&whole) ^ 0x5354_554e;
    put(&mut whole, FINGERPRINT, &sum.to_be_bytes());
    whole
}

/// The reflected CRC-32 of FINGERPRINT (ITU V.42).
fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

/// The type and the transaction of a datagram that looks like STUN.
pub(crate) fn read(datagram: &[u8]) -> Option<(u16, [u8; 12])> {
    if datagram.len() < 20 || datagram[0] > 3 || datagram[4..8] != MAGIC {
        return None;
    }
    let kind = u16::from_be_bytes([datagram[0], datagram[1]]);
    Some((kind, datagram[8..20].try_into().ok()?))
}

/// Whether a message carries an attribute.
pub(crate) fn carries(datagram: &[u8], wanted: u16) -> bool {
    let mut rest = datagram.get(20..).unwrap_or_default();
    while let [a, b, c, d, ..] = *rest {
        if u16::from_be_bytes([a, b]) == wanted {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([c, d])).next_multiple_of(4);
        rest = rest.get(4 + length..).unwrap_or_default();
    }
    false
}

/// The value of XOR-MAPPED-ADDRESS for an address (RFC 8489 section 14.2).
pub(crate) fn xor_address(address: SocketAddr, id: &[u8; 12]) -> Vec<u8> {
    let mut value = vec![
        0,
        match address {
            SocketAddr::V4(_) => 1,
            SocketAddr::V6(_) => 2,
        },
    ];
    value.extend((address.port() ^ 0x2112).to_be_bytes());
    let mask = MAGIC.iter().chain(id);
    match address.ip() {
        IpAddr::V4(ip) => value.extend(ip.octets().iter().zip(mask).map(|(a, b)| a ^ b)),
        IpAddr::V6(ip) => value.extend(ip.octets().iter().zip(mask).map(|(a, b)| a ^ b)),
    }
    value
}

/// The answer that a peer owes to a check.
pub(crate) fn answer(id: &[u8; 12], source: SocketAddr, password: &str) -> Vec<u8> {
    let mapped = (XOR_MAPPED_ADDRESS, xor_address(source, id));
    message(SUCCESS, id, &[mapped], Some(password.as_bytes()))
}
