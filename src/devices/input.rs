//! The kernel's input devices: keys and switches that a device tree or a driver describes (evdev).
//!
//! What a device has is read from sysfs, so that no keyboard is opened to find out that it is none of ours. The ioctls
//! and the layout of an event are those of `linux/input.h`; a crate for them would bring more code than the three calls
//! that are needed, and the usual one cannot set the clock.

mod lens;

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock;
use crate::config::InputCode;
use crate::room::Timestamp;

pub use lens::{LensSink, LensWatch};

/// Where the kernel says what a device has.
const CLASS: &str = "/sys/class/input";
/// `SW_CAMERA_LENS_COVER`.
pub(super) const LENS_COVER: InputCode = InputCode::Switch(0x09);
/// Events that one read takes at most.
const AT_ONCE: usize = 32;
/// Bytes of a `struct input_event`: two words of time, type, code, value.
const EVENT: usize = 2 * WORD + 8;
const WORD: usize = size_of::<usize>();

const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const EV_SW: u16 = 5;
const SYN_DROPPED: u16 = 3;

/// `EVIOCGKEY`, `EVIOCGSW` and `EVIOCSCLOCKID` without the size of what they pass.
const GET_KEYS: u32 = 0x8000_4518;
const GET_SWITCHES: u32 = 0x8000_451b;
const SET_CLOCK: u32 = 0x4000_45a0;

