//! Who offers, and who yields.

use huddled::room::*;

use super::super::bench::*;
use super::{offers, own_offer_sent};

#[test]
fn the_greater_id_offers_at_once_and_the_smaller_one_lets_the_other_begin_for_four_seconds() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.join(&["a-1", "z-1"]);
    let orders = bench.orders();
    assert!(
        orders
            .iter()
            .any(|(who, _, order)| who == "a-1" && matches!(order, PeerOrder::CreateOffer { .. }))
    );
    assert!(!orders.iter().any(|(who, ..)| who == "z-1"));
    bench.pass(3_900);
    assert!(!bench.orders().iter().any(|(who, ..)| who == "z-1"));
    bench.pass(200);
    bench.expect_offer_order("z-1");
}

#[test]
fn every_ready_is_answered_by_an_offer_and_its_twin_is_not() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.hear_ready("z-1", Dialect::Webrtc);
    let (generation, negotiation) = bench.expect_offer_order("z-1");
    bench.hear_ready("z-1", Dialect::Media);
    assert!(bench.orders().is_empty());
    bench.report(
        "z-1",
        generation,
        PeerEvent::OfferCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        },
    );
    assert_eq!(
        offers(&bench.sent()),
        [("z-1".to_owned(), Dialect::Webrtc)],
        "in the dialect of the first"
    );
}

#[test]
fn many_first_offers_are_spread_a_little() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.join(&["a-1", "a-2", "a-3", "a-4"]);
    let begun = |orders: Vec<(String, Generation, PeerOrder)>| {
        orders
            .iter()
            .filter(|(_, _, order)| *order == PeerOrder::Open)
            .count()
    };
    assert_eq!(begun(bench.orders()), 1);
    bench.pass(300);
    assert_eq!(begun(bench.orders()), 3);
}

#[test]
fn an_offer_nobody_answers_goes_out_again_and_then_in_the_other_dialect() {
    let mut bench = Bench::joined(&[]);
    bench.hear(ServerMessage::UserJoined(row("a-1")));
    let (generation, negotiation) = bench.expect_offer_order("a-1");
    bench.report(
        "a-1",
        generation,
        PeerEvent::OfferCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        },
    );
    bench.report(
        "a-1",
        generation,
        PeerEvent::LocalCandidate {
            negotiation,
            candidate: candidate(1, None),
        },
    );
    let sent = bench.sent();
    assert_eq!(offers(&sent), [("a-1".to_owned(), Dialect::Media)]);
    assert!(matches!(sent[1], ClientMessage::Candidate { .. }));
    bench.pass(1_000);
    assert_eq!(offers(&bench.sent()), [("a-1".to_owned(), Dialect::Media)]);
    bench.pass(4_000);
    let sent = bench.sent();
    assert_eq!(offers(&sent), [("a-1".to_owned(), Dialect::Webrtc)]);
    assert!(
        sent.iter().any(|m| matches!(
            m,
            ClientMessage::Candidate {
                dialect: Dialect::Webrtc,
                ..
            }
        )),
        "with its candidates"
    );
    bench.hear_answer("a-1", &sdp("a", 1, false), Dialect::Webrtc);
    assert!(matches!(
        bench.orders()[..],
        [(_, _, PeerOrder::AcceptAnswer { .. })]
    ));
}

#[test]
fn against_a_browser_we_keep_our_offer_whatever_the_ids() {
    for peer in ["a-1", "z-1"] {
        let mut bench = Bench::joined(&[]);
        let (_, negotiation) = own_offer_sent(&mut bench, peer, Dialect::Media);
        bench.hear_offer(peer, &sdp("theirs", 1, false), Dialect::Media);
        assert!(bench.take().is_empty(), "{peer}");
        bench.hear_answer(peer, &sdp("theirs", 2, false), Dialect::Media);
        assert!(bench.orders().iter().any(|(_, _, order)| matches!(
            order,
            PeerOrder::AcceptAnswer { negotiation: n, .. } if *n == negotiation
        )));
    }
}

