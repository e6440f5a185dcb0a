//! Stories in virtual time.

mod answers;
mod budgets;
mod dialects;
mod healing;
mod joining;
mod ladder;
mod leaving;
mod media;
mod negotiation;
mod panel;
mod reconfigured;
mod recovery;
mod share;
mod signaling;
mod start;

use huddled::room::*;

use super::bench::*;

fn position(effects: &[Effect], what: impl Fn(&Effect) -> bool) -> usize {
    effects
        .iter()
        .position(what)
        .unwrap_or_else(|| panic!("missing among {effects:#?}"))
}

fn offers(messages: &[ClientMessage]) -> Vec<(String, Dialect)> {
    messages
        .iter()
        .filter_map(|message| match message {
            ClientMessage::Offer {
                target, dialect, ..
            } => Some((target.as_str().to_owned(), *dialect)),
            _ => None,
        })
        .collect()
}

fn mic_light(bench: &Bench) -> Pattern {
    bench.room.snapshot().led_mic
}

/// Own offer sent to `peer`; returns its numbers.
fn own_offer_sent(bench: &mut Bench, peer: &str, dialect: Dialect) -> (Generation, NegotiationId) {
    bench.hear(ServerMessage::UserJoined(row(peer)));
    bench.hear_ready(peer, dialect);
    let (generation, negotiation) = bench.expect_offer_order(peer);
    bench.report(
        peer,
        generation,
        PeerEvent::OfferCreated {
            negotiation,
            sdp: sdp("own", 1, true),
        },
    );
    bench.take();
    (generation, negotiation)
}
