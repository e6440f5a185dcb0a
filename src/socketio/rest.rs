//! The application's REST interface, as far as a member needs it: login, join, leave.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};

use super::{Access, trust};
use crate::causes::describe;
use crate::room::{Redacted, SignalingFailure, shown};

/// How long TCP and TLS may take, as for the socket. A server that answers that may take its time for the request.
const CONNECT: Duration = Duration::from_secs(3);

/// How long one request may take.
pub(super) const REQUEST: Duration = Duration::from_secs(5);

/// How much of an answer is read, bytes.
const ANSWER: usize = 64 * 1024;

/// How much of the server's words reaches the journal, characters.
pub(super) const SERVER_WORDS: usize = 200;

/// A REST client with its bearer token.
pub(super) struct Rest {
    http: reqwest::Client,
    meeting: Url,
    token: Redacted<String>,
}

impl Rest {
    /// Logs in if a login is configured. `None` without login and token: the interface asks for a bearer token
    /// everywhere, so there is nothing to do then, and only a server that admits anybody will let us in.
    pub(super) async fn open(access: &Access) -> Result<Option<Self>, SignalingFailure> {
        if access.login.is_none() && access.token.is_none() {
            return Ok(None);
        }
        let builder = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(REQUEST)
            .redirect(reqwest::redirect::Policy::none())
            // The WebSocket takes no proxy either.
            .no_proxy()
            // Two requests now and one much later: nothing to keep open, and no task to keep it.
            .pool_max_idle_per_host(0);
        let secure = access.url.starts_with("https:");
        let http = trust::trusting(builder, secure, access.ca.as_deref())?
            .build()
            .map_err(|error| SignalingFailure::Unreachable {
                message: format!("preparing REST: {}", describe(&error)),
            })?;
        let token = match (&access.login, &access.token) {
            (Some((email, password)), _) => {
                let url = route(access, &["auth", "login"])?;
                let body = json!({"email": email, "password": password.0});
                let answer = request(&http, url.clone(), None, Some(&body), "login").await?;
                token_of(&answer).ok_or_else(|| SignalingFailure::Refused {
                    message: format!("login at {url}: the answer holds no access_token"),
                    needs_operator: true,
                })?
            }
            (None, Some(token)) => token.clone(),
            (None, None) => return Ok(None),
        };
        let meeting = match &access.classroom {
            Some(classroom) => route(
                access,
                &[
                    "classrooms",
                    classroom,
                    "meetings",
                    &access.identity.meeting,
                ],
            )?,
            None => route(access, &["public-meetings", &access.identity.meeting])?,
        };
        Ok(Some(Self {
            http,
            meeting,
            token,
        }))
    }

    /// What the login gave, or the configured token.
    pub(super) fn token(&self) -> &Redacted<String> {
        &self.token
    }

    /// Makes the participant row without which the socket join is refused. Without a body: the server's validation
    /// rejects fields it does not know.
    pub(super) async fn join(&self) -> Result<(), SignalingFailure> {
        self.act("join").await
    }

    /// Sets the participant row offline.
    pub(super) async fn leave(&self) -> Result<(), SignalingFailure> {
        self.act("leave").await
    }

    async fn act(&self, what: &str) -> Result<(), SignalingFailure> {
        let mut url = self.meeting.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(what);
        }
        request(&self.http, url, Some(&self.token), None, what).await?;
        Ok(())
    }
}

/// The address of a route below `url` and `api`, its parts escaped.
fn route(access: &Access, parts: &[&str]) -> Result<Url, SignalingFailure> {
    let bad = |reason: String| SignalingFailure::Refused {
        message: format!("[signaling] url {}: {reason}", access.url),
        needs_operator: true,
    };
    let mut url = Url::parse(&access.url).map_err(|error| bad(error.to_string()))?;
    url.set_path(&access.api);
    url.path_segments_mut()
        .map_err(|()| bad("it is no http or https address".into()))?
        .pop_if_empty()
        .extend(parts);
    Ok(url)
}

/// One POST and its answer. Messages name the request and the server's words, never what was sent.
async fn request(
    http: &reqwest::Client,
    url: Url,
    token: Option<&Redacted<String>>,
    body: Option<&Value>,
    what: &str,
) -> Result<Value, SignalingFailure> {
    let mut request = http.request(Method::POST, url.clone());
    if let Some(Redacted(token)) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let broken = |error: reqwest::Error| SignalingFailure::Unreachable {
        message: format!("{what} at {url}: {}", trust::why(&error.without_url())),
    };
    let mut response = request.send().await.map_err(broken)?;
    let status = response.status();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER {
            bytes.truncate(ANSWER);
            break;
        }
    }
    let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(answer);
    }
    Err(refusal(what, &url, status, &answer))
}

