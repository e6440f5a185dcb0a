//! The box's own page: what `huddlectl status` and `watch` say, drawn, and the simulated panel's buttons.
//!
//! | Route | Answer |
//! |---|---|
//! | `GET /` | the page; its parts lie in `src/control/page/` and are built in |
//! | `GET /api/page` | what does not change while the box runs: `{"name","version","panel","pictures","meeting_link"}` |
//! | `GET /api/status` | the snapshot |
//! | `GET /api/events` | server-sent events: `snapshot` at the start and on every change, and what happened by its name |
//! | `GET /api/health` | counters and levels, no stable schema |
//! | `GET /api/picture?user=ID` | the newest picture of a member as PNG, with `&screen=true` of its shared screen; only in a demonstration |
//! | `POST /panel/press` | `{"button":"mic"\|"camera"\|"share"}`: 204, or 403 where the panel is not simulated, or from another machine |
//!
//! A browser is asked on behalf of whoever wrote the page it shows, so every request passes [`Guard`] first: a Host of
//! ours, no foreign Origin. There is no CORS, and a press is JSON, which a foreign page may not send without asking
//! first. Names come from strangers: the page writes them as text, and its policy allows no script but its own.

mod events;
mod streams;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::journal_budget::LineBudget;
use crate::web::{Client, Guard, Names, Patient, Refusal, Server, Visit};

use super::ControlError;
use super::backend::{Backend, Pictured};
use super::mirror::Snapshot;
use super::protocol::{self, ErrorCode, ReplyError, Wish};
use super::service::note_change;
use streams::Streams;

static STREAMS_FULL: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "browsers that could not follow the page",
);

/// Connections at once, besides those that follow the events; the oldest gives way to the next. A browser opens up to six.
const CONNECTIONS: usize = 64;
/// How many may follow the events.
const STREAMS: usize = 16;
/// Pictures that are made at once: each costs a whole picture's conversion and compression.
const PICTURES: usize = 2;
/// Longest body of a press, bytes.
const BODY: usize = 1024;
/// How long a client may take to send it.
const BODY_TIME: Duration = Duration::from_secs(5);
/// How long a client may leave what was sent to it unread.
const UNREAD: Duration = Duration::from_secs(5);

/// The parts of the page: where, what, and the text.
const ASSETS: [(&str, &str, &str); 4] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("page/index.html"),
    ),
    (
        "/page.js",
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    ),
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_str!("page/style.css"),
    ),
    (
        "/favicon.svg",
        "image/svg+xml",
        include_str!("page/favicon.svg"),
    ),
];

/// On every answer. The policy lets the page load its own parts and nothing else, in nobody's frame.
const PROTECTION: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// How the page is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageOptions {
    /// Names besides those of loopback under which a browser may ask.
    pub hosts: Vec<String>,
    /// The box's name.
    pub name: String,
    /// The panel is simulated, so the page shows its buttons. The room decides about presses by itself.
    pub panel: bool,
    /// Members' pictures are served: in a demonstration, where everybody in the meeting is whoever tries it.
    pub pictures: bool,
    /// In a demonstration: the link to the guest page.
    pub meeting_link: Option<String>,
}

/// What the page asks once.
#[derive(Serialize)]
struct About {
    name: String,
    version: &'static str,
    panel: bool,
    pictures: bool,
    meeting_link: Option<String>,
}

struct Shared {
    backend: Backend,
    about: About,
    streams: Arc<Streams>,
    pictures: Semaphore,
}

type Service = State<Arc<Shared>>;

/// The page, listening and not yet served.
#[derive(Debug)]
pub struct Page {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
}

