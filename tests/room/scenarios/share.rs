//! Screens: ours on its way to everybody, and theirs told from their cameras.

use huddled::room::*;

use super::super::bench::*;

/// A description with a third m-line of this direction.
fn with_screen(connection: &str, version: u32, direction: &str) -> Sdp {
    let camera = sdp(connection, version, false);
    Sdp::new(&format!(
        "{}m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:2\r\na=rtpmap:102 H264/90000\r\na={direction}\r\n",
        camera.as_str()
    ))
}

fn sharing_box(others: &[&str]) -> Bench {
    let mut bench = Bench::new(RoomSettings {
        has_screen: true,
        ..settings()
    });
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    bench.join(others);
    bench.echo(false);
    bench.hear(ServerMessage::UserVideoOff {
        user: id(OWN),
        video_off: false,
    });
    say_share(&mut bench, false);
    bench.take();
    bench
}

/// What the server says of our screen.
fn say_share(bench: &mut Bench, sharing: bool) {
    bench.hear(ServerMessage::UserScreenShare {
        user: id(OWN),
        sharing,
    });
}

fn share(bench: &mut Bench, on: bool) -> Result<(), DeniedReason> {
    let command = if on {
        Command::ShareOn
    } else {
        Command::ShareOff
    };
    bench.tell(Event::CommandReceived {
        request: RequestId(1),
        command,
        source: Source::Control("uid 1000, pid 4242".into()),
    });
    let replies = bench.effects.iter().rev();
    let mut replies = replies.filter_map(|effect| match effect {
        Effect::Reply { result, .. } => Some(*result),
        _ => None,
    });
    replies.next().expect("every command is answered")
}

fn announcements(sent: &[ClientMessage]) -> Vec<bool> {
    let shares = sent.iter().filter_map(|message| match message {
        ClientMessage::ScreenShare { sharing } => Some(*sharing),
        _ => None,
    });
    shares.collect()
}

/// The offer with (or without) our screen that was ordered for `peer`, made and answered.
#[track_caller]
fn renegotiate(bench: &mut Bench, peer: &str, on: bool) -> Vec<ClientMessage> {
    let orders = bench.orders();
    let set = PeerOrder::SetScreen { on };
    let at = orders
        .iter()
        .position(|(who, _, order)| who == peer && *order == set);
    let at = at.unwrap_or_else(|| panic!("{peer} does not get {set:?}: {orders:?}"));
    let (generation, negotiation) = orders[at..]
        .iter()
        .find_map(|(who, generation, order)| match order {
            PeerOrder::CreateOffer {
                negotiation,
                ice_restart: false,
            } if who == peer => Some((*generation, *negotiation)),
            _ => None,
        })
        .unwrap_or_else(|| panic!("no offer follows: {orders:?}"));
    let direction = if on { "sendrecv" } else { "recvonly" };
    bench.report(
        peer,
        generation,
        PeerEvent::OfferCreated {
            negotiation,
            sdp: with_screen("own", 2, direction),
        },
    );
    let sent = bench.sent();
    let answer = with_screen(&format!("{peer}-1"), 2, "recvonly");
    bench.hear_answer(peer, &answer, Dialect::Media);
    bench.report(peer, generation, PeerEvent::AnswerApplied { negotiation });
    sent
}

#[test]
fn a_share_is_carried_first_and_announced_once_then_taken_back_and_announced_once() {
    let mut bench = sharing_box(&["z-1"]);
    bench.connect("z-1");
    assert_eq!(share(&mut bench, true), Ok(()));
    let effects = bench.take();
    assert!(effects.contains(&Effect::SetScreen { on: true }));
    assert!(!bench.room.snapshot().sharing, "nothing leaves yet");
    bench.tell(Event::ScreenConfirmed { on: true });
    let sent = renegotiate(&mut bench, "z-1", true);
    assert_eq!(announcements(&sent), [true]);
    let offered = |m: &ClientMessage| matches!(m, ClientMessage::Offer { .. });
    assert!(sent.iter().position(offered) < sent.len().checked_sub(1));
    say_share(&mut bench, true);
    bench.pass_with_server(30);
    assert!(announcements(&bench.sent()).is_empty());
    assert!(bench.room.snapshot().sharing && !bench.room.snapshot().camera_off);

    assert_eq!(share(&mut bench, false), Ok(()));
    assert!(bench.effects.contains(&Effect::SetScreen { on: false }));
    assert!(!bench.room.snapshot().sharing, "at once");
    assert!(!bench.effects.iter().any(|effect| matches!(
        effect,
        Effect::Send {
            message: ClientMessage::ScreenShare { .. },
            ..
        }
    )));
    let sent = renegotiate(&mut bench, "z-1", false);
    assert_eq!(announcements(&sent), [false]);
    say_share(&mut bench, false);
    bench.pass_with_server(30);
    assert!(announcements(&bench.sent()).is_empty());
    assert!(!bench.room.snapshot().screen_forced);
}

