//! Rights granted minus rights used: what is left is too much, unless it is listed with the reason for it.

use std::{collections::BTreeSet, fmt, path::Path};

use anyhow::{Context, Result, anyhow, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Event, Outcome, text};
use crate::manifest;

/// One verb on one kind of object, as it is granted to a service account of Sluice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Name of the service account.
    pub account: String,
    /// Group of the kind.
    pub group: String,
    /// Plural name of the kind, with its part, as in `rollouts/status`.
    pub resource: String,
    /// Verb.
    pub verb: String,
    /// Name of the only object that it holds for; None means all.
    pub name: Option<String>,
    /// The only namespace that it holds in; None means all.
    pub namespace: Option<String>,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, group, resource, verb, name, namespace } = self;
        let dot = if group.is_empty() { "" } else { "." };
        write!(f, "{account}: {verb} {resource}{dot}{group}")?;
        name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))?;
        namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " in {namespace}"))
    }
}

/// A right that need not be used in a run of the tests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    account: String,
    group: String,
    resource: String,
    verbs: Vec<String>,
    reason: String,
}

impl Exception {
    fn is_of(&self, right: &Right) -> bool {
        self.account == right.account
            && self.group == right.group
            && self.resource == right.resource
            && self.verbs.contains(&right.verb)
    }
}

/// What is granted, and what was used of it.
#[derive(Debug, Default)]
pub struct Rights {
    granted: BTreeSet<Right>,
    used: BTreeSet<Right>,
    exceptions: Vec<Exception>,
    refused: Vec<(Timestamp, Right)>,
    requests: u64,
}

impl Rights {
    /// Reads the rights of an install manifest, and the list of exceptions.
    pub fn read(install: &Path, exceptions: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(exceptions).with_context(|| exceptions.display().to_string())?;
        let list = serde_saphyr::from_str(&text).map_err(|error| anyhow!("{}: {error}", exceptions.display()))?;
        Self::of(&manifest::read(install)?, list)
    }

    fn of(objects: &[Value], exceptions: Vec<Exception>) -> Result<Self> {
        let bindings = objects.iter().filter(|object| text(object, "/kind").ends_with("RoleBinding"));
        let granted: BTreeSet<Right> = bindings.flat_map(|binding| rights_of(binding, objects)).collect();
        ensure!(!granted.is_empty(), "the manifest grants nothing");
        for exception in &exceptions {
            let Exception { account, resource, reason, .. } = exception;
            ensure!(!reason.trim().is_empty(), "{account} {resource}: an exception without a reason");
            let is_granted = granted.iter().any(|right| exception.is_of(right));
            ensure!(is_granted, "{account} {resource}: an exception for what is not granted");
        }
        Ok(Self { granted, exceptions, ..Self::default() })
    }

    /// Takes notice of a request. One out of scope shows that a right is used, and is no finding when it was refused.
    pub fn see(&mut self, event: &Event, in_scope: bool) {
        let (Some(account), Some(object)) = (event.account(), &event.object_ref) else { return };
        let slash = if object.subresource.is_empty() { "" } else { "/" };
        let used = Right {
            account: account.to_owned(),
            group: object.api_group.clone(),
            resource: format!("{}{slash}{}", object.resource, object.subresource),
            verb: event.verb.clone(),
            name: Some(object.name.clone()),
            namespace: Some(object.namespace.clone()),
        };
        self.requests += u64::from(in_scope);
        if event.was_forbidden() {
            let at = event.request_received_timestamp;
            self.refused.extend(in_scope.then_some((at, used)));
        } else {
            self.used.insert(used);
        }
    }

    /// What is granted and neither used nor excepted, and what was refused.
    pub fn outcome(&self) -> Outcome {
        let is_used = |right: &&Right| self.used.iter().any(|used| covers(right, used));
        let is_excepted = |right: &&Right| self.exceptions.iter().any(|exception| exception.is_of(right));
        let unused = self.granted.iter().filter(|right| !is_used(right) && !is_excepted(right));
        let mut found: Vec<_> = unused.map(|right| format!("granted and never used: {right}")).collect();
        // An API server that has just been started refuses what is granted until it has read the roles.
        let is_granted = |used: &Right| self.granted.iter().any(|right| covers(right, used));
        let missing = self.refused.iter().filter(|(_, used)| !is_granted(used));
        found.extend(missing.map(|(at, used)| format!("{at} refused for want of a right: {used}")));
        Outcome { promise: "no right is granted that is not used, and none is missing", judged: self.requests, found }
    }
}

/// The rights that a binding gives to service accounts.
fn rights_of(binding: &Value, objects: &[Value]) -> Vec<Right> {
    let is_bound = |field: &str| text(binding, &format!("/roleRef/{field}"));
    let role = objects
        .iter()
        .find(|object| text(object, "/kind") == is_bound("kind") && text(object, "/metadata/name") == is_bound("name"));
    let rules = role.map(|role| items(role, "rules")).unwrap_or_default();
    let is_bounded = text(binding, "/kind") == "RoleBinding";
    let namespace = is_bounded.then(|| text(binding, "/metadata/namespace").to_owned());
    let mut rights = Vec::new();
    for subject in items(binding, "subjects").iter().filter(|subject| text(subject, "/kind") == "ServiceAccount") {
        for rule in rules {
            rights.extend(rights_of_rule(rule, text(subject, "/name"), namespace.as_deref()));
        }
    }
    rights
}