impl Page {
    /// Listens on `address`; port 0 takes a free one. Needs a tokio runtime with I/O.
    ///
    /// # Errors
    /// [`ControlError::AddressInUse`] and [`ControlError::NoAddress`].
    pub async fn bind(
        address: SocketAddr,
        options: PageOptions,
        backend: Backend,
    ) -> Result<Self, ControlError> {
        let refuse = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => ControlError::AddressInUse { address },
            _ => ControlError::NoAddress { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        Ok(Self {
            listener,
            address,
            router: router(options, backend),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` ends.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let server = Server {
            name: "page",
            router: self.router,
            strangers: CONNECTIONS,
            // The page asks for no token.
            known: 0,
        };
        let patient = |stream| async { Ok(Patient::new(stream, UNREAD)) };
        server.serve(self.listener, patient, stop).await;
    }
}

fn router(options: PageOptions, backend: Backend) -> Router {
    let guard = Guard::new(Names::Loopback(options.hosts), false);
    let pictures = options.pictures;
    let shared = Arc::new(Shared {
        backend,
        about: About {
            name: options.name,
            version: env!("CARGO_PKG_VERSION"),
            panel: options.panel,
            pictures,
            meeting_link: options.meeting_link,
        },
        streams: Streams::new(STREAMS),
        pictures: Semaphore::new(PICTURES),
    });
    let mut router = Router::new()
        .route("/api/page", get(about))
        .route("/api/status", get(status))
        .route("/api/events", get(follow))
        .route("/api/health", get(health))
        .route("/panel/press", post(press));
    for (path, kind, text) in ASSETS {
        let part = move || async move { ([(header::CONTENT_TYPE, kind)], text) };
        router = router.route(path, get(part));
    }
    if pictures {
        router = router.route("/api/picture", get(picture));
    }
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .with_state(shared)
        .layer(from_fn_with_state(guard, Guard::check))
        .layer(map_response(protect))
}

async fn protect(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in PROTECTION {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn nothing_here() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "there is nothing under this address",
    )
}

async fn wrong_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "wrong-method",
        "this address is asked with another method; see the header Allow",
    )
}

async fn about(State(shared): Service) -> Response {
    Json(&shared.about).into_response()
}

async fn status(State(shared): Service) -> Json<Snapshot> {
    Json(shared.backend.status())
}

async fn health(State(shared): Service) -> Result<Json<Value>, Refusal> {
    Ok(Json(shared.backend.counters().await?))
}

async fn follow(
    State(shared): Service,
    Extension(Client(address)): Extension<Client>,
    Extension(visit): Extension<Visit>,
) -> Result<Response, Refusal> {
    let Some(place) = shared.streams.enter(address.ip(), &visit) else {
        if STREAMS_FULL.admits_address(address.ip()) {
            log::warn!("the page: {STREAMS} browsers follow it, one more was refused");
        }
        return Err(busy(
            "too many pages follow this box; close one, or try again in a moment",
        ));
    };
    Ok(events::stream(shared.backend.clone(), place, address))
}

#[derive(Deserialize)]
struct Whose {
    user: String,
    #[serde(default)]
    screen: bool,
}

async fn picture(
    State(shared): Service,
    whose: Result<Query<Whose>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let Ok(Query(Whose { user, screen })) = whose else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            ErrorCode::BadArguments.as_str(),
            "name the member: /api/picture?user=ID",
        ));
    };
    let Ok(_place) = shared.pictures.try_acquire() else {
        return Err(busy("other pictures are being made; ask again in a moment"));
    };
    let (_, png) = shared
        .backend
        .newest_picture(Some(&user), Pictured::of(screen), std::convert::identity)
        .await
        .map_err(|error| match error.code {
            // The member that was named is not there.
            ErrorCode::BadArguments => {
                Refusal::new(StatusCode::NOT_FOUND, error.code.as_str(), error.message)
            }
            _ => error.into(),
        })?;
    Ok(([(header::CONTENT_TYPE, "image/png")], png).into_response())
}

async fn press(
    State(shared): Service,
    Extension(Client(address)): Extension<Client>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    if !may_press(address) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            ErrorCode::Denied.as_str(),
            "presses are taken from this machine alone, because nobody far away opens a microphone",
        ));
    }
    // What a page of another origin can send without asking first is text or a form.
    if !is_json(request.headers()) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorCode::BadRequest.as_str(),
            "send the press as application/json",
        ));
    }
    let body = timeout(BODY_TIME, axum::body::to_bytes(request.into_body(), BODY))
        .await
        .map_err(|_| {
            Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                ErrorCode::BadRequest.as_str(),
                "the press did not arrive in time",
            )
        })?
        .map_err(|_| {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                ErrorCode::BadRequest.as_str(),
                format!("a press has {BODY} bytes at most"),
            )
        })?;
    let arguments: Value = serde_json::from_slice(&body)
        .map_err(|error| ReplyError::new(ErrorCode::BadRequest, format!("not JSON: {error}")))?;
    let command = protocol::press(arguments)?;
    let client = format!("http {address}");
    let result = shared.backend.command(command, &client).await;
    note_change(&Wish::Command(command), &client, &result);
    result?;
    Ok(StatusCode::NO_CONTENT)
}

/// A press opens, and only who is in the room may open: a page that other machines reach may show, never press.
fn may_press(client: SocketAddr) -> bool {
    client.ip().to_canonical().is_loopback()
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn busy(message: &str) -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Busy.as_str(),
        message,
    )
}

impl From<ReplyError> for Refusal {
    fn from(error: ReplyError) -> Self {
        let status = match error.code {
            ErrorCode::Denied => StatusCode::FORBIDDEN,
            ErrorCode::BadRequest | ErrorCode::BadArguments => StatusCode::BAD_REQUEST,
            ErrorCode::UnknownCommand | ErrorCode::NoPicture => StatusCode::NOT_FOUND,
            ErrorCode::Rejected => StatusCode::CONFLICT,
            ErrorCode::Unavailable | ErrorCode::Busy | ErrorCode::TooSlow => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ErrorCode::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.code.as_str(), error.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_is_taken_from_this_machine_alone() {
        for client in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(may_press(client.parse().unwrap()), "{client}");
        }
        for client in ["192.0.2.7:1", "[2001:db8::7]:1", "[::ffff:192.0.2.7]:1"] {
            assert!(!may_press(client.parse().unwrap()), "{client}");
        }
    }

    #[test]
    fn json_is_told_from_what_any_page_may_send() {
        let is = |kind: &'static str| {
            is_json(&HeaderMap::from_iter([(
                header::CONTENT_TYPE,
                HeaderValue::from_static(kind),
            )]))
        };
        assert!(is("application/json"));
        assert!(is("Application/JSON; charset=utf-8"));
        for kind in [
            "text/plain",
            "text/plain; application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/jsonp",
            "",
        ] {
            assert!(!is(kind), "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn codes_are_spelled_as_on_the_socket() {
        for code in [
            ErrorCode::Denied,
            ErrorCode::BadRequest,
            ErrorCode::UnknownCommand,
            ErrorCode::BadArguments,
            ErrorCode::NoPicture,
            ErrorCode::Rejected,
            ErrorCode::Unavailable,
            ErrorCode::Busy,
            ErrorCode::TooSlow,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn the_page_has_nothing_that_its_policy_forbids() {
        let [(_, _, html), (_, _, script), ..] = ASSETS;
        for forbidden in [
            " style=",
            "<style",
            " onclick",
            "javascript:",
            "http://",
            "https://",
        ] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert_eq!(html.matches("<script").count(), 1);
        for forbidden in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!script.contains(forbidden), "{forbidden}");
        }
    }
}
