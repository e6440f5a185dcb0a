//! Hostile messages to the box by way of the hub.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::counts::{Counts, Pace};
use crate::hub::{Hub, Member};
use crate::path::is_from;
use crate::random::Random;
use crate::sdp::{Own, bad_candidate, mutate};

/// Names with direction marks, controls and line breaks.
const NAMES: &[&str] = &[
    "\u{202e}moor \u{202c}ada",
    "a\u{200f}\u{2066}b\u{2069}",
    "line\nbreak\r\n[ERROR] forged",
    "\u{1b}[31mred\u{7}",
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    "\u{feff}\u{200b}\u{200b}",
    "x",
];
/// How long one stay lasts at least and at most, ms.
const STAY: (u64, usize) = (3000, 7000);
/// Messages per second at which the hub ends a session.
const TOO_MANY: u64 = 3000;
/// The longest an answer is held back, ms.
const DELAY: usize = 12_000;

/// A hostile display name.
pub(crate) fn name(random: &mut Random) -> String {
    let name = *random.pick(NAMES);
    if random.chance(20) {
        name.repeat(40)
    } else {
        name.to_owned()
    }
}

/// The choices of a message that are candidates.
const CANDIDATES: std::ops::Range<usize> = 40..75;

/// Whom the messages are about.
pub(crate) struct Aim<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) target: &'a str,
    pub(crate) victim: &'a str,
    /// Where a TCP connection of the box would be noticed.
    pub(crate) trap: SocketAddr,
}

