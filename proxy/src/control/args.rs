//! Arguments of the controller.

use std::{net::SocketAddr, ops::RangeInclusive, str::FromStr};

use clap::ValueEnum;
use sluice_proxy_core::cidr::Cidr;

/// Arguments of `sluice-proxy controller`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Namespace of the controller, of its data planes and of the Services of Gateways.
    #[arg(long, env = "POD_NAMESPACE", default_value = "sluice-system")]
    pub namespace: String,
    /// Only GatewayClasses with this controllerName are minded.
    #[arg(long, default_value = "sluice.dev/gateway-controller")]
    pub controller_name: String,
    /// Address of the control stream that data planes and the operator connect to.
    #[arg(long, default_value = "0.0.0.0:9443")]
    pub listen: SocketAddr,
    /// Address of `/livez`, `/readyz` and `/metrics`.
    #[arg(long, default_value = "0.0.0.0:9091")]
    pub admin: SocketAddr,
    /// User name of data planes [default: system:serviceaccount:<namespace>:sluice-proxy].
    #[arg(long)]
    pub data_plane_account: Option<String>,
    /// User name of who may read what data planes serve and count.
    #[arg(long, default_value = "system:serviceaccount:sluice-system:sluice-operator")]
    pub observer_account: String,
    /// A name of the control stream's certificate beside those of Service sluice-proxy-controller. May be repeated.
    #[arg(long)]
    pub server_name: Vec<String>,
    /// Type of the Services of Gateways.
    #[arg(long, value_enum, default_value = "cluster-ip")]
    pub service_type: ServiceType,
    /// Domain of the cluster, by which Services are found.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Addresses that Gateways may ask for in spec.addresses, such as 10.96.0.192/27. They must be of the range that the
    /// cluster gives Services or load balancers addresses from, and outside the part that it gives away by itself. May be
    /// repeated.
    #[arg(long)]
    pub address_pool: Vec<Cidr>,
    /// Ports that data planes bind, one for each port of each Gateway. They must lie outside the ephemeral ports.
    #[arg(long, default_value = "20000-29999")]
    pub ports: PortRange,
}

impl Args {
    /// User name of data planes.
    pub fn data_plane_account(&self) -> String {
        let default = || format!("system:serviceaccount:{}:sluice-proxy", self.namespace);
        self.data_plane_account.clone().unwrap_or_else(default)
    }
}

/// How a Gateway is reached.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ServiceType {
    /// From within the cluster.
    ClusterIp,
    /// Through a load balancer that the cluster provides.
    LoadBalancer,
    /// Also through a port of every node.
    NodePort,
}

impl ServiceType {
    /// As the API of Services has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::LoadBalancer => "LoadBalancer",
            Self::NodePort => "NodePort",
        }
    }
}

/// A range of ports, written `first-last`.
#[derive(Clone, Debug)]
pub struct PortRange(pub RangeInclusive<u16>);

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').ok_or("two ports with a hyphen between them are wanted")?;
        let port = |text: &str| text.parse::<u16>().map_err(|error| format!("{text}: {error}"));
        let range = port(first)?..=port(last)?;
        if range.is_empty() || *range.start() == 0 {
            return Err("the first port must be at least 1 and not above the last".to_owned());
        }
        Ok(Self(range))
    }
}
