//! Header edits: set, add, remove, in this order.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::FilterError;
use crate::model::HeaderEdit;

/// Compiled header edits.
#[derive(Clone, Debug)]
pub struct HeaderEdits {
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
    remove: Box<[HeaderName]>,
}

impl HeaderEdits {
    /// Parses names and values. Edits of headers that frame the message or belong to the connection are left out:
    /// they are the proxy's, and changed by a user they would let one request be read as two.
    pub fn compile(edit: &HeaderEdit) -> Result<Self, FilterError> {
        let pairs = |pairs: &[(String, String)]| -> Result<Box<[_]>, FilterError> {
            let parsed = pairs.iter().map(|(name, value)| Ok((parse_name(name)?, parse_value(name, value)?)));
            let parsed: Vec<_> = parsed.collect::<Result<_, FilterError>>()?;
            Ok(parsed.into_iter().filter(|(name, _)| !is_framing(name)).collect())
        };
        let remove: Result<Vec<_>, _> = edit.remove.iter().map(|name| parse_name(name)).collect();
        Ok(Self {
            set: pairs(&edit.set)?,
            add: pairs(&edit.add)?,
            remove: remove?.into_iter().filter(|name| !is_framing(name)).collect(),
        })
    }

    /// Changes the headers.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

fn parse_name(name: &str) -> Result<HeaderName, FilterError> {
    HeaderName::try_from(name).map_err(|_| FilterError::HeaderName(name.to_owned()))
}

fn parse_value(name: &str, value: &str) -> Result<HeaderValue, FilterError> {
    HeaderValue::try_from(value).map_err(|_| FilterError::HeaderValue(name.to_owned()))
}

fn is_framing(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::HeaderEdits;
    use crate::model::HeaderEdit;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn after(edit: &HeaderEdit, before: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            let name: http::HeaderName = name.parse().expect("name");
            headers.append(name, HeaderValue::from_str(value).expect("value"));
        }
        HeaderEdits::compile(edit).expect("edit").apply(&mut headers);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().expect("ascii").to_owned())).collect();
        left.sort();
        left
    }

    #[test]
    fn edits_apply_in_order_and_without_regard_to_case() {
        let edit = HeaderEdit {
            set: pairs(&[("X-Set", "new"), ("x-new", "1")]),
            add: pairs(&[("X-Add", "b")]),
            remove: vec!["X-Gone".into()],
        };
        let before = [("x-set", "one"), ("x-set", "two"), ("x-add", "a"), ("x-gone", "1"), ("x-gone", "2")];
        let expected = pairs(&[("x-add", "a"), ("x-add", "b"), ("x-new", "1"), ("x-set", "new")]);
        assert_eq!(after(&edit, &before), expected);
    }

    #[test]
    fn framing_is_not_the_users_to_change() {
        let edit = HeaderEdit {
            set: pairs(&[("Content-Length", "0")]),
            add: pairs(&[("Transfer-Encoding", "chunked")]),
            remove: vec!["content-length".into()],
        };
        assert_eq!(after(&edit, &[("content-length", "5")]), pairs(&[("content-length", "5")]));
    }

    #[test]
    fn a_bad_name_or_value_is_refused() {
        for (name, value) in [("bad name", "x"), ("", "x"), ("good", "line\nbreak")] {
            assert!(
                HeaderEdits::compile(&HeaderEdit { set: pairs(&[(name, value)]), ..HeaderEdit::default() }).is_err()
            );
        }
    }
}
