//! FLOOR 5: composition. Builds everything from the settings in one readable function, runs the driver,
//! carries out what the room orders.

#[cfg(feature = "hub")]
mod demo;
mod dispatch;
mod driver;
mod health;
#[cfg(feature = "hub")]
mod hub;
mod run;

#[cfg(feature = "hub")]
pub use demo::{DemoOptions, demo};
#[cfg(feature = "hub")]
pub use hub::{HubRun, HubTask, hub};
pub use run::{DemoPage, RunOptions, read_settings, run};
