//! What can happen next, and the model as the checker sees it.

use std::fmt;

use handfast_common::ids::{ContentHash, TxnId, Xid};
use handfast_common::messages::{Answer, FromParticipant, OnePhaseResult, Register};
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;
use stateright::{Model, Property};

use super::properties;
use super::run::Run;
use super::setup::{Mutant, Setup};
use super::state::{PARTICIPANTS, State, name, ticket};
use super::store::no;

/// One thing that happens.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// The client sends a transaction, for the first time or again.
    Submit(usize),
    /// The client asks what has become of it.
    Ask(usize),
    /// The client works at a participant.
    Execute(usize, Xid),
    /// The client commits its interactive transaction.
    Commit(Xid),
    /// The client rolls it back.
    RollBack(Xid),
    /// A participant in doubt can reach nobody but another one.
    AskPeer(usize, usize, Xid),
    /// The next order arrives at a participant.
    Order(usize),
    /// A copy of it is made.
    CopyOrder(usize),
    /// The next answer of a participant arrives.
    Answer(usize),
    /// The same, and it will arrive once more.
    CopyAnswer(usize),
    /// One of the copies arrives.
    Late(usize),
    /// What the coordinator has handed to its log is on disk.
    WriteLog,
    /// What a participant has handed to its store is on disk.
    Write(usize),
    /// A branch has its locks.
    Lock(usize, Xid),
    /// A branch turns out to be impossible.
    Refuse(usize, Xid),
    /// The coordinator dies and is started again. So much of what it had handed to its log is on disk.
    CrashCoordinator(usize),
    /// A participant dies and is started again. So much of what it had handed to its store is on disk.
    Crash(usize, usize),
    /// The coordinator reaches a participant.
    Connect(usize),
    /// Their connection breaks.
    Break(usize),
    /// A timer of the coordinator runs out.
    CoordinatorTimer(c::Timer),
    /// A timer of a participant runs out.
    Timer(usize, p::Timer),
}

