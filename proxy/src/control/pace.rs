//! Spaces out writes of status that say nothing new but how many routes are attached. A thousand routes that come within
//! seconds are told of in a few writes, and the first and the last of them without delay worth the name.

use std::{collections::HashMap, time::Duration};

use serde_json::Value;
use tokio::time::Instant;

use crate::control::{
    status::differs_in_counts_only,
    writer::{StatusWriter, WithStatus},
};

/// From one such write of an object to the next.
const INTERVAL: Duration = Duration::from_millis(500);

/// When counts were written last, by UID; forgotten once another write would be admitted.
#[derive(Debug, Default)]
pub struct Pace(HashMap<String, Instant>);

impl Pace {
    /// Whether an object is to be written now.
    pub fn admits<K: WithStatus>(
        &mut self,
        writer: &StatusWriter,
        cached: &K,
        wanted: impl Fn(&Value) -> Option<Value>,
    ) -> bool {
        let live = writer.status(cached);
        let uid = cached.meta().uid.as_deref().unwrap_or_default();
        wanted(&live).is_some_and(|wanted| self.takes(uid, &live, &wanted, Instant::now()))
    }

    fn takes(&mut self, uid: &str, live: &Value, wanted: &Value, now: Instant) -> bool {
        if live == wanted || !differs_in_counts_only(live, wanted) {
            return live != wanted;
        }
        let waits = self.0.get(uid).is_some_and(|last| *last + INTERVAL > now);
        if !waits {
            self.0.insert(uid.to_owned(), now);
        }
        !waits
    }

    /// When to look again at what was not admitted.
    pub fn next(&mut self, now: Instant) -> Option<Instant> {
        self.0.retain(|_, last| *last + INTERVAL > now);
        self.0.values().min().map(|last| *last + INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_are_told_at_once_and_then_now_and_then_and_all_else_at_once() {
        let status = |routes: u32, reason: &str| {
            json!({
                "listeners": [{"name": "http", "attachedRoutes": routes}], "conditions": [{"reason": reason}],
            })
        };
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        let live = status(0, "a");
        for (millis, wanted, expected) in [
            (0, status(0, "a"), false),
            (0, status(1, "a"), true),
            (1, status(2, "a"), false),
            (2, status(2, "b"), true),
            (499, status(300, "a"), false),
            (500, status(301, "a"), true),
            (700, status(302, "a"), false),
        ] {
            assert_eq!(pace.takes("gateway", &live, &wanted, at(millis)), expected, "after {millis} ms");
        }
        assert!(pace.takes("another", &live, &status(1, "a"), at(700)), "each has its own");
        assert_eq!(pace.next(at(700)), Some(at(1000)), "what waits is looked at again");
        assert_eq!(pace.next(at(1200)), None);
    }
}
