//! Arbitrary interleavings of messages, late copies, completions, timers, crashes and restarts of either side, with a
//! coordinator that keeps its own promises. The machine must then never stop, and never go back on a word.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::messages::{InquiryAnswer, Welcome};
use proptest::prelude::*;

use super::model::Model;
use super::*;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Act {
    Prepare,
    OnePhase,
    /// Decide, or release, whichever the vote of one of the open transactions allows.
    Decide(u8, Decision),
    Ask(u8),
    Hello,
    /// A copy of any message that was ever sent: f26.
    Again(u16),
    Register,
    EndJob(u8, u8),
    Fire(u8),
    AnswerInquiry(u8),
    LoseConnection,
    RestartCoordinator,
    CrashParticipant(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Prepare),
        4 => Just(Act::OnePhase),
        6 => (any::<u8>(), any::<bool>()).prop_map(|(n, yes)| {
            Act::Decide(n, if yes { Decision::Commit } else { Decision::Abort })
        }),
        2 => any::<u8>().prop_map(Act::Ask),
        2 => Just(Act::Hello),
        8 => any::<u16>().prop_map(Act::Again),
        1 => Just(Act::Register),
        14 => (any::<u8>(), any::<u8>()).prop_map(|(n, how)| Act::EndJob(n, how)),
        3 => any::<u8>().prop_map(Act::Fire),
        3 => any::<u8>().prop_map(Act::AnswerInquiry),
        1 => Just(Act::LoseConnection),
        1 => Just(Act::RestartCoordinator),
        1 => any::<u32>().prop_map(Act::CrashParticipant),
    ]
}

/// What happens, whether a message sent by it arrives at once, and whether the answers are heard.
fn acts() -> impl Strategy<Value = Vec<(Act, bool, bool)>> {
    prop::collection::vec((act(), prop::bool::weighted(0.8), prop::bool::weighted(0.8)), 1..150)
}

/// What the coordinator knows of a transaction. Decisions outlive its restarts; what was open is aborted then.
#[derive(Clone, Debug, Default)]
struct Txn {
    one_phase: bool,
    vote: Option<Vote>,
    decision: Option<Decision>,
    /// It may be forgotten: acknowledged, aborted, or its one-phase outcome is known.
    over: bool,
}

#[derive(Debug)]
struct World {
    machine: Participant,
    model: Model,
    timers: BTreeSet<Timer>,
    inquiries: Vec<Xid>,
    /// Requests without a reply, by the epoch they were sent in.
    open: BTreeMap<ReplyTo, u64>,
    replies: u64,
    /// Whether what is sent arrives now, or perhaps later, as a copy.
    arrives: bool,
    epoch: u64,
    /// The epoch whose Welcome was heard last, and all epochs that were on disk.
    welcomed: Epoch,
    entered: BTreeSet<Epoch>,
    /// The incarnation that answered Hello in this epoch.
    greeted: Option<Incarnation>,
    txns: BTreeMap<Xid, Txn>,
    sent: Vec<ToParticipant>,
    votes: BTreeMap<(Incarnation, Xid), Vote>,
    released: BTreeSet<(Incarnation, Xid)>,
    /// One-phase commits of older epochs that Welcome did not report: the client has been told "aborted".
    presumed: BTreeSet<Xid>,
    results: BTreeMap<Xid, (Incarnation, OnePhaseResult)>,
}

impl World {
    fn new() -> Self {
        let (machine, _) = Participant::recover(config(), Recovered::default()).unwrap();
        Self {
            machine,
            model: Model::default(),
            timers: BTreeSet::new(),
            inquiries: Vec::new(),
            open: BTreeMap::new(),
            replies: 0,
            arrives: true,
            epoch: 1,
            welcomed: Epoch(0),
            entered: BTreeSet::new(),
            greeted: None,
            txns: BTreeMap::new(),
            sent: Vec::new(),
            votes: BTreeMap::new(),
            released: BTreeSet::new(),
            presumed: BTreeSet::new(),
            results: BTreeMap::new(),
        }
    }

    fn incarnation(&self) -> Incarnation {
        self.machine.config().incarnation
    }

    fn stamp(&self) -> Stamp {
        let open = self.txns.iter().find(|(_, txn)| !txn.over).map(|(xid, _)| xid.txn);
        let next = xid_of(self.epoch, self.txns.len() as u64).txn;
        let decisions = self.txns.values().filter(|txn| txn.decision == Some(Decision::Commit)).count() as u64;
        let mark = Mark { low: open.unwrap_or(next), except: vec![] };
        Stamp { decisions, mark, clock: Age(self.replies), ..stamp(self.epoch) }
    }

