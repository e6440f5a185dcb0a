//! The Socket.IO server: from its sessions to the desk.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{Event, SocketRef, TryData};
use socketioxide::handler::ConnectHandler;
use socketioxide::socket::{DisconnectReason, Sid};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until};

use super::backlog::{Backlog, QUEUE};
use super::desk::{Desk, LINGER, size, unauthorized};
use super::line::Line;
use super::payload;
use super::query::{Asked, SUBPROTOCOL, Said, Transport, offered_token};
use super::rest::bearer;
use super::rooms::{Visitor, unknown_meeting};
use super::sessions::{Ending, Found, Session, Standing, Way};
use super::token::Claims;
use crate::journal_budget::LineBudget;
use crate::room::PeerId;
use crate::web::{Client, Refusal, Standby, Visit};

/// The path of the official client.
pub(super) const PATH: &str = "/socket.io/";
/// Twice this, and a dead connection is noticed: in ten seconds instead of the usual 45, because peers wait for
/// somebody who is gone, and a box that comes back is held up by what is left of it.
const PING: Duration = Duration::from_secs(5);
/// How long a client may take to join the namespace once it has a session, and to change from polling to a WebSocket.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Longest answer of the library that names a new session, bytes.
const OPENING: usize = 1024;

static FULL: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "sessions refused because all places are taken",
);
static DISPLACED: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "sessions without a token that lost their places to new ones",
);
static PAST_THE_DOOR: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Error,
    "sessions that came past their own door",
);

/// What a session holds from its handshake to its end; lies in the extensions of the request it began with, which
/// `socketioxide` keeps that long.
#[derive(Clone)]
struct Place {
    session: Session,
    /// If the first request has shown a right token.
    _standby: Option<Arc<Standby>>,
    said: Said,
    backlog: Arc<Backlog>,
    /// If it began as a WebSocket.
    line: Option<Arc<Line>>,
    /// Whether the namespace was joined already.
    taken: Arc<AtomicBool>,
    /// Whether somebody is in a meeting.
    entered: Arc<AtomicBool>,
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
    let (displaced, displacements) = mpsc::unbounded_channel();
    let ending = end(Arc::clone(desk), service.clone(), ended);
    let displacing = displace(service.clone(), displacements);
    let ending = async {
        tokio::join!(ending, displacing);
    };
    let door = Door {
        desk: Arc::clone(desk),
        displaced,
    };
    let watch = axum::middleware::from_fn_with_state(door, watch);
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
        close(&service, sid).await;
    }
}

/// Ends sessions that lost their places.
async fn displace(
    service: impl hyper::service::Service<Request>,
    mut displaced: mpsc::UnboundedReceiver<Sid>,
) {
    while let Some(sid) = displaced.recv().await {
        close(&service, sid).await;
    }
}

/// By polling there is no connection to cut. A client ends such a session with this request, so does the hub; one on a
/// WebSocket takes no notice.
async fn close(service: &impl hyper::service::Service<Request>, sid: Sid) {
    let close = Request::post(format!("{PATH}?EIO=4&transport=polling&sid={sid}"))
        .body(Body::from("1"))
        .expect("a path and a session id make a request");
    let _ = service.call(close).await;
}

/// Where requests of the transports come in.
#[derive(Clone)]
struct Door {
    desk: Arc<Desk>,
    /// Sessions by polling that are to end.
    displaced: mpsc::UnboundedSender<Sid>,
}

/// Reads every request of the transports and lets the library see what was read, never what came.
async fn watch(
    State(door): State<Door>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let asked = Asked::read(request.method(), request.uri())?;
    let offered = offered_token(request.headers()).is_some();
    *request.uri_mut() = asked.uri();
    let extensions = request.extensions();
    let (Some(client), Some(visit)) = (
        extensions.get::<Client>().copied(),
        extensions.get::<Visit>().cloned(),
    ) else {
        return Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the request came without its connection",
        ));
    };
    let mut response = match asked.sid {
        None => door.open(request, next, asked, client, visit).await?,
        Some(sid) => {
            let found = door.desk.sessions.find(sid).ok_or_else(|| {
                Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "unknown-session",
                    "there is no session of this id; connect anew",
                )
            })?;
            door.go_on(
                request,
                next,
                (sid, asked.transport),
                client,
                &visit,
                &found,
            )
            .await?
        }
    };
    if offered && response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // A browser gives up when none of its subprotocols is taken (RFC 6455 section 4.1).
        let taken = HeaderValue::from_static(SUBPROTOCOL);
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, taken);
    }
    Ok(response)
}

