//! Endpoints that are left out because they fail (passive outlier detection). Nobody asks them on purpose: what is known
//! is how they answered.
//!
//! ```text
//! in ── failures in a row ──► out ── time ──► returning ── time ──► in
//!                              ▲                  │
//!                              └── one failure ───┘
//! ```
//! An endpoint that returns gets a share that grows; its first failure takes it out again, so that one which stays broken
//! costs a request now and then. An ejection is decided where a request looks for its endpoint and the others of its
//! backend are known: never are all of them left out.

use crate::health::Answer;
use crate::model::Outliers;

/// What an endpoint's answers come to. Seconds are those of any clock that only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// In a row, up to now.
    server_errors: u16,
    gateway_errors: u16,
    /// The last failure.
    failed_at: u32,
    /// Until when it is or was left out, while that matters.
    out_until: Option<u32>,
}

/// Whether an endpoint gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As any other.
    In,
    /// It would not, if others can do without it.
    Suspect,
    /// It does not.
    Out,
    /// It gets this share of those that it would get, in parts of 2^32.
    Returning(u32),
}

impl Standing {
    /// Whether it gets a request, for a uniform random number. A suspect does.
    pub fn admits(self, random: u64) -> bool {
        match self {
            Self::In | Self::Suspect => true,
            Self::Out => false,
            // Other bits than those that the endpoint was drawn by.
            Self::Returning(share) => (random.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) < u64::from(share),
        }
    }
}

impl Record {
    /// Whether there is nothing that a good answer would change.
    pub fn is_clean(&self) -> bool {
        self.server_errors == 0 && self.gateway_errors == 0
    }

    /// Takes note of an answer.
    pub fn note(&mut self, answer: Answer, now: u32) {
        if self.out_until.is_some_and(|until| now < until) {
            // To what was sent before it was left out.
            return;
        }
        match answer {
            Answer::Good => (self.server_errors, self.gateway_errors) = (0, 0),
            Answer::ServerError => {
                self.server_errors = self.server_errors.saturating_add(1);
                self.gateway_errors = 0;
                self.failed_at = now;
            }
            Answer::GatewayError => {
                self.server_errors = self.server_errors.saturating_add(1);
                self.gateway_errors = self.gateway_errors.saturating_add(1);
                self.failed_at = now;
            }
        }
    }

    /// How it stands by the rules of one of its backends.
    pub fn standing(&mut self, rules: &Outliers, now: u32) -> Standing {
        if u64::from(now.saturating_sub(self.failed_at)) * 1_000 > rules.interval {
            (self.server_errors, self.gateway_errors) = (0, 0);
        }
        let reached = |most: u32, count: u16| most > 0 && u32::from(count) >= most;
        let Some(until) = self.out_until else {
            let fails =
                reached(rules.server_errors, self.server_errors) || reached(rules.gateway_errors, self.gateway_errors);
            return if fails { Standing::Suspect } else { Standing::In };
        };
        if now < until {
            return Standing::Out;
        }
        let fails = reached(rules.server_errors.min(1), self.server_errors)
            || reached(rules.gateway_errors.min(1), self.gateway_errors);
        if fails {
            return Standing::Suspect;
        }
        let (back, recovery) = (u64::from(now - until) + 1, seconds(rules.recovery));
        if back > recovery {
            self.out_until = None;
            return Standing::In;
        }
        Standing::Returning((u64::from(u32::MAX) * back / (recovery + 1)) as u32)
    }

    /// Leaves it out from now on.
    pub fn eject(&mut self, rules: &Outliers, now: u32) {
        let length = u32::try_from(seconds(rules.ejection).max(1)).unwrap_or(u32::MAX);
        *self = Self { out_until: Some(now.saturating_add(length)), ..Self::default() };
    }
}

fn seconds(millis: u64) -> u64 {
    millis.div_ceil(1_000)
}

/// Whether one more of `all` endpoints may be left out, of which `out` are. One always may where there is another, unless
/// the rules say none.
pub fn may_eject(rules: &Outliers, all: usize, out: usize) -> bool {
    let most = (all * usize::from(rules.most) / 100).max(usize::from(rules.most > 0));
    out + 1 < all && out < most
}

#[cfg(test)]
mod tests {
    use super::{Record, Standing, may_eject};
    use crate::health::{Answer, Health};
    use crate::model::Outliers;
    use crate::pick::two_of;

    const RULES: Outliers =
        Outliers { server_errors: 3, gateway_errors: 2, interval: 10_000, ejection: 4_000, most: 50, recovery: 2_000 };

    fn after(answers: &[(Answer, u32)]) -> Record {
        let mut record = Record::default();
        for (answer, now) in answers {
            record.note(*answer, *now);
        }
        record
    }

    /// Answers and when, the moment that is looked at, the rules, and how the endpoint stands.
    type Case<'a> = (&'a [(Answer, u32)], u32, &'a Outliers, Standing);

