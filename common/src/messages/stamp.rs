//! Who speaks and to whom: what stands at the head of every message.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::ids::{Age, Epoch, Incarnation, LogId, Name, Nonce, StoreId, TxnId};
use crate::limits::MAX_MARK_EXCEPTIONS;

/// A duration on the wire, in microseconds: what is left, never a date.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Micros(pub u64);

impl From<std::time::Duration> for Micros {
    fn from(duration: std::time::Duration) -> Self {
        Self(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl From<Micros> for std::time::Duration {
    fn from(micros: Micros) -> Self {
        Self::from_micros(micros.0)
    }
}

/// The low-water mark: nothing it covers can commit any more, and every Commit it covers is acknowledged by all.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Every transaction below this one is covered ...
    pub low: TxnId,
    /// ... save these, so that one lost participant does not pin the mark. Sorted.
    #[serde(deserialize_with = "codec::bounded::<_, _, MAX_MARK_EXCEPTIONS>")]
    pub except: Vec<TxnId>,
}

impl Mark {
    /// Whether `txn` lies below the mark and is no exception.
    #[must_use]
    pub fn covers(&self, txn: TxnId) -> bool {
        txn < self.low && self.except.binary_search(&txn).is_err()
    }

    /// Takes over `newer`. What was covered stays covered, in whatever order messages arrive: a done-marker that has
    /// been trimmed can't come back, so a late copy of an older mark must not ask for it.
    pub fn advance(&mut self, newer: &Self) -> bool {
        if newer.low < self.low {
            return false;
        }
        let except: Vec<TxnId> = newer.except.iter().copied().filter(|txn| !self.covers(*txn)).collect();
        let changed = newer.low != self.low || except != self.except;
        *self = Self { low: newer.low, except };
        changed
    }
}

/// Who speaks, on every message of a coordinator.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// Its log.
    pub log: LogId,
    /// Its epoch: what the fence compares, whatever epoch the transaction is of.
    pub epoch: Epoch,
    /// The nonce of that epoch.
    pub nonce: Nonce,
    /// The highest *forced* decision sequence.
    pub decisions: u64,
    /// Its low-water mark.
    pub mark: Mark,
    /// Its transaction age counter.
    pub clock: Age,
}

/// What a participant has seen of a coordinator's line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Highest epoch.
    pub epoch: Epoch,
    /// Its nonce.
    pub nonce: Nonce,
    /// Highest decision sequence heard of in it.
    pub decisions: u64,
}

/// Whom a message is for: exactly this name, store and start. Another incarnation has forgotten what this one said.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Addressee {
    /// The participant's name.
    pub name: Name,
    /// Its store.
    pub store: StoreId,
    /// Its start.
    pub incarnation: Incarnation,
}

/// A branch of a transaction, as the other branches know it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Who holds the branch.
    pub who: Addressee,
    /// Where it was last heard of: a hint, identity decides.
    pub address: String,
}

/// Who speaks, on every message of a participant.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Its name.
    pub name: Name,
    /// Its store.
    pub store: StoreId,
    /// Its start.
    pub incarnation: Incarnation,
    /// Highest *forced* store sequence.
    pub sequence: u64,
    /// The highest transaction age it has heard of.
    pub clock: Age,
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn txn(n: u64) -> TxnId {
        TxnId::new(LogId(Uuid::nil()), Epoch(1), n, Nonce(0))
    }

    fn mark(low: u64, except: &[u64]) -> Mark {
        Mark { low: txn(low), except: except.iter().copied().map(txn).collect() }
    }

    #[test]
    fn what_a_mark_has_covered_stays_covered() {
        let mut seen = mark(10, &[5]);
        assert!(seen.advance(&mark(10, &[])));
        assert!(seen.covers(txn(5)));
        // The older mark arrives late: 5 does not come back.
        seen.advance(&mark(10, &[5]));
        assert!(seen.covers(txn(5)));
        assert!(!seen.advance(&mark(8, &[])));
        seen.advance(&mark(20, &[5, 15]));
        assert!(seen.covers(txn(5)) && !seen.covers(txn(15)) && !seen.covers(txn(20)));
    }
}
