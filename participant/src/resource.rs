//! Where a store plugs into a participant.
//!
//! A [`ResourceManager`] does the work of branches; a [`ParticipantLog`] keeps what the protocol must remember
//! besides. The embedded store is both, in one file, so that a prepare, or an effect together with its marker, is one
//! write.

use std::path::PathBuf;

use handfast_common::ids::{Age, ContentHash, Key, StoreId, Xid};
use handfast_common::messages::{AskValues, OnePhaseResult, ValuePage};
use handfast_common::outcome::{Payload, Reason, Vote};

pub use crate::protocol::Execution;
use crate::protocol::{Line, Prepared, Recovered};

/// A branch's work, before its vote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Work {
    /// The transaction.
    pub xid: Xid,
    /// Its age: for stores that lock by wait-die.
    pub age: Age,
    /// What to do; `None`: all of it was executed before, operation by operation.
    pub payload: Option<Payload>,
}

/// What became of a branch that was told to commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Committed {
    /// It took effect and that is durable; also when it already had.
    Done,
    /// It should be prepared here and is not. Never answer this with success: half of a transaction is gone.
    LostBranch,
}

/// A store that takes part in transactions.
///
/// The contract, with what breaks otherwise:
/// - `prepare` answers Yes only when work, locks and the [`Prepared`] record are on disk: after Yes only the decision
///   ends the branch, and it may come after any number of crashes.
/// - Effects of an undecided branch are invisible, and its locks, shared ones too, are held: again before the
///   participant serves anyone, after a restart.
/// - `commit`, `abort` and `release` are idempotent and never fail for good. They are called only after `prepare` has
///   answered, one at a time for one transaction.
/// - An error of the store that leaves it unknown what is on disk must end the process: no answer is given.
///
/// Methods are `async` so that many branches are on their way at a time; they run on one thread and are never dropped
/// half way. The server clones the handle for each call.
pub trait ResourceManager: Clone + 'static {
    /// Carries out one operation of an open branch, whose first operation opens it: what it writes is seen by the
    /// branch's own later operations and by nobody else, and what it locks stays locked. One at a time for each branch.
    /// `work.payload` is there.
    fn execute(&self, work: Work) -> impl Future<Output = Execution>;

    /// Does the work and prepares it. `record.reads` is empty; the resource manager fills in what it read, both in the
    /// record it stores and in its vote. A branch that changed nothing votes `ReadOnly` and keeps its locks in memory.
    fn prepare(&self, work: Work, record: Prepared) -> impl Future<Output = Vote>;

    /// Does the work and commits it at once, together with a marker of key, content hash and reads. Its locks are
    /// released only when it is durable: a reader must not see what a crash takes back. A No leaves no trace.
    fn commit_one_phase(&self, work: Work, key: Key, hash: ContentHash) -> impl Future<Output = OnePhaseResult>;

    /// Work that still waits (for locks, say) ends now: its `prepare` or `commit_one_phase` answers No with this
    /// reason. Work that has been handed to the log goes on, and so does work that is not there.
    fn cancel(&self, xid: Xid, reason: Reason);

    /// Makes a prepared branch take effect; answers once the effect and its done-marker are durable.
    fn commit(&self, xid: Xid) -> impl Future<Output = Committed>;

    /// Undoes a prepared branch; answers once it can't come back. A branch that is not there is no error.
    fn abort(&self, xid: Xid) -> impl Future<Output = ()>;

    /// Lets go of what a `ReadOnly` branch holds.
    fn release(&self, xid: Xid);

    /// Last committed values, outside any transaction.
    ///
    /// # Errors
    /// One line, when this store has no such view.
    fn values(&self, question: &AskValues) -> Result<ValuePage, String>;
}

/// What the protocol itself keeps, beside the branches.
pub trait ParticipantLog: Clone + 'static {
    /// The store's identity: drawn once, when it was made, and kept for ever. Two stores that share one, copies perhaps,
    /// are taken for one, and that is found out.
    fn identity(&self) -> StoreId;

    /// The file that holds it all, as error lines name it.
    fn file(&self) -> PathBuf;

    /// All that was found when the store was opened.
    fn recovered(&self) -> Recovered;

    /// Forces what is known of a coordinator. Everything handed over before is on disk before this answers.
    fn force(&self, line: Line) -> impl Future<Output = ()>;

    /// Writes the same with the next batch, and trims the done-markers that its mark covers in that same write.
    fn note(&self, line: Line);

    /// The highest forced store sequence: it grows with every batch and is stored in the batch that uses it.
    fn sequence(&self) -> u64;

    /// What has to go on in the background for the other methods to answer; polled as long as the server lives.
    fn run(&self) -> impl Future<Output = ()>;
}
