//! Seeded random events and faults. `Room` checks its invariants after every step, the world's fakes refuse what real ones would
//! refuse, and when the trouble is over every meeting must become whole. Replay one with `SIM_SEED=n` (and see it with
//! `SIM_TRACE=1 cargo test --test it simulation -- --nocapture`); run more with `SIM_SEEDS=n`.

use huddled::room::*;

use super::bench::{MEETING, candidate, sdp};
use super::world::{Manner, World};

/// Takes a few seconds unoptimised.
const SEEDS: u64 = 300;
const STEPS: u64 = 60;

fn seeds() -> Vec<u64> {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text: String| text.parse::<u64>().ok())
    };
    match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

/// Names the seed of a run that panics.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("replay with SIM_SEED={}", self.0);
        }
    }
}

/// Something no honest program says at this moment.
fn nonsense(world: &mut World) -> ServerMessage {
    let dice = &mut world.dice;
    let who = match dice.roll(4) {
        0 => PeerId::new("stranger"),
        _ => {
            let index = dice.roll(world.members.len() as u64) as usize;
            world.members[index].id.clone()
        }
    };
    let dialect = if dice.roll(2) == 0 {
        Dialect::Media
    } else {
        Dialect::Webrtc
    };
    let room = match dice.roll(3) {
        0 => None,
        1 => Some(MEETING.to_owned()),
        _ => Some("another".to_owned()),
    };
    let number = dice.roll(5) as u32;
    let text = match dice.roll(4) {
        0 => Sdp::new(""),
        1 => Sdp::new("v=0\r\no=- x\r\na=fingerprint:\r\na=ice-ufrag\r\nm="),
        2 => sdp("forged", number, true),
        _ => sdp("forged", number, false),
    };
    match dice.roll(14) {
        0..=2 => ServerMessage::Offer {
            from: who,
            sdp: text,
            dialect,
            room,
        },
        3 => ServerMessage::Answer {
            from: who,
            sdp: text,
            dialect,
            room,
        },
        4 | 5 => ServerMessage::Candidate {
            from: who,
            candidate: candidate(number, (number == 1).then_some("forged")),
            dialect,
            room,
        },
        6 => ServerMessage::PeerReady { user: who, dialect },
        7 => ServerMessage::UserLeft { user: who },
        8 => ServerMessage::UserJoined(Participant {
            user: who,
            name: Shown::name("\u{202E}name"),
            muted: Some(true),
            video_off: None,
        }),
        9 => ServerMessage::ServerError {
            message: "Not authorized to join this meeting".into(),
        },
        10 => ServerMessage::Undeliverable {
            target: who,
            message: "User not connected".into(),
        },
        11 => ServerMessage::ParticipantStateUpdated {
            user: who,
            // Of the microphone the server does not lie: what it believes is compared at the end.
            muted: None,
            video_off: Some(number == 1),
            sharing: Some(true),
        },
        12 => ServerMessage::Joined { user: who },
        _ => ServerMessage::UserScreenShare {
            user: who,
            sharing: true,
        },
    }
}

/// A report that no session makes at this moment, or a late one.
fn stray_report(world: &mut World) -> Event {
    let index = world.dice.roll(world.members.len() as u64) as usize;
    let negotiation = NegotiationId(world.dice.roll(40));
    let event = match world.dice.roll(8) {
        0 => PeerEvent::OfferCreated {
            negotiation,
            sdp: sdp("stray", 1, true),
        },
        1 => PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("stray", 1, true),
        },
        2 => PeerEvent::AnswerApplied { negotiation },
        3 => PeerEvent::RolledBack { negotiation },
        4 => PeerEvent::ConnectionState(ConnectionState::Failed),
        5 => PeerEvent::Closed,
        6 => PeerEvent::KeyframeRequested,
        _ => PeerEvent::SessionDied {
            message: "stray".into(),
        },
    };
    Event::Peer {
        peer: world.members[index].id.clone(),
        // Never a generation that is open: those report for themselves.
        generation: Generation(1_000_000 + world.dice.roll(5)),
        event,
    }
}

fn command(world: &mut World, index: usize, command: Command) {
    world.fact(
        index,
        Event::CommandReceived {
            request: RequestId(1),
            command,
            source: Source::Control("uid 0, pid 1".into()),
        },
    );
}

fn trouble(world: &mut World, boxes: usize) {
    let members = world.members.len();
    let any = world.dice.roll(members as u64) as usize;
    let a_box = world.dice.roll(boxes as u64) as usize;
    match world.dice.roll(31) {
        0 => world.restart_server(),
        1 => world.server_up = !world.server_up,
        2 => {
            world.server_silent = !world.server_silent;
            if !world.server_silent {
                // What it was told meanwhile is lost, and so it does not go on as if nothing had been.
                world.restart_server();
            }
        }
        3 | 4 => world.lose_server(any),
        5 => {
            if !world.offline.remove(&a_box) {
                world.offline.insert(a_box);
                world.lose_server(a_box);
            }
        }
        6 => world.reboot_box(a_box),
        7 => world.own_ghost(a_box),
        8..=10 => {
            let other = world.dice.roll(members as u64) as usize;
            let up = world.dice.roll(2) == 0;
            world.set_path(a_box, other, up);
        }
        11 => {
            if any >= boxes {
                let camera = world.dice.roll(1_000);
                world.reload_page(any, camera);
            }
        }
        12 => {
            let muted = world.dice.roll(2) == 0;
            world.host_order(a_box, muted);
        }
        13 | 14 => world.press(a_box, Button::Mic),
        15 => world.press(a_box, Button::Camera),
        16 => {
            let wish = [
                Command::Mute,
                Command::CameraOff,
                Command::Leave,
                Command::Join,
                Command::Identify,
            ][world.dice.roll(5) as usize];
            command(world, a_box, wish);
        }
        17 => world.duplicates = !world.duplicates,
        18 => world.defective = !world.defective,
        19 => {
            let event = stray_report(world);
            world.fact(a_box, event);
        }
        20 | 21 => {
            let up = !world.has_link(a_box);
            world.set_link(a_box, up);
        }
        22 => {
            let other = world.dice.roll(members as u64) as usize;
            let deaf = world.dice.roll(2) == 0;
            world.set_deaf(other, a_box, deaf);
        }
        23 => world.hollow = !world.hollow,
        24 => {
            if any >= boxes {
                world.browser_restarts(any);
            }
        }
        25 => world.press(a_box, Button::Share),
        26 => {
            let wish = [Command::ShareOn, Command::ShareOff][world.dice.roll(2) as usize];
            command(world, a_box, wish);
        }
        27 => {
            let covered = world.dice.roll(2) == 0;
            let by = Shutter::Switch;
            world.fact(a_box, Event::LensCovered { by, covered });
        }
        28 => {
            let button = [Button::Mic, Button::Camera][world.dice.roll(2) as usize];
            // Found there, not moved: it may close and never open.
            let closed = world.dice.roll(2) == 0;
            let moved = false;
            world.fact(
                a_box,
                Event::SwitchSet {
                    button,
                    closed,
                    moved,
                },
            );
        }
        _ => {
            let message = nonsense(world);
            world.inject(a_box, message);
        }
    }
}

