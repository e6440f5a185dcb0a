//! The Socket.IO server: from its sessions to the desk.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{Event, SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::socket::{DisconnectReason, Sid};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep, sleep_until};

use super::desk::{Desk, LINGER, unauthorized};
use super::line::{Backlog, Line};
use super::payload;
use super::rest::bearer;
use super::rooms::{Visitor, unknown_meeting};
use super::token::Claims;
use crate::room::PeerId;
use crate::web::{Client, Refusal};

/// The path of the official client.
const PATH: &str = "/socket.io/";
/// Twice this, and a dead connection is noticed: in ten seconds instead of the usual 45, because peers wait for
/// somebody who is gone, and a box that comes back is held up by what is left of it.
const PING: Duration = Duration::from_secs(5);
/// How long a client may take to join the namespace once it has a session, and to change from polling to a WebSocket.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Events a session may hold unsent: a full mesh's candidates come in one go.
const QUEUE: usize = 1024;

/// What a session holds from its handshake to its end; lies in the extensions of the request it began with, which
/// `socketioxide` keeps that long.
#[derive(Clone)]
struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
    backlog: Arc<Backlog>,
    /// If it began as a WebSocket.
    line: Option<Arc<Line>>,
    /// Whether the namespace was joined already.
    taken: Arc<AtomicBool>,
}

/// The server, its part of the router, and what ends its sessions.
pub(super) fn serve(
    desk: &Arc<Desk>,
    ended: mpsc::UnboundedReceiver<(Sid, Instant)>,
) -> (SocketIo, Router, impl Future<Output = ()> + use<>) {
    let payload = desk.settings.limits.payload_bytes as usize;
    let (service, io) = SocketIo::builder()
        .ping_interval(PING)
        .ping_timeout(PING)
        .connect_timeout(HANDSHAKE)
        .upgrade_timeout(HANDSHAKE)
        .max_buffer_size(QUEUE)
        .max_payload(payload as u64)
        .ws_max_message_size(payload)
        .ws_max_frame_size(payload)
        .build_svc();
    attend(&io, desk);
    let ending = end(Arc::clone(desk), service.clone(), ended);
    let watch = axum::middleware::from_fn_with_state(Arc::clone(desk), watch);
    let router = Router::new().route_service(PATH, service).layer(watch);
    (io, router, ending)
}

/// Ends transports a moment after their sessions were told.
async fn end(
    desk: Arc<Desk>,
    service: impl hyper::service::Service<Request>,
    mut ended: mpsc::UnboundedReceiver<(Sid, Instant)>,
) {
    while let Some((sid, told)) = ended.recv().await {
        sleep_until((told + LINGER).into()).await;
        desk.lines.sever(&sid.to_string());
        // By polling there is no connection to cut. A client ends such a session with this request, so does the hub;
        // one on a WebSocket takes no notice.
        let close = Request::post(format!("{PATH}?EIO=4&transport=polling&sid={sid}"))
            .body(Body::from("1"))
            .expect("a path and a session id make a request");
        let _ = service.call(close).await;
    }
}

/// Looks at every request of the transports.
async fn watch(
    State(desk): State<Arc<Desk>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let query = Parameters::of(request.uri());
    let websocket = query.first("transport") == Some("websocket");
    let client = request.extensions().get::<Client>().copied();
    let line = client
        .filter(|_| websocket)
        .and_then(|client| desk.lines.of(client.0));
    let Some(sid) = query.first("sid") else {
        let Ok(permit) = Arc::clone(&desk.sessions).try_acquire_owned() else {
            let limit = desk.settings.limits.connections;
            log::warn!("{limit} sessions are open, one was refused");
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                format!("the hub has its {limit} connections; try again when somebody has left"),
            ));
        };
        request.extensions_mut().insert(Place {
            _permit: Arc::new(permit),
            backlog: Arc::default(),
            line,
            taken: Arc::default(),
        });
        return Ok(next.run(request).await);
    };
    let backlog = desk.backlog(sid).unwrap_or_default();
    if let Some(line) = line {
        line.carry(sid, &backlog);
    }
    let fetched = request.method() == Method::GET && !websocket;
    let response = next.run(request).await;
    if fetched {
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        backlog.sent(length.unwrap_or_default());
    }
    Ok(response)
}

/// Whoever joins the default namespace.
fn attend(io: &SocketIo, desk: &Arc<Desk>) {
    // Everything in here happens in the handlers themselves and nothing in the futures they give back, because those
    // run whenever they please: messages would overtake each other.
    let welcoming = Arc::clone(desk);
    let welcome = move |socket: SocketRef| {
        welcoming.welcome(socket.id);
        ready(())
    };
    let seating = Arc::clone(desk);
    // As a middleware, for that runs before the client learns that it is connected, and may send.
    let seat = move |socket: SocketRef, TryData(auth): TryData<Value>| {
        listen(&socket, &seating);
        ready(take_seat(&seating, socket, &auth.unwrap_or_default()))
    };
    io.ns("/", welcome.with(seat));
}

