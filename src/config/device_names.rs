//! Names of devices that a library or the kernel interprets. Each is checked once, here, and the devices take the
//! checked type, so no other text reaches `snd_pcm_open` or `open`.

use std::fmt;

use super::document::printable;
use super::values::plain;

/// Name of an ALSA PCM without arguments that alsa-lib would interpret.
///
/// alsa-lib reads a PCM's name as a small language: `tee:SLAVE,'|COMMAND'` runs a command, `{ ... }` defines a PCM in
/// place, `file:` writes a file. This type holds plain names only:
///
/// ```text
/// NAME   = PLUGIN ":" ARGS / BARE
/// PLUGIN = "hw" / "plughw" / "sysdefault" / "default" / "dmix" / "dsnoop"
/// ARGS   = CARD [ "," N [ "," N ] ] / "CARD=" CARD [ ",DEV=" N ] [ ",SUBDEV=" N ]
/// CARD   = 1 to 15 of letters, digits, "_" and "-"; the first is no "-"   (a card's index or id)
/// N      = 1 to 3 digits
/// BARE   = 1 to 64 of letters, digits, "_" and "-"; the first is no "-"   (a PCM of the machine's ALSA configuration)
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundName(String);

/// Plug-ins that take a card and nothing else that could do harm.
const PLUGINS: [&str; 6] = ["hw", "plughw", "sysdefault", "default", "dmix", "dsnoop"];
/// Longest id of a card: `struct snd_card` has 16 bytes for it.
const LONGEST_CARD: usize = 15;
const LONGEST_BARE: usize = 64;

impl SoundName {
    /// Reads a name.
    ///
    /// # Errors
    /// The text is not of the grammar; a sentence with the grammar in short.
    pub fn parse(text: &str) -> Result<Self, String> {
        plain(text)?;
        let is_good = match text.split_once(':') {
            Some((plugin, arguments)) => PLUGINS.contains(&plugin) && is_card(arguments),
            None => is_word(text, LONGEST_BARE),
        };
        if is_good {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "\"{}\" is not the plain name of a sound device; write hw:CARD=ID,DEV=N, the same with plughw:, \
             sysdefault:, default:, dmix: or dsnoop:, or the bare name of a PCM that /etc/asound.conf defines",
            printable(text)
        ))
    }

    /// As alsa-lib takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SoundName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `ARGS` of the grammar.
fn is_card(arguments: &str) -> bool {
    let mut parts = arguments.split(',');
    let Some(first) = parts.next() else {
        return false;
    };
    if let Some(card) = first.strip_prefix("CARD=") {
        let mut next = parts.next();
        for key in ["DEV=", "SUBDEV="] {
            if let Some(number) = next.and_then(|part| part.strip_prefix(key)) {
                if !is_number(number) {
                    return false;
                }
                next = parts.next();
            }
        }
        return is_word(card, LONGEST_CARD) && next.is_none();
    }
    let numbers: Vec<_> = parts.collect();
    is_word(first, LONGEST_CARD) && numbers.len() <= 2 && numbers.into_iter().all(is_number)
}

fn is_word(text: &str, longest: usize) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=longest).contains(&text.len()) && text.bytes().all(good) && !text.starts_with('-')
}

