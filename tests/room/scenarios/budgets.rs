//! What one member may make the box do, and that nobody else pays for it.

use huddled::room::*;

use super::super::bench::*;

/// How many connections the orders open.
fn opened(orders: &[(String, Generation, PeerOrder)]) -> usize {
    let opens = orders
        .iter()
        .filter(|(.., order)| *order == PeerOrder::Open);
    opens.count()
}

#[test]
fn of_a_flood_of_new_connections_a_few_are_made_and_the_newest_offer_is_taken_up_at_last() {
    let mut bench = Bench::joined(&["z-1", "z-2"]);
    bench.take();
    let last = sdp("flood-499", 1, false);
    let mut connections = 0;
    for number in 0..500 {
        let offer = sdp(&format!("flood-{number}"), 1, false);
        bench.hear_offer("z-1", &offer, Dialect::Media);
        connections += opened(&bench.orders());
    }
    assert!((8..=32).contains(&connections), "{connections}");
    bench.pass(1_000);
    let orders = bench.orders();
    assert!(
        orders.iter().any(|(who, _, order)| who == "z-1"
            && matches!(order, PeerOrder::AcceptOffer { sdp, .. } if *sdp == last)),
        "{orders:?}"
    );
    assert_eq!(opened(&orders), 1);
}

#[test]
fn while_one_member_floods_another_is_answered_at_once() {
    let mut bench = Bench::joined(&["z-1", "z-2"]);
    for number in 0..500 {
        let offer = sdp(&format!("flood-{number}"), 1, false);
        bench.hear_offer("z-1", &offer, Dialect::Media);
    }
    bench.take();
    bench.hear_offer("z-2", &sdp("honest", 1, false), Dialect::Media);
    bench.expect_accept_order("z-2");
}

#[test]
fn answers_and_readies_do_not_begin_connections_without_a_limit() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.take();
    let mut connections = 0;
    for number in 0..500 {
        bench.hear_ready("z-1", Dialect::Media);
        let other = sdp(&format!("another-{number}"), 1, false);
        bench.hear_answer("z-1", &other, Dialect::Media);
        // Beyond the time in which a second ready counts as the first one's twin.
        bench.pass(10);
        connections += opened(&bench.orders());
    }
    assert!(connections <= 48, "{connections}");
}

#[test]
fn leaving_and_joining_again_does_not_refill_a_budget() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.take();
    let mut connections = 0;
    for number in 0..500 {
        bench.hear(ServerMessage::UserLeft { user: id("z-1") });
        bench.hear(ServerMessage::UserJoined(row("z-1")));
        let offer = sdp(&format!("again-{number}"), 1, false);
        bench.hear_offer("z-1", &offer, Dialect::Media);
        connections += opened(&bench.orders());
    }
    assert!(connections <= 32, "{connections}");
}

#[test]
fn an_excess_is_reported_once_a_minute() {
    let mut bench = Bench::joined(&["z-1"]);
    bench.take();
    for number in 0..500 {
        let offer = sdp(&format!("flood-{number}"), 1, false);
        bench.hear_offer("z-1", &offer, Dialect::Media);
    }
    let lines = bench.take();
    let excess = lines.iter().filter(
        |effect| matches!(effect, Effect::Notify(notice) if notice.text.contains("more offers")),
    );
    assert_eq!(excess.count(), 1);
}
