//! Clients of interactive transactions: begin, one operation after the other, commit; what is not answered is sent again.

use handfast_common::ids::{Age, Key, Name, Xid};
use handfast_common::messages::{Begin, Begun, Commit, Count, Execute, ExecuteResult, Executed, Micros, OperationId};
use handfast_common::operation::Operation;
use handfast_coordinator::protocol as c;
use handfast_participant::kv::{decode_reads, encode_operations};

use super::coordinator::Asker;
use super::{Body, Event, World};
use crate::matrix::{Kind, Step};
use crate::plan::{Host, MS};
use crate::workload::appended;

/// How long a client waits for an answer before it sends again.
const PATIENCE: u64 = 400 * MS;
/// Who numbers the operations: the client itself.
const CALLER: u64 = 1;
/// A service that was called under the transaction, and of whose last look the client does not wait to hear.
const SERVICE: u64 = 2;

impl World {
    /// A client begins.
    pub(super) fn open(&mut self, key: Key) {
        let late = self.dice.one_in(3);
        self.ledger.open_session(key, late);
        self.send(Host::Clients, Host::Coordinator, Body::Begin(key));
        self.wait(key, PATIENCE);
        // Asking about an open one ends it, so clients ask late.
        let after = self.dice.between(500, 6_000) * MS;
        self.at(after, Event::AskDue(key));
    }

    pub(super) fn on_begin(&mut self, key: Key) {
        let Some(wanted) = self.ledger.get(key) else { return };
        let (ticket, age) = (wanted.request.ticket, wanted.request.age);
        if self.coordinator.is_ready() {
            self.note_ticket(Step::Lib1, ticket);
            let begin = Begin { key, ticket, age, clock: Age(0), total: Micros(20_000_000) };
            let reply = self.coordinator.expect(Asker::Beginner(key));
            self.coordinate(c::Input::BeginRequested { reply, begin });
        }
    }

    pub(super) fn on_begun(&mut self, key: Key, begun: Begun) {
        match begun {
            Begun::Open { xid, .. } => {
                let Some(session) = self.ledger.session(key) else { return };
                if session.xid.is_none() {
                    session.xid = Some(xid);
                    if self.stage.is_none() {
                        self.step(key);
                    }
                }
            }
            Begun::Told(told) => self.on_told(key, true, &told),
        }
    }

    /// The next operation, or the end.
    fn step(&mut self, key: Key) {
        let cancels = self.dice.below(100) < self.options.cancels / 5;
        let Some(session) = self.ledger.session(key) else { return };
        let (Some(xid), false) = (session.xid, session.over) else { return };
        if cancels {
            // Gone without a word: the idle limit has to find it, or the question that comes late.
            session.over = true;
            return self.hit(Step::Lib1, Kind::Cancelled);
        }
        let late = session.late && session.done > 0 && session.done + 1 == session.steps.len();
        if session.done < session.steps.len() && !late {
            self.execute(key, xid, CALLER);
            return self.wait(key, PATIENCE);
        }
        session.over = true;
        let answered = &session.steps[..session.done];
        let names: std::collections::BTreeSet<_> = answered.iter().map(|(name, _)| name.clone()).collect();
        let count = |name| answered.iter().filter(|(other, _)| *other == name).count() as u64;
        let counts = names.into_iter().map(|name| Count { operations: count(name.clone()), participant: name });
        let shared = late || self.now.is_multiple_of(4);
        let commit = Commit { xid, counts: counts.collect(), shared, wait: Micros(5_000_000) };
        self.send(Host::Clients, Host::Coordinator, Body::Commit(key, commit));
        if late {
            self.execute(key, xid, SERVICE);
        }
    }

    /// Sends the operation whose turn it is.
    fn execute(&mut self, key: Key, xid: Xid, caller: u64) {
        let Some(session) = self.ledger.session(key) else { return };
        let Some((name, operation)) = session.steps.get(session.done).cloned() else { return };
        let reads = session.reads.get(&name).map(Vec::as_slice).unwrap_or_default();
        let operation = appended(&operation, reads).unwrap_or(operation);
        let number = session.done as u64 + 1;
        self.send_operation(key, xid, (name, vec![operation]), (caller, number));
    }

