//! Kicked, stopping, moving; what is shown.

use huddled::room::*;

use super::super::bench::*;
use super::position;

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
fn sent_away_from_one_meeting_it_joins_another_and_ordered_away_it_does_not() {
    let elsewhere = RoomSettings {
        place: "https://server.example/meeting-2".into(),
        ..settings()
    };
    for ordered in [true, false] {
        let mut bench = Bench::joined(&[]);
        if ordered {
            bench.tell(Event::CommandReceived {
                request: RequestId(1),
                command: Command::Leave,
                source: Source::Control("uid 0, pid 1".into()),
            });
        } else {
            bench.hear(ServerMessage::Kicked {
                user: id(OWN),
                reason: None,
            });
        }
        bench.take();
        bench.tell(Event::SettingsChanged(Box::new(elsewhere.clone())));
        let opened = bench
            .take()
            .iter()
            .any(|e| matches!(e, Effect::OpenSignaling { .. }));
        assert_eq!(opened, !ordered);
    }
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
