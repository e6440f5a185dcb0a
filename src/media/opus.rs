//! Our sound as Opus (RFC 6716, RFC 7587): 48 kHz, mono, 20 ms packets with in-band FEC.

use ::opus::{Application, Bitrate, Channels, Encoder};
use bytes::Bytes;

use super::error::EncodeError;
use crate::config::AudioEncoding;
use crate::devices::{PERIOD, SAMPLE_RATE};

/// Samples in one packet: two device periods, 20 ms.
pub const PACKET: usize = 2 * PERIOD;
/// Largest packet we ever send: it must fit one datagram.
const MAX_PACKET: usize = 1200;
/// The loss that in-band FEC is dimensioned for, percent.
const EXPECTED_LOSS: i32 = 10;

/// What is sent while the microphone is closed: a CELT fullband frame of 20 ms that has nothing but the
/// silence flag (RFC 6716, 4.3).
///
/// A constant, because an encoder fed with zeros is not silent enough: in SILK and hybrid mode, which
/// `Voip` chooses for speech, the decoder's excitation noise leaves samples of +-1 for ever. This frame
/// decodes to exact zeros from its second repetition on, with FEC and concealment too (the first lets
/// the decoder's overlap ring out), and nothing that was captured can be in it.
pub const SILENCE: &[u8] = &[0xF8, 0xFF, 0xFE];

/// The one encoder of the microphone.
#[derive(Debug)]
pub struct AudioEncoder {
    encoder: Encoder,
    buffer: Vec<u8>,
}

impl AudioEncoder {
    /// An encoder with a variable bitrate around the configured one. No DTX: a stream without gaps is
    /// what jitter buffers and lip-sync like best, and silence costs little.
    ///
    /// # Errors
    /// Whatever libopus refuses.
    pub fn new(encoding: &AudioEncoding) -> Result<Self, EncodeError> {
        let configured = || -> Result<Encoder, ::opus::Error> {
            let mut encoder = Encoder::new(SAMPLE_RATE, Channels::Mono, Application::Voip)?;
            encoder.set_vbr(true)?;
            encoder.set_inband_fec(true)?;
            encoder.set_packet_loss_perc(EXPECTED_LOSS)?;
            encoder.set_dtx(false)?;
            Ok(encoder)
        };
        let mut encoder = Self {
            encoder: configured().map_err(|source| EncodeError::Audio {
                attempt: "setting it up",
                source,
            })?,
            buffer: vec![0; MAX_PACKET],
        };
        encoder.set_bitrate(encoding)?;
        Ok(encoder)
    }

    /// Goes on with this bitrate.
    ///
    /// # Errors
    /// Whatever libopus refuses.
    pub fn set_bitrate(&mut self, encoding: &AudioEncoding) -> Result<(), EncodeError> {
        let bitrate = i32::try_from(encoding.bitrate.0).unwrap_or(i32::MAX);
        self.encoder
            .set_bitrate(Bitrate::Bits(bitrate))
            .map_err(|source| EncodeError::Audio {
                attempt: "changing its bitrate",
                source,
            })
    }

    /// Encodes 20 ms.
    ///
    /// # Errors
    /// Whatever libopus refuses.
    pub fn encode(&mut self, samples: &[i16; PACKET]) -> Result<Bytes, EncodeError> {
        let length = self
            .encoder
            .encode(samples, &mut self.buffer)
            .map_err(|source| EncodeError::Audio {
                attempt: "encoding a packet",
                source,
            })?;
        Ok(Bytes::copy_from_slice(&self.buffer[..length]))
    }