impl Setup {
    fn client_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let coordinator = &state.coordinator;
        if !coordinator.machine.is_ready() {
            return;
        }
        let restarted = coordinator.starts > 1;
        if self.interactive
            && let Some(xid) = state.ledger.entries[0].xid
        {
            return self.interactive_actions(state, xid, actions);
        }
        for transaction in 0..self.transactions.len() {
            let submitted = state.ledger.entries[transaction].submitted;
            if !submitted || restarted {
                actions.push(Action::Submit(transaction));
            }
            if self.hasty || (submitted && restarted) {
                actions.push(Action::Ask(transaction));
            }
        }
    }

    fn interactive_actions(&self, state: &State, xid: Xid, actions: &mut Vec<Action>) {
        let entry = &state.ledger.entries[0];
        let branches = || self.transactions[0].iter().map(|(n, _)| *n);
        actions.extend(branches().filter(|n| !entry.branches[*n].answered).map(|n| Action::Execute(n, xid)));
        if branches().all(|n| entry.branches[n].answered) && (!entry.submitted || state.coordinator.starts > 1) {
            actions.push(Action::Commit(xid));
        }
        if !entry.submitted {
            actions.push(Action::RollBack(xid));
        }
        if self.hasty || state.coordinator.starts > 1 {
            actions.push(Action::Ask(0));
        }
    }

    fn network_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (n, link) in state.links.iter().enumerate() {
            let copies = state.left.copies > 0;
            if !link.orders.is_empty() {
                actions.push(Action::Order(n));
                actions.extend(copies.then_some(Action::CopyOrder(n)));
            }
            if !link.answers.is_empty() {
                actions.push(Action::Answer(n));
                actions.extend(copies.then_some(Action::CopyAnswer(n)));
            }
            if !link.connected && state.coordinator.machine.is_ready() {
                actions.push(Action::Connect(n));
            }
            if link.connected && state.left.breaks > 0 {
                actions.push(Action::Break(n));
            }
        }
        actions.extend((0..state.late.len()).map(Action::Late));
    }

    fn coordinator_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let node = &state.coordinator;
        // What is written lazily rides with the next batch; a crash may find it on disk or not.
        if node.is_awaited() {
            actions.push(Action::WriteLog);
        }
        let (live, undecided) = node.machine.load();
        for timer in &node.timers {
            let has_a_point = match timer {
                c::Timer::Prepare(_) => undecided > 0,
                c::Timer::Idle(_) => live > 0,
                // It does what the idle limit does.
                c::Timer::Total(_) => false,
                c::Timer::Resend(_) => live > 0 && state.left.repeats > 0,
                c::Timer::Guard(_) => true,
                c::Timer::Silence | c::Timer::Retention => false,
            };
            if has_a_point {
                actions.push(Action::CoordinatorTimer(timer.clone()));
            }
        }
        if state.left.crashes > 0 {
            actions.extend((0..=node.queue.len()).map(Action::CrashCoordinator));
        }
    }

    fn participant_actions(&self, state: &State, n: usize, actions: &mut Vec<Action>) {
        let node = &state.participants[n];
        if !node.queue.is_empty() {
            actions.push(Action::Write(n));
        }
        for xid in node.waiting.keys() {
            actions.push(Action::Lock(n, *xid));
            actions.push(Action::Refuse(n, *xid));
            actions.push(Action::Timer(n, p::Timer::LockWait(*xid)));
        }
        actions.extend(node.held.iter().map(|xid| Action::Timer(n, p::Timer::ReadOnlyHold(*xid))));
        actions.extend(node.disk.prepared.keys().map(|xid| Action::Timer(n, p::Timer::Inquire(*xid))));
        if self.interactive {
            actions.extend(state.ledger.entries[0].xid.map(|xid| Action::Timer(n, p::Timer::Enlist(xid))));
        }
        if self.peers {
            let others = || (0..PARTICIPANTS).filter(|peer| *peer != n);
            actions.extend(node.disk.prepared.keys().flat_map(|xid| others().map(|m| Action::AskPeer(n, m, *xid))));
        }
        if state.left.crashes > 0 {
            actions.extend((0..=node.queue.len()).map(|keep| Action::Crash(n, keep)));
        }
    }

    /// Whether it could be done at all.
    fn act(&self, state: &mut State, action: Action) -> bool {
        let mut run = Run::new(self, state);
        match action {
            Action::Submit(transaction) => {
                run.state.ledger.entries[transaction].submitted = true;
                let request = self.request(transaction, ticket());
                let hash = ContentHash([u8::try_from(transaction).expect("there are few"); 32]);
                let reply = c::ReplyTo(transaction as u64);
                run.coordinate(c::Input::TransactionSubmitted { reply, request, hash });
            }
            Action::Execute(n, xid) => run.execute(n, xid),
            Action::Commit(xid) => run.commit(xid),
            Action::RollBack(xid) => run.roll_back(xid),
            Action::AskPeer(n, peer, xid) => run.ask_peer(n, peer, xid),
            Action::Ask(transaction) => {
                let question = self.question(transaction, ticket());
                run.coordinate(c::Input::OutcomeAsked { reply: c::ReplyTo(transaction as u64), question });
            }
            Action::Order(n) => {
                let message = run.state.links[n].orders.remove(0);
                run.deliver_order(n, false, (*message).clone());
                run.settle();
            }
            Action::CopyOrder(n) => {
                run.state.left.copies -= 1;
                let message = (*run.state.links[n].orders[0]).clone();
                run.state.delay(n, message);
            }
            Action::Answer(n) => {
                let message = (*run.state.links[n].answers.remove(0)).clone();
                run.coordinate(c::Input::AnswerReceived { name: name(n), message });
            }
            Action::CopyAnswer(n) => {
                run.state.left.copies -= 1;
                let message = (*run.state.links[n].answers[0]).clone();
                run.coordinate(c::Input::AnswerReceived { name: name(n), message });
            }
            Action::Late(at) => {
                let late = run.state.late.remove(at);
                run.deliver_order(late.to, true, late.message.clone());
                run.settle();
            }
            Action::WriteLog => run.write_log(),
            Action::Write(n) => run.write(n),
            Action::Lock(n, xid) => run.lock(n, xid),
            Action::Refuse(n, xid) => {
                run.refuse(n, xid, no());
                run.settle();
            }
            Action::CrashCoordinator(keep) => run.crash_coordinator(keep),
            Action::Crash(n, keep) => run.crash_participant(n, keep),
            Action::Connect(n) => run.connect(n),
            Action::Break(n) => {
                run.state.left.breaks -= 1;
                run.break_off(n);
                run.settle();
            }
            Action::CoordinatorTimer(timer) => run.coordinator_timer(timer),
            Action::Timer(n, p::Timer::Inquire(xid)) => run.inquiry_due(n, xid),
            Action::Timer(n, timer) => run.participate(n, p::Input::TimerFired(timer)),
        }
        !run.premature
    }
}

