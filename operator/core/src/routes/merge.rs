//! The three-way merge: what the user wrote, what is live, and what of it is ours.
//!
//! Ours are the copies of rules, the canary's refs, and how much of a stable ref's traffic goes to which of the two. All the
//! rest of a live route is the user's, whoever wrote it: rules that were added, removed, moved or changed, refs beside
//! stable's, their weights and filters. So what is live is taken as it is but for the weights of the rules that we split,
//! which have to be told from ours: they are brought back to the numbers that the user knows.

use serde_json::{Value, json};

use super::{
    Names, WHOLE, array, gcd,
    live::{Kept, is_ours_in},
    refs, rule_name, weight, with_field, with_share,
};
use crate::plan::Split;

/// Whether a live part came from one of the base.
type Sameness<'f> = &'f dyn Fn(&Value, &Value) -> bool;

/// What the user wants by now: live rules without parts of ours, with the weights that the user gave.
///
/// `base` is what the user wanted before; `splits` are those that may be live, the one that was live last first (0 and 100
/// percent always are among them). Where a stable ref is split otherwise somebody changed our weights: those of the base
/// stand.
pub fn merge(base: &Value, live: &Value, splits: &[Split], names: &Names<'_>) -> Value {
    let kept: Vec<&Value> = array(live).iter().filter(|rule| !names.is_our_rule(rule)).collect();
    let origins = origins(base, &kept, names);
    let rules = kept.into_iter().zip(origins).map(|(rule, origin)| {
        let refs = if is_ours_in(rule, names) {
            Some(without_canary(origin, rule, splits, names))
        } else {
            origin.filter(|origin| is_left_over(origin, rule, splits, names)).map(|origin| refs(origin).to_vec())
        };
        refs.map_or_else(|| rule.clone(), |refs| with_field(rule, "backendRefs", Value::Array(refs)))
    });
    Value::Array(rules.collect())
}

/// For each live rule the one of the base that it came from: the same but for its refs, or else of the same name, or with
/// the same matches, or at the same place. A base that has parts of ours is not known to be what the user wrote.
fn origins<'b>(base: &'b Value, live: &[&Value], names: &Names<'_>) -> Vec<Option<&'b Value>> {
    let mut free: Vec<Option<&Value>> =
        array(base).iter().map(|rule| (!is_ours_in(rule, names)).then_some(rule)).collect();
    let mut found: Vec<Option<&Value>> = vec![None; live.len()];
    let is_same: [Sameness<'_>; 3] = [
        &|old, new| without(old, "backendRefs") == without(new, "backendRefs"),
        &|old, new| rule_name(old).is_some() && rule_name(old) == rule_name(new),
        &|old, new| old.get("matches") == new.get("matches"),
    ];
    for is_same in is_same {
        for (rule, found) in live.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            let place = free.iter_mut().find(|old| old.is_some_and(|old| is_same(old, rule)));
            *found = place.and_then(Option::take);
        }
    }
    for (index, found) in found.iter_mut().enumerate().filter(|(_, found)| found.is_none()) {
        *found = free.get_mut(index).and_then(Option::take);
    }
    found
}

/// Somebody took the canary's ref out and left stable's weight as we had set it: not a weight that the user gave.
fn is_left_over(origin: &Value, rule: &Value, splits: &[Split], names: &Names<'_>) -> bool {
    let weights = |refs: &[Value]| reduced(&refs.iter().map(weight).collect::<Vec<_>>());
    if !names.is_stepped(origin) || weights(refs(rule)) == weights(refs(origin)) {
        return false;
    }
    shares(splits).any(|share| {
        let ours = with_share(origin, share, names);
        refs(&ours).iter().filter(|reference| !names.is_canary(reference)).eq(refs(rule))
    })
}

/// The refs of a rule without the canary's. Stable's weight is the sum of both, which is its part of the rule. Where the
/// proportions are those of the base its very numbers come back.
fn without_canary(origin: Option<&Value>, rule: &Value, splits: &[Split], names: &Names<'_>) -> Vec<Value> {
    let kept = Kept::of(rule, names);
    let before = origins_of_refs(origin.map_or(&[], refs), &kept);
    let known: Vec<Option<u64>> = before.iter().map(|old| old.map(|(_, old)| weight(old))).collect();
    let weights = match known.iter().copied().collect::<Option<Vec<u64>>>() {
        Some(known) if origin.is_some_and(|origin| are_as_written(origin, &kept, &before, splits, names)) => known,
        _ => weights(&kept, &known, splits),
    };
    let weighted = kept.iter().zip(before).zip(weights).map(|((kept, before), weight)| {
        let before = before.map(|(_, old)| old);
        let unset = before.is_some_and(|old| old.get("weight").is_none()) && weight == 1;
        if unset { without(kept.reference, "weight") } else { with_field(kept.reference, "weight", json!(weight)) }
    });
    weighted.collect()
}

