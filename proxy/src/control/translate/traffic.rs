//! BackendTrafficPolicies: what they say of the endpoints of a Service's ports, and what their status says.
//!
//! One that cannot be used leaves its ports as they would be without it: requests still find their endpoints.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use sluice_crds::{
    BackendTrafficPolicy, BackendTrafficPolicySpec, ConsistentHash, ConsistentHashType, LoadBalancing,
    LoadBalancingType, OutlierDetection,
};
use sluice_proxy_core::{
    balance,
    model::{Balancing, HashOn, Outliers, Traffic},
};

use crate::control::{
    objects::{Name, Objects},
    translate::{
        conditions::{ACCEPTED, Condition},
        duration,
        filter::Refusal,
        policy::{self, Attachments, PolicyPlan, Target},
    },
};

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;

/// Every BackendTrafficPolicy, and what it bears on.
#[derive(Debug)]
pub struct Policies<'a> {
    objects: &'a Objects,
    /// What they bear on.
    pub attachments: Attachments<'a>,
}

impl<'a> Policies<'a> {
    /// All policies; what they bear on is still to be noted.
    pub fn new(objects: &'a Objects) -> Self {
        let policies = objects.backend_traffic_policies.iter();
        let policies = policies.map(|(name, policy)| (name, &policy.metadata, targets(name, policy)));
        Self { objects, attachments: Attachments::new(objects, policies.collect()) }
    }

    /// What the policy says that governs a port of a Service, if it can be used.
    pub fn of_port(&self, service: &Name, port: Option<&str>) -> Option<Traffic> {
        let name = self.attachments.of_port(service, port)?;
        traffic(&self.objects.backend_traffic_policies.get(name)?.spec).ok()
    }

    /// What comes of every policy.
    pub fn plans(self) -> BTreeMap<Name, PolicyPlan> {
        let policies = self.objects.backend_traffic_policies.iter();
        policies.map(|(name, policy)| (name.clone(), self.plan(name, policy))).collect()
    }

    fn plan(&self, name: &Name, policy: &BackendTrafficPolicy) -> PolicyPlan {
        let (targets, ancestors) = self.attachments.reached(targets(name, policy));
        let invalid = |refusal: Refusal| Condition::no(ACCEPTED, "Invalid", format!("spec.{}", refusal.message));
        let refused = || traffic(&policy.spec).err().map(invalid);
        let accepted = self.attachments.unattached(name, &targets).or_else(refused).unwrap_or_else(Condition::accepted);
        let generation = policy.metadata.generation.unwrap_or_default();
        PolicyPlan { generation, ancestors, accepted, resolved: None, resource: None }
    }
}

fn targets<'a>(name: &Name, policy: &'a BackendTrafficPolicy) -> Vec<Target<'a>> {
    let targets = policy.spec.target_refs.iter().filter_map(|target| {
        let kind = (target.group.as_deref(), target.kind.as_deref());
        policy::target(name, kind, &target.name, target.section_name.as_deref())
    });
    targets.collect()
}

/// What data planes are told. The API server checks the same; a folder of manifests has none.
fn traffic(spec: &BackendTrafficPolicySpec) -> Result<Traffic, Refusal> {
    let connect = within(spec.connect_timeout.as_ref(), "connectTimeout", (10, 60 * SECOND))?;
    let connections = spec.connections.as_ref().and_then(|connections| connections.max_requests_per_connection);
    let most = connections.map(|most| number(most, "connections.maxRequestsPerConnection", (1, 1_000_000)));
    let traffic = Traffic {
        balancing: spec.load_balancing.as_ref().map_or(Ok(Balancing::LeastRequest), balancing)?,
        outliers: spec.outlier_detection.as_ref().map(outliers).transpose()?,
        connect_timeout: connect,
        requests_per_connection: most.transpose()?,
    };
    let named = |name| Refusal::unsupported(format!("loadBalancing.consistentHash.name: {name:?} cannot be one"));
    balance::Traffic::new(&traffic).map_err(named)?;
    Ok(traffic)
}

fn balancing(spec: &LoadBalancing) -> Result<Balancing, Refusal> {
    let no = |message: &str| Err(Refusal::unsupported(format!("loadBalancing.{message}")));
    match (spec.type_, &spec.consistent_hash) {
        (LoadBalancingType::LeastRequest, None) => Ok(Balancing::LeastRequest),
        (LoadBalancingType::Random, None) => Ok(Balancing::Random),
        (LoadBalancingType::RoundRobin, None) => Ok(Balancing::RoundRobin),
        (LoadBalancingType::ConsistentHash, Some(ConsistentHash { type_, name })) => match (type_, name) {
            (ConsistentHashType::Header, Some(name)) => Ok(Balancing::ConsistentHash(HashOn::Header(name.clone()))),
            (ConsistentHashType::Cookie, Some(name)) => Ok(Balancing::ConsistentHash(HashOn::Cookie(name.clone()))),
            (ConsistentHashType::SourceAddress, None) => Ok(Balancing::ConsistentHash(HashOn::SourceAddress)),
            _ => no("consistentHash.name: types Header and Cookie need it, and no other has it"),
        },
        _ => no("consistentHash: type ConsistentHash needs it, and no other has it"),
    }
}

fn outliers(spec: &OutlierDetection) -> Result<Outliers, Refusal> {
    let count = |count: Option<i32>, field: &str| number(count.unwrap_or(5), &at(field), (0, 1_000));
    let time = |text: &Option<String>, field: &str, least: u64, default: u64| {
        Ok(within(text.as_ref(), &at(field), (least, HOUR))?.unwrap_or(default))
    };
    Ok(Outliers {
        server_errors: count(spec.consecutive_server_errors, "consecutiveServerErrors")?,
        gateway_errors: count(spec.consecutive_gateway_errors, "consecutiveGatewayErrors")?,
        interval: time(&spec.interval, "interval", SECOND, 10 * SECOND)?,
        ejection: time(&spec.base_ejection_time, "baseEjectionTime", SECOND, 2 * SECOND)?,
        most: number(spec.max_ejection_percent.unwrap_or(50), &at("maxEjectionPercent"), (1, 100))? as u8,
        recovery: time(&spec.recovery_time, "recoveryTime", 0, SECOND)?,
    })
}

fn at(field: &str) -> String {
    format!("outlierDetection.{field}")
}

fn number(value: i32, place: &str, (least, most): (u32, u32)) -> Result<u32, Refusal> {
    let number = u32::try_from(value).ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| Refusal::unsupported(format!("{place}: {value} is not from {least} to {most}")))
}

/// Milliseconds of a duration that has these bounds.
fn within(text: Option<&String>, place: &str, (least, most): (u64, u64)) -> Result<Option<u64>, Refusal> {
    match duration::field(text, place)? {
        Some(millis) if !(least..=most).contains(&millis) => {
            let text = text.map(String::as_str).unwrap_or_default();
            Err(Refusal::unsupported(format!("{place}: {text} is not from {least}ms to {most}ms")))
        }
        millis => Ok(millis),
    }
}
