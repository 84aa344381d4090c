//! A Prometheus of a test's own, which scrapes the programs in the cluster every second.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Child,
};

use crate::{
    cluster::Cluster,
    wait::{Look, until, when},
};

/// How long the start and the first scrape of everything may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: String,
    folder: PathBuf,
    process: Child,
}

/// One value of an answer, with its labels.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Labels.
    pub labels: Value,
    /// The number.
    pub value: f64,
}

impl Prometheus {
    /// Starts it with a configuration of `dashboards/`, and waits until every program of Sluice was scraped.
    ///
    /// The pods are found by this test instead of by `kubernetes_sd_configs`, which Debian's build does not have; rules and
    /// all else are the configuration's.
    pub async fn start(cluster: &Cluster, config: &Path) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("sluice-prometheus-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let targets = targets(cluster).await?;
        ensure!(targets.len() >= 3, "not every program of Sluice runs: {targets:?}");
        let configuration = configuration(config, &targets)?;
        let file = folder.join("prometheus.json");
        std::fs::write(&file, configuration.to_string())?;
        // Free now; nothing else listens in the cluster's network for the moment in between.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let log = std::fs::File::create(folder.join("log"))?;
        let process = tokio::process::Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("prometheus is not on PATH: `make cluster` gets it")?;
        let prometheus = Self { address, folder, process };
        let started = until("every program scraped", DEADLINE, async || {
            let up = prometheus.query("up").await?;
            let all = up.len() == targets.len() && up.iter().all(|one| one.value > 0.0);
            Ok(when(all, || format!("{up:?}")))
        });
        started.await.with_context(|| prometheus.log())?;
        Ok(prometheus)
    }

    /// Asks for the values of an expression now.
    pub async fn query(&self, expression: &str) -> Result<Vec<Measured>> {
        let answer = self.get(&format!("/api/v1/query?query={}", encoded(expression))).await?;
        ensure!(answer["status"] == "success", "{expression}: {answer}");
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let value = |result: &Value| {
            let number = result["value"][1].as_str().ok_or_else(|| anyhow!("{expression}: {result}"))?;
            Ok(Measured { labels: result["metric"].clone(), value: number.parse()? })
        };
        results.iter().map(value).collect()
    }

    /// The only value of an expression.
    pub async fn number(&self, expression: &str) -> Result<f64> {
        match self.query(expression).await?.as_slice() {
            [one] => Ok(one.value),
            other => bail!("{expression}: not one value but {other:?}"),
        }
    }

    /// Waits until an expression has a value that is not 0.
    pub async fn until(&self, expression: &str, deadline: Duration) -> Result<()> {
        until(expression, deadline, async || {
            let values = self.query(expression).await?;
            let holds = values.iter().any(|one| one.value != 0.0 && !one.value.is_nan());
            Ok(if holds { Look::Done(()) } else { Look::NotYet(format!("{values:?}")) })
        })
        .await
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
        serde_json::from_str(body).with_context(|| body.to_owned())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Its end is certain; that the folder goes is tidiness.
        let _ = self.process.start_kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Runs `promtool`, and fails with what it says.
pub fn promtool(arguments: &[&str], folder: &Path) -> Result<()> {
    let output = Command::new("promtool").args(arguments).current_dir(folder).output();
    let output = output.context("promtool is not on PATH: `make cluster` gets it")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "promtool {}: {}", arguments.join(" "), String::from_utf8_lossy(&said));
    Ok(())
}

/// Address and program of each port that serves metrics.
async fn targets(cluster: &Cluster) -> Result<Vec<(String, String)>> {
    let pods: Api<Pod> = cluster.api("sluice-system");
    let params = ListParams::default().labels("app.kubernetes.io/part-of=sluice");
    let mut targets = Vec::new();
    for pod in pods.list(&params).await?.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
        let job = pod.labels().get("app.kubernetes.io/name").cloned().unwrap_or_default();
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let ports = containers.flat_map(|container| container.ports.iter().flatten());
        let admin = ports.filter(|port| port.name.as_deref() == Some("admin"));
        targets.extend(admin.map(|port| (format!("{ip}:{}", port.container_port), job.clone())));
    }
    Ok(targets)
}

/// The configuration with these targets, scraped every second.
fn configuration(path: &Path, targets: &[(String, String)]) -> Result<Value> {
    let content = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut config: Value = serde_saphyr::from_str(&content).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    config["global"] = json!({"scrape_interval": "1s", "evaluation_interval": "1s"});
    let folder = path.canonicalize()?;
    let folder = folder.parent().context("a file is in a folder")?;
    for file in config["rule_files"].as_array_mut().into_iter().flatten() {
        let name = file.as_str().unwrap_or_default().to_owned();
        *file = json!(folder.join(name));
    }
    let scrape = config["scrape_configs"][0].as_object_mut().context("no scrape configuration")?;
    ensure!(scrape.remove("kubernetes_sd_configs").is_some() && scrape.remove("relabel_configs").is_some(), "not ours");
    let of = |(address, job): &(String, String)| json!({"targets": [address], "labels": {"job": job}});
    scrape.insert("static_configs".to_owned(), targets.iter().map(of).collect());
    Ok(config)
}

/// Percent-encoding of everything that is no letter or digit.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
