//! The TCP connections below HTTP and WebSocket. `socketioxide` says neither how much of what it was given has been
//! sent, nor closes a connection when told to, nor gives up on one that takes nothing: that is done down here.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::backlog::Backlog;
use super::lock;
use crate::journal_budget::LineBudget;

/// How long a receiver may take nothing at all. As long as the Engine.IO heartbeat takes to find a dead one.
const STALL: Duration = Duration::from_secs(10);
/// Read and thrown away in one go.
const SCRATCH: usize = 16 * 1024;

static STALLED: LineBudget = LineBudget::new(
    module_path!(),
    log::Level::Warn,
    "connections that took nothing and were cut",
);

/// What may still happen on a connection; nothing of these at first. What arrives is thrown away. Not closed yet: closing with something unread resets the connection, and what was sent
/// last would be lost on the way.
const DRAINING: u8 = 1;
const SEVERED: u8 = 2;

/// The Socket.IO session that a connection carries.
#[derive(Debug)]
struct Session {
    sid: String,
    backlog: Arc<Backlog>,
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Line {
    mode: AtomicU8,
    reader: AtomicWaker,
    writer: AtomicWaker,
    stalled: Mutex<Option<Instant>>,
    session: Mutex<Option<Session>>,
}

impl Line {
    /// This connection carries a session from now on.
    pub(super) fn carry(&self, sid: &str, backlog: &Arc<Backlog>) {
        *lock(&self.session) = Some(Session {
            sid: sid.to_owned(),
            backlog: Arc::clone(backlog),
        });
    }

    fn recarry(&self, sid: &str, backlog: &Arc<Backlog>) {
        if self.carries(sid) {
            self.carry(sid, backlog);
        }
    }

    fn carries(&self, sid: &str) -> bool {
        lock(&self.session)
            .as_ref()
            .is_some_and(|session| session.sid == sid)
    }

    fn set(&self, mode: u8) {
        self.mode.fetch_max(mode, Ordering::AcqRel);
        self.reader.wake();
        self.writer.wake();
    }

    fn is(&self, mode: u8) -> bool {
        self.mode.load(Ordering::Acquire) >= mode
    }

    /// Notes how a write went.
    fn wrote<T>(&self, outcome: &Poll<io::Result<T>>) {
        let mut stalled = lock(&self.stalled);
        match outcome {
            Poll::Ready(_) => *stalled = None,
            Poll::Pending => {
                stalled.get_or_insert_with(Instant::now);
            }
        }
    }

    fn is_stalled(&self, now: Instant) -> bool {
        lock(&self.stalled).is_some_and(|since| now.saturating_duration_since(since) >= STALL)
    }
}

/// All connections, by the client's address.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<SocketAddr, Arc<Line>>>);

impl Lines {
    /// Takes a connection over.
    pub(super) fn wire<S>(self: &Arc<Self>, client: SocketAddr, stream: S) -> Wire<S> {
        let line = Arc::new(Line::default());
        lock(&self.0).insert(client, Arc::clone(&line));
        Wire {
            stream,
            client,
            line,
            lines: Arc::clone(self),
        }
    }

    pub(super) fn of(&self, client: SocketAddr) -> Option<Arc<Line>> {
        lock(&self.0).get(&client).cloned()
    }

    /// The connection that carries this session already, if any, counts for it from now on.
    pub(super) fn recarry(&self, sid: &str, backlog: &Arc<Backlog>) {
        self.each(|line| line.recarry(sid, backlog));
    }

    /// Nothing that arrives for this session is read any more.
    pub(super) fn drain(&self, sid: &str) {
        self.each(|line| {
            if line.carries(sid) {
                line.set(DRAINING);
            }
        });
    }

    /// The session's connection ends now.
    pub(super) fn sever(&self, sid: &str) {
        self.each(|line| {
            if line.carries(sid) {
                line.set(SEVERED);
            }
        });
    }

    pub(super) fn sever_all(&self) {
        self.each(|line| line.set(SEVERED));
    }

    /// Ends the connections that take nothing. The heartbeat finds a dead client too, but its library then waits for
    /// what it has begun to write, as long as TCP goes on trying: a quarter of an hour.
    pub(super) fn tick(&self, now: Instant) {
        let lines = lock(&self.0);
        for (client, line) in lines.iter() {
            if line.is_stalled(now) && !line.is(SEVERED) {
                if STALLED.admits_address(client.ip()) {
                    log::warn!(
                        "{client} takes nothing of what it is sent for {STALL:?}; disconnected"
                    );
                }
                line.set(SEVERED);
            }
        }
    }

