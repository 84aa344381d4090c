//! Every scenario again, disturbed once: at each of its writes the process dies before it or after it, its reply is lost,
//! another writer comes first, or it arrives when another process has taken over; a cache shows a part of the world as it
//! was; an event is lost. In the end everything is as in the undisturbed run, and the invariants hold throughout.
//!
//! A disturbed run is like the undisturbed one up to the disturbance, so it is played from there; and it is played no
//! further than to where the cluster is exactly as in a run whose end is known, for the simulation has no randomness.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod sim;

use std::{
    collections::HashMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use sim::{
    Sim,
    fault::{Disturbance, Fault, Noted, Part, View},
    script::{Position, Script},
};
use sluice_operator_core::Millis;

/// What must be played at least.
const CASES: usize = 20_000;
/// What is shown as it was so many seconds ago. A look reads the Rollout first and the rest live after it, so that parts
/// are not older than it by more than a moment; the whole can be, when the process was stopped after it had read.
const STALE: [(usize, Part); 12] = [
    (1, Part::Canary),
    (1, Part::Everything),
    (1, Part::Frozen),
    (1, Part::Routes),
    (1, Part::Telemetry),
    (1, Part::Workload),
    (2, Part::Everything),
    (5, Part::Everything),
    (20, Part::Everything),
    (2, Part::Telemetry),
    (5, Part::Telemetry),
    (20, Part::Telemetry),
];
/// How long after a disturbance the cluster is compared with those of other disturbances.
const SETTLED: Millis = 4_000;

fn scripts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut scripts: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    scripts.sort();
    let named = |path: &std::path::PathBuf| {
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())
    };
    scripts.iter().map(named).collect()
}

/// The cluster before a step of the script.
struct Frame {
    sim: Sim,
    at: Position,
    /// Lines that had been logged.
    logged: usize,
}

/// The undisturbed run, step by step.
struct Run<'s> {
    script: Script<'s>,
    frames: Vec<Frame>,
    end: Sim,
}

impl<'s> Run<'s> {
    fn play(script: &'s str) -> Self {
        let script = Script::read(script);
        let (mut sim, mut at) = (Sim::new(), Position::default());
        *sim.woken = Some(Vec::new());
        let mut frames = Vec::new();
        loop {
            let log = std::mem::take(&mut *sim.log);
            frames.push(Frame { sim: sim.clone(), at, logged: log.len() });
            *sim.log = log;
            if !script.step(&mut sim, &mut at) {
                return Self { script, frames, end: sim };
            }
        }
    }

    /// The last step before which this holds of the cluster; it holds of the first.
    fn step_at(&self, holds: impl Fn(&Sim) -> bool) -> usize {
        self.frames.partition_point(|frame| holds(&frame.sim)) - 1
    }

    /// A fault of each kind at each write.
    fn faults(&self) -> Vec<(usize, Disturbance)> {
        let late = [Fault::Late(3_000), Fault::Late(20_000)];
        let kinds = [Fault::Before, Fault::After, Fault::LostReply, Fault::Conflict].into_iter().chain(late);
        let of_write = |at: usize| {
            let step = self.step_at(|sim| *sim.writes <= at);
            kinds.clone().map(move |fault| (step, Disturbance::Write(at, fault)))
        };
        (0..*self.end.writes).flat_map(of_write).collect()
    }

    /// A stale view of each part in each look that wrote something.
    fn stale_views(&self) -> Vec<(usize, Disturbance)> {
        let of_look = |look: usize| {
            let step = self.step_at(|sim| *sim.looks < look);
            STALE.into_iter().filter_map(move |(age, part)| {
                Some((step, Disturbance::Stale(look, part, self.seen_before(step, age)?)))
            })
        };
        self.end.wrote.iter().copied().flat_map(of_look).collect()
    }

    /// What was to be seen so many seconds before the end of this step.
    fn seen_before(&self, step: usize, age: usize) -> Option<Arc<View>> {
        let then = self.frames[step].sim.now - 1_000 * i64::try_from(age - 1).unwrap();
        let frame = self.frames[..=step].iter().rev().find(|frame| frame.sim.now == then)?;
        Some(Arc::new(frame.sim.view()))
    }

    /// Each event lost.
    fn missed(&self) -> Vec<(usize, Disturbance)> {
        let looks = self.end.woken.iter().flatten().copied();
        looks.map(|look| (self.step_at(|sim| *sim.looks < look), Disturbance::Missed(look))).collect()
    }

