//! Stories in virtual time.

use std::time::Duration;

use huddled::room::*;

use super::bench::*;

fn position(effects: &[Effect], what: impl Fn(&Effect) -> bool) -> usize {
    effects
        .iter()
        .position(what)
        .unwrap_or_else(|| panic!("missing among {effects:#?}"))
}

fn offers(messages: &[ClientMessage]) -> Vec<(String, Dialect)> {
    messages
        .iter()
        .filter_map(|message| match message {
            ClientMessage::Offer {
                target, dialect, ..
            } => Some((target.as_str().to_owned(), *dialect)),
            _ => None,
        })
        .collect()
}

fn mic_light(bench: &Bench) -> Pattern {
    bench.room.snapshot().led_mic
}

// ---- start

#[test]
fn the_first_start_is_open_and_the_state_is_on_the_disk_before_anything_opens() {
    let mut bench = Bench::new(settings());
    bench.answers = false;
    bench.tell(Event::Started {
        persisted: Persisted::Absent,
    });
    let effects = bench.take();
    assert!(effects.iter().any(|e| matches!(
        e,
        Effect::PersistState { state, sync: true } if !state.muted && !state.camera_off
    )));
    assert!(
        !effects
            .iter()
            .any(|e| matches!(e, Effect::SetMicrophone { .. } | Effect::SetCamera { .. }))
    );
    let state = PersistedState {
        muted: false,
        camera_off: false,
        place: settings().place,
    };
    bench.tell(Event::StatePersisted { state, error: None });
    let effects = bench.take();
    assert!(effects.contains(&Effect::SetMicrophone { muted: false }));
    assert!(effects.contains(&Effect::SetCamera { off: false }));
    assert_eq!(mic_light(&bench).color, Color::Red, "not confirmed yet");
    bench.tell(Event::MicrophoneConfirmed { muted: false });
    assert_eq!(mic_light(&bench).color, Color::Green);
    assert!(!bench.take().contains(&Effect::ReportReady));
    bench.tell(Event::CameraConfirmed { off: false });
    assert!(bench.take().contains(&Effect::ReportReady));
}

#[test]
fn unreadable_state_another_place_and_a_muted_first_start_all_begin_closed() {
    let elsewhere = PersistedState {
        muted: false,
        camera_off: false,
        place: "https://elsewhere.example/m".into(),
    };
    let muted_first = RoomSettings {
        first_start: FirstStart::Muted,
        ..settings()
    };
    for (settings, persisted) in [
        (settings(), Persisted::Unreadable),
        (settings(), Persisted::Known(elsewhere)),
        (muted_first, Persisted::Absent),
    ] {
        let mut bench = Bench::new(settings);
        bench.tell(Event::Started {
            persisted: persisted.clone(),
        });
        let effects = bench.take();
        assert!(
            effects.contains(&Effect::SetMicrophone { muted: true }),
            "{persisted:?}"
        );
        assert!(effects.contains(&Effect::SetCamera { off: true }));
        assert!(!effects.contains(&Effect::SetMicrophone { muted: false }));
        assert!(effects.iter().any(|e| matches!(
            e,
            Effect::PersistState { state, .. } if state.muted && state.camera_off
        )));
        assert_eq!(bench.room.snapshot().microphone_confirmed, Some(true));
    }
}

#[test]
fn persisted_state_is_taken_up_and_not_written_again() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: Persisted::Known(PersistedState {
            muted: true,
            camera_off: false,
            place: settings().place,
        }),
    });
    let effects = bench.take();
    assert!(effects.contains(&Effect::SetMicrophone { muted: true }));
    assert!(effects.contains(&Effect::SetCamera { off: false }));
    assert!(
        !effects
            .iter()
            .any(|e| matches!(e, Effect::PersistState { .. }))
    );
}

#[test]
fn readiness_never_waits_for_the_network_nor_for_ever_for_a_pipeline() {
    let mut bench = Bench::new(settings());
    bench.answers = false;
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.take();
    bench.pass(2_900);
    assert!(!bench.take().contains(&Effect::ReportReady));
    bench.pass(200);
    let ready = |effects: &[Effect]| {
        effects
            .iter()
            .filter(|e| **e == Effect::ReportReady)
            .count()
    };
    assert_eq!(ready(&bench.take()), 1);
    bench.tell(Event::MicrophoneConfirmed { muted: false });
    bench.tell(Event::CameraConfirmed { off: false });
    assert_eq!(ready(&bench.take()), 0, "once");
}

