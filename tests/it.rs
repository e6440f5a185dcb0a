//! Integration tests, linked once.

mod config;
mod floors;
mod wire;
