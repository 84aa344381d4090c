//! One resource, compiled.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::slots::Places;
use super::{Action, Arm, Backend, Condition, Mirror, Readiness, Rule, Whereabouts};
use crate::balance::Traffic;
use crate::cells::{CellKey, Cells};
use crate::filter::{Compiled, FilterError, Filters};
use crate::matching::precedence::Precedence;
use crate::matching::{Matcher, PathMatcher, ValueMatcher};
use crate::model::{self, Match, Route, ValueMatch};
use crate::pick::Split;
use crate::retry::Retry;
use crate::session::{Session, SessionError};

/// What can be wrong with a resource.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A filter on a backend that only makes sense before there is one.
    #[error("a backend of a rule cannot redirect, mirror or have a CORS filter")]
    BackendFilter,
    /// The same key twice.
    #[error("there are two of it")]
    Duplicate,
    /// A filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A name in a header match.
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// Two listeners that cannot be told apart.
    #[error("{0} has {1}")]
    ListenerConflict(String, &'static str),
    /// A share that is more than all, or of nothing.
    #[error("{0} of {1} requests cannot be mirrored")]
    Share(u32, u32),
    /// A method.
    #[error("{0:?} is not a method")]
    Method(String),
    /// A pattern.
    #[error("the regular expression is not accepted: {0}")]
    Regex(#[from] regex::Error),
    /// A session.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// The places of backends, given out when the first route names one or it comes itself, whichever is earlier.
#[derive(Debug, Default)]
pub(super) struct Backends {
    known: HashMap<Arc<str>, Known>,
    places: Places,
}

#[derive(Debug)]
struct Known {
    id: Arc<str>,
    slot: u32,
    /// Arms that name it, and itself while it is there.
    uses: usize,
}

impl Backends {
    /// Uses a backend once more.
    pub(super) fn acquire(&mut self, name: &str) -> (Arc<str>, u32) {
        if let Some(known) = self.known.get_mut(name) {
            known.uses += 1;
            return (Arc::clone(&known.id), known.slot);
        }
        let (id, slot) = (Arc::<str>::from(name), self.places.take());
        self.known.insert(Arc::clone(&id), Known { id: Arc::clone(&id), slot, uses: 1 });
        (id, slot)
    }

    /// Whether nobody uses any.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Uses each once less.
    pub(super) fn release_all(&mut self, names: &[Arc<str>]) {
        for name in names {
            self.release(name);
        }
    }

    /// Uses it once less.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(known) = self.known.get_mut(name) {
            known.uses -= 1;
            if known.uses == 0 {
                self.places.give_back(known.slot);
                self.known.remove(name);
            }
        }
    }
}

/// What the arms of one route are made with.
pub(super) struct Surroundings<'a> {
    pub(super) backends: &'a mut Backends,
    pub(super) cells: &'a mut Cells,
    /// The backends that were acquired.
    pub(super) uses: &'a mut Vec<Arc<str>>,
}

/// Why a snapshot with this route in it would be refused because of it. Costs what the route does, and no snapshot.
pub fn check(route: &Route) -> Result<(), Problem> {
    let id = Arc::from(route.id.as_str());
    conditions(route, &id)?;
    let (mut backends, mut cells, mut uses) = (Backends::default(), Cells::default(), Vec::new());
    rules(route, &id, &mut Surroundings { backends: &mut backends, cells: &mut cells, uses: &mut uses }).map(drop)
}

/// The rules of a route.
pub(super) fn rules(route: &Route, id: &Arc<str>, around: &mut Surroundings<'_>) -> Result<Arc<[Rule]>, Problem> {
    route.rules.iter().map(|spec| rule(route, id, spec, around)).collect()
}

fn rule(route: &Route, id: &Arc<str>, spec: &model::Rule, around: &mut Surroundings<'_>) -> Result<Rule, Problem> {
    let Compiled { filters, redirection, cors, mirrors } = Filters::compile(&spec.filters)?;
    let mirrors = mirrors.into_iter().map(|spec| mirror(spec, around)).collect::<Result<_, Problem>>()?;
    let name: Arc<str> = spec.name.as_str().into();
    let action = if let Some(redirection) = redirection {
        Action::Redirect(redirection)
    } else {
        let key =
            |backend| CellKey { route: Arc::clone(id), rule: Arc::clone(&name), backend, generation: route.generation };
        let arms: Result<Box<[Arm]>, Problem> =
            spec.backends.iter().map(|backend| arm(backend, &key, around)).collect();
        let arms = arms?;
        match Split::new(spec.backends.iter().map(|backend| backend.weight)) {
            Some(split) => Action::Forward { split, arms },
            None => Action::NoBackend,
        }
    };
    let limit = |millis: Option<u64>| millis.filter(|millis| *millis > 0).map(Duration::from_millis);
    Ok(Rule {
        route: Arc::clone(id),
        name,
        filters,
        cors: cors.map(Box::new),
        mirrors,
        request_timeout: limit(spec.timeouts.request),
        backend_timeout: limit(spec.timeouts.backend),
        retry: spec.retry.as_ref().map(|retry| Box::new(Retry::new(retry))),
        session: spec.session.as_ref().map(Session::new).transpose()?.map(Box::new),
        action,
    })
}

