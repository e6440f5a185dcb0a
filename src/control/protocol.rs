//! The lines of the control protocol: reading requests tolerantly of order and spacing, strictly of meaning.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::room::{Button, Command};

/// What a client wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `status`.
    Status,
    /// `watch`.
    Watch,
    /// `mute`, `camera`, `share`, `press`, `join`, `leave`, `identify`: a wish to the room.
    Command(Command),
    /// `picture`.
    Picture {
        /// Of whom; needed when several are there.
        user: Option<String>,
        /// Of its shared screen instead of its camera.
        screen: bool,
    },
    /// `reload`.
    Reload,
    /// `fetch`: look for a remote configuration now.
    Fetch,
    /// `health`.
    Health,
}

/// One line of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back in the reply: a number, a string or `null`.
    pub id: Value,
    /// What it wishes.
    pub wish: Wish,
}

/// Why a request was not carried out; clients decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The room said no.
    Denied,
    /// The line is no request.
    BadRequest,
    /// There is no such command.
    UnknownCommand,
    /// The arguments do not fit the command.
    BadArguments,
    /// There is no picture.
    NoPicture,
    /// The configuration was refused; the old one stays.
    Rejected,
    /// The daemon did not answer in time, or is stopping.
    Unavailable,
    /// Too many connections.
    Busy,
    /// The watcher did not read what it asked for.
    TooSlow,
    /// A code of a newer daemon.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The spelling in a reply.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::BadRequest => "bad-request",
            Self::UnknownCommand => "unknown-command",
            Self::BadArguments => "bad-arguments",
            Self::NoPicture => "no-picture",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Busy => "busy",
            Self::TooSlow => "too-slow",
            Self::Unknown => "unknown",
        }
    }
}

/// The `error` of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyError {
    /// For programs.
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: String,
}

impl ReplyError {
    /// An error with its sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply<T = Value> {
    /// The request's.
    pub id: Value,
    /// What came of it.
    pub result: Result<T, ReplyError>,
}

// The members in the order of the documentation; `Value` would sort them.
#[derive(Serialize)]
struct RequestLine<'a> {
    id: &'a Value,
    #[serde(rename = "do")]
    name: &'a str,
    #[serde(rename = "args")]
    arguments: Value,
}

#[derive(Serialize)]
struct DoneLine<'a, T> {
    id: &'a Value,
    ok: &'a T,
}

