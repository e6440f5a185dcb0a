//! One connection of `rust_socketio`, its callbacks turned into one ordered stream of [`Fact`]s.
//!
//! What the crate does not tell by itself (0.6, tried on socket.io 4.8): a clean close, a closed TCP connection and a
//! ping time-out raise no event. A client that is told to reconnect asks its `on_reconnect` for an address first, so
//! there the loss is seen; the address it gets parses as none, and it goes nowhere.

use std::time::Duration;

use futures_util::FutureExt;
use rust_socketio::asynchronous::{Client, ClientBuilder, ReconnectSettings};
use rust_socketio::{Event, Payload, TransportType};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::rest::SERVER_WORDS;
use super::{Access, trust};
use crate::room::{Redacted, SignalingFailure, shown};

/// How long TCP, TLS, WebSocket and Engine.IO may take together: attempts at a server that does not answer begin 3 s apart, so
/// none may take longer.
const CONNECT: Duration = Duration::from_secs(3);

/// The crate's words before the server's on a refused namespace.
const CONNECT_ERROR: &str = "Received an ConnectError frame: ";

/// What the connection told.
#[derive(Debug)]
pub(super) enum Fact {
    /// The namespace is joined; nothing may be sent before.
    Connected,
    /// An event with its first argument, `Null` if there is none or it is not JSON.
    Arrived { event: String, payload: Value },
    /// The server's middleware refused the namespace, with its words.
    Refused(String),
    /// The server disconnected the namespace; the transport is of no use any more.
    Disconnected,
    /// The transport reported an error; a loss follows if it matters.
    Failed(String),
    /// The transport is gone.
    Lost,
}

/// Connects. The facts begin with `Connected` or `Refused`.
pub(super) async fn connect(
    access: &Access,
    token: Option<&Redacted<String>>,
    facts: mpsc::Sender<Fact>,
) -> Result<Client, SignalingFailure> {
    let url = address(access)?;
    let lost = facts.clone();
    let reporter = |fact: fn(Payload) -> Fact| {
        let facts = facts.clone();
        move |payload: Payload, _: Client| {
            let facts = facts.clone();
            // Waiting here holds the server back, and nothing is lost. A closed channel is the end of the session.
            async move { drop(facts.send(fact(payload)).await) }.boxed()
        }
    };
    let on_connect = reporter(|_| Fact::Connected);
    let on_close = reporter(closed);
    let on_error = reporter(error);
    let any = facts.clone();
    let secure = url.starts_with("https:");
    let mut builder = ClientBuilder::new(url);
    if secure {
        builder = builder.tls_config(trust::connector(access.ca.as_deref())?);
    }
    if let Some(Redacted(token)) = token {
        // A hub lets those in first who show their token with the first request.
        builder = builder.opening_header("authorization", format!("Bearer {token}"));
    }
    let connecting = builder
        .transport_type(TransportType::Websocket)
        .auth(auth(access, token))
        .on(Event::Connect, on_connect)
        .on(Event::Close, on_close)
        .on(Event::Error, on_error)
        .on_any(move |event, payload, _| {
            let facts = any.clone();
            async move { drop(facts.send(arrived(&event, payload)).await) }.boxed()
        })
        .reconnect(true)
        .max_reconnect_attempts(1)
        .on_reconnect(move || {
            let facts = lost.clone();
            async move {
                drop(facts.send(Fact::Lost).await);
                let mut nowhere = ReconnectSettings::new();
                nowhere.address("nowhere");
                nowhere
            }
            .boxed()
        })
        .connect();
    match timeout(CONNECT, connecting).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(SignalingFailure::Unreachable {
            message: format!("connecting to {}: {}", access.url, trust::why(&error)),
        }),
        Err(_) => Err(SignalingFailure::Unreachable {
            message: format!("connecting to {}: no answer within {CONNECT:?}", access.url),
        }),
    }
}

/// Who we are goes into the query and into auth, because the application's gateways read either. The token goes into
/// auth alone: queries end up in the logs of proxies.
fn address(access: &Access) -> Result<String, SignalingFailure> {
    let mut url = reqwest::Url::parse(&access.url).map_err(|error| SignalingFailure::Refused {
        message: format!("[signaling] url {}: {error}", access.url),
        needs_operator: true,
    })?;
    url.set_path("/socket.io/");
    url.query_pairs_mut()
        .clear()
        .append_pair("userId", access.identity.user.as_str())
        .append_pair("meetingId", &access.identity.meeting);
    Ok(url.into())
}

