//! Hostile peers against the pure machines: anything that can be decoded, in any order, between what belongs there. A
//! machine may refuse, abort or stop with a reason; it never panics, answers nothing twice, and never takes what its own
//! side did for a broken contract.
//!
//! Peers that are only slow or forgetful are in the rooms of the machines: `any_order.rs` there.

use std::collections::BTreeSet;

use handfast_common::ids::{ContentHash, Epoch, Incarnation, Name, Nonce, RecordNumber, StoreId, TxnId, Xid};
use handfast_common::messages::{
    Addressee, Answer, FromParticipant, Identity, Mark, OnePhaseResult, Order, Register, Seen, Stamp,
};
use handfast_common::outcome::{Decision, Payload, Reason, Vote};
use handfast_coordinator::protocol as coordinator;
use handfast_coordinator::protocol::Coordinator;
use handfast_participant::protocol as participant;
use handfast_participant::protocol::{Participant, Recovered};
use handfast_participant::resource::Execution;
use uuid::Uuid;

use crate::arbitrary::{Counts, Dice, LOG, STORE, runs};

const RUNS: u64 = 400;
/// Steps of a run.
const STEPS: usize = 600;
/// Starts of the coordinator in a run, one after the other.
const ERAS: usize = 3;
/// Transactions of each that are spoken of.
const SEQUENCES: usize = 30;
/// Identities that are remembered for later draws.
const KNOWN: usize = 64;

fn name(number: u64) -> Name {
    Name::new(format!("p{number}")).expect("a name")
}

/// Transactions of the coordinator under test, so that what is said of them meets.
fn know_transactions(dice: &mut Dice) {
    for epoch in 0..4 {
        for sequence in 0..2 {
            dice.known.push(TxnId::new(LOG, Epoch(epoch), sequence, Nonce(epoch)).0);
        }
    }
}

/// Most transactions that are spoken of are ones that there can be.
fn aim(dice: &mut Dice, xid: &mut Xid) {
    if !dice.one_in(4) {
        let epoch = dice.era();
        let txn = TxnId::new(LOG, Epoch(epoch), dice.below(SEQUENCES) as u64, Nonce(epoch));
        *xid = Xid { log: LOG, txn, nonce: Nonce(epoch) };
    }
}

/// What was asked and not answered, and what was voted.
#[derive(Default)]
struct Replies {
    last: u64,
    open: BTreeSet<u64>,
    /// Branches that may be told to commit: for any other one a participant stops, as it should.
    yes: Vec<Xid>,
}

impl Replies {
    fn expect(&mut self) -> u64 {
        self.last += 1;
        self.open.insert(self.last);
        self.last
    }

    fn answered(&mut self, number: u64) {
        assert!(self.open.remove(&number), "answer {number} was given twice, or never asked for");
    }
}

#[test]
fn f5_hostile_coordinators_and_clients_do_not_break_a_participant() {
    let mut counts = Counts::default();
    for mut dice in runs(RUNS) {
        know_transactions(&mut dice);
        let own = Addressee { name: name(1), store: STORE, incarnation: Incarnation(1) };
        let config = participant::Config::new(own.name.clone(), own.store, own.incarnation);
        let (mut machine, _) = Participant::recover(config, Recovered::default()).expect("nothing to recover");
        let (mut replies, mut pending) = (Replies::default(), Vec::new());
        for step in 0..STEPS {
            dice.era = (step * ERAS / STEPS) as u64;
            let input = if !pending.is_empty() && dice.one_in(2) {
                counts.add("things done", 1);
                pending.swap_remove(dice.below(pending.len()))
            } else {
                said_to_participant(&mut dice, &own, machine.seen(LOG), &mut replies)
            };
            let shown = format!("{input:?}");
            let mut stopped = false;
            for effect in machine.step(input) {
                stopped |= matches!(effect, participant::Effect::Stop { .. });
                carry_out(&mut dice, effect, &shown, &mut replies, &mut pending);
            }
            if stopped {
                counts.add("stops", 1);
                break;
            }
        }
    }
    counts.check(RUNS, &[("things done", 3_000), ("stops", 10)]);
}

fn said_to_participant(
    dice: &mut Dice,
    own: &Addressee,
    seen: Option<Seen>,
    replies: &mut Replies,
) -> participant::Input {
    use participant::{Input, ReplyTo};
    match dice.below(12) {
        0..=5 => {
            let mut message: handfast_common::messages::ToParticipant = dice.value();
            aim_stamp(dice, &mut message.from);
            if let Order::Hello { after, .. } = &mut message.order
                && !dice.one_in(6)
            {
                *after = seen;
            }
            aim_order(dice, own, &replies.yes, &mut message.order);
            Input::OrderReceived { reply: ReplyTo(replies.expect()), message }
        }
        6 | 7 => {
            let mut execute: handfast_common::messages::Execute = dice.value();
            aim(dice, &mut execute.xid);
            if !dice.one_in(4) {
                execute.to = own.name.clone();
            }
            Input::OperationReceived { reply: ReplyTo(replies.expect()), execute }
        }
        8 => {
            let mut inquiry: handfast_common::messages::PeerInquiry = dice.value();
            aim(dice, &mut inquiry.xid);
            if !dice.one_in(4) {
                inquiry.to = own.clone();
            }
            Input::PeerInquired { reply: ReplyTo(replies.expect()), inquiry }
        }
        9 => {
            let mut xid = dice.value();
            aim(dice, &mut xid);
            match dice.below(3) {
                0 => Input::PeerAnswered { xid, from: dice.value(), answer: dice.value() },
                1 => Input::InquiryAnswered { xid, answer: dice.value() },
                _ => Input::EnlistAnswered { xid, answer: dice.value() },
            }
        }
        10 => Input::CoordinatorLost { log: LOG },
        _ => {
            let mut stamp = dice.value();
            aim_stamp(dice, &mut stamp);
            Input::StampReceived(stamp)
        }
    }
}

