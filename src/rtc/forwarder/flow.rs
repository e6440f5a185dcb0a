//! One source of datagrams and its connection to the server, from the first request to the end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Losses;
use super::dial::{Stream, Target};
use super::framing::{Splitter, append};
use super::observer::{Meaning, Observer};
use crate::rtc::standing::{Problem, Standing};

/// A source that sends nothing for so long is gone: the library prolongs its allocation every minute.
const IDLE: Duration = Duration::from_secs(180);
/// What is written at once, bytes.
const BATCH: usize = 16 * 1024;
/// What is read at once, bytes.
const READ: usize = 16 * 1024;

/// What a flow is made of.
pub(super) struct Parts {
    pub(super) source: SocketAddr,
    pub(super) datagrams: mpsc::Receiver<Bytes>,
    pub(super) socket: Arc<UdpSocket>,
    pub(super) target: Arc<Target>,
    pub(super) standing: Arc<Standing>,
    pub(super) losses: Losses,
}

/// What both directions of a flow look at.
struct Watch {
    observer: Mutex<Observer>,
    standing: Arc<Standing>,
    allocated: AtomicBool,
}

impl Watch {
    fn goes_out(&self, datagram: &[u8]) -> bool {
        let mut observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
        observer.goes_out(datagram)
    }

    /// Whether the flow goes on.
    fn comes_in(&self, message: &[u8]) -> bool {
        let meaning = {
            let mut observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner);
            observer.comes_in(message)
        };
        match meaning {
            Meaning::Passes => return true,
            Meaning::Allocated => {
                self.allocated.store(true, Ordering::Relaxed);
                self.standing.works();
                return true;
            }
            Meaning::Refused(problem) => self.standing.fails(problem),
            Meaning::Released => {}
        }
        self.allocated.store(false, Ordering::Relaxed);
        false
    }
}

/// Runs one flow to its end. An allocation ends with its connection, so a broken one is not made anew: the peer
/// connection is, with an allocation of its own.
pub(super) async fn run(parts: Parts) {
    let Parts {
        source,
        mut datagrams,
        socket,
        target,
        standing,
        losses,
    } = parts;
    let stream = match target.dial().await {
        Ok(stream) => stream,
        Err(problem) => return standing.fails(problem),
    };
    let (reader, writer) = split(stream);
    let watch = Watch {
        observer: Mutex::default(),
        standing,
        allocated: AtomicBool::new(false),
    };
    let ended = tokio::select! {
        ended = outwards(&mut datagrams, writer, &watch) => ended,
        ended = inwards(reader, &socket, source, &watch) => ended,
    };
    if let Err(reason) = ended
        && watch.allocated.load(Ordering::Relaxed)
    {
        watch.standing.fails(Problem::warning(format!(
            "the connection to the relay was lost ({reason}); what went through it is connected anew"
        )));
        losses.send_replace(());
    }
}

/// Ends well when the source is silent or gone.
async fn outwards(
    datagrams: &mut mpsc::Receiver<Bytes>,
    mut writer: WriteHalf<Box<dyn Stream>>,
    watch: &Watch,
) -> Result<(), String> {
    let mut batch = Vec::with_capacity(BATCH + super::LONGEST);
    while let Ok(Some(datagram)) = timeout(IDLE, datagrams.recv()).await {
        batch.clear();
        let mut next = Some(datagram);
        while let Some(datagram) = next {
            if watch.goes_out(&datagram) {
                append(&mut batch, &datagram);
            }
            next = match batch.len() < BATCH {
                true => datagrams.try_recv().ok(),
                false => None,
            };
        }
        let written = async {
            writer.write_all(&batch).await?;
            writer.flush().await
        };
        written.await.map_err(|error| error.to_string())?;
    }
    // A farewell for TLS; nobody waits for it long.
    let _ = timeout(Duration::from_secs(1), writer.shutdown()).await;
    Ok(())
}

/// Ends well when there is nothing to be expected any more.
async fn inwards(
    mut reader: ReadHalf<Box<dyn Stream>>,
    socket: &UdpSocket,
    source: SocketAddr,
    watch: &Watch,
) -> Result<(), String> {
    let mut splitter = Splitter::default();
    loop {
        let buffer = splitter.buffer();
        buffer.reserve(READ);
        match reader.read_buf(buffer).await {
            Ok(0) => return Err("the server closed it".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
        loop {
            match splitter.message() {
                Ok(None) => break,
                Ok(Some(message)) => {
                    let goes_on = watch.comes_in(&message);
                    // Longer than a datagram can be, or a source that is gone: lost, as datagrams are.
                    let _ = socket.send_to(&message, source).await;
                    if !goes_on {
                        return Ok(());
                    }
                }
                Err(error) => {
                    watch.standing.fails(Problem::error(format!(
                        "{error}; is there a TURN server at that port, without TLS for turn: and with TLS for turns:?"
                    )));
                    return Ok(());
                }
            }
        }
    }
}