#[test]
fn without_a_meeting_it_runs_unconfigured_and_opens_nothing() {
    let mut bench = Bench::new(RoomSettings {
        identity: None,
        ..settings()
    });
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    let effects = bench.take();
    assert!(
        !effects
            .iter()
            .any(|e| matches!(e, Effect::OpenSignaling { .. }))
    );
    assert!(effects.contains(&Effect::ReportReady));
    let snapshot = bench.room.snapshot();
    assert_eq!(snapshot.signaling, SignalingState::Unconfigured);
    assert_eq!(snapshot.led_status.shape, Shape::SlowPulse);
}

// ---- joining

#[test]
fn after_joined_everything_is_announced_once_and_in_order_and_nothing_before() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.tell(Event::SignalingOpened {
        session: bench.session,
    });
    assert_eq!(bench.sent(), [ClientMessage::Join]);
    bench.hear(ServerMessage::Participants(vec![row(OWN), row("a-1")]));
    assert_eq!(bench.sent(), [], "nothing before joined");
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    assert_eq!(
        bench.sent(),
        [
            ClientMessage::ToggleMic { muted: false },
            ClientMessage::ToggleVideo { video_off: false },
            ClientMessage::ScreenShare { sharing: false },
            ClientMessage::Ready {
                dialect: Dialect::Media
            },
            ClientMessage::Ready {
                dialect: Dialect::Webrtc
            },
            ClientMessage::RequestPeers,
        ]
    );
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    assert_eq!(bench.sent(), [], "a repeated joined announces nothing");
    assert_eq!(bench.room.snapshot().peers.len(), 1, "never ourselves");
}

#[test]
fn an_unanswered_join_is_repeated_and_then_the_connection_is_made_anew() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.tell(Event::SignalingOpened {
        session: bench.session,
    });
    let first = bench.session;
    bench.take();
    bench.pass(10_000);
    assert_eq!(bench.sent(), [ClientMessage::Join]);
    bench.pass(10_000);
    let effects = bench.take();
    assert!(effects.contains(&Effect::CloseSignaling {
        session: first,
        leave: false
    }));
    bench.pass(1_000);
    assert_ne!(bench.session, first);
}

#[test]
fn not_authorized_joins_over_rest_again_by_opening_anew() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.tell(Event::SignalingOpened {
        session: bench.session,
    });
    let first = bench.session;
    bench.hear(ServerMessage::ServerError {
        message: "Not authorized to join this meeting".into(),
    });
    assert!(bench.take().contains(&Effect::CloseSignaling {
        session: first,
        leave: false
    }));
    bench.pass(1_000);
    assert_ne!(bench.session, first);
}

#[test]
fn the_announcement_waits_for_a_slow_pipeline_and_never_claims_open_for_it() {
    let mut bench = Bench::new(settings());
    bench.answers = false;
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.tell(Event::CameraConfirmed { off: false });
    bench.join(&[]);
    assert_eq!(bench.sent(), [ClientMessage::Join]);
    bench.pass(2_000);
    let sent = bench.sent();
    assert_eq!(sent[0], ClientMessage::ToggleMic { muted: true });
    assert_eq!(sent[1], ClientMessage::ToggleVideo { video_off: false });
    bench.tell(Event::MicrophoneConfirmed { muted: false });
    assert_eq!(bench.sent(), [ClientMessage::ToggleMic { muted: false }]);
}

#[test]
fn signaling_that_overtakes_joined_is_taken_up_after_it() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.tell(Event::SignalingOpened {
        session: bench.session,
    });
    bench.hear(ServerMessage::Participants(vec![row("z-1")]));
    bench.take();
    bench.hear_offer("z-1", &sdp("z", 1, false), Dialect::Media);
    assert!(bench.orders().is_empty());
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    bench.expect_accept_order("z-1");
}

// ---- who offers

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

// ---- glare

