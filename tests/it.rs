//! Integration tests, linked once.

mod config;
mod control;
mod floors;
mod room;
mod rtc;
mod socketio;
mod wire;