impl Run<'_> {
    fn coordinator_timer(&mut self, timer: c::Timer) {
        if let c::Timer::Resend(_) = timer {
            self.state.left.repeats -= 1;
        }
        if let (c::Timer::Prepare(txn), Some(Mutant::OnePhaseTimeoutAborts)) = (&timer, self.setup.mutant) {
            let entry = self.state.ledger.entries.iter().find(|entry| entry.xid.is_some_and(|xid| xid.txn == *txn));
            if let Some(xid) = entry.and_then(|entry| entry.xid) {
                let answer = Answer::OnePhaseEnded { xid, result: OnePhaseResult::Aborted(no()) };
                let message = FromParticipant { from: self.state.participants[0].identity(0), answer };
                return self.coordinate(c::Input::AnswerReceived { name: name(0), message });
            }
        }
        self.coordinate(c::Input::TimerFired(timer));
    }
}

impl Model for Setup {
    type State = State;
    type Action = Action;

    /// Everybody is registered and greeted, and the first transaction has been sent.
    fn init_states(&self) -> Vec<State> {
        let mut state = State::new(self);
        self.act(&mut state, Action::WriteLog);
        for n in 0..PARTICIPANTS {
            let register = Register { from: state.participants[n].identity(n), address: format!("h{n}"), seen: None };
            let reply = c::ReplyTo(u64::MAX);
            Run::new(self, &mut state).coordinate(c::Input::ParticipantRegistered { reply, register });
            self.act(&mut state, Action::WriteLog);
            self.act(&mut state, Action::Connect(n));
            if self.slow_greetings {
                self.act(&mut state, Action::Write(n));
            }
        }
        if self.interactive {
            Run::new(self, &mut state).begin_interactive();
        } else {
            self.act(&mut state, Action::Submit(0));
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What a broken rule leads to is of no interest.
        if state.ledger.broken.stopped {
            return;
        }
        self.client_actions(state, actions);
        self.network_actions(state, actions);
        self.coordinator_actions(state, actions);
        for n in 0..PARTICIPANTS {
            self.participant_actions(state, n, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        (self.act(&mut next, action) && next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sequence = |xid: &Xid| TxnId::sequence(xid.txn);
        match self {
            Self::Submit(t) => write!(f, "submit {t}"),
            Self::Ask(t) => write!(f, "ask {t}"),
            Self::Execute(n, _) => write!(f, "work at p{n}"),
            Self::Commit(_) => f.write_str("commit"),
            Self::RollBack(_) => f.write_str("roll back"),
            Self::AskPeer(n, peer, _) => write!(f, "p{n} asks p{peer}"),
            Self::Order(n) => write!(f, "order to p{n}"),
            Self::CopyOrder(n) => write!(f, "copy of the order to p{n}"),
            Self::Answer(n) => write!(f, "answer of p{n}"),
            Self::CopyAnswer(n) => write!(f, "answer of p{n}, copied"),
            Self::Late(at) => write!(f, "copied order {at}"),
            Self::WriteLog => f.write_str("log written"),
            Self::Write(n) => write!(f, "p{n} written"),
            Self::Lock(n, xid) => write!(f, "p{n} has the locks of {}", sequence(xid)),
            Self::Refuse(n, xid) => write!(f, "p{n} can't do {}", sequence(xid)),
            Self::CrashCoordinator(keep) => write!(f, "coordinator restarted, {keep} records kept"),
            Self::Crash(n, keep) => write!(f, "p{n} restarted, {keep} writes kept"),
            Self::Connect(n) => write!(f, "connect p{n}"),
            Self::Break(n) => write!(f, "break p{n}"),
            Self::CoordinatorTimer(timer) => write!(f, "coordinator's timer {timer:?}"),
            Self::Timer(n, timer) => write!(f, "p{n}'s timer {timer:?}"),
        }
    }
}
