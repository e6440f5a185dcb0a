//! A session with the hub: joining over REST by a link, then Socket.IO over one WebSocket (RFC 6455).

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than an honest hub takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(8);
/// Messages that wait to be written; an attack that is faster than the hub reads waits.
const WAITING: usize = 64;

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Where the hub is and what its link says.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    /// `https://HOST:PORT`
    pub(crate) origin: String,
    /// `HOST:PORT`
    pub(crate) authority: String,
    pub(crate) meeting: String,
    token: String,
}

impl Hub {
    /// Reads `https://HOST:PORT/#meeting=ID&token=TOKEN`.
    pub(crate) fn from_link(link: &str) -> Result<Self> {
        let (page, fragment) = link.split_once('#').context("the link has no fragment")?;
        let field = |name: &str| {
            let found = fragment.split('&').find_map(|part| part.strip_prefix(name));
            found.map(str::to_owned)
        };
        let (scheme, rest) = page
            .split_once("://")
            .context("the link is no address of a page")?;
        let authority = rest.split('/').next().unwrap_or_default();
        Ok(Self {
            origin: format!("{scheme}://{authority}"),
            authority: authority.to_owned(),
            meeting: field("meeting=").context("the link names no meeting")?,
            token: field("token=").context("the link has no token")?,
        })
    }

    fn is_secure(&self) -> bool {
        self.origin.starts_with("https:")
    }

    /// A connection, encrypted where the link says so; the certificate is not checked.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        if !self.is_secure() {
            return Ok(Box::new(stream));
        }
        Ok(Box::new(secure(stream).await?))
    }

    async fn ask_to_join(&self) -> Result<Value> {
        let client = reqwest::Client::builder()
            .danger_accept_invalid_certs(true)
            .tls_built_in_root_certs(false)
            .no_proxy()
            .timeout(PATIENCE)
            .build()?;
        let path = format!(
            "{}/api/v1/public-meetings/{}/join",
            self.origin, self.meeting
        );
        let answer = client.post(path).bearer_auth(&self.token).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("joining was refused with {status}: {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }
}

/// A TLS client that trusts everybody.
pub(crate) async fn secure(stream: TcpStream) -> Result<tokio_native_tls::TlsStream<TcpStream>> {
    let connector = native_tls::TlsConnector::builder()
        .danger_accept_invalid_certs(true)
        .danger_accept_invalid_hostnames(true)
        // Loading the system's takes longer than all the rest.
        .disable_built_in_roots(true)
        .build()?;
    let connector = tokio_native_tls::TlsConnector::from(connector);
    Ok(timeout(PATIENCE, connector.connect("hub", stream)).await??)
}

/// A member of the meeting.
pub(crate) struct Member {
    pub(crate) user: String,
    out: mpsc::Sender<String>,
    heard: mpsc::UnboundedReceiver<(String, Value)>,
}

impl Member {
    /// Joins under a display name. Must run inside a `LocalSet`.
    pub(crate) async fn join(hub: &Hub, name: &str) -> Result<Self> {
        let identity = hub.ask_to_join().await?;
        let text = |key: &str| {
            let value = identity[key].as_str().map(str::to_owned);
            value.ok_or_else(|| anyhow!("the hub's answer has no {key}"))
        };
        let (user, token) = (text("userId")?, text("token")?);
        let mut stream = timeout(PATIENCE, hub.connect()).await??;
        upgrade(&mut stream, &hub.authority).await?;
        let (reading, mut writing) = tokio::io::split(stream);
        let (out, mut waiting) = mpsc::channel::<String>(WAITING);
        let (hearing, heard) = mpsc::unbounded_channel();
        tokio::task::spawn_local(async move {
            while let Some(text) = waiting.recv().await {
                if writing.write_all(&frame(text.as_bytes())).await.is_err() {
                    return;
                }
            }
            // Leaving without a farewell is what hostile members do.
            drop(writing.shutdown().await);
        });
        tokio::task::spawn_local(listen(reading, hearing, out.downgrade()));
        let mut member = Self { user, out, heard };
        member.wait(|name| name == "0").await?;
        member
            .text(format!("40{}", json!({"token": token, "name": name})))
            .await?;
        member.wait(|name| name == "40").await?;
        let place = json!({"meetingId": hub.meeting, "userId": member.user});
        member.emit("meeting:join", place).await?;
        member.wait(|name| name == "meeting:joined").await?;
        Ok(member)
    }

    /// The next event with such a name.
    async fn wait(&mut self, wanted: impl Fn(&str) -> bool) -> Result<Value> {
        let found = async {
            while let Some((name, payload)) = self.heard.recv().await {
                if wanted(&name) {
                    return Some(payload);
                }
                if name == "error" {
                    return None;
                }
            }
            None
        };
        timeout(PATIENCE, found).await?.context("the hub refused")
    }

    /// The next event; an error once the session has ended.
    pub(crate) async fn event(&mut self) -> Result<(String, Value)> {
        self.heard.recv().await.context("the session ended")
    }

    /// An event that has arrived already.
    pub(crate) fn pending(&mut self) -> Option<(String, Value)> {
        self.heard.try_recv().ok()
    }

    /// Whether the hub has ended the session.
    pub(crate) fn is_over(&self) -> bool {
        self.heard.is_closed() || self.out.is_closed()
    }

    pub(crate) async fn text(&self, text: String) -> Result<()> {
        let sending = self.out.send(text);
        timeout(PATIENCE, sending)
            .await?
            .map_err(|_| anyhow!("the session ended"))
    }

    pub(crate) async fn emit(&self, event: &str, payload: Value) -> Result<()> {
        self.text(format!("42{}", json!([event, payload]))).await
    }
}

async fn upgrade(stream: &mut Box<dyn Stream>, authority: &str) -> Result<()> {
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {authority}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: aG9zdGlsZSBtZW1iZXIhIQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let reading = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        Ok::<_, std::io::Error>(head)
    };
    let head = timeout(PATIENCE, reading).await??;
    if !head.starts_with(b"HTTP/1.1 101") {
        bail!("no WebSocket: {}", String::from_utf8_lossy(&head));
    }
    Ok(())
}

