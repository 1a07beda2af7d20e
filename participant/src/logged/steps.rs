//! The steps of branches: for each branch one at a time, in the order they were asked for.
//!
//! What is tried is on disk as "to be tried" before, so that a crash in between is cancelled; and a step that has been
//! told to end answers No at once, while its try, if it runs, is waited for before it is cancelled: a try that is still
//! under way would otherwise come after its cancel.

use std::future::Future;
use std::rc::Rc;

use futures::future::join_all;
use handfast_common::ids::{ContentHash, Key, Xid};
use handfast_common::limits::{RETRY_CAP, RETRY_FIRST};
use handfast_common::messages::OnePhaseResult;
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};
use handfast_common::storage::Urgency;

use super::contract::{Branch, Piece, Tried, TryConfirmCancel};
use super::record::{Found, Item, Stored};
use super::state::{Ended, Inner, Order, Promise, Reply};
use crate::protocol::{Done, Execution, OnePhaseDone, Prepared};
use crate::resource::{Committed, Work};

/// What a try has come to.
enum Attempt {
    Done(Tried),
    Failed(Reason),
    /// The branch is to be cancelled.
    Doomed(Reason),
}

impl<S: TryConfirmCancel> Inner<S> {
    /// Queues a step.
    pub(super) fn order(self: &Rc<Self>, xid: Xid, order: Order) {
        let mut state = self.state.borrow_mut();
        let open = state.branches.entry(xid).or_default();
        open.orders.push_back(order);
        if !std::mem::replace(&mut open.running, true) {
            // Nobody takes jobs any more only when the store is being dropped.
            let _ = self.jobs.send(Box::pin(Rc::clone(self).steps(xid)));
        }
    }

    /// Ends work of a branch that waits or runs; what was handed to the log as a promise goes on.
    pub(super) fn doom(&self, xid: Xid, reason: Reason) {
        let mut state = self.state.borrow_mut();
        let Some(open) = state.branches.get_mut(&xid).filter(|open| open.promise.is_none()) else { return };
        let refuse = open.refuse.take();
        if refuse.is_none() && !open.orders.iter().any(Order::is_work) {
            return;
        }
        open.doomed.get_or_insert_with(|| reason.clone());
        drop(state);
        if let Some(refuse) = refuse {
            refuse(reason);
        }
    }

    /// What an earlier start left half way is finished, all of it side by side; what can't be now, goes on later.
    pub(super) async fn settle(self: &Rc<Self>, found: Found) {
        join_all(found.open.into_iter().map(async |branch| {
            let done = self.store.cancel(&branch).await;
            if self.at_first(&branch, "cancel", done) {
                self.end(branch.xid, &Stored::Cancelled(branch.xid), Ended::Cancelled);
            } else {
                self.put_back(branch.xid, branch.pieces);
                self.order(branch.xid, Order::Release);
            }
        }))
        .await;
        join_all(found.decided.into_iter().map(async |(done, branch)| {
            let confirmed = self.store.confirm(&branch).await;
            if self.at_first(&branch, "confirm", confirmed) {
                self.done(done);
            } else {
                self.put_back(branch.xid, branch.pieces);
                self.with(branch.xid, |open| open.promise = Some(Promise::Decided));
                self.order(branch.xid, Order::Confirm(done));
            }
        }))
        .await;
    }

    fn at_first(&self, branch: &Branch, what: &str, result: Result<(), String>) -> bool {
        if let Err(why) = &result {
            tracing::warn!(txn = %branch.xid.txn, what, why, "left by an earlier start, and not possible now");
        }
        result.is_ok()
    }