#[test]
fn an_answer_of_another_connection_to_the_offer_of_a_share_makes_a_new_one_at_once() {
    let mut bench = sharing_box(&["z-1"]);
    let old = bench.connect("z-1");
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    let (generation, negotiation) = bench.expect_offer_order("z-1");
    assert_eq!(generation, old);
    let offered = PeerEvent::OfferCreated {
        negotiation,
        sdp: with_screen("own", 2, "sendrecv"),
    };
    bench.report("z-1", generation, offered);
    let answer = with_screen("z-rebuilt", 1, "recvonly");
    bench.hear_answer("z-1", &answer, Dialect::Webrtc);
    assert_ne!(bench.expect_offer_order("z-1").0, old);
}

#[test]
fn a_connection_that_does_not_take_the_screen_holds_nobody_up_and_is_offered_it_again() {
    let mut bench = sharing_box(&["z-1"]);
    bench.connect("z-1");
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    let (generation, negotiation) = bench.expect_offer_order("z-1");
    bench.pass(900);
    assert!(announcements(&bench.sent()).is_empty());
    bench.pass(200);
    assert_eq!(announcements(&bench.sent()), [true]);
    bench.report(
        "z-1",
        generation,
        PeerEvent::NegotiationFailed {
            negotiation,
            message: "no".into(),
        },
    );
    bench.take();
    bench.pass_with_server(13);
    assert!(bench.orders().is_empty(), "not in a hurry");
    bench.pass_with_server(2);
    bench.expect_offer_order("z-1");
}

#[test]
fn whoever_joins_later_gets_the_screen_in_the_first_offer_or_right_after_its_own() {
    let mut bench = sharing_box(&["z-1"]);
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    bench.take();
    bench.hear_ready("z-1", Dialect::Media);
    let orders: Vec<_> = bench
        .orders()
        .into_iter()
        .map(|(.., order)| order)
        .collect();
    assert_eq!(
        orders[..2],
        [PeerOrder::Open, PeerOrder::SetScreen { on: true }]
    );
    assert!(matches!(orders[2], PeerOrder::CreateOffer { .. }));

    let mut bench = sharing_box(&["z-1"]);
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    bench.take();
    bench.hear_offer("z-1", &sdp("z-1-1", 1, false), Dialect::Media);
    let (generation, negotiation) = bench.expect_accept_order("z-1");
    bench.report(
        "z-1",
        generation,
        PeerEvent::AnswerCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        },
    );
    assert!(bench.orders().is_empty(), "an answer adds no m-line");
    bench.connected("z-1", generation);
    bench.expect_offer_order("z-1");
}

#[test]
fn a_new_connection_has_the_screen_and_no_fewer_m_lines_than_the_one_before() {
    let mut bench = sharing_box(&["z-1"]);
    let generation = bench.connect("z-1");
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    renegotiate(&mut bench, "z-1", true);
    let failed = PeerEvent::ConnectionState(ConnectionState::Failed);
    bench.report("z-1", generation, failed);
    bench.pass(1_100);
    let orders: Vec<_> = bench
        .orders()
        .into_iter()
        .map(|(.., order)| order)
        .collect();
    assert!(
        orders.contains(&PeerOrder::SetScreen { on: true })
            && orders.contains(&PeerOrder::ReserveSections(3)),
        "{orders:?}"
    );
    assert!(announcements(&bench.sent()).is_empty());
}

#[test]
fn a_share_goes_on_without_the_server_and_is_said_again_between_the_camera_and_the_ready() {
    let mut bench = sharing_box(&["z-1"]);
    bench.connect("z-1");
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    renegotiate(&mut bench, "z-1", true);
    let failure = SignalingFailure::Unreachable {
        message: "gone".into(),
    };
    let session = bench.session;
    bench.tell(Event::SignalingClosed { session, failure });
    bench.pass(4_000);
    assert!(bench.room.snapshot().sharing);
    bench.take();
    bench.join(&["z-1"]);
    let kinds: Vec<_> = bench
        .sent()
        .iter()
        .map(|message| match message {
            ClientMessage::ToggleMic { .. } => "mic",
            ClientMessage::ToggleVideo { .. } => "camera",
            ClientMessage::ScreenShare { sharing: true } => "screen",
            ClientMessage::Ready { .. } => "ready",
            ClientMessage::RequestPeers => "peers",
            _ => "",
        })
        .filter(|kind| !kind.is_empty())
        .collect();
    assert_eq!(
        kinds,
        ["mic", "camera", "screen", "ready", "ready", "peers"]
    );
}

