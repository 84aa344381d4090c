//! The controller's own certificate authority and serving certificate: made once, kept in a Secret, and published (the
//! authority's certificate alone) in a ConfigMap that data planes mount and the operator reads.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use tonic::transport::Identity;

/// The Secret with both keys.
const SECRET: &str = "sluice-proxy-controller-tls";
/// The ConfigMap with the authority's certificate.
const CONFIG_MAP: &str = "sluice-proxy-ca";
/// Name of the Service by which the controller is reached.
const SERVICE: &str = "sluice-proxy-controller";
/// Names and end of the serving certificate, kept beside it so that nothing needs to parse it.
const NAMES: &str = "sluice.dev/server-names";
const RENEW_AT: &str = "sluice.dev/renew-at";
/// Lifetime of the serving certificate in days, and how long before its end it is renewed.
const LIFETIME_DAYS: i64 = 365;
const RENEWED_BEFORE_DAYS: i64 = 120;
const AUTHORITY_LIFETIME_YEARS: i32 = 10;

/// A serving certificate and when to ask for the next one.
pub struct Serving {
    /// Certificate and key.
    pub identity: Identity,
    /// How long it serves.
    pub renew_in: Duration,
}

/// The DNS names of the controller's Service, and what else it is called.
pub fn server_names(namespace: &str, extra: &[String]) -> Vec<String> {
    let service = [format!("{SERVICE}.{namespace}.svc"), format!("{SERVICE}.{namespace}.svc.cluster.local")];
    service.into_iter().chain(extra.iter().cloned()).collect()
}

/// Takes the certificate from the Secret, or makes it when there is none, when it is near its end, or when the names have
/// changed; and publishes the authority.
pub async fn prepare(client: &Client, namespace: &str, names: &[String]) -> anyhow::Result<Serving> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let now = Timestamp::now();
    let found = secrets.get_opt(SECRET).await.with_context(|| format!("cannot read Secret {SECRET}"))?;
    let secret = match found {
        Some(secret) if is_current(&secret, names, now) => secret,
        Some(secret) => {
            let renewed = issue(Some(&secret), names, now)?;
            secrets.replace(SECRET, &PostParams::default(), &renewed).await.context("cannot renew the certificate")?
        }
        None => create(&secrets, &issue(None, names, now)?).await?,
    };
    publish_authority(client, namespace, &field(&secret, "ca.crt")?).await?;
    let identity = Identity::from_pem(field(&secret, "tls.crt")?, field(&secret, "tls.key")?);
    let left =
        annotation(&secret, RENEW_AT).and_then(|at| at.parse::<Timestamp>().ok()).unwrap_or(now).duration_since(now);
    Ok(Serving { identity, renew_in: Duration::try_from(left).unwrap_or_default() })
}

/// Another replica may have been faster: then its Secret is the one.
async fn create(secrets: &Api<Secret>, secret: &Secret) -> anyhow::Result<Secret> {
    match secrets.create(&PostParams::default(), secret).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            secrets.get(SECRET).await.context("cannot read the Secret")
        }
        outcome => outcome.with_context(|| format!("cannot create Secret {SECRET}")),
    }
}

async fn publish_authority(client: &Client, namespace: &str, authority: &str) -> anyhow::Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let data = Some(BTreeMap::from([("ca.crt".to_owned(), authority.to_owned())]));
    let outcome = match maps.get_opt(CONFIG_MAP).await? {
        Some(found) if found.data == data => return Ok(()),
        Some(found) => maps.replace(CONFIG_MAP, &PostParams::default(), &ConfigMap { data, ..found }).await,
        None => {
            let metadata = ObjectMeta { name: Some(CONFIG_MAP.to_owned()), ..ObjectMeta::default() };
            maps.create(&PostParams::default(), &ConfigMap { metadata, data, ..ConfigMap::default() }).await
        }
    };
    outcome.map(drop).with_context(|| format!("cannot write ConfigMap {CONFIG_MAP}"))
}

