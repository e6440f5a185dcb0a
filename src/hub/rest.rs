//! The REST interface: joining, leaving, who is there. In the application's words, because the box knows those.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::desk::{Desk, unauthorized};
use super::rooms::{Seat, row, unknown_meeting};
use super::token::{Claims, new_user};
use crate::journal_budget::LineBudget;
use crate::room::{PeerId, Redacted};
use crate::web::{Client, Refusal, Standby, TooSlow, Visit};

static REFUSED: LineBudget = LineBudget::new(module_path!(), log::Level::Warn, "refused joins");

/// The routes under `/api/`.
pub(super) fn router(desk: &Arc<Desk>) -> Router {
    let mut router = Router::new();
    for meeting in [
        "public-meetings/{meeting}",
        "classrooms/{classroom}/meetings/{meeting}",
    ] {
        let route = |what: &str| format!("/api/v1/{meeting}/{what}");
        router = router
            .route(&route("join"), post(join))
            .route(&route("leave"), post(leave))
            .route(&route("participants"), get(participants));
    }
    router
        .route("/api/{*rest}", axum::routing::any(no_such_route))
        .with_state(Arc::clone(desk))
}

/// The bearer token of a request (RFC 6750 section 2.1). A request with two such headers shows none.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(shown), None) = (shown.next(), shown.next()) else {
        return None;
    };
    let (scheme, token) = shown.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The meeting a path names. Its classroom is of no interest: the hub has none.
#[derive(serde::Deserialize)]
struct Place {
    meeting: String,
}

/// Who asks.
struct Caller {
    /// By a member token.
    user: Option<PeerId>,
    host: bool,
    guest: bool,
}

impl Caller {
    fn seat(&self) -> Seat {
        Seat::of(self.guest, self.host)
    }
}

fn caller(
    desk: &Desk,
    meeting: &str,
    headers: &HeaderMap,
    Client(client): Client,
) -> Result<Caller, Refusal> {
    if !desk.ask(|rooms| rooms.exists(meeting)) {
        return Err(unknown_meeting());
    }
    let claims = match bearer(headers) {
        Some(token) => desk.verify(token, client)?,
        None if desk.is_open() => {
            return Ok(Caller {
                user: None,
                host: false,
                guest: true,
            });
        }
        None => return Err(unauthorized("ask a host for a link to this meeting")),
    };
    let (of, user, host, guest) = match claims {
        Claims::Link { meeting, host } => (meeting, None, host, !host),
        Claims::Member {
            meeting,
            user,
            host,
            guest,
        } => (meeting, Some(user), host, guest),
    };
    if of != meeting {
        return Err(unauthorized("the token is for another meeting"));
    }
    Ok(Caller { user, host, guest })
}

/// Who asks, before anything of a body is waited for. The connection of a right token is out of strangers' reach as long
/// as the second part lives.
fn let_in(
    desk: &Desk,
    meeting: &str,
    headers: &HeaderMap,
    client: Client,
    visit: &Visit,
) -> Result<(Caller, Option<Standby>), Refusal> {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > u64::from(desk.settings.limits.payload_bytes)) {
        return Err(too_large());
    }
    let caller = caller(desk, meeting, headers, client)?;
    let standby = bearer(headers).map(|_| visit.known());
    Ok((caller, standby))
}

/// A body is taken and ignored: a late version of the application has one with the state of the devices, which a
/// member tells over the socket anyway.
async fn ignore(desk: &Desk, body: Body) -> Result<(), Refusal> {
    let limit = desk.settings.limits.payload_bytes as usize;
    let taken = axum::body::to_bytes(body, limit).await;
    taken.map(drop).map_err(|error| {
        if TooSlow::caused(&error) {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "body", TooSlow.to_string())
        } else {
            too_large()
        }
    })
}

fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "payload",
        "the body of the request is too large",
    )
}

async fn join(
    State(desk): State<Arc<Desk>>,
    Path(Place { meeting }): Path<Place>,
    Extension(client): Extension<Client>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (caller, _standby) = let_in(&desk, &meeting, &headers, client, &visit)?;
    ignore(&desk, body).await?;
    desk.ask(|rooms| rooms.admits(&meeting, caller.user.as_ref(), caller.seat()))
        .inspect_err(|refusal| {
            if REFUSED.admits_address(client.0.ip()) {
                log::warn!(meeting = &*meeting; "a join was refused: {}", refusal.message);
            }
        })?;
    let user = match caller.user {
        Some(user) => user,
        None => new_user().map_err(|error| {
            log::error!("{error}");
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the hub could not make a user id; try again",
            )
        })?,
    };
    let Redacted(token) = desk.key.sign(&Claims::Member {
        meeting: meeting.clone(),
        user: user.clone(),
        host: caller.host,
        guest: caller.guest,
    });
    let answer = json!({
        "id": row(&user),
        "userId": user.as_str(),
        "meetingId": meeting,
        "token": token,
        "role": if caller.host { "host" } else { "participant" },
        "is_online": true,
        "iceServers": desk.ice_servers.written().await,
    });
    Ok(answered(StatusCode::CREATED, answer))
}

async fn leave(
    State(desk): State<Arc<Desk>>,
    Path(Place { meeting }): Path<Place>,
    Extension(client): Extension<Client>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (caller, _standby) = let_in(&desk, &meeting, &headers, client, &visit)?;
    ignore(&desk, body).await?;
    let left = caller
        .user
        .is_some_and(|user| desk.tell(|rooms| rooms.leave_user(&meeting, &user, Instant::now())));
    if !left {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "not-online",
            "You are not in this meeting",
        ));
    }
    Ok(answered(StatusCode::CREATED, json!({"success": true})))
}

async fn participants(
    State(desk): State<Arc<Desk>>,
    Path(Place { meeting }): Path<Place>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    caller(&desk, &meeting, &headers, client)?;
    let rows = desk.ask(|rooms| rooms.rows(&meeting));
    Ok(answered(StatusCode::OK, Value::Array(rows)))
}

/// The application's server says it in these words, by which the box knows a server without accounts from a refusal.
async fn no_such_route(method: Method, uri: Uri) -> Refusal {
    let mut message = format!("Cannot {method} {}", uri.path());
    if uri.path().ends_with("/auth/login") {
        message.push_str(": this hub has no accounts, only tokens");
    }
    Refusal::new(StatusCode::NOT_FOUND, "no-such-route", message)
}

/// An answer that no cache may keep: it may hold a token.
fn answered(status: StatusCode, answer: Value) -> Response {
    let mut response = (status, Json(answer)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
