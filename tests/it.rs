//! Integration tests, linked once.

mod room;
