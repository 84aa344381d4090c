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
    /// Why they do not.
    pub(crate) trouble: String,
}

impl Default for Health {
    fn default() -> Self {
        let trouble = "CrashLoopBackOff".to_owned();
        Self { errors: 0, slow: 0, refuses: 0, hangs: false, ready: true, only_canary: false, trouble }
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
    /// maxSurge is 0: a pod goes before another comes.
    pub(crate) no_surge: bool,
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
            no_surge: false,
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
        if self.paused {
            self.scale(now, is_ready);
        } else {
            self.roll(now, is_ready);
        }
        for set in &mut self.sets {
            set.pods.resize(usize::try_from(set.wanted).unwrap(), now);
        }
    }

    /// `scale` of sync.go, as far as a run meets it: under a pause the only active ReplicaSet follows the number of
    /// replicas; without an active one the declared template's, or the newest, is filled; and where the declared
    /// template's is saturated the others go.
    fn scale(&mut self, now: Millis, is_ready: &dyn Fn(&str) -> bool) {
        let replicas = self.replicas;
        let active: Vec<usize> = (0..self.sets.len()).filter(|index| self.sets[*index].wanted > 0).collect();
        let declared = self.sets.iter().position(|set| set.revision == self.version);
        match active[..] {
            [] => {
                if let Some(index) = declared.or_else(|| self.sets.len().checked_sub(1)) {
                    self.sets[index].wanted = replicas;
                }
            }
            [index] => self.sets[index].wanted = replicas,
            _ => {
                let is_saturated = |set: &Set| {
                    set.wanted == replicas && available(&set.pods, now, is_ready(&set.revision)) == replicas
                };
                if declared.is_some_and(|index| is_saturated(&self.sets[index])) {
                    let version = self.version.clone();
                    self.sets.iter_mut().filter(|set| set.revision != version).for_each(|set| set.wanted = 0);
                }
            }
        }
    }

    /// maxSurge 25 %, rounded up, and maxUnavailable 0; or the other way round.
    fn roll(&mut self, now: Millis, is_ready: &dyn Fn(&str) -> bool) {
        let part = (self.replicas + 3) / 4;
        let (surge, unavailable) = if self.no_surge { (0, part) } else { (part, 0) };
        let total: i32 = self.sets.iter().map(|set| set.wanted).sum();
        let counts = |set: &Set| available(&set.pods, now, is_ready(&set.revision));
        let mut spare = self.sets.iter().map(counts).sum::<i32>() - self.replicas + unavailable;
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
