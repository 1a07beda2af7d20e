//! Interactive transactions, and participants that ask each other.
//!
//! The client works once at each of its participants, sends what was not answered again, and commits when all was answered,
//! or rolls back. Whatever it says arrives at once or not at all: a question that is lost is one that was not asked.

use handfast_common::ids::{Age, Xid};
use handfast_common::messages::{
    Begin, Begun, Commit, Count, Enlist, Enlisted, Execute, ExecuteResult, InquiryAnswer, Member, Micros, OperationId,
    PeerAnswer, PeerInquiry, Unsaid,
};
use handfast_common::outcome::{Decision, Payload, Reason};
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;

use super::ledger::key;
use super::run::Run;
use super::setup::{Mutant, Wish};
use super::state::{Job, name, number, ticket};

/// Tokens of operations, and of questions of other participants, begin here: one for each of those who ask.
const OPERATION: u64 = 100;
const QUESTION: u64 = 200;

impl Run<'_> {
    /// The client opens its transaction.
    pub(crate) fn begin_interactive(&mut self) {
        let (key, total) = (key(0), Micros(60_000_000));
        let begin = Begin { key, ticket: ticket(), age: None, clock: Age(0), total };
        self.coordinate(c::Input::BeginRequested { reply: c::ReplyTo(0), begin });
    }

    /// It is open.
    pub(crate) fn on_begun(&mut self, begun: &Begun) {
        if let Begun::Open { xid, .. } = begun {
            self.state.ledger.entries[0].xid = Some(*xid);
        }
    }

    /// The client works at a participant, for the first time or again.
    pub(crate) fn execute(&mut self, n: usize, xid: Xid) {
        let wish = self.setup.transactions[0].iter().find(|(at, _)| *at == n).map_or(Wish::Read, |(_, wish)| *wish);
        let execute = Execute {
            to: name(n),
            xid,
            coordinator: String::new(),
            operation: OperationId { caller: 1, number: 1 },
            wait: Micros(1_000_000),
            clock: Age(0),
            work: wish.payload(0),
        };
        // Whoever asked before and was not answered has gone.
        let reply = p::ReplyTo(OPERATION);
        if self.expect(n, reply) {
            self.participate(n, p::Input::OperationReceived { reply, execute });
        }
    }

    /// The client hears what became of its work.
    pub(crate) fn on_executed(&mut self, n: usize, to: p::ReplyTo, result: &ExecuteResult) {
        self.state.participants[n].change(|node| node.requests.remove(&to));
        if matches!(result, ExecuteResult::Done(_)) {
            self.state.ledger.entries[0].branches[n].answered = true;
        }
    }

    /// The client commits what it has heard of.
    pub(crate) fn commit(&mut self, xid: Xid) {
        self.state.ledger.entries[0].submitted = true;
        let names = self.setup.names(0).into_iter();
        let counts = names.map(|participant| Count { participant, operations: 1 }).collect();
        let commit = Commit { xid, counts, shared: self.setup.shared, wait: Micros(1_000_000) };
        self.coordinate(c::Input::CommitRequested { reply: c::ReplyTo(0), commit });
    }

    /// The client gives it up.
    pub(crate) fn roll_back(&mut self, xid: Xid) {
        self.coordinate(c::Input::RollbackRequested { reply: c::ReplyTo(0), xid });
    }

    /// A participant takes part, or still works. If the coordinator can't be reached, the timer asks again.
    pub(crate) fn enlist(&mut self, n: usize, xid: Xid, active: bool) {
        let reply = c::ReplyTo(OPERATION + n as u64);
        let enlist = Enlist { from: self.state.participants[n].identity(n), xid, active };
        self.enlisting.insert(reply, (n, xid));
        self.hear(c::Input::BranchEnlisted { reply, enlist });
    }

    /// The coordinator has answered that.
    pub(crate) fn on_enlisted(&mut self, to: c::ReplyTo, answer: Enlisted) {
        if let Some((n, xid)) = self.enlisting.remove(&to) {
            self.tell(n, p::Input::EnlistAnswered { xid, answer });
        }
    }

    /// An operation runs, or waits for its locks.
    pub(crate) fn operate(&mut self, n: usize, xid: Xid, work: Payload) {
        match Wish::of(&work) {
            Wish::Doubtful => {
                self.state.participants[n].change(|node| node.waiting.insert(xid, Job::Operation(xid, work)));
            }
            Wish::Write | Wish::Read => self.operated(n, xid, work),
        }
    }

    /// It is done.
    pub(crate) fn operated(&mut self, n: usize, xid: Xid, work: Payload) {
        self.state.participants[n].change(|node| node.open.insert(xid, work));
        self.tell(n, p::Input::OperationEnded { xid, execution: p::Execution::Done(Payload::default()) });
    }

    /// It can't be done.
    pub(crate) fn doomed(&mut self, n: usize, xid: Xid, reason: Reason) {
        self.tell(n, p::Input::OperationEnded { xid, execution: p::Execution::Doomed(reason) });
    }

    /// A participant in doubt can't reach the coordinator, and of the others only one.
    pub(crate) fn ask_peer(&mut self, n: usize, peer: usize, xid: Xid) {
        self.reached = Some(peer);
        // The others are asked when the coordinator has left an inquiry unanswered.
        for _ in 0..2 {
            self.participate(n, p::Input::TimerFired(p::Timer::Inquire(xid)));
        }
        self.reached = None;
        // An answer that was long on its way: what the others could not say is of no more interest.
        self.participate(n, p::Input::InquiryAnswered { xid, answer: InquiryAnswer::Undecided });
    }

    /// A question between participants.
    pub(crate) fn inquire_peer(&mut self, n: usize, xid: Xid, member: Member) {
        let peer = number(&member.who.name);
        let reply = p::ReplyTo(QUESTION + n as u64);
        if self.reached == Some(peer) && self.expect(peer, reply) {
            let inquiry = PeerInquiry { from: self.state.participants[n].identity(n), to: member.who, xid };
            self.tell(peer, p::Input::PeerInquired { reply, inquiry });
        }
    }

    /// Whether nobody waits for the same answer already.
    fn expect(&mut self, n: usize, reply: p::ReplyTo) -> bool {
        let waits = self.state.participants[n].requests.contains_key(&reply);
        if !waits {
            self.state.participants[n].change(|node| node.requests.insert(reply, true));
        }
        !waits
    }

    /// Its answer.
    pub(crate) fn on_peer_answer(&mut self, peer: usize, to: p::ReplyTo, mut answer: PeerAnswer) {
        self.state.participants[peer].change(|node| node.requests.remove(&to));
        let Some(xid) = self.state.ledger.entries[0].xid else { return };
        let asker = usize::try_from(to.0 - QUESTION).expect("one of the three");
        let no_trace = matches!(answer, PeerAnswer::CantSay(Unsaid::OtherIncarnation | Unsaid::BelowMark));
        if no_trace && self.setup.mutant == Some(Mutant::NoTraceIsAbort) {
            answer = PeerAnswer::Decided(Decision::Abort);
        }
        if let (PeerAnswer::Decided(decision), Some(entry)) = (answer, self.state.ledger.of(xid)) {
            entry.said.note(decision);
        }
        let from = self.state.participants[peer].identity(peer);
        self.tell(asker, p::Input::PeerAnswered { xid, from, answer });
    }
}
