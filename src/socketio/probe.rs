//! Whether the server answers, for `huddled selftest`: one request and, where a login is configured, the login.

use std::time::{Duration, UNIX_EPOCH};

use reqwest::header::DATE;

use super::Access;
use super::rest::{REQUEST, Rest};
use super::trust;
use crate::causes::describe;
use crate::clock;
use crate::room::SignalingFailure;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// As configured.
    pub url: String,
    /// The HTTP status, whatever it is: this server has nothing to say at its root, and says so.
    pub status: u16,
    /// From the request to the answer.
    pub took: Duration,
    /// Its clock, as time since 1970, to the second.
    pub date: Option<Duration>,
    /// It took the configured login.
    pub logged_in: bool,
}

/// Asks the server for its root, then logs in where that is configured.
///
/// # Errors
/// One sentence: what was attempted and what happened.
pub async fn probe(access: &Access) -> Result<Answer, String> {
    let builder = reqwest::Client::builder()
        .timeout(REQUEST)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .pool_max_idle_per_host(0);
    let secure = access.url.starts_with("https:");
    let client = trust::trusting(builder, secure, access.ca.as_deref())
        .map_err(words)?
        .build()
        .map_err(|error| describe(&error))?;
    let begun = clock::monotonic();
    let response = client
        .get(&access.url)
        .send()
        .await
        .map_err(|error| format!("{}: {}", access.url, trust::why(&error.without_url())))?;
    let took = clock::monotonic().since(begun);
    let date = response
        .headers()
        .get(DATE)
        .and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok())
        .and_then(|date| date.duration_since(UNIX_EPOCH).ok());
    if access.login.is_some() {
        Rest::open(access).await.map_err(words)?;
    }
    Ok(Answer {
        url: access.url.clone(),
        status: response.status().as_u16(),
        took,
        date,
        logged_in: access.login.is_some(),
    })
}

fn words(failure: SignalingFailure) -> String {
    match failure {
        SignalingFailure::Unreachable { message } | SignalingFailure::Refused { message, .. } => {
            message
        }
    }
}
