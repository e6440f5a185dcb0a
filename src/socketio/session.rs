//! One session: opened, served, ended.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rust_socketio::asynchronous::Client;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::link::{self, Fact};
use super::rest::Rest;
use super::{Access, BEAT, Command};
use crate::causes::describe;
use crate::events::EventSender;
use crate::journal_budget::{Allowance, LineBudget};
use crate::room::{ClientMessage, Event, Identity, ServerMessage, SessionId, SignalingFailure};
use crate::wire::{self, Incoming};

/// How many facts may wait for the session. When they do, the server is held back.
const FACTS: usize = 256;

/// How many messages may wait for the socket. When they do, the connection is as good as lost.
const OUTGOING: usize = 1024;

/// How long the server may take to join the namespace. It has answered by then, and may look its users up.
const NAMESPACE: Duration = Duration::from_secs(5);

/// How long the socket may refuse to take a message.
const SEND: Duration = Duration::from_secs(5);

/// How long a close sends what was queued.
const FLUSH: Duration = Duration::from_millis(500);

/// How long a close waits for the REST interface.
const LEAVE: Duration = Duration::from_millis(700);

/// How long a close waits for the socket to take its last packet.
const GOODBYE: Duration = Duration::from_millis(300);

/// How long a close goes on reading after that.
const DRAIN: Duration = Duration::from_millis(20);

/// The crate's task and ours.
const TASKS: usize = 2;

/// A server that says why it disconnects does so right before.
const EXPLANATION: Duration = Duration::from_secs(1);

/// At most one proof of life is reported in this time.
const ACTIVITY: Duration = Duration::from_secs(1);

static MALFORMED: LineBudget = LineBudget::with(
    module_path!(),
    log::Level::Warn,
    "malformed messages that were dropped",
    // One for each event.
    Allowance {
        lines: 16,
        per_source: 1,
    },
);

/// How an order ends a session that it interrupts.
enum Interruption {
    /// By order.
    Close { leave: bool },
    /// Another session is to be opened.
    Replace(Command),
    /// The handle is gone.
    Stop,
}

impl Interruption {
    /// What an order means to this session, unless it is a message to be sent.
    fn of(session: SessionId, command: Option<Command>) -> Result<Self, Option<ClientMessage>> {
        match command {
            None => Ok(Self::Stop),
            Some(command @ Command::Open { .. }) => Ok(Self::Replace(command)),
            Some(Command::Close { session: of, leave }) if of == session => {
                Ok(Self::Close { leave })
            }
            Some(Command::Send {
                session: of,
                message,
            }) if of == session => Err(Some(message)),
            Some(Command::Close { .. } | Command::Send { .. }) => Err(None),
        }
    }
}

/// A session whose namespace is joined.
struct Opened {
    client: Client,
    outgoing: mpsc::Sender<ClientMessage>,
    writer: JoinHandle<()>,
}

/// Opens a session and serves it to its end. Returns the order to open another one, if that was the end of this.
pub(super) async fn run(
    session: SessionId,
    access: &Access,
    orders: &mut mpsc::Receiver<Command>,
    events: &EventSender,
    beats: &AtomicU64,
) -> Option<Command> {
    let (sender, mut facts) = mpsc::channel(FACTS);
    let rest = OnceCell::new();
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let opening = {
        let mut opening = pin!(open(access, &rest, sender, &mut facts));
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => {
                    // Nothing may be sent before the namespace is joined, and the room knows.
                    if let Ok(interruption) = Interruption::of(session, order) {
                        break Err(interruption);
                    }
                }
                opened = &mut opening => break Ok(opened),
                _ = beat.tick() => { beats.fetch_add(1, Ordering::Relaxed); }
            }
        }
    };
    let opened = match opening {
        Ok(Ok(opened)) => opened,
        Ok(Err(failure)) => {
            events.report(Event::SignalingClosed { session, failure });
            return None;
        }
        Err(interruption) => return finish(None, rest.into_inner(), facts, interruption).await,
    };
    events.report(Event::SignalingOpened { session });

    let mut reader = Reader {
        session,
        events,
        malformed: BTreeSet::new(),
        activity: None,
        explanation: None,
        trouble: None,
    };
    loop {
        let failure = tokio::select! {
            biased;
            order = orders.recv() => match Interruption::of(session, order) {
                Ok(interruption) => {
                    return finish(Some(opened), rest.into_inner(), facts, interruption).await;
                }
                Err(Some(message)) => match opened.outgoing.try_send(message) {
                    Ok(()) => None,
                    Err(_) => Some(SignalingFailure::Unreachable {
                        message: "the server does not take what it is sent".into(),
                    }),
                },
                Err(None) => None,
            },
            Some(fact) = next_fact(&mut facts, events) => reader.on_fact(fact),
            // A panic in the crate's task is caught by the runtime and told to nobody.
            _ = beat.tick() => (Handle::current().metrics().num_alive_tasks() < TASKS).then(|| {
                SignalingFailure::Unreachable {
                    message: "reading from the server ended by a defect".into(),
                }
            }),
        };
        beats.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = failure {
            events.report(Event::SignalingClosed { session, failure });
            return None;
        }
    }
}

