//! What a Gateway asks for beyond the Gateway API: its own GatewayParameters over those of its class.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::Value;
use sluice_crds::{
    AccessLogParameters, ClientAddressParameters, GatewayParametersSpec, LimitParameters, ProxyProtocolParameters,
    RequestIdParameters, Switch, TracingParameters, names,
    quantity::{parse_duration_ms, parse_percent},
};
use sluice_gateway_types::{Gateway, GatewayClass, HttpBackendRef};
use sluice_proxy_core::{
    cidr::Cidr,
    model::{self, AccessLog, ClientAddress, Limits, ProxyProtocol, RequestId, Tracing},
    pick::Share,
};

use crate::control::{
    objects::{Name, Objects, RouteKind},
    translate::{
        backend::{self, Referrer, ServiceRef},
        conditions::{ACCEPTED, Condition},
        reference::From,
    },
};

/// The kind that references name.
const KIND: &str = "GatewayParameters";
/// Where collectors take OTLP over HTTP.
const COLLECTOR_PORT: i32 = 4318;
/// Share of requests that are sampled where nothing is said.
const SAMPLED: f64 = 0.01;
/// Milliseconds that a load balancer has for its header where nothing is said.
const HEADER_MILLIS: u64 = 5_000;

/// A `parametersRef` of a GatewayClass or of a Gateway, which has no namespace.
#[derive(Deserialize)]
struct Reference {
    group: String,
    kind: String,
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

/// What an object asks for, with the collector that it names: where that cannot be used, requests are served all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    spec: GatewayParametersSpec,
    collector: Option<Collector>,
}

/// Who is to take spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// The Service, whether it is there or not.
    pub service: Name,
    /// Its port, or why it cannot be used.
    pub found: Result<ServiceRef, Condition>,
}

/// What a Gateway asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// None where that is nothing.
    pub settings: Option<model::Gateway>,
    /// Who is to take its spans.
    pub collector: Option<Collector>,
}

/// What a class asks for all its Gateways, or why it is not accepted.
pub fn of_class(class: &GatewayClass, objects: &Objects) -> Result<Option<Parameters>, Condition> {
    let Some(reference) = &class.spec.parameters_ref else { return Ok(None) };
    named(reference, None, objects).map(Some).map_err(|problem| refusal("spec.parametersRef", &problem))
}

/// What a Gateway of a class that asks for `of_class` asks for, if that is anything; or why it is not accepted.
pub fn of_gateway(
    name: &Name,
    gateway: &Gateway,
    of_class: Option<&Parameters>,
    objects: &Objects,
) -> Result<Asked, Condition> {
    let field = "spec.infrastructure.parametersRef";
    let reference = gateway.spec.infrastructure.as_ref().and_then(|wanted| wanted.parameters_ref.as_ref());
    let own = reference.map(|reference| named(reference, Some(&name.namespace), objects));
    let own = own.transpose().map_err(|problem| refusal(field, &problem))?;
    let merged = match (own, of_class) {
        (None, None) => return Ok(Asked::default()),
        (Some(own), None) => own,
        (None, Some(class)) => class.clone(),
        (Some(own), Some(class)) => Parameters {
            spec: own.spec.over(class.spec.clone()),
            collector: own.collector.or_else(|| class.collector.clone()),
        },
    };
    let mut settings = settings(name, &merged.spec).and_then(complete).map_err(|problem| {
        // Each by itself is well, so it is what they come to together.
        refusal(field, &format!("what it and the class ask for: {problem}"))
    })?;
    let nothing = model::Gateway { id: name.to_string(), ..model::Gateway::default() };
    let collector = merged.collector.filter(|_| settings.tracing.is_some());
    if let (Some(tracing), Some(Collector { found: Err(_), .. })) = (&mut settings.tracing, &collector) {
        // Somebody else may send it spans, and so it may be there.
        tracing.collector.clear();
    }
    Ok(Asked { settings: Some(settings).filter(|settings| *settings != nothing), collector })
}

fn refusal(field: &str, problem: &str) -> Condition {
    Condition::no(ACCEPTED, "InvalidParameters", format!("{field}: {problem}"))
}

