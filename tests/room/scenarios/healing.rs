//! The rung before all others: an old path that heals by itself is waited for, and who is back gets pictures at once.

use std::time::Duration;

use huddled::room::*;

use super::super::bench::*;
use super::ladder::*;

#[test]
fn a_restart_waits_for_a_sign_of_life_of_the_server_that_is_newer_than_the_silence() {
    let (mut bench, generation) = flowing("z-1");
    bench.pass(1_600);
    assert_eq!(bench.sent(), [ClientMessage::RequestPeers], "it is asked");
    bench.pass(6_000);
    assert!(
        bench.orders().is_empty(),
        "it may be as far away as the peer"
    );
    bench.server_talks();
    bench.pass(990);
    assert!(
        bench.orders().is_empty(),
        "the path may be back with the server"
    );
    bench.pass(120);
    expect_restart(&mut bench, generation);
}

#[test]
fn a_boxs_restart_offer_that_comes_with_the_network_gives_the_old_path_a_moment() {
    for heals in [true, false] {
        let mut bench = Bench::joined(&["z-box"]);
        let generation = bench.answer_box("z-box");
        bench.packets("z-box", generation);
        bench.flow("z-box", generation, BOTH, 12_000);
        bench.pass(9_000);
        bench.take();
        bench.hear_offer("z-box", &box_restart(2), Dialect::Media);
        bench.pass(200);
        assert!(bench.orders().is_empty(), "it was long under way");
        if heals {
            bench.flow("z-box", generation, BOTH, 3_000);
            assert!(bench.orders().is_empty(), "the path has healed");
        } else {
            bench.pass(900);
            assert_eq!(bench.expect_accept_order("z-box").0, generation);
        }
    }
}

#[test]
fn a_boxs_restart_offer_that_the_healing_has_overtaken_is_not_taken_up() {
    let mut bench = Bench::joined(&["z-box"]);
    let generation = bench.answer_box("z-box");
    bench.packets("z-box", generation);
    bench.flow("z-box", generation, BOTH, 12_000);
    bench.pass(2_000);
    bench.packets("z-box", generation);
    bench.take();
    bench.hear_offer("z-box", &box_restart(2), Dialect::Media);
    assert!(bench.orders().is_empty(), "it was under way in the silence");
    bench.flow("z-box", generation, BOTH, 6_000);
    bench.hear_offer("z-box", &box_restart(3), Dialect::Media);
    assert_eq!(
        bench.expect_accept_order("z-box").0,
        generation,
        "this one is meant"
    );
}

#[test]
fn an_unanswered_restart_loses_nothing_and_the_old_path_may_heal_meanwhile() {
    let (mut bench, generation, negotiation) = restarting("z-1");
    let offered = PeerEvent::OfferCreated {
        negotiation,
        sdp: sdp("own", 2, true),
    };
    bench.report("z-1", generation, offered);
    bench.report("z-1", generation, DISCONNECTED);
    bench.pass_with_server(6);
    assert_eq!(
        bench.peer("z-1").phase,
        PeerPhase::Restarting,
        "it may be as cut off as we were"
    );
    assert!(bench.orders().is_empty());
    bench.report(
        "z-1",
        generation,
        PeerEvent::ConnectionState(ConnectionState::Connected),
    );
    bench.packets("z-1", generation);
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
    bench.flow("z-1", generation, BOTH, 10_000);
    assert_eq!(
        bench.orders(),
        [(
            "z-1".into(),
            generation,
            PeerOrder::Rollback { negotiation }
        )]
    );
}

#[test]
fn without_link_or_server_the_box_waits_and_no_attempt_is_used_up() {
    for by_link in [true, false] {
        let (mut bench, generation) = flowing("z-1");
        if by_link {
            link(&mut bench, false);
            assert_eq!(
                bench.room.snapshot().banner.as_deref(),
                Some("Reconnecting to server")
            );
        } else {
            disconnected_from_server(&mut bench);
        }
        bench.pass(2_000);
        bench.report("z-1", generation, DISCONNECTED);
        bench.pass(15_000);
        assert!(
            !bench
                .orders()
                .iter()
                .any(|(_, _, order)| *order != PeerOrder::RequestKeyframe),
            "by_link={by_link}"
        );
        let failed = PeerEvent::ConnectionState(ConnectionState::Failed);
        bench.report("z-1", generation, failed);
        bench.pass(10_000);
        assert_eq!(bench.peer("z-1").attempt, 0);
        assert_eq!(
            bench.orders(),
            [("z-1".into(), generation, PeerOrder::Close)]
        );
    }
}

