//! The highest transaction age heard of, from whatever coordinator or participant.
//!
//! It goes out on every message: a coordinator that counts more slowly than another would otherwise give out ages that
//! are always the older ones, and its transactions would win every conflict.

use std::sync::atomic::{AtomicU64, Ordering};

use handfast_common::ids::Age;

/// What a client has heard. Shared by all of its calls.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    highest: AtomicU64,
}

impl Ages {
    /// Takes note of an age.
    pub(crate) fn hear(&self, age: Age) {
        self.highest.fetch_max(age.0, Ordering::Relaxed);
    }

    /// The highest so far; 0 before the first.
    pub(crate) fn clock(&self) -> Age {
        Age(self.highest.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_only_grows() {
        let ages = Ages::default();
        assert_eq!(ages.clock(), Age(0));
        ages.hear(Age(7));
        ages.hear(Age(3));
        assert_eq!(ages.clock(), Age(7));
    }
}
