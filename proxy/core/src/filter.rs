//! Filters, compiled once per snapshot and applied to heads: header edits, redirects and rewrites.

pub mod header;
pub mod path;
pub mod redirect;
pub mod rewrite;

use http::{request, response};

use crate::model::Filter;
pub use header::HeaderEdits;
pub use redirect::Redirection;
pub use rewrite::Rewriting;

/// Why a filter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Not a header name.
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// Not a header value.
    #[error("the value of header {0:?} is not allowed in a header")]
    HeaderValue(String),
    /// Not a host name that can stand in a header.
    #[error("{0:?} is not a host name")]
    Hostname(String),
    /// Not a path that can be requested.
    #[error("{0:?} is not a path")]
    Path(String),
    /// Not a scheme.
    #[error("{0:?} is not a scheme; http and https are")]
    Scheme(String),
    /// Not a redirect.
    #[error("{0} is not the status of a redirect")]
    Status(u16),
}

/// The filters of a rule or of a backend in it, redirects apart.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    request: Box<[RequestFilter]>,
    response: Box<[HeaderEdits]>,
}

#[derive(Clone, Debug)]
enum RequestFilter {
    Headers(HeaderEdits),
    Rewrite(Rewriting),
}

impl Filters {
    /// Compiles filters in their order; the first redirect is given apart, because it ends the request.
    pub fn compile(filters: &[Filter]) -> Result<(Self, Option<Redirection>), FilterError> {
        let (mut request, mut response, mut redirection) = (Vec::new(), Vec::new(), None);
        for filter in filters {
            match filter {
                Filter::RequestHeaders(edit) => request.push(RequestFilter::Headers(HeaderEdits::compile(edit)?)),
                Filter::ResponseHeaders(edit) => response.push(HeaderEdits::compile(edit)?),
                Filter::Redirect(redirect) if redirection.is_none() => {
                    redirection = Some(Redirection::compile(redirect)?);
                }
                Filter::Redirect(_) => {}
                Filter::Rewrite(rewrite) => request.push(RequestFilter::Rewrite(Rewriting::compile(rewrite)?)),
            }
        }
        Ok((Self { request: request.into(), response: response.into() }, redirection))
    }

    /// Changes a request whose URI is in origin form. `prefix` is the length of the path prefix that the rule matched.
    pub fn change_request(&self, head: &mut request::Parts, prefix: Option<usize>) {
        for filter in &self.request {
            match filter {
                RequestFilter::Headers(edits) => edits.apply(&mut head.headers),
                RequestFilter::Rewrite(rewriting) => rewriting.apply(head, prefix),
            }
        }
    }

    /// Changes a response.
    pub fn change_response(&self, head: &mut response::Parts) {
        for edits in &self.response {
            edits.apply(&mut head.headers);
        }
    }
}
