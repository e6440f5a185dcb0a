//! Opus to samples (RFC 6716), one decoder per peer. Mono: libopus mixes stereo packets down itself.

use opus::{Channels, Decoder, packet};

use crate::devices::SAMPLE_RATE;

/// The longest Opus packet, 120 ms, samples.
pub(crate) const LONGEST: usize = 5760;

/// Samples in an Opus packet at 48 kHz, 2.5 ms to 120 ms; `None` if it is none (RFC 6716 section 3.4).
pub(crate) fn duration(payload: &[u8]) -> Option<usize> {
    packet::parse(payload).ok()?;
    let samples = packet::get_nb_samples(payload, SAMPLE_RATE).ok()?;
    (120..=LONGEST).contains(&samples).then_some(samples)
}

/// The packet carries a copy of the one before it (LBRR, RFC 6716 section 4.2.4): in SILK and hybrid packets
/// the flag follows the voice activity flags of each 20 ms, uncoded in the first bits.
pub(crate) fn carries_fec(payload: &[u8]) -> bool {
    const FIRST_CELT_CONFIG: u8 = 16;
    let Ok(parsed) = packet::parse(payload) else {
        return false;
    };
    let (Some(first), Ok(per_frame)) = (
        parsed.frames.first().and_then(|frame| frame.first()),
        packet::get_samples_per_frame(payload, SAMPLE_RATE),
    ) else {
        return false;
    };
    if parsed.toc >> 3 >= FIRST_CELT_CONFIG {
        return false;
    }
    let activity_flags = (per_frame / 960).max(1);
    let mono_or_mid = first >> (7 - activity_flags) & 1 == 1;
    let stereo = parsed.toc & 0b100 != 0;
    mono_or_mid
        || (stereo && activity_flags < 4 && first >> (6 - 2 * activity_flags.min(3)) & 1 == 1)
}

/// A decoder that always delivers: what cannot be decoded is concealed and counted.
pub(crate) struct OpusDecoder {
    decoder: Decoder,
    samples: Box<[f32; LONGEST]>,
    errors: u64,
}

impl OpusDecoder {
    /// A decoder with no history.
    pub(crate) fn new() -> Self {
        Self {
            decoder: Decoder::new(SAMPLE_RATE, Channels::Mono)
                .expect("libopus supports 48 kHz mono and there is memory for its 20 KB"),
            samples: Box::new([0.0; LONGEST]),
            errors: 0,
        }
    }

    /// Packets that could not be decoded.
    pub(crate) fn errors(&self) -> u64 {
        self.errors
    }

    /// Decodes a packet of `samples` samples.
    pub(crate) fn decode(&mut self, payload: &[u8], samples: usize) -> &mut [f32] {
        self.run(payload, samples, false)
    }

    /// Decodes the copy of the lost packet that `next` may carry; concealed if there is none.
    pub(crate) fn recover(&mut self, next: &[u8], samples: usize) -> &mut [f32] {
        self.run(next, samples, true)
    }

    /// Continues what was heard last, fading (packet loss concealment). A multiple of 2.5 ms.
    pub(crate) fn conceal(&mut self, samples: usize) -> &mut [f32] {
        self.run(&[], samples, false)
    }

    fn run(&mut self, payload: &[u8], samples: usize, fec: bool) -> &mut [f32] {
        let samples = samples.min(LONGEST);
        let room = &mut self.samples[..samples];
        let mut decoded = self.decoder.decode_float(payload, room, fec);
        if decoded.is_err() && !payload.is_empty() {
            self.errors += 1;
            decoded = self.decoder.decode_float(&[], room, false);
        }
        let decoded = decoded.unwrap_or(0).min(samples);
        room[decoded..].fill(0.0);
        for sample in room.iter_mut() {
            // Random bytes can decode to anything.
            *sample = if sample.is_finite() {
                sample.clamp(-1.0, 1.0)
            } else {
                0.0
            };
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opus::{Application, Bitrate, Encoder, Signal};
    use proptest::prelude::*;

    /// Half a second of a buzz in syllables.
    fn speech(fec: bool) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(SAMPLE_RATE, Channels::Mono, Application::Voip).unwrap();
        encoder.set_bitrate(Bitrate::Bits(24_000)).unwrap();
        encoder.set_signal(Signal::Voice).unwrap();
        encoder.set_inband_fec(fec).unwrap();
        encoder.set_packet_loss_perc(20).unwrap();
        (0..25)
            .map(|number| {
                let sound: Vec<f32> = (number * 960..(number + 1) * 960)
                    .map(|n| {
                        let time = n as f32 / SAMPLE_RATE as f32;
                        let syllable = (time * 4.0 * std::f32::consts::PI).sin().abs();
                        0.4 * syllable * (2.0 * (time * 150.0).fract() - 1.0)
                    })
                    .collect();
                encoder.encode_vec_float(&sound, 1500).unwrap()
            })
            .collect()
    }

    #[test]
    fn packets_tell_whether_they_carry_fec() {
        let with = speech(true).iter().filter(|p| carries_fec(p)).count();
        assert!(with > 12, "{with} of 25");
        let without = speech(false).iter().filter(|p| carries_fec(p)).count();
        assert_eq!(without, 0);
    }

    #[test]
    fn a_recovered_packet_resembles_the_lost_one_more_than_concealment_does() {
        let packets = speech(true);
        let lost = (10..20).find(|n| carries_fec(&packets[n + 1])).unwrap();
        let run = |what: &dyn Fn(&mut OpusDecoder) -> Vec<f32>| {
            let mut decoder = OpusDecoder::new();
            for packet in &packets[..lost] {
                decoder.decode(packet, 960);
            }
            what(&mut decoder)
        };
        let original = run(&|decoder| decoder.decode(&packets[lost], 960).to_vec());
        let recovered = run(&|decoder| decoder.recover(&packets[lost + 1], 960).to_vec());
        let concealed = run(&|decoder| decoder.conceal(960).to_vec());
        let distance = |sound: &[f32]| -> f32 {
            let differences = sound.iter().zip(&original).map(|(a, b)| (a - b).powi(2));
            differences.sum()
        };
        assert!(
            distance(&recovered) < distance(&concealed),
            "{} {}",
            distance(&recovered),
            distance(&concealed)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_every_call_delivers_what_was_asked(
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut decoder = OpusDecoder::new();
            carries_fec(&payload);
            if let Some(samples) = duration(&payload) {
                prop_assert_eq!(decoder.decode(&payload, samples).len(), samples);
                prop_assert_eq!(decoder.recover(&payload, 960).len(), 960);
            }
            prop_assert!(decoder.conceal(480).iter().all(|sample| sample.abs() <= 1.0));
        }
    }
}
