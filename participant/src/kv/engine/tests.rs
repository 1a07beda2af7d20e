//! The engine over a disk in memory whose writes happen when a test says so.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use handfast_common::ids::Age;
use handfast_common::messages::{AskValues, Select, ValueLine};
use handfast_common::operation::{Check, Operation};
use handfast_common::outcome::Payload;

use super::*;
use crate::kv::locks::Mode;
use crate::kv::record::{Stored, Write};
use crate::kv::testing::{
    HASH, LOG, add, add_within, check, delete, get, int, key, line, put, reads, record, text, txn, work, xid,
};
use crate::protocol::{OnePhaseDone, Prepared};

mod bank;
mod interleaved;
mod open;
mod pages;

#[derive(Clone, Debug, Default, PartialEq)]
struct Disk {
    values: BTreeMap<String, Value>,
    prepared: BTreeMap<Xid, PrepareRecord>,
    done: BTreeMap<Xid, Done>,
    lines: BTreeMap<LogId, Line>,
}

impl Disk {
    fn write(&mut self, item: &Item) {
        match item {
            Item::Prepare { xid, record } => {
                let Ok(Stored::Prepare(record)) = Stored::decode(record) else { panic!("no prepare record") };
                assert!(self.prepared.insert(*xid, record).is_none());
            }
            Item::Apply { xid, held, done, prepared } => {
                assert_eq!(self.prepared.remove(xid).is_some(), *prepared);
                let Ok(Stored::Done(done)) = Stored::decode(done) else { panic!("no marker") };
                self.done.insert(*xid, done);
                for Held { key, write, .. } in held.iter() {
                    match write {
                        Some(Write::Put(value)) => drop(self.values.insert(key.clone(), value.clone())),
                        Some(Write::Delete) => drop(self.values.remove(key)),
                        None => {}
                    }
                }
            }
            Item::Forget { xid } => assert!(self.prepared.remove(xid).is_some()),
            Item::Line(line) => {
                let mark = line.mark.as_ref();
                self.done.retain(|xid, _| xid.log != line.log || !mark.is_some_and(|mark| mark.covers(xid.txn)));
                self.lines.insert(line.log, line.clone());
            }
        }
    }

    fn found(&self) -> Found {
        Found {
            lines: self.lines.values().cloned().collect(),
            prepared: self.prepared.values().cloned().collect(),
            done: self.done.values().cloned().collect(),
            starts: Vec::new(),
        }
    }
}

/// What the engine sees of it: the disk as it was at the last `advance`.
#[derive(Debug)]
struct Seen {
    disk: Rc<RefCell<Disk>>,
    values: BTreeMap<String, Value>,
    room: Rc<Cell<bool>>,
    broken: Rc<Cell<bool>>,
}

impl Seen {
    fn sound(&self) -> Result<(), StorageError> {
        if self.broken.get() { Err(StorageError::DiskFull { file: "test".into() }) } else { Ok(()) }
    }
}

impl View for Seen {
    fn value(&self, key: &str) -> Result<Option<Value>, StorageError> {
        self.sound().map(|()| self.values.get(key).cloned())
    }

    fn values(&self, from: &str) -> Result<Values<'_>, StorageError> {
        let range = self.values.range(from.to_owned()..);
        Ok(Box::new(range.map(|(key, value)| self.sound().map(|()| (key.clone(), value.clone())))))
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        self.values = self.disk.borrow().values.clone();
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.room.get()
    }
}

struct Rig {
    engine: Engine<Seen>,
    disk: Rc<RefCell<Disk>>,
    room: Rc<Cell<bool>>,
    broken: Rc<Cell<bool>>,
    queue: VecDeque<(u64, Item, Urgency)>,
    ended: Vec<Ended>,
}

impl Rig {
    fn new() -> Self {
        Self::over(Disk::default())
    }

    fn over(disk: Disk) -> Self {
        let (found, values) = (disk.found(), disk.values.clone());
        let (disk, room, broken) = (Rc::new(RefCell::new(disk)), Rc::new(Cell::new(true)), Rc::default());
        let seen = Seen { disk: Rc::clone(&disk), values, room: Rc::clone(&room), broken: Rc::clone(&broken) };
        let engine = Engine::new(seen, &found).unwrap();
        Self { engine, disk, room, broken, queue: VecDeque::new(), ended: Vec::new() }
    }

    fn with(values: &[(&str, Value)]) -> Self {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Self::over(Disk { values, ..Disk::default() })
    }

