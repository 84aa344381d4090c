//! Manifests: files to objects, objects to the API server by server-side apply.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::{self, ApiCapabilities, ApiResource, Scope},
};
use serde_json::{Value, json};

use crate::wait::{Look, until};

/// Field manager of everything that the harness applies.
pub const FIELD_MANAGER: &str = "sluice-e2e";

/// How long a kind that was just defined may take until it is served.
const KIND_DEADLINE: Duration = Duration::from_secs(30);

/// The objects of a file, or of all `.yaml` files of a folder in the order of their names, as `kubectl apply -f` does.
pub fn read(path: &Path) -> Result<Vec<Value>> {
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
            files.push(entry?.path());
        }
        files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    let mut objects = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).map_err(|error| anyhow!("{}: {error}", file.display()))?;
        objects.extend(documents.into_iter().filter(|document| !document.is_null()));
    }
    if objects.is_empty() {
        bail!("{}: no objects", path.display());
    }
    Ok(objects)
}

/// A string at a JSON pointer, or nothing.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `Kind/name`, for messages.
pub fn label(object: &Value) -> String {
    format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))
}

/// Moves objects to another namespace; a Namespace among them takes its name.
pub fn move_to(objects: &mut [Value], namespace: &str) {
    for object in objects {
        let field = if text(object, "/kind") == "Namespace" { "name" } else { "namespace" };
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.insert(field.to_owned(), json!(namespace));
        }
    }
}

/// Applies the objects in order. A kind that was defined just before is waited for.
pub async fn apply(client: &Client, objects: &[Value]) -> Result<()> {
    for object in objects {
        let api = api_of(client, object).await?;
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let name = text(object, "/metadata/name");
        until(&format!("apply {}", label(object)), KIND_DEADLINE, async || {
            match api.patch(name, &params, &Patch::Apply(object)).await {
                Ok(_) => Ok(Look::Done(Ok(()))),
                // Refused for good: waiting would only hide it. 409 and 5xx pass, as when a namespace is just going.
                Err(kube::Error::Api(status))
                    if (400..500).contains(&status.code) && ![404, 409, 429].contains(&status.code) =>
                {
                    Ok(Look::Done(Err(anyhow!("{}: {}", label(object), status.message))))
                }
                Err(error) => Err(error.into()),
            }
        })
        .await??;
    }
    Ok(())
}

/// The API of an object's kind, in its namespace.
pub async fn api_of(client: &Client, object: &Value) -> Result<Api<DynamicObject>> {
    let (resource, capabilities) = kind_of(client, object).await?;
    let namespace = text(object, "/metadata/namespace");
    Ok(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced if namespace.is_empty() => Api::default_namespaced_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
    })
}

async fn kind_of(client: &Client, object: &Value) -> Result<(ApiResource, ApiCapabilities)> {
    let api_version = text(object, "/apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = GroupVersionKind::gvk(group, version, text(object, "/kind"));
    until(&format!("the kind of {}", label(object)), KIND_DEADLINE, async || {
        Ok(Look::Done(discovery::pinned_kind(client, &kind).await?))
    })
    .await
}
