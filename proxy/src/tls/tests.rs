//! Certificates for tests, and what cannot be used.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use sluice_proxy_core::cells::Cells;
use sluice_proxy_core::model::{Certificate, Listener, ListenerProtocol, PrivateKey, Resource, Termination};
use sluice_proxy_core::table::Snapshot;

use super::acceptors::Acceptors;
use super::{authorities, certified_key};

/// An authority and what it signs.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names: URIs and hosts.
    pub(crate) fn sign(&self, id: &str, names: &[&str]) -> Certificate {
        let name = |name: &&str| {
            let text = (*name).try_into().expect("a name");
            if name.contains("://") { SanType::URI(text) } else { SanType::DnsName(text) }
        };
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(name).collect();
        let chain = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Certificate { id: id.to_owned(), chain, key: PrivateKey::new(key.serialize_pem()) }
    }
}

#[test]
fn only_a_certificate_with_its_own_key_is_usable() {
    let authority = Authority::new();
    let (one, other) = (authority.sign("one", &["a.test"]), authority.sign("other", &["b.test"]));
    assert!(certified_key(&one.chain, one.key.pem()).is_ok());
    let cases = [
        (one.chain.as_str(), other.key.pem()),
        ("", one.key.pem()),
        ("Hello world", one.key.pem()),
        (one.chain.as_str(), ""),
        (one.chain.as_str(), "Hello world"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", one.key.pem()),
    ];
    for (chain, key) in cases {
        assert!(certified_key(chain, key).is_err(), "{chain} {}", key.len());
    }
}

#[test]
fn a_listener_with_a_bad_certificate_leaves_the_others_alone() {
    let authority = Authority::new();
    let good = authority.sign("good", &["a.test"]);
    let bad = Certificate { id: "bad".into(), chain: "Hello world".into(), key: good.key.clone() };
    let listener = |id: &str, port| {
        Resource::Listener(Listener {
            protocol: ListenerProtocol::Https,
            termination: Some(Termination { certificates: vec![id.into()], clients: None }),
            ..Listener::http(id, port, 443)
        })
    };
    let resources = [listener("good", 1), listener("bad", 2), Resource::Certificate(good), Resource::Certificate(bad)];
    let snapshot = Snapshot::build(&resources, &mut Cells::default()).expect("a snapshot");
    let acceptors = Acceptors::default().next(&snapshot);
    assert!(acceptors.get("good").is_some() && acceptors.get("bad").is_none());
}

#[test]
fn one_bad_authority_makes_the_list_unusable() {
    let authority = Authority::new();
    assert_eq!(authorities(&authority.pem).expect("usable").len(), 1);
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in [String::new(), "Hello world".to_owned(), format!("{}{bad}", authority.pem)] {
        assert!(authorities(&text).is_err(), "{text}");
    }
}
