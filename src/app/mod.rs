//! FLOOR 5: composition. Builds everything from the settings in one readable function, runs the driver,
//! carries out what the room orders.

mod devices;
mod dispatch;
mod driver;
mod health;
mod run;

pub use devices::list_devices;
pub use run::{RunOptions, read_settings, run};
