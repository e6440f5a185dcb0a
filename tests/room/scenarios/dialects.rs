//! Dialects, copies, strangers, early candidates, new connections, renegotiations.

use huddled::room::*;

use super::super::bench::*;
use super::own_offer_sent;

#[test]
fn each_peer_is_answered_in_the_dialect_it_used() {
    let mut bench = Bench::joined(&["z-1", "z-2"]);
    for (peer, dialect) in [("z-1", Dialect::Media), ("z-2", Dialect::Webrtc)] {
        bench.hear_offer(peer, &sdp(peer, 1, false), dialect);
        let (generation, negotiation) = bench.expect_accept_order(peer);
        bench.report(
            peer,
            generation,
            PeerEvent::LocalCandidate {
                negotiation,
                candidate: candidate(7, None),
            },
        );
        assert_eq!(bench.sent(), [], "held until its description is sent");
        bench.report(
            peer,
            generation,
            PeerEvent::AnswerCreated {
                negotiation,
                sdp: sdp("own", 1, true),
            },
        );
        let sent = bench.sent();
        assert!(
            matches!(&sent[0], ClientMessage::Answer { dialect: d, .. } if *d == dialect),
            "{sent:?}"
        );
        assert!(matches!(&sent[1], ClientMessage::Candidate { dialect: d, .. } if *d == dialect));
    }
}

#[test]
fn copies_of_offers_answers_and_candidates_are_dropped() {
    let mut bench = Bench::joined(&["z-1"]);
    let offer = sdp("z", 1, false);
    bench.hear_offer("z-1", &offer, Dialect::Media);
    bench.hear_offer("z-1", &offer, Dialect::Media);
    let accepted = bench.orders();
    assert_eq!(accepted.len(), 2, "open and accept, once: {accepted:?}");
    let (generation, negotiation) = match accepted[1] {
        (_, generation, PeerOrder::AcceptOffer { negotiation, .. }) => (generation, negotiation),
        _ => panic!("{accepted:?}"),
    };
    bench.report(
        "z-1",
        generation,
        PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        },
    );
    bench.take();
    bench.hear_offer("z-1", &offer, Dialect::Media);
    bench.hear_answer("z-1", &sdp("z", 1, false), Dialect::Media);
    for _ in 0..2 {
        bench.hear(ServerMessage::Candidate {
            from: id("z-1"),
            candidate: candidate(1, None),
            dialect: Dialect::Media,
            room: None,
        });
    }
    assert!(matches!(
        bench.orders()[..],
        [(_, _, PeerOrder::AddCandidate(_))]
    ));
}

#[test]
fn the_second_of_two_answers_is_dropped() {
    let mut bench = Bench::joined(&["z-1"]);
    own_offer_sent(&mut bench, "z-1", Dialect::Media);
    bench.hear_answer("z-1", &sdp("z", 1, false), Dialect::Media);
    bench.hear_answer("z-1", &sdp("z", 1, false), Dialect::Media);
    assert_eq!(bench.orders().len(), 1);
}

#[test]
fn strangers_and_other_meetings_are_not_heard_and_asked_about_once() {
    let mut bench = Bench::joined(&["z-1"]);
    for _ in 0..20 {
        bench.hear_offer("stranger", &sdp("s", 1, false), Dialect::Media);
    }
    assert_eq!(bench.sent(), [ClientMessage::RequestPeers]);
    bench.hear(ServerMessage::Offer {
        from: id("z-1"),
        sdp: sdp("z", 1, false),
        dialect: Dialect::Media,
        room: Some("another-meeting".into()),
    });
    assert!(bench.take().is_empty());
    assert!(!bench.has_peer("stranger"));
}

#[test]
fn early_candidates_wait_for_their_description_and_the_oldest_of_too_many_go() {
    let mut bench = Bench::joined(&["z-1"]);
    for number in 0..60 {
        bench.hear(ServerMessage::Candidate {
            from: id("z-1"),
            candidate: candidate(number, Some("z")),
            dialect: Dialect::Media,
            room: None,
        });
    }
    assert!(bench.orders().is_empty());
    bench.hear_offer("z-1", &sdp("z", 1, false), Dialect::Media);
    let (generation, negotiation) = bench.expect_accept_order("z-1");
    bench.report(
        "z-1",
        generation,
        PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        },
    );
    let added: Vec<u16> = bench
        .orders()
        .iter()
        .filter_map(|(_, _, order)| match order {
            PeerOrder::AddCandidate(c) => c.candidate.split(' ').nth(5)?.parse().ok(),
            _ => None,
        })
        .collect();
    assert_eq!(added, (10..60).collect::<Vec<u16>>());
    bench.hear(ServerMessage::Candidate {
        from: id("z-1"),
        candidate: candidate(99, Some("another")),
        dialect: Dialect::Media,
        room: None,
    });
    assert!(
        bench.orders().is_empty(),
        "a candidate of another connection"
    );
}

