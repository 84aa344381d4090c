//! The end of the story: what was promised, whether it held, and what to try next.

use std::time::Duration;

use sluice_e2e::load::Finished;

use crate::story::{BAD, GOOD};

/// A promise and whether it held.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) text: String,
    pub(crate) held: bool,
}

/// Prints it all and returns how many promises were broken.
pub(crate) fn print(finished: Option<&Finished>, phases: &[(String, f64)], promises: &[Promise]) -> usize {
    println!("\nSummary");
    for (name, seconds) in phases {
        println!("  {seconds:6.1} s  {name}");
    }
    if let Some(finished) = finished {
        traffic(finished);
    }
    println!();
    for promise in promises {
        println!("  {}  {}", if promise.held { "held  " } else { "BROKEN" }, promise.text);
    }
    promises.iter().filter(|promise| !promise.held).count()
}

fn traffic(finished: &Finished) {
    let summary = &finished.summary;
    println!(
        "\n  {} requests in {:.0} s, {} failed; median {} ms, 99% within {} ms",
        summary.sent,
        summary.seconds,
        summary.failures(),
        summary.p50_ms,
        summary.p99_ms
    );
    for (version, tally) in &summary.versions {
        println!("    {version:<5} {:>6} requests, {:>3} failed", tally.requests, tally.failed);
    }
    let unexpected = summary.failures.iter().filter(|failure| failure.version.as_deref() != Some(BAD));
    for failure in unexpected.take(20) {
        println!("    {failure:?}");
    }
    if let Some(safe) = time_to_safety(finished) {
        println!(
            "    {:.2} s from the first error of {BAD} until every new request went to {GOOD}",
            safe.as_secs_f64()
        );
    }
}

/// From the first error of the bad version to the last request that was sent to it.
pub(crate) fn time_to_safety(finished: &Finished) -> Option<Duration> {
    let first = finished.record.first_error_of(BAD)?;
    Some(finished.record.last_sent_to(BAD)?.saturating_sub(first))
}

/// What to try on the cluster that is left.
pub(crate) fn print_next(namespace: &str, name: &str, host: &str, address: &str) {
    let (kubectl, exec) = if std::env::var_os("SLUICE_KUBECONFIG").is_some() {
        ("kubectl".to_owned(), String::new())
    } else {
        let cache = std::env::var("SLUICE_CACHE").unwrap_or_else(|_| "~/.cache/sluice".to_owned());
        let cluster = format!("{cache}/bin/sluice-cluster");
        (format!("{cluster} kubectl"), format!("{cluster} exec -- "))
    };
    let load = std::env::current_exe().ok().and_then(|demo| Some(demo.parent()?.join("sluice-load")));
    let load = load.map_or_else(|| "sluice-load".to_owned(), |path| path.display().to_string());
    println!(
        "\nThe cluster is still up. To try next, each in a terminal of its own:\n\
         \n  {kubectl} get rollouts.sluice.dev -n {namespace} -w\
         \n  {exec}{load} --url http://{address}/work --host {host} --rps 100\
         \n  {kubectl} set env -n {namespace} deployment/{name} VERSION=v4\
         \n  {kubectl} patch rollouts.sluice.dev {name} -n {namespace} --type merge -p '{{\"operation\":{{\"type\":\"Promote\"}}}}'\
         \n  {kubectl} patch rollouts.sluice.dev {name} -n {namespace} --type merge -p '{{\"operation\":{{\"type\":\"Abort\"}}}}'\
         \n\nmake clean-cluster removes it."
    );
}
