//! A server that is lost, silent, refusing, or wrong about us.

use std::time::Duration;

use huddled::room::*;

use super::super::bench::*;
use super::position;

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
    bench.pass(900);
    assert!(
        bench.orders().is_empty(),
        "the old path gets a moment to heal"
    );
    bench.pass(200);
    let orders = bench.orders();
    assert_eq!(
        orders[0],
        ("z-1".into(), generation, PeerOrder::Close),
        "a browser closes what the server said had left"
    );
    assert!(matches!(orders[2].2, PeerOrder::CreateOffer { .. }));
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
fn attempts_that_are_not_answered_begin_at_most_three_seconds_apart() {
    // What the shell lets an attempt take whose packets nobody answers.
    const UNANSWERED: u64 = 3_000;
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    let begin = bench.now;
    let mut begun = vec![bench.now];
    let mut fails_at = bench.now + Duration::from_millis(UNANSWERED);
    while bench.now.since(begin) < Duration::from_secs(300) {
        bench.pass(50);
        if opened(&bench.take()) > 0 {
            begun.push(bench.now);
            fails_at = bench.now + Duration::from_millis(UNANSWERED);
        }
        if bench.now >= fails_at && bench.room.snapshot().signaling == SignalingState::Connecting {
            lose(&mut bench);
        }
    }
    for pair in begun.windows(2) {
        let (at, gap) = (pair[0].since(begin), pair[1].since(pair[0]));
        if at < Duration::from_secs(110) {
            assert!(gap <= Duration::from_millis(3_200), "{gap:?} at {at:?}");
        } else if at > Duration::from_secs(130) {
            assert!(gap >= Duration::from_secs(25), "{gap:?} at {at:?}");
        }
    }
    assert!(begun.len() > 40, "{}", begun.len());
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
    bench.pass(6_000);
    let effects = bench.take();
    let closes = |effects: &[Effect]| {
        effects
            .iter()
            .any(|e| matches!(e, Effect::CloseSignaling { .. }))
    };
    assert!(!closes(&effects), "TCP may have to say it several times");
    bench.pass(600);
    let effects = bench.take();
    assert!(effects.contains(&Effect::CloseSignaling {
        session: first,
        leave: false
    }));
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
}

/// A peer that flows, a server that has answered once, and then a silence that was asked about.
fn doubting() -> Bench {
    let mut bench = Bench::joined(&["z-1"]);
    bench.hear(ServerMessage::UserJoined(row("z-1")));
    let generation = bench.connect("z-1");
    bench.flow("z-1", generation, (true, true), 2_000);
    bench.take();
    bench.pass(1_600);
    assert_eq!(bench.sent(), [ClientMessage::RequestPeers]);
    bench
}

fn gives_up(bench: &mut Bench) -> bool {
    let session = bench.session;
    bench.take().contains(&Effect::CloseSignaling {
        session,
        leave: false,
    })
}

#[test]
fn a_server_that_talks_and_does_not_hear_is_left_three_seconds_after_it_passed_a_question_over() {
    let mut bench = doubting();
    bench.pass(1_000);
    assert!(!gives_up(&mut bench));
    // What others say comes; the answer does not.
    bench.server_talks();
    bench.pass(2_000);
    bench.server_talks();
    bench.pass(900);
    assert!(!gives_up(&mut bench));
    bench.pass(200);
    assert!(gives_up(&mut bench));
}

#[test]
fn a_server_that_answers_late_is_not_left() {
    let mut bench = doubting();
    bench.server_talks();
    bench.pass(2_900);
    bench.hear(ServerMessage::UserJoined(row("z-1")));
    bench.pass(5_000);
    assert!(!gives_up(&mut bench));
}

#[test]
fn in_a_silence_of_everything_the_question_has_no_limit_of_its_own() {
    let mut bench = doubting();
    bench.pass(6_000);
    assert!(!gives_up(&mut bench));
    // The network is back; TCP says the question again soon.
    bench.server_talks();
    bench.pass(2_900);
    bench.hear(ServerMessage::UserJoined(row("z-1")));
    bench.pass(5_000);
    assert!(!gives_up(&mut bench));
}

#[test]
fn a_server_that_never_answered_such_a_question_is_not_left_for_it() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    bench.flow("z-1", generation, (true, true), 2_000);
    bench.pass(1_600);
    for _ in 0..5 {
        bench.server_talks();
        bench.pass(1_000);
    }
    assert!(!gives_up(&mut bench));
}

