//! How much one client's connection may hold and do. How long it may take is [`patience`](super::patience)'s business, and
//! what a head may be [`framing`](sluice_proxy_core::framing)'s. `docs/proxy-limits.md` lists them all.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Open streams of one HTTP/2 connection.
pub(super) const STREAMS: u32 = 100;
/// Bytes on their way to us: of one stream, and of one connection.
pub(super) const STREAM_WINDOW: u32 = 64 * 1024;
pub(super) const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams that a client may have opened and reset before we have looked at them.
pub(super) const PENDING_RESETS: usize = 20;
/// Streams that a client's mistakes may have made us reset.
pub(super) const LOCAL_RESETS: usize = 100;
/// Bytes of HPACK's dynamic table.
pub(super) const HEADER_TABLE: u32 = 4 * 1024;
/// Largest frame.
pub(super) const FRAME: u32 = 16 * 1024;
/// Bytes that one connection or stream may hold, each way.
pub(super) const BUFFER: usize = 64 * 1024;
/// Requests that an HTTP/2 client may give up in the second in which it made them, and which may be more than half of its
/// requests: what is beyond is there to make work.
pub(super) const GIVEN_UP: u32 = 100;

/// Limits at which clients are turned away, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Connections at once.
    Connections,
    /// Requests that could be read in two ways.
    Framing,
    /// Connections of one Gateway at once.
    GatewayConnections,
    /// Heads that are too large.
    Head,
    /// PROXY headers that are missing, bad or late.
    ProxyHeader,
    /// HTTP/2 requests that are given up at once.
    Resets,
    /// Bodies that come too slowly.
    SlowBody,
    /// Heads that do not come to an end.
    SlowHead,
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Self; 8] = [
        Self::Connections,
        Self::Framing,
        Self::GatewayConnections,
        Self::Head,
        Self::ProxyHeader,
        Self::Resets,
        Self::SlowBody,
        Self::SlowHead,
    ];

    /// As it is called in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Framing => "framing",
            Self::GatewayConnections => "gateway_connections",
            Self::Head => "head",
            Self::ProxyHeader => "proxy_header",
            Self::Resets => "resets",
            Self::SlowBody => "slow_body",
            Self::SlowHead => "slow_head",
        }
    }
}

/// How often each limit was met.
#[derive(Debug, Default)]
pub(crate) struct Hits([AtomicU64; Limit::ALL.len()]);

impl Hits {
    /// Somebody was turned away.
    pub(crate) fn count(&self, limit: Limit) {
        self.0[limit as usize].fetch_add(1, Relaxed);
    }

    /// How often that was for this limit.
    pub(super) fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize].load(Relaxed)
    }
}

/// Whether a client gives up so many requests that they cannot be meant.
pub(super) fn is_reset_flood(given_up: u32, requests: u32) -> bool {
    given_up > GIVEN_UP && given_up > requests / 2
}

#[cfg(test)]
mod tests {
    use super::{GIVEN_UP, Hits, Limit, is_reset_flood};

    #[test]
    fn each_limit_is_counted_by_itself() {
        let hits = Hits::default();
        for (times, limit) in (1..).zip(Limit::ALL) {
            for _ in 0..times {
                hits.count(limit);
            }
        }
        assert_eq!(Limit::ALL.map(|limit| hits.of(limit)), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn who_gives_up_most_of_many_requests_floods() {
        let cases = [
            (GIVEN_UP, GIVEN_UP, false),
            (GIVEN_UP + 1, GIVEN_UP + 1, true),
            (GIVEN_UP + 1, 2 * GIVEN_UP + 1, true),
            (GIVEN_UP + 1, 2 * GIVEN_UP + 2, false),
            (0, u32::MAX, false),
        ];
        for (given_up, requests, flood) in cases {
            assert_eq!(is_reset_flood(given_up, requests), flood, "{given_up} of {requests}");
        }
    }
}
