//! What passes on one flow, as far as it decides something: repetitions, the end of an allocation, a refusal.

use std::collections::VecDeque;

use crate::rtc::standing::Problem;
use crate::rtc::stun::{ALLOCATE, ERROR, REFRESH, STALE_NONCE, SUCCESS, Stun, Transaction};

/// Requests that are remembered: more than the library has under way at a time.
const REMEMBERED: usize = 32;

/// What an answer means for the flow.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rtc) enum Meaning {
    /// Nothing in particular.
    Passes,
    /// There is an allocation now.
    Allocated,
    /// There is none and there will be none on this flow.
    Refused(Problem),
    /// The allocation was given back.
    Released,
}

struct Request {
    transaction: Transaction,
    signed: bool,
    release: bool,
}

/// Watches one flow.
#[derive(Default)]
pub(in crate::rtc) struct Observer {
    requests: VecDeque<Request>,
}

impl Observer {
    /// A message that is to go to the server; `false` if it needs not: the library repeats what is not answered within
    /// 200 ms, which on a stream only adds to the wait (RFC 8489 section 6.2.2).
    pub(in crate::rtc) fn goes_out(&mut self, message: &[u8]) -> bool {
        let Some(stun) = Stun::read(message).filter(Stun::is_request) else {
            return true;
        };
        let known = |request: &Request| request.transaction == stun.transaction;
        if self.requests.iter().any(known) {
            return false;
        }
        if self.requests.len() == REMEMBERED {
            self.requests.pop_front();
        }
        self.requests.push_back(Request {
            transaction: stun.transaction,
            signed: stun.has_user(),
            release: stun.kind == REFRESH && stun.is_release(),
        });
        true
    }

    /// A message that came from the server.
    pub(in crate::rtc) fn comes_in(&mut self, message: &[u8]) -> Meaning {
        let Some(stun) = Stun::read(message) else {
            return Meaning::Passes;
        };
        let known = |request: &Request| request.transaction == stun.transaction;
        if stun.error_code() == Some(STALE_NONCE) && stun.kind != ALLOCATE | ERROR {
            // It is made again under the same number (`nonces`).
            self.requests.retain(|request| !known(request));
            return Meaning::Passes;
        }
        let Some(request) = self.requests.iter().find(|request| known(request)) else {
            return Meaning::Passes;
        };
        const ALLOCATED: u16 = ALLOCATE | SUCCESS;
        const NOT_ALLOCATED: u16 = ALLOCATE | ERROR;
        const REFRESHED: u16 = REFRESH | SUCCESS;
        match stun.kind {
            ALLOCATED => Meaning::Allocated,
            REFRESHED if request.release => Meaning::Released,
            // The first request is anonymous and is answered with what is needed to sign the second.
            NOT_ALLOCATED if request.signed => Meaning::Refused(refusal(stun.error_code())),
            _ => Meaning::Passes,
        }
    }
}

/// What a server's refusal means (RFC 8656 section 19).
fn refusal(code: Option<u16>) -> Problem {
    match code {
        Some(401) => Problem::error(
            "the server refuses user and password (401); correct username and credential_file, or secret_file, of this \
             [[ice_servers]]; with secret_file the clock of this box must be right"
                .to_owned(),
        ),
        Some(403) => Problem::error(
            "the server forbids this box to relay (403); allow it in the server's settings".to_owned(),
        ),
        Some(486) => Problem::warning(
            "the server's quota for this user is used up (486); raise it or give each box a user of its own".to_owned(),
        ),
        Some(508) => Problem::warning("the server has no relay ports left (508)".to_owned()),
        Some(code) => Problem::warning(format!("the server refuses an allocation ({code})")),
        None => Problem::warning("the server refuses an allocation".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::stun::tests::message;

    const USER: (u16, &[u8]) = (0x0006, b"room");
    const NO_LIFETIME: (u16, &[u8]) = (0x000d, &[0; 4]);
    const UNAUTHORIZED: (u16, &[u8]) = (0x0009, b"\0\0\x04\x01");

    #[test]
    fn a_repeated_request_goes_out_once_and_media_always() {
        let mut observer = Observer::default();
        let request = message(ALLOCATE, &[]);
        assert!(observer.goes_out(&request));
        assert!(!observer.goes_out(&request));
        let indication = message(0x0016, &[]);
        assert!(observer.goes_out(&indication) && observer.goes_out(&indication));
        let media = [0x40, 0, 0, 0];
        assert!(observer.goes_out(&media) && observer.goes_out(&media));
    }

    #[test]
    fn the_first_401_is_part_of_the_way_and_the_second_is_a_refusal() {
        let refused = message(ALLOCATE | ERROR, &[UNAUTHORIZED]);
        let mut observer = Observer::default();
        assert!(observer.goes_out(&message(ALLOCATE, &[])));
        assert_eq!(observer.comes_in(&refused), Meaning::Passes);
        let mut observer = Observer::default();
        assert!(observer.goes_out(&message(ALLOCATE, &[USER])));
        let Meaning::Refused(problem) = observer.comes_in(&refused) else {
            panic!("not seen");
        };
        assert!(problem.text.contains("credential_file"));
    }

    #[test]
    fn only_an_answered_release_ends_a_flow() {
        let mut observer = Observer::default();
        let answer = message(REFRESH | SUCCESS, &[NO_LIFETIME]);
        assert_eq!(observer.comes_in(&answer), Meaning::Passes, "nobody asked");
        assert!(observer.goes_out(&message(REFRESH, &[USER, NO_LIFETIME])));
        assert_eq!(observer.comes_in(&answer), Meaning::Released);
        let mut observer = Observer::default();
        assert!(observer.goes_out(&message(REFRESH, &[USER])));
        assert_eq!(
            observer.comes_in(&message(REFRESH | SUCCESS, &[])),
            Meaning::Passes
        );
        let mut observer = Observer::default();
        assert!(observer.goes_out(&message(ALLOCATE, &[USER])));
        assert_eq!(
            observer.comes_in(&message(ALLOCATE | SUCCESS, &[])),
            Meaning::Allocated
        );
    }

    #[test]
    fn a_request_refused_for_its_nonce_goes_out_again() {
        let mut observer = Observer::default();
        let release = message(REFRESH, &[USER, NO_LIFETIME]);
        assert!(observer.goes_out(&release));
        let refused = message(REFRESH | ERROR, &[(0x0009, b"\0\0\x04\x26")]);
        assert_eq!(observer.comes_in(&refused), Meaning::Passes);
        assert!(observer.goes_out(&release));
        let released = message(REFRESH | SUCCESS, &[NO_LIFETIME]);
        assert_eq!(observer.comes_in(&released), Meaning::Released);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut observer = Observer::default();
        for number in 0..100 {
            let mut request = message(ALLOCATE, &[]);
            request[8] = number;
            assert!(observer.goes_out(&request));
        }
        assert_eq!(observer.requests.len(), REMEMBERED);
    }
}
