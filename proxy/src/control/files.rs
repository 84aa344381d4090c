//! Gateway API manifests from a folder instead of a cluster, for trying out, tests and benchmarks. Ports are bound as the
//! listeners name them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::{
    ByteString,
    api::core::v1::{Namespace, Secret},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_saphyr::Spanned;
use sluice_gateway_types::GatewayClass;
use sluice_proxy_core::{cidr::Cidr, model::Resource};

use crate::control::{
    findings::{self, Finding},
    objects::{Name, Objects},
    ports::PortAllocations,
    translate,
};

/// The controller that the Gateways of a folder belong to.
const CONTROLLER: &str = "sluice.dev/gateway-controller";

/// Groups whose kinds bear on what is served. Objects of others, such as Deployments, may stand beside them, and so may
/// Rollouts.
const GROUPS: [&str; 4] = ["", "discovery.k8s.io", "gateway.networking.k8s.io", "sluice.dev"];

/// What the manifests of a folder come to.
#[derive(Debug)]
pub struct Folder {
    /// What a data plane serves for them, by key.
    pub resources: BTreeMap<String, Resource>,
    /// What is said of them.
    pub findings: Vec<Finding>,
}

impl Folder {
    /// Reads and translates the manifests.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let objects = load(dir)?;
        let translation = translate::translate(&objects, &PortAllocations::identity(), CONTROLLER);
        let findings = findings::findings(&objects, &translation, CONTROLLER)?;
        let resources = translation.resources.iter().map(|(key, resource)| (key.clone(), resource.clone())).collect();
        Ok(Self { resources, findings })
    }
}

/// Reads every `.yaml`, `.yml` and `.json` file of a folder. A folder without a GatewayClass means that every Gateway in it
/// is to be served.
pub fn load(dir: &Path) -> anyhow::Result<Objects> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read folder {}", dir.display()))? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|end| ["yaml", "yml", "json"].iter().any(|known| end == *known)));
    paths.sort();
    let mut objects = Objects::default();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        add(&mut objects, &text).with_context(|| format!("cannot use {}", path.display()))?;
    }
    objects.any_endpoint = true;
    // Which addresses there are to be asked for is for whoever installs the controller to say.
    objects.address_pools = Cidr::EVERYTHING.to_vec();
    Ok(complete(objects))
}

/// The objects in a text of YAML documents, which are trusted as little as those of a cluster.
pub fn parse(text: &str) -> anyhow::Result<Objects> {
    let mut objects = Objects::default();
    add(&mut objects, text)?;
    Ok(complete(objects))
}

fn complete(mut objects: Objects) -> Objects {
    if objects.classes.is_empty() {
        let names: BTreeSet<_> =
            objects.gateways.values().map(|gateway| gateway.spec.gateway_class_name.clone()).collect();
        let spec =
            sluice_gateway_types::GatewayClassSpec { controller_name: CONTROLLER.to_owned(), parameters_ref: None };
        objects.classes = names.iter().map(|name| Arc::new(GatewayClass::new(name, spec.clone()))).collect();
    }
    let routes = objects.routes().map(|route| Name::of(route.metadata()));
    let used = objects.gateways.keys().chain(objects.listener_sets.keys()).cloned();
    for name in used.chain(routes).collect::<Vec<_>>() {
        objects.namespaces.entry(name.namespace).or_default();
    }
    objects
}

fn add(objects: &mut Objects, text: &str) -> anyhow::Result<()> {
    let mut reader = text.as_bytes();
    for (document, number) in serde_saphyr::read::<_, Spanned<Value>>(&mut reader).zip(1..) {
        let document = document.map_err(|error| anyhow!("document {number}: {}", error.without_snippet()))?;
        let line = document.referenced.line();
        add_document(objects, document.value).with_context(|| format!("document {number} (line {line})"))?;
    }
    Ok(())
}

