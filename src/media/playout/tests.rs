use super::*;
use crate::devices::SAMPLE_RATE;
use crate::media::AudioPacket;
use crate::media::jitter::Counters;
use bytes::Bytes;
use std::time::Duration;

const TONE: f64 = 500.0;
const AMPLITUDE: f64 = 0.3;
/// Largest step between neighbouring samples of the tone, with room for coding noise.
const STEEPEST: f64 = AMPLITUDE * std::f64::consts::TAU * TONE / SAMPLE_RATE as f64 * 1.4;

fn sine(n: usize) -> f32 {
    let turns = n as f64 * TONE / f64::from(SAMPLE_RATE);
    (AMPLITUDE * (turns.fract() * std::f64::consts::TAU).sin()) as f32
}

/// A buzz in syllables: libopus adds FEC to what it takes for speech only.
fn speech(n: usize) -> f32 {
    let time = n as f32 / SAMPLE_RATE as f32;
    let syllable = (time * 4.0 * std::f32::consts::PI).sin().abs();
    0.4 * syllable * (2.0 * (time * 150.0).fract() - 1.0)
}

/// One second of a tone whose periods fit packets of `milliseconds`: may be repeated for ever.
fn tone(milliseconds: usize) -> Vec<Bytes> {
    encoded(milliseconds, sine, |_| {})
}

fn encoded(
    milliseconds: usize,
    sound: impl Fn(usize) -> f32,
    configure: impl Fn(&mut opus::Encoder),
) -> Vec<Bytes> {
    let mut encoder =
        opus::Encoder::new(SAMPLE_RATE, opus::Channels::Mono, opus::Application::Audio).unwrap();
    configure(&mut encoder);
    let samples = milliseconds * SAMPLE_RATE as usize / 1000;
    let packets = 1000 / milliseconds;
    let encoded = (0..3 * packets).map(|number| {
        let sound: Vec<f32> = (number * samples..(number + 1) * samples)
            .map(&sound)
            .collect();
        Bytes::from(encoder.encode_vec_float(&sound, 1500).unwrap())
    });
    encoded.skip(2 * packets).collect()
}

fn voice_with_fec(encoder: &mut opus::Encoder) {
    encoder.set_application(opus::Application::Voip).unwrap();
    encoder.set_bitrate(opus::Bitrate::Bits(24_000)).unwrap();
    encoder.set_signal(opus::Signal::Voice).unwrap();
    encoder.set_inband_fec(true).unwrap();
    encoder.set_packet_loss_perc(20).unwrap();
}

/// A reproducible random number below `limit` (splitmix64).
fn random(state: &mut u64, limit: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % limit
}

const EPOCH: Duration = Duration::from_secs(1000);

/// One packet on its way; times in microseconds since the start.
#[derive(Clone)]
struct Flight {
    number: u64,
    arrives: u64,
}

struct Stream {
    packets: Vec<Bytes>,
    samples: u32,
    first_sequence: u16,
    first_media_time: u32,
}

impl Stream {
    fn new(packets: Vec<Bytes>) -> Self {
        let samples = opus_decode::duration(&packets[0]).unwrap() as u32;
        Self {
            packets,
            samples,
            // Both wrap soon.
            first_sequence: 65_500,
            first_media_time: u32::MAX - 50_000,
        }
    }

    fn packet(&self, flight: &Flight) -> AudioPacket {
        AudioPacket {
            sequence: self.first_sequence.wrapping_add(flight.number as u16),
            media_time: self
                .first_media_time
                .wrapping_add((flight.number as u32).wrapping_mul(self.samples)),
            payload: self.packets[flight.number as usize % self.packets.len()].clone(),
            arrived_at: Timestamp::from_duration(EPOCH + Duration::from_micros(flight.arrives)),
        }
    }
}

/// When packets of 20 ms leave a sender whose clock is `ppm` fast.
fn departures(seconds: u64, ppm: f64) -> impl Iterator<Item = Flight> {
    let interval = 20_000.0 / (1.0 + ppm / 1e6);
    (0..seconds * 50).map(move |number| Flight {
        number,
        arrives: (number as f64 * interval) as u64,
    })
}

