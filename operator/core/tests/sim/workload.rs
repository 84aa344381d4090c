//! The Deployment controller, as far as a run can see it: rolling updates, pauses, readiness.

use sluice_operator_core::Millis;

/// Time from the creation of a pod until it is available.
const READY_MS: Millis = 2_000;

/// How a version behaves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Health {
    /// Errors of a thousand requests.
    pub(crate) errors: u64,
    /// Slow ones of a thousand requests.
    pub(crate) slow: u64,
    /// Disrupted ones of a thousand requests.
    pub(crate) refuses: u64,
    /// Requests never end.
    pub(crate) hangs: bool,
    /// Its pods become available.
    pub(crate) ready: bool,
    /// They do in the canary, and not in the workload.
    pub(crate) only_canary: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self { errors: 0, slow: 0, refuses: 0, hangs: false, ready: true, only_canary: false }
    }
}

/// A ReplicaSet with the times at which its pods were made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Set {
    pub(crate) uid: String,
    pub(crate) revision: String,
    pub(crate) wanted: i32,
    pub(crate) pods: Vec<Millis>,
}

/// The user's Deployment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deployment {
    pub(crate) version: String,
    pub(crate) paused: bool,
    pub(crate) replicas: i32,
    pub(crate) label: Option<String>,
    pub(crate) resource_version: u64,
    pub(crate) observed: bool,
    pub(crate) unsupported: Option<String>,
    pub(crate) sets: Vec<Set>,
}

/// Pods that are available.
pub(crate) fn available(pods: &[Millis], now: Millis, ready: bool) -> i32 {
    let count = pods.iter().filter(|made| ready && now - **made >= READY_MS).count();
    i32::try_from(count).unwrap()
}

impl Deployment {
    pub(crate) fn new(version: &str, replicas: i32) -> Self {
        Self {
            version: version.to_owned(),
            paused: false,
            replicas,
            label: None,
            resource_version: 1,
            observed: false,
            unsupported: None,
            sets: Vec::new(),
        }
    }

    /// Its spec or metadata changed.
    pub(crate) fn touch(&mut self) {
        self.resource_version += 1;
        self.observed = false;
    }

    /// One turn of the controller. `is_ready` tells whether pods of a revision become available.
    pub(crate) fn reconcile(&mut self, now: Millis, is_ready: &dyn Fn(&str) -> bool) {
        self.observed = true;
        if !self.paused && self.sets.iter().all(|set| set.revision != self.version) {
            let uid = format!("{}-{now}", self.version);
            self.sets.push(Set { uid, revision: self.version.clone(), wanted: 0, pods: Vec::new() });
        }
        let active = self.sets.iter().filter(|set| set.wanted > 0).count();
        if self.paused {
            // Under a pause only a single active ReplicaSet follows the number of replicas; where none is active that of
            // the declared template, or else the newest.
            let of_version = self.sets.iter().position(|set| set.revision == self.version);
            let followed = match active {
                0 => of_version.or_else(|| self.sets.len().checked_sub(1)),
                1 => self.sets.iter().position(|set| set.wanted > 0),
                _ => None,
            };
            if let Some(at) = followed {
                self.sets[at].wanted = self.replicas;
            }
        } else {
            self.roll(now, is_ready);
        }
        for set in &mut self.sets {
            set.pods.resize(usize::try_from(set.wanted).unwrap(), now);
        }
    }

    /// maxSurge 25 %, rounded up; maxUnavailable 0.
    fn roll(&mut self, now: Millis, is_ready: &dyn Fn(&str) -> bool) {
        let surge = (self.replicas + 3) / 4;
        let total: i32 = self.sets.iter().map(|set| set.wanted).sum();
        let counts = |set: &Set| available(&set.pods, now, is_ready(&set.revision));
        let mut spare = self.sets.iter().map(counts).sum::<i32>() - self.replicas;
        let room = (self.replicas + surge - total).max(0);
        for set in &mut self.sets {
            if set.revision == self.version {
                set.wanted = (set.wanted + room).min(self.replicas);
                continue;
            }
            let unavailable = set.wanted - counts(set);
            set.wanted -= unavailable;
            set.pods.retain(|made| now - made >= READY_MS && is_ready(&set.revision));
            let removed = spare.clamp(0, set.wanted);
            set.wanted -= removed;
            spare -= removed;
        }
    }
}
