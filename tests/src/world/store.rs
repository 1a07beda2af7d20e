//! A participant's store and resource manager, in memory: what is written is on disk only when its turn has come, and a
//! crash loses the rest. Branches vote as their payload says; a commit counts their effects. An open branch keeps what
//! its operations have written, in memory, until it is prepared.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use handfast_common::ids::{ContentHash, Key, Xid};
use handfast_common::messages::{KnownStart, OnePhaseResult, Seen};
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};
use handfast_participant::protocol::{Done, Effect, Execution, Input, Line, OnePhaseDone, Prepared, Recovered};

use super::wish::Wish;

/// What is on disk.
#[derive(Clone, Default, Debug)]
pub struct Disk {
    line: Option<Line>,
    /// Branches in doubt, with what they write.
    pub prepared: BTreeMap<Xid, (Prepared, Vec<Payload>)>,
    done: BTreeMap<Xid, Done>,
    /// Writes so far.
    pub sequence: u64,
    /// Earlier starts, with the sequence each came to.
    pub starts: Vec<KnownStart>,
    /// For the oracle, as all that follows, and never trimmed: what took effect, as often as it did.
    pub effects: BTreeMap<Xid, Vec<Payload>>,
    /// What was ever prepared.
    pub ever_prepared: BTreeSet<Xid>,
    /// Branches that had something to undo, and were undone.
    pub undone: BTreeSet<Xid>,
    /// Every operation that was carried out, whatever became of its branch.
    pub executed: BTreeMap<Xid, BTreeSet<Payload>>,
}

/// On its way to disk.
#[derive(Clone, Debug)]
enum Write {
    Prepare(Prepared, Vec<Payload>),
    OnePhase(Xid, OnePhaseDone, Vec<Payload>),
    Commit(Xid),
    Abort(Xid),
    Force(Line),
    Note(Line),
}

/// Waits for its locks.
#[derive(Clone, Debug)]
enum Work {
    /// The payload, or all that its operations did.
    Prepare(Prepared, Option<Payload>),
    /// The same.
    OnePhase(Xid, Key, ContentHash, Option<Payload>),
    Operation(Xid, Payload),
    /// An operation whose branch was undone under it: its end comes when it comes.
    Doomed(Xid),
}

/// Store and resource manager of one participant.
#[derive(Clone, Default, Debug)]
pub struct Store {
    /// What survives.
    pub disk: Disk,
    working: BTreeMap<Xid, Work>,
    queue: VecDeque<Write>,
    /// What the operations of open branches have written.
    pub open: BTreeMap<Xid, Vec<Payload>>,
}

/// What an order of the machine leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// The work of this transaction will be done with after a while.
    Working(Xid),
    /// One more write is on its way.
    Writing,
    /// Nothing.
    Nothing,
}

impl Store {
    /// Takes an order of the machine; a cancelled work answers at once.
    pub fn take(&mut self, effect: Effect) -> (Next, Option<Input>) {
        match effect {
            Effect::Prepare { record, work, .. } => self.work(record.xid, Work::Prepare(record, work)),
            Effect::CommitOnePhase { xid, key, hash, work, .. } => self.work(xid, Work::OnePhase(xid, key, hash, work)),
            Effect::Execute { xid, work, .. } => {
                let first = self.disk.executed.entry(xid).or_default().insert(work.clone());
                assert!(first, "A5: {work:?} of {} is executed twice", xid.txn);
                self.open.entry(xid).or_default();
                self.work(xid, Work::Operation(xid, work))
            }
            Effect::Cancel { xid, reason } => {
                let work = self.working.remove(&xid);
                (Next::Nothing, work.map(|work| self.refuse(work, reason)))
            }
            Effect::Commit { xid } => self.write(Write::Commit(xid)),
            Effect::Abort { xid } => self.abort(xid),
            Effect::Release { xid } => {
                self.open.remove(&xid);
                (Next::Nothing, None)
            }
            Effect::ForceLine(line) => self.write(Write::Force(line)),
            Effect::NoteLine(line) => self.write(Write::Note(line)),
            Effect::Enlist { .. }
            | Effect::InquirePeer { .. }
            | Effect::Say { .. }
            | Effect::ReplyExecuted { .. }
            | Effect::ReplyPeer { .. }
            | Effect::Reply { .. }
            | Effect::Inquire { .. }
            | Effect::SetTimer { .. }
            | Effect::Stop { .. } => (Next::Nothing, None),
        }
    }

