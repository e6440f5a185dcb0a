//! Peers that fail, never answer, or leave.

use std::time::Duration;

use huddled::room::*;

use super::super::bench::*;
use super::own_offer_sent;

#[test]
fn a_failed_peer_is_tried_after_one_two_and_four_seconds_and_then_slowly_for_ever() {
    let mut bench = Bench::joined(&["z-1"]);
    let mut generation = bench.connect("z-1");
    for (attempt, wait) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
        bench.report(
            "z-1",
            generation,
            PeerEvent::ConnectionState(ConnectionState::Failed),
        );
        let effects = bench.take();
        assert!(published(&effects).contains(&RoomEvent::Reconnecting {
            peer: id("z-1"),
            attempt,
            max_attempts: 3
        }));
        assert_eq!(bench.peer("z-1").phase, PeerPhase::Recreating);
        assert_eq!(
            bench.room.snapshot().banner.as_deref(),
            Some("Reconnecting to 1 peer(s)")
        );
        assert_eq!(bench.room.snapshot().led_status.color, Color::Amber);
        bench.pass(wait - 10);
        assert!(bench.orders().is_empty());
        bench.pass(20);
        generation = bench.expect_offer_order("z-1").0;
    }
    bench.report(
        "z-1",
        generation,
        PeerEvent::ConnectionState(ConnectionState::Failed),
    );
    let effects = bench.take();
    assert!(published(&effects).contains(&RoomEvent::ReconnectFailed {
        peer: id("z-1"),
        attempts: 3
    }));
    assert_eq!(bench.peer("z-1").badge, Some(Badge::Failed));
    assert_eq!(bench.room.snapshot().led_status.shape, Shape::DoubleBlink);
    bench.pass_with_server(26);
    assert!(bench.orders().is_empty());
    bench.pass_with_server(11);
    let (generation, negotiation) = bench.expect_offer_order("z-1");
    bench.report(
        "z-1",
        generation,
        PeerEvent::OfferCreated {
            negotiation,
            sdp: sdp("own", 9, true),
        },
    );
    bench.hear_answer("z-1", &sdp("z-9", 1, false), Dialect::Media);
    bench.report("z-1", generation, PeerEvent::AnswerApplied { negotiation });
    bench.connected("z-1", generation);
    let effects = bench.take();
    assert!(
        published(&effects)
            .iter()
            .any(|e| matches!(e, RoomEvent::Reconnected { attempts: 4, .. }))
    );
    assert_eq!(bench.peer("z-1").attempt, 0);
    assert_eq!(bench.room.snapshot().banner, None);
}

#[test]
fn a_fresh_offer_of_a_failed_peer_is_answered_and_starts_afresh() {
    let mut bench = Bench::joined(&["z-1"]);
    let mut generation = bench.connect("z-1");
    for wait in [1_100, 2_100, 4_100, 0] {
        bench.report(
            "z-1",
            generation,
            PeerEvent::SessionDied {
                message: "its loop ended".into(),
            },
        );
        bench.take();
        if wait > 0 {
            bench.pass(wait);
            generation = bench.expect_offer_order("z-1").0;
        }
    }
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Failed);
    bench.hear_offer("z-1", &sdp("z-new", 1, false), Dialect::Media);
    let (generation, _) = bench.expect_accept_order("z-1");
    assert_eq!(bench.peer("z-1").attempt, 0);
    bench.connected("z-1", generation);
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
}

#[test]
fn a_short_disconnection_is_waited_for_and_a_long_one_is_not() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    bench.pass_with_server(11);
    let disconnected = PeerEvent::ConnectionState(ConnectionState::Disconnected);
    bench.report("z-1", generation, disconnected.clone());
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Interrupted);
    bench.pass_with_server(3);
    bench.report(
        "z-1",
        generation,
        PeerEvent::ConnectionState(ConnectionState::Connected),
    );
    let effects = bench.take();
    assert!(
        !effects.iter().any(|e| matches!(
            e,
            Effect::Peer { .. }
                | Effect::Send {
                    message: ClientMessage::Offer { .. },
                    ..
                }
        )),
        "no signaling: {effects:?}"
    );
    bench.report("z-1", generation, disconnected);
    bench.pass_with_server(4);
    assert!(
        matches!(
            bench.orders()[..],
            [(_, of, PeerOrder::CreateOffer { ice_restart: true, .. })] if of == generation
        ),
        "over the same connection"
    );
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Restarting);
}

