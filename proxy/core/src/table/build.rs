//! Resources to snapshot.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::{Action, Arm, Backend, Candidate, ListenerTable, Readiness, Rule, Snapshot};
use crate::cells::{CellKey, Cells};
use crate::filter::{FilterError, Filters};
use crate::matching::precedence::Precedence;
use crate::matching::{Hosts, Matcher, PathMatcher, ValueMatcher};
use crate::model::{self, Match, Resource, Route, ValueMatch};
use crate::pick::Split;

/// A resource that cannot be served, and why.
#[derive(Debug, thiserror::Error)]
#[error("{resource}: {problem}")]
pub struct BuildError {
    /// Key of the resource.
    pub resource: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a resource.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A redirect on a backend, which the API does not define.
    #[error("a backend of a rule cannot redirect")]
    BackendRedirect,
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
    #[error("port and host name are those of {0}")]
    ListenerConflict(String),
    /// A method.
    #[error("{0:?} is not a method")]
    Method(String),
    /// A pattern.
    #[error("the regular expression is not accepted: {0}")]
    Regex(#[from] regex::Error),
}

impl Snapshot {
    /// Compiles resources. References to what is not among them are not an error: a route waits for its listener, and a
    /// backend that is not there has no endpoints.
    pub fn build<'a>(resources: impl IntoIterator<Item = &'a Resource>, cells: &mut Cells) -> Result<Self, BuildError> {
        let mut builder = Builder { cells, snapshot: Self::default(), backends: HashMap::new(), names: HashMap::new() };
        let (mut listeners, mut routes) = (HashMap::new(), Vec::new());
        for resource in resources {
            let duplicate = match resource {
                Resource::Backend(backend) => builder.add_backend(backend),
                Resource::Listener(listener) => listeners.insert(listener.id.as_str(), listener).is_some(),
                Resource::Route(route) => {
                    routes.push(route);
                    false
                }
            };
            if duplicate {
                return Err(BuildError { resource: resource.key(), problem: Problem::Duplicate });
            }
        }
        let mut ports = build_listeners(&listeners)?;
        builder.add_routes(&mut routes, &listeners, &mut ports)?;
        let mut snapshot = builder.snapshot;
        snapshot.ports = ports.into_iter().collect();
        snapshot.ports.sort_unstable_by_key(|(port, _)| *port);
        Ok(snapshot)
    }
}

type Ports = HashMap<u16, Hosts<ListenerTable>>;
type Listeners<'a> = HashMap<&'a str, &'a model::Listener>;

fn build_listeners(listeners: &Listeners<'_>) -> Result<Ports, BuildError> {
    let mut ports = Ports::new();
    for listener in listeners.values() {
        let table = ports.entry(listener.bind_port).or_default().entry(listener.hostname.as_deref());
        if !table.id.is_empty() {
            let resource = format!("listener/{}", listener.id);
            return Err(BuildError { resource, problem: Problem::ListenerConflict(table.id.clone()) });
        }
        table.id.clone_from(&listener.id);
        table.port = listener.port;
    }
    Ok(ports)
}

struct Builder<'a, 'c> {
    cells: &'c mut Cells,
    snapshot: Snapshot,
    backends: HashMap<&'a str, u32>,
    /// One allocation for each name, however many rules share it.
    names: HashMap<&'a str, Arc<str>>,
}

