//! Paths: exact, by whole path elements from the start, by regular expression, or as a gRPC method.

use super::grpc::MethodMatcher;
use crate::model::PathMatch;

/// A compiled path condition.
#[derive(Clone, Debug)]
pub enum PathMatcher {
    /// The whole path.
    Exact(Box<str>),
    /// Whole path elements; without its trailing slash, so `/` is the empty string.
    Prefix(Box<str>),
    /// The whole path by pattern.
    Regex(Box<regex::Regex>),
    /// Service and method.
    Grpc(Box<MethodMatcher>),
}

impl PathMatcher {
    /// Compiles a condition; none is prefix `/`.
    pub fn new(path: Option<&PathMatch>) -> Result<Self, regex::Error> {
        Ok(match path {
            None => Self::Prefix("".into()),
            Some(PathMatch::Exact(path)) => Self::Exact(path.as_str().into()),
            Some(PathMatch::Prefix(prefix)) => Self::Prefix(prefix.trim_end_matches('/').into()),
            Some(PathMatch::Regex(pattern)) => Self::Regex(Box::new(super::whole_match(pattern)?)),
            Some(PathMatch::Grpc(method)) => Self::Grpc(Box::new(MethodMatcher::new(method)?)),
        })
    }

    /// Whether a path satisfies it.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == &**exact,
            Self::Prefix(prefix) => match path.strip_prefix(&**prefix) {
                Some(rest) => rest.is_empty() || rest.starts_with('/'),
                None => false,
            },
            Self::Regex(pattern) => pattern.is_match(path),
            Self::Grpc(method) => method.matches(path),
        }
    }

    /// Length of the path's part that a `ReplacePrefixMatch` replaces; none unless it is a prefix.
    pub fn prefix_len(&self) -> Option<usize> {
        match self {
            Self::Prefix(prefix) => Some(prefix.len()),
            Self::Exact(_) | Self::Regex(_) | Self::Grpc(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PathMatcher;
    use crate::model::PathMatch;

    #[test]
    fn paths_match_as_the_api_says() {
        let exact = |path: &str| Some(PathMatch::Exact(path.into()));
        let prefix = |path: &str| Some(PathMatch::Prefix(path.into()));
        let regex = |path: &str| Some(PathMatch::Regex(path.into()));
        let cases = [
            (None, "/", true),
            (None, "/anything", true),
            (exact("/two"), "/two", true),
            (exact("/two"), "/two/", false),
            (exact("/two"), "/Two", false),
            (prefix("/"), "/", true),
            (prefix("/v2"), "/v2", true),
            (prefix("/v2"), "/v2/", true),
            (prefix("/v2"), "/v2/x", true),
            (prefix("/v2"), "/v2example", false),
            (prefix("/match/"), "/match", true),
            (prefix("/match/"), "/match/x", true),
            (regex("/a+"), "/aaa", true),
            (regex("/a+"), "/aaab", false),
            (regex("/a|/b"), "/bb", false),
            (regex("/a|/b"), "/b", true),
        ];
        for (path, input, expected) in cases {
            let matcher = PathMatcher::new(path.as_ref()).expect("pattern");
            assert_eq!(matcher.matches(input), expected, "{path:?} {input}");
        }
    }

    #[test]
    fn a_pattern_that_would_be_large_is_refused() {
        assert!(PathMatcher::new(Some(&PathMatch::Regex(r"/\w{1000}".into()))).is_err());
    }
}
