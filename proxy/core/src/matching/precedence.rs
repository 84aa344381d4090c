//! Which of several matches wins, as an order: the smaller one does.
//!
//! Gateway API, `HTTPRouteRule.matches`: exact path, then the prefix with the most characters, then a method match, then
//! the most header matches, then the most query parameter matches; then the oldest route, the first by
//! `namespace/name`, and the first rule. The specification leaves it to the implementation where regular expressions
//! stand: ours are between exact and prefix (as in Envoy Gateway and nginx), the longest pattern first. Behind prefixes
//! the usual catch-all `/` of a route would keep every one of them from being asked.
//!
//! `GRPCRouteRule.matches`: the most characters of the service, then of the method, then the most header matches, then as
//! above. Routes of both kinds never meet on one host of a listener, so how they compare does not matter.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::model::{Match, PathMatch, Route};

/// The rank of one match of one rule of one route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    path: PathRank,
    no_method: bool,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    created: i64,
    route: Arc<str>,
    rule: usize,
    position: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PathRank {
    Exact,
    Regex(Reverse<usize>),
    Grpc { service: Reverse<usize>, method: Reverse<usize> },
    Prefix(Reverse<usize>),
}

impl Precedence {
    /// The rank of `condition`, which stands at `position` in the rule at `rule` of `route` (whose id is `id`).
    pub fn new(route: &Route, id: &Arc<str>, rule: usize, position: usize, condition: &Match) -> Self {
        let path = match &condition.path {
            None => PathRank::Prefix(Reverse(0)),
            Some(PathMatch::Exact(_)) => PathRank::Exact,
            Some(PathMatch::Prefix(prefix)) => PathRank::Prefix(Reverse(prefix.trim_end_matches('/').chars().count())),
            Some(PathMatch::Regex(pattern)) => PathRank::Regex(Reverse(pattern.chars().count())),
            Some(PathMatch::Grpc(of)) => {
                PathRank::Grpc { service: length(of.service.as_deref()), method: length(of.method.as_deref()) }
            }
        };
        Self {
            path,
            no_method: condition.method.is_none(),
            headers: Reverse(condition.headers.len()),
            query: Reverse(condition.query.len()),
            created: route.created,
            route: Arc::clone(id),
            rule,
            position,
        }
    }
}

fn length(part: Option<&str>) -> Reverse<usize> {
    Reverse(part.map_or(0, |part| part.chars().count()))
}
