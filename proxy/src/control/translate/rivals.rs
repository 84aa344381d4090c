//! HTTPRoutes and GRPCRoutes that want the same hosts of a listener. The specification forbids to merge them and lets an
//! implementation accept the older one alone: only so does a request never depend on how two kinds of rules compare.

use std::collections::BTreeMap;

use crate::control::{
    objects::{AnyRoute, Name, Objects, RouteKind, RouteName},
    shared_map::SharedMap,
    translate::{
        conditions::{ACCEPTED, Condition},
        gateway::GatewayPlan,
        host,
        route::Place,
    },
};

/// Every route, the oldest first, and of equally old ones the first by namespace and name.
pub fn by_age(objects: &Objects) -> Vec<AnyRoute<'_>> {
    let mut routes: Vec<_> =
        objects.routes().map(|route| (route.created(), Name::of(route.metadata()), route)).collect();
    routes.sort_by(|(created, name, _), (other_created, other, _)| (created, name).cmp(&(other_created, other)));
    routes.into_iter().map(|(.., route)| route).collect()
}

/// The routes that have been attached, by listener and kind.
#[derive(Debug, Default)]
pub struct Rivals(BTreeMap<(Place, RouteKind), Taken>);

/// Hosts that routes of one kind have on one listener.
#[derive(Debug, Default)]
struct Taken {
    /// Of routes that name each of their hosts, which are most, so that very many of them take no time.
    exact: BTreeMap<String, RouteName>,
    /// Names of all other routes.
    other: Vec<(RouteName, Vec<String>)>,
}

impl Taken {
    fn add(&mut self, route: &RouteName, hostnames: &[String]) {
        if is_exact(hostnames) {
            self.exact.extend(hostnames.iter().map(|name| (name.clone(), route.clone())));
        } else {
            self.other.push((route.clone(), hostnames.to_vec()));
        }
    }

    /// A route that shares a host of the listener with these names.
    fn find(&self, listener: Option<&str>, hostnames: &[String]) -> Option<&RouteName> {
        let shares = |theirs: &[String]| host::share(listener, hostnames, theirs);
        let exact = if is_exact(hostnames) {
            hostnames.iter().filter(|name| shares(std::slice::from_ref(name))).find_map(|name| self.exact.get(name))
        } else {
            let mut all = self.exact.iter();
            all.find_map(|(name, route)| shares(std::slice::from_ref(name)).then_some(route))
        };
        exact.or_else(|| self.other.iter().find_map(|(route, theirs)| shares(theirs).then_some(route)))
    }
}

fn is_exact(hostnames: &[String]) -> bool {
    !hostnames.is_empty() && hostnames.iter().all(|name| !name.starts_with('*'))
}

/// The kind whose routes may want the same hosts. Listeners of the others take no second kind.
pub fn rival(kind: RouteKind) -> Option<RouteKind> {
    match kind {
        RouteKind::Grpc => Some(RouteKind::Http),
        RouteKind::Http => Some(RouteKind::Grpc),
        RouteKind::Tcp | RouteKind::Tls | RouteKind::Udp => None,
    }
}

impl Rivals {
    /// Of the places that a route wants, those where no route of the other kind that has been admitted before shares a
    /// host with it.
    pub fn admit(
        &mut self,
        route: &RouteName,
        hostnames: &[String],
        places: Vec<Place>,
        gateways: &SharedMap<Name, GatewayPlan>,
    ) -> Result<Vec<Place>, Condition> {
        let Some(rival) = rival(route.kind) else { return Ok(places) };
        let mut older = None;
        let mut admitted = Vec::with_capacity(places.len());
        for place in places {
            let listener = gateways.get(&place.0).and_then(|plan| plan.listeners.get(place.1));
            let hostname = listener.and_then(|listener| listener.hostname.as_deref());
            let rivals = self.0.get(&(place.clone(), rival));
            if let Some(found) = rivals.and_then(|rivals| rivals.find(hostname, hostnames)) {
                older = Some(found.clone());
                continue;
            }
            self.0.entry((place.clone(), route.kind)).or_default().add(route, hostnames);
            admitted.push(place);
        }
        match older.filter(|_| admitted.is_empty()) {
            None => Ok(admitted),
            Some(rival) => {
                let message = format!("{rival} is older and has a host name in common; the two kinds cannot be merged");
                Err(Condition::no(ACCEPTED, "HostnameConflict", message))
            }
        }
    }
}
