//! Somebody who means no good: a hostile member of a meeting, or strangers who hold everything a hub has.
//!
//! The tests run this program beside a box, a hub and honest members who must not notice (`tests/network/hostile.test.mjs`,
//! `tests/network/strangers.test.mjs`). It prints what it sent as one line of JSON. The same seed chooses the same attacks;
//! when each is sent depends on the machine.

#![allow(clippy::print_stdout, missing_docs)]

mod counts;
mod hub;
mod media;
mod member;
mod packets;
mod path;
mod random;
mod sdp;
mod signaling;
mod strangers;
mod stun;

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use tokio::task::LocalSet;

use crate::counts::Counts;

#[derive(Debug, Parser)]
#[command(about = "Attacks a box or a hub of the tests")]
struct Arguments {
    /// Chooses the attacks; by default from the clock, and printed.
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// How long to attack.
    #[arg(long, global = true, default_value_t = 60)]
    seconds: u64,
    #[command(subcommand)]
    attack: Attack,
}

#[derive(Debug, Subcommand)]
enum Attack {
    /// Joins by a guest link and attacks a box at every layer. Lines `ports ADDRESS:PORT ...` on standard input name the
    /// box's sockets to the stranger.
    Member {
        /// The hub's link for guests.
        #[arg(long)]
        link: String,
        /// User id of the box.
        #[arg(long)]
        target: String,
        /// User id of an honest member, to lie about.
        #[arg(long, default_value = "nobody")]
        victim: String,
        /// Datagrams per second, all layers together.
        #[arg(long, default_value_t = 2000)]
        datagrams: u64,
        /// Messages per second to the hub.
        #[arg(long, default_value_t = 120)]
        messages: u64,
    },
    /// Holds as much of a hub as it gives.
    Strangers {
        /// `IP:PORT` of the hub.
        #[arg(long)]
        hub: SocketAddr,
        /// The hub speaks TLS.
        #[arg(long)]
        tls: bool,
        /// Own addresses, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "127.0.0.1")]
        from: Vec<IpAddr>,
        /// Connections to hold at once.
        #[arg(long, default_value_t = 300)]
        connections: usize,
        /// New connections per second.
        #[arg(long, default_value_t = 100)]
        opened: u64,
    },
}

fn main() -> Result<()> {
    let Arguments {
        seed,
        seconds,
        attack,
    } = Arguments::parse();
    let seed = match seed {
        Some(seed) => seed,
        None => std::time::UNIX_EPOCH
            .elapsed()
            .context("the clock")?
            .as_nanos() as u64,
    };
    println!("seed {seed}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let counts = Counts::default();
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        match attack {
            Attack::Member {
                link,
                target,
                victim,
                datagrams,
                messages,
            } => {
                let orders = member::Orders {
                    hub: hub::Hub::from_link(&link)?,
                    target,
                    victim,
                    seconds,
                    seed,
                    datagrams,
                    messages,
                };
                member::run(orders, &counts).await
            }
            Attack::Strangers {
                hub,
                tls,
                from,
                connections,
                opened,
            } => {
                let orders = strangers::Orders {
                    hub,
                    tls,
                    from,
                    connections,
                    opened,
                    seconds,
                    seed,
                };
                strangers::run(&orders, &counts).await;
                Ok(())
            }
        }
    })?;
    println!("{}", counts.report(seed, seconds));
    // A reader of standard input that waits must not keep the program.
    std::process::exit(0);
}
