use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};
use sluice_operator_core::election::{Claim, Timing};
use tokio::sync::watch;

use super::{Candidate, Held, Leadership, Settings, record};

const HOUR: Duration = Duration::from_hours(1);

fn leadership(held: Held) -> (watch::Sender<Held>, Leadership) {
    let (sender, seen) = watch::channel(held);
    (sender, Leadership(seen))
}

#[test]
fn a_term_is_over_by_the_clock_whatever_was_told() {
    let now = Instant::now();
    assert_eq!(Leadership::always().term(), Some(0));
    assert_eq!(leadership(Held::No).1.term(), None);
    assert_eq!(leadership(Held::Until(3, now + HOUR)).1.term(), Some(3));
    assert!(!leadership(Held::Until(3, now)).1.permits());
}

#[tokio::test]
async fn a_look_of_an_earlier_term_ends_also_when_the_process_leads_again() {
    let (sender, leadership) = leadership(Held::Until(1, Instant::now() + HOUR));
    assert!(leadership.over(1).now_or_never().is_none());
    sender.send_replace(Held::Until(1, Instant::now() + 2 * HOUR));
    assert!(leadership.over(1).now_or_never().is_none(), "a renewal");
    sender.send_replace(Held::Until(2, Instant::now() + HOUR));
    assert!(leadership.over(1).now_or_never().is_some());
    assert!(leadership.over(2).now_or_never().is_none());
}

#[tokio::test]
async fn each_term_is_told_once() {
    let (sender, leadership) = leadership(Held::No);
    let mut terms = std::pin::pin!(leadership.terms());
    assert!(terms.next().now_or_never().is_none());
    sender.send_replace(Held::Until(1, Instant::now() + HOUR));
    assert_eq!(terms.next().now_or_never(), Some(Some(1)));
    sender.send_replace(Held::Until(1, Instant::now() + 2 * HOUR));
    assert!(terms.next().now_or_never().is_none());
    sender.send_replace(Held::Until(2, Instant::now() + HOUR));
    assert_eq!(terms.next().now_or_never(), Some(Some(2)));
}

fn lease(spec: &Value) -> Lease {
    serde_json::from_value(json!({"metadata": {"name": "sluice-operator", "resourceVersion": "8"}, "spec": spec}))
        .unwrap()
}

#[tokio::test]
async fn the_lease_names_the_holder_the_precondition_and_what_others_need() {
    let timing = Timing { lease: 7_000, renew_deadline: 5_000, retry: 1_000 };
    let settings = Settings { namespace: "home".to_owned(), name: "sluice-operator".to_owned(), timing };
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::empty()))
    });
    let (mut candidate, _) = Candidate::new(kube::Client::new(service, "home"), settings, Arc::default());
    candidate.lease = Some(lease(&json!({"holderIdentity": "other", "acquireTime": "2026-01-01T00:00:00.000000Z"})));
    let claim = Claim { version: Some("8".to_owned()), transitions: 4, takes_over: true };
    let taken = record(&candidate.wanted(&claim, false));
    assert_eq!((taken.holder.as_str(), taken.version.as_str()), (candidate.me.as_str(), "8"));
    assert_eq!((taken.lease, taken.transitions), (7_000, 4));
    assert_eq!(record(&candidate.wanted(&claim, true)).holder, "", "released");
    let fresh = Claim { version: None, transitions: 0, takes_over: true };
    assert_eq!(candidate.wanted(&fresh, false).metadata.resource_version, None);
}

#[tokio::test]
async fn who_does_not_lead_sends_no_write() {
    let (cluster, calls) = crate::fixtures::api_of(leadership(Held::No).1, Vec::new());
    let at = crate::cluster::At { kind: crate::cluster::Kind::Deployment, namespace: "shop", name: "app" };
    let refused = cluster.json_patch(at, None, Vec::new()).await.unwrap_err();
    assert_eq!(refused.to_string(), "patch of Deployment shop/app was not sent: this process does not lead");
    assert!(cluster.delete(at, ("uid", "8"), kube::api::PropagationPolicy::Background).await.is_err());
    assert!(calls.lock().unwrap().is_empty());
}
