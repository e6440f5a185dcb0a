//! FLOOR 5: composition. Builds everything from the settings in one readable function, runs the driver,
//! carries out what the room orders.

mod configuration;
#[cfg(feature = "hub")]
mod demo;
mod devices;
mod dispatch;
mod driver;
mod health;
#[cfg(feature = "hub")]
mod hub;
#[cfg(test)]
mod limits;
mod reload;
mod remote;
mod run;
mod safe_state;
mod selftest;

pub use configuration::{ConfigSource, Configuration, read_settings, warn_of_plain_http};
#[cfg(feature = "hub")]
pub use demo::{DemoOptions, demo};
pub use devices::list_devices;
#[cfg(feature = "hub")]
pub use hub::{HubRun, HubTask, hub};
pub use run::{DemoPage, RunOptions, run};
pub use safe_state::{safe_state, wait_without_lights};
pub use selftest::{Check, SelfTest, Verdict, document as selftest_document, passed};