/// The object that a reference names, if it can be used by itself. `own` is the namespace of whoever names it, where it can
/// name no other.
fn named(reference: &Value, own: Option<&str>, objects: &Objects) -> Result<Parameters, String> {
    let Reference { group, kind, name, namespace } =
        Reference::deserialize(reference).map_err(|error| error.to_string())?;
    if (group.as_str(), kind.as_str()) != (names::GROUP, KIND) {
        return Err(format!(
            "{kind} of group {group:?} is not supported; name a {KIND} of group {:?}, or remove the reference",
            names::GROUP
        ));
    }
    let namespace = own.or(namespace.as_deref()).ok_or_else(|| format!("the namespace of {KIND} {name} is missing"))?;
    let name = Name::new(namespace, name);
    let found = objects.gateway_parameters.get(&name);
    let found = found.ok_or_else(|| format!("there is no {KIND} {name}; make it, or remove the reference"))?;
    settings(&name, &found.spec).map_err(|problem| format!("{KIND} {name}: {problem}"))?;
    let mut spec = found.spec.clone();
    let named = spec.tracing.as_mut().and_then(|tracing| tracing.collector.as_mut());
    let collector = named.map(|collector| {
        // As one of a class it would otherwise be looked for beside the Gateway.
        let namespace = collector.namespace.get_or_insert_with(|| namespace.to_owned());
        let reference = HttpBackendRef {
            name: collector.name.clone(),
            namespace: Some(namespace.clone()),
            port: Some(collector.port.unwrap_or(COLLECTOR_PORT)),
            ..HttpBackendRef::default()
        };
        let from = From { group: names::GROUP, kind: KIND, namespace: &name.namespace };
        let found = backend::resolve_as(&reference, from, RouteKind::Http, objects).map_err(|problem| Condition {
            message: format!("{KIND} {name}: spec.tracing.collector: {}", problem.message),
            ..problem
        });
        Collector { service: backend::service_of(&reference, &name.namespace), found }
    });
    Ok(Parameters { spec, collector })
}

/// What parameters mean. The schema holds in a cluster; in a folder nobody has checked it yet.
fn settings(id: &Name, spec: &GatewayParametersSpec) -> Result<model::Gateway, String> {
    Ok(model::Gateway {
        id: id.to_string(),
        client_address: spec.client_address.as_ref().map(client_address).transpose()?.flatten(),
        request_id: spec.request_id.as_ref().and_then(request_id),
        access_log: spec.access_log.as_ref().map(access_log).transpose()?.flatten(),
        proxy_protocol: spec.proxy_protocol.as_ref().map(proxy_protocol).transpose()?.flatten(),
        tracing: spec.tracing.as_ref().map(tracing).transpose()?.flatten(),
        limits: spec.limits.as_ref().map(limits).transpose()?.unwrap_or_default(),
    })
}

/// Refuses what only both objects together could have said and neither has.
fn complete(settings: model::Gateway) -> Result<model::Gateway, String> {
    if settings.proxy_protocol.as_ref().is_some_and(|proxy| proxy.trusted.is_empty()) {
        return Err("spec.proxyProtocol.trustedCIDRs: there must be one, or nobody could send a header".to_owned());
    }
    if settings.tracing.as_ref().is_some_and(|tracing| tracing.collector.is_empty()) {
        return Err("spec.tracing.collector: there must be one, or nobody could take the spans".to_owned());
    }
    Ok(settings)
}

fn client_address(spec: &ClientAddressParameters) -> Result<Option<ClientAddress>, String> {
    let trusted = networks("spec.clientAddress.trustedCIDRs", spec.trusted_cidrs.as_deref())?;
    let hops = within("spec.clientAddress.trustedHops", spec.trusted_hops, 1..=16)?.unwrap_or(1);
    Ok((!trusted.is_empty()).then_some(ClientAddress { trusted, hops: hops as usize }))
}

fn request_id(spec: &RequestIdParameters) -> Option<RequestId> {
    is_enabled(spec.mode).then(|| RequestId { echo: is_enabled(spec.response) })
}

