//! The application's server, the ways to the other members, and how a lost one is won back.

use super::forms::{CREDENTIAL, EMAIL, ICE_URL, ID, ORIGIN, PLAIN, PREFIX, PROXY};
use super::{Key, Kind, key, whole};

pub(super) static SIGNALING: &[Key] = &[
    key(
        "url",
        Kind::Text(&ORIGIN),
        "\"https://meet.example.org\"",
        "The application's server. Needed with a meeting. `http://` is for 127.0.0.0/8, `[::1]` and `localhost`; \
         for another machine `insecure_http` has to allow it.",
    ),
    key(
        "insecure_http",
        Kind::Boolean,
        "false",
        "Lets `url` be `http://` to another machine: password, token and who is in the meeting then cross the network \
         unencrypted. Each start and the status say so.",
    ),
    key(
        "api",
        Kind::Text(&PREFIX),
        "\"/api/v1\"",
        "Where the server's REST interface lies.",
    ),
    key(
        "meeting",
        Kind::Text(&ID),
        "\"2f1c9a52-6a55-4d0b-9d0f-0c1f3a1f7a11\"",
        "The id of the meeting. Without one the box is unconfigured: it runs, shows that, and waits.",
    ),
    key(
        "classroom",
        Kind::Text(&ID),
        "\"7b0c6f7e-7d53-4d43-8a4b-0e9f1a2b3c4d\"",
        "The id of the meeting's classroom, if it belongs to one.",
    ),
    key(
        "user",
        Kind::Text(&ID),
        "\"c0a8a7b2-51a4-4f0e-8a4d-5e6f7a8b9c0d\"",
        "The id of the user that this box is: an account of its own, never a person's. Needed with a meeting.",
    ),
    key(
        "email",
        Kind::Text(&EMAIL),
        "\"room-101@example.org\"",
        "Log in with this address and `password_file`.",
    ),
    key(
        "password_file",
        Kind::Text(&CREDENTIAL),
        "\"signaling-password\"",
        "The password that belongs to `email`.",
    ),
    key(
        "token_file",
        Kind::Text(&CREDENTIAL),
        "\"signaling-token\"",
        "A bearer token, instead of `email` and `password_file`.",
    ),
    key(
        "ca_file",
        Kind::Text(&CREDENTIAL),
        "\"/etc/huddled/ca.pem\"",
        "PEM certificates to trust besides those of the system.",
    ),
];

pub(super) static ICE_SERVERS: &[Key] = &[
    key(
        "urls",
        Kind::Texts(&ICE_URL),
        "[\"stun:stun.example.org:3478\"]",
        "The server's addresses. Needed.",
    ),
    key(
        "username",
        Kind::Text(&PLAIN),
        "\"room-101\"",
        "The user of a TURN server; needed with `credential_file`.",
    ),
    key(
        "credential_file",
        Kind::Text(&CREDENTIAL),
        "\"turn-password\"",
        "The user's password.",
    ),
    key(
        "secret_file",
        Kind::Text(&CREDENTIAL),
        "\"turn-secret\"",
        "The secret shared with the TURN server, from which short-lived passwords are made; instead of \
         `credential_file`.",
    ),
    key(
        "secret_lifetime_ms",
        whole(60_000, 604_800_000),
        "86_400_000",
        "How long a password made of the shared secret is good for.",
    ),
    key(
        "ca_file",
        Kind::Text(&CREDENTIAL),
        "\"turn-ca.pem\"",
        "PEM certificates to trust for `turns:` besides those of the system.",
    ),
];

pub(super) static ICE: &[Key] = &[
    key(
        "relay_only",
        Kind::Boolean,
        "false",
        "Send media through TURN servers only.",
    ),
    key(
        "proxy",
        Kind::Text(&PROXY),
        "\"http://proxy.example.org:3128\"",
        "An HTTP proxy for TURN over TCP and TLS.",
    ),
];

pub(super) static RECOVERY: &[Key] = &[
    key(
        "suspicion_ms",
        whole(100, 60_000),
        "1500",
        "How long a stream that flowed may be silent before its peer shows Reconnecting, in milliseconds.",
    ),
    key(
        "action_ms",
        whole(100, 60_000),
        "3000",
        "How long silence alone may last before something is done about it, in milliseconds; at once where the \
         connection or the link says so, too. At least `suspicion_ms`.",
    ),
    key(
        "healing_ms",
        whole(0, 60_000),
        "1000",
        "How long an old path gets to heal by itself once the link or the server is back, in milliseconds.",
    ),
    key(
        "restart_ms",
        whole(100, 60_000),
        "3000",
        "How long an ICE restart may take before the connection is made anew, in milliseconds.",
    ),
    key(
        "recreate_ms",
        Kind::Integers {
            from: 0,
            to: 60_000,
            most: 10,
        },
        "[1000, 2000, 4000]",
        "Waits before each fast attempt at a new connection, in milliseconds.",
    ),
    key(
        "attempts",
        whole(1, 10),
        "3",
        "How many fast attempts; where there are more than waits, the last wait repeats. By default one for \
         each wait.",
    ),
    key(
        "slow_interval_ms",
        whole(1_000, 3_600_000),
        "30000",
        "Wait between the slow attempts that follow, in milliseconds.",
    ),
];
