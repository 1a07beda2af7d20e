//! The store, and what its process remembers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use handfast_common::codec;
use handfast_common::ids::{ContentHash, Incarnation, Key, StoreId, Xid};
use handfast_common::messages::{AskValues, KnownStart, OnePhaseResult, ValuePage};
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};
use uuid::Uuid;

use super::super::ledger::LedgerWork;
use super::Defect;
use super::disk::{Branch, Disk, World, apply, finish};
use crate::protocol::{Done, Execution, Line, OnePhaseDone, Prepared, Recovered};
use crate::resource::{Committed, ParticipantLog, ResourceManager, Work};

#[derive(Clone)]
pub(super) struct BrokenStore(Rc<Inner>);

struct Inner {
    defect: Option<Defect>,
    world: Rc<RefCell<World>>,
    memory: RefCell<Memory>,
    recovered: Recovered,
    identity: StoreId,
}

#[derive(Default)]
struct Memory {
    open: BTreeMap<Xid, Branch>,
    read_only: BTreeMap<Xid, Payload>,
    holders: BTreeMap<String, Xid>,
    waiting: BTreeSet<Xid>,
    cancelled: BTreeMap<Xid, Reason>,
    noted: Vec<Line>,
    /// For the defects that do a thing twice, or late.
    changes: BTreeMap<Xid, Branch>,
}

impl BrokenStore {
    pub(super) fn open(defect: Option<Defect>, world: Rc<RefCell<World>>, incarnation: Incarnation) -> Self {
        let (mut memory, is) = (Memory::default(), |other| defect == Some(other));
        let mut on_disk = world.borrow_mut();
        let disk = &mut on_disk.now;
        if is(Defect::ForgetsPrepared) {
            disk.prepared.clear();
        }
        if is(Defect::ForgetsMarkers) {
            disk.done.clear();
        }
        if is(Defect::ForgetsAborts) {
            disk.aborted.clear();
        }
        if is(Defect::SequenceForgotten) {
            disk.sequence = 0;
        }
        if is(Defect::SequenceCountsStarts) {
            disk.sequence += 1;
        }
        for (xid, (_, branch)) in disk.prepared.iter().filter(|_| !is(Defect::LocksLost)) {
            memory.holders.extend(branch.keys.iter().map(|key| (key.clone(), *xid)));
        }
        if let Some(last) = disk.starts.last_mut() {
            last.sequence = disk.sequence;
        }
        let recovered = Recovered {
            lines: disk.lines.values().cloned().collect(),
            prepared: disk.prepared.values().map(|(record, _)| record.clone()).collect(),
            done: disk.done.values().cloned().collect(),
            starts: if is(Defect::StartsForgotten) { Vec::new() } else { disk.starts.clone() },
        };
        disk.starts.push(KnownStart { incarnation, sequence: 0 });
        drop(on_disk);
        let identity = if is(Defect::IdentityChanges) { u128::from(incarnation.0) } else { 5 };
        let (memory, identity) = (RefCell::new(memory), StoreId(Uuid::from_u128(identity)));
        Self(Rc::new(Inner { defect, world, memory, recovered, identity }))
    }

    pub(super) fn value(&self, key: &str) -> i64 {
        self.disk(|disk| disk.values.get(key).copied().unwrap_or_default())
    }

    fn is(&self, defect: Defect) -> bool {
        self.0.defect == Some(defect)
    }

    fn disk<T>(&self, look: impl FnOnce(&Disk) -> T) -> T {
        look(&self.0.world.borrow().now)
    }

    /// A write that is on disk when it returns.
    fn write<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> T {
        let mut world = self.0.world.borrow_mut();
        let value = change(&mut world.now);
        let now = world.now.clone();
        world.moments.push(now);
        value
    }

    /// A write of a branch.
    fn count<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> T {
        let counts = u64::from(!self.is(Defect::SequenceSleeps));
        self.write(|disk| {
            disk.sequence += counts;
            change(disk)
        })
    }

    /// A write that a kill takes back.
    fn unsynced(&self) {
        let mut world = self.0.world.borrow_mut();
        if world.synced.is_none() {
            world.synced = Some(world.now.clone());
        }
    }

