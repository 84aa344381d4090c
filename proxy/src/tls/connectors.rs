//! How backends are connected to in TLS, made of what the snapshot says.
//!
//! For each policy and each certificate that backends are shown there is a connector, with sessions of its own and a number
//! that no other one has had. Connections are kept by that number, so that none that was made under other rules, or with
//! another certificate, is ever taken. What has not changed is kept, sessions included.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use sluice_proxy_core::model::{Authorities, BackendTls, Certificate, Protocol};
use sluice_proxy_core::table::Snapshot;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::backends::{Verifier, host_name};
use super::{TlsError, authorities, certified_key, provider};

/// Sessions that one connector remembers: as many as rustls keeps for one server name.
const SESSIONS: usize = 8;

/// Connectors, by the id of their policy.
#[derive(Debug, Default)]
pub(crate) struct Connectors {
    known: HashMap<String, Vec<Arc<Connector>>>,
    /// Numbers that were given so far.
    given: u64,
}

/// How one kind of connection is made.
#[derive(Debug)]
pub(crate) struct Connector {
    /// No other one has ever had it.
    pub(crate) number: u64,
    source: Source,
    server_name: ServerName<'static>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    /// For what is passed on as it is.
    bytes: Arc<ClientConfig>,
}

/// What a connector is made of.
#[derive(Clone, Debug)]
struct Source {
    policy: Arc<BackendTls>,
    identity: Option<Arc<Certificate>>,
}

impl Source {
    /// That of every connector that a snapshot may need. A policy without its certificate has none: what was to be shown
    /// is not left out.
    fn all(snapshot: &Snapshot) -> impl Iterator<Item = Self> {
        let identities: BTreeSet<Option<&str>> = snapshot.listeners().map(|l| l.identity.as_deref()).collect();
        let certificate = |id: Option<&str>| match id {
            None => Some(None),
            Some(id) => snapshot.certificate(id).map(|certificate| Some(Arc::clone(certificate))),
        };
        let identities: Vec<_> = identities.into_iter().filter_map(certificate).collect();
        snapshot.backend_tls().flat_map(move |policy| {
            let policy = Arc::clone(policy);
            identities.clone().into_iter().map(move |identity| Self { policy: Arc::clone(&policy), identity })
        })
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.policy, &other.policy)
            && match (&self.identity, &other.identity) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (None, None) => true,
                _ => false,
            }
    }

    fn identity(&self) -> Option<&str> {
        self.identity.as_ref().map(|certificate| certificate.id.as_str())
    }
}

impl Connectors {
    /// Those for a snapshot; the same when nothing is different. One that cannot be made makes no connections, and no
    /// other one is touched: the controller has found this out before, so it is a matter of this system.
    pub(crate) fn next(self: &Arc<Self>, snapshot: &Snapshot) -> Arc<Self> {
        let mut next = Self { known: HashMap::new(), given: self.given };
        let mut kept = 0;
        for source in Source::all(snapshot) {
            let known = self.get(&source.policy.id, source.identity()).filter(|known| known.source.is(&source));
            let connector = match known {
                Some(known) => {
                    kept += 1;
                    Ok(Arc::clone(known))
                }
                None => Connector::new(source.clone(), next.given + 1).map(Arc::new),
            };
            match connector {
                Ok(connector) => {
                    next.given = next.given.max(connector.number);
                    next.known.entry(source.policy.id.clone()).or_default().push(connector);
                }
                Err(error) => tracing::error!(policy = source.policy.id, %error, "Cannot connect to backends in TLS"),
            }
        }
        if kept == self.count() && kept == next.count() { Arc::clone(self) } else { Arc::new(next) }
    }

    fn count(&self) -> usize {
        self.known.values().map(Vec::len).sum()
    }

    /// That of a policy and a certificate, by their ids.
    pub(crate) fn get(&self, policy: &str, identity: Option<&str>) -> Option<&Arc<Connector>> {
        self.known.get(policy)?.iter().find(|connector| connector.source.identity() == identity)
    }

