//! What a pod template names: ConfigMaps and persistentVolumeClaims.

use std::collections::BTreeSet;

use serde_json::Value;

/// More ConfigMaps than this are not looked at: each costs a call.
const CONFIG_MAPS_MAX: usize = 32;

/// Names of the ConfigMaps in environment and volumes, in order, each once.
pub(crate) fn config_maps(template: &Value) -> Vec<String> {
    let mut names = BTreeSet::new();
    for container in list(template, "/spec/containers").chain(list(template, "/spec/initContainers")) {
        let single = list(container, "/env").map(|env| env.pointer("/valueFrom/configMapKeyRef/name"));
        let whole = list(container, "/envFrom").map(|source| source.pointer("/configMapRef/name"));
        names.extend(single.chain(whole).filter_map(text));
    }
    for volume in list(template, "/spec/volumes") {
        names.extend(text(volume.pointer("/configMap/name")));
        names.extend(list(volume, "/projected/sources").filter_map(|source| text(source.pointer("/configMap/name"))));
    }
    names.into_iter().take(CONFIG_MAPS_MAX).map(str::to_owned).collect()
}

/// Names of the persistentVolumeClaims, each once.
pub(crate) fn claims(template: &Value) -> Vec<String> {
    let names = list(template, "/spec/volumes").filter_map(|v| text(v.pointer("/persistentVolumeClaim/claimName")));
    names.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect()
}

fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::{claims, config_maps};
    use crate::fixtures::yaml;

    #[test]
    fn config_maps_are_found_wherever_a_template_names_them_and_secrets_are_not() {
        let template = yaml(
            "
spec:
  initContainers:
  - envFrom: [{configMapRef: {name: whole}}, {secretRef: {name: secret}}]
  containers:
  - env:
    - {name: A, valueFrom: {configMapKeyRef: {name: single, key: a}}}
    - {name: B, valueFrom: {secretKeyRef: {name: secret, key: b}}}
  volumes:
  - {name: files, configMap: {name: files}}
  - {name: many, projected: {sources: [{configMap: {name: part}}, {secret: {name: secret}}, {configMap: {name: files}}]}}
  - {name: data, persistentVolumeClaim: {claimName: disk}}
",
        );
        assert_eq!(config_maps(&template), ["files", "part", "single", "whole"]);
        assert_eq!(claims(&template), ["disk"]);
    }
}
