//! Who wakes whom.

use std::{sync::Arc, time::Duration};

use kube::{Resource, core::DeserializeGuard};

use super::{Guarded, Known, backoff, related, woken_by};
use crate::{
    cluster::Kind,
    fixtures::{object, rollout},
};

fn named(name: &str, workload: &str) -> Arc<Guarded> {
    let mut rollout = rollout();
    rollout.metadata.name = Some(name.to_owned());
    rollout.metadata.uid = Some(name.to_owned());
    rollout.spec.workload.name = workload.to_owned();
    rollout.spec.routes[0].name = format!("{workload}-route");
    Arc::new(DeserializeGuard(Ok(rollout)))
}

fn woken(kind: Kind, text: &str) -> Vec<String> {
    let rollouts = [named("one", "podinfo"), named("two", "redis")];
    woken_by(kind, &object(text).metadata, &rollouts).into_iter().map(|rollout| rollout.name).collect()
}

#[test]
fn an_object_wakes_the_rollouts_that_name_it() {
    for (kind, text, expected) in [
        (Kind::Deployment, "{metadata: {namespace: shop, name: podinfo}}", &["one"][..]),
        (Kind::Deployment, "{metadata: {namespace: shop, name: redis-canary}}", &["two"]),
        (Kind::Deployment, "{metadata: {namespace: shop, name: x, labels: {sluice.dev/rollout: two}}}", &["two"]),
        (Kind::Deployment, "{metadata: {namespace: other, name: podinfo}}", &[]),
        (
            Kind::ReplicaSet,
            "{metadata: {namespace: shop, name: podinfo-canary-5d, ownerReferences: [{apiVersion: apps/v1, \
             kind: Deployment, name: podinfo-canary, uid: u}]}}",
            &["one"],
        ),
        (Kind::ReplicaSet, "{metadata: {namespace: shop, name: podinfo}}", &[]),
        (Kind::Service, "{metadata: {namespace: shop, name: podinfo-canary}}", &["one"]),
        (Kind::HttpRoute, "{metadata: {namespace: shop, name: redis-route}}", &["two"]),
        (Kind::Pod, "{metadata: {namespace: shop, name: podinfo}}", &[]),
    ] {
        assert_eq!(woken(kind, text), expected, "{kind:?} {text}");
    }
}

#[test]
fn a_rollout_wakes_itself_and_its_rivals() {
    let rollouts = [named("one", "podinfo"), named("two", "podinfo"), named("three", "redis")];
    let names = |exists| related(&rollouts, &rollouts[0], exists).into_iter().map(|r| r.name).collect::<Vec<_>>();
    assert_eq!(names(true), ["one", "two"]);
    assert_eq!(names(false), ["two"]);
}

#[test]
fn a_write_of_the_status_is_no_news() {
    let mut known = Known::default();
    let mut rollout = rollout();
    assert!(known.is_news(rollout.meta()));
    rollout.metadata.resource_version = Some("8".to_owned());
    assert!(!known.is_news(rollout.meta()));
    rollout.metadata.generation = Some(4);
    assert!(known.is_news(rollout.meta()));
    rollout.metadata.uid = Some("made anew".to_owned());
    assert!(known.is_news(rollout.meta()));
}

#[test]
fn rollouts_that_vanished_during_an_interruption_are_found() {
    let mut known = Known::default();
    known.is_news(rollout().meta());
    assert_eq!(known.retain(&[].into()), [("shop".to_owned(), "podinfo".to_owned())]);
    assert!(known.is_news(rollout().meta()));
}

#[test]
fn a_watch_that_fails_is_tried_again_for_ever_and_never_late() {
    let waits: Vec<_> = backoff().take(1_000).collect();
    assert_eq!(waits.len(), 1_000);
    assert!(waits[0] <= Duration::from_secs(1), "{:?}", waits[0]);
    assert!(waits.iter().skip(3).all(|wait| (4..=8).contains(&wait.as_secs())), "{waits:?}");
}
