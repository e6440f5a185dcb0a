//! Who may reach the library through the sockets of a connection, and what leaves by them.
//!
//! The library looks at the source of STUN messages alone, and takes everything else from anywhere. The sockets therefore pass
//! a datagram only if it comes from an address that has proved to know this connection's ICE passwords, which only the two
//! members and the signaling server know.
//!
//! - An address is known after a connectivity check from it that is signed with our password, or after an answer, signed with
//!   the peer's password, to a check that went to this address. 32 addresses are known at a time; the one without proof for the
//!   longest makes place, never the one that we send to. Known addresses stay known over ICE restarts, because media and DTLS go
//!   on over the old path until a new one is selected, and whoever has an address had proved it.
//! - The credentials of the newest eight descriptions of each side are good here; the library has the last word on which of
//!   them is in use.
//! - A TURN server is known by the request for an allocation that was sent to it. What it wraps is judged by the peer's address.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::early::Early;
use super::health::Counters;
use super::pacing::{Checks, Pace, Target};
use super::records::Records;
use super::stun::{
    ALLOCATE, BINDING, BINDING_INDICATION, CHANNEL_BIND, DATA_INDICATION, ERROR, SEND_INDICATION,
    SUCCESS, Stun, Transaction,
};
use crate::clock::monotonic;
use crate::room::{Allowance, Rate};

/// Known addresses of one connection: more than a peer has interfaces and translators.
const ADDRESSES: usize = 32;
/// Descriptions whose credentials are good, of each side.
const DESCRIPTIONS: usize = 8;
/// Addresses that prove themselves by a check of their own. The library makes a peer-reflexive candidate of each
/// (RFC 8445 section 7.3.1.3) and never forgets it; a peer behind a symmetric NAT has one for each of its sockets and ours.
const NEWCOMERS: Rate = Rate {
    burst: 64,
    every: Duration::from_secs(5),
};
/// Binding requests under way. The library forgets a request after 4 s, in which 80 checks and some keep-alives leave.
const TRANSACTIONS: usize = 256;
/// TURN servers of one connection.
const RELAYS: usize = 16;
/// Channels to peers on all relays of a connection.
const CHANNELS: usize = 512;

/// What becomes of a datagram that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The library does not see it.
    Drop,
    /// The library sees it.
    Pass,
    /// The library sees it, and may select a pair because of it.
    PassStun,
}

/// ICE credentials of one description.
#[derive(PartialEq, Eq)]
struct Credentials {
    fragment: String,
    password: String,
}

struct Request {
    transaction: Transaction,
    to: SocketAddr,
    /// A check of a peer; else a question to a STUN server.
    is_check: bool,
}

struct Channel {
    socket: u64,
    relay: SocketAddr,
    number: u16,
    peer: SocketAddr,
}

/// What stands between the sockets of one connection and the library.
pub(super) struct Gate {
    state: Mutex<State>,
    pace: Arc<Pace>,
    counters: Arc<Counters>,
    sockets: AtomicU64,
}

#[derive(Default)]
struct State {
    local: VecDeque<Credentials>,
    remote: VecDeque<Credentials>,
    /// The one with the latest proof last.
    known: Vec<SocketAddr>,
    /// Where media and DTLS go.
    selected: Option<SocketAddr>,
    requests: VecDeque<Request>,
    relays: Vec<SocketAddr>,
    channels: VecDeque<Channel>,
    records: Records,
    early: Early,
    checks: Checks,
    newcomers: Allowance,
}

impl fmt::Debug for Gate {
    /// Passwords stay inside.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    pub(super) fn new(pace: Arc<Pace>, counters: Arc<Counters>) -> Self {
        Self {
            state: Mutex::default(),
            pace,
            counters,
            sockets: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a socket that is bound now.
    pub(super) fn new_socket(&self) -> u64 {
        self.sockets.fetch_add(1, Ordering::Relaxed)
    }

    /// The credentials of a description of ours may be used from now on.
    pub(super) fn take_local(&self, description: &str) {
        learn(&mut self.state().local, description);
    }

    /// The credentials of a description of the peer's may be used from now on.
    pub(super) fn take_remote(&self, description: &str) {
        learn(&mut self.state().remote, description);
    }

    /// The connection is up, so the handshake has ended.
    pub(super) fn is_up(&self) {
        self.state().records.is_up();
    }

    /// The handshake takes longer than any honest one.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.state().records.is_overdue(now)
    }

    /// Judges a datagram that came in by `socket`.
    pub(super) fn comes_in(&self, socket: u64, datagram: &[u8], from: SocketAddr) -> Verdict {
        let verdict = self.state().judge(socket, datagram, canonical(from));
        if verdict == Verdict::Drop {
            self.counters.on_datagram_dropped();
        }
        verdict
    }

    /// Whether a datagram may leave by `socket`; if not, it counts as lost on the way.
    pub(super) fn goes_out(&self, socket: u64, datagram: &[u8], to: SocketAddr) -> bool {
        let sends = self
            .state()
            .sends(&self.pace, socket, datagram, canonical(to));
        if !sends {
            self.counters.on_check_withheld();
        }
        sends
    }

