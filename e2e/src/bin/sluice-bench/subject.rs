//! The programs that are measured, each ready to serve, and the backend behind them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::Value;
use sluice_e2e::{
    load::Target,
    probe::Probe,
    wait::{until, when},
};

use crate::{Args, Process, free_port, manifests};

/// The processor of whatever is measured.
const MEASURED: usize = 0;
/// The processor of the load and the backend.
pub(crate) const LOAD: usize = 1;
/// Envoy takes seconds to start, and a large table, too.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const SLUICE: &str = "Sluice";
pub(crate) const MANY: &str = "Sluice, many routes";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const HAPROXY: &str = "HAProxy";
pub(crate) const ENVOY: &str = "Envoy";

/// What all programs share.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// For their files.
    pub(crate) dir: PathBuf,
    /// Port of the backend.
    pub(crate) backend: u16,
}

/// A proxy that serves.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) targets: Vec<Target>,
    /// Megabytes before the first load.
    pub(crate) resident: f64,
}

/// The backend, which counts for nobody.
pub(crate) fn backend(place: &Place) -> Result<Process> {
    let config = place.write("backend", "nginx.conf", include_str!("../../../bench/backend.conf"), place.backend)?;
    Process::start(Some(LOAD), Path::new("nginx"), &["-p", &place.folder("backend"), "-c", &config])
}

/// Megabytes of a data plane as it is started by default, with a worker for each processor, and one route.
pub(crate) async fn idle_data_plane(args: &Args, place: &Place) -> Result<f64> {
    let (process, address) = with_routes(args, place, "idle", 1, &[])?;
    serves(address, &manifests::targets(1)[0]).await?;
    Ok(process.resident())
}

/// All of them, in the order of the report.
pub(crate) async fn all(args: &Args, place: &Place) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for (name, routes) in [(SLUICE, 1), (MANY, args.routes)] {
        let (process, address) = with_routes(args, place, name, routes, &["--workers", "1"])?;
        let version = version(&args.proxy, "--version")?;
        subjects.push(Subject::ready(name, version, process, address, manifests::targets(routes)).await?);
    }
    for (name, program, version_flag) in peers(args) {
        let (process, address) = peer(name, &program, place)?;
        let version = version(&program, version_flag)?;
        subjects.push(Subject::ready(name, version, process, address, manifests::targets(1)).await?);
    }
    Ok(subjects)
}

/// Name, program, and the flag that makes it say its version.
fn peers(args: &Args) -> Vec<(&'static str, PathBuf, &'static str)> {
    let mut peers = vec![(NGINX, PathBuf::from("nginx"), "-v"), (HAPROXY, PathBuf::from("haproxy"), "-v")];
    let envoy = args.envoy.iter().filter(|program| program.exists());
    peers.extend(envoy.map(|program| (ENVOY, program.clone(), "--version")));
    peers
}

fn peer(name: &str, program: &Path, place: &Place) -> Result<(Process, SocketAddr)> {
    let port = free_port()?;
    let (file, template) = match name {
        NGINX => ("nginx.conf", include_str!("../../../bench/nginx.conf")),
        HAPROXY => ("haproxy.cfg", include_str!("../../../bench/haproxy.cfg")),
        _ => ("envoy.yaml", include_str!("../../../bench/envoy.yaml")),
    };
    let config = place.write(name, file, template, port)?;
    let folder = place.folder(name);
    let arguments = match name {
        NGINX => vec!["-p", &folder, "-c", &config],
        HAPROXY => vec!["-q", "-f", &config],
        _ => vec!["-c", &config, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"],
    };
    Ok((Process::start(Some(MEASURED), program, &arguments)?, SocketAddr::from(([127, 0, 0, 1], port))))
}

/// Our data plane with these objects; with `flags` on one processor, as the peers are.
pub(crate) fn sluice(
    program: &Path,
    place: &Place,
    name: &str,
    port: u16,
    objects: &[Value],
    flags: &[&str],
) -> Result<(Process, SocketAddr)> {
    let folder = place.folder(name);
    fs::create_dir(&folder)?;
    for (number, objects) in objects.iter().enumerate() {
        fs::write(format!("{folder}/{number}.json"), objects.to_string())?;
    }
    let admin = format!("127.0.0.1:{}", free_port()?);
    let common = ["--log", "warn", "serve", "--bind", "127.0.0.1", "--admin", &admin, "--config", &folder];
    // Told to stop, it is to do so at once.
    let drain = ["--drain-delay", "0", "--drain-spread", "0", "--drain-timeout", "0"];
    let processor = (!flags.is_empty()).then_some(MEASURED);
    let process = Process::start(processor, program, &[&common[..], &drain, flags].concat())?;
    Ok((process, SocketAddr::from(([127, 0, 0, 1], port))))
}

fn with_routes(args: &Args, place: &Place, name: &str, routes: u32, flags: &[&str]) -> Result<(Process, SocketAddr)> {
    let port = free_port()?;
    sluice(&args.proxy, place, name, port, &manifests::of(routes, port, place.backend), flags)
}

impl Place {
    fn folder(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Writes a configuration and returns its path.
    fn write(&self, name: &str, file: &str, template: &str, port: u16) -> Result<String> {
        let folder = self.folder(name);
        fs::create_dir(&folder)?;
        let text = template.replace("@DIR@", &folder).replace("@PORT@", &port.to_string());
        let path = format!("{folder}/{file}");
        fs::write(&path, text.replace("@BACKEND@", &self.backend.to_string()))?;
        Ok(path)
    }
}

impl Subject {
    async fn ready(
        name: &'static str,
        version: String,
        process: Process,
        address: SocketAddr,
        targets: Vec<Target>,
    ) -> Result<Self> {
        let last = targets.last().context("no target")?;
        serves(address, last).await.context(name)?;
        Ok(Self { name, version, resident: process.resident(), process, address, targets })
    }
}

/// Waits until it answers well.
pub(crate) async fn serves(address: SocketAddr, target: &Target) -> Result<()> {
    until("a good answer", DEADLINE, async || {
        let (status, _) = Probe::connect(address).await?.get(target).await?;
        Ok(when(status == StatusCode::OK, || status.to_string()))
    })
    .await
}

/// The first line that holds the number of a version, to its first part that does.
fn version(program: &Path, flag: &str) -> Result<String> {
    let output = Command::new(program).arg(flag).output().with_context(|| format!("run {}", program.display()))?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    number(&text).with_context(|| format!("{} does not say its version: {text}", program.display()))
}

fn number(text: &str) -> Option<String> {
    let is_number = |word: &&str| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit());
    text.split([' ', '/', '\n']).find(is_number).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_version_is_found_in_what_each_program_says() {
        for (text, version) in [
            ("sluice-proxy 0.1.0\n", "0.1.0"),
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/05/09 - https://haproxy.org/\n", "2.6.12-1+deb12u4"),
            ("envoy  version: 9e5580933/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
        ] {
            assert_eq!(number(text).as_deref(), Some(version), "{text}");
        }
        assert_eq!(number("usage: x"), None);
    }
}
