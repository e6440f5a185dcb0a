//! What the box serves itself, and the configuration that it fetches.

use super::forms::{ADDRESS, CREDENTIAL, HOST, HTTPS, ID, ORIGIN, PATH, PROXY, PUBLIC_KEY, TLS};
use super::{Key, Kind, key, table, values, whole};

pub(super) static CONTROL: &[Key] = &[
    key(
        "socket",
        Kind::Text(&PATH),
        "\"/run/huddled/control.sock\"",
        "The socket of huddlectl. By default `control.sock` in the service's runtime directory.",
    ),
    key(
        "http",
        Kind::Text(&ADDRESS),
        "\"127.0.0.1:8080\"",
        "The box's own page. Off by default.",
    ),
    key(
        "http_hosts",
        Kind::Texts(&HOST),
        "[\"room-101.example.org\"]",
        "Names besides localhost under which a browser may ask for the page; anything else gets nothing.",
    ),
];

pub(super) static HUB: &[Key] = &[
    key(
        "listen",
        Kind::Text(&ADDRESS),
        "\"127.0.0.1:8443\"",
        "Where the hub listens. Reachable from other machines only with `tls`.",
    ),
    key(
        "url",
        Kind::Text(&ORIGIN),
        "\"https://hub.example.org:8443\"",
        "What links begin with, where people reach the hub by another address than `listen`.",
    ),
    key(
        "meetings",
        Kind::Texts(&ID),
        "[\"main\"]",
        "The ids of the meetings there are, at least one. Each has links of its own, which `huddled hub` \
         prints at its start.",
    ),
    key(
        "pages",
        Kind::Text(&PATH),
        "\"/usr/share/huddled/guest\"",
        "The folder of the guest page.",
    ),
    key(
        "tls",
        Kind::Text(&TLS),
        "\"self-signed\"",
        "How the hub's connections are protected; `off` is for loopback only.",
    ),
    key(
        "access",
        Kind::Word(|| values::names(values::HUB_ACCESS)),
        "\"token\"",
        "`token` (whoever has the meeting's link) or `open` (whoever reaches the address).",
    ),
    table(
        "limits",
        &[
            key("members", whole(2, 64), "16", "Members of one meeting."),
            key(
                "connections",
                whole(2, 1_024),
                "64",
                "Connections at a time.",
            ),
            key(
                "payload_bytes",
                whole(16_384, 1_048_576),
                "524288",
                "Length of one message, in bytes.",
            ),
            key(
                "messages_per_second",
                whole(10, 10_000),
                "200",
                "Messages of one connection.",
            ),
        ],
        "What the hub allows at most.",
    ),
];

pub(super) static REMOTE: &[Key] = &[
    key(
        "url",
        Kind::Text(&HTTPS),
        "\"https://boxes.example.org/{id}.toml\"",
        "Where the file lies; its signature lies beside it, with `.minisig` behind the name. `{id}` stands for \
         `[box] id`. Without it the configuration is not managed from elsewhere.",
    ),
    key(
        "key",
        Kind::Texts(&PUBLIC_KEY),
        "[\"RWExampleExampleExampleExampleExampleExampleExampleExamp\"]",
        "The public keys of minisign of which one must have signed the file; two while one takes the other's \
         place. Needed with `url`.",
    ),
    key(
        "ca_file",
        Kind::Text(&CREDENTIAL),
        "\"/etc/huddled/ca.pem\"",
        "PEM certificates to trust besides those of the system.",
    ),
    key(
        "proxy",
        Kind::Text(&PROXY),
        "\"http://proxy.example.org:3128\"",
        "An HTTP proxy to fetch the file by.",
    ),
    key(
        "interval_ms",
        whole(10_000, 86_400_000),
        "300000",
        "How often to look, in milliseconds; up to a tenth more or less, so that not all boxes look at once.",
    ),
    key(
        "probation_ms",
        whole(10_000, 3_600_000),
        "120000",
        "How long new settings may take to reach the signaling server before the box goes back, in \
         milliseconds.",
    ),
];
