//! The API server, as the operator uses it: untyped objects, so that no field that a newer server knows is lost, and
//! errors that say what is to be done about them.

mod kind;

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    core::Status,
};
use serde_json::Value;
use sluice_crds::names::FIELD_MANAGER;
use thiserror::Error;

pub(crate) use self::kind::Kind;
use crate::{leader::Leadership, metrics::Metrics};

/// How long one call may take: an answer that comes later is about a cluster that has moved on.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a call did not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum ClusterError {
    /// A precondition did not hold: the object has changed since it was read. Look again.
    #[error("{what} changed since it was read")]
    Conflict {
        /// Verb, kind and name.
        what: String,
    },
    /// The API server understood the request and refused it: permissions, admission or validation.
    #[error("{what} was refused: {message}")]
    Refused {
        /// Verb, kind and name.
        what: String,
        /// What the API server says.
        message: String,
        /// HTTP code.
        code: u16,
    },
    /// No answer, or none that can be used.
    #[error("{what} failed")]
    Failed {
        /// Verb, kind and name.
        what: String,
        /// Cause.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("{what} was not answered within {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// Verb, kind and name.
        what: String,
    },
    /// This process does not lead any more, so it must not write.
    #[error("{what} was not sent: this process does not lead")]
    Deposed {
        /// Verb, kind and name.
        what: String,
    },
    /// A patch of ours is not one.
    #[error("{what} cannot be written as a patch")]
    Patch {
        /// Verb, kind and name.
        what: String,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
}

impl ClusterError {
    /// A word for metrics.
    pub(crate) const fn category(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Deposed { .. } => "deposed",
            Self::Patch { .. } => "internal",
        }
    }
}

/// One object by its address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    /// Kind.
    pub kind: Kind,
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
}

impl At<'_> {
    fn told(&self, verb: &str) -> String {
        format!("{verb} of {} {}/{}", self.kind.parts().2, self.namespace, self.name)
    }
}

/// The API server.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    metrics: Arc<Metrics>,
    leadership: Leadership,
}

