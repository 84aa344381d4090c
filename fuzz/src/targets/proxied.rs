//! What a load balancer says in front of a connection.

use sluice_proxy_core::proxy_protocol::{Found, MOST_BINARY, MOST_TEXT, parse};

pub(super) const WORDS: &[&str] = &[
    "PROXY ",
    "PROXY UNKNOWN\r\n",
    "TCP4 203.0.113.7 10.0.0.1 1 80\r\n",
    "TCP6 ::1 ::1 1 80\r\n",
    "\r\n",
    "\r\n\r\n\0\r\nQUIT\n",
    "\u{21}\u{11}\0\u{c}",
    "\u{20}\0\0\0",
];

/// A header is the same whatever follows it and however it arrives, and is never longer than it may be.
pub(super) fn proxy_headers(input: &[u8]) {
    if input.is_empty() {
        return;
    }
    let whole = parse(input);
    for cut in 1..input.len() {
        let part = parse(&input[..cut]);
        if part != Ok(Found::Part) {
            assert_eq!(part, whole, "what was clear after {cut} bytes has changed");
        }
    }
    match whole {
        Ok(Found::Header { length, .. }) => {
            let most = if input.starts_with(b"PROXY") { MOST_TEXT } else { MOST_BINARY };
            assert!((1..=most.min(input.len())).contains(&length), "{length} bytes of {}", input.len());
            assert_eq!(parse(&input[..length]), whole, "it is not whole by itself");
            assert_eq!(parse(&input[..length - 1]), Ok(Found::Part), "it was whole before its end");
        }
        Ok(Found::Part) => assert!(input.len() < MOST_BINARY, "{} bytes are only a part", input.len()),
        Err(_) => {}
    }
}