fn add_document(objects: &mut Objects, document: Value) -> anyhow::Result<()> {
    let Some(items) = document["items"].as_array().filter(|_| document["kind"] == "List") else {
        return add_one(objects, document);
    };
    for (index, item) in items.iter().enumerate() {
        add_one(objects, item.clone()).with_context(|| format!("items[{index}]"))?;
    }
    Ok(())
}

fn add_one(objects: &mut Objects, mut object: Value) -> anyhow::Result<()> {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    if !GROUPS.contains(&group) {
        return Ok(());
    }
    let kind = object["kind"].as_str().ok_or_else(|| anyhow!("kind: it is missing"))?.to_owned();
    if (group, kind.as_str()) == ("sluice.dev", "Rollout") {
        return Ok(());
    }
    let name =
        object["metadata"]["name"].as_str().ok_or_else(|| anyhow!("{kind}: metadata.name: it is missing"))?.to_owned();
    if !["GatewayClass", "Namespace"].contains(&kind.as_str()) && object["metadata"]["namespace"].is_null() {
        object["metadata"]["namespace"] = json!("default");
    }
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let key = Name::new(namespace, &name);
    match kind.as_str() {
        "BackendTLSPolicy" => drop(objects.backend_tls_policies.insert(key.clone(), Arc::new(read(object, &key)?))),
        "BackendTrafficPolicy" => {
            drop(objects.backend_traffic_policies.insert(key.clone(), Arc::new(read(object, &key)?)));
        }
        "EndpointSlice" => objects.add_slice(Arc::new(read(object, &key)?)),
        "Gateway" => drop(objects.gateways.insert(key.clone(), Arc::new(read(object, &key)?))),
        "GatewayClass" => objects.classes.push(Arc::new(read(object, &key)?)),
        "GatewayParameters" => drop(objects.gateway_parameters.insert(key.clone(), Arc::new(read(object, &key)?))),
        "GRPCRoute" => drop(objects.grpc_routes.insert(key.clone(), Arc::new(read(object, &key)?))),
        "HTTPRoute" => drop(objects.http_routes.insert(key.clone(), Arc::new(read(object, &key)?))),
        "ListenerSet" => drop(objects.listener_sets.insert(key.clone(), Arc::new(read(object, &key)?))),
        "Namespace" => {
            let namespace: Namespace = read(object, &key)?;
            objects.namespaces.insert(name, namespace.metadata.labels.unwrap_or_default());
        }
        "ConfigMap" => drop(objects.config_maps.insert(key.clone(), Arc::new(read(object, &key)?))),
        "Secret" => drop(objects.secrets.insert(key.clone(), Arc::new(secret(object, &key)?))),
        "ReferenceGrant" => objects.grants.push(Arc::new(read(object, &key)?)),
        "Service" => drop(objects.services.insert(key.clone(), Arc::new(read(object, &key)?))),
        "TCPRoute" => drop(objects.tcp_routes.insert(key.clone(), Arc::new(read(object, &key)?))),
        "TLSRoute" => drop(objects.tls_routes.insert(key.clone(), Arc::new(read(object, &key)?))),
        "UDPRoute" => drop(objects.udp_routes.insert(key.clone(), Arc::new(read(object, &key)?))),
        other => bail!("kind: {other} is not supported"),
    }
    Ok(())
}

/// A Secret as the API server stores it: what stands in `stringData` goes over what stands in `data`.
fn secret(object: Value, name: &Name) -> anyhow::Result<Secret> {
    let mut secret: Secret = read(object, name)?;
    let texts = secret.string_data.take().unwrap_or_default();
    let data = texts.into_iter().map(|(field, text)| (field, ByteString(text.into_bytes())));
    secret.data.get_or_insert_default().extend(data);
    Ok(secret)
}

/// The object as its kind; an error names the field.
fn read<K: DeserializeOwned>(object: Value, name: &Name) -> anyhow::Result<K> {
    let subject = format!("{} {name}", object["kind"].as_str().unwrap_or_default());
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path().to_string();
        // Of the object itself there is no path.
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        anyhow!("{subject}: {place}{}", error.into_inner())
    })
}

