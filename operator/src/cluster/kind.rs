//! The kinds of objects that the operator touches.

use kube::{api::ApiResource, core::GroupVersionKind};

/// Group of Envoy Gateway's policies.
const ENVOY_GATEWAY: &str = "gateway.envoyproxy.io";

/// The kinds of objects that the operator touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// sluice.dev Rollout
    Rollout,
    /// apps Deployment
    Deployment,
    /// apps ReplicaSet
    ReplicaSet,
    /// apps ControllerRevision
    ControllerRevision,
    /// Pod
    Pod,
    /// PersistentVolumeClaim
    PersistentVolumeClaim,
    /// ConfigMap, of which only the metadata is read
    ConfigMap,
    /// Service
    Service,
    /// gateway.networking.k8s.io HTTPRoute
    HttpRoute,
    /// gateway.networking.k8s.io BackendTLSPolicy
    BackendTlsPolicy,
    /// sluice.dev BackendTrafficPolicy
    SluiceTrafficPolicy,
    /// networking.k8s.io NetworkPolicy
    NetworkPolicy,
    /// policy PodDisruptionBudget
    PodDisruptionBudget,
    /// apps StatefulSet
    StatefulSet,
    /// apps DaemonSet
    DaemonSet,
    /// security.istio.io AuthorizationPolicy
    AuthorizationPolicy,
    /// monitoring.coreos.com PodMonitor
    PodMonitor,
    /// gateway.envoyproxy.io SecurityPolicy
    SecurityPolicy,
    /// gateway.envoyproxy.io BackendTrafficPolicy
    BackendTrafficPolicy,
    /// gateway.envoyproxy.io EnvoyExtensionPolicy
    EnvoyExtensionPolicy,
    /// gateway.kgateway.dev TrafficPolicy
    TrafficPolicy,
    /// agentgateway.dev AgentgatewayPolicy
    AgentgatewayPolicy,
    /// kuadrant.io AuthPolicy
    AuthPolicy,
    /// kuadrant.io RateLimitPolicy
    RateLimitPolicy,
}

impl Kind {
    /// (group, version, kind, plural)
    pub(super) const fn parts(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Rollout => ("sluice.dev", "v1alpha1", "Rollout", "rollouts"),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets"),
            Self::ControllerRevision => ("apps", "v1", "ControllerRevision", "controllerrevisions"),
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::PersistentVolumeClaim => ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Self::BackendTlsPolicy => ("gateway.networking.k8s.io", "v1", "BackendTLSPolicy", "backendtlspolicies"),
            Self::SluiceTrafficPolicy => ("sluice.dev", "v1alpha1", "BackendTrafficPolicy", "backendtrafficpolicies"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
            Self::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
            Self::DaemonSet => ("apps", "v1", "DaemonSet", "daemonsets"),
            Self::AuthorizationPolicy => ("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies"),
            Self::PodMonitor => ("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
            Self::SecurityPolicy => (ENVOY_GATEWAY, "v1alpha1", "SecurityPolicy", "securitypolicies"),
            Self::BackendTrafficPolicy => (ENVOY_GATEWAY, "v1alpha1", "BackendTrafficPolicy", "backendtrafficpolicies"),
            Self::EnvoyExtensionPolicy => (ENVOY_GATEWAY, "v1alpha1", "EnvoyExtensionPolicy", "envoyextensionpolicies"),
            Self::TrafficPolicy => ("gateway.kgateway.dev", "v1alpha1", "TrafficPolicy", "trafficpolicies"),
            Self::AgentgatewayPolicy => ("agentgateway.dev", "v1alpha1", "AgentgatewayPolicy", "agentgatewaypolicies"),
            Self::AuthPolicy => ("kuadrant.io", "v1", "AuthPolicy", "authpolicies"),
            Self::RateLimitPolicy => ("kuadrant.io", "v1", "RateLimitPolicy", "ratelimitpolicies"),
        }
    }

    /// The kind as the API server knows it.
    pub(crate) fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = self.parts();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// Its plural name, the label in metrics.
    pub(crate) const fn plural(self) -> &'static str {
        self.parts().3
    }
}
