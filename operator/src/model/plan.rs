//! A Rollout's spec to the core's plan. What is wrong is said with the field that it is in.

use sluice_crds::{
    self as api, MetricBuiltin, Rollout,
    names::CANARY_SUFFIX,
    quantity::{QuantityError, parse_duration_ms, parse_percent},
};
use sluice_operator_core::plan::{
    Bad, HeaderMatch, Hold, Metric, OnUndecided, Plan, Promotion, RoutePlan, Split, Step,
};
use sluice_signals::DURATION_BOUNDS_MS;
use thiserror::Error;

/// Longest name of a Service.
const SERVICE_NAME_MAX: usize = 63;

/// What is wrong with a spec.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum PlanError {
    /// A duration or percentage.
    #[error("{field}: {source}")]
    Quantity {
        /// Path of the field.
        field: String,
        /// What is wrong.
        source: QuantityError,
    },
    /// Not one of the bounds at which is counted.
    #[error("{field}: {value} is not one of the bounds at which the proxy counts: {}", bounds())]
    Bound {
        /// Path of the field.
        field: String,
        /// What it says.
        value: String,
    },
    /// A step that says nothing or too much.
    #[error("{field}: a step has exactly one of weight, match and approval")]
    Step {
        /// Path of the field.
        field: String,
    },
    /// A Latency objective without a bound.
    #[error("{field}: the objective of Latency needs slowerThan: from when on is a request slow?")]
    NoBound {
        /// Path of the field.
        field: String,
    },
    /// The canary's Service could not be named.
    #[error(
        "spec.service: {name} is too long: with {CANARY_SUFFIX} appended it must fit in {SERVICE_NAME_MAX} characters"
    )]
    ServiceName {
        /// Name of the Service.
        name: String,
    },
}

fn bounds() -> String {
    DURATION_BOUNDS_MS.map(|ms| if ms % 1_000 == 0 { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }).join(", ")
}

/// Parses the spec.
pub(crate) fn plan(rollout: &Rollout) -> Result<Plan, PlanError> {
    let api::RolloutSpec { workload, service: _, routes, strategy, analysis } = &rollout.spec;
    let api::Canary {
        steps,
        progress_deadline,
        drain,
        mirror_policies,
        promotion,
        known_good,
        // What these say of the template and the workload is for the model of the workload.
        ignore_template_annotations: _,
        tolerate: _,
    } = &strategy.canary;
    let service = rollout.service_name();
    if service.len() + CANARY_SUFFIX.len() > SERVICE_NAME_MAX {
        return Err(PlanError::ServiceName { name: service.to_owned() });
    }
    let metrics = analysis.as_ref().map_or(&[][..], |analysis| &analysis.metrics);
    let alpha = analysis.as_ref().map_or(Ok(0.01), |analysis| percent("spec.analysis.alpha", &analysis.alpha))?;
    Ok(Plan {
        workload: workload.name.clone(),
        service: service.to_owned(),
        routes: routes.iter().map(|route| RoutePlan { name: route.name.clone(), rules: route.rules.clone() }).collect(),
        steps: steps.iter().enumerate().map(|(index, parsed)| step(index, parsed)).collect::<Result<_, _>>()?,
        progress_deadline_ms: duration("spec.strategy.canary.progressDeadline", progress_deadline)?,
        drain_ms: duration("spec.strategy.canary.drain", drain)?,
        mirror_policies: *mirror_policies,
        metrics: metrics.iter().enumerate().map(|(index, parsed)| metric(index, parsed)).collect::<Result<_, _>>()?,
        alpha,
        promotion: Promotion {
            keep: promotion.traffic == api::PromotionTraffic::Keep,
            roll_back: promotion.on_failure == api::PromotionFailure::RollBack,
        },
        analyse_known_good: *known_good == api::KnownGood::Analyse,
    })
}

fn step(index: usize, step: &api::Step) -> Result<Step, PlanError> {
    let field = format!("spec.strategy.canary.steps[{index}]");
    let api::Step { weight, match_, approval, hold } = step;
    let split = match (weight, match_, approval) {
        // The schema bounds a weight to 100 with two decimals, so its basis points are a whole number up to 10,000.
        (Some(percent), None, None) => Some(Split::Share((percent * 100.0).round() as u16)),
        (None, Some(matched), None) => Some(Split::Match(matched.headers.iter().map(header).collect())),
        (None, None, Some(api::StepApproval {})) => None,
        _ => return Err(PlanError::Step { field }),
    };
    let hold = hold.as_ref().map_or_else(|| Ok(Hold::default()), |parsed| self::hold(&field, parsed))?;
    Ok(Step { split, hold })
}

fn header(header: &api::HttpHeader) -> HeaderMatch {
    let api::HttpHeader { name, value, type_ } = header;
    let regex = matches!(type_, Some(api::HttpHeaderMatchType::RegularExpression));
    HeaderMatch { name: name.clone(), value: value.clone(), regex }
}