/// Most is said by one of a few starts: after the first highest one nobody else would be heard.
fn aim_stamp(dice: &mut Dice, stamp: &mut Stamp) {
    if !dice.one_in(200) {
        let epoch = dice.era();
        (stamp.log, stamp.epoch, stamp.nonce) = (LOG, Epoch(epoch), Nonce(epoch));
        stamp.mark = Mark { low: TxnId::new(LOG, Epoch(0), 0, Nonce(0)), except: Vec::new() };
    }
}

/// Most orders are for whom they reach.
fn aim_order(dice: &mut Dice, own: &Addressee, yes: &[Xid], order: &mut Order) {
    let commits = matches!(order, Order::Decide { decision: Decision::Commit, .. });
    if dice.one_in(if commits { 200 } else { 6 }) {
        return;
    }
    match order {
        Order::Hello { name, .. } => *name = own.name.clone(),
        Order::Prepare(prepare) => {
            prepare.to = own.clone();
            aim(dice, &mut prepare.xid);
        }
        Order::CommitOnePhase(one) => {
            one.to = own.clone();
            aim(dice, &mut one.xid);
        }
        Order::Decide { to, xid, decision: decision @ Decision::Commit } => {
            *to = own.clone();
            match yes.get(dice.below(yes.len().max(1))) {
                Some(voted) => *xid = *voted,
                None => *decision = Decision::Abort,
            }
        }
        Order::Release { to, xid } | Order::Decide { to, xid, .. } | Order::AskOnePhase { to, xid } => {
            *to = own.clone();
            aim(dice, xid);
        }
    }
}

/// The resource manager and the log keep their contracts: each thing asked for ends once, in any order.
fn carry_out(
    dice: &mut Dice,
    effect: participant::Effect,
    after: &str,
    replies: &mut Replies,
    pending: &mut Vec<participant::Input>,
) {
    use participant::{Effect, Input};
    match effect {
        Effect::Reply { to, .. } | Effect::ReplyExecuted { to, .. } | Effect::ReplyPeer { to, .. } => {
            replies.answered(to.0);
        }
        Effect::Execute { xid, .. } => {
            let execution = match dice.below(4) {
                0 => Execution::Doomed(dice.value()),
                1 => Execution::Failed(dice.value()),
                _ => Execution::Done(Payload(dice.bytes(8))),
            };
            pending.push(Input::OperationEnded { xid, execution });
        }
        Effect::Prepare { record, .. } => {
            let (xid, vote) = (record.xid, dice.value());
            if matches!(vote, Vote::Yes(_)) {
                replies.yes.push(xid);
            }
            pending.push(Input::WorkPrepared { xid, vote });
        }
        Effect::CommitOnePhase { xid, .. } => {
            let aborted = |reason: Reason| OnePhaseResult::Aborted(reason);
            let result =
                if dice.one_in(2) { aborted(dice.value()) } else { OnePhaseResult::Committed(Payload(dice.bytes(8))) };
            pending.push(Input::OnePhaseEnded { xid, result });
        }
        Effect::Commit { xid } => pending.push(Input::BranchCommitted { xid, found: true }),
        Effect::Abort { xid } => pending.push(Input::BranchAborted { xid }),
        Effect::ForceLine(line) => pending.push(Input::LineForced { log: line.log }),
        Effect::SetTimer { timer, .. } if dice.one_in(3) => pending.push(Input::TimerFired(timer)),
        Effect::Stop { why } => {
            assert!(!why.contains("breaks its contract") && !why.contains("unexpected"), "{why} after {after}");
        }
        Effect::SetTimer { .. }
        | Effect::Cancel { .. }
        | Effect::Release { .. }
        | Effect::NoteLine(_)
        | Effect::Enlist { .. }
        | Effect::Inquire { .. }
        | Effect::InquirePeer { .. }
        | Effect::Say { .. } => {}
    }
}

