//! Integration tests, linked once.

mod config;
mod control;
mod floors;
mod rtc;
mod socketio;
mod wire;