/// Own offer sent to `peer`; returns its numbers.
fn own_offer_sent(bench: &mut Bench, peer: &str, dialect: Dialect) -> (Generation, NegotiationId) {
    bench.hear(ServerMessage::UserJoined(row(peer)));
    bench.hear_ready(peer, dialect);
    let (generation, negotiation) = bench.expect_offer_order(peer);
    bench.report(
        peer,
        generation,
        PeerEvent::OfferCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        },
    );
    bench.take();
    (generation, negotiation)
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

// ---- dialects, duplicates, strangers

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

// ---- new connections and renegotiation

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

// ---- failure

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
        !effects
            .iter()
            .any(|e| matches!(e, Effect::Peer { .. } | Effect::Send { .. })),
        "no signaling: {effects:?}"
    );
    bench.report("z-1", generation, disconnected);
    bench.pass_with_server(6);
    assert!(
        bench
            .orders()
            .contains(&("z-1".into(), generation, PeerOrder::Close))
    );
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

// ---- mute and camera

#[test]
fn mute_is_silence_then_disk_then_light_then_server() {
    let mut bench = Bench::joined(&[]);
    bench.answers = false;
    bench.press(Button::Mic);
    let effects = bench.take();
    let silence = position(&effects, |e| *e == Effect::SetMicrophone { muted: true });
    let disk = position(
        &effects,
        |e| matches!(e, Effect::PersistState { state, sync: false } if state.muted),
    );
    assert!(silence < disk);
    assert_eq!(mic_light(&bench).color, Color::Green);
    bench.tell(Event::MicrophoneConfirmed { muted: true });
    assert_eq!(mic_light(&bench).color, Color::Green, "not on the disk yet");
    assert_eq!(bench.sent(), []);
    let state = PersistedState {
        muted: true,
        camera_off: false,
        place: settings().place,
    };
    bench.tell(Event::StatePersisted { state, error: None });
    let effects = bench.take();
    let light = position(
        &effects,
        |e| matches!(e, Effect::SetLed { led: Led::Mic, pattern } if pattern.color == Color::Red),
    );
    let _ = light;
    assert!(effects.iter().any(|e| matches!(
        e,
        Effect::Send {
            message: ClientMessage::ToggleMic { muted: true },
            ..
        }
    )));
}

#[test]
fn a_failing_disk_never_keeps_the_microphone_open() {
    let mut bench = Bench::joined(&[]);
    bench.answers = false;
    bench.press(Button::Mic);
    bench.tell(Event::MicrophoneConfirmed { muted: true });
    bench.take();
    let state = PersistedState {
        muted: true,
        camera_off: false,
        place: settings().place,
    };
    bench.tell(Event::StatePersisted {
        state,
        error: Some("read-only file system".into()),
    });
    assert_eq!(mic_light(&bench).color, Color::Red);
    assert!(
        bench
            .take()
            .iter()
            .any(|e| matches!(e, Effect::Notify(notice) if notice.level == Level::Error))
    );
    // And one that never answers does not either.
    bench.press(Button::Mic);
    bench.pass(3_000);
    bench.tell(Event::MicrophoneConfirmed { muted: false });
    assert_eq!(mic_light(&bench).color, Color::Green);
}

#[test]
fn a_mute_overtakes_an_opening_that_waits_for_the_disk() {
    let mut bench = Bench::joined(&[]);
    bench.press(Button::Mic);
    bench.answers = false;
    bench.take();
    bench.press(Button::Mic);
    bench.press(Button::Mic);
    for muted in [false, true] {
        bench.tell(Event::StatePersisted {
            state: PersistedState {
                muted,
                camera_off: false,
                place: settings().place,
            },
            error: None,
        });
    }
    let effects = bench.take();
    assert!(
        !effects.contains(&Effect::SetMicrophone { muted: false }),
        "{effects:#?}"
    );
    assert_eq!(mic_light(&bench).color, Color::Red);
    assert!(bench.room.snapshot().microphone_muted);
}

