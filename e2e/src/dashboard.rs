//! The Grafana dashboard as what a test needs of it: its panels and their queries.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::manifest::text;

/// A file of `dashboards/` of this checkout.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards").join(name)
}

/// Reads a dashboard.
pub fn read(name: &str) -> Result<Value> {
    let path = file(name);
    let content = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&content).with_context(|| path.display().to_string())
}

/// The panels.
pub fn panels(dashboard: &Value) -> &[Value] {
    items(dashboard, "panels")
}

/// Title of the panel and expression of every query.
pub fn queries(dashboard: &Value) -> Vec<(&str, &str)> {
    let of = |panel| items(panel, "targets").iter().map(move |target| (text(panel, "/title"), text(target, "/expr")));
    panels(dashboard).iter().flat_map(of).collect()
}

/// An expression with the values of its variables, as Grafana sends it.
pub fn substitute(expression: &str, variables: &[(&str, &str)]) -> String {
    variables.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{items, panels, queries, read, text};

    /// What Grafana needs to show a panel, and people to read it.
    #[test]
    fn every_panel_is_whole() {
        let dashboard = read("rollout.json").unwrap();
        let mut ids = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = text(panel, "/title");
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id that another panel has");
            assert_eq!(text(panel, "/datasource/uid"), "${datasource}", "{title}");
            for field in ["/title", "/description", "/type", "/fieldConfig/defaults/unit"] {
                assert!(!text(panel, field).is_empty(), "{title}: no {field}");
            }
            assert!(!items(panel, "targets").is_empty(), "{title}: no query");
            let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{title}: wider than the grid");
        }
        assert!(!ids.is_empty());
    }

    #[test]
    fn every_variable_that_a_query_names_is_one_of_the_dashboards_or_grafanas() {
        let dashboard = read("rollout.json").unwrap();
        let variables = items(&dashboard["templating"], "list").iter();
        let mut known: Vec<_> = variables.map(|variable| text(variable, "/name")).collect();
        known.push("__rate_interval");
        for (title, expression) in queries(&dashboard) {
            for part in expression.split('$').skip(1) {
                let name = part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                assert!(known.contains(&name), "{title}: ${name}");
            }
        }
    }

    #[test]
    fn every_series_that_a_query_names_is_in_the_table() {
        let dashboard = read("rollout.json").unwrap();
        let rules = std::fs::read_to_string(super::file("rules.yaml")).unwrap();
        let mut texts: Vec<String> =
            queries(&dashboard).iter().map(|(_, expression)| (*expression).to_owned()).collect();
        texts.push(rules);
        let is_known = |word: &str| {
            sluice_signals::all().any(|series| {
                word == series.name
                    || word.strip_prefix(series.name).is_some_and(|part| ["_bucket", "_sum", "_count"].contains(&part))
            })
        };
        let mut seen = 0;
        for word in texts.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_')) {
            // The group of rules has a name too, without an underscore.
            if word.starts_with("sluice_") {
                assert!(is_known(word), "{word} is no series");
                seen += 1;
            }
        }
        assert!(seen > 20, "only {seen} names of series were found");
    }
}