struct Heard {
    samples: Vec<f32>,
    /// After each period, ms.
    delays: Vec<Option<f64>>,
    targets: Vec<f64>,
    counters: Counters,
    repairs: Repairs,
}

impl Heard {
    fn steepest(&self, from_second: usize) -> f64 {
        let from = from_second * SAMPLE_RATE as usize;
        self.samples[from..]
            .windows(2)
            .map(|pair| f64::from((pair[1] - pair[0]).abs()))
            .fold(0.0, f64::max)
    }

    fn delays_of(&self, seconds: std::ops::Range<usize>) -> (f64, f64) {
        let delays = self.delays[seconds.start * 100..seconds.end * 100]
            .iter()
            .flatten();
        delays.fold((f64::MAX, f64::MIN), |(low, high), delay| {
            (low.min(*delay), high.max(*delay))
        })
    }

    fn print(&self, what: &str) {
        #![allow(clippy::print_stdout)]
        let seconds = self.delays.len() / 100;
        println!(
            "{what}: last 5 s delay {:?} ms, target {} ms; {:?} {:?}",
            self.delays_of(seconds.saturating_sub(5)..seconds),
            self.targets.last().unwrap(),
            self.counters,
            self.repairs,
        );
    }
}

/// Plays what arrives for `seconds` in virtual time, a period every 10 ms.
fn listen(stream: &Stream, mut flights: Vec<Flight>, seconds: u64) -> Heard {
    flights.sort_by_key(|flight| flight.arrives);
    let packets = flights.iter().map(|flight| stream.packet(flight)).collect();
    listen_to(packets, seconds)
}

fn listen_to(packets: Vec<AudioPacket>, seconds: u64) -> Heard {
    listen_on(packets, seconds, 0.0)
}

/// The same on a speaker whose clock is `ppm` fast.
fn listen_on(packets: Vec<AudioPacket>, seconds: u64, ppm: f64) -> Heard {
    let jitter = Mutex::new(JitterBuffer::new());
    let mut playout = Playout::new();
    let mut coming = packets.into_iter().peekable();
    let mut heard = Heard {
        samples: Vec::new(),
        delays: Vec::new(),
        targets: Vec::new(),
        counters: Counters::default(),
        repairs: Repairs::default(),
    };
    let in_ms = |samples: i64| samples as f64 / MILLISECOND as f64;
    for period in 0..seconds * 100 {
        // The speaker's periods lie between the packets.
        let at = period as f64 * 10_000.0 / (1.0 + ppm / 1e6) + 3_000.0;
        let now = Timestamp::from_duration(EPOCH + Duration::from_micros(at as u64));
        while let Some(packet) = coming.next_if(|packet| packet.arrived_at <= now) {
            jitter.lock().unwrap().push(&packet);
        }
        let mut samples = [0.0; PERIOD];
        playout.pull(&jitter, &mut samples, now);
        heard.samples.extend_from_slice(&samples);
        let jitter = jitter.lock().unwrap();
        let delay = jitter.delay(playout.ahead(), now);
        heard
            .delays
            .push(delay.map(|delay| in_ms(delay + PERIOD as i64)));
        heard.targets.push(in_ms(jitter.target()));
    }
    heard.counters = jitter.lock().unwrap().counters();
    heard.repairs = playout.repairs();
    heard
}

fn clean(seconds: u64) -> Vec<Flight> {
    departures(seconds, 0.0).collect()
}

#[test]
fn on_a_clean_network_the_delay_is_40_ms_and_nothing_is_touched() {
    let stream = Stream::new(tone(20));
    let heard = listen(&stream, clean(30), 30);
    heard.print("clean");
    let (low, high) = heard.delays_of(1..30);
    assert!(low > 35.0 && high < 46.0, "{low}..{high}");
    // The first packet arrived at 0 ms and the first period was asked for at 3 ms.
    let onset = heard.samples.iter().position(|s| *s != 0.0).unwrap() / 48 + 3;
    assert!((35..60).contains(&onset), "{onset} ms");
    assert_eq!(heard.counters.lost, 0);
    assert_eq!(heard.counters.received, 1500);
    assert_eq!(heard.repairs, Repairs::default());
    assert!(heard.steepest(1) < STEEPEST, "{}", heard.steepest(1));
}