fn is_current(secret: &Secret, names: &[String], now: Timestamp) -> bool {
    let renew_at = annotation(secret, RENEW_AT).and_then(|at| at.parse::<Timestamp>().ok());
    let complete = ["ca.crt", "ca.key", "tls.crt", "tls.key"].iter().all(|name| field(secret, name).is_ok());
    complete && renew_at.is_some_and(|at| now < at) && annotation(secret, NAMES) == Some(names.join(",").as_str())
}

/// A Secret with a new serving certificate: under the authority of `old` if it has one, so that data planes that pinned
/// it still trust us.
fn issue(old: Option<&Secret>, names: &[String], now: Timestamp) -> anyhow::Result<Secret> {
    let kept = old.and_then(|old| Some((field(old, "ca.crt").ok()?, field(old, "ca.key").ok()?)));
    let (authority, authority_key) = if let Some((certificate, key)) = kept {
        (certificate, KeyPair::from_pem(&key).context("the authority's key is broken")?)
    } else {
        let key = KeyPair::generate()?;
        (authority_params(now).self_signed(&key)?.pem(), key)
    };
    let pem = authority_key.serialize_pem();
    let issuer = Issuer::new(authority_params(now), authority_key);
    let key = KeyPair::generate()?;
    let certificate = serving_params(names, now)?.signed_by(&key, &issuer)?;
    let renew_at = now + SignedDuration::from_hours(24 * (LIFETIME_DAYS - RENEWED_BEFORE_DAYS));
    let mut metadata = old.map(|old| old.metadata.clone()).unwrap_or_default();
    metadata.name = Some(SECRET.to_owned());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(NAMES.to_owned(), names.join(","));
    annotations.insert(RENEW_AT.to_owned(), renew_at.to_string());
    let data =
        [("ca.crt", authority), ("ca.key", pem), ("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())];
    let data = data.map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())));
    let type_ = old.map_or_else(|| Some("kubernetes.io/tls".to_owned()), |old| old.type_.clone());
    Ok(Secret { metadata, data: Some(data.into()), type_, ..Secret::default() })
}

fn authority_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "sluice-proxy-controller authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    // The day before, so that a client whose clock is behind takes it.
    let (year, month, day) = date(now - SignedDuration::from_hours(24));
    params.not_before = date_time_ymd(year, month, day);
    params.not_after = date_time_ymd(year + AUTHORITY_LIFETIME_YEARS, 1, 1);
    params
}

fn serving_params(names: &[String], now: Timestamp) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(names.to_vec()).context("a server name is not valid")?;
    params.distinguished_name.push(DnType::CommonName, SERVICE);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let (year, month, day) = date(now - SignedDuration::from_hours(24));
    params.not_before = date_time_ymd(year, month, day);
    let (year, month, day) = date(now + SignedDuration::from_hours(24 * LIFETIME_DAYS));
    params.not_after = date_time_ymd(year, month, day);
    Ok(params)
}

/// Year, month and day as certificates take them.
fn date(at: Timestamp) -> (i32, u8, u8) {
    let date = at.to_zoned(TimeZone::UTC).date();
    (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
}

fn field(secret: &Secret, name: &str) -> anyhow::Result<String> {
    let value =
        secret.data.as_ref().and_then(|data| data.get(name)).with_context(|| format!("{SECRET} has no {name}"))?;
    String::from_utf8(value.0.clone()).with_context(|| format!("{name} in {SECRET} is not text"))
}

fn annotation<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    secret.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_used_until_its_renewal_or_another_name() {
        let (now, names) = (Timestamp::from_second(1_800_000_000).unwrap(), vec!["a.svc".to_owned()]);
        let secret = issue(None, &names, now).unwrap();
        assert!(is_current(&secret, &names, now));
        assert!(!is_current(&secret, &["b.svc".to_owned()], now));
        let later = now + SignedDuration::from_hours(24 * 300);
        assert!(!is_current(&secret, &names, later));
        let renewed = issue(Some(&secret), &names, later).unwrap();
        assert!(is_current(&renewed, &names, later));
        assert_eq!(field(&renewed, "ca.crt").unwrap(), field(&secret, "ca.crt").unwrap());
        assert_ne!(field(&renewed, "tls.crt").unwrap(), field(&secret, "tls.crt").unwrap());
    }
}
