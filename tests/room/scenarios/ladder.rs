//! The rungs before a new connection: suspicion, waiting, ICE restart, and the proof by packets.

use std::time::Duration;

use huddled::room::*;

use super::super::bench::*;

pub(super) const DISCONNECTED: PeerEvent =
    PeerEvent::ConnectionState(ConnectionState::Disconnected);
pub(super) const BOTH: (bool, bool) = (true, true);

/// A browser whose packets arrive, long after anybody joined.
pub(super) fn flowing(peer: &str) -> (Bench, Generation) {
    let mut bench = Bench::joined(&[peer]);
    let generation = bench.connect(peer);
    bench.packets(peer, generation);
    bench.flow(peer, generation, BOTH, 12_000);
    bench.take();
    (bench, generation)
}

pub(super) fn link(bench: &mut Bench, up: bool) {
    bench.tell(Event::LinkChanged { up });
}

pub(super) fn disconnected_from_server(bench: &mut Bench) {
    bench.tell(Event::SignalingClosed {
        session: bench.session,
        failure: SignalingFailure::Unreachable {
            message: "reset".into(),
        },
    });
}

/// Takes the orders; expects an ICE restart of this connection.
#[track_caller]
pub(super) fn expect_restart(bench: &mut Bench, of: Generation) -> NegotiationId {
    let orders = bench.orders();
    let restart = orders
        .iter()
        .find_map(|(_, generation, order)| match order {
            PeerOrder::CreateOffer {
                negotiation,
                ice_restart: true,
            } if *generation == of => Some(*negotiation),
            _ => None,
        });
    restart.unwrap_or_else(|| panic!("no restart ordered: {orders:?}"))
}

/// Answers our restart offer as the browser that is there.
pub(super) fn answer_restart(
    bench: &mut Bench,
    peer: &str,
    generation: Generation,
    negotiation: NegotiationId,
) {
    let offered = PeerEvent::OfferCreated {
        negotiation,
        sdp: sdp("own", 2, true),
    };
    bench.report(peer, generation, offered);
    let answer = Sdp::new(
        &sdp(&format!("{peer}-1"), 2, false)
            .as_str()
            .replace("a=ice-ufrag:", "a=ice-ufrag:new-"),
    );
    bench.hear_answer(peer, &answer, Dialect::Media);
    bench.report(peer, generation, PeerEvent::AnswerApplied { negotiation });
}

/// A restart offer of the box `z-box`.
pub(super) fn box_restart(round: u32) -> Sdp {
    let text = sdp("z-box-1", round, true);
    let ufrag = format!("a=ice-ufrag:round-{round}-");
    Sdp::new(&text.as_str().replace("a=ice-ufrag:", &ufrag))
}

/// Silent until the restart is ordered.
#[track_caller]
pub(super) fn restarting(peer: &str) -> (Bench, Generation, NegotiationId) {
    let (mut bench, generation) = flowing(peer);
    bench.pass_with_server(4);
    let negotiation = expect_restart(&mut bench, generation);
    (bench, generation, negotiation)
}

#[test]
fn a_silence_is_shown_after_a_second_and_a_half_and_asks_for_a_keyframe_and_nothing_more() {
    let (mut bench, generation) = flowing("z-1");
    bench.pass(1_490);
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
    bench.pass(20);
    let effects = bench.take();
    assert_eq!(published(&effects), []);
    let orders: Vec<&Effect> = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Peer { .. } | Effect::Send { .. }))
        .collect();
    assert!(
        matches!(
            orders[..],
            [
                Effect::Peer {
                    order: PeerOrder::RequestKeyframe,
                    ..
                },
                Effect::Send {
                    message: ClientMessage::RequestPeers,
                    ..
                }
            ]
        ),
        "{orders:?}"
    );
    assert_eq!(bench.peer("z-1").badge, Some(Badge::Reconnecting));
    assert_eq!(
        bench.room.snapshot().banner.as_deref(),
        Some("Reconnecting to 1 peer(s)")
    );
    bench.pass(1_000);
    bench.packets("z-1", generation);
    assert_eq!(bench.peer("z-1").badge, None, "at once");
    assert_eq!(bench.peer("z-1").attempt, 0);
    assert_eq!(published(&bench.take()), []);
    bench.flow("z-1", generation, BOTH, 60_000);
    assert!(bench.orders().is_empty());
}

