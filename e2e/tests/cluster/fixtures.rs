//! The API server's own word on the fixtures of the API: every accepted one is accepted, every refused one is refused
//! with the message that it names.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow, bail, ensure};
use http::Request;
use kube::Client;
use serde_json::{Value, json};
use sluice_e2e::{manifest, suite};

/// The API server says what becomes of an object, unknown fields included, and keeps nothing.
const DRY_RUN: &str = "dryRun=All&fieldValidation=Strict&fieldManager=sluice-e2e";

#[tokio::test]
async fn the_api_server_takes_and_refuses_the_fixtures_as_they_say() -> Result<()> {
    suite::run("fixtures", async |cluster, namespace| {
        let mut wrong = Vec::new();
        for (folder, accepted) in [("accept", true), ("reject", false)] {
            for (file, text) in fixtures(folder)? {
                let mut objects = manifest::read(Path::new(&file))?;
                manifest::move_to(&mut objects, &namespace);
                let expected = if accepted { None } else { Some(expectation(&text).context(file.clone())?) };
                let said = create(&cluster.client, &namespace, &objects[0]).await;
                wrong.extend(judge(said, expected).err().map(|error| format!("{file}: {error:#}")));
            }
        }
        ensure!(wrong.is_empty(), "{} fixtures are not as they say:\n{}", wrong.len(), wrong.join("\n"));
        Ok(())
    })
    .await
}

/// Files of a folder of fixtures with their texts.
fn fixtures(folder: &str) -> Result<Vec<(String, String)>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds/tests").join(folder);
    let mut files = Vec::new();
    for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
        let file = entry?.path();
        files.push((file.display().to_string(), fs::read_to_string(&file)?));
    }
    files.sort();
    if files.is_empty() {
        bail!("{}: no fixtures", path.display());
    }
    Ok(files)
}

fn expectation(text: &str) -> Result<&str> {
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("# expect: ").ok_or_else(|| anyhow!("its first line is not `# expect: ...`"))
}

fn judge(said: Result<Value, kube::Error>, expected: Option<&str>) -> Result<()> {
    match (said, expected) {
        (Ok(_), None) => Ok(()),
        (Ok(_), Some(expected)) => bail!("was accepted; expected: {expected}"),
        (Err(error), None) => bail!("was refused: {error}"),
        (Err(kube::Error::Api(status)), Some(expected)) => {
            // Whatever the server wraps the message in, its words must be there.
            let details = status.details.as_ref().map_or_else(String::new, |details| json!(details).to_string());
            ensure!(
                status.message.contains(expected) || details.contains(expected),
                "was refused with other words: {}; expected: {expected}",
                status.message
            );
            Ok(())
        }
        (Err(error), Some(_)) => bail!("could not be asked: {error}"),
    }
}

async fn create(client: &Client, namespace: &str, object: &Value) -> Result<Value, kube::Error> {
    let mut names = sluice_crds::definitions().into_iter().map(|crd| crd.spec.names);
    // One of another kind is refused as the Rollout that it is not.
    let plural = names.find(|names| names.kind == object["kind"]).map(|names| names.plural);
    let plural = plural.unwrap_or_else(|| "rollouts".to_owned());
    let uri = format!("/apis/sluice.dev/v1alpha1/namespaces/{namespace}/{plural}?{DRY_RUN}");
    let request = Request::post(uri).header("content-type", "application/json").body(object.to_string().into_bytes());
    client.request(request.map_err(kube::Error::HttpError)?).await
}
