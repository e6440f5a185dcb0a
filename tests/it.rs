//! Integration tests, linked once.

mod config;
mod control;
mod daemon;
mod floors;
mod room;
mod rtc;
mod socketio;
mod wire;
