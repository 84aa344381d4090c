//! Configuration from files instead of a controller: for trying out, tests and benchmarks.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::plane::{Changed, Plane, Resources};
use super::state::read_resources;
use crate::control::files::Folder;
use crate::control::findings::{self, Finding};

/// How often the files are looked at for a change.
const INTERVAL: Duration = Duration::from_secs(1);

/// What the files hold.
#[derive(Debug)]
pub(super) enum Source {
    /// A folder of Gateway API manifests.
    Manifests(PathBuf),
    /// A JSON list of compiled resources.
    Resources(PathBuf),
}

impl Source {
    fn path(&self) -> &Path {
        match self {
            Self::Manifests(path) | Self::Resources(path) => path,
        }
    }

    /// Reads the files. What is said of manifests goes to the log where it differs from what was told before.
    fn read(&self, told: &mut BTreeSet<Finding>) -> anyhow::Result<Resources> {
        match self {
            Self::Manifests(dir) => {
                let folder = Folder::read(dir)?;
                let findings = folder.findings.into_iter().collect();
                tell(told, &findings);
                *told = findings;
                Ok(folder.resources)
            }
            Self::Resources(path) => read_resources(path).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

/// Serves what the files say, now and after each change or SIGHUP. What cannot be served at the start is an error; later
/// it is logged, and the last good configuration goes on.
pub(super) async fn follow(plane: &Rc<Plane>, source: Source) -> anyhow::Result<()> {
    let mut reload = signal(SignalKind::hangup())?;
    let mut seen = stamp(source.path())?;
    let mut update = 1;
    let mut told = BTreeSet::new();
    plane.apply(update, &source.read(&mut told)?, &Changed::All).await?;
    loop {
        let asked = tokio::time::timeout(INTERVAL, reload.recv()).await.is_ok();
        // Taken before reading: a change in between is found the next time.
        let now = stamp(source.path()).unwrap_or_default();
        if !asked && now == seen {
            continue;
        }
        seen = now;
        update += 1;
        let applied = match source.read(&mut told) {
            Ok(resources) => plane.apply(update, &resources, &Changed::All).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        if let Err(error) = applied {
            tracing::error!("The configuration is not served: {error:#}");
        }
    }
}

fn tell(before: &BTreeSet<Finding>, now: &BTreeSet<Finding>) {
    let news = findings::news(before, now);
    for finding in news.said {
        if finding.is_rejection() {
            tracing::warn!("{finding}");
        } else {
            tracing::info!("{finding}");
        }
    }
    for subject in news.gone {
        tracing::info!("{subject} is gone");
    }
}

/// Name, size and time of change of every file.
fn stamp(path: &Path) -> io::Result<Vec<(PathBuf, u64, Option<SystemTime>)>> {
    let paths = if path.is_dir() {
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?
    } else {
        vec![path.to_owned()]
    };
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let metadata = fs::metadata(&path)?;
        files.push((path, metadata.len(), metadata.modified().ok()));
    }
    files.sort();
    Ok(files)
}
