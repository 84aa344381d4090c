//! Listeners: what is spoken on them, and which of them can share a port.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::tls::Termination;

/// One listener of a Gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// `namespace/gateway/listener`
    pub id: String,
    /// The port that data planes bind. Listeners of one Gateway on one port share it.
    pub bind_port: u16,
    /// The port in the Gateway's spec, which redirects and port matches speak of.
    pub port: u16,
    /// What is spoken.
    #[serde(default, skip_serializing_if = "ListenerProtocol::is_http")]
    pub protocol: ListenerProtocol,
    /// Lower-case host name, exact or with a leading `*.`; none means every host, and stands for TCP and UDP always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// How TLS is ended; none where it is not ended here. A TLS listener without it passes its clients' TLS on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination: Option<Termination>,
    /// Id of the certificate that backends which are spoken to in TLS are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Id of what its Gateway asks for beyond its listeners. Those of one port name the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

impl Listener {
    /// A listener for HTTP of every host.
    pub fn http(id: impl Into<String>, bind_port: u16, port: u16) -> Self {
        Self {
            id: id.into(),
            bind_port,
            port,
            protocol: ListenerProtocol::Http,
            hostname: None,
            termination: None,
            identity: None,
            gateway: None,
        }
    }
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ListenerProtocol {
    /// HTTP in the clear, told apart by Host.
    #[default]
    Http,
    /// HTTP in TLS, told apart by the server name and then by Host.
    Https,
    /// Any bytes in TLS, told apart by the server name.
    Tls,
    /// Any bytes.
    Tcp,
    /// Datagrams.
    Udp,
}

/// What a port is bound of; the same number may be bound once of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// A stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// How it is found out which listener of a port a client wants. Only listeners with the same way share a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sharing {
    /// By the host that its request names.
    Host,
    /// By the server name that its TLS names.
    ServerName,
    /// Not at all: there is one listener.
    Nothing,
}

impl ListenerProtocol {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Http, Self::Https, Self::Tls, Self::Tcp, Self::Udp];

    /// As in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }

    /// What its ports are bound of.
    pub fn transport(self) -> Transport {
        match self {
            Self::Http | Self::Https | Self::Tls | Self::Tcp => Transport::Tcp,
            Self::Udp => Transport::Udp,
        }
    }

    /// What shares a port with it.
    pub fn sharing(self) -> Sharing {
        match self {
            Self::Http => Sharing::Host,
            Self::Https | Self::Tls => Sharing::ServerName,
            Self::Tcp | Self::Udp => Sharing::Nothing,
        }
    }

    /// Whether it is what is meant when nothing is said.
    pub fn is_http(&self) -> bool {
        *self == Self::Http
    }
}

impl fmt::Display for ListenerProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why two listeners cannot both be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// One port, and ways to share it that exclude each other.
    Protocol,
    /// One port and one host name.
    Hostname,
}

impl Clash {
    /// For a sentence that begins with "another listener has".
    pub fn what(self) -> &'static str {
        match self {
            Self::Protocol => "the same port and a protocol that cannot share it",
            Self::Hostname => "the same port and host name",
        }
    }
}

/// Ports as listeners take them, one after the other.
#[derive(Clone, Debug)]
pub struct Taken<T>(BTreeMap<(Transport, u16), Port<T>>);

#[derive(Clone, Debug)]
struct Port<T> {
    sharing: Sharing,
    hosts: BTreeMap<Option<String>, T>,
}

impl<T> Default for Taken<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone> Taken<T> {
    /// Takes a port (of this transport and number) for a listener, or says who has it.
    pub fn take(
        &mut self,
        protocol: ListenerProtocol,
        port: u16,
        hostname: Option<&str>,
        who: &T,
    ) -> Result<(), (Clash, T)> {
        self.free(protocol, port, hostname).map_err(|(clash, other)| (clash, other.clone()))?;
        self.insert(protocol, port, hostname, who.clone());
        Ok(())
    }

    /// Whether nobody has what a listener wants, or who has it.
    pub fn free(&self, protocol: ListenerProtocol, port: u16, hostname: Option<&str>) -> Result<(), (Clash, &T)> {
        let Some(taken) = self.0.get(&(protocol.transport(), port)) else { return Ok(()) };
        let first = taken.hosts.values().next();
        if let Some(first) = first.filter(|_| taken.sharing != protocol.sharing()) {
            return Err((Clash::Protocol, first));
        }
        let same = taken.hosts.get(&hostname.map(str::to_ascii_lowercase));
        same.map_or(Ok(()), |other| Err((Clash::Hostname, other)))
    }

    /// Takes what is known to be free.
    pub fn insert(&mut self, protocol: ListenerProtocol, port: u16, hostname: Option<&str>, who: T) {
        let (sharing, place) = (protocol.sharing(), (protocol.transport(), port));
        let taken = self.0.entry(place).or_insert_with(|| Port { sharing, hosts: BTreeMap::new() });
        taken.hosts.insert(hostname.map(str::to_ascii_lowercase), who);
    }
}

#[cfg(test)]
mod tests {
    use super::ListenerProtocol::{Http, Https, Tcp, Tls, Udp};
    use super::{Clash, Taken};

    #[test]
    fn only_listeners_that_can_be_told_apart_share_a_port() {
        let cases = [
            ((Http, 80, Some("a")), (Http, 80, Some("b")), None),
            ((Http, 80, Some("a")), (Http, 81, Some("a")), None),
            ((Http, 80, Some("a")), (Http, 80, Some("A")), Some(Clash::Hostname)),
            ((Http, 80, None), (Http, 80, Some("a")), None),
            ((Http, 80, None), (Http, 80, None), Some(Clash::Hostname)),
            ((Http, 80, Some("a")), (Https, 80, Some("b")), Some(Clash::Protocol)),
            ((Https, 443, Some("a")), (Tls, 443, Some("b")), None),
            ((Https, 443, Some("a")), (Tls, 443, Some("a")), Some(Clash::Hostname)),
            ((Tcp, 443, None), (Tls, 443, Some("a")), Some(Clash::Protocol)),
            ((Tcp, 53, None), (Tcp, 53, None), Some(Clash::Hostname)),
            ((Tcp, 53, None), (Udp, 53, None), None),
            ((Udp, 53, None), (Udp, 53, None), Some(Clash::Hostname)),
        ];
        for ((protocol, port, hostname), (other, other_port, other_hostname), clash) in cases {
            let mut taken = Taken::default();
            assert_eq!(taken.take(protocol, port, hostname, &1), Ok(()));
            let expected = clash.map_or(Ok(()), |clash| Err((clash, 1)));
            assert_eq!(
                taken.take(other, other_port, other_hostname, &2),
                expected,
                "{protocol}:{port} {hostname:?} and {other}:{other_port} {other_hostname:?}"
            );
        }
    }
}
