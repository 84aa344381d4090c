//! A scenario: a folder of `examples/` with a page of the same name in `docs/scenarios/`. Its test does what the page tells
//! its reader to type, all of it.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    cluster::{Cluster, Kubectl},
    diagnose, docs, gateway,
    install::{example_path, install, manifest_path},
    manifest::{self, text},
    wait::{until, when},
};

/// How long what a command shows may take to become what the page says.
const DEADLINE: Duration = Duration::from_mins(1);

/// A scenario that is set up: the commands of the page's first block have been run.
#[derive(Debug)]
pub struct Scenario {
    /// Where.
    pub cluster: Cluster,
    name: String,
    namespaces: Vec<String>,
    commands: Vec<String>,
    removal: Vec<String>,
    ran: Mutex<BTreeSet<String>>,
}

/// Sets the scenario up, tests it and takes it away. On failure it prints what a person would look at; `SLUICE_KEEP=1` leaves
/// everything as it is.
pub async fn run(name: &str, test: impl AsyncFnOnce(&Scenario) -> Result<()>) -> Result<()> {
    let cluster = Cluster::connect().await?;
    install(&cluster, &manifest_path()).await?;
    let page = format!("docs/scenarios/{name}.md");
    let mut blocks = docs::commands(&format!("scenarios/{name}.md"))?.into_iter();
    let first = blocks.next().with_context(|| format!("{page} has no commands"))?;
    let (removal, commands) = blocks.flatten().partition(|line| line.starts_with("kubectl delete -f examples/"));
    let scenario = Scenario {
        namespaces: namespaces(name)?,
        cluster,
        name: name.to_owned(),
        commands,
        removal,
        ran: Mutex::default(),
    };
    ensure!(!scenario.removal.is_empty(), "{page} does not take the scenario away");
    // What a run that was interrupted has left.
    for namespace in &scenario.namespaces {
        scenario.cluster.delete_namespace(namespace).await?;
    }
    let result = scenario.play(&first, test).await;
    if let Err(error) = &result {
        eprintln!("FAILED: {name}: {error:#}");
        for namespace in &scenario.namespaces {
            eprintln!("{}", diagnose::report(&scenario.cluster, namespace).await);
        }
    }
    if std::env::var_os("SLUICE_KEEP").is_some() {
        return result;
    }
    let gone = scenario.remove().await.context("a test must leave nothing behind");
    result.and(gone)
}

impl Scenario {
    async fn play(&self, first: &[String], test: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        for line in first {
            succeeds(&self.cluster, line).await?;
        }
        test(self).await?;
        let ran = self.ran.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let left: Vec<_> = self.commands.iter().filter(|line| !ran.contains(*line)).collect();
        ensure!(left.is_empty(), "docs/scenarios/{}.md has commands that no test runs: {left:#?}", self.name);
        Ok(())
    }

    /// Runs the one command of the page, after its first block, that has this part. What it wrote.
    pub async fn command(&self, part: &str) -> Result<String> {
        succeeds(&self.cluster, &self.line(part)?).await
    }

    /// The same for a command that is to be refused.
    pub async fn fails(&self, part: &str) -> Result<Kubectl> {
        let line = self.line(part)?;
        let said = self.cluster.shell(&line).await?;
        ensure!(!said.success, "{line} is not refused: {}", said.stdout);
        Ok(said)
    }

    fn line(&self, part: &str) -> Result<String> {
        let mut lines = self.commands.iter().filter(|line| line.contains(part));
        let line = lines.next().with_context(|| format!("docs/scenarios/{}.md has no command {part:?}", self.name))?;
        ensure!(lines.next().is_none(), "docs/scenarios/{}.md has several commands {part:?}", self.name);
        self.ran.lock().unwrap_or_else(PoisonError::into_inner).insert(line.clone());
        Ok(line.clone())
    }

    /// Waits until that command shows this.
    pub async fn shows(&self, part: &str, wanted: &str) -> Result<()> {
        until(&format!("{part} shows {wanted}"), DEADLINE, async || {
            let shown = self.command(part).await?;
            Ok(when(shown.trim() == wanted, || shown))
        })
        .await
    }

    /// The address of a Gateway, once it has one.
    pub async fn address(&self, namespace: &str, gateway: &str) -> Result<IpAddr> {
        gateway::address(&self.cluster, namespace, gateway).await
    }

    /// Runs what the page ends with, also where it was never set up.
    async fn remove(&self) -> Result<()> {
        for line in &self.removal {
            succeeds(&self.cluster, &format!("{line} --ignore-not-found")).await?;
        }
        Ok(())
    }
}

async fn succeeds(cluster: &Cluster, line: &str) -> Result<String> {
    let said = cluster.shell(line).await?;
    ensure!(said.success, "{line}: {}{}", said.stdout, said.stderr);
    Ok(said.stdout)
}

/// The namespaces that a folder of `examples/` has.
fn namespaces(name: &str) -> Result<Vec<String>> {
    let objects = manifest::read(&example_path(name))?;
    let found = objects.iter().filter(|object| text(object, "/kind") == "Namespace");
    Ok(found.map(|object| text(object, "/metadata/name").to_owned()).collect())
}