    fn work(&mut self, xid: Xid, work: Work) -> (Next, Option<Input>) {
        let before = self.working.insert(xid, work);
        assert!(before.is_none(), "two things at a time in the branch of {}: {before:?}", xid.txn);
        (Next::Working(xid), None)
    }

    /// The end of an operation that runs and that of the abort are two answers: either may be the first.
    fn abort(&mut self, xid: Xid) -> (Next, Option<Input>) {
        if self.open.remove(&xid).is_some() {
            self.disk.undone.insert(xid);
        }
        self.queue.push_back(Write::Abort(xid));
        let running = matches!(self.working.get(&xid), Some(Work::Operation(..)));
        if running && self.disk.sequence.is_multiple_of(2) {
            self.working.insert(xid, Work::Doomed(xid));
        } else if running {
            self.working.remove(&xid);
            return (Next::Writing, Some(doomed(xid)));
        }
        (Next::Writing, None)
    }

    fn write(&mut self, write: Write) -> (Next, Option<Input>) {
        self.queue.push_back(write);
        (Next::Writing, None)
    }

    /// The locks are there: the work votes, or is handed to the log.
    pub fn work_done(&mut self, xid: Xid) -> (Next, Option<Input>) {
        let Some(work) = self.working.remove(&xid) else { return (Next::Nothing, None) };
        match work {
            Work::Operation(xid, work) => (Next::Nothing, Some(self.operation_done(xid, work))),
            Work::Doomed(xid) => (Next::Nothing, Some(doomed(xid))),
            Work::Prepare(record, None) => {
                let xid = record.xid;
                let writes = self.open.remove(&xid).unwrap_or_else(|| panic!("{} has no open branch", xid.txn));
                if !writes.is_empty() {
                    return self.write(Write::Prepare(record, writes));
                }
                self.open.insert(xid, writes);
                (Next::Nothing, Some(Input::WorkPrepared { xid, vote: Vote::ReadOnly(Payload::default()) }))
            }
            Work::OnePhase(xid, key, hash, None) => {
                let writes = self.open.remove(&xid).unwrap_or_else(|| panic!("{} has no open branch", xid.txn));
                if !writes.is_empty() {
                    return self.write(Write::OnePhase(
                        xid,
                        OnePhaseDone { key, hash, reads: Payload::default() },
                        writes,
                    ));
                }
                let result = OnePhaseResult::Committed(Payload::default());
                (Next::Nothing, Some(Input::OnePhaseEnded { xid, result }))
            }
            Work::Prepare(record, Some(work)) => match Wish::of(&work) {
                Wish::Write => self.write(Write::Prepare(record, vec![work])),
                Wish::Read => {
                    let vote = Vote::ReadOnly(Payload(b"read".to_vec()));
                    (Next::Nothing, Some(Input::WorkPrepared { xid, vote }))
                }
                Wish::Refuse | Wish::Doom => {
                    (Next::Nothing, Some(self.refuse(Work::Prepare(record, Some(work)), refusal())))
                }
            },
            Work::OnePhase(xid, key, hash, Some(work)) => match Wish::of(&work) {
                Wish::Write | Wish::Read => {
                    let done = OnePhaseDone { key, hash, reads: Payload(b"read".to_vec()) };
                    self.write(Write::OnePhase(xid, done, vec![work]))
                }
                Wish::Refuse | Wish::Doom => {
                    (Next::Nothing, Some(self.refuse(Work::OnePhase(xid, key, hash, Some(work)), refusal())))
                }
            },
        }
    }

    fn operation_done(&mut self, xid: Xid, work: Payload) -> Input {
        let execution = match Wish::of(&work) {
            Wish::Write => {
                self.open.entry(xid).or_default().push(work);
                Execution::Done(Payload::default())
            }
            Wish::Read => Execution::Done(Payload(b"read".to_vec())),
            Wish::Refuse => Execution::Failed(refusal()),
            Wish::Doom => {
                self.let_go(xid);
                Execution::Doomed(Reason::new(ReasonKind::Conflict, ""))
            }
        };
        Input::OperationEnded { xid, execution }
    }

