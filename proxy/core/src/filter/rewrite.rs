//! Rewrites: the host and path under which a backend is asked.

use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, header, request};

use super::FilterError;
use super::path::PathEdits;
use crate::model::Rewrite;

/// A compiled rewrite.
#[derive(Clone, Debug)]
pub struct Rewriting {
    host: Option<HeaderValue>,
    path: Option<PathEdits>,
}

impl Rewriting {
    /// Checks a rewrite.
    pub fn compile(rewrite: &Rewrite) -> Result<Self, FilterError> {
        let host = rewrite.hostname.as_deref().map(|name| {
            let name = hostname(name)?;
            HeaderValue::from_str(&name).map_err(|_| FilterError::Hostname(name.into()))
        });
        Ok(Self { host: host.transpose()?, path: rewrite.path.as_ref().map(PathEdits::compile).transpose()? })
    }

    /// Changes a request whose URI is in origin form. The query stays.
    pub fn apply(&self, head: &mut request::Parts, prefix: Option<usize>) {
        if let Some(host) = &self.host {
            head.headers.insert(header::HOST, host.clone());
        }
        if let Some(edits) = &self.path {
            let mut target = edits.apply(head.uri.path(), prefix);
            if let Some(query) = head.uri.query() {
                target.push('?');
                target.push_str(query);
            }
            // Both parts were valid apart: the edit when it was compiled, the rest when the request was parsed.
            if let Ok(target) = PathAndQuery::try_from(target) {
                head.uri = Uri::from(target);
            }
        }
    }
}

/// A host name that can stand in `Host` and `Location`.
pub(super) fn hostname(name: &str) -> Result<Box<str>, FilterError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || !name.bytes().all(allowed) {
        return Err(FilterError::Hostname(name.to_owned()));
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::Rewriting;
    use crate::model::{PathEdit, Rewrite};

    #[test]
    fn host_and_path_change_and_the_query_stays() {
        let request =
            Request::builder().uri("/strip-prefix/three?a=b").header("host", "old").body(()).expect("request");
        let (mut head, ()) = request.into_parts();
        let rewrite = Rewrite { hostname: Some("one.example.org".into()), path: Some(PathEdit::Prefix("/".into())) };
        Rewriting::compile(&rewrite).expect("rewrite").apply(&mut head, Some("/strip-prefix".len()));
        assert_eq!(head.uri, "/three?a=b");
        assert_eq!(head.headers["host"], "one.example.org");
    }
}
