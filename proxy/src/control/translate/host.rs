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
}