fn access_log(spec: &AccessLogParameters) -> Result<Option<AccessLog>, String> {
    let share = share("spec.accessLog.sample", spec.sample.as_deref())?.unwrap_or(Share::ALL);
    Ok(is_enabled(spec.mode).then_some(AccessLog { share }))
}

fn proxy_protocol(spec: &ProxyProtocolParameters) -> Result<Option<ProxyProtocol>, String> {
    let trusted = networks("spec.proxyProtocol.trustedCIDRs", spec.trusted_cidrs.as_deref())?;
    let timeout = millis("spec.proxyProtocol.timeout", spec.timeout.as_deref(), 100..=60_000)?;
    let timeout = timeout.unwrap_or(HEADER_MILLIS);
    Ok(is_enabled(spec.mode).then_some(ProxyProtocol { trusted, timeout }))
}

fn tracing(spec: &TracingParameters) -> Result<Option<Tracing>, String> {
    let share = share("spec.tracing.sample", spec.sample.as_deref())?.unwrap_or_else(|| Share::of_ratio(SAMPLED));
    let collector = spec.collector.as_ref().map(|collector| {
        let reference = HttpBackendRef {
            name: collector.name.clone(),
            port: Some(collector.port.unwrap_or(COLLECTOR_PORT)),
            ..HttpBackendRef::default()
        };
        let namespace = collector.namespace.as_deref().unwrap_or_default();
        backend::id(&reference, Referrer { kind: RouteKind::Http, namespace })
    });
    Ok(is_enabled(spec.mode).then(|| Tracing { share, collector: collector.unwrap_or_default() }))
}

fn limits(spec: &LimitParameters) -> Result<Limits, String> {
    Ok(Limits {
        connections: within("spec.limits.connections", spec.connections, 1..=1_000_000)?.map(|limit| limit as usize),
        streams: within("spec.limits.streams", spec.streams, 1..=1_000)?,
        head_bytes: within("spec.limits.requestHeadBytes", spec.request_head_bytes, 1_024..=61_440)?
            .map(|limit| limit as usize),
        head_seconds: seconds("spec.limits.requestHeadTimeout", spec.request_head_timeout.as_deref(), 3_600)?,
        idle_seconds: seconds("spec.limits.idleTimeout", spec.idle_timeout.as_deref(), 86_400)?,
    })
}

fn is_enabled(switch: Option<Switch>) -> bool {
    switch == Some(Switch::Enabled)
}

fn share(field: &str, text: Option<&str>) -> Result<Option<Share>, String> {
    let share = |text| parse_percent(text).map(Share::of_ratio).map_err(|error| format!("{field}: {error}"));
    text.map(share).transpose()
}

fn networks(field: &str, texts: Option<&[String]>) -> Result<Vec<Cidr>, String> {
    let network = |text: &String| text.parse().map_err(|problem| format!("{field}: {problem}"));
    texts.unwrap_or_default().iter().map(network).collect()
}

fn within(field: &str, number: Option<i32>, bounds: RangeInclusive<u32>) -> Result<Option<u32>, String> {
    let Some(number) = number else { return Ok(None) };
    match u32::try_from(number) {
        Ok(good) if bounds.contains(&good) => Ok(Some(good)),
        _ => Err(format!("{field}: {number} is not from {} to {}", bounds.start(), bounds.end())),
    }
}

fn millis(field: &str, text: Option<&str>, bounds: RangeInclusive<u64>) -> Result<Option<u64>, String> {
    let Some(text) = text else { return Ok(None) };
    let millis = parse_duration_ms(text).map_err(|error| format!("{field}: {error}"))?;
    if !bounds.contains(&millis) {
        return Err(format!("{field}: {text} is not from {} ms to {} ms", bounds.start(), bounds.end()));
    }
    Ok(Some(millis))
}

