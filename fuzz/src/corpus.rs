//! Inputs on disk: a folder a target, a file an input.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The committed inputs of a target.
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// Every input of a folder with its file, in the order of names.
pub fn load(folder: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    paths.into_iter().map(|path| fs::read(&path).map(|bytes| (path, bytes))).collect()
}

/// Writes an input under a name that follows from its bytes, so that the same one is one file. Returns the file.
pub fn save(folder: &Path, prefix: &str, input: &[u8]) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{prefix}-{:016x}", digest(input)));
    fs::write(&path, input)?;
    Ok(path)
}

/// FNV-1a: only to tell inputs apart.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
