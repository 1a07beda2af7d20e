//! What the tests of interactive transactions share: the client's and the participants' words, on the bench.

use handfast_common::messages::{self, Begin, Begun, Count, Enlist, Enlisted, RegistryAct, RegistryOrder};

use super::*;

/// The idle limit of the default configuration, on the wire.
pub(super) const IDLE: Micros = Micros(10_000_000);

impl Bench {
    pub(super) fn begin_of(&self, k: u64) -> Begin {
        let ticket = ticket(self.epoch, self.machine.standing().3);
        Begin { key: key(k), ticket, age: None, clock: Age(0), total: Micros(30_000_000) }
    }

    /// Opens a transaction under key `k`, asked for as `ReplyTo(k)`.
    pub(super) fn begin(&mut self, k: u64) -> Vec<Effect> {
        let begin = self.begin_of(k);
        self.give(Input::BeginRequested { reply: ReplyTo(k), begin })
    }

    /// Opens transaction `t`, which must be the next one, with these participants enlisted.
    pub(super) fn open(&mut self, t: u64, participants: &[u64]) {
        assert_eq!(self.machine.standing().3 + 1, t, "another transaction comes next");
        self.begin(t);
        for n in participants {
            let effects = self.enlist(*n, t);
            assert_eq!(effects.last(), Some(&accepted(t)), "p{n} enlists");
        }
    }

    /// Participant `n` enlists, or reports work, asked as `ReplyTo(700 + n)`.
    pub(super) fn enlist(&mut self, n: u64, t: u64) -> Vec<Effect> {
        self.report(n, t, true)
    }

    pub(super) fn report(&mut self, n: u64, t: u64, active: bool) -> Vec<Effect> {
        let enlist = Enlist { from: self.identity(n), xid: xid_of(self.epoch, t), active };
        self.give(Input::BranchEnlisted { reply: ReplyTo(700), enlist })
    }

    pub(super) fn commit_of(&self, t: u64, counts: &[(u64, u64)], shared: bool) -> messages::Commit {
        let count = |(n, operations): &(u64, u64)| Count { participant: name(*n), operations: *operations };
        let counts = counts.iter().map(count).collect();
        messages::Commit { xid: xid_of(self.epoch, t), counts, shared, wait: Micros(5_000_000) }
    }

    /// The client's commit, with the operations that it counts; waits as `ReplyTo(t)`.
    pub(super) fn commit(&mut self, t: u64, counts: &[(u64, u64)], shared: bool) -> Vec<Effect> {
        let commit = self.commit_of(t, counts, shared);
        self.give(Input::CommitRequested { reply: ReplyTo(t), commit })
    }

    pub(super) fn roll_back(&mut self, t: u64) -> Vec<Effect> {
        self.give(Input::RollbackRequested { reply: ReplyTo(600), xid: xid_of(self.epoch, t) })
    }

    /// A question about key `k` with its ticket, as `ReplyTo(9)`.
    pub(super) fn ask_with_ticket(&mut self, k: u64) -> Vec<Effect> {
        self.ask(AskOutcome { key: key(k), ticket: Some(ticket(self.epoch, 0)), participants: Vec::new() })
    }

    /// An operator's order, given as `ReplyTo(800)`.
    pub(super) fn order(&mut self, act: RegistryAct, n: u64, force: bool) -> Vec<Effect> {
        let order = RegistryOrder { act, name: name(n), reason: "burnt".into(), force };
        self.give(Input::RegistryOrdered { reply: ReplyTo(800), order })
    }
}

pub(super) fn opened(k: u64, t: u64, age: u64) -> Effect {
    let begun = Begun::Open { xid: xid(t), age: Age(age), total: Micros(30_000_000) };
    Effect::ReplyBegun { to: ReplyTo(k), begun }
}

pub(super) fn idle(t: u64) -> Effect {
    timer(Timer::Idle(txn(t)), 7_500, false)
}

pub(super) fn enlisted(answer: Enlisted) -> Effect {
    Effect::ReplyEnlisted { to: ReplyTo(700), answer }
}

pub(super) fn accepted(age: u64) -> Effect {
    enlisted(Enlisted::Accepted { age: Age(age), idle: IDLE })
}

pub(super) fn over(kind: ReasonKind, detail: &str) -> Effect {
    enlisted(Enlisted::Over(Reason::new(kind, detail)))
}

/// The order to prepare what participant `n` has run, in transaction `t` of age `t`.
pub(super) fn prepare_ran(bench: &Bench, n: u64, t: u64, members: &[u64], task: Task, from: Stamp) -> Effect {
    let Effect::Send { to, message } = prepare(bench, n, t, t, members, from) else { panic!("a Prepare") };
    let ToParticipant { from, order: Order::Prepare(order) } = message else { panic!("a Prepare") };
    Effect::Send { to, message: ToParticipant { from, order: Order::Prepare(Prepare { task, ..order }) } }
}

pub(super) fn ran(operations: u64, exact: bool) -> Task {
    Task::Ran { operations, exact }
}

/// What an interactive transaction's Commit record says: as for a one-shot one, under the hash that all of them share.
pub(super) fn commit_record_of(bench: &Bench, t: u64, branches: &[(u64, u64)], reads: &[(u64, &str)]) -> Record {
    let Record::Commit(commit) = commit_record(t, 1, branches, reads) else { panic!("a Commit") };
    let hash = bench.machine.live[&txn(t)].hash;
    Record::Commit(Commit { hash, ..commit })
}
