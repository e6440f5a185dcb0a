//! Two members who go on talking while others misbehave. They notice nothing: every message arrives, in order, and
//! nothing else does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::raw::Raw;
use super::{Running, until};

/// Well below any rate limit of the tests, with two members on one round.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct Bystanders {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    talking: JoinHandle<Vec<String>>,
}

fn message(target: &str, number: u64) -> Value {
    json!({"targetUserId": target, "offer": {"type": "offer", "sdp": format!("v=0 {number}")}})
}

impl Bystanders {
    /// Joins `y` and `z` and lets them talk.
    pub(crate) async fn talking(hub: &Running) -> Self {
        let mut y = Raw::joined(hub, "y").await;
        let mut z = Raw::joined(hub, "z").await;
        assert_eq!(y.until("meeting:user-joined").await["userId"], "z");
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let (stopping, counter) = (Arc::clone(&stop), Arc::clone(&rounds));
        let talking = tokio::spawn(async move {
            let mut noticed = Vec::new();
            let mut number = 0;
            while !stopping.load(Ordering::Relaxed) {
                number += 1;
                y.emit("webrtc:offer", message("z", number)).await;
                hear(&mut z, "y", number, &mut noticed).await;
                z.emit("webrtc:offer", message("y", number)).await;
                hear(&mut y, "z", number, &mut noticed).await;
                counter.store(number, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
            noticed
        });
        let bystanders = Self {
            stop,
            rounds,
            talking,
        };
        bystanders.go_on().await;
        bystanders
    }

    /// Waits until they have talked for some rounds from now.
    pub(crate) async fn go_on(&self) {
        let goal = self.rounds.load(Ordering::Relaxed) + 5;
        until("the bystanders talk on", || {
            self.rounds.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    /// What each of them heard besides each other: `event user` in order, those of `y` only, for both hear the same.
    pub(crate) async fn noticed(self) -> Vec<String> {
        self.go_on().await;
        self.stop.store(true, Ordering::Relaxed);
        self.talking.await.unwrap()
    }
}

/// The next message of the other; whatever else comes before is noticed.
async fn hear(member: &mut Raw, from: &str, number: u64, noticed: &mut Vec<String>) {
    loop {
        let (event, payload) = member.event().await.expect("a bystander was closed");
        if event == "webrtc:offer" && payload["fromUserId"] == from {
            assert_eq!(payload["offer"]["sdp"], format!("v=0 {number}"));
            return;
        }
        if from == "z" {
            noticed.push(format!(
                "{event} {}",
                payload["userId"].as_str().unwrap_or("?")
            ));
        }
    }
}
