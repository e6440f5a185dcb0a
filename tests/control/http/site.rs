//! A served page, and a client of it that writes its requests by hand.

use std::net::SocketAddr;

use huddled::control::{Page, PageOptions};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::PlayedRoom;
use super::PATIENCE;

/// A served page whose room is played by the test.
pub(super) struct Site {
    pub(super) address: SocketAddr,
    pub(super) room: PlayedRoom,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) server: JoinHandle<()>,
}

impl Site {
    pub(super) async fn start(users: &[&str]) -> Self {
        Self::with(users, options()).await
    }

    /// The played room takes presses if the options say that the panel is simulated.
    pub(super) async fn with(users: &[&str], options: PageOptions) -> Self {
        let (room, backend) = PlayedRoom::start(users, options.panel);
        let page = Page::bind(([127, 0, 0, 1], 0).into(), options, backend)
            .await
            .unwrap();
        let address = page.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(page.serve(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            room,
            stop: Some(stop),
            server,
        }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `head`, which lacks `Connection` and the empty line, and `body`; reads to the end.
    pub(super) async fn send(&self, head: &str, body: &str) -> Answer {
        let mut stream = self.connect().await;
        let request = format!("{head}Connection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut bytes))
            .await
            .expect("the page said nothing")
            // A server that closes with something unread resets the connection.
            .ok();
        Answer::parse(&bytes)
    }

    /// With the headers a browser on the same machine sends.
    pub(super) async fn ask(&self, method: &str, path: &str) -> Answer {
        self.send(
            &format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address),
            "",
        )
        .await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    /// A press with this content type and these further headers.
    pub(super) async fn press(&self, kind: &str, more: &str, body: &str) -> Answer {
        let head = format!(
            "POST /panel/press HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{more}",
            self.address,
            body.len()
        );
        self.send(&head, body).await
    }

    pub(super) async fn follow(&self) -> Follower {
        let mut stream = self.connect().await;
        let request = format!("GET /api/events HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut follower = Follower(BufReader::new(stream));
        assert_eq!(follower.line().await.unwrap(), "HTTP/1.1 200 OK");
        follower
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(super) fn options() -> PageOptions {
    PageOptions {
        hosts: vec!["room-101.example.org".to_owned()],
        name: "Room 101".to_owned(),
        panel: true,
        pictures: false,
        meeting_link: None,
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        Self {
            status: status.parse().unwrap(),
            headers: lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(header, _)| header == name);
        let (_, value) = found.next()?;
        assert!(found.next().is_none(), "{name} twice");
        Some(value)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    pub(super) fn refuses(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.json()["code"].as_str()),
            (status, Some(code))
        );
        assert_eq!(self.json()["statusCode"], status);
        assert!(!self.json()["message"].as_str().unwrap().is_empty());
    }
}

/// A client of the events.
pub(super) struct Follower(pub(super) BufReader<TcpStream>);

impl Follower {
    /// The next line, without its end, of head, chunk sizes and events alike; `None` at the end.
    pub(super) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.0.read_line(&mut line))
            .await
            .expect("the page said nothing")
            .unwrap_or(0);
        (read > 0).then(|| line.trim_end().to_owned())
    }

    pub(super) async fn line_that(&mut self, fits: impl Fn(&str) -> bool) -> Option<String> {
        loop {
            let line = self.line().await?;
            if fits(&line) {
                return Some(line);
            }
        }
    }

    /// The next event's name and data.
    pub(super) async fn event(&mut self) -> Option<(String, Value)> {
        let name = self.line_that(|line| line.starts_with("event: ")).await?;
        let data = self.line().await?;
        let data = data
            .strip_prefix("data: ")
            .expect("data follows the name at once");
        Some((
            name["event: ".len()..].to_owned(),
            serde_json::from_str(data).unwrap(),
        ))
    }
}