#[test]
fn every_packet_length_of_opus_is_played() {
    for milliseconds in [5, 10, 20, 40, 60, 100, 120] {
        let packets = tone_of(milliseconds);
        let stream = Stream::new(packets);
        let flights = (0..11_000 / milliseconds as u64)
            .map(|number| Flight {
                number,
                arrives: number * milliseconds as u64 * 1000,
            })
            .collect();
        let heard = listen(&stream, flights, 10);
        heard.print(&format!("{milliseconds} ms"));
        assert_eq!(heard.counters.lost, 0, "{milliseconds} ms");
        assert_eq!(heard.repairs.concealed_samples, 0, "{milliseconds} ms");
        assert_eq!(heard.repairs.decode_errors, 0, "{milliseconds} ms");
        let quiet = heard.samples[48_000..9 * 48_000]
            .chunks(480)
            .filter(|period| period.iter().all(|s| s.abs() < 0.1))
            .count();
        assert_eq!(quiet, 0, "{milliseconds} ms");
    }
}

fn tone_of(milliseconds: usize) -> Vec<Bytes> {
    match milliseconds {
        40.. => joined(tone(20), milliseconds / 20),
        _ => tone(milliseconds),
    }
}

/// Several packets as one (the encoder makes 20 ms at most here).
fn joined(packets: Vec<Bytes>, count: usize) -> Vec<Bytes> {
    packets
        .chunks_exact(count)
        .map(|chunk| {
            let mut joiner = opus::Repacketizer::new().unwrap();
            let chunk: Vec<&[u8]> = chunk.iter().map(|packet| &packet[..]).collect();
            let mut out = vec![0; 5000];
            let length = joiner.combine(&chunk, &mut out).unwrap();
            out.truncate(length);
            Bytes::from(out)
        })
        .collect()
}

#[test]
fn stereo_packets_of_browsers_are_heard_in_mono() {
    let mut encoder = opus::Encoder::new(
        SAMPLE_RATE,
        opus::Channels::Stereo,
        opus::Application::Audio,
    )
    .unwrap();
    let packets = (0..100)
        .map(|number| {
            let sound: Vec<f32> = (number * 960..(number + 1) * 960)
                .flat_map(|n| [sine(n); 2])
                .collect();
            Bytes::from(encoder.encode_vec_float(&sound, 1500).unwrap())
        })
        .collect();
    let heard = listen(&Stream::new(packets), clean(2), 2);
    let mut meter = Meter::new();
    for period in heard.samples[48_000..72_000].chunks_exact(PERIOD) {
        meter.push(period.try_into().unwrap());
    }
    assert!((meter.frequency_hz() - 500.0).abs() < 5.0);
    assert!(
        (meter.level_dbfs() + 10.5).abs() < 1.0,
        "{}",
        meter.level_dbfs()
    );
}

#[test]
fn jitter_raises_the_target_and_afterwards_nothing_is_lost() {
    let stream = Stream::new(tone(20));
    for spread in [30_000, 80_000] {
        let mut seed = 7;
        let mut flights: Vec<_> = clean(60);
        for flight in &mut flights {
            flight.arrives += random(&mut seed, spread);
        }
        let heard = listen(&stream, flights, 60);
        heard.print(&format!("jitter of {} ms", spread / 1000));
        let target = *heard.targets.last().unwrap();
        let spread = spread as f64 / 1000.0;
        assert!(
            target > spread - 5.0 && target <= (spread + 25.0).max(40.0),
            "{target}"
        );
        let (low, high) = heard.delays_of(20..60);
        assert!(low > target - 25.0 && high < target + 25.0, "{low}..{high}");
        assert!(heard.counters.lost < 30, "{:?}", heard.counters);
        assert!(heard.counters.received > 2990);
    }
}

