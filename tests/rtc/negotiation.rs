//! Offers, answers, candidates, rollback and ICE restart.

use huddled::room::{ConnectionState, Generation, NegotiationId, PeerEvent, PeerOrder, Sdp};

use super::bench::{Pair, Side, description};

fn mids(sdp: &Sdp) -> Vec<&str> {
    let lines = sdp.as_str().lines();
    lines
        .filter_map(|line| line.strip_prefix("a=mid:"))
        .collect()
}

fn value<'a>(sdp: &'a Sdp, attribute: &str) -> Option<&'a str> {
    let mut lines = sdp.as_str().lines();
    lines.find_map(|line| line.strip_prefix(attribute))
}

fn failed(event: &PeerEvent) -> bool {
    matches!(event, PeerEvent::NegotiationFailed { .. })
}

fn applied(event: &PeerEvent) -> bool {
    matches!(event, PeerEvent::AnswerApplied { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_boxes_connect_and_every_report_names_its_negotiation() {
    let started = std::time::Instant::now();
    let pair = Pair::connected().await;
    println!("connected after {:?}", started.elapsed());
    for side in [&pair.a, &pair.b] {
        assert_eq!(side.count(failed), 0);
        assert!(side.count(|event| matches!(event, PeerEvent::LocalCandidate { .. })) > 0);
        for event in &side.seen {
            if let PeerEvent::LocalCandidate {
                negotiation,
                candidate,
            } = event
            {
                assert_eq!(*negotiation, NegotiationId(1));
                assert!(candidate.candidate.starts_with("candidate:"));
                assert_eq!(candidate.sdp_mid.as_deref(), Some("0"));
                assert_eq!(
                    candidate.username_fragment.as_deref(),
                    value(&description(&side.seen), "a=ice-ufrag:")
                );
            }
        }
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptions_have_audio_then_camera_of_one_stream_and_the_mark_of_a_box() {
    let pair = Pair::connected().await;
    for side in [&pair.a, &pair.b] {
        let sdp = description(&side.seen);
        let text = sdp.as_str();
        let kinds: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("m="))
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(kinds, ["m=audio", "m=video"], "{text}");
        assert_eq!(mids(&sdp), ["0", "1"]);
        let streams: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("a=msid:"))
            .map(|msid| msid.split_once(' ').unwrap())
            .collect();
        assert_eq!(streams.len(), 2, "{text}");
        assert_eq!(streams[0].0, streams[1].0, "one stream");
        assert_ne!(streams[0].1, streams[1].1, "two tracks");
        assert_eq!(text.matches("a=tool:huddled").count(), 1);
        assert!(text.contains("profile-level-id=42e01f"), "{text}");
        assert!(!text.contains("VP8"), "{text}");
        for feedback in ["nack", "nack pli", "ccm fir"] {
            let count = text
                .lines()
                .filter(|line| {
                    line.starts_with("a=rtcp-fb:")
                        && line
                            .split_once(' ')
                            .is_some_and(|(_, kind)| kind == feedback)
                })
                .count();
            assert!(count >= 1, "{feedback} in {text}");
        }
    }
    assert!(
        description(&pair.a.seen)
            .as_str()
            .contains("a=setup:actpass")
    );
    assert!(
        description(&pair.b.seen)
            .as_str()
            .contains("a=setup:passive")
    );
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_may_offer_again_and_the_connection_lives_on() {
    let mut pair = Pair::connected().await;
    for (round, by_a) in [(2, false), (3, true), (4, false), (5, true)] {
        let before = (pair.a.count(applied), pair.b.count(applied));
        if by_a {
            pair.a.offer(round, false);
            pair.run(|pair| pair.a.count(applied) > before.0).await;
        } else {
            pair.b.offer(round, false);
            pair.run(|pair| pair.b.count(applied) > before.1).await;
        }
        assert_eq!(mids(&description(&pair.a.seen)), ["0", "1"]);
    }
    assert_eq!(pair.a.count(failed) + pair.b.count(failed), 0);
    assert_eq!(pair.a.state(), ConnectionState::Connected);
    assert_eq!(pair.b.state(), ConnectionState::Connected);
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ice_restart_by_either_side_returns_to_connected_with_new_credentials() {
    let mut pair = Pair::connected().await;
    for (round, by_a) in [(2, true), (3, false)] {
        let old = (
            value(&description(&pair.a.seen), "a=ice-ufrag:").map(str::to_owned),
            value(&description(&pair.b.seen), "a=ice-ufrag:").map(str::to_owned),
        );
        let connected = |side: &Side| {
            side.count(|event| *event == PeerEvent::ConnectionState(ConnectionState::Connected))
        };
        let before = (connected(&pair.a), connected(&pair.b));
        let started = std::time::Instant::now();
        if by_a {
            pair.a.offer(round, true);
        } else {
            pair.b.offer(round, true);
        }
        pair.run(|pair| connected(&pair.a) > before.0 && connected(&pair.b) > before.1)
            .await;
        println!("restarted in {:?}", started.elapsed());
        let new_a = description(&pair.a.seen);
        let new_b = description(&pair.b.seen);
        assert_ne!(value(&new_a, "a=ice-ufrag:"), old.0.as_deref());
        assert_ne!(value(&new_b, "a=ice-ufrag:"), old.1.as_deref());
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_collision_the_one_that_rolls_back_can_answer() {
    let mut pair = Pair::open();
    pair.a.offer(1, false);
    pair.b.offer(1, false);
    let a_offer = pair
        .a
        .until(|event| matches!(event, PeerEvent::OfferCreated { .. }))
        .await;
    pair.b
        .until(|event| matches!(event, PeerEvent::OfferCreated { .. }))
        .await;
    let PeerEvent::OfferCreated { sdp, .. } = a_offer else {
        unreachable!();
    };

    // There is no implicit rollback.
    let accept = PeerOrder::AcceptOffer {
        negotiation: NegotiationId(2),
        sdp,
    };
    pair.b.order(accept.clone());
    let event = pair.b.until(failed).await;
    assert!(
        matches!(&event, PeerEvent::NegotiationFailed { negotiation, message }
            if *negotiation == NegotiationId(2) && message.contains("roll it back")),
        "{event:?}"
    );

    pair.b.order(PeerOrder::Rollback {
        negotiation: NegotiationId(1),
    });
    pair.b
        .until(|event| {
            *event
                == PeerEvent::RolledBack {
                    negotiation: NegotiationId(1),
                }
        })
        .await;
    pair.b.order(accept);
    pair.b
        .until(|event| matches!(event, PeerEvent::AnswerCreated { .. }))
        .await;
    let answer = description(&pair.b.seen);
    assert_eq!(mids(&answer), ["0", "1"]);
    pair.a.order(PeerOrder::AcceptAnswer {
        negotiation: NegotiationId(1),
        sdp: answer,
    });
    // What came before was not relayed; the candidates of b are all in its answer or follow.
    for event in pair.a.seen.clone() {
        if let PeerEvent::LocalCandidate { candidate, .. } = event {
            pair.b.order(PeerOrder::AddCandidate(candidate));
        }
    }
    pair.run(|pair| {
        pair.a.state() == ConnectionState::Connected && pair.b.state() == ConnectionState::Connected
    })
    .await;
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolled_back_restart_leaves_a_connection_that_can_be_restarted() {
    let mut pair = Pair::connected().await;
    pair.a.offer(2, true);
    pair.a
        .until(|event| matches!(event, PeerEvent::OfferCreated { .. }))
        .await;
    pair.a.order(PeerOrder::Rollback {
        negotiation: NegotiationId(2),
    });
    pair.a
        .until(|event| matches!(event, PeerEvent::RolledBack { .. }))
        .await;
    let connected = |side: &Side| {
        side.count(|event| *event == PeerEvent::ConnectionState(ConnectionState::Connected))
    };
    let before = connected(&pair.a);
    pair.b.offer(3, true);
    pair.run(|pair| connected(&pair.a) > before && pair.b.count(applied) > 0)
        .await;
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusable_descriptions_fail_their_negotiation_and_the_next_one_works() {
    let mut pair = Pair::open();
    pair.a.offer(1, false);
    pair.a
        .until(|event| matches!(event, PeerEvent::OfferCreated { .. }))
        .await;
    let offer = description(&pair.a.seen);
    let text = offer.as_str();
    let broken = [
        String::new(),
        "hello".to_owned(),
        text[..text.len() / 2].to_owned(),
        text.replace("a=mid:1", "a=mid:0"),
        text.replace("m=video", "m=text"),
        text.replace("a=fingerprint:sha-256 ", "a=fingerprint:"),
        text.replace("a=fingerprint:sha-256 ", "a=fingerprint:md5 "),
        text.replace("UDP/TLS/RTP/SAVPF", ""),
        text.replace("a=ssrc:", "a=ssrc:x"),
        text.replace("rtpmap:111 opus/48000/2", "rtpmap:111 none/1"),
        text.replace("a=ice-pwd:", "a=ice-pwd:\u{1F600}"),
    ];
    for (index, sdp) in broken.iter().enumerate() {
        let accept = |side: &mut Side, negotiation, sdp: &Sdp| {
            side.order(PeerOrder::AcceptOffer {
                negotiation: NegotiationId(negotiation),
                sdp: sdp.clone(),
            });
        };
        let concluded =
            |event: &PeerEvent| failed(event) || matches!(event, PeerEvent::AnswerCreated { .. });
        accept(&mut pair.b, 100, &Sdp::new(sdp));
        let event = pair.b.until(concluded).await;
        println!("{index}: {event:?}");
        if let PeerEvent::NegotiationFailed { message, .. } = &event {
            let password = value(&offer, "a=ice-pwd:").unwrap();
            assert!(!message.contains(password), "{message}");
        }
        // The next one works, or the session says that it is of no use any more.
        accept(&mut pair.b, 101, &offer);
        let event = pair.b.until(concluded).await;
        let died = pair
            .b
            .count(|event| matches!(event, PeerEvent::SessionDied { .. }));
        assert_eq!(failed(&event), died == 1, "{index}: {:?}", pair.b.seen);
        pair.b.order(PeerOrder::Close);
        pair.b.until(|event| *event == PeerEvent::Closed).await;
        pair.b.generation = Generation(pair.b.generation.0 + 1);
        pair.b.seen.clear();
        pair.b.order(PeerOrder::Open);
    }
    pair.b.order(PeerOrder::AcceptAnswer {
        negotiation: NegotiationId(7),
        sdp: offer.clone(),
    });
    let event = pair.b.until(failed).await;
    assert!(
        matches!(&event, PeerEvent::NegotiationFailed { message, .. } if message.contains("no offer")),
        "{event:?}"
    );
    // A fresh generation is unharmed, and so is the offerer by a wrong answer.
    pair.a.order(PeerOrder::AcceptAnswer {
        negotiation: NegotiationId(1),
        sdp: Sdp::new("v=0\r\n"),
    });
    pair.a.until(failed).await;
    pair.b.order(PeerOrder::Close);
    pair.b.until(|event| *event == PeerEvent::Closed).await;
    pair.b = Side::new();
    pair.b.order(PeerOrder::Open);
    pair.b.order(PeerOrder::AcceptOffer {
        negotiation: NegotiationId(2),
        sdp: offer,
    });
    for event in pair.a.seen.clone() {
        if let PeerEvent::LocalCandidate { candidate, .. } = event {
            pair.b.order(PeerOrder::AddCandidate(candidate));
        }
    }
    pair.run(|pair| {
        pair.a.state() == ConnectionState::Connected && pair.b.state() == ConnectionState::Connected
    })
    .await;
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_the_stack_would_stumble_over_costs_a_connection_nothing() {
    let mut pair = Pair::connected().await;
    let offer = description(&pair.a.seen);
    let text = offer.as_str();
    let video = text.find("m=video").unwrap();
    let unusable = [
        // The same connection by its fingerprint, each with something that no connection of ours can take.
        text.replace("a=rtpmap:111 ", "a=rtpmap:112 "),
        text.replace("opus/48000/2", "none/8000")
            .replace("H264/90000", "VP8/90000"),
        text.replace("a=fmtp:103 apt=102", "a=fmtp:103 apt=x"),
        text[..video].to_owned(),
        text.replace("a=mid:0", "a=mid:9"),
        text.replace("a=candidate:", "a=candidate:\u{1F980}"),
        format!("{text}m=video 9 UDP/TLS/RTP/SAVPF 120\r\na=mid:7\r\n"),
    ];
    for (index, sdp) in unusable.iter().enumerate() {
        if sdp == text {
            continue;
        }
        let negotiation = 100 + u64::try_from(index).unwrap();
        pair.b.order(PeerOrder::AcceptOffer {
            negotiation: NegotiationId(negotiation),
            sdp: Sdp::new(sdp),
        });
        let event = pair
            .b
            .until(|event| failed(event) || matches!(event, PeerEvent::AnswerCreated { .. }))
            .await;
        println!("{index}: {event:?}");
        assert!(failed(&event), "{index}: {event:?}");
    }
    assert_eq!(
        pair.b
            .count(|event| matches!(event, PeerEvent::SessionDied { .. })),
        0
    );
    // An answer of that kind does no harm either, and the connection can be negotiated and restarted as before.
    pair.a.offer(7, true);
    pair.run_with(
        |pair| pair.a.count(|event| matches!(event, PeerEvent::AnswerApplied { negotiation } if *negotiation == NegotiationId(7))) > 0
            && pair.b.state() == ConnectionState::Connected,
        |_| {},
    )
    .await;
    pair.close().await;
}