    fn disturbances(&self) -> Vec<(usize, Disturbance)> {
        [self.faults(), self.stale_views(), self.missed()].concat()
    }

    /// Plays on from a step with a disturbance, as far as is needed to know the end.
    fn disturbed(&self, step: usize, disturbance: &Disturbance, known: &mut Known) -> End {
        let Frame { sim, at, .. } = &self.frames[step];
        let (mut sim, mut at) = (sim.clone(), *at);
        (sim.disturbance, sim.woken) = (Noted(Some(disturbance.clone())), Noted(None));
        let mut struck_at = None;
        for step in step + 1.. {
            if !self.script.step(&mut sim, &mut at) {
                return End::Played(Box::new(sim));
            }
            if sim.disturbance.is_some() {
                continue;
            }
            if self.frames.get(step).is_some_and(|frame| frame.at == at && frame.sim == sim) {
                return End::AsUndisturbed;
            }
            if *struck_at.get_or_insert(sim.now) + SETTLED == sim.now
                && let Some(case) = known.find_or_add(&sim, at)
            {
                return End::As(case);
            }
        }
        End::Played(Box::new(sim))
    }

    /// How many disturbances, and what they changed.
    fn disturb(&self, name: &str) -> (usize, Vec<String>) {
        let wanted = self.end.outcome();
        let mut known = Known::default();
        // Per case what is different; None when nothing is.
        let mut cases: Vec<Option<String>> = Vec::new();
        for (step, disturbance) in self.disturbances() {
            let played = AssertUnwindSafe(|| self.disturbed(step, &disturbance, &mut known));
            let case = match catch_unwind(played) {
                Ok(End::AsUndisturbed) => None,
                Ok(End::As(case)) => cases[case].clone(),
                Err(panic) => {
                    let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                    Some(format!("{name}: {}: {message}", disturbance.name()))
                }
                Ok(End::Played(sim)) => {
                    let lost = if self.end.lost == 0 { sim.lost } else { 0 };
                    let found = sim.outcome();
                    (!sim.races && (found != wanted || lost > 0)).then(|| {
                        let before = &self.end.log[..self.frames[step].logged];
                        let log = [before, sim.log.as_slice()].concat().join("\n");
                        format!(
                            "{name}: {}, {lost} requests lost\n--- undisturbed\n{wanted}--- disturbed\n{found}{log}",
                            disturbance.name()
                        )
                    })
                }
            };
            cases.push(case);
            known.cases = cases.len();
        }
        (cases.len(), cases.into_iter().flatten().collect())
    }
}

/// How a disturbed run ends.
enum End {
    /// It was played to the end.
    Played(Box<Sim>),
    /// The cluster became exactly what it was at this point of the undisturbed run.
    AsUndisturbed,
    /// It became exactly what it was at this point of an earlier case.
    As(usize),
}

/// Clusters soon after the disturbance, of the cases so far.
#[derive(Default)]
struct Known {
    at: HashMap<Millis, Vec<(Position, Sim, usize)>>,
    cases: usize,
}

impl Known {
    /// The earlier case that was the same at this point; otherwise this one is kept.
    fn find_or_add(&mut self, sim: &Sim, at: Position) -> Option<usize> {
        let known = self.at.entry(sim.now).or_default();
        let same = known.iter().find(|(position, other, _)| *position == at && other == sim);
        if let Some((_, _, case)) = same {
            return Some(*case);
        }
        known.push((at, sim.clone(), self.cases));
        None
    }
}

#[test]
fn no_disturbance_changes_the_outcome() {
    let started = Instant::now();
    let scripts = scripts();
    let next = AtomicUsize::new(0);
    let found = Mutex::new((0, Vec::new()));
    let play = || {
        while let Some((name, script)) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (cases, differences) = Run::play(script).disturb(name);
            let mut found = found.lock().unwrap();
            found.0 += cases;
            found.1.extend(differences);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(play);
        }
    });
    let (cases, differences) = found.into_inner().unwrap();
    println!(
        "{} scenarios, {cases} disturbances in {:.1} s, {} different outcomes",
        scripts.len(),
        started.elapsed().as_secs_f64(),
        differences.len()
    );
    let titles: Vec<&str> = differences.iter().filter_map(|difference| difference.lines().next()).collect();
    let first = differences.first().cloned().unwrap_or_default();
    assert!(differences.is_empty(), "{} of {cases}:\n{}\n{first}", differences.len(), titles.join("\n"));
    assert!(cases >= CASES, "only {cases} cases: {CASES} are promised");
}
