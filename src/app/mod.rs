//! FLOOR 5: composition. Builds everything from the settings in one readable function, runs the driver,
//! carries out what the room orders.

mod configuration;
mod dispatch;
mod driver;
mod health;
mod reload;
mod run;

pub use configuration::{ConfigSource, Configuration, read_settings};
pub use run::{RunOptions, run};
