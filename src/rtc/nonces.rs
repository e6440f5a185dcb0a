//! Requests that a relay refused because their nonce had become old (438), made again with the new one.
//!
//! RFC 8656 section 5 has the client do so. The library takes over the nonce and drops the request: it asks for the allocation again
//! a while later, but forgets a channel that the server still has, and throws away all that comes by that one from then on. A relay whose nonces
//! live for 600 s (coturn's `stale-nonce`) so ends a call after ten minutes. Therefore such a refusal is answered here, below
//! the library, which sees the second answer alone.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use rtc::crypto::default_provider;
use rtc::peer_connection::transport::RTCIceServer;
use rtc::stun::attributes::{
    ATTR_FINGERPRINT, ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME,
};
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{Message, Setter as _};

use super::credentials::Login;
use super::stun::{
    CHANNEL_BIND, CREATE_PERMISSION, ERROR, REFRESH, STALE_NONCE, Stun, Transaction,
};
use crate::room::Redacted;

/// Requests that are remembered: more than the library has under way at a time.
const REMEMBERED: usize = 32;
/// Logins that are remembered: of every server before and after some ICE restarts.
const LOGINS: usize = 16;
/// How often one request is made again.
const REPETITIONS: u32 = 3;

struct Request {
    transaction: Transaction,
    message: Vec<u8>,
    server: SocketAddr,
    repeated: u32,
}

/// What one connection has asked of its relays, and by which logins.
#[derive(Default)]
pub(super) struct StaleNonces {
    requests: Mutex<VecDeque<Request>>,
    logins: Mutex<VecDeque<Login>>,
}

impl fmt::Debug for StaleNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StaleNonces")
    }
}

impl StaleNonces {
    /// Requests may be signed by these from now on, and by those before for as long as their allocations last.
    pub(super) fn sign_with(&self, servers: &[RTCIceServer]) {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        for server in servers {
            let login = Login {
                username: server.username.clone(),
                password: Redacted(server.credential.clone()),
            };
            if !logins.contains(&login) {
                if logins.len() == LOGINS {
                    logins.pop_front();
                }
                logins.push_back(login);
            }
        }
    }

    /// A datagram that is sent.
    pub(super) fn goes_out(&self, datagram: &[u8], server: SocketAddr) {
        let Some(stun) = Stun::read(datagram) else {
            return;
        };
        if !matches!(stun.kind, REFRESH | CREATE_PERMISSION | CHANNEL_BIND) {
            return;
        }
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests
            .iter()
            .any(|request| request.transaction == stun.transaction)
        {
            return;
        }
        if requests.len() == REMEMBERED {
            requests.pop_front();
        }
        requests.push_back(Request {
            transaction: stun.transaction,
            message: datagram.to_vec(),
            server,
            repeated: 0,
        });
    }

    /// A datagram that was received: what is to be sent in its place, and where, if it refuses a request of ours for its nonce.
    pub(super) fn comes_in(&self, datagram: &[u8]) -> Option<(Vec<u8>, SocketAddr)> {
        // All but a few datagrams are media.
        if datagram.first()? >> 6 != 0 {
            return None;
        }
        let stun = Stun::read(datagram)?;
        let kind = stun.kind.checked_sub(ERROR)?;
        let answers = matches!(kind, REFRESH | CREATE_PERMISSION | CHANNEL_BIND);
        if !answers || stun.error_code() != Some(STALE_NONCE) {
            return None;
        }
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let request = requests
            .iter_mut()
            .find(|request| request.transaction == stun.transaction)?;
        if request.repeated == REPETITIONS {
            return None;
        }
        request.repeated += 1;
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        let again = sign_anew(&request.message, stun.nonce()?, &logins)?;
        Some((again, request.server))
    }
}

