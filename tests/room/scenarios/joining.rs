//! From the connection to the announcement.

use huddled::room::*;

use super::super::bench::*;

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
    bench.echo(true);
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

fn connecting() -> Bench {
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.tell(Event::SignalingOpened {
        session: bench.session,
    });
    bench.take();
    bench
}

/// What a server that says no does: its words, then the disconnect.
fn refuse(bench: &mut Bench, words: &str) {
    let session = bench.session;
    bench.hear(ServerMessage::ServerError {
        message: words.into(),
    });
    bench.tell(Event::SignalingClosed {
        session,
        failure: SignalingFailure::Refused {
            message: words.into(),
            needs_operator: words.starts_with("Authentication"),
        },
    });
}

#[test]
fn a_refusal_on_the_socket_is_shown_and_not_hurried() {
    let mut bench = connecting();
    refuse(&mut bench, "Authentication required");
    let snapshot = bench.room.snapshot();
    assert_eq!(snapshot.signaling, SignalingState::Refused);
    assert_eq!(snapshot.banner.as_deref(), Some("Authentication required"));
    assert_eq!(snapshot.led_status.shape, Shape::DoubleBlink);
    let effects = bench.take();
    let told = effects
        .iter()
        .any(|e| matches!(e, Effect::Notify(notice) if notice.level == Level::Error));
    assert!(told, "{effects:?}");
    bench.pass(29_000);
    assert_eq!(
        bench.room.snapshot().signaling,
        SignalingState::Refused,
        "an operator's matter is not hurried"
    );
}

#[test]
fn a_second_no_to_the_join_is_a_refusal_even_after_an_outage() {
    let mut bench = connecting();
    let session = bench.session;
    bench.tell(Event::SignalingClosed {
        session,
        failure: SignalingFailure::Unreachable {
            message: "reset".into(),
        },
    });
    for expected in [SignalingState::Reconnecting, SignalingState::Refused] {
        while bench.room.snapshot().signaling != SignalingState::Connecting {
            bench.pass(100);
        }
        bench.tell(Event::SignalingOpened {
            session: bench.session,
        });
        refuse(&mut bench, "Not authorized to join this meeting");
        assert_eq!(bench.room.snapshot().signaling, expected);
    }
    bench.pass(7_000);
    assert_eq!(
        bench.room.snapshot().signaling,
        SignalingState::Connecting,
        "it may pass by itself"
    );
}

#[test]
fn an_exception_of_the_server_does_not_end_a_join_and_many_are_told_once() {
    let mut bench = connecting();
    for _ in 0..50 {
        bench.hear(ServerMessage::Exception {
            message: "Internal server error".into(),
        });
    }
    assert_eq!(bench.room.snapshot().signaling, SignalingState::Joining);
    assert_eq!(bench.take().len(), 1, "one notice");
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    for _ in 0..50 {
        bench.hear(ServerMessage::ServerError {
            message: "Internal server error".into(),
        });
    }
    let told = bench
        .take()
        .iter()
        .filter(|e| matches!(e, Effect::Notify(notice) if notice.level == Level::Warn))
        .count();
    assert_eq!(told, 0, "within the same ten seconds");
}

#[test]
fn taken_offline_by_an_old_connection_while_joining_we_leave_and_join_again() {
    let mut bench = connecting();
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    assert_eq!(bench.sent(), [], "nothing is heard before the join is done");
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    assert_eq!(bench.sent(), [ClientMessage::Leave]);
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    assert_eq!(bench.sent(), [ClientMessage::Join]);
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    assert_eq!(bench.sent().len(), 6, "announced, once");
    assert_eq!(bench.room.snapshot().signaling, SignalingState::Joined);
}

#[test]
fn signaling_that_comes_while_we_leave_for_a_moment_is_taken_up_after_the_join() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    bench.hear_offer("z-1", &sdp("z", 1, false), Dialect::Media);
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    bench.take();
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    bench.expect_accept_order("z-1");
}
