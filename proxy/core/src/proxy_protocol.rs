//! The PROXY protocol, versions 1 and 2: whom a load balancer in front has the connection from.
//!
//! The `ppp` crate reads what a header says; how long one is, and that it is whole and within bounds, is decided here first.
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};

/// Most bytes of a header of version 1, its line end included (section 2.1).
pub const MOST_TEXT: usize = 107;
/// Most bytes of a header of version 2 that are read. Addresses take 52 of them; the rest is for what some load balancers
/// add, such as the name of a private endpoint.
pub const MOST_BINARY: usize = 4096;

/// Bytes of version 2 in front of those that it counts.
const FIXED: usize = 16;
const TEXT_BEGIN: &[u8] = b"PROXY ";

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The beginning of a header, and nothing but that.
    Part,
    /// A header.
    Header {
        /// Its bytes.
        length: usize,
        /// Who connected to the load balancer; none where the load balancer speaks for itself, as in a health check.
        source: Option<SocketAddr>,
    },
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes are those of something else.
    #[error("there is no PROXY header")]
    Absent,
    /// One that says something that cannot be.
    #[error("the PROXY header is malformed")]
    Invalid,
    /// One that is longer than it may be.
    #[error("the PROXY header is too long")]
    TooLong,
}

/// Looks at the first bytes of a connection, of which there is at least one.
pub fn parse(bytes: &[u8]) -> Result<Found, Malformed> {
    if begins(bytes, v2::PROTOCOL_PREFIX) {
        return parse_binary(bytes);
    }
    if begins(bytes, TEXT_BEGIN) {
        return parse_text(bytes);
    }
    Err(Malformed::Absent)
}

/// Whether one is how the other begins.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

fn parse_text(bytes: &[u8]) -> Result<Found, Malformed> {
    let bounded = &bytes[..bytes.len().min(MOST_TEXT)];
    let Some(end) = bounded.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MOST_TEXT { Ok(Found::Part) } else { Err(Malformed::TooLong) };
    };
    let length = end + 2;
    let header = v1::Header::try_from(&bytes[..length]).map_err(|_| Malformed::Invalid)?;
    let source = match header.addresses {
        v1::Addresses::Unknown => None,
        // The numbers of the standard library may have a sign.
        _ if bytes[..end].contains(&b'+') => return Err(Malformed::Invalid),
        v1::Addresses::Tcp4(addresses) => Some((addresses.source_address, addresses.source_port).into()),
        v1::Addresses::Tcp6(addresses) => Some((addresses.source_address, addresses.source_port).into()),
    };
    Ok(Found::Header { length, source: source.map(canonical) })
}

fn parse_binary(bytes: &[u8]) -> Result<Found, Malformed> {
    let Some(head) = bytes.first_chunk::<FIXED>() else { return Ok(Found::Part) };
    let length = FIXED + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > MOST_BINARY {
        return Err(Malformed::TooLong);
    }
    let Some(whole) = bytes.get(..length) else { return Ok(Found::Part) };
    let header = v2::Header::try_from(whole).map_err(|_| Malformed::Invalid)?;
    if header.protocol == v2::Protocol::Datagram || header.tlvs().any(|field| field.is_err()) {
        return Err(Malformed::Invalid);
    }
    let source = match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => {
            Some((addresses.source_address, addresses.source_port).into())
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => {
            Some((addresses.source_address, addresses.source_port).into())
        }
        (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) | (v2::Command::Local, _) => None,
    };
    Ok(Found::Header { length, source: source.map(canonical) })
}

/// An IPv4 address that is written as one of IPv6 is one of IPv4.
fn canonical(source: SocketAddr) -> SocketAddr {
    let address: IpAddr = source.ip().to_canonical();
    SocketAddr::new(address, source.port())
}

#[cfg(test)]
mod tests {
    use super::{FIXED, Found, MOST_BINARY, MOST_TEXT, Malformed, parse};

    fn header(length: usize, source: Option<&str>) -> Found {
        Found::Header { length, source: source.map(|source| source.parse().expect("an address")) }
    }

    /// A header of version 2: command, family and transport, and what follows.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    const FOUR: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x30, 0x39, 0, 80];

