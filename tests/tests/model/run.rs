//! Carries one action out: the machines take their steps, and what they order is done or put on its way.

use std::collections::{BTreeMap, VecDeque};

use handfast_common::ids::{Nonce, RecordNumber, Xid};
use handfast_common::messages::{Answer, FromParticipant, Inquiry, InquiryAnswer, Order, Task, ToParticipant, Told};
use handfast_common::outcome::{Decision, Outcome, Vote};
use handfast_coordinator::protocol as c;
use handfast_participant::protocol as p;

use super::ledger::{by_key, by_work};
use super::memo;
use super::setup::{Mutant, Setup};
use super::state::{CoordinatorNode, LOG, Late, Link, PARTICIPANTS, Part, ParticipantNode, State, name, number};

/// A fact on its way to a machine.
enum Fact {
    Coordinator(c::Input),
    Participant(usize, p::Input),
}

/// One action being carried out.
pub(crate) struct Run<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) state: &'a mut State,
    facts: VecDeque<Fact>,
    /// Whether a question has to wait for participants that have not been greeted.
    pub(crate) premature: bool,
    /// Who asks the coordinator, and about what.
    asked: BTreeMap<c::ReplyTo, (usize, Xid)>,
    /// Who enlists, and in what.
    pub(crate) enlisting: BTreeMap<c::ReplyTo, (usize, Xid)>,
    /// The only node that a participant in doubt can reach, if not all.
    pub(crate) reached: Option<usize>,
}

/// Tokens of clients are their transactions' numbers; those of others begin here, and are free again after a step.
const OTHERS: u64 = 10;

impl<'a> Run<'a> {
    pub(crate) fn new(setup: &'a Setup, state: &'a mut State) -> Self {
        Self {
            setup,
            state,
            facts: VecDeque::new(),
            premature: false,
            asked: BTreeMap::new(),
            enlisting: BTreeMap::new(),
            reached: None,
        }
    }

    /// The coordinator hears something, and everything that follows at once.
    pub(crate) fn coordinate(&mut self, input: c::Input) {
        self.facts.push_back(Fact::Coordinator(input));
        self.settle();
    }

    /// A participant hears something, and everything that follows at once.
    pub(crate) fn participate(&mut self, n: usize, input: p::Input) {
        self.facts.push_back(Fact::Participant(n, input));
        self.settle();
    }

    /// Everything that follows at once.
    pub(crate) fn settle(&mut self) {
        while let Some(fact) = self.facts.pop_front() {
            match fact {
                Fact::Coordinator(input) => {
                    // A coordinator that has not begun its epoch hears nothing but that.
                    let ready = self.state.coordinator.machine.is_ready();
                    if ready || matches!(input, c::Input::RecordsForced { .. }) {
                        let effects = self.state.coordinator.change(|node| memo::coordinate(&mut node.machine, input));
                        self.carry_out(effects);
                    }
                }
                Fact::Participant(n, input) => {
                    let effects = self.state.participants[n].change(|node| memo::participate(&mut node.machine, input));
                    self.obey(n, effects);
                }
            }
        }
    }

    /// Carries the coordinator's effects out.
    pub(crate) fn carry_out(&mut self, effects: Vec<c::Effect>) {
        for effect in effects {
            match effect {
                c::Effect::Reply { to, told } => self.note_told(to, &told),
                c::Effect::ReplyInquiry { to, answer } => self.on_inquiry_answered(to, answer),
                c::Effect::Send { to, message } => self.send(number(&to), message),
                c::Effect::Append { number, record, erase, force: _ } => {
                    self.state.coordinator.change(|node| node.queue.push((number, record, erase)));
                    if self.setup.mutant == Some(Mutant::SpeaksBeforeForce) {
                        self.facts.push_back(Fact::Coordinator(c::Input::RecordsForced { upto: number }));
                    }
                }
                c::Effect::SetTimer { timer, .. } => match timer {
                    c::Timer::Silence | c::Timer::Retention => {}
                    c::Timer::Guard(_) if !self.setup.impatient => self.premature = true,
                    c::Timer::Prepare(_)
                    | c::Timer::Resend(_)
                    | c::Timer::Guard(_)
                    | c::Timer::Idle(_)
                    | c::Timer::Total(_) => {
                        self.state.coordinator.change(|node| node.timers.insert(timer));
                    }
                },
                c::Effect::HangUp { name, .. } => self.break_off(number(&name)),
                c::Effect::Stop { .. } => self.state.ledger.broken.stopped = true,
                c::Effect::ReplyBegun { begun, .. } => self.on_begun(&begun),
                c::Effect::ReplyEnlisted { to, answer } => self.on_enlisted(to, answer),
                c::Effect::ReplyRegistered { .. }
                | c::Effect::ReplyRegistry { .. }
                | c::Effect::Dial { .. }
                | c::Effect::Forget { .. }
                | c::Effect::Say { .. } => {}
            }
        }
    }

