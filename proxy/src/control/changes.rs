//! What an event of a watch means for the translation: nothing, when only what it does not read has changed; otherwise what
//! is to be translated anew.
//!
//! Every kind that is watched says here what a change of it bears on. A kind that says nothing does not compile; one that
//! nothing finer is known of says [`Change::Everything`], which is always right.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::{
        core::v1::{Namespace, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, core::PartialObjectMeta};
use sluice_crds::{BackendTrafficPolicy, GatewayParameters};
use sluice_gateway_types::{
    BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ListenerSet, ReferenceGrant, TcpRoute, TlsRoute,
    UdpRoute,
};

use crate::control::{
    guard::DeserializeGuard,
    objects::{Name, RouteKind, RouteName, service_of},
};

/// What a change of an object bears on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nobody knows.
    Everything,
    /// This route.
    Route(RouteName),
    /// This Service: routes that name it, and its backends.
    Service(Name),
    /// The backends of a Service.
    Endpoints {
        /// The Service.
        service: Name,
        /// The EndpointSlice.
        slice: String,
    },
    /// Nothing.
    Nothing,
}

/// What has changed since somebody looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Whatever there is.
    pub everything: bool,
    /// Routes.
    pub routes: BTreeSet<RouteName>,
    /// Services.
    pub services: BTreeSet<Name>,
    /// EndpointSlices, each with the Service that it is or was of.
    pub endpoints: BTreeSet<(Name, String)>,
    /// Routes of which only what no translation reads has changed, such as their status.
    pub seen: BTreeSet<RouteName>,
    /// The same of an object of another kind.
    pub others: bool,
}

impl Changes {
    /// Everything.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether a translation would come to the same as before.
    pub fn is_unread(&self) -> bool {
        let Self { everything, routes, services, endpoints, seen: _, others: _ } = self;
        !everything && routes.is_empty() && services.is_empty() && endpoints.is_empty()
    }

    /// Adds those of another reader.
    pub fn extend(&mut self, other: Self) {
        let Self { everything, routes, services, endpoints, seen, others } = other;
        self.everything |= everything;
        self.others |= others;
        self.routes.extend(routes);
        self.services.extend(services);
        self.endpoints.extend(endpoints);
        self.seen.extend(seen);
    }

    /// Adds one that a translation reads.
    pub fn read(&mut self, change: Change) {
        match change {
            Change::Everything => self.everything = true,
            Change::Route(name) => drop(self.routes.insert(name)),
            Change::Service(name) => drop(self.services.insert(name)),
            Change::Endpoints { service, slice } => drop(self.endpoints.insert((service, slice))),
            Change::Nothing => {}
        }
    }

    /// Adds one that no translation reads.
    pub fn unread(&mut self, change: Change) {
        match change {
            Change::Route(name) => drop(self.seen.insert(name)),
            Change::Everything => self.others = true,
            Change::Service(_) | Change::Endpoints { .. } | Change::Nothing => {}
        }
    }

    /// Adds what an event means for an object that was `before` and is `now`; none where it did not or does not exist.
    pub fn note<K: Watched + Resource>(&mut self, before: Option<&K>, now: Option<&K>) {
        let changes = [before, now].map(|object| object.map(|object| K::change(object.meta())));
        let is_read = match (before, now) {
            (Some(before), Some(now)) => !before.reads_same(now),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        for change in changes.into_iter().flatten() {
            if is_read { self.read(change) } else { self.unread(change) }
        }
    }
}

/// A kind that a translation reads.
pub trait Watched {
    /// Whether a translation reads the same in both versions of an object.
    fn reads_same(&self, other: &Self) -> bool;

    /// What a change of the object with this metadata bears on.
    fn change(metadata: &ObjectMeta) -> Change;
}

/// Whether metadata differs in nothing but what each write changes.
fn same_metadata(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    let ObjectMeta {
        annotations,
        creation_timestamp,
        deletion_grace_period_seconds,
        deletion_timestamp,
        finalizers,
        generate_name,
        generation,
        labels,
        managed_fields: _,
        name,
        namespace,
        owner_references,
        resource_version: _,
        self_link,
        uid,
    } = one;
    *annotations == other.annotations
        && *creation_timestamp == other.creation_timestamp
        && *deletion_grace_period_seconds == other.deletion_grace_period_seconds
        && *deletion_timestamp == other.deletion_timestamp
        && *finalizers == other.finalizers
        && *generate_name == other.generate_name
        && *generation == other.generation
        && *labels == other.labels
        && *name == other.name
        && *namespace == other.namespace
        && *owner_references == other.owner_references
        && *self_link == other.self_link
        && *uid == other.uid
}

/// Kinds of which everything but the status is read.
macro_rules! read_but_for_status {
    ($($kind:ty => $change:expr),* $(,)?) => {$(
        impl Watched for $kind {
            fn reads_same(&self, other: &Self) -> bool {
                self.spec == other.spec && same_metadata(&self.metadata, &other.metadata)
            }

            fn change(metadata: &ObjectMeta) -> Change {
                $change(metadata)
            }
        }
    )*};
}
read_but_for_status! {
    BackendTlsPolicy => everything,
    BackendTrafficPolicy => everything,
    Gateway => everything,
    GatewayClass => everything,
    GatewayParameters => everything,
    GrpcRoute => |metadata| route(RouteKind::Grpc, metadata),
    HttpRoute => |metadata| route(RouteKind::Http, metadata),
    ListenerSet => everything,
    ReferenceGrant => everything,
    Service => |metadata| Change::Service(Name::of(metadata)),
    TcpRoute => |metadata| route(RouteKind::Tcp, metadata),
    TlsRoute => |metadata| route(RouteKind::Tls, metadata),
    UdpRoute => |metadata| route(RouteKind::Udp, metadata),
}

fn everything(_: &ObjectMeta) -> Change {
    Change::Everything
}

fn route(kind: RouteKind, metadata: &ObjectMeta) -> Change {
    Change::Route(RouteName { kind, name: Name::of(metadata) })
}

impl Watched for EndpointSlice {
    fn reads_same(&self, other: &Self) -> bool {
        self.endpoints == other.endpoints
            && self.ports == other.ports
            && self.metadata.labels == other.metadata.labels
            && self.metadata.owner_references == other.metadata.owner_references
    }

