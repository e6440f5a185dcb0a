//! FLOOR 1: the configuration. Text in, types out; pure.

mod settings;

pub use settings::*;