    /// Whether an early flight waits to be handed over.
    pub(super) fn has_early(&self) -> bool {
        !self.state().early.is_empty()
    }

    /// As [`Early::hand_over`].
    pub(super) fn hand_over(
        &self,
        number: usize,
        socket: u64,
        buffer: &mut [u8],
    ) -> Option<(usize, SocketAddr)> {
        let given = self.state().early.hand_over(number, socket, buffer);
        if given.is_some() {
            self.counters.on_early_flight();
        }
        given
    }
}

/// An address mapped into IPv6 is the IPv4 address; scope and flow do not tell peers apart.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The credentials of each media section, in the order of the description, newest last.
fn learn(list: &mut VecDeque<Credentials>, description: &str) {
    let values = |name: &'static str| {
        description
            .lines()
            .filter_map(move |line| line.strip_prefix(name))
    };
    let pairs = values("a=ice-ufrag:").zip(values("a=ice-pwd:"));
    let mut before: Option<(&str, &str)> = None;
    for (fragment, password) in pairs.take(DESCRIPTIONS) {
        // All sections of a bundle have the same.
        if before.replace((fragment, password)) == Some((fragment, password)) {
            continue;
        }
        let credentials = Credentials {
            fragment: fragment.to_owned(),
            password: password.to_owned(),
        };
        list.retain(|known| *known != credentials);
        if list.len() == DESCRIPTIONS {
            list.pop_front();
        }
        list.push_back(credentials);
    }
}

impl State {
    fn is_known(&self, address: SocketAddr) -> bool {
        self.known.contains(&address)
    }

    /// This address has proved to be the peer's.
    fn learn_address(&mut self, address: SocketAddr) {
        if let Some(at) = self.known.iter().position(|known| *known == address) {
            self.known.remove(at);
        } else if self.known.len() == ADDRESSES {
            let selected = self.selected;
            let oldest = self.known.iter().position(|known| Some(*known) != selected);
            self.known.remove(oldest.unwrap_or(0));
        }
        self.known.push(address);
    }

    fn admits_newcomer(&mut self) -> bool {
        self.newcomers.take(NEWCOMERS, monotonic()).is_ok()
    }

    /// Judges what came over the wire, by its first byte (RFC 7983 section 7).
    fn judge(&mut self, socket: u64, datagram: &[u8], from: SocketAddr) -> Verdict {
        let (inner, peer) = match self.unwrap(socket, datagram, from) {
            None => return self.judge_inner(datagram, from, (datagram, from, None)),
            Some(Some(wrapped)) => wrapped,
            Some(None) => return Verdict::Drop,
        };
        self.judge_inner(inner, peer, (datagram, from, Some(socket)))
    }