/// Connections are looked at once a second.
fn seconds(field: &str, text: Option<&str>, most: u64) -> Result<Option<u32>, String> {
    let millis = millis(field, text, 1_000..=most * 1_000)?;
    match millis {
        Some(millis) if millis % 1_000 != 0 => Err(format!("{field}: {millis} ms are not whole seconds")),
        millis => Ok(millis.map(|millis| (millis / 1_000) as u32)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sluice_crds::GatewayParametersSpec;

    use super::{complete, settings};
    use crate::control::objects::Name;

    fn read(spec: Value) -> Result<Value, String> {
        let spec: GatewayParametersSpec = serde_json::from_value(spec).unwrap();
        let settings = settings(&Name::new("a", "b"), &spec).and_then(complete)?;
        Ok(serde_json::to_value(settings).unwrap())
    }

    #[test]
    fn what_says_nothing_or_is_disabled_asks_for_nothing() {
        let nothing = json!({"id": "a/b", "limits": {}});
        for spec in [
            json!({}),
            json!({"clientAddress": {"trustedHops": 2}, "requestID": {"response": "Enabled"}, "limits": {}}),
            json!({"requestID": {"mode": "Disabled"}, "accessLog": {"sample": "1%"}, "proxyProtocol": {"timeout": "1s"}}),
        ] {
            assert_eq!(read(spec.clone()).as_ref(), Ok(&nothing), "{spec}");
        }
    }

    #[test]
    fn every_field_arrives() {
        let spec = json!({
            "clientAddress": {"trustedCIDRs": ["10.0.0.0/8"]},
            "requestID": {"mode": "Enabled", "response": "Enabled"},
            "accessLog": {"mode": "Enabled", "sample": "0.5%"},
            "proxyProtocol": {"mode": "Enabled", "trustedCIDRs": ["10.0.0.0/8"]},
            "tracing": {"mode": "Enabled", "collector": {"name": "c", "namespace": "o"}},
            "limits": {
                "connections": 9, "streams": 8, "requestHeadBytes": 4096, "requestHeadTimeout": "7s",
                "idleTimeout": "1m",
            },
        });
        let expected = json!({
            "id": "a/b",
            "client_address": {"trusted": ["10.0.0.0/8"], "hops": 1},
            "request_id": {"echo": true},
            "access_log": {"share": 5000},
            "proxy_protocol": {"trusted": ["10.0.0.0/8"], "timeout": 5000},
            "tracing": {"share": 10000, "collector": "o/c:4318"},
            "limits": {"connections": 9, "streams": 8, "head_bytes": 4096, "head_seconds": 7, "idle_seconds": 60},
        });
        assert_eq!(read(spec), Ok(expected));
    }

    #[test]
    fn what_the_schema_would_refuse_is_told_with_its_field() {
        let cases = [
            (json!({"clientAddress": {"trustedCIDRs": ["web"]}}), "spec.clientAddress.trustedCIDRs: an address and"),
            (json!({"clientAddress": {"trustedHops": 0}}), "spec.clientAddress.trustedHops: 0 is not from 1 to 16"),
            (json!({"accessLog": {"sample": "101%"}}), "spec.accessLog.sample: \"101%\" is not a percentage"),
            (json!({"proxyProtocol": {"timeout": "1ms"}}), "spec.proxyProtocol.timeout: 1ms is not from 100 ms to"),
            (json!({"proxyProtocol": {"mode": "Enabled"}}), "spec.proxyProtocol.trustedCIDRs: there must be one"),
            (json!({"tracing": {"mode": "Enabled"}}), "spec.tracing.collector: there must be one"),
            (json!({"tracing": {"sample": "x%"}}), "spec.tracing.sample: \"x%\" is not a percentage"),
            (json!({"limits": {"connections": -1}}), "spec.limits.connections: -1 is not from 1 to 1000000"),
            (json!({"limits": {"streams": 1001}}), "spec.limits.streams: 1001 is not from 1 to 1000"),
            (json!({"limits": {"requestHeadBytes": 1}}), "spec.limits.requestHeadBytes: 1 is not from 1024 to 61440"),
            (json!({"limits": {"requestHeadTimeout": "1500ms"}}), "spec.limits.requestHeadTimeout: 1500 ms are not"),
            (json!({"limits": {"idleTimeout": "25h"}}), "spec.limits.idleTimeout: 25h is not from 1000 ms to"),
        ];
        for (spec, problem) in cases {
            let error = read(spec.clone()).unwrap_err();
            assert!(error.starts_with(problem), "{spec}: {error}");
        }
    }
}