    /// What is not on disk is lost.
    fn crash(self) -> Self {
        Self::over(self.disk.take())
    }

    /// Takes the orders; gives what has ended.
    fn ended(&mut self) -> Vec<Ended> {
        let mut outputs = Vec::new();
        self.engine.take_outputs(&mut outputs);
        for output in outputs {
            match output {
                Output::Log { number, item, urgency } => self.queue.push_back((number, item, urgency)),
                Output::Ended(ended) => self.ended.push(ended),
            }
        }
        std::mem::take(&mut self.ended)
    }

    /// Writes what is queued as one batch and reports it; gives what has ended by that.
    fn flush(&mut self) -> Vec<Ended> {
        self.ended = self.ended();
        let last = self.queue.back().map(|(number, ..)| *number);
        for (_, item, _) in self.queue.drain(..) {
            self.disk.borrow_mut().write(&item);
        }
        if let Some(last) = last {
            self.engine.durable(last).unwrap();
        }
        self.ended()
    }

    fn prepare(&mut self, n: u64, operations: &[Operation]) -> Vec<Ended> {
        self.engine.prepare(&work(n, operations), record(n)).unwrap();
        self.ended()
    }

    fn one_phase(&mut self, n: u64, operations: &[Operation]) -> Vec<Ended> {
        self.engine.commit_one_phase(&work(n, operations), key(n), HASH).unwrap();
        self.ended()
    }

    fn commit(&mut self, n: u64) -> Vec<Ended> {
        self.engine.commit(xid(n)).unwrap();
        self.ended()
    }

    fn abort(&mut self, n: u64) -> Vec<Ended> {
        self.engine.abort(xid(n)).unwrap();
        self.ended()
    }

    fn value(&self, key: &str) -> ValueLine {
        let select = Select::Key(key.into());
        self.engine.values(&AskValues { select, after: None }).unwrap().lines.remove(0)
    }

    fn urgencies(&self) -> Vec<Urgency> {
        self.queue.iter().map(|(_, _, urgency)| *urgency).collect()
    }

    fn assert_at_rest(&self) {
        assert!(self.engine.locks.is_empty() && self.engine.branches.is_empty() && self.engine.applied.is_empty());
        assert!(self.engine.handed.is_empty() && self.engine.aborting.is_empty());
    }
}

fn nothing_read() -> Payload {
    crate::kv::encode_reads(&[]).unwrap()
}

fn yes(n: u64) -> Ended {
    Ended::Prepare(xid(n), Vote::Yes(nothing_read()))
}

fn done(n: u64) -> Ended {
    Ended::Commit(xid(n), Committed::Done)
}

fn lost(n: u64) -> Ended {
    Ended::Commit(xid(n), Committed::LostBranch)
}

fn committed(n: u64) -> Ended {
    Ended::OnePhase(xid(n), OnePhaseResult::Committed(nothing_read()))
}

fn no(ended: &[Ended]) -> ReasonKind {
    match ended {
        [Ended::Prepare(_, Vote::No(reason)) | Ended::OnePhase(_, OnePhaseResult::Aborted(reason))] => reason.kind,
        other => panic!("not one No: {other:?}"),
    }
}

#[test]
fn yes_only_when_the_record_is_durable_and_with_all_that_a_restart_needs() {
    let mut rig = Rig::with(&[("a", int(1))]);
    let operations =
        [get("a"), put("b", text("x")), delete("c"), check("d", Check { absent: true, ..Check::default() })];
    assert_eq!(rig.prepare(1, &operations), []);
    assert_eq!(rig.urgencies(), [Urgency::Force]);
    let ended = rig.flush();
    let [Ended::Prepare(_, Vote::Yes(read))] = ended.as_slice() else { panic!("{ended:?}") };
    assert_eq!(reads(read), [("a".to_owned(), Some(int(1)))]);

    let stored = rig.disk.borrow().prepared[&xid(1)].clone();
    let held = |key: &str, mode, write| Held { key: key.into(), mode, write };
    let wanted = [
        held("a", Mode::Shared, None),
        held("b", Mode::Exclusive, Some(Write::Put(text("x")))),
        held("c", Mode::Exclusive, Some(Write::Delete)),
        held("d", Mode::Shared, None),
    ];
    let prepared = Prepared { reads: read.clone(), ..record(1) };
    assert_eq!(stored, PrepareRecord { prepared, age: Age(1), held: Arc::from(wanted) });
}