/// Reads until the end; answers heartbeats.
async fn listen(
    mut stream: ReadHalf<Box<dyn Stream>>,
    hearing: mpsc::UnboundedSender<(String, Value)>,
    out: mpsc::WeakSender<String>,
) {
    while let Some(text) = next_text(&mut stream).await {
        let event = match text.as_bytes() {
            b"2" => {
                let Some(out) = out.upgrade() else { return };
                drop(out.try_send("3".to_owned()));
                continue;
            }
            [b'0', ..] => ("0".to_owned(), Value::Null),
            [b'4', b'0', ..] => ("40".to_owned(), Value::Null),
            [b'4', b'2', json @ ..] => {
                let Ok(Value::Array(parts)) = serde_json::from_slice(json) else {
                    continue;
                };
                let mut parts = parts.into_iter();
                let Some(Value::String(name)) = parts.next() else {
                    continue;
                };
                (name, parts.next().unwrap_or_default())
            }
            _ => continue,
        };
        if hearing.send(event).is_err() {
            return;
        }
    }
}

async fn next_text(stream: &mut ReadHalf<Box<dyn Stream>>) -> Option<String> {
    loop {
        let code = stream.read_u8().await.ok()? & 0x0f;
        let length = match stream.read_u8().await.ok()? & 0x7f {
            126 => u64::from(stream.read_u16().await.ok()?),
            127 => stream.read_u64().await.ok()?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).ok()?];
        stream.read_exact(&mut payload).await.ok()?;
        match code {
            1 => return Some(String::from_utf8_lossy(&payload).into_owned()),
            8 => return None,
            _ => {}
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
