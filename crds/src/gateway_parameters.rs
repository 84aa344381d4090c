//! What a Gateway can ask of the proxy beyond the Gateway API.
// The derive macro repeats each struct inside a function, where `pub` means nothing.
#![allow(unreachable_pub)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the proxy treats the clients of a Gateway, beyond what the Gateway API says.
///
/// A GatewayClass names one in `spec.parametersRef`, a Gateway one of its own namespace in
/// `spec.infrastructure.parametersRef`. Where both have a field, the Gateway's counts; a list is one field. So nothing here
/// is filled in by the API server: a field that stands nowhere has the default that its text tells.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "sluice.dev",
    version = "v1alpha1",
    kind = "GatewayParameters",
    plural = "gatewayparameters",
    namespaced,
    shortname = "slgp",
    category = "sluice",
    derive = "PartialEq",
    doc = "GatewayParameters says how the proxy treats the clients of a Gateway or GatewayClass that names it.",
    printcolumn = r#"{"name":"AGE","type":"date","jsonPath":".metadata.creationTimestamp","description":"Time since it was made"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct GatewayParametersSpec {
    /// Who the client of a request is where proxies stand in front of this one. Default: whoever connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_address: Option<ClientAddressParameters>,
    /// The header `X-Request-Id`. Default: it is passed on as it comes.
    #[serde(default, rename = "requestID", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestIdParameters>,
    /// One line of JSON for each request, on standard output of the data plane. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLogParameters>,
    /// Connections that begin with a header of the PROXY protocol, of version 1 or 2. Default: none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocolParameters>,
    /// Spans of requests for a collector of OpenTelemetry. Default: none, and `traceparent` is passed on as it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<TracingParameters>,
    /// Limits on clients. Defaults: those of docs/proxy-limits.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitParameters>,
}

/// Who the client of a request is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientAddressParameters {
    /// Networks of the proxies in front, at most 64: what comes from there has its `X-Forwarded-*`, `Forwarded` and
    /// `X-Request-Id` believed and continued; from everywhere else they are written anew. Networks in CIDR notation without
    /// bits behind the prefix. Default: none. Example: `[10.0.0.0/8]`.
    #[serde(default, rename = "trustedCIDRs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 43)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(
        validation = Rule::new("self.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())")
            .message("trustedCIDRs are networks such as 10.0.0.0/8, without bits set behind the prefix")
    )]
    pub trusted_cidrs: Option<Vec<String>>,
    /// How many trusted proxies a request comes through, from 1 to 16: the client is the address that the first of them has
    /// added to `X-Forwarded-For`. Where there are fewer addresses it is whoever connected. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16))]
    pub trusted_hops: Option<i32>,
}

/// The header `X-Request-Id`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestIdParameters {
    /// Enabled gives every request one id of its own, a UUID, unless it comes from a trusted proxy with an id of 1 to 128 visible
    /// characters. Disabled passes on what there is. Default: Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Switch")]
    pub mode: Option<Switch>,
    /// Enabled tells the client, in the header of the same name of the response. Default: Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Switch")]
    pub response: Option<Switch>,
}

/// The access log.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessLogParameters {
    /// Enabled logs requests. Default: Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Switch")]
    pub mode: Option<Switch>,
    /// Share of the requests that are logged, drawn at random: a percentage from 0% to 100%. Default: 100%. Example: 0.1%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), regex(pattern = "^([0-9]{1,2}(\\.[0-9]{1,4})?|100)%$"))]
    pub sample: Option<String>,
}

/// The PROXY protocol.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyProtocolParameters {
    /// Enabled expects a header in front of everything else on each connection to a listener for streams that comes from
    /// `trustedCIDRs`; a connection without a good one is closed. Default: Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Switch")]
    pub mode: Option<Switch>,
    /// Networks of the load balancers, at most 64, of which there must be one with mode Enabled. A connection from elsewhere is an
    /// ordinary one: a header on it is not read, and no request either. Default: none. Example: `[10.0.0.0/8]`.
    #[serde(default, rename = "trustedCIDRs", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 43)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(
        validation = Rule::new("self.all(c, isCIDR(c) && cidr(c) == cidr(c).masked())")
            .message("trustedCIDRs are networks such as 10.0.0.0/8, without bits set behind the prefix")
    )]
    pub trusted_cidrs: Option<Vec<String>>,
    /// How long the header may take to come. A duration from 100ms to 1m. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub timeout: Option<String>,
}

/// Tracing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TracingParameters {
    /// Enabled takes part in traces as W3C Trace Context has it: `traceparent` says what is done here, and requests that are
    /// sampled are told to the collector, of which there must be one. Default: Disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Switch")]
    pub mode: Option<Switch>,
    /// Share of the requests that are sampled where no trusted proxy (`clientAddress.trustedCIDRs`) has decided: a percentage
    /// from 0% to 100%. Default: 1%. Example: 0.1%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8), regex(pattern = "^([0-9]{1,2}(\\.[0-9]{1,4})?|100)%$"))]
    pub sample: Option<String>,
    /// The Service that takes spans: OTLP over HTTP, `POST /v1/traces`. Default: none.
    /// Example: `{name: otel-collector, namespace: observability, port: 4318}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collector: Option<CollectorReference>,
}