#[test]
fn three_seconds_of_silence_or_the_stacks_word_on_top_of_one_and_a_half_restart_ice() {
    let (mut bench, generation) = flowing("z-1");
    bench.pass(1_600);
    bench.server_talks();
    bench.pass(1_300);
    bench.orders();
    bench.pass(300);
    expect_restart(&mut bench, generation);
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Restarting);

    let (mut bench, generation) = flowing("z-1");
    bench.pass(1_000);
    bench.report("z-1", generation, DISCONNECTED);
    assert_eq!(bench.peer("z-1").badge, Some(Badge::Reconnecting));
    bench.server_talks();
    bench.pass(450);
    assert!(bench.orders().is_empty(), "not silent for long enough");
    bench.pass(200);
    expect_restart(&mut bench, generation);

    let (mut bench, generation) = flowing("z-1");
    bench.pass(2_000);
    bench.server_talks();
    bench.orders();
    bench.report("z-1", generation, DISCONNECTED);
    bench.pass(110);
    expect_restart(&mut bench, generation);
}

#[test]
fn a_restart_is_proven_by_packets_newer_than_its_answer_and_counts_as_no_attempt() {
    let (mut bench, generation, negotiation) = restarting("z-1");
    answer_restart(&mut bench, "z-1", generation, negotiation);
    bench.connected("z-1", generation);
    assert_eq!(
        bench.peer("z-1").phase,
        PeerPhase::Restarting,
        "a state proves nothing"
    );
    bench.pass(200);
    bench.packets("z-1", generation);
    let peer = bench.peer("z-1");
    assert_eq!((peer.phase, peer.attempt), (PeerPhase::Connected, 0));
    let events = published(&bench.take());
    let is_story = |event: &RoomEvent| {
        matches!(
            event,
            RoomEvent::Reconnecting { .. } | RoomEvent::Reconnected { .. }
        )
    };
    assert!(!events.iter().any(is_story), "{events:?}");
    bench.flow("z-1", generation, BOTH, 30_000);
    assert!(bench.orders().is_empty());
}

#[test]
fn a_restart_that_claims_success_without_packets_ends_in_a_new_connection_proven_by_packets() {
    let (mut bench, old, negotiation) = restarting("z-1");
    answer_restart(&mut bench, "z-1", old, negotiation);
    bench.connected("z-1", old);
    bench.pass_with_server(2);
    assert!(
        !bench
            .orders()
            .iter()
            .any(|(_, _, order)| *order == PeerOrder::Close)
    );
    bench.pass(1_000);
    let effects = bench.take();
    assert!(published(&effects).contains(&RoomEvent::Reconnecting {
        peer: id("z-1"),
        attempt: 1,
        max_attempts: 3
    }));
    bench.pass(1_050);
    let (new, negotiation) = bench.expect_offer_order("z-1");
    assert_ne!(new, old);
    let offered = PeerEvent::OfferCreated {
        negotiation,
        sdp: sdp("own", 3, true),
    };
    bench.report("z-1", new, offered);
    bench.hear_answer("z-1", &sdp("z-1-2", 1, false), Dialect::Media);
    bench.report("z-1", new, PeerEvent::AnswerApplied { negotiation });
    bench.connected("z-1", new);
    let peer = bench.peer("z-1");
    assert_eq!((peer.phase, peer.attempt), (PeerPhase::Recreating, 1));
    let before = published(&bench.take());
    assert!(
        !before
            .iter()
            .any(|e| matches!(e, RoomEvent::PeerConnected { .. }))
    );
    bench.packets("z-1", new);
    let after = published(&bench.take());
    assert_eq!(
        after,
        [
            RoomEvent::Reconnected {
                peer: id("z-1"),
                attempts: 1
            },
            RoomEvent::PeerConnected { peer: id("z-1") }
        ]
    );
    assert_eq!(bench.peer("z-1").attempt, 0);
}

#[test]
fn a_new_connection_that_says_connected_and_brings_nothing_is_the_next_attempt() {
    let (mut bench, generation) = flowing("z-1");
    let failed = PeerEvent::ConnectionState(ConnectionState::Failed);
    bench.report("z-1", generation, failed);
    bench.pass(1_050);
    let (new, negotiation) = bench.expect_offer_order("z-1");
    let offered = PeerEvent::OfferCreated {
        negotiation,
        sdp: sdp("own", 3, true),
    };
    bench.report("z-1", new, offered);
    bench.hear_answer("z-1", &sdp("z-1-2", 1, false), Dialect::Media);
    bench.report("z-1", new, PeerEvent::AnswerApplied { negotiation });
    bench.connected("z-1", new);
    bench.take();
    bench.pass_with_server(3);
    let events = published(&bench.take());
    assert!(
        events
            .iter()
            .any(|e| matches!(e, RoomEvent::Reconnecting { attempt: 2, .. })),
        "{events:?}"
    );
}

#[test]
fn an_unanswered_restart_over_a_dead_path_ends_after_ten_seconds_in_a_new_connection() {
    let (mut bench, generation, negotiation) = restarting("z-1");
    let offered = PeerEvent::OfferCreated {
        negotiation,
        sdp: sdp("own", 2, true),
    };
    bench.report("z-1", generation, offered);
    bench.pass_with_server(9);
    assert!(bench.orders().is_empty());
    bench.pass_with_server(1);
    assert_eq!(
        bench.orders(),
        [("z-1".into(), generation, PeerOrder::Close)]
    );
}

