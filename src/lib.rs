//! huddled: puts a meeting room into peer-to-peer WebRTC meetings and keeps it there.

pub mod journal_budget;
pub mod room;

pub(crate) mod causes;
pub mod clock;
pub mod config;
pub mod events;
pub mod files;
pub mod manual;
pub mod web;
pub mod wire;

pub mod control;
pub mod devices;
pub mod host;
#[cfg(feature = "hub")]
pub mod hub;
pub mod remote;
pub mod socketio;

pub mod media;

pub mod rtc;

pub mod app;