    fn note_told(&mut self, to: c::ReplyTo, told: &Told) {
        let Ok(transaction) = usize::try_from(to.0) else { return };
        let told_so_far = &mut self.state.ledger.entries[transaction].told;
        match told {
            Told::Outcome { outcome: Outcome::Committed(_), .. } => told_so_far.note(Decision::Commit),
            Told::Outcome { outcome: Outcome::Aborted(_), .. } => told_so_far.note(Decision::Abort),
            Told::Outcome { outcome: Outcome::Forgotten | Outcome::NotFound | Outcome::HeuristicMixed, .. }
            | Told::Pending { .. }
            | Told::Rejected(_) => {}
        }
    }

    fn on_inquiry_answered(&mut self, to: c::ReplyTo, mut answer: InquiryAnswer) {
        let Some((n, xid)) = self.asked.remove(&to) else { return };
        let entry = self.state.ledger.of(xid);
        if self.setup.mutant == Some(Mutant::PresumesTooSoon) && entry.as_ref().is_some_and(|entry| !entry.durable) {
            answer = InquiryAnswer::Decided(Decision::Abort);
        }
        if let (InquiryAnswer::Decided(decision), Some(entry)) = (&answer, entry) {
            entry.said.note(*decision);
        }
        self.facts.push_back(Fact::Participant(n, p::Input::InquiryAnswered { xid, answer }));
    }

    /// Puts an order on its way. Hello arrives at once: nothing else can be on its way over that connection.
    fn send(&mut self, n: usize, message: ToParticipant) {
        match &message.order {
            Order::Hello { .. } => return self.deliver_order(n, false, message),
            Order::Prepare(order) => self.name_transaction(order.xid, &order.task),
            Order::CommitOnePhase(order) => self.name_transaction(order.xid, &order.task),
            Order::Decide { xid, decision, .. } => {
                if let Some(entry) = self.state.ledger.of(*xid) {
                    entry.said.note(*decision);
                }
            }
            Order::Release { .. } | Order::AskOnePhase { .. } => {}
        }
        let link = &mut self.state.links[n];
        if link.connected {
            link.orders.push(Part::new(message));
        }
    }

    fn name_transaction(&mut self, xid: Xid, task: &Task) {
        if let Task::Carried(work) = task {
            self.state.ledger.entries[by_work(work)].xid = Some(xid);
        }
    }

    /// An order arrives. What is `late` gets no answer any more.
    pub(crate) fn deliver_order(&mut self, n: usize, late: bool, mut message: ToParticipant) {
        let stale = self.state.participants[n].is_stale(&message);
        if self.setup.mutant == Some(Mutant::NoFence)
            && let Some(line) = &self.state.participants[n].disk.line
            && message.from.epoch < line.seen.epoch
        {
            (message.from.epoch, message.from.nonce) = (line.seen.epoch, line.seen.nonce);
        }
        if self.setup.mutant == Some(Mutant::AnyIncarnation)
            && let Some(to) = addressee(&mut message.order)
        {
            to.incarnation = self.state.participants[n].identity(n).incarnation;
        }
        let effects = self.state.participants[n].change(|node| {
            let free = (0..).map(p::ReplyTo).find(|token| !node.requests.contains_key(token));
            let reply = free.expect("requests are few");
            node.requests.insert(reply, !late);
            memo::participate(&mut node.machine, p::Input::OrderReceived { reply, message })
        });
        let obeyed = |effect: &p::Effect| !matches!(effect, p::Effect::Reply { answer: Answer::Refused(_), .. });
        if stale && effects.iter().any(obeyed) {
            self.state.ledger.broken.fence = true;
        }
        self.obey(n, effects);
    }

