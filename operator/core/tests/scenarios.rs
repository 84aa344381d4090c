//! Scripted rollouts: what is said and written, compared with what was found right before. `UPDATE=1` takes it as right.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod sim;

use std::{fs, path::Path};

use sim::{Sim, script};
use sluice_operator_core::{PROBE_AGAIN_MS, decision::Phase};

#[test]
fn scenarios_come_out_as_before() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut wrong = Vec::new();
    let mut scripts: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    scripts.sort();
    for path in scripts {
        let mut sim = Sim::new();
        script::run(&mut sim, &fs::read_to_string(&path).unwrap());
        let found = sim.log.join("\n") + "\n";
        let golden = path.with_extension("out");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &found).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != found {
            wrong.push(format!("=== {}\n{found}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "not as before (UPDATE=1 takes it as right):\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_written_only_because_time_goes_by() {
    for (policy, phase) in [("on", Phase::Stable), ("none", Phase::Stable), ("off", Phase::Adopting)] {
        let mut sim = Sim::new();
        script::run(&mut sim, &format!("policy {policy}\nstep 10%\nrun 60s"));
        assert_eq!(sim.phase(), phase, "policy {policy}:\n{}", sim.log.join("\n"));
        let (written, state, first_probe) = (*sim.writes, sim.state.clone(), sim.probed_at);
        script::run(&mut sim, "run 1800s");
        assert!(sim.probed_at >= first_probe + 2 * PROBE_AGAIN_MS, "policy {policy} is probed again");
        assert_eq!((*sim.writes, &sim.state), (written, &state), "policy {policy}:\n{}", sim.log.join("\n"));
    }
}
