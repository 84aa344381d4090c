//! The command line: flags and environment variables to one value.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::ensure;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use sluice_operator_core::{Millis, election::Timing};

use crate::leader::Settings;

/// The operator of Sluice.
#[derive(Debug, Parser)]
#[command(name = "sluice-operator", version, about, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Watch Rollouts and carry them out (the default).
    Run(Run),
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// Address of the proxy's controller, as in https://sluice-controller.sluice-system:9443. Without it there are no
    /// counters, and a step counts as live once the routes' status says so.
    #[arg(long, env = "SLUICE_PROXY_CONTROLLER", value_name = "URL")]
    pub proxy_controller: Option<String>,
    /// PEM file with the only certificate authority that the proxy's controller is accepted from. Read again for each
    /// new connection.
    #[arg(long, env = "SLUICE_PROXY_CA", value_name = "FILE", requires = "proxy_controller")]
    pub proxy_ca: Option<PathBuf>,
    /// File with the token (audience sluice-proxy-controller) that the proxy's controller is shown. Read again for each
    /// call.
    #[arg(long, env = "SLUICE_TOKEN_FILE", value_name = "FILE", requires = "proxy_controller")]
    pub token_file: Option<PathBuf>,
    /// The controllerName in a route's status that stands for the bundled proxy.
    #[arg(long, env = "SLUICE_PROXY_CONTROLLER_NAME", default_value = "sluice.dev/gateway-controller")]
    pub proxy_controller_name: String,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "SLUICE_ADMIN", default_value = "0.0.0.0:9092", value_name = "ADDRESS")]
    pub admin: SocketAddr,
    /// Only these namespaces, separated by commas. Default: all.
    #[arg(long, env = "SLUICE_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,
    /// Of several replicas only the one that holds a Lease acts. false for a single process outside of a cluster.
    #[arg(
        long, env = "SLUICE_LEADER_ELECT", value_name = "BOOL", action = ArgAction::Set,
        default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true
    )]
    pub leader_elect: bool,
    /// A Lease that was not seen to change for this many seconds is taken over.
    #[arg(long, default_value_t = 7, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    pub leader_elect_lease_duration: u16,
    /// The leader stops acting this many seconds after it last asked for a renewal that was granted.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    pub leader_elect_renew_deadline: u16,
    /// Seconds between attempts; the leader renews after two of them.
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..))]
    pub leader_elect_retry_period: u16,
    /// Name of the Lease.
    #[arg(long, default_value = "sluice-operator", value_name = "NAME")]
    pub leader_elect_resource_name: String,
    /// Namespace of the Lease. Default: the pod's own.
    #[arg(long, value_name = "NAMESPACE")]
    pub leader_elect_resource_namespace: Option<String>,
    /// How log lines are written.
    #[arg(long, env = "SLUICE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Cli {
    /// The flags of the chosen command.
    pub(crate) fn into_run(self) -> Run {
        match self.command {
            Some(Command::Run(run)) => run,
            None => self.run,
        }
    }
}

impl Run {
    /// How the leader is elected; None when it is not.
    pub(crate) fn election(&self, home: &str) -> anyhow::Result<Option<Settings>> {
        let seconds = |seconds: u16| Millis::from(seconds) * 1_000;
        let timing = Timing {
            lease: seconds(self.leader_elect_lease_duration),
            renew_deadline: seconds(self.leader_elect_renew_deadline),
            retry: seconds(self.leader_elect_retry_period),
        };
        ensure!(
            timing.renew_deadline < timing.lease,
            "--leader-elect-renew-deadline must be less than --leader-elect-lease-duration, or two could act at once"
        );
        ensure!(
            3 * timing.retry < timing.renew_deadline,
            "--leader-elect-retry-period must be less than a third of --leader-elect-renew-deadline, or a single lost \
             message would end the leadership"
        );
        let namespace = self.leader_elect_resource_namespace.clone().unwrap_or_else(|| home.to_owned());
        let settings = Settings { namespace, name: self.leader_elect_resource_name.clone(), timing };
        Ok(self.leader_elect.then_some(settings))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, LogFormat};

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn run_is_the_default_command() {
        let bare = Cli::parse_from(["sluice-operator", "--log-format", "text"]).into_run();
        let named = Cli::parse_from(["sluice-operator", "run", "--log-format", "text"]).into_run();
        assert_eq!(bare.log_format, LogFormat::Text);
        assert_eq!(named.log_format, LogFormat::Text);
    }

    #[test]
    fn times_that_would_let_two_act_are_refused_by_the_flags_that_are_wrong() {
        let election = |arguments: &[&str]| {
            Cli::parse_from([&["sluice-operator"], arguments].concat()).into_run().election("home")
        };
        let settings = election(&[]).unwrap().unwrap();
        assert_eq!((settings.namespace.as_str(), settings.name.as_str()), ("home", "sluice-operator"));
        assert!(election(&["--leader-elect=false"]).unwrap().is_none());
        let refused = election(&["--leader-elect-renew-deadline", "7"]).unwrap_err().to_string();
        assert!(refused.contains("--leader-elect-lease-duration"), "{refused}");
        let refused = election(&["--leader-elect-retry-period", "2"]).unwrap_err().to_string();
        assert!(refused.contains("--leader-elect-retry-period"), "{refused}");
    }

    #[test]
    fn namespaces_are_separated_by_commas() {
        let run = Cli::parse_from(["sluice-operator", "--namespaces", "shop,web"]).into_run();
        assert_eq!(run.namespaces, ["shop", "web"]);
    }
}
