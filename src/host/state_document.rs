//! The text of a state file, and reading one without trusting what lies at its name.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::room::PersistedState;

/// Format of the file; another one is not understood.
const VERSION: u32 = 1;
/// The longest file that is read, bytes. What this program writes has some 200.
const LONGEST: u64 = 64 * 1024;
/// Identity of the machine (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    muted: bool,
    camera_off: bool,
    place: String,
    /// Which machine wrote it. Files of version 0.1.0 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine: Option<String>,
}

/// What tells this machine from others: a hash of its machine id, since the id itself is not to be published. `None` on a
/// machine without one.
pub(super) fn machine() -> Option<String> {
    let id = std::fs::read_to_string(MACHINE_ID).ok()?;
    let id = id.trim();
    if id.len() != 32 {
        // Empty or "uninitialized": an image before its first boot.
        return None;
    }
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(b"huddled state file\n");
    context.update(id.as_bytes());
    let digest = context.finish();
    let bytes = &digest.as_ref()[..8];
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The text of a state file of this machine.
pub(super) fn write(state: &PersistedState, machine: Option<&str>) -> std::io::Result<String> {
    let document = Document {
        version: VERSION,
        muted: state.muted,
        camera_off: state.camera_off,
        place: state.place.clone(),
        machine: machine.map(str::to_owned),
    };
    toml::to_string(&document).map_err(std::io::Error::other)
}

/// What lies at the name of a state file.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// Nothing, not even a link.
    Nothing,
    /// A state that this machine wrote.
    State(PersistedState),
    /// Anything else, with the reason.
    Unusable(String),
}

/// Reads a state file. Links are not followed, and a pipe or a device does not make it wait.
pub(super) fn read(path: &Path, machine: Option<&str>) -> Found {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Found::Nothing,
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Found::Unusable("it is a symbolic link".to_owned());
        }
        Err(error) => return Found::Unusable(error.to_string()),
    };
    match file.metadata() {
        Ok(metadata) if !metadata.is_file() => {
            return Found::Unusable("it is no regular file".to_owned());
        }
        Ok(_) => {}
        Err(error) => return Found::Unusable(error.to_string()),
    }
    let mut text = String::new();
    if let Err(error) = file.take(LONGEST).read_to_string(&mut text) {
        return Found::Unusable(error.to_string());
    }
    match parse(&text, machine) {
        Ok(state) => Found::State(state),
        Err(reason) => Found::Unusable(reason),
    }
}

fn parse(text: &str, machine: Option<&str>) -> Result<PersistedState, String> {
    // `toml`'s message quotes the line; the file holds no secret.
    let document: Document = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let Document {
        version,
        muted,
        camera_off,
        place,
        machine: writer,
    } = document;
    if version != VERSION {
        return Err(format!("its version is {version}, not {VERSION}"));
    }
    if writer.is_some() && writer.as_deref() != machine {
        return Err("another machine wrote it".to_owned());
    }
    Ok(PersistedState {
        muted,
        camera_off,
        place,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> PersistedState {
        PersistedState {
            muted: false,
            camera_off: true,
            place: "p".to_owned(),
        }
    }

    #[test]
    fn a_state_is_that_of_the_machine_that_wrote_it() {
        let text = write(&state(), Some("one")).unwrap();
        assert_eq!(parse(&text, Some("one")), Ok(state()));
        assert!(parse(&text, Some("two")).is_err());
        assert!(parse(&text, None).is_err());
        // Version 0.1.0 named no machine.
        let text = write(&state(), None).unwrap();
        assert_eq!(parse(&text, Some("one")), Ok(state()));
    }
}
