//! The brain in virtual time: no sockets, no threads, no waiting.
#![allow(
    clippy::print_stdout,
    reason = "figures, shown on failure and on demand"
)]

mod bench;
mod mesh;
mod scenarios;
mod simulation;
mod world;
