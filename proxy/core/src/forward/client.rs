//! What a backend reads about the client: written by the proxy, or continued from what a trusted proxy in front has written.

use std::fmt::Write;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{HOP_BY_HOP, join};
use crate::filter::redirect::Scheme;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Headers besides [`HOP_BY_HOP`] that are the proxy's to set, or to read.
const OURS: [HeaderName; 5] =
    [header::CONTENT_LENGTH, header::EXPECT, header::FORWARDED, header::HOST, header::TRAILER];

/// Who is at the other end of the client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Its address, as a header value.
    pub address: &'a HeaderValue,
    /// What it speaks.
    pub scheme: Scheme,
    /// Whether what it says about the client is believed.
    pub trusted: bool,
}

/// Says about the client what is known. `Host` is there and checked by now.
pub(super) fn describe(headers: &mut HeaderMap, peer: Peer<'_>) {
    drop_impostors(headers, peer.trusted);
    let host = headers.get(header::HOST).cloned();
    if peer.trusted {
        return continue_from(headers, peer, host);
    }
    headers.insert(FORWARDED_FOR, peer.address.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(peer.scheme.as_str()));
    put(headers, FORWARDED_HOST, host);
    headers.remove(header::FORWARDED);
}

/// Adds the peer to what it says of those in front of it. What it says is kept where it can be read in one way only.
fn continue_from(headers: &mut HeaderMap, peer: Peer<'_>, host: Option<HeaderValue>) {
    headers.append(FORWARDED_FOR, peer.address.clone());
    join(headers, &FORWARDED_FOR, b", ");
    if only(headers, &FORWARDED_PROTO).is_none_or(|proto| !matches!(proto.as_bytes(), b"http" | b"https")) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(peer.scheme.as_str()));
    }
    if only(headers, &FORWARDED_HOST).is_none_or(|host| !is_host(host)) {
        put(headers, FORWARDED_HOST, host);
    }
    if only(headers, &FORWARDED_PORT).is_none_or(|port| !is_port(port)) {
        headers.remove(FORWARDED_PORT);
    }
    if headers.contains_key(header::FORWARDED)
        && let Some(element) = element(peer)
    {
        headers.append(header::FORWARDED, element);
        join(headers, &header::FORWARDED, b", ");
    }
}

/// The peer in the words of RFC 7239.
fn element(peer: Peer<'_>) -> Option<HeaderValue> {
    let address = peer.address.to_str().ok()?;
    let mut element = String::with_capacity(64);
    // Writing to a string does not fail.
    let _ =
        if address.contains(':') { write!(element, "for=\"[{address}]\"") } else { write!(element, "for={address}") };
    let _ = write!(element, ";proto={}", peer.scheme.as_str());
    HeaderValue::try_from(element).ok()
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

/// The value of a header that is there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn is_host(host: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\' | b',');
    !host.is_empty() && host.as_bytes().iter().all(plain)
}

fn is_port(port: &HeaderValue) -> bool {
    port.to_str().is_ok_and(|port| port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port))
}

/// Removes what only the proxy may say about the client, unless a trusted one has said it, and headers that many servers
/// read as ones that are the proxy's, because to CGI `_` and `-` are the same.
fn drop_impostors(headers: &mut HeaderMap, trusted: bool) {
    let is_impostor = |name: &&HeaderName| {
        let name = name.as_str();
        (!trusted && name.starts_with("x-forwarded-"))
            || (name.contains('_') && {
                let read_as = name.replace('_', "-");
                read_as.starts_with("x-forwarded-") || HOP_BY_HOP.iter().chain(&OURS).any(|known| *known == *read_as)
            })
    };
    let impostors: Vec<HeaderName> = headers.keys().filter(is_impostor).cloned().collect();
    for name in impostors {
        headers.remove(name);
    }
}

/// The client's address as `hops` trusted proxies tell it, of which the last is the peer: each has added whom it saw to
/// `X-Forwarded-For`, so what stands further left than they are many is hearsay. Where that is no address, or there are
/// fewer, the peer is the client.
pub fn client_address(headers: &HeaderMap, peer: IpAddr, hops: usize) -> IpAddr {
    let Some(before) = hops.checked_sub(1) else { return peer };
    let values = headers.get_all(FORWARDED_FOR).iter().rev().filter_map(|value| value.to_str().ok());
    let client = values.flat_map(|value| value.rsplit(',')).nth(before);
    client.and_then(|client| parse_address(client.trim())).map_or(peer, |client| client.to_canonical())
}

