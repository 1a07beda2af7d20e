//! A tiny resource manager: it ends orders whenever it is told to, in any order, and keeps a durable set. It checks what
//! it is asked to do.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Done, Execution};
use super::*;

/// What survives a crash, and what once happened, for checking.
#[derive(Clone, Default, Debug)]
pub(super) struct Disk {
    pub(super) line: Option<Line>,
    pub(super) prepared: BTreeMap<Xid, Prepared>,
    pub(super) done: BTreeMap<Xid, Done>,
    /// Kept when markers are trimmed.
    pub(super) committed: BTreeSet<Xid>,
    pub(super) aborted: BTreeSet<Xid>,
    pub(super) ever_prepared: BTreeSet<Xid>,
}

/// An order on its way.
#[derive(Clone, Debug)]
enum Job {
    /// `dropped`: its branch was aborted meanwhile.
    Execute {
        xid: Xid,
        cancelled: Option<Reason>,
        dropped: bool,
    },
    Prepare {
        record: Prepared,
        cancelled: Option<Reason>,
    },
    OnePhase {
        xid: Xid,
        done: OnePhaseDone,
        cancelled: Option<Reason>,
    },
    Commit(Xid),
    Abort(Xid),
    Force(Line),
}

#[derive(Clone, Default, Debug)]
pub(super) struct Model {
    pub(super) disk: Disk,
    jobs: Vec<Job>,
    /// Written with the next batch.
    noted: Option<Line>,
    /// Read locks of branches that only read.
    pub(super) held: BTreeSet<Xid>,
    /// Open branches, with how many operations ran.
    pub(super) open: BTreeMap<Xid, usize>,
    /// The same of those that were asked to prepare or commit.
    pub(super) ran: BTreeMap<Xid, usize>,
    /// Whatever was begun at any time: nothing is begun twice.
    begun: BTreeSet<Xid>,
}

impl Model {
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Takes the orders among the effects; whether it was one.
    pub(super) fn take(&mut self, effect: &Effect) -> bool {
        match effect.clone() {
            Effect::Execute { xid, .. } => {
                assert!(!self.begun.contains(&xid), "an operation of {xid:?}, which was asked for its vote");
                assert!(!self.is_busy(xid), "two things at a time for {xid:?}");
                self.open.entry(xid).or_default();
                self.jobs.push(Job::Execute { xid, cancelled: None, dropped: false });
            }
            Effect::Prepare { record, work, .. } => {
                assert!(self.begun.insert(record.xid), "{:?} is prepared a second time", record.xid);
                self.close(record.xid, work.is_none());
                self.jobs.push(Job::Prepare { record, cancelled: None });
            }
            Effect::CommitOnePhase { xid, key, hash, work, .. } => {
                assert!(self.begun.insert(xid), "{xid:?} runs a second time");
                self.close(xid, work.is_none());
                let done = OnePhaseDone { key, hash, reads: payload("reads") };
                self.jobs.push(Job::OnePhase { xid, done, cancelled: None });
            }
            Effect::Cancel { xid, reason } => self.cancel(xid, &reason),
            Effect::Commit { xid } => {
                assert!(
                    self.disk.prepared.contains_key(&xid) && !self.disk.aborted.contains(&xid),
                    "commit of {xid:?}"
                );
                self.jobs.push(Job::Commit(xid));
            }
            Effect::Abort { xid } if self.open.remove(&xid).is_some() => {
                for job in &mut self.jobs {
                    if let Job::Execute { xid: other, dropped, .. } = job {
                        *dropped |= *other == xid;
                    }
                }
                self.jobs.push(Job::Abort(xid));
            }
            Effect::Abort { xid } => {
                assert!(self.disk.prepared.contains_key(&xid), "abort of {xid:?}");
                assert!(!self.disk.committed.contains(&xid) && !self.is_busy(xid), "abort of {xid:?}");
                self.jobs.push(Job::Abort(xid));
            }
            Effect::Release { xid } => assert!(self.held.remove(&xid), "release of {xid:?}, which holds nothing"),
            Effect::ForceLine(line) => self.jobs.push(Job::Force(line)),
            Effect::NoteLine(line) => self.noted = Some(line),
            Effect::Reply { .. }
            | Effect::ReplyExecuted { .. }
            | Effect::ReplyPeer { .. }
            | Effect::Enlist { .. }
            | Effect::InquirePeer { .. }
            | Effect::Say { .. }
            | Effect::Inquire { .. }
            | Effect::SetTimer { .. }
            | Effect::Stop { .. } => {
                return false;
            }
        }
        true
    }

    /// The work of a branch is all there: as its order brought it, or as it ran.
    fn close(&mut self, xid: Xid, ran: bool) {
        let open = self.open.remove(&xid);
        assert_eq!(ran, open.is_some(), "{xid:?}");
        assert!(!self.is_busy(xid), "{xid:?} is asked for its vote while an operation runs");
        self.ran.extend(open.map(|count| (xid, count)));
    }

    fn is_busy(&self, xid: Xid) -> bool {
        self.jobs.iter().any(|job| match job {
            Job::Execute { xid: other, .. } => *other == xid,
            Job::Commit(other) | Job::Abort(other) => *other == xid,
            Job::Prepare { record, .. } => record.xid == xid,
            Job::OnePhase { .. } | Job::Force(_) => false,
        })
    }

