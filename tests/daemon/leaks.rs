//! What a box does again and again must not cost it anything.

use serde_json::json;

use super::meeting::{USERS, member};
use super::*;
use crate::socketio::gateway::Gateway;

const CYCLES: u32 = 20;

fn resident_kb(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn leaving_and_joining_again_and_again_costs_no_descriptor_and_no_thread() {
    let gateway = Gateway::start(&["--open-meeting", "--no-duplicates"]);
    let mut boxes = [0, 1].map(|index| {
        let mut setup = member(&gateway, index);
        setup.video = (160, 90, 10);
        setup.spawn()
    });
    let cycle = |boxes: &mut [Daemon; 2]| {
        // A new connection: the other one may still be giving up the old.
        boxes[0].until_seen(USERS[1]);
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
    for _ in 0..CYCLES {
        join(&mut boxes);
        cycle(&mut boxes);
    }
    println!("{CYCLES} cycles took {:?}", begun.elapsed());
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
