//! FLOOR 0: the brain, a value that is told facts and answers with orders. `std` only.

mod effect;
mod event;
mod message;
mod notice;
mod settings;
mod snapshot;
mod types;

pub use effect::*;
pub use event::*;
pub use message::*;
pub use notice::*;
pub use settings::*;
pub use snapshot::*;
pub use types::*;
