//! Integration tests, linked once.

mod config;