    fn send(&mut self, order: Order, heard: bool) {
        let message = ToParticipant { from: self.stamp(), order };
        self.sent.push(message.clone());
        if self.arrives {
            self.deliver(message, heard);
        }
    }

    fn deliver(&mut self, message: ToParticipant, heard: bool) {
        self.replies += 1;
        let reply = ReplyTo(self.replies);
        self.open.insert(reply, message.from.epoch.0);
        self.step(Input::OrderReceived { reply, message }, heard);
    }

    fn step(&mut self, input: Input, heard: bool) {
        let line = format!("{input:?}");
        let held = self.model.held.clone();
        self.entered.extend(self.model.disk.line.as_ref().map(|line| line.seen.epoch));
        let effects = self.machine.step(input);
        for effect in &effects {
            if self.model.take(effect) {
                continue;
            }
            match effect.clone() {
                Effect::Reply { to, answer } => {
                    let epoch = self.open.remove(&to).expect("one reply to each request");
                    self.check(&answer, Epoch(epoch), &held);
                    if heard && epoch == self.epoch {
                        self.hear(answer);
                    }
                }
                Effect::Inquire { xid, .. } => self.inquiries.push(xid),
                Effect::SetTimer { timer, .. } => drop(self.timers.insert(timer)),
                Effect::InquirePeer { .. } | Effect::Say { .. } => {}
                other => panic!("{other:?} after {line}"),
            }
        }
    }

    /// What is said is true, and the same as before.
    fn check(&mut self, answer: &Answer, epoch: Epoch, locks: &BTreeSet<Xid>) {
        let incarnation = self.incarnation();
        let disk = &self.model.disk;
        match answer {
            Answer::Voted { xid, vote } => {
                assert_eq!(self.votes.entry((incarnation, *xid)).or_insert_with(|| vote.clone()), vote);
                assert!(!matches!(vote, Vote::Yes(_)) || disk.ever_prepared.contains(xid), "Yes before the force");
            }
            Answer::Released { xid, held: true } => {
                // Held until this step, or said so before.
                assert!(locks.contains(xid) || self.released.contains(&(incarnation, *xid)));
                self.released.insert((incarnation, *xid));
            }
            Answer::Acknowledged { xid } => assert!(disk.committed.contains(xid), "acknowledged before it is durable"),
            Answer::OnePhaseEnded { xid, result } => {
                // The reason of an abort may be forgotten with the start that gave it; that it was one may not.
                let told = self.results.entry(*xid).or_insert_with(|| (incarnation, result.clone()));
                if told.0 == incarnation || matches!(told.1, OnePhaseResult::Committed(_)) {
                    assert_eq!(told.1, *result);
                }
                assert_eq!(matches!(result, OnePhaseResult::Committed(_)), disk.committed.contains(xid));
            }
            Answer::Welcome(_) => assert_eq!(disk.line.as_ref().map(|line| line.seen.epoch), Some(epoch)),
            Answer::Released { held: false, .. } | Answer::Received | Answer::Refused(_) => {}
        }
    }

    /// The coordinator's side of it.
    fn hear(&mut self, answer: Answer) {
        match answer {
            Answer::Voted { xid, vote } => self.txn(xid).vote = Some(vote),
            Answer::Acknowledged { xid } => self.txn(xid).over = true,
            Answer::Released { xid, held } => {
                let txn = self.txn(xid);
                txn.decision.get_or_insert(if held { Decision::Commit } else { Decision::Abort });
                txn.over = true;
            }
            Answer::OnePhaseEnded { xid, .. } => self.txn(xid).over = true,
            Answer::Welcome(Welcome { seen, unconfirmed, complete, .. }) => {
                // t08b: whatever was seen since one was heard, however many were lost.
                for epoch in self.entered.range(self.welcomed..Epoch(self.epoch)) {
                    assert!(seen.iter().any(|seen| seen.epoch == *epoch), "{epoch:?} was seen and is not told");
                }
                self.welcomed = Epoch(self.epoch);
                assert!(complete);
                self.greeted = Some(self.incarnation());
                let done: BTreeSet<Xid> = unconfirmed.iter().map(|one| one.xid).collect();
                let epoch = Epoch(self.epoch);
                for (xid, txn) in &mut self.txns {
                    // What an older epoch began and is not reported did not happen, and never will.
                    if txn.one_phase && !txn.over && xid.txn.epoch() < epoch {
                        assert_eq!(done.contains(xid), self.model.disk.committed.contains(xid), "{xid:?}");
                        if !done.contains(xid) {
                            self.presumed.insert(*xid);
                        }
                        let told_done = matches!(self.results.get(xid), Some((_, OnePhaseResult::Committed(_))));
                        assert!(!told_done || done.contains(xid), "{xid:?} was told committed and is not reported");
                        txn.over = true;
                    }
                }
            }
            Answer::Received | Answer::Refused(_) => {}
        }
    }

