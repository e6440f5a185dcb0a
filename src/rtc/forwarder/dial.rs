//! The way to a TURN server over TCP: by a proxy or without, with TLS or without.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_native_tls::TlsConnector;

use crate::room::shown;
use crate::rtc::credentials::SecretSource;
use crate::rtc::standing::Problem;

/// What one step (a name, a connection, the proxy's answer, the handshake) may take.
const STEP_LIMIT: Duration = Duration::from_secs(5);
/// Longest head of a proxy's answer, bytes.
const LONGEST_ANSWER: usize = 8 * 1024;
/// The kernel's send buffer, bytes: media that waits longer than this takes is worthless, and what it does not take
/// is dropped. Some 100 ms at 10 Mbit/s.
const SEND_BUFFER: u32 = 128 * 1024;
/// A silent connection is asked for a sign of life after 20 s, and given up some 15 s later.
const KEEPALIVE: Duration = Duration::from_secs(20);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;
/// Data that nobody acknowledges ends the connection after this.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// A stream to the server, whatever it is made of.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A host and its TCP port. A host with colons is an IPv6 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rtc) struct Endpoint {
    /// Name or address, without brackets.
    pub(in crate::rtc) host: String,
    /// Port.
    pub(in crate::rtc) port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How a server is reached.
pub(in crate::rtc) struct Target {
    /// The server.
    pub(in crate::rtc) server: Endpoint,
    /// With TLS, trusting the system's certificates and those of a file.
    pub(in crate::rtc) tls: Option<Trust>,
    /// An HTTP proxy in between.
    pub(in crate::rtc) proxy: Option<Endpoint>,
}

/// Whom to trust besides the system's authorities.
pub(in crate::rtc) struct Trust {
    ca: Option<SecretSource>,
    /// The connector of the last use with the file's content then: loading the system's certificates takes some 50 ms.
    made: Mutex<Option<(Option<String>, TlsConnector)>>,
}

impl Trust {
    /// `ca` gives PEM certificates and is read at every connection.
    pub(in crate::rtc) fn new(ca: Option<SecretSource>) -> Self {
        Self {
            ca,
            made: Mutex::new(None),
        }
    }

    /// Blocks: files are read.
    fn connector(&self) -> Result<TlsConnector, Problem> {
        let pem = self
            .ca
            .as_ref()
            .map(|read| read().map(|pem| pem.0))
            .transpose()
            .map_err(Problem::error)?;
        let mut made = self
            .made
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((before, connector)) = &*made
            && *before == pem
        {
            return Ok(connector.clone());
        }
        let connector = build(pem.as_deref())?;
        *made = Some((pem, connector.clone()));
        Ok(connector)
    }
}

fn build(pem: Option<&str>) -> Result<TlsConnector, Problem> {
    let unusable = |reason: String| {
        Problem::error(format!(
            "the certificates of [[ice_servers]] ca_file cannot be used: {reason}; give PEM certificates"
        ))
    };
    let mut builder = native_tls::TlsConnector::builder();
    builder.min_protocol_version(Some(native_tls::Protocol::Tlsv12));
    if let Some(pem) = pem {
        let certificates = native_tls::Certificate::stack_from_pem(pem.as_bytes())
            .map_err(|error| unusable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("it holds no certificate".to_owned()));
        }
        for certificate in certificates {
            builder.add_root_certificate(certificate);
        }
    }
    let connector = builder
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    Ok(connector.into())
}

impl Target {
    /// Opens a connection to the server.
    pub(super) async fn dial(self: &std::sync::Arc<Self>) -> Result<Box<dyn Stream>, Problem> {
        let stream = match &self.proxy {
            None => connect(&self.server).await.map_err(|reason| {
                Problem::warning(format!(
                    "it cannot be reached: {reason}; check its address and port, and whether the firewall lets TCP \
                     port {} out or wants a proxy ([ice] proxy)",
                    self.server.port
                ))
            })?,
            Some(proxy) => {
                let mut stream = connect(proxy).await.map_err(|reason| {
                    Problem::warning(format!(
                        "the proxy {proxy} cannot be reached: {reason}; check [ice] proxy"
                    ))
                })?;
                self.ask_proxy(proxy, &mut stream).await?;
                stream
            }
        };
        let Some(_) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let target = std::sync::Arc::clone(self);
        let connector = tokio::task::spawn_blocking(move || {
            // Looked at again because the target is borrowed anew.
            target.tls.as_ref().map(Trust::connector)
        })
        .await;
        let Ok(Some(connector)) = connector else {
            return Err(Problem::error("TLS cannot be set up".to_owned()));
        };
        match timeout(STEP_LIMIT, connector?.connect(&self.server.host, stream)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(refused_certificate(&error.to_string(), &self.server.host)),
            Err(_) => Err(Problem::warning(format!(
                "no TLS handshake within {STEP_LIMIT:?}; is there a TURN server with TLS at that port?"
            ))),
        }
    }