    /// Whether connections of this one are still to be used.
    pub(crate) fn has(&self, connector: &Connector) -> bool {
        let now = self.get(&connector.source.policy.id, connector.source.identity());
        now.is_some_and(|now| now.number == connector.number)
    }
}

impl Connector {
    fn new(source: Source, number: u64) -> Result<Self, TlsError> {
        let server_name = host_name(&source.policy.hostname)?;
        let verifier = Verifier::new(trusted(&source.policy.authorities)?, &source.policy.names)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &source.identity {
            Some(shown) => {
                let key = certified_key(&shown.chain, shown.key.pem())?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        let speaking = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        let (http1, http2) = (speaking(b"http/1.1"), speaking(b"h2"));
        Ok(Self { number, source, server_name, http1, http2, bytes: Arc::new(config) })
    }

    /// Shakes hands with a backend, of which `protocol` is wanted; with none of them anything is passed on.
    pub(crate) async fn secure(
        &self,
        stream: TcpStream,
        protocol: Option<Protocol>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = match protocol {
            Some(Protocol::Http1) => &self.http1,
            Some(Protocol::H2c) => &self.http2,
            None => &self.bytes,
        };
        TlsConnector::from(Arc::clone(config)).connect(self.server_name.clone(), stream).await
    }
}

fn trusted(whom: &Authorities) -> Result<Arc<RootCertStore>, TlsError> {
    match whom {
        Authorities::Listed(pem) => Ok(Arc::new(authorities(pem)?)),
        Authorities::System => {
            static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| Arc::new(of_system()));
            if SYSTEM.is_empty() { Err(TlsError::NoSystemAuthorities) } else { Ok(Arc::clone(&SYSTEM)) }
        }
    }
}

/// What the system trusts, as far as it can be read: one bad file among hundreds does not take away the others.
fn of_system() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "Cannot read authorities that the system trusts");
    }
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    store
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sluice_proxy_core::cells::Cells;
    use sluice_proxy_core::model::{Authorities, BackendTls, Certificate, Listener, Resource};
    use sluice_proxy_core::table::Compiler;

    use super::Connectors;
    use crate::tls::tests::Authority;

    #[test]
    fn what_is_the_same_is_kept_and_what_is_not_has_a_number_of_its_own() {
        let authority = Authority::new();
        let policy = |hostname: &str| {
            Resource::BackendTls(BackendTls {
                id: "p".into(),
                hostname: hostname.into(),
                names: vec![],
                authorities: Authorities::Listed(authority.pem.clone()),
            })
        };
        let shown = |certificate: &Certificate| Resource::Certificate(certificate.clone());
        let (one, other) = (authority.sign("c", &["gateway.test"]), authority.sign("c", &["gateway.test"]));
        let plain = Resource::Listener(Listener::http("plain", 1, 1));
        let showing = Resource::Listener(Listener { identity: Some("c".into()), ..Listener::http("showing", 2, 2) });
        let steps: [(&[Resource], bool); 6] = [
            (&[plain, showing, policy("a.test"), shown(&one)], false),
            (&[policy("a.test"), shown(&one)], true),
            (&[policy("b.test")], false),
            (&[policy("a.test")], false),
            (&[shown(&other)], false),
            (&[shown(&other)], true),
        ];
        let (mut compiler, mut cells) = (Compiler::default(), Cells::default());
        let mut connectors = Arc::<Connectors>::default();
        let mut numbers = std::collections::BTreeSet::new();
        for (step, (resources, same)) in steps.into_iter().enumerate() {
            let changes = resources.iter().map(|resource| (resource.key(), Some(resource)));
            let next = connectors.next(&compiler.update(changes, &mut cells).expect("snapshot"));
            assert_eq!(Arc::ptr_eq(&connectors, &next), same, "{step}");
            let [clear, showing] = [None, Some("c")].map(|identity| next.get("p", identity).expect("a connector"));
            let is_new = [clear, showing].map(|connector| numbers.insert(connector.number));
            // Another certificate is of no concern to those that show none.
            assert_eq!(is_new, [!same && step != 4, !same], "{step}");
            assert!(next.has(clear) && next.has(showing));
            connectors = next;
        }
    }
}