    #[test]
    fn headers_of_version_1_say_who_connected() {
        let cases = [
            ("PROXY TCP4 203.0.113.7 10.0.0.1 12345 80\r\n", Some("203.0.113.7:12345")),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 12345 80\r\n", Some("[2001:db8::7]:12345")),
            ("PROXY TCP6 ::ffff:203.0.113.7 ::ffff:10.0.0.1 1 80\r\n", Some("203.0.113.7:1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN anything at all\r\n", None),
        ];
        for (text, source) in cases {
            assert_eq!(parse(text.as_bytes()), Ok(header(text.len(), source)), "{text}");
            let followed = format!("{text}GET / HTTP/1.1\r\n");
            assert_eq!(parse(followed.as_bytes()), Ok(header(text.len(), source)), "{followed}");
            for cut in 1..text.len() {
                assert_eq!(parse(&text.as_bytes()[..cut]), Ok(Found::Part), "{:?}", &text[..cut]);
            }
        }
    }

    #[test]
    fn headers_of_version_2_say_who_connected() {
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::7".parse::<std::net::Ipv6Addr>().expect("an address").octets());
        six[32..].copy_from_slice(&[0x30, 0x39, 0, 80]);
        let with_field = [&FOUR[..], &[0x04, 0, 1, 42]].concat();
        let cases = [
            (binary(0x21, 0x11, &FOUR), Some("203.0.113.7:12345")),
            (binary(0x21, 0x21, &six), Some("[2001:db8::7]:12345")),
            (binary(0x21, 0x11, &with_field), Some("203.0.113.7:12345")),
            (binary(0x20, 0x11, &FOUR), None),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x21, 0x00, &[]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ];
        for (bytes, source) in cases {
            assert_eq!(parse(&bytes), Ok(header(bytes.len(), source)), "{bytes:?}");
            assert_eq!(parse(&[&bytes[..], b"GET"].concat()), Ok(header(bytes.len(), source)), "{bytes:?}");
            for cut in 1..bytes.len() {
                assert_eq!(parse(&bytes[..cut]), Ok(Found::Part), "{:?}", &bytes[..cut]);
            }
        }
    }

    #[test]
    fn what_is_no_good_header_is_refused() {
        let too_long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(MOST_TEXT));
        let cases = [
            ("GET / HTTP/1.1\r\n", Malformed::Absent),
            ("PROXX", Malformed::Absent),
            ("proxy TCP4 203.0.113.7 10.0.0.1 1 80\r\n", Malformed::Absent),
            ("PROXY TCP4 203.0.113.7 10.0.0.1 1\r\n", Malformed::Invalid),
            ("PROXY TCP4 203.0.113.7 10.0.0.1 1 99999\r\n", Malformed::Invalid),
            ("PROXY TCP4 203.0.113.7 10.0.0.1 01 80\r\n", Malformed::Invalid),
            ("PROXY TCP4 203.0.113.7 10.0.0.1 +1 80\r\n", Malformed::Invalid),
            ("PROXY TCP4 2001:db8::7 10.0.0.1 1 80\r\n", Malformed::Invalid),
            ("PROXY TCP4  203.0.113.7 10.0.0.1 1 80\r\n", Malformed::Invalid),
            ("PROXY UDP4 203.0.113.7 10.0.0.1 1 80\r\n", Malformed::Invalid),
            (too_long.as_str(), Malformed::TooLong),
        ];
        for (text, problem) in cases {
            assert_eq!(parse(text.as_bytes()), Err(problem), "{text}");
        }
        let binaries = [
            (binary(0x11, 0x11, &FOUR), Malformed::Invalid),
            (binary(0x22, 0x11, &FOUR), Malformed::Invalid),
            (binary(0x21, 0x41, &FOUR), Malformed::Invalid),
            (binary(0x21, 0x12, &FOUR), Malformed::Invalid),
            (binary(0x21, 0x11, &FOUR[..11]), Malformed::Invalid),
            (binary(0x21, 0x11, &[&FOUR[..], &[0x04, 0, 9, 42]].concat()), Malformed::Invalid),
            (binary(0x21, 0x11, &vec![0; MOST_BINARY - FIXED + 1]), Malformed::TooLong),
        ];
        for (bytes, problem) in binaries {
            assert_eq!(parse(&bytes), Err(problem), "{:?}", &bytes[..FIXED]);
        }
    }
}
