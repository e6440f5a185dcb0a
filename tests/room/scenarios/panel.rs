//! What hands in the room do besides a short press: long and double presses, switches, the camera's shutter.

use huddled::room::*;
use std::time::Duration;

use super::super::bench::*;
use super::mic_light;

/// A finger goes down or up, so many milliseconds after what was before.
fn edge(bench: &mut Bench, button: Button, pressed: bool, after: u64) {
    bench.now = bench.now + Duration::from_millis(after);
    let at = bench.now;
    bench.tell(Event::ButtonEdge {
        button,
        pressed,
        at,
    });
}

fn cover(bench: &mut Bench, by: Shutter, covered: bool) {
    bench.tell(Event::LensCovered { by, covered });
}

fn switch(bench: &mut Bench, button: Button, closed: bool, moved: bool) {
    bench.tell(Event::SwitchSet {
        button,
        closed,
        moved,
    });
}

/// Muted, camera off.
fn closed(bench: &Bench) -> (bool, bool) {
    let snapshot = bench.room.snapshot();
    assert_eq!(
        snapshot.microphone_confirmed,
        Some(snapshot.microphone_muted)
    );
    assert_eq!(snapshot.camera_confirmed, Some(snapshot.camera_off));
    (snapshot.microphone_muted, snapshot.camera_off)
}

#[test]
fn a_button_held_while_muted_opens_at_once_and_mutes_at_its_release() {
    let mut bench = Bench::joined(&[]);
    bench.press(Button::Mic);
    assert_eq!(closed(&bench), (true, false));
    edge(&mut bench, Button::Mic, true, 1000);
    assert_eq!(closed(&bench), (false, false), "before anybody lets go");
    assert_eq!(mic_light(&bench).color, Color::Green);
    bench.pass(3000);
    edge(&mut bench, Button::Mic, false, 0);
    assert_eq!(closed(&bench), (true, false));
    assert_eq!(mic_light(&bench).color, Color::Red);
}

#[test]
fn a_button_held_while_open_mutes_at_once_and_stays_so() {
    let mut bench = Bench::joined(&[]);
    edge(&mut bench, Button::Mic, true, 1000);
    assert_eq!(closed(&bench), (true, false));
    edge(&mut bench, Button::Mic, false, 3000);
    assert_eq!(closed(&bench), (true, false));
}

#[test]
fn a_short_press_opens_for_good_and_the_camera_knows_no_long_press() {
    let mut bench = Bench::joined(&[]);
    bench.press(Button::Mic);
    bench.press(Button::Mic);
    bench.pass(5000);
    assert_eq!(closed(&bench), (false, false));
    bench.press(Button::Camera);
    edge(&mut bench, Button::Camera, true, 1000);
    edge(&mut bench, Button::Camera, false, 2000);
    assert_eq!(closed(&bench), (false, false));
}

#[test]
fn a_double_press_closes_everything_whatever_was_open() {
    for button in [Button::Mic, Button::Camera] {
        for presses_before in 0..2 {
            let mut bench = Bench::joined(&[]);
            for _ in 0..presses_before {
                bench.press(button);
            }
            edge(&mut bench, button, true, 1000);
            edge(&mut bench, button, false, 80);
            edge(&mut bench, button, true, 100);
            assert_eq!(closed(&bench), (true, true));
            edge(&mut bench, button, false, 2000);
            assert_eq!(closed(&bench), (true, true), "held, too");
        }
    }
}

#[test]
fn two_buttons_pressed_together_are_no_double_press() {
    let mut bench = Bench::joined(&[]);
    edge(&mut bench, Button::Mic, true, 1000);
    edge(&mut bench, Button::Camera, true, 50);
    assert_eq!(closed(&bench), (true, true));
    edge(&mut bench, Button::Mic, false, 50);
    edge(&mut bench, Button::Camera, false, 50);
    edge(&mut bench, Button::Mic, true, 1000);
    edge(&mut bench, Button::Camera, true, 50);
    assert_eq!(closed(&bench), (false, false));
}

