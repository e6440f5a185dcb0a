//! Integration tests, linked once.

mod config;
mod wire;
