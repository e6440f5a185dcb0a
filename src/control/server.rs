//! Serving connections: one task each, requests in order, and for watchers what happens in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::backend::{Backend, Pictured};
use super::mirror::{EventLine, Snapshot};
use super::protocol::{ErrorCode, Reply, ReplyError, Request, Wish, line};
use super::service::{Published, Watching, note_change};
use super::socket::ControlSocket;

/// Connections at once; the next one is told and closed.
const CONNECTIONS: usize = 32;
/// Longest line of a client, bytes; a longer one ends the connection.
const LINE: usize = 64 * 1024;
/// How long a client may leave what was sent to it unread.
const UNREAD: Duration = Duration::from_secs(10);
/// How often the loop beats while nothing happens.
const BEAT: Duration = Duration::from_secs(1);

/// Serves the control socket; never ends by itself. `beat` counts on as long as the loop runs, at least once
/// a second. Dropping the future closes every connection.
pub async fn serve(socket: ControlSocket, backend: Backend, beat: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                beat.fetch_add(1, Ordering::Relaxed);
            }
            Some(ended) = connections.join_next() => note_defect(ended),
            accepted = socket.accept() => match accepted {
                Ok(stream) => {
                    // Those that have ended do not take a place.
                    while let Some(ended) = connections.try_join_next() {
                        note_defect(ended);
                    }
                    if connections.len() < CONNECTIONS {
                        connections.spawn(Connection::new(stream, backend.clone()).run());
                    } else {
                        refuse(&stream);
                    }
                }
                Err(error) => {
                    // Out of descriptors, most likely: what is waiting must not make this loop spin.
                    log::warn!("the control socket cannot accept a connection: {error}");
                    ticks.tick().await;
                    beat.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

fn note_defect(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        log::error!("a control connection ended in a defect: {error}");
    }
}

fn refuse(stream: &UnixStream) {
    log::warn!("a control connection was refused: {CONNECTIONS} are open");
    // A new connection's buffer is empty, so this fits or the client is gone.
    let _ = stream.try_write(
        unasked(
            ErrorCode::Busy,
            "too many control connections are open; close one",
        )
        .as_bytes(),
    );
}

// An error that answers no request.
fn unasked(code: ErrorCode, message: &str) -> String {
    line(&ErrorLine {
        error: ReplyError::new(code, message),
    })
}

#[derive(Serialize)]
struct ErrorLine {
    error: ReplyError,
}

#[derive(Serialize)]
struct SnapshotLine {
    snapshot: Snapshot,
}

// The `ok` of a reply.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Done {},
    Snapshot(Box<Snapshot>),
    Picture { user_id: String, png: String },
    Fetched { outcome: String },
    Health(Value),
}

struct Connection {
    lines: Lines,
    writer: OwnedWriteHalf,
    backend: Backend,
    client: String,
    watching: Option<Watching>,
}

// Why a connection ends; all ways are ordinary.
struct Ended;

impl Connection {
    fn new(stream: UnixStream, backend: Backend) -> Self {
        let client = client_name(&stream);
        let (reader, writer) = stream.into_split();
        Self {
            lines: Lines::new(reader),
            writer,
            backend,
            client,
            watching: None,
        }
    }

    async fn run(mut self) {
        while let Ok(()) = self.step().await {}
    }

    async fn step(&mut self) -> Result<(), Ended> {
        tokio::select! {
            line = self.lines.next() => match line {
                Line::Complete(line) => self.on_line(&line).await,
                Line::TooLong => {
                    let text = format!("a line may have {LINE} bytes at most");
                    self.send(&unasked(ErrorCode::BadRequest, &text)).await?;
                    Err(Ended)
                }
                Line::Ended => Err(Ended),
            },
            published = published(&mut self.watching) => match published {
                Published::Event(event) => self.send(&line(&EventLine::from(&event))).await,
                Published::Snapshot(snapshot) => {
                    let snapshot = self.backend.show(&snapshot);
                    self.send(&line(&SnapshotLine { snapshot })).await
                }
                Published::TooSlow => {
                    log::warn!(client = self.client.as_str(); "a watcher did not keep up and was dropped");
                    let text = "events were lost because this watcher did not read them in time; watch again";
                    self.send(&unasked(ErrorCode::TooSlow, text)).await?;
                    Err(Ended)
                }
                Published::Ended => Err(Ended),
            },
        }
    }