#[test]
fn rapid_presses_converge_and_the_server_hears_the_last_state() {
    for presses in 1..9 {
        let mut bench = Bench::joined(&[]);
        for _ in 0..presses {
            bench.press(Button::Mic);
        }
        let muted = presses % 2 == 1;
        assert_eq!(bench.room.snapshot().microphone_confirmed, Some(muted));
        let sent = bench.sent();
        assert_eq!(sent.last(), Some(&ClientMessage::ToggleMic { muted }));
    }
}

#[test]
fn our_own_echo_causes_nothing_even_when_it_is_late() {
    let mut bench = Bench::joined(&[]);
    bench.hear(ServerMessage::UserMuted {
        user: id(OWN),
        muted: false,
    });
    bench.press(Button::Mic);
    bench.press(Button::Mic);
    assert_eq!(bench.sent().len(), 2);
    for muted in [true, false, false] {
        bench.hear(ServerMessage::UserMuted {
            user: id(OWN),
            muted,
        });
    }
    assert!(bench.take().is_empty());
    let snapshot = bench.room.snapshot();
    assert!(!snapshot.microphone_muted && !snapshot.microphone_forced);
}

#[test]
fn a_hosts_mute_is_obeyed_shown_as_forced_and_not_sent_back() {
    let mut bench = Bench::joined(&[]);
    bench.hear(ServerMessage::UserMuted {
        user: id(OWN),
        muted: false,
    });
    bench.take();
    bench.hear(ServerMessage::UserMuted {
        user: id(OWN),
        muted: true,
    });
    assert!(
        !bench
            .take()
            .iter()
            .any(|e| matches!(e, Effect::Send { .. }))
    );
    let snapshot = bench.room.snapshot();
    assert!(snapshot.microphone_muted && snapshot.microphone_forced);
    assert_eq!(snapshot.microphone_confirmed, Some(true));
    bench.press(Button::Mic);
    let snapshot = bench.room.snapshot();
    assert!(!snapshot.microphone_muted && !snapshot.microphone_forced);
    assert_eq!(bench.sent(), [ClientMessage::ToggleMic { muted: false }]);
}

#[test]
fn a_hosts_unmute_opens_nothing_ends_forced_and_is_corrected_once() {
    let mut bench = Bench::joined(&[]);
    for user_muted in [false, true, false] {
        bench.hear(ServerMessage::UserMuted {
            user: id(OWN),
            muted: user_muted,
        });
    }
    let snapshot = bench.room.snapshot();
    assert!(snapshot.microphone_muted && !snapshot.microphone_forced);
    assert_eq!(bench.sent(), [ClientMessage::ToggleMic { muted: true }]);
    bench.hear(ServerMessage::UserMuted {
        user: id(OWN),
        muted: true,
    });
    assert_eq!(bench.sent(), []);
}

#[test]
fn an_opening_that_crosses_a_hosts_mute_does_not_leave_the_server_wrong() {
    let mut bench = Bench::joined(&[]);
    bench.press(Button::Mic);
    for muted in [false, true] {
        bench.hear(ServerMessage::UserMuted {
            user: id(OWN),
            muted,
        });
    }
    bench.press(Button::Mic);
    bench.take();
    // The server saw the host's mute first and our opening second.
    bench.hear(ServerMessage::UserMuted {
        user: id(OWN),
        muted: true,
    });
    assert!(bench.room.snapshot().microphone_muted);
    assert_eq!(bench.sent(), []);
    bench.hear(ServerMessage::UserMuted {
        user: id(OWN),
        muted: false,
    });
    assert_eq!(bench.sent(), [ClientMessage::ToggleMic { muted: true }]);
    assert!(bench.room.snapshot().microphone_muted);
}

#[test]
fn a_server_that_contradicts_everything_is_corrected_once_a_second_and_not_for_ever_faster() {
    let mut bench = Bench::joined(&[]);
    bench.press(Button::Mic);
    bench.take();
    let mut corrections = 0;
    for _ in 0..500 {
        bench.hear(ServerMessage::UserMuted {
            user: id(OWN),
            muted: false,
        });
        bench.pass(20);
        corrections += bench
            .sent()
            .iter()
            .filter(|m| **m == ClientMessage::ToggleMic { muted: true })
            .count();
    }
    assert!((5..=12).contains(&corrections), "{corrections} in 10 s");
    assert!(bench.room.snapshot().microphone_muted);
}

