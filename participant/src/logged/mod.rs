//! A durable prepare log for stores that have no prepare of their own.
//!
//! [`LoggedResource`] makes a [`ResourceManager`] and a [`ParticipantLog`] of anything that can try, confirm and cancel:
//! files in a folder, a table of reservations, another service. The store implements [`TryConfirmCancel`]; the log
//! remembers for it what was tried, what was promised and what was decided, over any crash:
//!
//! ```text
//! operation or one-shot work   force "to be tried"  ->  try_work  ->  answered
//! Prepare                      force "prepared"     ->  Yes                       (all pieces only read: ReadOnly)
//! Commit                       confirm              ->  write "done"              ->  acknowledged
//! Abort, No, restart           cancel               ->  write "cancelled"         (abort: answered)
//! one phase                    force "decided"      ->  confirm  ->  answered     ->  write "done"
//! ```
//!
//! | module | what it keeps true |
//! |---|---|
//! | `contract` | what a store has to offer, and what it is promised |
//! | `state`, `steps` | one step at a time for each branch; nothing is tried before that is on disk, or after its cancel |
//! | `record`, `log` | what is stored, byte by byte; one write per batch |
//!
//! A branch of two writes costs one forced record more than in the embedded store: the one before the try.

mod contract;
mod log;
mod record;
mod state;
mod steps;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use handfast_common::ids::{ContentHash, Incarnation, Key, StoreId, Xid};
use handfast_common::limits::MAX_STARTS;
use handfast_common::messages::{AskValues, OnePhaseResult, ValuePage};
use handfast_common::outcome::{Reason, ReasonKind, Vote};
use handfast_common::storage::{Caps, Counters, Space, StorageError, Store, Urgency, Worker};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use uuid::Uuid;

pub use contract::{Branch, Piece, Tried, TryConfirmCancel};

use crate::protocol::{Execution, Line, Prepared, Recovered};
use crate::resource::{Committed, ParticipantLog, ResourceManager, Work};
use crate::server::Start;
use log::{Receipt, Writer};
use record::Item;
use state::{Inner, Job, Order, Queues, Reply, State};

/// A store behind a durable prepare log, as the server holds it; clones are the same. Everything is ordered by the
/// moment of the call, not of the first poll of what it returns.
///
/// After an error of the log nobody gets an answer any more: what was being written may be there or not, and only the
/// next start can tell.
pub struct LoggedResource<S>(Rc<Inner<S>>);

/// The name of the log's file in the participant's folder.
const FILE: &str = "prepare-log";

impl<S> Clone for LoggedResource<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S: TryConfirmCancel> LoggedResource<S> {
    /// Opens the log in the participant's folder, or makes it, and brings `store` to where the log says it is: what was
    /// tried and not prepared is cancelled, what was decided here is confirmed, what is in doubt is held.
    ///
    /// To be called by [`serve`](crate::server::serve): `async |start| LoggedResource::open(start, store).await`.
    ///
    /// A branch that can't be confirmed or cancelled at once does not keep the participant from starting: it stays
    /// reserved, and is tried again beside all else.
    ///
    /// # Errors
    /// Every [`StorageError`].
    pub async fn open(start: Start, store: S) -> Result<Self, StorageError> {
        let Start { folder, store: options, space, incarnation, on_fatal } = start;
        let other = folder.store("participant").file;
        if other.exists() {
            let source = std::io::Error::other("another kind of participant has its store in this folder");
            return Err(StorageError::Io { file: other, doing: "start", source });
        }
        let log = Store::open(&folder, FILE, options, Uuid::new_v4)?;
        // What was handed over can't be given back; what may be under way is bounded where transactions begin.
        let caps = Caps { queued_items: usize::MAX, ..Caps::DEFAULTS };
        Self::over(log, caps, space, incarnation, on_fatal, store).await
    }

