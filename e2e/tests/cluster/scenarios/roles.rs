//! docs/scenarios/06-roles.md

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::{Api, api::PostParams};
use sluice_e2e::{
    cluster::Cluster,
    scenario,
    wait::{until, when},
};

use super::{EXCHANGE, answers};

const PROVIDERS: &str = "infrastructure-providers";
const OPERATORS: &str = "cluster-operators";
const ADMINS: &str = "application-admins";
const DEVELOPERS: &str = "application-developers";

const VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];
const CLASS: &[&str] = &["gatewayclasses"];
const GATEWAY: &[&str] = &["gateways"];
const ROUTE: &[&str] = &["httproutes", "grpcroutes", "tlsroutes", "tcproutes", "udproutes"];

/// The table of the page: who may do everything to which kinds in which namespace. Everything or nothing, in each cell.
const CELLS: [(&str, &[&str], Option<&str>, bool); 20] = [
    (PROVIDERS, CLASS, None, true),
    (PROVIDERS, GATEWAY, Some("team-a"), true),
    (PROVIDERS, GATEWAY, Some("team-b"), true),
    (PROVIDERS, ROUTE, Some("team-a"), true),
    (PROVIDERS, ROUTE, Some("team-b"), true),
    (OPERATORS, CLASS, None, false),
    (OPERATORS, GATEWAY, Some("team-a"), true),
    (OPERATORS, GATEWAY, Some("team-b"), true),
    (OPERATORS, ROUTE, Some("team-a"), true),
    (OPERATORS, ROUTE, Some("team-b"), true),
    (ADMINS, CLASS, None, false),
    (ADMINS, GATEWAY, Some("team-a"), true),
    (ADMINS, GATEWAY, Some("team-b"), false),
    (ADMINS, ROUTE, Some("team-a"), true),
    (ADMINS, ROUTE, Some("team-b"), false),
    (DEVELOPERS, CLASS, None, false),
    (DEVELOPERS, GATEWAY, Some("team-a"), false),
    (DEVELOPERS, GATEWAY, Some("team-b"), false),
    (DEVELOPERS, ROUTE, Some("team-a"), true),
    (DEVELOPERS, ROUTE, Some("team-b"), false),
];

#[tokio::test]
async fn each_role_may_do_what_its_cells_of_the_table_say() -> Result<()> {
    scenario::run("06-roles", async |scenario| {
        // The API server reads new roles a moment after it has taken them.
        until("the roles as in the table", EXCHANGE, async || {
            let wrong = not_as(&scenario.cluster, &CELLS).await?;
            Ok(when(wrong.is_empty(), || wrong.join("\n")))
        })
        .await?;
        for part in ["create gateways -n team-b --as ann", "create gateways -n team-a --as dan"] {
            ensure!(scenario.fails(part).await?.stdout.trim() == "no", "{part}");
        }
        ensure!(scenario.command("create gateways -n team-a --as ann").await?.trim() == "yes");

        let refused = scenario.fails("06-roles/gateway --as dan").await?;
        ensure!(refused.stderr.contains("dan") && refused.stderr.contains("cannot"), "{refused:?}");
        scenario.command("06-roles/gateway --as ann").await?;
        scenario.command("06-roles/route --as dan").await?;
        let address = SocketAddr::new(scenario.address("team-a", "web").await?, 80);
        answers(address, "foo.example.com/", &[], (200, "foo")).await?;

        scenario.command("apply -f examples/06-roles/optional").await?;
        until("classes for cluster operators", EXCHANGE, async || {
            let wrong = not_as(&scenario.cluster, &[(OPERATORS, CLASS, None, true)]).await?;
            Ok(when(wrong.is_empty(), || wrong.join("\n")))
        })
        .await
    })
    .await
}

/// What is not as these cells say.
async fn not_as(cluster: &Cluster, cells: &[(&str, &[&str], Option<&str>, bool)]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (group, kinds, namespace, expected) in cells {
        for (kind, verb) in kinds.iter().flat_map(|kind| VERBS.map(|verb| (kind, verb))) {
            if may(cluster, group, verb, kind, *namespace).await? != *expected {
                wrong.push(format!("{group}: {verb} {kind} in {namespace:?} should be {expected}"));
            }
        }
    }
    Ok(wrong)
}

/// What `kubectl auth can-i` asks, about somebody of a group.
async fn may(cluster: &Cluster, group: &str, verb: &str, resource: &str, namespace: Option<&str>) -> Result<bool> {
    let attributes = ResourceAttributes {
        group: Some("gateway.networking.k8s.io".to_owned()),
        resource: Some(resource.to_owned()),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(ToOwned::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some("somebody".to_owned()),
        groups: Some(vec![group.to_owned()]),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let api = Api::<SubjectAccessReview>::all(cluster.client.clone());
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}