    #[test]
    fn failures_in_a_row_make_a_suspect() {
        use Answer::{GatewayError, Good, ServerError};
        let never = Outliers { server_errors: 0, gateway_errors: 0, ..RULES };
        let cases: [Case<'_>; 8] = [
            (&[], 0, &RULES, Standing::In),
            (&[(ServerError, 0), (ServerError, 0), (ServerError, 1)], 1, &RULES, Standing::Suspect),
            (&[(ServerError, 0), (ServerError, 0), (Good, 0), (ServerError, 1)], 1, &RULES, Standing::In),
            (&[(GatewayError, 0), (GatewayError, 0)], 0, &RULES, Standing::Suspect),
            (&[(GatewayError, 0), (ServerError, 0), (GatewayError, 0)], 0, &RULES, Standing::Suspect),
            (&[(GatewayError, 0), (ServerError, 0)], 0, &RULES, Standing::In),
            (&[(ServerError, 0), (ServerError, 0), (ServerError, 0)], 11, &RULES, Standing::In),
            (&[(GatewayError, 0), (GatewayError, 0), (GatewayError, 0)], 0, &never, Standing::In),
        ];
        for (answers, now, rules, expected) in cases {
            assert_eq!(after(answers).standing(rules, now), expected, "{answers:?} at {now}");
        }
    }

    #[test]
    fn it_returns_by_and_by_and_its_first_failure_takes_it_out_again() {
        let mut record = after(&[(Answer::GatewayError, 9), (Answer::GatewayError, 9)]);
        record.eject(&RULES, 10);
        // What was on its way.
        record.note(Answer::GatewayError, 11);
        assert_eq!([10, 13].map(|now| record.standing(&RULES, now)), [Standing::Out; 2]);
        let Standing::Returning(first) = record.standing(&RULES, 14) else { panic!("{record:?}") };
        let Standing::Returning(second) = record.standing(&RULES, 15) else { panic!("{record:?}") };
        assert!(first > u32::MAX / 4 && first < second && second < u32::MAX, "{first} {second}");
        let mut again = record;
        again.note(Answer::GatewayError, 15);
        assert_eq!(again.standing(&RULES, 15), Standing::Suspect);
        record.note(Answer::Good, 15);
        assert_eq!(record.standing(&RULES, 16), Standing::In);
        assert_eq!(record.standing(&RULES, 16), Standing::In);
    }

    #[test]
    fn never_are_all_left_out_nor_more_than_the_rules_say() {
        let rules = |most| Outliers { most, ..RULES };
        for (most, all, expected) in
            [(50, 4, 2), (100, 4, 3), (100, 1, 0), (10, 4, 1), (10, 1, 0), (0, 4, 0), (34, 9, 3)]
        {
            let out = (0..all).take_while(|out| may_eject(&rules(most), all, *out)).count();
            assert_eq!(out, expected, "{most} % of {all}");
        }
    }

    /// One of four endpoints fails for ten seconds. What it got of its share in that time, and in each second after.
    fn outage(per_second: u32, seed: u64) -> (f64, Vec<f64>) {
        let rules = Outliers { server_errors: 5, gateway_errors: 5, ejection: 2_000, recovery: 1_000, ..RULES };
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut records, mut health) = ([Record::default(); 4], [Health::default(); 4]);
        let mut got = [0_u32; 30];
        for number in 0..per_second * 30 {
            let now = number / per_second;
            let draw = random.u64(..);
            let usable: Vec<usize> = (0..4)
                .filter(|endpoint| {
                    let standing = records[*endpoint].standing(&rules, now);
                    let out = records.iter().filter(|record| record.out_until.is_some_and(|until| now < until)).count();
                    if standing == Standing::Suspect && may_eject(&rules, 4, out) {
                        records[*endpoint].eject(&rules, now);
                        return false;
                    }
                    standing.admits(draw)
                })
                .collect();
            let (one, other) = two_of(usable.len(), draw);
            let (one, other) = (usable[one], usable[other]);
            let chosen = if health[other].load(0, now) < health[one].load(0, now) { other } else { one };
            let fails = chosen == 0 && (10..20).contains(&now);
            let answer = if fails { Answer::ServerError } else { Answer::Good };
            records[chosen].note(answer, now);
            health[chosen].note(answer, now);
            got[now as usize] += u32::from(chosen == 0);
        }
        let share = f64::from(per_second) / 4.0;
        let during: u32 = got[10..20].iter().sum();
        (f64::from(during) / (share * 10.0), got[20..].iter().map(|got| f64::from(*got) / share).collect())
    }

    /// The target: a tenth of its share at most, and the whole again within five seconds.
    #[test]
    fn an_outage_costs_few_requests_and_is_soon_over() {
        for per_second in [100, 1_000] {
            let mut wholes = Vec::new();
            for seed in 0..10 {
                let (during, after) = outage(per_second, seed);
                assert!(during <= 0.1, "{during} at {per_second}/s");
                wholes.push(after[5..].iter().sum::<f64>() / (after.len() - 5) as f64);
            }
            // Of all runs: one alone has 125 requests in that time, whose number scatters by a twelfth.
            let whole = wholes.iter().sum::<f64>() / wholes.len() as f64;
            assert!((0.9..1.1).contains(&whole), "{wholes:?} at {per_second}/s");
        }
    }
}