/// From nothing to a joined namespace, every step bounded. `rest` is there as soon as a participant row may be.
async fn open(
    access: &Access,
    rest: &OnceCell<Rest>,
    sender: mpsc::Sender<Fact>,
    facts: &mut mpsc::Receiver<Fact>,
) -> Result<Opened, SignalingFailure> {
    if let Some(client) = Rest::open(access).await? {
        rest.get_or_init(|| client).join().await?;
    }
    let token = rest.get().map(Rest::token);
    let client = link::connect(access, token, sender.clone()).await?;
    let failure = match timeout(NAMESPACE, facts.recv()).await {
        Ok(Some(Fact::Connected)) => {
            let (outgoing, queue) = mpsc::channel(OUTGOING);
            let identity = access.identity.clone();
            let writer = tokio::spawn(write(client.clone(), identity, queue, sender));
            return Ok(Opened {
                client,
                outgoing,
                writer,
            });
        }
        Ok(Some(Fact::Refused(words))) => SignalingFailure::Refused {
            message: format!("{} refused the connection: {words}", access.url),
            needs_operator: true,
        },
        Ok(Some(Fact::Failed(trouble))) => SignalingFailure::Unreachable {
            message: format!("connecting to {}: {trouble}", access.url),
        },
        Ok(_) => SignalingFailure::Unreachable {
            message: format!("connecting to {}: the connection was closed", access.url),
        },
        Err(_) => SignalingFailure::Unreachable {
            message: format!(
                "connecting to {}: the namespace was not joined within {NAMESPACE:?}",
                access.url
            ),
        },
    };
    Err(failure)
}

/// Sends in order until there is nothing more to come or the socket fails.
async fn write(
    client: Client,
    identity: Identity,
    mut queue: mpsc::Receiver<ClientMessage>,
    facts: mpsc::Sender<Fact>,
) {
    while let Some(message) = queue.recv().await {
        let (event, payload) = wire::write(&message, &identity);
        let trouble = match timeout(SEND, client.emit(event, payload)).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("nothing could be sent for {SEND:?}"),
        };
        for fact in [Fact::Failed(trouble), Fact::Lost] {
            drop(facts.send(fact).await);
        }
        return;
    }
}

/// Ends a session by order, without a report.
async fn finish(
    opened: Option<Opened>,
    rest: Option<Rest>,
    mut facts: mpsc::Receiver<Fact>,
    interruption: Interruption,
) -> Option<Command> {
    // Nobody listens any more; a callback that waits for room in the queue goes on.
    facts.close();
    while facts.try_recv().is_ok() {}
    let client = match opened {
        Some(Opened {
            client,
            outgoing,
            writer,
        }) => {
            drop(outgoing);
            if timeout(FLUSH, writer).await.is_err() {
                log::debug!("closing the connection before everything was sent");
            }
            Some(client)
        }
        None => None,
    };
    if let (Some(rest), Interruption::Close { leave: true }) = (&rest, &interruption) {
        match timeout(LEAVE, rest.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => log::debug!("leaving: {failure:?}"),
            Err(_) => log::debug!("leaving: no answer within {LEAVE:?}"),
        }
    }
    drop(rest);
    if let Some(client) = client {
        say_goodbye(client).await;
    }
    match interruption {
        Interruption::Replace(open) => Some(open),
        Interruption::Close { .. } | Interruption::Stop => None,
    }
}

/// Disconnects. The server does not close the connection then and the crate never does; the end of the runtime will.
/// With something unread in the socket that would reset the connection, and the server might lose our last messages, so
/// what has arrived is read first.
async fn say_goodbye(client: Client) {
    if matches!(timeout(GOODBYE, client.disconnect()).await, Ok(Ok(()))) {
        sleep(DRAIN).await;
    }
}

/// The next fact, once the driver has room for what it may mean: the crate's queue fills meanwhile, which holds
/// the server back.
async fn next_fact(facts: &mut mpsc::Receiver<Fact>, events: &EventSender) -> Option<Fact> {
    events.wait_for_room().await;
    facts.recv().await
}

/// Reads what arrives in one session.
struct Reader<'a> {
    session: SessionId,
    events: &'a EventSender,
    /// Event names whose payload could not be read and was warned about.
    malformed: BTreeSet<String>,
    activity: Option<Instant>,
    /// The newest `error` event of the server, which may explain a disconnection that follows.
    explanation: Option<(Instant, String)>,
    /// The newest trouble of the transport, which may explain its loss.
    trouble: Option<String>,
}

