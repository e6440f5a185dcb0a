//! rtnetlink(7) and getifaddrs(3): whether something but this machine itself can be reached, and when that changes.
//!
//! The kernel's messages only wake: what they say is read from the system anew, so no message is taken apart, and one that was
//! lost costs nothing.

use std::collections::BTreeSet;
use std::io::Error;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use tokio::io::unix::AsyncFd;

use crate::events::EventSender;
use crate::room::Event;

/// What is told of: interfaces, addresses, routes.
const GROUPS: libc::c_int = libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV6_ROUTE;
/// Changes come in bursts (carrier, address, routes); this long after the first of one it is looked.
const SETTLE: Duration = Duration::from_millis(50);

/// What the machine can use: its addresses on interfaces with a carrier, and the ways out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reach {
    addresses: BTreeSet<(String, IpAddr)>,
    /// Default routes: interface and gateway, as `/proc/net` spells it.
    routes: BTreeSet<(String, String)>,
}

impl Reach {
    fn read() -> Result<Self, Errno> {
        let addresses = getifaddrs()?.filter_map(|interface| {
            let address = interface.address?;
            let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (None, Some(v6)) => IpAddr::V6(v6.ip()),
                (None, None) => return None,
            };
            is_usable(interface.flags, ip).then_some((interface.interface_name, ip))
        });
        // Under `self`, because the unit sees nothing else of /proc (ProcSubset=pid).
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        let mut routes = default_routes_v4(&text("/proc/self/net/route"));
        routes.extend(default_routes_v6(&text("/proc/self/net/ipv6_route")));
        Ok(Self {
            addresses: addresses.collect(),
            routes,
        })
    }
}

/// Leads somewhere: not to this machine, not without a carrier, and not to the wire's neighbours alone.
fn is_usable(flags: InterfaceFlags, ip: IpAddr) -> bool {
    let working = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let is_local = match ip {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    };
    flags.contains(working) && !flags.contains(InterfaceFlags::IFF_LOOPBACK) && !is_local
}

/// proc_net_route: interface, destination, gateway, ... in hexadecimal.
fn default_routes_v4(table: &str) -> BTreeSet<(String, String)> {
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (interface, destination, gateway) = (words.next()?, words.next()?, words.next()?);
        (destination == "00000000").then(|| (interface.to_owned(), gateway.to_owned()))
    });
    rows.collect()
}

/// Destination, its length, source, its length, next hop, metric, two counters, flags, interface.
fn default_routes_v6(table: &str) -> BTreeSet<(String, String)> {
    let rows = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (length, hop, interface) = (*words.get(1)?, *words.get(4)?, *words.get(9)?);
        (length == "00" && interface != "lo").then(|| (interface.to_owned(), hop.to_owned()))
    });
    rows.collect()
}

/// What is reported. A machine that never had a usable address meets others on itself (tests, a demonstration) and is up.
#[derive(Debug, Default)]
struct Watch {
    known: Reach,
    was_reachable: bool,
}

impl Watch {
    /// `Some`: whether the link is up, to be reported.
    fn look(&mut self, reach: Reach) -> Option<bool> {
        let changed = reach != self.known;
        let up = !reach.addresses.is_empty();
        self.was_reachable |= up;
        self.known = reach;
        (changed && self.was_reachable).then_some(up)
    }
}

/// The kernel's multicast groups.
struct Groups(AsyncFd<OwnedFd>);

impl Groups {
    fn open() -> Result<Self, Error> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS as u32))?;
        // SAFETY: the OwnedFd moves in and is closed by nobody else; its AsRawFd always names the same descriptor.
        #[allow(unsafe_code)]
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self(socket))
    }

    /// Waits for a change and takes everything that waits.
    async fn changed(&self) -> Result<(), Error> {
        let mut buffer = [0; 8192];
        loop {
            let mut ready = self.0.readable().await?;
            let mut taken = false;
            loop {
                match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                    // Without buffers some were lost, which is a change as well.
                    Ok(_) | Err(Errno::ENOBUFS) => taken = true,
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            if taken {
                return Ok(());
            }
        }
    }
}

/// Reports [`Event::LinkChanged`] for as long as it runs. A machine whose kernel does not tell counts as up, with a warning.
pub async fn watch_link(events: EventSender) {
    if let Err(error) = watch(&events).await {
        log::warn!(
            "changes of the network link cannot be seen ({error}); recovery goes by the packets alone"
        );
        events.report(Event::LinkChanged { up: true });
    }
}

async fn watch(events: &EventSender) -> Result<(), Error> {
    let groups = Groups::open()?;
    let mut watch = Watch::default();
    // What is there at the start is no change.
    let _ = watch.look(Reach::read()?);
    loop {
        groups.changed().await?;
        tokio::time::sleep(SETTLE).await;
        if let Some(up) = watch.look(Reach::read()?) {
            events.report(Event::LinkChanged { up });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(addresses: &[&str]) -> Reach {
        Reach {
            addresses: addresses
                .iter()
                .map(|ip| ("eth0".to_owned(), ip.parse().unwrap()))
                .collect(),
            routes: BTreeSet::new(),
        }
    }

    #[test]
    fn an_address_counts_with_a_carrier_and_beyond_the_machine_and_the_wire() {
        let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
        let usable = |flags, ip: &str| is_usable(flags, ip.parse().unwrap());
        assert!(usable(up, "192.0.2.1") && usable(up, "fd00::1"));
        assert!(
            !usable(InterfaceFlags::IFF_UP, "192.0.2.1"),
            "the cable is out"
        );
        assert!(!usable(up | InterfaceFlags::IFF_LOOPBACK, "192.0.2.1"));
        assert!(!usable(up, "fe80::1") && !usable(up, "169.254.1.1") && !usable(up, "127.0.0.2"));
    }

    #[test]
    fn default_routes_are_found_in_both_tables_and_nonsense_is_none() {
        let v4 = "Iface\tDestination\tGateway\nwlan0\t00000000\t010200C0\t0003\neth0\t000200C0\t00000000\nx\n";
        assert_eq!(
            default_routes_v4(v4),
            BTreeSet::from([("wlan0".into(), "010200C0".into())])
        );
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fe80 00000400 1 0 00000003 eth0\n{zero} 00 {zero} 00 {zero} ffffffff 1 0 00200200 lo\nx 00\n"
        );
        assert_eq!(
            default_routes_v6(&v6),
            BTreeSet::from([("eth0".into(), "fe80".into())])
        );
    }

    #[test]
    fn changes_are_reported_once_and_a_machine_by_itself_is_up() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(reach(&[])), None);
        assert_eq!(watch.look(reach(&["192.0.2.1"])), Some(true));
        assert_eq!(watch.look(reach(&["192.0.2.1"])), None);
        assert_eq!(
            watch.look(reach(&["192.0.2.7"])),
            Some(true),
            "another address"
        );
        assert_eq!(watch.look(reach(&[])), Some(false));
        assert_eq!(watch.look(reach(&[])), None);
    }

    #[tokio::test]
    async fn the_kernels_groups_can_be_joined_and_the_state_read() {
        let _groups = Groups::open().unwrap();
        Reach::read().unwrap();
    }
}