    /// All steps of a branch, until there are no more.
    async fn steps(self: Rc<Self>, xid: Xid) {
        while let Some(order) = self.next(xid) {
            match order {
                Order::Execute(work, reply) => {
                    self.begin(xid, &reply, Execution::Doomed);
                    reply.give(self.execute(work).await);
                }
                Order::Prepare(work, record, reply) => {
                    self.begin(xid, &reply, Vote::No);
                    reply.give(self.prepare(work, record).await);
                }
                Order::OnePhase(work, key, hash, reply) => {
                    self.begin(xid, &reply, OnePhaseResult::Aborted);
                    self.one_phase(work, key, hash, &reply).await;
                }
                Order::Commit(reply) => reply.give(self.commit(xid).await),
                Order::Abort(reply) => {
                    self.abort(xid).await;
                    reply.give(());
                }
                Order::Release => self.release(xid).await,
                Order::Confirm(done) => self.confirm(xid, done).await,
            }
            self.with(xid, |open| open.refuse = None);
            // Told to end while it could not: nothing else may come that would take it back.
            if self.with(xid, |open| open.doomed.is_some()) {
                self.undo(xid).await;
            }
        }
    }

    /// The next step of a branch; with none, the branch goes if there is nothing of it.
    fn next(&self, xid: Xid) -> Option<Order> {
        let mut state = self.state.borrow_mut();
        let open = state.branches.get_mut(&xid)?;
        let order = open.orders.pop_front();
        if order.is_none() {
            open.running = false;
            if open.last == 0 && open.promise.is_none() {
                state.branches.remove(&xid);
            }
        }
        order
    }