#[test]
fn the_camera_obeys_the_same_rules_by_every_name() {
    let mut bench = Bench::joined(&[]);
    bench.hear(ServerMessage::UserVideoOff {
        user: id(OWN),
        video_off: false,
    });
    bench.take();
    bench.hear(ServerMessage::ParticipantStateUpdated {
        user: id(OWN),
        muted: None,
        video_off: Some(true),
        sharing: None,
    });
    assert!(bench.take().contains(&Effect::SetCamera { off: true }));
    let snapshot = bench.room.snapshot();
    assert!(snapshot.camera_forced && !snapshot.microphone_forced);
    bench.press(Button::Camera);
    assert_eq!(
        bench.sent(),
        [ClientMessage::ToggleVideo { video_off: false }]
    );
}

#[test]
fn states_of_others_are_hints_and_never_touch_us() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.hear(ServerMessage::UserMuted {
        user: id("z-1"),
        muted: true,
    });
    assert!(
        !bench
            .take()
            .iter()
            .any(|e| !matches!(e, Effect::SetLed { .. }))
    );
    assert!(bench.peer("z-1").muted);
    assert!(!bench.room.snapshot().microphone_muted);
}

#[test]
fn commands_close_but_cannot_open() {
    let mut bench = Bench::joined(&[]);
    let command = |bench: &mut Bench, command| {
        bench.take();
        bench.tell(Event::CommandReceived {
            request: RequestId(5),
            command,
            source: Source::Control("uid 1000, pid 4242".into()),
        });
        bench
            .take()
            .into_iter()
            .find_map(|effect| match effect {
                Effect::Reply { result, .. } => Some(result),
                _ => None,
            })
            .expect("every command is answered")
    };
    assert_eq!(command(&mut bench, Command::Mute), Ok(()));
    assert_eq!(command(&mut bench, Command::Mute), Ok(()));
    assert_eq!(command(&mut bench, Command::CameraOff), Ok(()));
    let snapshot = bench.room.snapshot();
    assert!(snapshot.microphone_muted && snapshot.camera_off);
    assert!(!snapshot.microphone_forced);
    assert_eq!(
        command(&mut bench, Command::ShareOn),
        Err(DeniedReason::NoScreenSource)
    );
    assert_eq!(command(&mut bench, Command::ShareOff), Ok(()));
    assert_eq!(command(&mut bench, Command::Press(Button::Mic)), Ok(()));
    assert!(!bench.room.snapshot().microphone_muted);

    let mut bench = Bench::new(RoomSettings {
        panel_simulated: false,
        has_screen: true,
        ..settings()
    });
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    assert_eq!(
        command(&mut bench, Command::Press(Button::Mic)),
        Err(DeniedReason::PanelNotSimulated)
    );
    assert_eq!(
        command(&mut bench, Command::ShareOn),
        Err(DeniedReason::ScreenShareUnsupported)
    );
}

#[test]
fn keyframe_wishes_are_merged_to_one_order_in_300_ms() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    let mut ordered = 0;
    for _ in 0..100 {
        bench.report("z-1", generation, PeerEvent::KeyframeRequested);
        bench.pass(10);
        ordered += bench
            .take()
            .iter()
            .filter(|e| **e == Effect::OrderKeyframe)
            .count();
    }
    assert_eq!(ordered, 4, "at 0, 300, 600 and 900 ms");
    bench.pass(1_000);
    assert!(
        bench.take().contains(&Effect::OrderKeyframe),
        "the last wish"
    );
}

// ---- signaling loss

fn lose(bench: &mut Bench) {
    bench.tell(Event::SignalingClosed {
        session: bench.session,
        failure: SignalingFailure::Unreachable {
            message: "connection reset".into(),
        },
    });
}