    fn change(metadata: &ObjectMeta) -> Change {
        let slice = metadata.name.clone().unwrap_or_default();
        service_of(metadata).map_or(Change::Nothing, |service| Change::Endpoints { service, slice })
    }
}

/// Of a Namespace, its labels are read.
impl Watched for PartialObjectMeta<Namespace> {
    fn reads_same(&self, other: &Self) -> bool {
        self.metadata.labels == other.metadata.labels
    }

    fn change(_: &ObjectMeta) -> Change {
        Change::Everything
    }
}

/// Of our own pods, their addresses are read.
impl Watched for Pod {
    fn reads_same(&self, other: &Self) -> bool {
        let addresses = |pod: &Self| pod.status.as_ref().and_then(|status| status.pod_ips.clone());
        addresses(self) == addresses(other)
    }

    fn change(_: &ObjectMeta) -> Change {
        Change::Everything
    }
}

/// One that cannot be read is left out of the translation.
impl<K: Watched> Watched for DeserializeGuard<K> {
    fn reads_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Ok(one), Ok(other)) => one.reads_same(other),
            (Err(_), Err(_)) => true,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }

    fn change(metadata: &ObjectMeta) -> Change {
        K::change(metadata)
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    /// What it means when `value` is put at a place of an object.
    fn change<K: Watched + Resource + DeserializeOwned>(object: &Value, place: &str, value: Value) -> Changes {
        let mut after = object.clone();
        let (parent, field) = place.rsplit_once('/').unwrap();
        after.pointer_mut(parent).unwrap()[field] = value;
        let read = |object: Value| serde_json::from_value::<K>(object).unwrap();
        let mut changes = Changes::default();
        changes.note(Some(&read(object.clone())), Some(&read(after)));
        changes
    }

    fn object() -> Value {
        json!({"metadata": {"name": "a", "namespace": "shop", "generation": 1}, "spec": {}, "status": {}})
    }

    #[test]
    fn what_only_status_and_bookkeeping_change_is_not_translated() {
        let name = RouteName { kind: RouteKind::Http, name: Name::new("shop", "a") };
        for (place, value, is_read) in [
            ("/metadata/resourceVersion", json!("7"), false),
            ("/metadata/managedFields", json!([{"manager": "me"}]), false),
            ("/status/parents", json!([{"controllerName": "theirs"}]), false),
            ("/metadata/generation", json!(2), true),
            ("/metadata/labels", json!({"a": "b"}), true),
            ("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"), true),
            ("/spec/hostnames", json!(["a.example.com"]), true),
        ] {
            let changes = change::<HttpRoute>(&object(), place, value);
            assert_eq!(changes.is_unread(), !is_read, "{place}");
            assert_eq!((changes.routes.contains(&name), changes.seen.contains(&name)), (is_read, !is_read), "{place}");
        }
    }

    #[test]
    fn a_gateway_bears_on_everything_and_its_status_on_nothing() {
        let mut gateway = object();
        gateway["spec"] = json!({"gatewayClassName": "sluice", "listeners": []});
        let changes = change::<Gateway>(&gateway, "/status/listeners", json!([{"attachedRoutes": 1}]));
        assert!(changes.is_unread() && changes.others);
        let changes = change::<Gateway>(&gateway, "/spec/gatewayClassName", json!("other"));
        assert_eq!(changes, Changes::everything());
    }

    #[test]
    fn a_slice_bears_on_the_services_that_it_is_and_was_of() {
        let of = |service: &str| json!({"kubernetes.io/service-name": service});
        let mut slice = json!({"metadata": {"name": "x", "namespace": "shop"}, "addressType": "IPv4", "endpoints": []});
        slice["metadata"]["labels"] = of("a");
        let at = |service: &str| (Name::new("shop", service), "x".to_owned());
        let changes = change::<EndpointSlice>(&slice, "/metadata/labels", of("b"));
        assert_eq!(changes.endpoints, [at("a"), at("b")].into());
        let changes = change::<EndpointSlice>(&slice, "/endpoints", json!([{"addresses": ["10.0.0.1"]}]));
        assert_eq!(changes.endpoints, [at("a")].into());
        let touched = json!({"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"});
        assert_eq!(change::<EndpointSlice>(&slice, "/metadata/annotations", touched), Changes::default());
    }

    #[test]
    fn what_comes_or_goes_is_translated() {
        let service: Service = serde_json::from_value(object()).unwrap();
        for (before, now) in [(None, Some(&service)), (Some(&service), None)] {
            let mut changes = Changes::default();
            changes.note(before, now);
            assert_eq!(changes.services, [Name::new("shop", "a")].into());
        }
    }
}
