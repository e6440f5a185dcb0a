//! Messages of members, relays and strangers at the gate.

use super::super::records::tests::{hello, record};
use super::super::stun::tests::{message, signed};
use super::super::stun::{COOKIE, REFRESH};
use super::*;

const USERNAME: u16 = 0x0006;
const CONTROLLING: u16 = 0x802a;
const RTP: [u8; 12] = [0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 22];

fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], port))
}

fn description(number: u8) -> String {
    format!("v=0\r\nm=audio\r\na=ice-ufrag:frag{number}\r\na=ice-pwd:password{number}\r\n")
}

/// A gate between us (`frag1`) and a peer (`frag2`).
pub(in crate::rtc) fn gate() -> Gate {
    let gate = Gate::new(Arc::default(), Arc::default());
    gate.take_local(&description(1));
    gate.take_remote(&description(2));
    gate
}

/// A check of ours, or of the peer's if `local` is 1.
fn check(receiver: u8, sender: u8, password: u8) -> Vec<u8> {
    let user = format!("frag{receiver}:frag{sender}");
    let check = message(
        BINDING,
        &[(USERNAME, user.as_bytes()), (CONTROLLING, &[9; 8])],
    );
    signed(check, format!("password{password}").as_bytes())
}

/// The answer to any check of [`check`].
fn answer(kind: u16, password: u8) -> Vec<u8> {
    signed(
        message(BINDING | kind, &[]),
        format!("password{password}").as_bytes(),
    )
}

/// A proof of the peer that this is its address.
fn prove(gate: &Gate, from: SocketAddr) {
    assert_eq!(gate.comes_in(0, &check(1, 2, 1), from), Verdict::PassStun);
}

fn passes_dtls(gate: &Gate, from: SocketAddr) -> bool {
    gate.comes_in(0, &hello(), from) == Verdict::Pass
}

#[test]
fn a_signed_check_lets_its_sender_in_and_nobody_else() {
    let gate = gate();
    assert!(!passes_dtls(&gate, at(1, 5000)));
    for bad in [
        check(1, 2, 2),
        check(2, 1, 2),
        check(3, 2, 1),
        message(
            BINDING,
            &[(USERNAME, b"frag1:frag2"), (CONTROLLING, &[9; 8])],
        ),
        message(BINDING, &[]),
        signed(message(BINDING, &[(USERNAME, b"frag1")]), b"password1"),
    ] {
        assert_eq!(
            gate.comes_in(0, &bad, at(1, 5000)),
            Verdict::Drop,
            "{bad:?}"
        );
    }
    assert!(!passes_dtls(&gate, at(1, 5000)));
    prove(&gate, at(1, 5000));
    assert!(passes_dtls(&gate, at(1, 5000)));
    assert!(passes_dtls(
        &gate,
        "[::ffff:192.0.2.1]:5000".parse().unwrap()
    ));
    assert!(!passes_dtls(&gate, at(1, 5001)), "another port");
    assert!(!passes_dtls(&gate, at(2, 5000)), "another address");
}

#[test]
fn a_member_who_checks_from_thousands_of_ports_becomes_few_candidates() {
    let gate = gate();
    let passed = (0..5_000)
        .filter(|port| gate.comes_in(0, &check(1, 2, 1), at(1, 2_000 + port)) == Verdict::PassStun)
        .count();
    // The burst, and one more in 5 s on a slow machine.
    assert!((64..80).contains(&passed), "{passed}");
    // Who answers a check of ours is not counted.
    let check = self::check(2, 1, 2);
    assert!(gate.goes_out(0, &check, at(9, 9_000)));
    let answer = gate.comes_in(0, &answer(SUCCESS, 2), at(9, 9_000));
    assert_eq!(answer, Verdict::PassStun);
}

#[test]
fn an_answer_counts_from_where_the_check_went_and_with_the_right_signature() {
    for kind in [SUCCESS, ERROR] {
        let gate = gate();
        assert_eq!(
            gate.comes_in(0, &answer(kind, 2), at(1, 5000)),
            Verdict::Drop,
            "nobody asked"
        );
        assert!(gate.goes_out(0, &check(2, 1, 2), at(1, 5000)));
        for (bad, from) in [
            (answer(kind, 1), at(1, 5000)),
            (message(BINDING | kind, &[]), at(1, 5000)),
            (answer(kind, 2), at(1, 5001)),
        ] {
            assert_eq!(gate.comes_in(0, &bad, from), Verdict::Drop);
        }
        assert_eq!(
            gate.comes_in(0, &answer(kind, 2), at(1, 5000)),
            Verdict::PassStun
        );
        assert!(passes_dtls(&gate, at(1, 5000)));
    }
}

