//! Scripts: one command a line, run over a [`Sim`]. `#` begins a comment.
//!
//! ```text
//! step 5% min=10s max=60s undecided=rollback      steps and metrics come before anything else
//! step match env=canary  |  step approval
//! metric errors compare=1 objective=0.01  |  metric latency slower=10 objective=0.01
//! replicas 4  |  drain 5s  |  deadline 60s  |  rate 100  |  parents other
//! version v2 errors=200 slow=0 refuses=0 hangs ready=false only-canary trouble=Unschedulable
//! template v2                                     somebody declares a template; v2+1 is v2 after a restart
//! promotion keep|rollback  |  analyse-known-good
//! config a=1                                      a ConfigMap that stable's template names has this version
//! operation promote|promotefull|abort|pause|... [revision=v2] [reason=slow] [id=1]
//! user delete-canary-service|resume|unlabel|scale=6|recreate=v2|remove|no-surge     what people do to the workload
//! route edit|restore|remove|create|elsewhere|weights|foreign|even|other|retry
//! contest kustomize-controller|off                a tool writes the routes back, each second
//! dataplane add|remove|disconnect|connect|deaf|hearing dp2
//! telemetry down|up  |  policy off|none|on  |  plan wrong|right  |  service wrong  |  claimed  |  foreign workload|service
//! selects NetworkPolicy db [change]               something selects stable's pods and not the canary's
//! attached SecurityPolicy jwt [no-more]           a policy is attached to a single rule of the route
//! covers NetworkPolicy db                         it selects both now
//! mirror on|off                                   the plan asks for copies of policies
//! foreign copy PodDisruptionBudget web            an object of a copy's name
//! second                                          a second route, in the plan too
//! delete
//! down 10s                                        no operator runs for that long
//! races                                           a fault may change the outcome, for somebody is quicker
//! look                                            the operator is quicker than every controller
//! run 10s                                         lets time pass
//! until Stable [300s]                             lets time pass until a phase, or a reason
//! show                                            prints what is left
//! adopted                                         prints the condition Adopted
//! ```

mod words;

use sluice_operator_core::{
    Plan,
    coverage::{Attached, Gap, Remedy},
    decision::Phase,
    plan::RoutePlan,
};
use words::{health, metric, millis, number, operation, source, step};

use super::{
    Canary, Sim, base_rules,
    fault::Noted,
    proxy::{HttpRoute, Plane},
    workload::Deployment,
};

/// Runs a script.
pub(crate) fn run(sim: &mut Sim, script: &str) {
    let script = Script::read(script);
    let mut at = Position::default();
    while script.step(sim, &mut at) {}
}

/// A script, without comments.
pub(crate) struct Script<'t>(Vec<&'t str>);

/// How far a script has been carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Position {
    line: usize,
    /// Seconds that have passed in this line.
    seconds: u64,
    /// Seconds for which a disturbance has kept it from rest.
    kept: u64,
    /// Writes when it should have come to rest.
    writes_at_rest: Noted<usize>,
}

/// Seconds until it must have come to rest, and until this has been watched for long enough.
const RESTING: (u64, u64) = (3, 23);
/// Seconds that what is set off by the end of a disturbance may take until it comes to rest.
const KEPT: u64 = 200;

impl<'t> Script<'t> {
    /// Reads it.
    pub(crate) fn read(text: &'t str) -> Self {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        Self(lines.filter(|line| !line.is_empty()).collect())
    }

    /// One command, or one second of one that lets time pass. False when there is nothing left to do.
    pub(crate) fn step(&self, sim: &mut Sim, at: &mut Position) -> bool {
        let Some(line) = self.0.get(at.line) else { return rest(sim, at) };
        let words: Vec<&str> = line.split_whitespace().collect();
        if !matches!(words[0], "run" | "until" | "show" | "look" | "adopted") {
            sim.note(format!("> {line}"));
        }
        // An operator that waits for a lost event is waited for.
        at.seconds += u64::from(words[0] == "run" || sim.asleep.is_none());
        let is_done = match words[0] {
            "run" => {
                sim.tick();
                at.seconds >= millis(words[1]) / 1_000
            }
            "until" => until(sim, &words[1..], at.seconds),
            name => {
                command(sim, name, &words[1..]);
                true
            }
        };
        if is_done {
            *at = Position { line: at.line + 1, ..Position::default() };
        }
        true
    }
}