#[test]
fn connecting_that_never_ends_is_a_failure() {
    let mut bench = Bench::joined(&["z-1"]);
    let (generation, negotiation) = own_offer_sent(&mut bench, "z-1", Dialect::Media);
    bench.hear_answer("z-1", &sdp("z", 1, false), Dialect::Media);
    bench.report("z-1", generation, PeerEvent::AnswerApplied { negotiation });
    bench.report(
        "z-1",
        generation,
        PeerEvent::ConnectionState(ConnectionState::Connecting),
    );
    bench.take();
    bench.pass_with_server(14);
    assert!(bench.orders().is_empty());
    bench.pass_with_server(2);
    assert!(
        bench
            .orders()
            .contains(&("z-1".into(), generation, PeerOrder::Close))
    );
}

#[test]
fn a_ghost_row_gets_few_offers_and_never_counts_as_failed() {
    let mut bench = Bench::joined(&[]);
    bench.hear(ServerMessage::UserJoined(row("a-ghost")));
    let begin = bench.now;
    let mut sent_at = Vec::new();
    let mut negotiated = std::collections::BTreeSet::new();
    while bench.now.since(begin) < Duration::from_secs(400) {
        for effect in bench.take() {
            match effect {
                Effect::Peer {
                    generation,
                    order: PeerOrder::CreateOffer { negotiation, .. },
                    ..
                } if negotiated.insert(negotiation) => bench.report(
                    "a-ghost",
                    generation,
                    PeerEvent::OfferCreated {
                        negotiation,
                        sdp: sdp("own", 1, true),
                    },
                ),
                Effect::Send {
                    message: ClientMessage::Offer { .. },
                    ..
                } => sent_at.push(bench.now.since(begin).as_secs_f64()),
                Effect::Publish(event) => assert!(
                    !matches!(
                        event,
                        RoomEvent::Reconnecting { .. } | RoomEvent::ReconnectFailed { .. }
                    ),
                    "{event:?}"
                ),
                _ => {}
            }
        }
        assert_eq!(bench.peer("a-ghost").phase, PeerPhase::Negotiating);
        assert_eq!(bench.room.snapshot().banner, None);
        assert_eq!(bench.room.snapshot().led_status.shape, Shape::SlowPulse);
        bench.pass(100);
        bench.tell(Event::ActivitySeen {
            session: bench.session,
        });
    }
    let early = sent_at.iter().filter(|at| **at < 25.2).count();
    let late = sent_at.len() - early;
    println!("offers to a ghost: {sent_at:.1?}");
    assert!((3..=10).contains(&early), "{early} offers in 25 s");
    assert!((3..=7).contains(&late), "{late} offers afterwards");
}

#[test]
fn a_leaver_takes_its_timers_along() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    bench.report(
        "z-1",
        generation,
        PeerEvent::ConnectionState(ConnectionState::Failed),
    );
    bench.hear(ServerMessage::UserLeft { user: id("z-1") });
    assert!(!bench.has_peer("z-1"));
    bench.take();
    bench.pass_with_server(60);
    assert!(bench.orders().is_empty());
}

#[test]
fn user_left_keeps_a_live_connection_for_five_seconds_and_for_good_if_it_reappears() {
    let mut bench = Bench::joined(&["z-1", "z-2"]);
    let gone = bench.connect("z-1");
    bench.connect("z-2");
    for user in ["z-1", "z-2"] {
        bench.hear(ServerMessage::UserLeft { user: id(user) });
    }
    bench.pass_with_server(2);
    bench.hear(ServerMessage::UserJoined(row("z-2")));
    assert!(
        !bench
            .orders()
            .iter()
            .any(|(_, _, order)| *order == PeerOrder::Close)
    );
    bench.pass_with_server(4);
    assert_eq!(bench.orders(), [("z-1".into(), gone, PeerOrder::Close)]);
    assert!(!bench.has_peer("z-1"));
    assert_eq!(bench.peer("z-2").phase, PeerPhase::Connected);
}

#[test]
fn late_reports_of_a_closed_generation_mean_nothing() {
    let mut bench = Bench::joined(&["z-1"]);
    let old = bench.connect("z-1");
    bench.hear_offer("z-1", &sdp("new", 1, false), Dialect::Media);
    bench.take();
    bench.report(
        "z-1",
        old,
        PeerEvent::ConnectionState(ConnectionState::Failed),
    );
    bench.report("z-1", old, PeerEvent::Closed);
    bench.report("z-1", old, PeerEvent::KeyframeRequested);
    assert!(bench.take().is_empty());
}

