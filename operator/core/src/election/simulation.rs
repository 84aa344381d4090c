//! Three candidates with clocks of their own, whose processes stop, whose messages are late or lost, and who die and come
//! again under another name: at no instant may two of them act, and when nothing goes wrong any more, one does.

use super::{Claim, Election, Record, Timing, Todo, Written};
use crate::Millis;

const TIMING: Timing = Timing { lease: 7_000, renew_deadline: 5_000, retry: 1_000 };
/// The step of the simulation.
const TICK: Millis = 100;
/// How long things go wrong.
const TROUBLE: Millis = 90_000;
/// In which time somebody must act when nothing goes wrong any more: what was seen last must run out, by the slowest clock.
const RECOVERY: Millis = 12_000;

/// splitmix64: numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn millis(&mut self, bound: u64) -> Millis {
        i64::try_from(self.below(bound)).unwrap()
    }
}

/// A request under way.
#[derive(Clone)]
struct Call {
    /// By the caller's clock.
    sent: Millis,
    arrives: Millis,
    returns: Millis,
    claim: Option<Claim>,
    /// What the server said, once it has arrived. Err: nothing comes back.
    answer: Option<Answer>,
    is_lost: bool,
}

#[derive(Clone)]
enum Answer {
    Read(Option<Record>),
    Wrote(Written),
}

struct Candidate {
    election: Election,
    /// Its clock: an offset, and a rate in percent of the true one.
    offset: Millis,
    rate: Millis,
    stopped_until: Millis,
    call: Option<Call>,
    calm: bool,
}

impl Candidate {
    fn clock(&self, now: Millis) -> Millis {
        self.offset + now * self.rate / 100
    }

    /// Whether it would act if it were asked now: the check before each write.
    fn acts(&self, now: Millis) -> bool {
        self.election.held().is_some_and(|(_, until)| self.clock(now) < until)
    }

    /// One step. What returns is a request that was given up before it arrived.
    fn turn(&mut self, now: Millis, server: &mut Option<Record>, random: &mut Random) -> Option<Call> {
        if let Some(call) = &mut self.call
            && call.arrives <= now
            && call.answer.is_none()
        {
            call.answer = Some(serve(server, call.claim.as_ref(), self.election.me.as_str()));
        }
        if now < self.stopped_until {
            return None;
        }
        let clock = self.clock(now);
        let mut given_up = None;
        if let Some(call) = self.call.take_if(|call| call.returns <= now) {
            given_up = Some(call.clone()).filter(|call| call.answer.is_none());
            let answer = call.answer.filter(|_| !call.is_lost);
            match (call.claim, answer) {
                (None, Some(Answer::Read(record))) => self.election.read(clock, Ok(record)),
                (None, _) => self.election.read(clock, Err(())),
                (Some(claim), Some(Answer::Wrote(outcome))) => {
                    self.election.written(&claim, call.sent, clock, outcome);
                }
                (Some(claim), _) => self.election.written(&claim, call.sent, clock, Written::Unknown),
            }
        }
        if self.call.is_some() {
            return given_up;
        }
        let claim = match self.election.next(clock) {
            Todo::Wait(_) => return given_up,
            Todo::Read => None,
            Todo::Write(claim) => Some(claim),
        };
        // Mostly quick, so that a takeover can be as early as it ever is.
        let slowest = if self.calm || random.below(4) > 0 { 100 } else { 3_000 };
        let is_lost = !self.calm && random.below(10) == 0;
        let arrives = now + TICK + random.millis(slowest);
        let returns = (arrives + random.millis(slowest)).min(now + 2 * TIMING.retry);
        self.call = Some(Call { sent: clock, arrives, returns, claim, answer: None, is_lost });
        given_up
    }
}

fn serve(server: &mut Option<Record>, claim: Option<&Claim>, by: &str) -> Answer {
    let Some(claim) = claim else { return Answer::Read(server.clone()) };
    if server.as_ref().map(|record| &record.version) != claim.version.as_ref() {
        return Answer::Wrote(Written::Conflict);
    }
    let number = server.as_ref().map_or(0, |record| record.version.parse::<u64>().unwrap()) + 1;
    let version = number.to_string();
    *server = Some(Record {
        holder: by.to_owned(),
        version: version.clone(),
        lease: TIMING.lease,
        transitions: claim.transitions,
    });
    Answer::Wrote(Written::Done(version))
}

fn candidate(name: &str, random: &mut Random) -> Candidate {
    Candidate {
        election: Election::new(name, TIMING),
        offset: random.millis(1_000_000),
        rate: 90 + random.millis(21),
        stopped_until: 0,
        call: None,
        calm: false,
    }
}

/// Takeovers in a run of this seed.
fn run(seed: u64) -> u32 {
    let mut random = Random(seed);
    let mut candidates: Vec<_> = ["a", "b", "c"].iter().map(|name| candidate(name, &mut random)).collect();
    // Requests that nobody waits for any more: they arrive still.
    let mut orphans: Vec<(String, Call)> = Vec::new();
    let (mut server, mut leader, mut changes) = (None, String::new(), 0);
    let mut now = 0;
    while now < TROUBLE + RECOVERY {
        now += TICK;
        let calm = now >= TROUBLE;
        orphans.retain(|(by, call)| {
            if call.arrives <= now {
                serve(&mut server, call.claim.as_ref(), by);
            }
            call.arrives > now
        });
        for (at, one) in candidates.iter_mut().enumerate() {
            one.calm = calm;
            let given_up = one.turn(now, &mut server, &mut random);
            orphans.extend(given_up.map(|call| (one.election.me.clone(), call)));
            if calm {
                one.stopped_until = one.stopped_until.min(TROUBLE);
            } else if random.below(150) == 0 {
                one.stopped_until = now + random.millis(25_000);
            } else if random.below(600) == 0 {
                let fresh = candidate(&format!("{at}-{now}"), &mut random);
                let dead = std::mem::replace(one, fresh);
                orphans.extend(dead.call.filter(|call| call.answer.is_none()).map(|call| (dead.election.me, call)));
            }
        }
        let acting: Vec<_> = candidates.iter().filter(|candidate| candidate.acts(now)).collect();
        assert!(acting.len() < 2, "seed {seed}: at {now} ms {} act at once", acting.len());
        if let Some(acting) = acting.first()
            && acting.election.me != leader
        {
            leader.clone_from(&acting.election.me);
            changes += 1;
        }
    }
    assert!(candidates.iter().any(|candidate| candidate.acts(now)), "seed {seed}: nobody acts in the end");
    changes
}

#[test]
fn two_never_act_at_once_and_one_does_in_the_end() {
    let changes: u32 = (0..3_000).map(run).sum();
    // It is about changing hands under trouble, so they must change hands.
    assert!(changes > 6_000, "only {changes} changes");
}
