//! What follows a translation: Services and status. It runs beside the translation, so that a slow API server delays no
//! configuration.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use jiff::{Timestamp, Unit};
use k8s_openapi::api::core::v1::Service;
use kube::{Client, Resource, core::NamespaceResourceScope};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::control::{
    args::Args,
    fleet::{Fleet, Progress},
    metrics::Metrics,
    objects::{AnyRoute, Name, Objects, RouteKind},
    protect::protect,
    publish::{Published, Publisher},
    server::Control,
    services::{self, Services, alias::Aliases},
    status::{self, Reach},
    translate::Translation,
    watch::Caches,
    writer::{StatusWriter, WithStatus},
};

/// How long status waits for data planes to acknowledge, so that a change is reported once and not in steps.
const SETTLE: Duration = Duration::from_secs(1);
/// The same while a data plane that may be serving is not connected: after a restart of the controller they come back.
const RECONNECT: Duration = Duration::from_secs(10);
/// When a pass that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// A pass without any cause, against lost events.
const RESYNC: Duration = Duration::from_mins(1);

/// Brings Services and status to what translations say.
pub struct Effects {
    client: Client,
    controller: String,
    publisher: Arc<Publisher>,
    fleet: Arc<Fleet>,
    metrics: Metrics,
    services: Services,
    aliases: Aliases,
    writer: StatusWriter,
    /// Since when data planes or Services have been behind.
    behind: Option<Instant>,
    /// Since when a data plane that may be serving has not been connected.
    missing: Option<Instant>,
}

impl Effects {
    /// Effects of a controller with these arguments.
    pub fn new(args: &Args, client: &Client, control: &Control) -> Self {
        Self {
            client: client.clone(),
            controller: args.controller_name.clone(),
            publisher: Arc::clone(&control.publisher),
            fleet: Arc::clone(&control.fleet),
            metrics: control.metrics.clone(),
            services: Services::new(client, &args.namespace, args.service_type.as_str(), &args.controller_name),
            aliases: Aliases::new(client, &args.namespace, &args.cluster_domain),
            writer: StatusWriter::new(client, &control.metrics),
            behind: None,
            missing: None,
        }
    }

