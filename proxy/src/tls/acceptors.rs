//! How each listener ends TLS, made of what the snapshot says.
//!
//! Each listener has sessions of its own: one that was begun under another listener, other certificates or other rules for
//! clients is not taken up again, so nobody gets around a check that way. What has not changed is kept, sessions included.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ServerSessionMemoryCache;
use rustls::version::{TLS12, TLS13};
use sluice_proxy_core::model::{Certificate, ListenerProtocol, Termination};
use sluice_proxy_core::table::{ListenerTable, Snapshot};

use super::shown::Shown;
use super::{TlsError, certified_key, clients, provider};

/// Sessions that one listener remembers.
const SESSIONS: usize = 4096;

/// Acceptors of all listeners that end TLS, by the listener's id.
#[derive(Debug, Default)]
pub(crate) struct Acceptors(HashMap<Arc<str>, Acceptor>);

#[derive(Debug)]
struct Acceptor {
    source: Source,
    config: Arc<ServerConfig>,
}

/// What an acceptor is made of.
#[derive(Clone, Debug)]
struct Source {
    protocol: ListenerProtocol,
    termination: Arc<Termination>,
    certificates: Vec<Arc<Certificate>>,
}

impl Source {
    fn of(listener: &ListenerTable, snapshot: &Snapshot) -> Option<Self> {
        let termination = Arc::clone(listener.termination.as_ref()?);
        let certificates = termination.certificates.iter().filter_map(|id| snapshot.certificate(id).cloned()).collect();
        Some(Self { protocol: listener.protocol, termination, certificates })
    }

    fn is(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.termination == other.termination
            && self.certificates.len() == other.certificates.len()
            && self.certificates.iter().zip(&other.certificates).all(|(one, other)| Arc::ptr_eq(one, other))
    }

    fn config(&self) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12])?;
        let builder = match &self.termination.clients {
            Some(asked) => builder.with_client_cert_verifier(clients::verifier(asked)?),
            None => builder.with_no_client_auth(),
        };
        let key =
            |certificate: &Arc<Certificate>| certified_key(&certificate.chain, certificate.key.pem()).map(Arc::new);
        let keys: Vec<_> = self.certificates.iter().map(key).collect::<Result<_, _>>()?;
        let mut config = builder.with_cert_resolver(Arc::new(Shown(keys)));
        if self.protocol == ListenerProtocol::Https {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        Ok(config)
    }
}

impl Acceptors {
    /// Those for a snapshot. A listener whose own cannot be made takes no connection, and no other one is touched: the
    /// controller has found this out before, so it is a matter of versions that differ.
    pub(crate) fn next(&self, snapshot: &Snapshot) -> Self {
        let mut next = HashMap::new();
        for listener in snapshot.listeners() {
            let Some(source) = Source::of(listener, snapshot) else { continue };
            let kept = self.0.get(&listener.id).filter(|known| known.source.is(&source));
            let config = match kept {
                Some(known) => Ok(Arc::clone(&known.config)),
                None => source.config().map(Arc::new),
            };
            match config {
                Ok(config) => drop(next.insert(Arc::clone(&listener.id), Acceptor { source, config })),
                Err(error) => tracing::error!(listener = &*listener.id, %error, "Cannot end TLS"),
            }
        }
        Self(next)
    }

    /// That of a listener.
    pub(crate) fn get(&self, listener: &str) -> Option<&Arc<ServerConfig>> {
        self.0.get(listener).map(|acceptor| &acceptor.config)
    }
}
