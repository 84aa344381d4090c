//! What is printed of a run.

use serde_json::Value;
use sluice_operator_core::{Action, Decision, coverage::Source};

use super::Sim;

impl Sim {
    pub(super) fn say(&mut self, decision: &Decision) {
        let report = &decision.report;
        let step = report.step.map(|(at, of)| format!(" {at}/{of}")).unwrap_or_default();
        let share =
            |share: Option<u16>| share.map_or_else(|| "-".to_owned(), |share| format!("{}%", f64::from(share) / 100.0));
        let said = format!(
            "{:?}{step} {} weight={}->{}",
            report.phase,
            report.reason,
            share(report.weight),
            share(report.weight_wanted)
        );
        if said != *self.said {
            self.note(format!("{said} | {}", report.message));
            *self.said = said;
        }
        for (is_warning, reason, message) in report.events.clone() {
            self.note(format!("  event {}{reason}: {message}", if is_warning { "Warning " } else { "" }));
        }
        for action in &decision.actions {
            let line = described(action);
            self.note(format!("  write {line}"));
        }
    }

    /// What is left in the end, without times and numbers.
    pub(crate) fn outcome(&self) -> String {
        let routes: Vec<String> = self.routes.iter().map(|(name, route)| format!("{name}={}", route.rules)).collect();
        let workload = self.workload.as_ref().map(|workload| {
            let sets = workload.sets.iter().filter(|set| set.wanted > 0);
            let sets: Vec<String> = sets.map(|set| format!("{}:{}", set.revision, set.wanted)).collect();
            format!("{} paused={} label={:?} sets={sets:?}", workload.version, workload.paused, workload.label)
        });
        let changed = self.last.iter().flat_map(|decision| &decision.report.conditions);
        let changed = changed.filter(|(kind, status, ..)| kind == "ConfigChangedInPlace" && *status == Some(true));
        let changed: Vec<String> = changed.map(|(_, _, _, message)| format!("config {message}\n")).collect();
        let history: Vec<String> =
            self.state.history.iter().map(|e| format!("{} {} {}", e.revision, e.outcome, e.reason)).collect();
        let frozen: Vec<&str> = self.frozen.iter().map(|frozen| frozen.revision.as_str()).collect();
        let copies: Vec<String> = self.copies.keys().map(|of| format!("{}/{}", of.kind, of.name)).collect();
        let copies = if copies.is_empty() { String::new() } else { format!(" copies {}", copies.join(" ")) };
        format!(
            "phase {:?}\nroutes {}\nworkload {}\ncanary {} service {:?} frozen {frozen:?}{copies}\nstable {:?}\nhistory {history:?}\ngone {} finalizer {}\n{}",
            self.phase(),
            routes.join(" "),
            workload.unwrap_or_default(),
            self.canary.as_ref().map_or_else(|| "none".to_owned(), |c| format!("{} x{}", c.revision, c.wanted)),
            self.canary_service,
            self.state.stable.as_ref().map(|stable| &stable.revision),
            self.gone,
            self.finalizer,
            changed.concat(),
        )
    }
}

/// A write in a line.
pub(super) fn described(action: &Action) -> String {
    match action {
        Action::WriteRoute { route, rules, .. } => {
            let rule = |rule: &Value| {
                let refs = rule["backendRefs"].as_array().unwrap().iter();
                let refs: Vec<String> =
                    refs.map(|r| format!("{} {}", r["name"].as_str().unwrap(), r["weight"])).collect();
                let name = rule["name"].as_str().map(|name| format!("{name}: ")).unwrap_or_default();
                format!("[{name}{}]", refs.join(", "))
            };
            let rules: Vec<String> = rules.as_array().unwrap().iter().map(rule).collect();
            format!("route {route} {}", rules.join(" "))
        }
        Action::ReleaseRoute { route, .. } => format!("release route {route}"),
        Action::Freeze { revision, .. } => format!("freeze {revision}"),
        Action::ApplyCanaryWorkload { revision, replicas, .. } => format!("canary {revision} x{replicas}"),
        Action::SetPaused { paused, .. } => format!("workload paused={paused}"),
        Action::RestoreTemplate { revision, .. } => format!("workload template={revision}"),
        Action::ApplyCopies { copies, .. } => format!("copies of {}", named(copies)),
        Action::DeleteCopies { copies } => format!("delete copies of {}", named(copies)),
        Action::LabelWorkload { adopt, .. } => format!("workload label={adopt}"),
        Action::ScaleReplicaSet { name, replicas, .. } => format!("set {name} x{replicas}"),
        Action::DeleteReplicaSet { name, .. } => format!("set {name} goes"),
        other => format!("{other:?}"),
    }
}

fn named(copies: &[Source]) -> String {
    copies.iter().map(|of| format!("{} {}", of.kind, of.name)).collect::<Vec<_>>().join(", ")
}
