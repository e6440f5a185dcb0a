//! What it costs to mark packets (DSCP), against the crate's own socket.
//!
//! Prints CPU time per packet and its ratio to that. Run with `cargo bench --bench marking`.
#![allow(clippy::print_stdout, missing_docs)]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use huddled::rtc::BareSocket;

const SOUND: u32 = 11;
const PICTURE: u32 = 22;
/// Of an Opus packet and of a full packet of a picture, bytes.
const SOUND_LENGTH: usize = 120;
const PICTURE_LENGTH: usize = 1200;
const PACKETS: usize = 100_000;
const ROUNDS: usize = 5;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    // A frame of 1.5 Mbit/s at 30 frames/s is five packets or six, with sound every 20 ms in between.
    let meeting = [SOUND, PICTURE, PICTURE, PICTURE, SOUND, PICTURE, PICTURE];
    let alternating = [SOUND, PICTURE];
    println!("{PACKETS} packets over loopback, CPU time of the sending thread, best of {ROUNDS}\n");
    println!("{:<44} {:>9} {:>7}", "", "us/packet", "ratio");
    for (name, pattern) in [
        (
            "two of seven packets are sound, as in a meeting",
            &meeting[..],
        ),
        ("every second packet is sound, the worst case", &alternating),
    ] {
        // In turn, several times over: the machine's speed drifts, the ratios do not.
        let mut best = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            for (best, sound) in best.iter_mut().zip([None, Some(SOUND)]) {
                *best = (*best).min(runtime.block_on(send(pattern, sound)));
            }
        }
        for (what, time) in [("not marked", best[0]), (name, best[1])] {
            println!(
                "{what:<44} {:>9.2} {:>7.2}",
                time.as_secs_f64() * 1e6 / PACKETS as f64,
                time.as_secs_f64() / best[0].as_secs_f64()
            );
        }
    }
}

fn packet(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 9];
    packet.extend(ssrc.to_be_bytes());
    packet.resize(
        if ssrc == SOUND {
            SOUND_LENGTH
        } else {
            PICTURE_LENGTH
        },
        7,
    );
    packet
}

async fn send(pattern: &[u32], sound: Option<u32>) -> Duration {
    // Nobody reads: what does not fit in the receiver's buffer is dropped there, at the same cost for both.
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a receiver");
    let target: SocketAddr = receiver.local_addr().expect("its address");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a sender");
    let socket = BareSocket::new(socket, sound).expect("the sender is usable");
    let packets: Vec<_> = pattern.iter().map(|&ssrc| packet(ssrc)).collect();
    let begun = cpu_time();
    for packet in packets.iter().cycle().take(PACKETS) {
        socket.send(packet, target).await.expect("it is sent");
    }
    cpu_time() - begun
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
