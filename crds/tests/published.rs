//! The published schema: that it is committed, that every field of it is explained, and that what it bounds is what the
//! programs can do.
// Clippy allows these in test functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use sluice_crds::{Rollout, crd_yaml, definitions, quantity::parse_duration_ms};
use sluice_signals::DURATION_BOUNDS_MS;

fn version(mut definition: CustomResourceDefinition) -> CustomResourceDefinitionVersion {
    definition.spec.versions.remove(0)
}

/// The plural and the schema of each kind.
fn schemas() -> Vec<(String, JSONSchemaProps)> {
    let schema = |definition: CustomResourceDefinition| {
        let plural = definition.spec.names.plural.clone();
        (plural, version(definition).schema.unwrap().open_api_v3_schema.unwrap())
    };
    definitions().into_iter().map(schema).collect()
}

/// The schema of a field of a Rollout, as `kubectl explain` names it.
fn field(path: &str) -> JSONSchemaProps {
    field_of(schemas().remove(0).1, path)
}

fn field_of(schema: JSONSchemaProps, path: &str) -> JSONSchemaProps {
    path.split('.').fold(schema, |schema, name| {
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
    for definition in definitions() {
        let name = definition.metadata.name.clone().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("yaml/{name}.yaml"));
        let committed = fs::read_to_string(path).unwrap_or_default();
        assert!(committed == crd_yaml(&definition).unwrap(), "crds/yaml/{name}.yaml is stale: run `make generate`");
    }
}

#[test]
fn every_field_is_explained() {
    let mut missing = Vec::new();
    for (kind, schema) in schemas() {
        walk(&kind, &schema, &mut |path, field| {
            if field.description.as_deref().is_none_or(|text| text.trim().len() < 10) {
                missing.push(path.to_owned());
            }
        });
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn an_optional_field_of_the_spec_says_its_default() {
    let mut missing = Vec::new();
    for (kind, schema) in schemas() {
        walk(&kind, &field_of(schema, "spec"), &mut |path, field| {
            let text = field.description.clone().unwrap_or_default().to_lowercase();
            if field.default.is_some() && !text.contains("default") {
                missing.push(path.to_owned());
            }
        });
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// The cost of a rule is reckoned from the largest object that the schema allows.
#[test]
fn every_list_and_text_of_the_spec_is_bounded() {
    let mut unbounded = Vec::new();
    for (kind, schema) in schemas() {
        let written = schema.properties.iter().flatten().filter(|(part, _)| ["spec", "operation"].contains(&&***part));
        for (part, schema) in written {
            walk(&format!("{kind}.{part}"), schema, &mut |path, field| match field.type_.as_deref() {
                Some("array") if field.max_items.is_none() => unbounded.push(path.to_owned()),
                Some("string") if field.max_length.is_none() && field.enum_.is_none() => {
                    unbounded.push(path.to_owned());
                }
                _ => {}
            });
        }
    }
    assert_eq!(unbounded, Vec::<String>::new());
}

/// `has()` sees a null in a nullable field.
#[test]
fn no_field_is_nullable() {
    for (kind, schema) in schemas() {
        walk(&kind, &schema, &mut |path, field| assert_eq!(field.nullable, None, "{path}"));
    }
}

#[test]
fn every_rule_has_a_message() {
    for (kind, schema) in schemas() {
        let mut rules = 0;
        let mut check = |path: &str, schema: &JSONSchemaProps| {
            for rule in schema.x_kubernetes_validations.iter().flatten() {
                rules += 1;
                assert!(rule.message.is_some() || rule.message_expression.is_some(), "{path}: {}", rule.rule);
            }
        };
        check(&kind, &schema);
        walk(&kind, &schema, &mut check);
        assert!(rules > 0, "{kind}: no rules were found");
    }
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
    let version = version(crd);
    let columns: Vec<_> = version.additional_printer_columns.iter().flatten().map(|column| &*column.name).collect();
    assert_eq!(columns, ["PHASE", "STEP", "WEIGHT", "REASON", "AGE", "STABLE", "CANARY", "NEXT", "MESSAGE"]);
    assert_eq!(version.selectable_fields.unwrap()[0].json_path, ".status.phase");
    assert!(version.subresources.unwrap().status.is_some());
    assert_eq!(
        schemas().remove(0).1.properties.unwrap().into_keys().collect::<Vec<_>>(),
        ["operation", "spec", "status"]
    );
}
