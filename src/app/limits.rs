//! The time limits of the packaged units against those of the program: each is sensible alone, and together they must
//! add up.

use std::time::Duration;

use super::driver::STOP_LIMIT;
use super::run::{LAST_MOMENT, SHUTDOWN_LIMIT};
use crate::media::capture::{DEQUEUE_TIMEOUT, REOPEN_INTERVAL, STALLED_AFTER, STARTED_WITHIN};
use crate::room::{READY_BY, STALL, START_UP};

const BOX: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/systemd/huddled.service"
));
const FAILED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/systemd/huddled-failed.service"
));

/// A whole room must be back within this after a stage has hung.
const HUNG: Duration = Duration::from_secs(60);

fn number(unit: &str, key: &str) -> u64 {
    let values: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect();
    let [value] = values[..] else {
        panic!("{key}= is to be set once, not {values:?}");
    };
    // Plain seconds, or a plain count.
    value.parse().expect("a plain number")
}

fn seconds(unit: &str, key: &str) -> Duration {
    Duration::from_secs(number(unit, key))
}

#[test]
fn a_hung_stage_is_restarted_within_a_minute_and_a_slow_one_is_not() {
    let watchdog = seconds(BOX, "WatchdogSec");
    // See `Driver::new`.
    let count = watchdog / 4;
    // Up to a count goes by until the stall is seen; the last meal may have been eaten just before. What is aborted has
    // TimeoutStopSec to dump core (TimeoutAbortSec= is not set).
    let back =
        STALL + count + watchdog + seconds(BOX, "TimeoutStopSec") + seconds(BOX, "RestartSec");
    println!("a stage that hangs is killed and started again within {back:?}");
    assert!(back < HUNG, "{back:?}");
    // All that a camera may take before it is given up and opened again, one after the other.
    let camera = STARTED_WITHIN + STALLED_AFTER + REOPEN_INTERVAL + DEQUEUE_TIMEOUT;
    println!("a camera's start, stall and second try take {camera:?}");
    assert!(camera < watchdog, "{camera:?}");
    // And between two beats of its loop.
    assert!(DEQUEUE_TIMEOUT + REOPEN_INTERVAL < STALL);
    // A stage that starts slowly is not taken for one that hangs.
    assert!(STARTED_WITHIN < START_UP);
    // Two counts fit between two meals, should one come late.
    assert!(2 * count < watchdog);
}

#[test]
fn a_start_and_an_end_have_the_time_they_take() {
    assert!(READY_BY + STARTED_WITHIN < seconds(BOX, "TimeoutStartSec"));
    let end = STOP_LIMIT + SHUTDOWN_LIMIT + LAST_MOMENT;
    println!("an end takes at most {end:?}");
    assert!(2 * end < seconds(BOX, "TimeoutStopSec"), "{end:?}");
}

#[test]
fn a_crash_loop_reaches_the_start_limit_and_a_hung_stage_does_not() {
    let interval = seconds(BOX, "StartLimitIntervalSec");
    let starts = u32::try_from(number(BOX, "StartLimitBurst")).expect("few");
    // A program that crashes within 20 s is a crash loop.
    let crashing = (seconds(BOX, "RestartSec") + Duration::from_secs(20)) * starts;
    assert!(crashing < interval, "{crashing:?}");
    // One that the watchdog ends each time goes on being started.
    let hanging = (STALL + seconds(BOX, "WatchdogSec")) * starts;
    assert!(hanging > interval, "{hanging:?}");
    // When the pattern has been shown the box may be started again.
    assert!(seconds(FAILED, "RuntimeMaxSec") > interval);
}

#[test]
fn the_units_name_each_other() {
    assert!(BOX.contains("\nOnFailure=huddled-failed.service\n"));
    assert!(FAILED.contains("\nOnFailure=huddled.service\n"));
    assert!(FAILED.contains("\nConflicts=huddled.service\n"));
}
