//! When a request is sent again, and how long to wait before.

use std::time::Duration;

use crate::model;

/// Before the first repetition, where nobody says anything else.
const BACKOFF: Duration = Duration::from_millis(25);
/// The longest wait, as a multiple of the first.
const MOST: u32 = 10;

/// A compiled retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    codes: Box<[u16]>,
    /// How often at most, beside the first time.
    pub attempts: u32,
    backoff: Duration,
}

impl Retry {
    /// Compiles one.
    pub fn new(spec: &model::Retry) -> Self {
        let backoff = spec.backoff.map_or(BACKOFF, Duration::from_millis);
        Self { codes: spec.codes.clone().into(), attempts: spec.attempts, backoff }
    }

    /// Whether a response of this status is worth another try.
    pub fn takes(&self, status: http::StatusCode) -> bool {
        self.codes.contains(&status.as_u16())
    }

    /// Whether a try can end in a way that needs the request's body again.
    pub fn repeats_bodies(&self) -> bool {
        self.attempts > 0
    }

    /// How long to wait before repetition `nth` (0 is the first): doubled each time up to a multiple of the first, of
    /// which `random` takes away up to a half, so that clients that failed together do not come back together.
    pub fn wait(&self, nth: u32, random: u64) -> Duration {
        let full = self.backoff * 2_u32.saturating_pow(nth).min(MOST);
        let jitter = (random >> 32) as f64 / f64::from(u32::MAX);
        full.mul_f64(1.0 - jitter / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Retry;
    use crate::model;

    fn retry(backoff: Option<u64>) -> Retry {
        Retry::new(&model::Retry { codes: vec![500, 503], attempts: 3, backoff })
    }

    #[test]
    fn only_the_codes_that_are_named_are_repeated() {
        let of = |code| http::StatusCode::from_u16(code).expect("status");
        assert_eq!([200, 500, 502, 503].map(|code| retry(None).takes(of(code))), [false, true, false, true]);
    }

    #[test]
    fn waits_double_up_to_a_limit_and_are_spread_over_a_half() {
        let waits = |random| [0, 1, 2, 3, 4, 40].map(|nth| retry(Some(100)).wait(nth, random).as_millis());
        assert_eq!(waits(0), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(waits(u64::MAX), [50, 100, 200, 400, 500, 500]);
        assert_eq!(retry(None).wait(0, 0), Duration::from_millis(25));
        assert_eq!(retry(Some(0)).wait(5, 0), Duration::ZERO);
    }
}