#[test]
fn an_answer_of_another_connection_to_our_restart_makes_a_new_one_at_once() {
    let (mut bench, old, negotiation) = restarting("z-1");
    let offered = PeerEvent::OfferCreated {
        negotiation,
        sdp: sdp("own", 2, true),
    };
    bench.report("z-1", old, offered);
    bench.hear_answer("z-1", &sdp("z-rebooted", 1, false), Dialect::Media);
    assert_ne!(bench.expect_offer_order("z-1").0, old);
}

#[test]
fn a_restart_offer_of_the_peer_is_answered_and_must_bring_packets_too() {
    for comes in [true, false] {
        let (mut bench, generation) = flowing("z-1");
        let restart = Sdp::new(
            &sdp("z-1-1", 2, false)
                .as_str()
                .replace("a=ice-ufrag:", "a=ice-ufrag:new-"),
        );
        bench.hear_offer("z-1", &restart, Dialect::Media);
        let (of, negotiation) = bench.expect_accept_order("z-1");
        assert_eq!(of, generation);
        let answered = PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("own", 3, true),
        };
        bench.report("z-1", generation, answered);
        assert_eq!(bench.peer("z-1").phase, PeerPhase::Restarting);
        bench.connected("z-1", generation);
        bench.take();
        if comes {
            bench.flow("z-1", generation, BOTH, 20_000);
            assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
            assert!(bench.orders().is_empty());
        } else {
            bench.pass_with_server(3);
            assert_eq!(
                bench.orders(),
                [("z-1".into(), generation, PeerOrder::Close)]
            );
        }
    }
}

#[test]
fn a_changed_link_is_the_second_source_for_a_silence() {
    let (mut bench, generation) = flowing("z-1");
    link(&mut bench, true);
    bench.tell(Event::ActivitySeen {
        session: bench.session,
    });
    bench.pass(1_510);
    bench.orders();
    bench.server_talks();
    bench.pass(200);
    expect_restart(&mut bench, generation);
}

#[test]
fn a_lost_relay_is_the_second_source_for_a_silence_of_streams_that_do_not_end_together() {
    let (mut bench, generation) = flowing("z-1");
    let video = Some(bench.now);
    bench.pass(140);
    let audio = Some(bench.now);
    bench.report(
        "z-1",
        generation,
        PeerEvent::PacketsArrived { audio, video },
    );
    bench.report("z-1", generation, PeerEvent::RelayLost);
    bench.pass(1_370);
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Interrupted);
    bench.orders();
    bench.server_talks();
    bench.pass(300);
    expect_restart(&mut bench, generation);
}

#[test]
fn a_browser_that_chooses_the_path_gets_a_new_connection_when_a_relay_was_lost() {
    for is_box in [false, true] {
        let mut bench = Bench::joined(&["z-1"]);
        let theirs = sdp("z-1-1", 1, is_box);
        bench.hear_offer("z-1", &theirs, Dialect::Media);
        let (generation, negotiation) = bench.expect_accept_order("z-1");
        let answered = PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        };
        bench.report("z-1", generation, answered);
        bench.connected("z-1", generation);
        bench.flow("z-1", generation, BOTH, 12_000);
        bench.report("z-1", generation, PeerEvent::RelayLost);
        bench.pass(1_510);
        bench.orders();
        bench.server_talks();
        // Of two boxes the one whose offer yields goes later.
        bench.pass(600);
        if is_box {
            expect_restart(&mut bench, generation);
        } else {
            let (next, _) = bench.expect_offer_order("z-1");
            assert_ne!(next, generation);
            assert_eq!(bench.peer("z-1").phase, PeerPhase::Recreating);
        }
    }
}

#[test]
fn a_lost_relay_is_nothing_to_streams_that_flow_on() {
    let (mut bench, generation) = flowing("z-1");
    bench.report("z-1", generation, PeerEvent::RelayLost);
    bench.flow("z-1", generation, BOTH, 12_000);
    assert!(bench.orders().is_empty());
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
}

#[test]
fn nothing_is_done_in_ten_minutes_at_five_and_fifteen_per_cent_loss() {
    for percent in [5, 15] {
        for seed in 0..10 {
            let (mut bench, generation) = flowing("z-1");
            let mut dice = super::super::world::Dice(seed);
            // 50 packets of sound and 15 of the picture in a second; the shell tells the newest of each twice a second.
            let (mut audio, mut video) = (bench.now, bench.now);
            for _ in 0..1_200 {
                let begin = bench.now;
                for step in 1..=50_u64 {
                    let at = begin + Duration::from_millis(step * 10);
                    if step % 2 == 0 && dice.roll(100) >= percent {
                        audio = at;
                    }
                    if step % 6 == 0 && dice.roll(100) >= percent {
                        video = at;
                    }
                }
                bench.pass(500);
                let (audio, video) = (Some(audio), Some(video));
                bench.report(
                    "z-1",
                    generation,
                    PeerEvent::PacketsArrived { audio, video },
                );
                bench.tell(Event::ActivitySeen {
                    session: bench.session,
                });
                assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
            }
            assert!(bench.orders().is_empty(), "{percent} %, seed {seed}");
        }
    }
}

