//! A participant's resource manager and its disk, and how a participant's effects are carried out.
//!
//! All that is queued is one batch: it is on disk, and the machine hears of it, in one action. A crash may come when any
//! part of the batch is on disk and nobody has heard of it.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::ids::{Incarnation, Xid};
use handfast_common::messages::{InquiryAnswer, KnownStart, OnePhaseResult};
use handfast_common::outcome::{Decision, Payload, Reason, ReasonKind, Vote};
use handfast_participant::protocol as p;

use super::ledger::{Ledger, by_work};
use super::run::Run;
use super::setup::{Mutant, Wish};
use super::state::{Disk, Job, Late, Part, ParticipantNode, name, store};

impl Run<'_> {
    /// Carries a participant's effects out.
    pub(crate) fn obey(&mut self, n: usize, effects: Vec<p::Effect>) {
        for effect in effects {
            match effect {
                p::Effect::Reply { to, answer } => self.answer(n, to, answer),
                p::Effect::Inquire { xid, members, .. } => self.inquire(n, xid, members),
                p::Effect::Prepare { record, work, .. } => {
                    let (work, ran) = self.work_of(n, record.xid, work);
                    self.begin(n, Job::Prepare(record, work), ran);
                }
                p::Effect::CommitOnePhase { xid, key, hash, work, .. } => {
                    let done = p::OnePhaseDone { key, hash, reads: Payload::default() };
                    let (work, ran) = self.work_of(n, xid, work);
                    self.begin(n, Job::OnePhase(xid, done, work), ran);
                }
                p::Effect::Cancel { xid, reason } => self.refuse(n, xid, reason),
                p::Effect::Commit { xid } => {
                    self.queue(n, Job::Commit(xid));
                    if self.setup.mutant == Some(Mutant::AcknowledgesBeforeApply) {
                        self.tell(n, p::Input::BranchCommitted { xid, found: true });
                    }
                }
                p::Effect::Abort { xid } => {
                    self.refuse(n, xid, no());
                    self.state.participants[n].change(|node| node.open.remove(&xid));
                    self.queue(n, Job::Abort(xid));
                }
                p::Effect::Execute { xid, work, .. } => self.operate(n, xid, work),
                p::Effect::Enlist { xid, active, .. } => self.enlist(n, xid, active),
                p::Effect::ReplyExecuted { to, result } => self.on_executed(n, to, &result),
                p::Effect::InquirePeer { xid, member } => self.inquire_peer(n, xid, member),
                p::Effect::ReplyPeer { to, answer } => self.on_peer_answer(n, to, answer),
                p::Effect::Release { xid } => {
                    self.state.participants[n].change(|node| node.held.remove(&xid));
                }
                p::Effect::ForceLine(line) => self.queue(n, Job::Force(line)),
                p::Effect::NoteLine(line) => self.state.participants[n].change(|node| node.noted = Some(line)),
                p::Effect::Stop { .. } => self.state.ledger.broken.stopped = true,
                // Which timers can do anything is seen from what waits for them.
                p::Effect::SetTimer { .. } | p::Effect::Say { .. } => {}
            }
        }
    }

    fn queue(&mut self, n: usize, job: Job) {
        self.state.participants[n].change(|node| node.queue.push(job));
    }

    /// The work of a branch, and whether it ran before.
    fn work_of(&mut self, n: usize, xid: Xid, carried: Option<Payload>) -> (Payload, bool) {
        let ran = self.state.participants[n].change(|node| node.open.remove(&xid));
        match carried {
            Some(work) => (work, false),
            None => (ran.unwrap_or_else(|| Wish::Read.payload(0)), true),
        }
    }

    /// Work begins: it is handed to the disk at once, or waits for its locks.
    fn begin(&mut self, n: usize, job: Job, ran: bool) {
        let (xid, work) = match &job {
            Job::Prepare(record, work) => (record.xid, work),
            Job::OnePhase(xid, _, work) => (*xid, work),
            Job::Commit(_) | Job::Abort(_) | Job::Force(_) | Job::Operation(..) => return,
        };
        match (Wish::of(work), &job) {
            (Wish::Doubtful, _) if !ran => {
                self.state.participants[n].change(|node| node.waiting.insert(xid, job));
            }
            (Wish::Read, Job::Prepare(..)) => {
                self.state.participants[n].change(|node| node.held.insert(xid));
                self.tell(n, p::Input::WorkPrepared { xid, vote: Vote::ReadOnly(Payload::default()) });
            }
            (Wish::Write | Wish::Doubtful | Wish::Read, _) => {
                if self.setup.mutant == Some(Mutant::VotesBeforeForce) && matches!(job, Job::Prepare(..)) {
                    self.tell(n, p::Input::WorkPrepared { xid, vote: Vote::Yes(Payload::default()) });
                }
                self.queue(n, job);
            }
        }
    }

    /// The locks are there.
    pub(crate) fn lock(&mut self, n: usize, xid: Xid) {
        match self.state.participants[n].change(|node| node.waiting.remove(&xid)) {
            Some(Job::Operation(xid, work)) => self.operated(n, xid, work),
            Some(job) => self.queue(n, job),
            None => {}
        }
        self.settle();
    }

    /// The work ends with No, if it still waits.
    pub(crate) fn refuse(&mut self, n: usize, xid: Xid, reason: Reason) {
        match self.state.participants[n].change(|node| node.waiting.remove(&xid)) {
            Some(Job::OnePhase(..)) => {
                self.tell(n, p::Input::OnePhaseEnded { xid, result: OnePhaseResult::Aborted(reason) });
            }
            Some(Job::Operation(..)) => self.doomed(n, xid, reason),
            Some(_) => self.tell(n, p::Input::WorkPrepared { xid, vote: Vote::No(reason) }),
            None => {}
        }
    }

    /// All that was handed to the disk is on it, and the machine hears of it.
    pub(crate) fn write(&mut self, n: usize) {
        let keep = self.state.participants[n].queue.len();
        for input in self.write_some(n, keep) {
            let mutant = self.setup.mutant;
            let heard = match &input {
                p::Input::WorkPrepared { .. } => mutant == Some(Mutant::VotesBeforeForce),
                p::Input::BranchCommitted { .. } => mutant == Some(Mutant::AcknowledgesBeforeApply),
                _ => false,
            };
            if !heard {
                self.tell(n, input);
            }
        }
        self.settle();
        self.deliver_what_is_fenced(n);
    }

    /// What is of an older epoch than the one on disk can only be refused from now on. It arrives at once, so that it need
    /// not arrive at every later time.
    fn deliver_what_is_fenced(&mut self, n: usize) {
        let Some(seen) = self.state.participants[n].disk.line.as_ref().map(|line| line.seen) else { return };
        let fenced = |late: &Late| late.to == n && late.message.from.epoch < seen.epoch;
        let (fenced, rest) = std::mem::take(&mut self.state.late).into_iter().partition(|late| fenced(late));
        self.state.late = rest;
        let fenced: Vec<Part<Late>> = fenced;
        for late in fenced {
            self.deliver_order(n, true, late.message.clone());
        }
        self.settle();
    }

    fn write_some(&mut self, n: usize, keep: usize) -> Vec<p::Input> {
        let ledger = &mut self.state.ledger;
        self.state.participants[n].change(|node| {
            if keep > 0
                && let Some(line) = node.noted.take()
            {
                node.disk.change(|disk| disk.take_line(line));
            }
            let jobs: Vec<Job> = node.queue.drain(..keep).collect();
            if jobs.is_empty() {
                return Vec::new();
            }
            node.disk.change(|disk| jobs.into_iter().map(|job| disk.write(n, job, ledger)).collect())
        })
    }

    /// A participant dies when so many of its writes have reached the disk, and is started again.
    pub(crate) fn crash_participant(&mut self, n: usize, keep: usize) {
        self.state.left.crashes -= 1;
        drop(self.write_some(n, keep));
        self.state.cut(n);
        let node = &self.state.participants[n];
        let mut disk = (*node.disk).clone();
        disk.starts.push(KnownStart { incarnation: Incarnation(node.starts), sequence: disk.sequence });
        if self.setup.mutant == Some(Mutant::ForgetsPrepared) {
            disk.prepared.clear();
        }
        match ParticipantNode::start(n, node.starts + 1, disk) {
            Ok((node, effects)) => {
                self.state.participants[n] = Part::new(node);
                self.obey(n, effects);
            }
            Err(_) => self.state.ledger.broken.stopped = true,
        }
        self.break_off(n);
        self.settle();
    }

    /// Time to ask about a branch in doubt.
    pub(crate) fn inquiry_due(&mut self, n: usize, xid: Xid) {
        if self.setup.mutant == Some(Mutant::GivesUpInDoubt) {
            let answer = InquiryAnswer::Decided(Decision::Abort);
            return self.participate(n, p::Input::InquiryAnswered { xid, answer });
        }
        self.participate(n, p::Input::TimerFired(p::Timer::Inquire(xid)));
    }
}