/// Every combination of a rule.
fn rights_of_rule(rule: &Value, account: &str, namespace: Option<&str>) -> Vec<Right> {
    let names: Vec<_> = words(rule, "resourceNames").into_iter().map(Some).collect();
    let names = if names.is_empty() { vec![None] } else { names };
    let mut rights = Vec::new();
    for group in words(rule, "apiGroups") {
        for resource in words(rule, "resources") {
            for verb in words(rule, "verbs") {
                rights.extend(names.iter().map(|name| Right {
                    account: account.to_owned(),
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                    name: name.clone(),
                    namespace: namespace.map(str::to_owned),
                }));
            }
        }
    }
    rights
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn words(value: &Value, field: &str) -> Vec<String> {
    items(value, field).iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()
}

fn covers(right: &Right, used: &Right) -> bool {
    let holds = |of: &Option<String>, used: &Option<String>| of.is_none() || of == used;
    (&right.account, &right.group, &right.resource, &right.verb)
        == (&used.account, &used.group, &used.resource, &used.verb)
        && holds(&right.name, &used.name)
        && holds(&right.namespace, &used.namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Exception, Rights};
    use crate::audit::testing::operator;

    fn objects() -> Vec<Value> {
        let subjects = json!([{"kind": "ServiceAccount", "name": "sluice-operator", "namespace": "sluice-system"}]);
        vec![
            json!({"kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [
                {"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "verbs": ["get", "patch"]},
            ]}),
            json!({"kind": "Role", "metadata": {"name": "r", "namespace": "s"}, "rules": [
                {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["tls"], "verbs": ["get"]},
            ]}),
            json!({"kind": "ClusterRoleBinding", "roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": subjects}),
            json!({"kind": "RoleBinding", "metadata": {"namespace": "s"}, "roleRef": {"kind": "Role", "name": "r"},
                "subjects": subjects}),
        ]
    }

    fn exception(resource: &str) -> Exception {
        let verbs = vec!["patch".to_owned(), "get".to_owned()];
        let (account, group) = ("sluice-operator".to_owned(), "apps".to_owned());
        Exception { account, group, resource: resource.to_owned(), verbs, reason: "rare".to_owned() }
    }

    /// What is found after these uses.
    fn found(uses: &[(&str, &str, &str)], exceptions: Vec<Exception>) -> Vec<String> {
        let mut rights = Rights::of(&objects(), exceptions).unwrap();
        for (verb, resource, object) in uses {
            rights.see(&operator(verb, resource, object, json!({}), 1), true);
        }
        rights.outcome().found
    }

    const ALL: [(&str, &str, &str); 5] = [
        ("get", "apps/deployments", "a/b"),
        ("patch", "apps/deployments", "a/b"),
        ("get", "apps/deployments/scale", "a/b"),
        ("patch", "apps/deployments/scale", "a/b"),
        ("get", "/secrets", "s/tls"),
    ];

    #[test]
    fn nothing_is_left_when_everything_was_used_or_has_its_reason() {
        assert!(found(&ALL, vec![]).is_empty());
        let without_scale = [ALL[0], ALL[1], ALL[4]];
        assert!(found(&without_scale, vec![exception("deployments/scale")]).is_empty());
    }

    #[test]
    fn a_right_that_nothing_used_is_found() {
        let left = found(&ALL[..4], vec![]);
        assert_eq!(left, ["granted and never used: sluice-operator: get secrets tls in s"]);
        assert_eq!(found(&ALL[1..], vec![]), ["granted and never used: sluice-operator: get deployments.apps"]);
    }

    #[test]
    fn a_right_counts_as_used_only_where_and_for_what_it_is_granted() {
        let other = [ALL[0], ALL[1], ALL[2], ALL[3], ("get", "/secrets", "s/other"), ("get", "/secrets", "t/tls")];
        assert_eq!(found(&other, vec![]).len(), 1);
    }

    #[test]
    fn what_was_refused_is_found_and_does_not_count_as_used() {
        let mut rights =
            Rights::of(&objects(), vec![exception("deployments/scale"), exception("deployments")]).unwrap();
        let mut refused = operator("get", "/secrets", "s/other", json!({}), 1);
        refused.annotations.insert("authorization.k8s.io/decision".to_owned(), "forbid".to_owned());
        rights.see(&refused, false);
        rights.see(&refused, true);
        let found = rights.outcome().found;
        assert!(found.len() == 2 && found[1].contains("refused for want of a right"), "{found:?}");
    }

    #[test]
    fn what_is_granted_and_refused_is_not_missing_and_does_not_count_as_used() {
        let mut rights =
            Rights::of(&objects(), vec![exception("deployments/scale"), exception("deployments")]).unwrap();
        let mut refused = operator("get", "/secrets", "s/tls", json!({}), 1);
        refused.annotations.insert("authorization.k8s.io/decision".to_owned(), "forbid".to_owned());
        rights.see(&refused, true);
        assert_eq!(rights.outcome().found, ["granted and never used: sluice-operator: get secrets tls in s"]);
    }

    #[test]
    fn an_exception_needs_a_reason_and_a_right() {
        assert!(Rights::of(&objects(), vec![exception("pods")]).unwrap_err().to_string().contains("not granted"));
        let without = Exception { reason: " ".to_owned(), ..exception("deployments") };
        assert!(Rights::of(&objects(), vec![without]).unwrap_err().to_string().contains("without a reason"));
    }

    #[test]
    fn the_exceptions_of_this_checkout_are_of_rights_that_it_grants() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        Rights::read(&crate::install::manifest_path(), &path.join("audit-exceptions.yaml")).unwrap();
    }
}
