//! The signaling client against the official Socket.IO server.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "these are tests, their parts that carry no #[test] too"
)]

pub(crate) mod gateway;
mod leaks;
mod losses;
mod meeting;
mod messages;
mod refusals;
mod trust;

use std::time::Duration;

use huddled::events::EventSender;
use huddled::room::{
    ClientMessage, Event, Identity, PeerId, Redacted, ServerMessage, SessionId, SignalingFailure,
};
use huddled::socketio::{Access, Client};
use tokio::sync::mpsc;
use tokio::time::timeout;

use gateway::{Gateway, PATIENCE};

const MEETING: &str = "3f0c1a52-5b1e-4c5d-9c43-6f6a3c1a0001";
const BOX: &str = "00000000-0000-4000-8000-000000000001";
pub(crate) const ONE: SessionId = SessionId(1);
const TWO: SessionId = SessionId(2);

/// The signaling client with what it reports.
pub(crate) struct Member {
    pub(crate) client: Client,
    events: mpsc::Receiver<Event>,
}

impl Member {
    pub(crate) fn new() -> Self {
        let (sender, events) = EventSender::channel();
        let client = Client::new(sender).unwrap();
        Self { client, events }
    }

    /// A member whose first session is open.
    pub(crate) async fn connected(access: Access) -> Self {
        let mut member = Self::new();
        member.open(ONE, access).await;
        member
    }

    /// A member whose first session is open and in the meeting.
    pub(crate) async fn joined(access: Access) -> Self {
        let mut member = Self::connected(access).await;
        member.client.send(ONE, ClientMessage::Join);
        member
            .until(|event| matches!(message(event), Some(ServerMessage::Joined { .. })))
            .await;
        member
    }

    async fn open(&mut self, session: SessionId, access: Access) {
        self.client.open(session, Ok(access));
        let first = self
            .until(|event| !matches!(event, Event::ActivitySeen { .. }))
            .await;
        assert_eq!(first, Event::SignalingOpened { session });
    }

    pub(crate) async fn next(&mut self) -> Event {
        timeout(PATIENCE, self.events.recv())
            .await
            .expect("nothing was reported for too long")
            .expect("the client is gone")
    }

    /// Skips to an event.
    pub(crate) async fn until(&mut self, wished: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await;
            if wished(&event) {
                return event;
            }
        }
    }

    /// The failure that ends a session.
    pub(crate) async fn failure(&mut self, session: SessionId) -> SignalingFailure {
        let event = self
            .until(|event| matches!(event, Event::SignalingClosed { .. }))
            .await;
        match event {
            Event::SignalingClosed {
                session: of,
                failure,
            } if of == session => failure,
            other => panic!("{other:?}"),
        }
    }

    /// Fails if anything is reported about a session after its end.
    async fn assert_silent(&mut self) {
        if let Ok(event) = timeout(Duration::from_millis(300), self.events.recv()).await {
            panic!("reported after the end: {event:?}");
        }
    }
}

pub(crate) fn message(event: &Event) -> Option<&ServerMessage> {
    match event {
        Event::MessageReceived { message, .. } => Some(message),
        _ => None,
    }
}

fn assert_unreachable(failure: &SignalingFailure) {
    assert!(
        matches!(failure, SignalingFailure::Unreachable { .. }),
        "{failure:?}"
    );
}

/// The same as another user.
fn plain_as(url: &str, user: &str) -> Access {
    let mut access = plain(url);
    access.identity.user = PeerId::new(user);
    access
}

/// Access without a login, for a gateway with `--open-meeting`.
fn plain(url: &str) -> Access {
    Access {
        url: url.into(),
        api: "/api/v1".into(),
        identity: Identity {
            meeting: MEETING.into(),
            user: PeerId::new(BOX),
        },
        name: "Room 7".into(),
        classroom: None,
        login: None,
        token: None,
        ca: None,
    }
}

/// Access with the account every gateway knows.
fn account(gateway: &Gateway) -> Access {
    Access {
        login: Some(("box@example.org".into(), Redacted("correct horse".into()))),
        ..plain(&gateway.url())
    }
}
