//! A store of one's own, as small as it can be and keep every rule: all that it must remember is one value, the page, and each
//! write is a whole page.
//!
//! It never waits for a lock, so it needs no order among those who wait: whoever comes second is told Conflict, and its
//! client tries again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::pending;
use std::ops::Bound;
use std::path::PathBuf;
use std::rc::Rc;

use handfast_common::ids::{ContentHash, Key, LogId, StoreId, Xid};
use handfast_common::limits::{MAX_PAGE, MAX_STARTS};
use handfast_common::messages::{AskValues, KnownStart, OnePhaseResult, Select, ValueLine, ValuePage};
use handfast_common::operation::{Operation, Read, Value};
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};
use handfast_common::storage::StorageError;
use handfast_participant::kv::{decode_operations, encode_reads};
use handfast_participant::protocol::{Done, Line, OnePhaseDone, Prepared, Recovered};
use handfast_participant::resource::{Committed, Execution, ParticipantLog, ResourceManager, Work};
use handfast_simulator::stores::Ground;
use serde::{Deserialize, Serialize};

use super::pages::Pages;

/// Clones are the same store.
#[derive(Clone)]
pub(crate) struct Notebook(Rc<Inner>);

/// What is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Defect {
    /// A start doesn't look for branches that were prepared.
    ForgetsPrepared,
    /// Yes is said before the page is on disk.
    YesBeforeDisk,
    /// It panics when it is told to commit.
    Panics,
}

struct Inner {
    ground: Ground,
    defect: Option<Defect>,
    found: Recovered,
    page: RefCell<Page>,
    pages: RefCell<Pages>,
    memory: RefCell<Memory>,
}

/// All that it remembers.
#[derive(Default, Serialize, Deserialize)]
struct Page {
    identity: Option<StoreId>,
    starts: Vec<KnownStart>,
    sequence: u64,
    values: BTreeMap<String, Value>,
    prepared: BTreeMap<Xid, Promise>,
    done: BTreeMap<Xid, Done>,
    lines: BTreeMap<LogId, Line>,
}

/// A branch in doubt: the protocol's part, its locks, and what it writes.
#[derive(Clone, Serialize, Deserialize)]
struct Promise {
    record: Prepared,
    locks: Vec<(String, Mode)>,
    writes: Writes,
}

/// What becomes of keys; `None` removes one.
type Writes = BTreeMap<String, Option<Value>>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Mode {
    Shared,
    Exclusive,
}

/// What goes with the process.
#[derive(Default)]
struct Memory {
    holders: BTreeMap<String, BTreeMap<Xid, Mode>>,
    open: BTreeMap<Xid, Writes>,
    read_only: BTreeMap<Xid, Payload>,
}

impl Notebook {
    /// The incarnation is on disk when this returns, and every lock of every branch in doubt is held.
    pub(crate) fn open(ground: Ground, defect: Option<Defect>) -> Result<Self, StorageError> {
        let failed = |error| StorageError::from_io(&ground.file(), "read or write a page", error);
        let (mut pages, mut page) = Pages::open::<Page>(ground.disk.clone()).map_err(failed)?;
        if defect == Some(Defect::ForgetsPrepared) {
            page.prepared.clear();
        }
        let mut memory = Memory::default();
        for (xid, promise) in &page.prepared {
            for (key, mode) in &promise.locks {
                memory.holders.entry(key.clone()).or_default().insert(*xid, *mode);
            }
        }
        page.identity.get_or_insert(ground.fresh_identity);
        // What a start came to is known when the next one begins.
        if let Some(last) = page.starts.last_mut() {
            last.sequence = page.sequence;
        }
        let found = Recovered {
            lines: page.lines.values().cloned().collect(),
            prepared: page.prepared.values().map(|promise| promise.record.clone()).collect(),
            done: page.done.values().cloned().collect(),
            starts: page.starts.clone(),
        };
        page.starts.push(KnownStart { incarnation: ground.incarnation, sequence: page.sequence });
        let too_many = page.starts.len().saturating_sub(MAX_STARTS);
        page.starts.drain(..too_many);
        pages.write(&page).map_err(failed)?;
        let (page, pages, memory) = (RefCell::new(page), RefCell::new(pages), RefCell::new(memory));
        Ok(Self(Rc::new(Inner { ground, defect, found, page, pages, memory })))
    }

    /// Changes the page for a branch, and writes it when the disk is ready. Nobody is answered before.
    async fn write(&self, change: impl FnOnce(&mut Page)) {
        self.0.ground.turn().await;
        {
            let mut page = self.0.page.borrow_mut();
            page.sequence += 1;
            change(&mut page);
        }
        self.put().await;
    }

    async fn put(&self) {
        let written = self.0.pages.borrow_mut().write(&*self.0.page.borrow());
        if let Err(error) = written {
            // Nobody knows what is on disk now, so nobody is answered: the next start will see.
            self.0.ground.fail_io("write a page", error);
            pending::<()>().await;
        }
    }

