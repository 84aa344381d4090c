//! The address that a Gateway asks for.
//!
//! Only one of the pools that the installation names can be asked for: an address is the cluster's, and whoever may write
//! a Gateway must not be able to take one that somebody else is reached at.

use std::{net::IpAddr, str::FromStr};

use sluice_gateway_types::Gateway;

/// Addresses that Gateways may ask for, written `10.96.0.192/27`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPool {
    network: u128,
    mask: u128,
    is_v6: bool,
}

impl AddressPool {
    /// Pools that hold every address.
    pub const EVERYTHING: [Self; 2] =
        [Self { network: 0, mask: 0, is_v6: false }, Self { network: 0, mask: 0, is_v6: true }];

    /// Whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_v6 && bits(address) & self.mask == self.network
    }
}

impl FromStr for AddressPool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, length) = text.split_once('/').ok_or("an address and the length of its prefix are wanted")?;
        let address: IpAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
        let width = if address.is_ipv6() { 128 } else { 32 };
        let length: u32 = length.parse().map_err(|error| format!("{length}: {error}"))?;
        if length > width {
            return Err(format!("the prefix of {address} cannot be longer than {width}"));
        }
        let mask = u128::MAX.checked_shl(width - length).unwrap_or_default();
        let network = bits(address);
        if network & !mask != 0 {
            return Err(format!("{address} has bits set behind its prefix"));
        }
        Ok(Self { network, mask, is_v6: address.is_ipv6() })
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// What a Gateway says of the address that it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedAddress {
    /// It takes what it is given.
    Any,
    /// This one.
    Fixed(IpAddr),
    /// One that it cannot have, and why.
    Unusable(String),
}

/// The address that a Gateway wants. Those without a value ask for nothing in particular.
pub fn wanted(gateway: &Gateway, pools: &[AddressPool]) -> WantedAddress {
    let values = gateway.spec.addresses.iter().filter_map(|address| address.value.as_deref());
    let mut found = WantedAddress::Any;
    for value in values.filter(|value| !value.is_empty()) {
        let Ok(address) = value.parse::<IpAddr>() else {
            return WantedAddress::Unusable(format!("spec.addresses: {value} is not an IP address"));
        };
        if !pools.iter().any(|pool| pool.contains(address)) {
            let message = format!("spec.addresses: {value} is in no address pool of the proxy's controller");
            return WantedAddress::Unusable(message);
        }
        match found {
            WantedAddress::Fixed(other) if other != address => {
                let message = format!("spec.addresses: a Gateway can have one of {other} and {value}, not both");
                return WantedAddress::Unusable(message);
            }
            _ => found = WantedAddress::Fixed(address),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pool_holds_its_prefix() {
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
        for (pool, address, expected) in cases {
            let pool: AddressPool = pool.parse().unwrap();
            assert_eq!(pool.contains(address.parse().unwrap()), expected, "{address} in {pool:?}");
        }
    }

    #[test]
    fn what_is_no_pool_is_refused_with_what_is_wrong() {
        let cases = [
            ("10.96.0.1", "an address and the length of its prefix are wanted"),
            ("10.96.0.0/33", "the prefix of 10.96.0.0 cannot be longer than 32"),
            ("10.96.0.1/24", "10.96.0.1 has bits set behind its prefix"),
            ("web/24", "web: invalid IP address syntax"),
            ("10.96.0.0/x", "x: invalid digit found in string"),
        ];
        for (text, problem) in cases {
            assert_eq!(text.parse::<AddressPool>(), Err(problem.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_gateway_gets_an_address_of_a_pool_or_is_told_why_not() {
        let pools = ["10.96.0.192/27".parse().unwrap()];
        let fixed = |address: &str| WantedAddress::Fixed(address.parse().unwrap());
        let unusable = |message: &str| WantedAddress::Unusable(format!("spec.addresses: {message}"));
        let cases: [(&[&str], WantedAddress); 6] = [
            (&[], WantedAddress::Any),
            (&[""], WantedAddress::Any),
            (&["10.96.0.200", "", "10.96.0.200"], fixed("10.96.0.200")),
            (&["10.96.0.200", "10.96.0.9"], unusable("10.96.0.9 is in no address pool of the proxy's controller")),
            (
                &["10.96.0.200", "10.96.0.201"],
                unusable("a Gateway can have one of 10.96.0.200 and 10.96.0.201, not both"),
            ),
            (&["web.example.com"], unusable("web.example.com is not an IP address")),
        ];
        for (values, expected) in cases {
            let addresses: Vec<_> = values.iter().map(|value| json!({"value": value})).collect();
            let spec = json!({"gatewayClassName": "sluice", "addresses": addresses});
            let gateway: Gateway = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
            assert_eq!(wanted(&gateway, &pools), expected, "{values:?}");
        }
    }
}
