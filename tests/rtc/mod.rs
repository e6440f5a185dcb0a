//! Peer connections against each other, over real sockets.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod bench;
mod candidates;
mod channels;
mod closing;
mod feedback;
mod hostile;
mod media;
mod negotiation;
mod recovery;
mod relay;
mod share;
mod strangers;
mod wire;