#[test]
fn a06_an_effect_is_invisible_until_the_decision_and_then_visible_before_it_is_on_disk() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.prepare(1, &[add("a", 5)]);
    rig.flush();
    assert_eq!(rig.value("a"), ValueLine { key: "a".into(), value: Some(int(10)), locked_by: Some(txn(1)) });
    assert_eq!(rig.commit(1), [], "answered only when it is on disk");
    assert_eq!(rig.urgencies(), [Urgency::Ride]);
    assert_eq!(rig.value("a"), ValueLine { key: "a".into(), value: Some(int(15)), locked_by: None });
    // Another builds on it at once, in a later place of the same log.
    rig.prepare(2, &[add("a", 1)]);
    assert_eq!(rig.flush(), [done(1), yes(2)]);
    assert_eq!(rig.value("a").value, Some(int(15)), "from the disk now");
    rig.commit(2);
    assert_eq!(rig.flush(), [done(2)]);
    assert_eq!(rig.disk.borrow().values["a"], int(16));
    rig.assert_at_rest();
}

#[test]
fn an_abort_leaves_nothing_and_lets_go_at_once() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.prepare(1, &[add("a", 5)]);
    rig.flush();
    assert_eq!(rig.abort(1), []);
    assert_eq!(rig.prepare(2, &[add("a", 1)]), [], "the lock is free");
    assert_eq!(rig.flush(), [Ended::Abort(xid(1)), yes(2)]);
    assert!(!rig.disk.borrow().prepared.contains_key(&xid(1)));
    assert_eq!(rig.commit(1), [lost(1)], "it can't come back");
}

#[test]
fn an_abort_that_overtakes_the_force_is_written_behind_it() {
    let mut rig = Rig::new();
    rig.prepare(1, &[put("a", int(1))]);
    assert_eq!(no(&rig.abort(1)), ReasonKind::Lost);
    assert_eq!(rig.flush(), [Ended::Abort(xid(1))]);
    assert_eq!(*rig.disk.borrow(), Disk::default());
    rig.assert_at_rest();
}

#[test]
fn f26_repeated_orders_get_the_same_answer() {
    let mut rig = Rig::with(&[("a", int(10))]);
    let operations = [get("a"), add("a", 5)];
    rig.prepare(1, &operations);
    assert_eq!(rig.prepare(1, &operations), [], "still on its way");
    let first = rig.flush();
    assert_eq!(first.len(), 1, "both ask for the same answer");
    assert_eq!(rig.prepare(1, &operations), first);
    rig.commit(1);
    assert_eq!(rig.commit(1), [], "still on its way");
    assert_eq!(rig.flush(), [done(1)]);
    assert_eq!(rig.commit(1), [done(1)]);
    assert_eq!(no(&rig.prepare(1, &operations)), ReasonKind::Lost, "it may not run again");
    assert_eq!(rig.value("a").value, Some(int(15)));

    rig.prepare(2, &[add("a", 1)]);
    rig.flush();
    rig.abort(2);
    assert_eq!(rig.abort(2), [], "still on its way");
    assert_eq!(no(&rig.prepare(2, &[add("a", 1)])), ReasonKind::Lost);
    assert_eq!(rig.flush(), [Ended::Abort(xid(2))]);
    assert_eq!(rig.abort(2), [Ended::Abort(xid(2))]);

    rig.one_phase(3, &[add("a", 1)]);
    assert_eq!(rig.one_phase(3, &[add("a", 1)]), []);
    assert_eq!(rig.flush(), [committed(3)]);
    assert_eq!(rig.one_phase(3, &[add("a", 1)]), [committed(3)]);
    let mut rig = rig.crash();
    assert_eq!(rig.commit(1), [done(1)], "also after a restart");
    assert_eq!(rig.one_phase(3, &[add("a", 1)]), [committed(3)]);
    assert_eq!(rig.value("a").value, Some(int(16)));
}

#[test]
fn a_commit_without_a_branch_is_a_lost_branch_never_success() {
    let mut rig = Rig::new();
    assert_eq!(rig.commit(1), [lost(1)]);
    rig.prepare(2, &[get("a")]);
    assert_eq!(rig.commit(2), [lost(2)], "it only read: there is nothing to commit");
}