    fn cancel(&mut self, xid: Xid, reason: &Reason) {
        for job in &mut self.jobs {
            match job {
                Job::Prepare { record, cancelled } if record.xid == xid => *cancelled = Some(reason.clone()),
                Job::OnePhase { xid: other, cancelled, .. } | Job::Execute { xid: other, cancelled, .. }
                    if *other == xid =>
                {
                    *cancelled = Some(reason.clone());
                }
                _ => {}
            }
        }
    }

    /// Ends one job, in the way that `how` picks, and says so.
    pub(super) fn end_one(&mut self, which: usize, how: u8) -> Option<Input> {
        if self.jobs.is_empty() {
            return None;
        }
        let job = self.jobs.swap_remove(which % self.jobs.len());
        Some(self.end(job, how))
    }

    fn end(&mut self, job: Job, how: u8) -> Input {
        match job {
            Job::Execute { xid, cancelled, dropped } => {
                let execution = match (cancelled, how % 8) {
                    (_, _) if dropped => Execution::Doomed(no(ReasonKind::Lost)),
                    (Some(reason), 2..) => Execution::Doomed(reason),
                    (None, 6) => Execution::Failed(no(ReasonKind::CheckFailed)),
                    (None, 7) => Execution::Doomed(no(ReasonKind::Conflict)),
                    (_, _) => Execution::Done(payload("read")),
                };
                match &execution {
                    Execution::Doomed(_) => drop(self.open.remove(&xid)),
                    Execution::Done(_) | Execution::Failed(_) => {
                        *self.open.get_mut(&xid).expect("an operation of an open branch") += 1;
                    }
                }
                Input::OperationEnded { xid, execution }
            }
            Job::Prepare { record, cancelled } => {
                let xid = record.xid;
                let vote = match (cancelled, how % 6) {
                    (Some(reason), 2..) => Vote::No(reason),
                    (None, 4) => Vote::No(no(ReasonKind::CheckFailed)),
                    (None, 5) => Vote::ReadOnly(payload("reads")),
                    (_, _) => Vote::Yes(payload("reads")),
                };
                match &vote {
                    Vote::Yes(reads) => {
                        self.batch();
                        self.disk.ever_prepared.insert(xid);
                        self.disk.prepared.insert(xid, Prepared { reads: reads.clone(), ..record });
                    }
                    Vote::ReadOnly(_) => assert!(self.held.insert(xid)),
                    Vote::No(_) => {}
                }
                Input::WorkPrepared { xid, vote }
            }
            Job::OnePhase { xid, done, cancelled } => {
                let result = match (cancelled, how % 4) {
                    (Some(reason), 1..) => OnePhaseResult::Aborted(reason),
                    (None, 3) => OnePhaseResult::Aborted(no(ReasonKind::CheckFailed)),
                    (_, _) => {
                        self.batch();
                        let reads = done.reads.clone();
                        assert!(self.disk.committed.insert(xid));
                        self.disk.done.insert(xid, Done { xid, one_phase: Some(done) });
                        OnePhaseResult::Committed(reads)
                    }
                };
                Input::OnePhaseEnded { xid, result }
            }
            Job::Commit(xid) => {
                self.batch();
                let found = self.disk.prepared.remove(&xid).is_some();
                assert!(self.disk.committed.insert(xid) && !self.disk.aborted.contains(&xid));
                self.disk.done.insert(xid, Done { xid, one_phase: None });
                Input::BranchCommitted { xid, found }
            }
            Job::Abort(xid) => {
                self.batch();
                self.disk.prepared.remove(&xid);
                assert!(!self.disk.committed.contains(&xid), "{xid:?} both committed and aborted");
                self.disk.aborted.insert(xid);
                Input::BranchAborted { xid }
            }
            Job::Force(line) => {
                self.batch();
                let log = line.log;
                self.write(line);
                Input::LineForced { log }
            }
        }
    }

    /// A batch takes along what was noted.
    fn batch(&mut self) {
        if let Some(line) = self.noted.take() {
            self.write(line);
        }
    }

    fn write(&mut self, line: Line) {
        if let Some(mark) = &line.mark {
            self.disk.done.retain(|xid, _| !mark.covers(xid.txn));
        }
        if let Some(before) = &self.disk.line {
            assert!(before.seen.epoch <= line.seen.epoch, "{before:?} is followed by {line:?}");
        }
        self.disk.line = Some(line);
    }

    /// Whatever was on its way is done or not done, as `luck` has it; nobody hears of it.
    pub(super) fn crash(&mut self, mut luck: u32) -> Recovered {
        self.open.clear();
        for job in std::mem::take(&mut self.jobs) {
            // What an open branch did is nowhere but in memory.
            let lasts = !matches!(job, Job::Execute { .. });
            if luck & 1 == 1 && lasts {
                let _ = self.end(job, 0);
            }
            luck = luck.rotate_right(1);
        }
        self.noted = None;
        self.held.clear();
        Recovered {
            lines: self.disk.line.clone().into_iter().collect(),
            prepared: self.disk.prepared.values().cloned().collect(),
            done: self.disk.done.values().cloned().collect(),
            starts: Vec::new(),
        }
    }
}