fn is_number(text: &str) -> bool {
    (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Name of a V4L2 node: a path, or a name below `/dev/v4l/by-id`, `/dev/v4l/by-path` or `/dev`, without `.` and `..`.
///
/// What the name leads to is checked when it is opened: nothing but a video node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoName(String);

impl VideoName {
    /// Reads a name.
    ///
    /// # Errors
    /// The text is no such name; a sentence that says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        plain(text)?;
        if text.contains(char::is_whitespace) {
            return Err(format!(
                "\"{}\" is not a video device; write a node such as /dev/video0",
                printable(text)
            ));
        }
        let path = text.strip_prefix('/').unwrap_or(text);
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!(
                "\"{}\" is not a video device; write a node such as /dev/video0, without \".\", \"..\" and \"//\"",
                printable(text)
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// As the configuration has it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text alone shows that both name one node. Links need a look at the machine.
    pub fn is_spelled_like(&self, other: &Self) -> bool {
        self.leaf() == other.leaf()
    }

    /// Whether the name cannot lead out of `/dev` by its text.
    pub(super) fn is_below_dev(&self) -> bool {
        !self.0.starts_with('/') || self.0.starts_with("/dev/")
    }

    /// The name below the folders that are searched.
    fn leaf(&self) -> &str {
        let below = self.0.strip_prefix("/dev/").unwrap_or(&self.0);
        below
            .strip_prefix("v4l/by-id/")
            .or_else(|| below.strip_prefix("v4l/by-path/"))
            .unwrap_or(below)
    }
}

impl fmt::Display for VideoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_of_sound_devices_are_taken_as_they_are() {
        for name in [
            "default",
            "null",
            "pulse",
            "room_mic-2",
            "hw:0",
            "hw:0,0",
            "hw:1,0,3",
            "hw:Device",
            "hw:CARD=Device",
            "plughw:CARD=USB_Audio-1,DEV=0",
            "plughw:CARD=Loopback,DEV=0,SUBDEV=1",
            "hw:CARD=0,SUBDEV=1",
            "sysdefault:CARD=vc4hdmi0",
            "default:CARD=Device",
            "dmix:CARD=PCH,DEV=0",
            "dsnoop:1",
        ] {
            assert_eq!(SoundName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn no_name_carries_anything_for_an_interpreter() {
        let long = "a".repeat(LONGEST_BARE + 1);
        for name in [
            "tee:null,'|touch /tmp/x',raw",
            "tee:hw:0,'|id'",
            "tee:SLAVE=null,FILE='|id',FORMAT=raw",
            "file:/tmp/x,raw",
            "file:FILE=/tmp/x,FORMAT=raw",
            "plug:hw:0",
            "plug:default",
            "plug:'tee:null,x'",
            "plug:{SLAVE=\"hw:0\"}",
            "{ type file slave.pcm null file '|id' }",
            "hw:{CARD 0}",
            "hw:CARD='0'",
            "hw:CARD=\"0\"",
            "hw:CARD=@func",
            "hw:$CARD",
            "hw:0,0,0,0",
            "hw:0,DEV=0",
            "hw:DEV=0",
            "hw:CARD=0,DEV=0,DEV=1",
            "hw:CARD=0,SUBDEV=0,DEV=1",
            "hw:CARD=0,",
            "hw:CARD=",
            "hw:",
            "hw:-1",
            "hw:0,-1",
            "hw:0,0x1",
            "hw:0,1234",
            "hw:ABCDEFGHIJKLMNOP",
            "hw:/dev/snd/controlC0",
            "hw: 0",
            " hw:0",
            "hw:0\n",
            "hw:0:1",
            "HW:0",
            "front:CARD=PCH",
            "shm:SOCKET=/tmp/x,PCM=default",
            "defaults.pcm.card",
            "pcm.tee",
            "-x",
            "a b",
            "naïve",
            "a|b",
            "a;b",
            "a'b",
            &long,
        ] {
            let problem = SoundName::parse(name).expect_err(name);
            let says_what_to_do = problem.contains("hw:CARD=ID") || problem.contains("one line");
            assert!(says_what_to_do, "{problem}");
        }
    }

    #[test]
    fn one_node_has_many_spellings() {
        let name = |text: &str| VideoName::parse(text).unwrap();
        for (one, other, expected) in [
            ("/dev/video0", "video0", true),
            ("/dev/v4l/by-id/usb-x", "usb-x", true),
            ("v4l/by-id/usb-x", "/dev/v4l/by-id/usb-x", true),
            ("/dev/video0", "/dev/video1", false),
            ("/srv/video0", "/dev/video0", false),
        ] {
            assert_eq!(name(one).is_spelled_like(&name(other)), expected, "{one}");
        }
        for bad in [
            "",
            "/",
            "my camera",
            "../video0",
            "/dev/../etc/x",
            "/dev/./video0",
            "/dev//video0",
            "a\0",
        ] {
            assert!(VideoName::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_sound_name_has_no_character_of_alsas_syntax(text in ".{0,80}") {
            if let Ok(name) = SoundName::parse(&text) {
                let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:,=".contains(&byte);
                proptest::prop_assert!(name.as_str().bytes().all(good));
            }
        }
    }
}