/// The same request with another nonce. `None` if it is signed by nobody we know.
fn sign_anew(request: &[u8], nonce: &[u8], logins: &VecDeque<Login>) -> Option<Vec<u8>> {
    let mut before = Message::new();
    before.raw = request.to_vec();
    before.decode().ok()?;
    let text = |name| String::from_utf8(before.get(name).ok()?).ok();
    let (username, realm) = (text(ATTR_USERNAME)?, text(ATTR_REALM)?);
    // Where two servers have the same user, the newer password is the likelier one.
    let mut known = logins.iter().rev();
    let login = known.find(|login| login.username == username)?;

    let mut again = Message::new();
    again.typ = before.typ;
    again.transaction_id = before.transaction_id;
    again.write_header();
    for attribute in &before.attributes.0 {
        match attribute.typ {
            ATTR_NONCE => again.add(ATTR_NONCE, nonce),
            ATTR_MESSAGE_INTEGRITY | ATTR_FINGERPRINT => {}
            other => again.add(other, &attribute.value),
        }
    }
    let provider = default_provider().ok()?;
    let password = login.password.0.clone();
    MessageIntegrity::new_long_term_integrity_with_provider(
        username,
        realm,
        password,
        provider.crypto(),
    )
    .and_then(|integrity| integrity.add_to(&mut again))
    .and_then(|()| FINGERPRINT.add_to(&mut again))
    .ok()?;
    Some(again.raw)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::rtc::stun::tests::message;

    const ERROR_CODE: u16 = 0x0009;
    const NONCE: u16 = 0x0015;
    const STALE: &[u8] = b"\0\0\x04\x26";

    fn server(username: &str, password: &str) -> RTCIceServer {
        RTCIceServer {
            username: username.to_owned(),
            credential: password.to_owned(),
            ..Default::default()
        }
    }

    fn at() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 3478))
    }

    /// What knows the user `room` with the password `secret`.
    pub(in crate::rtc) fn knowing_room() -> StaleNonces {
        let nonces = StaleNonces::default();
        nonces.sign_with(&[server("room", "older"), server("room", "secret")]);
        nonces
    }

    /// A request of the user `room`, signed with `nonce`.
    pub(in crate::rtc) fn request(kind: u16, nonce: &[u8]) -> Vec<u8> {
        let plain = message(
            kind,
            &[
                (0x0012, &[0, 1, 0, 0, 192, 0, 2, 7]),
                (0x0006, b"room"),
                (0x0014, b"here"),
                (NONCE, b"none"),
            ],
        );
        let logins = knowing_room().logins.into_inner().unwrap();
        sign_anew(&plain, nonce, &logins).unwrap()
    }

    /// The refusal of any request of [`request`] that wants `nonce`.
    pub(in crate::rtc) fn refusal(kind: u16, nonce: &[u8]) -> Vec<u8> {
        message(kind | ERROR, &[(ERROR_CODE, STALE), (NONCE, nonce)])
    }

    #[test]
    fn a_request_that_is_refused_for_its_nonce_is_made_again_with_the_new_one() {
        for kind in [REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
            let nonces = knowing_room();
            let sent = request(kind, b"one");
            nonces.goes_out(&sent, at());
            nonces.goes_out(&sent, at());
            let (again, server) = nonces.comes_in(&refusal(kind, b"two, longer")).unwrap();
            assert_eq!(server, at());
            assert_eq!(again, request(kind, b"two, longer"));
            let mut read = Message::new();
            read.raw = again;
            read.decode().unwrap();
            let provider = default_provider().unwrap();
            let key = MessageIntegrity::long_term_integrity_key(
                "room".to_owned(),
                "here".to_owned(),
                "secret".to_owned(),
                provider.crypto(),
            );
            MessageIntegrity::check(&mut read, &key.unwrap(), provider.crypto()).unwrap();
        }
    }

    #[test]
    fn a_server_that_is_never_content_is_not_asked_for_ever() {
        let nonces = knowing_room();
        nonces.goes_out(&request(REFRESH, b"one"), at());
        let refused = refusal(REFRESH, b"two");
        for _ in 0..REPETITIONS {
            assert!(nonces.comes_in(&refused).is_some());
        }
        assert!(nonces.comes_in(&refused).is_none());
    }

    #[test]
    fn everything_else_passes() {
        let nonces = knowing_room();
        assert!(
            nonces.comes_in(&refusal(REFRESH, b"two")).is_none(),
            "nobody asked"
        );
        nonces.goes_out(&request(REFRESH, b"one"), at());
        let unauthorized = message(
            REFRESH | ERROR,
            &[(ERROR_CODE, b"\0\0\x04\x01"), (NONCE, b"two")],
        );
        let without = message(REFRESH | ERROR, &[(ERROR_CODE, STALE)]);
        for other in [&unauthorized[..], &without, &[0x80, 96], &[], &[0, 1, 0, 0]] {
            assert!(nonces.comes_in(other).is_none(), "{other:?}");
        }
        let unknown = StaleNonces::default();
        unknown.goes_out(&request(REFRESH, b"one"), at());
        assert!(unknown.comes_in(&refusal(REFRESH, b"two")).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let nonces = StaleNonces::default();
        for number in 0..100 {
            let mut sent = message(REFRESH, &[]);
            sent[8] = number;
            nonces.goes_out(&sent, at());
            nonces.sign_with(&[server(&number.to_string(), "secret")]);
        }
        assert_eq!(nonces.requests.lock().unwrap().len(), REMEMBERED);
        assert_eq!(nonces.logins.lock().unwrap().len(), LOGINS);
    }
}
