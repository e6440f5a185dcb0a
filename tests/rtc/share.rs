//! The screen's m-line: added, carried, given up and used again, in collisions and by a peer that shares as well.

use huddled::room::{ConnectionState, NegotiationId, PeerEvent, PeerOrder, Sdp};

use super::bench::{Pair, Side, description, picture};

/// Direction of each video m-line after the camera's.
fn screens(sdp: &Sdp) -> Vec<&str> {
    let sections = sdp.as_str().split("\r\nm=").skip(1);
    let ways = sections.filter(|section| section.starts_with("video"));
    let ways = ways.map(|section| {
        let mut lines = section.lines();
        let way = |line: &&str| {
            matches!(
                *line,
                "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive"
            )
        };
        lines.find(way).expect("a direction")
    });
    ways.skip(1).collect()
}

fn screen_packets(side: &Side) -> u64 {
    let health = side.inbound.health();
    health.peers.first().map_or(0, |peer| peer.screen.packets)
}

fn camera_packets(side: &Side) -> u64 {
    let health = side.inbound.health();
    health.peers.first().map_or(0, |peer| peer.video.packets)
}

fn applied(side: &Side, negotiation: u64) -> bool {
    let wanted = NegotiationId(negotiation);
    side.seen.iter().any(
        |event| matches!(event, PeerEvent::AnswerApplied { negotiation } if *negotiation == wanted),
    )
}

/// `a` publishes camera and screen until `b` has more of its screen than before.
async fn screen_arrives(pair: &mut Pair) {
    let before = (screen_packets(&pair.b), camera_packets(&pair.b));
    let mut time = 0;
    pair.run_with(
        |pair| screen_packets(&pair.b) > before.0 + 4 && camera_packets(&pair.b) > before.1 + 4,
        |pair| {
            time += 3000;
            pair.a.fanout.publish_video(&picture(time, true));
            pair.a.fanout.publish_screen(&picture(time, true));
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_is_added_given_up_and_begun_again_on_the_same_m_line() {
    let mut pair = Pair::connected().await;
    for round in 0..2_u64 {
        pair.a.order(PeerOrder::SetScreen { on: true });
        pair.a.offer(10 + 2 * round, false);
        pair.run(|pair| applied(&pair.a, 10 + 2 * round)).await;
        assert_eq!(screens(&description(&pair.a.seen)), ["a=sendrecv"]);
        let asked = |event: &PeerEvent| *event == PeerEvent::ScreenKeyframeRequested;
        pair.run(|pair| pair.a.count(asked) > 0).await;
        screen_arrives(&mut pair).await;
        let told = |event: &PeerEvent| matches!(event, PeerEvent::ScreenArrived { .. });
        pair.run(|pair| pair.b.count(told) > 0).await;

        pair.a.order(PeerOrder::SetScreen { on: false });
        pair.a.offer(11 + 2 * round, false);
        pair.run(|pair| applied(&pair.a, 11 + 2 * round)).await;
        assert_eq!(screens(&description(&pair.a.seen)), ["a=recvonly"]);
        let before = screen_packets(&pair.b);
        pair.a.fanout.publish_screen(&picture(9, true));
        let sent = camera_packets(&pair.b);
        let mut time = 900_000;
        pair.run_with(
            |pair| camera_packets(&pair.b) > sent + 10,
            |pair| {
                time += 3000;
                pair.a.fanout.publish_video(&picture(time, true));
            },
        )
        .await;
        assert_eq!(screen_packets(&pair.b), before, "nothing of it leaves");
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_offer_carries_the_screen_and_reserved_m_lines_do_not_take_the_cameras_place() {
    let mut pair = Pair::open();
    pair.a.order(PeerOrder::SetScreen { on: true });
    pair.a.order(PeerOrder::ReserveSections(4));
    pair.b.order(PeerOrder::ReserveSections(3));
    pair.a.offer(1, false);
    pair.run(|pair| {
        pair.a.state() == ConnectionState::Connected && pair.b.state() == ConnectionState::Connected
    })
    .await;
    let offer = description(&pair.a.seen);
    assert_eq!(screens(&offer), ["a=sendrecv", "a=recvonly"]);
    screen_arrives(&mut pair).await;
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_share_after_a_collision_of_their_offers() {
    let mut pair = Pair::connected().await;
    for side in [&mut pair.a, &mut pair.b] {
        side.order(PeerOrder::SetScreen { on: true });
    }
    // Theirs and ours cross: ours is taken back, theirs answered, and what is missing offered anew.
    pair.a.offer(20, false);
    pair.a
        .until(|event| matches!(event, PeerEvent::OfferCreated { negotiation, .. } if *negotiation == NegotiationId(20)))
        .await;
    pair.a.order(PeerOrder::Rollback {
        negotiation: NegotiationId(20),
    });
    pair.b.offer(21, false);
    pair.run(|pair| applied(&pair.b, 21)).await;
    pair.a.offer(22, false);
    pair.run(|pair| applied(&pair.a, 22)).await;
    screen_arrives(&mut pair).await;
    std::mem::swap(&mut pair.a, &mut pair.b);
    screen_arrives(&mut pair).await;
    let refused = |event: &PeerEvent| matches!(event, PeerEvent::NegotiationFailed { .. });
    assert_eq!(pair.a.count(refused) + pair.b.count(refused), 0);
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_outlives_an_ice_restart() {
    let mut pair = Pair::connected().await;
    pair.a.order(PeerOrder::SetScreen { on: true });
    pair.a.offer(30, false);
    pair.run(|pair| applied(&pair.a, 30)).await;
    screen_arrives(&mut pair).await;
    pair.a.offer(31, true);
    pair.run(|pair| applied(&pair.a, 31)).await;
    screen_arrives(&mut pair).await;
    pair.close().await;
}
