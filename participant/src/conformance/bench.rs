//! Lives of a store between two kills, and short ways to say what happens in them.

use std::future::Future;
use std::time::Duration;

use handfast_common::ids::{Age, ContentHash, Epoch, Incarnation, Key, LogId, Nonce, TxnId, Xid};
use handfast_common::messages::{Mark, OnePhaseResult, Seen};
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};
use uuid::Uuid;

use super::Subject;
use crate::protocol::{Execution, Line, Prepared};
use crate::resource::{Committed, ParticipantLog, ResourceManager, Work};

/// Whoever does not answer within this time never does.
const PATIENCE: Duration = Duration::from_secs(2);
/// Whoever waits is given this long to show that it does.
const A_WHILE: Duration = Duration::from_millis(50);

pub(super) const LOG: LogId = LogId(Uuid::from_u128(0xC0));
pub(super) const OTHER_LOG: LogId = LogId(Uuid::from_u128(0xC1));
pub(super) const HASH: ContentHash = ContentHash([3; 32]);
const NONCE: Nonce = Nonce(7);

/// A subject, and how often it was started.
pub(super) struct Bench<'a, S> {
    pub(super) subject: &'a mut S,
    starts: u64,
}

/// A store between its start and the kill that ends it.
pub(super) struct Life<'a, S: Subject> {
    pub(super) store: &'a S::Store,
    pub(super) subject: &'a S,
}

impl<'a, S: Subject> Bench<'a, S> {
    pub(super) fn new(subject: &'a mut S) -> Self {
        Self { subject, starts: 0 }
    }

    /// Starts the store, runs `body` on it, and kills it.
    pub(super) async fn life<T>(
        &mut self,
        body: impl AsyncFnOnce(&Life<'_, S>) -> Result<T, String>,
    ) -> Result<T, String> {
        self.starts += 1;
        let store = self.subject.open(Incarnation(self.starts)).await;
        let life = Life { store: &store, subject: &*self.subject };
        let ended = tokio::select! {
            biased;
            ended = body(&life) => ended,
            () = store.run() => Err("the store's background work has ended".to_owned()),
        };
        self.subject.crash();
        drop(store);
        ended
    }
}

impl<S: Subject> Life<'_, S> {
    pub(super) fn add(&self, changes: &[(&str, i64)]) -> Payload {
        self.subject.add(changes)
    }

    pub(super) async fn prepare(&self, n: u64, payload: Option<Payload>) -> Result<Vote, String> {
        answered("prepare", self.store.prepare(work(n, payload), record(n))).await
    }

    /// Prepares, and wants Yes; what was read.
    pub(super) async fn yes(&self, n: u64, payload: Payload) -> Result<Payload, String> {
        match self.prepare(n, Some(payload)).await? {
            Vote::Yes(reads) => Ok(reads),
            other => Err(format!("prepare of {n} voted {other:?}, not Yes")),
        }
    }

    /// Prepares, and wants No.
    pub(super) async fn no(&self, n: u64, payload: Option<Payload>) -> Result<(), String> {
        match self.prepare(n, payload).await? {
            Vote::No(_) => Ok(()),
            other => Err(format!("prepare of {n} voted {other:?}, not No")),
        }
    }

    pub(super) async fn commit(&self, n: u64) -> Result<(), String> {
        match answered("commit", self.store.commit(xid(n))).await? {
            Committed::Done => Ok(()),
            Committed::LostBranch => Err(format!("commit of {n} says that the branch is lost")),
        }
    }

    pub(super) async fn lost(&self, n: u64) -> Result<(), String> {
        match answered("commit", self.store.commit(xid(n))).await? {
            Committed::LostBranch => Ok(()),
            Committed::Done => Err(format!("commit of {n}, of which there is nothing, was acknowledged")),
        }
    }

    pub(super) async fn abort(&self, n: u64) -> Result<(), String> {
        answered("abort", self.store.abort(xid(n))).await
    }

    pub(super) async fn one_phase(&self, n: u64, payload: Option<Payload>) -> Result<OnePhaseResult, String> {
        answered("commit in one phase", self.store.commit_one_phase(work(n, payload), key(n), HASH)).await
    }

    /// Commits in one phase; what was read.
    pub(super) async fn done(&self, n: u64, payload: Option<Payload>) -> Result<Payload, String> {
        match self.one_phase(n, payload).await? {
            OnePhaseResult::Committed(reads) => Ok(reads),
            OnePhaseResult::Aborted(reason) => Err(format!("commit of {n} in one phase was refused: {reason}")),
        }
    }

    pub(super) async fn execute(&self, n: u64, payload: Payload) -> Result<Execution, String> {
        answered("an operation", self.store.execute(work(n, Some(payload)))).await
    }

