//! Finds out whether a TURN server over UDP gives us an allocation, and says what is wrong if not.
//!
//! The library asks such a server itself and tells nobody why it got none. So we ask beside it, with an allocation that
//! is given back at once.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rtc::crypto::default_provider;
use rtc::sansio::Protocol as _;
use rtc::shared::{TransportContext, TransportMessage, TransportProtocol};
use rtc::turn::client::{Client, ClientConfig, Event};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::credentials::Login;
use super::forwarder::{Meaning, Observer};
use super::standing::Problem;

/// How long a server may take: some repetitions of the library's fit.
const LIMIT: Duration = Duration::from_secs(6);
/// Longest answer, bytes.
const LONGEST: usize = 1500;

/// Asks once. `Ok` if there was an allocation.
pub(super) async fn probe(server: SocketAddr, login: &Login) -> Result<(), Problem> {
    let silent = || {
        Problem::warning(format!(
            "no answer within {LIMIT:?}; check its address and port, and whether the firewall lets UDP port {} out; \
             where it does not, use turn:...?transport=tcp or turns:",
            server.port()
        ))
    };
    match timeout(LIMIT, ask(server, login)).await {
        Ok(result) => result,
        Err(_) => Err(silent()),
    }
}

fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::warning(format!("it could not be asked: {error}"))
}

async fn ask(server: SocketAddr, login: &Login) -> Result<(), Problem> {
    let any = match server {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(broken)?;
    socket.connect(server).await.map_err(broken)?;
    let local_addr = socket.local_addr().map_err(broken)?;
    let configuration = ClientConfig {
        turn_serv_addr: server.to_string(),
        local_addr,
        username: login.username.clone(),
        password: login.password.0.clone(),
        ..Default::default()
    };
    let provider = default_provider().map_err(broken)?;
    let mut client = Client::new(configuration, provider).map_err(broken)?;
    client.allocate(Instant::now()).map_err(broken)?;
    let mut observer = Observer::default();
    let mut buffer = BytesMut::with_capacity(LONGEST);
    loop {
        while let Some(message) = client.poll_write() {
            observer.goes_out(&message.message);
            socket.send(&message.message).await.map_err(refused)?;
        }
        buffer.clear();
        let wake = client.poll_timeout();
        let wait = wake.map_or(LIMIT, |at| at.saturating_duration_since(Instant::now()));
        match timeout(wait, socket.recv_buf(&mut buffer)).await {
            Err(_) => client.handle_timeout(Instant::now()).map_err(broken)?,
            Ok(Err(error)) => return Err(refused(error)),
            Ok(Ok(_)) => {
                let meaning = observer.comes_in(&buffer);
                let message = TransportMessage {
                    now: Instant::now(),
                    transport: TransportContext {
                        local_addr,
                        peer_addr: server,
                        transport_protocol: TransportProtocol::UDP,
                        ecn: None,
                    },
                    message: buffer.split(),
                };
                // What does not fit is noise: the server has until the limit for an answer.
                let _ = client.handle_read(message);
                match meaning {
                    Meaning::Refused(problem) => return Err(problem),
                    Meaning::Allocated => {
                        release(&mut client, &socket).await;
                        return Ok(());
                    }
                    Meaning::Passes | Meaning::Released => {}
                }
            }
        }
    }
}

/// Best effort: the server forgets what nobody prolongs.
async fn release(client: &mut Client, socket: &UdpSocket) {
    while let Some(event) = client.poll_event() {
        if let Event::AllocateResponse(_, relayed) = event
            && let Ok(mut relay) = client.relay(relayed)
        {
            let _ = relay.close(Instant::now());
        }
    }
    while let Some(message) = client.poll_write() {
        let _ = socket.send(&message.message).await;
    }
}

fn refused(error: std::io::Error) -> Problem {
    match error.kind() {
        ErrorKind::ConnectionRefused => Problem::warning(
            "nobody listens at its address and port; correct urls, or start the server".to_owned(),
        ),
        _ => Problem::warning(format!(
            "it cannot be reached: {error}; check its address and this machine's network"
        )),
    }
}
