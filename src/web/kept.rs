//! A connection that ends when it loses its place.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::places::Place;

/// A stream with its place. Lives as long as the connection, after an upgrade to a WebSocket too.
pub(super) struct Kept<Stream> {
    stream: Stream,
    place: Place,
}

impl<Stream> Kept<Stream> {
    pub(super) fn new(stream: Stream, place: Place) -> Self {
        Self { stream, place }
    }
}

fn lost() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "the connection lost its place",
    )
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Kept<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let connection = this.place.connection();
        connection.reader.register(context.waker());
        if connection.is_cut() {
            return Poll::Ready(Err(lost()));
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
        connection.heard(buffer.filled().len() - before);
        outcome
    }
}

impl<Stream: AsyncWrite + Unpin> Kept<Stream> {
    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let connection = self.place.connection();
        connection.writer.register(context.waker());
        if connection.is_cut() {
            return Poll::Ready(Err(lost()));
        }
        write(Pin::new(&mut self.stream), context)
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Kept<Stream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| {
            stream.poll_write_vectored(context, slices)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |stream, context| stream.poll_shutdown(context))
    }
}
