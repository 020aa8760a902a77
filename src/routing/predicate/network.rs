//! `inet` and `cidr`.

use std::cmp::Ordering;
use std::fmt;
// `core::net` is addresses, and nothing that opens one.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address and the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// A whole address, perhaps with `/bits`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().ok()?;
        let most = width(address);
        let bits = match bits {
            None => most,
            Some(bits) if !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
        };
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether a `cidr` can be it: nothing is set to the right of the prefix.
    pub(super) fn is_network(self) -> bool {
        prefix(self.address, self.bits) == bits_of(self.address)
    }

    /// As `inet`'s own order: networks, then prefix lengths, then addresses; IPv4 first.
    pub(super) fn compare(self, other: Self) -> Ordering {
        let family = self.address.is_ipv6().cmp(&other.address.is_ipv6());
        let common = self.bits.min(other.bits);
        family
            .then_with(|| prefix(self.address, common).cmp(&prefix(other.address, common)))
            .then_with(|| self.bits.cmp(&other.bits))
            .then_with(|| bits_of(self.address).cmp(&bits_of(other.address)))
    }
}

/// With the prefix's length, as `inet::text` has it.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Left-aligned in 128 bits.
fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(Ipv4Addr::to_bits(address)) << 96,
        IpAddr::V6(address) => Ipv6Addr::to_bits(address),
    }
}

fn prefix(address: IpAddr, bits: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    bits_of(address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_order() {
        let order = [
            "1.2.3.4",
            "10.0.0.0/8",
            "10.0.0.1/8",
            "10.0.0.0/16",
            "10.0.0.0",
            "10.0.0.1",
            "::1/64",
            "::",
            "::1",
            "fe80::1",
        ];
        let parsed: Vec<_> = order.iter().map(|text| Network::parse(text).unwrap()).collect();
        assert!(parsed.windows(2).all(|two| two[0].compare(two[1]).is_lt()), "{parsed:?}");
        for text in ["", "10.0.0", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1/+8", "::1/129", "010.0.0.1", "a"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        assert!(
            Network::parse("10.0.0.0/8").unwrap().is_network() && !Network::parse("10.0.0.1/8").unwrap().is_network()
        );
    }
}
