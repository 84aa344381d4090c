//! Dense numbers for what is counted apart: one cell for each backend of a rule under one generation of its route.
//!
//! A number stays the same from snapshot to snapshot while the key does, so that a worker indexes an array and never
//! hashes. A number that was forgotten is given out again: whoever forgets one makes sure that nobody counts on it.

use std::collections::HashMap;
use std::sync::Arc;

/// What a cell counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellKey {
    /// `HTTPRoute/namespace/name`
    pub route: Arc<str>,
    /// The rule's name or index.
    pub rule: Arc<str>,
    /// `namespace/service:port`
    pub backend: Arc<str>,
    /// Generation of the route.
    pub generation: i64,
}

/// The dense number of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellId(pub u32);

impl CellId {
    /// As an index into arrays.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Gives out the numbers.
#[derive(Debug, Default)]
pub struct Cells {
    ids: HashMap<CellKey, CellId>,
    keys: Vec<Option<CellKey>>,
    free: Vec<CellId>,
}

impl Cells {
    /// The number of `key`, a new one when it has none.
    pub fn intern(&mut self, key: CellKey) -> CellId {
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.keys.push(None);
            CellId(self.keys.len() as u32 - 1)
        });
        self.keys[id.index()] = Some(key.clone());
        self.ids.insert(key, id);
        id
    }

    /// The key of a number that is in use.
    pub fn key(&self, id: CellId) -> Option<&CellKey> {
        self.keys.get(id.index())?.as_ref()
    }

    /// Every number in use with its key.
    pub fn iter(&self) -> impl Iterator<Item = (CellId, &CellKey)> {
        self.keys.iter().enumerate().filter_map(|(index, key)| Some((CellId(index as u32), key.as_ref()?)))
    }

    /// Frees a number. The caller guarantees that no snapshot that may still be served names it.
    pub fn forget(&mut self, id: CellId) {
        if let Some(key) = self.keys.get_mut(id.index()).and_then(Option::take) {
            self.ids.remove(&key);
            self.free.push(id);
        }
    }

    /// How many numbers are in use.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{CellKey, Cells};

    fn key(generation: i64) -> CellKey {
        CellKey { route: "HTTPRoute/a/b".into(), rule: "0".into(), backend: "a/b:80".into(), generation }
    }

    #[test]
    fn a_key_keeps_its_number_until_it_is_forgotten() {
        let mut cells = Cells::default();
        let first = cells.intern(key(1));
        let second = cells.intern(key(2));
        assert_ne!(first, second);
        assert_eq!(cells.intern(key(1)), first);
        cells.forget(first);
        assert_eq!(cells.key(first), None);
        assert_eq!(cells.intern(key(3)), first);
        assert_eq!(cells.len(), 2);
    }
}