fn mirror(spec: &model::Mirror, around: &mut Surroundings<'_>) -> Result<Mirror, Problem> {
    let model::Mirror { numerator, denominator, .. } = *spec;
    if denominator == 0 || numerator > denominator {
        return Err(Problem::Share(numerator, denominator));
    }
    let (backend, slot) = around.backends.acquire(&spec.backend);
    around.uses.push(backend);
    Ok(Mirror { slot, numerator, denominator })
}

fn arm(
    to: &model::WeightedBackend,
    key: &impl Fn(Arc<str>) -> CellKey,
    around: &mut Surroundings<'_>,
) -> Result<Arm, Problem> {
    let Compiled { filters, redirection, cors, mirrors } = Filters::compile(&to.filters)?;
    if redirection.is_some() || cors.is_some() || !mirrors.is_empty() {
        return Err(Problem::BackendFilter);
    }
    let (id, slot) = around.backends.acquire(&to.backend);
    let name = model::backend_name(&id);
    let backend = if *name == *id { Arc::clone(&id) } else { Arc::from(name) };
    around.uses.push(id);
    let cell = around.cells.intern(key(Arc::clone(&backend)));
    Ok(Arm { backend, cell, valid: to.valid, filters, slot })
}

/// The conditions of all rules of a route.
pub(super) fn conditions(route: &Route, id: &Arc<str>) -> Result<Vec<Arc<Condition>>, Problem> {
    static EVERYTHING: Match = Match { path: None, headers: Vec::new(), query: Vec::new(), method: None };
    let mut conditions = Vec::new();
    for (rule, spec) in route.rules.iter().enumerate() {
        let matches = if spec.matches.is_empty() { std::slice::from_ref(&EVERYTHING) } else { &spec.matches };
        for (position, condition) in matches.iter().enumerate() {
            let precedence = Precedence::new(route, id, rule, position, condition);
            conditions.push(Arc::new(Condition { precedence, matcher: matcher(condition)?, rule: rule as u32 }));
        }
    }
    Ok(conditions)
}

/// A backend and where it goes.
pub(super) fn backend(spec: &model::Backend, id: Arc<str>, here: &Whereabouts) -> Result<Backend, Problem> {
    let traffic = spec.traffic.as_ref().map(Traffic::new).transpose().map_err(Problem::HeaderName)?.map(Box::new);
    let of = |ready| spec.endpoints.iter().filter(move |endpoint| endpoint.ready == ready);
    let (readiness, endpoints): (_, Box<[SocketAddr]>) = if of(true).next().is_some() {
        let ready = of(true).map(|endpoint| endpoint.address);
        let near = near(spec, here);
        let nearest: Box<_> = ready.clone().filter(|address| near.contains(address)).collect();
        (Readiness::Ready, if nearest.is_empty() { ready.collect() } else { nearest })
    } else {
        (Readiness::Terminating, of(false).map(|endpoint| endpoint.address).collect())
    };
    let tls = spec.tls.as_deref().map(Arc::from);
    Ok(Backend { id, protocol: spec.protocol, tls, traffic, endpoints, readiness })
}

/// The endpoints that are for data planes here.
fn near<'a>(spec: &'a model::Backend, here: &Whereabouts) -> &'a [SocketAddr] {
    if spec.near.is_empty() {
        return &[];
    }
    let of = |kind: &str, name: &Option<String>| spec.near.get(&format!("{kind}/{}", name.as_ref()?));
    of("node", &here.node).or_else(|| of("zone", &here.zone)).map_or(&[], Vec::as_slice)
}

fn matcher(condition: &Match) -> Result<Matcher, Problem> {
    let headers = first_of_each(&condition.headers, str::eq_ignore_ascii_case).map(|header| {
        let name = HeaderName::try_from(&header.name).map_err(|_| Problem::HeaderName(header.name.clone()))?;
        Ok(ValueMatcher::new(name, header)?)
    });
    let query = first_of_each(&condition.query, |one, other| one == other)
        .map(|parameter| Ok(ValueMatcher::new(parameter.name.as_str().into(), parameter)?));
    let method = condition
        .method
        .as_deref()
        .map(|method| Method::from_bytes(method.as_bytes()).map_err(|_| Problem::Method(method.to_owned())));
    Ok(Matcher {
        path: PathMatcher::new(condition.path.as_ref())?,
        method: method.transpose()?,
        headers: headers.collect::<Result<_, Problem>>()?,
        query: query.collect::<Result<_, Problem>>()?,
    })
}

/// The API: of several conditions on one name only the first is considered.
fn first_of_each(conditions: &[ValueMatch], same: impl Fn(&str, &str) -> bool) -> impl Iterator<Item = &ValueMatch> {
    conditions.iter().enumerate().filter_map(move |(position, condition)| {
        let repeated = conditions[..position].iter().any(|earlier| same(&earlier.name, &condition.name));
        (!repeated).then_some(condition)
    })
}
