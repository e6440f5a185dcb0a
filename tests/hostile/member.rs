//! The hostile member: several seats of one link, and a stranger's sockets beside them.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};
use rtc::srtp::context::Context;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::counts::{Counts, Pace};
use crate::hub::{Hub, Member};
use crate::media::{self, View};
use crate::packets;
use crate::path::{Identity, Path, context};
use crate::random::Random;
use crate::sdp::Own;
use crate::signaling::{self, Aim};

/// After a refusal or the end of a connection.
const PAUSE: Duration = Duration::from_millis(700);
/// A connection that brings nothing from the box for this long is made again.
const DEAD: Duration = Duration::from_secs(4);
/// How long one connection is attacked before another takes its place.
const CALL: Duration = Duration::from_secs(20);
/// How long one handshake is kept from its end.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What the program was asked to do.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) hub: Hub,
    pub(crate) target: String,
    pub(crate) victim: String,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    pub(crate) datagrams: u64,
    pub(crate) messages: u64,
}

/// Where the box listens, as far as anybody has said.
type Known = Rc<RefCell<Vec<SocketAddr>>>;

struct Attacker {
    orders: Orders,
    identity: Identity,
    local: IpAddr,
    counts: Counts,
    known: Known,
}

/// Attacks until the time is over.
pub(crate) async fn run(orders: Orders, counts: &Counts) -> Result<()> {
    let mut random = Random::new(orders.seed);
    let local = local_address(&orders.hub.authority).await?;
    let trap = TcpListener::bind((local, 0)).await?;
    let trap_address = trap.local_addr()?;
    let rate = orders.datagrams;
    let attacker = Rc::new(Attacker {
        identity: Identity::new()?,
        local,
        counts: counts.clone(),
        known: Known::default(),
        orders,
    });
    spawn_local(watch_trap(trap, counts.clone()));
    spawn_local(learn_ports(Rc::clone(&attacker.known)));
    let mut seat = |task: fn(Rc<Attacker>, Random, u64) -> _, rate| {
        spawn_local(task(Rc::clone(&attacker), random.fork(), rate));
    };
    seat(
        |attacker, random, rate| Box::pin(call(attacker, random, rate)) as Task,
        rate * 45 / 100,
    );
    seat(
        |attacker, random, rate| Box::pin(stall(attacker, random, rate)) as Task,
        rate * 20 / 100,
    );
    seat(
        |attacker, random, rate| Box::pin(intrude(attacker, random, rate)) as Task,
        rate * 35 / 100,
    );
    let talking = Rc::clone(&attacker);
    let random = random.fork();
    spawn_local(async move {
        let orders = &talking.orders;
        let aim = Aim {
            hub: &orders.hub,
            target: &orders.target,
            victim: &orders.victim,
            trap: trap_address,
        };
        signaling::talk(&aim, random, orders.messages, &talking.counts).await;
    });
    sleep(Duration::from_secs(attacker.orders.seconds)).await;
    Ok(())
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// Our address towards the hub, which is that towards the box.
async fn local_address(authority: &str) -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(authority).await?;
    Ok(socket.local_addr()?.ip())
}

/// Counts connections that nobody honest makes.
async fn watch_trap(trap: TcpListener, counts: Counts) {
    loop {
        if trap.accept().await.is_ok() {
            counts.add("back: TCP connections");
        }
    }
}

