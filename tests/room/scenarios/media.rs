//! Who may open the microphone and the camera, and what is told to whom; keyframes.

use huddled::room::*;

use super::super::bench::*;
use super::{mic_light, position};

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
        bench.pass(1_000);
        let muted = presses % 2 == 1;
        assert_eq!(bench.room.snapshot().microphone_confirmed, Some(muted));
        let sent = bench.sent();
        if presses > 1 {
            assert_eq!(sent.last(), Some(&ClientMessage::ToggleMic { muted }));
        }
    }
}

#[test]
fn our_own_echo_causes_nothing_even_when_it_is_late() {
    let mut bench = Bench::joined(&[]);
    bench.press(Button::Mic);
    bench.press(Button::Mic);
    bench.pass(1_000);
    assert_eq!(bench.sent().len(), 2, "the second after a second");
    for muted in [true, false, false] {
        bench.echo(muted);
    }
    assert!(bench.take().is_empty());
    let snapshot = bench.room.snapshot();
    assert!(!snapshot.microphone_muted && !snapshot.microphone_forced);
}

#[test]
fn the_server_is_told_the_next_state_only_after_the_echo_of_the_last() {
    let mut bench = Bench::joined(&[]);
    bench.press(Button::Mic);
    bench.press(Button::Mic);
    assert_eq!(bench.sent(), [ClientMessage::ToggleMic { muted: true }]);
    bench.echo(true);
    assert_eq!(bench.sent(), [ClientMessage::ToggleMic { muted: false }]);
    bench.echo(false);
    assert_eq!(bench.sent(), []);
    let snapshot = bench.room.snapshot();
    assert!(!snapshot.microphone_muted && !snapshot.microphone_forced);
}

/// The disk's answers to what it was ordered since the last look.
fn answer_disk(bench: &mut Bench, error: Option<&str>) -> Vec<(PersistedState, bool)> {
    let ordered: Vec<_> = bench
        .take()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::PersistState { state, sync } => Some((state, sync)),
            _ => None,
        })
        .collect();
    for (state, _) in &ordered {
        bench.tell(Event::StatePersisted {
            state: state.clone(),
            error: error.map(str::to_owned),
        });
    }
    ordered
}

#[test]
fn a_mute_that_could_not_be_written_is_written_again_until_it_is() {
    let mut bench = Bench::joined(&[]);
    bench.answers = false;
    bench.press(Button::Mic);
    bench.tell(Event::MicrophoneConfirmed { muted: true });
    assert_eq!(answer_disk(&mut bench, Some("disk full")).len(), 1);
    let mut errors = 0;
    for _ in 0..5 {
        bench.pass(9_000);
        let effects = bench.take();
        errors += effects
            .iter()
            .filter(|e| matches!(e, Effect::Notify(n) if n.level == Level::Error))
            .count();
        assert!(
            !effects
                .iter()
                .any(|e| matches!(e, Effect::PersistState { .. }))
        );
        bench.pass(1_000);
        let again = answer_disk(&mut bench, Some("disk full"));
        assert!(
            matches!(&again[..], [(state, true)] if state.muted),
            "{again:?}"
        );
    }
    assert_eq!(errors, 1, "told once");
    bench.pass(10_000);
    assert_eq!(answer_disk(&mut bench, None).len(), 1);
    bench.pass(60_000);
    assert_eq!(answer_disk(&mut bench, None), [], "written, at last");
}

#[test]
fn a_late_report_of_an_old_write_does_not_count_for_a_newer_one() {
    let mut bench = Bench::joined(&[]);
    bench.answers = false;
    bench.press(Button::Mic);
    bench.tell(Event::MicrophoneConfirmed { muted: true });
    // The disk hangs and is given up; then somebody presses to open.
    bench.pass(3_100);
    bench.take();
    bench.press(Button::Mic);
    let state = |muted| PersistedState {
        muted,
        camera_off: false,
        place: settings().place,
    };
    bench.tell(Event::StatePersisted {
        state: state(true),
        error: None,
    });
    let opens = |bench: &mut Bench| {
        bench
            .take()
            .contains(&Effect::SetMicrophone { muted: false })
    };
    assert!(!opens(&mut bench), "the opening is not on the disk yet");
    bench.tell(Event::StatePersisted {
        state: state(false),
        error: None,
    });
    assert!(opens(&mut bench));
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
    bench.echo(true);
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

#[test]
fn a_member_who_asks_for_keyframes_all_the_time_gets_one_in_two_seconds_and_others_theirs_at_once()
{
    let mut bench = Bench::joined(&["y-1", "z-1"]);
    let (honest, greedy) = (bench.connect("y-1"), bench.connect("z-1"));
    let ordered = |bench: &mut Bench| {
        let effects = bench.take();
        effects
            .iter()
            .filter(|e| **e == Effect::OrderKeyframe)
            .count()
    };
    bench.pass(10_000);
    ordered(&mut bench);
    let mut orders = 0;
    for _ in 0..200 {
        bench.report("z-1", greedy, PeerEvent::KeyframeRequested);
        bench.pass(100);
        orders += ordered(&mut bench);
    }
    assert!((10..=14).contains(&orders), "{orders} in 20 s");
    bench.pass(500);
    ordered(&mut bench);
    bench.report("y-1", honest, PeerEvent::KeyframeRequested);
    bench.pass(300);
    assert_eq!(ordered(&mut bench), 1);
}
