//! Every scenario again, with a fault at each of its writes: the process dies before it or after it, its reply is lost, or
//! another writer comes first. In the end everything is as in the undisturbed run, and the invariants hold throughout.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod sim;

use std::{fs, path::Path, thread};

use sim::{Fault, Sim, script};

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

fn played(script: &str, fault: Option<(usize, Fault)>) -> Sim {
    let mut sim = Sim::new();
    sim.fault = fault;
    script::run(&mut sim, script);
    sim
}

/// Number of faults, and where the outcome differs.
fn disturbed(name: &str, script: &str) -> (usize, Vec<String>) {
    let undisturbed = played(script, None);
    let mut differences = Vec::new();
    let mut faults = 0;
    for at in 0..undisturbed.writes {
        for fault in [Fault::Before, Fault::After, Fault::LostReply, Fault::Conflict] {
            faults += 1;
            let sim = played(script, Some((at, fault)));
            if sim.outcome() != undisturbed.outcome() {
                differences.push(format!(
                    "{name}: {fault:?} at write {at}\n--- undisturbed\n{}--- disturbed\n{}{}",
                    undisturbed.outcome(),
                    sim.outcome(),
                    sim.log.join("\n")
                ));
            }
        }
    }
    (faults, differences)
}

#[test]
fn a_fault_at_any_write_changes_no_outcome() {
    let scripts = scripts();
    let halves = scripts.chunks(scripts.len().div_ceil(2));
    let (mut faults, mut differences) = (0, Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = halves
            .map(|half| {
                scope.spawn(move || half.iter().map(|(name, script)| disturbed(name, script)).collect::<Vec<_>>())
            })
            .collect();
        for (count, found) in workers.into_iter().flat_map(|worker| worker.join().unwrap()) {
            faults += count;
            differences.extend(found);
        }
    });
    println!("{} scenarios, {faults} faults, {} different outcomes", scripts.len(), differences.len());
    let first = differences.first().cloned().unwrap_or_default();
    let titles: Vec<&str> = differences.iter().filter_map(|difference| difference.lines().next()).collect();
    assert!(differences.is_empty(), "{} of {faults}:\n{}\n{first}", differences.len(), titles.join("\n"));
}