/// Lines `ports ADDRESS:PORT ...` on standard input say where the box's sockets are.
async fn learn_ports(known: Known) {
    let (telling, mut told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if telling.send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = told.recv().await {
        if let Some(ports) = line.strip_prefix("ports") {
            let ports = ports.split_whitespace();
            *known.borrow_mut() = ports.filter_map(|port| port.parse().ok()).collect();
        }
    }
}

impl Attacker {
    async fn open(&self, random: &mut Random, setup: &'static str) -> Result<(Member, Path)> {
        let orders = &self.orders;
        let mut member = Member::join(&orders.hub, &signaling::name(random)).await?;
        let path = self.path(&mut member, random, setup).await?;
        Ok((member, path))
    }

    async fn path(
        &self,
        member: &mut Member,
        random: &mut Random,
        setup: &'static str,
    ) -> Result<Path> {
        let socket = UdpSocket::bind((self.local, 0)).await?;
        let own = Own {
            ufrag: random.word(4),
            password: random.word(24),
            fingerprint: self.identity.fingerprint.clone(),
            setup,
            addresses: vec![socket.local_addr()?],
            audio: random.u32(),
            video: random.u32(),
        };
        Path::open(member, &self.orders.target, own, socket, &self.counts).await
    }

    fn sent(&self, layer: &str, kind: &str) {
        self.counts.add(&format!("{layer}: {kind}"));
    }

    /// Notes how an attempt ended, and waits a moment.
    async fn ended(&self, what: &str, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.counts.add(&format!("{what} ended early"));
            log::debug!("{what}: {error:#}");
        }
        sleep(PAUSE).await;
    }
}

/// Connects like a browser and attacks with the right keys, again and again.
async fn call(attacker: Rc<Attacker>, mut random: Random, rate: u64) {
    loop {
        let outcome = one_call(&attacker, &mut random, rate).await;
        attacker.ended("calls", outcome).await;
    }
}

async fn one_call(attacker: &Attacker, random: &mut Random, rate: u64) -> Result<()> {
    let (mut member, mut path) = attacker.open(random, "actpass").await?;
    let mut keys = path.secure(&attacker.identity).await?;
    attacker.counts.add("calls connected");
    let mut wrong = context(&attacker.identity, &random.bytes(16), &random.bytes(14))?;
    let second = UdpSocket::bind((attacker.local, 0)).await?;
    let mut pace = Pace::new(rate);
    let begun = Instant::now();
    let mut voice = Voice::default();
    while begun.elapsed() < CALL {
        for _ in 0..pace.portion().await {
            let from_elsewhere = random.chance(3);
            let datagram = datagram(attacker, random, &path, &mut keys, &mut wrong);
            let Some(datagram) = datagram else { continue };
            let socket = if from_elsewhere {
                &second
            } else {
                &*path.socket
            };
            drop(socket.send_to(&datagram, path.remote).await);
        }
        voice.speak(begun, &path, &mut keys).await;
        while member.pending().is_some() {}
        if member.is_over() {
            bail!("the hub ended the session");
        }
        if begun.elapsed() > DEAD && path.is_silent(DEAD) {
            bail!("the box sends nothing any more");
        }
    }
    Ok(())
}

/// One hostile datagram of a member who has the keys.
fn datagram(
    attacker: &Attacker,
    random: &mut Random,
    path: &Path,
    keys: &mut Context,
    wrong: &mut Context,
) -> Option<Vec<u8>> {
    let choice = random.below(100);
    if choice < 25 {
        let (kind, datagram) = packets::member_stun(random, path);
        attacker.sent("STUN", kind);
        return Some(datagram);
    }
    if choice < 40 {
        let seen = path.seen.borrow();
        let replay: Vec<Vec<u8>> = seen.records.iter().take(8).cloned().collect();
        let (kind, datagram) = packets::dtls(random, &replay);
        // Alerts in clear on an own path may end the own connection alone.
        attacker.sent("DTLS", kind);
        return Some(datagram);
    }
    let seen = path.seen.borrow();
    let view = View {
        audio: path.own.audio,
        video: path.own.video,
        newest: &seen.newest,
    };
    let is_control = choice < 75;
    let (kind, clear) = if is_control {
        media::rtcp(random, &view)
    } else {
        media::media(random, &view)
    };
    let is_wrong = random.chance(10);
    let context = if is_wrong { wrong } else { keys };
    let encrypted = if is_control {
        context.encrypt_rtcp(&clear)
    } else {
        context.encrypt_rtp(&clear)
    };
    // What cannot be parsed cannot be encrypted by the library; it is sent as it is.
    let layer = match (&encrypted, is_wrong) {
        (Err(_), _) => "clear",
        (Ok(_), true) => "SRTP with wrong keys",
        (Ok(_), false) => "SRTP",
    };
    attacker.sent(layer, kind);
    Some(encrypted.map_or(clear, |datagram| datagram.to_vec()))
}

