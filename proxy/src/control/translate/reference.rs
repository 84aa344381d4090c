//! References across namespaces, and who permits them.

use crate::control::objects::Objects;

/// The object that refers: its group, kind and namespace.
#[derive(Clone, Copy, Debug)]
pub struct From<'a> {
    /// API group.
    pub group: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Namespace.
    pub namespace: &'a str,
}

/// The object that is referred to.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// API group; empty for the core group.
    pub group: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
}

/// Whether the reference stays in its namespace or a ReferenceGrant in the target's namespace permits it.
pub fn permitted(objects: &Objects, from: From<'_>, to: To<'_>) -> bool {
    from.namespace == to.namespace
        || objects.grants.iter().filter(|grant| grant.metadata.namespace.as_deref() == Some(to.namespace)).any(
            |grant| {
                let from_fits = grant.spec.from.iter().any(|allowed| {
                    allowed.group == from.group && allowed.kind == from.kind && allowed.namespace == from.namespace
                });
                let to_fits = grant.spec.to.iter().any(|allowed| {
                    let name = allowed.name.as_deref().unwrap_or_default();
                    allowed.group == to.group && allowed.kind == to.kind && (name.is_empty() || name == to.name)
                });
                from_fits && to_fits
            },
        )
}
