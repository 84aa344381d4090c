//! gRPC methods: `/service/method` paths, part by part.

use crate::model::GrpcMethod;

/// A compiled method condition.
#[derive(Clone, Debug)]
pub struct MethodMatcher {
    service: Part,
    method: Part,
}

/// One part of the path.
#[derive(Clone, Debug)]
enum Part {
    Any,
    Exact(Box<str>),
    Regex(regex::Regex),
}

impl MethodMatcher {
    /// Compiles a condition.
    pub fn new(spec: &GrpcMethod) -> Result<Self, regex::Error> {
        let part = |part: &Option<String>| match part {
            None => Ok(Part::Any),
            Some(pattern) if spec.regex => super::whole_match(pattern).map(Part::Regex),
            Some(exact) => Ok(Part::Exact(exact.as_str().into())),
        };
        Ok(Self { service: part(&spec.service)?, method: part(&spec.method)? })
    }

    /// Whether a path names such a method. One that is not of two elements names none.
    pub fn matches(&self, path: &str) -> bool {
        let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        parts.is_some_and(|(service, method)| {
            let named = !service.is_empty() && !method.is_empty() && !method.contains('/');
            named && self.service.matches(service) && self.method.matches(method)
        })
    }
}

impl Part {
    fn matches(&self, part: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => part == &**exact,
            Self::Regex(pattern) => pattern.is_match(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MethodMatcher;
    use crate::model::GrpcMethod;

    #[test]
    fn service_and_method_match_each_by_itself() {
        let of = |service: &str, method: &str, regex| GrpcMethod {
            service: (!service.is_empty()).then(|| service.to_owned()),
            method: (!method.is_empty()).then(|| method.to_owned()),
            regex,
        };
        let cases = [
            (of("a.Echo", "Say", false), "/a.Echo/Say", true),
            (of("a.Echo", "Say", false), "/a.echo/Say", false),
            (of("a.Echo", "Say", false), "/a.Echo/Says", false),
            (of("a.Echo", "", false), "/a.Echo/Anything", true),
            (of("a.Echo", "", false), "/a.Echo2/Anything", false),
            (of("", "Say", false), "/b.Other/Say", true),
            (of("", "Say", false), "/b.Other/Shout", false),
            (of("a.Echo", "", false), "/a.Echo", false),
            (of("a.Echo", "", false), "/a.Echo/", false),
            (of("", "Say", false), "//Say", false),
            (of("", "Say", false), "/a/b/Say", false),
            (of(r"a\.[A-Z]\w+", "Say|Shout", true), "/a.Echo/Shout", true),
            (of(r"a\.[A-Z]\w+", "Say|Shout", true), "/a.Echo/Shouts", false),
            // A dot is any character, and a slash is none of a part.
            (of("a.*", "", true), "/a.b/c/d", false),
        ];
        for (spec, path, expected) in cases {
            let matcher = MethodMatcher::new(&spec).expect("pattern");
            assert_eq!(matcher.matches(path), expected, "{spec:?} {path}");
        }
    }

    #[test]
    fn a_pattern_cannot_break_out_of_its_part() {
        let spec = GrpcMethod { service: Some("a)|(.*".into()), method: None, regex: true };
        assert!(MethodMatcher::new(&spec).is_err());
    }
}
