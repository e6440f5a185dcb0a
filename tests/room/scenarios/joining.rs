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
