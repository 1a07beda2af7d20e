//! The embedded key-value store: a [`ResourceManager`] and the [`ParticipantLog`] beside it, in one redb file.
//!
//! | module | what it keeps true |
//! |---|---|
//! | [`locks`] | strict two-phase locking; whoever waits is older than all it waits for |
//! | `work` | what operations mean |
//! | [`engine`] | from work to vote to effect; pure, so a simulator can drive it |
//! | [`record`] | what is stored, byte by byte |
//! | `store`, `view` | one file, one write per batch; a snapshot to read from |
//! | `waiters` | who is to be told |
//! | [`inline`] | the same without a thread, for simulators |
//!
//! [`KvStore`] drives the engine: what it orders for the log goes to the worker thread, and each batch comes back as one
//! receipt, so a thousand branches that were forced together cost one wake-up.

pub mod engine;
pub mod inline;
mod inspect;
pub mod locks;
pub mod record;
mod store;
mod view;
mod waiters;
mod work;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use handfast_common::failpoints;
use handfast_common::ids::{ContentHash, Incarnation, Key, StoreId, Xid};
use handfast_common::locks::{Lock, Mutex};
use handfast_common::messages::{AskValues, OnePhaseResult, ValuePage};
use handfast_common::outcome::{Reason, Vote};
use handfast_common::storage::{self, Caps, Counters, Folder, Space, StorageError, Store, Worker};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use uuid::Uuid;

pub use inspect::{Inspection, inspect};
pub use work::{decode_operations, decode_reads, encode_operations, encode_reads};

use crate::protocol::{Line, Prepared, Recovered};
use crate::resource::{Committed, Execution, ParticipantLog, ResourceManager, Work};
use engine::{Engine, Output};
use store::{Receipt, Writer};
use view::Snapshot;
use waiters::Waiters;

/// The store, as the server holds it; clones are the same store. Everything is ordered by the moment of the call, not
/// of the first poll of what it returns.
///
/// After an error of the disk nobody gets an answer any more: what was being written may be there or not, and only the
/// next start can tell.
#[derive(Clone)]
pub struct KvStore(Rc<Inner>);

/// How to open it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The file.
    pub store: storage::Options,
    /// Batches.
    pub caps: Caps,
}

impl Options {
    /// A larger cache than a log has, for the data. The queue is not capped: what was handed over can't be given back,
    /// and what may be under way is bounded where transactions begin.
    pub const DEFAULTS: Self = Self {
        store: storage::Options { cache_bytes: 64 << 20, ..storage::Options::DEFAULTS },
        caps: Caps { queued_items: usize::MAX, ..Caps::DEFAULTS },
    };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULTS
    }
}

struct Inner {
    state: RefCell<State>,
    receipts: Cell<Option<UnboundedReceiver<Receipt>>>,
    sequence: Cell<u64>,
    recovered: Recovered,
    identity: StoreId,
    file: PathBuf,
    created: bool,
    fatal: Arc<Fatal>,
    /// After the state: the last snapshot goes before the file is closed.
    worker: Worker<Writer>,
}

struct State {
    engine: Engine<Snapshot>,
    waiters: Waiters,
    /// Empty between steps; kept for its capacity.
    outputs: Vec<Output>,
}

impl KvStore {
    /// Opens the store `participant` in `folder`, or makes it. When this returns, every lock of every branch in doubt is
    /// held again and `incarnation` is on disk, so whoever is answered from here on is answered by this start.
    ///
    /// `space` is made before, on the same folder: a start on a full disk needs its ballast. `fresh_identity` is drawn
    /// only for a store that is made. `on_fatal` gets the first error after this, once, on either thread; it ends the
    /// process.
    ///
    /// # Errors
    /// Every [`StorageError`].
    pub fn open(
        folder: &Folder,
        options: Options,
        space: Arc<Space>,
        incarnation: Incarnation,
        fresh_identity: impl FnOnce() -> Uuid,
        on_fatal: impl FnOnce(StorageError) + Send + 'static,
    ) -> Result<Self, StorageError> {
        let store = Store::open(folder, "participant", options.store, fresh_identity)?;
        Self::over(store, options.caps, space, incarnation, on_fatal)
    }

    /// The same over a store that is open, in memory perhaps.
    ///
    /// # Errors
    /// As for [`KvStore::open`].
    pub fn over(
        store: Store,
        caps: Caps,
        space: Arc<Space>,
        incarnation: Incarnation,
        on_fatal: impl FnOnce(StorageError) + Send + 'static,
    ) -> Result<Self, StorageError> {
        let (created, path) = (store.was_created(), store.file().to_owned());
        let Opened { engine, writer, recovered, identity, sequence } = Opened::begin(store, space, incarnation)?;
        let fatal = Arc::new(Fatal::new(on_fatal));
        let (report, receipts) = unbounded_channel();
        let raise = Arc::clone(&fatal);
        let worker = Worker::spawn(
            "participant-log",
            writer,
            caps,
            // Nobody listens any more only when the store is being dropped.
            move |receipt| {
                let _ = report.send(receipt);
            },
            move |error| raise.raise(error),
        )?;
        let state = RefCell::new(State { engine, waiters: Waiters::default(), outputs: Vec::new() });
        Ok(Self(Rc::new(Inner {
            state,
            receipts: Cell::new(Some(receipts)),
            sequence: Cell::new(sequence),
            recovered,
            identity,
            file: path,
            created,
            fatal,
            worker,
        })))
    }

    /// Drawn when the store was made.
    #[must_use]
    pub fn identity(&self) -> StoreId {
        self.0.identity
    }

    /// Whether this start made it.
    #[must_use]
    pub fn was_created(&self) -> bool {
        self.0.created
    }