/// An address, which some proxies write with a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse().ok().map(|socket: std::net::SocketAddr| socket.ip());
    text.parse().ok().or_else(bare).or_else(with_port)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Peer, Scheme, client_address, describe};

    fn described(trusted: bool, headers: &[(&'static str, &str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        }
        let address = HeaderValue::from_static("192.0.2.1");
        describe(&mut map, Peer { address: &address, scheme: Scheme::Http, trusted });
        let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().expect("ascii"));
        let mut lines: Vec<_> = map.iter().map(line).filter(|line| !line.starts_with("host")).collect();
        lines.sort();
        lines
    }

    #[test]
    fn who_is_not_trusted_says_nothing_about_the_client() {
        let said = [
            ("host", "a"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/evil"),
            ("forwarded", "for=10.0.0.1"),
        ];
        let ours = ["x-forwarded-for: 192.0.2.1", "x-forwarded-host: a", "x-forwarded-proto: http"];
        assert_eq!(described(false, &said), ours);
        assert_eq!(described(false, &[("host", "a")]), ours);
    }

    #[test]
    fn what_a_trusted_proxy_says_is_continued() {
        let said = [
            ("host", "a"),
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-for", "198.51.100.1, 10.0.0.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/shop"),
            ("forwarded", "for=203.0.113.7"),
            ("x_forwarded_for", "6.6.6.6"),
        ];
        let continued = [
            "forwarded: for=203.0.113.7, for=192.0.2.1;proto=http",
            "x-forwarded-for: 203.0.113.7, 198.51.100.1, 10.0.0.9, 192.0.2.1",
            "x-forwarded-host: shop.example",
            "x-forwarded-port: 443",
            "x-forwarded-prefix: /shop",
            "x-forwarded-proto: https",
        ];
        assert_eq!(described(true, &said), continued);
        let nothing = ["x-forwarded-for: 192.0.2.1", "x-forwarded-host: a", "x-forwarded-proto: http"];
        assert_eq!(described(true, &[("host", "a")]), nothing);
    }

    #[test]
    fn what_a_trusted_proxy_says_in_two_ways_or_badly_is_the_proxys_own() {
        let own = ["x-forwarded-for: 192.0.2.1", "x-forwarded-host: a", "x-forwarded-proto: http"];
        for bad in [
            ("x-forwarded-proto", "ftp"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "a/b"),
            ("x-forwarded-host", ""),
            ("x-forwarded-port", "0"),
            ("x-forwarded-port", "+80"),
            ("x-forwarded-port", "99999"),
        ] {
            assert_eq!(described(true, &[("host", "a"), bad]), own, "{bad:?}");
        }
        for twice in [("x-forwarded-proto", "https"), ("x-forwarded-host", "b"), ("x-forwarded-port", "80")] {
            assert_eq!(described(true, &[("host", "a"), twice, twice]), own, "{twice:?}");
        }
    }

    #[test]
    fn the_client_is_whom_the_last_trusted_hop_saw() {
        let peer = "10.0.0.1";
        let cases: [(&[&str], usize, &str); 13] = [
            (&[], 1, peer),
            (&["203.0.113.7"], 0, peer),
            (&["203.0.113.7"], 1, "203.0.113.7"),
            (&["6.6.6.6, 203.0.113.7"], 1, "203.0.113.7"),
            (&["6.6.6.6", "203.0.113.7"], 1, "203.0.113.7"),
            (&["6.6.6.6, 203.0.113.7", "10.0.0.2"], 2, "203.0.113.7"),
            (&["203.0.113.7"], 2, peer),
            (&["unknown"], 1, peer),
            (&["203.0.113.7:1234"], 1, "203.0.113.7"),
            (&["[2001:db8::7]"], 1, "2001:db8::7"),
            (&["[2001:db8::7]:1234"], 1, "2001:db8::7"),
            (&["2001:db8::7"], 1, "2001:db8::7"),
            (&["::ffff:203.0.113.7"], 1, "203.0.113.7"),
        ];
        for (values, hops, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", HeaderValue::from_str(value).expect("a value"));
            }
            let client = client_address(&headers, peer.parse().expect("an address"), hops);
            assert_eq!(client.to_string(), expected, "{values:?} {hops}");
        }
    }
}