    /// Forgets everything that was encoded: prediction, and the copy of the last frame that FEC would
    /// send again.
    ///
    /// # Errors
    /// Whatever libopus refuses.
    pub fn reset(&mut self) -> Result<(), EncodeError> {
        self.encoder
            .reset_state()
            .map_err(|source| EncodeError::Audio {
                attempt: "resetting it",
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room;

    fn encoder(bitrate: u32) -> AudioEncoder {
        AudioEncoder::new(&AudioEncoding {
            bitrate: room::Bitrate(bitrate),
        })
        .expect("libopus takes every configurable bitrate")
    }

    fn chord(packet: usize) -> [i16; PACKET] {
        std::array::from_fn(|index| {
            let n = packet * PACKET + index;
            let t = n as f64 / f64::from(SAMPLE_RATE);
            let hiss = (n * 7919 % 1000) as f64;
            let sine = |hz: f64| (t * std::f64::consts::TAU * hz).sin();
            // In syllables, ending with a loud one: FEC protects what sounds like speech.
            let gain = if n / 4800 % 2 == 1 { 1.0 } else { 0.02 };
            (gain * (sine(220.0) * 9000.0 + sine(660.0) * 5000.0 + hiss)) as i16
        })
    }

    fn peak(samples: &[i16]) -> u16 {
        samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0)
    }

    #[test]
    fn every_configurable_bitrate_encodes_to_one_datagram() {
        for bitrate in [6_000, 32_000, 128_000] {
            let mut encoder = encoder(bitrate);
            let total: usize = (0..50)
                .map(|packet| encoder.encode(&chord(packet)).unwrap().len())
                .sum();
            println!("{bitrate} bit/s asked, {} bit/s sent", total * 8);
            assert!(total * 8 < bitrate as usize * 2);
        }
    }

    #[test]
    fn silence_decodes_to_zeros_from_the_second_packet_on_with_fec_and_concealment_too() {
        for bitrate in [6_000, 16_000, 32_000, 64_000, 128_000] {
            let mut encoder = encoder(bitrate);
            let mut decoder = ::opus::Decoder::new(SAMPLE_RATE, Channels::Mono).unwrap();
            let mut heard = [0; PACKET];
            for packet in 0..50 {
                let packet = encoder.encode(&chord(packet)).unwrap();
                decoder.decode(&packet, &mut heard, false).unwrap();
            }
            assert!(peak(&heard) > 5000);
            decoder.decode(SILENCE, &mut heard, false).unwrap();
            for round in 0..20 {
                // A packet that came, one that FEC rebuilds from its successor, one concealed.
                let (data, fec) = match round % 4 {
                    1 => (SILENCE, true),
                    3 => (&[][..], false),
                    _ => (SILENCE, false),
                };
                let samples = decoder.decode(data, &mut heard, fec).unwrap();
                assert_eq!(samples, PACKET);
                assert_eq!(heard, [0; PACKET], "{bitrate} bit/s, round {round}");
            }
        }
    }

    #[test]
    fn zeros_through_the_encoder_would_not_be_silent() {
        // Why `SILENCE` is a constant. If this fails, libopus has changed and the constant may go.
        let mut encoder = encoder(32_000);
        let mut decoder = ::opus::Decoder::new(SAMPLE_RATE, Channels::Mono).unwrap();
        let mut heard = [0; PACKET];
        for packet in 0..50 {
            let packet = encoder.encode(&chord(packet)).unwrap();
            decoder.decode(&packet, &mut heard, false).unwrap();
        }
        encoder.reset().unwrap();
        for _ in 0..10 {
            let packet = encoder.encode(&[0; PACKET]).unwrap();
            decoder.decode(&packet, &mut heard, false).unwrap();
        }
        assert_ne!(peak(&heard), 0);
    }

    /// What FEC rebuilds of the packet before a quiet one, in a decoder that knows nothing else.
    fn rebuilt_before_quiet(reset: bool) -> u16 {
        let mut encoder = encoder(32_000);
        for packet in 0..50 {
            encoder.encode(&chord(packet)).unwrap();
        }
        if reset {
            encoder.reset().unwrap();
        }
        let quiet = encoder.encode(&[0; PACKET]).unwrap();
        let mut decoder = ::opus::Decoder::new(SAMPLE_RATE, Channels::Mono).unwrap();
        let mut heard = [0; PACKET];
        decoder.decode(&quiet, &mut heard, true).unwrap();
        peak(&heard)
    }

    #[test]
    fn after_a_reset_fec_does_not_repeat_what_was_said_before() {
        let (with, without) = (rebuilt_before_quiet(true), rebuilt_before_quiet(false));
        println!("peak of what FEC rebuilds: {with} after a reset, {without} without one");
        assert!(without > 3000, "{without}");
        assert!(with < 300, "{with}");
    }
}
