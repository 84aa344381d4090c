//! Leader election with a Lease: of several replicas one looks and writes, the others keep their watches warm.
//!
//! When to ask for what is decided by `sluice_operator_core::election`; this reads and writes the Lease. Every write of the
//! operator asks [`Leadership::permits`] first, by the monotonic clock, which runs on while a process is stopped: one that
//! was is refused by itself, and what it had under way already by the preconditions of each write.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, stream::unfold};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use sluice_crds::names::FIELD_MANAGER;
use sluice_operator_core::{
    Millis,
    election::{Claim, Election, Record, Timing, Todo, Written},
};
use tokio::sync::watch;

use crate::metrics::Metrics;

/// Who acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// There is no election: this process alone.
    Always,
    /// Not this process.
    No,
    /// This process, in this term of office, until then.
    Until(u64, Instant),
}

/// Whether this process acts.
#[derive(Clone, Debug)]
pub(crate) struct Leadership(watch::Receiver<Held>);

impl Leadership {
    /// Without an election.
    pub(crate) fn always() -> Self {
        Self(watch::channel(Held::Always).1)
    }

    /// The term of office that this process is in; None when it must not act.
    pub(crate) fn term(&self) -> Option<u64> {
        match *self.0.borrow() {
            Held::Always => Some(0),
            Held::Until(term, until) if Instant::now() < until => Some(term),
            Held::Until(..) | Held::No => None,
        }
    }

    /// It may write now.
    pub(crate) fn permits(&self) -> bool {
        self.term().is_some()
    }

    /// Resolves when this term of office is over.
    pub(crate) async fn over(&self, term: u64) {
        let mut held = self.0.clone();
        loop {
            let now = *held.borrow_and_update();
            let ends = match now {
                Held::Always => None,
                Held::Until(current, until) if current == term && Instant::now() < until => Some(until),
                Held::Until(..) | Held::No => return,
            };
            let changed = async {
                if held.changed().await.is_err() {
                    // Nobody elects any more: what is held runs out.
                    std::future::pending::<()>().await;
                }
            };
            match ends {
                None => changed.await,
                Some(until) => tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => {}
                    () = changed => {}
                },
            }
        }
    }

    /// An item at the beginning of each term of office.
    pub(crate) fn terms(&self) -> impl Stream<Item = u64> + Send + use<> {
        unfold((self.0.clone(), None), |(mut held, last)| async move {
            loop {
                let now = *held.borrow_and_update();
                if let Held::Until(term, _) = now
                    && last != Some(term)
                {
                    return Some((term, (held, Some(term))));
                }
                held.changed().await.ok()?;
            }
        })
    }
}

/// Where the Lease is, and how long what may take.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Times.
    pub timing: Timing,
}

/// One candidate.
pub(crate) struct Candidate {
    api: Api<Lease>,
    settings: Settings,
    me: String,
    election: Election,
    metrics: Arc<Metrics>,
    held: watch::Sender<Held>,
    started: Instant,
    lease: Option<Lease>,
}

