//! A name for a Gateway in its own namespace: a Service of type ExternalName that leads to the one which has its address.
//!
//! Made for Gateways with `spec.infrastructure`, whose labels and annotations it carries: this is where the authors of the
//! Gateway and their tools may see them, which the namespace of the data planes is not for. It goes with its Gateway, by
//! owner reference. A Service of this name that is not ours is left alone.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use k8s_openapi::{
    api::core::v1::{Service, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource as _,
    api::{Patch, PatchParams},
};
use sluice_gateway_types::Gateway;

use super::{FIELD_MANAGER, MANAGED_BY, Outcome, gateway_name, service_name};
use crate::control::{
    objects::Name,
    translate::{GatewayPlan, Translation},
};

/// Longest name of a Service.
const NAME_LENGTH: usize = 63;

/// Makes these Services.
pub struct Aliases {
    client: Client,
    /// What follows the name of a Service in its host name.
    suffix: String,
    written: BTreeMap<Name, Written>,
}

/// What was written last: what is not in a newer version is taken away by writing that.
struct Written {
    service: Service,
    /// The cache has shown it, or something newer: what it shows is not from before the write any more.
    seen: bool,
}

impl Written {
    /// Takes in what the cache shows. True while that may be older than what was written.
    fn waits_for(&mut self, found: Option<&Service>) -> bool {
        let version = |service: &Service| service.metadata.resource_version.as_deref()?.parse::<u64>().ok();
        self.seen |= found.is_some_and(|found| version(found) >= version(&self.service));
        !self.seen
    }
}

impl Aliases {
    /// Aliases for Services in this namespace, in a cluster of this domain.
    pub fn new(client: &Client, namespace: &str, domain: &str) -> Self {
        Self { client: client.clone(), suffix: format!("{namespace}.svc.{domain}"), written: BTreeMap::new() }
    }

    /// Brings the aliases to what the translation wants. `live` finds a Service of any namespace.
    pub async fn reconcile(
        &mut self,
        translation: &Translation,
        live: impl Fn(&Name) -> Option<Arc<Service>>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        self.written.retain(|gateway, _| translation.gateways.contains_key(gateway));
        for (gateway, plan) in &translation.gateways {
            let found = live(&Name::new(&gateway.namespace, alias_name(gateway)));
            let is_ours = found.as_ref().is_some_and(|service| is_owned_by(service, &plan.uid));
            if found.is_some() && !is_ours || !is_ours && plan.labels.is_empty() && plan.annotations.is_empty() {
                continue;
            }
            let wanted = render(gateway, plan, &self.suffix);
            let written = self.written.get_mut(gateway).filter(|written| is_as_rendered(&written.service, &wanted));
            let is_settled = written.is_some_and(|written| {
                written.waits_for(found.as_deref()) || found.as_ref().is_some_and(|found| holds(found, &wanted))
            });
            if !is_settled {
                outcome.add(self.write(gateway, wanted).await);
            }
        }
        outcome
    }

    async fn write(&mut self, gateway: &Name, wanted: Service) -> anyhow::Result<bool> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), &gateway.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let name = alias_name(gateway);
        let context = || format!("cannot write Service {}/{name}", gateway.namespace);
        let answer = api.patch(&name, &params, &Patch::Apply(&wanted)).await.with_context(context)?;
        tracing::info!(service = name, %gateway, "Service in the Gateway's namespace written");
        let mut service = wanted;
        service.metadata.resource_version = answer.metadata.resource_version;
        self.written.insert(gateway.clone(), Written { service, seen: false });
        Ok(true)
    }
}

/// The alias's name: speaking where that is the name of a Service, and hashed where it is not.
pub fn alias_name(gateway: &Name) -> String {
    let speaking = format!("{}-sluice", gateway.name);
    let fits = speaking.len() <= NAME_LENGTH
        && speaking.starts_with(|first: char| first.is_ascii_lowercase())
        && !speaking.contains('.');
    if fits { speaking } else { service_name(gateway) }
}