/// The refs beside stable's have the very weights that we gave them last: whatever became of ours, theirs were not changed.
fn are_as_written(
    origin: &Value,
    kept: &[Kept<'_>],
    before: &[Option<(usize, &Value)>],
    splits: &[Split],
    names: &Names<'_>,
) -> bool {
    let Some(share) = shares(splits).next() else { return false };
    let written = with_share(origin, share, names);
    let written: Vec<u64> = refs(&written).iter().filter(|reference| !names.is_canary(reference)).map(weight).collect();
    let others = kept.iter().zip(before).filter(|(kept, _)| !kept.is_stable);
    others.into_iter().all(|(kept, before)| before.and_then(|(index, _)| written.get(index)) == Some(&kept.own))
}

/// The weights that the user means, with those of the base that are known.
fn weights(kept: &[Kept<'_>], known: &[Option<u64>], splits: &[Split]) -> Vec<u64> {
    let found: Vec<u64> = kept.iter().map(Kept::whole).collect();
    let is_split = |share: u16| {
        let ours = kept.iter().zip(known).filter(|(kept, known)| known.is_some() || kept.canary.is_some());
        ours.map(|(kept, _)| kept).filter(|kept| kept.is_stable).all(|kept| kept.has_share(share))
    };
    let is_ours = shares(splits).any(is_split);
    if let Some(known) = known.iter().copied().collect::<Option<Vec<u64>>>()
        && (!is_ours || reduced(&known) == reduced(&found))
    {
        return known;
    }
    // Of the refs that are stable's by both accounts: what they have in the base, and what they have here.
    let is_scale = |(kept, known): &(&Kept<'_>, &Option<u64>)| kept.is_stable && known.is_some();
    let scale = || kept.iter().zip(known).filter(is_scale);
    let had: u64 = scale().filter_map(|(_, known)| *known).sum();
    let has: u64 = scale().map(|(kept, _)| kept.whole()).sum();
    let of_base = |known: &Option<u64>| known.filter(|_| !is_ours);
    if had == 0 || has == 0 {
        let weights: Vec<u64> =
            known.iter().zip(&found).map(|(known, found)| of_base(known).unwrap_or(*found)).collect();
        return if is_ours { reduced(&weights) } else { weights };
    }
    let weigh = |(known, found): (&Option<u64>, &u64)| of_base(known).map_or(found * had, |known| known * has);
    let weights: Vec<u64> = known.iter().zip(&found).map(weigh).collect();
    if weights.iter().all(|weight| weight.is_multiple_of(has)) {
        return weights.iter().map(|weight| weight / has).collect();
    }
    reduced(&weights)
}

/// For each kept ref the one of the base that it came from: the same but for its weight, or else to the same port of the same
/// object, or to the same object.
fn origins_of_refs<'b>(base: &'b [Value], kept: &[Kept<'_>]) -> Vec<Option<(usize, &'b Value)>> {
    let mut free: Vec<Option<(usize, &Value)>> = base.iter().enumerate().map(Some).collect();
    let mut found: Vec<Option<(usize, &Value)>> = vec![None; kept.len()];
    let object = |reference: &Value| ["group", "kind", "namespace", "name"].map(|field| reference.get(field).cloned());
    let is_same: [Sameness<'_>; 3] = [
        &|old, new| without(old, "weight") == without(new, "weight"),
        &|old, new| object(old) == object(new) && old.get("port") == new.get("port"),
        &|old, new| object(old) == object(new),
    ];
    for is_same in is_same {
        for (kept, found) in kept.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            let place = free.iter_mut().find(|old| old.is_some_and(|(_, old)| is_same(old, kept.reference)));
            *found = place.and_then(Option::take);
        }
    }
    found
}

/// The shares that may be live. A split by matches leaves the weights at 0.
fn shares(splits: &[Split]) -> impl Iterator<Item = u16> {
    let share = |split: &Split| match split {
        Split::Share(share) => Some(*share),
        Split::Match(_) => None,
    };
    splits.iter().filter_map(share).chain([0, WHOLE])
}

fn reduced(weights: &[u64]) -> Vec<u64> {
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, *weight)).max(1);
    weights.iter().map(|weight| weight / divisor).collect()
}

fn without(object: &Value, field: &str) -> Value {
    let mut fields = object.as_object().cloned().unwrap_or_default();
    fields.remove(field);
    Value::Object(fields)
}
