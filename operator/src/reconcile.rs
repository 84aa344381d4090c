//! One look at one Rollout, from its objects to what is done about them:
//!
//! ```text
//! observe -> model -> (answer) -> decide -> publish -> act
//! ```

use std::{
    collections::HashMap,
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::FutureExt;
use jiff::Timestamp;
use kube::{Resource, runtime::controller::Action, runtime::events::Recorder};
use sluice_operator_core::{Millis, decide, wants};
use thiserror::Error;

use crate::{
    act::{ActError, Hands},
    answers::builtin::Builtin,
    cluster::{Cluster, ClusterError},
    leader::Leadership,
    metrics::Metrics,
    model,
    observe::{ObserveError, observe},
    pace, publish,
    watch::{Guarded, Store},
};

/// How long a look may take as a whole; the calls in it have bounds of their own.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);

/// What all looks share.
pub(crate) struct Shared {
    /// The API server.
    pub cluster: Cluster,
    /// Whether this process looks and writes.
    pub leadership: Leadership,
    /// Numbers of the proxy.
    pub builtin: Builtin,
    /// Writes Events.
    pub recorder: Recorder,
    /// Our own numbers.
    pub metrics: Arc<Metrics>,
    /// controllerName of the bundled proxy.
    pub proxy_controller_name: String,
    /// What is remembered from look to look. Nothing depends on it but the pace.
    pub memory: Mutex<HashMap<(String, String), Memory>>,
}

/// What is remembered of a Rollout from look to look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    failures: u32,
    conflicts: u32,
    acted: u32,
    in_run: bool,
    evidence_written: Option<Instant>,
    failure: Option<String>,
    /// When it was asked last whether the policy holds changes back.
    probed_at: Option<Millis>,
}

/// What a reconcile is given.
pub(crate) struct Context {
    /// What all looks share.
    pub shared: Arc<Shared>,
    /// The Rollouts that are known where this one is.
    pub store: Store,
}

