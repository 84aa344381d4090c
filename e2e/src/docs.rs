//! What the documentation tells users to type, so that tests do just that.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// The lines of a page of `docs/` that call `kubectl`, without that word, in their order.
pub fn kubectl_lines(page: &str) -> Result<Vec<String>> {
    Ok(read(page)?.lines().filter_map(|line| line.strip_prefix("kubectl ")).map(str::to_owned).collect())
}

/// The commands of a page's code blocks that can be run as they stand: those of `kubectl` and of scripts in `examples/`. In
/// their order, block by block.
pub fn commands(page: &str) -> Result<Vec<Vec<String>>> {
    let text = read(page)?;
    let blocks = text.split("```").skip(1).step_by(2);
    let is_command = |line: &&str| line.starts_with("kubectl ") || line.starts_with("examples/");
    Ok(blocks.map(|block| block.lines().filter(is_command).map(str::to_owned).collect()).collect())
}

fn read(page: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}
