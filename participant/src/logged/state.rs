//! What is known of branches while the participant runs, and the way to the log.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use handfast_common::ids::{ContentHash, Key, LogId, StoreId, Xid};
use handfast_common::messages::{Mark, OnePhaseResult};
use handfast_common::outcome::{Payload, Reason, Vote};
use handfast_common::storage::{Space, Urgency, Worker};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use super::contract::Piece;
use super::log::{Receipt, Writer};
use super::record::{Found, Item};
use crate::kv::engine::covered;
use crate::protocol::{Done, Execution, Line, OnePhaseDone, Prepared, Recovered};
use crate::resource::{Committed, Work};

/// Everything behind the handles.
pub(super) struct Inner<S> {
    pub(super) store: S,
    pub(super) state: RefCell<State>,
    pub(super) jobs: UnboundedSender<Job>,
    pub(super) queues: Cell<Option<Queues>>,
    pub(super) sequence: Cell<u64>,
    pub(super) recovered: Recovered,
    pub(super) identity: StoreId,
    pub(super) file: PathBuf,
    pub(super) space: Arc<Space>,
    pub(super) worker: Worker<Writer>,
}

/// The steps of one branch on their way.
pub(super) type Job = Pin<Box<dyn Future<Output = ()>>>;

/// What the background task takes from.
pub(super) struct Queues {
    pub(super) receipts: UnboundedReceiver<Receipt>,
    pub(super) jobs: UnboundedReceiver<Job>,
}

/// What changes.
pub(super) struct State {
    pub(super) branches: BTreeMap<Xid, Open>,
    pub(super) ended: BTreeMap<Xid, Ended>,
    pub(super) marks: BTreeMap<LogId, Mark>,
    /// Number of the last item handed over, and of the last that is on disk.
    pub(super) number: u64,
    pub(super) durable: u64,
    pub(super) waiting: BTreeMap<u64, Vec<oneshot::Sender<()>>>,
}

/// A branch that has not ended.
#[derive(Default)]
pub(super) struct Open {
    pub(super) orders: VecDeque<Order>,
    /// Whether its steps are being carried out; then only they touch what follows, save for `doomed` and `refuse`.
    pub(super) running: bool,
    pub(super) pieces: Vec<Piece>,
    /// Number of the last piece, refused ones too.
    pub(super) last: u32,
    pub(super) changes: bool,
    pub(super) promise: Option<Promise>,
    /// Why its work is to end, if it is.
    pub(super) doomed: Option<Reason>,
    /// Answers the work that is being done with a No.
    pub(super) refuse: Option<Box<dyn FnOnce(Reason)>>,
}

/// What was said about a branch and can't be taken back.
#[derive(Clone)]
pub(super) enum Promise {
    /// Prepared; what was read.
    Yes(Payload),
    /// Only read; what.
    ReadOnly(Payload),
    /// Committed in one phase.
    Decided,
}

/// A branch that has, and the item that says so.
#[derive(Clone)]
pub(super) enum Ended {
    Done(Option<OnePhaseDone>, u64),
    Cancelled(u64),
}

/// A step to take.
pub(super) enum Order {
    Execute(Work, Reply<Execution>),
    Prepare(Work, Prepared, Reply<Vote>),
    OnePhase(Work, Key, ContentHash, Reply<OnePhaseResult>),
    Commit(Reply<Committed>),
    Abort(Reply<()>),
    Release,
    /// Found at the start: decided, not confirmed.
    Confirm(Done),
}

/// Answers once; clones share that.
pub(super) struct Reply<T>(Rc<Cell<Option<oneshot::Sender<T>>>>);

impl<S> Inner<S> {
    pub(super) fn ended(&self, xid: Xid) -> Option<Ended> {
        self.state.borrow().ended.get(&xid).cloned()
    }

    pub(super) fn put_back(&self, xid: Xid, pieces: Vec<Piece>) {
        let last = pieces.last().map_or(0, |piece| piece.number);
        let mut state = self.state.borrow_mut();
        let open = state.branches.entry(xid).or_default();
        (open.pieces, open.last) = (pieces, last);
    }

    pub(super) fn with<T>(&self, xid: Xid, look: impl FnOnce(&mut Open) -> T) -> T {
        look(self.state.borrow_mut().branches.entry(xid).or_default())
    }

    pub(super) fn covers(&self, xid: Xid) -> bool {
        self.state.borrow().marks.get(&xid.log).is_some_and(|mark| mark.covers(xid.txn))
    }

    /// Takes a line's mark over, and forgets the markers that it covers, as the log will in the write that stores it.
    pub(super) fn hear(&self, line: &Line) {
        let Some(mark) = &line.mark else { return };
        let mut state = self.state.borrow_mut();
        for xid in covered(&state.ended, line.log, mark) {
            state.ended.remove(&xid);
        }
        state.marks.entry(line.log).and_modify(|known| _ = known.advance(mark)).or_insert_with(|| mark.clone());
    }

    /// Hands something to the log; its number.
    pub(super) fn hand(&self, item: Item, urgency: Urgency) -> u64 {
        let mut state = self.state.borrow_mut();
        state.number += 1;
        // Refused only by a worker that has ended after an error: then nobody is told anything any more.
        drop(self.worker.submit((state.number, item), urgency));
        state.number
    }

    /// Waits until an item is on disk.
    pub(super) async fn durable(&self, number: u64) {
        let told = {
            let mut state = self.state.borrow_mut();
            if state.durable >= number {
                return;
            }
            let (tell, told) = oneshot::channel();
            state.waiting.entry(number).or_default().push(tell);
            told
        };
        if told.await.is_err() {
            pending().await
        }
    }

    pub(super) fn on_durable(&self, through: u64) {
        let mut state = self.state.borrow_mut();
        state.durable = through;
        let later = state.waiting.split_off(&(through + 1));
        for tell in std::mem::replace(&mut state.waiting, later).into_values().flatten() {
            let _ = tell.send(());
        }
    }
}

impl State {
    pub(super) fn new(found: &Found) -> Self {
        let mut state = Self {
            branches: BTreeMap::new(),
            ended: BTreeMap::new(),
            marks: BTreeMap::new(),
            number: 0,
            durable: 0,
            waiting: BTreeMap::new(),
        };
        for (record, branch) in &found.prepared {
            let open = state.branches.entry(record.xid).or_default();
            (open.pieces, open.changes) = (branch.pieces.clone(), true);
            open.last = branch.pieces.last().map_or(0, |piece| piece.number);
            open.promise = Some(Promise::Yes(record.reads.clone()));
        }
        state.ended.extend(found.done.iter().map(|done| (done.xid, Ended::Done(done.one_phase.clone(), 0))));
        state.ended.extend(found.cancelled.iter().map(|xid| (*xid, Ended::Cancelled(0))));
        let marks = found.lines.iter().filter_map(|line| Some((line.log, line.mark.clone()?)));
        state.marks.extend(marks);
        state
    }
}

impl Order {
    pub(super) fn is_work(&self) -> bool {
        matches!(self, Self::Execute(..) | Self::Prepare(..) | Self::OnePhase(..))
    }
}

impl<T> Reply<T> {
    pub(super) fn new() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Rc::new(Cell::new(Some(sender)))), receiver)
    }

    pub(super) fn give(&self, answer: T) {
        if let Some(sender) = self.0.take() {
            // Whoever waited may be gone; what was done stays done.
            let _ = sender.send(answer);
        }
    }
}

impl<T> Clone for Reply<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}