/// Joins, talks nonsense for some seconds, leaves and comes back, for ever.
pub(crate) async fn talk(aim: &Aim<'_>, mut random: Random, per_second: u64, counts: &Counts) {
    loop {
        match Member::join(aim.hub, &name(&mut random)).await {
            Ok(member) => {
                counts.add("signaling: stays");
                if stay(aim, member, &mut random, per_second, counts)
                    .await
                    .is_err()
                {
                    counts.add("signaling: ended by the hub");
                }
            }
            Err(error) => {
                counts.add("signaling: joins refused");
                log::debug!("{error:#}");
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn stay(
    aim: &Aim<'_>,
    mut member: Member,
    random: &mut Random,
    per_second: u64,
    counts: &Counts,
) -> Result<()> {
    let own = own(random, aim.trap);
    // One stay in eight is a burst that the hub ends.
    let rate = if random.chance(12) {
        TOO_MANY
    } else {
        per_second
    };
    // Every other stay begins with an offer that can be answered and goes on with candidates for that connection.
    let is_about_candidates = random.chance(50);
    if is_about_candidates {
        let offer =
            json!({"targetUserId": aim.target, "offer": {"type": "offer", "sdp": own.offer()}});
        member.emit("webrtc:offer", offer).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut pace = Pace::new(rate);
    let until = Instant::now() + Duration::from_millis(STAY.0 + random.below(STAY.1) as u64);
    let mut late: VecDeque<(Instant, String, Value)> = VecDeque::new();
    while Instant::now() < until {
        for _ in 0..pace.portion().await {
            let choice = if is_about_candidates {
                CANDIDATES.start
            } else {
                random.below(100)
            };
            let (kind, event, payload) = message(random, choice, aim, &own, &member.user);
            counts.add(&format!("signaling: {kind}"));
            member.emit(&event, payload).await?;
        }
        while let Some((event, payload)) = member.pending() {
            if !is_from(&payload, aim.target) {
                continue;
            }
            counts.add(&format!("back: {event}"));
            // What the box offers is answered late, and often wrongly.
            if let Some(sdp) = payload["offer"]["sdp"].as_str() {
                let answer = own.answer(sdp);
                let answer = if random.chance(50) {
                    mutate(random, &answer)
                } else {
                    answer
                };
                let at = Instant::now() + Duration::from_millis(random.below(DELAY) as u64);
                let reply = json!({"targetUserId": aim.target, "answer": {"type": "answer", "sdp": answer}});
                late.push_back((at, event.replace("offer", "answer"), reply));
            }
        }
        if late.front().is_some_and(|(at, ..)| *at <= Instant::now())
            && let Some((_, event, reply)) = late.pop_front()
        {
            counts.add("signaling: late answer");
            member.emit(&event, reply).await?;
        }
        if member.is_over() {
            anyhow::bail!("the session ended");
        }
    }
    if random.chance(50) {
        member.emit("meeting:leave", json!({})).await?;
    }
    Ok(())
}

fn own(random: &mut Random, address: SocketAddr) -> Own {
    let octets: Vec<String> = (0..32).map(|_| format!("{:02X}", random.u8())).collect();
    Own {
        ufrag: random.word(4),
        password: random.word(24),
        fingerprint: octets.join(":"),
        setup: random.pick::<&str>(&["actpass", "active", "passive"]),
        addresses: vec![address],
        audio: random.u32(),
        video: random.u32(),
    }
}

/// One message of a hundred kinds: what it is, its event, its payload.
fn message(
    random: &mut Random,
    choice: usize,
    aim: &Aim<'_>,
    own: &Own,
    user: &str,
) -> (&'static str, String, Value) {
    let dialect = *random.pick(&["webrtc", "media"]);
    let to = aim.target;
    let others = *random.pick(&[aim.target, aim.victim, user, "nobody", ""]);
    let described =
        |kind: &str, sdp: String| json!({"targetUserId": to, kind: {"type": kind, "sdp": sdp}});
    match choice {
        0..5 => (
            "offer",
            format!("{dialect}:offer"),
            described("offer", own.offer()),
        ),
        5..25 => {
            let sdp = mutate(random, &own.offer());
            (
                "mutated offer",
                format!("{dialect}:offer"),
                described("offer", sdp),
            )
        }
        25..35 => {
            let sdp = mutate(random, &own.offer());
            (
                "unasked answer",
                format!("{dialect}:answer"),
                described("answer", sdp),
            )
        }
        35..40 => {
            let kind = *random.pick(&["rollback", "pranswer", "", "offer\u{0}"]);
            let content = json!({"type": kind, "sdp": own.offer()});
            let key = *random.pick(&["offer", "answer"]);
            let payload = json!({"targetUserId": to, key: content});
            ("rollback", format!("{dialect}:{key}"), payload)
        }
        40..75 => {
            let line = bad_candidate(random, aim.trap);
            let line = if random.chance(20) {
                mutate(random, &line)
            } else {
                line
            };
            let candidate = json!({"candidate": line, "sdpMid": random.pick(&["0", "0", "0", "1", "99", ""]), "sdpMLineIndex": 0});
            let payload = json!({"targetUserId": to, "candidate": candidate});
            ("candidate", format!("{dialect}:ice-candidate"), payload)
        }
        75..82 => {
            let event = *random.pick(&[
                "media:toggle-mic",
                "media:toggle-video",
                "media:screen-share",
                "media:state-update",
            ]);
            let payload = json!({"userId": others, "isMuted": random.chance(50), "isVideoOff": random.chance(50), "isSharing": random.chance(50)});
            ("state of others", event.to_owned(), payload)
        }
        82..88 => {
            let event = *random.pick(&[
                "admin:mute-user",
                "admin:video-off-user",
                "admin:stop-share-user",
                "admin:kick-user",
                "admin:block-user",
            ]);
            let payload = json!({"targetUserId": others, "mute": false, "videoOff": false, "reason": name(random)});
            ("host's order", event.to_owned(), payload)
        }
        88..93 => (
            "ready",
            format!("{dialect}:ready"),
            json!({"roomId": aim.hub.meeting, "userId": others}),
        ),
        93..96 => (
            "request for peers",
            "meeting:request-peers".to_owned(),
            json!({}),
        ),
        _ => {
            let event = *random.pick(&[
                "meeting:user-left",
                "meeting:participants",
                "user:kicked",
                "exception",
                "chat:message",
            ]);
            let payload = json!({"userId": others, "fromUserId": others, "message": name(random), "participants": [null, 7, {}]});
            ("forged event", event.to_owned(), payload)
        }
    }
}
