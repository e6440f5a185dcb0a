use super::*;
use crate::config::Settings;

const MEETING: &str = "main";

struct World {
    rooms: Rooms,
    now: Instant,
}

/// What one connection was sent.
type Heard = Vec<(&'static str, Value)>;

impl World {
    fn new() -> Self {
        let limits = HubLimits {
            members: 3,
            messages_per_second: 10,
            ..Settings::default().hub.limits
        };
        Self {
            rooms: Rooms::new(&[MEETING.to_owned(), "other".to_owned()], limits),
            now: Instant::now(),
        }
    }

    fn enter(&mut self, visitor: Visitor) -> Result<Sid, Refusal> {
        let sid = Sid::new();
        self.rooms.enter(sid, visitor, self.now)?;
        Ok(sid)
    }

    fn say(&mut self, sid: Sid, event: &str, payload: Value) {
        let bytes = payload.to_string().len();
        self.rooms.handle(sid, event, &payload, bytes, self.now);
    }

    fn joined(&mut self, user: &str) -> Sid {
        let sid = self.enter(visitor(user)).unwrap();
        self.join(sid, user);
        self.rooms.take();
        sid
    }

    fn join(&mut self, sid: Sid, user: &str) {
        self.say(
            sid,
            "meeting:join",
            json!({"meetingId": MEETING, "userId": user}),
        );
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.rooms.tick(self.now);
    }

    /// What each of these was sent since the last time; a close is an event named by its code.
    fn heard<const N: usize>(&mut self, of: [Sid; N]) -> [Heard; N] {
        let orders = self.rooms.take();
        of.map(|sid| {
            orders
                .iter()
                .filter_map(|order| match order {
                    Out::Emit {
                        to, event, payload, ..
                    } => to.contains(&sid).then(|| (*event, payload.clone())),
                    Out::Close { sid: of, code, .. } => {
                        (*of == sid).then_some((*code, Value::Null))
                    }
                })
                .collect()
        })
    }
}

fn visitor(user: &str) -> Visitor {
    Visitor {
        meeting: MEETING.into(),
        user: PeerId::new(user),
        name: format!("Name of {user}"),
        host: user == "host",
        guest: !matches!(user, "host" | "box"),
        proven: true,
    }
}

fn names(heard: &Heard) -> Vec<&'static str> {
    heard.iter().map(|(event, _)| *event).collect()
}

#[test]
fn a_join_is_told_in_the_applications_order_and_its_repetition_to_nobody_else() {
    let mut world = World::new();
    let [a, b] = [visitor("a"), visitor("b")].map(|visitor| world.enter(visitor).unwrap());
    world.join(a, "a");
    world.join(b, "b");
    let orders = world.rooms.take();
    let of_b: Vec<_> = orders[2..]
        .iter()
        .map(|order| match order {
            Out::Emit { to, event, .. } => (to.clone(), *event),
            Out::Close { .. } => panic!("{order:?}"),
        })
        .collect();
    assert_eq!(
        of_b,
        [
            (vec![a], "meeting:user-joined"),
            (vec![b], "meeting:participants"),
            (vec![b], "meeting:joined"),
        ]
    );
    world.join(b, "b");
    let [of_a, of_b] = world.heard([a, b]);
    assert_eq!(
        (names(&of_a), names(&of_b)),
        (vec![], vec!["meeting:joined"])
    );
}

#[test]
fn nobody_joins_as_somebody_else_or_elsewhere() {
    let mut world = World::new();
    let a = world.enter(visitor("a")).unwrap();
    for payload in [
        json!({"meetingId": MEETING, "userId": "b"}),
        json!({"meetingId": "other", "userId": "a"}),
    ] {
        world.say(a, "meeting:join", payload);
        let [heard] = world.heard([a]);
        assert_eq!(heard[0].1["message"], "Not authorized to join this meeting");
    }
    assert!(world.rooms.rows(MEETING).is_empty());
}

#[test]
fn before_the_join_nothing_is_heard_and_nothing_is_sent() {
    let mut world = World::new();
    let a = world.joined("a");
    let b = world.enter(visitor("b")).unwrap();
    world.say(b, "media:toggle-mic", json!({"isMuted": true}));
    world.say(b, "meeting:request-peers", Value::Null);
    world.say(b, "webrtc:ready", Value::Null);
    world.say(a, "media:toggle-mic", json!({"isMuted": true}));
    let [of_a, of_b] = world.heard([a, b]);
    assert_eq!(
        (names(&of_a), names(&of_b)),
        (vec!["media:user-muted"], vec![])
    );
}