fn render(gateway: &Name, plan: &GatewayPlan, suffix: &str) -> Service {
    let own = [(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned()), gateway_name(gateway)];
    let owner = OwnerReference {
        api_version: Gateway::api_version(&()).into_owned(),
        kind: Gateway::kind(&()).into_owned(),
        name: gateway.name.clone(),
        uid: plan.uid.clone(),
        ..OwnerReference::default()
    };
    Service {
        metadata: ObjectMeta {
            name: Some(alias_name(gateway)),
            labels: Some(plan.labels.clone().into_iter().chain(own).collect()),
            annotations: Some(plan.annotations.clone()).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some("ExternalName".to_owned()),
            external_name: Some(format!("{}.{suffix}", service_name(gateway))),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn is_owned_by(service: &Service, uid: &str) -> bool {
    let is_ours = service.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY.0)).map(String::as_str)
        == Some(MANAGED_BY.1);
    is_ours && service.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid)
}

/// Whether this is what was written, but for the version that the API server gave it.
fn is_as_rendered(written: &Service, wanted: &Service) -> bool {
    let mut written = written.clone();
    written.metadata.resource_version = None;
    written == *wanted
}

/// Whether a Service is as it is wanted, whatever else it has.
fn holds(live: &Service, wanted: &Service) -> bool {
    let within = |wanted: &Option<BTreeMap<String, String>>, live: &Option<BTreeMap<String, String>>| {
        let mut wanted = wanted.iter().flatten();
        wanted.all(|(key, value)| live.as_ref().and_then(|live| live.get(key)) == Some(value))
    };
    let target = |service: &Service| {
        let spec = service.spec.clone().unwrap_or_default();
        (spec.type_, spec.external_name)
    };
    within(&wanted.metadata.labels, &live.metadata.labels)
        && within(&wanted.metadata.annotations, &live.metadata.annotations)
        && target(wanted) == target(live)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{files, ports::PortAllocations, translate::translate};

    const MANIFEST: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop, uid: gateway-uid}
spec:
  gatewayClassName: sluice
  infrastructure: {labels: {team: a, app.kubernetes.io/managed-by: me}, annotations: {note: b}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
";

    fn rendered() -> Service {
        let name = Name::new("shop", "web");
        let objects = files::parse(MANIFEST).unwrap();
        let plans = translate(&objects, &PortAllocations::identity(), "sluice.dev/gateway-controller").gateways;
        render(&name, &plans[&name], "sluice-system.svc.cluster.local")
    }

    #[test]
    fn a_name_is_speaking_where_a_service_may_have_it() {
        let cases = [("web", true), ("web.example.com", false), ("1st", false)];
        for (gateway, speaking) in cases {
            let name = alias_name(&Name::new("shop", gateway));
            assert_eq!(name == format!("{gateway}-sluice"), speaking, "{name}");
        }
        assert!(alias_name(&Name::new("shop", "g".repeat(253))).len() <= NAME_LENGTH);
    }

    #[test]
    fn it_leads_to_the_gateways_service_and_goes_with_the_gateway() {
        let service = rendered();
        let expected = format!("{}.sluice-system.svc.cluster.local", service_name(&Name::new("shop", "web")));
        assert_eq!(service.spec.as_ref().unwrap().external_name, Some(expected));
        assert!(is_owned_by(&service, "gateway-uid"));
        assert!(!is_owned_by(&service, "another-uid"));
    }

    #[test]
    fn it_carries_what_the_infrastructure_says_and_cannot_be_passed_off_as_another_ones() {
        let metadata = rendered().metadata;
        let labels = metadata.labels.unwrap();
        assert_eq!((labels["team"].as_str(), labels[MANAGED_BY.0].as_str()), ("a", MANAGED_BY.1));
        assert_eq!(labels["gateway.networking.k8s.io/gateway-name"], "web");
        assert_eq!(metadata.annotations, Some([("note".to_owned(), "b".to_owned())].into()));
    }

    #[test]
    fn a_cache_that_lags_behind_a_write_is_waited_for() {
        let at = |version: &str| {
            let mut service = rendered();
            service.metadata.resource_version = Some(version.to_owned());
            service
        };
        let mut written = Written { service: at("10"), seen: false };
        assert!(is_as_rendered(&written.service, &rendered()));
        assert!(written.waits_for(None));
        assert!(written.waits_for(Some(&at("9"))));
        assert!(!written.waits_for(Some(&at("10"))));
        assert!(!written.waits_for(None), "what is gone after it was seen was deleted");
    }

    #[test]
    fn what_others_add_is_no_reason_to_write_and_what_is_missing_is() {
        let wanted = rendered();
        let mut live = wanted.clone();
        live.metadata.labels.as_mut().unwrap().insert("theirs".to_owned(), "x".to_owned());
        assert!(holds(&live, &wanted));
        live.metadata.annotations = None;
        assert!(!holds(&live, &wanted));
    }
}
