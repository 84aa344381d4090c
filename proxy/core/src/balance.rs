//! How the requests of a backend are spread over its endpoints, compiled; and the endpoint for what requests have in common.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::model;
use crate::session::cookies;

/// What is said of a backend's endpoints.
#[derive(Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Which endpoint gets a request.
    pub balancing: Balancing,
    /// When an endpoint is left out.
    pub outliers: Option<model::Outliers>,
    /// How long an endpoint may take to take a connection.
    pub connect_timeout: Option<Duration>,
    /// Requests on one connection.
    pub requests_per_connection: Option<u32>,
}

/// Which endpoint gets a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Balancing {
    /// The less loaded of two.
    LeastRequest,
    /// Any.
    Random,
    /// One after the other.
    RoundRobin,
    /// The same for what has this in common.
    ConsistentHash(HashOn),
}

/// What requests have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// A header.
    Header(HeaderName),
    /// A cookie.
    Cookie(Box<str>),
    /// The client's address.
    SourceAddress,
}

impl Traffic {
    /// Compiles what is said; an error names what cannot be the name of a header or cookie.
    pub fn new(spec: &model::Traffic) -> Result<Self, String> {
        let header = |name: &String| HeaderName::try_from(name).map_err(|_| name.clone());
        let balancing = match &spec.balancing {
            model::Balancing::LeastRequest => Balancing::LeastRequest,
            model::Balancing::Random => Balancing::Random,
            model::Balancing::RoundRobin => Balancing::RoundRobin,
            model::Balancing::ConsistentHash(on) => Balancing::ConsistentHash(match on {
                model::HashOn::Header(name) => HashOn::Header(header(name)?),
                // Names of both are made of the same characters.
                model::HashOn::Cookie(name) => HashOn::Cookie(header(name).map(|_| name.as_str().into())?),
                model::HashOn::SourceAddress => HashOn::SourceAddress,
            }),
        };
        Ok(Self {
            balancing,
            outliers: spec.outliers,
            connect_timeout: spec.connect_timeout.map(Duration::from_millis),
            requests_per_connection: spec.requests_per_connection,
        })
    }

    /// What decides about the endpoint of a request of this client; none where anything may. What is not HTTP has no
    /// headers.
    pub fn key(&self, headers: Option<&HeaderMap>, client: &[u8]) -> Option<u64> {
        let Balancing::ConsistentHash(on) = &self.balancing else { return None };
        match on {
            HashOn::Header(name) => Some(hash(headers?.get(name)?.as_bytes())),
            HashOn::Cookie(name) => Some(hash(cookies(headers?, name).next()?)),
            HashOn::SourceAddress => Some(hash(client)),
        }
    }
}

/// The usable endpoint that has the highest score for a key (rendezvous hashing): one that comes or goes moves no other
/// request than its own.
pub fn ranked<T>(key: u64, addresses: &[SocketAddr], usable: impl Fn(usize) -> Option<T>) -> Option<T> {
    let score = |position: &usize| mix(key ^ hash_of(addresses[*position]));
    let best = (0..addresses.len()).max_by_key(score)?;
    usable(best).or_else(|| {
        let mut others: Vec<usize> = (0..addresses.len()).filter(|position| *position != best).collect();
        others.sort_by_key(|position| std::cmp::Reverse(score(position)));
        others.into_iter().find_map(usable)
    })
}

/// FNV-1a: the same in every process, which a hash with random keys would not be.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn hash_of(address: SocketAddr) -> u64 {
    let ip = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    mix(hash(&ip.octets()) ^ u64::from(address.port()))
}

/// The finaliser of splitmix64: every bit of the result depends on every bit of `bits`.
fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::{HeaderMap, HeaderName, HeaderValue, header};

    use super::{Traffic, ranked};
    use crate::model::{self, Balancing, HashOn};

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count).map(|host| ([10, 0, 0, host], 80).into()).collect()
    }

    fn hashing(on: HashOn) -> Traffic {
        Traffic::new(&model::Traffic { balancing: Balancing::ConsistentHash(on), ..model::Traffic::default() })
            .expect("names")
    }

    #[test]
    fn an_endpoint_that_goes_moves_only_its_own() {
        let (all, fewer) = (addresses(5), &addresses(5)[..4]);
        let mut shares = [0; 5];
        for key in 0..5_000 {
            let before = ranked(key, &all, Some).expect("one");
            let after = ranked(key, fewer, Some).expect("one");
            assert!(before == after || before == 4, "{key}: {before} and then {after}");
            let unusable = ranked(key, &all, |position| (position != 4).then_some(position));
            assert_eq!(unusable, Some(after), "left out is like gone");
            shares[before] += 1;
        }
        assert!(shares.iter().all(|share| (800..1_200).contains(share)), "{shares:?}");
        assert_eq!(ranked(1, &[], Some), None);
    }

    #[test]
    fn what_is_the_same_has_the_same_key() {
        let headers =
            |name: HeaderName, value: &'static str| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        let by_header = hashing(HashOn::Header("X-User".into()));
        let user = |value| by_header.key(Some(&headers(HeaderName::from_static("x-user"), value)), b"");
        assert_eq!(user("ann"), user("ann"));
        assert_ne!(user("ann"), user("bob"));
        assert_eq!((by_header.key(Some(&HeaderMap::new()), b""), by_header.key(None, b"1")), (None, None));
        let by_cookie = hashing(HashOn::Cookie("id".into()));
        let cookie = |value| by_cookie.key(Some(&headers(header::COOKIE, value)), b"");
        assert_eq!(cookie("a=1; id=7"), cookie("id=7; b=2"));
        assert_ne!(cookie("id=7"), cookie("id=8"));
        let by_source = hashing(HashOn::SourceAddress);
        assert_eq!(by_source.key(None, b"10.0.0.1"), by_source.key(Some(&HeaderMap::new()), b"10.0.0.1"));
        assert_ne!(by_source.key(None, b"10.0.0.1"), by_source.key(None, b"10.0.0.2"));
        let any = Traffic::new(&model::Traffic::default()).expect("names");
        assert_eq!(any.key(None, b"10.0.0.1"), None);
    }

    #[test]
    fn names_are_checked() {
        for on in [HashOn::Header("a b".into()), HashOn::Cookie("a b".into())] {
            let spec = model::Traffic { balancing: Balancing::ConsistentHash(on), ..model::Traffic::default() };
            assert_eq!(Traffic::new(&spec), Err("a b".into()));
        }
    }
}
