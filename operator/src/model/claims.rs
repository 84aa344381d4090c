//! Which of several Rollouts has a workload or a route.

use sluice_crds::Rollout;

/// True when both want the same workload, or the same Service's share of one route.
pub(crate) fn overlap(one: &Rollout, other: &Rollout) -> bool {
    let same_namespace = one.metadata.namespace == other.metadata.namespace;
    let same_workload = one.spec.workload == other.spec.workload;
    let shares_route = || one.spec.routes.iter().any(|a| other.spec.routes.iter().any(|b| a.name == b.name));
    same_namespace && (same_workload || (one.service_name() == other.service_name() && shares_route()))
}

/// Name of the Rollout that has what `mine` wants: of all that overlap the oldest, then the first by name.
pub(crate) fn claimed_by<'a>(mine: &Rollout, others: impl IntoIterator<Item = &'a Rollout>) -> Option<String> {
    let age = |rollout: &Rollout| {
        (rollout.metadata.creation_timestamp.as_ref().map(|time| time.0), rollout.metadata.name.clone())
    };
    let my_age = age(mine);
    let rivals = others.into_iter().filter(|other| other.metadata.uid != mine.metadata.uid && overlap(mine, other));
    rivals.map(age).filter(|rival| *rival < my_age).min().and_then(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use sluice_crds::Rollout;

    use super::claimed_by;
    use crate::fixtures::rollout;

    fn named(name: &str, created: &str, workload: &str, route: &str) -> Rollout {
        let mut rollout = rollout();
        rollout.metadata.name = Some(name.to_owned());
        rollout.metadata.uid = Some(name.to_owned());
        rollout.metadata.creation_timestamp = Some(serde_json::from_value(created.into()).unwrap());
        rollout.spec.workload.name = workload.to_owned();
        rollout.spec.service = Some("service".to_owned());
        rollout.spec.routes[0].name = route.to_owned();
        rollout
    }

    #[test]
    fn the_oldest_has_it_then_the_first_by_name() {
        let mine = named("m", "2026-01-02T00:00:00Z", "w", "r");
        for (other, expected) in [
            (named("a", "2026-01-01T00:00:00Z", "w", "other"), Some("a")),
            (named("a", "2026-01-01T00:00:00Z", "other", "r"), Some("a")),
            (named("a", "2026-01-02T00:00:00Z", "w", "r"), Some("a")),
            (named("z", "2026-01-02T00:00:00Z", "w", "r"), None),
            (named("a", "2026-01-03T00:00:00Z", "w", "r"), None),
            (named("a", "2026-01-01T00:00:00Z", "other", "other"), None),
        ] {
            assert_eq!(claimed_by(&mine, [&other]).as_deref(), expected, "{:?}", other.metadata);
        }
        assert_eq!(claimed_by(&mine, [&mine]), None);
    }

    #[test]
    fn another_service_of_the_same_route_is_no_rival() {
        let mine = named("m", "2026-01-02T00:00:00Z", "w", "r");
        let mut other = named("a", "2026-01-01T00:00:00Z", "other", "r");
        other.spec.service = Some("another".to_owned());
        assert_eq!(claimed_by(&mine, [&other]), None);
    }
}
