//! Which of a listener's certificates a client is shown.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificates of one listener.
#[derive(Debug)]
pub(super) struct Shown(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    /// The first for the client's server name, of those whose signatures it takes; else the first of these.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let takes = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let mut usable = self.0.iter().filter(takes);
        let first = usable.next()?;
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name
            .filter(|_| self.0.len() > 1)
            .and_then(|name| [first].into_iter().chain(usable).find(|key| is_for(key, &name)));
        Some(Arc::clone(named.unwrap_or(first)))
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
