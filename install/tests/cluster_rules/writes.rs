//! Every way in which people and GitOps tools write a Deployment, against one that is adopted: none lets a template go
//! that was not judged, and none takes the label away by accident.

use std::{fs, path::PathBuf};

use crate::shared::{deployment, in_namespace, kubectl, succeeds};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sluice_e2e::{cluster::Cluster, manifest};

/// Where the Deployment stands when it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    /// Between runs: nothing is paused.
    Serving,
    /// In the middle of a run, or after a rollback: `app:2` is declared and held.
    Held,
}

/// One write.
struct Write {
    what: &'static str,
    before: &'static [Before],
    /// The manifest that is written, from that with which the Deployment was made.
    manifest: fn(&mut Value),
    /// `kubectl` with `{file}` for the manifest.
    command: &'static [&'static str],
}

const BOTH: &[Before] = &[Before::Serving, Before::Held];
const HELD: &[Before] = &[Before::Held];
const FLUX: &[&str] = &["apply", "--server-side", "--field-manager=flux", "--force-conflicts", "-f", "{file}"];

fn image(object: &mut Value, image: &str) {
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
}

fn unlabelled(object: &mut Value) {
    object["metadata"]["labels"] = json!({});
}

const WRITES: &[Write] = &[
    Write {
        what: "kubectl replace by a manifest that does not know of us",
        before: HELD,
        manifest: |object| {
            unlabelled(object);
            image(object, "app:2");
        },
        command: &["replace", "-f", "{file}"],
    },
    Write {
        what: "kubectl replace by a newer manifest that does not know of us",
        before: BOTH,
        manifest: |object| {
            unlabelled(object);
            image(object, "app:3");
        },
        command: &["replace", "-f", "{file}"],
    },
    Write {
        what: "kubectl replace by a manifest that was read before",
        before: BOTH,
        manifest: |object| {
            image(object, "app:3");
            object["spec"]["paused"] = json!(false);
        },
        command: &["replace", "-f", "{file}"],
    },
    Write {
        what: "the three-way strategic merge patch of Helm 3",
        before: BOTH,
        manifest: |object| {
            *object = json!({"spec": {
                "paused": null,
                "template": {"spec": {"containers": [{"name": "app", "image": "app:3"}]}},
            }});
        },
        command: &["patch", "deployment", "web", "--type=strategic", "--patch-file={file}"],
    },
    Write {
        what: "a merge patch that takes the pause away",
        before: HELD,
        manifest: |object| *object = json!({"spec": {"paused": null}}),
        command: &["patch", "deployment", "web", "--type=merge", "--patch-file={file}"],
    },
    Write {
        what: "a merge patch that takes the pause and the label away",
        before: HELD,
        manifest: |object| {
            *object = json!({"metadata": {"labels": {"sluice.dev/rollout": null}}, "spec": {"paused": null}});
        },
        command: &["patch", "deployment", "web", "--type=merge", "--patch-file={file}"],
    },
    Write {
        what: "a merge patch that takes all labels and the pause away, with a newer template",
        before: BOTH,
        manifest: |object| {
            *object = json!({
                "metadata": {"labels": null},
                "spec": {"paused": null, "template": {"metadata": {"annotations": {"checksum/config": "2"}}}},
            });
        },
        command: &["patch", "deployment", "web", "--type=merge", "--patch-file={file}"],
    },
    Write {
        what: "a JSON patch",
        before: HELD,
        manifest: |object| *object = json!([{"op": "remove", "path": "/spec/paused"}]),
        command: &["patch", "deployment", "web", "--type=json", "--patch-file={file}"],
    },
    Write {
        what: "server-side apply of Flux or Helm 4 that declares paused: false",
        before: BOTH,
        manifest: |object| {
            image(object, "app:3");
            object["spec"]["paused"] = json!(false);
        },
        command: FLUX,
    },
    Write {
        what: "server-side apply of a manifest that does not know of us",
        before: BOTH,
        manifest: |object| {
            unlabelled(object);
            image(object, "app:3");
        },
        command: FLUX,
    },
    Write {
        what: "client-side apply that declares paused: false",
        before: BOTH,
        manifest: |object| {
            image(object, "app:3");
            object["spec"]["paused"] = json!(false);
        },
        command: &["apply", "-f", "{file}"],
    },
    Write {
        what: "client-side apply of a manifest that does not know of us",
        before: BOTH,
        manifest: |object| {
            unlabelled(object);
            image(object, "app:3");
        },
        command: &["apply", "-f", "{file}"],
    },
    Write {
        what: "kubectl rollout restart",
        before: &[Before::Serving],
        manifest: |_| {},
        command: &["rollout", "restart", "deployment/web"],
    },
    Write {
        what: "kubectl rollout resume",
        before: HELD,
        manifest: |_| {},
        command: &["rollout", "resume", "deployment/web"],
    },
];