impl<'a> Builder<'a, '_> {
    /// Returns whether there is one of the same id already.
    fn add_backend(&mut self, backend: &'a model::Backend) -> bool {
        let of = |ready| backend.endpoints.iter().filter(move |endpoint| endpoint.ready == ready);
        let (readiness, endpoints): (_, Box<[SocketAddr]>) = if of(true).next().is_some() {
            (Readiness::Ready, of(true).map(|endpoint| endpoint.address).collect())
        } else {
            (Readiness::Terminating, of(false).map(|endpoint| endpoint.address).collect())
        };
        for address in &endpoints {
            // An address that one Service calls ready and another does not is ready.
            let known = self.snapshot.wanted.entry((*address, backend.protocol)).or_insert(readiness);
            *known = readiness.max(*known);
        }
        let position = self.snapshot.backends.len() as u32;
        let id = self.name(&backend.id);
        self.snapshot.backends.push(Backend { id, protocol: backend.protocol, endpoints });
        self.backends.insert(&backend.id, position).is_some()
    }

    /// Routes go in by precedence, so that every list of candidates comes out sorted.
    fn add_routes(
        &mut self,
        routes: &mut Vec<&'a Route>,
        listeners: &Listeners<'a>,
        ports: &mut Ports,
    ) -> Result<(), BuildError> {
        routes.sort_unstable_by_key(|route| &route.id);
        let mut ranked = Vec::new();
        for (position, route) in routes.iter().enumerate() {
            let failed = |problem| BuildError { resource: format!("route/{}", route.id), problem };
            if position > 0 && routes[position - 1].id == route.id {
                return Err(failed(Problem::Duplicate));
            }
            self.rank_route(route, &mut ranked).map_err(failed)?;
        }
        ranked.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        for (_, route, candidate) in &ranked {
            for listener in route.listeners.iter().filter_map(|id| listeners.get(id.as_str())) {
                let table = ports.entry(listener.bind_port).or_default().entry(listener.hostname.as_deref());
                if route.hostnames.is_empty() {
                    table.hosts.entry(None).push(candidate.clone());
                }
                for hostname in &route.hostnames {
                    // Of names that do not intersect with the listener's none will ever be looked up here.
                    table.hosts.entry(Some(hostname)).push(candidate.clone());
                }
            }
        }
        Ok(())
    }

    fn rank_route(
        &mut self,
        route: &'a Route,
        ranked: &mut Vec<(Precedence<'a>, &'a Route, Candidate)>,
    ) -> Result<(), Problem> {
        static EVERYTHING: Match = Match { path: None, headers: Vec::new(), query: Vec::new(), method: None };
        for (index, rule) in route.rules.iter().enumerate() {
            let compiled = self.rule(route, rule)?;
            let position = self.snapshot.rules.len() as u32;
            self.snapshot.rules.push(compiled);
            let matches = if rule.matches.is_empty() { std::slice::from_ref(&EVERYTHING) } else { &rule.matches };
            for (nth, condition) in matches.iter().enumerate() {
                let candidate = Candidate { matcher: Arc::new(matcher(condition)?), rule: position };
                ranked.push((Precedence::new(route, index, nth, condition), route, candidate));
            }
        }
        Ok(())
    }

    fn rule(&mut self, route: &'a Route, rule: &'a model::Rule) -> Result<Rule, Problem> {
        let (filters, redirection) = Filters::compile(&rule.filters)?;
        let name = self.name(&rule.name);
        let action = if let Some(redirection) = redirection {
            Action::Redirect(redirection)
        } else {
            let arms: Result<Box<[Arm]>, Problem> =
                rule.backends.iter().map(|backend| self.arm(route, &name, backend)).collect();
            match Split::new(rule.backends.iter().map(|backend| backend.weight)) {
                Some(split) => Action::Forward { split, arms: arms? },
                None => arms.map(|_| Action::NoBackend)?,
            }
        };
        Ok(Rule { route: self.name(&route.id), name, filters, action })
    }

    fn arm(&mut self, route: &'a Route, rule: &Arc<str>, to: &'a model::WeightedBackend) -> Result<Arm, Problem> {
        let (filters, redirection) = Filters::compile(&to.filters)?;
        if redirection.is_some() {
            return Err(Problem::BackendRedirect);
        }
        let backend = self.name(&to.backend);
        let key = CellKey {
            route: self.name(&route.id),
            rule: Arc::clone(rule),
            backend: Arc::clone(&backend),
            generation: route.generation,
        };
        let position = self.backends.get(to.backend.as_str()).copied();
        Ok(Arm { backend, cell: self.cells.intern(key), valid: to.valid, filters, position })
    }

    fn name(&mut self, name: &'a str) -> Arc<str> {
        Arc::clone(self.names.entry(name).or_insert_with(|| name.into()))
    }
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