#[test]
fn nothing_is_done_about_a_member_that_is_muted_and_has_its_camera_off() {
    // Sound goes on as silence and the picture stops; or both stop, in a program that is no box.
    for audio in [true, false] {
        let (mut bench, generation) = flowing("z-1");
        let user = id("z-1");
        bench.hear(ServerMessage::UserVideoOff {
            user: user.clone(),
            video_off: true,
        });
        bench.hear(ServerMessage::UserMuted { user, muted: true });
        for _ in 0..1_200 {
            bench.flow("z-1", generation, (audio, false), 500);
            if audio {
                assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
            }
        }
        let orders = bench.orders();
        let harmless = orders
            .iter()
            .all(|(_, _, order)| *order == PeerOrder::RequestKeyframe);
        assert!(harmless && orders.len() <= 1, "{orders:?}");
        assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
        // And when it comes back, its silence counts again.
        bench.hear(ServerMessage::UserVideoOff {
            user: id("z-1"),
            video_off: false,
        });
        bench.flow("z-1", generation, BOTH, 2_000);
        bench.pass_with_server(4);
        expect_restart(&mut bench, generation);
    }
}

#[test]
fn a_picture_that_stays_away_while_sound_arrives_is_shown_for_a_moment_and_is_not_the_paths_fault()
{
    let (mut bench, generation) = flowing("z-1");
    bench.flow("z-1", generation, (true, false), 2_000);
    assert_eq!(bench.peer("z-1").badge, Some(Badge::Reconnecting));
    bench.flow("z-1", generation, (true, false), 2_000);
    assert_eq!(bench.peer("z-1").badge, None);
    bench.flow("z-1", generation, (true, false), 600_000);
    assert_eq!(bench.orders().len(), 1, "one request for a keyframe");
}

#[test]
fn several_silent_peers_recover_each_on_its_own_and_not_in_step() {
    let mut bench = Bench::joined(&["z-1", "z-2", "z-3"]);
    let peers = ["z-1", "z-2", "z-3"];
    let generations = peers.map(|peer| bench.connect(peer));
    for _ in 0..24 {
        for (peer, generation) in peers.iter().zip(generations) {
            bench.packets(peer, generation);
        }
        bench.pass(500);
        bench.tell(Event::ActivitySeen {
            session: bench.session,
        });
    }
    bench.take();
    let begin = bench.now;
    let mut moments = std::collections::BTreeSet::new();
    while bench.now.since(begin) < Duration::from_millis(4_000) {
        bench.pass(1);
        bench.tell(Event::ActivitySeen {
            session: bench.session,
        });
        if bench
            .orders()
            .iter()
            .any(|(_, _, order)| matches!(order, PeerOrder::CreateOffer { .. }))
        {
            moments.insert(bench.now);
        }
    }
    assert_eq!(moments.len(), 3, "{moments:?}");
}

#[test]
fn many_that_fail_at_once_are_all_called_again_a_little_apart() {
    let names: Vec<String> = (0..7).map(|number| format!("z-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::joined(&names);
    let generations: Vec<Generation> = names.iter().map(|name| bench.connect(name)).collect();
    bench.take();
    for (name, generation) in names.iter().zip(generations) {
        let failed = PeerEvent::ConnectionState(ConnectionState::Failed);
        bench.report(name, generation, failed);
    }
    bench.take();
    let begin = bench.now;
    let mut called = Vec::new();
    while bench.now.since(begin) < Duration::from_millis(1_500) {
        bench.pass(10);
        let orders = bench.orders();
        let offers = orders
            .iter()
            .filter(|(_, _, order)| matches!(order, PeerOrder::CreateOffer { .. }));
        called.extend(offers.map(|_| bench.now));
    }
    assert_eq!(called.len(), 7);
    called.dedup();
    assert_eq!(called.len(), 7, "{called:?}");
}

#[test]
fn a_leaver_whose_packets_stop_is_not_waited_for() {
    let (mut bench, generation) = flowing("z-1");
    bench.hear(ServerMessage::UserLeft { user: id("z-1") });
    bench.flow("z-1", generation, BOTH, 2_000);
    assert!(bench.has_peer("z-1"));
    bench.pass(1_600);
    assert!(!bench.has_peer("z-1"));
}
