//! The fence, and how a coordinator's new epoch gets past it.
//!
//! Hello of a newer epoch drops what still waits, waits for what was handed to the log, forces the epoch, and only then
//! is it answered. "Seen" in memory alone would let work of the older epoch run after a restart, behind the back of a
//! coordinator that was told "there is no such key" (t12b).
//!
//! What had been seen before a Hello is the coordinator's only way to find out that a copy of it has run. A Welcome may be
//! lost, so it is kept on disk and told again until an order shows that a Welcome was accepted (t08b).

use std::collections::BTreeSet;

use handfast_common::ids::{Age, LogId, Name, Xid};
use handfast_common::limits::{MAX_UNCONFIRMED, MAX_UNCONFIRMED_BYTES};
use handfast_common::messages::{Answer, KnownStart, MAX_UNPROVEN, Mark, Refusal, Seen, Stamp, Unconfirmed, Welcome};

use super::branch::State;
use super::error::{Halt, Illegal};
use super::event::Event;
use super::record::Line;
use super::{Effect, Effects, Participant, ReplyTo};

/// Bytes of an entry of the list of unconfirmed commits besides what it read, on the safe side.
const UNCONFIRMED_OVERHEAD: usize = 128;

/// What is known of one coordinator.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Coordinator {
    /// What is on disk, save for what was heard since and goes with the next batch.
    pub(super) line: Option<Line>,
    /// A newer epoch whose Hello is not answered yet.
    entering: Option<Entering>,
    /// The line that is being forced: one at a time, or nobody could tell which force has ended.
    forcing: Option<Line>,
}

/// A newer epoch on its way in.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Entering {
    /// The epoch.
    seen: Seen,
    /// What was seen before it and before others that are not proven accepted.
    unproven: Vec<Seen>,
    /// The coordinator's name.
    name: Name,
    /// The Hellos to be answered, each with whether the start that it names is remembered.
    waiting: Vec<(ReplyTo, bool)>,
    /// Branches of older epochs that have not ended yet.
    draining: BTreeSet<Xid>,
}

/// A Hello, besides whose it is.
pub(super) struct Greeting {
    pub(super) reply: ReplyTo,
    /// Whom it is for.
    pub(super) name: Name,
    /// Who says it.
    pub(super) coordinator: Name,
    /// The last start of this participant that the coordinator knows of.
    pub(super) known: Option<KnownStart>,
}

impl Coordinator {
    /// As an earlier start left it.
    pub(super) fn found(line: Line) -> Self {
        Self { line: Some(line), entering: None, forcing: None }
    }

    /// The highest epoch that has been accepted, forced or not.
    pub(super) fn highest(&self) -> Option<Seen> {
        self.entering.as_ref().map(|entering| entering.seen).or_else(|| self.line.as_ref().map(|line| line.seen))
    }

    /// The epoch whose Hello was answered last, unless a newer one is on its way in.
    pub(super) fn greeted(&self) -> Option<Seen> {
        if self.entering.is_some() { None } else { self.line.as_ref().map(|line| line.seen) }
    }

    /// Whether an epoch is on its way in, or to disk.
    pub(super) fn is_entering(&self) -> bool {
        self.entering.is_some() || self.forcing.is_some()
    }

    /// The name it has given.
    pub(super) fn name(&self) -> Option<&Name> {
        self.entering.as_ref().map(|entering| &entering.name).or_else(|| self.line.as_ref()?.name.as_ref())
    }

    /// Whether the sender's epoch is the one whose Hello was answered last. Never the epoch of the transaction: a
    /// coordinator that was restarted re-sends the decisions of its earlier epochs (t12a).
    pub(super) fn admit(&self, from: &Stamp) -> Result<(), Refusal> {
        let Some(seen) = self.highest() else { return Err(Refusal::HelloFirst) };
        if from.epoch < seen.epoch {
            Err(Refusal::Fenced(seen))
        } else if from.epoch > seen.epoch {
            Err(Refusal::HelloFirst)
        } else if from.nonce != seen.nonce {
            Err(Refusal::ForeignNonce(seen))
        } else if self.entering.is_some() {
            Err(Refusal::HelloFirst)
        } else {
            Ok(())
        }
    }