    async fn on_line(&mut self, line: &[u8]) -> Result<(), Ended> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let request = match Request::parse(line) {
            Ok(request) => request,
            Err(reply) => return self.send(&reply.to_line()).await,
        };
        let result = self.carry_out(&request.wish).await;
        if request.wish.changes_something() {
            note_change(&request.wish, &self.client, &result);
        }
        if request.wish == Wish::Watch {
            self.watching = Some(Watching::begin(&self.backend));
        }
        let reply = Reply {
            id: request.id,
            result,
        };
        self.send(&reply.to_line()).await
    }

    async fn carry_out(&self, wish: &Wish) -> Result<Answer, ReplyError> {
        let backend = &self.backend;
        match wish {
            Wish::Status => Ok(Answer::Snapshot(Box::new(backend.status()))),
            Wish::Watch => Ok(Answer::Done {}),
            Wish::Command(command) => backend
                .command(*command, &self.client)
                .await
                .map(|()| Answer::Done {}),
            Wish::Picture { user, screen } => {
                let (user, png) = backend
                    .newest_picture(user.as_deref(), Pictured::of(*screen), |png| {
                        BASE64.encode(png)
                    })
                    .await?;
                Ok(Answer::Picture {
                    user_id: user.to_string(),
                    png,
                })
            }
            Wish::Reload => backend
                .reload_configuration()
                .await
                .map(|()| Answer::Done {}),
            Wish::Fetch => backend
                .fetch_configuration()
                .await
                .map(|outcome| Answer::Fetched { outcome }),
            Wish::Health => backend.counters().await.map(Answer::Health),
        }
    }

    async fn send(&mut self, text: &str) -> Result<(), Ended> {
        match timeout(UNREAD, self.writer.write_all(text.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ended),
            Err(_) => {
                log::warn!(client = self.client.as_str(); "a control client does not read; dropped");
                Err(Ended)
            }
        }
    }
}

// SO_PEERCRED (unix(7)): who connected, as the kernel knows it.
fn client_name(stream: &UnixStream) -> String {
    match stream.peer_cred() {
        Ok(credentials) => match credentials.pid() {
            Some(pid) => format!("uid {}, pid {pid}", credentials.uid()),
            None => format!("uid {}", credentials.uid()),
        },
        Err(error) => format!("unknown ({error})"),
    }
}

// What a watcher is to be told next; for ever silent without one. Cancel safe.
async fn published(watching: &mut Option<Watching>) -> Published {
    match watching {
        Some(watching) => watching.next().await,
        None => std::future::pending().await,
    }
}

enum Line {
    Complete(BytesMut),
    TooLong,
    Ended,
}

// Lines of a bounded length. What was read stays here, so `next` may be dropped half-way.
struct Lines {
    reader: OwnedReadHalf,
    buffer: BytesMut,
    searched: usize,
}

impl Lines {
    fn new(reader: OwnedReadHalf) -> Self {
        Self {
            reader,
            buffer: BytesMut::new(),
            searched: 0,
        }
    }

    async fn next(&mut self) -> Line {
        loop {
            let unsearched = &self.buffer[self.searched..];
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + at;
                self.searched = 0;
                if end > LINE {
                    return Line::TooLong;
                }
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                return Line::Complete(line);
            }
            self.searched = self.buffer.len();
            if self.searched > LINE {
                return Line::TooLong;
            }
            match self.reader.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Line::Ended,
                Ok(_) => {}
            }
        }
    }
}
