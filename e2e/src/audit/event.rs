//! One line of the audit log.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Prefix of a service account's name in the namespace of Sluice.
const ACCOUNT: &str = "system:serviceaccount:sluice-system:";
/// Where the API server puts the name of the pod that a token is bound to.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// Who made a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The operator.
    Operator,
    /// The proxy's controller.
    Controller,
    /// Anybody else.
    Other,
}

/// A request and its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// How far the request is: a watch is logged when it begins and when it ends.
    pub stage: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// get, list, watch, create, update, patch, delete, deletecollection.
    pub verb: String,
    /// Who asked.
    pub user: User,
    /// What it is about; None for paths that are no resources.
    #[serde(default)]
    pub object_ref: Option<ObjectRef>,
    /// The answer's code.
    #[serde(default)]
    pub response_status: Status,
    /// The body of the request; of a patch the patch itself.
    #[serde(default)]
    pub request_object: Value,
    /// The body of the answer.
    #[serde(default)]
    pub response_object: Value,
    /// When it came.
    pub request_received_timestamp: Timestamp,
    /// What authorization and admission noted.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A user.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct User {
    /// Its name.
    #[serde(default)]
    pub username: String,
    /// What else the authenticator knows.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// An object, or all objects of a kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(default)]
pub struct ObjectRef {
    /// Plural name of the kind.
    pub resource: String,
    /// Part of the object, such as `status`.
    pub subresource: String,
    /// Group of the kind.
    pub api_group: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The status of an answer.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Status {
    /// HTTP status code; 0 when there was no answer.
    #[serde(default)]
    pub code: u16,
}

impl Event {
    /// Reads a line.
    pub fn parse(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }

    /// Which program of Sluice asked.
    pub fn who(&self) -> Who {
        match self.account() {
            Some("sluice-operator") => Who::Operator,
            Some("sluice-proxy-controller") => Who::Controller,
            _ => Who::Other,
        }
    }

    /// Name of the service account of Sluice that asked.
    pub fn account(&self) -> Option<&str> {
        self.user.username.strip_prefix(ACCOUNT)
    }

    /// Name of the pod that asked; empty when it is not known.
    pub fn pod(&self) -> &str {
        self.user.extra.get(POD_NAME).and_then(|names| names.first()).map_or("", String::as_str)
    }

    /// Namespace of the object; empty when it has none.
    pub fn namespace(&self) -> &str {
        self.object_ref.as_ref().map_or("", |object| &object.namespace)
    }

    /// It asks for a change of one object.
    pub fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete"].contains(&self.verb.as_str())
    }

    /// It was carried out: accepted, and no dry run.
    pub fn took_effect(&self) -> bool {
        (200..300).contains(&self.response_status.code) && !self.is_dry_run()
    }

    /// Nothing was to be changed.
    pub fn is_dry_run(&self) -> bool {
        self.request_uri.split_once('?').is_some_and(|(_, query)| query.split('&').any(|part| part == "dryRun=All"))
    }

    /// Authorization refused it.
    pub fn was_forbidden(&self) -> bool {
        self.annotations.get("authorization.k8s.io/decision").is_some_and(|decision| decision == "forbid")
    }

    /// The object after the request, if the answer is one.
    pub fn object(&self) -> Option<&Value> {
        let object = &self.response_object;
        object.pointer("/metadata/resourceVersion").is_some_and(Value::is_string).then_some(object)
    }

    /// resourceVersion of the object after the request.
    pub fn version(&self) -> Option<u64> {
        version(self.object()?)
    }

    /// Whether it was carried out is not known: the client went away, or no answer came in time.
    pub fn is_open(&self) -> bool {
        self.response_status.code == 0 || self.response_status.code >= 500
    }

    /// The resourceVersion that the request relies on: the test of a JSON Patch, or that of the object that it sends.
    pub fn tested_version(&self) -> Option<u64> {
        let Some(operations) = self.request_object.as_array() else { return version(&self.request_object) };
        let is_test = |operation: &&Value| {
            super::text(operation, "/op") == "test" && super::text(operation, "/path") == "/metadata/resourceVersion"
        };
        operations.iter().filter(is_test).find_map(|test| super::text(test, "/value").parse().ok())
    }
}

/// resourceVersion of an object.
pub(super) fn version(object: &Value) -> Option<u64> {
    super::text(object, "/metadata/resourceVersion").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Event, Who};

    #[test]
    fn a_line_of_the_api_server_is_understood() {
        let line = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","auditID":"1",
            "stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/a/deployments/b?dryRun=All&x=1","verb":"patch",
            "user":{"username":"system:serviceaccount:sluice-system:sluice-operator","uid":"u","groups":["g"],
            "extra":{"authentication.kubernetes.io/pod-name":["sluice-operator-1"]}},"sourceIPs":["10.0.0.1"],
            "objectRef":{"resource":"deployments","namespace":"a","name":"b","apiGroup":"apps","apiVersion":"v1"},
            "responseStatus":{"metadata":{},"code":200},"requestObject":[{"op":"test"}],
            "responseObject":{"metadata":{"resourceVersion":"7"}},
            "requestReceivedTimestamp":"2026-11-24T06:25:00.123456Z","stageTimestamp":"2026-11-24T06:25:00.2Z",
            "annotations":{"authorization.k8s.io/decision":"allow"}}"#;
        let event = Event::parse(line).unwrap();
        assert_eq!((event.who(), event.pod(), event.version()), (Who::Operator, "sluice-operator-1", Some(7)));
        assert!(event.is_dry_run() && !event.took_effect() && !event.was_forbidden());
    }
}
