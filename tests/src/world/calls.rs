//! What clients of interactive transactions do over time: each message is sent again until its answer is there, or until
//! patience runs out; all of them may be lost, late, or come twice.

use handfast_common::ids::{Key, Ticket};
use handfast_common::messages::{Begun, ExecuteResult};
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;

use super::client::Known;
use super::interactive::End;
use super::nodes::{Asker, Waiter};
use super::{Event, MS, PARTICIPANTS, World};

impl World {
    pub(super) fn on_new_interactive(&mut self) {
        let Some(machine) = self.coordinator.machine.as_ref().filter(|machine| machine.is_ready()) else {
            return self.at(20 * MS, Event::NewInteractive);
        };
        let (log, epoch, nonce, sequence) = machine.standing();
        let names = self.names();
        let ticket = Ticket { log, epoch, nonce, sequence };
        let key = self.clients.draw_interactive(&mut self.dice, &names, ticket);
        self.at(0, Event::BeginDue(key));
        // The impatient ones ask while it is open: that must end it.
        if self.trouble(6) {
            let after = self.dice.between(100, 2_000) * MS;
            self.at(after, Event::Ask(key));
        }
    }

    /// Whether a caller still wants something: the client until it knows, a service until its steps are answered, for it
    /// is told nothing of the end. Each repetition costs patience; a client without any is gone.
    fn cares(&mut self, key: Key, caller: usize) -> bool {
        let interactive = self.clients.interactive.get_mut(&key).expect("it was drawn");
        if caller > 0 {
            return interactive.callers[caller].patience > 0;
        }
        interactive.gone |= interactive.callers[0].patience == 0;
        !interactive.gone && matches!(interactive.known, Known::Open | Known::Rejected)
    }

    fn again(&mut self, key: Key, caller: usize, event: Event) {
        if let Some(interactive) = self.clients.interactive.get_mut(&key) {
            interactive.callers[caller].patience = interactive.callers[caller].patience.saturating_sub(1);
        }
        let after = self.dice.between(150, 900) * MS;
        self.at(after, event);
    }

    pub(super) fn on_begin_due(&mut self, key: Key) {
        if self.clients.interactive[&key].xid.is_none() && self.cares(key, 0) {
            self.deliver(Event::Begin(key));
            self.again(key, 0, Event::BeginDue(key));
        }
    }

    pub(super) fn on_begin(&mut self, key: Key) {
        let begin = self.clients.interactive[&key].begin();
        self.ask_coordinator(Asker::Beginner(key), |reply| c::Input::BeginRequested { reply, begin });
    }

    pub(super) fn on_begun(&mut self, key: Key, begun: &Begun) {
        let xid = match begun {
            Begun::Open { xid, .. } => *xid,
            Begun::Told(told) => return self.clients.hear(key, told),
        };
        let interactive = self.clients.interactive.get_mut(&key).expect("it was drawn");
        match interactive.xid.replace(xid) {
            Some(before) => assert_eq!(before, xid, "A5: {key} was opened twice"),
            None => {
                for caller in 0..self.clients.interactive[&key].callers.len() {
                    let after = self.dice.below(20 * MS);
                    self.at(after, Event::StepDue(key, caller, 0));
                }
            }
        }
    }

    /// A caller's next operation, or once more the one under way.
    pub(super) fn on_step_due(&mut self, key: Key, caller: usize, step: usize) {
        if !self.cares(key, caller) || self.clients.interactive[&key].callers[caller].at != step {
            return;
        }
        let interactive = self.clients.interactive.get_mut(&key).expect("it was drawn");
        if let Some(next) = interactive.callers[caller].steps.get(step) {
            let to = next.to.clone();
            let n = self.number_of(&to);
            self.deliver(Event::Execute(n, key, caller, step));
            let last = caller == 0 && step + 1 == self.clients.interactive[&key].callers[0].steps.len();
            if last && self.clients.interactive[&key].hasty {
                let after = self.dice.below(12 * MS);
                self.at(after, Event::EndDue(key));
            }
            self.again(key, caller, Event::StepDue(key, caller, step));
        } else if interactive.is_through() {
            let after = self.pause();
            self.at(after, Event::EndDue(key));
        }
    }

    /// Between two steps: now and then longer than a transaction may be idle.
    fn pause(&mut self) -> u64 {
        if self.trouble(25) { self.dice.between(500, 3_000) * MS } else { self.dice.below(30 * MS) }
    }

    pub(super) fn on_execute(&mut self, n: usize, key: Key, caller: usize, step: usize) {
        // Addresses move.
        let n = if self.trouble(60) { (n + 1) % PARTICIPANTS } else { n };
        let interactive = self.clients.interactive.get_mut(&key).expect("it was drawn");
        interactive.touched = self.now;
        let Some(execute) = interactive.execute(caller, step) else { return };
        let reply = p::ReplyTo(self.events);
        self.events += 1;
        if self.participants[n].machine.is_some() {
            self.participants[n].answers.insert(reply, Waiter::Caller(key, caller, step));
            self.participate(n, p::Input::OperationReceived { reply, execute });
        }
    }

    pub(super) fn on_executed(&mut self, key: Key, caller: usize, step: usize, result: &ExecuteResult) {
        let interactive = self.clients.interactive.get_mut(&key).expect("it was drawn");
        let known = interactive.callers[caller].steps[step].heard.is_some();
        if interactive.hear(caller, step, result) {
            self.summary.operations += 1;
            let at = self.clients.interactive[&key].callers[caller].at;
            let after = self.pause();
            self.at(after, Event::StepDue(key, caller, at));
        } else if known {
            self.summary.repeated += 1;
        }
    }

    pub(super) fn on_end_due(&mut self, key: Key) {
        if !self.cares(key, 0) {
            return;
        }
        let defiant = self.dice.one_in(4);
        let interactive = self.clients.interactive.get_mut(&key).expect("it was drawn");
        // A client knows better than to commit what is doomed; one that does not must be told the same.
        if interactive.is_doomed() && interactive.end != End::Vanish && !defiant && interactive.commit.is_none() {
            interactive.end = End::Rollback;
        }
        match interactive.end {
            End::Vanish => return interactive.gone = true,
            End::CommitAndVanish => {
                interactive.gone = true;
                interactive.freeze();
                return self.deliver(Event::Commit(key));
            }
            End::Commit => {
                interactive.freeze();
                self.deliver(Event::Commit(key));
            }
            End::Rollback => self.deliver(Event::Rollback(key)),
        }
        self.again(key, 0, Event::EndDue(key));
        if self.dice.one_in(4) {
            let after = self.dice.between(100, 1_500) * MS;
            self.at(after, Event::Ask(key));
        }
    }

    pub(super) fn on_commit(&mut self, key: Key) {
        let Some(commit) = self.clients.interactive[&key].commit.clone() else { return };
        self.ask_coordinator(Asker::Client(key), |reply| c::Input::CommitRequested { reply, commit });
    }

    pub(super) fn on_rollback(&mut self, key: Key) {
        let Some(xid) = self.clients.interactive[&key].xid else { return };
        self.ask_coordinator(Asker::Client(key), |reply| c::Input::RollbackRequested { reply, xid });
    }
}