/// Why a look failed.
#[derive(Debug, Error)]
enum LookError {
    #[error(transparent)]
    Observe(ObserveError),
    #[error("the status was not written")]
    Publish(#[source] ClusterError),
    #[error(transparent)]
    Act(#[from] ActError),
    #[error("the look took longer than {} s", LOOK_TIMEOUT.as_secs())]
    Timeout,
    #[error("the look panicked; this is a fault of the operator")]
    Panic,
    #[error("this process does not lead any more")]
    Deposed,
}

impl LookError {
    fn cluster(&self) -> Option<&ClusterError> {
        match self {
            Self::Observe(ObserveError::Cluster(error))
            | Self::Publish(error)
            | Self::Act(ActError::Cluster(error)) => Some(error),
            Self::Observe(ObserveError::Undecodable { .. })
            | Self::Act(_)
            | Self::Timeout
            | Self::Panic
            | Self::Deposed => None,
        }
    }

    fn category(&self) -> &'static str {
        match self {
            Self::Observe(_) | Self::Publish(_) | Self::Act(ActError::Cluster(_)) => {
                self.cluster().map_or("undecodable", ClusterError::category)
            }
            Self::Act(ActError::Foreign { .. } | ActError::Gone { .. } | ActError::Relabel(_)) => "object",
            Self::Timeout => "timeout",
            Self::Panic => "panic",
            Self::Deposed => "deposed",
        }
    }
}

/// Looks at one Rollout and says when to look again. It never fails: what goes wrong with one Rollout is told and tried
/// again, and is nothing to the others.
pub(crate) async fn reconcile(rollout: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Infallible> {
    let key = {
        let meta = rollout.meta();
        (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    };
    let shared = &context.shared;
    let Some(term) = shared.leadership.term() else {
        // The leader looks. What it says is not said twice.
        shared.forget(&key.0, &key.1);
        return Ok(Action::await_change());
    };
    let started = Instant::now();
    let look = AssertUnwindSafe(tokio::time::timeout(LOOK_TIMEOUT, Box::pin(look(&context, &key)))).catch_unwind();
    let looked = tokio::select! {
        biased;
        () = shared.leadership.over(term) => Ok(Ok(Err(LookError::Deposed))),
        looked = look => looked,
    };
    let result = match looked {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(LookError::Timeout),
        Err(_) => Err(LookError::Panic),
    };
    let (outcome, again) = match result {
        Ok(Some(again)) => ("ok", Action::requeue(again)),
        Ok(None) => ("gone", Action::await_change()),
        Err(LookError::Deposed) => {
            shared.forget(&key.0, &key.1);
            ("deposed", Action::await_change())
        }
        Err(error) => shared.went_wrong(&key, &error),
    };
    shared.metrics.reconciled(outcome, started.elapsed());
    Ok(again)
}

/// The pipeline. The result is when to look again; None when the Rollout is gone.
async fn look(context: &Context, key: &(String, String)) -> Result<Option<Duration>, LookError> {
    let Shared { cluster, builtin, recorder, metrics, proxy_controller_name, memory: _, leadership: _ } =
        &*context.shared;
    let remembered = context.shared.memory(key);
    let now = Timestamp::now().as_millisecond();
    let probed_at = remembered.probed_at.unwrap_or_else(|| pace::probed_before_us((&key.0, &key.1), now));

    // observe: live reads
    let observed = match Box::pin(observe(cluster, &context.store, (&key.0, &key.1), (now, probed_at))).await {
        Err(ObserveError::Undecodable { raw, message }) => {
            publish::undecodable(cluster, &raw, &message).await.map_err(LookError::Publish)?;
            return Err(LookError::Observe(ObserveError::Undecodable { raw, message }));
        }
        seen => seen.map_err(LookError::Observe)?,
    };
    let Some(observed) = observed else {
        context.shared.forget(&key.0, &key.1);
        return Ok(None);
    };

    // model: pure
    let mut world = model::world(&observed, proxy_controller_name, now);

    // answer: asks the proxy's controller, when the core wants it
    if wants(&world.state, now, world.probed_at).telemetry {
        world.telemetry = builtin.observe(&key.0, &observed.targets).await;
    }

    // decide: pure
    let decision = decide(&world);

    // publish: the memory is written before anything is done on it
    let failure = remembered.failure.as_deref();
    let published = publish::publish(cluster, &observed, &decision, failure, remembered.evidence_written)
        .await
        .map_err(LookError::Publish)?;
    publish::count(metrics, &observed, &world, &decision, published.written);
    context.shared.published(key, &decision.state, published.written, observed.probe.at);

    // act: carries out, in order; what changed is announced also when it fails
    let hands = Hands { cluster, observed: &observed, resource_version: &published.resource_version };
    let acted = hands.act(&decision.actions).await;
    if published.written {
        publish::announce(recorder, &observed, &decision.report).await;
    }
    acted?;
    Ok(Some(context.shared.went_well(key, !decision.actions.is_empty(), decision.wake_at)))
}

impl Shared {
    fn memories(&self) -> MutexGuard<'_, HashMap<(String, String), Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self, key: &(String, String)) -> Memory {
        self.memories().get(key).cloned().unwrap_or_default()
    }

    /// A Rollout is gone, and all that is remembered and exported of it.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        self.memories().remove(&(namespace.to_owned(), name.to_owned()));
        self.metrics.forget(namespace, name);
    }

    fn published(&self, key: &(String, String), state: &sluice_operator_core::State, written: bool, probed_at: Millis) {
        let mut memories = self.memories();
        let memory = memories.entry(key.clone()).or_default();
        // Not before: an answer that was not written down has to be asked for again.
        memory.probed_at = Some(probed_at);
        memory.in_run = state.run.as_ref().is_some_and(sluice_operator_core::state::Run::in_progress);
        if written {
            memory.evidence_written = Some(Instant::now());
        }
    }

    fn went_well(&self, key: &(String, String), acted: bool, wake_at: Option<Millis>) -> Duration {
        let mut memories = self.memories();
        let memory = memories.entry(key.clone()).or_default();
        (memory.failures, memory.conflicts, memory.failure) = (0, 0, None);
        let times = acted.then_some(memory.acted);
        memory.acted = if acted { memory.acted.saturating_add(1) } else { 0 };
        pace::after_look(times, wake_at, Timestamp::now().as_millisecond())
    }

    /// Tells what went wrong, once for each row of failures in full, and says when to try again.
    fn went_wrong(&self, key: &(String, String), error: &LookError) -> (&'static str, Action) {
        let mut memories = self.memories();
        let memory = memories.entry(key.clone()).or_default();
        if let Some(ClusterError::Conflict { .. }) = error.cluster() {
            // Not a failure: someone else was faster, and a fresh look is all that is needed.
            tracing::debug!(namespace = key.0, rollout = key.1, %error, "the look is repeated");
            let again = pace::after_conflict(memory.conflicts);
            memory.conflicts = memory.conflicts.saturating_add(1);
            return ("conflict", Action::requeue(again));
        }
        let message = chain(error);
        if memory.failures == 0 || memory.failure.as_ref() != Some(&message) {
            tracing::warn!(namespace = key.0, rollout = key.1, category = error.category(), "{message}");
        }
        let again = pace::after_failure(memory.failures, memory.in_run);
        memory.failures = memory.failures.saturating_add(1);
        // Only what was to be done and could not be is for the status: the rest is ours to get over.
        memory.failure = matches!(error, LookError::Act(_)).then_some(message);
        self.metrics.failed(error.category());
        ("error", Action::requeue(again))
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
