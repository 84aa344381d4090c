//! Which port data planes bind for a port of a Gateway.
//!
//! Many Gateways want the same ports, and one data plane serves them all: each port of each Gateway is bound at a port of
//! its own, and the Gateway's Service maps one to the other. The mapping lives in the Services, so a restarted
//! controller reads it back instead of moving ports under running traffic.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use crate::control::objects::Name;

/// A port of a Gateway.
pub type GatewayPort = (Name, u16);

/// The ports that data planes bind.
#[derive(Clone, Debug)]
pub struct PortAllocations {
    /// None: the Gateway's own ports are bound, as without a cluster.
    range: Option<RangeInclusive<u16>>,
    bound: BTreeMap<GatewayPort, u16>,
}

impl PortAllocations {
    /// Allocates from a range, which should lie outside the node's ephemeral ports.
    pub fn from_range(range: RangeInclusive<u16>) -> Self {
        Self { range: Some(range), bound: BTreeMap::new() }
    }

    /// Binds each port as it is.
    pub fn identity() -> Self {
        Self { range: None, bound: BTreeMap::new() }
    }

    /// The port to bind; none when the range is used up.
    pub fn get(&self, gateway: &Name, port: u16) -> Option<u16> {
        if self.range.is_none() {
            return Some(port);
        }
        self.bound.get(&(gateway.clone(), port)).copied()
    }

    /// Makes the allocations those that are wanted. What `in_service` says (from the Services that exist) is kept as it
    /// is, also while nobody wants it: a Service still sends its traffic there.
    pub fn reconcile(&mut self, wanted: &BTreeSet<GatewayPort>, in_service: &BTreeMap<GatewayPort, u16>) {
        let Some(range) = self.range.clone() else { return };
        self.bound.retain(|port, _| wanted.contains(port) || in_service.contains_key(port));
        for (port, bind) in in_service {
            if range.contains(bind) && self.bound.get(port) != Some(bind) && !self.bound.values().any(|b| b == bind) {
                self.bound.insert(port.clone(), *bind);
            }
        }
        let mut taken: BTreeSet<u16> = self.bound.values().copied().collect();
        let mut free = range;
        for port in wanted {
            if self.bound.contains_key(port) {
                continue;
            }
            let Some(bind) = free.find(|candidate| !taken.contains(candidate)) else { return };
            taken.insert(bind);
            self.bound.insert(port.clone(), bind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(gateway: &str, port: u16) -> GatewayPort {
        (Name::new("shop", gateway), port)
    }

    #[test]
    fn each_port_gets_one_of_its_own_and_keeps_it() {
        let mut ports = PortAllocations::from_range(20_000..=20_009);
        ports.reconcile(&[port("a", 80), port("b", 80)].into(), &BTreeMap::new());
        let first = ports.get(&Name::new("shop", "b"), 80).unwrap();
        ports.reconcile(&[port("a", 80), port("a", 81), port("b", 80)].into(), &BTreeMap::new());
        assert_eq!(ports.get(&Name::new("shop", "b"), 80), Some(first));
        assert_ne!(ports.get(&Name::new("shop", "a"), 81), ports.get(&Name::new("shop", "a"), 80));
    }

    #[test]
    fn what_a_service_says_is_taken_over_after_a_restart() {
        let mut ports = PortAllocations::from_range(20_000..=20_009);
        ports.reconcile(&[port("a", 80), port("b", 80)].into(), &[(port("b", 80), 20_000)].into());
        assert_eq!(ports.get(&Name::new("shop", "b"), 80), Some(20_000));
        assert_eq!(ports.get(&Name::new("shop", "a"), 80), Some(20_001));
    }

    #[test]
    fn a_port_that_a_service_still_uses_is_not_given_away() {
        let mut ports = PortAllocations::from_range(20_000..=20_000);
        ports.reconcile(&BTreeSet::new(), &[(port("gone", 80), 20_000)].into());
        ports.reconcile(&[port("a", 80)].into(), &[(port("gone", 80), 20_000)].into());
        assert_eq!(ports.get(&Name::new("shop", "a"), 80), None);
        ports.reconcile(&[port("a", 80)].into(), &BTreeMap::new());
        assert_eq!(ports.get(&Name::new("shop", "a"), 80), Some(20_000));
    }
}
