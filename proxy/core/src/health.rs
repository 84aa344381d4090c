//! How well an endpoint has answered lately, by the answers to requests that it got anyway: nobody asks it on purpose.
//!
//! An endpoint that fails fast has the fewest requests in flight, so that the choice of the less loaded one would send it the
//! most. Its failures therefore count as load. That is forgotten within seconds, and a request then tries it again.

use http::StatusCode;

/// About so many answers make what is known of an endpoint.
const ANSWERS: f32 = 8.0;
/// How many times its load one seems to have that always fails.
const WORST: f32 = 64.0;
/// What is left of the memory after a second: of the worst, less than one time the load after four of them.
const KEPT: f32 = 0.25;

/// How an endpoint answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// As it should, whatever the client did.
    Good,
    /// It failed.
    ServerError,
    /// It does not serve: it says so itself, or it said nothing.
    GatewayError,
}

impl Answer {
    /// A response with this status.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            502..=504 => Self::GatewayError,
            500.. => Self::ServerError,
            _ => Self::Good,
        }
    }
}

/// The health of one endpoint. Seconds are those of any clock that only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Health {
    /// Share of the answers that were failures, newer ones counting for more.
    failing: f32,
    /// When that was.
    at: u32,
}

impl Health {
    /// Whether nothing is held against it.
    pub fn is_well(self) -> bool {
        self.failing == 0.0
    }

    /// Takes note of an answer.
    pub fn note(&mut self, answer: Answer, now: u32) {
        if answer == Answer::Good && self.is_well() {
            return;
        }
        let before = self.failing_at(now);
        let latest = if answer == Answer::Good { 0.0 } else { 1.0 };
        let failing = before + (latest - before) / ANSWERS;
        // What makes no difference any more is nothing.
        self.failing = if failing * WORST < 1.0 { 0.0 } else { failing };
        self.at = now;
    }

    fn failing_at(self, now: u32) -> f32 {
        if self.is_well() { 0.0 } else { self.failing * KEPT.powf(now.wrapping_sub(self.at).min(16) as f32) }
    }

    /// The load of an endpoint with so many requests in flight, to be compared with that of another.
    pub fn load(self, in_flight: u32, now: u32) -> u32 {
        (in_flight + 1).saturating_mul(1 + (self.failing_at(now) * WORST) as u32)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{Answer, Health};
    use crate::pick::two_of;

    #[test]
    fn answers_are_told_apart_by_whether_it_serves_at_all() {
        for (status, answer) in [
            (200, Answer::Good),
            (404, Answer::Good),
            (429, Answer::Good),
            (500, Answer::ServerError),
            (501, Answer::ServerError),
            (502, Answer::GatewayError),
            (504, Answer::GatewayError),
            (505, Answer::ServerError),
        ] {
            assert_eq!(Answer::of(StatusCode::from_u16(status).expect("status")), answer, "{status}");
        }
    }

    #[test]
    fn failures_weigh_like_requests_in_flight_and_are_forgotten() {
        let mut health = Health::default();
        health.note(Answer::Good, 0);
        assert_eq!((health.load(0, 0), health.load(7, 0)), (1, 8));
        health.note(Answer::ServerError, 1);
        assert_eq!(health.load(0, 1), 9, "one failure is as much as eight requests");
        assert_eq!([2, 3].map(|now| health.load(0, now)), [3, 1]);
        for _ in 0..100 {
            health.note(Answer::GatewayError, 10);
        }
        assert_eq!([10, 11, 12, 13, 14].map(|now| health.load(0, now)), [64, 16, 4, 1, 1]);
    }

    #[test]
    fn good_answers_make_it_well_again() {
        let mut health = Health::default();
        health.note(Answer::ServerError, 5);
        let needed = (1..100).find(|_| {
            health.note(Answer::Good, 5);
            health.is_well()
        });
        assert_eq!(needed, Some(16), "{health:?}");
    }

    /// One of four endpoints fails at once for ten seconds; the others take 20 ms. Returns what it got of its share in
    /// that time, and of its share from the fifth second after.
    fn outage(requests_per_second: u32, seed: u64) -> (f64, f64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut health = [Health::default(); 4];
        let mut ends: [Vec<u32>; 4] = Default::default();
        let (mut during, mut after) = (0, 0);
        for number in 0..requests_per_second * 40 {
            let millis = number * 1_000 / requests_per_second;
            let now = millis / 1_000;
            for ends in &mut ends {
                ends.retain(|end| *end > millis);
            }
            let (one, other) = two_of(4, random.u64(..));
            let load = |endpoint: usize| health[endpoint].load(ends[endpoint].len() as u32, now);
            let chosen = if load(other) < load(one) { other } else { one };
            let fails = chosen == 0 && (10..20).contains(&now);
            health[chosen].note(if fails { Answer::ServerError } else { Answer::Good }, now);
            if !fails {
                ends[chosen].push(millis + 20);
            }
            during += u32::from(chosen == 0 && (10..20).contains(&now));
            after += u32::from(chosen == 0 && now >= 25);
        }
        let share = f64::from(requests_per_second) / 4.0;
        (f64::from(during) / (share * 10.0), f64::from(after) / (share * 15.0))
    }

    #[test]
    fn a_failing_endpoint_gets_next_to_nothing_and_its_share_again_soon() {
        for requests_per_second in [100, 1_000, 5_000] {
            for seed in 0..5 {
                let (during, after) = outage(requests_per_second, seed);
                assert!(during <= 0.1, "{requests_per_second}/s: {during} of its share while it fails");
                assert!((0.85..1.15).contains(&after), "{requests_per_second}/s: {after} of its share afterwards");
            }
        }
    }
}
