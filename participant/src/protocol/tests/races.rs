//! f25: an open branch raced, in every order that chance finds, against its commit, its abort, its limits and a restart of
//! its coordinator. One verdict comes out, every request has its answer, and nothing is left.

use std::collections::{BTreeMap, BTreeSet};

use handfast_common::messages::{Enlisted, ExecuteResult};

use super::interactive::{accepted, one_phase_ran, operation, prepare_ran};
use super::model::Model;
use super::*;

const RACES: u64 = 10_000;

/// Chance that can be had again: splitmix64, by S. Vigna.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// Below `sides`.
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }
}

/// One race about one branch.
struct Race {
    seed: u64,
    dice: Dice,
    p: Participant,
    store: Model,
    asked: BTreeSet<ReplyTo>,
    verdicts: BTreeSet<String>,
    /// Operations that were answered, and with what.
    results: BTreeMap<ReplyTo, ExecuteResult>,
    yes: bool,
}

impl Race {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            dice: Dice(seed),
            p: greeted(),
            store: Model::default(),
            asked: BTreeSet::new(),
            verdicts: BTreeSet::new(),
            results: BTreeMap::new(),
            yes: false,
        }
    }

    fn step(&mut self, input: Input) {
        if let Input::OrderReceived { reply, .. } | Input::OperationReceived { reply, .. } = &input {
            self.asked.insert(*reply);
        }
        for effect in self.p.step(input) {
            if self.store.take(&effect) {
                continue;
            }
            match effect {
                Effect::ReplyExecuted { to, result } => {
                    assert!(self.asked.remove(&to), "seed {}: two answers to {to:?}", self.seed);
                    self.results.insert(to, result);
                }
                Effect::Reply { to, answer } => {
                    assert!(self.asked.remove(&to), "seed {}: two answers to {to:?}", self.seed);
                    self.hear(&answer);
                }
                Effect::SetTimer { .. } | Effect::Enlist { .. } | Effect::Inquire { .. } => {}
                other => panic!("seed {}: {other:?}", self.seed),
            }
        }
    }

    fn hear(&mut self, answer: &Answer) {
        match answer {
            Answer::Voted { vote, .. } => {
                self.yes |= matches!(vote, Vote::Yes(_));
                self.verdicts.insert(format!("{vote:?}"));
            }
            Answer::OnePhaseEnded { result, .. } => drop(self.verdicts.insert(format!("{result:?}"))),
            _ => {}
        }
    }

    /// Takes all that is to come, and what the resource manager owes, in an order that chance picks: rather as it stands,
    /// or hardly anything would ever come to its vote.
    fn run(&mut self, mut to_come: Vec<Input>) {
        while !to_come.is_empty() || !self.store.is_idle() {
            let stays = to_come.len().max(1);
            let which = self.dice.roll(stays).min(self.dice.roll(stays)).min(self.dice.roll(stays));
            if !to_come.is_empty() && self.dice.roll(2) == 0 {
                let input = to_come.remove(which);
                self.step(input);
            } else if let (which, how) = (self.dice.roll(8), self.dice.roll(256))
                && let Some(input) = self.store.end_one(which, u8::try_from(how).unwrap())
            {
                self.step(input);
            }
        }
    }
}

fn order(reply: u64, from: &Stamp, order: Order) -> Input {
    Input::OrderReceived { reply: ReplyTo(reply), message: ToParticipant { from: from.clone(), order } }
}

/// What races: operations and answers to enlisting, one way to end, and limits.
fn racers(dice: &mut Dice, x: Xid) -> Vec<Input> {
    let answer = |answer| Input::EnlistAnswered { xid: x, answer };
    let operations = dice.roll(3) as u64 + 1;
    let mut racers: Vec<Input> = (1..=operations)
        .map(|n| Input::OperationReceived { reply: ReplyTo(n), execute: operation(x, n, "op") })
        .collect();
    racers.push(Input::OperationReceived { reply: ReplyTo(10), execute: operation(x, 1, "op") });
    racers.extend((0..dice.roll(4)).map(|_| answer(accepted())));
    let counted = if dice.roll(3) == 0 { dice.roll(3) as u64 } else { operations };
    let end = match dice.roll(5) {
        0 | 1 => Some(prepare_ran(x, counted, dice.roll(2) == 0)),
        2 => Some(one_phase_ran(x, counted)),
        3 => Some(ask(x)),
        _ => None,
    };
    // The same order twice, as a copy.
    racers.extend(end.into_iter().flat_map(|end| [order(20, &stamp(1), end.clone()), order(21, &stamp(1), end)]));
    for _ in 0..dice.roll(3) {
        racers.push(match dice.roll(6) {
            0 => Input::TimerFired(Timer::LockWait(x)),
            1 => Input::TimerFired(Timer::Enlist(x)),
            2 => answer(Enlisted::Over(no(ReasonKind::Expired))),
            3 => answer(Enlisted::NotYet),
            4 => Input::CoordinatorLost { log: LOG },
            _ => order(50 + racers.len() as u64, &stamp(2), hello()),
        });
    }
    racers
}

#[test]
fn f25_ten_thousand_races_of_enlisting_and_working_against_every_end_leave_one_verdict_and_nothing_else() {
    let x = xid(1);
    let (mut yes, mut committed, mut lost) = (0, 0, 0);
    for seed in 0..RACES {
        let mut race = Race::new(seed);
        let to_come = racers(&mut race.dice, x);
        // An abort may race, too, unless the commit is of the kind that knows none.
        let two_phase = !to_come.iter().any(|input| {
            let one = |order: &Order| matches!(order, Order::CommitOnePhase(_) | Order::AskOnePhase { .. });
            matches!(input, Input::OrderReceived { message, .. } if one(&message.order))
        });
        let aborts = two_phase && race.dice.roll(2) == 0;
        let mut all = to_come;
        if aborts {
            all.push(order(40, &stamp(1), abort(x)));
        }
        race.run(all);
        // The decision, by whichever start of the coordinator speaks now.
        let epoch = race.p.seen(LOG).unwrap().epoch.0;
        let now = Stamp { mark: mark(0), ..stamp(epoch) };
        let commits = two_phase && race.yes && !aborts && state(&race.p, x) == Some("in-doubt");
        if two_phase {
            race.run(vec![order(41, &now, if commits { commit(x) } else { abort(x) })]);
        } else {
            race.run(vec![order(42, &now, ask(x))]);
        }
        assert!(race.verdicts.len() <= 1, "seed {seed}: {:?}", race.verdicts);
        assert_eq!(race.asked, BTreeSet::new(), "seed {seed}: no answer");
        let disk = &race.store.disk;
        assert!(race.store.open.is_empty() && race.store.held.is_empty(), "seed {seed}: {:?}", race.store);
        assert!(disk.prepared.is_empty(), "seed {seed}: {:?}", race.store);
        if two_phase {
            assert_eq!(disk.committed.contains(&x), commits, "seed {seed}");
        }
        let is_answered = |to| matches!(race.results.get(&to), Some(ExecuteResult::Done(_) | ExecuteResult::Failed(_)));
        lost += u64::from(is_answered(ReplyTo(1)) && !disk.committed.contains(&x));
        (yes, committed) = (yes + u64::from(race.yes), committed + u64::from(disk.committed.contains(&x)));
        // The mark passes: nothing is remembered.
        race.step(Input::StampReceived(Stamp { mark: mark(2), ..now }));
        assert_eq!(race.p.branches().count(), 0, "seed {seed}");
    }
    assert!(yes > 300 && committed > 300 && lost > 1_000, "{yes} {committed} {lost}: the races are too one-sided");
}