fn hold(step: &str, hold: &api::Hold) -> Result<Hold, PlanError> {
    let api::Hold { min, max, on_undecided } = hold;
    let read = |name: &str, text: &Option<String>| {
        text.as_deref().map(|text| duration(&format!("{step}.hold.{name}"), text)).transpose()
    };
    Ok(Hold {
        min_ms: read("min", min)?.unwrap_or(0),
        max_ms: read("max", max)?,
        on_undecided: match on_undecided {
            api::OnUndecided::Hold => OnUndecided::Hold,
            api::OnUndecided::Promote => OnUndecided::Promote,
            api::OnUndecided::RollBack => OnUndecided::RollBack,
        },
    })
}

fn metric(index: usize, metric: &api::Metric) -> Result<Metric, PlanError> {
    let api::Metric { name, builtin, compare, objective } = metric;
    let field = format!("spec.analysis.metrics[{index}].objective");
    let slower_than = objective.as_ref().and_then(|objective| objective.slower_than.as_deref());
    let bad = match (builtin, slower_than) {
        (MetricBuiltin::ErrorRate, _) => Bad::Error,
        (MetricBuiltin::Latency, Some(text)) => Bad::SlowerThan(bound(&field, text)?),
        (MetricBuiltin::Latency, None) => return Err(PlanError::NoBound { field }),
    };
    let at_most = |objective: &api::Objective| percent(&format!("{field}.atMost"), &objective.at_most);
    Ok(Metric {
        name: name.clone(),
        bad,
        compare: compare.as_ref().map(|compare| compare.tolerance),
        objective: objective.as_ref().map(at_most).transpose()?,
    })
}

fn bound(objective: &str, text: &str) -> Result<usize, PlanError> {
    let field = format!("{objective}.slowerThan");
    let millis = duration(&field, text)?;
    let index = DURATION_BOUNDS_MS.iter().position(|bound| *bound == millis);
    index.ok_or_else(|| PlanError::Bound { field, value: text.to_owned() })
}

fn duration(field: &str, text: &str) -> Result<u64, PlanError> {
    parse_duration_ms(text).map_err(|source| PlanError::Quantity { field: field.to_owned(), source })
}

fn percent(field: &str, text: &str) -> Result<f64, PlanError> {
    parse_percent(text).map_err(|source| PlanError::Quantity { field: field.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use sluice_operator_core::plan::{Bad, HeaderMatch, Hold, OnUndecided, Split};

    use super::plan;
    use crate::fixtures::rollout;

    #[test]
    fn a_spec_becomes_a_plan_with_nothing_left_to_interpret() {
        let plan = plan(&rollout()).unwrap();
        assert_eq!(plan.workload, "podinfo");
        assert_eq!(plan.service, "podinfo");
        assert_eq!((plan.progress_deadline_ms, plan.drain_ms), (600_000, 10_000));
        let header = HeaderMatch { name: "env".to_owned(), value: "canary".to_owned(), regex: false };
        assert_eq!(plan.steps[0].split, Some(Split::Match(vec![header])));
        let hold = Hold { min_ms: 60_000, max_ms: Some(600_000), on_undecided: OnUndecided::RollBack };
        assert_eq!((&plan.steps[1].split, &plan.steps[1].hold), (&Some(Split::Share(25)), &hold));
        assert_eq!(plan.steps[2].split, None);
        assert_eq!(plan.metrics[0].compare, Some(1.0));
        assert_eq!((plan.metrics[1].bad, plan.metrics[1].objective), (Bad::SlowerThan(13), Some(0.01)));
        assert!((plan.alpha - 0.01).abs() < 1e-12);
    }

    #[test]
    fn every_hundredth_of_a_percent_is_its_own_number_of_basis_points() {
        let mut rollout = rollout();
        for points in 1..=10_000_u16 {
            rollout.spec.strategy.canary.steps[1].weight = Some(f64::from(points) / 100.0);
            assert_eq!(plan(&rollout).unwrap().steps[1].split, Some(Split::Share(points)));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        let mut bad_duration = rollout();
        bad_duration.spec.strategy.canary.drain = "soon".to_owned();
        let mut bad_bound = rollout();
        let objective = bad_bound.spec.analysis.as_mut().unwrap().metrics[1].objective.as_mut().unwrap();
        objective.slower_than = Some("510ms".to_owned());
        let mut bad_step = rollout();
        bad_step.spec.strategy.canary.steps[2].weight = Some(5.0);
        let mut long = rollout();
        long.spec.service = Some("s".repeat(57));
        for (case, field) in [
            (bad_duration, "spec.strategy.canary.drain: "),
            (bad_bound, "spec.analysis.metrics[1].objective.slowerThan: 510ms"),
            (bad_step, "spec.strategy.canary.steps[2]: "),
            (long, "spec.service: "),
        ] {
            let message = plan(&case).unwrap_err().to_string();
            assert!(message.starts_with(field), "{message}");
        }
    }
}