#[test]
fn a_browser_that_may_not_have_heard_our_offer_gets_it_in_its_own_dialect() {
    let mut bench = Bench::joined(&[]);
    bench.hear(ServerMessage::UserJoined(row("a-1")));
    let (generation, negotiation) = bench.expect_offer_order("a-1");
    bench.report(
        "a-1",
        generation,
        PeerEvent::OfferCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        },
    );
    assert_eq!(offers(&bench.sent()), [("a-1".to_owned(), Dialect::Media)]);
    bench.hear_offer("a-1", &sdp("v1", 1, false), Dialect::Webrtc);
    assert_eq!(offers(&bench.sent()), [("a-1".to_owned(), Dialect::Webrtc)]);
    bench.hear_answer("a-1", &sdp("v1-new", 1, false), Dialect::Webrtc);
    assert_eq!(bench.orders().len(), 1);
}

#[test]
fn against_a_box_the_greater_id_takes_its_offer_back_and_answers() {
    let mut bench = Bench::joined(&[]);
    let (generation, own) = own_offer_sent(&mut bench, "a-1", Dialect::Media);
    let theirs = sdp("box-a", 1, true);
    bench.hear_offer("a-1", &theirs, Dialect::Media);
    let orders = bench.orders();
    assert_eq!(orders[0].2, PeerOrder::Rollback { negotiation: own });
    let PeerOrder::AcceptOffer { negotiation, .. } = orders[1].2 else {
        panic!("{orders:?}");
    };
    // What the taken-back offer still reports means nothing.
    bench.report(
        "a-1",
        generation,
        PeerEvent::RolledBack { negotiation: own },
    );
    bench.report(
        "a-1",
        generation,
        PeerEvent::LocalCandidate {
            negotiation: own,
            candidate: candidate(1, None),
        },
    );
    bench.hear_answer("a-1", &sdp("box-a", 2, true), Dialect::Media);
    assert!(bench.take().is_empty());
    bench.report(
        "a-1",
        generation,
        PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("own", 2, true),
        },
    );
    assert!(matches!(bench.sent()[..], [ClientMessage::Answer { .. }]));
}

#[test]
fn an_offer_still_being_made_is_taken_back_as_well() {
    let mut bench = Bench::joined(&[]);
    bench.hear(ServerMessage::UserJoined(row("a-1")));
    let (generation, own) = bench.expect_offer_order("a-1");
    bench.hear_offer("a-1", &sdp("box-a", 1, true), Dialect::Media);
    assert_eq!(bench.orders().len(), 2, "rollback and accept");
    bench.report(
        "a-1",
        generation,
        PeerEvent::OfferCreated {
            negotiation: own,
            sdp: sdp("own", 1, true),
        },
    );
    assert_eq!(bench.sent(), [], "a taken-back offer is never sent");
}

#[test]
fn against_a_box_the_smaller_id_keeps_its_offer() {
    let mut bench = Bench::joined(&["z-1"]);
    own_offer_sent(&mut bench, "z-1", Dialect::Media);
    bench.hear_offer("z-1", &sdp("box-z", 1, true), Dialect::Media);
    assert!(bench.take().is_empty());
    bench.hear_answer("z-1", &sdp("box-z", 2, true), Dialect::Media);
    assert_eq!(bench.orders().len(), 1);
}

#[test]
fn when_nobody_yields_the_greater_id_does_after_a_while() {
    let mut bench = Bench::joined(&[]);
    let (_, own) = own_offer_sent(&mut bench, "a-1", Dialect::Media);
    bench.hear_offer("a-1", &sdp("strange", 1, false), Dialect::Media);
    bench.pass(3_100);
    let orders = bench.orders();
    assert_eq!(orders[0].2, PeerOrder::Rollback { negotiation: own });
    assert!(matches!(orders[1].2, PeerOrder::AcceptOffer { .. }));
}

/// A V2 browser's offer, answered; candidates stand in it or not.
fn answered_offer(bench: &mut Bench, with_candidates: bool) -> Generation {
    let mut offer = sdp("z-1-1", 1, false);
    if with_candidates {
        let line = "a=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\n";
        offer = Sdp::new(&format!("{}{line}", offer.as_str()));
    }
    bench.hear_offer("z-1", &offer, Dialect::Media);
    let (generation, negotiation) = bench.expect_accept_order("z-1");
    let sdp = sdp("own", 1, true);
    bench.report(
        "z-1",
        generation,
        PeerEvent::AnswerCreated { negotiation, sdp },
    );
    let state = ConnectionState::Connecting;
    bench.report("z-1", generation, PeerEvent::ConnectionState(state));
    bench.take();
    generation
}