    /// Puts a participant's answer on its way, if the connection still stands.
    pub(crate) fn answer(&mut self, n: usize, to: p::ReplyTo, answer: Answer) {
        if let Answer::Voted { xid, vote } = &answer {
            self.note_vote(n, *xid, vote);
        }
        if let Answer::Acknowledged { xid } = &answer
            && self.state.ledger.of(*xid).is_some_and(|entry| entry.branches[n].effects == 0)
        {
            self.state.ledger.broken.forced_acknowledgements = true;
        }
        let from = self.state.participants[n].identity(n);
        let stands = self.state.participants[n].change(|node| node.requests.remove(&to)).unwrap_or(false);
        if !stands {
            return;
        }
        // Nobody waits for a Received, and nothing else can be on its way with a Welcome.
        let slow = self.setup.slow_answers && !matches!(answer, Answer::Welcome(_) | Answer::Received);
        let message = FromParticipant { from, answer };
        if slow {
            self.state.links[n].answers.push(Part::new(message));
        } else {
            self.facts.push_back(Fact::Coordinator(c::Input::AnswerReceived { name: name(n), message }));
        }
    }

    fn note_vote(&mut self, n: usize, xid: Xid, vote: &Vote) {
        let on_disk = self.state.participants[n].disk.prepared.contains_key(&xid);
        let Some(entry) = self.state.ledger.of(xid) else { return };
        let branch = &mut entry.branches[n];
        match vote {
            Vote::Yes(_) => {
                branch.yes = true;
                let ended = branch.effects > 0 || branch.undone;
                self.state.ledger.broken.forced_votes |= !on_disk && !ended;
            }
            Vote::No(_) => branch.no = true,
            Vote::ReadOnly(_) => {}
        }
    }

    /// A participant in doubt asks, and is answered, if the coordinator can be reached.
    pub(crate) fn inquire(&mut self, n: usize, xid: Xid, members: Vec<handfast_common::ids::Name>) {
        if self.reached.is_some() || !self.state.coordinator.machine.is_ready() {
            return;
        }
        let reply = c::ReplyTo(OTHERS + self.asked.len() as u64);
        self.asked.insert(reply, (n, xid));
        let inquiry = Inquiry { from: self.state.participants[n].identity(n), xid, members };
        self.facts.push_back(Fact::Coordinator(c::Input::DecisionInquired { reply, inquiry }));
    }

    /// The coordinator will hear something.
    pub(crate) fn hear(&mut self, input: c::Input) {
        self.facts.push_back(Fact::Coordinator(input));
    }

    /// The resource manager, or the disk, has something to say.
    pub(crate) fn tell(&mut self, n: usize, input: p::Input) {
        self.facts.push_back(Fact::Participant(n, input));
    }

    /// All that was handed to the log is on disk, and the machine hears of it.
    pub(crate) fn write_log(&mut self) {
        let keep = self.state.coordinator.queue.len();
        let upto = self.state.coordinator.queue.last().map_or(RecordNumber(0), |(number, ..)| *number);
        self.keep_records(keep);
        self.coordinate(c::Input::RecordsForced { upto });
    }

    fn keep_records(&mut self, keep: usize) {
        for (_, record, _) in &self.state.coordinator.queue[..keep] {
            if let c::Record::Commit(commit) = record {
                self.state.ledger.entries[by_key(commit.key)].durable = true;
            }
        }
        self.state.coordinator.change(|node| node.log.change(|log| log.extend(node.queue.drain(..keep))));
    }