fn auth(access: &Access, token: Option<&Redacted<String>>) -> Value {
    let mut auth = json!({
        "userId": access.identity.user.as_str(),
        "meetingId": access.identity.meeting,
        "name": access.name,
    });
    if let Some(Redacted(token)) = token {
        auth["token"] = json!(token);
    }
    auth
}

/// The crate gives an event without arguments as `message` with the event's name.
fn arrived(event: &Event, payload: Payload) -> Fact {
    let (event, payload) = match (event, payload) {
        (Event::Message, Payload::Text(values)) => match values.into_iter().next() {
            Some(Value::String(name)) => (name, Value::Null),
            other => ("message".into(), other.unwrap_or(Value::Null)),
        },
        (event, Payload::Text(values)) => (
            event.as_str().into(),
            values.into_iter().next().unwrap_or(Value::Null),
        ),
        (event, _) => (event.as_str().into(), Value::Null),
    };
    Fact::Arrived { event, payload }
}

/// The crate gives two things as `close`: the end of the namespace, with an empty text, and an event of that name.
fn closed(payload: Payload) -> Fact {
    match payload {
        Payload::Text(values) if values == [json!("")] => Fact::Disconnected,
        payload => arrived(&Event::Close, payload),
    }
}

/// The crate gives three things as `error`: the server's event of that name, a refused namespace, and its own trouble.
fn error(payload: Payload) -> Fact {
    let value = match payload {
        Payload::Text(values) => values.into_iter().next().unwrap_or(Value::Null),
        _ => Value::Null,
    };
    let Value::String(text) = value else {
        return Fact::Arrived {
            event: "error".into(),
            payload: value,
        };
    };
    match text.strip_prefix(CONNECT_ERROR) {
        // All the crate says of any trouble of the transport.
        None if text == "EngineIO Error" => Fact::Failed("its transport broke".into()),
        None => Fact::Failed(shown(&text, SERVER_WORDS)),
        Some(json) => {
            let words = serde_json::from_str::<Value>(json).ok();
            let message = words
                .as_ref()
                .and_then(|words| words.get("message").unwrap_or(words).as_str())
                .unwrap_or("no reason given");
            Fact::Refused(shown(message, SERVER_WORDS))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Identity, PeerId};

    fn access(url: &str) -> Access {
        Access {
            url: url.into(),
            api: "/api/v1".into(),
            identity: Identity {
                meeting: "room 1&x".into(),
                user: PeerId::new("box"),
            },
            name: "Room".into(),
            classroom: None,
            login: None,
            token: None,
            ca: None,
        }
    }

    #[test]
    fn the_query_names_user_and_meeting_and_never_the_token() {
        let address = address(&access("https://meet.example.org")).unwrap();
        assert_eq!(
            address,
            "https://meet.example.org/socket.io/?userId=box&meetingId=room+1%26x"
        );
        let auth = auth(&access(""), Some(&Redacted("secret".into())));
        assert_eq!(
            auth,
            json!({"userId": "box", "meetingId": "room 1&x", "name": "Room", "token": "secret"})
        );
    }

    #[test]
    fn an_event_without_arguments_keeps_its_name() {
        let fact = arrived(
            &Event::Message,
            Payload::Text(vec![json!("meeting:joined")]),
        );
        let Fact::Arrived { event, payload } = fact else {
            panic!("{fact:?}");
        };
        assert_eq!((event.as_str(), payload), ("meeting:joined", Value::Null));
    }

    #[test]
    fn an_event_that_is_named_close_closes_nothing() {
        assert!(matches!(closed(Payload::from("")), Fact::Disconnected));
        assert!(matches!(
            closed(Payload::from(json!({}))),
            Fact::Arrived { .. }
        ));
    }

    #[test]
    fn the_three_kinds_of_error_are_told_apart() {
        let of = |value| error(Payload::Text(vec![value]));
        assert!(
            matches!(of(json!({"message": "x"})), Fact::Arrived { event, .. } if event == "error")
        );
        assert!(matches!(of(json!("Got an IO-Error")), Fact::Failed(_)));
        for (frame, words) in [
            (r#"{"message":"go away"}"#, "go away"),
            (r#""go away""#, "go away"),
            ("{}", "no reason given"),
            ("}", "no reason given"),
        ] {
            let fact = of(json!(format!("{CONNECT_ERROR}{frame}")));
            assert!(
                matches!(&fact, Fact::Refused(text) if text == words),
                "{fact:?}"
            );
        }
    }
}
