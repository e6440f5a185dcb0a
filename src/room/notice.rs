//! Facts for people: wording and level in one place.

use super::snapshot::PeerPhase;
use super::types::PeerId;

/// How urgent a notice is; the journal's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The operator must act.
    Error,
    /// Degraded and handled.
    Warn,
    /// What one would tell a colleague.
    Info,
    /// For engineers.
    Debug,
}

/// A sentence for the journal with the member it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Urgency.
    pub level: Level,
    /// The sentence.
    pub text: String,
    /// The member it is about; becomes the journal field `PEER`.
    pub peer: Option<PeerId>,
    /// What became of that member's connection: our decision and how many fast attempts it has taken; the journal fields `STATE`
    /// and `ATTEMPT`.
    pub story: Option<(PeerPhase, u32)>,
}