    /// From here on the work of this step can be ended by [`Inner::doom`].
    fn begin<T: 'static>(&self, xid: Xid, reply: &Reply<T>, refused: impl FnOnce(Reason) -> T + 'static) {
        let reply = reply.clone();
        self.with(xid, |open| open.refuse = Some(Box::new(move |reason| reply.give(refused(reason)))));
    }

    async fn execute(&self, work: Work) -> Execution {
        let xid = work.xid;
        let Some(payload) = work.payload.clone() else {
            return Execution::Failed(Reason::new(ReasonKind::BadWork, "there is no work"));
        };
        if self.with(xid, |open| open.promise.is_some()) {
            return Execution::Failed(Reason::new(ReasonKind::Lost, "the branch has voted"));
        }
        match self.attempt(&work, payload).await {
            Attempt::Done(tried) => Execution::Done(tried.result),
            Attempt::Failed(reason) => Execution::Failed(reason),
            Attempt::Doomed(reason) => {
                self.undo(xid).await;
                Execution::Doomed(reason)
            }
        }
    }

    async fn prepare(&self, work: Work, mut record: Prepared) -> Vote {
        let xid = work.xid;
        match self.with(xid, |open| open.promise.clone()) {
            Some(Promise::Yes(reads)) => return Vote::Yes(reads),
            Some(Promise::ReadOnly(reads)) => return Vote::ReadOnly(reads),
            Some(Promise::Decided) => panic!("{xid:?} is told to prepare after it was committed in one phase"),
            None => {}
        }
        let reads = match self.work(work).await {
            Ok(reads) => reads,
            Err(reason) => return Vote::No(reason),
        };
        if !self.with(xid, |open| open.changes) {
            self.with(xid, |open| open.promise = Some(Promise::ReadOnly(reads.clone())));
            return Vote::ReadOnly(reads);
        }
        record.reads = reads.clone();
        match Stored::Prepared(record).encode() {
            Ok(record) => {
                self.with(xid, |open| open.promise = Some(Promise::Yes(reads.clone())));
                let number = self.hand(Item::Prepare { xid, record }, Urgency::Force);
                self.durable(number).await;
                Vote::Yes(reads)
            }
            Err(error) => Vote::No(self.unfit(xid, &error.to_string()).await),
        }
    }

    async fn one_phase(&self, work: Work, key: Key, hash: ContentHash, reply: &Reply<OnePhaseResult>) {
        let xid = work.xid;
        if let Some(Ended::Done(Some(done), _)) = self.ended(xid) {
            return reply.give(OnePhaseResult::Committed(done.reads));
        }
        let reads = match self.work(work).await {
            Ok(reads) => reads,
            Err(reason) => return reply.give(OnePhaseResult::Aborted(reason)),
        };
        if !self.with(xid, |open| open.changes) {
            // No other branch is to come: nothing to keep. What it holds goes, and nobody waits for that.
            reply.give(OnePhaseResult::Committed(reads));
            return self.undo(xid).await;
        }
        let done = Done { xid, one_phase: Some(OnePhaseDone { key, hash, reads: reads.clone() }) };
        match Stored::Decided(done.clone()).encode() {
            Ok(record) => {
                self.with(xid, |open| open.promise = Some(Promise::Decided));
                let number = self.hand(Item::Decide { xid, record }, Urgency::Force);
                self.durable(number).await;
                self.confirm(xid, done).await;
                reply.give(OnePhaseResult::Committed(reads));
            }
            Err(error) => reply.give(OnePhaseResult::Aborted(self.unfit(xid, &error.to_string()).await)),
        }
    }

    async fn commit(&self, xid: Xid) -> Committed {
        if let Some(Promise::Yes(_)) = self.with(xid, |open| open.promise.clone()) {
            self.confirm(xid, Done { xid, one_phase: None }).await;
        }
        match self.ended(xid) {
            Some(Ended::Done(_, number)) => {
                self.durable(number).await;
                Committed::Done
            }
            None if self.covers(xid) => Committed::Done,
            Some(Ended::Cancelled(_)) | None => Committed::LostBranch,
        }
    }

    async fn abort(&self, xid: Xid) {
        let decided = matches!(self.with(xid, |open| open.promise.clone()), Some(Promise::Decided));
        let ended = self.ended(xid);
        assert!(!decided && !matches!(ended, Some(Ended::Done(..))), "{xid:?} is told to abort after it has committed");
        // One in doubt is undone also below the mark: only a decision ends it.
        if ended.is_none() && (self.with(xid, |open| open.last > 0) || !self.covers(xid)) {
            self.undo(xid).await;
        }
        if let Some(Ended::Cancelled(number)) = self.ended(xid) {
            self.durable(number).await;
        }
    }

    async fn release(&self, xid: Xid) {
        let prepared = matches!(self.with(xid, |open| open.promise.clone()), Some(Promise::Yes(_) | Promise::Decided));
        if !prepared && self.with(xid, |open| open.last > 0) {
            self.undo(xid).await;
        }
    }

    /// Does what is left to do before a branch can be promised; what it read. After an error all of it is taken back.
    async fn work(&self, work: Work) -> Result<Payload, Reason> {
        let xid = work.xid;
        let attempt = match work.payload.clone() {
            Some(payload) => self.attempt(&work, payload).await,
            None if self.with(xid, |open| open.last > 0) => match self.refusal(xid) {
                Some(reason) => Attempt::Doomed(reason),
                None => Attempt::Done(Tried::read(Payload::default())),
            },
            None => return Err(Reason::new(ReasonKind::Lost, "there is no work of this branch here")),
        };
        match attempt {
            Attempt::Done(tried) => Ok(tried.result),
            Attempt::Failed(reason) | Attempt::Doomed(reason) => {
                // Nothing to take back, or to remember, of what has ended before.
                if self.with(xid, |open| open.last > 0 || open.doomed.is_some()) {
                    self.undo(xid).await;
                }
                Err(reason)
            }
        }
    }

    /// Tries a piece of work. What is refused for good is not even begun.
    async fn attempt(&self, work: &Work, payload: Payload) -> Attempt {
        let xid = work.xid;
        if let Some(reason) = self.refusal(xid) {
            return Attempt::Doomed(reason);
        }
        if !self.space.refresh() {
            return Attempt::Failed(Reason::new(ReasonKind::DiskFull, "free space is below the reserve"));
        }
        let number = self.with(xid, |open| open.last) + 1;
        let piece = Piece { xid, number, age: work.age, work: payload };
        let record = match Stored::Piece(piece.clone()).encode() {
            Ok(record) => record,
            Err(error) => return Attempt::Failed(Reason::new(ReasonKind::BadWork, format!("its record is {error}"))),
        };
        self.with(xid, |open| {
            open.last = number;
            open.pieces.push(piece.clone());
        });
        let handed = self.hand(Item::Piece { xid, number, record }, Urgency::Force);
        self.durable(handed).await;
        if let Some(reason) = self.with(xid, |open| open.doomed.clone()) {
            return Attempt::Doomed(reason);
        }
        let tried = self.store.try_work(&piece).await;
        if let Some(reason) = self.with(xid, |open| open.doomed.clone()) {
            return Attempt::Doomed(reason);
        }
        match tried {
            Ok(tried) => {
                self.with(xid, |open| open.changes |= tried.changes);
                Attempt::Done(tried)
            }
            Err(reason) if matches!(reason.kind, ReasonKind::Conflict | ReasonKind::LockTimeout) => {
                Attempt::Doomed(reason)
            }
            Err(reason) => {
                self.with(xid, |open| open.pieces.retain(|piece| piece.number != number));
                let refused = Branch { xid, pieces: vec![piece] };
                insist(&refused, "cancel", || self.store.cancel(&refused)).await;
                self.hand(Item::Drop { xid, number }, Urgency::Ride);
                Attempt::Failed(reason)
            }
        }
    }

    /// Why nothing of a branch may be done any more: it ends, has ended, or is below the mark.
    fn refusal(&self, xid: Xid) -> Option<Reason> {
        if let Some(reason) = self.with(xid, |open| open.doomed.clone()) {
            return Some(reason);
        }
        let lost = |detail| Some(Reason::new(ReasonKind::Lost, detail));
        match self.ended(xid) {
            Some(Ended::Cancelled(_) | Ended::Done(..)) => lost("the branch has ended here"),
            None if self.covers(xid) => lost("it is below the mark"),
            None => None,
        }
    }

    async fn unfit(&self, xid: Xid, error: &str) -> Reason {
        self.undo(xid).await;
        Reason::new(ReasonKind::BadWork, format!("its record is {error}"))
    }

    /// Cancels all of a branch, and remembers that it was.
    async fn undo(&self, xid: Xid) {
        let branch = Branch { xid, pieces: self.with(xid, |open| std::mem::take(&mut open.pieces)) };
        if !branch.pieces.is_empty() {
            insist(&branch, "cancel", || self.store.cancel(&branch)).await;
        }
        self.end(xid, &Stored::Cancelled(xid), Ended::Cancelled);
    }

    /// Confirms all of a branch, and remembers that it is done.
    async fn confirm(&self, xid: Xid, done: Done) {
        let branch = Branch { xid, pieces: self.with(xid, |open| std::mem::take(&mut open.pieces)) };
        insist(&branch, "confirm", || self.store.confirm(&branch)).await;
        self.done(done);
    }

    fn done(&self, done: Done) {
        let one_phase = done.one_phase.clone();
        self.end(done.xid, &Stored::Done(done), |number| Ended::Done(one_phase, number));
    }

    fn end(&self, xid: Xid, marker: &Stored, ended: impl FnOnce(u64) -> Ended) {
        let record = marker.encode().expect("a marker is no larger than the promise before it");
        let number = self.hand(Item::End { xid, record }, Urgency::Ride);
        let mut state = self.state.borrow_mut();
        state.ended.insert(xid, ended(number));
        // Its queue and who waits stay.
        if let Some(open) = state.branches.get_mut(&xid) {
            (open.last, open.changes, open.promise, open.doomed) = (0, false, None, None);
        }
    }
}

/// Does it again until it is done.
async fn insist<F: Future<Output = Result<(), String>>>(branch: &Branch, what: &str, mut act: impl FnMut() -> F) {
    let (mut pause, mut said) = (RETRY_FIRST, String::new());
    while let Err(why) = act().await {
        if why != said {
            tracing::warn!(txn = %branch.xid.txn, what, why, "not possible now, and tried again");
            said = why;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_CAP);
    }
}