    /// Carries out operations on top of what the branch did before: all of them, or none.
    fn work(&self, work: &Work) -> Result<Payload, Reason> {
        let (page, mut memory) = (self.0.page.borrow(), self.0.memory.borrow_mut());
        let refused = |kind, why: &str| Err(Reason::new(kind, why));
        let ended = page.lines.get(&work.xid.log).and_then(|line| line.mark.as_ref());
        if page.done.contains_key(&work.xid) || ended.is_some_and(|mark| mark.covers(work.xid.txn)) {
            return refused(ReasonKind::Lost, "the branch has ended");
        }
        let operations = match &work.payload {
            Some(payload) => decode_operations(payload)?,
            None if memory.open.contains_key(&work.xid) => Vec::new(),
            None => return refused(ReasonKind::Lost, "there is no work"),
        };
        if !self.0.ground.has_room() {
            return refused(ReasonKind::DiskFull, "there is no room");
        }
        let mut writes = memory.open.entry(work.xid).or_default().clone();
        let mut reads = Vec::new();
        for operation in &operations {
            let mode = if operation.is_write() { Mode::Exclusive } else { Mode::Shared };
            if !memory.take(work.xid, operation.key(), mode) {
                return refused(ReasonKind::Conflict, operation.key());
            }
            let now = writes.get(operation.key()).cloned();
            let now = now.unwrap_or_else(|| page.values.get(operation.key()).cloned());
            match operation {
                Operation::Put(put) => drop(writes.insert(put.key.clone(), Some(put.value.clone()))),
                Operation::Delete(on) => drop(writes.insert(on.key.clone(), None)),
                Operation::Get(on) => reads.push(Read { key: on.key.clone(), value: now }),
                Operation::Add(add) => {
                    let before = match now {
                        Some(Value::Integer(before)) => Some(before),
                        Some(Value::Text(_)) => None,
                        None => Some(0),
                    };
                    let Some(sum) = before.and_then(|before| before.checked_add(add.delta)) else {
                        return refused(ReasonKind::BadWork, &add.key);
                    };
                    if add.min.is_some_and(|min| sum < min) || add.max.is_some_and(|max| sum > max) {
                        return refused(ReasonKind::CheckFailed, &add.key);
                    }
                    writes.insert(add.key.clone(), Some(Value::Integer(sum)));
                }
                Operation::Check(check) => {
                    let differs = check.equals.is_some() && check.equals != now;
                    if differs || check.exists && now.is_none() || check.absent && now.is_some() {
                        return refused(ReasonKind::CheckFailed, &check.key);
                    }
                }
            }
        }
        memory.open.insert(work.xid, writes);
        encode_reads(&reads).map_err(|error| Reason::new(ReasonKind::BadWork, error.to_string()))
    }

    /// The same before a vote: a No leaves nothing.
    fn last_work(&self, work: &Work) -> Result<(Writes, Payload), Reason> {
        match self.work(work) {
            Ok(reads) => {
                let writes = self.0.memory.borrow_mut().open.remove(&work.xid);
                Ok((writes.unwrap_or_default(), reads))
            }
            Err(reason) => {
                self.0.memory.borrow_mut().let_go(work.xid);
                Err(reason)
            }
        }
    }
}

impl Memory {
    fn take(&mut self, xid: Xid, key: &str, mode: Mode) -> bool {
        let holders = self.holders.entry(key.to_owned()).or_default();
        let shared = |theirs: Mode| mode == Mode::Shared && theirs == Mode::Shared;
        if holders.iter().any(|(other, theirs)| *other != xid && !shared(*theirs)) {
            return false;
        }
        let held = holders.entry(xid).or_insert(mode);
        *held = mode.max(*held);
        true
    }

    fn locks(&self, xid: Xid) -> Vec<(String, Mode)> {
        let of = |(key, holders): (&String, &BTreeMap<Xid, Mode>)| Some((key.clone(), *holders.get(&xid)?));
        self.holders.iter().filter_map(of).collect()
    }

    fn let_go(&mut self, xid: Xid) {
        self.open.remove(&xid);
        self.read_only.remove(&xid);
        self.holders.retain(|_, holders| {
            holders.remove(&xid);
            !holders.is_empty()
        });
    }
}

impl Page {
    fn apply(&mut self, writes: Writes, done: Done) {
        for (key, value) in writes {
            match value {
                Some(value) => drop(self.values.insert(key, value)),
                None => drop(self.values.remove(&key)),
            }
        }
        self.prepared.remove(&done.xid);
        self.done.insert(done.xid, done);
    }

    /// Markers go in the write that brings the line: all of it is one page.
    fn keep(&mut self, line: Line) {
        if let Some(mark) = &line.mark {
            self.done.retain(|xid, _| xid.log != line.log || !mark.covers(xid.txn));
        }
        self.lines.insert(line.log, line);
    }
}

impl ResourceManager for Notebook {
    async fn execute(&self, work: Work) -> Execution {
        match self.work(&work) {
            Ok(reads) => Execution::Done(reads),
            Err(reason) if matches!(reason.kind, ReasonKind::Conflict | ReasonKind::Lost) => {
                self.0.memory.borrow_mut().let_go(work.xid);
                Execution::Doomed(reason)
            }
            Err(reason) => Execution::Failed(reason),
        }
    }