/// The Deployment as `kubectl create` made it, before anybody adopted it.
fn declared(namespace: &str) -> Value {
    let mut declared = deployment("web", namespace, "team");
    declared["metadata"]["labels"] = json!({});
    declared
}

async fn make(cluster: &Cluster, namespace: &str, before: Before) -> Result<()> {
    kubectl(cluster, namespace, &["delete", "deployment", "web", "--ignore-not-found"]).await?;
    manifest::apply(&cluster.client, &[declared(namespace)]).await?;
    succeeds(cluster, namespace, &["label", "deployment/web", "sluice.dev/rollout=web"]).await?;
    if before == Before::Held {
        succeeds(cluster, namespace, &["set", "image", "deployment/web", "app=app:2"]).await?;
    }
    Ok(())
}

/// Writes twice, as tools do that write at each interval.
async fn write(cluster: &Cluster, namespace: &str, write: &Write, before: Before) -> Result<()> {
    make(cluster, namespace, before).await?;
    let mut object = declared(namespace);
    (write.manifest)(&mut object);
    let file = file(namespace);
    fs::write(&file, object.to_string())?;
    let name = file.display().to_string();
    let command: Vec<String> = write.command.iter().map(|word| word.replace("{file}", &name)).collect();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    for turn in 1..=2 {
        let done = kubectl(cluster, namespace, &command).await?;
        let seen = succeeds(cluster, namespace, &["get", "deployment", "web", "-ojson"]).await?;
        let seen: Value = serde_json::from_str(&seen)?;
        let held = (&seen["spec"]["paused"], &seen["metadata"]["labels"]["sluice.dev/rollout"]);
        let what = write.what;
        ensure!(held == (&json!(true), &json!("web")), "{what}, {before:?}, {turn}: {held:?} {done:?}");
        // kubectl itself refuses to restart what is paused.
        ensure!(done.success || done.stderr.contains("paused"), "{what}, {before:?}, {turn}: {}", done.stderr);
    }
    Ok(())
}

fn file(namespace: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{namespace}-write.json"))
}

#[tokio::test]
async fn no_write_of_any_tool_lets_a_template_go_or_loses_the_label() -> Result<()> {
    in_namespace("writes", async |cluster, namespace| {
        let course = async {
            for one in WRITES {
                for before in one.before {
                    write(cluster, namespace, one, *before).await?;
                }
            }
            Ok(())
        };
        let result = course.await;
        fs::remove_file(file(namespace))?;
        result
    })
    .await
}

/// Between runs it means nothing that a manifest does not know of the label: it goes, nothing rolls, and the operator
/// puts it back when it sees this (a scenario of the core).
#[tokio::test]
async fn a_write_that_changes_nothing_else_may_take_the_label_away() -> Result<()> {
    in_namespace("writes", async |cluster, namespace| {
        make(cluster, namespace, Before::Serving).await?;
        let file = file(namespace);
        fs::write(&file, declared(namespace).to_string())?;
        let replaced = kubectl(cluster, namespace, &["replace", "-f", &file.display().to_string()]).await;
        fs::remove_file(&file)?;
        ensure!(replaced?.success);
        let seen = succeeds(cluster, namespace, &["get", "deployment", "web", "-ojson"]).await?;
        let seen: Value = serde_json::from_str(&seen)?;
        ensure!(seen["metadata"]["labels"]["sluice.dev/rollout"].is_null() && seen["spec"]["paused"].is_null());
        Ok(())
    })
    .await
}
