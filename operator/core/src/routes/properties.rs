//! The three-way merge holds for whatever rules, splits and edits: bases are drawn at random, and so is what owners do to
//! the live rules in the middle of a run.

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use super::{Live, Names, WHOLE, apply, array, merge, recognise, refs, weight};
use crate::plan::{HeaderMatch, Split};

fn names() -> Names<'static> {
    Names { rollout: "shop", namespace: "ns", service: "app", canary: "app-canary".to_owned(), rules: &[] }
}

/// A ref; its weight may be absent, as 1.
fn reference(name: &'static str) -> impl Strategy<Value = Value> {
    (prop::option::of(0_u64..=9), 80_u16..83, any::<bool>()).prop_map(move |(weight, port, filtered)| {
        let mut reference = json!({"group": "", "kind": "Service", "name": name, "port": port});
        if let Some(weight) = weight {
            reference["weight"] = json!(weight);
        }
        if filtered {
            reference["filters"] = json!([{"type": "RequestHeaderModifier"}]);
        }
        reference
    })
}

/// Stable first or last, beside up to two others.
fn backends() -> impl Strategy<Value = Value> {
    let others = (prop::option::of(reference("other")), prop::option::of(reference("third")));
    (prop::option::weighted(0.8, reference("app")), others, any::<bool>()).prop_map(|(app, (a, b), last)| {
        let others = [a, b].into_iter().flatten();
        let all: Vec<Value> = if last { others.chain(app).collect() } else { app.into_iter().chain(others).collect() };
        json!(all)
    })
}

fn base() -> impl Strategy<Value = Value> {
    let rule = (backends(), any::<bool>(), prop::option::of(1_u8..9));
    prop::collection::vec(rule, 1..5).prop_map(|rules| {
        let rule = |(index, (backends, named, timeout)): (usize, (Value, bool, Option<u8>))| {
            let path = json!({"path": {"type": "PathPrefix", "value": format!("/{index}")}});
            let mut rule = json!({"matches": [path], "backendRefs": backends});
            if named {
                rule["name"] = json!(format!("rule-{index}"));
            }
            if let Some(seconds) = timeout {
                rule["timeouts"] = json!({"request": format!("{seconds}s")});
            }
            rule
        };
        Value::Array(rules.into_iter().enumerate().map(rule).collect())
    })
}

fn split() -> impl Strategy<Value = Split> {
    let header = HeaderMatch { name: "env".to_owned(), value: "canary".to_owned(), regex: false };
    prop_oneof![4 => (0..=WHOLE).prop_map(Split::Share), 1 => Just(Split::Match(vec![header]))]
}

/// What an owner does beside our parts, alike on rules with and without them.
#[derive(Clone, Debug)]
enum Edit {
    Timeout(Index, u8),
    Filters(Index),
    /// Another path, on rules with a name: without one nothing says which rule it was.
    Path(Index),
    Remove(Index),
    Add,
    Reverse,
    Sessions(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), 10_u8..20).prop_map(|(at, seconds)| Edit::Timeout(at, seconds)),
        any::<Index>().prop_map(Edit::Filters),
        any::<Index>().prop_map(Edit::Path),
        any::<Index>().prop_map(Edit::Remove),
        Just(Edit::Add),
        Just(Edit::Reverse),
        any::<Index>().prop_map(Edit::Sessions),
    ]
}

impl Edit {
    /// On the user's rules, wherever ours stand between them.
    fn on(&self, rules: &Value) -> Value {
        let (mut ours, mut users) = (Vec::new(), Vec::new());
        for rule in array(rules) {
            if names().is_our_rule(rule) { ours.push(rule.clone()) } else { users.push(rule.clone()) }
        }
        let count = users.len().max(1);
        let set = |users: &mut Vec<Value>, at: Index, field: &str, value: Value| {
            if let Some(rule) = users.get_mut(at.index(count)) {
                rule[field] = value;
            }
        };
        match self {
            Self::Timeout(at, seconds) => set(&mut users, *at, "timeouts", json!({"request": format!("{seconds}s")})),
            Self::Filters(at) => set(&mut users, *at, "filters", json!([{"type": "URLRewrite"}])),
            Self::Path(at) if users.get(at.index(count)).is_some_and(|rule| rule.get("name").is_some()) => {
                set(&mut users, *at, "matches", json!([{"path": {"type": "Exact", "value": "/moved"}}]));
            }
            Self::Remove(at) if !users.is_empty() => drop(users.remove(at.index(count))),
            Self::Path(_) | Self::Remove(_) => {}
            Self::Add => {
                users.insert(0, json!({"matches": [], "backendRefs": [{"name": "new", "port": 1, "weight": 7}]}));
            }
            Self::Reverse => users.reverse(),
            Self::Sessions(at) => set(&mut users, *at, "sessionPersistence", json!({"type": "Cookie"})),
        }
        Value::Array(ours.into_iter().chain(users).collect())
    }
}

