//! A Socket.IO client that may misbehave: one WebSocket (RFC 6455), written out by hand.

use huddled::room::Redacted;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{MEETING, PATIENCE, Running};

/// One session, in the namespace.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// What a WebSocket is asked for with; the head of the answer.
pub(crate) async fn upgrade(stream: &mut TcpStream, query: &str, headers: &str) -> String {
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match timeout(PATIENCE, stream.read_u8())
            .await
            .expect("no answer")
        {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

impl Raw {
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Connects with this auth and waits for the namespace.
    pub(crate) async fn connect(hub: &Running, auth: Value) -> Self {
        let mut stream = TcpStream::connect(hub.address).await.unwrap();
        let host = format!("Host: {}\r\n", hub.address);
        let head = upgrade(&mut stream, "", &host).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Self::of(stream).enter(auth).await
    }

    /// From an upgraded connection into the namespace.
    pub(crate) async fn enter(mut self, auth: Value) -> Self {
        let open = self.text().await.expect("closed before it was open");
        assert!(open.starts_with("0{"), "{open}");
        self.send(&format!("40{auth}")).await;
        loop {
            let text = self.text().await.expect("closed before the namespace");
            if text.starts_with("40") {
                return self;
            }
        }
    }

    /// Connects with a token.
    pub(crate) async fn with(hub: &Running, Redacted(token): &Redacted<String>) -> Self {
        Self::connect(hub, json!({ "token": token })).await
    }

    /// A member called like its user id, in the meeting.
    pub(crate) async fn joined(hub: &Running, user: &str) -> Self {
        let mut raw = Self::with(hub, hub.token(user)).await;
        raw.join(user).await;
        raw.until("meeting:joined").await;
        raw
    }

    pub(crate) async fn join(&mut self, user: &str) {
        self.emit(
            "meeting:join",
            json!({"meetingId": MEETING, "userId": user}),
        )
        .await;
    }

    pub(crate) async fn emit(&mut self, event: &str, payload: Value) {
        self.send(&format!("42{}", json!([event, payload]))).await;
    }

    /// Like [`Raw::emit`], for a hub that may have closed.
    pub(crate) async fn try_emit(&mut self, event: &str, payload: Value) -> bool {
        let frame = frame(format!("42{}", json!([event, payload])).as_bytes());
        self.stream.write_all(&frame).await.is_ok()
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream
            .write_all(&frame(text.as_bytes()))
            .await
            .unwrap();
    }

    /// The next text, heartbeats answered; `None` when the connection is closed.
    pub(crate) async fn text(&mut self) -> Option<String> {
        // Heartbeats arrive all the time, and are not what anybody waits for.
        timeout(PATIENCE, self.next_text())
            .await
            .expect("nothing arrived for too long")
    }

    async fn next_text(&mut self) -> Option<String> {
        loop {
            let (code, payload) = self.frame().await?;
            match (code, &payload[..]) {
                (1, b"2") => drop(self.stream.write_all(&frame(b"3")).await),
                (1, _) => return Some(String::from_utf8(payload).unwrap()),
                (8, _) => return None,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        self.fill(2).await?;
        let code = self.buffer[0] & 0x0f;
        let (head, length) = match self.buffer[1] {
            126 => {
                self.fill(4).await?;
                (
                    4,
                    u64::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]])),
                )
            }
            127 => {
                self.fill(10).await?;
                (
                    10,
                    u64::from_be_bytes(self.buffer[2..10].try_into().unwrap()),
                )
            }
            short => (2, u64::from(short)),
        };
        let end = head + usize::try_from(length).unwrap();
        self.fill(end).await?;
        let payload = self.buffer[head..end].to_vec();
        self.buffer.drain(..end);
        Some((code, payload))
    }

    async fn fill(&mut self, length: usize) -> Option<()> {
        while self.buffer.len() < length {
            // A reset is an end as well.
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
        Some(())
    }

    /// The next event; `None` when the namespace or the connection ends.
    pub(crate) async fn event(&mut self) -> Option<(String, Value)> {
        let text = self.text().await?;
        let Some(event) = text.strip_prefix("42") else {
            assert!(text == "41" || text == "1", "{text}");
            return None;
        };
        let Value::Array(parts) = serde_json::from_str(event).unwrap() else {
            panic!("{event}");
        };
        let [Value::String(name), payload] = &parts[..] else {
            panic!("{parts:?}");
        };
        Some((name.clone(), payload.clone()))
    }

    /// Skips to an event; its payload.
    pub(crate) async fn until(&mut self, wished: &str) -> Value {
        loop {
            let (event, payload) = self
                .event()
                .await
                .unwrap_or_else(|| panic!("closed before {wished}"));
            if event == wished {
                return payload;
            }
        }
    }

    /// The code of the error before the end, and that the connection itself ends then.
    pub(crate) async fn refused(&mut self) -> (String, String) {
        let error = self.until("error").await;
        assert_eq!(self.event().await, None);
        while self.text().await.is_some() {}
        let of = |key: &str| error[key].as_str().unwrap().to_owned();
        (of("code"), of("message"))
    }

    /// All events up to the echo of a toggle, which comes after everything sent to this member so far.
    pub(crate) async fn heard(&mut self) -> Vec<(String, Value)> {
        self.emit(
            "meeting:join",
            json!({"meetingId": "marker", "userId": "marker"}),
        )
        .await;
        let mut heard = Vec::new();
        loop {
            let (event, payload) = self.event().await.expect("closed");
            if event == "error" && payload["code"] == "unauthorized" {
                return heard;
            }
            heard.push((event, payload));
        }
    }
}

/// A masked text frame; a mask of zeros changes nothing.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        middle @ ..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