#[test]
fn t04f_a_one_phase_commit_is_seen_and_lets_go_only_when_it_is_on_disk() {
    let mut rig = Rig::with(&[("a", int(10))]);
    assert_eq!(rig.one_phase(5, &[add("a", 5)]), []);
    assert_eq!(rig.value("a").value, Some(int(10)));
    assert_eq!(rig.prepare(3, &[get("a")]), [], "an older one waits");
    assert_eq!(no(&rig.prepare(7, &[get("a")])), ReasonKind::Conflict, "a younger one dies");
    let ended = rig.flush();
    let [first, Ended::Prepare(_, Vote::ReadOnly(read))] = ended.as_slice() else { panic!("{ended:?}") };
    assert_eq!(*first, committed(5));
    assert_eq!(reads(read), [("a".to_owned(), Some(int(15)))]);
    let marker = OnePhaseDone { key: key(5), hash: HASH, reads: nothing_read() };
    assert_eq!(rig.disk.borrow().done[&xid(5)], Done { xid: xid(5), one_phase: Some(marker) });
}

#[test]
fn t04f_a_crash_before_the_force_leaves_no_trace_of_a_one_phase_commit() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.one_phase(5, &[add("a", 5)]);
    let mut rig = rig.crash();
    assert_eq!(rig.value("a").value, Some(int(10)));
    assert_eq!(rig.disk.borrow().done.len(), 0);
    rig.one_phase(6, &[add("a", 1)]);
    assert_eq!(rig.flush(), [committed(6)]);
}

#[test]
fn a_one_phase_commit_that_says_no_or_only_reads_leaves_no_trace() {
    let mut rig = Rig::with(&[("a", int(10))]);
    assert_eq!(no(&rig.one_phase(1, &[put("b", int(1)), add_within("a", -11, 0, 100)])), ReasonKind::CheckFailed);
    let ended = rig.one_phase(2, &[get("a")]);
    assert!(matches!(ended.as_slice(), [Ended::OnePhase(_, OnePhaseResult::Committed(_))]));
    assert!(rig.queue.is_empty());
    rig.assert_at_rest();
}

#[test]
fn t01_a_branch_that_only_read_keeps_its_locks_until_it_is_released() {
    let mut rig = Rig::with(&[("a", int(10))]);
    let first = rig.prepare(5, &[get("a")]);
    assert!(matches!(first.as_slice(), [Ended::Prepare(_, Vote::ReadOnly(_))]));
    assert_eq!(rig.prepare(5, &[get("a")]), first);
    assert_eq!(rig.prepare(3, &[put("a", int(1))]), [], "waits");
    assert_eq!(no(&rig.prepare(7, &[put("a", int(1))])), ReasonKind::Conflict);
    rig.engine.release(xid(5)).unwrap();
    rig.engine.release(xid(5)).unwrap();
    assert_eq!(rig.flush(), [yes(3)]);
    rig.engine.release(xid(3)).unwrap();
    assert_eq!(rig.value("a").locked_by, Some(txn(3)), "a prepared branch is ended by its decision only");
    rig.prepare(9, &[get("b")]);
    assert_eq!(rig.abort(9), [Ended::Abort(xid(9))]);
    assert!(!rig.engine.branches.contains_key(&xid(9)));
}

#[test]
fn cancel_ends_what_waits_and_nothing_else() {
    let mut rig = Rig::new();
    let reason = Reason::new(ReasonKind::LockTimeout, "waited");
    rig.prepare(9, &[put("a", int(1))]);
    rig.prepare(5, &[put("a", int(2)), put("b", int(2))]);
    rig.prepare(3, &[put("a", int(3))]);
    for n in [9, 5, 4] {
        rig.engine.cancel(xid(n), reason.clone()).unwrap();
    }
    assert_eq!(rig.ended(), [Ended::Prepare(xid(5), Vote::No(reason.clone()))]);
    assert_eq!(rig.flush(), [yes(9)], "what was handed to the log goes on");
    rig.engine.cancel(xid(9), reason).unwrap();
    rig.commit(9);
    assert_eq!(rig.flush(), [done(9), yes(3)], "the one behind the cancelled one got the lock");
}

