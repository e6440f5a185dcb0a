//! What the ladder of recovery stands on: packets reported as facts, restarts that leave the old path alone until they are
//! answered.

use std::cell::Cell;
use std::time::Duration;

use huddled::clock::monotonic;
use huddled::room::{ConnectionState, NegotiationId, PeerEvent, PeerOrder, Timestamp};

use super::bench::{Pair, Side, picture, sound};

/// Publishes pictures and sound to both sides, once per call.
struct Program(Cell<u32>);

impl Program {
    fn new() -> Self {
        Self(Cell::new(0))
    }

    fn publish(&self, pair: &mut Pair) {
        let index = self.0.get();
        self.0.set(index + 1);
        for side in [&pair.a, &pair.b] {
            side.fanout
                .publish_video(&picture(index * 3000, index.is_multiple_of(50)));
            side.fanout.publish_audio(&sound(index * 960));
        }
    }
}

/// When sound and picture arrived last, as reported last.
fn arrived(side: &Side) -> (Option<Timestamp>, Option<Timestamp>) {
    let reports = side.seen.iter().rev();
    reports
        .filter_map(|event| match event {
            PeerEvent::PacketsArrived { audio, video } => Some((*audio, *video)),
            _ => None,
        })
        .next()
        .unwrap_or_default()
}

fn flowed_after(side: &Side, moment: Timestamp) -> bool {
    let (audio, video) = arrived(side);
    audio > Some(moment) && video > Some(moment)
}

fn reports(side: &Side) -> usize {
    side.count(|event| matches!(event, PeerEvent::PacketsArrived { .. }))
}

async fn flowing() -> (Pair, Program) {
    let mut pair = Pair::connected().await;
    let program = Program::new();
    let begin = monotonic();
    pair.run_with(
        |pair| flowed_after(&pair.a, begin) && flowed_after(&pair.b, begin),
        |pair| program.publish(pair),
    )
    .await;
    (pair, program)
}

/// Goes on for so long.
async fn go_on(pair: &mut Pair, millis: u64, tick: impl FnMut(&mut Pair)) {
    let until = monotonic() + Duration::from_millis(millis);
    pair.run_with(|_| monotonic() >= until, tick).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_are_reported_a_few_times_a_second_not_in_a_silence_and_at_once_after_it() {
    let (mut pair, program) = flowing().await;
    let before = reports(&pair.a);
    go_on(&mut pair, 2_000, |pair| program.publish(pair)).await;
    let told = reports(&pair.a) - before;
    println!("{told} reports in 2 s of flow");
    assert!((2..=7).contains(&told), "{told} reports in 2 s");

    go_on(&mut pair, 700, |_| {}).await;
    let before = reports(&pair.a);
    go_on(&mut pair, 1_500, |_| {}).await;
    assert_eq!(reports(&pair.a), before, "nothing to tell in a silence");
    let (last, _) = arrived(&pair.a);
    assert!(monotonic().since(last.unwrap()) > Duration::from_millis(1_500));

    let resumed = monotonic();
    pair.run_with(
        |pair| flowed_after(&pair.a, resumed),
        |pair| program.publish(pair),
    )
    .await;
    let took = monotonic().since(resumed);
    println!("told of new packets after {took:?}");
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_by_either_side_brings_packets_newer_than_its_answer() {
    let (mut pair, program) = flowing().await;
    for (round, by_a) in [(2, true), (3, false), (4, true)] {
        let side = if by_a { &mut pair.a } else { &mut pair.b };
        side.offer(round, true);
        let applied = Cell::new(None);
        let of = NegotiationId(round);
        pair.run_with(
            |pair| {
                let side = if by_a { &pair.a } else { &pair.b };
                let is_applied = side.count(
                    |event| matches!(event, PeerEvent::AnswerApplied { negotiation } if *negotiation == of),
                ) > 0;
                if is_applied && applied.get().is_none() {
                    applied.set(Some(monotonic()));
                }
                applied.get().is_some_and(|moment| {
                    flowed_after(&pair.a, moment) && flowed_after(&pair.b, moment)
                })
            },
            |pair| program.publish(pair),
        )
        .await;
        println!(
            "packets {:?} after the answer",
            monotonic().since(applied.get().unwrap())
        );
        assert_eq!(pair.a.state(), ConnectionState::Connected);
        assert_eq!(pair.b.state(), ConnectionState::Connected);
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_nobody_answers_leaves_the_old_path_alone_and_can_be_taken_back_and_tried_again()
{
    let (mut pair, program) = flowing().await;
    for round in [2, 3] {
        // Nothing of this offer reaches b.
        pair.a.offer(round, true);
        let offered = |event: &PeerEvent| matches!(event, PeerEvent::OfferCreated { negotiation, .. } if negotiation.0 == round);
        pair.a.until(offered).await;
        go_on(&mut pair, 1_500, |pair| program.publish(pair)).await;
        for side in [&pair.a, &pair.b] {
            let (audio, _) = arrived(side);
            assert!(monotonic().since(audio.unwrap()) < Duration::from_millis(1_000));
            assert_eq!(side.state(), ConnectionState::Connected);
        }
        pair.a.order(PeerOrder::Rollback {
            negotiation: NegotiationId(round),
        });
    }
    // An answered one goes through, and so does an ordinary offer after it.
    for (round, restart) in [(4, true), (5, false)] {
        pair.a.offer(round, restart);
        let of = NegotiationId(round);
        pair.run_with(
            |pair| {
                pair.a
                    .count(|event| *event == PeerEvent::AnswerApplied { negotiation: of })
                    > 0
            },
            |pair| program.publish(pair),
        )
        .await;
        let answered = monotonic();
        pair.run_with(
            |pair| flowed_after(&pair.a, answered) && flowed_after(&pair.b, answered),
            |pair| program.publish(pair),
        )
        .await;
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_offer_after_a_restart_taken_back_restarts_and_one_of_the_peers_ends_the_connection()
 {
    let (mut pair, program) = flowing().await;
    let take_back = async |pair: &mut Pair, round| {
        pair.a.offer(round, true);
        pair.a.order(PeerOrder::Rollback {
            negotiation: NegotiationId(round),
        });
        let taken_back = PeerEvent::RolledBack {
            negotiation: NegotiationId(round),
        };
        pair.a.until(|event| *event == taken_back).await;
    };
    take_back(&mut pair, 2).await;
    pair.a.offer(3, false);
    let applied = PeerEvent::AnswerApplied {
        negotiation: NegotiationId(3),
    };
    pair.run_with(
        |pair| pair.a.count(|event| *event == applied) > 0,
        |pair| program.publish(pair),
    )
    .await;
    let answered = monotonic();
    pair.run_with(
        |pair| flowed_after(&pair.a, answered) && flowed_after(&pair.b, answered),
        |pair| program.publish(pair),
    )
    .await;

    take_back(&mut pair, 4).await;
    pair.b.offer(5, false);
    let offered = |event: &PeerEvent| matches!(event, PeerEvent::OfferCreated { negotiation, .. } if negotiation.0 == 5);
    let PeerEvent::OfferCreated { negotiation, sdp } = pair.b.until(offered).await else {
        unreachable!();
    };
    pair.a.order(PeerOrder::AcceptOffer { negotiation, sdp });
    pair.a
        .until(|event| matches!(event, PeerEvent::SessionDied { .. }))
        .await;
    pair.close().await;
}
