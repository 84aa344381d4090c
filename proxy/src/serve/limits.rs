//! How much one client's connection may hold and do. How long it may take is [`patience`](super::patience)'s business, and
//! what a head may be [`framing`](sluice_proxy_core::framing)'s. `docs/proxy-limits.md` lists them all.

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

/// Whether a client gives up so many requests that they cannot be meant.
pub(super) fn is_reset_flood(given_up: u32, requests: u32) -> bool {
    given_up > GIVEN_UP && given_up > requests / 2
}

#[cfg(test)]
mod tests {
    use super::{GIVEN_UP, is_reset_flood};

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