    /// Executes, and wants it done; what was read.
    pub(super) async fn executed(&self, n: u64, payload: Payload) -> Result<Payload, String> {
        match self.execute(n, payload).await? {
            Execution::Done(reads) => Ok(reads),
            other => Err(format!("an operation of {n} ended as {other:?}, not as done")),
        }
    }

    pub(super) async fn force(&self, line: Line) -> Result<(), String> {
        answered("force", self.store.force(line)).await
    }

    pub(super) fn cancel(&self, n: u64) {
        self.store.cancel(xid(n), Reason::new(ReasonKind::LockTimeout, "the suite says so"));
    }

    /// Wants these values.
    pub(super) fn holds(&self, what: &str, wanted: &[(&str, i64)]) -> Result<(), String> {
        for (key, wanted) in wanted {
            let found = self.subject.value(self.store, key);
            if found != *wanted {
                return Err(format!("{what}: '{key}' is {found}, not {wanted}"));
            }
        }
        Ok(())
    }

    /// Wants exactly these in doubt, as a restart finds them.
    pub(super) fn in_doubt(&self, what: &str, wanted: &[u64]) -> Result<(), String> {
        let mut found: Vec<u64> =
            self.store.recovered().prepared.iter().map(|record| record.xid.txn.sequence()).collect();
        found.sort_unstable();
        if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?} are in doubt, not {wanted:?}")) }
    }

    /// Transactions with a done-marker, as a restart finds them.
    pub(super) fn markers(&self) -> Vec<u64> {
        let mut found: Vec<u64> = self.store.recovered().done.iter().map(|done| done.xid.txn.sequence()).collect();
        found.sort_unstable();
        found
    }

    /// Wants exactly these.
    pub(super) fn marked(&self, what: &str, wanted: &[u64]) -> Result<(), String> {
        let found = self.markers();
        if found == wanted { Ok(()) } else { Err(format!("{what}: markers of {found:?}, not of {wanted:?}")) }
    }

    /// The same, of a store that says it isolates.
    pub(super) async fn kept_out_if_isolated(&self, n: u64, changes: &[(&str, i64)]) -> Result<(), String> {
        if self.subject.isolates() { self.kept_out(n, self.add(changes)).await } else { Ok(()) }
    }

    /// Wants that the work of a younger branch on a held key neither gets Yes nor goes on: it waits or is refused. Whatever
    /// it does, it is over afterwards.
    pub(super) async fn kept_out(&self, n: u64, payload: Payload) -> Result<(), String> {
        let mut voting = Box::pin(self.store.prepare(work(n, Some(payload)), record(n)));
        let vote = match tokio::time::timeout(A_WHILE, &mut voting).await {
            Ok(vote) => vote,
            Err(_) => {
                self.cancel(n);
                answered("a prepare that was cancelled", voting).await?
            }
        };
        match vote {
            Vote::No(_) => Ok(()),
            other => Err(format!("{n} wants what another branch holds, and voted {other:?}")),
        }
    }
}

/// The answer, or that there is none.
pub(super) async fn answered<T>(what: &str, answer: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, answer).await.map_err(|_| format!("{what}: no answer"))
}

/// Lets something wait; whether it still does.
pub(super) async fn waits<T>(answer: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(A_WHILE, answer).await.ok()
}

pub(super) fn txn(n: u64) -> TxnId {
    TxnId::new(LOG, Epoch(1), n, NONCE)
}

pub(super) fn xid(n: u64) -> Xid {
    Xid { log: LOG, txn: txn(n), nonce: NONCE }
}

pub(super) fn key(n: u64) -> Key {
    Key(Uuid::from_u128(u128::from(n)))
}

/// Work of transaction `n`, whose age is `n` too: smaller is older.
pub(super) fn work(n: u64, payload: Option<Payload>) -> Work {
    Work { xid: xid(n), age: Age(n), payload }
}

pub(super) fn record(n: u64) -> Prepared {
    let seen = Seen { epoch: Epoch(1), nonce: NONCE, decisions: n };
    let (coordinator, members, reads) = ("127.0.0.1:7117".to_owned(), Vec::new(), Payload::default());
    Prepared { xid: xid(n), coordinator, seen, members, work: ContentHash([9; 32]), reads }
}

/// A line whose mark covers all below `low` but `except`.
pub(super) fn line(log: LogId, low: u64, except: &[u64]) -> Line {
    let mark = Mark { low: txn(low), except: except.iter().copied().map(txn).collect() };
    let seen = Seen { epoch: Epoch(1), nonce: NONCE, decisions: low };
    Line { log, name: None, seen, mark: Some(mark), unproven: Vec::new() }
}
