//! The end of connections: nothing is left behind, nothing is said afterwards.

use std::time::Duration;

use huddled::room::{ConnectionState, Generation, NegotiationId, PeerEvent, PeerId, PeerOrder};

use super::bench::{LIMIT, Pair, Side};

fn sockets() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// In a process of its own, so that sockets of other tests do not count.
#[test]
fn closing_leaves_no_socket_and_no_task() {
    const MARK: &str = "HUDDLED_RTC_CLOSING";
    if std::env::var_os(MARK).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "rtc::closing::closing_leaves_no_socket_and_no_task",
            ])
            .env(MARK, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let tasks = || runtime.metrics().num_alive_tasks();
    let before = (sockets(), tasks());
    for round in 0..3 {
        runtime.block_on(async {
            let mut pairs = Vec::new();
            for _ in 0..3 {
                pairs.push(Pair::connected().await);
            }
            assert!(sockets() > before.0);
            for mut pair in pairs {
                if round == 0 {
                    pair.a.peers.shutdown().await;
                    pair.b.peers.shutdown().await;
                } else if round == 1 {
                    pair.close().await;
                } else {
                    // Dropped: the sessions close by themselves.
                }
            }
        });
        let deadline = std::time::Instant::now() + LIMIT;
        while (sockets(), tasks()) != before {
            assert!(
                std::time::Instant::now() < deadline,
                "round {round}: {:?} instead of {before:?}",
                (sockets(), tasks())
            );
            std::thread::yield_now();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_closed_nothing_more_is_reported() {
    let mut pair = Pair::connected().await;
    pair.a.order(PeerOrder::Close);
    pair.a.offer(9, false);
    pair.a.order(PeerOrder::RequestKeyframe);
    pair.a.until(|event| *event == PeerEvent::Closed).await;
    assert!(pair.a.health().is_none());
    pair.a.offer(10, false);
    // The other side needs seconds to notice: long enough for anything that would still come.
    pair.b
        .until(|event| *event == PeerEvent::ConnectionState(ConnectionState::Disconnected))
        .await;
    assert_eq!(pair.a.pending(), None);
    assert_eq!(pair.a.seen.last(), Some(&PeerEvent::Closed));
    pair.b.order(PeerOrder::Close);
    pair.b.until(|event| *event == PeerEvent::Closed).await;
}

#[tokio::test]
async fn orders_for_an_unknown_generation_are_ignored() {
    let mut side = Side::new();
    for order in [
        PeerOrder::Close,
        PeerOrder::RequestKeyframe,
        PeerOrder::Rollback {
            negotiation: NegotiationId(1),
        },
    ] {
        side.peers
            .order(PeerId::new("nobody"), Generation(7), order);
    }
    assert_eq!(side.pending(), None);
    assert!(side.peers.health().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_cannot_be_opened_dies_with_a_sentence_and_can_be_closed() {
    let mut side = Side::new();
    // Relay only, without a relay.
    side.peers.set_settings(huddled::rtc::RtcSettings {
        relay_only: true,
        ..Default::default()
    });
    side.order(PeerOrder::Open);
    side.offer(1, false);
    let died = side
        .until(|event| matches!(event, PeerEvent::SessionDied { .. }))
        .await;
    println!("{died:?}");
    side.until(|event| {
        matches!(event, PeerEvent::NegotiationFailed { negotiation, .. } if *negotiation == NegotiationId(1))
    })
    .await;
    side.order(PeerOrder::Close);
    side.until(|event| *event == PeerEvent::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_at_once_after_opening_is_quick() {
    let mut side = Side::new();
    for generation in 1..=5 {
        side.generation = Generation(generation);
        side.order(PeerOrder::Open);
        side.offer(generation, false);
        side.order(PeerOrder::Close);
        let started = std::time::Instant::now();
        side.until(|event| *event == PeerEvent::Closed).await;
        println!("closed after {:?}", started.elapsed());
        assert!(started.elapsed() < LIMIT.min(Duration::from_secs(10)));
    }
}

/// In a process of its own, as it takes the process's file descriptors away.
#[test]
fn a_connection_that_dies_by_itself_is_reported_once() {
    const MARK: &str = "HUDDLED_RTC_DYING";
    const NAME: &str = "rtc::closing::a_connection_that_dies_by_itself_is_reported_once";
    if std::env::var_os(MARK).is_none() {
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(MARK, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut pair = Pair::connected().await;
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: `none` is a valid rlimit; the call touches nothing else of ours.
        #[allow(unsafe_code)]
        let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) };
        assert_eq!(result, 0);
        // Whoever answers an ICE restart binds new sockets, and now cannot: the crate's task ends without a word.
        pair.a.offer(2, true);
        let offered = |event: &PeerEvent| matches!(event, PeerEvent::OfferCreated { negotiation, .. } if negotiation.0 == 2);
        let PeerEvent::OfferCreated { negotiation, sdp } = pair.a.until(offered).await else {
            unreachable!();
        };
        pair.b.order(PeerOrder::AcceptOffer { negotiation, sdp });
        let died = |event: &PeerEvent| matches!(event, PeerEvent::SessionDied { .. });
        pair.b.until(died).await;
        pair.b.offer(3, false);
        pair.b
            .until(|event| {
                matches!(event, PeerEvent::NegotiationFailed { negotiation, .. } if *negotiation == NegotiationId(3))
            })
            .await;
        pair.b.order(PeerOrder::Close);
        pair.b.until(|event| *event == PeerEvent::Closed).await;
        assert_eq!(pair.b.count(died), 1);
    });
}
