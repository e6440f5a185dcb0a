//! The kernel's names of keys and switches (`linux/input-event-codes.h`) that a panel may have.

/// What a button of backend `kernel` is in the input subsystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputCode {
    /// `EV_KEY`: pressed and released.
    Key(u16),
    /// `EV_SW`: stands at one of two positions; on is closed.
    Switch(u16),
}

/// `KEY_MAX`.
const LAST_KEY: u16 = 0x2ff;

/// What device trees use for buttons of such boxes; any other key goes by its number.
const NAMES: &[(&str, InputCode)] = &[
    ("KEY_MICMUTE", InputCode::Key(248)),
    ("KEY_MUTE", InputCode::Key(113)),
    ("KEY_CAMERA", InputCode::Key(212)),
    ("KEY_CAMERA_ACCESS_TOGGLE", InputCode::Key(0x24d)),
    ("KEY_SCREEN", InputCode::Key(0x177)),
    ("KEY_PRESENTATION", InputCode::Key(425)),
    ("KEY_VIDEOPHONE", InputCode::Key(0x1a0)),
    ("KEY_PROG1", InputCode::Key(148)),
    ("KEY_PROG2", InputCode::Key(149)),
    ("KEY_PROG3", InputCode::Key(202)),
    ("KEY_PROG4", InputCode::Key(203)),
    ("KEY_F13", InputCode::Key(183)),
    ("KEY_F14", InputCode::Key(184)),
    ("KEY_F15", InputCode::Key(185)),
    ("BTN_0", InputCode::Key(0x100)),
    ("BTN_1", InputCode::Key(0x101)),
    ("BTN_2", InputCode::Key(0x102)),
    ("BTN_3", InputCode::Key(0x103)),
    ("SW_MUTE_DEVICE", InputCode::Switch(0x0e)),
];

impl InputCode {
    /// Of a name, or of a key's number.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, code)| *code).or_else(|| {
            let number = name.parse().ok().filter(|code| *code <= LAST_KEY)?;
            Some(Self::Key(number))
        })
    }

    /// The name to put into a configuration, where there is one.
    pub fn name(self) -> Option<&'static str> {
        let known = NAMES.iter().find(|(_, code)| *code == self);
        known.map(|(name, _)| *name)
    }

    /// All names, for a message.
    pub(super) fn names() -> String {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood_and_nothing_else() {
        for (text, expected) in [
            ("KEY_MICMUTE", Some(InputCode::Key(248))),
            ("SW_MUTE_DEVICE", Some(InputCode::Switch(14))),
            ("30", Some(InputCode::Key(30))),
            ("767", Some(InputCode::Key(767))),
            ("768", None),
            ("-1", None),
            ("key_micmute", None),
            ("GPIO17", None),
        ] {
            assert_eq!(InputCode::from_name(text), expected, "{text}");
        }
        for (name, code) in NAMES {
            assert_eq!(code.name(), Some(*name));
        }
        assert_eq!(InputCode::Key(1).name(), None);
    }
}
