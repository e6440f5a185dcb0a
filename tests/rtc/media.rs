//! Pictures and sound from one box to the other, and requests for keyframes.

use std::cell::Cell;

use huddled::room::{ConnectionState, PeerEvent, PeerOrder};

use super::bench::{Pair, Side, picture, sound};

fn received(side: &Side) -> u64 {
    side.health().map_or(0, |health| health.packets_received)
}

fn keyframe_requests(side: &Side) -> usize {
    side.count(|event| *event == PeerEvent::KeyframeRequested)
}

fn publish(pair: &mut Pair, index: u32) {
    for side in [&pair.a, &pair.b] {
        side.fanout
            .publish_video(&picture(index * 3000, index.is_multiple_of(50)));
        side.fanout.publish_audio(&sound(index * 960));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_and_sound_flow_both_ways_once_connected() {
    let mut pair = Pair::open();
    let index = Cell::new(0);
    // Before the connection nothing is written: the slots are closed.
    pair.a.offer(1, false);
    pair.run_with(
        |pair| received(&pair.a) > 100 && received(&pair.b) > 100,
        |pair| {
            publish(pair, index.get());
            index.set(index.get() + 1);
        },
    )
    .await;
    for side in [&pair.a, &pair.b] {
        assert_eq!(side.state(), ConnectionState::Connected);
        assert!(keyframe_requests(side) >= 1, "opening asks for a keyframe");
        let health = side.health().unwrap();
        assert!(health.frames_sent > 10, "{health:?}");
        assert!(health.bytes_received > 10_000, "{health:?}");
    }
    pair.run_with(
        |pair| {
            [&pair.a, &pair.b].iter().all(|side| {
                side.health()
                    .is_some_and(|health| health.round_trip_time.is_some())
            })
        },
        |_| {},
    )
    .await;
    println!("{:?}", pair.a.health());
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyframe_asked_of_the_peer_is_requested_there() {
    let mut pair = Pair::connected().await;
    let index = Cell::new(0);
    let tick = |pair: &mut Pair| {
        publish(pair, index.get());
        index.set(index.get() + 1);
    };
    pair.run_with(
        |pair| received(&pair.a) > 10 && received(&pair.b) > 10,
        tick,
    )
    .await;
    for _ in 0..3 {
        let before = keyframe_requests(&pair.b);
        pair.a.order(PeerOrder::RequestKeyframe);
        pair.run_with(|pair| keyframe_requests(&pair.b) > before, tick)
            .await;
    }
    assert!(pair.a.health().unwrap().keyframes_requested >= 3);
    pair.close().await;
}
