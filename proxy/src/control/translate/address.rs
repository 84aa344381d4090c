//! The address that a Gateway asks for.
//!
//! Only one of the pools that the installation names can be asked for: an address is the cluster's, and whoever may write
//! a Gateway must not be able to take one that somebody else is reached at.

use std::net::IpAddr;

use sluice_gateway_types::Gateway;
use sluice_proxy_core::cidr::Cidr;

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

/// The address that a Gateway wants, which must be of one of these pools. Those without a value ask for nothing in particular.
pub fn wanted(gateway: &Gateway, pools: &[Cidr]) -> WantedAddress {
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