/// The honest part of a call: silence in Opus, fifty packets a second.
#[derive(Default)]
struct Voice(u32);

impl Voice {
    async fn speak(&mut self, begun: Instant, path: &Path, keys: &mut Context) {
        while u128::from(self.0) * 20 < begun.elapsed().as_millis() {
            self.0 += 1;
            let clear = media::rtp(
                111,
                self.0 as u16,
                self.0.wrapping_mul(960),
                path.own.audio.wrapping_add(1),
                &[0xf8, 0xff, 0xfe],
            );
            if let Ok(packet) = keys.encrypt_rtp(&clear) {
                drop(path.socket.send_to(&packet, path.remote).await);
            }
        }
    }
}

/// Makes good paths and never ends a handshake on them: several generations, one after the other.
async fn stall(attacker: Rc<Attacker>, mut random: Random, rate: u64) {
    loop {
        let outcome = one_stall(&attacker, &mut random, rate).await;
        attacker.ended("handshakes", outcome).await;
    }
}

async fn one_stall(attacker: &Attacker, random: &mut Random, rate: u64) -> Result<()> {
    let setup = *random.pick(&["actpass", "active", "passive"]);
    let (mut member, mut path) = attacker.open(random, setup).await?;
    for _ in 0..4 {
        attacker.counts.add("handshakes kept open");
        // The stranger learns where a handshake is open.
        attacker.known.borrow_mut().push(path.remote);
        let begun = Instant::now();
        let mut pace = Pace::new(rate);
        while begun.elapsed() < HANDSHAKE {
            for _ in 0..pace.portion().await {
                let replay: Vec<Vec<u8>> = path.seen.borrow().records.iter().cloned().collect();
                let (kind, datagram) = if random.chance(15) {
                    packets::member_stun(random, &path)
                } else {
                    packets::dtls(random, &replay)
                };
                attacker.sent("handshake", kind);
                drop(path.socket.send_to(&datagram, path.remote).await);
            }
            while member.pending().is_some() {}
            if member.is_over() {
                bail!("the hub ended the session");
            }
        }
        path = attacker.path(&mut member, random, setup).await?;
    }
    Ok(())
}

/// Sends everything to the box's sockets from addresses that no candidate names.
async fn intrude(attacker: Rc<Attacker>, mut random: Random, rate: u64) {
    let mut sockets = Vec::new();
    for _ in 0..4 {
        match UdpSocket::bind((attacker.local, 0)).await {
            Ok(socket) => sockets.push(socket),
            Err(error) => log::warn!("no socket for a stranger: {error}"),
        }
    }
    if sockets.is_empty() {
        return;
    }
    let mut pace = Pace::new(rate);
    loop {
        let portion = pace.portion().await;
        let known = attacker.known.borrow().clone();
        if known.is_empty() {
            continue;
        }
        for _ in 0..portion {
            let to = *random.pick(&known);
            let (kind, datagram) = match random.below(10) {
                0..=1 => packets::stranger_stun(&mut random),
                2..=7 => packets::dtls(&mut random, &[]),
                _ => {
                    let length = 12 + random.below(1100);
                    let mut noise = random.bytes(length);
                    noise[0] = 0x80;
                    noise[1] = *random.pick(&[111, 102, 200, 205, 206]);
                    ("media noise", noise)
                }
            };
            let socket = random.pick(&sockets);
            if socket.send_to(&datagram, to).await.is_ok() {
                attacker.sent("stranger", kind);
            }
        }
    }
}
