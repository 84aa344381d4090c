//! Filters, compiled once per snapshot and applied to heads: header edits, redirects, rewrites and marks for web pages of
//! other origins.

pub mod cors;
pub mod header;
pub mod path;
pub mod redirect;
pub mod rewrite;

use http::{request, response};

use crate::model::{Filter, Mirror};
pub use cors::Cors;
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
    /// Not an origin of web pages.
    #[error("{0:?} is not an origin: http or https, a host (which may begin with `*.`) and perhaps a port are")]
    Origin(String),
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

/// Filters by when they have their say.
#[derive(Debug, Default)]
pub struct Compiled<'a> {
    /// Those that change heads.
    pub filters: Filters,
    /// The first of its kind: it ends the request.
    pub redirection: Option<Redirection>,
    /// The first of its kind: it may end the request.
    pub cors: Option<Cors>,
    /// Copies to send.
    pub mirrors: Vec<&'a Mirror>,
}

/// The filters of a rule or of a backend in it that change heads.
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
    /// Compiles filters in their order.
    pub fn compile(filters: &[Filter]) -> Result<Compiled<'_>, FilterError> {
        let (mut request, mut response, mut compiled) = (Vec::new(), Vec::new(), Compiled::default());
        for filter in filters {
            match filter {
                Filter::RequestHeaders(edit) => request.push(RequestFilter::Headers(HeaderEdits::compile(edit)?)),
                Filter::ResponseHeaders(edit) => response.push(HeaderEdits::compile(edit)?),
                Filter::Redirect(redirect) if compiled.redirection.is_none() => {
                    compiled.redirection = Some(Redirection::compile(redirect)?);
                }
                Filter::Cors(cors) if compiled.cors.is_none() => compiled.cors = Some(Cors::compile(cors)?),
                Filter::Redirect(_) | Filter::Cors(_) => {}
                Filter::Mirror(mirror) => compiled.mirrors.push(mirror),
                Filter::Rewrite(rewrite) => request.push(RequestFilter::Rewrite(Rewriting::compile(rewrite)?)),
            }
        }
        compiled.filters = Self { request: request.into(), response: response.into() };
        Ok(compiled)
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