#[test]
fn f5_hostile_participants_and_clients_do_not_break_a_coordinator() {
    let mut counts = Counts::default();
    for mut dice in runs(RUNS) {
        know_transactions(&mut dice);
        let (mut replies, mut pending) = (Replies::default(), Vec::new());
        let config = coordinator::Config { retention_count: 8, ..coordinator::Config::default() };
        let nothing = (Vec::new(), RecordNumber(0));
        let (mut machine, effects) =
            Coordinator::recover(config, LOG, Nonce(1), nothing.0, nothing.1).expect("nothing to recover");
        let mut begun = Vec::new();
        for effect in effects {
            assert!(!carried_out(&mut dice, effect, &mut replies, &mut begun), "it stops at its start");
        }
        begun.drain(..).for_each(|input| drop(machine.step(input)));
        for number in 1..=3 {
            let register = Register { from: identity(number), address: format!("host:{number}"), seen: None };
            let reply = coordinator::ReplyTo(replies.expect());
            pending.push(coordinator::Input::ParticipantRegistered { reply, register });
            pending.push(coordinator::Input::PeerConnected { name: name(number) });
        }
        for _ in 0..STEPS {
            let input = if !pending.is_empty() && dice.one_in(2) {
                pending.swap_remove(dice.below(pending.len()))
            } else {
                said_to_coordinator(&mut dice, &mut replies)
            };
            let mut stopped = false;
            for effect in machine.step(input) {
                counts.add("records", u64::from(matches!(effect, coordinator::Effect::Append { .. })));
                stopped |= carried_out(&mut dice, effect, &mut replies, &mut pending);
            }
            if stopped {
                counts.add("stops", 1);
                break;
            }
        }
    }
    counts.check(RUNS, &[("records", 2_000), ("stops", 10)]);
}

fn identity(number: u64) -> Identity {
    let store = StoreId(Uuid::from_u128(u128::from(number) + 1));
    Identity { name: name(number), store, incarnation: Incarnation(1), sequence: 0, clock: Default::default() }
}

fn said_to_coordinator(dice: &mut Dice, replies: &mut Replies) -> coordinator::Input {
    use coordinator::{Input, ReplyTo};
    let number = 1 + dice.below(3) as u64;
    let mut reply = || ReplyTo(replies.expect());
    match dice.below(20) {
        0..=7 => {
            let mut message: FromParticipant = dice.value();
            // A refusal stops the machine, as it should: a run would be over at once.
            while matches!(message.answer, Answer::Refused(_)) && !dice.one_in(60) {
                message = dice.value();
            }
            if !dice.one_in(5) {
                message.from = identity(number);
            }
            Input::AnswerReceived { name: name(number), message }
        }
        8 | 9 => Input::TransactionSubmitted {
            reply: reply(),
            request: dice.value(),
            hash: ContentHash::of(&[&dice.bytes(1)]),
        },
        10 => Input::OutcomeAsked { reply: reply(), question: dice.value() },
        11 => Input::BeginRequested { reply: reply(), begin: dice.value() },
        12 => Input::CommitRequested { reply: reply(), commit: dice.value() },
        13 => Input::RollbackRequested { reply: reply(), xid: dice.value() },
        14 => Input::BranchEnlisted { reply: reply(), enlist: dice.value() },
        15 if dice.one_in(4) => Input::RegistryOrdered { reply: reply(), order: dice.value() },
        15 => Input::SpaceChanged { room: dice.one_in(2) },
        16 => {
            let mut register: Register = dice.value();
            // So does one that has seen what this coordinator has not.
            register.seen = register.seen.filter(|_| dice.one_in(60));
            Input::ParticipantRegistered { reply: reply(), register }
        }
        17 => Input::DecisionInquired { reply: reply(), inquiry: dice.value() },
        18 if dice.one_in(3) => Input::PeerDisconnected { name: name(number) },
        _ => Input::PeerConnected { name: name(number) },
    }
}

/// The log keeps its contract, and timers fire. True when the machine stops.
fn carried_out(
    dice: &mut Dice,
    effect: coordinator::Effect,
    replies: &mut Replies,
    pending: &mut Vec<coordinator::Input>,
) -> bool {
    use coordinator::{Effect, Input};
    match effect {
        Effect::Reply { to, .. }
        | Effect::ReplyBegun { to, .. }
        | Effect::ReplyEnlisted { to, .. }
        | Effect::ReplyRegistry { to, .. }
        | Effect::ReplyRegistered { to, .. }
        | Effect::ReplyInquiry { to, .. } => replies.answered(to.0),
        Effect::Append { number, .. } => pending.push(Input::RecordsForced { upto: number }),
        Effect::SetTimer { timer, .. } if dice.one_in(3) => pending.push(Input::TimerFired(timer)),
        Effect::Send { message, .. } => remember(dice, &message.order),
        Effect::Stop { .. } => return true,
        Effect::SetTimer { .. }
        | Effect::Dial { .. }
        | Effect::HangUp { .. }
        | Effect::Forget { .. }
        | Effect::Say { .. } => {}
    }
    false
}

/// What the machine speaks of is spoken of to it.
fn remember(dice: &mut Dice, order: &Order) {
    let xid = match order {
        Order::Prepare(prepare) => prepare.xid,
        Order::CommitOnePhase(one) => one.xid,
        Order::Release { xid, .. } | Order::Decide { xid, .. } | Order::AskOnePhase { xid, .. } => *xid,
        Order::Hello { .. } => return,
    };
    if dice.known.len() < KNOWN {
        dice.known.push(xid.txn.0);
    }
}
