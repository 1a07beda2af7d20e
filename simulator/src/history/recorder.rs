//! Takes down what clients do, from any number of tasks or threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Fate, History, Operation, Transaction};

/// Where everything is written down. Clones write into the same history.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    history: Arc<Mutex<History>>,
    drawn: Arc<AtomicU64>,
}

/// One transaction under way: one attempt at it, where it is run again. Dropped without an end it is
/// [`Fate::Unknown`]: a client that is killed or cancelled says nothing more.
#[derive(Debug)]
pub struct Trace {
    recorder: Recorder,
    transaction: Transaction,
}

impl Recorder {
    /// A number that was never given out before: an element or a value.
    #[must_use]
    pub fn fresh(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A transaction begins.
    #[must_use]
    pub fn begin(&self, label: impl Into<String>) -> Trace {
        let transaction = Transaction { label: label.into(), fate: Fate::Unknown, operations: Vec::new() };
        Trace { recorder: self.clone(), transaction }
    }

    /// What was read after all had ended.
    pub fn finally(&self, read: Operation) {
        self.lock().finally.push(read);
    }

    /// Everything so far. Transactions under way are not in it.
    #[must_use]
    pub fn history(&self) -> History {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, History> {
        // A client that panicked has pushed a whole transaction or none.
        self.history.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Trace {
    /// About to append: it may have happened from now on.
    pub fn append(&mut self, key: &str, element: u64) {
        self.transaction.operations.push(Operation::Append { key: key.to_owned(), element });
    }

    /// Has read a list.
    pub fn read_list(&mut self, key: &str, list: Vec<u64>) {
        self.transaction.operations.push(Operation::ReadList { key: key.to_owned(), list });
    }

    /// About to write: it may have happened from now on.
    pub fn write(&mut self, key: &str, value: u64) {
        self.transaction.operations.push(Operation::Write { key: key.to_owned(), value });
    }

    /// Has read a register.
    pub fn read(&mut self, key: &str, value: Option<u64>) {
        self.transaction.operations.push(Operation::Read { key: key.to_owned(), value });
    }

    /// Its client knows what came of it.
    pub fn end(mut self, fate: Fate) {
        self.transaction.fate = fate;
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let empty = Transaction { label: String::new(), fate: Fate::Unknown, operations: Vec::new() };
        let transaction = std::mem::replace(&mut self.transaction, empty);
        self.recorder.lock().transactions.push(transaction);
    }
}
