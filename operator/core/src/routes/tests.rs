//! Tests of the rules.

use serde_json::{Value, json};

use super::{Live, Names, apply, merge, preflight, recognise};
use crate::plan::{HeaderMatch, Split};

fn names() -> Names<'static> {
    Names { rollout: "shop", namespace: "ns", service: "app", canary: "app-canary".to_owned(), rules: &[] }
}

fn base() -> Value {
    json!([
        {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
         "timeouts": {"request": "3s"},
         "backendRefs": [
            {"group": "", "kind": "Service", "name": "app", "port": 80, "weight": 3, "filters": [{"type": "X"}]},
            {"group": "", "kind": "Service", "name": "other", "port": 80, "weight": 1}]},
        {"backendRefs": [{"name": "elsewhere", "port": 80}]},
    ])
}

fn header(name: &str) -> Split {
    Split::Match(vec![HeaderMatch { name: name.to_owned(), value: "canary".to_owned(), regex: false }])
}

fn weights(rules: &Value, rule: usize) -> Vec<u64> {
    rules[rule]["backendRefs"].as_array().unwrap().iter().map(|r| r["weight"].as_u64().unwrap()).collect()
}

#[test]
fn shares_are_exact_and_others_keep_theirs() {
    let live = apply(&base(), &Split::Share(500), &names()).unwrap();
    // 3 : 1 with 5 % of the 3: 57 + 3 of 80, and 20 of 80 as before.
    assert_eq!(weights(&live, 0), [57, 3, 20]);
    assert_eq!(live[0]["backendRefs"][1]["name"], "app-canary");
    assert_eq!(live[0]["backendRefs"][1]["filters"], base()[0]["backendRefs"][0]["filters"]);
    assert_eq!(live[1], base()[1]);
    assert_eq!(weights(&apply(&base(), &Split::Share(0), &names()).unwrap(), 0), [3, 0, 1]);
    assert_eq!(weights(&apply(&base(), &Split::Share(10_000), &names()).unwrap(), 0), [0, 3, 1]);
    assert_eq!(weights(&apply(&base(), &Split::Share(1), &names()).unwrap(), 0), [29_997, 3, 10_000]);
}

#[test]
fn a_match_split_puts_a_copy_before_the_rule() {
    let live = apply(&base(), &header("env"), &names()).unwrap();
    assert_eq!(live.as_array().unwrap().len(), 3);
    assert_eq!(live[0]["name"], "sluice-shop-0");
    assert_eq!(live[0]["timeouts"], base()[0]["timeouts"]);
    assert_eq!(
        live[0]["matches"],
        json!([{"path": {"type": "PathPrefix", "value": "/"},
                "headers": [{"name": "env", "type": "Exact", "value": "canary"}]}])
    );
    assert_eq!(live[0]["backendRefs"].as_array().unwrap().len(), 1);
    assert_eq!(live[0]["backendRefs"][0]["name"], "app-canary");
    assert_eq!(weights(&live, 1), [3, 0, 1]);
}

#[test]
fn what_we_wrote_is_recognised() {
    let splits = [header("env"), Split::Share(500), Split::Share(1)];
    for split in splits.iter().chain(&[Split::Share(0), Split::Share(10_000)]) {
        let live = apply(&base(), split, &names()).unwrap();
        assert_eq!(recognise(&base(), &live, &splits, &names()), Live::Split(split.clone()));
        assert_eq!(merge(&base(), &live, &splits, &names()), base());
    }
    assert_eq!(recognise(&base(), &base(), &splits, &names()), Live::Base);
}

#[test]
fn an_edit_of_the_owner_is_kept_and_our_parts_are_not() {
    let mut live = apply(&base(), &Split::Share(500), &names()).unwrap();
    live[0]["timeouts"] = json!({"request": "9s"});
    let mut wanted = base();
    wanted[0]["timeouts"] = json!({"request": "9s"});
    assert_eq!(recognise(&base(), &live, &[Split::Share(500)], &names()), Live::Changed(wanted.clone()));
    // Without any part of ours it is taken as it is.
    assert_eq!(recognise(&base(), &wanted, &[Split::Share(500)], &names()), Live::Changed(wanted.clone()));
    // A third ref beside ours keeps the proportions.
    live[0]["backendRefs"].as_array_mut().unwrap().push(json!({"name": "third", "port": 80, "weight": 20}));
    let stripped = merge(&base(), &live, &[Split::Share(500)], &names());
    assert_eq!(weights(&stripped, 0), [3, 1, 1]);
}