    /// What has to be told until the next Hello of a newer epoch is proven accepted.
    ///
    /// A full list keeps its oldest half and its newest: a copy that ran once before a row of lost Welcomes, or that
    /// runs now, is among them. Not enough where a copy said only Hello, after eight starts and before eight more of the
    /// other one, and nothing but Hello came from any of the seventeen: then another participant has to have seen it.
    fn unproven(&self) -> Vec<Seen> {
        let line = self.line.as_ref().map(|line| &line.unproven);
        let mut unproven =
            self.entering.as_ref().map(|entering| &entering.unproven).or(line).cloned().unwrap_or_default();
        // In the order of the epochs, so none comes twice.
        unproven.extend(self.highest());
        if unproven.len() > MAX_UNPROVEN {
            unproven.remove(MAX_UNPROVEN / 2);
        }
        unproven
    }

    /// An order in the epoch of the line: whoever sends one has accepted a Welcome of this epoch, and each of those told
    /// the whole list. Whether there was one.
    pub(super) fn prove(&mut self) -> bool {
        self.line.as_mut().is_some_and(|line| !std::mem::take(&mut line.unproven).is_empty())
    }

    /// Takes over what a stamp says beyond what was known; whether that was anything, and whether the mark moved.
    pub(super) fn hear(&mut self, from: &Stamp) -> (bool, bool) {
        let Some(line) = &mut self.line else { return (false, false) };
        let newer = from.decisions > line.seen.decisions;
        line.seen.decisions = line.seen.decisions.max(from.decisions);
        // Unsorted exceptions can't be looked up: an exception would be taken for covered, and a lost branch for an
        // acknowledged one. No mark is always sound.
        let moved = from.mark.except.is_sorted()
            && match &mut line.mark {
                Some(mark) => mark.advance(&from.mark),
                none @ None => {
                    *none = Some(from.mark.clone());
                    true
                }
            };
        (newer || moved, moved)
    }

    pub(super) fn mark(&self) -> Option<&Mark> {
        self.line.as_ref().and_then(|line| line.mark.as_ref())
    }

    /// Forces the new epoch once nothing of an older one is on its way any more.
    fn force(&mut self, log: LogId, out: &mut Effects) {
        let Some(entering) = &self.entering else { return };
        if self.forcing.is_none() && entering.draining.is_empty() {
            let unproven = entering.unproven.clone();
            let name = Some(entering.name.clone());
            let line = Line { log, name, seen: entering.seen, mark: self.mark().cloned(), unproven };
            out.push(Effect::ForceLine(line.clone()));
            self.forcing = Some(line);
        }
    }
}

impl Participant {
    pub(super) fn on_hello(&mut self, greeting: Greeting, from: &Stamp, out: &mut Effects) -> Result<(), Illegal> {
        let Greeting { reply, name, coordinator, known } = greeting;
        if name != self.config.name {
            refuse(reply, Refusal::WrongAddressee, out);
            return Ok(());
        }
        let highest = self.coordinators.get(&from.log).and_then(Coordinator::highest);
        let stale = highest
            .is_some_and(|seen| from.epoch < seen.epoch || (from.epoch == seen.epoch && from.nonce != seen.nonce));
        if !stale && let Err(log) = self.take_name(from.log, &coordinator, out) {
            refuse(reply, Refusal::OtherLog(log), out);
            return Ok(());
        }
        let remembers = self.remembers(known);
        let Some(seen) = highest.filter(|seen| from.epoch <= seen.epoch) else {
            return self.on_newer_epoch((reply, remembers), coordinator, from, out);
        };
        if from.epoch < seen.epoch {
            refuse(reply, Refusal::Fenced(seen), out);
        } else if from.nonce != seen.nonce {
            refuse(reply, Refusal::ForeignNonce(seen), out);
        } else if let Some(entering) =
            self.coordinators.get_mut(&from.log).and_then(|coordinator| coordinator.entering.as_mut())
        {
            // Its mark is not taken over: it could trim what this Hello's answer has to report (t04c).
            entering.waiting.push((reply, remembers));
        } else {
            self.take_stamp(from, false, out)?;
            let answer = self.welcome(from.log, Some(seen), remembers);
            out.push(Effect::Reply { to: reply, answer });
        }
        Ok(())
    }

