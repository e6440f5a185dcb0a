//! FLOOR 1: the application's messages as JSON, in both of its dialects (`media:*` and `webrtc:*`).
//!
//! Reading is tolerant: unknown events and keys are ignored, two spellings of a name are one, what is only a hint may
//! be missing or nonsense. Writing is strict: one JSON object per event, exactly the documented keys. Both are pure.

mod read;
mod write;

pub use read::{Incoming, read};
pub use write::write;
