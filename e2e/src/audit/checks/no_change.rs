//! No write of ours that changes nothing: the API server answers such a one with the old resourceVersion.

use crate::audit::{Check, Judged, Who, Write, event::version, history::is_gone};

/// Needs no memory beyond the history's.
#[derive(Debug)]
pub(super) struct NoChange;

impl Check for NoChange {
    fn promise(&self) -> &'static str {
        "no write changes nothing"
    }

    fn see(&mut self, write: &Write, found: &mut Vec<String>) -> Judged {
        let is_change = ["update", "patch"].contains(&write.event.verb.as_str());
        let Some(now) = write.event.version().filter(|_| is_change && write.event.who() != Who::Other) else {
            return Judged::No;
        };
        // Where the last finalizer goes the object goes, and the answer shows it as it was stored last.
        if write.after.as_deref().is_some_and(is_gone) {
            return Judged::No;
        }
        let known = write.before.as_deref().and_then(version);
        if known == Some(now) || write.event.tested_version() == Some(now) {
            found.push("the object was like this already".to_owned());
        }
        Judged::Yes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::NoChange;
    use crate::audit::testing::{breaks, by_user, holds, operator};

    #[test]
    fn writes_that_change_something_are_fine() {
        let events = vec![
            by_user("create", "apps/deployments", "a/b", json!({}), 1),
            operator("patch", "apps/deployments", "a/b", json!({}), 2),
            // What others write is their matter.
            by_user("patch", "apps/deployments", "a/b", json!({}), 2),
        ];
        holds(NoChange, events, 1);
    }

    #[test]
    fn a_write_that_left_the_version_is_found() {
        let events = vec![
            by_user("create", "apps/deployments", "a/b", json!({}), 1),
            operator("patch", "apps/deployments", "a/b", json!({}), 1),
        ];
        breaks(NoChange, events, "was like this already");
    }

    #[test]
    fn the_end_of_an_object_is_a_change_that_has_no_version() {
        let deleted = json!({"metadata": {"deletionTimestamp": "t", "finalizers": ["f"]}});
        let gone = json!({"metadata": {"deletionTimestamp": "t"}});
        let events = vec![
            by_user("delete", "sluice.dev/rollouts", "a/b", deleted, 1),
            operator("patch", "sluice.dev/rollouts", "a/b", gone, 1),
        ];
        holds(NoChange, events, 0);
    }

    #[test]
    fn a_patch_says_itself_what_it_started_from() {
        let mut patch = operator("patch", "apps/deployments", "a/b", json!({}), 5);
        patch.request_object = json!([{"op": "test", "path": "/metadata/resourceVersion", "value": "5"}]);
        breaks(NoChange, vec![patch.clone()], "was like this already");
        patch.request_object[0]["value"] = json!("4");
        holds(NoChange, vec![patch], 1);
    }
}