    /// Sends what is to be done at a participant, under the number of its caller.
    pub(super) fn send_operation(
        &mut self,
        key: Key,
        xid: Xid,
        (name, operations): (Name, Vec<Operation>),
        (caller, number): (u64, u64),
    ) {
        let Some(n) = self.number_of(&name) else { return };
        let execute = Execute {
            to: name,
            xid,
            coordinator: "coordinator".to_owned(),
            operation: OperationId { caller, number },
            wait: Micros(1_000_000),
            clock: Age(0),
            work: encode_operations(&operations).expect("a few operations fit a frame"),
        };
        self.send(Host::Clients, Host::Participant(n), Body::Execute(key, execute));
    }

    /// Waits for an answer; a wait that was for an earlier one is over.
    fn wait(&mut self, key: Key, after: u64) {
        let Some(session) = self.ledger.session(key) else { return };
        session.waits += 1;
        let number = session.waits;
        self.at(after, Event::StepDue(key, number));
    }

    /// Nothing came: the same once more.
    pub(super) fn on_step_due(&mut self, key: Key, number: u64) {
        let known = self.ledger.get(key).is_some_and(crate::clients::Wanted::is_known);
        let Some(session) = self.ledger.session(key) else { return };
        if known || session.over || session.waits != number {
            return;
        }
        match session.xid {
            None => {
                self.send(Host::Clients, Host::Coordinator, Body::Begin(key));
                self.wait(key, PATIENCE);
            }
            Some(_) => self.step(key),
        }
    }

    pub(super) fn on_executed(&mut self, key: Key, operation: OperationId, executed: Executed) {
        if self.answered_on_stage(key, operation.number, &executed.result) {
            return;
        }
        let known = self.ledger.get(key).is_some_and(crate::clients::Wanted::is_known);
        let Some(session) = self.ledger.session(key) else { return };
        let late = operation.caller == SERVICE;
        // What its client has been told it keeps to.
        if (session.over && !late) || (known && late) || operation.number != session.done as u64 + 1 {
            return;
        }
        match executed.result {
            ExecuteResult::Done(payload) => {
                let name = session.steps[session.done].0.clone();
                session.done += 1;
                match decode_reads(&payload) {
                    Ok(reads) if reads.is_empty() => {}
                    Ok(reads) => session.reads.entry(name).or_default().extend(reads),
                    Err(error) => self.judge("integrity", Err(format!("reads of {key}: {error}"))),
                }
                if !late {
                    self.step(key);
                }
            }
            // The service tells nobody: whether the transaction commits is known by then.
            ExecuteResult::Failed(_) | ExecuteResult::Doomed(_) | ExecuteResult::NotYet if late => {}
            ExecuteResult::Failed(_) | ExecuteResult::Doomed(_) => {
                session.over = true;
                if let Some(xid) = session.xid {
                    self.send(Host::Clients, Host::Coordinator, Body::Rollback(xid));
                }
            }
            ExecuteResult::NotYet => self.wait(key, 20 * MS),
            ExecuteResult::WrongAddressee => {
                self.judge("fencing", Err(format!("an operation of {key} reached another participant")));
            }
        }
    }

    pub(super) fn on_commit(&mut self, key: Key, commit: Commit) {
        if self.coordinator.is_ready() {
            let reply = self.coordinator.expect(Asker::Client(key, true));
            self.coordinate(c::Input::CommitRequested { reply, commit });
        }
    }

    pub(super) fn on_rollback(&mut self, xid: Xid) {
        if self.coordinator.is_ready() {
            let reply = self.coordinator.expect(Asker::Nobody);
            self.coordinate(c::Input::RollbackRequested { reply, xid });
        }
    }
}
