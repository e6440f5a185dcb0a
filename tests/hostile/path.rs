//! A connection with the box as an honest member makes one: offer or answer, ICE checks, DTLS, keys for SRTP.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::BytesMut;
use rtc::crypto::{RTCCryptoProvider, default_provider};
use rtc::dtls::config::{ClientAuthType, ConfigBuilder};
use rtc::dtls::crypto::Certificate;
use rtc::dtls::endpoint::{Endpoint, EndpointEvent};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::shared::TransportProtocol;
use rtc::srtp::config::{Config as SrtpConfig, LABEL_EXTRACTOR_DTLS_SRTP};
use rtc::srtp::context::Context;
use rtc::srtp::protection_profile::ProtectionProfile;
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::counts::Counts;
use crate::hub::Member;
use crate::random::Random;
use crate::sdp::{Own, Theirs, host_address};
use crate::stun::{self, Attribute};

const DESCRIBED: Duration = Duration::from_secs(6);
const CHECKED: Duration = Duration::from_secs(8);
const SECURED: Duration = Duration::from_secs(8);
/// Datagrams kept to be replayed.
const REPLAYS: usize = 200;

/// A certificate and the provider that signs with it.
pub(crate) struct Identity {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    pub(crate) fingerprint: String,
}

impl Identity {
    pub(crate) fn new() -> Result<Self> {
        let provider = default_provider().map_err(|error| anyhow!("{error}"))?;
        let names = vec!["hostile".to_owned()];
        let certificate = Certificate::generate_self_signed(names, provider.crypto())?;
        let der = certificate.certificate.first().context("a certificate")?;
        let digest = ring::digest::digest(&ring::digest::SHA256, der.as_ref());
        let octets: Vec<String> = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
        Ok(Self {
            provider,
            certificate,
            fingerprint: octets.join(":"),
        })
    }
}

/// What has arrived on a path.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The newest sequence number of each stream of the box.
    pub(crate) newest: BTreeMap<u32, u16>,
    pub(crate) last_media: Option<Instant>,
    /// A check of ours was answered.
    pub(crate) up: bool,
    /// DTLS records of the box.
    pub(crate) records: VecDeque<Vec<u8>>,
}

