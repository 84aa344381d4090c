//! Certificates of backends.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sluice_proxy_core::model::SubjectName;
use webpki::EndEntityCert;

use super::{TlsError, provider};

/// Checks that a certificate comes from one of the authorities, and that it is for the server name or, where there are
/// names, for one of these.
#[derive(Debug)]
pub(super) struct Verifier {
    authorities: Arc<RootCertStore>,
    names: Box<[Name]>,
    provider: Arc<CryptoProvider>,
}

/// A name that a certificate must have.
#[derive(Debug)]
enum Name {
    Host(ServerName<'static>),
    /// Any host name that ends so; the dot is in it.
    HostUnder(String),
    Uri(String),
}

impl Verifier {
    pub(super) fn new(authorities: Arc<RootCertStore>, names: &[SubjectName]) -> Result<Self, TlsError> {
        let names = names.iter().map(Name::new).collect::<Result<_, _>>()?;
        Ok(Self { authorities, names, provider: provider() })
    }
}

impl Name {
    fn new(name: &SubjectName) -> Result<Self, TlsError> {
        match name {
            SubjectName::Uri(uri) => Ok(Self::Uri(uri.clone())),
            SubjectName::Hostname(host) => match host.strip_prefix('*') {
                Some(suffix) if suffix.len() > 1 && suffix.starts_with('.') => {
                    host_name(&suffix[1..])?;
                    Ok(Self::HostUnder(suffix.to_ascii_lowercase()))
                }
                _ => Ok(Self::Host(host_name(host)?)),
            },
        }
    }

    /// Whether a certificate has it.
    fn is_of(&self, certificate: &CertificateDer<'_>) -> Result<bool, Error> {
        // The parser that rustls uses itself, which does not give out names other than of hosts.
        let parsed = EndEntityCert::try_from(certificate).map_err(|_| CertificateError::BadEncoding)?;
        Ok(match self {
            Self::Host(name) => parsed.verify_is_valid_for_subject_name(name).is_ok(),
            Self::HostUnder(suffix) => {
                parsed.valid_dns_names().any(|name| name.to_ascii_lowercase().ends_with(suffix.as_str()))
            }
            Self::Uri(uri) => parsed.valid_uri_names().any(|name| name == uri),
        })
    }
}

/// A host name that a certificate can be for.
pub(super) fn host_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    match ServerName::try_from(name.to_owned()) {
        Ok(name @ ServerName::DnsName(_)) => Ok(name),
        Ok(_) | Err(_) => Err(TlsError::HostName(name.to_owned())),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.authorities, intermediates, now, algorithms)?;
        if self.names.is_empty() {
            verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        for name in &self.names {
            if name.is_of(certificate)? {
                return Ok(ServerCertVerified::assertion());
            }
        }
        Err(CertificateError::NotValidForName.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use sluice_proxy_core::model::SubjectName;

    use super::Verifier;
    use crate::tls::authorities;
    use crate::tls::tests::Authority;

    const SPIFFE: &str = "spiffe://shop.test/app";

    /// Whether a certificate for `holds` is taken from a backend that is called `app.shop.test` and must have one of `names`.
    fn is_taken(holds: &[&str], names: &[SubjectName]) -> bool {
        let authority = Authority::new();
        let trusted = Arc::new(authorities(&authority.pem).expect("usable"));
        let certificate = authority.sign("backend", holds);
        let der = CertificateDer::from_pem_slice(certificate.chain.as_bytes()).expect("PEM");
        let called = ServerName::try_from("app.shop.test").expect("a name");
        let verifier = Verifier::new(trusted, names).expect("names");
        verifier.verify_server_cert(&der, &[], &called, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_certificate_is_for_the_server_name_or_for_one_of_the_names() {
        let host = |name: &str| SubjectName::Hostname(name.to_owned());
        let uri = |name: &str| SubjectName::Uri(name.to_owned());
        let cases: [(&[&str], &[SubjectName], bool); 16] = [
            (&["app.shop.test"], &[], true),
            (&["*.shop.test"], &[], true),
            (&["other.shop.test"], &[], false),
            // With names the server name proves nothing.
            (&["app.shop.test"], &[host("other.shop.test")], false),
            (&["other.shop.test"], &[host("other.shop.test")], true),
            (&["OTHER.shop.test"], &[host("other.shop.TEST")], true),
            (&["*.shop.test"], &[host("other.shop.test")], true),
            (&["other.shop.test"], &[host("*.shop.test")], true),
            (&["*.shop.test"], &[host("*.shop.test")], true),
            (&["a.b.shop.test"], &[host("*.shop.test")], true),
            (&["othershop.test"], &[host("*.shop.test")], false),
            (&[SPIFFE], &[uri(SPIFFE)], true),
            (&[SPIFFE], &[uri("spiffe://shop.test/other")], false),
            (&[SPIFFE, "app.shop.test"], &[host("app.shop.test"), uri("spiffe://x.test/y")], true),
            (&["app.shop.test"], &[uri(SPIFFE)], false),
            (&[SPIFFE], &[], false),
        ];
        for (holds, names, expected) in cases {
            assert_eq!(is_taken(holds, names), expected, "{holds:?} {names:?}");
        }
    }

    #[test]
    fn a_certificate_of_another_authority_is_for_nobody() {
        let (one, other) = (Authority::new(), Authority::new());
        let der = CertificateDer::from_pem_slice(other.sign("backend", &["app.test", SPIFFE]).chain.as_bytes());
        let (der, called) = (der.expect("PEM"), ServerName::try_from("app.test").expect("a name"));
        for names in [vec![], vec![SubjectName::Uri(SPIFFE.into())]] {
            let trusted = Arc::new(authorities(&one.pem).expect("usable"));
            let verifier = Verifier::new(trusted, &names).expect("names");
            assert!(verifier.verify_server_cert(&der, &[], &called, &[], UnixTime::now()).is_err());
        }
    }

    #[test]
    fn what_is_not_a_host_name_is_refused() {
        for name in ["", "*", "*.", "*a.test", "a b", "10.0.0.1", "*.10.0.0.1 "] {
            let trusted = Arc::new(rustls::RootCertStore::empty());
            assert!(Verifier::new(trusted, &[SubjectName::Hostname(name.into())]).is_err(), "{name}");
        }
    }
}