    fn on_newer_epoch(
        &mut self,
        waiting: (ReplyTo, bool),
        name: Name,
        from: &Stamp,
        out: &mut Effects,
    ) -> Result<(), Illegal> {
        let log = from.log;
        let seen = Seen { epoch: from.epoch, nonce: from.nonce, decisions: from.decisions };
        self.hear_clock(from.clock);
        let coordinator = self.coordinators.entry(log).or_default();
        let unproven = coordinator.unproven();
        if let Some(superseded) = coordinator.entering.take() {
            for (to, _) in superseded.waiting {
                refuse(to, Refusal::Fenced(seen), out);
            }
        }
        let live: Vec<Xid> =
            self.branches_of(log).filter(|(_, state)| !state.is_ended()).map(|(xid, _)| *xid).collect();
        for xid in live {
            self.feed(xid, Event::Replaced(seen), out)?;
        }
        let draining = self.branches_of(log).filter(|(_, state)| state.is_working()).map(|(xid, _)| *xid).collect();
        let coordinator = self.coordinators.entry(log).or_default();
        coordinator.entering = Some(Entering { seen, unproven, name, waiting: vec![waiting], draining });
        coordinator.force(log, out);
        Ok(())
    }

    /// A branch has ended its work: perhaps it was the last one that a new epoch waits for.
    pub(super) fn on_drained(&mut self, xid: Xid, out: &mut Effects) {
        if let Some(coordinator) = self.coordinators.get_mut(&xid.log) {
            if let Some(entering) = &mut coordinator.entering {
                entering.draining.remove(&xid);
            }
            coordinator.force(xid.log, out);
        }
    }

    pub(super) fn on_line_forced(&mut self, log: LogId, out: &mut Effects) -> Result<(), Halt> {
        let coordinator = self.coordinators.get_mut(&log);
        let Some((coordinator, forced)) = coordinator.and_then(|c| c.forcing.take().map(|forced| (c, forced))) else {
            return Err(Halt::UnexpectedForce { log });
        };
        let seen = forced.seen;
        coordinator.line = Some(forced);
        match coordinator.entering.take_if(|entering| entering.seen == seen) {
            Some(entering) => {
                for (to, remembers) in entering.waiting {
                    let answer = self.welcome(log, None, remembers);
                    out.push(Effect::Reply { to, answer });
                }
            }
            // A still newer epoch has come meanwhile.
            None => coordinator.force(log, out),
        }
        Ok(())
    }

    /// What was seen before, and in a repeated Hello of `present` also that: a copy of the same epoch is found by its
    /// decisions only.
    ///
    /// One-phase commits in the order of the transactions, cut at the end: what a coordinator has written of it, its mark
    /// can pass, and the next Hello brings the rest. At least one goes out, or a large one would be in the way for ever.
    fn welcome(&self, log: LogId, present: Option<Seen>, remembers: bool) -> Answer {
        let line = self.coordinators.get(&log).and_then(|coordinator| coordinator.line.as_ref());
        let mut seen = line.map(|line| line.unproven.clone()).unwrap_or_default();
        seen.extend(present);
        let (mut unconfirmed, mut bytes, mut complete) = (Vec::new(), 0, true);
        for (xid, state) in self.branches_of(log) {
            let State::OnePhaseDone(done) = state else { continue };
            bytes += done.reads.0.len() + UNCONFIRMED_OVERHEAD;
            if unconfirmed.len() == MAX_UNCONFIRMED || (bytes > MAX_UNCONFIRMED_BYTES && !unconfirmed.is_empty()) {
                complete = false;
                break;
            }
            unconfirmed.push(Unconfirmed { xid: *xid, key: done.key, hash: done.hash, reads: done.reads.clone() });
        }
        Answer::Welcome(Welcome { seen, unconfirmed, complete, remembers })
    }

    pub(super) fn hear_clock(&mut self, age: Age) {
        self.clock = self.clock.max(age);
    }
}

pub(super) fn refuse(to: ReplyTo, refusal: Refusal, out: &mut Effects) {
    out.push(Effect::Reply { to, answer: Answer::Refused(refusal) });
}
