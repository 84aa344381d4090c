//! Every scenario again, with a fault at each of its writes: the process dies before it or after it, its reply is lost, or
//! another writer comes first; or a cache shows a part of the world as it was. In the end everything is as in the undisturbed run, and the invariants hold throughout.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod sim;

use std::{fs, path::Path, thread};

use sim::{Fault, Part, Sim, script};

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

fn played(script: &str, fault: Option<(usize, Fault)>, stale: Option<(usize, Part)>) -> Sim {
    let mut sim = Sim::new();
    (sim.fault, sim.stale) = (fault, stale);
    script::run(&mut sim, script);
    sim
}

/// One disturbance.
type Disturbance = (Option<(usize, Fault)>, Option<(usize, Part)>);

/// A fault of each kind at each write.
fn faults(undisturbed: &Sim) -> Vec<Disturbance> {
    let kinds = [Fault::Before, Fault::After, Fault::LostReply, Fault::Conflict];
    (0..undisturbed.writes).flat_map(|at| kinds.map(|fault| (Some((at, fault)), None))).collect()
}

/// A stale view of each part in each look that wrote something.
fn stale_views(undisturbed: &Sim) -> Vec<Disturbance> {
    undisturbed.wrote.iter().copied().flat_map(|look| Part::ALL.map(|part| (None, Some((look, part))))).collect()
}

/// Number of disturbances, and where the outcome differs.
fn disturbed(name: &str, script: &str, disturbances: fn(&Sim) -> Vec<Disturbance>) -> (usize, Vec<String>) {
    let undisturbed = played(script, None, None);
    let wanted = undisturbed.outcome();
    let disturbances = disturbances(&undisturbed);
    let mut differences = Vec::new();
    for (fault, stale) in &disturbances {
        let sim = played(script, *fault, *stale);
        if !sim.races && sim.outcome() != wanted {
            differences.push(format!(
                "{name}: fault {fault:?}, stale {stale:?}\n--- undisturbed\n{wanted}--- disturbed\n{}{}",
                sim.outcome(),
                sim.log.join("\n")
            ));
        }
    }
    (disturbances.len(), differences)
}

fn disturb_all(disturbances: fn(&Sim) -> Vec<Disturbance>) {
    let scripts = scripts();
    let (mut count, mut differences) = (0, Vec::new());
    thread::scope(|scope| {
        let play = |half: Vec<&(String, String)>| {
            let play_one = |(name, script): &(String, String)| disturbed(name, script, disturbances);
            half.into_iter().map(play_one).collect::<Vec<_>>()
        };
        let halves = [0, 1].map(|odd| scripts.iter().skip(odd).step_by(2).collect::<Vec<_>>());
        let workers = halves.map(|half| scope.spawn(move || play(half)));
        for (more, found) in workers.into_iter().flat_map(|worker| worker.join().unwrap()) {
            count += more;
            differences.extend(found);
        }
    });
    println!("{} scenarios, {count} disturbances, {} different outcomes", scripts.len(), differences.len());
    let first = differences.first().cloned().unwrap_or_default();
    let titles: Vec<&str> = differences.iter().filter_map(|difference| difference.lines().next()).collect();
    assert!(differences.is_empty(), "{} of {count}:\n{}\n{first}", differences.len(), titles.join("\n"));
}

#[test]
fn a_fault_at_any_write_changes_no_outcome() {
    disturb_all(faults);
}

#[test]
fn a_stale_view_changes_no_outcome() {
    disturb_all(stale_views);
}
