//! Changes of the path, which redirects and rewrites share.

use super::FilterError;
use crate::model::PathEdit;

/// A checked change of the path.
#[derive(Clone, Debug)]
pub enum PathEdits {
    /// The whole path.
    Full(Box<str>),
    /// What the rule's prefix match matched; without trailing slashes, because the rest brings its own.
    Prefix(Box<str>),
}

impl PathEdits {
    /// Checks that the replacement can stand in a request.
    pub fn compile(edit: &PathEdit) -> Result<Self, FilterError> {
        let (PathEdit::Full(path) | PathEdit::Prefix(path)) = edit;
        let in_path = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'"' | b'<' | b'>' | b'\\');
        let valid =
            path.is_empty() || http::uri::PathAndQuery::try_from(path.as_str()).is_ok_and(|_| path.starts_with('/'));
        if !valid || !path.bytes().all(in_path) {
            return Err(FilterError::Path(path.clone()));
        }
        Ok(match edit {
            PathEdit::Full(path) => Self::Full(if path.is_empty() { "/".into() } else { path.as_str().into() }),
            PathEdit::Prefix(prefix) => Self::Prefix(prefix.trim_end_matches('/').into()),
        })
    }

    /// The changed path. A prefix edit leaves a path alone whose rule did not match a prefix.
    pub fn apply(&self, path: &str, prefix: Option<usize>) -> String {
        match self {
            Self::Full(full) => full.to_string(),
            Self::Prefix(replacement) => match prefix.and_then(|prefix| path.get(prefix..)) {
                None => path.to_owned(),
                Some("") if replacement.is_empty() => "/".to_owned(),
                Some(rest) => format!("{replacement}{rest}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PathEdits;
    use crate::matching::PathMatcher;
    use crate::model::{PathEdit, PathMatch};

    /// The table in the API's documentation of `ReplacePrefixMatch`.
    #[test]
    fn a_prefix_is_replaced_with_exactly_one_slash() {
        let cases = [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/foo", "/", "/xyz", "/xyz/foo"),
            ("/", "/", "/xyz", "/xyz/"),
        ];
        for (path, prefix, replacement, expected) in cases {
            let matched = PathMatcher::new(Some(&PathMatch::Prefix(prefix.into()))).expect("prefix").prefix_len();
            let edits = PathEdits::compile(&PathEdit::Prefix(replacement.into())).expect("path");
            assert_eq!(edits.apply(path, matched), expected, "{path} {prefix} -> {replacement}");
        }
    }

    #[test]
    fn other_matches_have_no_prefix_to_replace() {
        let edits = PathEdits::compile(&PathEdit::Prefix("/xyz".into())).expect("path");
        assert_eq!(edits.apply("/foo", None), "/foo");
        let edits = PathEdits::compile(&PathEdit::Full("/xyz".into())).expect("path");
        assert_eq!(edits.apply("/foo", None), "/xyz");
    }

    #[test]
    fn what_could_not_be_requested_is_refused() {
        for path in ["relative", "/a b", "/a?b", "/a#b", "/a\r\nb"] {
            assert!(PathEdits::compile(&PathEdit::Full(path.into())).is_err(), "{path:?}");
        }
    }
}
