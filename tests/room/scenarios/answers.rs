//! What the server may do to a box (issue 4, line 3): each has a defined answer.

use std::time::Duration;

use huddled::room::*;

use super::super::bench::*;

fn reported(bench: &mut Bench, message: &str, closes: bool) {
    bench.hear(ServerMessage::ServerError {
        message: message.into(),
    });
    if closes {
        bench.tell(Event::SignalingClosed {
            session: bench.session,
            failure: SignalingFailure::Refused {
                message: format!("the server disconnected us: {message}"),
                needs_operator: false,
            },
        });
    }
}

fn attempts(effects: &[Effect]) -> usize {
    let opens = |effect: &&Effect| matches!(effect, Effect::OpenSignaling { .. });
    effects.iter().filter(opens).count()
}

#[test]
fn a_member_sent_away_is_closed_at_once_however_well_its_packets_arrive() {
    for block in [false, true] {
        let mut bench = Bench::joined(&["z-1", "z-2"]);
        let generation = bench.connect("z-1");
        bench.connect("z-2");
        let (user, reason) = (id("z-1"), Some("noise".to_owned()));
        bench.packets("z-1", generation);
        bench.hear(if block {
            ServerMessage::Blocked { user, reason }
        } else {
            ServerMessage::Kicked { user, reason }
        });
        assert_eq!(
            bench.orders(),
            [("z-1".into(), generation, PeerOrder::Close)]
        );
        assert!(!bench.has_peer("z-1"));
        // The server's second word for it changes nothing more.
        bench.hear(ServerMessage::UserLeft { user: id("z-1") });
        bench.packets("z-1", generation);
        assert!(bench.orders().is_empty());
        assert_eq!(bench.peer("z-2").phase, PeerPhase::Connected);
        assert_eq!(bench.room.snapshot().banner, None);
    }
}

#[test]
fn the_same_user_elsewhere_is_no_member_and_takes_us_offline_only_until_we_join_again() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    // Another program with our id joins: the server names it as it names everybody.
    bench.hear(ServerMessage::UserJoined(row(OWN)));
    bench.hear(ServerMessage::Participants(vec![row(OWN), row("z-1")]));
    bench.hear_ready(OWN, Dialect::Media);
    bench.hear_offer(OWN, &sdp("elsewhere", 1, false), Dialect::Media);
    assert!(bench.orders().is_empty(), "we do not call ourselves");
    assert!(!bench.has_peer(OWN));
    // It goes, and the server takes the row offline, with us in it.
    bench.hear(ServerMessage::UserLeft { user: id(OWN) });
    assert_eq!(bench.sent(), [ClientMessage::Leave]);
    bench.pass(1_100);
    assert_eq!(bench.sent(), [ClientMessage::Join], "its echo did not come");
    bench.hear(ServerMessage::Joined { user: id(OWN) });
    bench.flow("z-1", generation, (true, true), 3_000);
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
    assert!(
        !bench
            .orders()
            .iter()
            .any(|(_, _, order)| *order == PeerOrder::Close)
    );
}

#[test]
fn two_programs_with_one_id_do_not_drive_each_other_round_in_circles() {
    let mut bench = Bench::joined(&["z-1"]);
    let mut joins = 0;
    for _ in 0..60 {
        // Whenever we are in, the other one's coming and going takes us out again.
        bench.hear(ServerMessage::UserLeft { user: id(OWN) });
        bench.pass(500);
        let effects = bench.take();
        joins += effects
            .iter()
            .filter(|effect| {
                matches!(
                    effect,
                    Effect::Send {
                        message: ClientMessage::Join,
                        ..
                    }
                )
            })
            .count()
            + attempts(&effects);
        match bench.room.snapshot().signaling {
            SignalingState::Connecting => bench.join(&["z-1"]),
            SignalingState::Joining => bench.hear(ServerMessage::Joined { user: id(OWN) }),
            _ => {}
        }
    }
    assert!(joins > 2, "it comes back");
    assert!(joins < 40, "{joins} joins in half a minute");
}

#[test]
fn a_server_of_generation_c_that_throws_everybody_out_is_shown_and_not_hammered() {
    // With its flag on the old gateway says so in an `error` and disconnects, every time.
    let mut bench = Bench::new(settings());
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    let begin = bench.now;
    let mut opened = 0;
    while bench.now.since(begin) < Duration::from_secs(120) {
        match bench.room.snapshot().signaling {
            SignalingState::Connecting => {
                bench.tell(Event::SignalingOpened {
                    session: bench.session,
                });
                reported(&mut bench, "This gateway is disabled", true);
            }
            SignalingState::Refused => {
                let banner = bench.room.snapshot().banner.unwrap_or_default();
                assert!(banner.contains("This gateway is disabled"), "{banner}");
            }
            _ => {}
        }
        bench.take();
        bench.pass(100);
        opened += attempts(&bench.take());
    }
    assert!(opened > 3, "it tries on");
    assert!(opened < 40, "{opened} attempts in two minutes");
}

#[test]
fn events_of_generation_c_are_hints_about_others_and_orders_about_ourselves() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.connect("z-1");
    let update = |user: &str, muted| ServerMessage::ParticipantStateUpdated {
        user: id(user),
        muted: Some(muted),
        video_off: None,
        sharing: None,
    };
    bench.hear(update("z-1", true));
    assert!(bench.peer("z-1").muted);
    assert!(!bench.room.snapshot().microphone_forced);
    bench.hear(update(OWN, true));
    let snapshot = bench.room.snapshot();
    assert!(
        snapshot.microphone_forced && snapshot.microphone_muted,
        "a host's order"
    );
    // A report of something that is none of our business ends nothing.
    reported(&mut bench, "no entry in the room state", false);
    assert_eq!(bench.room.snapshot().signaling, SignalingState::Joined);
    assert_eq!(bench.peer("z-1").phase, PeerPhase::Connected);
}
