//! FLOOR 1: the machine's clocks, read in one place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::room::Timestamp;

/// Now, on `CLOCK_MONOTONIC` (clock_gettime(2)): the clock V4L2 and ALSA stamp with.
pub fn monotonic() -> Timestamp {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid, exclusively borrowed timespec, and CLOCK_MONOTONIC always exists on Linux.
    #[allow(unsafe_code)]
    unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
    }
    Timestamp::from_duration(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Now, as the world counts it: since 1970 (nothing if the clock is set before that). For what another machine compares
/// with its own clock; never for spans.
pub fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
