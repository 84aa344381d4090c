//! TLS, as far as both roles have to do with it: what a certificate or a list of authorities must be to be used at all. The
//! controller refuses what data planes could not use, where its author is told.

pub(crate) mod acceptors;
mod backends;
mod clients;
pub(crate) mod connectors;
mod shown;
pub(crate) mod stream;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, LazyLock};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sluice_proxy_core::model::BackendTls;

/// Why a certificate or a list of authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// There is no certificate in it.
    #[error("there is no certificate in it")]
    Empty,
    /// What should be the name of a host.
    #[error("{0:?} is not a host name")]
    HostName(String),
    /// Nothing is trusted by this system.
    #[error("this system has no authorities that it trusts")]
    NoSystemAuthorities,
    /// The text is not PEM.
    #[error("it is not PEM: {0}")]
    Pem(#[from] pem::Error),
    /// It cannot be used, or the key is not that of the certificate.
    #[error(transparent)]
    Unusable(#[from] rustls::Error),
    /// Authorities that clients' certificates cannot come from.
    #[error("the authorities cannot be used: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The cryptography of the whole process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&PROVIDER)
}

/// A certificate with its key, both as PEM.
pub(crate) fn certified_key(chain: &str, key: &str) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>()?;
    if chain.is_empty() {
        return Err(TlsError::Empty);
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

/// Certificates of authorities, as PEM. One that cannot be used makes all of them unusable: it is a mistake that its author
/// should hear of.
pub(crate) fn authorities(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        store.add(certificate?)?;
    }
    if store.is_empty() { Err(TlsError::Empty) } else { Ok(store) }
}

/// Whether names of backends are such that certificates can be for them.
pub(crate) fn check_names(tls: &BackendTls) -> Result<(), TlsError> {
    backends::host_name(&tls.hostname)?;
    backends::Verifier::new(Arc::new(RootCertStore::empty()), &tls.names).map(drop)
}
