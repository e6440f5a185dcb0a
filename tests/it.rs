//! The one integration harness: everything that needs more than the crate itself. One binary, so that the media stack
//! is linked once.

mod socketio;