    /// The same over a log that is open, in memory perhaps.
    ///
    /// # Errors
    /// As for [`LoggedResource::open`].
    pub async fn over(
        log: Store,
        caps: Caps,
        space: Arc<Space>,
        incarnation: Incarnation,
        on_fatal: impl FnOnce(StorageError) + Send + 'static,
        store: S,
    ) -> Result<Self, StorageError> {
        let identity = StoreId(log.identity());
        let (mut writer, found) = Writer::open(log, Arc::clone(&space))?;
        let file = writer.file().to_owned();
        let decided = found.decided.iter().map(|(_, branch)| branch);
        for branch in found.prepared.iter().map(|(_, branch)| branch).chain(decided) {
            store.hold(branch).map_err(|why| {
                let source = std::io::Error::other(format!("{}: {why}", branch.xid.txn));
                StorageError::Io { file: file.clone(), doing: "hold again what a branch holds", source }
            })?;
        }
        let first = writer.begin(incarnation)?;
        let recovered = Recovered {
            lines: found.lines.clone(),
            prepared: found.prepared.iter().map(|(record, _)| record.clone()).collect(),
            // What is decided is done, whether it is confirmed yet or not.
            done: found.decided.iter().map(|(done, _)| done).chain(&found.done).cloned().collect(),
            starts: found.starts[found.starts.len().saturating_sub(MAX_STARTS)..].to_vec(),
        };
        let (report, receipts) = unbounded_channel();
        let worker = Worker::spawn(
            "prepare-log",
            writer,
            caps,
            // Nobody listens any more only when the store is being dropped.
            move |receipt| {
                let _ = report.send(receipt);
            },
            on_fatal,
        )?;
        let (jobs, begun) = unbounded_channel();
        let inner = Rc::new(Inner {
            store,
            state: RefCell::new(State::new(&found)),
            jobs,
            queues: Cell::new(Some(Queues { receipts, jobs: begun })),
            sequence: Cell::new(first.sequence),
            recovered,
            identity,
            file,
            space,
            worker,
        });
        inner.settle(found).await;
        Ok(Self(inner))
    }

    /// The store behind the log.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.0.store
    }

    /// What the log has done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.0.worker.counters()
    }

    /// Orders a step of a branch, and waits for what comes of it.
    fn order<T, O>(&self, xid: Xid, order: O) -> impl Future<Output = T> + use<S, T, O>
    where
        O: FnOnce(Reply<T>) -> Order,
    {
        let (reply, told) = Reply::new();
        self.0.order(xid, order(reply));
        async move {
            match told.await {
                Ok(answer) => answer,
                // The store is gone: no answer is the only right one.
                Err(_) => pending().await,
            }
        }
    }
}

impl<S: TryConfirmCancel> ResourceManager for LoggedResource<S> {
    fn execute(&self, work: Work) -> impl Future<Output = Execution> {
        self.order(work.xid, move |reply| Order::Execute(work, reply))
    }

    fn prepare(&self, work: Work, record: Prepared) -> impl Future<Output = Vote> {
        self.order(work.xid, move |reply| Order::Prepare(work, record, reply))
    }

    fn commit_one_phase(&self, work: Work, key: Key, hash: ContentHash) -> impl Future<Output = OnePhaseResult> {
        self.order(work.xid, move |reply| Order::OnePhase(work, key, hash, reply))
    }

    fn cancel(&self, xid: Xid, reason: Reason) {
        self.0.doom(xid, reason);
    }

    fn commit(&self, xid: Xid) -> impl Future<Output = Committed> {
        self.order(xid, Order::Commit)
    }

    fn abort(&self, xid: Xid) -> impl Future<Output = ()> {
        self.0.doom(xid, Reason::new(ReasonKind::Lost, "it was aborted"));
        self.order(xid, Order::Abort)
    }

    fn release(&self, xid: Xid) {
        self.0.order(xid, Order::Release);
    }

    fn values(&self, question: &AskValues) -> Result<ValuePage, String> {
        self.0.store.values(question)
    }
}

impl<S: TryConfirmCancel> ParticipantLog for LoggedResource<S> {
    fn identity(&self) -> StoreId {
        self.0.identity
    }

    fn file(&self) -> PathBuf {
        self.0.file.clone()
    }

    fn recovered(&self) -> Recovered {
        self.0.recovered.clone()
    }

    fn force(&self, line: Line) -> impl Future<Output = ()> {
        self.0.hear(&line);
        let number = self.0.hand(Item::Line(line), Urgency::Force);
        let inner = Rc::clone(&self.0);
        async move { inner.durable(number).await }
    }

    fn note(&self, line: Line) {
        self.0.hear(&line);
        self.0.hand(Item::Line(line), Urgency::Ride);
    }

    fn sequence(&self) -> u64 {
        self.0.sequence.get()
    }

    /// Takes the log's receipts and carries all steps of all branches. It never ends; only the first call does anything.
    async fn run(&self) {
        let Some(Queues { mut receipts, mut jobs }) = self.0.queues.take() else { return pending().await };
        let mut running: FuturesUnordered<Job> = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(receipt) = receipts.recv() => self.on_receipt(receipt, &mut receipts),
                Some(job) = jobs.recv() => running.push(job),
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }
}

impl<S: TryConfirmCancel> LoggedResource<S> {
    fn on_receipt(&self, mut receipt: Receipt, more: &mut UnboundedReceiver<Receipt>) {
        // A later receipt covers all before it.
        while let Ok(later) = more.try_recv() {
            receipt = later;
        }
        // Before the answers, which carry it.
        self.0.sequence.set(receipt.sequence);
        self.0.on_durable(receipt.through);
    }
}
