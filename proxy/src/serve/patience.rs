//! How long a client may keep a connection waiting: one pure function for connections and one for bodies on their way in.

use sluice_proxy_core::model::Limits;

use super::connection::{Order, Phase};

/// Seconds that a client has for the head of a request once it has begun.
pub(super) const HEAD_SECONDS: u32 = 10;
/// Seconds that a connection may be idle.
pub(super) const IDLE_SECONDS_HTTP1: u32 = 75;
pub(super) const IDLE_SECONDS_HTTP2: u32 = 300;
/// Seconds without a byte either way after which an open request is given up.
pub(super) const STALLED_SECONDS: u32 = 300;
/// The same for a WebSocket, and for a connection that is passed on as it is.
pub(super) const SILENT_SECONDS: u32 = 3600;
/// Seconds that we wait for a request's body for nothing.
pub(super) const BODY_SECONDS: u32 = 20;
/// Bytes that each further second of waiting for it must bring.
pub(super) const BODY_RATE: u64 = 100;

/// A connection at the moment when it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) phase: Phase,
    pub(super) http2: bool,
    /// Requests that are open.
    pub(super) requests: u32,
    /// Seconds since it entered the phase, or since the last byte where bytes are progress.
    pub(super) seconds: u32,
    /// Whether its client is asked to leave.
    pub(super) leaving: bool,
}

/// What a Gateway may choose of it, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    head: u32,
    idle_http1: u32,
    idle_http2: u32,
}

impl Patience {
    /// As these limits say, and otherwise as it is by default.
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            head: limits.head_seconds.unwrap_or(HEAD_SECONDS),
            idle_http1: limits.idle_seconds.unwrap_or(IDLE_SECONDS_HTTP1),
            idle_http2: limits.idle_seconds.unwrap_or(IDLE_SECONDS_HTTP2),
        }
    }
}

/// What is to become of a connection; none lets it go on.
pub(super) fn verdict(waiting: Waiting, chosen: Patience) -> Option<Order> {
    let Waiting { phase, http2, requests, seconds, leaving } = waiting;
    let patience = if phase == Phase::Tunnel { SILENT_SECONDS } else { STALLED_SECONDS };
    if requests > 0 && seconds >= patience {
        return Some(Order::Abort);
    }
    if http2 {
        let idle = requests == 0 && seconds >= chosen.idle_http2;
        return (idle || leaving).then_some(Order::Finish);
    }
    match phase {
        Phase::Head if seconds >= chosen.head => Some(Order::Abort),
        Phase::Idle if seconds >= chosen.idle_http1 => Some(Order::Finish),
        Phase::Busy | Phase::Head | Phase::Idle | Phase::Tunnel => None,
    }
}

/// Whether the body of a request comes too slowly: we have waited so many seconds for it, not counting those in which
/// its backend did not take more, and so many bytes have come.
pub(crate) fn is_too_slow(waited: u32, received: u64) -> bool {
    let beyond = waited.saturating_sub(BODY_SECONDS);
    beyond > 0 && received < u64::from(beyond) * BODY_RATE
}

#[cfg(test)]
mod tests {
    use super::{
        BODY_RATE, BODY_SECONDS, HEAD_SECONDS, IDLE_SECONDS_HTTP1, IDLE_SECONDS_HTTP2, Limits, Patience,
        SILENT_SECONDS, STALLED_SECONDS, Waiting, is_too_slow, verdict,
    };
    use crate::serve::connection::{Order, Phase};

    #[test]
    fn patience_ends_when_the_table_says_and_not_a_second_before() {
        let cases = [
            (Phase::Head, false, 0, HEAD_SECONDS, Order::Abort),
            (Phase::Idle, false, 0, IDLE_SECONDS_HTTP1, Order::Finish),
            (Phase::Busy, false, 1, STALLED_SECONDS, Order::Abort),
            (Phase::Tunnel, false, 1, SILENT_SECONDS, Order::Abort),
            (Phase::Idle, true, 0, IDLE_SECONDS_HTTP2, Order::Finish),
            // What an HTTP/2 client says without opening a stream does not keep its connection.
            (Phase::Head, true, 0, IDLE_SECONDS_HTTP2, Order::Finish),
            (Phase::Busy, true, 3, STALLED_SECONDS, Order::Abort),
        ];
        for (phase, http2, requests, limit, order) in cases {
            let chosen = Patience::of(&Limits::default());
            let at = |seconds| verdict(Waiting { phase, http2, requests, seconds, leaving: false }, chosen);
            assert_eq!((at(limit - 1), at(limit)), (None, Some(order)), "{phase:?} {http2}");
        }
    }

    #[test]
    fn a_gateway_chooses_how_long_heads_take_and_connections_are_idle() {
        let limits = Limits { head_seconds: Some(3), idle_seconds: Some(7), ..Limits::default() };
        for (phase, http2, limit) in [(Phase::Head, false, 3), (Phase::Idle, false, 7), (Phase::Idle, true, 7)] {
            let at = |seconds| {
                let waiting = Waiting { phase, http2, requests: 0, seconds, leaving: false };
                verdict(waiting, Patience::of(&limits)).is_some()
            };
            assert_eq!((at(limit - 1), at(limit)), (false, true), "{phase:?} {http2}");
        }
    }

    #[test]
    fn who_is_asked_to_leave_is_told_at_once_by_http2_and_with_the_next_response_by_http1() {
        let chosen = Patience::of(&Limits::default());
        let at = |http2| verdict(Waiting { phase: Phase::Idle, http2, requests: 0, seconds: 0, leaving: true }, chosen);
        assert_eq!((at(true), at(false)), (Some(Order::Finish), None));
    }

    #[test]
    fn a_body_must_come_at_its_rate_once_its_grace_is_over() {
        let cases = [
            (0, 0, false),
            (BODY_SECONDS, 0, false),
            (BODY_SECONDS + 1, 0, true),
            (BODY_SECONDS + 1, BODY_RATE - 1, true),
            (BODY_SECONDS + 1, BODY_RATE, false),
            (BODY_SECONDS + 10, 10 * BODY_RATE - 1, true),
            (BODY_SECONDS + 10, 10 * BODY_RATE, false),
            (u32::MAX, u64::MAX, false),
        ];
        for (waited, received, slow) in cases {
            assert_eq!(is_too_slow(waited, received), slow, "{waited} s, {received} B");
        }
    }
}
