//! Descriptions and candidates by somebody who means no good.

use std::cell::RefCell;

use huddled::room::{Generation, IceCandidate, NegotiationId, PeerEvent, PeerOrder, Sdp};
use proptest::prelude::*;

use super::bench::{Side, description};

/// A browser's offer (Chromium), with its names changed.
const BROWSER_OFFER: &str = include_str!("browser_offer.sdp");

/// One change to a text.
#[derive(Clone, Debug)]
enum Change {
    DropLine(usize),
    DoubleLine(usize),
    SwapLines(usize, usize),
    Cut(usize),
    /// Replaces a character; what follows is kept.
    Put(usize, char),
    /// Replaces what follows the first colon of a line.
    Value(usize, String),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let line = 0..400_usize;
    let change = prop_oneof![
        line.clone().prop_map(Change::DropLine),
        line.clone().prop_map(Change::DoubleLine),
        (line.clone(), line.clone()).prop_map(|(a, b)| Change::SwapLines(a, b)),
        (0..10_000_usize).prop_map(Change::Cut),
        (0..10_000_usize, any::<char>()).prop_map(|(at, with)| Change::Put(at, with)),
        (
            line,
            prop_oneof![
                Just(String::new()),
                Just("-1".to_owned()),
                Just("99999999999999999999".to_owned()),
                "[ -~]{0,40}",
                "\\PC{0,10}",
            ]
        )
            .prop_map(|(line, value)| Change::Value(line, value)),
    ];
    prop::collection::vec(change, 1..6)
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut text = text.to_owned();
    for change in changes {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        if lines.is_empty() {
            break;
        }
        let at = |line: &usize| line % lines.len();
        match change {
            Change::DropLine(line) => {
                let line = at(line);
                lines.remove(line);
            }
            Change::DoubleLine(line) => {
                let line = at(line);
                lines.insert(line, lines[line].clone());
            }
            Change::SwapLines(a, b) => {
                let (a, b) = (at(a), at(b));
                lines.swap(a, b);
            }
            Change::Value(line, value) => {
                let line = at(line);
                let name = lines[line].split(':').next().unwrap_or_default().to_owned();
                lines[line] = format!("{name}:{value}\r\n");
            }
            Change::Cut(at) | Change::Put(at, _) => {
                let mut characters: Vec<char> = lines.concat().chars().collect();
                let at = at % characters.len().max(1);
                match change {
                    Change::Put(_, with) if at < characters.len() => characters[at] = *with,
                    _ => characters.truncate(at),
                }
                lines = vec![characters.into_iter().collect()];
            }
        }
        text = lines.concat();
    }
    text
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    side: Side,
    count: u64,
    answered: u64,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let side = runtime.block_on(async { Side::new() });
        Self {
            runtime,
            side,
            count: 0,
            answered: 0,
        }
    }

    /// Offers and candidates to a session that may have seen others before; it must answer, then close.
    fn attempt(&mut self, offer: &str, candidate: String) {
        self.count += 1;
        let Self {
            runtime,
            side,
            count,
            answered,
        } = self;
        runtime.block_on(async {
            if *count % 4 == 1 {
                if *count > 1 {
                    side.order(PeerOrder::Close);
                    side.until(|event| *event == PeerEvent::Closed).await;
                }
                side.seen.clear();
                side.generation = Generation(*count);
                side.order(PeerOrder::Open);
            }
            side.order(PeerOrder::AcceptOffer {
                negotiation: NegotiationId(*count),
                sdp: Sdp::new(offer),
            });
            side.order(PeerOrder::AddCandidate(IceCandidate {
                candidate,
                sdp_mid: None,
                sdp_m_line_index: None,
                username_fragment: None,
            }));
            let event = side
                .until(|event| {
                    matches!(
                        event,
                        PeerEvent::AnswerCreated { .. } | PeerEvent::NegotiationFailed { .. }
                    )
                })
                .await;
            if let PeerEvent::AnswerCreated { sdp, .. } = event {
                *answered += 1;
                assert!(sdp.as_str().contains("a=tool:huddled"));
            }
        });
    }
}

#[test]
fn no_offer_and_no_candidate_brings_a_session_down() {
    let bench = RefCell::new(Bench::new());
    bench.borrow_mut().attempt(BROWSER_OFFER, String::new());
    assert_eq!(bench.borrow().answered, 1, "unchanged it is answered");
    let candidate = "candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host generation 0";
    let config = ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(changes in changes(), other in changes())| {
        let offer = changed(BROWSER_OFFER, &changes);
        bench.borrow_mut().attempt(&offer, changed(candidate, &other));
    });
    let bench = bench.into_inner();
    println!("{} of {} were answered", bench.answered, bench.count);
    assert!(bench.answered > 10 && bench.answered < bench.count);
}

#[test]
fn no_answer_brings_a_session_down() {
    let bench = RefCell::new(Bench::new());
    let config = ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(changes in changes())| {
        let mut bench = bench.borrow_mut();
        bench.count += 1;
        let Bench { runtime, side, count, .. } = &mut *bench;
        runtime.block_on(async {
            side.seen.clear();
            side.generation = Generation(*count);
            side.order(PeerOrder::Open);
            side.offer(1, false);
            side.until(|event| matches!(event, PeerEvent::OfferCreated { .. })).await;
            // Close to an answer: our own offer with the role of an answerer.
            let own = description(&side.seen);
            let answer = own.as_str().replace("a=setup:actpass", "a=setup:active");
            side.order(PeerOrder::AcceptAnswer {
                negotiation: NegotiationId(1),
                sdp: Sdp::new(&changed(&answer, &changes)),
            });
            side.until(|event| matches!(
                event,
                PeerEvent::AnswerApplied { .. } | PeerEvent::NegotiationFailed { .. }
            ))
            .await;
            side.order(PeerOrder::Close);
            side.until(|event| *event == PeerEvent::Closed).await;
        });
    });
}
