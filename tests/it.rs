//! Integration tests, linked once.

mod config;
mod control;
mod daemon;
mod floors;
#[cfg(feature = "hub")]
mod hub;
mod packaging;
mod room;
mod rtc;
mod socketio;
mod wire;
