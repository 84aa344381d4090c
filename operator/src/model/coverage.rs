//! What else in the namespace selects the workload's pods, and which label tells the canary from stable with the least harm.

mod attached;

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::Value;
use sluice_crds::names::LABEL_COVERAGE;
use sluice_operator_core::coverage::{Coverage, Gap, Remedy, Source};

use crate::{
    cluster::Kind,
    objects::{at, copy::is_service, relabel::Relabel, rewrite, strings},
};

/// Value of the label on what the canary can do without.
const IGNORED: &str = "ignore";

/// Whose pods it is about.
pub(crate) struct Subject<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// The workload.
    pub workload: &'a DynamicObject,
    /// The stable Service.
    pub service: &'a DynamicObject,
    /// Names of the temporary Deployment and Service.
    pub canary: (&'a str, &'a str),
    /// The routes.
    pub routes: &'a [(String, Option<DynamicObject>)],
}

/// How an object treats the two sides.
struct Difference {
    source: Source,
    effect: Effect,
}

/// What a difference does.
#[derive(Clone, Copy)]
enum Effect {
    /// It protects or admits one side only; what can be done about it.
    Gap(Remedy),
    /// It only bears on where other pods are put.
    Placement,
}

/// Of the labels that could differ, those about which the fewest other objects say something: first of those that would
/// hold the run, then of all. None while there is no label that could differ, which is said elsewhere.
pub(crate) fn coverage(subject: &Subject<'_>, selecting: &[(Kind, DynamicObject)]) -> Option<Coverage> {
    let labels = strings(at(subject.workload, "/spec/selector/matchLabels"));
    let choices = Relabel::choices(&labels, &strings(at(subject.service, "/spec/selector"))).ok()?;
    let judged = choices.into_iter().map(|relabel| (differences(subject, &relabel, selecting), relabel));
    let cost = |differences: &[Difference]| {
        let holds =
            |difference: &&Difference| matches!(difference.effect, Effect::Gap(Remedy::Mirror | Remedy::Change));
        (differences.iter().filter(holds).count(), differences.len())
    };
    // Of equals the first in alphabetical order, so that the choice is the same each time.
    let (differences, relabel) = judged.min_by_key(|(differences, _)| cost(differences))?;
    let gap = |Difference { source, effect }| match effect {
        Effect::Gap(remedy) => Some(Gap { object: source, remedy }),
        Effect::Placement => None,
    };
    let gaps = differences.into_iter().filter_map(gap).collect();
    let attached = attached::attached(subject, selecting);
    Some(Coverage::Known { labels: relabel.keys().cloned().collect(), gaps, attached })
}

fn differences(subject: &Subject<'_>, relabel: &Relabel, selecting: &[(Kind, DynamicObject)]) -> Vec<Difference> {
    let stable = super::workload::template_labels(subject.workload);
    let sides = (relabel.apply(&stable), stable);
    let mut differences: Vec<Difference> = selecting
        .iter()
        .filter(|(_, object)| !is_ignored(object))
        .filter_map(|(kind, object)| {
            let effect = difference(subject, *kind, object, (&sides.1, &sides.0))?;
            let name = object.metadata.name.clone().unwrap_or_default();
            Some(Difference { source: Source { kind: kind.resource().kind, name }, effect })
        })
        .collect();
    differences.sort_by(|one, other| one.source.cmp(&other.source));
    differences
}

fn is_ignored(object: &DynamicObject) -> bool {
    let labels = object.metadata.labels.as_ref();
    let is_going = object.metadata.deletion_timestamp.is_some();
    is_going || labels.and_then(|labels| labels.get(LABEL_COVERAGE)).is_some_and(|value| value == IGNORED)
}

/// Which pods a side has.
type Sides<'a> = (&'a BTreeMap<String, String>, &'a BTreeMap<String, String>);