#[derive(Serialize)]
struct RefusedLine<'a> {
    id: &'a Value,
    error: &'a ReplyError,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Off {
    off: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct On {
    on: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Press {
    button: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Picture {
    user: Option<String>,
    #[serde(default)]
    screen: bool,
}

impl Request {
    /// Reads a line. The error is the reply it deserves.
    pub fn parse(line: &[u8]) -> Result<Self, Reply> {
        let refuse = |id: &Value, code, message: String| Reply {
            id: id.clone(),
            result: Err(ReplyError { code, message }),
        };
        let value: Value = serde_json::from_slice(line).map_err(|error| {
            refuse(
                &Value::Null,
                ErrorCode::BadRequest,
                format!("not JSON: {error}"),
            )
        })?;
        let Value::Object(mut members) = value else {
            return Err(refuse(
                &Value::Null,
                ErrorCode::BadRequest,
                r#"a request is an object such as {"id":1,"do":"status"}"#.to_owned(),
            ));
        };
        let id = members.remove("id").unwrap_or(Value::Null);
        if !matches!(id, Value::Null | Value::Number(_) | Value::String(_)) {
            return Err(refuse(
                &Value::Null,
                ErrorCode::BadRequest,
                "id must be a number or a string".to_owned(),
            ));
        }
        let Some(Value::String(name)) = members.remove("do") else {
            return Err(refuse(
                &id,
                ErrorCode::BadRequest,
                "do must name a command".to_owned(),
            ));
        };
        let arguments = members.remove("args").unwrap_or(Value::Null);
        match Wish::parse(&name, arguments) {
            Ok(wish) => Ok(Self { id, wish }),
            Err(ReplyError { code, message }) => Err(refuse(&id, code, message)),
        }
    }

    /// The line a client sends, with its line break.
    pub fn to_line(&self) -> String {
        let (name, arguments) = self.wish.parts();
        line(&RequestLine {
            id: &self.id,
            name,
            arguments,
        })
    }
}

impl Wish {
    fn parse(name: &str, arguments: Value) -> Result<Self, ReplyError> {
        let command = match name {
            "status" => return none(name, arguments).map(|()| Self::Status),
            "watch" => return none(name, arguments).map(|()| Self::Watch),
            "reload" => return none(name, arguments).map(|()| Self::Reload),
            "fetch" => return none(name, arguments).map(|()| Self::Fetch),
            "health" => return none(name, arguments).map(|()| Self::Health),
            "picture" => {
                let Picture { user, screen } = read(name, arguments)?;
                return Ok(Self::Picture { user, screen });
            }
            "mute" => none(name, arguments).map(|()| Command::Mute)?,
            "join" => none(name, arguments).map(|()| Command::Join)?,
            "leave" => none(name, arguments).map(|()| Command::Leave)?,
            "identify" => none(name, arguments).map(|()| Command::Identify)?,
            "camera" => {
                let Off { off } = read(name, arguments)?;
                if !off {
                    return Err(ReplyError::new(
                        ErrorCode::BadArguments,
                        "camera: off must be true; only a press in the room switches the camera on",
                    ));
                }
                Command::CameraOff
            }
            "share" => {
                let On { on } = read(name, arguments)?;
                if on {
                    Command::ShareOn
                } else {
                    Command::ShareOff
                }
            }
            "press" => press(arguments)?,
            "unmute" => {
                return Err(ReplyError::new(
                    ErrorCode::UnknownCommand,
                    "there is no unmute; only a press in the room opens the microphone",
                ));
            }
            _ => {
                return Err(ReplyError::new(
                    ErrorCode::UnknownCommand,
                    "there is no such command; there are status, watch, mute, camera, share, press, \
                     join, leave, picture, reload, fetch, identify, health",
                ));
            }
        };
        Ok(Self::Command(command))
    }

    // The name and the arguments of the line.
    fn parts(&self) -> (&'static str, Value) {
        let nothing = json!({});
        match self {
            Self::Status => ("status", nothing),
            Self::Watch => ("watch", nothing),
            Self::Reload => ("reload", nothing),
            Self::Fetch => ("fetch", nothing),
            Self::Health => ("health", nothing),
            Self::Picture { user, screen } => {
                let user = user.as_ref().map(|user| ("user".to_owned(), json!(user)));
                let screen = screen.then(|| ("screen".to_owned(), json!(true)));
                ("picture", user.into_iter().chain(screen).collect())
            }
            Self::Command(command) => match command {
                Command::Mute => ("mute", nothing),
                Command::CameraOff => ("camera", json!({ "off": true })),
                Command::ShareOn => ("share", json!({ "on": true })),
                Command::ShareOff => ("share", json!({ "on": false })),
                Command::Press(button) => ("press", json!({ "button": button.as_str() })),
                Command::Join => ("join", nothing),
                Command::Leave => ("leave", nothing),
                Command::Identify => ("identify", nothing),
            },
        }
    }

    /// Carrying it out changes something, so the caller's identity is logged.
    pub fn changes_something(&self) -> bool {
        match self {
            Self::Command(_) | Self::Reload | Self::Fetch => true,
            Self::Status | Self::Watch | Self::Picture { .. } | Self::Health => false,
        }
    }

    /// The command's name and, where it has any, its arguments; for the journal.
    pub fn describe(&self) -> String {
        let (name, arguments) = self.parts();
        match &arguments {
            Value::Object(members) if members.is_empty() => name.to_owned(),
            arguments => format!("{name} {arguments}"),
        }
    }
}

/// A press: `{"button":"mic"|"camera"|"share"}`.
pub(super) fn press(arguments: Value) -> Result<Command, ReplyError> {
    let Press { button } = read("press", arguments)?;
    [Button::Mic, Button::Camera, Button::Share]
        .into_iter()
        .find(|known| known.as_str() == button)
        .map(Command::Press)
        .ok_or_else(|| {
            ReplyError::new(
                ErrorCode::BadArguments,
                "press: button must be mic, camera or share",
            )
        })
}

fn none(name: &str, arguments: Value) -> Result<(), ReplyError> {
    read::<Nothing>(name, arguments).map(|Nothing {}| ())
}

fn read<T: DeserializeOwned>(name: &str, arguments: Value) -> Result<T, ReplyError> {
    let arguments = match arguments {
        Value::Null => json!({}),
        Value::Object(_) => arguments,
        _ => {
            return Err(ReplyError::new(
                ErrorCode::BadArguments,
                format!("{name}: args must be an object"),
            ));
        }
    };
    serde_json::from_value(arguments)
        .map_err(|error| ReplyError::new(ErrorCode::BadArguments, format!("{name}: {error}")))
}

impl<T: Serialize> Reply<T> {
    /// The line the daemon sends, with its line break.
    pub fn to_line(&self) -> String {
        let id = &self.id;
        match &self.result {
            Ok(ok) => line(&DoneLine { id, ok }),
            Err(error) => line(&RefusedLine { id, error }),
        }
    }
}

impl Reply {
    /// Reads a line of the daemon; `None` if it is no reply.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let Ok(Value::Object(mut members)) = serde_json::from_slice(line) else {
            return None;
        };
        let id = members.remove("id").unwrap_or(Value::Null);
        if let Some(error) = members.remove("error") {
            let error = serde_json::from_value(error).ok()?;
            return Some(Self {
                id,
                result: Err(error),
            });
        }
        let value = members.remove("ok")?;
        Some(Self {
            id,
            result: Ok(value),
        })
    }
}

