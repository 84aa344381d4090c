//! The fixtures of the API are taken and refused as they say.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::shared::{in_namespace, kubectl, succeeds, without_operator};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sluice_e2e::manifest::{self, move_to};

fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/tests").join(folder);
    let mut files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    ensure!(!files.is_empty());
    Ok(files)
}

fn expected(file: &Path) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let first = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
    Ok(first.with_context(|| format!("{}: no expectation", file.display()))?.to_owned())
}

#[tokio::test]
async fn what_is_to_be_accepted_is() -> Result<()> {
    in_namespace("accept", async |cluster, namespace| {
        for file in files("accept")? {
            let path = file.to_string_lossy();
            succeeds(cluster, namespace, &["create", "--dry-run=server", "-f", &path]).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_to_be_refused_is_with_the_message_that_it_names() -> Result<()> {
    in_namespace("reject", async |cluster, namespace| {
        for file in files("reject")? {
            let path = file.to_string_lossy();
            let done = kubectl(cluster, namespace, &["create", "--dry-run=server", "-f", &path]).await?;
            let expected = expected(&file)?;
            ensure!(!done.success && done.stderr.contains(&expected), "{path}: not {expected:?} but {}", done.stderr);
        }
        Ok(())
    })
    .await
}

/// An operator would consume what is asked in the first version, and the second would be free to ask.
#[tokio::test]
async fn a_change_that_is_to_be_refused_is() -> Result<()> {
    in_namespace("update", async |cluster, namespace| {
        without_operator(cluster, async || {
            for file in files("reject-update")? {
                let mut versions: Vec<Value> = manifest::read(&file)?;
                move_to(&mut versions, namespace);
                let (after, before) = versions.split_last().context("two documents")?;
                manifest::apply(&cluster.client, before).await?;
                let refused = manifest::apply(&cluster.client, std::slice::from_ref(after)).await;
                let expected = expected(&file)?;
                let said = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
                ensure!(said.contains(&expected), "{}: not {expected:?} but {said:?}", file.display());
            }
            Ok(())
        })
        .await
    })
    .await
}
