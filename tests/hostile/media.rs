//! Hostile RTP (RFC 3550) and RTCP feedback (RFC 4585, RFC 5104), in clear; the caller encrypts.

use std::collections::BTreeMap;

use crate::random::Random;

/// What an attacker knows of the streams on a connection.
pub(crate) struct View<'a> {
    pub(crate) audio: u32,
    pub(crate) video: u32,
    /// The box's streams and their newest sequence numbers.
    pub(crate) newest: &'a BTreeMap<u32, u16>,
}

/// One RTCP packet: count or format, type, words after the header.
fn control(count: u8, kind: u8, sender: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80 | (count & 31), kind];
    let words = (4 + body.len()).div_ceil(4) as u16;
    packet.extend(words.to_be_bytes());
    packet.extend(sender.to_be_bytes());
    packet.extend(body);
    packet.resize(packet.len().next_multiple_of(4), 0);
    packet
}

/// A hostile RTCP packet and what it is.
pub(crate) fn rtcp(random: &mut Random, view: &View<'_>) -> (&'static str, Vec<u8>) {
    let streams: Vec<(u32, u16)> = view.newest.iter().map(|(a, b)| (*a, *b)).collect();
    let (stream, newest) = if streams.is_empty() || random.chance(10) {
        (random.u32(), random.u16())
    } else {
        *random.pick(&streams)
    };
    let about = stream.to_be_bytes();
    let sender = *random.pick(&[view.audio, view.video, view.video]);
    match random.below(12) {
        0..=3 => {
            // Alternating over the recent past, so that no single number repeats at once.
            let mut body = about.to_vec();
            let first = newest.wrapping_sub(1 + random.u16() % 400);
            for step in 0..(1 + random.below(250) as u16) {
                let number = if random.chance(90) {
                    first.wrapping_add(step * 17)
                } else {
                    random.u16()
                };
                body.extend(number.to_be_bytes());
                body.extend(0xffff_u16.to_be_bytes());
            }
            ("NACK", control(1, 205, sender, &body))
        }
        4 | 5 => ("PLI", control(1, 206, sender, &about)),
        6 => {
            let mut body = vec![0, 0, 0, 0];
            for _ in 0..=random.below(20) {
                body.extend(about);
                body.extend([random.u8(), 0, 0, 0]);
            }
            ("FIR", control(4, 206, sender, &body))
        }
        7 => {
            let mut body = vec![0, 0, 0, 0];
            body.extend(b"REMB");
            // Exponent of 6 bits, mantissa of 18: nothing, 2^63 and more than that.
            let rate: [u8; 3] = *random.pick(&[[0, 0, 0], [0xba, 0, 0], [0xff, 0xff, 0xff]]);
            body.push(1);
            body.extend(rate);
            body.extend(about);
            ("REMB", control(15, 206, sender, &body))
        }
        8 => {
            let mut body = about.to_vec();
            body.extend(random.u32().to_be_bytes());
            ("BYE of others", control(1, 203, stream, &body))
        }
        9 => {
            let mut body = random.bytes(20);
            for _ in 0..random.below(31) {
                body.extend(random.bytes(24));
            }
            ("SR", control(random.u8(), 200, sender, &body))
        }
        10 => {
            let mut body = about.to_vec();
            let length = 8 + random.below(200);
            body.extend(random.bytes(length));
            ("feedback noise", control(random.u8(), 205, sender, &body))
        }
        _ => {
            let length = 4 + random.below(300);
            let kind = 192 + random.u8() % 32;
            let body = random.bytes(length);
            let mut packet = control(random.u8(), kind, sender, &body);
            // A length that is not the packet's.
            packet[2..4].copy_from_slice(&random.u16().to_be_bytes());
            ("RTCP noise", packet)
        }
    }
}

/// An RTP packet of any header.
pub(crate) fn rtp(kind: u8, number: u16, time: u32, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, kind];
    packet.extend(number.to_be_bytes());
    packet.extend(time.to_be_bytes());
    packet.extend(stream.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A hostile RTP packet and what it is.
pub(crate) fn media(random: &mut Random, view: &View<'_>) -> (&'static str, Vec<u8>) {
    let (number, time) = (random.u16(), random.u32());
    match random.below(9) {
        0 => {
            let payload = random.bytes(100);
            let kind = random.u8() & 0x7f;
            (
                "unknown payload type",
                rtp(kind, number, time, view.video, &payload),
            )
        }
        1 => {
            let payload = random.bytes(60);
            ("jump", rtp(111, number, time, view.audio, &payload))
        }
        2 => {
            // Lengths inside an aggregate that reach beyond its end.
            let mut payload = vec![0x78, 0, 4, 0x67, 1, 2, 3];
            payload.extend(random.u16().to_be_bytes());
            payload.extend(random.bytes(20));
            ("cut STAP-A", rtp(102, number, time, view.video, &payload))
        }
        3 => {
            let mut payload = vec![0x7c, *random.pick(&[0x05, 0x85, 0x45, 0xc5])];
            let length = random.below(1100);
            payload.extend(random.bytes(length));
            ("cut FU-A", rtp(102, number, time, view.video, &payload))
        }
        4 => {
            // Parameter sets of noise: sizes that no decoder should allocate.
            let mut payload = vec![0x67, 0x42, 0xe0, 0x1f];
            payload.extend(random.bytes(40));
            (
                "false SPS",
                rtp(102 | 0x80, number, time, view.video, &payload),
            )
        }
        5 => {
            let payload = random.bytes(1150);
            ("giant Opus", rtp(111, number, time, view.audio, &payload))
        }
        6 => {
            let payload = random.bytes(40);
            ("new stream", rtp(102, number, time, random.u32(), &payload))
        }
        7 => {
            let mut packet = rtp(102, number, time, view.video, &random.bytes(30));
            // Padding, an extension and fifteen sources that are not there.
            packet[0] = random.u8() | 0x80;
            ("broken header", packet)
        }
        _ => {
            let mut payload = vec![0x65];
            payload.extend(random.bytes(900));
            (
                "false IDR",
                rtp(102 | 0x80, number, time, view.video, &payload),
            )
        }
    }
}