/// Where nothing is in progress nothing is written any more.
fn rest(sim: &mut Sim, at: &mut Position) -> bool {
    let is_resting = sim.gone || matches!(sim.phase(), Phase::Stable | Phase::RolledBack | Phase::Invalid);
    if at.seconds == 0 && (sim.gone || !is_resting) {
        return false;
    }
    sim.tick();
    at.seconds += 1;
    if sim.late.is_some() || sim.asleep.is_some() {
        // What is still under way may make work.
        *at = Position { seconds: 1, kept: 1, ..*at };
    } else if !is_resting && (1..KEPT).contains(&at.kept) {
        *at = Position { seconds: 1, kept: at.kept + 1, ..*at };
    } else if at.seconds == RESTING.0 {
        at.writes_at_rest = sim.writes;
    } else if at.seconds == RESTING.1 {
        assert_eq!(*sim.writes, *at.writes_at_rest, "it goes on writing:\n{}", sim.log.join("\n"));
        return false;
    }
    true
}

fn command(sim: &mut Sim, name: &str, rest: &[&str]) {
    match name {
        "step" => plan(sim).steps.push(step(rest)),
        "metric" => plan(sim).metrics.push(metric(rest)),
        "replicas" => sim.workload = Some(Deployment::new("v1", number(rest[0]))),
        "drain" => plan(sim).drain_ms = millis(rest[0]),
        "deadline" => plan(sim).progress_deadline_ms = millis(rest[0]),
        "rate" => sim.rate = number(rest[0]),
        "parents" => sim.bundled = rest[0] != "other",
        "version" => {
            sim.versions.insert(rest[0].to_owned(), health(&rest[1..]));
        }
        "template" => sim.declare(rest[0]),
        "promotion" => {
            let promotion = &mut plan(sim).promotion;
            (promotion.keep, promotion.roll_back) = (rest[0] == "keep", rest[0] == "rollback");
        }
        "analyse-known-good" => plan(sim).analyse_known_good = true,
        "config" => {
            let (name, version) = rest[0].split_once('=').unwrap();
            sim.config_maps.insert(name.to_owned(), version.to_owned());
        }
        "operation" => sim.operation = Some(operation(rest)),
        "user" => user(sim, rest[0]),
        "route" => route(sim, rest[0]),
        "contest" => sim.contester = (rest[0] != "off").then(|| rest[0].to_owned()),
        "dataplane" => dataplane(sim, rest[0], rest[1]),
        "telemetry" => sim.telemetry = (rest[0] == "down").then(|| "connection refused".to_owned()),
        "policy" => (sim.policy, sim.policy_api) = (rest[0] == "on", rest[0] != "none"),
        "plan" => broken_plan(sim, rest[0]),
        "service" => sim.service = Err("Service \"app\" not found; create it or correct the name".to_owned()),
        "claimed" => sim.claimed_by = Some("older".to_owned()),
        "foreign" if rest[0] == "copy" => {
            sim.copies.insert(source(&rest[1..]), false);
        }
        "foreign" => foreign(sim, rest[0]),
        "unsupported" => sim.workload.as_mut().unwrap().unsupported = Some("strategy Recreate".to_owned()),
        "selects" => selects(sim, rest),
        "attached" => attached(sim, rest),
        "covers" => sim.gaps.retain(|gap| gap.object != source(rest)),
        "mirror" => plan(sim).mirror_policies = rest[0] == "on",
        "second" => second_route(sim),
        "races" => sim.races = true,
        "look" => sim.look_until_at_rest(),
        "down" => sim.down_until = sim.now + i64::try_from(millis(rest[0])).unwrap(),
        "delete" => sim.deleting = true,
        "show" => {
            let outcome = sim.outcome();
            for line in outcome.lines() {
                sim.note(format!("= {line}"));
            }
            let lost = sim.lost;
            sim.note(format!("= lost {lost}"));
        }
        "adopted" => adopted(sim),
        other => panic!("unknown command {other:?}"),
    }
}

/// Prints the condition Adopted.
fn adopted(sim: &mut Sim) {
    let report = sim.last.as_ref().map(|decision| &decision.report).unwrap();
    let (_, status, reason, _) = report.conditions.iter().find(|(kind, ..)| kind == "Adopted").unwrap();
    let line = format!("= adopted {status:?} {reason}");
    sim.note(line);
}

/// A second; true when it has come.
fn until(sim: &mut Sim, wanted: &[&str], seconds: u64) -> bool {
    let limit = wanted.get(1).map_or(300, |limit| millis(limit) / 1_000);
    sim.tick();
    // What was said before a lost event is not what is waited for.
    let is_there = sim.asleep.is_none()
        && sim.last.as_ref().is_some_and(|decision| {
            let report = &decision.report;
            (wanted[0] == "Gone" && sim.gone)
                || format!("{:?}", report.phase) == wanted[0]
                || report.reason == wanted[0]
        });
    assert!(is_there || seconds < limit, "{wanted:?} does not come:\n{}", sim.log.join("\n"));
    is_there
}

fn plan(sim: &mut Sim) -> &mut Plan {
    sim.plan.as_mut().unwrap()
}

