//! Which addresses a member may make the box send checks to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::addresses::local_addresses;

/// The lowest port that checks go to. Browsers refuse lower ones too: services of the system listen there, while sockets and relays of
/// an honest member have high ports.
const LOWEST_PORT: u16 = 1024;

/// What the box can reach by its own addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::rtc) struct Reach {
    /// The machine has loopback alone, so box and browser meet there.
    loopback_alone: bool,
    /// An interface has a link-local IPv4 address (RFC 3927).
    link_local: bool,
    /// Local ways out of each family, IPv4 first; each pairs with each remote candidate of its family.
    pub(super) ways: [usize; 2],
}

impl Reach {
    /// Reads the addresses of the machine. `relays`: how many TURN servers give a way of their own.
    pub(in crate::rtc) fn now(relays: usize) -> Self {
        Self::of(local_addresses(), relays)
    }

    fn of(addresses: impl IntoIterator<Item = IpAddr>, relays: usize) -> Self {
        let mut reach = Self {
            loopback_alone: true,
            ..Self::default()
        };
        for address in addresses {
            match address {
                IpAddr::V4(v4) if v4.is_link_local() => reach.link_local = true,
                IpAddr::V6(v6) if v6.is_unicast_link_local() => {}
                _ if address.is_loopback() || address.is_unspecified() => {}
                _ => {
                    reach.loopback_alone = false;
                    reach.ways[family(address)] += 1;
                }
            }
        }
        reach.ways[0] += relays;
        reach
    }

    /// Whether checks may go there.
    pub(in crate::rtc) fn allows(&self, target: SocketAddr) -> bool {
        target.port() >= LOWEST_PORT
            && match target.ip() {
                IpAddr::V4(v4) => self.allows_v4(v4),
                IpAddr::V6(v6) => allows_v6(v6),
            }
    }

    fn allows_v4(&self, address: Ipv4Addr) -> bool {
        if address.is_loopback() {
            return self.loopback_alone;
        }
        if address.is_link_local() {
            return self.link_local;
        }
        is_public_or_private(address)
    }
}

/// 0 for IPv4, 1 for IPv6.
pub(super) fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

/// Unicast and not bound to this host or link. Broadcast of a subnet is left to the kernel, which refuses it to a socket without
/// `SO_BROADCAST`.
fn is_public_or_private(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    // "This network", loopback, multicast and what is reserved, 255.255.255.255 with it (RFC 6890).
    !matches!(first, 0 | 127 | 224..=255) && !address.is_link_local()
}

/// Link-local addresses need a scope, which a candidate cannot name. An address that holds one of IPv4 must hold an allowed one.
fn allows_v6(address: Ipv6Addr) -> bool {
    if address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unicast_link_local()
    {
        return false;
    }
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let bits = (u32::from(high) << 16) | u32::from(low);
        is_public_or_private(Ipv4Addr::from_bits(bits))
    };
    match [a, b, c, d, e, f] {
        // Mapped, compatible and translated addresses (RFC 4291 section 2.5.5, RFC 2765): no candidate has one (RFC 8445 section 5.1.1.1).
        [0, 0, 0, 0, 0, _] | [0, 0, 0, 0, 0xffff, 0] => false,
        // NAT64 (RFC 6052) and its local prefix (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, ..] => embedded(g, h),
        // 6to4 (RFC 3056).
        [0x2002, ..] => embedded(b, c),
        // ISATAP (RFC 5214).
        [_, _, _, _, 0 | 0x200, 0x5efe] => embedded(g, h),
        // Teredo (RFC 4380) and site-local addresses (RFC 3879), both given up.
        [0x2001, 0, ..] | [0xfec0..=0xfeff, ..] => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(addresses: &[&str]) -> Reach {
        Reach::of(addresses.iter().map(|text| text.parse().unwrap()), 0)
    }

    fn allowed(reach: &Reach, address: &str) -> bool {
        reach.allows(SocketAddr::new(address.parse().unwrap(), 50_000))
    }

    #[test]
    fn addresses_of_this_host_this_link_and_of_many_are_refused_in_every_spelling() {
        let office = reach(&["127.0.0.1", "::1", "10.0.0.5", "fe80::5", "2001:db8::5"]);
        for address in [
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.251",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "::ffff:10.0.0.9",
            "::ffff:0:127.0.0.1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::fb",
            "ff0e::1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::224.0.0.1",
            "64:ff9b:1::127.0.0.1",
            "2002:7f00:1::1",
            "2001:0:7f00:1::1",
            "2001:db8::5efe:127.0.0.1",
            "2001:db8::200:5efe:127.0.0.1",
        ] {
            assert!(!allowed(&office, address), "{address}");
        }
        for address in [
            "10.0.0.9",
            "172.16.4.4",
            "192.168.1.7",
            "100.64.0.9",
            "203.0.113.9",
            "2001:db8::9",
            "fd00::9",
            "64:ff9b::203.0.113.9",
            "2002:cb00:7109::1",
        ] {
            assert!(allowed(&office, address), "{address}");
        }
    }

    #[test]
    fn loopback_serves_a_machine_that_has_nothing_else_and_link_local_one_that_has_it() {
        let alone = reach(&["127.0.0.1", "::1"]);
        assert!(allowed(&alone, "127.0.0.1") && allowed(&alone, "127.0.0.2"));
        assert!(!allowed(&alone, "::1"), "the box binds 127.0.0.1 there");
        assert!(!allowed(&alone, "::ffff:127.0.0.1"));
        assert!(allowed(&reach(&["169.254.3.4"]), "169.254.9.9"));
        assert!(!allowed(&reach(&["169.254.3.4", "10.0.0.5"]), "127.0.0.1"));
    }

    #[test]
    fn low_ports_are_refused() {
        let office = reach(&["10.0.0.5"]);
        for (port, is_allowed) in [
            (0, false),
            (53, false),
            (443, false),
            (1023, false),
            (1024, true),
        ] {
            assert_eq!(
                office.allows(SocketAddr::from(([10, 0, 0, 9], port))),
                is_allowed,
                "{port}"
            );
        }
    }

    #[test]
    fn ways_out_are_counted_by_family() {
        let reach = Reach::of(
            [
                "127.0.0.1",
                "10.0.0.5",
                "192.168.1.5",
                "fe80::1",
                "2001:db8::5",
            ]
            .map(|text| text.parse().unwrap()),
            2,
        );
        assert_eq!(reach.ways, [4, 1]);
    }
}