#[test]
fn bursts_are_ridden_out_within_the_largest_target() {
    // A radio link that hands over what it has every 120 ms.
    let stream = Stream::new(tone(20));
    let mut flights = clean(60);
    for flight in &mut flights {
        flight.arrives = flight.arrives.div_ceil(120_000) * 120_000;
    }
    let heard = listen(&stream, flights, 60);
    heard.print("bursts of 120 ms");
    let target = *heard.targets.last().unwrap();
    assert!((100.0..=200.0).contains(&target), "{target}");
    assert_eq!(heard.counters.lost, 0);
    let (_, high) = heard.delays_of(20..60);
    assert!(high < 200.0, "{high}");
}

#[test]
fn when_the_network_calms_down_the_delay_returns_to_40_ms() {
    let stream = Stream::new(tone(20));
    let mut seed = 3;
    let mut flights = clean(60);
    for flight in flights.iter_mut().take(1000) {
        flight.arrives += random(&mut seed, 100_000);
    }
    let heard = listen(&stream, flights, 60);
    heard.print("calm after jitter");
    let (_, high) = heard.delays_of(55..60);
    assert!(high < 50.0, "{high}");
    // From second 32 on nothing but the stretching happens.
    assert!(heard.steepest(32) < STEEPEST, "{}", heard.steepest(32));
}

#[test]
fn reordered_and_doubled_packets_are_played_once_in_order() {
    let stream = Stream::new(tone(20));
    let mut flights = clean(30);
    for number in (5..1500).step_by(10) {
        // Overtaken by its successor.
        flights[number].arrives += 25_000;
        let mut copy = flights[number + 2].clone();
        copy.arrives += 4_000;
        flights.push(copy);
    }
    let heard = listen(&stream, flights, 30);
    heard.print("reordered and doubled");
    assert_eq!(heard.counters.lost, 0);
    assert_eq!(heard.counters.received, 1500);
    // A copy of a packet that was played already counts as late.
    assert_eq!(heard.counters.duplicates + heard.counters.late, 150);
    assert_eq!(heard.repairs.concealed_samples, 0);
    assert!(heard.steepest(2) < STEEPEST, "{}", heard.steepest(2));
}

#[test]
fn lost_packets_are_concealed_or_recovered_and_the_delay_stays() {
    for (percent, fec) in [(5, false), (15, false), (5, true), (15, true)] {
        let packets = if fec {
            encoded(20, speech, voice_with_fec)
        } else {
            tone(20)
        };
        let mut seed = 11;
        let flights: Vec<_> = clean(60)
            .into_iter()
            .filter(|_| random(&mut seed, 100) >= percent)
            .collect();
        let lost = 3000 - flights.len() as u64;
        let heard = listen(&Stream::new(packets), flights, 60);
        heard.print(&format!("loss of {percent} %, FEC {fec}"));
        assert!(heard.counters.lost.abs_diff(lost) <= 3, "{lost}");
        let recovered = heard.repairs.fec_recovered;
        if fec {
            assert!(recovered > lost * 6 / 10, "{recovered} of {lost}");
        } else {
            assert_eq!(recovered, 0);
        }
        let (low, high) = heard.delays_of(2..60);
        assert!(low > 35.0 && high < 60.0, "{low}..{high}");
        // The tone never stops for long: no 40 ms of it are silent.
        let silent = heard.samples[48_000..59 * 48_000]
            .chunks(1920)
            .filter(|chunk| chunk.iter().all(|s| s.abs() < 0.03))
            .count();
        assert!(silent <= lost as usize / 50, "{silent}");
    }
}

#[test]
fn clocks_that_differ_by_300_ppm_neither_click_nor_pile_up_in_ten_minutes() {
    let stream = Stream::new(tone(20));
    for (sender, speaker) in [(-300.0, 0.0), (300.0, 0.0), (0.0, 300.0), (150.0, -150.0)] {
        let packets = departures(600, sender).map(|f| stream.packet(&f)).collect();
        let heard = listen_on(packets, 598, speaker);
        heard.print(&format!("drift of {sender} ppm, speaker {speaker} ppm"));
        assert_eq!(heard.counters.lost, 0);
        assert_eq!(heard.counters.discarded, 0);
        assert_eq!(heard.repairs, Repairs::default());
        let (low, high) = heard.delays_of(2..598);
        assert!(low > 30.0 && high < 52.0, "{low}..{high}");
        assert!(heard.steepest(1) < STEEPEST, "{}", heard.steepest(1));
    }
}