/// A path whose descriptions are exchanged and whose checks are being made.
pub(crate) struct Path {
    pub(crate) socket: Rc<UdpSocket>,
    pub(crate) remote: SocketAddr,
    pub(crate) own: Own,
    pub(crate) theirs: Theirs,
    pub(crate) controlling: bool,
    pub(crate) seen: Rc<RefCell<Seen>>,
    records: mpsc::UnboundedReceiver<Vec<u8>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Path {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Path {
    /// Exchanges descriptions with the box and waits until a check is answered. `local` is our address towards it.
    pub(crate) async fn open(
        member: &mut Member,
        target: &str,
        own: Own,
        socket: UdpSocket,
        counts: &Counts,
    ) -> Result<Self> {
        let (theirs, controlling) = timeout(DESCRIBED, describe(member, target, &own))
            .await
            .context("the box does not describe itself")??;
        let remote = *theirs
            .addresses
            .first()
            .context("the box has no address of IPv4")?;
        let (records_in, records) = mpsc::unbounded_channel();
        let socket = Rc::new(socket);
        let seen = Rc::new(RefCell::new(Seen::default()));
        let mut path = Self {
            remote,
            controlling,
            records,
            seen: Rc::clone(&seen),
            socket: Rc::clone(&socket),
            own: own.clone(),
            theirs,
            tasks: Vec::new(),
        };
        let password = own.password.clone();
        path.tasks.push(tokio::task::spawn_local(receive(
            Rc::clone(&socket),
            password,
            seen,
            records_in,
            counts.clone(),
        )));
        let checking = path.checks();
        path.tasks.push(tokio::task::spawn_local(checking));
        let up = async {
            while !path.seen.borrow().up {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(CHECKED, up).await.context("no check is answered")?;
        counts.add("paths validated");
        Ok(path)
    }

    /// The attributes of a check of ours.
    pub(crate) fn attributes(&self, controlling: bool, nominate: bool) -> Vec<Attribute> {
        let name = format!("{}:{}", self.theirs.ufrag, self.own.ufrag);
        let role = if controlling {
            stun::ICE_CONTROLLING
        } else {
            stun::ICE_CONTROLLED
        };
        let mut attributes = vec![
            (stun::USERNAME, name.into_bytes()),
            (stun::PRIORITY, 0x6e00_01ff_u32.to_be_bytes().to_vec()),
            (role, vec![0, 0, 0, 0, 0, 0, 0, 1]),
        ];
        if nominate {
            attributes.push((stun::USE_CANDIDATE, Vec::new()));
        }
        attributes
    }

    fn checks(&self) -> impl Future<Output = ()> + 'static {
        let attributes = self.attributes(self.controlling, self.controlling);
        let password = self.theirs.password.clone();
        let (socket, remote, seen) = (Rc::clone(&self.socket), self.remote, Rc::clone(&self.seen));
        let mut random = Random::new(u64::from(self.own.audio));
        async move {
            loop {
                let check = stun::message(
                    stun::REQUEST,
                    &random.array(),
                    &attributes,
                    Some(password.as_bytes()),
                );
                drop(socket.send_to(&check, remote).await);
                let pause = if seen.borrow().up { 2000 } else { 100 };
                sleep(Duration::from_millis(pause)).await;
            }
        }
    }

    /// The handshake; afterwards the keys of both directions.
    pub(crate) async fn secure(&mut self, identity: &Identity) -> Result<Context> {
        let is_client = self.theirs.setup != "active";
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&identity.provider))
            .with_certificates(vec![identity.certificate.clone()])
            .with_insecure_skip_verify(true)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80])
            .build(is_client, Some(self.remote))?;
        let config = Arc::new(config);
        let local = self.socket.local_addr()?;
        let server = (!is_client).then(|| Arc::clone(&config));
        let mut endpoint = Endpoint::new(local, TransportProtocol::UDP, server);
        if is_client {
            endpoint.connect(Instant::now(), self.remote, config, None)?;
        }
        let deadline = Instant::now() + SECURED;
        while Instant::now() < deadline {
            while let Some(transmit) = endpoint.poll_transmit() {
                self.socket.send_to(&transmit.message, self.remote).await?;
            }
            match timeout(Duration::from_millis(50), self.records.recv()).await {
                Ok(Some(record)) => {
                    let data = BytesMut::from(&record[..]);
                    let events = endpoint.read(Instant::now(), self.remote, None, data)?;
                    let done =
                        |event: &EndpointEvent| matches!(event, EndpointEvent::HandshakeComplete);
                    if events.iter().any(done) {
                        while let Some(transmit) = endpoint.poll_transmit() {
                            self.socket.send_to(&transmit.message, self.remote).await?;
                        }
                        return self.keys(&endpoint, identity, is_client);
                    }
                }
                Ok(None) => bail!("the path has ended"),
                Err(_) => drop(endpoint.handle_timeout(self.remote, Instant::now())),
            }
        }
        bail!("the handshake does not end")
    }

    fn keys(&self, endpoint: &Endpoint, identity: &Identity, is_client: bool) -> Result<Context> {
        let state = endpoint
            .get_connection_state(self.remote)
            .context("an association")?;
        let mut config = SrtpConfig {
            profile: ProtectionProfile::Aes128CmHmacSha1_80,
            ..SrtpConfig::default()
        };
        let length = config.keying_material_len();
        let material = state.export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], length)?;
        config.set_session_keys_from_keying_material(material.as_ref(), is_client)?;
        let keys = &config.keys;
        context(identity, &keys.local_master_key, &keys.local_master_salt)
    }

    /// When the box's media last arrived is longer ago than this, or there never was any.
    pub(crate) fn is_silent(&self, for_longer_than: Duration) -> bool {
        let last = self.seen.borrow().last_media;
        last.is_none_or(|at| at.elapsed() > for_longer_than)
    }
}

