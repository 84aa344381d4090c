//! The fixtures, as far as they can be looked at without an API server: `accept` is read without loss, and each file of
//! `reject` and `reject-update` says what it expects. What the API server itself says to them is tested with `install`.
// Clippy allows these in test functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sluice_crds::{BackendTrafficPolicy, GatewayParameters, Rollout};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Whether everything in `written` came through; defaults may have been added, nulls dropped.
fn is_kept(written: &Value, read: &Value) -> bool {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => written
            .iter()
            .all(|(name, value)| value.is_null() || read.get(name).is_some_and(|found| is_kept(value, found))),
        (Value::Array(written), Value::Array(read)) => {
            written.len() == read.len() && written.iter().zip(read).all(|(written, read)| is_kept(written, read))
        }
        (Value::Number(written), Value::Number(read)) => written.as_f64() == read.as_f64(),
        _ => written == read,
    }
}

/// The object as its type has it.
fn read<T: Serialize + DeserializeOwned>(written: &Value) -> serde_json::Result<Value> {
    serde_json::to_value(serde_json::from_value::<T>(written.clone())?)
}

#[test]
fn what_is_accepted_is_read_without_loss() {
    for file in files("accept") {
        let text = fs::read_to_string(&file).unwrap();
        let written: Value = serde_saphyr::from_str(&text).unwrap();
        let read = match written["kind"].as_str().unwrap() {
            "BackendTrafficPolicy" => read::<BackendTrafficPolicy>(&written),
            "GatewayParameters" => read::<GatewayParameters>(&written),
            _ => read::<Rollout>(&written),
        };
        let read = read.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(is_kept(&written, &read), "{}: {written}\nbecame {read}", file.display());
    }
}

#[test]
fn what_is_refused_says_what_is_expected() {
    for file in files("reject").into_iter().chain(files("reject-update")) {
        let text = fs::read_to_string(&file).unwrap();
        let expected = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
        assert!(expected.is_some_and(|expected| expected.len() > 10), "{}", file.display());
    }
}
