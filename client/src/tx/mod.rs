//! Interactive transactions: begin, work at participants, commit or roll back.
//!
//! `transact.rs` runs a body and decides; `begin.rs` and `decide.rs` talk to the coordinator, `execute.rs` to
//! participants; `work.rs` is what a body sees, `progress.rs` what is known of a transaction here.

mod begin;
mod decide;
mod error;
mod execute;
mod joined;
mod progress;
mod transact;
mod work;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use handfast_common::ids::{Age, Key, Ticket, TxnId};
use tokio::runtime::Handle;
use tokio::time::Instant;

pub use error::{BeginError, CommitError, DoomError, OperationError, TransactError};
pub use joined::Joined;
pub use work::Work;

use crate::balance::UnderWay;

/// An open transaction of one's own: what can be done in it is [`Work`]'s.
///
/// Clones are handles of the same transaction. When the last one is dropped it is rolled back, by a task on the runtime
/// that began it; if that can't be done, or this process dies, it ends by the coordinator's idle limit.
#[derive(Clone, Debug)]
#[must_use = "dropped, it is rolled back"]
pub struct Tx {
    owner: Arc<Owner>,
}

/// A committed transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Committed {
    /// Which.
    pub txn: TxnId,
    /// Its idempotency key.
    pub key: Key,
    /// The ticket its key belongs to.
    pub ticket: Ticket,
    /// From its begin until this was known.
    pub latency: Duration,
}

/// What all handles of a transaction share.
#[derive(Debug)]
struct Owner {
    work: Work,
    key: Key,
    ticket: Ticket,
    age: Age,
    begun: Instant,
    /// Where its end is told from, also when the last handle is dropped outside of it.
    runtime: Handle,
    _under_way: UnderWay,
}

impl Tx {
    /// Its idempotency key: with [`Tx::ticket`] it asks for the outcome later.
    #[must_use]
    pub fn key(&self) -> Key {
        self.owner.key
    }

    /// The ticket its key belongs to.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.owner.ticket
    }

    /// Its age: smaller is older, and the older one wins a conflict.
    #[must_use]
    pub fn age(&self) -> Age {
        self.owner.age
    }

    /// Commits it. Once called (and polled), it is finished even if this future is dropped.
    ///
    /// # Errors
    /// See [`CommitError`]: save for an unknown outcome and the rarer ones, nothing has happened.
    pub async fn commit(self) -> Result<Committed, CommitError> {
        self.owner.commit().await
    }

    /// Rolls it back; nothing of it ever happens. Returns when the coordinator has confirmed it, or after two seconds
    /// or at the end of its time: then the locks go by the idle limit.
    pub async fn rollback(self) {
        if self.work().inner.progress.lock().end() {
            self.owner.roll_back().await;
        }
    }

    fn work(&self) -> &Work {
        &self.owner.work
    }
}

impl Deref for Tx {
    type Target = Work;

    fn deref(&self) -> &Work {
        self.work()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.work.inner.progress.lock().end() {
            drop(self.spawn_rollback());
        }
    }
}