#[test]
fn what_a_stun_server_answers_passes_and_vouches_for_nobody() {
    let gate = gate();
    assert!(gate.goes_out(0, &message(BINDING, &[]), at(9, 3478)));
    let reply = message(BINDING | SUCCESS, &[]);
    assert_eq!(gate.comes_in(0, &reply, at(9, 3478)), Verdict::PassStun);
    assert!(!passes_dtls(&gate, at(9, 3478)));
}

#[test]
fn addresses_and_older_credentials_outlive_ice_restarts() {
    let gate = gate();
    prove(&gate, at(1, 5000));
    gate.take_local(&description(3));
    gate.take_remote(&description(4));
    assert!(
        passes_dtls(&gate, at(1, 5000)),
        "media goes on over the old path"
    );
    prove(&gate, at(1, 5001));
    assert_eq!(
        gate.comes_in(0, &check(3, 4, 3), at(1, 5002)),
        Verdict::PassStun
    );
    for number in 5..5 + DESCRIPTIONS as u8 {
        gate.take_local(&description(number));
    }
    assert_eq!(
        gate.comes_in(0, &check(1, 2, 1), at(1, 5003)),
        Verdict::Drop
    );
}

#[test]
fn many_addresses_push_out_the_oldest_but_not_the_selected_one() {
    let gate = gate();
    prove(&gate, at(1, 1));
    prove(&gate, at(1, 2));
    gate.goes_out(0, &RTP, at(1, 1));
    for port in 3..=ADDRESSES as u16 + 1 {
        prove(&gate, at(1, port));
    }
    assert!(passes_dtls(&gate, at(1, 1)), "selected");
    assert!(!passes_dtls(&gate, at(1, 2)));
    assert!(passes_dtls(&gate, at(1, 3)));
    assert_eq!(gate.state().known.len(), ADDRESSES);
}

#[test]
fn media_passes_once_keys_exist_and_from_known_addresses_alone() {
    let gate = gate();
    prove(&gate, at(1, 5000));
    assert_eq!(
        gate.comes_in(0, &RTP, at(1, 5000)),
        Verdict::Drop,
        "before the keys"
    );
    gate.goes_out(0, &record(22, 1, &[0; 40]), at(1, 5000));
    assert_eq!(gate.comes_in(0, &RTP, at(1, 5000)), Verdict::Pass);
    assert_eq!(gate.comes_in(0, &RTP, at(2, 5000)), Verdict::Drop);
    for first in (4..20).chain(64..128).chain(192..=255) {
        let datagram = [first, 0, 0, 4, 1, 1, 1, 1];
        assert_eq!(
            gate.comes_in(0, &datagram, at(1, 5000)),
            Verdict::Drop,
            "{first}"
        );
    }
    assert_eq!(gate.comes_in(0, &[], at(1, 5000)), Verdict::Drop);
}

#[test]
fn forty_megabytes_of_a_stranger_leave_nothing_behind() {
    let gate = gate();
    prove(&gate, at(1, 5000));
    let unreadable = record(23, 1, &[0; 1100]);
    for _ in 0..36_000 {
        assert_eq!(gate.comes_in(0, &unreadable, at(7, 5000)), Verdict::Drop);
    }
    assert_eq!(
        gate.comes_in(0, &record(21, 0, &[2, 40]), at(7, 5000)),
        Verdict::Drop
    );
    assert_eq!(
        gate.comes_in(0, &record(21, 0, &[2, 40]), at(1, 5000)),
        Verdict::Drop
    );
    let let_in =
        (0..36_000).filter(|_| gate.comes_in(0, &unreadable, at(1, 5000)) == Verdict::Pass);
    assert_eq!(let_in.count(), 32, "a member that never ends its handshake");
    assert!(!gate.has_early() || gate.state().early.hand_over(2, 0, &mut [0; 4096]).is_none());
}

/// XOR-PEER-ADDRESS of an IPv4 address.
fn peer_address(peer: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(peer) = peer else {
        panic!("{peer}");
    };
    let port = (peer.port() ^ 0x2112).to_be_bytes();
    let ip: Vec<u8> = peer
        .ip()
        .octets()
        .iter()
        .zip(COOKIE)
        .map(|(a, b)| a ^ b)
        .collect();
    [&[0, 1][..], &port, &ip].concat()
}