impl Cluster {
    /// Over this client.
    pub(crate) const fn new(client: Client, metrics: Arc<Metrics>, leadership: Leadership) -> Self {
        Self { client, metrics, leadership }
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// Reads an object as it is now; None when it, or its kind, does not exist.
    pub(crate) async fn get(&self, at: At<'_>) -> Result<Option<DynamicObject>, ClusterError> {
        let api = self.api(at.kind, at.namespace);
        self.call("get", at, api.get_opt(at.name)).await
    }

    /// Reads the metadata of an object and nothing else; None when it does not exist.
    pub(crate) async fn get_metadata(&self, at: At<'_>) -> Result<Option<ObjectMeta>, ClusterError> {
        let api = self.api(at.kind, at.namespace);
        Ok(self.call("get", at, api.get_metadata_opt(at.name)).await?.map(|object| object.metadata))
    }

    /// Lists the objects that a label selector names.
    pub(crate) async fn list(
        &self,
        kind: Kind,
        namespace: &str,
        selector: &str,
    ) -> Result<Vec<DynamicObject>, ClusterError> {
        let api = self.api(kind, namespace);
        let params = ListParams::default().labels(selector);
        let at = At { kind, namespace, name: "*" };
        Ok(self.call("list", at, api.list(&params)).await?.items)
    }

    /// Lists all objects of a kind in a namespace; none where the cluster does not know the kind.
    pub(crate) async fn list_if_known(&self, kind: Kind, namespace: &str) -> Result<Vec<DynamicObject>, ClusterError> {
        match self.list(kind, namespace, "").await {
            Err(ClusterError::Refused { code: 404, .. }) => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Writes by JSON Patch, whose `test` operations are the precondition.
    pub(crate) async fn json_patch(
        &self,
        at: At<'_>,
        subresource: Option<&str>,
        operations: Vec<Value>,
    ) -> Result<DynamicObject, ClusterError> {
        let api = self.api(at.kind, at.namespace);
        let patch = serde_json::from_value(Value::Array(operations))
            .map_err(|source| ClusterError::Patch { what: at.told("patch"), source })?;
        let patch = Patch::<()>::Json(patch);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match subresource {
            Some(part) => self.call("patch", at, api.patch_subresource(part, at.name, &params, &patch)).await,
            None => self.call("patch", at, api.patch(at.name, &params, &patch)).await,
        }
    }

    /// Writes by merge patch; a `metadata.resourceVersion` in it is the precondition.
    pub(crate) async fn merge_patch(
        &self,
        at: At<'_>,
        subresource: Option<&str>,
        patch: &Value,
        dry_run: bool,
    ) -> Result<DynamicObject, ClusterError> {
        let api = self.api(at.kind, at.namespace);
        let patch = Patch::Merge(patch);
        let params = PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match subresource {
            Some(part) => self.call("patch", at, api.patch_subresource(part, at.name, &params, &patch)).await,
            None => self.call("patch", at, api.patch(at.name, &params, &patch)).await,
        }
    }

    /// Makes an object; a conflict when there is one of that name.
    pub(crate) async fn create(&self, at: At<'_>, object: &DynamicObject) -> Result<DynamicObject, ClusterError> {
        let api = self.api(at.kind, at.namespace);
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
        self.call("create", at, api.create(&params, object)).await
    }

    /// Server-side apply on an object of ours, which must carry its UID: force never takes over a foreign object.
    pub(crate) async fn apply(&self, at: At<'_>, object: &DynamicObject) -> Result<DynamicObject, ClusterError> {
        let api = self.api(at.kind, at.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.call("apply", at, api.patch(at.name, &params, &Patch::Apply(object))).await
    }

    /// Deletes the object with this UID at this resourceVersion; that it is gone already is no error.
    pub(crate) async fn delete(
        &self,
        at: At<'_>,
        (uid, version): (&str, &str),
        propagation: PropagationPolicy,
    ) -> Result<(), ClusterError> {
        let api = self.api(at.kind, at.namespace);
        let params = DeleteParams {
            propagation_policy: Some(propagation),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: Some(version.to_owned()),
            }),
            ..DeleteParams::default()
        };
        match self.call("delete", at, api.delete(at.name, &params)).await {
            Ok(_) | Err(ClusterError::Refused { code: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the API server has MutatingAdmissionPolicy, which may come with an upgrade. Everyone may ask.
    pub(crate) async fn serves_mutating_policies(&self) -> Result<bool, ClusterError> {
        const RESOURCE: &str = "mutatingadmissionpolicies";
        let version = "admissionregistration.k8s.io/v1";
        let what = format!("discovery of {version}");
        match self.measured("discover", RESOURCE, what, self.client.list_api_group_resources(version)).await {
            Ok(known) => Ok(known.resources.iter().any(|resource| resource.name == RESOURCE)),
            Err(ClusterError::Refused { code: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn call<T>(
        &self,
        verb: &'static str,
        at: At<'_>,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> impl Future<Output = Result<T, ClusterError>> {
        self.measured(verb, at.kind.plural(), at.told(verb), call)
    }

    async fn measured<T>(
        &self,
        verb: &'static str,
        resource: &'static str,
        what: String,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ClusterError> {
        let is_write = !matches!(verb, "get" | "list");
        if is_write && !self.leadership.permits() {
            self.metrics.api_call(verb, resource, "deposed");
            return Err(ClusterError::Deposed { what });
        }
        let result = match tokio::time::timeout(CALL_TIMEOUT, Box::pin(call)).await {
            Ok(result) => result.map_err(|error| classify(verb, what, error)),
            Err(_) => Err(ClusterError::Timeout { what }),
        };
        self.metrics.api_call(verb, resource, result.as_ref().err().map_or("ok", ClusterError::category));
        result
    }
}

fn classify(verb: &str, what: String, error: kube::Error) -> ClusterError {
    match error {
        // What was looked at is gone: it changed as much as it could.
        kube::Error::Api(status) if is_precondition(&status) || (verb == "patch" && status.code == 404) => {
            ClusterError::Conflict { what }
        }
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
            ClusterError::Refused { what, message: status.message, code: status.code }
        }
        other => ClusterError::Failed { what, source: Box::new(other) },
    }
}

/// A JSON Patch that does not fit the object, such as one with a failed `test`, is answered with 422 and no details; an
/// object that is not valid with the same code, and the fields that are wrong.
fn is_precondition(status: &Status) -> bool {
    let names_fields = status.details.as_ref().is_some_and(|details| !details.causes.is_empty());
    status.code == 409 || (status.code == 422 && !names_fields)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::is_precondition;

    fn status(code: u16, details: serde_json::Value) -> Status {
        let details = serde_json::from_value(details).unwrap();
        Status::failure("refused", "Invalid").with_code(code).with_details(details)
    }

    #[test]
    fn only_a_conflict_and_a_patch_that_does_not_fit_mean_that_the_object_changed() {
        let causes =
            json!({"kind": "Deployment", "causes": [{"field": "spec.replicas", "message": "must be at least 0"}]});
        assert!(is_precondition(&status(409, json!({}))));
        assert!(is_precondition(&status(422, json!({}))));
        assert!(!is_precondition(&status(422, causes)));
        assert!(!is_precondition(&status(403, json!({}))));
    }
}
