//! A coordinator on a bench: its log, the participants that the tests play, and a check of every step.

use super::*;

/// A participant as the tests play it.
#[derive(Clone, Debug)]
pub(super) struct Player {
    pub(super) store: StoreId,
    pub(super) incarnation: u64,
    pub(super) sequence: u64,
}

/// A coordinator with its log and the participants it knows.
#[derive(Clone, Debug)]
pub(super) struct Bench {
    pub(super) machine: Coordinator,
    pub(super) config: Config,
    pub(super) epoch: u64,
    /// All writes of the log in order: record, and what it erases.
    pub(super) writes: Vec<(RecordNumber, Record, Vec<RecordNumber>)>,
    pub(super) forced: RecordNumber,
    pub(super) players: BTreeMap<Name, Player>,
}

impl Bench {
    /// A ready coordinator in its first epoch, without participants.
    pub(super) fn alone(config: Config) -> Self {
        let (machine, effects) =
            Coordinator::recover(config.clone(), LOG, Nonce(101), Vec::new(), RecordNumber(0)).expect("an empty log");
        let mut bench =
            Self { machine, config, epoch: 1, writes: Vec::new(), forced: RecordNumber(0), players: BTreeMap::new() };
        bench.check(&effects);
        bench.force();
        bench
    }

    /// The same with participants `p1` to `pn`, registered and welcomed.
    pub(super) fn with(n: u64) -> Self {
        Self::with_config(n, Config::default())
    }

    pub(super) fn with_config(n: u64, config: Config) -> Self {
        let mut bench = Self::alone(config);
        for i in 1..=n {
            bench.join(i);
        }
        bench
    }

    pub(super) fn join(&mut self, n: u64) {
        self.players.insert(name(n), Player { store: store(n), incarnation: 1, sequence: 0 });
        let register = Register { from: self.identity(n), address: format!("host:{n}"), seen: None };
        self.give(Input::ParticipantRegistered { reply: ReplyTo(0), register });
        self.force();
        self.connect(n);
        self.welcome(n);
    }

    pub(super) fn identity(&self, n: u64) -> Identity {
        let player = &self.players[&name(n)];
        let incarnation = Incarnation(player.incarnation);
        Identity { name: name(n), store: player.store, incarnation, sequence: player.sequence, clock: Age(0) }
    }

    pub(super) fn who(&self, n: u64) -> Addressee {
        let Identity { name, store, incarnation, .. } = self.identity(n);
        Addressee { name, store, incarnation }
    }

    /// One step, with the log kept and the order of force and speech checked.
    pub(super) fn give(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.machine.step(input);
        self.check(&effects);
        effects
    }

