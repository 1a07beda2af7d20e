//! Arbitrary interleavings of messages, late copies, completions, timers, crashes and restarts of either side, with a
//! coordinator that keeps its own promises. The machine must then never stop, and never go back on a word.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::messages::{ExecuteResult, PeerAnswer, Welcome};
use proptest::prelude::{ProptestConfig, proptest};

use super::model::Model;
use super::*;

mod acts;

use acts::{Act, acts};

/// What the coordinator knows of a transaction. Decisions outlive its restarts; what was open is aborted then.
#[derive(Clone, Debug, Default)]
struct Txn {
    one_phase: bool,
    /// Interactive, and its commit has not come.
    open: bool,
    /// Nobody but its client worked in it.
    exact: bool,
    /// The start that its orders are for, and that its list names.
    to: Option<Incarnation>,
    /// What operations were answered with.
    counted: BTreeMap<u8, ExecuteResult>,
    vote: Option<Vote>,
    decision: Option<Decision>,
    /// It may be forgotten: acknowledged, aborted, or its one-phase outcome is known.
    over: bool,
}

/// Who waits for an answer besides the coordinator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Operation(Xid, u8),
    Peer(Xid),
}

#[derive(Debug)]
struct World {
    machine: Participant,
    model: Model,
    timers: BTreeSet<Timer>,
    inquiries: Vec<Xid>,
    peer_inquiries: Vec<Xid>,
    /// On their way to the coordinator, with the start that sent them.
    enlists: Vec<(Xid, Incarnation)>,
    asking: BTreeMap<ReplyTo, Asked>,
    /// Transactions of which another participant was told that they are aborted.
    told_aborted: BTreeSet<Xid>,
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
            peer_inquiries: Vec::new(),
            enlists: Vec::new(),
            asking: BTreeMap::new(),
            told_aborted: BTreeSet::new(),
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
        let taken = input.clone();
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
                Effect::InquirePeer { xid, .. } => self.peer_inquiries.push(xid),
                Effect::Enlist { xid, .. } => self.enlists.push((xid, self.incarnation())),
                Effect::ReplyExecuted { to, result } => self.check_operation(to, result),
                Effect::ReplyPeer { to, answer } => self.check_peer(to, answer),
                Effect::Say { .. } => {}
                other => panic!("{other:?} after {taken:?}"),
            }
        }
    }

    /// An operation has one result; a branch that can't go on gives none.
    fn check_operation(&mut self, to: ReplyTo, result: ExecuteResult) {
        let Some(Asked::Operation(xid, number)) = self.asking.remove(&to) else { panic!("no operation {to:?}") };
        if matches!(result, ExecuteResult::Done(_) | ExecuteResult::Failed(_)) {
            let incarnation = self.incarnation();
            let txn = self.txn(xid);
            assert_eq!(txn.to, Some(incarnation), "it ran in a branch that is on no list");
            assert_eq!(*txn.counted.entry(number).or_insert_with(|| result.clone()), result);
        }
    }

    /// Another participant carries out what it is told.
    fn check_peer(&mut self, to: ReplyTo, answer: PeerAnswer) {
        let Some(Asked::Peer(xid)) = self.asking.remove(&to) else { panic!("no question {to:?}") };
        match answer {
            PeerAnswer::Decided(Decision::Commit) => assert_eq!(self.txn(xid).decision, Some(Decision::Commit)),
            PeerAnswer::Decided(Decision::Abort) => drop(self.told_aborted.insert(xid)),
            PeerAnswer::CantSay(_) => {}
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
                let ran = self.model.ran.get(xid);
                assert!(ran.is_none_or(|ran| *ran >= self.txns[xid].counted.len()), "lost operations of {xid:?}");
            }
            Answer::Released { xid, held: true } => {
                // Held until this step, or said so before, or not needed after its vote.
                let held = locks.contains(xid) || self.released.contains(&(incarnation, *xid));
                assert!(held || self.txns[xid].exact);
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

    fn restart_coordinator(&mut self) {
        self.epoch += 1;
        self.greeted = None;
        for txn in self.txns.values_mut().filter(|txn| !txn.one_phase && txn.decision.is_none()) {
            (txn.decision, txn.over, txn.open) = (Some(Decision::Abort), true, false);
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
        self.asking.clear();
        self.inquiries.clear();
        self.peer_inquiries.clear();
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
            while !self.enlists.is_empty() {
                self.act(Act::AnswerEnlist(0), true);
            }
            for timer in std::mem::take(&mut self.timers) {
                self.step(Input::TimerFired(timer), true);
            }
            while !self.inquiries.is_empty() {
                self.answer_inquiry(0);
            }
        }
        assert_eq!(self.open, BTreeMap::new(), "a request without a reply");
        assert_eq!(self.asking, BTreeMap::new(), "an operation or a question without an answer");
        assert!(self.model.open.is_empty(), "{:?}", self.model);
        assert!(self.model.disk.prepared.is_empty() && self.model.held.is_empty(), "{:?}", self.model);
        assert!(self.presumed.is_disjoint(&self.model.disk.committed), "done behind the coordinator's back");
        for (xid, txn) in &self.txns {
            assert!(txn.over, "{xid:?} {txn:?}");
            let committed = txn.decision == Some(Decision::Commit);
            assert!(!committed || !self.told_aborted.contains(xid), "{xid:?}: two verdicts");
            let updated = txn.decision == Some(Decision::Commit) && matches!(txn.vote, Some(Vote::Yes(_)));
            assert!(txn.one_phase || updated == self.model.disk.committed.contains(xid), "{xid:?} {txn:?}");
        }
        self.step(Input::StampReceived(self.stamp()), true);
        assert_eq!(self.machine.branches().count(), 0, "what the mark has passed is forgotten");
        assert!(self.machine.keys.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

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
