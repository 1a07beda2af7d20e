//! Who this participant is, and how patient.

use std::time::Duration;

use handfast_common::ids::{Incarnation, Name, StoreId};
use handfast_common::limits::{LOCK_WAIT, PREPARE_TIMEOUT, RETRY_CAP, RETRY_FIRST};

/// Identity and patience of a participant, fixed for one start of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// Its name.
    pub name: Name,
    /// Its store, drawn once.
    pub store: StoreId,
    /// This start of it: drawn anew and forced before the machine is built, or two starts would be taken for one.
    pub incarnation: Incarnation,
    /// Longest wait for locks, whatever a coordinator allows.
    pub lock_wait: Duration,
    /// How long a branch that only read keeps its locks for the coordinator's `Release`.
    pub read_only_hold: Duration,
    /// First pause between two inquiries; it doubles.
    pub retry_first: Duration,
    /// Longest pause between two inquiries, and the pause before the first one.
    pub retry_cap: Duration,
}

impl Config {
    /// A participant with the default patience.
    #[must_use]
    pub fn new(name: Name, store: StoreId, incarnation: Incarnation) -> Self {
        Self {
            name,
            store,
            incarnation,
            lock_wait: LOCK_WAIT,
            // A coordinator waits for votes no longer than its prepare timeout and releases at once after that: twice
            // as much leaves room for a slow network, and blocks nobody for long when the coordinator is gone.
            read_only_hold: PREPARE_TIMEOUT.saturating_mul(2),
            retry_first: RETRY_FIRST,
            retry_cap: RETRY_CAP,
        }
    }
}
