//! The first state, and readiness.

use huddled::room::*;

use super::super::bench::*;
use super::mic_light;

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

#[test]
fn a_first_start_that_cannot_be_written_stays_closed_until_somebody_presses() {
    for disk_answers in [true, false] {
        let mut bench = Bench::new(settings());
        bench.answers = false;
        bench.tell(Event::Started {
            persisted: Persisted::Absent,
        });
        let state = |muted, camera_off| PersistedState {
            muted,
            camera_off,
            place: settings().place,
        };
        let failed = |state| Event::StatePersisted {
            state,
            error: Some("read-only file system".into()),
        };
        if disk_answers {
            bench.tell(failed(state(false, false)));
        } else {
            bench.pass(3_000);
        }
        let effects = bench.take();
        for effect in [
            Effect::SetMicrophone { muted: true },
            Effect::SetCamera { off: true },
        ] {
            assert!(effects.contains(&effect), "{effects:?}");
        }
        bench.tell(Event::MicrophoneConfirmed { muted: true });
        bench.pass(60_000);
        bench.take();
        assert!(bench.room.snapshot().microphone_muted);
        bench.press(Button::Mic);
        bench.tell(failed(state(false, true)));
        bench.pass(3_000);
        let effects = bench.take();
        assert!(effects.contains(&Effect::SetMicrophone { muted: false }));
        assert!(!effects.contains(&Effect::SetCamera { off: false }));
    }
}

#[test]
fn a_press_that_the_disk_does_not_take_works_and_is_shown_until_it_is_written() {
    let mut bench = Bench::joined(&[]);
    bench.answers = false;
    bench.press(Button::Mic);
    let state = PersistedState {
        muted: true,
        camera_off: false,
        place: settings().place,
    };
    let written = |error: Option<&str>| Event::StatePersisted {
        state: state.clone(),
        error: error.map(str::to_owned),
    };
    bench.tell(Event::MicrophoneConfirmed { muted: true });
    bench.tell(written(Some("read-only file system")));
    let shown = bench.room.snapshot();
    assert_eq!(shown.microphone_confirmed, Some(true), "the press works");
    let banner = shown.banner.unwrap_or_default();
    assert!(banner.contains("power cut"), "{banner}");
    let attention = Pattern::new(Color::Amber, Shape::SlowBlink);
    assert_eq!(shown.led_status, attention);
    // The next attempts fail, and then one does not.
    bench.pass(10_000);
    bench.tell(written(Some("read-only file system")));
    assert_eq!(bench.room.snapshot().led_status, attention);
    bench.take();
    bench.pass(10_000);
    bench.tell(written(None));
    let shown = bench.room.snapshot();
    assert_eq!(shown.banner, None);
    assert_ne!(shown.led_status, attention);
    let said = bench.take();
    let again = |e: &&Effect| matches!(e, Effect::Notify(n) if n.text.contains("written again"));
    assert_eq!(said.iter().filter(again).count(), 1);
}