    pub(super) fn check(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Append { number, record, erase, .. } => {
                    let last = self.writes.last().map(|(number, _, _)| *number).unwrap_or_default();
                    assert!(*number > last, "record numbers grow");
                    self.writes.push((*number, record.clone(), erase.clone()));
                }
                Effect::Reply {
                    told: Told::Outcome { txn: Some(txn), outcome: Outcome::Committed(_), .. }, ..
                } => {
                    self.check_forced(*txn);
                }
                Effect::Send {
                    message: ToParticipant { order: Order::Decide { xid, decision: Decision::Commit, .. }, .. },
                    ..
                } => assert!(self.check_forced(xid.txn), "a Commit is told that no record says"),
                Effect::Send { message, .. } => {
                    assert!(message.from.decisions <= self.highest_forced(), "an unforced decision number is told");
                }
                Effect::ReplyInquiry { answer: InquiryAnswer::Decided(Decision::Commit), .. }
                | Effect::Reply { .. }
                | Effect::ReplyBegun { .. }
                | Effect::ReplyEnlisted { .. }
                | Effect::ReplyRegistry { .. }
                | Effect::Say { .. }
                | Effect::ReplyRegistered { .. }
                | Effect::ReplyInquiry { .. }
                | Effect::SetTimer { .. }
                | Effect::Dial { .. }
                | Effect::HangUp { .. }
                | Effect::Forget { .. }
                | Effect::Stop { .. } => {}
            }
        }
    }

    /// f02: a transaction with a Commit record is spoken of as committed only when that record is on disk.
    pub(super) fn check_forced(&self, txn: TxnId) -> bool {
        let record =
            self.writes.iter().find(|(_, record, _)| matches!(record, Record::Commit(_)) && record.txn() == Some(txn));
        if let Some((number, ..)) = record {
            assert!(*number <= self.forced, "{txn} was told committed before its record was forced");
        }
        record.is_some()
    }

    pub(super) fn highest_forced(&self) -> u64 {
        let forced = self.writes.iter().filter(|(number, ..)| *number <= self.forced);
        let decisions = forced.map(|(_, record, _)| match record {
            Record::Commit(commit) => commit.decision,
            Record::Epoch { decisions, .. } | Record::Floor { decisions, .. } => *decisions,
            Record::Participant(_)
            | Record::End { .. }
            | Record::OnePhase(_)
            | Record::Tick { .. }
            | Record::Operator { .. } => 0,
        });
        decisions.max().unwrap_or(0)
    }

    /// Everything handed to the log so far is on disk.
    pub(super) fn force(&mut self) -> Vec<Effect> {
        self.forced = self.writes.last().map(|(number, _, _)| *number).unwrap_or_default();
        self.give(Input::RecordsForced { upto: self.forced })
    }

    pub(super) fn connect(&mut self, n: u64) -> Vec<Effect> {
        self.give(Input::PeerConnected { name: name(n) })
    }

    pub(super) fn disconnect(&mut self, n: u64) -> Vec<Effect> {
        self.give(Input::PeerDisconnected { name: name(n) })
    }

    pub(super) fn answer(&mut self, n: u64, answer: Answer) -> Vec<Effect> {
        let message = FromParticipant { from: self.identity(n), answer };
        self.give(Input::AnswerReceived { name: name(n), message })
    }

    pub(super) fn welcome(&mut self, n: u64) -> Vec<Effect> {
        self.answer(
            n,
            Answer::Welcome(Welcome { seen: Vec::new(), unconfirmed: Vec::new(), complete: true, remembers: true }),
        )
    }

    /// Participant `n` is restarted and dialled again: its new start is forced into the registry before anything else.
    /// What follows from that.
    pub(super) fn come_back(&mut self, n: u64) -> Vec<Effect> {
        self.disconnect(n);
        self.players.get_mut(&name(n)).expect("joined").incarnation += 1;
        self.connect(n);
        let effects = self.welcome(n);
        let written =
            |effect: &Effect| matches!(effect, Effect::Append { record: Record::Participant(_), force: true, .. });
        assert!(matches!(&effects[..], [only] if written(only)), "{effects:?}");
        self.force()
    }

    pub(super) fn vote(&mut self, n: u64, t: u64, vote: Vote) -> Vec<Effect> {
        self.answer(n, Answer::Voted { xid: xid_of(self.epoch, t), vote })
    }

    pub(super) fn acknowledge(&mut self, n: u64, xid: Xid) -> Vec<Effect> {
        self.answer(n, Answer::Acknowledged { xid })
    }

    pub(super) fn timer(&mut self, timer: Timer) -> Vec<Effect> {
        self.give(Input::TimerFired(timer))
    }

    pub(super) fn ask(&mut self, question: AskOutcome) -> Vec<Effect> {
        self.give(Input::OutcomeAsked { reply: ReplyTo(9), question })
    }

    pub(super) fn inquire(&mut self, n: u64, xid: Xid, members: &[u64]) -> Vec<Effect> {
        let members = members.iter().map(|n| name(*n)).collect();
        let inquiry = Inquiry { from: self.identity(n), xid, members };
        self.give(Input::DecisionInquired { reply: ReplyTo(8), inquiry })
    }

    /// A request with key and hash `k`, for these participants.
    pub(super) fn request(&self, k: u64, participants: &[u64]) -> Submit {
        let branches =
            participants.iter().map(|n| BranchWork { participant: name(*n), work: payload("work") }).collect();
        let ticket = ticket(self.epoch, self.machine.standing().3);
        Submit { key: key(k), ticket, age: None, clock: Age(0), wait: Micros(5_000_000), branches }
    }

    /// Submits transaction `k` with key and hash `k`; waits as `ReplyTo(k)`.
    pub(super) fn submit(&mut self, k: u64, participants: &[u64]) -> Vec<Effect> {
        let request = self.request(k, participants);
        self.give(Input::TransactionSubmitted { reply: ReplyTo(k), request, hash: hash(k) })
    }

    /// Runs a transaction over `participants` to its end: all Yes, forced, acknowledged.
    pub(super) fn run(&mut self, k: u64, participants: &[u64]) {
        self.submit(k, participants);
        let (_, _, _, t) = self.machine.standing();
        for n in participants {
            self.vote(*n, t, yes());
        }
        self.force();
        for n in participants {
            self.acknowledge(*n, xid_of(self.epoch, t));
        }
    }

    /// The records that a restart would find, if the log ended after `writes` of them.
    pub(super) fn prefix(&self, writes: usize) -> Vec<Numbered> {
        let mut found = BTreeMap::new();
        for (number, record, erase) in &self.writes[..writes] {
            found.insert(*number, record.clone());
            for erased in erase {
                assert!(found.remove(erased).is_some(), "record {} is erased twice", erased.0);
            }
        }
        found.into_iter().collect()
    }

    /// Dies, losing what was not forced (`keep_all`: nothing is lost), and starts again in the next epoch. Nobody is
    /// connected then.
    pub(super) fn restart(&mut self, keep_all: bool) -> Vec<Effect> {
        let kept = self.writes.iter().filter(|(number, ..)| keep_all || *number <= self.forced).count();
        let records = self.prefix(kept);
        self.writes.truncate(kept);
        let last = self.writes.last().map(|(number, _, _)| *number).unwrap_or_default();
        self.epoch += 1;
        let nonce = Nonce(100 + self.epoch);
        let (machine, effects) =
            Coordinator::recover(self.config.clone(), LOG, nonce, records, last).expect("the log is sound");
        self.machine = machine;
        self.check(&effects);
        self.force()
    }

    /// What the coordinator says of itself, given its highest forced decision, its mark and its clock.
    pub(super) fn stamp(&self, decisions: u64, low: TxnId, clock: u64) -> Stamp {
        let mark = Mark { low, except: Vec::new() };
        Stamp { log: LOG, epoch: Epoch(self.epoch), nonce: Nonce(100 + self.epoch), decisions, mark, clock: Age(clock) }
    }
}
