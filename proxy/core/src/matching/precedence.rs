//! Which of several matches wins, as an order: the smaller one does.
//!
//! Gateway API, `HTTPRouteRule.matches`: exact path, then the prefix with the most characters, then a method match, then
//! the most header matches, then the most query parameter matches; then the oldest route, the first by
//! `namespace/name`, and the first rule. Regular expressions are left to the implementation: ours stand between exact
//! and prefix, the longest pattern first, because behind a catch-all prefix they would never be asked.

use std::cmp::Reverse;

use crate::model::{Match, PathMatch, Route};

/// The rank of one match of one rule of one route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence<'a> {
    path: PathRank,
    no_method: bool,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    created: i64,
    route: &'a str,
    rule: usize,
    position: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Regex(Reverse<usize>),
    Prefix(Reverse<usize>),
}

impl<'a> Precedence<'a> {
    /// The rank of `condition`, which stands at `position` in the rule at `rule` of `route`.
    pub fn new(route: &'a Route, rule: usize, position: usize, condition: &Match) -> Self {
        let path = match &condition.path {
            None => PathRank::Prefix(Reverse(0)),
            Some(PathMatch::Exact(_)) => PathRank::Exact,
            Some(PathMatch::Prefix(prefix)) => PathRank::Prefix(Reverse(prefix.trim_end_matches('/').chars().count())),
            Some(PathMatch::Regex(pattern)) => PathRank::Regex(Reverse(pattern.chars().count())),
        };
        Self {
            path,
            no_method: condition.method.is_none(),
            headers: Reverse(condition.headers.len()),
            query: Reverse(condition.query.len()),
            created: route.created,
            route: &route.id,
            rule,
            position,
        }
    }
}