    fn txn(&mut self, xid: Xid) -> &mut Txn {
        self.txns.get_mut(&xid).expect("only of what was begun")
    }

    fn begin(&mut self, one_phase: bool) -> Xid {
        let xid = xid_of(self.epoch, self.txns.len() as u64);
        self.txns.insert(xid, Txn { one_phase, ..Txn::default() });
        xid
    }

    fn pick(&self, which: u8, wanted: impl Fn(&Xid, &Txn) -> bool) -> Option<(Xid, Txn)> {
        let all: Vec<_> = self.txns.iter().filter(|(xid, txn)| wanted(xid, txn)).collect();
        (!all.is_empty()).then(|| all[usize::from(which) % all.len()]).map(|(xid, txn)| (*xid, txn.clone()))
    }

    fn act(&mut self, act: Act, heard: bool) {
        match (act, self.greeted) {
            (Act::Prepare, Some(incarnation)) => {
                let xid = self.begin(false);
                let Order::Prepare(order) = prepare(xid) else { unreachable!() };
                self.send(Order::Prepare(Prepare { to: Addressee { incarnation, ..to() }, ..order }), heard);
            }
            (Act::OnePhase, Some(incarnation)) => {
                let xid = self.begin(true);
                let Order::CommitOnePhase(order) = one_phase(xid, xid.txn.0.as_u128()) else { unreachable!() };
                self.send(Order::CommitOnePhase(OnePhase { to: Addressee { incarnation, ..to() }, ..order }), heard);
            }
            (Act::Decide(which, wish), Some(incarnation)) => {
                let Some((xid, txn)) = self.pick(which, |_, txn| !txn.one_phase) else { return };
                self.decide(xid, &txn, wish, incarnation, heard);
            }
            (Act::Ask(which), Some(incarnation)) => {
                let epoch = Epoch(self.epoch);
                let open = |xid: &Xid, txn: &Txn| txn.one_phase && !txn.over && xid.txn.epoch() == epoch;
                let Some((xid, _)) = self.pick(which, open) else { return };
                self.send(Order::AskOnePhase { to: Addressee { incarnation, ..to() }, xid }, heard);
            }
            (Act::Prepare | Act::OnePhase | Act::Decide(..) | Act::Ask(_) | Act::Hello, _) => self.send(hello(), heard),
            (Act::Again(which), _) => {
                if !self.sent.is_empty() {
                    self.deliver(self.sent[usize::from(which) % self.sent.len()].clone(), heard);
                }
            }
            (Act::Register, _) => self.step(Input::StampReceived(self.stamp()), heard),
            (Act::EndJob(which, how), _) => {
                if let Some(input) = self.model.end_one(which.into(), how) {
                    self.step(input, heard);
                }
            }
            (Act::Fire(which), _) => {
                let timer = self.timers.iter().nth(usize::from(which) % self.timers.len().max(1)).copied();
                if let Some(timer) = timer {
                    self.timers.remove(&timer);
                    self.step(Input::TimerFired(timer), heard);
                }
            }
            (Act::AnswerInquiry(which), _) => self.answer_inquiry(which.into()),
            (Act::LoseConnection, _) => self.step(Input::CoordinatorLost { log: LOG }, heard),
            (Act::RestartCoordinator, _) => self.restart_coordinator(),
            (Act::CrashParticipant(luck), _) => self.crash_participant(luck),
        }
    }

    fn decide(&mut self, xid: Xid, txn: &Txn, wish: Decision, incarnation: Incarnation, heard: bool) {
        let to = Addressee { incarnation, ..to() };
        let decision = match (txn.decision, &txn.vote) {
            (Some(decision), _) => decision,
            // Committing takes Released first, from the start that voted.
            (None, Some(Vote::ReadOnly(_))) if wish == Decision::Commit => {
                return self.send(Order::Release { to, xid }, heard);
            }
            (None, Some(Vote::Yes(_))) => wish,
            (None, _) => Decision::Abort,
        };
        if matches!(txn.vote, Some(Vote::ReadOnly(_))) && decision == Decision::Commit {
            return;
        }
        let txn = self.txn(xid);
        txn.decision = Some(decision);
        txn.over |= decision == Decision::Abort;
        self.send(Order::Decide { to, xid, decision }, heard);
    }

