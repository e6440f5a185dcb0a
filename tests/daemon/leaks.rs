//! What a box does again and again must not cost it anything.

use serde_json::json;

use super::meeting::{USERS, member};
use super::*;
use crate::socketio::gateway::Gateway;

/// How often, where `HUDDLED_CHURN_CYCLES` does not say otherwise.
const CYCLES: u32 = 30;
/// What a process takes once and keeps is taken in these; the slope of the memory is told after them.
const WARM_UP: usize = 50;
/// The steepest slope of the memory, kB a cycle.
const STEEPEST: f64 = 10.0;

fn resident_kb(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The slope of the line that fits best (least squares), per step.
fn slope(values: &[u64]) -> f64 {
    let count = values.len() as f64;
    let mean_x = (count - 1.0) / 2.0;
    let mean_y = values.iter().sum::<u64>() as f64 / count;
    let (mut over, mut under) = (0.0, 0.0);
    for (x, y) in values.iter().enumerate() {
        let x = x as f64 - mean_x;
        over += x * (*y as f64 - mean_y);
        under += x * x;
    }
    over / under
}

#[test]
fn the_slope_of_a_line_is_found() {
    assert!((slope(&[5, 8, 11, 14]) - 3.0).abs() < 1e-9);
    assert!(slope(&[7, 7, 7]).abs() < 1e-9);
}

#[tokio::test]
async fn leaving_and_joining_again_and_again_costs_no_descriptor_and_no_thread() {
    let gateway = Gateway::start(&["--open-meeting", "--no-duplicates"]);
    // The one that comes and goes has the greater id: it calls the other at once, and a cycle is short.
    let mut boxes = [1, 0].map(|index| {
        let mut setup = member(&gateway, index);
        setup.video = (160, 90, 10);
        setup.spawn()
    });
    let cycle = |boxes: &mut [Daemon; 2]| {
        // A new connection: the other one may still be giving up the old.
        boxes[0].until_seen(USERS[0]);
        boxes[0].tell("leave", json!({}));
        boxes[0].until_alone();
    };
    let join = |boxes: &mut [Daemon; 2]| boxes[0].tell("join", json!({}));
    cycle(&mut boxes);
    join(&mut boxes);
    cycle(&mut boxes);
    boxes[1].until_alone();
    let before = boxes
        .each_ref()
        .map(|daemon| (settled(daemon), resident_kb(daemon)));
    let begun = Instant::now();
    let cycles = match std::env::var("HUDDLED_CHURN_CYCLES") {
        Ok(text) => text.parse().expect("HUDDLED_CHURN_CYCLES is a number"),
        Err(_) => CYCLES,
    };
    let mut memory = [const { Vec::new() }; 2];
    for count in 1..=cycles {
        join(&mut boxes);
        cycle(&mut boxes);
        for (daemon, samples) in boxes.iter().zip(&mut memory) {
            samples.push(resident_kb(daemon));
        }
        if count % 100 == 0 {
            let now = memory.each_ref().map(|samples| samples.last().copied());
            println!("{count} cycles after {:?}: {now:?} kB", begun.elapsed());
        }
    }
    println!("{cycles} cycles took {:?}", begun.elapsed());
    for (samples, who) in memory.iter().zip(["comes and goes", "stays"]) {
        // Fewer say nothing of a slope.
        if let Some(steady) = samples.get(WARM_UP..).filter(|steady| steady.len() >= 200) {
            let slope = slope(steady);
            println!("memory of the box that {who}: {slope:.2} kB a cycle");
            assert!(slope <= STEEPEST, "it takes {slope:.2} kB a cycle");
        }
    }
    boxes[1].until_alone();
    for (daemon, (resources, memory)) in boxes.iter().zip(before) {
        until("descriptors and threads to be as before", || {
            let now = daemon.resources();
            // A pool of threads may be caught with one more at work.
            (now.0 <= resources.0 && now.1 <= resources.1 + 2)
                .then_some(())
                .ok_or_else(|| format!("{resources:?} became {now:?}"))
        });
        println!(
            "{resources:?} descriptors and threads; memory {memory} kB, afterwards {} kB",
            resident_kb(daemon)
        );
    }
}

/// Descriptors and threads once nothing is being closed any more.
fn settled(daemon: &Daemon) -> (usize, usize) {
    let mut last = (daemon.resources(), Instant::now());
    until("nothing to change for a second", || {
        let now = daemon.resources();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(1))
            .then_some(now)
            .ok_or_else(|| format!("{now:?}"))
    })
}
