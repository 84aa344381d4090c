//! Numbered places for shared values. Copies of the whole share what they have in common: changing one value of a copy
//! copies one chunk of pointers.

use std::sync::Arc;

/// Places in one chunk: with some thousand values, about as many chunks as places in each.
const CHUNK: usize = 64;

/// Values by the number of their place.
#[derive(Debug)]
pub(super) struct Slots<T: ?Sized> {
    chunks: Vec<Arc<Chunk<T>>>,
}

#[derive(Debug)]
struct Chunk<T: ?Sized>([Option<Arc<T>>; CHUNK]);

impl<T: ?Sized> Clone for Chunk<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> Clone for Slots<T> {
    fn clone(&self) -> Self {
        Self { chunks: self.chunks.clone() }
    }
}

impl<T: ?Sized> Default for Slots<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: ?Sized> Slots<T> {
    /// The value at a place; none when nothing is there.
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        self.chunks.get(slot / CHUNK)?.0[slot % CHUNK].as_deref()
    }

    /// Every value.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.0.iter().filter_map(Option::as_deref))
    }

    /// Puts a value at a place, or takes away the one that is there.
    pub(super) fn set(&mut self, slot: u32, value: Option<Arc<T>>) {
        let slot = slot as usize;
        while self.chunks.len() <= slot / CHUNK {
            self.chunks.push(Arc::new(Chunk([const { None }; CHUNK])));
        }
        Arc::make_mut(&mut self.chunks[slot / CHUNK]).0[slot % CHUNK] = value;
    }
}

/// Gives out the places.
#[derive(Debug, Default)]
pub(super) struct Places {
    free: Vec<u32>,
    next: u32,
}

impl Places {
    /// One that nobody has.
    pub(super) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// Takes one back.
    pub(super) fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Places, Slots};

    #[test]
    fn a_copy_keeps_its_values_when_the_other_changes() {
        let (mut places, mut slots) = (Places::default(), Slots::default());
        let numbers: Vec<u32> = (0..200).map(|_| places.take()).collect();
        for slot in &numbers {
            slots.set(*slot, Some(Arc::new(*slot)));
        }
        let copy = slots.clone();
        slots.set(70, Some(Arc::new(1_000)));
        slots.set(199, None);
        assert_eq!((copy.get(70), copy.get(199), copy.iter().count()), (Some(&70), Some(&199), 200));
        assert_eq!((slots.get(70), slots.get(199), slots.get(5_000)), (Some(&1_000), None, None));
        places.give_back(199);
        assert_eq!((places.take(), places.take()), (199, 200));
    }
}