/// A port of a Service.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectorReference {
    /// Name of the Service. Default: there is none; it must be said.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Namespace of the Service. Another one than that of these parameters must permit it by a ReferenceGrant from kind
    /// GatewayParameters. Default: that of these parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// Port of the Service, from 1 to 65535. Default: 4318.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// Limits on clients.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitParameters {
    /// Connections that each data plane has open for the Gateway at once, from 1 to 1000000. One more is answered 503 where
    /// HTTP is spoken in the clear, and closed at once elsewhere. Default: as many as file descriptors allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: Option<i32>,
    /// Open streams of one HTTP/2 connection, from 1 to 1000. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub streams: Option<i32>,
    /// Bytes of the head of a request, from 1024 to 61440. A larger one is answered 431. Default: 32768.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 61440))]
    pub request_head_bytes: Option<i32>,
    /// How long the head of a request may take from its first byte on; one that takes longer is answered 408. A duration of
    /// whole seconds, from 1s to 1h. Default: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub request_head_timeout: Option<String>,
    /// How long a connection may be open without a request. A duration of whole seconds, from 1s to 24h. Default: 75s in
    /// HTTP/1, 300s in HTTP/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 28), regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub idle_timeout: Option<String>,
}

/// Whether something is done. The words are no truth values of YAML, which `On` and `Off` are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Switch {
    /// It is not.
    Disabled,
    /// It is.
    Enabled,
}

impl GatewayParametersSpec {
    /// These parameters, and those of a class where these say nothing.
    #[must_use]
    pub fn over(self, class: Self) -> Self {
        Self {
            client_address: merge(self.client_address, class.client_address, |own, class| ClientAddressParameters {
                trusted_cidrs: own.trusted_cidrs.or(class.trusted_cidrs),
                trusted_hops: own.trusted_hops.or(class.trusted_hops),
            }),
            request_id: merge(self.request_id, class.request_id, |own, class| RequestIdParameters {
                mode: own.mode.or(class.mode),
                response: own.response.or(class.response),
            }),
            access_log: merge(self.access_log, class.access_log, |own, class| AccessLogParameters {
                mode: own.mode.or(class.mode),
                sample: own.sample.or(class.sample),
            }),
            proxy_protocol: merge(self.proxy_protocol, class.proxy_protocol, |own, class| ProxyProtocolParameters {
                mode: own.mode.or(class.mode),
                trusted_cidrs: own.trusted_cidrs.or(class.trusted_cidrs),
                timeout: own.timeout.or(class.timeout),
            }),
            tracing: merge(self.tracing, class.tracing, |own, class| TracingParameters {
                mode: own.mode.or(class.mode),
                sample: own.sample.or(class.sample),
                collector: own.collector.or(class.collector),
            }),
            limits: merge(self.limits, class.limits, |own, class| LimitParameters {
                connections: own.connections.or(class.connections),
                streams: own.streams.or(class.streams),
                request_head_bytes: own.request_head_bytes.or(class.request_head_bytes),
                request_head_timeout: own.request_head_timeout.or(class.request_head_timeout),
                idle_timeout: own.idle_timeout.or(class.idle_timeout),
            }),
        }
    }
}

fn merge<T>(own: Option<T>, class: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (own, class) {
        (Some(own), Some(class)) => Some(both(own, class)),
        (own, class) => own.or(class),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::GatewayParametersSpec;

    fn over(own: Value, class: Value) -> Value {
        let read = |value| serde_json::from_value::<GatewayParametersSpec>(value).unwrap();
        serde_json::to_value(read(own).over(read(class))).unwrap()
    }

    #[test]
    fn the_gateways_fields_go_over_those_of_its_class_one_by_one() {
        let class = json!({
            "clientAddress": {"trustedCIDRs": ["10.0.0.0/8", "fd00::/8"], "trustedHops": 2},
            "requestID": {"mode": "Enabled"},
            "accessLog": {"mode": "Enabled", "sample": "1%"},
            "proxyProtocol": {"mode": "Enabled", "trustedCIDRs": ["10.0.0.0/8"], "timeout": "1s"},
            "tracing": {"mode": "Enabled", "sample": "1%", "collector": {"name": "a", "namespace": "b", "port": 1}},
            "limits": {"connections": 100, "streams": 10, "requestHeadBytes": 4096, "idleTimeout": "60s"},
        });
        assert_eq!(over(json!({}), class.clone()), class);
        assert_eq!(over(class.clone(), json!({})), class);
        let own = json!({
            "clientAddress": {"trustedCIDRs": ["192.0.2.0/24"]},
            "requestID": {"response": "Enabled"},
            "accessLog": {"mode": "Disabled"},
            "proxyProtocol": {"timeout": "2s"},
            "tracing": {"collector": {"name": "c"}},
            "limits": {"connections": 5, "requestHeadTimeout": "5s"},
        });
        let expected = json!({
            "clientAddress": {"trustedCIDRs": ["192.0.2.0/24"], "trustedHops": 2},
            "requestID": {"mode": "Enabled", "response": "Enabled"},
            "accessLog": {"mode": "Disabled", "sample": "1%"},
            "proxyProtocol": {"mode": "Enabled", "trustedCIDRs": ["10.0.0.0/8"], "timeout": "2s"},
            "tracing": {"mode": "Enabled", "sample": "1%", "collector": {"name": "c"}},
            "limits": {
                "connections": 5, "streams": 10, "requestHeadBytes": 4096, "requestHeadTimeout": "5s",
                "idleTimeout": "60s",
            },
        });
        assert_eq!(over(own, class), expected);
    }
}
