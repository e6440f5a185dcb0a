//! Where a message ends on a stream, and what differs between a datagram and a stream (RFC 8656 sections 12.4, 12.5).

use bytes::{Buf, Bytes, BytesMut};

use crate::rtc::stun;

/// Channel number and length of ChannelData.
const CHANNEL_HEADER: usize = 4;
/// ChannelData is padded to a multiple of this on a stream.
const ALIGNMENT: usize = 4;

/// The other side does not speak TURN, or the place in the stream is lost. There is no way back but a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what comes is not TURN")]
pub(super) struct NotTurn;

/// Length of the first message of `stream` and how much of the stream it takes, both in bytes; `None` while its header
/// is not complete.
fn first(stream: &[u8]) -> Result<Option<(usize, usize)>, NotTurn> {
    let Some((header, rest)) = stream.split_first_chunk::<CHANNEL_HEADER>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    match header[0] >> 6 {
        // A STUN message frames itself; its cookie tells it from anything else (RFC 8489 section 5).
        0b00 => {
            let cookie = &rest[..rest.len().min(stun::COOKIE.len())];
            if length % ALIGNMENT != 0 || !stun::COOKIE.starts_with(cookie) {
                return Err(NotTurn);
            }
            let whole = stun::HEADER + length;
            Ok(Some((whole, whole)))
        }
        0b01 => {
            let whole = CHANNEL_HEADER + length;
            Ok(Some((whole, whole.next_multiple_of(ALIGNMENT))))
        }
        _ => Err(NotTurn),
    }
}

/// Takes a stream apart into messages as they look in datagrams. Holds one incomplete message (at most 64 KiB) and what
/// was read behind it.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    stream: BytesMut,
}

impl Splitter {
    /// Where what is read from the stream is appended.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.stream
    }

    /// The next complete message.
    pub(super) fn message(&mut self) -> Result<Option<Bytes>, NotTurn> {
        let Some((length, taken)) = first(&self.stream)? else {
            return Ok(None);
        };
        if self.stream.len() < taken {
            return Ok(None);
        }
        let message = self.stream.split_to(length).freeze();
        self.stream.advance(taken - length);
        Ok(Some(message))
    }
}

/// Appends the message of a datagram to a stream; `false` if there is none in it. A datagram may carry padding already,
/// and carries one message (RFC 8656 section 12.5).
pub(super) fn append(stream: &mut Vec<u8>, datagram: &[u8]) -> bool {
    let Ok(Some((length, taken))) = first(datagram) else {
        return false;
    };
    let Some(message) = datagram.get(..length) else {
        return false;
    };
    stream.extend_from_slice(message);
    stream.resize(stream.len() + taken - length, 0);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stun_message(body: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 0x03];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(stun::COOKIE);
        message.extend([7; 12]);
        message.extend(body);
        message
    }

    fn channel_data(body: &[u8]) -> Vec<u8> {
        let mut message = vec![0x40, 0x01];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        message
    }

    fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let body = proptest::collection::vec(any::<u8>(), 0..200);
        let message = (any::<bool>(), body).prop_map(|(channel, mut body)| {
            if channel {
                return channel_data(&body);
            }
            body.truncate(body.len() / 4 * 4);
            stun_message(&body)
        });
        proptest::collection::vec(message, 0..20)
    }

    fn all(splitter: &mut Splitter) -> Result<Vec<Vec<u8>>, NotTurn> {
        let mut found = Vec::new();
        while let Some(message) = splitter.message()? {
            found.push(message.to_vec());
        }
        Ok(found)
    }

    proptest! {
        #[test]
        fn any_chunking_of_a_stream_gives_the_same_messages(
            messages in messages(),
            cuts in proptest::collection::vec(1_usize..300, 1..40),
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                prop_assert!(append(&mut stream, message));
            }
            prop_assert_eq!(stream.len() % 4, 0);
            let mut splitter = Splitter::default();
            let mut found = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, tail) = rest.split_at(rest.len().min(*cut));
                splitter.buffer().extend_from_slice(chunk);
                found.extend(all(&mut splitter).unwrap());
                rest = tail;
            }
            prop_assert_eq!(found, messages);
            prop_assert!(splitter.stream.is_empty());
        }

        #[test]
        fn noise_never_panics_nor_gives_more_than_came(noise in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let mut splitter = Splitter::default();
            splitter.buffer().extend_from_slice(&noise);
            let mut given = 0;
            while let Ok(Some(message)) = splitter.message() {
                given += message.len();
            }
            prop_assert!(given <= noise.len());
            let mut stream = Vec::new();
            append(&mut stream, &noise);
            prop_assert!(stream.len() <= noise.len() + 3);
        }
    }

    #[test]
    fn padding_is_added_on_the_stream_and_removed_from_it() {
        let mut stream = Vec::new();
        assert!(append(&mut stream, &channel_data(b"12345")));
        assert_eq!(stream, [&channel_data(b"12345")[..], &[0; 3]].concat());
        // What the library sends is padded already.
        let mut again = Vec::new();
        assert!(append(&mut again, &stream));
        assert_eq!(again, stream);
        let mut splitter = Splitter::default();
        splitter
            .buffer()
            .extend_from_slice(&stream[..stream.len() - 1]);
        assert_eq!(splitter.message(), Ok(None), "the padding is not there yet");
        splitter
            .buffer()
            .extend_from_slice(&stream[stream.len() - 1..]);
        assert_eq!(splitter.message().unwrap().unwrap(), channel_data(b"12345"));
    }

    #[test]
    fn the_longest_messages_pass_and_hold_no_more_than_themselves() {
        for message in [channel_data(&[1; 65_535]), stun_message(&[1; 65_532])] {
            let mut stream = Vec::new();
            assert!(append(&mut stream, &message));
            let mut splitter = Splitter::default();
            for chunk in stream.chunks(1000) {
                assert_eq!(splitter.message(), Ok(None));
                splitter.buffer().extend_from_slice(chunk);
            }
            assert_eq!(splitter.message().unwrap().unwrap(), message);
        }
    }

    #[test]
    fn what_is_not_turn_is_refused_at_its_first_bytes() {
        for wrong in [
            &b"HTTP/1.1 400"[..],
            b"\x80\0\0\0",
            b"\xff\xff\xff\xff",
            // A length that no STUN message has, another cookie.
            b"\x01\x03\0\x01\x21\x12\xa4\x42",
            b"\x01\x03\0\x04\x21\x12\xa4\x43",
            b"\x01\x03\0\x04\x22",
        ] {
            let mut splitter = Splitter::default();
            splitter.buffer().extend_from_slice(wrong);
            let found = splitter.message();
            // "HTTP" begins like ChannelData of 21584 bytes: told by no one before those came.
            match wrong.starts_with(b"HTTP") {
                true => assert_eq!(found, Ok(None)),
                false => assert_eq!(found, Err(NotTurn), "{wrong:?}"),
            }
        }
        for cut in [
            &b""[..],
            b"\x40",
            b"\x40\x01\0\x05abc",
            b"\0\x03\0\x08\x21\x12\xa4\x42",
        ] {
            let mut stream = Vec::new();
            assert!(!append(&mut stream, cut), "{cut:?}");
            assert!(stream.is_empty());
        }
    }
}