#[test]
fn an_offer_of_a_new_connection_gets_a_new_generation_and_the_newest_of_a_burst_wins() {
    let mut bench = Bench::joined(&["z-1"]);
    let first = bench.connect("z-1");
    bench.hear_offer("z-1", &sdp("new-1", 1, false), Dialect::Media);
    bench.hear_offer("z-1", &sdp("new-2", 1, false), Dialect::Media);
    let orders = bench.orders();
    assert_eq!(orders[0], ("z-1".into(), first, PeerOrder::Close));
    let accepted: Vec<_> = orders
        .iter()
        .filter(|(_, _, order)| matches!(order, PeerOrder::AcceptOffer { .. }))
        .collect();
    assert_eq!(accepted.len(), 2);
    let newest = accepted[1].1;
    assert!(newest > accepted[0].1);
    assert!(
        orders.iter().any(
            |(_, generation, order)| *generation == accepted[0].1 && *order == PeerOrder::Close
        )
    );
}

#[test]
fn a_renegotiation_and_an_ice_restart_are_applied_to_the_connection_that_is_there() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    bench.hear_offer("z-1", &sdp("z-1-1", 2, false), Dialect::Media);
    assert_eq!(bench.expect_accept_order("z-1").0, generation);
}

#[test]
fn renegotiations_during_one_are_taken_up_after_it_the_newest_only() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    bench.hear_offer("z-1", &sdp("z-1-1", 2, false), Dialect::Media);
    let (_, negotiation) = bench.expect_accept_order("z-1");
    bench.hear_offer("z-1", &sdp("z-1-1", 3, false), Dialect::Media);
    bench.hear_offer("z-1", &sdp("z-1-1", 4, false), Dialect::Media);
    assert!(bench.orders().is_empty());
    bench.report(
        "z-1",
        generation,
        PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("own", 2, true),
        },
    );
    let orders = bench.orders();
    assert!(
        matches!(&orders[..], [(_, _, PeerOrder::AcceptOffer { sdp: s, .. })] if *s == sdp("z-1-1", 4, false))
    );
}

#[test]
fn a_broken_description_does_not_cost_a_live_connection() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    for number in 0..200 {
        let junk = Sdp::new(&format!("a=fingerprint:{number}\r\nm\0=\u{1F980}"));
        bench.hear_offer("z-1", &junk, Dialect::Media);
    }
    assert!(bench.orders().is_empty());
    bench.hear_offer("z-1", &sdp("z-1-1", 9, false), Dialect::Media);
    let (_, negotiation) = bench.expect_accept_order("z-1");
    bench.report(
        "z-1",
        generation,
        PeerEvent::NegotiationFailed {
            negotiation,
            message: "applying the offer: bad line".into(),
        },
    );
    assert!(bench.orders().is_empty());
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
}

#[test]
fn a_browsers_ready_on_a_live_connection_rebuilds_it_and_a_boxs_does_not() {
    let mut bench = Bench::joined(&["z-1", "z-2"]);
    let browser = bench.connect("z-1");
    bench.hear_offer("z-2", &sdp("box", 1, true), Dialect::Media);
    let (generation, negotiation) = bench.expect_accept_order("z-2");
    bench.report(
        "z-2",
        generation,
        PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        },
    );
    bench.connected("z-2", generation);
    bench.pass_with_server(5);
    bench.take();
    bench.hear_ready("z-2", Dialect::Media);
    assert!(bench.orders().is_empty(), "media of a box goes on");
    bench.hear_ready("z-1", Dialect::Media);
    let orders = bench.orders();
    assert_eq!(orders[0], ("z-1".into(), browser, PeerOrder::Close));
    // But should the box have restarted, its silence is believed at once.
    bench.report(
        "z-2",
        generation,
        PeerEvent::ConnectionState(ConnectionState::Disconnected),
    );
    bench.expect_offer_order("z-2");
}

#[test]
fn an_offer_of_somebody_the_roster_lacks_is_answered_once_the_server_names_it() {
    let mut bench = Bench::joined(&[]);
    bench.hear_offer("z-1", &sdp("z-old", 1, false), Dialect::Media);
    bench.hear_offer("z-1", &sdp("z", 1, false), Dialect::Media);
    for from in ["z-1", "z-2"] {
        bench.hear(ServerMessage::Candidate {
            from: id(from),
            candidate: candidate(1, Some("z")),
            dialect: Dialect::Media,
            room: None,
        });
    }
    assert_eq!(bench.sent(), [ClientMessage::RequestPeers]);
    bench.hear(ServerMessage::UserJoined(row("z-1")));
    let orders = bench.orders();
    let negotiation = match &orders[..] {
        [
            (_, _, PeerOrder::Open),
            (
                _,
                _,
                PeerOrder::AcceptOffer {
                    negotiation,
                    sdp: s,
                },
            ),
        ] if *s == sdp("z", 1, false) => *negotiation,
        _ => panic!("{orders:?}"),
    };
    bench.report(
        "z-1",
        orders[0].1,
        PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        },
    );
    assert!(
        matches!(bench.orders()[..], [(_, _, PeerOrder::AddCandidate(_))]),
        "with its candidate"
    );
}

