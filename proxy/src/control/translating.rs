//! From changes in the caches to a published configuration: once for all changes that have come in meanwhile.

use anyhow::Context as _;
use kube::Client;

use crate::control::{
    args::Args,
    changes::Changes,
    lookups::Lookups,
    objects::Objects,
    ports::PortAllocations,
    server::Control,
    services,
    translate::{self, Translation, Translator},
    watch::Caches,
};

/// Keeps what data planes are to serve up to date.
pub struct Translating<'a> {
    args: &'a Args,
    control: &'a Control,
    caches: &'a Caches,
    /// What was looked up beside the caches.
    pub lookups: Lookups,
    ports: PortAllocations,
    objects: Objects,
    translator: Translator,
    newest: Translation,
}

impl<'a> Translating<'a> {
    /// Nothing yet: the first step translates everything.
    pub fn new(args: &'a Args, client: &Client, control: &'a Control, caches: &'a Caches) -> Self {
        Self {
            args,
            control,
            caches,
            lookups: Lookups::new(client),
            ports: PortAllocations::from_range(args.ports.0.clone()),
            objects: Objects::default(),
            translator: Translator::default(),
            newest: Translation::default(),
        }
    }

    /// Translates what has changed since the last step, beside what `changes` says already, and publishes it.
    pub async fn step(&mut self, mut changes: Changes, spares_unready: bool) -> anyhow::Result<Translation> {
        changes.extend(self.caches.take_changes());
        // Our own Services say which ports are in use.
        changes.everything |= changes.services.iter().any(|service| service.namespace == self.args.namespace)
            || spares_unready != self.objects.spares_unready;
        if changes.is_unread() {
            self.caches.update(&mut self.objects, &changes);
            return Ok(self.newest.clone());
        }
        let started = std::time::Instant::now();
        loop {
            self.read(&changes, spares_unready);
            let controller = &self.args.controller_name;
            self.newest = self.translator.update(&changes, &self.objects, &self.ports, controller);
            // What it asked for and nobody had looked up may change it.
            if !self.lookups.follow(&self.objects).await {
                break;
            }
            changes = Changes::everything();
        }
        self.control.metrics.translation.observe(started.elapsed().as_secs_f64());
        let update = self.control.publisher.publish(&self.newest.resources).context("cannot encode a resource")?;
        self.control.metrics.update.set(update);
        Ok(self.newest.clone())
    }

    /// Brings the objects up to date, and the ports to what they want.
    fn read(&mut self, changes: &Changes, spares_unready: bool) {
        if !changes.everything {
            return self.caches.update(&mut self.objects, changes);
        }
        self.objects =
            Objects { address_pools: self.args.address_pool.clone(), spares_unready, ..self.caches.objects() };
        self.lookups.fill(&mut self.objects);
        let classes = translate::class::plans(&self.objects, &self.args.controller_name);
        let wanted = translate::gateway::wanted_ports(&self.objects, &classes);
        let own = self.caches.own_services();
        self.ports.reconcile(&wanted, &services::in_service(own.values().map(|service| &**service)));
    }
}