#[test]
fn a_peer_that_offered_and_names_no_candidates_is_asked_once_by_an_offer() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = answered_offer(&mut bench, false);
    bench.pass(1_900);
    assert!(bench.orders().is_empty());
    bench.pass(200);
    let (asked, negotiation) = bench.expect_offer_order("z-1");
    assert_eq!(asked, generation, "over the connection that is there");
    let offer = sdp("own", 2, true);
    bench.report(
        "z-1",
        asked,
        PeerEvent::OfferCreated {
            negotiation,
            sdp: offer,
        },
    );
    bench.hear_answer("z-1", &sdp("z-1-1", 2, false), Dialect::Media);
    bench.report("z-1", asked, PeerEvent::AnswerApplied { negotiation });
    bench.take();
    bench.pass(5_000);
    assert!(bench.orders().is_empty(), "once");
}

#[test]
fn a_peer_that_names_a_candidate_or_is_connected_is_not_asked() {
    let mut bench = Bench::joined(&["z-1"]);
    answered_offer(&mut bench, true);
    bench.pass(5_000);
    assert!(bench.orders().is_empty());

    let mut bench = Bench::joined(&["z-1"]);
    answered_offer(&mut bench, false);
    bench.hear(ServerMessage::Candidate {
        from: id("z-1"),
        candidate: candidate(1, None),
        dialect: Dialect::Media,
        room: None,
    });
    bench.take();
    bench.pass(5_000);
    assert!(bench.orders().is_empty());

    let mut bench = Bench::joined(&["z-1"]);
    let generation = answered_offer(&mut bench, false);
    let state = ConnectionState::Connected;
    bench.report("z-1", generation, PeerEvent::ConnectionState(state));
    bench.pass(5_000);
    assert!(bench.orders().is_empty());
}

#[test]
fn a_flood_of_offers_of_new_connections_costs_ten_and_then_one_in_a_second_and_the_last_one_counts()
{
    let mut bench = Bench::joined(&["z-1"]);
    bench.connect("z-1");
    bench.orders();
    let (mut opened, mut last) = (0, None);
    for number in 0..=1_100 {
        if number < 1_000 {
            bench.hear_offer(
                "z-1",
                &sdp(&format!("new-{number}"), 1, false),
                Dialect::Webrtc,
            );
        }
        bench.pass(10);
        for (_, _, order) in bench.orders() {
            match order {
                PeerOrder::Open => opened += 1,
                PeerOrder::AcceptOffer { sdp, .. } => last = Some(sdp),
                _ => {}
            }
        }
    }
    assert_eq!(last, Some(sdp("new-999", 1, false)));
    assert!((15..=30).contains(&opened), "{opened} connections in 10 s");
}

#[test]
fn unusable_descriptions_of_a_member_are_one_line_in_a_minute() {
    let mut bench = Bench::joined(&["z-1"]);
    let mut lines = 0;
    for number in 0..600 {
        bench.hear_offer("z-1", &Sdp::new(&format!("junk {number}")), Dialect::Webrtc);
        bench.pass(100);
        let is_line = |effect: &Effect| matches!(effect, Effect::Notify(notice) if notice.text.contains("nobody could take"));
        lines += bench.take().iter().filter(|effect| is_line(effect)).count();
    }
    assert!((1..=2).contains(&lines), "{lines} lines");
}

#[test]
fn an_endless_description_or_candidate_is_dropped() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    bench.orders();
    let long = format!(
        "{}a=x:{}\r\n",
        sdp("other", 1, false).as_str(),
        "y".repeat(300_000)
    );
    bench.hear_offer("z-1", &Sdp::new(&long), Dialect::Webrtc);
    assert!(bench.orders().is_empty());
    bench.connected("z-1", generation);
    let mut endless = candidate(1, None);
    endless.candidate.push_str(&" x y".repeat(1_000));
    bench.hear(ServerMessage::Candidate {
        from: id("z-1"),
        candidate: endless,
        dialect: Dialect::Webrtc,
        room: None,
    });
    assert!(bench.orders().is_empty());
}
