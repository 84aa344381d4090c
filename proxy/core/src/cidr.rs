//! Networks, written as `10.96.0.192/27`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The addresses of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    length: u32,
}

impl Cidr {
    /// Networks that hold every address.
    pub const EVERYTHING: [Self; 2] = [
        Self { network: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), length: 0 },
        Self { network: IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), length: 0 },
    ];

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.network.is_ipv6() && bits(address) & mask(address, self.length) == bits(self.network)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (network, length) = text.split_once('/').ok_or("an address and the length of its prefix are wanted")?;
        let network: IpAddr = network.parse().map_err(|error| format!("{network}: {error}"))?;
        let length: u32 = length.parse().map_err(|error| format!("{length}: {error}"))?;
        let width = width(network);
        if length > width {
            return Err(format!("the prefix of {network} cannot be longer than {width}"));
        }
        if bits(network) & !mask(network, length) != 0 {
            return Err(format!("{network} has bits set behind its prefix"));
        }
        Ok(Self { network, length })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv6() { 128 } else { 32 }
}

/// The bits of a prefix of this length.
fn mask(address: IpAddr, length: u32) -> u128 {
    u128::MAX.checked_shl(width(address) - length).unwrap_or_default()
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

#[cfg(test)]
mod tests {
    use super::Cidr;

    #[test]
    fn a_network_holds_its_prefix() {
        let cases = [
            ("10.96.0.192/27", "10.96.0.192", true),
            ("10.96.0.192/27", "10.96.0.223", true),
            ("10.96.0.192/27", "10.96.0.224", false),
            ("10.96.0.192/32", "10.96.0.193", false),
            ("0.0.0.0/0", "203.0.113.7", true),
            ("0.0.0.0/0", "fd00::1", false),
            ("fd00::/64", "fd00::1", true),
            ("fd00::/64", "fd00:0:0:1::1", false),
            ("::/0", "fd00::1", true),
        ];
        for (network, address, expected) in cases {
            let network: Cidr = network.parse().expect("a network");
            assert_eq!(network.contains(address.parse().expect("an address")), expected, "{address} in {network}");
        }
        let everything = |address: &str| Cidr::EVERYTHING.iter().any(|all| all.contains(address.parse().expect("one")));
        assert!(everything("203.0.113.7") && everything("fd00::1"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_is_wrong() {
        let cases = [
            ("10.96.0.1", "an address and the length of its prefix are wanted"),
            ("10.96.0.0/33", "the prefix of 10.96.0.0 cannot be longer than 32"),
            ("10.96.0.1/24", "10.96.0.1 has bits set behind its prefix"),
            ("web/24", "web: invalid IP address syntax"),
            ("10.96.0.0/x", "x: invalid digit found in string"),
        ];
        for (text, problem) in cases {
            assert_eq!(text.parse::<Cidr>(), Err(problem.to_owned()), "{text}");
        }
    }

    #[test]
    fn it_is_sent_as_it_is_written() {
        for text in ["10.96.0.192/27", "fd00::/64", "0.0.0.0/0"] {
            let network: Cidr = serde_json::from_str(&format!("\"{text}\"")).expect("a network");
            assert_eq!(serde_json::to_string(&network).expect("JSON"), format!("\"{text}\""));
        }
        assert!(serde_json::from_str::<Cidr>("\"10.0.0.1/8\"").is_err());
    }
}
