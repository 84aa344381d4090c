//! The command line: flags and environment variables to one value.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    fn namespaces_are_separated_by_commas() {
        let run = Cli::parse_from(["sluice-operator", "--namespaces", "shop,web"]).into_run();
        assert_eq!(run.namespaces, ["shop", "web"]);
    }
}
