//! The configuration read again while a meeting goes on.

use std::time::Duration;

use super::*;

#[test]
fn new_recovery_delays_and_a_complaint_interrupt_nothing() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.connect("z-1");
    bench.take();
    let mut changed = settings();
    changed.recovery.suspicion = Duration::from_millis(500);
    bench.tell(Event::SettingsChanged(Box::new(changed.clone())));
    assert_eq!(bench.take(), []);
    assert_eq!(bench.room.snapshot().banner, None);

    let complaint = "configuration refused: a.toml, line 1: no";
    changed.complaint = Some(complaint.to_owned());
    bench.tell(Event::SettingsChanged(Box::new(changed.clone())));
    let effects = bench.take();
    let [Effect::ReportStatus(status)] = effects.as_slice() else {
        panic!("{effects:?}");
    };
    assert_eq!(
        *status,
        format!("In meeting with 1 peer, microphone live; {complaint}")
    );
    assert_eq!(bench.room.snapshot().banner.as_deref(), Some(complaint));

    changed.complaint = None;
    bench.tell(Event::SettingsChanged(Box::new(changed)));
    assert_eq!(
        bench.take(),
        [Effect::ReportStatus(
            "In meeting with 1 peer, microphone live".to_owned()
        )]
    );
    assert_eq!(bench.room.snapshot().banner, None);
}

#[test]
fn a_way_to_the_server_without_encryption_is_named_as_long_as_it_is_used() {
    let mut bench = Bench::joined(&[]);
    bench.take();
    for (unencrypted, status) in [
        (
            true,
            "In meeting, nobody connected, microphone live, server not encrypted",
        ),
        (false, "In meeting, nobody connected, microphone live"),
    ] {
        bench.tell(Event::SettingsChanged(Box::new(RoomSettings {
            unencrypted,
            ..settings()
        })));
        assert_eq!(bench.take(), [Effect::ReportStatus(status.to_owned())]);
        assert_eq!(bench.room.snapshot().signaling_unencrypted, unencrypted);
    }
}

#[test]
fn a_complaint_is_there_from_the_first_moment() {
    let bench = Bench::new(RoomSettings {
        complaint: Some("configuration refused: x".to_owned()),
        ..settings()
    });
    let banner = bench.room.snapshot().banner;
    assert_eq!(banner.as_deref(), Some("configuration refused: x"));
}

#[test]
fn what_people_in_the_room_see_happening_comes_before_a_complaint() {
    let mut bench = Bench::joined(&["z-1"]);
    let generation = bench.connect("z-1");
    let mut changed = settings();
    changed.complaint = Some("configuration refused: x".to_owned());
    bench.tell(Event::SettingsChanged(Box::new(changed)));
    bench.report(
        "z-1",
        generation,
        PeerEvent::ConnectionState(ConnectionState::Disconnected),
    );
    let banner = bench.room.snapshot().banner;
    assert_eq!(banner.as_deref(), Some("Reconnecting to 1 peer(s)"));
}