#[test]
fn losing_the_server_touches_no_peer_and_everything_is_said_again_after_the_return() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.connect("z-1");
    bench.press(Button::Mic);
    bench.take();
    let old = bench.session;
    lose(&mut bench);
    let snapshot = bench.room.snapshot();
    assert_eq!(snapshot.signaling, SignalingState::Reconnecting);
    assert_eq!(snapshot.banner.as_deref(), Some("Reconnecting to server"));
    assert_eq!(snapshot.led_status.shape, Shape::Blink);
    assert!(bench.orders().is_empty());
    bench.pass(1_000);
    assert_ne!(bench.session, old, "the first retry comes within a second");
    bench.take();
    bench.join(&["z-1"]);
    let effects = bench.take();
    assert!(!effects.iter().any(|e| matches!(e, Effect::Peer { .. })));
    bench.effects = effects;
    assert_eq!(
        bench.sent()[1..],
        [
            ClientMessage::ToggleMic { muted: true },
            ClientMessage::ToggleVideo { video_off: false },
            ClientMessage::ScreenShare { sharing: false },
            ClientMessage::Ready {
                dialect: Dialect::Media
            },
            ClientMessage::Ready {
                dialect: Dialect::Webrtc
            },
            ClientMessage::RequestPeers,
        ]
    );
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
}

#[test]
fn nothing_is_restarted_while_the_server_is_away_and_everything_when_it_is_back() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    lose(&mut bench);
    bench.report(
        "z-1",
        generation,
        PeerEvent::ConnectionState(ConnectionState::Disconnected),
    );
    bench.take();
    for _ in 0..100 {
        bench.pass(1_000);
        if bench.room.snapshot().signaling == SignalingState::Connecting {
            lose(&mut bench);
        }
    }
    assert!(bench.orders().is_empty(), "the old pair may heal by itself");
    while bench.room.snapshot().signaling != SignalingState::Connecting {
        bench.pass(100);
    }
    bench.take();
    bench.join(&["z-1"]);
    bench.pass(1_100);
    assert!(
        bench
            .orders()
            .contains(&("z-1".into(), generation, PeerOrder::Close))
    );
    bench.pass(1_100);
    bench.expect_offer_order("z-1");
}

#[test]
fn retries_are_quick_for_two_minutes_and_then_slow_for_ever() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    let begin = bench.now;
    let mut last = bench.now;
    let mut gaps = Vec::new();
    lose(&mut bench);
    while bench.now.since(begin) < Duration::from_secs(600) {
        bench.take();
        bench.pass(100);
        if bench
            .take()
            .iter()
            .any(|e| matches!(e, Effect::OpenSignaling { .. }))
        {
            gaps.push((bench.now.since(begin), bench.now.since(last)));
            last = bench.now;
            lose(&mut bench);
        }
    }
    assert!(gaps[0].1 <= Duration::from_millis(1_100));
    for (at, gap) in &gaps {
        if *at < Duration::from_secs(120) {
            assert!(*gap <= Duration::from_millis(3_100), "{gap:?} at {at:?}");
        } else if *at > Duration::from_secs(160) {
            assert!(*gap >= Duration::from_secs(20), "{gap:?} at {at:?}");
        }
    }
    assert!(gaps.last().is_some_and(|(at, _)| at.as_secs() > 550));
}

#[test]
fn a_refusal_is_shown_and_not_hurried() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.tell(Event::SignalingClosed {
        session: bench.session,
        failure: SignalingFailure::Refused {
            message: "login: wrong password".into(),
            needs_operator: true,
        },
    });
    let snapshot = bench.room.snapshot();
    assert_eq!(snapshot.signaling, SignalingState::Refused);
    assert_eq!(snapshot.banner.as_deref(), Some("login: wrong password"));
    assert_eq!(snapshot.led_status.shape, Shape::DoubleBlink);
    bench.take();
    let opened = |effects: &[Effect]| {
        effects
            .iter()
            .any(|e| matches!(e, Effect::OpenSignaling { .. }))
    };
    bench.pass(29_000);
    assert!(!opened(&bench.take()));
    bench.pass(12_000);
    assert!(opened(&bench.take()));
}

#[test]
fn a_silent_server_is_asked_and_then_left() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.connect("z-1");
    let first = bench.session;
    bench.pass(9_900);
    assert_eq!(bench.sent(), []);
    bench.pass(200);
    assert_eq!(bench.sent(), [ClientMessage::RequestPeers]);
    bench.hear(ServerMessage::UserJoined(row("z-1")));
    bench.pass(10_100);
    assert_eq!(bench.sent(), [ClientMessage::RequestPeers]);
    bench.pass(3_000);
    let effects = bench.take();
    assert!(effects.contains(&Effect::CloseSignaling {
        session: first,
        leave: false
    }));
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
}

