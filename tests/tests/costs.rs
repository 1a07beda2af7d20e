//! What a transaction costs, counted at the machines' boundary and compared with the published presumed-abort table
//! (Mohan, Lindsay, Obermarck, "Transaction Management in the R* Distributed Database Management System", 1986).
//!
//! Counted are the records that something waits for (forced), the others (lazy), and the protocol's messages. An Abort
//! is answered by the transport with an empty receipt; nobody waits for it and it is not counted.

use std::collections::BTreeMap;

use uuid::Uuid;

use handfast_common::ids::{Age, ContentHash, Incarnation, Key, LogId, Name, Nonce, StoreId, Ticket};
use handfast_common::messages::{
    Answer, BranchWork, FromParticipant, Identity, Micros, OnePhaseResult, Register, Submit, ToParticipant, Told,
};
use handfast_common::outcome::{Outcome, Payload, Reason, ReasonKind, Vote};
use handfast_coordinator::protocol as co;
use handfast_participant::protocol as pa;

/// What one transaction cost. Participants' figures are sums over all branches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Cost {
    coordinator_forced: u32,
    coordinator_lazy: u32,
    prepares_forced: u32,
    commits_before_acknowledgement: u32,
    one_phase_forced: u32,
    messages: u32,
}

const LOG: LogId = LogId(Uuid::from_u128(1));

/// A coordinator and its participants over a network that loses nothing and logs that answer at once.
struct Bench {
    coordinator: co::Coordinator,
    participants: BTreeMap<Name, (pa::Participant, Identity)>,
    cost: Cost,
    told: Vec<Outcome>,
    replies: u64,
    pending: BTreeMap<pa::ReplyTo, Name>,
}

impl Bench {
    fn new(participants: usize) -> Self {
        let (coordinator, effects) = co::Coordinator::recover(
            co::Config::default(),
            LOG,
            Nonce(9),
            Vec::new(),
            handfast_common::ids::RecordNumber(0),
        )
        .expect("an empty log");
        let mut bench = Self {
            coordinator,
            participants: BTreeMap::new(),
            cost: Cost::default(),
            told: Vec::new(),
            replies: 0,
            pending: BTreeMap::new(),
        };
        bench.carry_out(effects);
        for number in 0..participants {
            bench.join(number);
        }
        bench.cost = Cost::default();
        bench
    }

    fn join(&mut self, number: usize) {
        let name = name(number);
        let store = StoreId(Uuid::from_u128(100 + number as u128));
        let incarnation = Incarnation(number as u64);
        let config = pa::Config::new(name.clone(), store, incarnation);
        let (machine, _) = pa::Participant::recover(config, pa::Recovered::default()).expect("an empty store");
        let identity = Identity { name: name.clone(), store, incarnation, sequence: 1, clock: Default::default() };
        self.participants.insert(name.clone(), (machine, identity.clone()));
        let register = Register { from: identity, address: format!("{name}:1"), seen: None };
        self.step(co::Input::ParticipantRegistered { reply: co::ReplyTo(0), register });
        self.step(co::Input::PeerConnected { name });
    }

    /// Runs one transaction; each branch does what its letter says: `w` writes, `r` reads, `n` votes No.
    fn run(&mut self, branches: &str) -> Cost {
        self.cost = Cost::default();
        self.told.clear();
        let branches = branches
            .chars()
            .enumerate()
            .map(|(number, what)| BranchWork { participant: name(number), work: Payload(vec![what as u8]) })
            .collect();
        self.replies += 1;
        let (log, epoch, nonce, sequence) = self.coordinator.standing();
        let request = Submit {
            key: Key(Uuid::from_u128(u128::from(self.replies))),
            ticket: Ticket { log, epoch, nonce, sequence },
            age: None,
            clock: Age(0),
            wait: Micros(1_000_000),
            branches,
        };
        let hash = ContentHash([0; 32]);
        self.step(co::Input::TransactionSubmitted { reply: co::ReplyTo(self.replies), request, hash });
        assert_eq!(self.coordinator.load(), (0, 0), "everything has ended");
        self.cost
    }

    fn step(&mut self, input: co::Input) {
        let effects = self.coordinator.step(input);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<co::Effect>) {
        let mut later = Vec::new();
        for effect in effects {
            match effect {
                co::Effect::Append { number, force, .. } => {
                    *(if force { &mut self.cost.coordinator_forced } else { &mut self.cost.coordinator_lazy }) += 1;
                    later.push(co::Input::RecordsForced { upto: number });
                }
                co::Effect::Send { to, message } => later.extend(self.deliver(&to, message)),
                co::Effect::Reply { told: Told::Outcome { outcome, .. }, .. } => self.told.push(outcome),
                co::Effect::Stop { why } => panic!("{why}"),
                co::Effect::Reply { .. }
                | co::Effect::ReplyBegun { .. }
                | co::Effect::ReplyEnlisted { .. }
                | co::Effect::ReplyRegistry { .. }
                | co::Effect::Say { .. }
                | co::Effect::ReplyRegistered { .. }
                | co::Effect::ReplyInquiry { .. }
                | co::Effect::SetTimer { .. }
                | co::Effect::Dial { .. }
                | co::Effect::HangUp { .. }
                | co::Effect::Forget { .. } => {}
            }
        }
        for input in later {
            self.step(input);
        }
    }