#[test]
fn an_old_offer_of_a_stranger_is_not_answered() {
    let mut bench = Bench::joined(&[]);
    bench.hear_offer("z-1", &sdp("z", 1, false), Dialect::Media);
    bench.pass(5_000);
    bench.take();
    bench.hear(ServerMessage::UserJoined(row("z-1")));
    assert!(bench.orders().is_empty());
}

#[test]
fn junk_does_not_hide_that_the_next_offer_is_of_a_new_connection() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    for junk in [
        "",
        "v=0\r\no=- x\r\nm=audio 9\r\na=fingerprint:\r\na=ice-ufrag:z-1-1",
    ] {
        bench.hear_offer("z-1", &Sdp::new(junk), Dialect::Media);
    }
    assert!(bench.orders().is_empty(), "nothing to apply");
    bench.hear_offer("z-1", &sdp("z-reloaded", 1, false), Dialect::Media);
    let orders = bench.orders();
    assert_eq!(orders[0], ("z-1".into(), generation, PeerOrder::Close));
}

#[test]
fn a_junk_answer_does_not_cost_the_connection_that_waits_for_the_real_one() {
    let mut bench = Bench::joined(&["z-1"]);
    own_offer_sent(&mut bench, "z-1", Dialect::Media);
    bench.hear_answer("z-1", &Sdp::new("v=0\r\nm=audio 9\r\n"), Dialect::Media);
    assert!(bench.orders().is_empty());
    bench.hear_answer("z-1", &sdp("z", 1, false), Dialect::Media);
    assert!(matches!(
        bench.orders()[..],
        [(_, _, PeerOrder::AcceptAnswer { .. })]
    ));
}

#[test]
fn interleaved_copies_of_two_connections_offers_do_not_bring_the_old_one_back() {
    let mut bench = Bench::joined(&["z-1"]);
    let (a, b) = (sdp("z-a", 1, false), sdp("z-b", 1, false));
    for offer in [&a, &b] {
        bench.hear_offer("z-1", offer, Dialect::Media);
    }
    bench.take();
    for copy in [&a, &b] {
        bench.hear_offer("z-1", copy, Dialect::Media);
    }
    assert!(bench.orders().is_empty());
}

#[test]
fn candidates_go_out_in_every_dialect_the_offer_went_out_in() {
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
    bench.pass(5_000);
    bench.take();
    bench.report(
        "a-1",
        generation,
        PeerEvent::LocalCandidate {
            negotiation,
            candidate: candidate(1, None),
        },
    );
    let dialects: Vec<Dialect> = bench
        .sent()
        .iter()
        .filter_map(|message| match message {
            ClientMessage::Candidate { dialect, .. } => Some(*dialect),
            _ => None,
        })
        .collect();
    assert_eq!(dialects, [Dialect::Media, Dialect::Webrtc]);
}

#[test]
fn to_a_peer_that_offered_audio_alone_our_camera_is_offered_afterwards_once() {
    let mut bench = Bench::joined(&["z-1"]);
    let audio = |version| {
        let text = sdp("z", version, false);
        Sdp::new(text.as_str().split("m=video").next().unwrap_or_default())
    };
    bench.hear_offer("z-1", &audio(1), Dialect::Media);
    let (generation, mut negotiation) = bench.expect_accept_order("z-1");
    for version in 2..4 {
        bench.report(
            "z-1",
            generation,
            PeerEvent::AnswerCreated {
                negotiation,
                sdp: sdp("own", version, true),
            },
        );
        if version == 2 {
            let (same, offered) = bench.expect_offer_order("z-1");
            assert_eq!(same, generation, "over the same connection");
            bench.report(
                "z-1",
                generation,
                PeerEvent::OfferCreated {
                    negotiation: offered,
                    sdp: sdp("own", 9, true),
                },
            );
            bench.hear_answer("z-1", &sdp("z", 9, false), Dialect::Media);
            bench.report(
                "z-1",
                generation,
                PeerEvent::AnswerApplied {
                    negotiation: offered,
                },
            );
            bench.hear_offer("z-1", &audio(version), Dialect::Media);
            negotiation = bench.expect_accept_order("z-1").1;
        }
    }
    assert!(bench.orders().is_empty(), "not for ever");
}
