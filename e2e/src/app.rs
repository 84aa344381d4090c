//! The first example, in a namespace of its own: what the demo shows and most tests are about.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use sluice_crds::{Rollout, names};

use crate::{
    cluster::Cluster,
    follow::{Follow, has_condition, say},
    gateway,
    install::deployment_ready,
    load::{Load, LoadConfig},
    manifest::{self, text},
    wait::{until, when},
};

/// How long pods, addresses and adoption may take.
pub const SETUP_DEADLINE: Duration = Duration::from_secs(90);

/// The example's objects in a namespace.
#[derive(Clone, Debug)]
pub struct App {
    /// Where.
    pub cluster: Cluster,
    /// In which namespace.
    pub namespace: String,
    /// Name of the Deployment, Service, route and Rollout.
    pub name: String,
    /// Name of the Gateway.
    pub gateway: String,
    /// Hostname of the route.
    pub host: String,
    /// The manifests.
    pub objects: Vec<Value>,
}

/// A pod, by what must not change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodIdentity {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Restarts of its containers.
    pub restarts: i32,
}

impl App {
    /// Reads the example and moves it to a namespace.
    pub fn read(cluster: &Cluster, folder: &Path, namespace: &str) -> Result<Self> {
        let mut objects = manifest::read(folder)?;
        manifest::move_to(&mut objects, namespace);
        Self::of(cluster, folder, objects)
    }

    /// Reads the example as it stands, namespace included.
    pub fn read_in_place(cluster: &Cluster, folder: &Path) -> Result<Self> {
        Self::of(cluster, folder, manifest::read(folder)?)
    }

    fn of(cluster: &Cluster, folder: &Path, objects: Vec<Value>) -> Result<Self> {
        let named = |kind: &str| {
            let object = objects.iter().find(|object| text(object, "/kind") == kind);
            object.ok_or_else(|| anyhow!("{}: no {kind}", folder.display()))
        };
        let name = text(named("Rollout")?, "/metadata/name").to_owned();
        let namespace = text(named("Rollout")?, "/metadata/namespace").to_owned();
        let gateway = text(named("Gateway")?, "/metadata/name").to_owned();
        let host = text(named("HTTPRoute")?, "/spec/hostnames/0").to_owned();
        Ok(Self { cluster: cluster.clone(), namespace, name, gateway, host, objects })
    }

    /// The manifest of a kind, to be changed before it is applied.
    pub fn object_mut(&mut self, kind: &str) -> Result<&mut Value> {
        let object = self.objects.iter_mut().find(|object| text(object, "/kind") == kind);
        object.with_context(|| format!("the example has no {kind}"))
    }

    /// Replaces the Rollout's steps.
    pub fn set_steps(&mut self, steps: Value) -> Result<()> {
        let place = self.object_mut("Rollout")?.pointer_mut("/spec/strategy/canary/steps");
        *place.context("the Rollout has no steps")? = steps;
        Ok(())
    }

    /// Applies everything but the Rollout and waits until requests arrive. Nothing of it knows of Sluice's operator.
    pub async fn serve(&self) -> Result<SocketAddr> {
        self.apply(|kind| kind != "Rollout").await?;
        deployment_ready(&self.cluster, &self.namespace, &self.name, SETUP_DEADLINE).await?;
        self.answering().await
    }

    /// Applies the manifests of some kinds.
    pub async fn apply(&self, of: impl Fn(&str) -> bool) -> Result<()> {
        let objects: Vec<_> = self.objects.iter().filter(|object| of(text(object, "/kind"))).cloned().collect();
        manifest::apply(&self.cluster.client, &objects).await
    }

    /// The Gateway's address, once requests arrive.
    pub async fn answering(&self) -> Result<SocketAddr> {
        let address = self.address().await?;
        answered_well(&LoadConfig::new(address, &self.host)).await?;
        Ok(address)
    }

    /// Applies the Rollout and waits until the workload is adopted.
    pub async fn adopt(&self) -> Result<Follow> {
        self.apply(|kind| kind == "Rollout").await?;
        let follow = self.follow();
        follow
            .until("adoption (condition Ready)", SETUP_DEADLINE, |status| {
                has_condition(status, names::CONDITION_READY, "True")
            })
            .await?;
        Ok(follow)
    }

    /// Follows the Rollout and its route.
    pub fn follow(&self) -> Follow {
        Follow::start(self.rollouts(), self.routes(), &self.name, &self.name)
    }