#[test]
fn a_hosts_stop_is_obeyed_at_once_and_only_a_press_begins_again() {
    let mut bench = sharing_box(&["z-1"]);
    bench.connect("z-1");
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    renegotiate(&mut bench, "z-1", true);
    say_share(&mut bench, true);
    say_share(&mut bench, false);
    assert!(bench.effects.contains(&Effect::SetScreen { on: false }));
    let snapshot = bench.room.snapshot();
    assert!(!snapshot.sharing && snapshot.screen_forced);
    renegotiate(&mut bench, "z-1", false);
    assert_eq!(share(&mut bench, true), Err(DeniedReason::ShareForced));
    bench.press(Button::Share);
    assert!(bench.effects.contains(&Effect::SetScreen { on: true }));
    assert!(!bench.room.snapshot().screen_forced);
}

#[test]
fn the_servers_no_ends_the_share_and_is_shown_until_the_next_attempt() {
    let mut bench = sharing_box(&[]);
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    assert_eq!(announcements(&bench.sent()), [true]);
    let message = "Another user is already sharing their screen".to_owned();
    bench.hear(ServerMessage::MediaError {
        message: message.clone(),
    });
    let snapshot = bench.room.snapshot();
    assert!(!snapshot.sharing && !snapshot.screen_forced);
    assert_eq!(snapshot.screen_refused, Some(message));
    bench.pass(5_000);
    assert!(announcements(&bench.sent()).is_empty(), "it knows");
    assert_eq!(share(&mut bench, true), Ok(()));
    assert_eq!(bench.room.snapshot().screen_refused, None);
}

#[test]
fn by_setting_a_share_follows_its_source_and_otherwise_it_does_not() {
    for share_on_signal in [true, false] {
        let mut bench = sharing_box(&[]);
        bench.tell(Event::SettingsChanged(Box::new(RoomSettings {
            has_screen: true,
            share_on_signal,
            ..settings()
        })));
        bench.tell(Event::ScreenSource(true));
        let begun = bench.take().contains(&Effect::SetScreen { on: true });
        assert_eq!(begun, share_on_signal);
        bench.tell(Event::ScreenConfirmed {
            on: share_on_signal,
        });
        bench.tell(Event::ScreenSource(false));
        let ended = bench.take().contains(&Effect::SetScreen { on: false });
        assert_eq!(ended, share_on_signal);
    }
    // What a person began stays when the cable is out for a moment.
    let mut bench = sharing_box(&[]);
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    bench.tell(Event::ScreenSource(false));
    assert!(bench.room.snapshot().sharing);
}

#[test]
fn leaving_the_meeting_ends_the_share_and_without_a_meeting_none_begins() {
    let mut bench = sharing_box(&[]);
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    bench.tell(Event::CommandReceived {
        request: RequestId(2),
        command: Command::Leave,
        source: Source::Panel,
    });
    assert!(bench.take().contains(&Effect::SetScreen { on: false }));
    assert!(!bench.room.snapshot().sharing);
    assert_eq!(share(&mut bench, true), Err(DeniedReason::NotInMeeting));
}

// ---- theirs

fn announce(bench: &mut Bench, user: &str, sharing: bool) {
    bench.hear(ServerMessage::UserScreenShare {
        user: id(user),
        sharing,
    });
}

/// The peer's offer with a third m-line of this direction, answered.
fn take_offer(bench: &mut Bench, peer: &str, generation: Generation, version: u32, way: &str) {
    let offer = with_screen(&format!("{peer}-1"), version, way);
    bench.hear_offer(peer, &offer, Dialect::Media);
    let (_, negotiation) = bench.expect_accept_order(peer);
    let sdp = with_screen("own", version, "recvonly");
    let event = PeerEvent::AnswerCreated { negotiation, sdp };
    bench.report(peer, generation, event);
}

fn screen_packets(bench: &mut Bench, peer: &str, generation: Generation) {
    let at = bench.now;
    bench.report(peer, generation, PeerEvent::ScreenArrived { at });
}