#[test]
fn alone_the_server_is_asked_by_a_repeated_join_and_rarely() {
    let mut bench = Bench::joined(&[]);
    bench.pass(29_000);
    assert_eq!(bench.sent(), []);
    bench.pass(1_500);
    assert_eq!(bench.sent(), [ClientMessage::Join]);
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    assert_eq!(bench.sent(), [], "and its answer announces nothing");
    bench.pass(29_000);
    let sent = bench.sent();
    assert!(!sent.contains(&ClientMessage::Join), "{sent:?}");
}

#[test]
fn the_roster_is_refreshed_now_and_then_and_never_because_of_a_peer() {
    let mut bench = Bench::joined(&["z-1"]);
    for _ in 0..100 {
        bench.hear(ServerMessage::UserJoined(row("z-1")));
    }
    assert_eq!(bench.sent(), []);
    bench.pass_with_server(120);
    let asked = bench
        .sent()
        .iter()
        .filter(|m| **m == ClientMessage::RequestPeers)
        .count();
    assert_eq!(asked, 2);
}

#[test]
fn a_ghost_of_ourselves_is_cured_by_leaving_and_joining() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.connect("z-1");
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    assert_eq!(bench.sent(), [ClientMessage::Leave]);
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    assert_eq!(bench.sent(), [ClientMessage::Join]);
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    assert_eq!(bench.sent(), []);
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    let sent = bench.sent();
    assert_eq!(sent.len(), 6, "{sent:?}");
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
}

#[test]
fn members_who_left_while_we_were_away_are_gone_after_the_return() {
    let mut bench = Bench::joined(&["z-1", "z-2"]);
    bench.connect("z-1");
    lose(&mut bench);
    bench.pass(1_000);
    bench.join(&[]);
    assert!(!bench.has_peer("z-2"), "never connected");
    assert!(bench.has_peer("z-1"), "still connected: grace");
    bench.pass_with_server(6);
    assert!(!bench.has_peer("z-1"));
}

// ---- being sent away, leaving, stopping

#[test]
fn kicked_we_leave_at_once_and_come_back_only_on_an_order() {
    for block in [false, true] {
        let mut bench = Bench::joined(&["z-1"]);
        let generation = bench.connect("z-1");
        let (user, reason) = (id(OWN), Some("noise".to_owned()));
        bench.hear(if block {
            ServerMessage::Blocked { user, reason }
        } else {
            ServerMessage::Kicked { user, reason }
        });
        let effects = bench.take();
        assert!(effects.contains(&Effect::Peer {
            peer: id("z-1"),
            generation,
            order: PeerOrder::Close
        }));
        assert!(effects.contains(&Effect::Send {
            session: bench.session,
            message: ClientMessage::Leave
        }));
        assert!(effects.contains(&Effect::CloseSignaling {
            session: bench.session,
            leave: true
        }));
        let snapshot = bench.room.snapshot();
        assert_eq!(snapshot.signaling, SignalingState::Left);
        assert!(snapshot.banner.is_some_and(|text| text.contains("noise")));
        assert!(snapshot.peers.is_empty());
        bench.pass(600_000);
        assert!(
            !bench
                .take()
                .iter()
                .any(|e| matches!(e, Effect::OpenSignaling { .. }))
        );
        bench.tell(Event::CommandReceived {
            request: RequestId(1),
            command: Command::Join,
            source: Source::Control("uid 0, pid 1".into()),
        });
        assert!(
            bench
                .take()
                .iter()
                .any(|e| matches!(e, Effect::OpenSignaling { .. }))
        );
    }
}

#[test]
fn a_kicked_member_is_closed_at_once() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    bench.hear(ServerMessage::Kicked {
        user: id("z-1"),
        reason: None,
    });
    assert_eq!(
        bench.orders(),
        [("z-1".into(), generation, PeerOrder::Close)]
    );
    assert!(!bench.has_peer("z-1"));
}

