//! Timers by name: a new one takes the place of the old.

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(super) struct Timers<T>(BTreeMap<T, u64>);

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Clone> Timers<T> {
    pub(super) fn set(&mut self, timer: T, number: u64) {
        self.0.insert(timer, number);
    }

    /// Whether this very timer still runs; it does no longer then.
    pub(super) fn fires(&mut self, timer: &T, number: u64) -> bool {
        let is_it = self.0.get(timer) == Some(&number);
        if is_it {
            self.0.remove(timer);
        }
        is_it
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&T, &u64)> {
        self.0.iter()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
