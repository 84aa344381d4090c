//! TLS with a certificate from a folder, as a Secret of type `kubernetes.io/tls` is mounted.

use std::{error::Error, path::Path, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// Shakes hands as a server: HTTP/2 where the client offers it.
pub(crate) fn acceptor(folder: &Path) -> Result<TlsAcceptor, Box<dyn Error>> {
    let file = |name: &str| folder.join(name);
    let named = |name: &str, error: &dyn Error| format!("TLS_DIR: {}: {error}", file(name).display());
    let certificates = CertificateDer::pem_file_iter(file("tls.crt")).map_err(|error| named("tls.crt", &error))?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(|error| named("tls.crt", &error))?;
    let key = PrivateKeyDer::from_pem_file(file("tls.key")).map_err(|error| named("tls.key", &error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config =
        builder.with_safe_default_protocol_versions()?.with_no_client_auth().with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