/// `ioctl(2)` with a request that reads or writes at most the bytes given; their number goes into the request.
fn ioctl(file: &File, request: u32, bytes: &mut [u8]) -> Result<(), Error> {
    let request = request | (bytes.len() as u32) << 16;
    // SAFETY: the descriptor is open, and the kernel touches at most as many bytes as the request says, which are ours.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, bytes.as_mut_ptr()) };
    match result {
        0.. => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

/// Whether there is something to read, within `longest`.
fn is_readable(file: &File, longest: Duration) -> Result<bool, Error> {
    let mut one = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let millis = i32::try_from(longest.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: `one` is one valid pollfd, exclusively borrowed.
    #[allow(unsafe_code)]
    let ready = unsafe { libc::poll(&mut one, 1, millis) };
    match ready {
        0.. => Ok(ready > 0),
        _ => Err(Error::last_os_error()),
    }
}

/// An input device that may be a panel, for `huddled devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputInfo {
    /// What `chip` may be.
    pub name: String,
    /// What `line` may be: of the keys and switches that have a name.
    pub lines: Vec<&'static str>,
    /// It says whether the camera's lens is covered.
    pub has_lens_cover: bool,
}

/// The devices that have a key or switch with a name, or a lens cover.
pub(super) fn list() -> Vec<InputInfo> {
    events()
        .into_iter()
        .map(|event| InputInfo {
            lines: event
                .codes()
                .filter_map(InputCode::name)
                .collect::<Vec<_>>(),
            has_lens_cover: event.has(LENS_COVER),
            name: event.name,
        })
        .filter(|info| !info.lines.is_empty() || info.has_lens_cover)
        .collect()
}

/// What sysfs says of an event device.
struct EventDevice {
    /// `event3`.
    node: String,
    name: String,
    keys: Vec<u8>,
    switches: Vec<u8>,
}

/// The event devices there are, in the order of their numbers.
fn events() -> Vec<EventDevice> {
    let mut numbers: Vec<u32> = std::fs::read_dir(CLASS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("event")?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
        .into_iter()
        .filter_map(|number| {
            let node = format!("event{number}");
            let device = Path::new(CLASS).join(&node).join("device");
            let read = |file: &str| std::fs::read_to_string(device.join(file)).ok();
            Some(EventDevice {
                node,
                name: read("name")?.trim().to_owned(),
                keys: bitmap(&read("capabilities/key")?),
                switches: bitmap(&read("capabilities/sw")?),
            })
        })
        .collect()
}

/// Reads words such as `40000 800 0`: the most significant first, each a word of this machine.
fn bitmap(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .rev()
        .flat_map(|word| usize::from_str_radix(word, 16).unwrap_or(0).to_le_bytes())
        .collect()
}

fn bit(bytes: &[u8], code: u16) -> bool {
    bytes
        .get(usize::from(code / 8))
        .is_some_and(|byte| byte >> (code % 8) & 1 == 1)
}

impl EventDevice {
    fn has(&self, code: InputCode) -> bool {
        match code {
            InputCode::Key(code) => bit(&self.keys, code),
            InputCode::Switch(code) => bit(&self.switches, code),
        }
    }

    fn codes(&self) -> impl Iterator<Item = InputCode> {
        let keys = (0..self.keys.len() as u16 * 8).map(InputCode::Key);
        let switches = (0..self.switches.len() as u16 * 8).map(InputCode::Switch);
        keys.chain(switches).filter(|code| self.has(*code))
    }

    fn title(&self) -> String {
        format!("input device \"{}\" ({})", self.name, self.node)
    }
}

/// One key or switch of an open device.
pub(super) struct Line {
    file: File,
    title: String,
    code: InputCode,
    /// As it was told last.
    active: bool,
    /// Read and not yet looked at.
    waiting: Vec<u8>,
    /// Events were lost and the state was read anew; the rest of that packet means nothing.
    lost: bool,
}

impl Line {
    /// Opens the device of this name, else the first one, that has this key or switch. The error is a sentence that
    /// names it.
    pub(super) fn open(device: Option<&str>, code: InputCode, name: &str) -> Result<Self, String> {
        let there = events();
        let named = |event: &&EventDevice| device.is_none_or(|name| event.name == name);
        if let Some(wanted) = device
            && !there.iter().any(|event| event.name == wanted)
        {
            let names: Vec<String> = there.iter().map(|e| format!("\"{}\"", e.name)).collect();
            let names = match names.is_empty() {
                true => "none at all".to_owned(),
                false => names.join(", "),
            };
            return Err(format!(
                "no input device is called \"{wanted}\"; there is {names}"
            ));
        }
        let found = there.iter().filter(named).find(|event| event.has(code));
        let Some(event) = found else {
            let whose = match device {
                Some(device) => format!("input device \"{device}\" has no {name}"),
                None => format!("no input device has {name}"),
            };
            return Err(format!("{whose}; `huddled devices` lists what there is"));
        };
        Self::open_event(event, code)
    }

    fn open_event(event: &EventDevice, code: InputCode) -> Result<Self, String> {
        let title = event.title();
        let path = PathBuf::from("/dev/input").join(&event.node);
        let said = |error: Error| format!("{title}: {}", hint(&error));
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(said)?;
        ioctl(&file, SET_CLOCK, &mut libc::CLOCK_MONOTONIC.to_ne_bytes()).map_err(said)?;
        let mut line = Self {
            file,
            title,
            code,
            active: false,
            waiting: Vec::new(),
            lost: false,
        };
        line.active = line.read_state()?;
        Ok(line)
    }

    /// Pressed, or standing at on, when it was opened or by the last event.
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    fn failed(&self, error: &Error) -> String {
        format!("{}: {}", self.title, hint(error))
    }

    /// As the kernel knows it now.
    fn read_state(&self) -> Result<bool, String> {
        let mut state = [0; 96];
        let (request, code) = match self.code {
            InputCode::Key(code) => (GET_KEYS, code),
            InputCode::Switch(code) => (GET_SWITCHES, code),
        };
        ioctl(&self.file, request, &mut state).map_err(|error| self.failed(&error))?;
        Ok(bit(&state, code))
    }

    /// The next change: whether it became active, and when by the kernel. `None` after `longest`.
    pub(super) fn wait(&mut self, longest: Duration) -> Result<Option<(bool, Timestamp)>, String> {
        let deadline = clock::monotonic() + longest;
        loop {
            if let Some(change) = self.take_change()? {
                return Ok(Some(change));
            }
            let left = deadline.since(clock::monotonic());
            match is_readable(&self.file, left) {
                Ok(true) => self.read()?,
                Ok(false) if left.is_zero() => return Ok(None),
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let mut bytes = [0; AT_ONCE * EVENT];
        match self.file.read(&mut bytes) {
            Ok(count) => self.waiting.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(self.failed(&error)),
        }
        Ok(())
    }

    /// The next change among what was read.
    fn take_change(&mut self) -> Result<Option<(bool, Timestamp)>, String> {
        while self.waiting.len() >= EVENT {
            let rest = self.waiting.split_off(EVENT);
            let Some(event) = Event::parse(&std::mem::replace(&mut self.waiting, rest)) else {
                continue;
            };
            let active = match (event.kind, event.code) {
                (EV_SYN, SYN_DROPPED) => {
                    self.lost = true;
                    continue;
                }
                // The end of what was lost: what counts is how it is now.
                (EV_SYN, _) if std::mem::take(&mut self.lost) => self.read_state()?,
                _ if self.lost => continue,
                _ => match event.of(self.code) {
                    Some(active) => active,
                    None => continue,
                },
            };
            if active != self.active {
                self.active = active;
                return Ok(Some((active, event.at)));
            }
        }
        Ok(None)
    }
}

/// A `struct input_event`.
struct Event {
    at: Timestamp,
    kind: u16,
    code: u16,
    value: i32,
}

impl Event {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = bytes.get(at..at + WORD)?.try_into().ok()?;
            Some(usize::from_ne_bytes(bytes) as u64)
        };
        let half = |at: usize| {
            let bytes = bytes.get(at..at + 2)?.try_into().ok()?;
            Some(u16::from_ne_bytes(bytes))
        };
        let (seconds, micros) = (word(0)?, word(WORD)?);
        let at = Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros));
        let value = bytes.get(2 * WORD + 4..EVENT)?.try_into().ok()?;
        Some(Self {
            at: Timestamp::from_duration(at),
            kind: half(2 * WORD)?,
            code: half(2 * WORD + 2)?,
            value: i32::from_ne_bytes(value),
        })
    }

    /// What it says of this key or switch. A key that repeats itself is still pressed.
    fn of(&self, wanted: InputCode) -> Option<bool> {
        let (kind, code) = match wanted {
            InputCode::Key(code) => (EV_KEY, code),
            InputCode::Switch(code) => (EV_SW, code),
        };
        (self.kind == kind && self.code == code).then_some(self.value != 0)
    }
}

/// What the system said, with what to do where that is known.
fn hint(error: &Error) -> String {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => format!(
            "{error}; the user of huddled must be in the group that owns it, which is input"
        ),
        Some(libc::ENODEV) => format!("{error}; unplugged"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(7usize.to_ne_bytes());
        bytes.extend(250_000usize.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    fn line(code: InputCode) -> (Line, std::io::PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        let line = Line {
            file: File::from(std::os::fd::OwnedFd::from(reader)),
            title: "input device \"test\"".to_owned(),
            code,
            active: false,
            waiting: Vec::new(),
            lost: false,
        };
        (line, writer)
    }

    #[test]
    fn an_event_is_as_long_as_the_kernel_has_it() {
        assert_eq!(EVENT, size_of::<libc::input_event>());
    }

    #[test]
    fn a_bitmap_of_sysfs_begins_with_its_most_significant_word() {
        let words = if WORD == 8 {
            "1 0 0 100000000000000 0 0 0"
        } else {
            "1 0 0 0 0 1000000 0 0 0 0 0 0 0"
        };
        let bytes = bitmap(words);
        assert!(bit(&bytes, 248));
        assert!(bit(&bytes, 384));
        assert!(!bit(&bytes, 249) && !bit(&bytes, 5000));
        assert!(!bit(&bitmap("nonsense"), 0));
    }

    #[test]
    fn changes_come_once_with_kernel_time_and_repeats_do_not() {
        let (mut line, mut kernel) = line(InputCode::Key(248));
        for (code, value) in [(248, 1), (30, 1), (248, 2), (248, 2), (248, 0)] {
            kernel.write_all(&event(EV_KEY, code, value)).unwrap();
        }
        let patience = Duration::from_secs(20);
        let at = Timestamp::from_millis(7250);
        assert_eq!(line.wait(patience), Ok(Some((true, at))));
        assert_eq!(line.wait(patience), Ok(Some((false, at))));
        assert_eq!(line.wait(Duration::ZERO), Ok(None));
    }

    #[test]
    fn a_switch_is_no_key_of_the_same_number() {
        let (mut line, mut kernel) = line(InputCode::Switch(14));
        kernel.write_all(&event(EV_KEY, 14, 1)).unwrap();
        kernel.write_all(&event(EV_SW, 14, 1)).unwrap();
        let change = line.wait(Duration::from_secs(20)).unwrap().unwrap();
        assert!(change.0);
        assert_eq!(line.wait(Duration::ZERO), Ok(None));
    }

    #[test]
    fn after_lost_events_the_state_is_asked_for() {
        let (mut line, mut kernel) = line(InputCode::Key(248));
        for event in [
            event(EV_SYN, SYN_DROPPED, 0),
            event(EV_KEY, 248, 1),
            event(EV_SYN, 0, 0),
        ] {
            kernel.write_all(&event).unwrap();
        }
        // A pipe has no state to be asked for, which shows that it was.
        let error = line.wait(Duration::from_secs(20)).unwrap_err();
        assert!(error.starts_with("input device \"test\": "), "{error}");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = Line::open(Some("no such panel"), InputCode::Key(248), "KEY_MICMUTE")
            .err()
            .expect("refused");
        assert!(error.contains("\"no such panel\"; there is "), "{error}");
        let unlikely = InputCode::Key(0x2fe);
        let error = Line::open(None, unlikely, "766").err().expect("refused");
        assert!(error.contains("no input device has 766"), "{error}");
    }
}