/// Encrypts under a key and salt.
pub(crate) fn context(identity: &Identity, key: &[u8], salt: &[u8]) -> Result<Context> {
    let profile = ProtectionProfile::Aes128CmHmacSha1_80;
    let crypto = identity.provider.crypto();
    Ok(Context::new(key, salt, profile, None, None, crypto)?)
}

/// Offers until the box has answered, or answers the box's offer; whether we control.
async fn describe(member: &mut Member, target: &str, own: &Own) -> Result<(Theirs, bool)> {
    let offer = json!({"targetUserId": target, "offer": {"type": "offer", "sdp": own.offer()}});
    member.emit("webrtc:offer", offer).await?;
    let mut described = None;
    loop {
        let (name, payload) = match &described {
            // Candidates may come after the description.
            Some(_) => match timeout(Duration::from_millis(300), member.event()).await {
                Ok(event) => event?,
                Err(_) => return described.context("a description"),
            },
            None => member.event().await?,
        };
        if payload["fromUserId"] != target {
            continue;
        }
        let text = |key: &str| payload[key]["sdp"].as_str().map(str::to_owned);
        match name.as_str() {
            "webrtc:answer" | "media:answer" => {
                if let Some(theirs) = text("answer").and_then(|sdp| Theirs::read(&sdp)) {
                    described = Some((theirs, true));
                }
            }
            "webrtc:offer" | "media:offer" => {
                let Some(sdp) = text("offer") else { continue };
                let Some(theirs) = Theirs::read(&sdp) else {
                    continue;
                };
                let own = Own {
                    setup: "active",
                    ..own.clone()
                };
                let reply = json!({"targetUserId": target, "answer": {"type": "answer", "sdp": own.answer(&sdp)}});
                member.emit(&name.replace("offer", "answer"), reply).await?;
                described = Some((
                    Theirs {
                        setup: "passive".to_owned(),
                        ..theirs
                    },
                    false,
                ));
            }
            "webrtc:ice-candidate" | "media:ice-candidate" => {
                let line = payload["candidate"]["candidate"].as_str();
                if let (Some(address), Some((theirs, _))) =
                    (line.and_then(host_address), &mut described)
                {
                    theirs.addresses.push(address);
                }
            }
            _ => {}
        }
        if described
            .as_ref()
            .is_some_and(|(theirs, _)| !theirs.addresses.is_empty())
        {
            return described.context("a description");
        }
    }
}

/// Answers the box's checks, notes its media, passes its DTLS records on.
async fn receive(
    socket: Rc<UdpSocket>,
    password: String,
    seen: Rc<RefCell<Seen>>,
    records: mpsc::UnboundedSender<Vec<u8>>,
    counts: Counts,
) {
    let mut buffer = vec![0; 2048];
    loop {
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else {
            // An ICMP error of an earlier datagram.
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let datagram = &buffer[..length];
        counts.add("back: datagrams");
        counts.add_many("back: bytes", length as u64);
        if let Some((kind, id)) = stun::read(datagram) {
            match kind {
                stun::REQUEST => {
                    let answer = stun::answer(&id, source, &password);
                    drop(socket.send_to(&answer, source).await);
                    if stun::carries(datagram, stun::USE_CANDIDATE) {
                        seen.borrow_mut().up = true;
                    }
                }
                stun::SUCCESS => seen.borrow_mut().up = true,
                _ => {}
            }
            continue;
        }
        match datagram {
            [20..=63, ..] => {
                let mut seen = seen.borrow_mut();
                if seen.records.len() < REPLAYS {
                    seen.records.push_back(datagram.to_vec());
                }
                drop(records.send(datagram.to_vec()));
            }
            [128..=191, second, ..] if length > 12 && !(192..=223).contains(second) => {
                let number = u16::from_be_bytes([datagram[2], datagram[3]]);
                let stream =
                    u32::from_be_bytes([datagram[8], datagram[9], datagram[10], datagram[11]]);
                let mut seen = seen.borrow_mut();
                seen.newest.insert(stream, number);
                seen.last_media = Some(Instant::now());
            }
            _ => {}
        }
    }
}

/// Whether a value of an event is about somebody.
pub(crate) fn is_from(payload: &Value, user: &str) -> bool {
    payload["fromUserId"] == user
}
