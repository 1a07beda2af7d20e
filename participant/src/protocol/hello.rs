//! The fence, and how a coordinator's new epoch gets past it.
//!
//! Hello of a newer epoch drops what still waits, waits for what was handed to the log, forces the epoch, and only then
//! is it answered. "Seen" in memory alone would let work of the older epoch run after a restart, behind the back of a
//! coordinator that was told "there is no such key" (t12b).
//!
//! A newer epoch is taken in only from a start that knows of the last one seen here, and of as many decisions: compare and
//! set. So whatever has been seen was known to every start that was let in since, however many answers were lost (t08b),
//! and a copy of the log that is behind leaves nothing here that the right one would not know of.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use handfast_common::ids::{Age, LogId, Name, Xid};
use handfast_common::limits::{MAX_UNCONFIRMED, MAX_UNCONFIRMED_BYTES};
use handfast_common::messages::{Answer, KnownStart, Mark, Refusal, Seen, Stamp, Unconfirmed, Welcome};
use handfast_common::mutants::{self, Mutant};

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
    /// The last start of the coordinator that this participant has seen, as far as the coordinator knows.
    pub(super) after: Option<Seen>,
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
        if from.epoch < seen.epoch && mutants::is(Mutant::OldEpochIsObeyed) {
            Ok(())
        } else if from.epoch < seen.epoch {
            Err(Refusal::Fenced(seen))
        } else if from.epoch > seen.epoch {
            Err(Refusal::HelloFirst)
        } else if from.nonce != seen.nonce && !mutants::is(Mutant::SecondStartIsLetIn) {
            Err(Refusal::ForeignNonce(seen))
        } else if self.entering.is_some() {
            Err(Refusal::HelloFirst)
        } else {
            Ok(())
        }
    }

    /// Whether a Hello of `from`, who takes `after` for the last start seen here, may be taken in. A foreign start that is
    /// on its way in counts too: once it is forced, nobody else would know of it.
    fn admit_hello(&self, from: &Stamp, after: Option<Seen>) -> Result<(), Refusal> {
        let Some(seen) = self.highest() else { return Ok(()) };
        let knows =
            |after: Seen| after.epoch == seen.epoch && after.nonce == seen.nonce && after.decisions >= seen.decisions;
        match from.epoch.cmp(&seen.epoch) {
            Ordering::Less => Err(Refusal::Fenced(seen)),
            Ordering::Equal | Ordering::Greater if mutants::is(Mutant::SecondStartIsLetIn) => Ok(()),
            Ordering::Equal if from.nonce != seen.nonce => Err(Refusal::ForeignNonce(seen)),
            Ordering::Greater if !after.is_some_and(knows) => Err(Refusal::SeenBefore(seen)),
            Ordering::Equal | Ordering::Greater => Ok(()),
        }
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
            let name = Some(entering.name.clone());
            let line = Line { log, name, seen: entering.seen, mark: self.mark().cloned() };
            out.push(Effect::ForceLine(line.clone()));
            self.forcing = Some(line);
        }
    }
}

impl Participant {
    pub(super) fn on_hello(&mut self, greeting: Greeting, from: &Stamp, out: &mut Effects) -> Result<(), Illegal> {
        let Greeting { reply, name, coordinator, known, after } = greeting;
        if name != self.config.name {
            refuse(reply, Refusal::WrongAddressee, out);
            return Ok(());
        }
        // Before anything is taken over, the clock and the name too.
        let admitted = self.coordinators.get(&from.log).map_or(Ok(()), |known| known.admit_hello(from, after));
        if let Err(refusal) = admitted {
            refuse(reply, refusal, out);
            return Ok(());
        }
        if let Err(log) = self.take_name(from.log, &coordinator, out) {
            refuse(reply, Refusal::OtherLog(log), out);
            return Ok(());
        }
        let remembers = self.remembers(known);
        let present = self.coordinators.get_mut(&from.log);
        let Some(present) = present.filter(|known| known.highest().is_some_and(|seen| seen.epoch == from.epoch)) else {
            return self.on_newer_epoch((reply, remembers), coordinator, from, out);
        };
        if let Some(entering) = &mut present.entering {
            // Its mark is not taken over: it could trim what this Hello's answer has to report (t04c).
            entering.waiting.push((reply, remembers));
        } else {
            self.take_stamp(from, out)?;
            let answer = self.welcome(from.log, remembers);
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
        let waits = !mutants::is(Mutant::HelloDoesNotWait);
        let draining = self.branches_of(log).filter(|(_, state)| waits && state.is_working());
        let draining = draining.map(|(xid, _)| *xid).collect();
        let coordinator = self.coordinators.entry(log).or_default();
        coordinator.entering = Some(Entering { seen, name, waiting: vec![waiting], draining });
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
                    let answer = self.welcome(log, remembers);
                    out.push(Effect::Reply { to, answer });
                }
            }
            // A still newer epoch has come meanwhile.
            None => coordinator.force(log, out),
        }
        Ok(())
    }

    /// One-phase commits in the order of the transactions, cut at the end: what a coordinator has written of it, its mark
    /// can pass, and the next Hello brings the rest. At least one goes out, or a large one would be in the way for ever.
    fn welcome(&self, log: LogId, remembers: bool) -> Answer {
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
        Answer::Welcome(Welcome { unconfirmed, complete, remembers })
    }

    pub(super) fn hear_clock(&mut self, age: Age) {
        self.clock = self.clock.max(age);
    }
}

pub(super) fn refuse(to: ReplyTo, refusal: Refusal, out: &mut Effects) {
    out.push(Effect::Reply { to, answer: Answer::Refused(refusal) });
}