fn by_channel(number: u16, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16).to_be_bytes();
    [&number.to_be_bytes()[..], &length, data].concat()
}

fn by_indication(kind: u16, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    message(kind, &[(0x0012, &peer_address(peer)), (0x0013, data)])
}

#[test]
fn what_a_relay_wraps_is_judged_by_the_peer_behind_it() {
    let (gate, relay, peer, stranger) = (gate(), at(9, 3478), at(1, 5000), at(1, 6000));
    let by_relay = |datagram: &[u8]| gate.comes_in(0, datagram, relay);
    let wrapped = |peer, data: &[u8]| by_indication(DATA_INDICATION, peer, data);
    assert_eq!(
        by_relay(&wrapped(peer, &check(1, 2, 1))),
        Verdict::Drop,
        "no relay of ours"
    );
    assert_eq!(by_relay(&message(ALLOCATE | SUCCESS, &[])), Verdict::Drop);
    assert!(gate.goes_out(0, &message(ALLOCATE, &[]), relay));
    assert_eq!(
        by_relay(&message(ALLOCATE | SUCCESS, &[])),
        Verdict::PassStun
    );
    assert_eq!(
        by_relay(&message(REFRESH, &[])),
        Verdict::Drop,
        "a relay asks for nothing"
    );

    assert_eq!(by_relay(&wrapped(peer, &hello())), Verdict::Drop);
    assert_eq!(by_relay(&wrapped(peer, &check(1, 2, 1))), Verdict::PassStun);
    assert_eq!(by_relay(&wrapped(peer, &hello())), Verdict::Pass);
    assert_eq!(
        by_relay(&wrapped(stranger, &hello())),
        Verdict::Drop,
        "same permitted address"
    );
    assert_eq!(by_relay(&hello()), Verdict::Drop, "a relay is no peer");
    assert_eq!(
        by_relay(&wrapped(peer, &wrapped(peer, &hello()))),
        Verdict::Drop
    );

    for (number, peer) in [(0x4000_u16, peer), (0x4001, stranger)] {
        let number = number.to_be_bytes();
        let bind = message(
            CHANNEL_BIND,
            &[
                (0x000c, &[number[0], number[1], 0, 0]),
                (0x0012, &peer_address(peer)),
            ],
        );
        assert!(gate.goes_out(0, &bind, relay));
    }
    assert_eq!(by_relay(&by_channel(0x4000, &hello())), Verdict::Pass);
    assert_eq!(by_relay(&by_channel(0x4001, &hello())), Verdict::Drop);
    assert_eq!(
        by_relay(&by_channel(0x4002, &hello())),
        Verdict::Drop,
        "unbound"
    );
    assert_eq!(
        gate.comes_in(1, &by_channel(0x4000, &hello()), relay),
        Verdict::Drop,
        "another socket's"
    );
    assert_eq!(
        gate.comes_in(0, &by_channel(0x4000, &hello()), stranger),
        Verdict::Drop
    );

    // A check that leaves by the relay is answered by the relay.
    assert!(gate.goes_out(0, &by_channel(0x4001, &check(2, 1, 2)), relay));
    assert_eq!(
        by_relay(&by_channel(0x4001, &answer(SUCCESS, 2))),
        Verdict::PassStun
    );
    assert_eq!(by_relay(&by_channel(0x4001, &hello())), Verdict::Pass);
}

#[test]
fn checks_of_unknown_addresses_are_paced_and_all_else_leaves() {
    let gate = gate();
    let check = check(2, 1, 2);
    let sent = (0..1500).filter(|port| gate.goes_out(0, &check, at(1, *port)));
    assert!(sent.count() <= 60);
    let relay = at(9, 3478);
    for peer in 0..50 {
        let wrapped = by_indication(SEND_INDICATION, at(2, peer), &check);
        assert!(!gate.goes_out(0, &wrapped, relay), "by a relay as well");
    }
    prove(&gate, at(1, 5000));
    for _ in 0..100 {
        assert!(gate.goes_out(0, &check, at(1, 5000)), "consent");
        assert!(gate.goes_out(0, &answer(SUCCESS, 1), at(3, 1)));
        assert!(gate.goes_out(0, &message(BINDING, &[]), at(9, 3478)));
        assert!(gate.goes_out(0, &message(ALLOCATE, &[]), relay));
        assert!(gate.goes_out(0, &RTP, at(1, 5000)));
    }
    let state = gate.state();
    assert!(state.requests.len() <= TRANSACTIONS && state.relays.len() == 1);
}
