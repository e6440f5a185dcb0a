//! Data channels: the box has none, and says so in every description.

use huddled::room::{NegotiationId, PeerEvent, PeerOrder, Sdp};

use super::bench::{Side, description};

const BROWSER_OFFER: &str = include_str!("browser_offer.sdp");

const CHANNEL: &str = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:data\r\n\
    a=sctp-port:5000\r\na=max-message-size:262144\r\n";

/// The browser's offer without its own data channel, which is its last section.
fn plain_offer() -> &'static str {
    &BROWSER_OFFER[..BROWSER_OFFER.find("m=application").unwrap()]
}

/// The same offer with a data channel before its section number `index`.
fn offer_with_channel(index: usize) -> String {
    let mut parts = plain_offer().split("m=");
    let mut offer = parts.next().unwrap().to_owned();
    let sections: Vec<_> = parts.collect();
    for (number, section) in sections.iter().enumerate() {
        if number == index {
            offer.push_str(CHANNEL);
        }
        offer.push_str("m=");
        offer.push_str(section);
    }
    if index == sections.len() {
        offer.push_str(CHANNEL);
    }
    offer
}

/// Kind and port of each section.
fn sections(sdp: &Sdp) -> Vec<(String, bool)> {
    let lines = sdp.as_str().lines();
    lines
        .filter_map(|line| line.strip_prefix("m="))
        .map(|media| {
            let mut words = media.split(' ');
            let kind = words.next().unwrap().to_owned();
            (kind, words.next() != Some("0"))
        })
        .collect()
}

async fn accept(side: &mut Side, negotiation: u64, sdp: &str) -> PeerEvent {
    side.order(PeerOrder::AcceptOffer {
        negotiation: NegotiationId(negotiation),
        sdp: Sdp::new(sdp),
    });
    let is_answer = |event: &PeerEvent| {
        matches!(
            event,
            PeerEvent::AnswerCreated { .. } | PeerEvent::NegotiationFailed { .. }
        )
    };
    side.until(is_answer).await
}

fn check(sdp: &Sdp, index: usize) {
    let found = sections(sdp);
    for (number, (kind, is_open)) in found.iter().enumerate() {
        let is_channel = number == index;
        assert_eq!(kind == "application", is_channel, "{found:?}");
        assert_eq!(*is_open, !is_channel, "{found:?}");
    }
    let text = sdp.as_str();
    assert_eq!(text.matches("a=mid:data\r\n").count(), 1, "{text}");
    let group = text.lines().find(|line| line.starts_with("a=group:BUNDLE"));
    assert!(!group.unwrap().contains("data"), "{group:?}");
    assert!(!text.contains("sctp"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_channel_is_rejected_in_the_first_and_in_every_later_description() {
    let count = plain_offer().matches("m=").count();
    for index in 0..=count {
        let mut side = Side::new();
        side.order(PeerOrder::Open);
        let offer = offer_with_channel(index);
        for negotiation in 1..3 {
            let event = accept(&mut side, negotiation, &offer).await;
            assert!(
                matches!(event, PeerEvent::AnswerCreated { .. }),
                "{event:?}"
            );
            check(&description(&side.seen), index);
        }
        // An offer of ours keeps the place, and a further section gets a mid of its own.
        side.order(PeerOrder::SetScreen { on: true });
        side.offer(3, false);
        let offered = |event: &PeerEvent| matches!(event, PeerEvent::OfferCreated { .. });
        side.until(offered).await;
        let own = description(&side.seen);
        check(&own, index);
        assert_eq!(sections(&own).len(), count + 2);
        side.order(PeerOrder::Close);
        side.until(|event| *event == PeerEvent::Closed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_channel_that_comes_later_or_goes_is_rejected_and_the_connection_goes_on() {
    let mut side = Side::new();
    side.order(PeerOrder::Open);
    let count = plain_offer().matches("m=").count();
    let with = offer_with_channel(count);
    let gone = with.replace("m=application 9", "m=application 0");
    for (negotiation, offer) in [(1, plain_offer()), (2, &with), (3, &gone), (4, &with)] {
        let event = accept(&mut side, negotiation, offer).await;
        assert!(
            matches!(event, PeerEvent::AnswerCreated { .. }),
            "{event:?}"
        );
        if negotiation > 1 {
            check(&description(&side.seen), count);
        }
    }
    side.order(PeerOrder::Close);
    side.until(|event| *event == PeerEvent::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_of_a_data_channel_alone_is_refused() {
    let mut side = Side::new();
    side.order(PeerOrder::Open);
    let start = BROWSER_OFFER.find("m=").unwrap();
    let lines = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdef01234567\r\na=fingerprint:sha-256 ";
    let print = ["AB"; 32].join(":");
    let offer = format!(
        "{}{CHANNEL}{lines}{print}\r\na=setup:actpass\r\n",
        &BROWSER_OFFER[..start]
    );
    let event = accept(&mut side, 1, &offer).await;
    assert!(
        matches!(event, PeerEvent::NegotiationFailed { .. }),
        "{event:?}"
    );
    // The next offer is answered.
    let event = accept(&mut side, 2, BROWSER_OFFER).await;
    assert!(
        matches!(event, PeerEvent::AnswerCreated { .. }),
        "{event:?}"
    );
    side.order(PeerOrder::Close);
    side.until(|event| *event == PeerEvent::Closed).await;
}
