//! When the next attempt at the server is made.

use super::*;

struct Bench {
    signaling: Signaling,
    rng: Rng,
    out: Outbox,
    now: Timestamp,
}

fn bench() -> Bench {
    let now = Timestamp::from_millis(1_000);
    let mut bench = Bench {
        signaling: Signaling::new(true, now),
        rng: Rng::new(1),
        out: Outbox::default(),
        now,
    };
    bench.signaling.open(&mut bench.out, now);
    bench
}

impl Bench {
    fn join(&mut self) {
        let session = self.signaling.session().expect("a session");
        self.signaling.on_opened(session, &mut self.out, self.now);
        assert!(
            self.signaling
                .on_joined(&mut self.rng, &mut self.out, self.now)
        );
    }

    fn lose(&mut self) {
        let session = self.signaling.session().expect("a session");
        let failure = SignalingFailure::Unreachable {
            message: "reset".into(),
        };
        self.signaling
            .on_closed(session, &failure, &mut self.rng, &mut self.out, self.now);
    }

    fn wait(&self) -> Duration {
        let (at, _) = self.signaling.deadlines().min().expect("a deadline");
        at.since(self.now)
    }
}

#[test]
fn a_server_that_drops_every_session_right_after_the_join_is_not_hurried() {
    let mut bench = bench();
    let mut waits = Vec::new();
    for _ in 0..5 {
        bench.join();
        bench.lose();
        waits.push(bench.wait());
        bench.now = bench.now + bench.wait();
        bench
            .signaling
            .handle_timeout(&mut bench.rng, &mut bench.out, bench.now);
    }
    assert!(waits[4] > Duration::from_millis(1_500), "{waits:?}");
}

#[test]
fn a_session_that_held_ends_the_series_of_failures() {
    let mut bench = bench();
    for _ in 0..5 {
        bench.join();
        bench.now = bench.now + STABLE;
        bench.lose();
        assert!(bench.wait() <= Duration::from_secs(1));
        bench.now = bench.now + bench.wait();
        bench
            .signaling
            .handle_timeout(&mut bench.rng, &mut bench.out, bench.now);
    }
}

#[test]
fn an_attempt_that_never_ends_is_given_up() {
    let mut bench = bench();
    bench.now = bench.now + CONNECT_WAIT;
    bench
        .signaling
        .handle_timeout(&mut bench.rng, &mut bench.out, bench.now);
    assert_eq!(bench.signaling.shown(), SignalingState::Reconnecting);
}

#[test]
fn reports_of_an_old_session_mean_nothing() {
    let mut bench = bench();
    let old = bench.signaling.session().expect("a session");
    bench.lose();
    bench.now = bench.now + bench.wait();
    bench
        .signaling
        .handle_timeout(&mut bench.rng, &mut bench.out, bench.now);
    bench.signaling.on_opened(old, &mut bench.out, bench.now);
    assert_eq!(bench.signaling.shown(), SignalingState::Connecting);
    assert!(!bench.signaling.on_activity(old, bench.now));
}
