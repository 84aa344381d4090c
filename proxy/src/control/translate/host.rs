//! Host names of listeners and routes.

/// A host name in lower case; none when it stands for every host.
pub fn normalised(hostname: Option<&str>) -> Option<String> {
    hostname.filter(|name| !name.is_empty()).map(str::to_ascii_lowercase)
}

/// Whether some host can match both a listener and a route. Each may be absent (every host) or start with `*.`, which
/// stands for one or more labels.
pub fn intersects(listener: Option<&str>, route: &[String]) -> bool {
    let Some(listener) = listener else { return true };
    route.is_empty() || route.iter().any(|route| overlap(listener, route))
}

/// Whether two routes that intersect with a listener have a host of it in common.
pub fn share(listener: Option<&str>, one: &[String], other: &[String]) -> bool {
    if one.is_empty() || other.is_empty() {
        return true;
    }
    let common = one.iter().flat_map(|a| other.iter().filter(move |b| overlap(a, b)).map(move |b| narrower(a, b)));
    common.into_iter().any(|name| listener.is_none_or(|listener| overlap(listener, name)))
}

/// Of two names that overlap, the one whose hosts the other one has too.
fn narrower<'a>(a: &'a str, b: &'a str) -> &'a str {
    if !a.starts_with('*') || (b.starts_with('*') && a.len() > b.len()) { a } else { b }
}

fn overlap(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (None, None) => a == b,
        (Some(suffix), None) => under(b, suffix),
        (None, Some(suffix)) => under(a, suffix),
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
    }
}

/// Whether a host lies under a suffix that starts with a dot; the apex does not.
fn under(host: &str, suffix: &str) -> bool {
    host.len() > suffix.len() && host.ends_with(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_intersect_as_the_specification_says() {
        let cases = [
            (Some("a.example.com"), "a.example.com", true),
            (Some("a.example.com"), "b.example.com", false),
            (Some("*.example.com"), "a.example.com", true),
            (Some("*.example.com"), "a.b.example.com", true),
            (Some("*.example.com"), "example.com", false),
            (Some("a.example.com"), "*.example.com", true),
            (Some("example.com"), "*.example.com", false),
            (Some("*.example.com"), "*.b.example.com", true),
            (Some("*.b.example.com"), "*.example.com", true),
            (Some("*.example.com"), "*.example.org", false),
            (Some("*.ample.com"), "a.example.com", false),
            (None, "anything.test", true),
        ];
        for (listener, route, expected) in cases {
            assert_eq!(intersects(listener, &[route.to_owned()]), expected, "{listener:?} and {route}");
        }
        assert!(intersects(Some("a.example.com"), &[]));
    }

    #[test]
    fn what_two_routes_share_must_be_a_host_of_the_listener() {
        type Names = &'static [&'static str];
        let cases: [(Option<&str>, Names, Names, bool); 8] = [
            (None, &["a.test"], &["a.test"], true),
            (None, &["a.test"], &["b.test"], false),
            (None, &[], &["b.test"], true),
            (None, &["*.test"], &["b.test", "c.org"], true),
            (None, &["*.a.test"], &["*.test"], true),
            (None, &["*.a.test"], &["*.b.test"], false),
            (Some("*.test"), &["a.test", "q.org"], &["b.test", "q.org"], false),
            (Some("a.test"), &["*.test"], &["*.test"], true),
        ];
        for (listener, one, other, expected) in cases {
            let names = |names: Names| names.iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(share(listener, &names(one), &names(other)), expected, "{listener:?} {one:?} {other:?}");
        }
    }
}
