//! What a store without a prepare of its own has to offer: try, confirm, cancel.

use std::fmt;
use std::future::Future;

use handfast_common::ids::{Age, Xid};
use handfast_common::messages::{AskValues, ValuePage};
use handfast_common::outcome::{Payload, Reason};
use serde::{Deserialize, Serialize};

/// A store that can reserve a change, and then make it or take it back: write a file under another name, put money
/// aside, mark a seat as held. [`LoggedResource`](super::LoggedResource) makes a resource manager of it.
///
/// A branch is a row of [`Piece`]s. Each is tried; then the branch ends with *either* `confirm` *or* `cancel`, over all of
/// its pieces. What is promised to the store, and what is asked of it:
///
/// - **Before `try_work` is called, that it will be is on disk.** After a crash at any moment `cancel` comes for every
///   piece that may have been tried and was not prepared: also for one whose try never began, or went half way.
///   So `cancel` without a try is no error, and undoes whatever part of it there is.
/// - **`confirm` and `cancel` come again until they succeed, and after a crash once more.** Confirming what is confirmed
///   is no error: what is gone because it was made final is final (`t: confirm, crash, confirm`).
/// - **They can't fail for good.** What might make a change impossible is looked at by `try_work`, which may refuse. An `Err`
///   of the other two is only a delay: it is said in the log and tried again, after pauses up to a second. Meanwhile
///   the branch waits, and all others go on.
/// - **A try never comes after its cancel**, not even one that a restart or the network has delayed: the log remembers
///   what was cancelled until its coordinator has promised that no order for it is under way any more.
/// - **What is tried is not seen, and not taken by others, until it is confirmed.** A reader that is shown a reservation as
///   if it were done sees what an abort takes back (A6); two branches that reserve the same thing could both be told to
///   confirm. A `try_work` that finds the thing taken refuses with
///   [`Conflict`](handfast_common::outcome::ReasonKind::Conflict).
/// - **When `Ok` is returned the store has it on disk.** A power loss after `confirm` would otherwise lose what the log
///   calls done; one after `try_work`, what was promised. For files: sync the file, and the folder after a rename.
/// - **Calls for one branch never overlap**, and none is dropped half way, save by the end of the process. Calls for
///   different branches do overlap, wherever they wait. All run on one thread: what blocks it, blocks everybody.
pub trait TryConfirmCancel: 'static {
    /// Reserves what a piece of work needs, so that nothing can keep it from being confirmed.
    ///
    /// # Errors
    /// Why it can't be done. `cancel` is called for this piece then, so it may have gone half way. With the kinds
    /// `Conflict` and `LockTimeout` the whole branch is cancelled, for it must not keep others waiting while its
    /// transaction is run again; with all others an interactive branch goes on without this piece.
    fn try_work(&self, piece: &Piece) -> impl Future<Output = Result<Tried, Reason>>;

    /// Makes all pieces of a branch final, in order.
    ///
    /// # Errors
    /// One line for the log, and it is called again.
    fn confirm(&self, branch: &Branch) -> impl Future<Output = Result<(), String>>;

    /// Takes all pieces of a branch back, those that were tried and those that were not. Undo the last one first if they
    /// build on each other. Also called to let go of a branch that only read.
    ///
    /// # Errors
    /// One line for the log, and it is called again.
    fn cancel(&self, branch: &Branch) -> impl Future<Output = Result<(), String>>;

    /// Called at the start for every branch that is in doubt, or decided and not confirmed yet, before anybody is served:
    /// whoever reserves in memory only reserves again (A8). A store whose reservations are on disk has nothing to do.
    ///
    /// # Errors
    /// Why it can't be held; the participant does not start then.
    fn hold(&self, branch: &Branch) -> Result<(), String> {
        let _ = branch;
        Ok(())
    }

    /// Last committed values, outside any transaction, if the store has such a view.
    ///
    /// # Errors
    /// One line, if it has none.
    fn values(&self, question: &AskValues) -> Result<ValuePage, String> {
        let _ = question;
        Err("this store does not show its values".to_owned())
    }
}

/// One piece of work of a branch.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Piece {
    /// The transaction.
    pub xid: Xid,
    /// Its number within the branch, from 1, never used twice in it. Pieces that were refused leave gaps.
    pub number: u32,
    /// The transaction's age: smaller is older.
    pub age: Age,
    /// What to do, in the store's own form.
    pub work: Payload,
}

impl Piece {
    /// A name that no other piece of any transaction has, made of letters, digits, dots and dashes: for a temporary file, a
    /// reservation, a row. It is the same after a restart.
    #[must_use]
    pub fn id(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Xid { log, txn, nonce } = self.xid;
        write!(f, "{txn}.{:016x}.{}.{}", nonce.0, log.0.simple(), self.number)
    }
}

/// All of a branch that has to be confirmed or cancelled.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Branch {
    /// The transaction.
    pub xid: Xid,
    /// Its pieces, in the order they were tried.
    pub pieces: Vec<Piece>,
}

/// What a try has come to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tried {
    /// For the client: what was read, or whatever the store has to tell.
    pub result: Payload,
    /// Whether there is anything to confirm. A branch in which no piece changes anything is cheaper, and ends with `cancel`.
    pub changes: bool,
}

impl Tried {
    /// Something is reserved.
    #[must_use]
    pub fn changed(result: Payload) -> Self {
        Self { result, changes: true }
    }

    /// It only read.
    #[must_use]
    pub fn read(result: Payload) -> Self {
        Self { result, changes: false }
    }
}
