//! An ordered map whose copies share what is the same in them: a copy costs next to nothing, and what differs between two
//! versions is found by looking only at what they do not share.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashSet},
    fmt,
    ops::Index,
    sync::Arc,
};

/// Entries of one chunk at most: with some thousand entries, about as many chunks as entries in each.
const CHUNK: usize = 128;

type Entry<K, V> = (K, Arc<V>);

/// Entries in the order of the keys.
pub type Iter<'a, K, V> = Box<dyn Iterator<Item = (&'a K, &'a V)> + 'a>;

/// The map. Chunks are never empty, and sorted in themselves and among each other.
pub struct SharedMap<K, V> {
    chunks: Vec<Arc<Vec<Entry<K, V>>>>,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone() }
    }
}

impl<K, V> SharedMap<K, V> {
    /// Entries in the order of the keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Box::new(self.chunks.iter().flat_map(|chunk| chunk.iter().map(|(key, value)| (key, &**value))))
    }

    /// Keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// Values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

impl<K: Ord + Clone, V> SharedMap<K, V> {
    /// The chunk that has a key or would take it.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        self.chunks.partition_point(|chunk| chunk[0].0.borrow() <= key).saturating_sub(1)
    }

    /// The value of a key, to be shared.
    pub fn shared<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let place = chunk.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
        Some(&chunk[place].1)
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shared(key).map(|value| &**value)
    }

    /// Whether there is a value of this key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.shared(key).is_some()
    }

    /// Puts a value under a key.
    pub fn insert(&mut self, key: K, value: impl Into<Arc<V>>) {
        let (at, value) = (self.chunk_of(&key), value.into());
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Arc::new(vec![(key, value)]));
            return;
        };
        let chunk = Arc::make_mut(chunk);
        match chunk.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(place) => chunk[place].1 = value,
            Err(place) => chunk.insert(place, (key, value)),
        }
        if chunk.len() > CHUNK {
            let upper = chunk.split_off(CHUNK / 2);
            self.chunks.insert(at + 1, Arc::new(upper));
        }
    }

    /// Takes the value of a key away.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let Some(chunk) = self.chunks.get_mut(at) else { return };
        let Ok(place) = chunk.binary_search_by(|(known, _)| known.borrow().cmp(key)) else { return };
        let chunk = Arc::make_mut(chunk);
        chunk.remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
    }

    /// The value of a key, to be changed; copies of the map keep theirs.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
        V: Clone,
    {
        let at = self.chunk_of(key);
        let chunk = self.chunks.get_mut(at)?;
        let place = chunk.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
        Some(Arc::make_mut(&mut Arc::make_mut(chunk)[place].1))
    }

    /// Puts a value under a key unless its equal is there, which then stays the one that copies share.
    pub fn set(&mut self, key: K, value: impl Into<Arc<V>>)
    where
        V: PartialEq,
    {
        let value = value.into();
        if self.get(&key) != Some(&*value) {
            self.insert(key, value);
        }
    }

    /// What this map holds, sharing with an older one what is equal in both.
    #[must_use]
    pub fn sharing_with(self, older: &Self) -> Self
    where
        V: PartialEq,
    {
        let mut shared = older.clone();
        for key in older.keys().filter(|key| !self.contains_key(*key)) {
            shared.remove(key);
        }
        for (key, value) in self.chunks.iter().flat_map(|chunk| chunk.iter()) {
            shared.set(key.clone(), Arc::clone(value));
        }
        shared
    }

    /// Keys whose values are not shared with an older map, each with its value; none where only the older one has it.
    pub fn news<'a>(&'a self, older: &'a Self) -> Vec<(&'a K, Option<&'a Arc<V>>)> {
        let mut before: BTreeMap<&K, &Arc<V>> = older.beside(self).map(|(key, value)| (key, value)).collect();
        let now = self.beside(older).map(|(key, value)| (key, value));
        let mut news: Vec<_> = now
            .filter(|(key, value)| before.remove(key).is_none_or(|before| !Arc::ptr_eq(before, value)))
            .map(|(key, value)| (key, Some(value)))
            .collect();
        news.extend(before.into_keys().map(|key| (key, None)));
        news
    }

    /// Entries of chunks that another map does not share.
    fn beside<'a>(&'a self, other: &Self) -> impl Iterator<Item = &'a Entry<K, V>> + use<'a, K, V> {
        let shared: HashSet<_> = other.chunks.iter().map(Arc::as_ptr).collect();
        self.chunks.iter().filter(move |chunk| !shared.contains(&Arc::as_ptr(chunk))).flat_map(|chunk| chunk.iter())
    }
}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Ord + Clone, V> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Ord + Clone, V> Index<&K> for SharedMap<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        self.get(key).expect("an entry of this key")
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(map: &SharedMap<u16, u16>) -> Vec<(u16, u16)> {
        map.iter().map(|(key, value)| (*key, *value)).collect()
    }

    /// Thousands of changes, each beside the same one of a map of the standard library.
    #[test]
    fn it_is_a_map_and_its_copies_stay_as_they_were() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut map, mut model) = (SharedMap::default(), BTreeMap::new());
        let mut versions = Vec::new();
        for step in 0..20_000_u16 {
            // It grows, and shrinks to nothing in the end.
            let key = random.u16(..1_000);
            if random.u16(..20_000) > step {
                let value = random.u16(..4);
                map.set(key, value);
                model.insert(key, value);
            } else {
                map.remove(&key);
                model.remove(&key);
            }
            assert_eq!((map.get(&key), map.len()), (model.get(&key), model.len()));
            if step % 1_000 == 0 {
                versions.push((map.clone(), model.clone()));
            }
        }
        for (map, model) in &versions {
            assert_eq!(entries(map), model.clone().into_iter().collect::<Vec<_>>());
        }
        for ((older, before), (newer, now)) in versions.iter().zip(&versions[1..]) {
            for (key, value) in newer.news(older) {
                assert_eq!(value.map(|value| **value), now.get(key).copied(), "{key}");
            }
            let changed: HashSet<_> = newer.news(older).into_iter().map(|(key, _)| *key).collect();
            let differs = |key: &u16| before.get(key) != now.get(key);
            assert!((0..1_000).filter(differs).all(|key| changed.contains(&key)), "what differs is told");
        }
    }

    #[test]
    fn a_copy_with_one_change_differs_in_that_alone() {
        let before: SharedMap<u16, u16> = (0..1_000).map(|key| (key, 0)).collect();
        let mut after = before.clone();
        after.set(7, 0);
        assert!(after.news(&before).is_empty(), "the same is not news");
        after.set(7, 1);
        after.remove(&500);
        *after.get_mut(&900).unwrap() = 5;
        let news: Vec<_> = after.news(&before).into_iter().map(|(key, value)| (*key, value.map(|v| **v))).collect();
        assert_eq!(news, [(7, Some(1)), (900, Some(5)), (500, None)]);
    }

    #[test]
    fn what_was_made_anew_shares_what_is_equal() {
        let before: SharedMap<u16, u16> = (0..1_000).map(|key| (key, key % 2)).collect();
        let anew: SharedMap<u16, u16> = (1..1_000).map(|key| (key, u16::from(key % 2 == 1 && key != 3))).collect();
        let after = anew.clone().sharing_with(&before);
        assert_eq!(after, anew);
        let news: Vec<_> = after.news(&before).into_iter().map(|(key, value)| (*key, value.map(|v| **v))).collect();
        assert_eq!(news, [(3, Some(0)), (0, None)]);
    }
}
