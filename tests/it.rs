//! Integration tests, linked once.

mod config;
mod control;
mod wire;
