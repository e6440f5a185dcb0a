//! The brain in virtual time: no sockets, no threads, no waiting.

mod bench;
mod mesh;
mod scenarios;
mod simulation;
mod world;
