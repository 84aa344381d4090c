//! The requests of a load, made ready before it starts.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;

use super::{LoadConfig, Protocol, Target};

/// The body of a POST.
const BODY: &[u8] = b"{\"order\":1}";

/// One for each target.
#[derive(Debug)]
pub(super) struct Requests {
    method: Method,
    heads: Vec<(Uri, HeaderMap)>,
}

impl Requests {
    pub(super) fn new(config: &LoadConfig) -> Result<Self> {
        ensure!(!config.targets.is_empty(), "targets: there is none");
        let headers = headers(&config.headers)?;
        let head = |target: &Target| {
            let path: Uri = target.path.parse().with_context(|| format!("path {:?}", target.path))?;
            let host = HeaderValue::from_str(&target.host).with_context(|| format!("host {:?}", target.host))?;
            let mut headers = headers.clone();
            if config.protocol == Protocol::Http2 {
                // The pseudo-header stands for it (RFC 9113, section 8.3.1).
                return Ok((format!("http://{}{path}", target.host).parse()?, headers));
            }
            headers.insert(header::HOST, host);
            Ok((path, headers))
        };
        Ok(Self { method: config.method.clone(), heads: config.targets.iter().map(head).collect::<Result<_>>()? })
    }

    /// A request to a target that is drawn at random.
    pub(super) fn draw(&self) -> Request<Full<Bytes>> {
        let (uri, headers) = &self.heads[fastrand::usize(..self.heads.len())];
        let body = if self.method == Method::POST { BODY } else { b"" };
        let mut request = Request::new(Full::new(Bytes::from_static(body)));
        *request.method_mut() = self.method.clone();
        request.uri_mut().clone_from(uri);
        request.headers_mut().clone_from(headers);
        request
    }
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap> {
    let header = |(name, value): &(String, String)| {
        let key = HeaderName::from_bytes(name.as_bytes()).with_context(|| format!("header {name:?}"))?;
        let value = HeaderValue::from_str(value).with_context(|| format!("value {value:?} of header {name}"))?;
        Ok((key, value))
    };
    pairs.iter().map(header).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::{Method, header};
    use hyper::body::Body;

    use super::{LoadConfig, Requests, Target};

    fn config(targets: &[(&str, &str)]) -> LoadConfig {
        let target = |(host, path): &(&str, &str)| Target { host: (*host).to_owned(), path: (*path).to_owned() };
        let address = "127.0.0.1:80".parse().expect("address");
        LoadConfig { targets: targets.iter().map(target).collect(), ..LoadConfig::new(address, "unused") }
    }

    #[test]
    fn every_target_is_drawn_with_its_own_host() {
        let requests = Requests::new(&config(&[("a", "/1"), ("b", "/2")])).expect("valid");
        let pair = |_| {
            let request = requests.draw();
            format!("{:?}{}", request.headers()[header::HOST], request.uri())
        };
        let drawn: BTreeSet<_> = (0..100).map(pair).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), ["\"a\"/1", "\"b\"/2"]);
    }

    #[test]
    fn only_a_post_has_a_body() {
        for (method, empty) in [(Method::POST, false), (Method::GET, true)] {
            let requests = Requests::new(&LoadConfig { method, ..config(&[("a", "/")]) }).expect("valid");
            assert_eq!(requests.draw().body().is_end_stream(), empty);
        }
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        for (targets, named) in [(&[][..], "targets"), (&[("a", "no path")], "no path"), (&[("\n", "/")], "host")] {
            let error = Requests::new(&config(targets)).expect_err("invalid").to_string();
            assert!(error.contains(named), "{error}");
        }
        let headers = vec![("no name".to_owned(), String::new())];
        let error = Requests::new(&LoadConfig { headers, ..config(&[("a", "/")]) }).expect_err("invalid").to_string();
        assert!(error.contains("no name"), "{error}");
    }
}
