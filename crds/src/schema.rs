//! Makes the derived schema into the one that is published.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use crate::{
    BackendTrafficPolicy, GatewayParameters, Operation,
    rollout::{Rollout, RolloutBase},
};

impl Rollout {
    /// The CustomResourceDefinition, with `operation` beside `spec`.
    pub fn crd() -> CustomResourceDefinition {
        let mut crd = RolloutBase::crd();
        let operation = operation_schema();
        let roots =
            crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
        for root in roots {
            root.properties.get_or_insert_default().insert("operation".to_owned(), operation.clone());
            tidy(root);
        }
        crd
    }
}

/// Error of [`crd_yaml`].
pub use serde_saphyr::ser::Error as YamlError;

impl BackendTrafficPolicy {
    /// The CustomResourceDefinition.
    pub fn definition() -> CustomResourceDefinition {
        let mut crd = Self::crd();
        // Policies that are for what they name, and for nothing below it (GEP-713).
        let labels = crd.metadata.labels.get_or_insert_default();
        labels.insert("gateway.networking.k8s.io/policy".to_owned(), "Direct".to_owned());
        let roots =
            crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
        roots.for_each(tidy);
        crd
    }
}

impl GatewayParameters {
    /// The CustomResourceDefinition.
    pub fn definition() -> CustomResourceDefinition {
        let mut crd = Self::crd();
        let roots =
            crd.spec.versions.iter_mut().filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
        roots.for_each(tidy);
        crd
    }
}

/// Every CustomResourceDefinition, in the order in which they are installed.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![Rollout::crd(), BackendTrafficPolicy::definition(), GatewayParameters::definition()]
}

/// A CustomResourceDefinition as it is committed and installed.
pub fn crd_yaml(definition: &CustomResourceDefinition) -> Result<String, YamlError> {
    let crd = serde_saphyr::to_string(definition)?;
    Ok(format!("# Generated from crds/src by `make generate`.\n{crd}"))
}

/// An object of any shape, which the API server keeps as it is.
pub(crate) fn free_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// The structural schema of [`Operation`], made as kube makes that of a spec.
fn operation_schema() -> JSONSchemaProps {
    let generator = schemars::generate::SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(kube::core::schema::StructuralSchemaRewriter)
        .into_generator();
    let schema = generator.into_root_schema_for::<Operation>();
    serde_json::to_value(schema).and_then(serde_json::from_value).unwrap_or_default()
}

/// Takes out what says nothing to a user.
///
/// An optional field that is written as null is meant to be absent. The API server drops it when the field is not
/// nullable; a nullable one would stay, and `has()` in a rule would see it.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.title = None;
    schema.description = schema.description.as_deref().map(unwrapped);
    for child in children(schema) {
        tidy(child);
    }
}

/// Without the line ends that only keep the source narrow; empty lines between paragraphs stay.
fn unwrapped(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("\n\n")
}

fn children(schema: &mut JSONSchemaProps) -> impl Iterator<Item = &mut JSONSchemaProps> {
    let properties = schema.properties.as_mut().into_iter().flat_map(BTreeMap::values_mut);
    let items = schema.items.as_mut().and_then(|items| match items {
        JSONSchemaPropsOrArray::Schema(schema) => Some(&mut **schema),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    });
    let values = schema.additional_properties.as_mut().and_then(|values| match values {
        JSONSchemaPropsOrBool::Schema(schema) => Some(&mut **schema),
        JSONSchemaPropsOrBool::Bool(_) => None,
    });
    properties.chain(items).chain(values)
}