    /// Follows translations and data planes for ever.
    pub async fn run(mut self, caches: &Caches, mut translation: watch::Receiver<Arc<Translation>>) -> Infallible {
        let mut fleet = self.fleet.subscribe();
        loop {
            let newest = translation.borrow_and_update().clone();
            fleet.mark_unchanged();
            let next = self.pass(caches, &newest).await;
            // A sender that is gone means that the process ends.
            tokio::select! {
                Ok(()) = translation.changed() => {}
                Ok(()) = fleet.changed() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// One pass; returns when the next one is due if nothing happens.
    async fn pass(&mut self, caches: &Caches, translation: &Translation) -> Instant {
        let published = self.publisher.newest();
        let progress = self.fleet.progress();
        self.metrics.data_planes.set(progress.connected as u64);
        self.metrics.served.set(progress.served);
        let routes = translation.routes.iter().map(|(name, plan)| (name.to_string(), plan.generation));
        let pods = caches.pods();
        self.fleet.prune(&pods.existing, &routes.collect());
        let own = caches.own_services();
        let services = self.services.reconcile(translation, &published, &progress, &own).await;
        let services = services.and(self.aliases.reconcile(translation, |name| caches.service(name)).await);
        let behind = progress.connected > 0 && progress.served < published.update && progress.refused.is_none();
        let missing = progress.connected < pods.serving.len();
        let settles = until(&mut self.behind, behind || services.wrote, SETTLE);
        let connects = until(&mut self.missing, missing, RECONNECT);
        if let Some(deadline) = settles.max(connects) {
            return deadline;
        }
        let objects = caches.objects();
        let unprotected = protect(&self.client, &objects, &self.controller).await;
        self.write_status(caches, &objects, translation, &published, &progress, &services).await;
        Instant::now() + if self.writer.take_failed() || services.failed || unprotected { RETRY } else { RESYNC }
    }

    async fn write_status(
        &mut self,
        caches: &Caches,
        objects: &Objects,
        translation: &Translation,
        published: &Published,
        progress: &Progress,
        services: &services::Outcome,
    ) {
        let now = now();
        self.writer.retain(uids(objects).into_iter());
        for plan in &translation.classes {
            let Some(class) = objects.classes.iter().find(|c| c.metadata.name.as_ref() == Some(&plan.name)) else {
                continue;
            };
            if class.metadata.generation == Some(plan.generation) {
                let api = self.writer.cluster_api();
                self.writer.write(&api, &**class, plan.generation, |live| Some(status::class(live, plan, &now))).await;
            }
        }
        let own = caches.own_services();
        for (name, plan) in &translation.gateways {
            let Some(gateway) = objects.gateways.get(name) else { continue };
            if gateway.metadata.generation != Some(plan.generation) {
                continue;
            }
            let reach = reach(&own, name, progress, services);
            let wanted = |live: &_| Some(status::gateway(live, plan, &reach, published, &now));
            let api = self.writer.api(&name.namespace);
            self.writer.write(&api, &**gateway, plan.generation, wanted).await;
        }
        for (name, plan) in &translation.listener_sets {
            let found = objects.listener_sets.get(name).zip(translation.gateways.get(&plan.gateway));
            let Some((set, gateway)) = found.filter(|(set, _)| set.metadata.generation == Some(plan.generation)) else {
                continue;
            };
            let reach = reach(&own, &plan.gateway, progress, services);
            let wanted = |live: &_| Some(status::listener_set(live, (name, plan), gateway, &reach, published, &now));
            let api = self.writer.api(&name.namespace);
            self.writer.write(&api, &**set, plan.generation, wanted).await;
        }
        self.write_routes(translation, objects, &now).await;
        for (name, plan) in &translation.policies {
            let (policy, controller) = (objects.backend_tls_policies.get(name), self.controller.clone());
            let wanted = |live: &_| status::policy(live, plan, &controller, &now);
            self.write_to(policy, plan.generation, wanted).await;
        }
    }

    async fn write_routes(&mut self, translation: &Translation, objects: &Objects, now: &str) {
        let controller = self.controller.clone();
        for (name, plan) in &translation.routes {
            let (name, kind, generation) = (&name.name, name.kind, plan.generation);
            let wanted = |live: &_| status::route(live, plan, &controller, now);
            match kind {
                RouteKind::Grpc => self.write_to(objects.grpc_routes.get(name), generation, wanted).await,
                RouteKind::Http => self.write_to(objects.http_routes.get(name), generation, wanted).await,
                RouteKind::Tcp => self.write_to(objects.tcp_routes.get(name), generation, wanted).await,
                RouteKind::Tls => self.write_to(objects.tls_routes.get(name), generation, wanted).await,
                RouteKind::Udp => self.write_to(objects.udp_routes.get(name), generation, wanted).await,
            }
        }
    }

    /// Writes the status of an object that is still of this generation.
    async fn write_to<K>(&mut self, object: Option<&Arc<K>>, generation: i64, wanted: impl Fn(&Value) -> Option<Value>)
    where
        K: WithStatus + Resource<Scope = NamespaceResourceScope>,
    {
        let Some(object) = object else { return };
        let metadata = object.meta();
        if metadata.generation != Some(generation) || metadata.deletion_timestamp.is_some() {
            return;
        }
        let api = self.writer.api(metadata.namespace.as_deref().unwrap_or_default());
        self.writer.write(&api, &**object, generation, wanted).await;
    }
}

/// Where a Gateway is reached.
fn reach(
    own: &BTreeMap<String, Arc<Service>>,
    gateway: &Name,
    progress: &Progress,
    outcome: &services::Outcome,
) -> Reach {
    let service = own.get(&services::service_name(gateway));
    let service = service.filter(|service| services::gateway_of(service).as_ref() == Some(gateway));
    Reach {
        progress: progress.clone(),
        addresses: service.map(|service| services::addresses(service)).unwrap_or_default(),
        ports: service.map(|service| services::ports_of(service).into_keys().collect()).unwrap_or_default(),
        refused: outcome.refused.get(gateway).cloned(),
    }
}

/// When to stop waiting for a state to end, if it lasts and the wait is not over yet.
fn until(since: &mut Option<Instant>, lasts: bool, patience: Duration) -> Option<Instant> {
    if !lasts {
        *since = None;
        return None;
    }
    let deadline = *since.get_or_insert_with(Instant::now) + patience;
    (Instant::now() < deadline).then_some(deadline)
}

/// UIDs of everything that has a status of ours.
fn uids(objects: &Objects) -> Vec<&str> {
    let classes = objects.classes.iter().map(|object| &object.metadata);
    let gateways = objects.gateways.values().map(|object| &object.metadata);
    let routes = objects.routes().map(AnyRoute::metadata);
    let policies = objects.backend_tls_policies.values().map(|object| &object.metadata);
    let sets = objects.listener_sets.values().map(|object| &object.metadata);
    let all = classes.chain(gateways).chain(sets).chain(routes).chain(policies);
    all.filter_map(|metadata| metadata.uid.as_deref()).collect()
}

/// The time as conditions have it: in whole seconds.
fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}