#[test]
fn after_any_trouble_every_meeting_becomes_whole_and_its_states_are_true() {
    let mut effects = 0;
    let mut slowest = (0, 0);
    let seeds = seeds();
    for &seed in &seeds {
        let named = Named(seed);
        let mut world = World::new(seed.wrapping_mul(0x1234_5678_9ABC_DEF1) ^ seed);
        world.tracing = seeds.len() == 1;
        let boxes = 2 + world.dice.roll(4) as usize;
        for number in 0..boxes {
            world.add_box(&format!("m-{number}"));
        }
        for (id, manner) in [
            ("a-v2", Manner::V2),
            ("z-v2", Manner::V2),
            ("b-late", Manner::V2Late),
            ("x-late", Manner::V2Late),
            ("b-v1", Manner::V1),
            ("y-v1", Manner::V1),
        ] {
            if world.dice.roll(3) == 0 {
                let camera = world.dice.roll(2_000);
                world.add_browser(id, manner, camera);
            }
        }
        for _ in 0..STEPS {
            let pause = match world.dice.roll(6) {
                0 => 0,
                1 => world.dice.roll(20_000),
                _ => world.dice.roll(700),
            };
            world.run(pause);
            if world.dice.roll(20) == 0 {
                // The machine stood still.
                let pause = 3_000 + world.dice.roll(17_000);
                world.now = world.now + std::time::Duration::from_millis(pause);
            }
            trouble(&mut world, boxes);
        }
        // The trouble is over.
        world.server_up = true;
        if std::mem::take(&mut world.server_silent) {
            world.restart_server();
        }
        world.offline.clear();
        world.defective = false;
        world.hollow = false;
        for a in 0..world.members.len() {
            world.set_link(a, true);
            for b in a + 1..world.members.len() {
                world.set_path(a, b, true);
                world.set_deaf(a, b, false);
                world.set_deaf(b, a, false);
            }
        }
        for index in 0..boxes {
            command(&mut world, index, Command::Join);
        }
        // The application's browsers lose messages in a silence for good; people load the page anew, here as there.
        for index in boxes..world.members.len() {
            let pause = world.dice.roll(5_000);
            world.run(pause);
            let camera = world.dice.roll(1_000);
            world.reload_page(index, camera);
        }
        let all: Vec<usize> = (0..world.members.len()).collect();
        world.run(10_000);
        let took = world.run_until_whole(&all, 180_000);
        if took > slowest.0 {
            slowest = (took, seed);
        }
        world.run(3_000);
        for index in 0..boxes {
            let snapshot = world.room(index).snapshot();
            assert_eq!(
                snapshot.microphone_confirmed,
                Some(snapshot.microphone_muted)
            );
            assert_eq!(snapshot.camera_confirmed, Some(snapshot.camera_off));
            assert_eq!(
                world.members[index].disk_muted, snapshot.microphone_muted,
                "a restart finds the truth"
            );
            assert_eq!(
                world.members[index].muted_at_server, snapshot.microphone_confirmed,
                "the server knows the truth"
            );
        }
        // A forged join is forgotten at the next roll call that is answered.
        world.run(70_000);
        world.run_until_whole(&all, 30_000);
        for index in 0..boxes {
            let peers = world.room(index).snapshot().peers;
            let strangers = peers.iter().any(|peer| peer.user.as_str() == "stranger");
            assert!(!strangers || peers.len() == 1, "strangers are forgotten");
            assert_eq!(
                world.members[index].shared_at_server,
                Some(world.room(index).snapshot().sharing),
                "the server knows who shares"
            );
            assert_eq!(world.miscarried(index), 0, "whoever is connected sees it");
        }
        effects += world.effects;
        drop(named);
    }
    println!(
        "{effects} effects; slowest minute after the trouble: +{} ms (seed {})",
        slowest.0, slowest.1
    );
}

#[test]
fn the_same_seed_and_events_give_the_same_effects() {
    let run = || {
        let mut world = World::new(77);
        for number in 0..4 {
            world.add_box(&format!("m-{number}"));
        }
        world.add_browser("a-v2", Manner::V2, 200);
        for _ in 0..40 {
            let pause = world.dice.roll(900);
            world.run(pause);
            trouble(&mut world, 4);
        }
        (world.effects, world.trace.clone())
    };
    assert_eq!(run(), run());
}
