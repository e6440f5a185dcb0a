//! FLOOR 2: the part of the configuration that is fetched from elsewhere.
//!
//! A file and its minisign signature lie on any web server. Most of this is pure: [`verify`] says whether the bytes are
//! to be trusted, [`Record::judge`] whether they are to be tried, [`Policy`] when to look, and whether what is on trial
//! stays or goes. [`Server`] fetches, [`Store`] keeps.
//!
//! ```text
//!           signed, newer, allowed            joined under it
//!   good ---------------------------> trial -----------------> good
//!    ^                                  |  probation over, not joined, the last good server answers
//!    +----------------------------------+  or too many starts; its bytes are remembered as failed
//! ```

mod fetch;
mod policy;
mod record;
mod signature;
mod store;

pub use fetch::{Fetched, Server, answers};
pub use policy::{Looked, Order, Policy, Situation, Timing, Trial};
pub use record::{Digest, Failed, OnTrial, Record, Verdict, Version};
pub use signature::verify;
pub use store::{RemoteFile, Store};