    fn deliver(&mut self, to: &Name, message: ToParticipant) -> Vec<co::Input> {
        self.cost.messages += 1;
        self.replies += 1;
        let reply = pa::ReplyTo(self.replies);
        self.pending.insert(reply, to.clone());
        self.step_participant(to, pa::Input::OrderReceived { reply, message })
    }

    fn step_participant(&mut self, name: &Name, input: pa::Input) -> Vec<co::Input> {
        let (machine, identity) = self.participants.get_mut(name).expect("a participant");
        let effects = machine.step(input);
        let from = identity.clone();
        let mut answers = Vec::new();
        for effect in effects {
            let done = match effect {
                pa::Effect::Reply { answer, .. } => {
                    self.cost.messages += u32::from(answer != Answer::Received);
                    let message = FromParticipant { from: from.clone(), answer };
                    answers.push(co::Input::AnswerReceived { name: name.clone(), message });
                    continue;
                }
                pa::Effect::Prepare { record, work, .. } => {
                    let vote = match work.unwrap_or_default().0.as_slice() {
                        b"w" => Vote::Yes(Payload::default()),
                        b"r" => Vote::ReadOnly(Payload::default()),
                        _ => Vote::No(Reason::new(ReasonKind::CheckFailed, "")),
                    };
                    self.cost.prepares_forced += u32::from(matches!(vote, Vote::Yes(_)));
                    pa::Input::WorkPrepared { xid: record.xid, vote }
                }
                pa::Effect::CommitOnePhase { xid, work, .. } => {
                    let result = if work.unwrap_or_default().0 == b"n" {
                        OnePhaseResult::Aborted(Reason::new(ReasonKind::CheckFailed, ""))
                    } else {
                        self.cost.one_phase_forced += 1;
                        OnePhaseResult::Committed(Payload::default())
                    };
                    pa::Input::OnePhaseEnded { xid, result }
                }
                pa::Effect::Commit { xid } => {
                    self.cost.commits_before_acknowledgement += 1;
                    pa::Input::BranchCommitted { xid, found: true }
                }
                pa::Effect::Abort { xid } => pa::Input::BranchAborted { xid },
                pa::Effect::ForceLine(line) => pa::Input::LineForced { log: line.log },
                pa::Effect::Stop { why } => panic!("{why}"),
                pa::Effect::Cancel { .. }
                | pa::Effect::Release { .. }
                | pa::Effect::NoteLine(_)
                | pa::Effect::Execute { .. }
                | pa::Effect::Enlist { .. }
                | pa::Effect::InquirePeer { .. }
                | pa::Effect::Say { .. }
                | pa::Effect::ReplyExecuted { .. }
                | pa::Effect::ReplyPeer { .. }
                | pa::Effect::Inquire { .. }
                | pa::Effect::SetTimer { .. } => continue,
            };
            answers.extend(self.step_participant(name, done));
        }
        answers
    }
}

fn name(number: usize) -> Name {
    Name::new(format!("p{number}")).expect("a name")
}

#[test]
fn a_committed_transaction_costs_what_the_presumed_abort_table_says() {
    for branches in [2, 3, 8] {
        let cost = Bench::new(branches).run(&"w".repeat(branches));
        let n = branches as u32;
        let published = Cost {
            coordinator_forced: 1,
            coordinator_lazy: 1,
            prepares_forced: n,
            commits_before_acknowledgement: n,
            one_phase_forced: 0,
            messages: 4 * n,
        };
        assert_eq!(cost, published, "{branches} branches");
    }
}

#[test]
fn one_branch_costs_one_force_and_two_messages() {
    let cost = Bench::new(1).run("w");
    let expected = Cost { coordinator_lazy: 1, one_phase_forced: 1, messages: 2, ..Cost::default() };
    assert_eq!(cost, expected);
}

#[test]
fn readers_leave_no_record() {
    // All read: nobody writes anything. 4 messages a branch, where the published table has 2 after the work's own 2.
    let cost = Bench::new(3).run("rrr");
    assert_eq!(cost, Cost { messages: 12, ..Cost::default() });
    // Mixed: the readers cost messages only.
    let cost = Bench::new(3).run("wrw");
    let expected = Cost {
        coordinator_forced: 1,
        coordinator_lazy: 1,
        prepares_forced: 2,
        commits_before_acknowledgement: 2,
        one_phase_forced: 0,
        messages: 12,
    };
    assert_eq!(cost, expected);
}

#[test]
fn aborts_force_nothing_but_prepares_and_are_not_acknowledged() {
    let mut bench = Bench::new(3);
    let cost = bench.run("wwn");
    // Two Prepares were forced before the No; 3 Prepares, 3 votes, 2 Aborts, no acknowledgement.
    assert_eq!(cost, Cost { prepares_forced: 2, messages: 8, ..Cost::default() });
    assert!(matches!(bench.told.as_slice(), [Outcome::Aborted(_)]));

    let cost = Bench::new(1).run("n");
    assert_eq!(cost, Cost { messages: 2, ..Cost::default() });
}