    /// What a relay wraps, and whose. `None` for what is not wrapped; `Some(None)` for what claims to be and is not.
    #[expect(clippy::option_option, reason = "the caller tells three cases apart")]
    fn unwrap<'a>(
        &self,
        socket: u64,
        datagram: &'a [u8],
        from: SocketAddr,
    ) -> Option<Option<(&'a [u8], SocketAddr)>> {
        match *datagram.first()? {
            64..=79 => Some(
                self.relays
                    .contains(&from)
                    .then(|| {
                        let (number, data) = channel_data(datagram)?;
                        Some((data, self.channel_peer(socket, from, number)?))
                    })
                    .flatten(),
            ),
            0..=3 => {
                let stun = Stun::read(datagram).filter(|stun| stun.kind == DATA_INDICATION)?;
                Some(
                    self.relays
                        .contains(&from)
                        .then(|| Some((stun.data()?, canonical(stun.peer()?))))
                        .flatten(),
                )
            }
            _ => None,
        }
    }

    fn channel_peer(&self, socket: u64, relay: SocketAddr, number: u16) -> Option<SocketAddr> {
        let mut channels = self.channels.iter().rev();
        let found = channels.find(|channel| {
            (channel.socket, channel.relay, channel.number) == (socket, relay, number)
        });
        found.map(|channel| channel.peer)
    }

    /// Judges what a peer sent. `wire` is what came over the wire, from where, and by which socket if that matters.
    fn judge_inner(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        wire: (&[u8], SocketAddr, Option<u64>),
    ) -> Verdict {
        let passes = match datagram.first() {
            Some(0..=3) => {
                return match self.admits_stun(datagram, from, wire.2.is_some()) {
                    true => Verdict::PassStun,
                    false => Verdict::Drop,
                };
            }
            Some(20..=63)
                if self.is_known(from) && self.records.admit(datagram, Instant::now()) =>
            {
                self.early.keep(wire.0, wire.1, wire.2);
                true
            }
            Some(128..=191) => self.records.has_keys() && self.is_known(from),
            _ => false,
        };
        match passes {
            true => Verdict::Pass,
            false => Verdict::Drop,
        }
    }

    /// Whether a STUN message is what we asked for or proves that its sender knows a password.
    fn admits_stun(&mut self, message: &[u8], from: SocketAddr, is_relayed: bool) -> bool {
        const ANSWER: u16 = BINDING | SUCCESS;
        const REFUSAL: u16 = BINDING | ERROR;
        let Some(stun) = Stun::read(message) else {
            return false;
        };
        match stun.kind {
            BINDING => {
                let named = stun.username().unwrap_or_default();
                let mut local = self.local.iter().rev();
                let proves = local.any(|own| {
                    let rest = named.strip_prefix(own.fragment.as_bytes());
                    rest.is_some_and(|rest| rest.first() == Some(&b':'))
                        && stun.is_signed_with(message, own.password.as_bytes())
                });
                let admitted = proves && (self.is_known(from) || self.admits_newcomer());
                if admitted {
                    self.learn_address(from);
                }
                admitted
            }
            ANSWER | REFUSAL => {
                let mut requests = self.requests.iter();
                let Some(request) =
                    requests.find(|request| request.transaction == stun.transaction)
                else {
                    return false;
                };
                if !request.is_check {
                    return true;
                }
                let mut remote = self.remote.iter().rev();
                let proves = request.to == from
                    && remote.any(|peer| stun.is_signed_with(message, peer.password.as_bytes()));
                if proves {
                    self.learn_address(from);
                }
                proves
            }
            BINDING_INDICATION => self.is_known(from),
            // The library matches them with its requests; nobody asks us for anything but a check.
            _ => !is_relayed && !stun.is_request() && self.relays.contains(&from),
        }
    }

    /// Notes what leaves, and says whether it may.
    fn sends(&mut self, pace: &Pace, socket: u64, datagram: &[u8], to: SocketAddr) -> bool {
        match datagram.first() {
            Some(0..=3) => {
                let Some(stun) = Stun::read(datagram) else {
                    return true;
                };
                match stun.kind {
                    ALLOCATE if !self.relays.contains(&to) => {
                        if self.relays.len() == RELAYS {
                            self.relays.remove(0);
                        }
                        self.relays.push(to);
                        true
                    }
                    CHANNEL_BIND => {
                        self.bind_channel(socket, to, &stun);
                        true
                    }
                    SEND_INDICATION => match (stun.data(), stun.peer()) {
                        (Some(data), Some(peer)) => {
                            self.sends_to_peer(pace, data, (socket, canonical(peer), true))
                        }
                        _ => true,
                    },
                    _ => self.sends_to_peer(pace, datagram, (socket, to, false)),
                }
            }
            Some(64..=79) => {
                let wrapped = channel_data(datagram).and_then(|(number, data)| {
                    Some((data, self.channel_peer(socket, to, number)?))
                });
                wrapped
                    .is_none_or(|(data, peer)| self.sends_to_peer(pace, data, (socket, peer, true)))
            }
            _ => self.sends_to_peer(pace, datagram, (socket, to, false)),
        }
    }

    /// As [`Self::sends`], for what a peer gets: by which socket, where, and whether through a relay.
    fn sends_to_peer(
        &mut self,
        pace: &Pace,
        datagram: &[u8],
        way: (u64, SocketAddr, bool),
    ) -> bool {
        let (socket, to, relayed) = way;
        match datagram.first() {
            Some(0..=3) => {
                let Some(stun) = Stun::read(datagram).filter(|stun| stun.kind == BINDING) else {
                    return true;
                };
                let is_check = stun.has_user();
                let target = Target {
                    socket,
                    relayed,
                    to,
                };
                if is_check
                    && !self.is_known(to)
                    && !self.checks.allow(pace, target, Instant::now())
                {
                    return false;
                }
                if self.requests.len() == TRANSACTIONS {
                    self.requests.pop_front();
                }
                self.requests.push_back(Request {
                    transaction: stun.transaction,
                    to,
                    is_check,
                });
            }
            Some(20..=63) => {
                self.records.leaves(datagram);
                self.early.end();
                self.selected = Some(to);
            }
            _ => self.selected = Some(to),
        }
        true
    }

    fn bind_channel(&mut self, socket: u64, relay: SocketAddr, stun: &Stun<'_>) {
        let (Some(number), Some(peer)) = (stun.channel(), stun.peer()) else {
            return;
        };
        let peer = canonical(peer);
        if self.channel_peer(socket, relay, number) == Some(peer) {
            return;
        }
        if self.channels.len() == CHANNELS {
            self.channels.pop_front();
        }
        self.channels.push_back(Channel {
            socket,
            relay,
            number,
            peer,
        });
    }
}

/// Number and content of a message by a channel (RFC 8656 section 12.4).
fn channel_data(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let (header, data) = datagram.split_first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    Some((
        u16::from_be_bytes([header[0], header[1]]),
        data.get(..length)?,
    ))
}

#[cfg(test)]
pub(super) mod tests;
