//! Two members on one server, with the server's defects: what a box must expect, and what the test gateway keeps.

use huddled::room::{Dialect, Sdp};
use serde_json::json;

use super::*;

const OTHER: &str = "ffffffff-0000-4000-8000-000000000002";

impl Member {
    fn say(&mut self, message: ClientMessage) {
        self.client.send(ONE, message);
    }

    /// All messages up to a marker, which the gateway sends to this user after everything it has sent so far.
    async fn heard(&mut self, gateway: &Gateway, user: &str) -> Vec<ServerMessage> {
        let marker =
            json!({"user": user, "event": "meeting:user-joined", "payload": {"userId": "marker"}});
        gateway.control("send", marker).await;
        let mut heard = Vec::new();
        loop {
            match message(&self.next().await) {
                Some(ServerMessage::UserJoined(row)) if row.user.as_str() == "marker" => {
                    return heard;
                }
                Some(message) => heard.push(message.clone()),
                None => {}
            }
        }
    }
}

/// The server has handled everything this user sent, up to `event`.
async fn handled(gateway: &Gateway, user: &str, event: &str) {
    gateway
        .until("received", json!({"user": user, "event": event}), |list| {
            !list.as_array().unwrap().is_empty()
        })
        .await;
}

fn offer(target: &str, dialect: Dialect) -> ClientMessage {
    ClientMessage::Offer {
        target: PeerId::new(target),
        sdp: Sdp::new("v=0"),
        dialect,
    }
}

#[tokio::test]
async fn what_is_sent_before_the_join_is_through_is_lost() {
    let gateway = Gateway::start(&["--open-meeting", "--join-delay", "150"]);
    let mut other = Member::joined(plain_as(&gateway.url(), OTHER)).await;
    let mut member = Member::connected(plain(&gateway.url())).await;
    member.say(ClientMessage::Join);
    member.say(ClientMessage::ToggleMic { muted: true });
    member.say(ClientMessage::RequestPeers);
    member
        .until(|event| matches!(message(event), Some(ServerMessage::Joined { .. })))
        .await;
    assert_eq!(member.heard(&gateway, BOX).await, []);
    let heard = other.heard(&gateway, OTHER).await;
    let [ServerMessage::UserJoined(row)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(row.user, PeerId::new(BOX));

    member.say(ClientMessage::RequestPeers);
    let answer = member.next().await;
    assert!(
        matches!(message(&answer), Some(ServerMessage::UserJoined(row)) if row.user.as_str() == OTHER),
        "{answer:?}"
    );
}

#[tokio::test]
async fn relays_come_twice_and_reports_come_back() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut member = Member::joined(plain(&gateway.url())).await;
    let mut other = Member::joined(plain_as(&gateway.url(), OTHER)).await;
    for dialect in [Dialect::Media, Dialect::Webrtc] {
        member.say(ClientMessage::Ready { dialect });
        member.say(offer(OTHER, dialect));
    }
    member.say(ClientMessage::ToggleVideo { video_off: true });
    handled(&gateway, BOX, "media:toggle-video").await;

    let ready = |dialect| ServerMessage::PeerReady {
        user: PeerId::new(BOX),
        dialect,
    };
    let offered = |dialect, room: Option<&str>| ServerMessage::Offer {
        from: PeerId::new(BOX),
        sdp: Sdp::new("v=0"),
        dialect,
        room: room.map(Into::into),
    };
    let off = ServerMessage::UserVideoOff {
        user: PeerId::new(BOX),
        video_off: true,
    };
    assert_eq!(
        other.heard(&gateway, OTHER).await,
        [
            ready(Dialect::Media),
            ready(Dialect::Media),
            offered(Dialect::Media, Some(MEETING)),
            offered(Dialect::Media, Some(MEETING)),
            ready(Dialect::Webrtc),
            offered(Dialect::Webrtc, None),
            off.clone(),
        ]
    );
    // The other's arrival, and the echo.
    assert_eq!(member.heard(&gateway, BOX).await[1..], [off]);
}

#[tokio::test]
async fn only_one_dialect_tells_of_an_unknown_target_and_the_dead_are_never_told_of() {
    for (option, known_after_death) in [("--keep-mapping", true), ("--no-keep-mapping", false)] {
        let gateway = Gateway::start(&["--open-meeting", option]);
        let mut member = Member::joined(plain(&gateway.url())).await;
        let other = Member::joined(plain_as(&gateway.url(), OTHER)).await;
        member.say(offer("nobody", Dialect::Media));
        member.say(offer("nobody", Dialect::Webrtc));
        let undeliverable = member
            .until(|event| matches!(message(event), Some(ServerMessage::Undeliverable { .. })))
            .await;
        assert!(
            matches!(message(&undeliverable), Some(ServerMessage::Undeliverable { target, .. }) if target.as_str() == "nobody")
        );
        gateway.control("kill", json!({"user": OTHER})).await;
        member
            .until(|event| matches!(message(event), Some(ServerMessage::UserLeft { user }) if user.as_str() == OTHER))
            .await;
        member.say(offer(OTHER, Dialect::Webrtc));
        member.say(ClientMessage::ScreenShare { sharing: false });
        handled(&gateway, BOX, "media:screen-share").await;
        let heard = member.heard(&gateway, BOX).await;
        let told = heard
            .iter()
            .any(|message| matches!(message, ServerMessage::Undeliverable { .. }));
        assert_eq!(told, !known_after_death, "{heard:?}");
        drop(other);
    }
}

#[tokio::test]
async fn a_ghost_of_oneself_leaves_and_a_new_join_on_the_same_socket_cures_it() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut member = Member::joined(plain(&gateway.url())).await;
    gateway.control("dropRow", json!({"user": BOX})).await;
    member
        .until(|event| matches!(message(event), Some(ServerMessage::UserLeft { user }) if user.as_str() == BOX))
        .await;
    // A join alone is answered and changes nothing.
    let online =
        async || gateway.control("rows", json!({"meeting": MEETING})).await[0]["online"].clone();
    for (leave, expected) in [(false, false), (true, true)] {
        if leave {
            member.say(ClientMessage::Leave);
        }
        member.say(ClientMessage::Join);
        member
            .until(|event| matches!(message(event), Some(ServerMessage::Joined { .. })))
            .await;
        assert_eq!(online().await, expected);
    }
}

#[tokio::test]
async fn the_newest_connection_of_a_user_gets_the_signaling() {
    let gateway = Gateway::start(&["--open-meeting", "--no-duplicates"]);
    let mut member = Member::joined(plain(&gateway.url())).await;
    let mut old = Member::joined(plain_as(&gateway.url(), OTHER)).await;
    let mut new = Member::joined(plain_as(&gateway.url(), OTHER)).await;
    member.say(offer(OTHER, Dialect::Media));
    handled(&gateway, BOX, "media:offer").await;
    let offers = |heard: Vec<ServerMessage>| {
        heard
            .iter()
            .filter(|message| matches!(message, ServerMessage::Offer { .. }))
            .count()
    };
    assert_eq!(offers(new.heard(&gateway, OTHER).await), 1);
    assert_eq!(offers(old.heard(&gateway, OTHER).await), 0);
}