#[test]
fn limits_are_found_before_they_are_met() {
    let names = names();
    assert_eq!(preflight(&base(), &[Split::Share(1), header("env")], &names), Ok(()));
    let mut heavy = base();
    heavy[0]["backendRefs"][0]["weight"] = json!(999_983);
    assert!(preflight(&heavy, &[Split::Share(1)], &names).unwrap_err().contains("weight"));
    let many = Value::Array(vec![base()[0].clone(); 9]);
    assert!(preflight(&many, &[header("env")], &names).unwrap_err().contains("18 rules"));
    let elsewhere = json!([{"backendRefs": [{"name": "app", "namespace": "other"}, {"name": "app", "kind": "X"}]}]);
    assert!(preflight(&elsewhere, &[], &names).unwrap_err().contains("no rule names Service"));
    let taken = json!([{"backendRefs": [{"name": "app"}, {"name": "app-canary"}]}]);
    assert!(preflight(&taken, &[], &names).unwrap_err().contains("already names"));
    let mut conditioned = base();
    conditioned[0]["matches"][0]["headers"] = json!([{"name": "ENV", "type": "Exact", "value": "blue"}]);
    assert!(preflight(&conditioned, &[header("env")], &names).unwrap_err().contains("ENV".to_lowercase().as_str()));
}

#[test]
fn only_named_rules_are_stepped() {
    let rules = ["b".to_owned()];
    let names = Names { rules: &rules, ..names() };
    let base =
        json!([{"name": "a", "backendRefs": [{"name": "app"}]}, {"name": "b", "backendRefs": [{"name": "app"}]}]);
    let live = apply(&base, &Split::Share(2_500), &names).unwrap();
    assert_eq!(live[0], base[0]);
    assert_eq!(weights(&live, 1), [3, 1]);
    assert_eq!(names.stepped_keys(&live), ["b"]);
}

/// base, live and what the user is taken to want, for a run whose step is 5 %.
fn merged(base: &Value, live: &Value) -> Value {
    merge(base, live, &[Split::Share(500), header("env"), Split::Share(5_000)], &names())
}

#[test]
fn weights_of_other_refs_are_the_users_and_ours_are_not() {
    let live = apply(&base(), &Split::Share(500), &names()).unwrap();
    for (edit, wanted) in [
        // 57 + 3 of stable's and twice as much for the other one.
        ([57, 3, 40], [3, 2]),
        ([57, 3, 41], [60, 41]),
        ([57, 3, 0], [3, 0]),
        // Our own weights alone, as in no step or as in another one: the base stands.
        ([40, 60, 20], [3, 1]),
        ([50, 50, 20], [3, 1]),
        ([0, 60, 20], [3, 1]),
        // Another one changed with them: as in a step that is known it has this part of the whole, else its scale is lost.
        ([50, 50, 40], [5, 2]),
        ([60, 40, 40], [3, 1]),
    ] {
        let mut edited = live.clone();
        for (index, weight) in edit.iter().enumerate() {
            edited[0]["backendRefs"][index]["weight"] = json!(weight);
        }
        let new = merged(&base(), &edited);
        assert_eq!(weights(&new, 0), wanted, "{edit:?}");
        assert_eq!(merged(&new, &edited), new, "{edit:?}");
    }
}

#[test]
fn what_was_left_of_ours_is_no_wish_of_the_users() {
    let mut live = apply(&base(), &Split::Share(500), &names()).unwrap();
    live[0]["backendRefs"].as_array_mut().unwrap().remove(1);
    assert_eq!(merged(&base(), &live), base());
    // The copy was left where its rule was taken away.
    let mut live = apply(&base(), &header("env"), &names()).unwrap();
    live.as_array_mut().unwrap().remove(1);
    assert_eq!(merged(&base(), &live), json!([base()[1]]));
}

#[test]
fn ports_and_places_may_change_together_with_our_weights_in_place() {
    let base = json!([
        {"name": "a", "backendRefs": [{"name": "app", "port": 80, "weight": 2}, {"name": "b", "port": 80, "weight": 2}]},
        {"name": "b", "backendRefs": [{"name": "app", "port": 80}]},
    ]);
    let mut live = apply(&base, &Split::Share(500), &names()).unwrap();
    live.as_array_mut().unwrap().reverse();
    for index in [0, 1] {
        live[1]["backendRefs"][index]["port"] = json!(8080);
    }
    live[1]["matches"] = json!([{"path": {"type": "Exact", "value": "/x"}}]);
    let new = merged(&base, &live);
    assert_eq!(
        new,
        json!([
            {"name": "b", "backendRefs": [{"name": "app", "port": 80}]},
            {"name": "a", "matches": [{"path": {"type": "Exact", "value": "/x"}}],
             "backendRefs": [{"name": "app", "port": 8080, "weight": 2}, {"name": "b", "port": 80, "weight": 2}]},
        ])
    );
    assert_eq!(apply(&new, &Split::Share(500), &names()).unwrap(), live);
}