    fn memory<T>(&self, look: impl FnOnce(&mut Memory) -> T) -> T {
        look(&mut self.0.memory.borrow_mut())
    }

    fn let_go(&self, xid: Xid) {
        self.memory(|memory| {
            memory.holders.retain(|_, holder| *holder != xid);
            memory.open.remove(&xid);
            memory.read_only.remove(&xid);
        });
    }

    /// Whether nothing of a branch may run any more.
    fn is_over(&self, xid: Xid) -> bool {
        let aborted = self.disk(|disk| disk.aborted.contains(&xid)) && !self.is(Defect::RunsAfterAbort);
        if aborted && self.is(Defect::RemembersAbortsOnce) {
            self.write(|disk| disk.aborted.remove(&xid));
        }
        aborted || (self.disk(|disk| disk.done.contains_key(&xid)) && !self.is(Defect::RunsAfterCommit))
    }

    /// Takes a key, as soon as it is free.
    async fn take(&self, xid: Xid, key: &str) -> Result<(), Reason> {
        loop {
            let taken = self.memory(|memory| match memory.holders.get(key) {
                Some(holder) if *holder != xid && !self.is(Defect::NoLocks) => {
                    memory.waiting.insert(xid);
                    memory.cancelled.remove(&xid).map(Err)
                }
                Some(_) | None => {
                    memory.holders.insert(key.to_owned(), xid);
                    Some(Ok(()))
                }
            });
            if let Some(taken) = taken {
                self.memory(|memory| memory.waiting.remove(&xid));
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// One operation: `Ok(Err(..))` did nothing, `Err` ends the branch.
    async fn operate(&self, xid: Xid, payload: &Payload) -> Result<Result<Payload, Reason>, Reason> {
        let work: LedgerWork = codec::decode(&payload.0).unwrap();
        let keys: Vec<String> = match &work {
            LedgerWork::Add(changes) => changes.keys().rev().cloned().collect(),
            LedgerWork::Read(key) => vec![key.clone()],
            LedgerWork::Refused => return Ok(Err(Reason::new(ReasonKind::CheckFailed, "it always is"))),
        };
        for key in &keys {
            self.take(xid, key).await?;
        }
        self.memory(|memory| memory.open.entry(xid).or_default().keys.extend(keys));
        match work {
            LedgerWork::Add(changes) => {
                if self.is(Defect::OpenIsVisible) {
                    self.write(|disk| apply(disk, &changes.clone().into_iter().collect::<Vec<_>>()));
                }
                let single = self.is(Defect::PreparesLastOperation);
                self.memory(|memory| {
                    let branch = memory.open.entry(xid).or_default();
                    if single {
                        branch.changes.clear();
                    }
                    branch.changes.extend(changes);
                });
                Ok(Ok(Payload(vec![1])))
            }
            LedgerWork::Read(key) => {
                let own = self.memory(|memory| memory.open.get(&xid).map_or(0, |branch| branch.sum(&key)));
                let own = if self.is(Defect::OwnWritesUnseen) { 0 } else { own };
                Ok(Ok(Payload(codec::encode(&(self.value(&key) + own)).unwrap())))
            }
            LedgerWork::Refused => unreachable!("answered above"),
        }
    }

    /// All work of a branch: what it comes to, and what was read last.
    async fn work(&self, work: &Work) -> Result<(Branch, Payload), Reason> {
        let xid = work.xid;
        let done = match &work.payload {
            Some(payload) => self.operate(xid, payload).await.and_then(|done| done),
            None if self.memory(|memory| memory.open.contains_key(&xid)) || self.is(Defect::PreparesNothing) => {
                Ok(Payload::default())
            }
            None => Err(Reason::new(ReasonKind::Lost, "there is no work")),
        };
        let branch = self.memory(|memory| memory.open.get(&xid).cloned().unwrap_or_default());
        match done {
            Ok(reads) => Ok((branch, reads)),
            Err(reason) => {
                if !self.is(Defect::NoKeepsLocks) {
                    self.let_go(xid);
                }
                Err(reason)
            }
        }
    }

    fn apply(&self, xid: Xid, branch: &Branch, done: Option<Done>) {
        if self.is(Defect::AppliesByHalves) {
            self.write(|disk| apply(disk, &branch.changes[..1]));
            return self.count(|disk| finish(disk, xid, &branch.changes[1..], done));
        }
        if self.is(Defect::MarkerAfterEffect) && done.as_ref().is_some_and(|done| done.one_phase.is_some()) {
            self.write(|disk| apply(disk, &branch.changes));
            return self.count(|disk| finish(disk, xid, &[], done));
        }
        self.count(|disk| finish(disk, xid, &branch.changes, done));
    }
}

impl ResourceManager for BrokenStore {
    async fn execute(&self, work: Work) -> Execution {
        let (xid, payload) = (work.xid, work.payload.unwrap());
        if self.is_over(xid) {
            return Execution::Doomed(Reason::new(ReasonKind::Lost, "it has ended"));
        }
        match self.operate(xid, &payload).await {
            Ok(Ok(reads)) => Execution::Done(reads),
            Ok(Err(reason)) => {
                if self.is(Defect::FailureDropsBranch) {
                    self.memory(|memory| memory.open.insert(xid, Branch::default()));
                }
                Execution::Failed(reason)
            }
            Err(reason) => {
                if !self.is(Defect::CancelLeavesOperations) {
                    self.let_go(xid);
                }
                Execution::Doomed(reason)
            }
        }
    }

    async fn prepare(&self, work: Work, mut record: Prepared) -> Vote {
        let xid = work.xid;
        if self.is_over(xid) {
            return Vote::No(Reason::new(ReasonKind::Lost, "it has ended"));
        }
        if let Some(reads) = self.disk(|disk| disk.prepared.get(&xid).map(|(record, _)| record.reads.clone())) {
            let reads = if self.is(Defect::VotesDifferently) { Payload(vec![9]) } else { reads };
            return Vote::Yes(reads);
        }
        if let Some(reads) = self.memory(|memory| memory.read_only.get(&xid).cloned()) {
            return Vote::ReadOnly(reads);
        }
        let (branch, reads) = match self.work(&work).await {
            Ok(done) => done,
            Err(reason) => return Vote::No(reason),
        };
        if branch.changes.is_empty() && !self.is(Defect::ReadsVoteYes) && !self.is(Defect::PreparesNothing) {
            if self.is(Defect::ReadOnlyLetsGo) {
                self.let_go(xid);
            }
            self.memory(|memory| memory.read_only.insert(xid, reads.clone()));
            return Vote::ReadOnly(reads);
        }
        if !self.is(Defect::ReadsNotInRecord) {
            record.reads = reads.clone();
        }
        if self.is(Defect::YesBeforeDurable) {
            self.unsynced();
        }
        if self.is(Defect::VisibleBeforeDecision) {
            self.write(|disk| apply(disk, &branch.changes));
        }
        self.count(|disk| disk.prepared.insert(xid, (record, branch)));
        Vote::Yes(reads)
    }

    async fn commit_one_phase(&self, work: Work, key: Key, hash: ContentHash) -> OnePhaseResult {
        let xid = work.xid;
        let done = self.disk(|disk| disk.done.get(&xid).and_then(|done| done.one_phase.clone()));
        if let Some(done) = done.filter(|_| !self.is(Defect::OnePhaseTwice)) {
            return OnePhaseResult::Committed(done.reads);
        }
        if self.disk(|disk| disk.aborted.contains(&xid)) {
            return OnePhaseResult::Aborted(Reason::new(ReasonKind::Lost, "it has ended"));
        }
        let marker = |reads: &Payload| Done { xid, one_phase: Some(OnePhaseDone { key, hash, reads: reads.clone() }) };
        let operated = work.payload.is_none();
        match self.work(&work).await {
            Ok((branch, reads)) => {
                let marked = !branch.changes.is_empty() || self.is(Defect::OnePhaseReadIsMarked);
                let lost = self.is(Defect::LosesOnePhaseMarker);
                if operated && self.is(Defect::OnePhaseIgnoresOperations) {
                    self.apply(xid, &Branch::default(), Some(marker(&reads)));
                } else if marked {
                    self.apply(xid, &branch, Some(marker(&reads)).filter(|_| !lost));
                }
                self.let_go(xid);
                OnePhaseResult::Committed(reads)
            }
            Err(reason) => {
                if self.is(Defect::OnePhaseRefusedIsMarked) {
                    self.apply(xid, &Branch::default(), Some(marker(&Payload::default())));
                }
                OnePhaseResult::Aborted(reason)
            }
        }
    }

    fn cancel(&self, xid: Xid, reason: Reason) {
        if self.is(Defect::CancelEndsPrepared) {
            self.write(|disk| disk.prepared.remove(&xid));
        }
        if !self.is(Defect::CancelIgnored) && self.memory(|memory| memory.waiting.contains(&xid)) {
            self.memory(|memory| memory.cancelled.insert(xid, reason));
        }
    }

    async fn commit(&self, xid: Xid) -> Committed {
        if self.disk(|disk| disk.done.contains_key(&xid)) {
            if self.is(Defect::AppliesTwice) {
                let branch = self.memory(|memory| memory.changes.get(&xid).cloned().unwrap_or_default());
                self.write(|disk| apply(disk, &branch.changes));
            }
            return Committed::Done;
        }
        let Some(mut branch) = self.disk(|disk| disk.prepared.get(&xid).map(|(_, branch)| branch.clone())) else {
            return if self.is(Defect::AcknowledgesUnknown) { Committed::Done } else { Committed::LostBranch };
        };
        self.memory(|memory| memory.changes.insert(xid, branch.clone()));
        if self.is(Defect::VisibleBeforeDecision) || self.is(Defect::OpenIsVisible) {
            branch.changes.clear();
        }
        if self.is(Defect::CommitNotDurable) {
            self.unsynced();
        }
        self.apply(xid, &branch, Some(Done { xid, one_phase: None }));
        self.let_go(xid);
        Committed::Done
    }

    async fn abort(&self, xid: Xid) {
        let known = self.disk(|disk| disk.prepared.contains_key(&xid));
        if !known && self.is(Defect::AbortOfNothingHangs) {
            pending::<()>().await;
        }
        let undone = !self.is(Defect::AbortNotUndone);
        self.count(|disk| {
            if undone {
                disk.prepared.remove(&xid);
            }
            disk.aborted.insert(xid);
        });
        let keeps = if known { self.is(Defect::AbortKeepsLocks) } else { self.is(Defect::AbortLeavesOpen) };
        if !keeps {
            self.let_go(xid);
        }
    }

    fn release(&self, xid: Xid) {
        if self.memory(|memory| memory.read_only.contains_key(&xid)) && !self.is(Defect::ReadOnlyNeverLetsGo) {
            self.let_go(xid);
        }
    }

    fn values(&self, _: &AskValues) -> Result<ValuePage, String> {
        Err("no such view".to_owned())
    }
}

impl ParticipantLog for BrokenStore {
    fn identity(&self) -> StoreId {
        self.0.identity
    }

    fn file(&self) -> PathBuf {
        PathBuf::from("memory")
    }

    fn recovered(&self) -> Recovered {
        self.0.recovered.clone()
    }

    async fn force(&self, line: Line) {
        if self.is(Defect::ForceNotDurable) {
            self.unsynced();
        }
        let mut lines = self.memory(|memory| std::mem::take(&mut memory.noted));
        if self.is(Defect::NoteLost) {
            lines.clear();
        }
        lines.push(line);
        for line in lines {
            self.write(|disk| self.keep(disk, line));
        }
    }

    fn note(&self, line: Line) {
        self.memory(|memory| memory.noted.push(line));
    }

    fn sequence(&self) -> u64 {
        self.disk(|disk| disk.sequence)
    }

    async fn run(&self) {
        pending().await
    }
}

impl BrokenStore {
    fn keep(&self, disk: &mut Disk, line: Line) {
        if let Some(mark) = line.mark.clone() {
            let trims = |xid: &Xid| {
                let covered = mark.covers(xid.txn) || (self.is(Defect::TrimsExceptions) && xid.txn < mark.low);
                xid.log == line.log && covered && !self.is(Defect::NeverTrims)
            };
            disk.done.retain(|xid, _| !trims(xid));
            disk.aborted.retain(|xid| !trims(xid));
            if self.is(Defect::MarkEndsPrepared) {
                disk.prepared.retain(|xid, _| !trims(xid));
            }
        }
        disk.lines.insert(line.log, line);
    }
}
