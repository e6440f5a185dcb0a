use super::*;

const INTERVAL: Duration = Duration::from_secs(300);
const PROBATION: Duration = Duration::from_secs(120);
const ELSEWHERE: Trial = Trial {
    has_last_good: true,
    same_signaling: false,
    rejoin: false,
};

/// A policy in virtual time, with what it ordered and when (seconds).
struct Story {
    policy: Policy,
    now: Timestamp,
    orders: Vec<(u64, Order)>,
    /// The web server answers.
    web: bool,
    /// The last good signaling server answers.
    last_good: bool,
}

impl Story {
    fn new(seed: u64) -> Self {
        let timing = Timing {
            interval: INTERVAL,
            probation: PROBATION,
        };
        Self {
            policy: Policy::new(timing, seed, Timestamp::default()),
            now: Timestamp::default(),
            orders: Vec::new(),
            web: true,
            last_good: true,
        }
    }

    fn obey(&mut self) {
        while let Some(order) = self.policy.poll_order() {
            self.orders.push((self.now.as_duration().as_secs(), order));
            match order {
                Order::Look => {
                    let looked = match self.web {
                        true => Looked::Answered,
                        false => Looked::Failed,
                    };
                    self.policy.looked(looked, self.now);
                }
                Order::AskLastGood => self.policy.asked(self.last_good, self.now),
                Order::Rejoin | Order::StayedUp | Order::Confirm | Order::GoBack => {}
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.policy.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.policy.handle_timeout(self.now);
            self.obey();
        }
        self.now = end;
    }

    fn see(&mut self, in_effect: bool, signaling: SignalingState) {
        self.see_with(in_effect, true, signaling);
    }

    fn see_with(&mut self, in_effect: bool, may_leave: bool, signaling: SignalingState) {
        let situation = Situation {
            in_effect,
            may_leave,
            signaling,
        };
        self.policy.observe(situation, self.now);
        self.obey();
    }

    fn looks(&self) -> Vec<u64> {
        let looks = self
            .orders
            .iter()
            .filter(|(_, order)| *order == Order::Look);
        looks.map(|(at, _)| *at).collect()
    }

    fn verdicts(&self) -> Vec<(u64, Order)> {
        let counts = |(_, order): &&(u64, Order)| !matches!(order, Order::Look | Order::StayedUp);
        self.orders.iter().filter(counts).copied().collect()
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn looks_are_an_interval_apart_and_boxes_do_not_look_together() {
    let mut firsts = Vec::new();
    for seed in 1..=100 {
        let mut story = Story::new(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        story.pass(seconds(86_400));
        let looks = story.looks();
        assert!(looks[0] <= FIRST.as_secs());
        for pair in looks.windows(2) {
            assert!((269..=331).contains(&(pair[1] - pair[0])), "{pair:?}");
        }
        firsts.push(looks[100]);
    }
    firsts.sort_unstable();
    firsts.dedup();
    assert!(firsts.len() > 80, "{} of 100 moments differ", firsts.len());
}

#[test]
fn a_server_that_is_down_for_hours_is_asked_soon_and_then_once_an_interval() {
    let mut story = Story::new(7);
    story.web = false;
    story.pass(seconds(6 * 3600));
    let looks = story.looks();
    let waits: Vec<_> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (wait, nominal) in waits.iter().zip([5, 10, 20, 40, 80, 160, 300, 300]) {
        let about = nominal * 9 / 10 - 1..=nominal * 11 / 10 + 1;
        assert!(about.contains(wait), "{waits:?}");
    }
    assert!(waits.iter().all(|wait| *wait <= 331));
    assert!(looks.len() < 95, "{}", looks.len());
    // Back again, it is asked within an interval and the waits begin anew.
    story.web = true;
    story.orders.clear();
    story.pass(seconds(331));
    assert_eq!(story.looks().len(), 1);
    assert_eq!(story.policy.failures, 0);
}

#[test]
fn a_look_can_be_had_at_once_but_not_twice_at_a_time() {
    let mut story = Story::new(1);
    story.pass(seconds(10));
    story.orders.clear();
    story.policy.look_now(story.now);
    story.pass(seconds(0));
    assert_eq!(story.looks(), [10]);
    story.policy.look_now(story.now);
    story.policy.handle_timeout(story.now);
    assert_eq!(story.policy.poll_order(), Some(Order::Look));
    story.policy.look_now(story.now);
    story.policy.handle_timeout(story.now);
    assert_eq!(story.policy.poll_order(), None);
}

#[test]
fn a_box_that_joins_under_the_new_settings_keeps_them() {
    let mut story = Story::new(1);
    story.policy.set_trial(Some(ELSEWHERE));
    // Others are in the meeting: the new settings wait, and so does the probation.
    story.see(false, SignalingState::Joined);
    story.pass(seconds(3600));
    story.see(true, SignalingState::Connecting);
    story.pass(seconds(119));
    story.see(true, SignalingState::Joined);
    story.pass(seconds(600));
    assert_eq!(story.verdicts(), [(3719, Order::Confirm)]);
}

#[test]
fn a_box_that_does_not_join_goes_back_if_the_last_good_server_answers() {
    for state in [
        SignalingState::Reconnecting,
        SignalingState::Refused,
        SignalingState::Connecting,
        SignalingState::Unconfigured,
    ] {
        let mut story = Story::new(1);
        story.policy.set_trial(Some(ELSEWHERE));
        story.see(true, state);
        story.pass(seconds(600));
        assert_eq!(
            story.verdicts(),
            [(120, Order::AskLastGood), (120, Order::GoBack)],
            "{state:?}"
        );
    }
}

#[test]
fn nothing_is_taken_back_while_the_network_is_down() {
    let mut story = Story::new(1);
    story.policy.set_trial(Some(ELSEWHERE));
    story.last_good = false;
    story.see(true, SignalingState::Reconnecting);
    story.pass(seconds(4 * 3600));
    let verdicts = story.verdicts();
    assert!(
        verdicts
            .iter()
            .all(|(_, order)| *order == Order::AskLastGood)
    );
    assert!((470..=480).contains(&verdicts.len()), "{}", verdicts.len());
    // The network comes back, and with it the new server...
    story.see(true, SignalingState::Joined);
    assert_eq!(story.verdicts().last().unwrap().1, Order::Confirm);
    // ... or only the old one.
    let mut story = Story::new(1);
    story.policy.set_trial(Some(ELSEWHERE));
    story.last_good = false;
    story.see(true, SignalingState::Reconnecting);
    story.pass(seconds(3600));
    story.last_good = true;
    story.pass(seconds(31));
    assert_eq!(story.verdicts().last().unwrap().1, Order::GoBack);
}

#[test]
fn the_same_server_that_answers_is_no_reason_to_go_back() {
    let mut story = Story::new(1);
    story.policy.set_trial(Some(Trial {
        same_signaling: true,
        ..ELSEWHERE
    }));
    story.see(true, SignalingState::Refused);
    story.pass(seconds(600));
    assert_eq!(
        story.verdicts(),
        [(120, Order::AskLastGood), (120, Order::Confirm)]
    );
}

#[test]
fn without_a_server_before_there_is_nothing_to_go_back_to() {
    let mut story = Story::new(1);
    story.policy.set_trial(Some(Trial::default()));
    story.see(true, SignalingState::Reconnecting);
    story.pass(seconds(86_400));
    assert_eq!(story.verdicts(), []);
    assert!(story.orders.contains(&(120, Order::StayedUp)));
    story.see(true, SignalingState::Joined);
    assert_eq!(story.verdicts(), [(86_400, Order::Confirm)]);
}

#[test]
fn a_box_that_has_no_meeting_needs_none() {
    let mut story = Story::new(1);
    story.policy.set_trial(Some(Trial::default()));
    story.see(true, SignalingState::Unconfigured);
    story.pass(seconds(600));
    assert_eq!(story.verdicts(), [(120, Order::Confirm)]);
}

#[test]
fn another_account_is_tried_by_joining_anew_once_that_interrupts_nobody() {
    let mut story = Story::new(1);
    story.policy.set_trial(Some(Trial {
        rejoin: true,
        ..ELSEWHERE
    }));
    story.see_with(true, false, SignalingState::Joined);
    story.pass(seconds(600));
    assert_eq!(story.verdicts(), []);
    story.see_with(true, true, SignalingState::Joined);
    // The session of before proves nothing.
    story.see_with(true, true, SignalingState::Joined);
    assert_eq!(story.verdicts(), [(600, Order::Rejoin)]);
    story.see(true, SignalingState::Left);
    story.see(true, SignalingState::Connecting);
    story.see(true, SignalingState::Joined);
    assert_eq!(
        story.verdicts(),
        [(600, Order::Rejoin), (600, Order::Confirm)]
    );
}

#[test]
fn whoever_orders_the_box_out_of_the_meeting_stops_the_probation() {
    let mut story = Story::new(1);
    story.policy.set_trial(Some(ELSEWHERE));
    story.see(true, SignalingState::Connecting);
    story.pass(seconds(100));
    story.see(true, SignalingState::Left);
    story.pass(seconds(3600));
    assert_eq!(story.verdicts(), []);
    story.see(true, SignalingState::Connecting);
    story.pass(seconds(121));
    assert_eq!(story.verdicts().last(), Some(&(3820, Order::GoBack)));
}

#[test]
fn a_newer_file_takes_the_place_of_one_on_trial() {
    let mut story = Story::new(1);
    story.policy.set_trial(Some(ELSEWHERE));
    story.see(true, SignalingState::Reconnecting);
    story.pass(seconds(100));
    story.policy.set_trial(Some(ELSEWHERE));
    story.see(true, SignalingState::Reconnecting);
    story.pass(seconds(100));
    assert_eq!(story.verdicts(), []);
    story.policy.set_trial(None);
    story.pass(seconds(600));
    assert_eq!(story.verdicts(), []);
    // An answer that comes late changes nothing.
    story.policy.asked(true, story.now);
    story.obey();
    assert_eq!(story.verdicts(), []);
}