    /// What the log has done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.0.worker.counters()
    }

    /// One step of the engine: its orders go out in order before anything else happens.
    fn step<T>(&self, work: impl FnOnce(&mut State) -> Result<T, StorageError>) -> Option<T> {
        let inner = &*self.0;
        let mut state = inner.state.borrow_mut();
        if inner.fatal.is_raised() {
            return None;
        }
        let value = match work(&mut state) {
            Ok(value) => value,
            Err(error) => {
                inner.fatal.raise(error);
                return None;
            }
        };
        let State { engine, waiters, outputs } = &mut *state;
        engine.take_outputs(outputs);
        for output in outputs.drain(..) {
            match output {
                // Refused only by a worker that has ended after an error: then there is nobody to tell.
                Output::Log { number, item, urgency } => drop(inner.worker.submit((number, item), urgency)),
                Output::Ended(ended) => waiters.tell(ended),
            }
        }
        Some(value)
    }
}

/// A store that a start has begun with, however it is driven from here on.
struct Opened {
    engine: Engine<Snapshot>,
    writer: Writer,
    recovered: Recovered,
    identity: StoreId,
    sequence: u64,
}

impl Opened {
    /// Reads everything, takes every lock of every branch in doubt, and only then forces the incarnation: whoever is
    /// answered by this start is answered with all locks held (A8).
    fn begin(store: Store, space: Arc<Space>, incarnation: Incarnation) -> Result<Self, StorageError> {
        let identity = StoreId(store.identity());
        let (mut writer, found) = Writer::open(store, Arc::clone(&space))?;
        failpoints::reach("kv7.before_locks");
        let file = writer.file().clone();
        let snapshot = Snapshot::take(file.clone(), space)?;
        let engine = Engine::new(snapshot, &found).map_err(|twice| file.refuse("log", &twice.to_string()))?;
        let first = writer.begin(incarnation)?;
        let recovered = Recovered {
            lines: found.lines,
            prepared: found.prepared.into_iter().map(|record| record.prepared).collect(),
            done: found.done,
            starts: found.starts,
        };
        Ok(Self { engine, writer, recovered, identity, sequence: first.sequence })
    }
}

/// Waits, for ever if the store has failed.
async fn answered<F: Future>(answer: Option<F>) -> F::Output {
    match answer {
        Some(answer) => answer.await,
        None => pending().await,
    }
}

impl ResourceManager for KvStore {
    fn execute(&self, work: Work) -> impl Future<Output = Execution> {
        answered(self.step(|State { engine, waiters, .. }| {
            let answer = waiters.executions.wait(work.xid);
            engine.execute(&work).map(|()| answer)
        }))
    }

    fn prepare(&self, work: Work, record: Prepared) -> impl Future<Output = Vote> {
        answered(self.step(|State { engine, waiters, .. }| {
            let answer = waiters.votes.wait(work.xid);
            engine.prepare(&work, record).map(|()| answer)
        }))
    }

    fn commit_one_phase(&self, work: Work, key: Key, hash: ContentHash) -> impl Future<Output = OnePhaseResult> {
        answered(self.step(|State { engine, waiters, .. }| {
            let answer = waiters.one_phase.wait(work.xid);
            engine.commit_one_phase(&work, key, hash).map(|()| answer)
        }))
    }

    fn cancel(&self, xid: Xid, reason: Reason) {
        self.step(|state| state.engine.cancel(xid, reason));
    }

    fn commit(&self, xid: Xid) -> impl Future<Output = Committed> {
        answered(self.step(|State { engine, waiters, .. }| {
            let answer = waiters.commits.wait(xid);
            engine.commit(xid).map(|()| answer)
        }))
    }

    fn abort(&self, xid: Xid) -> impl Future<Output = ()> {
        answered(self.step(|State { engine, waiters, .. }| {
            let answer = waiters.aborts.wait(xid);
            engine.abort(xid).map(|()| answer)
        }))
    }

    fn release(&self, xid: Xid) {
        self.step(|state| state.engine.release(xid));
    }

    fn values(&self, question: &AskValues) -> Result<ValuePage, String> {
        self.step(|state| state.engine.values(question)).ok_or_else(|| "the store has failed".to_owned())
    }
}

impl ParticipantLog for KvStore {
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
        answered(self.step(|State { engine, waiters, .. }| {
            let number = engine.force(line);
            Ok(waiters.forces.wait(number))
        }))
    }

    fn note(&self, line: Line) {
        self.step(|state| {
            state.engine.note(line);
            Ok(())
        });
    }

    fn sequence(&self) -> u64 {
        self.0.sequence.get()
    }

    /// Takes the log's receipts. It never ends; only the first call does anything.
    async fn run(&self) {
        let Some(mut receipts) = self.0.receipts.take() else { return pending().await };
        while let Some(mut receipt) = receipts.recv().await {
            // A later receipt covers all before it.
            while let Ok(later) = receipts.try_recv() {
                receipt = later;
            }
            self.step(|state| {
                // Before the answers, which carry it.
                self.0.sequence.set(receipt.sequence);
                state.engine.durable(receipt.through)
            });
        }
        pending().await
    }
}

/// The first error, told once.
struct Fatal {
    raised: AtomicBool,
    tell: Mutex<Option<Tell>>,
}

type Tell = Box<dyn FnOnce(StorageError) + Send>;

impl Fatal {
    fn new(tell: impl FnOnce(StorageError) + Send + 'static) -> Self {
        Self { raised: AtomicBool::new(false), tell: Mutex::new(Lock::Fatal, Some(Box::new(tell))) }
    }

    fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    fn raise(&self, error: StorageError) {
        self.raised.store(true, Ordering::Release);
        let tell = self.tell.lock().take();
        if let Some(tell) = tell {
            tell(error);
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
