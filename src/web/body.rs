//! Limits of time for the body of a request.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a body may take in all.
const IN_ALL: Duration = Duration::from_secs(10);
/// How long nothing of it may arrive.
const IDLE: Duration = Duration::from_secs(6);
/// A body may be slower than [`RATE`] for this long.
const START: Duration = Duration::from_secs(6);
/// Lowest rate after that, bytes per second.
const RATE: u64 = 64;

/// The body did not arrive in time.
#[derive(Debug)]
pub struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body of the request did not arrive in time")
    }
}

impl Error for TooSlow {}

impl TooSlow {
    /// Whether an error goes back to this one.
    pub fn caused(error: &(dyn Error + 'static)) -> bool {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<Self>() {
                return true;
            }
            next = error.source();
        }
        false
    }
}

/// A body that fails with [`TooSlow`]. Time counts from the moment somebody wants to have it.
pub(super) struct Timed<B> {
    body: B,
    begun: Option<Instant>,
    newest: Instant,
    bytes: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Timed<B> {
    pub(super) fn new(body: B) -> Self {
        Self {
            body,
            begun: None,
            newest: Instant::now(),
            bytes: 0,
            timer: None,
        }
    }
}

/// By when more of a body must have arrived.
fn due(begun: Instant, newest: Instant, bytes: u64) -> Instant {
    let at_lowest_rate = Duration::from_millis(bytes.saturating_mul(1000) / RATE);
    let slow = START.saturating_add(at_lowest_rate).min(IN_ALL);
    (begun + slow).min(newest + IDLE)
}

impl<B> Body for Timed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let now = Instant::now();
        let begun = *this.begun.get_or_insert_with(|| {
            this.newest = now;
            now
        });
        // A body that trickles is always ready, so its end is looked at here as well.
        if now >= begun + IN_ALL {
            return Poll::Ready(Some(Err(TooSlow.into())));
        }
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                this.newest = now;
                this.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let due = due(begun, this.newest, this.bytes);
                let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
                if timer.deadline() != due {
                    timer.as_mut().reset(due);
                }
                timer
                    .as_mut()
                    .poll(context)
                    .map(|()| Some(Err(TooSlow.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_limit_in_all_an_idle_limit_and_a_lowest_rate() {
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        // Nothing at all.
        assert_eq!(due(begun, begun, 0), at(6));
        // A phone that sends its hundred bytes in three seconds, or all of them after five.
        assert!(due(begun, at(2), 60) > at(3));
        assert!(due(begun, begun, 0) > at(5));
        // One byte a second.
        assert!(due(begun, at(7), 7) < at(7));
        // A stop in the middle of much.
        assert_eq!(due(begun, at(1), 100_000), at(7));
        // Fast and endless.
        assert_eq!(due(begun, at(9), 1_000_000), at(10));
    }

    #[test]
    fn a_slow_body_is_told_from_other_errors() {
        let wrapped = axum::Error::new(axum::Error::new(TooSlow));
        assert!(TooSlow::caused(&wrapped));
        assert!(!TooSlow::caused(&axum::Error::new(fmt::Error)));
    }
}