#[test]
fn a_second_stream_is_a_screen_whether_announced_before_after_or_never() {
    for order in ["before", "after", "never"] {
        let mut bench = Bench::joined(&["z-1"]);
        let generation = bench.connect("z-1");
        if order == "before" {
            announce(&mut bench, "z-1", true);
        }
        take_offer(&mut bench, "z-1", generation, 2, "sendrecv");
        screen_packets(&mut bench, "z-1", generation);
        assert!(bench.peer("z-1").sharing, "{order}");
        if order == "after" {
            announce(&mut bench, "z-1", true);
        }
        bench.flow("z-1", generation, (true, true), 2_500);
        assert!(bench.peer("z-1").sharing, "{order}");
        assert!(bench.orders().is_empty(), "nothing to pull: {order}");
        if order == "never" {
            bench.flow("z-1", generation, (true, true), 1_000);
            assert!(!bench.peer("z-1").sharing, "silent");
            screen_packets(&mut bench, "z-1", generation);
            assert!(bench.peer("z-1").sharing, "it flows again");
            take_offer(&mut bench, "z-1", generation, 3, "recvonly");
        } else {
            announce(&mut bench, "z-1", false);
        }
        assert!(!bench.peer("z-1").sharing, "{order}");
        // A frozen m-line brings nothing back.
        bench.pass(3_500);
        assert!(!bench.peer("z-1").sharing, "{order}");
    }
}

#[test]
fn an_announced_share_may_stand_still_for_a_while_and_not_for_ever() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    announce(&mut bench, "z-1", true);
    take_offer(&mut bench, "z-1", generation, 2, "sendrecv");
    screen_packets(&mut bench, "z-1", generation);
    bench.flow("z-1", generation, (true, true), 9_000);
    assert!(bench.peer("z-1").sharing);
    bench.flow("z-1", generation, (true, true), 1_500);
    assert!(!bench.peer("z-1").sharing);
}

#[test]
fn a_share_without_an_m_line_is_pulled_once_by_an_offer_with_room_for_it() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    announce(&mut bench, "z-1", true);
    assert!(bench.peer("z-1").sharing, "its camera may be the screen");
    bench.flow("z-1", generation, (true, true), 1_500);
    assert!(bench.orders().is_empty());
    bench.flow("z-1", generation, (true, true), 1_000);
    let orders: Vec<_> = bench
        .orders()
        .into_iter()
        .map(|(.., order)| order)
        .collect();
    assert_eq!(orders[0], PeerOrder::ReserveSections(3));
    let PeerOrder::CreateOffer { negotiation, .. } = orders[1] else {
        panic!("{orders:?}");
    };
    let sdp = with_screen("own", 2, "recvonly");
    let event = PeerEvent::OfferCreated { negotiation, sdp };
    bench.report("z-1", generation, event);
    let answer = with_screen("z-1-1", 2, "sendonly");
    bench.hear_answer("z-1", &answer, Dialect::Media);
    bench.report("z-1", generation, PeerEvent::AnswerApplied { negotiation });
    screen_packets(&mut bench, "z-1", generation);
    bench.take();
    bench.flow("z-1", generation, (true, true), 5_000);
    assert!(bench.peer("z-1").sharing && bench.orders().is_empty());
}

#[test]
fn a_share_begun_again_is_pulled_although_the_line_of_the_last_one_was_left_behind() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    take_offer(&mut bench, "z-1", generation, 2, "sendonly");
    screen_packets(&mut bench, "z-1", generation);
    announce(&mut bench, "z-1", true);
    announce(&mut bench, "z-1", false);
    announce(&mut bench, "z-1", true);
    bench.take();
    bench.flow("z-1", generation, (true, true), 2_500);
    let orders: Vec<_> = bench
        .orders()
        .into_iter()
        .map(|(.., order)| order)
        .collect();
    assert_eq!(orders[0], PeerOrder::ReserveSections(4));
    assert!(matches!(orders[1], PeerOrder::CreateOffer { .. }));
}

#[test]
fn keyframes_of_the_screen_are_asked_for_while_it_is_shared_and_merged() {
    let mut bench = sharing_box(&["z-1"]);
    let generation = bench.connect("z-1");
    bench.report("z-1", generation, PeerEvent::ScreenKeyframeRequested);
    assert!(!bench.take().contains(&Effect::OrderScreenKeyframe));
    let _ = share(&mut bench, true);
    bench.tell(Event::ScreenConfirmed { on: true });
    bench.take();
    for _ in 0..4 {
        bench.report("z-1", generation, PeerEvent::ScreenKeyframeRequested);
        bench.pass(100);
    }
    let ordered = |bench: &mut Bench| {
        let effects = bench.take();
        let orders = effects
            .iter()
            .filter(|e| **e == Effect::OrderScreenKeyframe);
        orders.count()
    };
    assert_eq!(ordered(&mut bench), 1);
    bench.pass(200);
    assert_eq!(ordered(&mut bench), 1);
}
