//! Enlisting raced against commit, rollback, time, questions and restarts, in 10,000 random orders (f25): one verdict, no
//! branch left behind, and none that a commit missed.

use std::collections::BTreeSet;

use handfast_common::messages::{Enlist, Enlisted, OnePhaseResult};

use super::prefixes::Dice;
use super::*;

/// A participant's branch, as far as the race needs it.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    Nothing,
    /// Its operation ran, locks are held. By which start.
    Open(u64),
    /// Voted Yes.
    Prepared,
    /// The decision has come.
    Over(bool),
}

/// What is under way; any of it may arrive next.
#[derive(Clone, Debug)]
enum Sent {
    ToCoordinator(Input),
    Answer(u64, FromParticipant),
    Order(u64, Order),
    /// The answer to `n`'s enlisting, made by this start of it.
    Enlisted(u64, u64, Enlisted),
    Restart(u64),
    Force,
}

struct Race {
    bench: Bench,
    dice: Dice,
    under_way: Vec<Sent>,
    held: BTreeMap<u64, Held>,
    /// Whether work was lost with a start of a participant.
    lost: bool,
    /// What anybody was told.
    verdicts: BTreeSet<bool>,
    enlisting: BTreeMap<ReplyTo, (u64, u64)>,
    replies: u64,
}

const PARTICIPANTS: u64 = 3;

impl Race {
    fn new(bench: &Bench, seed: u64) -> Self {
        let held = (1..=PARTICIPANTS).map(|n| (n, Held::Nothing)).collect();
        let (under_way, verdicts) = (Vec::new(), BTreeSet::new());
        let (bench, enlisting) = (bench.clone(), BTreeMap::new());
        Self { bench, dice: Dice(seed), under_way, held, lost: false, verdicts, enlisting, replies: 1_000 }
    }

    fn incarnation(&self, n: u64) -> u64 {
        self.bench.players[&name(n)].incarnation
    }

    fn send(&mut self, input: Input) {
        self.under_way.push(Sent::ToCoordinator(input));
    }

    fn enlist(&mut self, n: u64) {
        self.replies += 1;
        let reply = ReplyTo(self.replies);
        self.enlisting.insert(reply, (n, self.incarnation(n)));
        let enlist = Enlist { from: self.bench.identity(n), xid: xid(1), active: true };
        self.send(Input::BranchEnlisted { reply, enlist });
    }

    fn start(&mut self) {
        let effects = self.bench.begin(1);
        self.hear(effects);
        for n in 1..=PARTICIPANTS {
            for _ in 0..self.dice.below(3) {
                self.enlist(n);
            }
        }
        let counts: Vec<(u64, u64)> = (1..=PARTICIPANTS).filter(|_| self.dice.one_in(6)).map(|n| (n, 1)).collect();
        let commit = self.bench.commit_of(1, &counts, self.dice.one_in(2));
        self.send(Input::CommitRequested { reply: ReplyTo(1), commit });
        if self.dice.one_in(4) {
            self.send(Input::RollbackRequested { reply: ReplyTo(2), xid: xid(1) });
        }
        if self.dice.one_in(4) {
            let question = AskOutcome { key: key(1), ticket: Some(ticket(1, 0)), participants: Vec::new() };
            self.send(Input::OutcomeAsked { reply: ReplyTo(3), question });
        }
        for timer in [Timer::Idle(txn(1)), Timer::Total(txn(1)), Timer::Prepare(txn(1))] {
            if self.dice.one_in(4) {
                self.send(Input::TimerFired(timer));
            }
        }
        if self.dice.one_in(4) {
            self.under_way.push(Sent::Restart(1 + self.dice.below(PARTICIPANTS)));
        }
    }

