//! The loop: an input that reaches what none has reached joins the pool that others are made of; one that breaks a promise,
//! or takes too long, is made as small as it goes and handed back.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::coverage::Coverage;
use crate::mutate::mutate;
use crate::targets::Target;

/// A run that takes longer is a finding: every target reads a few kilobytes.
const SLOW: Duration = Duration::from_secs(1);
/// A run that takes longer does not end.
const HANGING: Duration = Duration::from_secs(10);
/// How often a finding is cut at most to make it smaller.
const CUTS: u32 = 4_000;

/// An input that broke a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// As small as it went.
    pub input: Vec<u8>,
    /// What the target said.
    pub message: String,
}

/// What a run of the loop came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How often the target was called.
    pub runs: u64,
    /// Counters that were reached; 0 without coverage.
    pub reached: usize,
    /// Inputs that reached something new.
    pub fresh: Vec<Vec<u8>>,
    /// The first that broke a promise.
    pub finding: Option<Finding>,
}

/// Calls a target once. None when it kept its promises.
pub fn call(target: &Target, input: &[u8]) -> Option<String> {
    let started = Instant::now();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    match ended {
        Err(payload) => Some(message(&*payload)),
        Ok(()) => (started.elapsed() > SLOW).then(|| format!("took {:?}", started.elapsed())),
    }
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "it panicked".to_owned())
}

/// Fuzzes a target for a time, from the inputs that there are.
pub fn fuzz(target: &Target, seeds: Vec<Vec<u8>>, time: Duration, seed: u64) -> Outcome {
    let silenced = Silence::begin();
    let watch = Watch::start(target.name);
    let (mut rng, mut coverage, end) = (Rng::with_seed(seed), Coverage::default(), Instant::now() + time);
    let mut pool = if seeds.is_empty() { vec![vec![]] } else { seeds };
    let mut outcome = Outcome::default();
    let known = pool.len();
    let mut begun = 0;
    while Instant::now() < end {
        // Each seed as it is first: what they reach is not new.
        let input = if let Some(seed) = pool.get(begun).filter(|_| begun < known) {
            seed.clone()
        } else {
            let from = draw(&mut rng, pool.len());
            mutate(&mut rng, &pool[from], &pool, target.words, target.longest)
        };
        watch.begin(&input);
        coverage.reset();
        let broken = call(target, &input);
        outcome.runs += 1;
        if let Some(message) = broken {
            outcome.finding = Some(shrink(target, Finding { input, message }));
            break;
        }
        if coverage.is_new() && begun >= known {
            outcome.fresh.push(input.clone());
            pool.push(input);
        }
        begun += 1;
    }
    watch.end();
    drop(silenced);
    outcome.reached = coverage.reached();
    outcome
}

/// Prefers the newest of the pool: there is more to be found near what was found last.
fn draw(rng: &mut Rng, length: usize) -> usize {
    let newest = length.min(16);
    if rng.u32(0..4) == 0 { length - 1 - rng.usize(..newest) } else { rng.usize(..length) }
}

/// Cuts pieces out as long as it still breaks a promise.
fn shrink(target: &Target, mut finding: Finding) -> Finding {
    let mut piece = (finding.input.len() / 2).max(1);
    let mut cuts = 0;
    while piece > 0 {
        let mut from = 0;
        let mut smaller = false;
        while from < finding.input.len() && cuts < CUTS {
            cuts += 1;
            let mut input = finding.input.clone();
            input.drain(from..(from + piece).min(input.len()));
            match call(target, &input) {
                Some(message) => (finding, smaller) = (Finding { input, message }, true),
                None => from += piece,
            }
        }
        if !smaller || cuts >= CUTS {
            piece /= 2;
        }
    }
    finding
}

/// Panics are what is looked for, so they are not worth a line each.
struct Silence(Option<Hook>);

type Hook = Box<dyn Fn(&panic::PanicHookInfo<'_>) + Sync + Send>;

impl Silence {
    fn begin() -> Self {
        let before = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        Self(Some(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        if let Some(before) = self.0.take() {
            panic::set_hook(before);
        }
    }
}

/// Ends the process when a run does not end, and says by which input.
struct Watch(Arc<Mutex<Option<Run>>>);

/// When a run began, and with which input.
type Run = (Instant, Vec<u8>);

impl Watch {
    fn start(target: &'static str) -> Self {
        let current = Arc::new(Mutex::new(Some((Instant::now(), Vec::new()))));
        let watched = Arc::clone(&current);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(200));
                match &*watched.lock().unwrap_or_else(PoisonError::into_inner) {
                    Some((since, input)) if since.elapsed() > HANGING => {
                        eprintln!("{target}: does not end on {:?}", String::from_utf8_lossy(input));
                        std::process::abort();
                    }
                    Some(_) => {}
                    None => return,
                }
            }
        });
        Self(current)
    }

    fn begin(&self, input: &[u8]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), input.to_vec()));
    }

    fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{call, fuzz};
    use crate::targets::Target;

    const PICKY: Target = Target {
        name: "picky",
        run: |input| assert!(!input.windows(2).any(|pair| pair == b"xy"), "there it is"),
        words: &["x", "y"],
        longest: 64,
    };

    #[test]
    fn a_broken_promise_is_found_and_made_small() {
        let outcome = fuzz(&PICKY, vec![b"something else".to_vec()], Duration::from_mins(1), 1);
        let finding = outcome.finding.expect("a finding");
        assert_eq!((&*finding.input, &*finding.message), (&b"xy"[..], "there it is"));
        assert!(call(&PICKY, &finding.input).is_some());
    }

    #[test]
    fn a_kept_promise_is_no_finding() {
        let fine = Target { run: |_| {}, ..PICKY };
        let outcome = fuzz(&fine, vec![], Duration::from_millis(20), 1);
        assert!(outcome.runs > 0 && outcome.finding.is_none());
    }
}
