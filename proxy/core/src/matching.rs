//! Matchers, compiled once per snapshot, one kind a file. Which of several matches wins is [`precedence`]'s business.

pub mod grpc;
pub mod host;
pub mod path;
pub mod precedence;
pub mod values;

use http::Method;

pub use host::Hosts;
pub use path::PathMatcher;
pub use values::ValueMatcher;

/// All conditions of one match of a rule.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// Compared with the path.
    pub path: PathMatcher,
    /// The method that it takes; none takes all.
    pub method: Option<Method>,
    /// Conditions on headers.
    pub headers: Box<[ValueMatcher<http::HeaderName>]>,
    /// Conditions on query parameters.
    pub query: Box<[ValueMatcher<Box<str>>]>,
}

impl Matcher {
    /// Whether the request satisfies every condition. `path` is the request's path as it is forwarded.
    pub fn matches(&self, path: &str, request: &http::request::Parts) -> bool {
        self.path.matches(path)
            && self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.headers.iter().all(|header| header.matches_header(&request.headers))
            && (self.query.is_empty() || {
                let query = request.uri.query().unwrap_or_default();
                self.query.iter().all(|parameter| parameter.matches_query(query))
            })
    }
}

/// Longest program of a regular expression, so that no route's author can make a data plane large.
pub const REGEX_SIZE_LIMIT: usize = 64 * 1024;

/// Compiles a pattern that must match the whole of its input, in linear time.
pub(crate) fn whole_match(pattern: &str) -> Result<regex::Regex, regex::Error> {
    let compile = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(REGEX_SIZE_LIMIT).build();
    // By itself first: a bracket too many would close ours and let the pattern match a part.
    compile(pattern)?;
    compile(&format!("^(?:{pattern})$"))
}
