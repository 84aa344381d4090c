//! Every "not yet" and every "why" has one name, the same in status, event, log and metric.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a Rollout stands where it stands. The names are API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason, for tables and metrics.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name, in CamelCase.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

reasons! {
    /// A person or tool asked for a rollback.
    Aborted,
    /// An approval step waits for a Promote.
    AwaitingApproval,
    /// Something treats stable's pods and the canary's differently, as a NetworkPolicy that selects only one of them.
    CanaryNotCovered,
    /// The canary's pods did not become ready in time.
    CanaryNotReady,
    /// The canary refuses or drops more than half of its requests.
    CanaryRefuses,
    /// An object of the canary's name exists that is not ours.
    CanaryTaken,
    /// The workload rolls out, or rolled out, a template that was not judged.
    ChangedUnjudged,
    /// A ConfigMap that stable's template names was changed in place.
    ConfigChangedInPlace,
    /// An older Rollout has the workload or route.
    Conflicted,
    /// Requests in flight on the canary end.
    Draining,
    /// Both sides fail: the canary may harm what both use, so the weight holds.
    HoldingBothSidesFail,
    /// The longest hold is over without a verdict, and the plan says to hold on.
    HoldingUndecided,
    /// A field of the spec, or an object that it names, is wrong.
    InvalidSpec,
    /// The declared template was promoted before: it rolls out directly.
    KnownGood,
    /// A metric failed.
    MetricFailed,
    /// The shortest hold is not over.
    MinimumHold,
    /// No version serves that could be gone back to: the template rolls out directly.
    NoHealthyStable,
    /// The API server has no admission policies that could hold changes back: a lasting pause does.
    PausedBetweenRuns,
    /// The admission policy that holds changes back is missing.
    PolicyMissing,
    /// A policy is attached to a single rule, which a step with match would copy without it.
    PolicyNotCopied,
    /// It is asked whether changes are held back.
    ProbingPolicy,
    /// An operation took effect.
    OperationDone,
    /// An operation was refused.
    OperationRefused,
    /// The revision serves everything.
    Promoted,
    /// The canary passed every step.
    Promoting,
    /// The workload's own rollout failed or stood still.
    PromotionFailed,
    /// The object is being taken down.
    Deleting,
    /// The declared template is stable's but for annotations that make no new version: it rolls out directly.
    Restarted,
    /// The template was taken back to stable's.
    Reverted,
    /// The frozen revision is gone.
    RevisionLost,
    /// The owner changed the rules of a route.
    RouteChanged,
    /// Another writer takes the run's weights out of a route again and again.
    RouteContested,
    /// A route does not exist.
    RouteMissing,
    /// A person holds the run, or the next one, where it is.
    Paused,
    /// Another writer took the run's weights out of a route; they are written again.
    RouteReverted,
    /// The declared template is the one that serves.
    Serving,
    /// No pod of the workload is available.
    StableLost,
    /// A run began.
    Started,
    /// The workload was scaled below the replicas with which the run began.
    StableBelowFloor,
    /// A step is live.
    StepLive,
    /// A newer template came.
    Superseded,
    /// A person took the revision back.
    Undone,
    /// The longest hold is over without a verdict, and the plan says to roll back.
    Undecided,
    /// The workload was resumed against the policy.
    Unpaused,
    /// Pods of the canary are not available yet.
    WaitingForCanary,
    /// A data plane has not confirmed the route, or cannot be asked.
    WaitingForDataPlanes,
    /// Too few requests to decide.
    WaitingForEvidence,
    /// A write is not visible yet.
    WaitingForObjects,
    /// The workload rolls out.
    WaitingForRollout,
    /// A parent of a route has not confirmed it.
    WaitingForRoutes,
    /// The workload has no complete version yet.
    WaitingForStable,
    /// The workload does not exist.
    WorkloadMissing,
    /// The workload was deleted and made anew in the middle of a run: its declared template rolls out directly.
    WorkloadRecreated,
    /// The workload is scaled to zero.
    WorkloadScaledToZero,
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn reasons_are_camel_case_words() {
        for reason in Reason::ALL {
            let name = reason.as_str();
            assert!(name.chars().all(char::is_alphabetic) && name.starts_with(char::is_uppercase), "{name}");
        }
    }
}
