//! What follows a translation: Services and status. It runs beside the translation, so that a slow API server delays no
//! configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
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
    changes::Changes,
    fleet::{Fleet, Progress},
    metrics::Metrics,
    objects::{AnyRoute, Name, Objects, RouteKind, RouteName},
    pace::Pace,
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
/// A pass over everything without any cause, against lost events.
const RESYNC: Duration = Duration::from_mins(1);
/// Routes whose status is written in one pass: so many take a moment, in which nothing else is written.
const BATCH: usize = 64;
/// Statuses of routes that the API server has in hand at once.
const AT_ONCE: usize = 8;

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
    /// The translation of the last pass.
    followed: Translation,
    due: Due,
    pace: Pace,
    /// When to go over everything.
    resync: Instant,
    /// Since when data planes or Services have been behind.
    behind: Option<Instant>,
    /// Since when a data plane that may be serving has not been connected.
    missing: Option<Instant>,
}

/// Whose status is to be looked at. That of Gateways and ListenerSets always is: it says how far data planes are.
#[derive(Debug, Default)]
struct Due {
    routes: BTreeSet<RouteName>,
    /// Those whose write failed: the others go first.
    failed: BTreeSet<RouteName>,
    classes_and_policies: bool,
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
            followed: Translation::default(),
            due: Due::default(),
            pace: Pace::default(),
            resync: Instant::now(),
            behind: None,
            missing: None,
        }
    }

    /// Follows translations and data planes for ever.
    pub async fn run(mut self, caches: &Caches, mut translation: watch::Receiver<Translation>) -> Infallible {
        let mut fleet = self.fleet.subscribe();
        loop {
            let newest = translation.borrow_and_update().clone();
            fleet.mark_unchanged();
            let next = self.pass(caches, newest).await;
            // A sender that is gone means that the process ends.
            tokio::select! {
                Ok(()) = translation.changed() => {}
                Ok(()) = fleet.changed() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// One pass; returns when the next one is due if nothing happens.
    async fn pass(&mut self, caches: &Caches, translation: Translation) -> Instant {
        self.look(caches, translation);
        let published = self.publisher.newest();
        let progress = self.fleet.progress();
        self.metrics.data_planes.set(progress.connected as u64);
        self.metrics.served.set(progress.served);
        let pods = caches.pods();
        self.fleet.keep(&pods.existing);
        let own = caches.own_services();
        let services = self.services.reconcile(&self.followed, &published, &progress, &own).await;
        let services = services.and(self.aliases.reconcile(&self.followed, |name| caches.service(name)).await);
        let behind = progress.connected > 0 && progress.served < published.update && progress.refused.is_none();
        let missing = progress.connected < pods.serving.len();
        let settles = until(&mut self.behind, behind || services.wrote, SETTLE);
        let connects = until(&mut self.missing, missing, RECONNECT);
        if let Some(deadline) = settles.max(connects) {
            return deadline;
        }
        let parents = caches.parents();
        let unprotected = protect(&self.client, &parents, &self.controller).await;
        let failed = self.write_status(caches, &parents, &published, &progress, &services).await;
        let now = Instant::now();
        let retry = (failed || services.failed || unprotected).then_some(now + RETRY);
        let rest = (!self.due.routes.is_empty()).then_some(now);
        [retry, rest, self.pace.next(now)].into_iter().flatten().fold(self.resync, Instant::min)
    }

    /// Takes in what has changed since the last pass.
    fn look(&mut self, caches: &Caches, translation: Translation) {
        let changes = caches.take_followed();
        let everything = changes.everything || self.resync <= Instant::now();
        let before = std::mem::replace(&mut self.followed, translation);
        let now = &self.followed;
        self.due.classes_and_policies |= everything
            || changes.others
            || now.classes != before.classes
            || !now.policies.news(&before.policies).is_empty()
            || !now.traffic_policies.news(&before.traffic_policies).is_empty();
        self.due.routes.extend(changes.routes.into_iter().chain(changes.seen));
        for (name, plan) in now.routes.news(&before.routes) {
            self.fleet.prune_route(&name.to_string(), plan.map(|plan| plan.generation));
            self.due.routes.insert(name.clone());
        }
        if everything {
            self.resync = Instant::now() + RESYNC;
            self.due.routes.extend(now.routes.keys().cloned());
            self.fleet.prune(&now.routes.iter().map(|(name, plan)| (name.to_string(), plan.generation)).collect());
            self.writer.retain(uids(&caches.objects()).into_iter());
        }
    }

    /// Writes what is due, of routes so many as one pass takes. Returns whether some of it failed, which is due again.
    async fn write_status(
        &mut self,
        caches: &Caches,
        parents: &Objects,
        published: &Published,
        progress: &Progress,
        services: &services::Outcome,
    ) -> bool {
        let now = now();
        let own = caches.own_services();
        let mut all_well = self.write_gateways(parents, &own, (published, progress, services), &now).await;
        if std::mem::take(&mut self.due.classes_and_policies) {
            self.due.classes_and_policies = !self.write_classes_and_policies(parents, &now).await;
            all_well &= !self.due.classes_and_policies;
        }
        if self.due.routes.is_empty() {
            self.due.routes = std::mem::take(&mut self.due.failed);
        }
        let batch: BTreeSet<_> = std::iter::from_fn(|| self.due.routes.pop_first()).take(BATCH).collect();
        let mut objects = Objects::default();
        let changes = Changes { seen: batch, ..Changes::default() };
        caches.update(&mut objects, &changes);
        let writes = stream::iter(&changes.seen).map(|name| self.write_route(name, &objects, &now));
        let failed: Vec<_> =
            writes.buffer_unordered(AT_ONCE).filter_map(async |(name, well)| (!well).then_some(name)).collect().await;
        self.due.failed.extend(failed.into_iter().cloned());
        !(all_well && self.due.failed.is_empty())
    }

    /// Those of Gateways and ListenerSets.
    async fn write_gateways(
        &mut self,
        parents: &Objects,
        own: &BTreeMap<String, Arc<Service>>,
        (published, progress, services): (&Published, &Progress, &services::Outcome),
        now: &str,
    ) -> bool {
        let mut all_well = true;
        for (name, plan) in &self.followed.gateways {
            let reach = reach(own, name, progress, services);
            let wanted = |live: &_| Some(status::gateway(live, plan, &reach, published, now));
            let object =
                parents.gateways.get(name).filter(|gateway| self.pace.admits(&self.writer, &***gateway, wanted));
            all_well &= self.write_to(object, plan.generation, wanted).await;
        }
        for (name, plan) in &self.followed.listener_sets {
            let Some(gateway) = self.followed.gateways.get(&plan.gateway) else { continue };
            let reach = reach(own, &plan.gateway, progress, services);
            let wanted = |live: &_| Some(status::listener_set(live, (name, plan), gateway, &reach, published, now));
            let object = parents.listener_sets.get(name).filter(|set| self.pace.admits(&self.writer, &***set, wanted));
            all_well &= self.write_to(object, plan.generation, wanted).await;
        }
        all_well
    }

    async fn write_classes_and_policies(&self, parents: &Objects, now: &str) -> bool {
        let mut all_well = true;
        for plan in &self.followed.classes {
            let known = parents.classes.iter().find(|class| class.metadata.name.as_ref() == Some(&plan.name));
            if let Some(class) = known.filter(|class| class.metadata.generation == Some(plan.generation)) {
                let wanted = |live: &_| Some(status::class(live, plan, now));
                all_well &= self.writer.write(&self.writer.cluster_api(), &**class, plan.generation, wanted).await;
            }
        }
        for (name, plan) in &self.followed.policies {
            let wanted = |live: &_| status::policy(live, plan, &self.controller, now);
            all_well &= self.write_to(parents.backend_tls_policies.get(name), plan.generation, wanted).await;
        }
        for (name, plan) in &self.followed.traffic_policies {
            let wanted = |live: &_| status::policy(live, plan, &self.controller, now);
            all_well &= self.write_to(parents.backend_traffic_policies.get(name), plan.generation, wanted).await;
        }
        all_well
    }

    /// Returns whether it went well.
    async fn write_route<'a>(&self, route: &'a RouteName, objects: &Objects, now: &str) -> (&'a RouteName, bool) {
        let Some(plan) = self.followed.routes.get(route) else { return (route, true) };
        let (name, generation) = (&route.name, plan.generation);
        let wanted = |live: &_| status::route(live, plan, &self.controller, now);
        let well = match route.kind {
            RouteKind::Grpc => self.write_to(objects.grpc_routes.get(name), generation, wanted).await,
            RouteKind::Http => self.write_to(objects.http_routes.get(name), generation, wanted).await,
            RouteKind::Tcp => self.write_to(objects.tcp_routes.get(name), generation, wanted).await,
            RouteKind::Tls => self.write_to(objects.tls_routes.get(name), generation, wanted).await,
            RouteKind::Udp => self.write_to(objects.udp_routes.get(name), generation, wanted).await,
        };
        (route, well)
    }

    /// Writes the status of an object that is still of this generation.
    async fn write_to<K>(
        &self,
        object: Option<&Arc<K>>,
        generation: i64,
        wanted: impl Fn(&Value) -> Option<Value>,
    ) -> bool
    where
        K: WithStatus + Resource<Scope = NamespaceResourceScope>,
    {
        let Some(object) = object else { return true };
        let metadata = object.meta();
        if metadata.generation != Some(generation) || metadata.deletion_timestamp.is_some() {
            return true;
        }
        let api = self.writer.api(metadata.namespace.as_deref().unwrap_or_default());
        self.writer.write(&api, &**object, generation, wanted).await
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
    let traffic = objects.backend_traffic_policies.values().map(|object| &object.metadata);
    let sets = objects.listener_sets.values().map(|object| &object.metadata);
    let all = classes.chain(gateways).chain(sets).chain(routes).chain(policies).chain(traffic);
    all.filter_map(|metadata| metadata.uid.as_deref()).collect()
}

/// The time as conditions have it: in whole seconds.
fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}