#[cfg(test)]
mod tests {
    use sluice_proxy_core::model::Resource;

    use super::{Folder, parse, translate};
    use crate::control::ports::PortAllocations;

    const MANIFESTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: sluice, listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec: {parentRefs: [{name: web}], rules: [{backendRefs: [{name: app, port: 80}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: app, labels: {kubernetes.io/service-name: app}}
addressType: IPv4
ports: [{port: 3000}]
endpoints: [{addresses: [127.0.0.1]}]
";

    fn endpoints<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Vec<String> {
        let backends = resources.into_iter().filter_map(|resource| match resource {
            Resource::Backend(backend) => Some(&backend.endpoints),
            _ => None,
        });
        backends.flatten().map(|endpoint| endpoint.address.to_string()).collect()
    }

    #[test]
    fn a_folder_may_name_backends_on_its_own_host_and_a_tenant_may_not() {
        let dir = std::env::temp_dir().join(format!("sluice-folder-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("all.yaml"), MANIFESTS).unwrap();
        assert_eq!(endpoints(Folder::read(&dir).unwrap().resources.values()), ["127.0.0.1:3000"]);
        std::fs::remove_dir_all(&dir).unwrap();
        let of_tenant =
            translate::translate(&parse(MANIFESTS).unwrap(), &PortAllocations::identity(), super::CONTROLLER);
        assert!(endpoints(of_tenant.resources.values()).is_empty());
    }

    #[test]
    fn objects_of_other_groups_may_stand_beside_and_a_misspelt_kind_may_not() {
        let beside = |object: &str| parse(&format!("{MANIFESTS}---\n{object}, metadata: {{name: app}}}}\n"));
        beside("{apiVersion: apps/v1, kind: Deployment").unwrap();
        beside("{apiVersion: sluice.dev/v1alpha1, kind: Rollout").unwrap();
        for object in ["{apiVersion: gateway.networking.k8s.io/v1, kind: HttpRoute", "{apiVersion: v1, kind: Servise"] {
            assert!(format!("{:#}", beside(object).unwrap_err()).ends_with("is not supported"));
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_document_and_field() {
        let route = |spec: &str| format!("{MANIFESTS}---\nkind: HTTPRoute\nmetadata: {{name: bad}}\nspec: {spec}\n");
        for (text, problem) in [
            (
                route("{parentRefs: [{namespace: shop}]}"),
                "HTTPRoute default/bad: spec.parentRefs[0]: missing field `name`",
            ),
            (
                route("{rules: [{backendRefs: [{name: app, port: http}]}]}"),
                "HTTPRoute default/bad: spec.rules[0].backendRefs[0].port: invalid type: string \"http\", expected i32",
            ),
            (
                format!("{MANIFESTS}---\nkind: HTTPRoute\nmetadata: {{name: bad}}\n"),
                "HTTPRoute default/bad: missing field `spec`",
            ),
            (format!("{MANIFESTS}---\nmetadata: {{name: bad}}\n"), "kind: it is missing"),
            (format!("{MANIFESTS}---\nkind: Gateway\n"), "Gateway: metadata.name: it is missing"),
            (format!("{MANIFESTS}---\nkind: Job\nmetadata: {{name: bad}}\n"), "kind: Job is not supported"),
            (
                format!("{MANIFESTS}---\nkind: List\nitems: [{{kind: Job, metadata: {{name: bad}}}}]\n"),
                "items[0]: kind: Job is not supported",
            ),
        ] {
            let error = format!("{:#}", parse(&text).unwrap_err());
            assert_eq!(error, format!("document 5 (line 24): {problem}"));
        }
        let error = format!("{:#}", parse(&format!("{MANIFESTS}---\nkind: [\n")).unwrap_err());
        assert!(error.starts_with("document 5: ") && error.contains("line 2"), "{error}");
    }
}