/// One line of the protocol, with its line break.
pub(super) fn line(value: &impl Serialize) -> String {
    // Maps with string keys and plain structs: writing them cannot fail.
    let mut text = serde_json::to_string(value).expect("the protocol's types can be written");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(line: &str) -> ErrorCode {
        Request::parse(line.as_bytes())
            .unwrap_err()
            .result
            .unwrap_err()
            .code
    }

    fn every_wish() -> Vec<Wish> {
        let mut wishes = vec![
            Wish::Status,
            Wish::Watch,
            Wish::Reload,
            Wish::Fetch,
            Wish::Health,
            Wish::Picture {
                user: None,
                screen: true,
            },
            Wish::Picture {
                user: Some("u \"1\"\n".to_owned()),
                screen: false,
            },
        ];
        wishes.extend(
            [
                Command::Mute,
                Command::CameraOff,
                Command::ShareOn,
                Command::ShareOff,
                Command::Press(Button::Mic),
                Command::Press(Button::Camera),
                Command::Press(Button::Share),
                Command::Join,
                Command::Leave,
                Command::Identify,
            ]
            .map(Wish::Command),
        );
        wishes
    }

    #[test]
    fn what_a_client_writes_the_daemon_reads() {
        for wish in every_wish() {
            let request = Request { id: json!(7), wish };
            let line = request.to_line();
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert_eq!(Request::parse(line.as_bytes()), Ok(request));
        }
    }

    #[test]
    fn arguments_may_be_absent_null_or_empty() {
        for line in [
            r#"{"id":1,"do":"mute","args":{}}"#,
            r#"{"id":1,"do":"mute","args":null}"#,
            r#" { "do" : "mute", "id" : 1 } "#,
        ] {
            let request = Request::parse(line.as_bytes()).unwrap();
            assert_eq!(request.wish, Wish::Command(Command::Mute), "{line}");
            assert_eq!(request.id, json!(1));
        }
    }

    #[test]
    fn nothing_opens_the_microphone_or_the_camera() {
        assert_eq!(code(r#"{"do":"unmute"}"#), ErrorCode::UnknownCommand);
        assert_eq!(
            code(r#"{"do":"camera","args":{"off":false}}"#),
            ErrorCode::BadArguments
        );
        assert_eq!(
            code(r#"{"do":"mute","args":{"muted":false}}"#),
            ErrorCode::BadArguments
        );
    }

    #[test]
    fn a_bad_request_is_answered_under_its_id() {
        let reply = Request::parse(br#"{"id":"x","do":"press","args":{"button":"reset"}}"#);
        assert_eq!(
            reply.unwrap_err().to_line(),
            concat!(
                r#"{"id":"x","error":{"code":"bad-arguments","#,
                r#""message":"press: button must be mic, camera or share"}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_is_no_request_is_told_so() {
        for (line, expected) in [
            ("", ErrorCode::BadRequest),
            ("hello", ErrorCode::BadRequest),
            ("[]", ErrorCode::BadRequest),
            (r#"{"id":1}"#, ErrorCode::BadRequest),
            (r#"{"id":{},"do":"mute"}"#, ErrorCode::BadRequest),
            (r#"{"do":7}"#, ErrorCode::BadRequest),
            (r#"{"do":"reboot"}"#, ErrorCode::UnknownCommand),
            (r#"{"do":"mute","args":[]}"#, ErrorCode::BadArguments),
            (r#"{"do":"share"}"#, ErrorCode::BadArguments),
            (
                r#"{"do":"share","args":{"on":"yes"}}"#,
                ErrorCode::BadArguments,
            ),
        ] {
            assert_eq!(code(line), expected, "{line}");
        }
    }

    #[test]
    fn replies_are_written_as_documented_and_read_back() {
        for (result, expected) in [
            (Ok(json!({})), "{\"id\":1,\"ok\":{}}\n"),
            (
                Err(ReplyError::new(ErrorCode::Denied, "no")),
                "{\"id\":1,\"error\":{\"code\":\"denied\",\"message\":\"no\"}}\n",
            ),
        ] {
            let reply = Reply {
                id: json!(1),
                result,
            };
            assert_eq!(reply.to_line(), expected);
            assert_eq!(Reply::parse(expected.as_bytes()), Some(reply));
        }
        assert_eq!(Reply::parse(br#"{"event":"peer-connected"}"#), None);
    }

    #[test]
    fn a_code_of_a_newer_daemon_is_an_error_all_the_same() {
        let reply = Reply::parse(br#"{"id":1,"error":{"code":"later","message":"m"}}"#).unwrap();
        assert_eq!(reply.result.unwrap_err().code, ErrorCode::Unknown);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&bytes);
            let _ = Reply::parse(&bytes);
        }

        #[test]
        fn no_json_of_the_right_shape_panics(name in "[a-z]{0,8}|camera|share|press|picture", args in r#"(null|true|[0-9]|"[a-z]*"|\{"(off|on|button|user)":(true|1|null|"mic"|\[\])\})"#) {
            let line = format!(r#"{{"id":1,"do":"{name}","args":{args}}}"#);
            let _ = Request::parse(line.as_bytes());
        }
    }
}