impl Candidate {
    /// A candidate under a name that no other process has, though it may be of the same pod.
    pub(crate) fn new(client: Client, settings: Settings, metrics: Arc<Metrics>) -> (Self, Leadership) {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "sluice-operator".to_owned());
        let me = format!("{host}_{:016x}", RandomState::new().build_hasher().finish());
        let (held, seen) = watch::channel(Held::No);
        let api = Api::namespaced(client, &settings.namespace);
        let election = Election::new(me.clone(), settings.timing);
        let started = Instant::now();
        (Self { api, settings, me, election, metrics, held, started, lease: None }, Leadership(seen))
    }

    fn now(&self) -> Millis {
        Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Goes on until `done`, and releases what is held then: `done` is when nothing is under way any more.
    pub(crate) async fn run(mut self, done: impl Future<Output = ()>) {
        tracing::info!(identity = self.me, lease = self.settings.name, "candidate");
        let mut done = std::pin::pin!(done);
        loop {
            tokio::select! {
                () = &mut done => break,
                () = self.step() => {}
            }
        }
        let Some(claim) = self.election.release(self.now()) else { return };
        self.held.send_replace(Held::No);
        match self.write(&claim, true).await {
            Written::Done(_) => tracing::info!("the Lease is released"),
            other => tracing::warn!(?other, "the Lease could not be released and runs out by itself"),
        }
    }

    /// One step. Dropped while it waits for an answer it leaves a write of which nothing is known, which is reckoned with.
    async fn step(&mut self) {
        let now = self.now();
        self.metrics.elected();
        match self.election.next(now) {
            Todo::Wait(until) => {
                self.tell();
                tokio::time::sleep(millis(until - now)).await;
            }
            Todo::Read => {
                self.tell();
                let answer = self.read().await;
                let now = self.now();
                self.election.read(now, answer);
            }
            Todo::Write(claim) => {
                let outcome = self.write(&claim, false).await;
                let answered = self.now();
                self.election.written(&claim, now, answered, outcome);
            }
        }
        self.tell();
    }

    /// Tells the rest of the process what is held.
    fn tell(&self) {
        let held = match self.election.held() {
            Some((term, until)) => Held::Until(term, self.started + millis(until)),
            None => Held::No,
        };
        let was = self.held.send_replace(held);
        match (was, held) {
            (Held::Until(before, _), Held::Until(term, _)) if before == term => {}
            (_, Held::Until(term, _)) => tracing::info!(identity = self.me, term, "this process leads"),
            (Held::Until(..), _) => {
                tracing::warn!(holder = self.election.holder(), "this process does not lead any more");
            }
            _ => {}
        }
        self.metrics.leads(matches!(held, Held::Until(..)));
    }

    async fn read(&mut self) -> Result<Option<Record>, ()> {
        let call = tokio::time::timeout(self.call_timeout(), self.api.get_opt(&self.settings.name)).await;
        let lease = match call {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease could not be read");
                return Err(());
            }
            Err(_) => {
                tracing::warn!("the Lease was not read in time");
                return Err(());
            }
        };
        let record = lease.as_ref().map(record);
        self.lease = lease;
        Ok(record)
    }

    async fn write(&mut self, claim: &Claim, release: bool) -> Written {
        let lease = self.wanted(claim, release);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let write = async {
            match &claim.version {
                None => self.api.create(&params, &lease).await,
                Some(_) => self.api.replace(&self.settings.name, &params, &lease).await,
            }
        };
        let outcome = match tokio::time::timeout(self.call_timeout(), write).await {
            Ok(Ok(lease)) => {
                let version = lease.metadata.resource_version.clone().unwrap_or_default();
                self.lease = Some(lease);
                Written::Done(version)
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => Written::Conflict,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the Lease was not written");
                Written::Unknown
            }
            Err(_) => {
                tracing::warn!("the Lease was not written in time");
                Written::Unknown
            }
        };
        let result = match outcome {
            Written::Done(_) => "ok",
            Written::Conflict => "conflict",
            Written::Unknown => "unreachable",
        };
        self.metrics.api_call(if claim.version.is_some() { "update" } else { "create" }, "leases", result);
        outcome
    }

    /// The Lease to be written. Its times are for people; nobody decides by them.
    fn wanted(&self, claim: &Claim, release: bool) -> Lease {
        let mut lease = self.lease.clone().filter(|_| claim.version.is_some()).unwrap_or_default();
        lease.metadata.name = Some(self.settings.name.clone());
        lease.metadata.resource_version.clone_from(&claim.version);
        lease.metadata.managed_fields = None;
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if claim.takes_over || spec.acquire_time.is_none() {
            spec.acquire_time = Some(now.clone());
        }
        spec.renew_time = Some(now);
        spec.holder_identity = Some(if release { String::new() } else { self.me.clone() });
        spec.lease_duration_seconds = i32::try_from(self.settings.timing.lease / 1_000).ok();
        spec.lease_transitions = Some(claim.transitions);
        lease
    }

    /// Two attempts must fit into the renew deadline.
    fn call_timeout(&self) -> Duration {
        millis(2 * self.settings.timing.retry)
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        lease: spec.lease_duration_seconds.map_or(0, |seconds| Millis::from(seconds) * 1_000),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

fn millis(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests;
