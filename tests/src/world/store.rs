//! A participant's store and resource manager, in memory: what is written is on disk only when its turn has come, and a
//! crash loses the rest. Branches vote as their payload says; a commit counts their effects.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use handfast_common::ids::{ContentHash, Key, Xid};
use handfast_common::messages::{OnePhaseResult, Seen};
use handfast_common::outcome::{Payload, Reason, ReasonKind, Vote};
use handfast_participant::protocol::{Done, Effect, Input, Line, OnePhaseDone, Prepared, Recovered};

/// What a payload asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Wish {
    /// Change something: Yes.
    Write,
    /// Only look: `ReadOnly`.
    Read,
    /// Fail: No.
    Refuse,
}

impl Wish {
    /// As a payload of the transaction under `key`.
    #[must_use]
    pub fn payload(self, key: Key) -> Payload {
        let letter = match self {
            Self::Write => b'w',
            Self::Read => b'r',
            Self::Refuse => b'n',
        };
        Payload([&[letter], &key.0.as_bytes()[..]].concat())
    }

    fn of(work: &Payload) -> Self {
        match work.0.first() {
            Some(b'w') => Self::Write,
            Some(b'r') => Self::Read,
            _ => Self::Refuse,
        }
    }
}

/// What is on disk.
#[derive(Clone, Default, Debug)]
pub struct Disk {
    line: Option<Line>,
    /// Branches in doubt.
    pub prepared: BTreeMap<Xid, (Prepared, Payload)>,
    done: BTreeMap<Xid, Done>,
    /// Writes so far.
    pub sequence: u64,
    /// For the oracle, never trimmed: how often the work of each transaction took effect.
    pub effects: BTreeMap<Xid, (Payload, u32)>,
    /// For the oracle: what was ever prepared, and what was undone.
    pub ever_prepared: BTreeSet<Xid>,
    /// The same.
    pub undone: BTreeSet<Xid>,
}

/// On its way to disk.
#[derive(Clone, Debug)]
enum Write {
    Prepare(Prepared, Payload),
    OnePhase(Xid, OnePhaseDone, Payload),
    Commit(Xid),
    Abort(Xid),
    Force(Line),
    Note(Line),
}

/// Waits for its locks.
#[derive(Clone, Debug)]
enum Work {
    Prepare(Prepared, Payload),
    OnePhase(Xid, Key, ContentHash, Payload),
}

/// Store and resource manager of one participant.
#[derive(Clone, Default, Debug)]
pub struct Store {
    /// What survives.
    pub disk: Disk,
    working: BTreeMap<Xid, Work>,
    queue: VecDeque<Write>,
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
            Effect::Prepare { record, work, .. } => {
                let (xid, work) = (record.xid, work.unwrap_or_default());
                assert!(self.working.insert(xid, Work::Prepare(record, work)).is_none(), "{xid:?} is prepared twice");
                (Next::Working(xid), None)
            }
            Effect::CommitOnePhase { xid, key, hash, work, .. } => {
                let work = Work::OnePhase(xid, key, hash, work.unwrap_or_default());
                assert!(self.working.insert(xid, work).is_none(), "{xid:?} runs twice");
                (Next::Working(xid), None)
            }
            Effect::Cancel { xid, reason } => {
                (Next::Nothing, self.working.remove(&xid).map(|work| refuse(work, reason)))
            }
            Effect::Commit { xid } => self.write(Write::Commit(xid)),
            Effect::Abort { xid } => self.write(Write::Abort(xid)),
            Effect::ForceLine(line) => self.write(Write::Force(line)),
            Effect::NoteLine(line) => self.write(Write::Note(line)),
            Effect::Release { .. }
            | Effect::Execute { .. }
            | Effect::Enlist { .. }
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

    fn write(&mut self, write: Write) -> (Next, Option<Input>) {
        self.queue.push_back(write);
        (Next::Writing, None)
    }

    /// The locks are there: the work votes, or is handed to the log.
    pub fn work_done(&mut self, xid: Xid) -> (Next, Option<Input>) {
        let Some(work) = self.working.remove(&xid) else { return (Next::Nothing, None) };
        let reason = || Reason::new(ReasonKind::CheckFailed, "");
        match work {
            Work::Prepare(record, work) => match Wish::of(&work) {
                Wish::Write => self.write(Write::Prepare(record, work)),
                Wish::Read => {
                    let vote = Vote::ReadOnly(Payload(b"read".to_vec()));
                    (Next::Nothing, Some(Input::WorkPrepared { xid, vote }))
                }
                Wish::Refuse => (Next::Nothing, Some(refuse(Work::Prepare(record, work), reason()))),
            },
            Work::OnePhase(xid, key, hash, work) => match Wish::of(&work) {
                Wish::Write | Wish::Read => {
                    let done = OnePhaseDone { key, hash, reads: Payload(b"read".to_vec()) };
                    self.write(Write::OnePhase(xid, done, work))
                }
                Wish::Refuse => (Next::Nothing, Some(refuse(Work::OnePhase(xid, key, hash, work), reason()))),
            },
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
                disk.prepared.remove(&xid);
                disk.undone.insert(xid);
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
    }

    /// The highest epoch on disk.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        self.disk.line.as_ref().map(|line| line.seen)
    }

    /// What a start finds.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        Recovered {
            lines: self.disk.line.iter().cloned().collect(),
            prepared: self.disk.prepared.values().map(|(record, _)| record.clone()).collect(),
            done: self.disk.done.values().cloned().collect(),
            starts: Vec::new(),
        }
    }
}

impl Disk {
    fn count(&mut self, xid: Xid, work: Payload) {
        self.effects.entry(xid).or_insert((work, 0)).1 += 1;
    }

    fn take_line(&mut self, line: Line) {
        if let Some(mark) = &line.mark {
            self.done.retain(|xid, _| !mark.covers(xid.txn));
        }
        self.line = Some(line);
    }
}

fn refuse(work: Work, reason: Reason) -> Input {
    match work {
        Work::Prepare(record, _) => Input::WorkPrepared { xid: record.xid, vote: Vote::No(reason) },
        Work::OnePhase(xid, ..) => Input::OnePhaseEnded { xid, result: OnePhaseResult::Aborted(reason) },
    }
}