    fn each(&self, act: impl Fn(&Line)) {
        lock(&self.0).values().for_each(|line| act(line));
    }
}

/// A connection that can be cut.
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    client: SocketAddr,
    line: Arc<Line>,
    lines: Arc<Lines>,
}

impl<S> Drop for Wire<S> {
    fn drop(&mut self) {
        let mut lines = lock(&self.lines.0);
        // The address may be another connection's by now.
        if lines
            .get(&self.client)
            .is_some_and(|line| Arc::ptr_eq(line, &self.line))
        {
            lines.remove(&self.client);
        }
    }
}

fn severed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut by the hub")
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.line.reader.register(context.waker());
        if this.line.is(SEVERED) {
            return Poll::Ready(Ok(()));
        }
        if !this.line.is(DRAINING) {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let mut scratch = [0; SCRATCH];
        let mut scratch = ReadBuf::new(&mut scratch);
        match Pin::new(&mut this.stream).poll_read(context, &mut scratch) {
            Poll::Ready(Ok(())) if !scratch.filled().is_empty() => {
                // Others have their turn before the next piece.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            ended => ended,
        }
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.line.writer.register(context.waker());
        if self.line.is(SEVERED) {
            return Poll::Ready(Err(severed()));
        }
        let outcome = write(Pin::new(&mut self.stream), context);
        self.line.wrote(&outcome);
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = this.write(context, |stream, context| stream.poll_write(context, bytes));
        if let Poll::Ready(Ok(written)) = &outcome
            && let Some(session) = &*lock(&this.line.session)
        {
            session.backlog.sent(*written);
        }
        outcome
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut()
            .write(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut()
            .write(context, |stream, context| stream.poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn client() -> SocketAddr {
        "192.0.2.1:5000".parse().unwrap()
    }

    #[tokio::test]
    async fn a_severed_connection_ends_for_both_sides() {
        let lines = Arc::new(Lines::default());
        let (ours, mut theirs) = duplex(16);
        let mut wire = lines.wire(client(), ours);
        let line = lines.of(client()).unwrap();
        line.carry("s", &Arc::default());
        // One that waits is woken.
        let waiting = tokio::spawn(async move {
            let mut buffer = [0; 4];
            let read = wire.read(&mut buffer).await;
            (read.unwrap(), wire.write_all(b"x").await.is_err())
        });
        tokio::task::yield_now().await;
        lines.sever("other");
        assert!(!line.is(SEVERED));
        lines.sever("s");
        assert_eq!(waiting.await.unwrap(), (0, true));
        assert_eq!(theirs.read(&mut [0; 4]).await.unwrap(), 0);
        assert!(lines.of(client()).is_none());
    }

    #[tokio::test]
    async fn a_draining_connection_reads_nothing_and_still_writes() {
        let lines = Arc::new(Lines::default());
        let (ours, theirs) = duplex(64);
        let (mut reader, mut writer) = tokio::io::split(lines.wire(client(), ours));
        let line = lines.of(client()).unwrap();
        let backlog = Arc::new(Backlog::default());
        line.carry("s", &backlog);
        lines.drain("s");
        let (mut their_reader, mut their_writer) = tokio::io::split(theirs);
        let reading = tokio::spawn(async move { reader.read(&mut [0; 8]).await.unwrap() });
        // More than fits: it would stand still if nobody read.
        their_writer.write_all(&[1; 1000]).await.unwrap();
        backlog.add(None, 6);
        writer.write_all(b"bye").await.unwrap();
        assert_eq!(backlog.bytes(), 3);
        let mut said = [0; 3];
        their_reader.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"bye");
        lines.sever("s");
        assert_eq!(reading.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn one_that_takes_nothing_is_cut() {
        let lines = Arc::new(Lines::default());
        let (ours, _theirs) = duplex(4);
        let mut wire = lines.wire(client(), ours);
        let line = lines.of(client()).unwrap();
        let writing = tokio::spawn(async move { wire.write_all(&[0; 100]).await });
        while lock(&line.stalled).is_none() {
            tokio::task::yield_now().await;
        }
        lines.tick(Instant::now());
        assert!(!line.is(SEVERED));
        lines.tick(Instant::now() + STALL);
        assert!(writing.await.unwrap().is_err());
    }
}