impl ParticipantNode {
    /// The first start.
    pub(crate) fn new(n: usize) -> Self {
        let (node, _) = Self::start(n, 1, Disk::default()).expect("an empty store");
        node
    }

    /// A start with what is on disk.
    fn start(n: usize, starts: u64, disk: Disk) -> Result<(Self, p::Effects), p::RecoveryError> {
        let mut config = p::Config::new(name(n), store(n), Incarnation(starts));
        // Pauses do not matter where time does not.
        config.retry_first = config.retry_cap;
        let recovered = p::Recovered {
            lines: disk.line.iter().cloned().collect(),
            prepared: disk.prepared.values().map(|(record, _)| record.clone()).collect(),
            done: disk.done.values().cloned().collect(),
            starts: disk.starts.clone(),
        };
        let (machine, effects) = p::Participant::recover(config, recovered)?;
        let node = Self {
            machine: Part::new(machine),
            disk: Part::new(disk),
            queue: Vec::new(),
            noted: None,
            waiting: BTreeMap::new(),
            open: BTreeMap::new(),
            held: BTreeSet::new(),
            starts,
            requests: BTreeMap::new(),
        };
        Ok((node, effects))
    }
}

impl Disk {
    /// Writes one thing: what the machine hears of it.
    fn write(&mut self, n: usize, job: Job, ledger: &mut Ledger) -> p::Input {
        if !matches!(job, Job::Force(_)) {
            self.sequence += 1;
        }
        match job {
            Job::Prepare(record, work) => {
                let xid = record.xid;
                self.prepared.insert(xid, (record, work));
                p::Input::WorkPrepared { xid, vote: Vote::Yes(Payload::default()) }
            }
            Job::OnePhase(xid, done, work) => {
                let entry = &mut ledger.entries[by_work(&work)];
                entry.branches[n].effects += 1;
                entry.durable = true;
                self.done.insert(xid, p::Done { xid, one_phase: Some(done) });
                p::Input::OnePhaseEnded { xid, result: OnePhaseResult::Committed(Payload::default()) }
            }
            Job::Commit(xid) => {
                let prepared = self.prepared.remove(&xid);
                let found = prepared.is_some() || self.done.contains_key(&xid);
                if let Some((_, work)) = prepared {
                    ledger.entries[by_work(&work)].branches[n].effects += 1;
                    self.done.insert(xid, p::Done { xid, one_phase: None });
                }
                p::Input::BranchCommitted { xid, found }
            }
            Job::Abort(xid) => {
                if let Some((_, work)) = self.prepared.remove(&xid) {
                    ledger.entries[by_work(&work)].branches[n].undone = true;
                }
                p::Input::BranchAborted { xid }
            }
            // It never gets here: only what waits for locks is one.
            Job::Operation(xid, _) => p::Input::OperationEnded { xid, execution: p::Execution::Doomed(no()) },
            Job::Force(line) => {
                let log = line.log;
                self.take_line(line);
                p::Input::LineForced { log }
            }
        }
    }

    fn take_line(&mut self, line: p::Line) {
        if let Some(mark) = &line.mark {
            self.done.retain(|xid, _| !mark.covers(xid.txn));
        }
        self.line = Some(line);
    }
}

/// Why work that waits ends with No.
pub(crate) fn no() -> Reason {
    Reason::new(ReasonKind::LockTimeout, "")
}
