//! Cases as files: manifests in `<case>.yaml`, beside a `<case>.out` that says what they come to. With
//! `SLUICE_REGENERATE=1` the outputs are written anew, to be read as a diff.

use std::{env, fs, path::PathBuf};

/// A case of a folder below `src/control`.
#[derive(Debug)]
pub(super) struct Case {
    folder: PathBuf,
    name: &'static str,
}

impl Case {
    /// The case of this name.
    pub(super) fn new(folder: &str, name: &'static str) -> Self {
        Self { folder: [env!("CARGO_MANIFEST_DIR"), "src/control", folder].iter().collect(), name }
    }

    /// Its manifests.
    pub(super) fn manifests(&self) -> String {
        fs::read_to_string(self.folder.join(format!("{}.yaml", self.name))).unwrap()
    }

    /// Compares what they came to with what they are to come to.
    pub(super) fn compare(&self, actual: &str) {
        let expected = self.folder.join(format!("{}.out", self.name));
        if env::var_os("SLUICE_REGENERATE").is_some() {
            fs::write(&expected, actual).unwrap();
        }
        assert_eq!(actual, fs::read_to_string(expected).unwrap_or_default(), "{}", self.name);
    }
}
