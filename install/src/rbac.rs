//! Who may do what at the API server, and why: one table, from which the roles are written.

use std::fmt::Write;

/// The operator's and the proxy's namespace.
pub const NAMESPACE: &str = "sluice-system";

/// Whom a role is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// A ServiceAccount in [`NAMESPACE`], in every namespace of the cluster.
    Everywhere(&'static str),
    /// A ServiceAccount in [`NAMESPACE`], there only.
    AtHome(&'static str),
    /// Everyone who has the built-in role of this name.
    Aggregated(&'static str),
}

/// A set of rights.
struct Role {
    name: &'static str,
    subject: Subject,
    rules: &'static [Rule],
}

/// One right, with the reason for it.
struct Rule {
    group: &'static str,
    resources: &'static [&'static str],
    /// Names of objects; empty means all. Creating cannot be bound to a name.
    names: &'static [&'static str],
    verbs: &'static [&'static str],
    reason: &'static str,
}

const fn rule(
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    reason: &'static str,
) -> Rule {
    Rule { group, resources, names: &[], verbs, reason }
}

const GATEWAY: &str = "gateway.networking.k8s.io";
const READ: &[&str] = &["get", "list", "watch"];
const WATCH: &[&str] = &["list", "watch"];

const OPERATOR: &[Rule] = &[
    rule("sluice.dev", &["rollouts"], &["get", "list", "watch", "patch"], "adds its finalizer, consumes operations"),
    rule("sluice.dev", &["rollouts/status"], &["patch"], "reports what it does"),
    rule(
        "sluice.dev",
        &["rollouts/finalizers"],
        &["update"],
        "owner references that block deletion, where the API server asks for this",
    ),
    rule(
        "apps",
        &["deployments"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "labels, pauses and resumes the workload; makes and removes the canary",
    ),
    rule(
        "apps",
        &["statefulsets", "daemonsets"],
        &["list"],
        "whose affinity names the workload's pods by the label in which the canary's could differ",
    ),
    rule(
        "apps",
        &["replicasets"],
        &["list", "watch", "delete"],
        "which version serves, and how far it is; removes the empty one of a promotion that was rolled back",
    ),
    rule(
        "apps",
        &["replicasets/scale"],
        &["patch"],
        "rolls a promotion back: the new ReplicaSet goes, stable's fills up",
    ),
    rule("apps", &["controllerrevisions"], &["get", "list", "create", "delete"], "freezes the revision of a run"),
    rule("", &["pods"], &["list"], "why pods of a canary or of a promotion are not ready"),
    rule("", &["persistentvolumeclaims"], &["get"], "whether stable and canary may share a volume"),
    rule("", &["configmaps"], &["get"], "whether one was changed in place: metadata only, no list and no watch"),
    rule(
        "",
        &["services"],
        &["get", "list", "watch", "create", "delete"],
        "reads the stable Service's selector; makes and removes the canary's Service",
    ),
    rule(GATEWAY, &["httproutes"], &["get", "list", "watch", "patch"], "steps the weights"),
    rule(
        "policy",
        &["poddisruptionbudgets"],
        &["get", "list", "create", "delete"],
        "copies those of the workload's pods for the canary's",
    ),
    rule(
        "networking.k8s.io",
        &["networkpolicies"],
        &["get", "list", "create", "delete"],
        "holds a run whose canary they would not select, or copies them",
    ),
    rule(
        GATEWAY,
        &["backendtlspolicies"],
        &["get", "list", "create", "delete"],
        "copies those of the stable Service for the canary's",
    ),
    rule(
        "sluice.dev",
        &["backendtrafficpolicies"],
        &["get", "list", "create", "delete"],
        "copies those of the stable Service for the canary's",
    ),
    rule("security.istio.io", &["authorizationpolicies"], &["list"], "holds a run whose canary they would not select"),
    rule("monitoring.coreos.com", &["podmonitors"], &["list"], "holds a run whose canary they would not select"),
    rule(
        "gateway.envoyproxy.io",
        &["backendtrafficpolicies", "envoyextensionpolicies", "securitypolicies"],
        &["list"],
        BEAR_ON_RULES,
    ),
    rule("gateway.kgateway.dev", &["trafficpolicies"], &["list"], BEAR_ON_RULES),
    rule("agentgateway.dev", &["agentgatewaypolicies"], &["list"], BEAR_ON_RULES),
    rule("kuadrant.io", &["authpolicies", "ratelimitpolicies"], &["list"], BEAR_ON_RULES),
    rule("events.k8s.io", &["events"], &["create", "patch"], "one Event for each transition"),
];

/// Why policies of other projects are listed.
const BEAR_ON_RULES: &str = "holds a run whose copied rules they would not bear on";

const OPERATOR_HOME: &[Rule] = &[
    rule("coordination.k8s.io", &["leases"], &["create"], "which replica acts; creating cannot be bound to a name"),
    Rule {
        group: "coordination.k8s.io",
        resources: &["leases"],
        names: &["sluice-operator"],
        verbs: &["get", "update"],
        reason: "which replica acts",
    },
];

const PROXY_CONTROLLER: &[Rule] = &[
    rule(
        GATEWAY,
        &[
            "backendtlspolicies",
            "gatewayclasses",
            "gateways",
            "grpcroutes",
            "httproutes",
            "listenersets",
            "tcproutes",
            "tlsroutes",
            "udproutes",
        ],
        READ,
        "what is to be served",
    ),
    rule(
        GATEWAY,
        &[
            "backendtlspolicies/status",
            "gatewayclasses/status",
            "gateways/status",
            "grpcroutes/status",
            "httproutes/status",
            "listenersets/status",
            "tcproutes/status",
            "tlsroutes/status",
            "udproutes/status",
        ],
        &["patch"],
        "what is served",
    ),
    rule("sluice.dev", &["backendtrafficpolicies"], READ, "how requests are spread over endpoints"),
    rule("sluice.dev", &["backendtrafficpolicies/status"], &["patch"], "what is served"),
    rule("sluice.dev", &["gatewayparameters"], WATCH, "what Gateways ask for beyond the Gateway API"),
    rule(GATEWAY, &["gatewayclasses"], &["patch"], "the finalizer that keeps a class while Gateways use it"),
    rule(GATEWAY, &["referencegrants"], WATCH, "whether a route may name what is in another namespace"),
    rule("", &["namespaces"], WATCH, "allowedRoutes selects by labels of namespaces"),
    rule("", &["services"], WATCH, "ports of backends"),
    rule("", &["services"], &["create", "patch"], "a name in its own namespace for each Gateway with infrastructure"),
    rule("discovery.k8s.io", &["endpointslices"], WATCH, "addresses of backends"),
    rule("", &["secrets"], &["get"], "certificates, by the names that Gateways give: no list and no watch"),
    rule(
        "",
        &["configmaps"],
        &["get"],
        "authorities of clients and backends, by the names that Gateways and policies give: no list and no watch",
    ),
    rule("authentication.k8s.io", &["tokenreviews"], &["create"], "who a data plane or the operator is"),
];

const PROXY_CONTROLLER_HOME: &[Rule] = &[
    rule("", &["services"], &["create", "update", "delete"], "one Service for each Gateway"),
    rule("", &["pods"], WATCH, "which data planes there are"),
    rule("", &["secrets"], &["create"], "keeps its certificate; creating cannot be bound to a name"),
    Rule {
        group: "",
        resources: &["secrets"],
        names: &["sluice-proxy-controller-tls"],
        verbs: &["get", "update"],
        reason: "its certificate",
    },
    rule("", &["configmaps"], &["create"], "publishes its CA; creating cannot be bound to a name"),
    Rule {
        group: "",
        resources: &["configmaps"],
        names: &["sluice-proxy-ca"],
        verbs: &["get", "update"],
        reason: "its CA, which data planes and the operator pin",
    },
];

const ROLES: &[Role] = &[
    Role { name: "sluice-operator", subject: Subject::Everywhere("sluice-operator"), rules: OPERATOR },
    Role { name: "sluice-operator", subject: Subject::AtHome("sluice-operator"), rules: OPERATOR_HOME },
    Role {
        name: "sluice-proxy-controller",
        subject: Subject::Everywhere("sluice-proxy-controller"),
        rules: PROXY_CONTROLLER,
    },
    Role {
        name: "sluice-proxy-controller",
        subject: Subject::AtHome("sluice-proxy-controller"),
        rules: PROXY_CONTROLLER_HOME,
    },
    Role {
        name: "sluice-view",
        subject: Subject::Aggregated("view"),
        rules: &[rule(
            "sluice.dev",
            &["backendtrafficpolicies", "gatewayparameters", "rollouts"],
            READ,
            "who may look at a namespace may look at its Rollouts and policies, and at what its Gateways ask for",
        )],
    },
    // The built-in admin contains edit.
    Role {
        name: "sluice-edit",
        subject: Subject::Aggregated("edit"),
        rules: &[
            rule(
                "sluice.dev",
                &["rollouts"],
                &["create", "update", "patch", "delete", "deletecollection"],
                "who may change a namespace's workloads may change its Rollouts",
            ),
            rule(
                "sluice.dev",
                &["backendtrafficpolicies"],
                &["create", "update", "patch", "delete", "deletecollection"],
                "who may change a namespace's Services may say how the proxy uses them",
            ),
            rule("sluice.dev", &["rollouts"], OPERATIONS, "and may use operations, each of which is a verb"),
        ],
    },
];

/// The types of operations in small letters, as the policy asks for them.
const OPERATIONS: &[&str] = &["promote", "promotefull", "abort", "pause", "resume", "retry", "undo", "skipanalysis"];

/// The roles and their bindings as YAML documents.
pub(crate) fn documents() -> Vec<String> {
    ROLES.iter().flat_map(Role::documents).collect()
}

impl Role {
    fn documents(&self) -> Vec<String> {
        let (kind, namespace) = match self.subject {
            Subject::AtHome(_) => ("Role", format!("\n  namespace: {NAMESPACE}")),
            Subject::Everywhere(_) | Subject::Aggregated(_) => ("ClusterRole", String::new()),
        };
        let name = self.name;
        let mut labels = "{app.kubernetes.io/part-of: sluice}".to_owned();
        if let Subject::Aggregated(to) = self.subject {
            labels = format!(
                "\n    app.kubernetes.io/part-of: sluice\n    rbac.authorization.k8s.io/aggregate-to-{to}: \"true\""
            );
        }
        let space = if labels.starts_with('\n') { "" } else { " " };
        let head = |kind: &str| {
            format!("apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}{namespace}\n")
        };
        let mut role = format!("{}  labels:{space}{labels}\nrules:\n", head(kind));
        for rule in self.rules {
            rule.write(&mut role);
        }
        match self.subject {
            Subject::Aggregated(_) => vec![role],
            Subject::Everywhere(account) | Subject::AtHome(account) => vec![
                role,
                format!(
                    "{}  labels:{space}{labels}\nroleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  \
                     name: {name}\nsubjects:\n- kind: ServiceAccount\n  name: {account}\n  namespace: {NAMESPACE}\n",
                    head(&format!("{kind}Binding"))
                ),
            ],
        }
    }
}

impl Rule {
    fn write(&self, to: &mut String) {
        let Self { group, resources, names, verbs, reason } = self;
        let group = if group.is_empty() { "\"\"" } else { group };
        // Writing to a String cannot fail.
        let _ = writeln!(to, "# {reason}\n- apiGroups: [{group}]\n  resources: [{}]", resources.join(", "));
        if !names.is_empty() {
            let _ = writeln!(to, "  resourceNames: [{}]", names.join(", "));
        }
        let _ = writeln!(to, "  verbs: [{}]", verbs.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use sluice_crds::OperationType;

    use super::{OPERATIONS, ROLES, Rule, Subject};

    fn rules_of(account: &str) -> Vec<&'static Rule> {
        let roles = ROLES.iter().filter(|role| match role.subject {
            Subject::Everywhere(name) | Subject::AtHome(name) => name == account,
            Subject::Aggregated(_) => false,
        });
        roles.flat_map(|role| role.rules).collect()
    }

    #[test]
    fn no_right_is_open_ended_and_each_has_its_reason() {
        let rules = ROLES.iter().flat_map(|role| role.rules);
        for Rule { group, resources, names, verbs, reason } in rules {
            let words = [*group].into_iter().chain([*resources, *names, *verbs].concat());
            for word in words {
                assert!(!["*", "escalate", "bind", "impersonate", "pods/exec"].contains(&word), "{word}");
            }
            assert!(!reason.is_empty() && !verbs.is_empty());
        }
    }

    #[test]
    fn the_operator_sees_no_secret_and_lists_no_configmap() {
        for rule in rules_of("sluice-operator") {
            assert!(!rule.resources.contains(&"secrets"));
            assert!(!rule.resources.contains(&"configmaps") || rule.verbs == ["get"]);
        }
    }

    #[test]
    fn who_may_edit_may_use_every_operation() {
        assert_eq!(OperationType::ALL.map(OperationType::verb).as_slice(), OPERATIONS);
    }

    #[test]
    fn the_data_plane_may_do_nothing() {
        assert!(rules_of("sluice-proxy").is_empty());
    }

    #[test]
    fn secrets_are_read_by_name_only() {
        for rule in rules_of("sluice-proxy-controller").iter().filter(|rule| rule.resources.contains(&"secrets")) {
            assert!(rule.verbs == ["create"] || rule.verbs == ["get"] || rule.names == ["sluice-proxy-controller-tls"]);
        }
    }
}
