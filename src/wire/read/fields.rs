//! The keys of a payload, and what they may hold at most.

use serde_json::{Map, Value};

use crate::room::{NAME_COLUMNS, Participant, PeerId, Sdp, Shown, is_plain};

/// Longest user, meeting or peer id, in characters; the application's are UUIDs of 36.
pub(super) const ID_CHARS: usize = 128;
/// Longest session description, in bytes. A browser's with three m-lines has about 10 KB.
pub(super) const SDP_BYTES: usize = 256 * 1024;
/// Sentences of the server are cut here, in columns.
pub(super) const SENTENCE_COLUMNS: usize = 300;
/// Rows of `meeting:participants` after this many are not read: no mesh is that large.
const ROWS: usize = 1000;

/// The keys of one JSON object and what it is called in a complaint.
pub(super) struct Fields<'a> {
    pub(super) map: &'a Map<String, Value>,
    /// The key it stands under, with a dot; empty for the payload itself.
    prefix: String,
}

impl<'a> Fields<'a> {
    pub(super) fn of(payload: &'a Value) -> Result<Self, String> {
        match payload {
            Value::Object(map) => Ok(Self {
                map,
                prefix: String::new(),
            }),
            _ => Err("the payload is not an object".to_owned()),
        }
    }

    pub(super) fn problem(&self, key: &str, what: &str) -> String {
        format!("{}{key} {what}", self.prefix)
    }

    /// `null` is as good as absent.
    pub(super) fn present(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn object(&self, key: &str) -> Result<Fields<'a>, String> {
        match self.present(key) {
            Some(Value::Object(map)) => Ok(Fields {
                map,
                prefix: format!("{}{key}.", self.prefix),
            }),
            Some(_) => Err(self.problem(key, "is not an object")),
            None => Err(self.problem(key, "is missing")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.present(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.problem(key, "is not a text")),
        }
    }

    pub(super) fn token(&self, key: &str, limit: usize) -> Result<Option<String>, String> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        if text.len() > limit {
            return Err(self.problem(key, &format!("is longer than {limit} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(self.problem(key, "has control characters"));
        }
        Ok(Some(text.to_owned()))
    }

    pub(super) fn id(&self, key: &str) -> Result<Option<String>, String> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        if text.is_empty() {
            return Err(self.problem(key, "is empty"));
        }
        if text.chars().nth(ID_CHARS).is_some() {
            return Err(self.problem(key, &format!("is longer than {ID_CHARS} characters")));
        }
        if text.chars().any(char::is_control) {
            return Err(self.problem(key, "has control characters"));
        }
        // Two ids that look alike would be two members under one name.
        if !is_plain(text) {
            return Err(self.problem(key, "has invisible characters"));
        }
        Ok(Some(text.to_owned()))
    }

    pub(super) fn required_id(&self, key: &str) -> Result<PeerId, String> {
        match self.id(key)? {
            Some(id) => Ok(PeerId::new(&id)),
            None => Err(self.problem(key, "is missing")),
        }
    }

    pub(super) fn user(&self) -> Result<PeerId, String> {
        self.required_id("userId")
    }

    /// Browsers take `targetUserId` where `fromUserId` is missing, and so do we.
    pub(super) fn sender(&self) -> Result<PeerId, String> {
        match self.present("fromUserId") {
            None if self.present("targetUserId").is_some() => self.required_id("targetUserId"),
            _ => self.required_id("fromUserId"),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.present(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.problem(key, "is not true or false")),
        }
    }

    pub(super) fn required_flag(&self, key: &str) -> Result<bool, String> {
        self.flag(key)?
            .ok_or_else(|| self.problem(key, "is missing"))
    }

    /// A hint for people; nonsense reads as absent.
    pub(super) fn sentence(&self, key: &str) -> Option<String> {
        shortened(self.map.get(key)?, SENTENCE_COLUMNS).map(|text| text.to_string())
    }

    /// W3C `RTCSessionDescriptionInit` of the type that the key names.
    pub(super) fn description(&self, key: &str) -> Result<Sdp, String> {
        let inner = self.object(key)?;
        if inner.text("type")?.is_some_and(|kind| kind != key) {
            return Err(inner.problem("type", &format!("is not {key}")));
        }
        match inner.text("sdp")? {
            None | Some("") => Err(inner.problem("sdp", "is missing")),
            Some(sdp) if sdp.len() > SDP_BYTES => {
                Err(inner.problem("sdp", &format!("is longer than {SDP_BYTES} bytes")))
            }
            Some(sdp) => Ok(Sdp::new(sdp)),
        }
    }

    /// A row of the list of participants. All but the id is a hint.
    pub(super) fn participant(&self) -> Result<Participant, String> {
        let name = |key| shortened(self.map.get(key)?, NAME_COLUMNS);
        Ok(Participant {
            user: self.user()?,
            name: name("userName").or_else(|| name("username")),
            muted: self.map.get("isMuted").and_then(Value::as_bool),
            video_off: self.map.get("isVideoOff").and_then(Value::as_bool),
        })
    }

    /// Rows without a usable id are left out: one bad row must not hide the other members.
    pub(super) fn participants(&self) -> Result<Vec<Participant>, String> {
        match self.present("participants") {
            Some(Value::Array(rows)) => Ok(rows
                .iter()
                .take(ROWS)
                .filter_map(|row| Fields::of(row).and_then(|row| row.participant()).ok())
                .collect()),
            Some(_) => Err(self.problem("participants", "is not a list")),
            None => Err(self.problem("participants", "is missing")),
        }
    }
}

/// A text for people: the first line that says something, cut to `columns`. Everything from `v=0` on goes, because a server may quote a session description in its complaint.
pub(super) fn shortened(value: &Value, columns: usize) -> Option<Shown> {
    let line = value
        .as_str()?
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())?;
    let said = line.split("v=0").next().unwrap_or_default();
    Shown::new(said, columns)
}