#[test]
fn stopping_leaves_closes_everything_and_exits_once_all_is_closed_or_after_a_second() {
    for shell_answers in [true, false] {
        let mut bench = Bench::joined(&["z-1"]);
        let generation = bench.connect("z-1");
        bench.tell(Event::StopRequested);
        let effects = bench.take();
        let leave = position(&effects, |e| {
            matches!(
                e,
                Effect::Send {
                    message: ClientMessage::Leave,
                    ..
                }
            )
        });
        let close = position(&effects, |e| {
            matches!(e, Effect::CloseSignaling { leave: true, .. })
        });
        assert!(leave < close);
        assert!(!effects.contains(&Effect::Exit));
        bench.tell(Event::CommandReceived {
            request: RequestId(1),
            command: Command::Mute,
            source: Source::Control("uid 0, pid 1".into()),
        });
        assert!(bench.take().contains(&Effect::Reply {
            request: RequestId(1),
            result: Err(DeniedReason::Stopping)
        }));
        if shell_answers {
            bench.report("z-1", generation, PeerEvent::Closed);
        } else {
            bench.pass(1_000);
        }
        assert_eq!(
            bench.take().iter().filter(|e| **e == Effect::Exit).count(),
            1
        );
        assert_eq!(bench.room.poll_timeout(), None);
    }
}

#[test]
fn another_meeting_is_joined_muted_after_leaving_the_old_one() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.connect("z-1");
    let old = bench.session;
    bench.tell(Event::SettingsChanged(Box::new(RoomSettings {
        identity: Some(Identity {
            meeting: "meeting-2".into(),
            user: id(OWN),
        }),
        place: "https://server.example/meeting-2".into(),
        ..settings()
    })));
    let effects = bench.take();
    let silence = position(&effects, |e| *e == Effect::SetMicrophone { muted: true });
    let leave = position(
        &effects,
        |e| matches!(e, Effect::CloseSignaling { session, .. } if *session == old),
    );
    let open = position(&effects, |e| matches!(e, Effect::OpenSignaling { .. }));
    assert!(silence < leave && leave < open);
    bench.join(&[]);
    assert!(
        bench
            .sent()
            .contains(&ClientMessage::ToggleMic { muted: true })
    );
}

#[test]
fn identify_shows_for_ten_seconds() {
    let mut bench = Bench::joined(&[]);
    bench.tell(Event::CommandReceived {
        request: RequestId(1),
        command: Command::Identify,
        source: Source::Control("uid 0, pid 1".into()),
    });
    let shapes = |bench: &Bench| {
        let s = bench.room.snapshot();
        [s.led_mic.shape, s.led_camera.shape, s.led_status.shape]
    };
    assert_eq!(shapes(&bench), [Shape::Fast; 3]);
    bench.pass_with_server(10);
    assert!(!shapes(&bench).contains(&Shape::Fast));
}

#[test]
fn the_status_sentence_says_what_is_going_on() {
    let mut bench = Bench::joined(&["z-1", "z-2"]);
    bench.connect("z-1");
    bench.connect("z-2");
    bench.press(Button::Mic);
    let status = bench
        .take()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::ReportStatus(text) => Some(text),
            _ => None,
        })
        .next_back();
    assert_eq!(
        status.as_deref(),
        Some("In meeting with 2 peers, microphone muted")
    );
}

#[test]
fn the_snapshots_generation_counts_visible_changes_only() {
    let mut bench = Bench::joined(&["z-1"]);
    let before = bench.room.snapshot().generation;
    bench.tell(Event::ActivitySeen {
        session: bench.session,
    });
    bench.hear(ServerMessage::UserJoined(row("z-1")));
    assert_eq!(bench.room.snapshot().generation, before);
    bench.press(Button::Mic);
    assert!(bench.room.snapshot().generation > before);
}

#[test]
fn the_watchdog_is_fed_from_progress_only() {
    let mut bench = Bench::joined(&[]);
    let mut fed = 0;
    for second in 0..30 {
        bench.tell(Event::BeatsCounted(vec![
            (Stage::Video, second.min(10)),
            (Stage::Signaling, second),
        ]));
        fed += bench
            .take()
            .iter()
            .filter(|e| **e == Effect::FeedWatchdog)
            .count();
        bench.pass(1_000);
    }
    assert_eq!(fed, 21);
}
