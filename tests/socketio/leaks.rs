//! A hundred reconnects leave neither descriptors nor threads behind.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

const ROUNDS: u64 = 100;
const CHILD: &str = "HUDDLED_TEST_LEAKS";

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}"))
        .unwrap()
        .count()
}

/// In a process of its own: the other tests open and close descriptors all the time.
#[test]
fn a_hundred_reconnects_leave_no_descriptors_threads_or_connections() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(reconnect());
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "socketio::leaks::a_hundred_reconnects_leave_no_descriptors_threads_or_connections",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{text}{errors}");
    assert!(output.status.success());
    assert!(text.contains("1 passed"), "the test has another name");
}

async fn reconnect() {
    let gateway = Gateway::start(&["--join-delay", "1"]);
    let mut member = Member::new();
    let mut baseline = (0, 0);
    for round in 1..=ROUNDS {
        let session = SessionId(round);
        member.open(session, account(&gateway)).await;
        member.client.send(session, ClientMessage::Join);
        member
            .until(|event| matches!(message(event), Some(ServerMessage::Joined { .. })))
            .await;
        let user = json!({"user": BOX});
        match round % 6 {
            0 => member.client.close(session, true),
            // Ended by the next round's order.
            1 => {}
            2 => drop(gateway.control("cleanClose", user).await),
            3 => drop(gateway.control("kill", user).await),
            4 => drop(gateway.control("disconnectSocket", user).await),
            _ => {
                gateway.control("freeze", user).await;
                member.client.close(session, false);
            }
        }
        if matches!(round % 6, 2..=4) {
            assert_unreachable(&member.failure(session).await);
        }
        if round == 12 {
            baseline = (count("fd"), count("task"));
        }
    }
    member.client.close(SessionId(ROUNDS), false);
    // What ended a moment ago may still be on its way out.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = (count("fd"), count("task"));
        if now.0 <= baseline.0 && now.1 <= baseline.1 {
            println!(
                "descriptors and threads after 12 rounds {baseline:?}, after {ROUNDS} {now:?}"
            );
            break;
        }
        assert!(Instant::now() < deadline, "{baseline:?} became {now:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