#[test]
fn disk_full_refuses_new_work_while_phase_two_and_reading_go_on() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.prepare(1, &[put("x", int(1))]);
    rig.prepare(2, &[put("y", int(1))]);
    rig.flush();
    rig.room.set(false);
    assert_eq!(no(&rig.prepare(3, &[put("z", int(1))])), ReasonKind::DiskFull);
    assert_eq!(no(&rig.one_phase(4, &[put("z", int(1))])), ReasonKind::DiskFull);
    assert!(matches!(rig.prepare(5, &[get("a")]).as_slice(), [Ended::Prepare(_, Vote::ReadOnly(_))]));
    rig.engine.release(xid(5)).unwrap();
    rig.commit(1);
    rig.abort(2);
    assert_eq!(rig.flush(), [done(1), Ended::Abort(xid(2))]);
    rig.assert_at_rest();
}

#[test]
fn t13_a08_every_lock_of_a_branch_in_doubt_is_held_after_a_restart() {
    let mut rig = Rig::with(&[("x", int(1))]);
    rig.prepare(5, &[check("x", Check { exists: true, ..Check::default() }), put("w", int(2))]);
    rig.flush();
    let mut rig = rig.crash();
    // A writer of what it only read, and a reader of what it wrote.
    assert_eq!(no(&rig.prepare(6, &[put("x", int(9))])), ReasonKind::Conflict);
    assert_eq!(no(&rig.prepare(7, &[get("w")])), ReasonKind::Conflict);
    assert!(matches!(rig.prepare(8, &[get("x")]).as_slice(), [Ended::Prepare(_, Vote::ReadOnly(_))]));
    assert_eq!(rig.prepare(3, &[put("x", int(9))]), [], "the age came back too: an older one waits");
    assert_eq!(rig.value("w").locked_by, Some(txn(5)));
    rig.engine.release(xid(8)).unwrap();
    rig.commit(5);
    assert_eq!(rig.flush(), [done(5), yes(3)]);
}

#[test]
fn branches_in_doubt_that_contradict_each_other_are_damage() {
    let mut rig = Rig::new();
    rig.prepare(5, &[put("w", int(2))]);
    rig.flush();
    let mut disk = rig.disk.take();
    let mut twin = disk.prepared[&xid(5)].clone();
    twin.prepared.xid = xid(6);
    disk.prepared.insert(xid(6), twin);
    let seen = Seen { disk: Rc::default(), values: BTreeMap::new(), room: Rc::default(), broken: Rc::default() };
    assert_eq!(Engine::new(seen, &disk.found()).unwrap_err().key, "w");
}

#[test]
fn t05_a_mark_ends_the_markers_it_covers_and_no_branch_in_doubt() {
    let mut rig = Rig::new();
    for n in 1..=4 {
        rig.prepare(n, &[put(&n.to_string(), int(1))]);
    }
    rig.flush();
    for n in [1, 2, 4] {
        rig.commit(n);
    }
    rig.one_phase(5, &[put("5", int(1))]);
    rig.flush();
    rig.engine.note(line(5, &[2]));
    rig.flush();
    assert_eq!(rig.engine.done.keys().copied().collect::<Vec<_>>(), [xid(2), xid(5)]);
    assert_eq!(rig.engine.done.keys().collect::<Vec<_>>(), rig.disk.borrow().done.keys().collect::<Vec<_>>());
    assert_eq!(rig.commit(3), [], "3 lies below the mark and is in doubt: only its decision ends it");
    let mut other = line(9, &[]);
    other.log = LogId(Uuid::from_u128(0xBAD));
    rig.engine.note(other);
    assert_eq!(rig.flush(), [done(3)]);
    assert_eq!(rig.engine.done.len(), 3, "another coordinator's mark says nothing of these");
    assert_eq!(rig.disk.borrow().lines.len(), 2);
}

#[test]
fn a_forced_line_is_answered_behind_all_that_was_handed_over_before() {
    let mut rig = Rig::new();
    rig.prepare(1, &[put("a", int(1))]);
    let number = rig.engine.force(line(0, &[]));
    assert_eq!(rig.ended(), []);
    assert_eq!(rig.urgencies(), [Urgency::Force, Urgency::Force]);
    assert_eq!(rig.flush(), [yes(1), Ended::Force(number)]);
    assert_eq!(rig.disk.borrow().lines[&LOG], line(0, &[]));
}

#[test]
fn a09_what_cant_be_read_is_an_error_never_absent() {
    let mut rig = Rig::with(&[("a", int(10))]);
    rig.broken.set(true);
    assert!(rig.engine.prepare(&work(1, &[add("a", 1)]), record(1)).is_err());
    assert_eq!(rig.ended(), []);
    assert!(rig.engine.values(&AskValues { select: Select::Prefix(String::new()), after: None }).is_err());
}