#[test]
fn a_restarted_stream_is_played_after_a_moment() {
    let stream = Stream::new(tone(20));
    let mut second = Stream::new(tone(20));
    second.first_sequence = 12_345;
    second.first_media_time = 999_999;
    let flights = clean(5);
    let mut packets: Vec<_> = flights.iter().map(|flight| stream.packet(flight)).collect();
    packets.extend(flights.iter().map(|flight| {
        second.packet(&Flight {
            arrives: flight.arrives + 5_000_000,
            ..flight.clone()
        })
    }));
    let heard = listen_to(packets, 10);
    heard.print("restart");
    assert_eq!(heard.counters.restarts, 1);
    assert!(heard.counters.lost <= 2, "{:?}", heard.counters);
    let (low, high) = heard.delays_of(6..10);
    assert!(low > 35.0 && high < 46.0, "{low}..{high}");
}

#[test]
fn a_jump_of_the_media_time_alone_is_a_restart_too() {
    let stream = Stream::new(tone(20));
    let mut packets: Vec<_> = clean(10).iter().map(|f| stream.packet(f)).collect();
    for packet in &mut packets[250..] {
        packet.media_time = packet.media_time.wrapping_add(1 << 30);
    }
    let heard = listen_to(packets, 10);
    assert_eq!(heard.counters.restarts, 1);
    assert!(heard.counters.lost <= 2, "{:?}", heard.counters);
    let (low, high) = heard.delays_of(6..10);
    assert!(low > 35.0 && high < 46.0, "{low}..{high}");
}

#[test]
fn a_pause_of_the_sender_is_not_a_loss_and_does_not_add_delay() {
    // DTX: media time and sequence numbers go on, most packets of a pause are never sent.
    let stream = Stream::new(tone(20));
    let mut packets = Vec::new();
    let mut sequence = 0_u16;
    for flight in clean(20) {
        let pausing = flight.number % 200 >= 100;
        if pausing && flight.number % 20 != 0 {
            continue;
        }
        let mut packet = stream.packet(&flight);
        packet.sequence = sequence;
        sequence += 1;
        packets.push(packet);
    }
    let heard = listen_to(packets, 20);
    heard.print("DTX");
    assert_eq!(heard.counters.lost, 0);
    let playing: Vec<_> = (0..2000)
        .filter(|n| n / 2 % 200 > 20 && n / 2 % 200 < 95)
        .collect();
    for period in playing {
        let delay = heard.delays[period].expect("playing");
        assert!((35.0..50.0).contains(&delay), "{delay} at period {period}");
    }
}

#[test]
fn after_an_outage_old_sound_is_cut_away() {
    // Two seconds of standstill, then everything at once.
    let stream = Stream::new(tone(20));
    let mut flights = clean(20);
    for flight in &mut flights {
        if (5_000_000..7_000_000).contains(&flight.arrives) {
            flight.arrives = 7_000_000;
        }
    }
    let heard = listen(&stream, flights, 20);
    heard.print("standstill");
    let (_, high) = heard.delays_of(9..20);
    assert!(high < 60.0, "{high}");
}

#[test]
fn a_longer_route_raises_the_delay_for_seconds_only() {
    let stream = Stream::new(tone(20));
    let mut flights = clean(30);
    for flight in &mut flights[500..] {
        flight.arrives += 400_000;
    }
    let heard = listen(&stream, flights, 30);
    heard.print("400 ms longer");
    let (low, high) = heard.delays_of(17..30);
    assert!(low > 35.0 && high < 60.0, "{low}..{high}");
    assert!(heard.counters.lost <= 1, "{:?}", heard.counters);
    assert!(heard.counters.discarded <= 25, "{:?}", heard.counters);
}

#[test]
fn a_silent_peer_ends_in_digital_silence() {
    let stream = Stream::new(tone(20));
    let heard = listen(&stream, clean(2), 4);
    assert!(heard.samples[3 * 48_000..].iter().all(|s| *s == 0.0));
    assert!(heard.delays.last().unwrap().is_none());
}