#[test]
fn after_the_link_is_back_the_old_path_gets_a_second_and_then_the_ladder_goes_on() {
    for heals in [true, false] {
        let (mut bench, generation) = flowing("z-1");
        link(&mut bench, false);
        bench.pass(5_000);
        bench.report("z-1", generation, DISCONNECTED);
        bench.take();
        link(&mut bench, true);
        assert!(
            bench.sent().contains(&ClientMessage::RequestPeers),
            "the server is asked whether it is still there"
        );
        bench.tell(Event::ActivitySeen {
            session: bench.session,
        });
        if heals {
            bench.pass(300);
            bench.report(
                "z-1",
                generation,
                PeerEvent::ConnectionState(ConnectionState::Connected),
            );
            bench.packets("z-1", generation);
            bench.flow("z-1", generation, BOTH, 30_000);
            assert!(bench.orders().is_empty());
        } else {
            bench.pass(900);
            assert!(bench.orders().is_empty());
            bench.pass(200);
            expect_restart(&mut bench, generation);
        }
    }
}

#[test]
fn how_long_the_old_path_gets_is_a_setting() {
    let (mut bench, generation) = flowing("z-1");
    let mut changed = settings();
    changed.recovery.healing = Duration::from_millis(2500);
    bench.tell(Event::SettingsChanged(Box::new(changed)));
    link(&mut bench, false);
    bench.pass(5_000);
    bench.report("z-1", generation, DISCONNECTED);
    link(&mut bench, true);
    bench.tell(Event::ActivitySeen {
        session: bench.session,
    });
    bench.take();
    bench.pass(2_400);
    assert!(bench.orders().is_empty());
    bench.pass(200);
    expect_restart(&mut bench, generation);
}

#[test]
fn a_peer_whose_path_is_back_gets_another_keyframe_half_a_second_later() {
    let (mut bench, generation) = flowing("z-1");
    bench.pass(2_000);
    bench.packets("z-1", generation);
    bench.take();
    bench.pass(490);
    assert!(!bench.take().contains(&Effect::OrderKeyframe));
    bench.pass(20);
    assert!(bench.take().contains(&Effect::OrderKeyframe));
}

#[test]
fn a_peer_of_which_only_sound_is_back_gets_that_keyframe_too() {
    let (mut bench, generation) = flowing("z-1");
    bench.pass(2_000);
    bench.take();
    bench.flow("z-1", generation, (true, false), 2_000);
    assert_eq!(bench.peer("z-1").badge, None);
    assert!(bench.take().contains(&Effect::OrderKeyframe));
}

/// The link changed, the server was lost over it and is back, and nothing arrives of a browser that has said nothing since.
fn moved(peer: &str) -> (Bench, Generation) {
    let (mut bench, generation) = flowing(peer);
    link(&mut bench, true);
    disconnected_from_server(&mut bench);
    while bench.room.snapshot().signaling != SignalingState::Connecting {
        bench.pass(100);
    }
    bench.join(&[peer]);
    bench.take();
    (bench, generation)
}

/// Takes the orders: the connection is closed, and another one offered.
#[track_caller]
fn expect_new_connection(bench: &mut Bench, old: Generation) {
    let orders = bench.orders();
    let closed = orders.contains(&("z-1".into(), old, PeerOrder::Close));
    let offered = orders.iter().any(|(_, of, order)| {
        let is_new = matches!(
            order,
            PeerOrder::CreateOffer {
                ice_restart: false,
                ..
            }
        );
        is_new && *of != old
    });
    assert!(closed && offered, "{orders:?}");
}

#[test]
fn after_a_change_of_the_link_a_browser_that_did_not_notice_keeps_its_connection() {
    let (mut bench, generation) = moved("z-1");
    bench.report("z-1", generation, DISCONNECTED);
    let negotiation = expect_restart(&mut bench, generation);
    answer_restart(&mut bench, "z-1", generation, negotiation);
    bench.pass(200);
    let connected = PeerEvent::ConnectionState(ConnectionState::Connected);
    bench.report("z-1", generation, connected.clone());
    bench.packets("z-1", generation);
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
    // What the stack says of the old path comes late.
    bench.report("z-1", generation, DISCONNECTED);
    bench.report("z-1", generation, connected);
    bench.flow("z-1", generation, BOTH, 20_000);
    let made = bench.orders();
    assert!(
        made.iter().all(|(_, of, _)| *of == generation),
        "no other connection: {made:?}"
    );
}

#[test]
fn after_a_change_of_the_link_a_browser_without_a_connection_gets_a_new_one_when_the_restart_is_over()
 {
    let (mut bench, generation) = moved("z-1");
    bench.report("z-1", generation, DISCONNECTED);
    expect_restart(&mut bench, generation);
    bench.take();
    bench.pass_with_server(5);
    expect_new_connection(&mut bench, generation);
}

#[test]
fn after_a_change_of_the_link_a_browser_that_says_it_begins_anew_gets_a_new_connection_at_once() {
    let (mut bench, generation) = moved("z-1");
    bench.report("z-1", generation, DISCONNECTED);
    let offered = PeerEvent::OfferCreated {
        negotiation: expect_restart(&mut bench, generation),
        sdp: sdp("own", 2, true),
    };
    bench.report("z-1", generation, offered);
    bench.hear_ready("z-1", Dialect::Media);
    expect_new_connection(&mut bench, generation);
}
