//! The one table of all settings. The parser, the JSON schema and the documentation are made from it, so none of them
//! can say what the others do not.

use std::path::Path;

use super::values;

/// One setting, or a table of settings.
pub(super) struct Key {
    /// As it is written.
    pub(super) name: &'static str,
    /// What it may say.
    pub(super) kind: Kind,
    /// What it means, in sentences for an administrator.
    pub(super) about: &'static str,
    /// A value as TOML, for the documentation; empty for tables.
    pub(super) example: &'static str,
}

/// What a setting may say.
pub(super) enum Kind {
    /// `[name]`.
    Table(&'static [Key]),
    /// `[[name]]`.
    Tables(&'static [Key]),
    /// A text of a form.
    Text(&'static Form),
    /// A list of such texts; a single one counts as a list of one.
    Texts(&'static Form),
    /// One of a few words.
    Word(fn() -> Vec<&'static str>),
    /// A text, or a whole number from 0 that stands for one.
    TextOrNumber,
    /// `true` or `false`.
    Boolean,
    /// A whole number, both limits included.
    Integer {
        /// Least.
        from: i64,
        /// Most.
        to: i64,
        /// Only even ones: H.264 4:2:0 has one colour sample for two pixels each way.
        even: bool,
    },
    /// A list of one to so many whole numbers.
    Integers {
        /// Least.
        from: i64,
        /// Most.
        to: i64,
        /// How many at most.
        most: usize,
    },
}

/// What a text must look like.
pub(super) struct Form {
    /// For the documentation.
    pub(super) says: &'static str,
    /// A regular expression (ECMA-262, as JSON schema has it) that every good text matches and most bad ones do not;
    /// empty where there is nothing to say.
    pub(super) pattern: &'static str,
    /// The complaint, with what to write instead.
    pub(super) check: fn(&str) -> Result<(), String>,
}

const fn table(name: &'static str, keys: &'static [Key], about: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Table(keys),
        about,
        example: "",
    }
}

const fn key(name: &'static str, kind: Kind, example: &'static str, about: &'static str) -> Key {
    Key {
        name,
        kind,
        about,
        example,
    }
}

const fn whole(from: i64, to: i64) -> Kind {
    Kind::Integer {
        from,
        to,
        even: false,
    }
}

const fn even(from: i64, to: i64) -> Kind {
    Kind::Integer {
        from,
        to,
        even: true,
    }
}

/// Anything on one line.
static PLAIN: Form = Form {
    says: "text of 1 to 255 characters on one line",
    pattern: r"^[^\u0000-\u001f\u007f]{1,255}$",
    check: |text| values::plain(text).map(drop),
};
static ID: Form = Form {
    says: "id: 1 to 128 letters, digits, `-`, `_` and `.`",
    pattern: r"^[A-Za-z0-9._-]{1,128}$",
    check: |text| values::id(text).map(drop),
};
static PATH: Form = Form {
    says: "path; a relative one starts from the folder of the file that says it",
    pattern: r"^[^\u0000-\u001f\u007f]{1,255}$",
    check: |text| values::path(text, Path::new("")).map(drop),
};
static CREDENTIAL: Form = Form {
    says: "name of a systemd credential, else path of a file",
    pattern: r"^[^\u0000-\u001f\u007f]{1,255}$",
    check: |text| values::credential(text, Path::new("")).map(drop),
};
static ORIGIN: Form = Form {
    says: "address of a server: `https://HOST` or `http://HOST`, with `:PORT` if need be",
    pattern: r"^https?://[^/?#@\s]+/?$",
    check: |text| values::origin(text).map(drop),
};
static PREFIX: Form = Form {
    says: "path on the server, such as `/api/v1`",
    pattern: r"^(/[A-Za-z0-9._~-]+)*/?$",
    check: |text| values::prefix(text).map(drop),
};
static EMAIL: Form = Form {
    says: "e-mail address",
    pattern: r"^[^@\s]+@\S+$",
    check: |text| values::email(text).map(drop),
};
static ICE_URL: Form = Form {
    says: "`stun:HOST:PORT`, `turn:HOST:PORT` or `turns:HOST:PORT?transport=tcp`",
    pattern: r"^(stuns?:[^/?@\s]+|turns?:[^/?@\s]+(\?transport=(udp|tcp))?)$",
    check: |text| values::ice_url(text).map(drop),
};
static PROXY: Form = Form {
    says: "`http://HOST:PORT`",
    pattern: r"^http://[^/?#@\s]+/?$",
    check: |text| values::proxy(text).map(drop),
};
static VIDEO_DEVICE: Form = Form {
    says: "`none`, a V4L2 node or its stable name; simulated: `sim:testcard`, `sim:slides`, `sim:file:PATH`",
    pattern: r"^(sim:(testcard|slides|file:.+)|(?!sim:)\S+)$",
    check: |text| values::video_device(text, Path::new("")).map(drop),
};
static MICROPHONE_DEVICE: Form = Form {
    says: "`none` or the name of an ALSA device; simulated: `sim:tone`, `sim:tone:HZ`, `sim:speech`, `sim:silence`, `sim:file:PATH`",
    pattern: r"^(sim:(tone(:[0-9]+)?|speech|silence|file:.+)|(?!sim:).+)$",
    check: |text| values::microphone_device(text, Path::new("")).map(drop),
};
static SPEAKER_DEVICE: Form = Form {
    says: "`none` or the name of an ALSA device; simulated: `sim:meter`, `sim:wav:PATH`",
    pattern: r"^(sim:(meter|wav:.+)|(?!sim:).+)$",
    check: |text| values::speaker_device(text, Path::new("")).map(drop),
};
static ADDRESS: Form = Form {
    says: "`ADDRESS:PORT` to listen on",
    pattern: r"^(\[[0-9A-Fa-f:.%]+\]|[0-9.]+):[0-9]{1,5}$",
    check: |text| values::address(text).map(drop),
};
static HOST: Form = Form {
    says: "name of a host, without scheme and port",
    pattern: r"^[A-Za-z0-9._-]+$",
    check: |text| values::host(text).map(drop),
};
static HTTPS: Form = Form {
    says: "address of a file: `https://HOST/PATH`",
    pattern: r"^https://[^/?#@\s]+/[!-~]+$",
    check: |text| values::https(text).map(drop),
};
static PUBLIC_KEY: Form = Form {
    says: "minisign public key: 56 characters that begin with `RW`",
    pattern: r"^RW[A-Za-z0-9+/]{54}$",
    check: |text| values::public_key(text).map(drop),
};
static TLS: Form = Form {
    says: "`off`, `self-signed`, or the file (credential or path) of a PEM certificate chain with its key",
    pattern: r"^[^\u0000-\u001f\u007f]{1,255}$",
    check: |text| values::tls(text, Path::new("")).map(drop),
};

const PPM: Key = key(
    "ppm",
    whole(-10_000, 10_000),
    "0",
    "Lets the clock of a simulated device drift, in parts per million.",
);

const VIDEO_SOURCE: &[Key] = &[
    key(
        "device",
        Kind::Text(&VIDEO_DEVICE),
        "\"/dev/v4l/by-id/usb-Example_Camera-video-index0\"",
        "The device. Simulated ones need `huddled run --allow-sim`.",
    ),
    PPM,
];

const LINE: &[Key] = &[
    key(
        "chip",
        Kind::Text(&PLAIN),
        "\"gpiochip0\"",
        "Name or label of the GPIO chip, needed by backend `chardev`; for a button of `kernel` the name of the input \
         device, where several have such a key.",
    ),
    key(
        "line",
        Kind::TextOrNumber,
        "17",
        "Number or name of the line: BCM number (0 to 53) for `rppal`; for `kernel` a key such as `KEY_MICMUTE`, the switch \
         `SW_MUTE_DEVICE` or the name of an LED in /sys/class/leds. Needed.",
    ),
    key(
        "active_low",
        Kind::Boolean,
        "true",
        "Pressed pulls the line low; for a light: low is lit. Of `kernel`, where the device tree knows the wiring, it turns \
         the meaning around.",
    ),
    key(
        "bias",
        Kind::Word(|| values::names(values::BIAS)),
        "\"pull-up\"",
        "The line's resistor.",
    ),
];

/// Every setting there is, in the order of the documentation.
pub(super) static ROOT: &[Key] = &[
    table(
        "box",
        &[
            key(
                "name",
                Kind::Text(&PLAIN),
                "\"Room 101\"",
                "What people in the meeting read on the test card, and what an administrator calls this box.",
            ),
            key(
                "id",
                Kind::Text(&ID),
                "\"room-101\"",
                "Tells boxes apart where they are managed together.",
            ),
            key(
                "state_dir",
                Kind::Text(&PATH),
                "\"/var/lib/huddled\"",
                "Where mute and camera are remembered. By default the state directory of the service.",
            ),
            key(
                "first_start",
                Kind::Word(|| values::names(values::FIRST_START)),
                "\"open\"",
                "How the very first start of this box behaves: `open` as the application's browsers do, or `muted`.",
            ),
            key(
                "apply",
                Kind::Word(|| values::names(values::APPLY)),
                "\"idle\"",
                "When a changed setting that would interrupt a meeting (another server or meeting, another device) comes into \
                 effect: `idle`, as soon as nobody else is in the meeting, or `now`.",
            ),
        ],
        "The box itself.",
    ),
    table(
        "signaling",
        &[
            key(
                "url",
                Kind::Text(&ORIGIN),
                "\"https://meet.example.org\"",
                "The application's server. Needed with a meeting.",
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
        ],
        "The application's server and the box's place in it.",
    ),
    Key {
        name: "ice_servers",
        kind: Kind::Tables(&[
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
        ]),
        about: "STUN and TURN servers, each with a table of its own. There are none by default: a box calls nobody it \
                was not told to.",
        example: "",
    },
    table(
        "ice",
        &[
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
        ],
        "Which paths media may take.",
    ),
    table("camera", VIDEO_SOURCE, "Where the picture comes from."),
    table(
        "screen",
        &[
            key(
                "device",
                Kind::Text(&VIDEO_DEVICE),
                "\"/dev/v4l/by-id/usb-Example_Capture-video-index0\"",
                "The device. Simulated ones need `huddled run --allow-sim`.",
            ),
            key(
                "bitrate",
                whole(50_000, 4_000_000),
                "1_000_000",
                "Bits per second, beside those of the camera. It is sent as 1280x720 at 15 pictures per second.",
            ),
            key(
                "on_signal",
                Kind::Boolean,
                "false",
                "Share as soon as the device delivers a picture (a cable was plugged in), and end when it does not. \
                 The device is looked at every two seconds.",
            ),
            PPM,
        ],
        "What the share button shows: a capture device with a computer's picture.",
    ),
    table(
        "microphone",
        &[
            key(
                "device",
                Kind::Text(&MICROPHONE_DEVICE),
                "\"hw:CARD=Device\"",
                "The device. Without one the box sends silence. Simulated ones need `huddled run --allow-sim`.",
            ),
            PPM,
        ],
        "Where the sound comes from.",
    ),
    table(
        "speaker",
        &[
            key(
                "device",
                Kind::Text(&SPEAKER_DEVICE),
                "\"hw:CARD=Device\"",
                "The device. Without one what is said in the meeting is not heard. Simulated ones need \
                 `huddled run --allow-sim`.",
            ),
            PPM,
        ],
        "Where the sound goes.",
    ),
    table(
        "display",
        &[key(
            "device",
            Kind::Word(|| values::names(values::DISPLAY)),
            "\"none\"",
            "The device.",
        )],
        "Where the pictures of the others go.",
    ),
    table(
        "video",
        &[
            key("width", even(160, 1920), "1280", "Pixels, an even number."),
            key("height", even(90, 1080), "720", "Pixels, an even number."),
            key("frame_rate", whole(1, 60), "30", "Pictures per second."),
            key(
                "bitrate",
                whole(50_000, 20_000_000),
                "1_500_000",
                "Bits per second.",
            ),
        ],
        "What the camera is encoded to.",
    ),
    table(
        "audio",
        &[key(
            "bitrate",
            whole(6_000, 128_000),
            "32_000",
            "Bits per second.",
        )],
        "What the microphone is encoded to.",
    ),
    table(
        "panel",
        &[
            key(
                "backend",
                Kind::Word(|| values::names(values::PANEL)),
                "\"chardev\"",
                "`rppal` (Raspberry Pi pins), `chardev` (GPIO lines of any board), `kernel` (keys and LEDs that the \
                 device tree describes), `sim:virtual` or `none`.",
            ),
            table(
                "buttons",
                &[
                    table("mic", LINE, "The microphone's button."),
                    table("camera", LINE, "The camera's button."),
                    table("share", LINE, "The screen share's button."),
                ],
                "The buttons that exist.",
            ),
            table(
                "leds",
                &[
                    table("mic", LINE, "The microphone's light."),
                    table("camera", LINE, "The camera's light."),
                    table("status", LINE, "The light of the box's state."),
                ],
                "The lights that exist.",
            ),
        ],
        "Buttons and lights.",
    ),
    table(
        "recovery",
        &[
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
        ],
        "How a lost connection to a member is won back.",
    ),
    table(
        "control",
        &[
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
        ],
        "How the box is looked at and told what to do.",
    ),
    table(
        "hub",
        &[
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
        ],
        "The embedded server, for rooms without the platform (`huddled hub`).",
    ),
    table(
        "remote",
        &[
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
        ],
        "A signed configuration that is fetched from a web server.",
    ),
];
