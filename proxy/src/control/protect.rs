//! Keeps a GatewayClass while Gateways use it, by the finalizer that the specification has for this. Without its class a
//! Gateway is nobody's: its Service would be removed, and with it the address that clients know.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context as _;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use sluice_gateway_types::{Gateway, GatewayClass};

use crate::control::objects::Objects;

/// The finalizer.
pub const FINALIZER: &str = "gateway-exists-finalizer.gateway.networking.k8s.io";
const FIELD_MANAGER: &str = "sluice-proxy-controller";

/// The finalizers that a class is to have; none when it has them.
pub fn wanted(class: &GatewayClass, is_used: bool) -> Option<Vec<String>> {
    let live = class.metadata.finalizers.clone().unwrap_or_default();
    let has_it = live.iter().any(|name| name == FINALIZER);
    // The API server takes no new finalizer for what is being deleted.
    let is_leaving = class.metadata.deletion_timestamp.is_some();
    match (is_used, has_it) {
        (true, false) if !is_leaving => Some(live.into_iter().chain([FINALIZER.to_owned()]).collect()),
        (false, true) => Some(live.into_iter().filter(|name| name != FINALIZER).collect()),
        _ => None,
    }
}

/// Gives the classes of this controller the finalizer, or takes it away. Returns whether one could not be changed.
pub async fn protect(client: &Client, objects: &Objects, controller: &str) -> bool {
    let used: BTreeSet<&str> =
        objects.gateways.values().map(|gateway| gateway.spec.gateway_class_name.as_str()).collect();
    let mut failed = false;
    for class in objects.classes.iter().filter(|class| class.spec.controller_name == controller) {
        let name = class.metadata.name.as_deref().unwrap_or_default();
        if let Some(finalizers) = wanted(class, used.contains(name))
            && let Err(error) = write(client, class, name, &finalizers).await
        {
            failed = true;
            tracing::warn!("{error:#}");
        }
    }
    failed
}

async fn write(client: &Client, class: &Arc<GatewayClass>, name: &str, finalizers: &[String]) -> anyhow::Result<()> {
    let removes = !finalizers.iter().any(|name| name == FINALIZER);
    // The cache may not know of the newest Gateway yet.
    if removes && is_used(client, name).await.with_context(|| format!("cannot look for Gateways of {name}"))? {
        return Ok(());
    }
    let metadata = json!({
        "uid": class.metadata.uid,
        "resourceVersion": class.metadata.resource_version,
        "finalizers": finalizers,
    });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(json!({"metadata": metadata}));
    match Api::<GatewayClass>::all(client.clone()).patch_metadata(name, &params, &patch).await {
        Ok(_) => tracing::info!(class = name, protected = !removes, "Finalizer of GatewayClass written"),
        // Gone, or changed since the cache saw it: then its event brings us back.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
        Err(error) => return Err(error).with_context(|| format!("cannot write the finalizers of GatewayClass {name}")),
    }
    Ok(())
}

async fn is_used(client: &Client, class: &str) -> Result<bool, kube::Error> {
    let gateways = Api::<Gateway>::all(client.clone()).list(&ListParams::default()).await?;
    Ok(gateways.items.iter().any(|gateway| gateway.spec.gateway_class_name == class))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Method, Request, Response};
    use http_body_util::BodyExt as _;
    use kube::client::Body;
    use serde_json::Value;

    use super::*;
    use crate::control::{files, objects::Name};

    const CONTROLLER: &str = "sluice.dev/gateway-controller";
    const OBJECTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: sluice, uid: class-uid, resourceVersion: '7', finalizers: [theirs]}
spec: {controllerName: sluice.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: other}
spec: {controllerName: example.com/other}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: shop}
spec: {gatewayClassName: sluice}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: theirs, namespace: shop}
spec: {gatewayClassName: other}
";

    type Calls = Arc<Mutex<Vec<(Method, String, Value)>>>;

    /// An API server that has these Gateways and takes every patch.
    fn api(gateways: Vec<Value>) -> (Client, Calls) {
        let calls = Calls::default();
        let log = Arc::clone(&calls);
        let service = tower::service_fn(move |request: Request<Body>| {
            let (log, gateways) = (Arc::clone(&log), gateways.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let answer = if head.method == Method::GET {
                    json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayList", "metadata": {},
                        "items": gateways})
                } else {
                    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {}})
                };
                let body = serde_json::from_slice(&body).unwrap_or_default();
                log.lock().unwrap().push((head.method, head.uri.path().to_owned(), body));
                Ok::<_, tower::BoxError>(Response::new(Body::from(serde_json::to_vec(&answer)?)))
            }
        });
        (Client::new(service, "default"), calls)
    }

    fn protected(objects: &Objects, gateways: Vec<Value>) -> Vec<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, calls) = api(gateways);
            assert!(!protect(&client, objects, CONTROLLER).await);
            let calls = calls.lock().unwrap();
            let patches = calls.iter().filter(|(method, ..)| *method == Method::PATCH);
            patches
                .map(|(_, path, body)| {
                    assert_eq!(path, "/apis/gateway.networking.k8s.io/v1/gatewayclasses/sluice");
                    body["metadata"].clone()
                })
                .collect()
        })
    }

    fn set_finalizers(objects: &mut Objects, finalizers: &[&str]) {
        let class = Arc::make_mut(&mut objects.classes[0]);
        class.metadata.finalizers = Some(finalizers.iter().map(ToString::to_string).collect());
    }

    #[test]
    fn a_class_is_kept_while_a_gateway_uses_it_and_released_after_the_last() {
        let mut objects = files::parse(OBJECTS).unwrap();
        let added = protected(&objects, vec![]);
        let expected = json!({"uid": "class-uid", "resourceVersion": "7", "finalizers": ["theirs", FINALIZER]});
        assert_eq!(added, [expected]);
        set_finalizers(&mut objects, &["theirs", FINALIZER]);
        assert!(protected(&objects, vec![]).is_empty());
        let gateway = json!(*objects.gateways.remove(&Name::new("shop", "web")).unwrap());
        assert!(protected(&objects, vec![gateway]).is_empty(), "one that the cache does not show uses it");
        let removed = protected(&objects, vec![]);
        assert_eq!(removed, [json!({"uid": "class-uid", "resourceVersion": "7", "finalizers": ["theirs"]})]);
    }

    #[test]
    fn a_class_that_is_being_deleted_gets_no_finalizer() {
        let mut class = GatewayClass::clone(&files::parse(OBJECTS).unwrap().classes[0]);
        assert!(wanted(&class, true).is_some());
        let time = jiff::Timestamp::UNIX_EPOCH;
        class.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        assert_eq!(wanted(&class, true), None);
    }
}