#[test]
fn a_message_reaches_its_target_in_the_same_meeting_only_and_names_its_true_sender() {
    let mut world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|user| world.joined(user));
    let stranger = world
        .enter(Visitor {
            meeting: "other".into(),
            ..visitor("stranger")
        })
        .unwrap();
    world.say(
        stranger,
        "meeting:join",
        json!({"meetingId": "other", "userId": "stranger"}),
    );
    world.rooms.take();
    let offer = |target: &str, room: &str| {
        json!({
            "targetUserId": target, "roomId": room, "fromUserId": "c", "offer": {"type": "offer", "sdp": "v=0"},
        })
    };
    world.say(a, "media:offer", offer("b", MEETING));
    world.say(a, "webrtc:offer", offer("b", MEETING));
    world.say(a, "media:offer", offer("b", "other"));
    world.say(a, "media:offer", offer("stranger", MEETING));
    world.say(a, "media:offer", offer("a", MEETING));
    let [of_a, of_b, of_c, of_stranger] = world.heard([a, b, c, stranger]);
    let sdp = json!({"type": "offer", "sdp": "v=0"});
    assert_eq!(
        of_b,
        [
            (
                "media:offer",
                json!({"fromUserId": "a", "roomId": MEETING, "offer": sdp})
            ),
            ("webrtc:offer", json!({"fromUserId": "a", "offer": sdp})),
        ]
    );
    assert_eq!(names(&of_a), ["webrtc:error"; 2]);
    assert_eq!(of_a[0].1["targetUserId"], "stranger");
    assert_eq!((names(&of_c), names(&of_stranger)), (vec![], vec![]));
}

