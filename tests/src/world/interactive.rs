//! Clients of interactive transactions: a plan of steps, and how far each of those who work in it has come.

use std::collections::BTreeMap;

use handfast_common::ids::{Age, Key, Name, Ticket, Xid};
use handfast_common::messages::{Begin, Commit, Count, Execute, ExecuteResult, Micros, OperationId};

use super::client::Known;
use super::dice::Dice;
use super::wish::Wish;

/// How a client means to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Commits, and goes on until it knows.
    Commit,
    /// Commits once and is gone.
    CommitAndVanish,
    /// Rolls back.
    Rollback,
    /// Is gone without a word.
    Vanish,
}

/// An interactive transaction, as its client sees it.
#[derive(Clone, Debug)]
pub struct Interactive {
    /// Its key.
    pub key: Key,
    /// Where the coordinator stood when it was first sent.
    pub ticket: Ticket,
    /// Once it is open.
    pub xid: Option<Xid>,
    /// Who works in it: the client, and perhaps a service that it calls.
    pub callers: Vec<Caller>,
    /// How it is meant to end.
    pub end: End,
    /// Whether the client waits for the service before it ends. If not, the service's operations may come late.
    pub waits: bool,
    /// Whether it commits before the last of its own operations is answered. A good client never does.
    pub hasty: bool,
    /// Its commit once it was sent, the same on every resend.
    pub commit: Option<Commit>,
    /// When an operation of it last arrived anywhere.
    pub touched: u64,
    /// Whether it was told Committed and, in a later epoch, Aborted: nothing of it may have taken effect.
    pub flipped: bool,
    /// Whether its process is gone.
    pub gone: bool,
    /// What came of it.
    pub known: Known,
    begin: Begin,
}

/// Somebody who works in it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What it does, one after the other.
    pub steps: Vec<Step>,
    /// Which of them is next, or under way.
    pub at: usize,
    /// How often it will still send something again.
    pub patience: u32,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where.
    pub to: Name,
    /// What.
    pub wish: Wish,
    /// The first answer to it.
    pub heard: Option<Heard>,
}

/// What a caller hears of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Done.
    Done,
    /// It did nothing.
    Failed,
    /// The branch is lost.
    Doomed,
}

impl Interactive {
    /// Draws one over some of `names`.
    pub(super) fn draw(dice: &mut Dice, names: &[Name], key: Key, ticket: Ticket) -> Self {
        let reads_only = dice.one_in(5);
        let clean = dice.below(3) > 0;
        let mut callers = Vec::new();
        for _ in 0..1 + u64::from(dice.one_in(3)) {
            let steps = (0..dice.below(5)).map(|_| {
                let to = names[usize::try_from(dice.below(names.len() as u64)).unwrap_or(0)].clone();
                let wish = match dice.below(16) {
                    _ if reads_only => Wish::Read,
                    0 if !clean => Wish::Doom,
                    1 | 2 if !clean => Wish::Refuse,
                    0..=5 => Wish::Read,
                    _ => Wish::Write,
                };
                Step { to, wish, heard: None }
            });
            let steps = steps.collect();
            callers.push(Caller { steps, at: 0, patience: 2 + u32::try_from(dice.below(12)).unwrap_or(0) });
        }
        let end = match dice.below(16) {
            0 => End::Vanish,
            1 => End::CommitAndVanish,
            2 | 3 => End::Rollback,
            _ => End::Commit,
        };
        let clock = if dice.one_in(10) { Age(dice.below(10_000)) } else { Age(0) };
        let age = dice.one_in(8).then(|| Age(dice.below(50)));
        let begin = Begin { key, ticket, age, clock, total: Micros(dice.between(500, 6_000) * 1_000) };
        let (waits, hasty) = (!dice.one_in(3), dice.one_in(10));
        Self {
            key,
            ticket,
            xid: None,
            callers,
            end,
            waits,
            hasty,
            commit: None,
            touched: 0,
            flipped: false,
            gone: false,
            known: Known::Open,
            begin,
        }
    }

    /// What opens it.
    #[must_use]
    pub fn begin(&self) -> Begin {
        self.begin.clone()
    }

    /// Everybody that it may work at.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        let mut names: Vec<Name> = self.steps().map(|step| step.to.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// All steps of all callers.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.callers.iter().flat_map(|caller| &caller.steps)
    }

    /// Whether nothing was changed, as far as those who work in it know: then there may be no record of its commit (t20).
    #[must_use]
    pub fn has_only_read(&self) -> bool {
        !self.steps().any(|step| step.heard == Some(Heard::Done) && step.wish == Wish::Write)
    }

    /// Whether its client has nothing more to do before it ends.
    #[must_use]
    pub fn is_through(&self) -> bool {
        let through = |caller: &Caller| caller.at >= caller.steps.len();
        if self.waits { self.callers.iter().all(through) } else { through(&self.callers[0]) }
    }

    /// Whether the client itself has heard that it can't commit.
    #[must_use]
    pub fn is_doomed(&self) -> bool {
        self.callers[0].steps.iter().any(|step| step.heard == Some(Heard::Doomed))
    }

    /// The operation behind a step.
    #[must_use]
    pub fn execute(&self, caller: usize, step: usize) -> Option<Execute> {
        let Step { to, wish, .. } = &self.callers[caller].steps[step];
        Some(Execute {
            to: to.clone(),
            xid: self.xid?,
            coordinator: "coordinator".to_owned(),
            operation: OperationId { caller: caller as u64, number: step as u64 + 1 },
            wait: Micros(1_000_000),
            clock: Age(0),
            work: wish.operation(self.key, caller, step),
        })
    }

    /// The commit: it counts what the client knows to be answered. Nobody else's operations, unless it waited for them.
    pub fn freeze(&mut self) -> Option<Commit> {
        let xid = self.xid?;
        let counted = if self.waits { self.callers.len() } else { 1 };
        let mut counts: BTreeMap<&Name, u64> = BTreeMap::new();
        for step in self.callers[..counted].iter().flat_map(|caller| &caller.steps) {
            if matches!(step.heard, Some(Heard::Done | Heard::Failed)) {
                *counts.entry(&step.to).or_default() += 1;
            }
        }
        let counts =
            counts.into_iter().map(|(name, operations)| Count { participant: name.clone(), operations }).collect();
        let shared = self.callers.len() > 1;
        let commit = Commit { xid, counts, shared, wait: Micros(5_000_000) };
        Some(self.commit.get_or_insert(commit).clone())
    }

    /// An answer to a step. The first one counts; a resend must not be told anything else while the branch is open, and
    /// once it is closed that it is. Whether it was the first.
    pub fn hear(&mut self, caller: usize, step: usize, result: &ExecuteResult) -> bool {
        let heard = match result {
            ExecuteResult::Done(_) => Heard::Done,
            ExecuteResult::Failed(_) => Heard::Failed,
            ExecuteResult::Doomed(_) => Heard::Doomed,
            ExecuteResult::NotYet | ExecuteResult::WrongAddressee => return false,
        };
        let key = self.key;
        let caller = &mut self.callers[caller];
        let first = caller.steps[step].heard;
        match (first, heard) {
            (None, _) => {}
            (Some(first), again) if first == again => return false,
            // One copy may overtake another.
            (Some(Heard::Done | Heard::Failed), Heard::Doomed) | (Some(Heard::Doomed), _) => return false,
            (Some(first), again) => panic!("{key}: an operation was answered {first:?}, its resend {again:?}"),
        }
        caller.steps[step].heard = Some(heard);
        caller.at = if heard == Heard::Doomed { caller.steps.len() } else { caller.at.max(step + 1) };
        true
    }
}
