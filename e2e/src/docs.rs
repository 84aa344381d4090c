//! What the documentation tells users to type, so that tests do just that.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// The lines of a page of `docs/` that call `kubectl`, without that word, in their order.
pub fn kubectl_lines(page: &str) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("kubectl ")).map(str::to_owned).collect())
}
