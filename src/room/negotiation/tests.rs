//! One negotiation: what waits, what is repeated, what is a copy.

use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(super) fn description(connection: &str, version: u32) -> Sdp {
    Sdp::new(&format!(
        "o=- 1 {version}\r\na=fingerprint:x {connection}\r\na=ice-ufrag:{connection}\r\nm=audio"
    ))
}

fn candidate(number: usize) -> IceCandidate {
    IceCandidate {
        candidate: format!("candidate:{number}"),
        sdp_mid: None,
        sdp_m_line_index: None,
        username_fragment: None,
    }
}

pub(super) fn offered(dialect: Dialect) -> Negotiation {
    let mut negotiation = Negotiation::new();
    negotiation.enter_creating_offer(NegotiationId(1), false);
    let offer = description("own", 1);
    assert!(
        negotiation
            .on_offer_created(NegotiationId(1), offer, dialect, at(0))
            .is_some()
    );
    negotiation
}

#[test]
fn local_candidates_wait_for_their_description_and_the_oldest_of_too_many_go() {
    let mut negotiation = Negotiation::new();
    negotiation.enter_creating_offer(NegotiationId(1), false);
    for number in 0..CANDIDATES + 5 {
        assert_eq!(
            negotiation.on_local_candidate(NegotiationId(1), candidate(number)),
            None
        );
    }
    let held = negotiation
        .on_offer_created(
            NegotiationId(1),
            description("own", 1),
            Dialect::Media,
            at(0),
        )
        .expect("its own offer");
    assert_eq!(held.len(), CANDIDATES);
    assert_eq!(held[0], candidate(5));
    assert_eq!(
        negotiation.on_local_candidate(NegotiationId(1), candidate(99)),
        Some(candidate(99)),
        "from now on at once"
    );
    assert_eq!(
        negotiation.on_local_candidate(NegotiationId(7), candidate(1)),
        None,
        "never those of another description"
    );
}

#[test]
fn reports_of_another_negotiation_change_nothing() {
    let mut negotiation = offered(Dialect::Media);
    let before = negotiation.state.clone();
    assert!(
        negotiation
            .on_offer_created(
                NegotiationId(2),
                description("own", 2),
                Dialect::Media,
                at(0)
            )
            .is_none()
    );
    assert!(negotiation.on_answer_created(NegotiationId(1)).is_none());
    assert!(negotiation.on_answer_applied(NegotiationId(1)).is_none());
    assert_eq!(negotiation.state, before);
}

#[test]
fn an_unanswered_offer_is_repeated_then_sent_in_the_other_dialect_then_given_up() {
    let mut negotiation = offered(Dialect::Media);
    let due = |n: &Negotiation| n.due(false, false);
    assert_eq!(due(&negotiation), Some((at(1_000), Due::Repeat)));
    negotiation.repeat_offer(Dialect::Media);
    assert_eq!(due(&negotiation), Some((at(5_000), Due::OtherDialect)));
    negotiation.repeat_offer(Dialect::Webrtc);
    assert_eq!(due(&negotiation), Some((at(10_000), Due::GiveUp)));
    assert_eq!(
        offered(Dialect::Media).due(false, true),
        Some((at(10_000), Due::GiveUp)),
        "a single offer is not repeated"
    );
}

#[test]
fn a_candidate_fits_the_description_it_names_and_without_a_name_any() {
    let mut negotiation = offered(Dialect::Media);
    let mut named = candidate(1);
    named.username_fragment = Some("peer".into());
    assert!(!negotiation.fits(&named), "nothing applied yet");
    negotiation.on_answer(&description("peer", 1));
    assert!(!negotiation.fits(&named), "still being applied");
    assert!(negotiation.on_answer_applied(NegotiationId(1)).is_some());
    assert!(negotiation.fits(&named) && negotiation.fits(&candidate(2)));
    named.username_fragment = Some("another".into());
    assert!(!negotiation.fits(&named));
}

#[test]
fn a_description_that_could_not_be_applied_does_not_change_whose_connection_this_is() {
    let mut negotiation = offered(Dialect::Media);
    negotiation.on_answer(&description("peer", 1));
    negotiation.on_answer_applied(NegotiationId(1));
    negotiation.enter_creating_answer(NegotiationId(2), Sdp::new("junk"), Dialect::Media);
    negotiation.on_failed();
    assert_eq!(
        negotiation.judge_offer(&description("peer-2", 1), Dialect::Media, true),
        Verdict::NewConnection
    );
}

#[test]
fn a_candidate_is_a_copy_only_within_the_same_ice_credentials() {
    let mut negotiation = offered(Dialect::Media);
    negotiation.on_answer(&description("peer", 1));
    negotiation.on_answer_applied(NegotiationId(1));
    assert!(negotiation.is_new_candidate(&candidate(1)));
    assert!(!negotiation.is_new_candidate(&candidate(1)));
    let restart = description("peer-restarted", 2);
    negotiation.enter_creating_answer(NegotiationId(2), restart, Dialect::Media);
    assert!(negotiation.on_answer_created(NegotiationId(2)).is_some());
    assert!(negotiation.is_new_candidate(&candidate(1)));
}
