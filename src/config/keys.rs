//! The one table of all settings. The parser, the JSON schema and the documentation are made from it, so none of them
//! can say what the others do not.

mod devices;
mod forms;
mod servers;
mod services;

use super::values;
pub(super) use forms::Form;
use forms::{ID, PATH, PLAIN};

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
        servers::SIGNALING,
        "The application's server and the box's place in it.",
    ),
    Key {
        name: "ice_servers",
        kind: Kind::Tables(servers::ICE_SERVERS),
        about: "STUN and TURN servers, each with a table of its own. There are none by default: a box calls nobody it \
                was not told to.",
        example: "",
    },
    table("ice", servers::ICE, "Which paths media may take."),
    table(
        "camera",
        devices::VIDEO_SOURCE,
        "Where the picture comes from.",
    ),
    table(
        "screen",
        devices::SCREEN,
        "What the share button shows: a capture device with a computer's picture.",
    ),
    table(
        "microphone",
        devices::MICROPHONE,
        "Where the sound comes from.",
    ),
    table("speaker", devices::SPEAKER, "Where the sound goes."),
    table(
        "display",
        devices::DISPLAY,
        "Where the pictures of the others go.",
    ),
    table("video", devices::VIDEO, "What the camera is encoded to."),
    table(
        "audio",
        devices::AUDIO,
        "What the microphone is encoded to.",
    ),
    table("panel", devices::PANEL, "Buttons and lights."),
    table(
        "recovery",
        servers::RECOVERY,
        "How a lost connection to a member is won back.",
    ),
    table(
        "control",
        services::CONTROL,
        "How the box is looked at and told what to do.",
    ),
    table(
        "hub",
        services::HUB,
        "The embedded server, for rooms without the platform (`huddled hub`).",
    ),
    table(
        "remote",
        services::REMOTE,
        "A signed configuration that is fetched from a web server.",
    ),
];
