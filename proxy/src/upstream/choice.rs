//! The choice among the endpoints of a backend, after the backend has been drawn.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use sluice_proxy_core::balance::{self, Balancing};
use sluice_proxy_core::outlier::{self, Standing};
use sluice_proxy_core::pick;

use super::Upstream;
use super::pool::{Endpoint, Pools};

/// What a request asks of the choice of its endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    /// Where its session was, which is taken if it is still there.
    pub(crate) kept: Option<SocketAddr>,
    /// What it has in common with others that are to have the same.
    pub(crate) key: Option<u64>,
}

impl Wishes {
    /// Those of a client of which nothing but its address is known; none where that is not asked for.
    pub(crate) fn of_client<C: AsRef<[u8]>>(upstream: Upstream<'_>, client: impl FnOnce() -> C) -> Option<Self> {
        let key = upstream.backend.traffic.as_ref()?.key(None, client().as_ref())?;
        Some(Self { kept: None, key: Some(key) })
    }
}

impl Pools {
    /// Picks the endpoint for a request: the one that its client is to keep, or the less loaded of two drawn at random, where
    /// failures count as load. Left out are `excluded` and, where there are others, those that have just refused a
    /// connection. None when there is no (other) endpoint.
    pub(crate) fn choose(
        &self,
        upstream: Upstream<'_>,
        wishes: Option<&Wishes>,
        excluded: Option<SocketAddr>,
        random: u64,
        now: u32,
    ) -> Option<Rc<Endpoint>> {
        let addresses = &*upstream.backend.endpoints;
        if addresses.is_empty() {
            return None;
        }
        let get = |position: usize| {
            let address = addresses[position % addresses.len()];
            (Some(address) != excluded).then(|| self.endpoint(upstream.backend.target(address), upstream.connector))
        };
        let is_usable =
            |endpoint: &Rc<Endpoint>| !endpoint.has_just_refused(now) && self.admits(upstream, endpoint, random, now);
        let usable = |position: usize| get(position).filter(is_usable);
        let kept = wishes.and_then(|wishes| wishes.kept);
        let place = kept.and_then(|kept| addresses.iter().position(|address| *address == kept));
        if let Some(endpoint) = place.and_then(usable) {
            return Some(endpoint);
        }
        let (one, other) = pick::two_of(addresses.len(), random);
        let balancing =
            upstream.backend.traffic.as_ref().map_or(&Balancing::LeastRequest, |traffic| &traffic.balancing);
        let picked = match (balancing, wishes.and_then(|wishes| wishes.key)) {
            (Balancing::Random, _) => usable(one),
            (Balancing::RoundRobin, _) => usable(self.turn(upstream, random)),
            (Balancing::ConsistentHash(_), Some(key)) => balance::ranked(key, addresses, usable),
            (Balancing::LeastRequest | Balancing::ConsistentHash(_), _) => match (usable(one), usable(other)) {
                (Some(one), Some(other)) if other.load(now) < one.load(now) => Some(other),
                (one, other) => one.or(other),
            },
        };
        picked.or_else(|| {
            let others = one..one + addresses.len();
            others.clone().find_map(usable).or_else(|| others.clone().find_map(get))
        })
    }

    /// Whether an endpoint gets a request by what the backend's rules about outliers make of its answers.
    fn admits(&self, upstream: Upstream<'_>, endpoint: &Endpoint, random: u64, now: u32) -> bool {
        let Some(rules) = upstream.backend.traffic.as_ref().and_then(|traffic| traffic.outliers.as_ref()) else {
            return true;
        };
        let mut record = endpoint.record.get();
        let mut standing = record.standing(rules, now);
        if standing == Standing::Suspect {
            let others = upstream.backend.endpoints.iter().filter_map(|address| self.known(upstream, *address));
            let out = others.filter(|other| other.record.get().standing(rules, now) == Standing::Out).count();
            if outlier::may_eject(rules, upstream.backend.endpoints.len(), out) {
                tracing::info!(address = %endpoint.target.address, "An endpoint that fails is left out");
                record.eject(rules, now);
                self.load.ejections.fetch_add(1, Relaxed);
                standing = Standing::Out;
            }
        }
        endpoint.record.set(record);
        standing.admits(random)
    }

    /// Whose turn it is among a backend's endpoints, beginning anywhere.
    fn turn(&self, upstream: Upstream<'_>, random: u64) -> usize {
        let mut turns = self.turns.borrow_mut();
        let turn = turns.entry(Arc::clone(&upstream.backend.id)).or_insert(random as usize);
        *turn = turn.wrapping_add(1);
        *turn % upstream.backend.endpoints.len()
    }
}