    async fn prepare(&self, work: Work, mut record: Prepared) -> Vote {
        let xid = work.xid;
        if let Some(promise) = self.0.page.borrow().prepared.get(&xid) {
            return Vote::Yes(promise.record.reads.clone());
        }
        if let Some(reads) = self.0.memory.borrow().read_only.get(&xid) {
            return Vote::ReadOnly(reads.clone());
        }
        let (writes, reads) = match self.last_work(&work) {
            Ok(worked) => worked,
            Err(reason) => return Vote::No(reason),
        };
        if writes.is_empty() {
            self.0.memory.borrow_mut().read_only.insert(xid, reads.clone());
            return Vote::ReadOnly(reads);
        }
        record.reads = reads.clone();
        let promise = Promise { record, locks: self.0.memory.borrow().locks(xid), writes };
        if self.0.defect == Some(Defect::YesBeforeDisk) {
            self.0.page.borrow_mut().prepared.insert(xid, promise);
            return Vote::Yes(reads);
        }
        self.write(|page| drop(page.prepared.insert(xid, promise))).await;
        Vote::Yes(reads)
    }

    async fn commit_one_phase(&self, work: Work, key: Key, hash: ContentHash) -> OnePhaseResult {
        let xid = work.xid;
        let before = self.0.page.borrow().done.get(&xid).and_then(|done| done.one_phase.clone());
        if let Some(done) = before {
            return OnePhaseResult::Committed(done.reads);
        }
        let (writes, reads) = match self.last_work(&work) {
            Ok(worked) => worked,
            Err(reason) => return OnePhaseResult::Aborted(reason),
        };
        if !writes.is_empty() {
            let one_phase = Some(OnePhaseDone { key, hash, reads: reads.clone() });
            self.write(|page| page.apply(writes, Done { xid, one_phase })).await;
        }
        self.0.memory.borrow_mut().let_go(xid);
        OnePhaseResult::Committed(reads)
    }

    /// Nothing ever waits here for anything but the disk.
    fn cancel(&self, _: Xid, _: Reason) {}

    async fn commit(&self, xid: Xid) -> Committed {
        assert!(self.0.defect != Some(Defect::Panics), "a page is missing");
        let promise = self.0.page.borrow().prepared.get(&xid).cloned();
        let Some(promise) = promise else {
            let done = self.0.page.borrow().done.contains_key(&xid);
            return if done { Committed::Done } else { Committed::LostBranch };
        };
        self.write(|page| page.apply(promise.writes, Done { xid, one_phase: None })).await;
        self.0.memory.borrow_mut().let_go(xid);
        Committed::Done
    }

    async fn abort(&self, xid: Xid) {
        let prepared = self.0.page.borrow().prepared.contains_key(&xid);
        if prepared {
            self.write(|page| drop(page.prepared.remove(&xid))).await;
        }
        self.0.memory.borrow_mut().let_go(xid);
    }

    fn release(&self, xid: Xid) {
        if self.0.memory.borrow().read_only.contains_key(&xid) {
            self.0.memory.borrow_mut().let_go(xid);
        }
    }

    fn values(&self, question: &AskValues) -> Result<ValuePage, String> {
        let page = self.0.page.borrow();
        let (from, exact) = match &question.select {
            Select::Key(key) => (key, true),
            Select::Prefix(prefix) => (prefix, false),
        };
        let begin = question.after.as_ref().map_or(Bound::Included(from), Bound::Excluded);
        let mut lines = Vec::new();
        for (key, value) in page.values.range::<String, _>((begin, Bound::Unbounded)) {
            if !key.starts_with(from.as_str()) || exact && key != from {
                break;
            }
            if lines.len() == MAX_PAGE {
                return Ok(ValuePage { lines, more: true });
            }
            let holder = page.prepared.iter().find(|(_, promise)| promise.writes.contains_key(key));
            let locked_by = holder.map(|(xid, _)| xid.txn);
            lines.push(ValueLine { key: key.clone(), value: Some(value.clone()), locked_by });
        }
        Ok(ValuePage { lines, more: false })
    }
}

impl ParticipantLog for Notebook {
    fn identity(&self) -> StoreId {
        self.0.page.borrow().identity.unwrap_or(self.0.ground.fresh_identity)
    }

    fn file(&self) -> PathBuf {
        self.0.ground.file()
    }

    fn recovered(&self) -> Recovered {
        self.0.found.clone()
    }

    /// The line is taken now, not when this is polled first: one that is noted later is newer.
    fn force(&self, line: Line) -> impl Future<Output = ()> {
        self.note(line);
        async {
            self.0.ground.turn().await;
            self.put().await;
        }
    }

    fn note(&self, line: Line) {
        self.0.page.borrow_mut().keep(line);
    }

    fn sequence(&self) -> u64 {
        self.0.page.borrow().sequence
    }

    async fn run(&self) {
        pending().await
    }
}
