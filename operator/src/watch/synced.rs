//! Which watches have seen the whole of what they watch: before, nothing that is missing may be taken as gone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The watches.
#[derive(Clone, Default)]
pub(crate) struct Synced(Arc<Mutex<BTreeMap<String, bool>>>);

impl Synced {
    /// A watch that is waited for; the result is called when it has seen everything.
    pub(crate) fn expect(&self, what: &str, namespace: Option<&str>) -> impl FnMut() + Send + 'static + use<> {
        let name = namespace.map_or_else(|| what.to_owned(), |namespace| format!("{what} in {namespace}"));
        self.set(&name, false);
        let synced = self.clone();
        move || synced.set(&name, true)
    }

    /// The watches that are still waited for.
    pub(crate) fn missing(&self) -> Vec<String> {
        let watches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watches.iter().filter(|(_, done)| !**done).map(|(name, _)| name.clone()).collect()
    }

    fn set(&self, name: &str, done: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), done);
    }
}

#[cfg(test)]
mod tests {
    use super::Synced;

    #[test]
    fn it_is_said_which_watch_is_waited_for() {
        let synced = Synced::default();
        let mut first = synced.expect("rollouts", Some("shop"));
        let mut second = synced.expect("services", None);
        assert_eq!(synced.missing(), ["rollouts in shop", "services"]);
        first();
        assert_eq!(synced.missing(), ["services"]);
        second();
        assert!(synced.missing().is_empty());
    }
}