    /// An open branch holds nothing any more.
    fn let_go(&mut self, xid: Xid) {
        self.open.remove(&xid);
        self.disk.undone.insert(xid);
    }

    fn refuse(&mut self, work: Work, reason: Reason) -> Input {
        match work {
            Work::Prepare(record, _) => {
                self.open.remove(&record.xid);
                Input::WorkPrepared { xid: record.xid, vote: Vote::No(reason) }
            }
            Work::OnePhase(xid, ..) => {
                self.open.remove(&xid);
                Input::OnePhaseEnded { xid, result: OnePhaseResult::Aborted(reason) }
            }
            Work::Operation(xid, _) => {
                self.let_go(xid);
                Input::OperationEnded { xid, execution: Execution::Doomed(reason) }
            }
            Work::Doomed(xid) => doomed(xid),
        }
    }

    /// The next write is on disk: what the machine hears of it.
    pub fn written(&mut self) -> Option<Input> {
        let write = self.queue.pop_front()?;
        let disk = &mut self.disk;
        disk.sequence += 1;
        match write {
            Write::Prepare(mut record, work) => {
                record.reads = Payload(b"read".to_vec());
                let (xid, vote) = (record.xid, Vote::Yes(record.reads.clone()));
                disk.ever_prepared.insert(xid);
                disk.prepared.insert(xid, (record, work));
                Some(Input::WorkPrepared { xid, vote })
            }
            Write::OnePhase(xid, done, work) => {
                disk.count(xid, work);
                let result = OnePhaseResult::Committed(done.reads.clone());
                disk.done.insert(xid, Done { xid, one_phase: Some(done) });
                Some(Input::OnePhaseEnded { xid, result })
            }
            Write::Commit(xid) => {
                let prepared = disk.prepared.remove(&xid);
                let found = prepared.is_some() || disk.done.contains_key(&xid);
                if let Some((_, work)) = prepared {
                    disk.count(xid, work);
                    disk.done.insert(xid, Done { xid, one_phase: None });
                }
                Some(Input::BranchCommitted { xid, found })
            }
            Write::Abort(xid) => {
                if disk.prepared.remove(&xid).is_some() {
                    disk.undone.insert(xid);
                }
                Some(Input::BranchAborted { xid })
            }
            Write::Force(line) => {
                let log = line.log;
                disk.take_line(line);
                Some(Input::LineForced { log })
            }
            Write::Note(line) => {
                disk.take_line(line);
                None
            }
        }
    }

    /// Loses all that is not on disk.
    pub fn crash(&mut self) {
        self.working.clear();
        self.queue.clear();
        // What was open is lost, and must not be missed: nothing of it may commit.
        let lost: Vec<Xid> = self.open.keys().copied().collect();
        self.open.clear();
        self.disk.undone.extend(lost.into_iter().filter(|xid| !self.disk.effects.contains_key(xid)));
    }

    /// The highest epoch on disk.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        self.disk.line.as_ref().map(|line| line.seen)
    }

    /// Whether the mark on disk covers a transaction.
    #[must_use]
    pub fn has_passed(&self, xid: Xid) -> bool {
        let mark = self.disk.line.as_ref().and_then(|line| line.mark.as_ref());
        mark.is_some_and(|mark| mark.covers(xid.txn))
    }

    /// What a start finds.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        Recovered {
            lines: self.disk.line.iter().cloned().collect(),
            prepared: self.disk.prepared.values().map(|(record, _)| record.clone()).collect(),
            done: self.disk.done.values().cloned().collect(),
            starts: self.disk.starts.clone(),
        }
    }
}

impl Disk {
    fn count(&mut self, xid: Xid, writes: Vec<Payload>) {
        self.effects.entry(xid).or_default().extend(writes);
    }

    fn take_line(&mut self, line: Line) {
        if let Some(mark) = &line.mark {
            self.done.retain(|xid, _| !mark.covers(xid.txn));
        }
        self.line = Some(line);
    }
}

fn refusal() -> Reason {
    Reason::new(ReasonKind::CheckFailed, "")
}

fn doomed(xid: Xid) -> Input {
    Input::OperationEnded { xid, execution: Execution::Doomed(Reason::new(ReasonKind::Lost, "undone")) }
}