fn listen(socket: &SocketRef, desk: &Arc<Desk>) {
    let hearing = Arc::clone(desk);
    socket.on_fallback(
        move |socket: SocketRef, Event(event): Event, TryData(payload): TryData<Value>| {
            // Without an argument, or with something that is no JSON.
            let payload = payload.unwrap_or_default();
            hearing.tell(|rooms| rooms.handle(socket.id, &event, &payload, Instant::now()));
            ready(())
        },
    );
    let parting = Arc::clone(desk);
    // In its future, unlike the others: the desk itself disconnects sockets, and holds its lock while it does. Nothing
    // more comes of this session, so nothing is overtaken.
    socket.on_disconnect(move |socket: SocketRef, reason: DisconnectReason| {
        let parting = Arc::clone(&parting);
        async move {
            parting.gone(socket.id);
            // The library forgets the socket when this is done, and ends a session at once in which something comes for
            // a socket it does not know. Of a flood there is always something that was read and not handled yet: the
            // connection would be closed with the rest unread, which resets it, and the sender would not hear why.
            if reason == DisconnectReason::ServerNSDisconnect {
                sleep(LINGER).await;
            }
        }
    });
}

/// Seats whoever joins the namespace. The library tells the client the error.
fn take_seat(desk: &Desk, socket: SocketRef, auth: &Value) -> Result<(), &'static str> {
    let parts = socket.req_parts();
    let place = parts.extensions.get::<Place>().cloned();
    let client = parts.extensions.get::<Client>().copied();
    let (Some(place), Some(client)) = (place, client) else {
        log::error!("a session came past its own door");
        return Ok(());
    };
    // The library knows sockets by their session alone: what is left of the first one would take a second one along,
    // and that one would stay a member without a connection.
    if place.taken.swap(true, Ordering::Relaxed) {
        return Err("this session has ended; connect anew");
    }
    let visitor = visitor(desk, parts, auth, client);
    let sid = socket.id.to_string();
    if let Some(line) = &place.line {
        line.carry(&sid, &place.backlog);
    } else {
        // It may have changed to a WebSocket by now.
        desk.lines.recarry(&sid, &place.backlog);
    }
    desk.seat(socket, place.backlog, visitor);
    Ok(())
}

/// Whom a new session is bound to.
fn visitor(
    desk: &Desk,
    parts: &Parts,
    auth: &Value,
    Client(client): Client,
) -> Result<Visitor, Refusal> {
    let query = Parameters::of(&parts.uri);
    let said = |key: &str| auth.get(key).and_then(Value::as_str);
    let token = said("token")
        .or_else(|| query.first("token"))
        .or_else(|| bearer(&parts.headers))
        .filter(|token| !token.is_empty());
    // Official clients repeat these in both places.
    let [users, meetings] =
        ["userId", "meetingId"].map(|key| [said(key), query.first(key)].into_iter().flatten());
    let name = said("name")
        .or_else(|| query.first("name"))
        .and_then(payload::name);
    let (meeting, user, host, proven) = match token.map(|token| desk.verify(token, client)) {
        Some(Ok(Claims::Member {
            meeting,
            user,
            host,
        })) => (meeting, user, host, true),
        Some(Ok(Claims::Link { .. })) => {
            return Err(unauthorized(
                "this is the token of a link; join over REST with it and connect with the token of the answer",
            ));
        }
        Some(Err(refusal)) => return Err(refusal),
        None if desk.is_open() => {
            let id = |mut ids: std::iter::Flatten<_>, key: &str| {
                ids.next()
                    .and_then(payload::id)
                    .map(str::to_owned)
                    .ok_or_else(|| {
                        unauthorized(&format!("{key} is missing, or longer than an id may be"))
                    })
            };
            let user = PeerId::new(&id(users.clone(), "userId")?);
            (id(meetings.clone(), "meetingId")?, user, false, false)
        }
        None => {
            return Err(unauthorized(
                "join over REST and connect with the token of the answer",
            ));
        }
    };
    if users.clone().any(|said| said != user.as_str()) {
        return Err(unauthorized("userId is not the one of your token"));
    }
    if meetings.clone().any(|said| said != meeting) {
        return Err(unauthorized("meetingId is not the one of your token"));
    }
    if !desk.ask(|rooms| rooms.exists(&meeting)) {
        return Err(unknown_meeting());
    }
    let name = name.unwrap_or_else(|| user.to_string());
    Ok(Visitor {
        meeting,
        user,
        name,
        host,
        proven,
    })
}

/// The query of a request.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(uri: &Uri) -> Self {
        Self(Query::try_from_uri(uri).map_or_else(|_| Vec::new(), |Query(pairs)| pairs))
    }

    fn first(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}
