//! Hostile datagrams below SRTP: STUN (RFC 8489) and DTLS records (RFC 6347 sections 4.1 and 4.2).

use std::net::SocketAddr;

use crate::path::Path;
use crate::random::Random;
use crate::stun;

/// A record with any header.
fn record(kind: u8, epoch: u16, number: u64, claimed: usize, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xfe, 0xfd];
    record.extend(epoch.to_be_bytes());
    record.extend(&number.to_be_bytes()[2..]);
    record.extend((claimed as u16).to_be_bytes());
    record.extend(body);
    record
}

/// A handshake fragment with any lengths.
fn fragment(kind: u8, length: u32, sequence: u16, offset: u32, body: &[u8]) -> Vec<u8> {
    let mut fragment = vec![kind];
    fragment.extend(&length.to_be_bytes()[1..]);
    fragment.extend(sequence.to_be_bytes());
    fragment.extend(&offset.to_be_bytes()[1..]);
    fragment.extend(&(body.len() as u32).to_be_bytes()[1..]);
    fragment.extend(body);
    fragment
}

/// The body of a ClientHello that offers one suite and SRTP.
fn client_hello(random: &mut Random) -> Vec<u8> {
    let mut hello = vec![0xfe, 0xfd];
    hello.extend(random.bytes(32));
    // No session, no cookie, one suite, no compression.
    hello.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let extensions = [
        0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3, 0, 14, 0, 5, 0, 2, 0,
        1, 0,
    ];
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    hello
}

/// A hostile DTLS datagram and what it is. `replay` are records that the box sent.
pub(crate) fn dtls(random: &mut Random, replay: &[Vec<u8>]) -> (&'static str, Vec<u8>) {
    let number = random.next() >> random.below(64);
    match random.below(10) {
        0 => {
            let body = fragment(
                1,
                client_hello(random).len() as u32,
                0,
                0,
                &client_hello(random),
            );
            ("client hello", record(22, 0, number, body.len(), &body))
        }
        1 | 2 => {
            let body = random.bytes(1100);
            let kind = *random.pick(&[1, 2, 11, 12, 14, 16, 20, 99]);
            let offset = random.u32() & 0x00ff_ffff;
            let body = fragment(kind, 0x00ff_ffff, random.u16(), offset, &body);
            ("huge fragment", record(22, 0, number, body.len(), &body))
        }
        3 | 4 => {
            let body = random.bytes(1150);
            let kind = *random.pick(&[22, 23, 21, 20]);
            ("future epoch", record(kind, 1, number, body.len(), &body))
        }
        5 => {
            let body = [
                *random.pick(&[1, 2]),
                *random.pick(&[0, 10, 40, 47, 80, 100]),
            ];
            ("alert", record(21, 0, number, 2, &body))
        }
        6 => ("change of cipher", record(20, 0, number, 1, &[1])),
        7 => {
            let claimed = random.below(65_536);
            (
                "wrong length",
                record(22, 0, number, claimed, &random.bytes(40)),
            )
        }
        8 => {
            let many = (0..60)
                .flat_map(|_| record(*random.pick(&[20, 24, 63]), 0, random.next(), 2, &[1, 1]));
            ("many records", many.collect())
        }
        _ if !replay.is_empty() => ("replay", random.pick(replay).clone()),
        _ => {
            let length = 1 + random.below(1200);
            let mut noise = random.bytes(length);
            noise[0] = 20 + random.u8() % 44;
            ("noise", noise)
        }
    }
}

/// A hostile STUN message of somebody who knows the passwords, and what it is.
pub(crate) fn member_stun(random: &mut Random, path: &Path) -> (&'static str, Vec<u8>) {
    let id = random.array();
    let key = Some(path.theirs.password.as_bytes());
    let own_key = Some(path.own.password.as_bytes());
    match random.below(8) {
        0 | 1 => {
            let check = path.attributes(path.controlling, true);
            ("nomination", stun::message(stun::REQUEST, &id, &check, key))
        }
        2 => {
            let check = path.attributes(!path.controlling, random.chance(50));
            (
                "role conflict",
                stun::message(stun::REQUEST, &id, &check, key),
            )
        }
        3 => {
            let (class, code) = *random.pick(&[(4, 87), (4, 0), (4, 1), (4, 38), (5, 0), (7, 99)]);
            let error = (stun::ERROR_CODE, vec![0, 0, class, code]);
            (
                "error response",
                stun::message(stun::FAILURE, &id, &[error], own_key),
            )
        }
        4 => {
            let lie = SocketAddr::from((random.array::<4>(), random.u16()));
            let mapped = (stun::XOR_MAPPED_ADDRESS, stun::xor_address(lie, &id));
            (
                "false success",
                stun::message(stun::SUCCESS, &id, &[mapped], own_key),
            )
        }
        5 => (
            "indication",
            stun::message(stun::INDICATION, &id, &[], None),
        ),
        _ => stranger_stun(random),
    }
}

/// A hostile STUN message of somebody who knows nothing, and what it is.
pub(crate) fn stranger_stun(random: &mut Random) -> (&'static str, Vec<u8>) {
    let id = random.array();
    let name = format!("{}:{}", random.word(4), random.word(4));
    let mut attributes = vec![
        (stun::USERNAME, name.into_bytes()),
        (stun::PRIORITY, random.bytes(4)),
        (stun::ICE_CONTROLLING, random.bytes(8)),
        (stun::USE_CANDIDATE, Vec::new()),
    ];
    match random.below(4) {
        0 => {
            let key = random.bytes(24);
            (
                "wrong key",
                stun::message(stun::REQUEST, &id, &attributes, Some(&key)),
            )
        }
        1 => (
            "unsigned",
            stun::message(stun::REQUEST, &id, &attributes, None),
        ),
        2 => {
            attributes.push((random.u16(), random.bytes(1000)));
            let mut message = stun::message(stun::REQUEST, &id, &attributes, None);
            let at = random.below(message.len());
            message[at] = random.u8();
            ("broken", message)
        }
        _ => {
            let mut message = stun::message(stun::REQUEST, &id, &attributes, None);
            message.truncate(random.below(message.len()));
            ("cut", message)
        }
    }
}
