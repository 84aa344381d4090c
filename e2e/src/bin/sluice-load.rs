//! `sluice-load`: the load generator on the command line.
//!
//! One JSON line a second on standard output, and at the end a summary that lists the failed requests. It ends after
//! `--duration` or at the first SIGINT or SIGTERM, and exits with 1 when a request failed.
#![forbid(unsafe_code)]

use std::{future, path::PathBuf, pin::pin, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Parser;
use http::{Method, Uri};
use sluice_e2e::load::{Interval, Load, LoadConfig, Protocol, Target};
use tokio::signal::unix::{SignalKind, signal};

/// Sends POST requests at a fixed rate, never retries, and accounts for each.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where to send: http://host:port/path
    #[arg(long)]
    url: Uri,
    /// Host header; default: the URL's
    #[arg(long)]
    host: Option<String>,
    /// HTTP/2 with prior knowledge instead of HTTP/1.1
    #[arg(long)]
    http2: bool,
    /// Requests per second
    #[arg(long, default_value_t = 100.0)]
    rps: f64,
    /// Kept-alive connections
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Seconds to send for; default: until SIGINT
    #[arg(long)]
    duration: Option<f64>,
    /// Seconds until a request counts as failed
    #[arg(long, default_value_t = 10.0)]
    timeout: f64,
    /// Further header, as name:value
    #[arg(long = "header")]
    headers: Vec<String>,
    /// File for the summary
    #[arg(long)]
    report_file: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let load = Load::start(config(&args).await?)?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut over = pin!(async {
        match args.duration {
            Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
            None => future::pending().await,
        }
    });
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    let mut seen = 0;
    loop {
        tokio::select! {
            () = &mut over => break,
            _ = interrupted.recv() => break,
            _ = terminated.recv() => break,
            _ = tick.tick() => {
                let elapsed = load.elapsed();
                let (interval, next) = Interval::since(&load.record(), seen, elapsed);
                seen = next;
                println!("{}", serde_json::to_string(&interval)?);
            }
        }
    }
    let summary = load.stop().await?.summary;
    let text = serde_json::to_string_pretty(&summary)?;
    println!("{text}");
    if let Some(file) = &args.report_file {
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(if summary.failures() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn config(args: &Args) -> Result<LoadConfig> {
    if !(args.rps > 0.0 && args.rps.is_finite() && args.connections > 0) {
        bail!("--rps and --connections must be more than 0");
    }
    if args.url.scheme_str() != Some("http") {
        bail!("--url must begin with http://");
    }
    let authority = args.url.authority().context("--url has no host")?;
    let port = authority.port_u16().unwrap_or(80);
    let address = tokio::net::lookup_host((authority.host(), port)).await?.next().context("the host has no address")?;
    let headers = args.headers.iter().map(|header| {
        let (name, value) = header.split_once(':').context("--header must be name:value")?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    Ok(LoadConfig {
        address,
        protocol: if args.http2 { Protocol::Http2 } else { Protocol::Http1 },
        targets: vec![Target {
            host: args.host.clone().unwrap_or_else(|| authority.to_string()),
            path: args.url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        }],
        method: Method::POST,
        rps: args.rps,
        connections: args.connections,
        timeout: Duration::from_secs_f64(args.timeout),
        headers: headers.collect::<Result<_>>()?,
        tls: None,
    })
}