impl Door {
    /// A request that opens a session.
    async fn open(
        &self,
        mut request: Request,
        next: Next,
        asked: Asked,
        Client(client): Client,
        visit: Visit,
    ) -> Result<Response, Refusal> {
        let websocket = asked.transport == Transport::WebSocket;
        let headers = request.headers();
        let token = asked.said.token.as_deref();
        let token = token
            .or_else(|| bearer(headers))
            .or_else(|| offered_token(headers));
        let standing = match token.map(|token| self.desk.verify(token, client)) {
            Some(Ok(Claims::Member { .. })) => Standing::Known,
            // The session hears why when it connects to the namespace.
            Some(_) | None => Standing::Stranger,
        };
        let standby = (standing == Standing::Known).then(|| Arc::new(visit.waits_for_member()));
        let (line, way) = if websocket {
            (self.desk.lines.of(client), Way::WebSocket(visit))
        } else {
            (None, Way::Polling(None))
        };
        let session = self.place(client, way, standing)?;
        request.extensions_mut().insert(Place {
            session: session.clone(),
            // By polling the next request comes by another connection as likely as by this one.
            _standby: standby.filter(|_| websocket),
            said: asked.said,
            backlog: Arc::default(),
            line,
            taken: Arc::default(),
            entered: Arc::default(),
        });
        let response = next.run(request).await;
        if websocket || response.status() != StatusCode::OK {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, OPENING)
            .await
            .unwrap_or_default();
        if let Some(sid) = opened(&body) {
            session.named(sid);
        }
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    /// A place among the sessions, if need be that of somebody who has shown nothing.
    fn place(
        &self,
        client: std::net::SocketAddr,
        way: Way,
        standing: Standing,
    ) -> Result<Session, Refusal> {
        let limit = self.desk.settings.limits.connections;
        let sessions = &self.desk.sessions;
        let opened = sessions.open(client.ip(), way, standing, Instant::now());
        let Some((session, displaced)) = opened else {
            if FULL.admits_address(client.ip()) {
                log::warn!(
                    "{limit} sessions are open, one from {} was refused",
                    client.ip()
                );
            }
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                format!("the hub has its {limit} connections; try again when somebody has left"),
            ));
        };
        if displaced.is_some() && DISPLACED.admits_address(client.ip()) {
            log::warn!(
                "{limit} sessions are open; one that has shown no token was ended for one from {}",
                client.ip()
            );
        }
        let Ending {
            connection,
            polling,
        } = displaced.unwrap_or_default();
        if let Some(visit) = connection {
            visit.cut();
        }
        if let Some(sid) = polling {
            // The receiver lives as long as the server.
            let _ = self.displaced.send(sid);
        }
        Ok(session)
    }

    /// A request of a session that exists.
    async fn go_on(
        &self,
        request: Request,
        next: Next,
        (sid, transport): (Sid, Transport),
        Client(client): Client,
        visit: &Visit,
        found: &Found,
    ) -> Result<Response, Refusal> {
        let sid = sid.to_string();
        let backlog = self.desk.backlog(&sid).unwrap_or_default();
        if transport == Transport::WebSocket {
            if let Some(line) = self.desk.lines.of(client) {
                line.carry(&sid, &backlog);
            }
            found.upgrades(visit);
            return Ok(next.run(request).await);
        }
        let fetches = request.method() == Method::GET;
        let _standby = match (found.joined, fetches) {
            (true, true) => Some(visit.waits_for_member()),
            (true, false) => Some(visit.known()),
            (false, _) => None,
        };
        let response = next.run(request).await;
        if fetches {
            let length = response.headers().get(header::CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            backlog.sent(length.unwrap_or_default());
        }
        Ok(response)
    }
}

/// The id in the answer to a request that opened a session (Engine.IO protocol 4, "open" packet).
fn opened(answer: &[u8]) -> Option<Sid> {
    let packet: Value = serde_json::from_slice(answer.strip_prefix(b"0")?).ok()?;
    packet.get("sid")?.as_str()?.parse().ok()
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
            let bytes = size(&payload);
            let is_in = hearing.tell(|rooms| {
                rooms.handle(socket.id, &event, &payload, bytes, Instant::now());
                rooms.is_in(socket.id)
            });
            if let Some(place) = socket.req_parts().extensions.get::<Place>()
                && place.entered.swap(is_in, Ordering::Relaxed) != is_in
            {
                place.session.in_meeting(is_in);
            }
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
        if PAST_THE_DOOR.admits("the hub") {
            log::error!("a session came past its own door");
        }
        return Err("this session has no place; connect anew");
    };
    // The library knows sockets by their session alone: what is left of the first one would take a second one along,
    // and that one would stay a member without a connection.
    if place.taken.swap(true, Ordering::Relaxed) {
        return Err("this session has ended; connect anew");
    }
    let visitor = visitor(desk, parts, &place.said, auth, client);
    if visitor.is_ok() {
        place.session.joined();
    }
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
    query: &Said,
    auth: &Value,
    Client(client): Client,
) -> Result<Visitor, Refusal> {
    let said = |key: &str| auth.get(key).and_then(Value::as_str);
    let token = said("token")
        .or(query.token.as_deref())
        .or_else(|| bearer(&parts.headers))
        .filter(|token| !token.is_empty());
    // Official clients repeat these in both places.
    let [users, meetings] = [("userId", &query.user), ("meetingId", &query.meeting)]
        .map(|(key, queried)| [said(key), queried.as_deref()].into_iter().flatten());
    let name = said("name")
        .or(query.name.as_deref())
        .and_then(payload::name);
    let (meeting, user, host, guest, proven) = match token.map(|token| desk.verify(token, client)) {
        Some(Ok(Claims::Member {
            meeting,
            user,
            host,
            guest,
        })) => (meeting, user, host, guest, true),
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
            (id(meetings.clone(), "meetingId")?, user, false, true, false)
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
        guest,
        proven,
    })
}