#[test]
fn a_shutter_switches_the_camera_off_and_opening_it_opens_nothing() {
    for by in [Shutter::Camera, Shutter::Switch] {
        let mut bench = Bench::joined(&[]);
        cover(&mut bench, by, true);
        assert_eq!(closed(&bench), (false, true));
        assert!(
            bench
                .sent()
                .contains(&ClientMessage::ToggleVideo { video_off: true })
        );
        bench.press(Button::Camera);
        assert_eq!(closed(&bench), (false, true), "a press finds it covered");
        cover(&mut bench, by, false);
        bench.pass(10_000);
        assert_eq!(closed(&bench), (false, true), "only a press opens");
        bench.press(Button::Camera);
        assert_eq!(closed(&bench), (false, false));
    }
}

#[test]
fn both_shutters_must_be_open_and_a_camera_that_is_gone_says_nothing_any_more() {
    let mut bench = Bench::joined(&[]);
    cover(&mut bench, Shutter::Camera, true);
    cover(&mut bench, Shutter::Switch, true);
    cover(&mut bench, Shutter::Switch, false);
    bench.press(Button::Camera);
    assert_eq!(closed(&bench), (false, true));
    bench.tell(Event::CameraLost(true));
    bench.press(Button::Camera);
    assert_eq!(closed(&bench), (false, false));
    // It is back, and still covered.
    bench.tell(Event::CameraLost(false));
    cover(&mut bench, Shutter::Camera, true);
    assert_eq!(closed(&bench), (false, true));
}

#[test]
fn a_camera_that_goes_and_comes_is_told_by_its_thread_alone() {
    let mut bench = Bench::joined(&[]);
    bench.take();
    for lost in [true, false] {
        bench.tell(Event::CameraLost(lost));
        assert_eq!(bench.room.snapshot().camera_lost, lost);
        let told = bench.take();
        assert!(
            !told.iter().any(|e| matches!(e, Effect::Notify(_))),
            "{told:?}"
        );
    }
}

#[test]
fn a_box_that_starts_covered_starts_with_the_camera_off_and_remembers_it() {
    let mut bench = Bench::new(settings());
    cover(&mut bench, Shutter::Switch, true);
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    assert_eq!(closed(&bench), (false, true));
    let effects = bench.take();
    assert!(!effects.contains(&Effect::SetCamera { off: false }));
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::PersistState { state, .. } if state.camera_off && !state.muted
    )));
}

#[test]
fn a_switch_closes_where_it_stands_and_opens_only_when_it_is_moved() {
    let mut bench = Bench::joined(&[]);
    switch(&mut bench, Button::Mic, true, false);
    assert_eq!(closed(&bench), (true, false), "found at closed");
    switch(&mut bench, Button::Mic, false, true);
    assert_eq!(closed(&bench), (false, false));
    switch(&mut bench, Button::Mic, true, true);
    assert_eq!(closed(&bench), (true, false));
    // It was unplugged, moved, and plugged in: nobody was seen to move it.
    switch(&mut bench, Button::Mic, false, false);
    assert_eq!(closed(&bench), (true, false));
    switch(&mut bench, Button::Camera, true, true);
    assert_eq!(closed(&bench), (true, true));
    switch(&mut bench, Button::Share, true, true);
    assert_eq!(closed(&bench), (true, true));
}

#[test]
fn a_switch_at_closed_before_the_start_keeps_the_microphone_closed() {
    let mut bench = Bench::new(settings());
    switch(&mut bench, Button::Mic, true, false);
    bench.tell(Event::Started {
        persisted: open_state(),
    });
    assert_eq!(closed(&bench), (true, false));
    let effects = bench.take();
    assert!(!effects.contains(&Effect::SetMicrophone { muted: false }));
}
