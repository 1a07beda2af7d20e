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
/// This is a contract. For each rule stands the timeline that ends in a broken promise without it; C is the coordinator, P and
/// Q are participants, T and U transactions. [`conformance`](crate::conformance) checks them: run it against your store. A
/// store that has no prepare of its own does not implement this, but [`TryConfirmCancel`](crate::logged::TryConfirmCancel).
///
/// # Prepare
/// 1. *Yes only when work, locks and the [`Prepared`] record are on disk.* P answers Yes, and dies before the force. Q has
///    voted Yes, so C decides Commit, and Q takes effect. P starts, knows nothing of T, and half of T is gone (A3).
/// 2. *After Yes only the decision ends the branch*, after any time and any number of crashes. P waits for an hour, gives up,
///    and lets go; C comes back with the Commit that it forced an hour ago (f45).
/// 3. *No leaves nothing.* P votes No and keeps a lock: nobody comes to free it, for an abort is not told to one who
///    voted No.
/// 4. *The same Prepare gets the same vote*, reads included, and is carried out once. The vote is lost, C sends Prepare again,
///    P adds 100 a second time (f26).
/// 5. *A Prepare behind the end of its branch is refused.* P aborts T, or commits it; a copy of Prepare was slower, is
///    prepared, and nobody will ever decide it again (f22); or P asks, C still knows "Commit", and T happens twice (t05).
///    Within one start the participant in front of the store refuses for it what was aborted before it came, and over
///    a restart its new incarnation does.
/// 6. *`ReadOnly` keeps its locks until `release`.* T reads `a` at P and lets go; U moves money from `a` to `b` and commits; T,
///    merely slow, reads `b` at Q: the money is there twice (t01).
///
/// # Locks and visibility
/// 7. *Nothing of an undecided branch is seen.* T prepares `x = 1`, somebody reads 1 and tells it, T aborts (A6).
/// 8. *Locks, shared ones too, are held until the decision, and again after a restart before anybody is served.* T checks `x`
///    at P, votes Yes, P restarts with the locks of what T *writes* only; U writes `x` at P and `y` at Q, commits; T's
///    Prepare reads `y` at Q: each comes before the other (t13).
///
/// # Decision
/// 9. *`commit` answers when the effect and its done-marker are on disk, as one write, or in an order in which doing the effect
///    again does no harm.* P answers, C forgets T, P loses power, the effect is gone, and nobody sends it again. Or the
///    effect is on disk, the marker is not: C sends Commit again, and it happens twice (A5).
/// 10. *`commit` and `abort` come twice, and late.* The acknowledgement is lost; C sends Commit again: the same answer, no
///     second effect. An `abort` of what is not there is no error (f23).
/// 11. *`commit` of a branch that should be there and is not is [`LostBranch`](Committed::LostBranch).* P's disk was replaced
///     by an older copy; acknowledged, T would be half gone and nobody would ever know (t06).
/// 12. *Neither fails for good.* An effect that can't be made after Yes was promised too early: T is committed elsewhere.
/// 13. *The marker stays until a line brings a mark that covers it*, see [`ParticipantLog::note`].
///
/// # One phase
/// 14. *`commit_one_phase` answers when effect and marker, with key, hash and reads, are on disk.* P commits, C dies
///     before it has written the outcome; the client asks under its key: without the marker P says "nothing", C tells "Aborted",
///     the client sends it again, and it is done twice (t04c).
/// 15. *It lets go, and becomes visible, only then.* Somebody reads the new value, P loses power, and the value was never
///     there (t04f).
/// 16. *The same order again is answered with what was done.* The answer was lost (t04a).
///
/// # Operations
/// 17. *`execute` is carried out for its branch only*, and what a refused one did is undone: the client goes on, and commits
///     without it.
/// 18. *A restart forgets open branches.* P runs one operation, restarts, runs a second one, and votes Yes for that alone: half a
///     transaction (t10a).
/// 19. *`cancel` ends what waits, and nothing else.* T waits at P for a lock of U, which waits for T at Q: without it neither
///     ends. If it also ended what has been promised, see rule 2.
///
/// # Errors
/// 20. *An error that leaves it unknown what is on disk ends the process, and nobody is answered.* The write of T's record
///     fails, P votes No, the bytes were on disk all the same; P restarts and finds T in doubt (f04).
///
/// # Calls
/// `commit`, `abort` and `release` are called only after `prepare` has answered, or for an open branch; one at a time for one
/// transaction. `cancel` may come at any time. Methods are `async` so that many branches are on their way at a time; they
/// run on one thread and are never dropped half way, but when the process ends. What a method does is ordered by the
/// moment it is called, not by the first poll of what it returns. The server clones the handle for each call.
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
///
/// - *A line is on disk when `force` answers.* P greets epoch 2 and says "I know no such key", restarts, has forgotten epoch 2,
///   and carries out a late order of epoch 1 (t12b).
/// - *All that was handed over before is on disk then, too.* A line that was noted brought a mark; the line that is forced
///   after it builds on that.
/// - *Markers that a mark covers go in the very write that stores the line with it*, and none before. A mark that is on disk
///   later than the trim lets a late copy run again after a restart (t05); a marker that goes too early makes a late Commit a
///   `LostBranch`.
/// - *A mark never ends a branch in doubt* (t14), and its exceptions are not covered.
/// - *The sequence is stored in the batch that uses it*, counts only batches that branches have a part in, and is told when
///   it is on disk. One that is told too early makes a plain crash look like a store that went back in time; one that also
///   counts starts lets an old copy start its way past the guard (t06, t09b).
/// - *The incarnation of a start is on disk before anybody is answered*, with the earlier ones: two starts under one
///   incarnation are taken for one, and what the first one promised in memory is taken for kept.
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