    fn answer_inquiry(&mut self, which: usize) {
        if self.inquiries.is_empty() {
            return;
        }
        let xid = self.inquiries.swap_remove(which % self.inquiries.len());
        let answer = self.txn(xid).decision.map_or(InquiryAnswer::Undecided, InquiryAnswer::Decided);
        self.step(Input::InquiryAnswered { xid, answer }, true);
    }

    fn restart_coordinator(&mut self) {
        self.epoch += 1;
        self.greeted = None;
        for txn in self.txns.values_mut().filter(|txn| !txn.one_phase && txn.decision.is_none()) {
            (txn.decision, txn.over) = (Some(Decision::Abort), true);
        }
        self.send(hello(), true);
    }

    fn crash_participant(&mut self, luck: u32) {
        let recovered = self.model.crash(luck);
        let config = Config { incarnation: Incarnation(self.incarnation().0 + 1), ..config() };
        let (machine, effects) = Participant::recover(config, recovered).unwrap();
        self.machine = machine;
        let in_doubt: Vec<Xid> =
            self.machine.branches().filter(|branch| branch.state == "in-doubt").map(|branch| branch.xid).collect();
        assert_eq!(in_doubt, self.model.disk.prepared.keys().copied().collect::<Vec<_>>());
        self.open.clear();
        self.inquiries.clear();
        self.timers = effects
            .into_iter()
            .map(|effect| match effect {
                Effect::SetTimer { timer, .. } => timer,
                other => panic!("{other:?}"),
            })
            .collect();
        self.greeted = None;
    }

    /// The last fault has healed: everything ends.
    fn settle(&mut self) {
        self.arrives = true;
        for round in 0..4 {
            while !self.model.is_idle() {
                self.act(Act::EndJob(0, 0), true);
            }
            self.send(hello(), true);
            while !self.model.is_idle() {
                self.act(Act::EndJob(0, 0), true);
            }
            assert!(self.greeted.is_some());
            for (xid, txn) in self.txns.clone() {
                if txn.one_phase && !txn.over {
                    self.send(
                        Order::AskOnePhase { to: Addressee { incarnation: self.incarnation(), ..to() }, xid },
                        true,
                    );
                } else if !txn.one_phase && (!txn.over || round == 0) {
                    self.decide(xid, &txn, Decision::Abort, self.incarnation(), true);
                }
            }
            for timer in std::mem::take(&mut self.timers) {
                self.step(Input::TimerFired(timer), true);
            }
            while !self.inquiries.is_empty() {
                self.answer_inquiry(0);
            }
        }
        assert_eq!(self.open, BTreeMap::new(), "a request without a reply");
        assert!(self.model.disk.prepared.is_empty() && self.model.held.is_empty(), "{:?}", self.model);
        assert!(self.presumed.is_disjoint(&self.model.disk.committed), "done behind the coordinator's back");
        for (xid, txn) in &self.txns {
            assert!(txn.over, "{xid:?} {txn:?}");
            let updated = txn.decision == Some(Decision::Commit) && matches!(txn.vote, Some(Vote::Yes(_)));
            assert!(txn.one_phase || updated == self.model.disk.committed.contains(xid), "{xid:?} {txn:?}");
        }
        self.step(Input::StampReceived(self.stamp()), true);
        assert_eq!(self.machine.branches().count(), 0, "what the mark has passed is forgotten");
        assert!(self.machine.keys.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn f26_any_order_of_anything_any_number_of_times(acts in acts()) {
        let mut world = World::new();
        for (act, arrives, heard) in acts {
            world.arrives = arrives;
            world.act(act, heard);
        }
        world.settle();
    }
}

/// f26, without chance: every message of a transaction's life, again after every later one.
#[test]
fn f26_every_message_again_at_every_later_time() {
    let scripts: [&[Act]; 4] = [
        &[Act::Hello, Act::Prepare, Act::Decide(0, Decision::Commit)],
        &[Act::Hello, Act::Prepare, Act::Decide(0, Decision::Abort)],
        &[Act::Hello, Act::OnePhase, Act::Ask(0)],
        &[Act::Hello, Act::Prepare, Act::RestartCoordinator, Act::Decide(0, Decision::Abort)],
    ];
    for script in scripts {
        for how in 0..6 {
            let mut world = World::new();
            for act in script {
                world.act(*act, true);
                for ended in [false, true] {
                    for copy in 0..world.sent.len() as u16 {
                        world.act(Act::Again(copy), true);
                        world.act(Act::Again(copy), true);
                    }
                    if !ended {
                        world.act(Act::EndJob(0, how), true);
                    }
                }
            }
            world.settle();
        }
    }
}