    /// The coordinator dies when so many of its writes have reached the disk, and is started again.
    pub(crate) fn crash_coordinator(&mut self, keep: usize) {
        self.state.left.crashes -= 1;
        self.keep_records(keep);
        for n in 0..PARTICIPANTS {
            self.state.cut(n);
        }
        let forgetful = self.setup.mutant == Some(Mutant::ForgetsDecisions);
        self.state.coordinator.change(|node| {
            if forgetful {
                let forgotten = |record: &c::Record| matches!(record, c::Record::Commit(_) | c::Record::End { .. });
                node.log.change(|log| log.retain(|(_, record, _)| !forgotten(record)));
            }
        });
        let node = &self.state.coordinator;
        let started = CoordinatorNode::start(node.starts + 1, (*node.log).clone());
        match started {
            Ok((node, effects)) => {
                self.state.coordinator = Part::new(node);
                self.carry_out(effects);
                if !self.setup.slow_greetings {
                    self.write_log();
                }
            }
            Err(_) => self.state.ledger.broken.stopped = true,
        }
    }

    /// The connection to a participant breaks, and both sides notice.
    pub(crate) fn break_off(&mut self, n: usize) {
        self.state.cut(n);
        self.facts.push_back(Fact::Coordinator(c::Input::PeerDisconnected { name: name(n) }));
    }

    /// The coordinator reaches a participant.
    pub(crate) fn connect(&mut self, n: usize) {
        self.state.links[n].connected = true;
        let idle = self.state.participants[n].queue.is_empty();
        let quiet = !self.state.coordinator.is_awaited();
        self.coordinate(c::Input::PeerConnected { name: name(n) });
        if idle && !self.setup.slow_greetings {
            self.write(n);
            if quiet && self.state.coordinator.is_awaited() {
                self.write_log();
            }
        }
    }
}

impl State {
    /// All nodes have started for the first time, and none has heard of another.
    pub(crate) fn new(setup: &Setup) -> Self {
        let (node, effects) = CoordinatorNode::start(1, Vec::new()).expect("an empty log");
        let mut state = Self {
            coordinator: Part::new(node),
            participants: std::array::from_fn(|n| Part::new(ParticipantNode::new(n))),
            links: Default::default(),
            late: Vec::new(),
            ledger: super::ledger::Ledger::default(),
            left: setup.budget,
        };
        Run::new(setup, &mut state).carry_out(effects);
        state
    }

    /// A copy of an order. What is identical to one of them is that one.
    pub(crate) fn delay(&mut self, to: usize, message: ToParticipant) {
        let part = Part::new(Late { to, message });
        if let Err(at) = self.late.binary_search_by_key(&part.fingerprint(), Part::fingerprint) {
            self.late.insert(at, part);
        }
    }

    /// A connection ends, and what is on it is lost.
    pub(crate) fn cut(&mut self, n: usize) {
        self.links[n] = Link::default();
        self.participants[n].change(|node| node.requests.values_mut().for_each(|stands| *stands = false));
    }
}

impl CoordinatorNode {
    /// A start of the coordinator with what is on disk.
    fn start(starts: u64, log: Vec<super::state::Write>) -> Result<(Self, Vec<c::Effect>), c::RecoveryError> {
        // The machine is built from the records; the node that it is part of is put together after that.
        let last = log.iter().map(|(number, ..)| *number).max().unwrap_or_default();
        let records = super::state::records(&log);
        let (machine, effects) = c::Coordinator::recover(c::Config::default(), LOG, Nonce(starts), records, last)?;
        let timers = std::collections::BTreeSet::new();
        let (machine, log) = (Part::new(machine), Part::new(log));
        Ok((Self { machine, log, queue: Vec::new(), timers, starts }, effects))
    }
}

/// Whom an order is for, where it is for one start only.
fn addressee(order: &mut Order) -> Option<&mut handfast_common::messages::Addressee> {
    match order {
        Order::Prepare(order) => Some(&mut order.to),
        Order::CommitOnePhase(order) => Some(&mut order.to),
        Order::Release { to, .. } | Order::AskOnePhase { to, .. } => Some(to),
        Order::Hello { .. } | Order::Decide { .. } => None,
    }
}

impl ParticipantNode {
    /// Whether an order is of an older epoch than one that was heard of, or for another start.
    fn is_stale(&self, message: &ToParticipant) -> bool {
        let older = self.disk.line.as_ref().is_some_and(|line| message.from.epoch < line.seen.epoch);
        let mut order = message.order.clone();
        let elsewhere = addressee(&mut order).is_some_and(|to| to.incarnation.0 != self.starts);
        older || elsewhere
    }
}
