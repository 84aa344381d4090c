//! The published schema: that it is committed, that every field of it is explained, and that what it bounds is what the
//! programs can do.
// Clippy allows these in test functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use sluice_crds::{Rollout, crd_yaml, quantity::parse_duration_ms};
use sluice_signals::DURATION_BOUNDS_MS;

fn version() -> CustomResourceDefinitionVersion {
    Rollout::crd().spec.versions.remove(0)
}

fn schema() -> JSONSchemaProps {
    version().schema.unwrap().open_api_v3_schema.unwrap()
}

/// The schema of a field, as `kubectl explain` names it.
fn field(path: &str) -> JSONSchemaProps {
    path.split('.').fold(schema(), |schema, name| {
        let schema = items(&schema).cloned().unwrap_or(schema);
        schema.properties.unwrap().remove(name).unwrap_or_else(|| panic!("{path}: no {name}"))
    })
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(items) => Some(items),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

/// Calls `look` with the path of each field below a schema.
fn walk(path: &str, schema: &JSONSchemaProps, look: &mut impl FnMut(&str, &JSONSchemaProps)) {
    for (name, child) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        look(&path, child);
        walk(&path, child, look);
    }
    if let Some(items) = items(schema) {
        walk(&format!("{path}[]"), items, look);
    }
}

#[test]
fn the_committed_yaml_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml/rollouts.sluice.dev.yaml");
    let committed = fs::read_to_string(path).unwrap();
    assert!(committed == crd_yaml().unwrap(), "crds/yaml/rollouts.sluice.dev.yaml is stale: run `make generate`");
}

#[test]
fn every_field_is_explained() {
    let mut missing = Vec::new();
    walk("rollout", &schema(), &mut |path, field| {
        if field.description.as_deref().is_none_or(|text| text.trim().len() < 10) {
            missing.push(path.to_owned());
        }
    });
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn an_optional_field_of_the_spec_says_its_default() {
    let mut missing = Vec::new();
    walk("rollout.spec", &field("spec"), &mut |path, field| {
        let text = field.description.clone().unwrap_or_default().to_lowercase();
        if field.default.is_some() && !text.contains("default") {
            missing.push(path.to_owned());
        }
    });
    assert_eq!(missing, Vec::<String>::new());
}

/// The cost of a rule is reckoned from the largest object that the schema allows.
#[test]
fn every_list_and_text_of_the_spec_is_bounded() {
    let mut unbounded = Vec::new();
    for part in ["spec", "operation"] {
        walk(part, &field(part), &mut |path, field| match field.type_.as_deref() {
            Some("array") if field.max_items.is_none() => unbounded.push(path.to_owned()),
            Some("string") if field.max_length.is_none() && field.enum_.is_none() => unbounded.push(path.to_owned()),
            _ => {}
        });
    }
    assert_eq!(unbounded, Vec::<String>::new());
}

/// `has()` sees a null in a nullable field.
#[test]
fn no_field_is_nullable() {
    walk("rollout", &schema(), &mut |path, field| assert_eq!(field.nullable, None, "{path}"));
}

#[test]
fn every_rule_has_a_message() {
    let mut rules = 0;
    let mut check = |path: &str, schema: &JSONSchemaProps| {
        for rule in schema.x_kubernetes_validations.iter().flatten() {
            rules += 1;
            assert!(rule.message.is_some() || rule.message_expression.is_some(), "{path}: {}", rule.rule);
        }
    };
    check("rollout", &schema());
    walk("rollout", &schema(), &mut check);
    assert!(rules >= 10, "only {rules} rules were found");
}

#[test]
fn slower_than_takes_the_bounds_that_the_proxy_counts_at() {
    let allowed = field("spec.analysis.metrics.objective.slowerThan").enum_.unwrap();
    let allowed: Vec<u64> = allowed.iter().map(|bound| parse_duration_ms(bound.0.as_str().unwrap()).unwrap()).collect();
    assert_eq!(allowed, DURATION_BOUNDS_MS);
}

#[test]
fn the_object_is_named_listed_and_selected_as_documented() {
    let crd = Rollout::crd();
    assert_eq!(crd.spec.names.short_names, Some(vec!["slr".to_owned()]));
    assert_eq!(crd.spec.names.categories, Some(vec!["sluice".to_owned()]));
    let version = version();
    let columns: Vec<_> = version.additional_printer_columns.iter().flatten().map(|column| &*column.name).collect();
    assert_eq!(columns, ["PHASE", "STEP", "WEIGHT", "REASON", "AGE", "STABLE", "CANARY", "NEXT", "MESSAGE"]);
    assert_eq!(version.selectable_fields.unwrap()[0].json_path, ".status.phase");
    assert!(version.subresources.unwrap().status.is_some());
    assert_eq!(schema().properties.unwrap().into_keys().collect::<Vec<_>>(), ["operation", "spec", "status"]);
}