#[test]
fn an_offer_of_a_peer_that_has_lost_us_while_we_have_it_asks_the_server() {
    let mut bench = Bench::joined(&["z-box"]);
    let generation = bench.answer_box("z-box");
    bench.flow("z-box", generation, (true, true), 2_000);
    bench.take();
    bench.hear_offer("z-box", &sdp("z-box-2", 1, true), Dialect::Media);
    assert!(bench.sent().contains(&ClientMessage::RequestPeers));
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

#[test]
fn a_server_that_announces_departures_as_it_goes_away_ends_no_live_connection() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.connect("z-1");
    bench.hear(ServerMessage::UserLeft { user: id("z-1") });
    lose(&mut bench);
    bench.take();
    for _ in 0..60 {
        bench.pass(1_000);
        if bench.room.snapshot().signaling == SignalingState::Connecting {
            lose(&mut bench);
        }
    }
    assert!(bench.orders().is_empty());
    while bench.room.snapshot().signaling != SignalingState::Connecting {
        bench.pass(100);
    }
    bench.take();
    bench.join(&["z-1"]);
    bench.pass_with_server(20);
    assert!(bench.orders().is_empty());
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
}

#[test]
fn a_ghost_that_comes_back_at_once_costs_the_connection_and_not_a_loop() {
    let mut bench = Bench::joined(&[]);
    let first = bench.session;
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    bench.take();
    bench.pass(1_000);
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    let effects = bench.take();
    assert!(effects.contains(&Effect::CloseSignaling {
        session: first,
        leave: false
    }));
    assert!(!effects.iter().any(|e| matches!(
        e,
        Effect::Send {
            message: ClientMessage::Leave,
            ..
        }
    )));
}

fn opened(effects: &[Effect]) -> usize {
    let opened = |effect: &&Effect| matches!(effect, Effect::OpenSignaling { .. });
    effects.iter().filter(opened).count()
}

#[test]
fn a_link_that_is_back_or_changed_retries_the_server_at_once_and_quickly_again() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    lose(&mut bench);
    bench.tell(Event::LinkChanged { up: false });
    // Far into the slow retries.
    for _ in 0..400 {
        bench.pass(1_000);
        if bench.room.snapshot().signaling == SignalingState::Connecting {
            lose(&mut bench);
        }
    }
    bench.take();
    bench.tell(Event::LinkChanged { up: true });
    assert_eq!(opened(&bench.take()), 1, "at once");
    assert_eq!(
        bench.room.snapshot().banner.as_deref(),
        Some("Reconnecting to server")
    );
    lose(&mut bench);
    bench.pass(3_000);
    assert_eq!(opened(&bench.take()), 1, "and not slowly");
    // What was begun over the old link is begun anew.
    bench.tell(Event::LinkChanged { up: true });
    let effects = bench.take();
    let close = position(&effects, |e| {
        matches!(e, Effect::CloseSignaling { leave: false, .. })
    });
    let open = position(&effects, |e| matches!(e, Effect::OpenSignaling { .. }));
    assert!(close < open);
}

#[test]
fn a_session_that_seems_to_stand_is_asked_when_the_link_changes_and_given_up_if_it_is_silent() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.tell(Event::LinkChanged { up: true });
    assert_eq!(bench.sent(), [ClientMessage::RequestPeers]);
    bench.pass(500);
    bench.hear(ServerMessage::UserJoined(row("z-1")));
    bench.pass(5_000);
    assert_eq!(bench.room.snapshot().signaling, SignalingState::Joined);
    bench.tell(Event::LinkChanged { up: true });
    bench.take();
    bench.pass(900);
    assert_eq!(
        opened(&bench.take()),
        1,
        "at once: the old address was the reason"
    );
    assert_eq!(bench.room.snapshot().signaling, SignalingState::Connecting);
    assert_eq!(
        bench.room.snapshot().banner.as_deref(),
        Some("Reconnecting to server")
    );
}

#[test]
fn a_refusal_is_obeyed_whatever_the_link_does() {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.tell(Event::SignalingClosed {
        session: bench.session,
        failure: SignalingFailure::Refused {
            message: "replaced by another session".into(),
            needs_operator: true,
        },
    });
    bench.take();
    for up in [true, false, true] {
        bench.tell(Event::LinkChanged { up });
    }
    assert_eq!(opened(&bench.take()), 0);
    assert_eq!(
        bench.room.snapshot().banner.as_deref(),
        Some("replaced by another session")
    );
}