/// None where an object treats the two sides alike.
fn difference(subject: &Subject<'_>, kind: Kind, object: &DynamicObject, sides: Sides<'_>) -> Option<Effect> {
    let of_stable = |selector: &Value| rewrite::matches(selector, sides.0);
    let of_canary = |selector: &Value| rewrite::matches(selector, sides.1);
    let differs = |selector: &Value| of_stable(selector) != of_canary(selector);
    match kind {
        Kind::NetworkPolicy => {
            let selectors = policy_selectors(object, subject.namespace);
            // Policies only add up: a copy cannot take away what one says of the canary alone.
            let of_canary_only = selectors.iter().any(|one| of_canary(one) && !of_stable(one));
            let remedy = if of_canary_only { Remedy::Change } else { Remedy::Mirror };
            selectors.into_iter().any(differs).then_some(Effect::Gap(remedy))
        }
        Kind::PodDisruptionBudget => {
            let selector = at(object, "/spec/selector")?;
            (of_stable(selector) && !of_canary(selector)).then_some(Effect::Gap(Remedy::Copy))
        }
        Kind::BackendTlsPolicy | Kind::SluiceTrafficPolicy => {
            let stable = subject.service.metadata.name.as_deref().unwrap_or_default();
            let names = |name: &str| list(object, "/spec/targetRefs").any(|target| is_service(target, name));
            (names(stable) && !names(subject.canary.1)).then_some(Effect::Gap(Remedy::Copy))
        }
        Kind::AuthorizationPolicy => {
            let selector = at(object, "/spec/selector")?;
            differs(selector).then_some(Effect::Gap(Remedy::Change))
        }
        Kind::PodMonitor => {
            let selector = at(object, "/spec/selector")?;
            let names = at(object, "/spec/namespaceSelector/matchNames").and_then(Value::as_array);
            let is_elsewhere =
                names.is_some_and(|names| !names.is_empty() && names.iter().all(|name| name != subject.namespace));
            (!is_elsewhere && differs(selector)).then_some(Effect::Gap(Remedy::Change))
        }
        Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => {
            let name = object.metadata.name.as_deref();
            let is_own = kind == Kind::Deployment
                && (name == subject.workload.metadata.name.as_deref() || name == Some(subject.canary.0));
            let mut terms = scheduling_selectors(object, subject.namespace).into_iter();
            (!is_own && terms.any(differs)).then_some(Effect::Placement)
        }
        _ => None,
    }
}

fn list<'a>(object: &'a DynamicObject, path: &str) -> impl Iterator<Item = &'a Value> {
    at(object, path).and_then(Value::as_array).into_iter().flatten()
}

/// Whom a NetworkPolicy is for, and whom of this namespace it names as a peer.
fn policy_selectors<'a>(policy: &'a DynamicObject, namespace: &str) -> Vec<&'a Value> {
    let mut selectors: Vec<&Value> = at(policy, "/spec/podSelector").into_iter().collect();
    for (rules, peers) in [("/spec/ingress", "from"), ("/spec/egress", "to")] {
        let peers = list(policy, rules).filter_map(|rule| rule.get(peers)?.as_array()).flatten();
        let ours = peers.filter(|peer| peer.as_object().is_some_and(|peer| rewrite::is_about(peer, namespace)));
        selectors.extend(ours.filter_map(|peer| peer.get("podSelector")));
    }
    selectors
}

/// Beside which pods of this namespace a workload's are put, or not put.
fn scheduling_selectors<'a>(workload: &'a DynamicObject, namespace: &str) -> Vec<&'a Value> {
    let mut selectors: Vec<&Value> = list(workload, "/spec/template/spec/topologySpreadConstraints")
        .filter_map(|constraint| constraint.get("labelSelector"))
        .collect();
    for affinity in ["podAffinity", "podAntiAffinity"] {
        let path = format!("/spec/template/spec/affinity/{affinity}");
        let preferred = format!("{path}/preferredDuringSchedulingIgnoredDuringExecution");
        let preferred = list(workload, &preferred).filter_map(|weighted| weighted.get("podAffinityTerm"));
        let required = format!("{path}/requiredDuringSchedulingIgnoredDuringExecution");
        let terms = preferred.chain(list(workload, &required));
        let ours = terms.filter(|term| term.as_object().is_some_and(|term| rewrite::is_about(term, namespace)));
        selectors.extend(ours.filter_map(|term| term.get("labelSelector")));
    }
    selectors
}

#[cfg(test)]
mod tests;
