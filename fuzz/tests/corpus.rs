//! Every committed input keeps every promise: those that a fuzzer found to break one, and those that lead far.

use std::collections::BTreeSet;
use std::path::Path;

use sluice_fuzz::targets::TARGETS;
use sluice_fuzz::{corpus, engine};

#[test]
fn committed_inputs_break_no_promise() {
    for target in &TARGETS {
        let inputs = corpus::load(&corpus::folder(target.name)).expect("a folder of inputs");
        assert!(!inputs.is_empty(), "{} has no inputs", target.name);
        for (path, input) in inputs {
            assert_eq!(engine::call(target, &input), None, "{}", path.display());
            assert!(input.len() <= target.longest, "{} is longer than the fuzzer's own", path.display());
        }
    }
}

#[test]
fn every_folder_of_inputs_has_its_target() {
    let folders = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).expect("the corpus");
    let folders: BTreeSet<_> =
        folders.map(|folder| folder.expect("a folder").file_name().into_string().expect("a name")).collect();
    assert_eq!(folders, TARGETS.iter().map(|target| target.name.to_owned()).collect());
}