    /// The address of the Gateway's HTTP port, once it has one.
    pub async fn address(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(gateway::address(&self.cluster, &self.namespace, &self.gateway).await?, 80))
    }

    /// Starts load on the Gateway.
    pub fn load(&self, address: SocketAddr, rps: f64) -> Result<Load> {
        Load::start(LoadConfig { rps, ..LoadConfig::new(address, &self.host) })
    }

    /// Changes the Deployment's template to another version.
    pub async fn push(&self, version: &str, error_rate: &str) -> Result<()> {
        let env = json!([{"name": "VERSION", "value": version}, {"name": "ERROR_RATE", "value": error_rate}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": self.name, "env": env}]}}}});
        let params = PatchParams { field_manager: Some(manifest::FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.deployments().patch(&self.name, &params, &Patch::Strategic(patch)).await?;
        Ok(())
    }

    /// The Deployments of the namespace.
    pub fn deployments(&self) -> Api<Deployment> {
        self.cluster.api(&self.namespace)
    }

    /// The Rollouts of the namespace.
    pub fn rollouts(&self) -> Api<Rollout> {
        self.cluster.api(&self.namespace)
    }

    /// The HTTPRoutes of the namespace.
    pub fn routes(&self) -> Api<DynamicObject> {
        self.cluster.gateway_api(&self.namespace, "HTTPRoute", "httproutes")
    }

    /// The user's Deployment.
    pub async fn deployment(&self) -> Result<Deployment> {
        Ok(self.deployments().get(&self.name).await?)
    }

    /// `spec` of the route.
    pub async fn route_spec(&self) -> Result<Value> {
        let route = self.routes().get(&self.name).await?;
        Ok(route.data.get("spec").cloned().unwrap_or_default())
    }

    /// The pods whose template says this version, the leaving ones apart.
    pub async fn pods_of(&self, version: &str) -> Result<Vec<PodIdentity>> {
        let pods = self.cluster.api::<Pod>(&self.namespace).list(&ListParams::default()).await?;
        let own =
            pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && version_of(pod) == Some(version));
        let mut pods: Vec<_> = own.map(identity).collect();
        pods.sort();
        Ok(pods)
    }

    /// Waits until nothing of a run is left: no canary objects, and the route as the user wrote it.
    pub async fn restored(&self, route_spec: &Value, deadline: Duration) -> Result<()> {
        until("the route restored and the canary gone", deadline, async || {
            let spec = self.route_spec().await?;
            let left = self.canary_objects().await?;
            Ok(when(spec == *route_spec && left.is_empty(), || format!("left: {left:?}, route: {spec}")))
        })
        .await
    }

    /// Deployments and Services that a run has made and that exist still.
    pub async fn canary_objects(&self) -> Result<Vec<String>> {
        let params = ListParams::default().labels(&format!("{}={}", names::LABEL_OWNED_BY, self.name));
        let deployments = self.deployments().list(&params).await?;
        let services = self.cluster.api::<k8s_openapi::api::core::v1::Service>(&self.namespace).list(&params).await?;
        let deployments = deployments.iter().map(|object| format!("Deployment/{}", object.name_any()));
        Ok(deployments.chain(services.iter().map(|object| format!("Service/{}", object.name_any()))).collect())
    }

    /// Phase, step, weight and reason in one line.
    pub async fn say(&self) -> String {
        match self.rollouts().get_status(&self.name).await {
            Ok(rollout) => say(&rollout.status.unwrap_or_default()),
            Err(error) => format!("{error}"),
        }
    }
}

/// The version that a pod of the sample app is of.
pub fn version_of(pod: &Pod) -> Option<&str> {
    let env = pod.spec.as_ref()?.containers.first()?.env.as_ref()?;
    env.iter().find(|variable| variable.name == "VERSION")?.value.as_deref()
}

fn identity(pod: &Pod) -> PodIdentity {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    PodIdentity {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        restarts: containers.into_iter().flatten().map(|container| container.restart_count).sum(),
    }
}

/// Waits until a request of this load is answered well.
pub async fn answered_well(config: &LoadConfig) -> Result<()> {
    until("a good answer through the Gateway", SETUP_DEADLINE, async || {
        let config = LoadConfig { rps: 20.0, connections: 1, timeout: Duration::from_secs(2), ..config.clone() };
        let load = Load::start(config)?;
        let first = until("an answer", Duration::from_secs(3), async || {
            Ok(when(!load.record().samples().is_empty(), || "no answer".to_owned()))
        });
        let answered = first.await.is_ok();
        let summary = load.stop().await?.summary;
        Ok(when(answered && summary.failures() == 0, || format!("{:?}", summary.failures)))
    })
    .await
}