    /// Asks for a tunnel (RFC 9110 section 9.3.6).
    async fn ask_proxy(&self, proxy: &Endpoint, stream: &mut TcpStream) -> Result<(), Problem> {
        let server = &self.server;
        let request = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n");
        let asking = async {
            stream.write_all(request.as_bytes()).await?;
            read_head(stream).await
        };
        let head = match timeout(STEP_LIMIT, asking).await {
            Ok(Ok(head)) => head,
            Ok(Err(error)) => {
                return Err(Problem::warning(format!(
                    "the proxy {proxy} gave no answer: {error}; check that [ice] proxy is an HTTP proxy"
                )));
            }
            Err(_) => {
                return Err(Problem::warning(format!(
                    "the proxy {proxy} gave no answer within {STEP_LIMIT:?}; check [ice] proxy"
                )));
            }
        };
        match status(&head) {
            Some(200..=299) => Ok(()),
            Some(407) => Err(Problem::error(format!(
                "the proxy {proxy} asks for a password (HTTP 407), which huddled has none of; let this box through \
                 without one"
            ))),
            Some(code @ 500..) => Err(Problem::warning(format!(
                "the proxy {proxy} does not reach {server} (HTTP {code}); check the address in urls"
            ))),
            Some(code) => Err(Problem::error(format!(
                "the proxy {proxy} refuses a connection to {server} (HTTP {code}); allow CONNECT to port {} there, \
                 or let the TURN server listen at 443",
                server.port
            ))),
            None => Err(Problem::error(format!(
                "{proxy} does not answer as an HTTP proxy does; check [ice] proxy"
            ))),
        }
    }
}

/// One byte at a time: what follows the head belongs to the tunnel.
async fn read_head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST_ANSWER {
            return Err(std::io::Error::other("its answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// The code of a status line, `HTTP/1.1 200 Connection established`.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(b"HTTP/1.")?;
    let code = line.get(2..5)?;
    let code = std::str::from_utf8(code).ok()?.parse().ok()?;
    (100..=599).contains(&code).then_some(code)
}

async fn connect(to: &Endpoint) -> Result<TcpStream, String> {
    let lookup = tokio::net::lookup_host((to.host.as_str(), to.port));
    let addresses: Vec<SocketAddr> = match timeout(STEP_LIMIT, lookup).await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(format!("{} is not resolved ({error})", to.host)),
        Err(_) => return Err(format!("{} is not resolved within {STEP_LIMIT:?}", to.host)),
    };
    let mut reason = format!("{} has no address", to.host);
    // In the resolver's order, which knows what this machine can reach (RFC 6724).
    let share = STEP_LIMIT / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    for address in addresses {
        match timeout(share, open(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => reason = error.to_string(),
            Err(_) => reason = format!("no answer within {share:?}"),
        }
    }
    Err(reason)
}

async fn open(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_TRIES);
    let options = SockRef::from(&socket);
    options.set_tcp_keepalive(&keepalive)?;
    options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.connect(address).await
}

/// A sentence for what OpenSSL says, which ends with its verdict in brackets.
fn refused_certificate(error: &str, host: &str) -> Problem {
    if !error.contains("certificate verify failed") {
        return Problem::warning(format!(
            "the TLS handshake failed ({}); is there a TURN server with TLS at that port?",
            brief(error)
        ));
    }
    let verdict = error
        .rsplit_once('(')
        .map_or(error, |(_, verdict)| verdict.trim_end_matches(')'));
    let advice = if verdict.contains("mismatch") {
        format!("it is not made out for {host}; write the name that it has into urls")
    } else if verdict.contains("expired") || verdict.contains("not yet valid") {
        "renew it, or set the clock of this box".to_owned()
    } else {
        "give the certificate of its authority as ca_file of this [[ice_servers]]".to_owned()
    };
    Problem::error(format!(
        "its certificate is refused ({}): {advice}",
        brief(verdict)
    ))
}

/// OpenSSL's words without its source lines.
fn brief(text: &str) -> String {
    shown(text.split(':').next_back().unwrap_or_default(), 120)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_or_it_is_none() {
        assert_eq!(
            status(b"HTTP/1.1 200 Connection established\r\n\r\n"),
            Some(200)
        );
        assert_eq!(status(b"HTTP/1.0 407 \r\n\r\n"), Some(407));
        for wrong in [
            &b"HTTP/2 200\r\n\r\n"[..],
            b"\r\n\r\n",
            b"HTTP/1.1 20\r\n\r\n",
            b"HTTP/1.1 999 x\r\n\r\n",
        ] {
            assert_eq!(status(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_three_reasons_against_a_certificate_have_each_their_advice() {
        let of = |verdict: &str| {
            refused_certificate(
                &format!("error:0A000086:SSL routines:f:certificate verify failed:ssl/x.c:1889: ({verdict})"),
                "turn.example.org",
            )
            .text
        };
        assert!(of("unable to get local issuer certificate").contains("ca_file"));
        assert!(of("hostname mismatch").contains("not made out for turn.example.org"));
        assert!(of("certificate has expired").contains("clock"));
        let other = refused_certificate(
            "error:0A00010B:SSL routines:f:wrong version number:ssl/x.c:1",
            "h",
        )
        .text;
        assert!(other.contains("TURN server with TLS"), "{other}");
    }

    #[test]
    fn a_file_without_certificates_is_refused_with_its_key() {
        for pem in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----",
        ] {
            let problem = build(Some(pem)).err().unwrap();
            assert!(
                problem.text.contains("[[ice_servers]] ca_file"),
                "{}",
                problem.text
            );
        }
        assert!(build(None).is_ok());
    }
}