#[test]
fn a_connection_that_never_reports_what_it_was_ordered_is_made_anew() {
    let silent = |bench: &mut Bench, generation: Generation| {
        bench.pass_with_server(9);
        assert!(bench.orders().is_empty());
        bench.pass_with_server(1);
        assert_eq!(
            bench.orders(),
            [("z-1".into(), generation, PeerOrder::Close)]
        );
        assert_eq!(bench.peer("z-1").phase, PeerPhase::Recreating);
        bench.pass(1_000);
        bench.expect_offer_order("z-1");
    };
    // An offer that is never created.
    let mut bench = Bench::joined(&["z-1"]);
    bench.hear_ready("z-1", Dialect::Media);
    let (generation, _) = bench.expect_offer_order("z-1");
    silent(&mut bench, generation);
    // An answer that is never created.
    let mut bench = Bench::joined(&["z-1"]);
    bench.hear_offer("z-1", &sdp("z", 1, false), Dialect::Media);
    let (generation, _) = bench.expect_accept_order("z-1");
    silent(&mut bench, generation);
    // An answer that is never applied.
    let mut bench = Bench::joined(&["z-1"]);
    let (generation, _) = own_offer_sent(&mut bench, "z-1", Dialect::Media);
    bench.hear_answer("z-1", &sdp("z", 1, false), Dialect::Media);
    bench.take();
    silent(&mut bench, generation);
}

#[test]
fn after_a_long_pause_of_the_machine_everything_due_is_done_at_once() {
    let mut bench = Bench::joined(&[]);
    own_offer_sent(&mut bench, "a-1", Dialect::Media);
    bench.hear_offer("a-1", &sdp("strange", 1, false), Dialect::Media);
    bench.now = bench.now + Duration::from_secs(6);
    bench.pass(0);
    let next = bench.room.poll_timeout().map(|(at, _)| at);
    assert!(next.is_some_and(|at| at > bench.now), "{next:?}");
}

#[test]
fn a_late_answer_to_an_offer_given_up_does_not_leave_two_halves_that_do_not_fit() {
    let mut bench = Bench::joined(&["z-1"]);
    let (generation, negotiation) = own_offer_sent(&mut bench, "z-1", Dialect::Media);
    // What we take for the answer was given to an earlier offer.
    let late = sdp("late", 1, false);
    bench.hear_answer("z-1", &late, Dialect::Media);
    bench.report("z-1", generation, PeerEvent::AnswerApplied { negotiation });
    bench.take();
    bench.hear_answer("z-1", &sdp("right", 1, false), Dialect::Media);
    let orders = bench.orders();
    assert_eq!(orders[0], ("z-1".into(), generation, PeerOrder::Close));
    let (generation, negotiation) = match orders[2] {
        (_, generation, PeerOrder::CreateOffer { negotiation, .. }) => (generation, negotiation),
        _ => panic!("{orders:?}"),
    };
    bench.report(
        "z-1",
        generation,
        PeerEvent::OfferCreated {
            negotiation,
            sdp: sdp("own", 2, true),
        },
    );
    bench.hear_answer("z-1", &sdp("right", 1, false), Dialect::Media);
    assert!(bench.orders().is_empty(), "its copy answers nothing");
    bench.hear_answer("z-1", &sdp("newest", 1, false), Dialect::Media);
    assert!(matches!(
        bench.orders()[..],
        [(_, _, PeerOrder::AcceptAnswer { .. })]
    ));
}

#[test]
fn a_connection_that_falls_back_to_new_is_not_shown_as_connected_and_not_waited_for_for_ever() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    bench.report(
        "z-1",
        generation,
        PeerEvent::ConnectionState(ConnectionState::New),
    );
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Interrupted);
    bench.take();
    bench.pass_with_server(15);
    assert!(
        bench
            .orders()
            .contains(&("z-1".into(), generation, PeerOrder::Close))
    );
}

#[test]
fn after_our_return_an_absent_row_is_called_in_the_rhythm_of_a_new_member() {
    let mut bench = Bench::joined(&[]);
    bench.hear(ServerMessage::UserJoined(row("a-1")));
    // Long enough for the slow rhythm, and into its pause.
    for _ in 0..45 {
        let orders = bench.orders();
        for (_, generation, order) in orders {
            if let PeerOrder::CreateOffer { negotiation, .. } = order {
                bench.report(
                    "a-1",
                    generation,
                    PeerEvent::OfferCreated {
                        negotiation,
                        sdp: sdp("own", 1, true),
                    },
                );
            }
        }
        bench.pass_with_server(1);
    }
    bench.tell(Event::SignalingClosed {
        session: bench.session,
        failure: SignalingFailure::Unreachable {
            message: "reset".into(),
        },
    });
    bench.pass(1_000);
    bench.take();
    bench.join(&["a-1"]);
    bench.pass(100);
    bench.expect_offer_order("a-1");
}
