//! FLOOR 0: the brain, a value that is told facts and answers with orders. `std` only.
//!
//! # The contract
//! [`Room::handle_event`] and [`Room::handle_timeout`] tell it a fact; [`Room::poll_effect`] hands out its orders;
//! [`Room::poll_timeout`] names the next deadline and its reason; [`Room::snapshot`] is what readers may know.
//!
//! # The law
//! One `handle_*`, then `poll_effect` until it is empty, then one timer for `poll_timeout`. Effects return nothing; an
//! effect that can fail has an event that reports it. There is no clock in here: time comes in as `now`, which never goes
//! backwards; randomness comes in as a seed. The same seed and the same events give the same effects.
//!
//! Whatever is addressed to a peer connection carries its [`Generation`], and every description its [`NegotiationId`], so
//! late callbacks are dropped by number. The folder refers to itself only through `super::`; `rustc --crate-type lib
//! src/room/mod.rs` compiles it alone, which proves that it leans on nothing.
#![deny(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::wildcard_enum_match_arm
)]

mod allowance;
mod backoff;
mod budget;
mod effect;
mod event;
mod gesture;
mod indicator;
mod keyframes;
mod liveness;
mod machine;
mod media;
mod message;
mod negotiation;
mod notice;
mod outbox;
mod peer;
mod roster;
mod sdp;
mod settings;
mod share;
mod signaling;
mod snapshot;
mod text;
mod types;

pub use allowance::{Allowance, Rate};
pub use effect::*;
pub use event::*;
pub use liveness::{STALL, START_UP};
pub use machine::{READY_BY, Room};
pub use message::*;
pub use notice::*;
pub use settings::*;
pub use snapshot::*;
pub use text::{NAME_COLUMNS, Shown, is_plain, one_line, shown};
pub use types::*;
