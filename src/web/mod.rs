//! FLOOR 1: what every HTTP server in here has in common: places for connections, limits for slow clients, an end,
//! and the check that a browser asks under a name of ours and not on behalf of somebody else's page.
//!
//! Limits before anybody is known: 5 s for a TLS handshake, 10 s for the head of a request and for an idle connection,
//! 10 s for a body, 30 s from the head to the end of the answer, 32 KiB of a head, 64 KiB of one stranger's request. Who
//! loses a place when there are too many connections stands in `places`.

mod body;
mod guard;
mod kept;
mod patience;
mod places;
mod serve;

pub use body::TooSlow;
pub use guard::{Guard, Names};
pub use patience::Patient;
pub(crate) use places::first_to_go;
pub use places::{Standby, Visit};
pub use serve::{Client, Server, plain};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A refusal as JSON, in the words of the application's server: `{"statusCode","message","code"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// For programs, kebab-case.
    pub code: &'static str,
    /// One sentence for people: what is wrong and what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RefusalBody<'a> {
    status_code: u16,
    message: &'a str,
    code: &'a str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = RefusalBody {
            status_code: self.status.as_u16(),
            message: &self.message,
            code: self.code,
        };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        response
    }
}