impl Reader<'_> {
    /// Takes one fact; the failure if it ends the session.
    fn on_fact(&mut self, fact: Fact) -> Option<SignalingFailure> {
        match fact {
            // Said before `SignalingOpened`, or an event of the application with that name.
            Fact::Connected => None,
            Fact::Arrived { event, payload } => {
                self.on_arrived(event, &payload);
                None
            }
            Fact::Failed(trouble) => {
                log::debug!("the connection reports: {trouble}");
                self.trouble = Some(trouble);
                None
            }
            Fact::Refused(words) => Some(SignalingFailure::Refused {
                message: format!("the server refused the connection: {words}"),
                needs_operator: true,
            }),
            Fact::Disconnected => Some(self.explained("the server disconnected us")),
            Fact::Lost => Some(self.explained("the connection to the server was lost")),
        }
    }

    /// Why the connection ended: because the server said so a moment before, or because it broke.
    fn explained(&mut self, what: &str) -> SignalingFailure {
        match (self.explanation.take(), self.trouble.take()) {
            (Some((when, words)), _) if when.elapsed() < EXPLANATION => SignalingFailure::Refused {
                // The application's word for a wrong or expired token; everything else may pass.
                needs_operator: words.starts_with("Authentication required"),
                message: format!("{what}: {words}"),
            },
            (_, Some(trouble)) => SignalingFailure::Unreachable {
                message: format!("{what}: {trouble}"),
            },
            (_, None) => SignalingFailure::Unreachable {
                message: what.into(),
            },
        }
    }

    fn on_arrived(&mut self, event: String, payload: &Value) {
        let session = self.session;
        match wire::read(&event, payload) {
            Incoming::Message(message) => {
                if let ServerMessage::ServerError { message } = &message {
                    self.explanation = Some((Instant::now(), message.clone()));
                }
                self.events
                    .report(Event::MessageReceived { session, message });
            }
            Incoming::Ignored => self.on_activity(),
            Incoming::Malformed { reason } => {
                if self.malformed.contains(&event) || !MALFORMED.admits(&event) {
                    log::debug!(event = event.as_str(); "malformed message dropped: {reason}");
                } else {
                    log::warn!(event = event.as_str(); "malformed message dropped: {reason}; more of these are logged at debug level");
                    self.malformed.insert(event);
                }
                self.on_activity();
            }
        }
    }

    /// Something arrived, whatever it was: the connection lives.
    fn on_activity(&mut self) {
        let now = Instant::now();
        if self.activity.is_none_or(|last| now - last >= ACTIVITY) {
            self.activity = Some(now);
            self.events.report(Event::ActivitySeen {
                session: self.session,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SESSION: SessionId = SessionId(7);

    fn reader(events: &EventSender) -> Reader<'_> {
        Reader {
            session: SESSION,
            events,
            malformed: BTreeSet::new(),
            activity: None,
            explanation: None,
            trouble: None,
        }
    }

    fn arrived(event: &str, payload: Value) -> Fact {
        Fact::Arrived {
            event: event.into(),
            payload,
        }
    }

    #[test]
    fn a_refusal_said_before_a_disconnection_is_its_reason() {
        let (events, mut reported) = EventSender::channel();
        let mut reader = reader(&events);
        let said = arrived("error", json!({"message": "Authentication required"}));
        assert_eq!(reader.on_fact(said), None);
        assert_eq!(
            reader.on_fact(Fact::Disconnected),
            Some(SignalingFailure::Refused {
                message: "the server disconnected us: Authentication required".into(),
                needs_operator: true,
            })
        );
        assert!(matches!(
            reported.try_recv(),
            Ok(Event::MessageReceived {
                session: SESSION,
                message: ServerMessage::ServerError { .. }
            })
        ));
    }

    #[test]
    fn a_loss_without_a_word_is_worth_trying_again() {
        let (events, _reported) = EventSender::channel();
        let mut reader = reader(&events);
        assert_eq!(reader.on_fact(Fact::Failed("reset".into())), None);
        assert_eq!(
            reader.on_fact(Fact::Lost),
            Some(SignalingFailure::Unreachable {
                message: "the connection to the server was lost: reset".into(),
            })
        );
    }

    #[test]
    fn what_means_nothing_is_one_proof_of_life_a_second() {
        let (events, mut reported) = EventSender::channel();
        let mut reader = reader(&events);
        for _ in 0..50 {
            reader.on_fact(arrived("chat:message", json!({})));
            reader.on_fact(arrived("meeting:user-left", json!({"userId": 5})));
        }
        assert_eq!(
            reported.try_recv(),
            Ok(Event::ActivitySeen { session: SESSION })
        );
        assert!(reported.try_recv().is_err());
        assert_eq!(reader.malformed.len(), 1);
    }

    #[test]
    fn orders_for_another_session_mean_nothing() {
        let close = |session| Command::Close {
            session,
            leave: true,
        };
        assert!(matches!(
            Interruption::of(SESSION, Some(close(SessionId(6)))),
            Err(None)
        ));
        assert!(matches!(
            Interruption::of(SESSION, Some(close(SESSION))),
            Ok(Interruption::Close { leave: true })
        ));
        let send = Command::Send {
            session: SessionId(6),
            message: ClientMessage::Join,
        };
        assert!(matches!(Interruption::of(SESSION, Some(send)), Err(None)));
        assert!(matches!(
            Interruption::of(SESSION, None),
            Ok(Interruption::Stop)
        ));
    }
}