    fn hear(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Reply { told: Told::Outcome { outcome, .. }, .. } => {
                    self.verdicts.insert(matches!(outcome, Outcome::Committed(_)));
                }
                Effect::Send { to, message } => {
                    let n = (1..=PARTICIPANTS).find(|n| name(*n) == to).expect("a participant");
                    // An abort is said once, and may be lost.
                    let abort = matches!(message.order, Order::Decide { decision: Decision::Abort, .. });
                    if !abort || !self.dice.one_in(3) {
                        self.under_way.push(Sent::Order(n, message.order));
                    }
                }
                Effect::ReplyEnlisted { to, answer } => {
                    let (n, incarnation) = self.enlisting.remove(&to).expect("asked once");
                    self.under_way.push(Sent::Enlisted(n, incarnation, answer));
                }
                Effect::Append { force: true, .. } => self.under_way.push(Sent::Force),
                Effect::Stop { why } => panic!("{why}"),
                _ => {}
            }
        }
    }

    /// One of the things that are under way arrives.
    fn arrive(&mut self) {
        let which = self.dice.below(self.under_way.len() as u64) as usize;
        match self.under_way.swap_remove(which) {
            Sent::ToCoordinator(input) => {
                let effects = self.bench.give(input);
                self.hear(effects);
            }
            Sent::Answer(n, message) => {
                // What an older start said goes down with its connection.
                if message.from.incarnation.0 == self.incarnation(n) {
                    let effects = self.bench.give(Input::AnswerReceived { name: name(n), message });
                    self.hear(effects);
                }
            }
            Sent::Force => {
                let effects = self.bench.force();
                self.hear(effects);
            }
            Sent::Restart(n) => self.restart(n),
            Sent::Enlisted(n, incarnation, answer) => {
                if incarnation == self.incarnation(n) {
                    self.on_enlisted(n, &answer);
                }
            }
            Sent::Order(n, order) => self.on_order(n, &order),
        }
    }

    fn restart(&mut self, n: u64) {
        self.bench.players.get_mut(&name(n)).expect("joined").incarnation += 1;
        if matches!(self.held[&n], Held::Open(_)) {
            self.held.insert(n, Held::Nothing);
            self.lost = true;
        }
        let effects = self.bench.disconnect(n);
        self.hear(effects);
        let effects = self.bench.connect(n);
        self.hear(effects);
        let effects = self.bench.welcome(n);
        self.hear(effects);
    }

    fn on_enlisted(&mut self, n: u64, answer: &Enlisted) {
        match (answer, &self.held[&n]) {
            (Enlisted::Accepted { .. }, Held::Nothing) => {
                self.held.insert(n, Held::Open(self.incarnation(n)));
            }
            (Enlisted::Over(_), Held::Open(_)) => {
                self.held.insert(n, Held::Over(false));
            }
            (Enlisted::NotYet, Held::Nothing) if self.dice.one_in(2) => self.enlist(n),
            _ => {}
        }
    }

    fn on_order(&mut self, n: u64, order: &Order) {
        let own = self.bench.who(n);
        let open = self.held[&n] == Held::Open(own.incarnation.0);
        let answer = match order {
            Order::Prepare(order) if order.to == own => {
                let vote = if open || self.held[&n] == Held::Prepared { yes() } else { no(ReasonKind::Lost) };
                self.held.insert(n, if vote == yes() { Held::Prepared } else { Held::Over(false) });
                Answer::Voted { xid: xid(1), vote }
            }
            Order::CommitOnePhase(order) if order.to == own => self.decide_alone(n, open),
            Order::AskOnePhase { .. } => self.decide_alone(n, false),
            Order::Decide { decision: Decision::Commit, .. } => {
                assert_ne!(self.held[&n], Held::Over(false), "a Commit for what was given up");
                self.held.insert(n, Held::Over(true));
                Answer::Acknowledged { xid: xid(1) }
            }
            Order::Decide { decision: Decision::Abort, .. } => {
                assert_ne!(self.held[&n], Held::Over(true), "an Abort of what was committed");
                self.held.insert(n, Held::Over(false));
                return;
            }
            Order::Prepare(_) | Order::CommitOnePhase(_) | Order::Hello { .. } | Order::Release { .. } => return,
        };
        let message = FromParticipant { from: self.bench.identity(n), answer };
        self.under_way.push(Sent::Answer(n, message));
    }

    fn decide_alone(&mut self, n: u64, open: bool) -> Answer {
        let commits = open || self.held[&n] == Held::Over(true);
        self.held.insert(n, Held::Over(commits));
        let result = if commits {
            OnePhaseResult::Committed(Payload::default())
        } else {
            OnePhaseResult::Aborted(Reason::new(ReasonKind::Lost, ""))
        };
        Answer::OnePhaseEnded { xid: xid(1), result }
    }

    /// Nothing goes wrong any more: whoever holds something reports or asks, until nobody does.
    fn heal(&mut self) {
        for _ in 0..10 {
            while !self.under_way.is_empty() {
                self.arrive();
            }
            for timer in [Timer::Idle(txn(1)), Timer::Prepare(txn(1)), Timer::Resend(txn(1))] {
                self.send(Input::TimerFired(timer));
            }
            while !self.under_way.is_empty() {
                self.arrive();
            }
            let effects = self.bench.force();
            self.hear(effects);
            for n in 1..=PARTICIPANTS {
                match self.held[&n] {
                    Held::Open(_) => self.enlist(n),
                    Held::Prepared => {
                        let effects = self.bench.inquire(n, xid(1), &[1, 2, 3]);
                        if let [Effect::ReplyInquiry { answer: InquiryAnswer::Decided(decision), .. }] = effects[..] {
                            self.held.insert(n, Held::Over(decision == Decision::Commit));
                        }
                    }
                    Held::Nothing | Held::Over(_) => {}
                }
            }
        }
    }
}

#[test]
fn f25_enlisting_raced_against_commit_abort_and_timeout_gives_one_verdict_and_leaves_no_branch() {
    let base = Bench::with(PARTICIPANTS);
    let mut committed = 0;
    for seed in 0..10_000 {
        let mut race = Race::new(&base, seed);
        race.start();
        while !race.under_way.is_empty() {
            race.arrive();
        }
        race.heal();
        let machine = &race.bench.machine;
        assert!(machine.live.is_empty(), "seed {seed}: {:?}", machine.live);
        assert_eq!((machine.undecided, machine.open), (0, 0), "seed {seed}");
        assert_eq!(race.verdicts.len(), 1, "seed {seed}: two verdicts");
        let commits = race.verdicts.contains(&true);
        committed += u64::from(commits);
        let held: Vec<&Held> = race.held.values().filter(|held| **held != Held::Nothing).collect();
        assert!(held.iter().all(|held| matches!(held, Held::Over(_))), "seed {seed}: {held:?}");
        // Whoever did something and was not told otherwise before the commit came has its part in it.
        assert!(commits || !held.contains(&&Held::Over(true)), "seed {seed}: aborted, but {held:?}");
        assert!(!commits || !held.contains(&&Held::Over(false)), "seed {seed}: committed, but {held:?}");
        assert!(!commits || !race.lost, "seed {seed}: committed, but work was lost (t10a)");
    }
    assert!((1_000..9_000).contains(&committed), "a race that always ends alike: {committed}");
}