/// What a bad status means for the next attempt.
fn refusal(what: &str, url: &Url, status: StatusCode, answer: &Value) -> SignalingFailure {
    let words = words_of(answer);
    let message = match &words {
        Some(words) => format!("{what} at {url}: {status}: {words}"),
        None => format!("{what} at {url}: {status}"),
    };
    if status.is_server_error() {
        return SignalingFailure::Unreachable { message };
    }
    let says = |word: &str| {
        words.as_ref().is_some_and(|words| {
            words
                .split(|letter: char| !letter.is_alphabetic())
                .any(|each| each.eq_ignore_ascii_case(word))
        })
    };
    let no_such_route = words
        .as_ref()
        .is_some_and(|words| words.starts_with("Cannot "));
    let (message, needs_operator) = match status {
        // The server has no such route at all: another address, another prefix, or no REST interface.
        StatusCode::NOT_FOUND if no_such_route => (
            format!(
                "{message}; check [signaling] url and api, or configure neither login nor token"
            ),
            true,
        ),
        // A locked meeting may be unlocked; somebody blocked stays blocked.
        StatusCode::FORBIDDEN if says("locked") => (message, false),
        // Not live yet, unknown (yet), full, too slow, too often: may all pass by themselves.
        StatusCode::BAD_REQUEST if what == "join" => (message, false),
        StatusCode::NOT_FOUND
        | StatusCode::CONFLICT
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => (message, false),
        _ => (message, true),
    };
    SignalingFailure::Refused {
        message,
        needs_operator,
    }
}

/// `message` of an error answer: a string, or several.
fn words_of(answer: &Value) -> Option<String> {
    let words = match answer.get("message")? {
        Value::String(words) => words.clone(),
        Value::Array(list) => list
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join("; "),
        _ => return None,
    };
    Some(shown(&words, SERVER_WORDS))
}

/// The token in a login's answer: `access_token` or `accessToken`, bare or under `data`.
fn token_of(answer: &Value) -> Option<Redacted<String>> {
    [Some(answer), answer.get("data")]
        .into_iter()
        .flatten()
        .flat_map(|place| [place.get("access_token"), place.get("accessToken")])
        .flatten()
        .filter_map(Value::as_str)
        .find(|token| !token.is_empty())
        .map(|token| Redacted(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Identity, PeerId};

    fn access() -> Access {
        Access {
            url: "https://meet.example.org".into(),
            api: "/api/v1".into(),
            identity: Identity {
                meeting: "a/b".into(),
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
    fn the_token_is_found_under_either_name_and_below_data() {
        for answer in [
            json!({"access_token": "t"}),
            json!({"accessToken": "t", "user": {}}),
            json!({"success": true, "data": {"access_token": "t"}}),
            json!({"data": {"accessToken": "t"}}),
        ] {
            assert_eq!(token_of(&answer), Some(Redacted("t".into())), "{answer}");
        }
        for answer in [
            Value::Null,
            json!([1]),
            json!({"access_token": ""}),
            json!({"access_token": 7, "data": "x"}),
        ] {
            assert_eq!(token_of(&answer), None, "{answer}");
        }
    }

    #[test]
    fn a_route_escapes_what_it_is_made_of() {
        let url = route(&access(), &["public-meetings", "a/b", "join"]).unwrap();
        assert_eq!(
            url.as_str(),
            "https://meet.example.org/api/v1/public-meetings/a%2Fb/join"
        );
    }

    #[test]
    fn only_what_cannot_pass_by_itself_needs_the_operator() {
        let url = route(&access(), &["x"]).unwrap();
        let of = |what, status: u16, words: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            match refusal(what, &url, status, &json!({ "message": words })) {
                SignalingFailure::Refused { needs_operator, .. } => Some(needs_operator),
                SignalingFailure::Unreachable { .. } => None,
            }
        };
        assert_eq!(of("login", 401, "Invalid credentials"), Some(true));
        assert_eq!(of("login", 400, "email must be an email"), Some(true));
        assert_eq!(of("join", 403, "You are blocked"), Some(true));
        assert_eq!(of("join", 403, "Meeting is locked"), Some(false));
        assert_eq!(of("join", 400, "Meeting is not live"), Some(false));
        assert_eq!(of("join", 404, "Meeting not found"), Some(false));
        assert_eq!(of("join", 404, "Cannot POST /api/v1/x"), Some(true));
        assert_eq!(of("join", 409, "Meeting is full"), Some(false));
        assert_eq!(of("join", 301, ""), Some(true));
        assert_eq!(of("join", 503, "Bad gateway"), None);
    }

    #[test]
    fn the_servers_words_are_cut_and_kept_to_one_line() {
        let words = words_of(&json!({"message": format!("a\nb{}", "x".repeat(1000))})).unwrap();
        assert_eq!(words.chars().count(), SERVER_WORDS);
        assert!(words.starts_with("a bx"));
        assert_eq!(
            words_of(&json!({"message": ["one", "two"]})).unwrap(),
            "one; two"
        );
        assert_eq!(words_of(&json!({"message": {"x": 1}})), None);
    }
}