/// Adds a ref with a weight in the scale of what is there.
fn with_ref(rules: &Value, at: Index, weight: impl Fn(&[Value]) -> u64) -> Value {
    let mut rules = rules.clone();
    let Some(all) = rules.as_array_mut().filter(|all| !all.is_empty()) else { return rules };
    let users: Vec<usize> = (0..all.len()).filter(|index| !names().is_our_rule(&all[*index])).collect();
    let rule = &mut all[users[at.index(users.len())]];
    let weight = weight(refs(rule));
    rule["backendRefs"].as_array_mut().unwrap().push(json!({"name": "added", "port": 1, "weight": weight}));
    rules
}

/// The part of the traffic of each ref of the user's, in every rule of theirs, as numerator and denominator.
fn parts(rules: &Value) -> Vec<Vec<(String, u64, u64)>> {
    let names = names();
    let of_rule = |rule: &Value| {
        let all: u64 = refs(rule).iter().map(weight).sum();
        let mut parts: Vec<(String, u64, u64)> = Vec::new();
        for reference in refs(rule) {
            let key = if names.is_canary(reference) { "app" } else { reference["name"].as_str().unwrap() };
            match parts.iter_mut().find(|(known, ..)| known == key) {
                Some(part) => part.1 += weight(reference),
                None => parts.push((key.to_owned(), weight(reference), all)),
            }
        }
        parts
    };
    array(rules).iter().filter(|rule| !names.is_our_rule(rule)).map(of_rule).collect()
}

fn have_the_same_parts(one: &Value, other: &Value) -> bool {
    let (one, other) = (parts(one), parts(other));
    let is_same = |(a, b): (&(String, u64, u64), &(String, u64, u64))| a.0 == b.0 && a.1 * b.2 == b.1 * a.2;
    one.len() == other.len() && one.iter().zip(&other).all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(is_same))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_we_write_comes_back_as_what_the_user_wrote(base in base(), split in split()) {
        let live = apply(&base, &split, &names()).unwrap();
        prop_assert_eq!(merge(&base, &live, &[split], &names()), base);
    }

    #[test]
    fn every_share_is_exact_and_leaves_the_others_theirs(base in base(), share in 0..=WHOLE) {
        let live = apply(&base, &Split::Share(share), &names()).unwrap();
        prop_assert!(have_the_same_parts(&base, &live));
        for rule in array(&live) {
            let of = |is: &dyn Fn(&Value) -> bool| refs(rule).iter().filter(|r| is(r)).map(weight).sum::<u64>();
            let (stable, canary) = (of(&|r| names().is_stable(r)), of(&|r| names().is_canary(r)));
            prop_assert_eq!(canary * u64::from(WHOLE), (stable + canary) * u64::from(share));
        }
    }

    #[test]
    fn an_edit_on_top_of_our_parts_is_the_edit_of_the_base(
        base in base(), split in split(), edits in prop::collection::vec(edit(), 1..4),
    ) {
        let live = edits.iter().fold(apply(&base, &split, &names()).unwrap(), |rules, edit| edit.on(&rules));
        let wanted = edits.iter().fold(base.clone(), |rules, edit| edit.on(&rules));
        let merged = merge(&base, &live, std::slice::from_ref(&split), &names());
        prop_assert_eq!(&merged, &wanted);
        // Rewritten it is taken for what we write, and nothing is found to be changed again.
        let rewritten = apply(&merged, &split, &names()).unwrap();
        let is_there = matches!(recognise(&merged, &rewritten, &[split], &names()), Live::Base | Live::Split(_));
        prop_assert!(is_there);
    }

    #[test]
    fn an_owner_who_writes_without_our_parts_is_taken_at_the_word(
        base in base(), split in split(), edits in prop::collection::vec(edit(), 0..4),
    ) {
        let wanted = edits.iter().fold(base.clone(), |rules, edit| edit.on(&rules));
        prop_assert_eq!(merge(&base, &wanted, &[split], &names()), wanted);
    }

    #[test]
    fn a_new_ref_beside_ours_keeps_the_part_that_it_was_given(base in base(), split in split(), at in any::<Index>()) {
        let live = apply(&base, &split, &names()).unwrap();
        let live = with_ref(&live, at, |refs| refs.iter().map(weight).sum::<u64>() + 1);
        let merged = merge(&base, &live, std::slice::from_ref(&split), &names());
        prop_assert!(have_the_same_parts(&merged, &live), "{merged} of {live}");
        prop_assert_eq!(merge(&merged, &live, &[split], &names()), merged);
    }

    #[test]
    fn whatever_becomes_of_the_weights_nothing_is_merged_twice(
        base in base(), split in split(), weights in prop::collection::vec(0_u64..50, 16), at in any::<Index>(),
    ) {
        let mut live = with_ref(&apply(&base, &split, &names()).unwrap(), at, |_| 3);
        let rules = live.as_array_mut().unwrap().iter_mut();
        let all = rules.flat_map(|rule| rule["backendRefs"].as_array_mut().unwrap());
        for (reference, weight) in all.zip(weights) {
            reference["weight"] = json!(weight);
        }
        let merged = merge(&base, &live, std::slice::from_ref(&split), &names());
        prop_assert!(!super::has_ours(&merged, &names()));
        prop_assert_eq!(merge(&merged, &live, &[split], &names()), merged);
    }
}