#[test]
fn a_late_member_learns_who_is_muted_and_who_shares() {
    let mut world = World::new();
    let a = world.joined("a");
    world.say(a, "media:toggle-mic", json!({"isMuted": true}));
    world.say(a, "media:toggle-video", json!({"isVideoOff": true}));
    world.say(a, "media:screen-share", json!({"isSharing": true}));
    let b = world.enter(visitor("b")).unwrap();
    world.join(b, "b");
    let [heard] = world.heard([b]);
    assert_eq!(
        names(&heard),
        [
            "meeting:participants",
            "meeting:joined",
            "media:user-screen-share"
        ]
    );
    let rows = heard[0].1["participants"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["isMuted"], &rows[0]["isVideoOff"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(heard[2].1["userId"], "a");
}

#[test]
fn a_newer_connection_takes_the_place_without_anybody_leaving() {
    let mut world = World::new();
    let [a, old] = ["a", "b"].map(|user| world.joined(user));
    let new = world.enter(visitor("b")).unwrap();
    let answer = json!({"targetUserId": "b", "answer": {"type": "answer", "sdp": "v=0"}});
    // Until the new one has joined, the old one is the member.
    world.say(a, "webrtc:answer", answer.clone());
    let [of_a, of_old, of_new] = world.heard([a, old, new]);
    assert_eq!(
        (names(&of_a), names(&of_old), names(&of_new)),
        (vec![], vec!["webrtc:answer"], vec![])
    );
    world.join(new, "b");
    world.say(a, "webrtc:answer", answer);
    world.rooms.gone(old);
    let [of_a, of_old, of_new] = world.heard([a, old, new]);
    assert_eq!(names(&of_a), ["meeting:user-joined"]);
    assert_eq!(names(&of_old), ["replaced"]);
    assert_eq!(
        names(&of_new),
        ["meeting:participants", "meeting:joined", "webrtc:answer"]
    );
}

#[test]
fn an_id_that_only_somebody_says_is_taken_while_its_owner_lives() {
    let mut world = World::new();
    let said = Visitor {
        proven: false,
        ..visitor("a")
    };
    let first = world.enter(said.clone()).unwrap();
    assert_eq!(world.enter(said.clone()).unwrap_err().code, "duplicate");
    world.rooms.gone(first);
    let second = world.enter(said.clone()).unwrap();
    world.join(second, "a");
    assert_eq!(world.enter(said).unwrap_err().code, "duplicate");
    // Whoever has a token for the id does not only say so.
    let proven = world.enter(visitor("a")).unwrap();
    world.join(proven, "a");
    let [of_second] = world.heard([second]);
    assert_eq!(names(&of_second).last(), Some(&"replaced"));
}

#[test]
fn a_full_meeting_lets_nobody_in_but_those_who_are() {
    let mut world = World::new();
    let late = world.enter(visitor("late")).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|user| world.joined(user));
    assert_eq!(world.enter(visitor("d")).unwrap_err().code, "full");
    world.join(late, "late");
    let [of_a, of_late] = world.heard([a, late]);
    assert_eq!((names(&of_a), names(&of_late)), (vec![], vec!["full"]));
    let again = world.enter(visitor("a")).unwrap();
    world.join(again, "a");
    assert_eq!(world.rooms.rows(MEETING).len(), 3);
    world.rooms.gone(b);
    world.rooms.gone(c);
    assert!(world.enter(visitor("d")).is_ok());
}

#[test]
fn only_a_host_orders() {
    let mut world = World::new();
    let [host, a] = ["host", "a"].map(|user| world.joined(user));
    for event in [
        "admin:mute-user",
        "admin:video-off-user",
        "admin:stop-share-user",
        "admin:kick-user",
        "admin:block-user",
    ] {
        world.say(a, event, json!({"targetUserId": "host"}));
    }
    let [of_host, of_a] = world.heard([host, a]);
    assert_eq!((names(&of_host), names(&of_a)), (vec![], vec![]));

    world.say(host, "admin:mute-user", json!({"targetUserId": "a"}));
    world.say(host, "admin:mute-user", json!({"targetUserId": "a"}));
    world.say(
        host,
        "admin:video-off-user",
        json!({"targetUserId": "a", "videoOff": true}),
    );
    world.say(host, "admin:stop-share-user", json!({"targetUserId": "a"}));
    world.say(host, "admin:mute-user", json!({"targetUserId": "nobody"}));
    let [of_host, of_a] = world.heard([host, a]);
    assert_eq!(of_host, of_a);
    let flags: Vec<_> = of_a.iter().map(|(_, payload)| payload.clone()).collect();
    assert_eq!(flags[0], json!({"userId": "a", "isMuted": true}));
    assert_eq!(flags[1], json!({"userId": "a", "isMuted": false}));
    assert_eq!(flags[2], json!({"userId": "a", "isVideoOff": true}));
    assert_eq!(flags[3]["isSharing"], false);
}

#[test]
fn a_kicked_member_is_out_at_once_and_may_come_again_and_a_blocked_one_may_not() {
    for (order, event, comes_again) in [
        ("admin:kick-user", "user:kicked", true),
        ("admin:block-user", "user:blocked", false),
    ] {
        let mut world = World::new();
        let [host, a] = ["host", "a"].map(|user| world.joined(user));
        world.say(host, order, json!({"targetUserId": "a", "reason": "noise"}));
        let [of_host, of_a] = world.heard([host, a]);
        assert_eq!(names(&of_a), [event, "meeting:user-left"]);
        assert_eq!(of_host, of_a);
        assert_eq!(of_a[0].1["reason"], "noise");
        assert_eq!(of_a[1].1.get("userName"), None);
        // Nothing more in either direction.
        world.say(a, "media:toggle-mic", json!({"isMuted": true}));
        world.join(a, "a");
        world.say(host, "webrtc:ready", Value::Null);
        let [of_host, of_a] = world.heard([host, a]);
        assert_eq!((names(&of_host), names(&of_a)), (vec![], vec![]));
        world.pass(1);
        assert_eq!(names(&world.heard([a])[0]), [""; 0]);
        world.pass(1);
        assert_eq!(names(&world.heard([a])[0]), ["removed"]);
        let again = world.enter(visitor("a")).map_err(|refusal| refusal.code);
        assert_eq!(again.is_ok(), comes_again, "{again:?}");
    }
}

#[test]
fn whoever_does_not_join_is_asked_to_go() {
    let mut world = World::new();
    let [a, idle] = [world.joined("a"), world.enter(visitor("idle")).unwrap()];
    world.pass(29);
    assert_eq!(world.heard([a, idle]), [vec![], vec![]]);
    world.say(a, "meeting:leave", Value::Null);
    world.rooms.take();
    world.pass(1);
    let [of_a, of_idle] = world.heard([a, idle]);
    assert_eq!((names(&of_a), names(&of_idle)), (vec![], vec!["idle"]));
    world.pass(29);
    assert_eq!(names(&world.heard([a])[0]), ["idle"]);
}

#[test]
fn a_flood_ends_the_flooder_and_the_others_hear_that_it_left() {
    let mut world = World::new();
    let [a, b] = ["a", "b"].map(|user| world.joined(user));
    for _ in 0..100 {
        world.say(b, "chat:message", json!({}));
    }
    let [of_a, of_b] = world.heard([a, b]);
    assert_eq!(
        (names(&of_a), names(&of_b)),
        (vec!["meeting:user-left"], vec!["rate"])
    );
}

#[test]
fn leaving_over_rest_is_leaving() {
    let mut world = World::new();
    let [a, b] = ["a", "b"].map(|user| world.joined(user));
    let user = PeerId::new("b");
    assert!(world.rooms.leave_user(MEETING, &user, world.now));
    assert!(!world.rooms.leave_user(MEETING, &user, world.now));
    let [of_a, of_b] = world.heard([a, b]);
    assert_eq!(names(&of_a), ["meeting:user-left"]);
    assert_eq!(of_a, of_b);
    world.join(b, "b");
    assert_eq!(names(&world.heard([a])[0]), ["meeting:user-joined"]);
}
