//! The app's settings, read once from environment variables.
//!
//! A value that cannot be read stops the app at its start with the variable's name: a demonstration with a silently
//! ignored `ERROR_RATE` would show nothing.

use std::{env, path::PathBuf, str::FromStr, time::Duration};

/// What the app speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1, HTTP/2 and gRPC.
    Http,
    /// TCP: each line is said again.
    Tcp,
    /// UDP: each datagram is said again.
    Udp,
}

impl FromStr for Protocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "http" => Ok(Self::Http),
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(()),
        }
    }
}

/// What the app answers and how.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// `PORT`, default 8080.
    pub(crate) port: u16,
    /// `PROTOCOL`, http (the default), tcp or udp: what is spoken there.
    pub(crate) protocol: Protocol,
    /// `TLS_DIR`: a folder with `tls.crt` and `tls.key`, as a Secret is mounted; HTTP is then spoken in TLS only.
    pub(crate) tls_dir: Option<PathBuf>,
    /// `VERSION`, default v1: in every answer's body and `x-version` header.
    pub(crate) version: String,
    /// `POD_NAME`, else `HOSTNAME`: in every answer's body.
    pub(crate) pod: String,
    /// `ERROR_RATE`, 0 to 1, default 0: share of requests that are answered with status 500.
    pub(crate) error_rate: f64,
    /// `LATENCY`, default 0ms: how long an answer takes.
    pub(crate) latency: Duration,
    /// `LATENCY_TAIL`, 0 to 1, default 1: share of requests that take `LATENCY`; the others are answered at once.
    pub(crate) latency_tail: f64,
    /// `READY`, default true: false makes `/healthz` answer 503.
    pub(crate) ready: bool,
    /// `DRAIN`, default 5s: how long the app goes on serving after SIGTERM.
    pub(crate) drain: Duration,
}

impl Config {
    /// The settings of this process.
    pub(crate) fn from_env() -> Result<Self, String> {
        Self::read(|name| env::var(name).ok())
    }

    fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let protocol = parsed(&get, "PROTOCOL", Protocol::Http)?;
        let tls_dir = get("TLS_DIR").map(PathBuf::from);
        if tls_dir.is_some() && protocol != Protocol::Http {
            return Err("TLS_DIR: TLS is spoken with PROTOCOL=http only".to_owned());
        }
        Ok(Self {
            port: parsed(&get, "PORT", 8080)?,
            protocol,
            tls_dir,
            version: get("VERSION").unwrap_or_else(|| "v1".to_owned()),
            pod: get("POD_NAME").or_else(|| get("HOSTNAME")).unwrap_or_else(|| "local".to_owned()),
            error_rate: share(&get, "ERROR_RATE", 0.0)?,
            latency: duration(&get, "LATENCY", Duration::ZERO)?,
            latency_tail: share(&get, "LATENCY_TAIL", 1.0)?,
            ready: parsed(&get, "READY", true)?,
            drain: duration(&get, "DRAIN", Duration::from_secs(5))?,
        })
    }
}

fn parsed<T: FromStr>(get: impl Fn(&str) -> Option<String>, name: &str, default: T) -> Result<T, String> {
    match get(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("{name}: {text:?} is not valid")),
    }
}

fn share(get: impl Fn(&str) -> Option<String>, name: &str, default: f64) -> Result<f64, String> {
    let value: f64 = parsed(get, name, default)?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(format!("{name}: {value} is not between 0 and 1")) }
}

fn duration(get: impl Fn(&str) -> Option<String>, name: &str, default: Duration) -> Result<Duration, String> {
    let Some(text) = get(name) else { return Ok(default) };
    let bad = || format!("{name}: {text:?} is not a duration such as 20ms or 5s");
    let (number, unit_in_ms) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').ok_or_else(bad)?, 1000),
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    number.checked_mul(unit_in_ms).map(Duration::from_millis).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Config, Protocol};

    fn read(pairs: &[(&str, &str)]) -> Result<Config, String> {
        Config::read(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn without_variables_it_is_a_healthy_v1() {
        let config = read(&[]).expect("defaults are valid");
        assert_eq!((config.version.as_str(), config.error_rate, config.port), ("v1", 0.0, 8080));
        assert!(config.ready && config.protocol == Protocol::Http && config.tls_dir.is_none());
    }

    #[test]
    fn durations_are_milliseconds_or_seconds() {
        let config = read(&[("LATENCY", "20ms"), ("DRAIN", "3s")]).expect("valid");
        assert_eq!((config.latency, config.drain), (Duration::from_millis(20), Duration::from_secs(3)));
    }

    #[test]
    fn what_is_said_again_is_not_in_tls() {
        let error = read(&[("PROTOCOL", "tcp"), ("TLS_DIR", "/tls")]).expect_err("invalid");
        assert!(error.starts_with("TLS_DIR"), "{error}");
    }

    #[test]
    fn a_value_that_cannot_be_read_is_named() {
        let cases =
            [("ERROR_RATE", "5%"), ("ERROR_RATE", "1.5"), ("LATENCY", "20"), ("PORT", "x"), ("PROTOCOL", "sctp")];
        for (name, value) in cases {
            let error = read(&[(name, value)]).expect_err("invalid");
            assert!(error.starts_with(name), "{error}");
        }
    }
}