fn second_route(sim: &mut Sim) {
    plan(sim).routes.push(RoutePlan { name: "api".to_owned(), rules: Vec::new() });
    sim.routes.insert("api".to_owned(), HttpRoute::new(base_rules()));
}

fn broken_plan(sim: &mut Sim, how: &str) {
    if how == "wrong" {
        sim.plan = Err("spec.analysis.alpha: 200% is not a probability; write 1% or the like".to_owned());
    } else {
        sim.plan = Ok(sim.frozen[0].plan.clone());
    }
}

fn user(sim: &mut Sim, what: &str) {
    if let Some(version) = what.strip_prefix("recreate=") {
        let replicas = sim.workload.take().unwrap().replicas;
        sim.workload = Some(Deployment { resource_version: 1_000, ..Deployment::new(version, replicas) });
        return;
    }
    if what == "remove" {
        sim.workload = None;
        return;
    }
    if what == "delete-canary-service" {
        sim.canary_service = None;
        sim.service_version += 1;
        return;
    }
    // As the policy reads it from the status.
    let run = sim.state.run.as_ref().filter(|run| run.in_progress());
    let floor = run.filter(|_| sim.policy).map_or(0, |run| run.replicas);
    let Some(workload) = &mut sim.workload else { return };
    match what.split_once('=') {
        Some(("scale", replicas)) => workload.replicas = floor.max(number(replicas)),
        None if what == "resume" => workload.paused = false,
        None if what == "unlabel" => workload.label = None,
        None if what == "no-surge" => workload.no_surge = true,
        other => panic!("{other:?}"),
    }
    workload.touch();
}

fn route(sim: &mut Sim, what: &str) {
    if what == "remove" {
        sim.routes.clear();
        return;
    }
    if what == "create" {
        let mut route = HttpRoute::new(base_rules());
        (route.generation, route.resource_version) = (1, 5_000);
        sim.routes.insert("web".to_owned(), route);
        return;
    }
    let route = sim.routes.get_mut("web").unwrap();
    let mut rules = route.rules.clone();
    let rule = rules.as_array_mut().unwrap().last_mut().unwrap();
    match what {
        // In the middle of what we wrote.
        "edit" => rule["timeouts"] = serde_json::json!({"request": "9s"}),
        // As a GitOps tool writes it back.
        "restore" => rules = base_rules(),
        "elsewhere" => rule["backendRefs"] = serde_json::json!([{"name": "other", "port": 80, "weight": 1}]),
        "weights" => rule["backendRefs"][0]["weight"] = serde_json::json!(77),
        "even" => rule["backendRefs"][1]["weight"] = rule["backendRefs"][0]["weight"].clone(),
        "other" => {
            let other = serde_json::json!({"name": "other", "port": 80, "weight": 10});
            rule["backendRefs"].as_array_mut().unwrap().push(other);
        }
        "retry" => {
            rules = base_rules();
            rules[0]["retry"] = serde_json::json!({"attempts": 2});
        }
        "foreign" => {
            let canary = serde_json::json!({"name": "app-canary", "port": 80, "weight": 1});
            rule["backendRefs"].as_array_mut().unwrap().push(canary);
        }
        other => panic!("{other:?}"),
    }
    route.write_as("kubectl-edit", rules);
}

fn dataplane(sim: &mut Sim, what: &str, pod: &str) {
    match what {
        "add" => sim.planes.push(Plane::new(pod)),
        "remove" => sim.planes.retain(|plane| plane.pod != pod),
        other => {
            for plane in sim.planes.iter_mut().filter(|plane| plane.pod == pod) {
                match other {
                    "deaf" | "hearing" => plane.deaf = other == "deaf",
                    _ => plane.connected = other == "connect",
                }
            }
        }
    }
}

fn attached(sim: &mut Sim, words: &[&str]) {
    let (policy, route, rule) = (source(words), "web".to_owned(), "all".to_owned());
    match words.get(2) {
        Some(_) => sim.attached.clear(),
        None => sim.attached.push(Attached { policy, route, rule }),
    }
}

fn selects(sim: &mut Sim, words: &[&str]) {
    let remedy = match (words[0], words.get(2)) {
        (_, Some(_)) => Remedy::Change,
        ("NetworkPolicy", None) => Remedy::Mirror,
        (_, None) => Remedy::Copy,
    };
    sim.gaps.push(Gap { object: source(words), remedy });
}

fn foreign(sim: &mut Sim, what: &str) {
    if what == "service" {
        sim.canary_service = Some(false);
    } else {
        sim.canary =
            Some(Canary { ours: false, revision: "v1".to_owned(), wanted: 1, pods: Vec::new(), deleting: false });
    }
}
