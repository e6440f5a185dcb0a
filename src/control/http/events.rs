//! The room as server-sent events (HTML Living Standard, section 9.2).

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt as _};
use serde::Serialize;
use tokio::time::timeout;

use super::streams::Place;
use crate::control::backend::Backend;
use crate::control::mirror::EventLine;
use crate::control::service::{Published, Watching};
use crate::journal_budget::LineBudget;

/// A line that means nothing goes out after this much silence. It keeps what lies between from closing the connection,
/// and gives the system something to miss an acknowledgement of when the client is gone without a word.
const SILENCE: Duration = Duration::from_secs(4);
/// The browser comes back this soon after a connection has ended.
const BEGINNING: &str = "retry: 1000\n\n";

static TOO_SLOW: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "pages that did not keep up and were dropped",
);

struct Follower {
    watching: Watching,
    backend: Backend,
    client: SocketAddr,
    _place: Place,
}

/// An answer that goes on until the client leaves, the program ends, or events were lost because the client did not
/// read them. `place` is given back then.
pub(super) fn stream(backend: Backend, place: Place, client: SocketAddr) -> Response {
    let follower = Follower {
        watching: Watching::begin(&backend),
        backend,
        client,
        _place: place,
    };
    let beginning = stream::iter([Bytes::from_static(BEGINNING.as_bytes())]);
    let rest = stream::unfold(follower, |mut follower| async {
        Some((follower.next().await?, follower))
    });
    let body = Body::from_stream(beginning.chain(rest).map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        let Ok(published) = timeout(SILENCE, self.watching.next()).await else {
            return Some(Bytes::from_static(b": all is quiet\n\n"));
        };
        match published {
            Published::Event(event) => {
                let event = EventLine::from(&event);
                frame(name(&event), &event)
            }
            Published::Snapshot(room) => frame("snapshot", &self.backend.show(&room)),
            Published::TooSlow => {
                // It comes back by itself and starts from the whole picture, so the end is all it needs to be told.
                if TOO_SLOW.admits_address(self.client.ip()) {
                    log::warn!(
                        "a page did not keep up and was dropped: http {}",
                        self.client
                    );
                }
                None
            }
            Published::Ended => None,
        }
    }
}

// `None` ends the stream: these types always have a JSON form, so it does not happen.
fn frame(name: &str, data: &impl Serialize) -> Option<Bytes> {
    let json = serde_json::to_string(data).ok()?;
    let mut text = String::with_capacity(json.len() + name.len() + 20);
    // JSON has no line break outside of its strings, where it is escaped: one line of data.
    write!(text, "event: {name}\ndata: {json}\n\n").ok()?;
    Some(text.into())
}

const fn name(event: &EventLine) -> &'static str {
    match event {
        EventLine::ConnectionStateChanged { .. } => "connection-state-changed",
        EventLine::IceConnectionStateChanged { .. } => "ice-connection-state-changed",
        EventLine::PeerConnected { .. } => "peer-connected",
        EventLine::PeerDisconnected { .. } => "peer-disconnected",
        EventLine::Reconnecting { .. } => "reconnecting",
        EventLine::Reconnected { .. } => "reconnected",
        EventLine::ReconnectFailed { .. } => "reconnect-failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{ConnectionState, IceConnectionState, PeerId, RoomEvent};

    #[test]
    fn events_have_the_names_of_their_data() {
        let peer = PeerId::new("u-1");
        for event in [
            RoomEvent::ConnectionStateChanged {
                peer: peer.clone(),
                state: ConnectionState::Connected,
                previous: ConnectionState::Connecting,
            },
            RoomEvent::IceConnectionStateChanged {
                peer: peer.clone(),
                state: IceConnectionState::Connected,
                previous: IceConnectionState::Checking,
            },
            RoomEvent::PeerConnected { peer: peer.clone() },
            RoomEvent::PeerDisconnected { peer: peer.clone() },
            RoomEvent::Reconnecting {
                peer: peer.clone(),
                attempt: 1,
                max_attempts: 3,
            },
            RoomEvent::Reconnected {
                peer: peer.clone(),
                attempts: 1,
            },
            RoomEvent::ReconnectFailed { peer, attempts: 3 },
        ] {
            let line = EventLine::from(&event);
            let json = serde_json::to_value(&line).unwrap();
            assert_eq!(json["event"], name(&line));
        }
    }

    #[test]
    fn a_line_break_in_a_name_stays_inside_the_data() {
        let event = EventLine::PeerConnected {
            user_id: "u\nevent: snapshot\r\ndata: {}".to_owned(),
        };
        let bytes = frame(name(&event), &event).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains('\r'), "{text}");
    }
}
