//! What it costs to encode once for 1, 3 and 7 peers, against the bare codec on the same frames.
//!
//! Prints CPU time per frame and its ratio to the bare codec. Run with `cargo bench --bench encode`.
#![allow(clippy::print_stdout, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use huddled::config::{VideoDevice, VideoEncoding, VideoSettings};
use huddled::devices::{PixelFormat, RawFrame, open_camera};
use huddled::media::convert::Converter;
use huddled::media::fanout::{Fanout, Outgoing};
use huddled::media::h264::VideoEncoder;
use huddled::room::{Bitrate, Timestamp};
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, RateControlMode, UsageType,
};
use openh264::formats::YUVSlices;

const VIDEO: VideoEncoding = VideoEncoding {
    width: 1280,
    height: 720,
    frame_rate: 30,
    bitrate: Bitrate(1_500_000),
};
/// Distinct frames, encoded again and again.
const FRAMES: usize = 60;
const ROUNDS: usize = 5;

fn main() {
    let frames = record();
    println!(
        "encode {}x{} at {} frames/s, {} kbit/s; {} frames, CPU time of the encoding thread\n",
        VIDEO.width,
        VIDEO.height,
        VIDEO.frame_rate,
        VIDEO.bitrate.0 / 1000,
        FRAMES * ROUNDS
    );
    // In turn, several times over: the machine's speed drifts, the ratios do not.
    let mut best = [Duration::MAX; 4];
    for _ in 0..3 {
        best[0] = best[0].min(bare_codec(&frames));
        for (index, peers) in [1, 3, 7].into_iter().enumerate() {
            best[index + 1] = best[index + 1].min(pipeline(&frames, peers));
        }
    }
    let per_frame = |time: Duration| time.as_secs_f64() * 1000.0 / (FRAMES * ROUNDS) as f64;
    println!("{:<42} {:>9} {:>7}", "", "ms/frame", "ratio");
    for (name, time) in [
        ("bare codec", best[0]),
        ("convert, encode, packetise, fan out to 1", best[1]),
        ("convert, encode, packetise, fan out to 3", best[2]),
        ("convert, encode, packetise, fan out to 7", best[3]),
    ] {
        println!(
            "{name:<42} {:>9.2} {:>7.2}",
            per_frame(time),
            time.as_secs_f64() / best[0].as_secs_f64()
        );
    }
}

/// The test card's frames, as the camera gives them.
fn record() -> Vec<RawFrame> {
    let settings = VideoSettings {
        device: VideoDevice::SimTestcard,
        ppm: 0,
    };
    let mut camera = open_camera(&settings, "Benchmark", &VIDEO).expect("the test card opens");
    camera.start().expect("the test card starts");
    (0..FRAMES)
        .map(|_| {
            camera
                .dequeue(Duration::from_secs(2), Vec::new())
                .expect("the test card goes on")
        })
        .collect()
}

fn at(index: usize) -> Timestamp {
    Timestamp::from_duration(Duration::from_secs(1) * index as u32 / VIDEO.frame_rate)
}

fn bare_codec(frames: &[RawFrame]) -> Duration {
    let config = EncoderConfig::new()
        .usage_type(UsageType::CameraVideoRealTime)
        .complexity(Complexity::Low)
        .rate_control_mode(RateControlMode::Bitrate)
        .bitrate(BitRate::from_bps(VIDEO.bitrate.0))
        .max_frame_rate(FrameRate::from_hz(VIDEO.frame_rate as f32))
        .skip_frames(false)
        .num_threads(1);
    let mut encoder =
        Encoder::with_api_config(OpenH264API::from_source(), config).expect("the encoder opens");
    let (width, height) = (VIDEO.width as usize, VIDEO.height as usize);
    let begun = cpu_time();
    for index in 0..FRAMES * ROUNDS {
        let frame = &frames[index % FRAMES];
        assert_eq!(frame.format, PixelFormat::I420);
        let (y, chroma) = frame.data.split_at(width * height);
        let (u, v) = chroma.split_at(width * height / 4);
        let source = YUVSlices::new((y, u, v), (width, height), (width, width / 2, width / 2));
        let time = openh264::Timestamp::from_millis(at(index).as_duration().as_millis() as u64);
        let stream = encoder.encode_at(&source, time).expect("the frame encodes");
        std::hint::black_box(stream.to_vec());
    }
    cpu_time() - begun
}

fn pipeline(frames: &[RawFrame], peers: usize) -> Duration {
    let fanout = Fanout::new();
    let mut slots: Vec<_> = (0..peers).map(|_| fanout.subscribe()).collect();
    for slot in &mut slots {
        slot.set_open(true);
    }
    // Another thread takes what the peers' sessions would take, so that no slot overflows.
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let drain = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let mut taken = vec![0usize; slots.len()];
        runtime.block_on(async {
            while !stopping.load(std::sync::atomic::Ordering::Relaxed) {
                for (slot, taken) in slots.iter_mut().zip(&mut taken) {
                    let next = tokio::time::timeout(Duration::from_millis(1), slot.next()).await;
                    if let Ok(Outgoing::Video(frame)) = next {
                        *taken += frame.payloads.len().min(1);
                    }
                }
            }
        });
        taken
    });
    let mut converter = Converter::new(VIDEO.width, VIDEO.height);
    let mut encoder = VideoEncoder::new(&VIDEO, huddled::media::h264::Content::Camera)
        .expect("the encoder opens");
    let begun = cpu_time();
    for index in 0..FRAMES * ROUNDS {
        let picture = converter
            .convert(&frames[index % FRAMES])
            .expect("the frame converts");
        let encoded = encoder
            .encode(picture, at(index))
            .expect("the frame encodes");
        if let Some(frame) = encoded {
            fanout.publish_video(&frame);
        }
    }
    let spent = cpu_time() - begun;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let taken = drain.join().expect("the draining thread ends");
    assert!(
        taken.iter().all(|&taken| taken > 0),
        "every peer gets frames"
    );
    spent
}

/// CPU time of this thread (clock_gettime(2), CLOCK_THREAD_CPUTIME_ID).
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid, exclusively borrowed timespec.
    #[allow(unsafe_code)]
    unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
    }
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
