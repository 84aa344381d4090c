//! What is live, told from what we write: which split, or whose edit.

use serde_json::Value;

use super::{Names, WHOLE, apply, array, merge::merge, refs, weight};
use crate::plan::Split;

/// What a live route is.
#[derive(Clone, Debug, PartialEq)]
pub enum Live {
    /// Exactly what the user wrote.
    Base,
    /// What we write for this split.
    Split(Split),
    /// Somebody changed it: what the user wants by now, without parts of ours. The old base where only our parts were
    /// changed.
    Changed(Value),
}

/// Which of the splits is live. 0 and 100 percent are always among them.
pub fn recognise(base: &Value, live: &Value, splits: &[Split], names: &Names<'_>) -> Live {
    if live == base {
        return Live::Base;
    }
    let ends = [Split::Share(0), Split::Share(WHOLE)];
    let may_be = |split: &&Split| is_like(live, split, names);
    let is = |split: &&Split| apply(base, split, names).as_ref() == Ok(live);
    match splits.iter().chain(&ends).filter(may_be).find(is) {
        Some(split) => Live::Split(split.clone()),
        None => Live::Changed(merge(base, live, splits, names)),
    }
}

/// Whether it is worth to compute the rules of a split: its copies are there or not, and the first canary has its share.
fn is_like(live: &Value, split: &Split, names: &Names<'_>) -> bool {
    let has_copies = array(live).iter().any(|rule| names.is_our_rule(rule));
    match split {
        Split::Match(_) => has_copies,
        Split::Share(_) if has_copies => false,
        Split::Share(share) => {
            let first = array(live).iter().find(|rule| refs(rule).iter().any(|reference| names.is_canary(reference)));
            let is_split = |kept: &Kept<'_>| !kept.is_stable || kept.has_share(*share);
            first.is_some_and(|rule| Kept::of(rule, names).iter().all(is_split))
        }
    }
}

/// The rules have a ref or a rule of ours.
pub fn has_ours(rules: &Value, names: &Names<'_>) -> bool {
    array(rules).iter().any(|rule| is_ours_in(rule, names))
}

/// A rule is ours, or has a ref of ours.
pub(super) fn is_ours_in(rule: &Value, names: &Names<'_>) -> bool {
    names.is_our_rule(rule) || refs(rule).iter().any(|reference| names.is_canary(reference))
}

/// A ref that is not ours, with the weight of the canary's that stands behind it.
pub(super) struct Kept<'v> {
    /// The ref.
    pub reference: &'v Value,
    /// Its own weight.
    pub own: u64,
    /// That of the canary's refs; None where there is none.
    pub canary: Option<u64>,
    /// It names the stable Service.
    pub is_stable: bool,
}

impl<'v> Kept<'v> {
    /// The refs of a rule. A canary's ref belongs to the last stable one before it, or else to the first; where there is
    /// none it belongs to nobody.
    pub(super) fn of(rule: &'v Value, names: &Names<'_>) -> Vec<Self> {
        let mut kept: Vec<Self> = Vec::new();
        let mut early = None;
        for reference in refs(rule) {
            if !names.is_canary(reference) {
                let is_stable = names.is_stable(reference);
                kept.push(Self { reference, own: weight(reference), canary: None, is_stable });
                continue;
            }
            match kept.iter_mut().rfind(|kept| kept.is_stable) {
                Some(stable) => *stable.canary.get_or_insert(0) += weight(reference),
                None => *early.get_or_insert(0) += weight(reference),
            }
        }
        if let (Some(early), Some(stable)) = (early, kept.iter_mut().find(|kept| kept.is_stable)) {
            *stable.canary.get_or_insert(0) += early;
        }
        kept
    }

    /// Its weight with that of the canary: its part of the rule's traffic before it was split.
    pub(super) fn whole(&self) -> u64 {
        self.own + self.canary.unwrap_or(0)
    }

    /// The canary has this part of it, in basis points.
    pub(super) fn has_share(&self, share: u16) -> bool {
        self.canary.is_some_and(|canary| canary * u64::from(WHOLE) == self.whole() * u64::from(share))
    }
}
