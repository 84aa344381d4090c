//! What the data planes say of a Rollout's traffic, as of one look.

use sluice_operator_core::{
    World,
    world::{DataPlane, Telemetry},
};

/// What was observed; nothing when the data planes were not asked, which is so outside of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Requests of stable and of the canary since the routes were changed last.
    pub requests: Option<(u64, u64)>,
    /// Data planes.
    pub planes: Option<Planes>,
}

/// Numbers of data planes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Planes {
    /// That may be serving.
    pub known: usize,
    /// That are connected to their controller.
    pub connected: usize,
    /// That are connected and serve every route at its generation.
    pub acknowledged: usize,
}

impl Traffic {
    /// From one look.
    ///
    /// Only requests of a route's present generation count: what was assigned under another weight says nothing about
    /// this one.
    pub(super) fn of(world: &World) -> Self {
        let Telemetry::DataPlanes(planes) = &world.telemetry else { return Self::default() };
        let routes: Vec<(&str, i64)> = world
            .routes
            .iter()
            .filter_map(|route| Some((route.name.as_str(), route.live.as_ref()?.generation)))
            .collect();
        let mut requests = (0, 0);
        for cell in planes.iter().flat_map(|plane| &plane.cells) {
            if routes.contains(&(cell.route.as_str(), cell.generation)) {
                *(if cell.canary { &mut requests.1 } else { &mut requests.0 }) += cell.started;
            }
        }
        let serves = |plane: &&DataPlane| {
            plane.connected && routes.iter().all(|(name, generation)| plane.applied.get(*name) == Some(generation))
        };
        let planes = Planes {
            known: planes.len(),
            connected: planes.iter().filter(|plane| plane.connected).count(),
            acknowledged: planes.iter().filter(serves).count(),
        };
        Self { requests: Some(requests), planes: Some(planes) }
    }

    /// The canary's share of the requests; None without requests.
    pub(super) fn share(&self) -> Option<f64> {
        let (stable, canary) = self.requests?;
        let all = stable + canary;
        (all > 0).then(|| canary as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_operator_core::world::{Cell, DataPlane, LiveRoute, Ready, Route, Telemetry};

    use super::{Planes, Traffic};
    use crate::{fixtures::observed, model::world};

    fn cell(generation: i64, canary: bool, started: u64) -> Cell {
        Cell { route: "podinfo".to_owned(), rule: "0".to_owned(), canary, generation, started, ..Cell::default() }
    }

    fn plane(applied: i64, connected: bool, cells: Vec<Cell>) -> DataPlane {
        DataPlane {
            pod: "p".to_owned(),
            connected,
            ready: Ready::default(),
            applied: [("podinfo".to_owned(), applied)].into(),
            cells,
        }
    }

    /// Traffic of a route at generation 3.
    fn of(telemetry: Telemetry) -> Traffic {
        let mut world = world(&observed(), "sluice.dev/proxy", 0);
        let live = LiveRoute {
            resource_version: "1".to_owned(),
            generation: 3,
            rules: json!([]),
            parents: Vec::new(),
            manager: None,
            is_managed: false,
        };
        world.routes = vec![Route { name: "podinfo".to_owned(), live: Some(live) }];
        world.telemetry = telemetry;
        Traffic::of(&world)
    }

    #[test]
    fn the_observed_share_is_that_of_the_present_generation_over_all_data_planes() {
        let first = plane(3, true, vec![cell(2, true, 500), cell(3, false, 60), cell(3, true, 20)]);
        let second = plane(3, true, vec![cell(3, false, 20)]);
        let traffic = of(Telemetry::DataPlanes(vec![first, second]));
        assert_eq!((traffic.requests, traffic.share()), (Some((80, 20)), Some(0.2)));
    }

    #[test]
    fn a_data_plane_has_acknowledged_when_it_is_connected_and_serves_the_generation() {
        let planes = vec![plane(3, true, vec![]), plane(2, true, vec![]), plane(3, false, vec![])];
        let traffic = of(Telemetry::DataPlanes(planes));
        assert_eq!(traffic.planes, Some(Planes { known: 3, connected: 2, acknowledged: 1 }));
        assert_eq!(traffic.share(), None);
    }

    #[test]
    fn what_was_not_asked_is_not_zero() {
        assert_eq!(of(Telemetry::NotAsked), Traffic::default());
        assert_eq!(of(Telemetry::Unavailable("down".to_owned())), Traffic::default());
    }
}
